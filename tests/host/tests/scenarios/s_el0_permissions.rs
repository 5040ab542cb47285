//! SEL0: the limits of `FFA_MEM_PERM_SET`: no more permissions than the manifest or a donor gave.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use host_tests::ffa::*;
use host_tests::manifest::{Region, partition_base};
use host_tests::system::NWD_PAGES;
use host_tests::{PartitionSpec, Sp, System};
use spmc::addr::World::{NonSecure, Secure};
use spmc::hal::Conduit;

const NO_ACCESS: u64 = 0b100;
const READ_WRITE: u64 = 0b101;
const READ_ONLY: u64 = 0b111;
const READ_EXECUTE: u64 = 0b011;

/// The offset of a page that the partition 0x8001 can only read.
const ROM: u64 = 0x2_0000;

fn set(sp: &mut Sp, address: u64, permissions: u64) -> Option<i32> {
    let answer = sp.call_by(Conduit::Svc, [MEM_PERM_SET_64, address, 1, permissions]);
    answer.error()
}

fn rom() -> Region {
    Region {
        name: "rom",
        base: ROM,
        relative: true,
        pages: 1,
        attributes: 1,
    }
}

/// Retrieves a donation. Returns whether that succeeded.
fn accept(sp: &mut Sp, donor: u16, handle: u64, permissions: u8) -> bool {
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(donor, sp.id, handle, permissions)
    };
    sp.retrieve(&request).is_ok()
}

/// Asks for write access to the buffers, as any partition at S-EL0 must.
fn begin(sp: &mut Sp) {
    let tx = sp.tx();
    sp.call_by(Conduit::Svc, [MEM_PERM_SET_64, tx, 2, READ_WRITE])
        .success();
    sp.map_buffers();
}

fn permissions(sp: &mut Sp, address: u64) -> u64 {
    let answer = sp.call_by(Conduit::Svc, [MEM_PERM_GET_64, address, 0]);
    answer.success()[0]
}

/// Checks that the partition can remove permissions of a page that was given with `given`, but
/// never gets more, nor the removed ones back.
fn can_only_lose(sp: &mut Sp, page: u64, given: u64) {
    for more in [READ_WRITE, READ_EXECUTE] {
        if more != given {
            assert_eq!(set(sp, page, more), Some(DENIED), "{given:#b} to {more:#b}");
        }
    }
    assert_eq!(permissions(sp, page), given);
    assert_eq!(set(sp, page, given), None);
    assert_eq!(set(sp, page, NO_ACCESS), None);
    assert_eq!(set(sp, page, READ_ONLY), Some(DENIED));
}
// req: SEL0-08, MEMO-02, MEMO-08, PERM-13
#[test]
fn what_was_donated_never_gets_more_access() {
    let handles = Arc::new(Mutex::new(Vec::new()));
    let sent = Arc::clone(&handles);
    let donor = PartitionSpec::new("sp1")
        .script(move |sp| {
            sp.map_buffers();
            assert!(
                !sp.poke(Secure, sp.base() + ROM, 1),
                "read-only for its owner"
            );
            for offset in [ROM, 0x4_0000] {
                let donation = Transaction::donate(sp.id, 0x8002, &[(sp.base() + offset, 1)]);
                sent.lock().unwrap().push(sp.send(MEM_DONATE_64, &donation));
            }
            sp.serve(|_, request| request.payload())
        })
        .with(|spec| spec.regions.push(rom()));
    let receiver = PartitionSpec::new("sp2").s_el0().script(move |sp| {
        begin(sp);
        let theirs = partition_base(0);
        let handles = handles.lock().unwrap().clone();
        assert!(!accept(sp, 0x8001, handles[0], RW));
        assert!(accept(sp, 0x8001, handles[0], RO));
        can_only_lose(sp, theirs + ROM, READ_ONLY);
        assert!(accept(sp, 0x8001, handles[1], RW));
        can_only_lose(sp, theirs + 0x4_0000, READ_WRITE);
        sp.serve(|_, request| request.payload())
    });
    let system = System::boot([donor, receiver]);
    system.nwd().ask(0x8002, [0; 5]);
}
// req: SEL0-08, PERM-09, PERM-11
#[test]
fn pages_of_different_permissions_are_set_in_one_call() {
    let partition = PartitionSpec::new("sp1")
        .s_el0()
        .script(|sp| {
            begin(sp);
            let rom = sp.base() + ROM;
            let [first, last] = [rom - 0x4000, rom - 0x1000];
            let range = |sp: &mut Sp, page, count, permissions| {
                let call = [MEM_PERM_SET_64, page, count, permissions];
                sp.call_by(Conduit::Svc, call).error()
            };
            let each = |sp: &mut Sp| [0, 1, 2, 3].map(|n| permissions(sp, first + n * 0x1000));
            let mixed = [READ_WRITE, READ_ONLY, NO_ACCESS, READ_WRITE];
            for (page, given) in (0..).zip(mixed) {
                assert_eq!(set(sp, first + page * 0x1000, given), None);
            }
            assert_eq!(range(sp, first, 4, READ_ONLY), None);
            assert_eq!(each(sp), [READ_ONLY; 4]);
            // All or nothing: the last page cannot have the permission, or does not exist.
            assert_eq!(set(sp, last, READ_EXECUTE), None);
            let before = each(sp);
            assert_eq!(range(sp, first, 5, READ_WRITE), Some(DENIED));
            let beyond = (sp.base() + 0x10_0000 - first) / 0x1000 + 1;
            assert_eq!(
                range(sp, first, beyond, READ_ONLY),
                Some(INVALID_PARAMETERS)
            );
            assert_eq!(each(sp), before);
            // Buffers in the range stay buffers.
            let tx = sp.tx();
            assert_eq!(range(sp, tx - 0x1000, 2, READ_WRITE), None);
            assert_eq!(sp.call([RXTX_UNMAP]).success(), [0; 6]);
            sp.serve(|_, request| request.payload())
        })
        .with(|spec| spec.regions.push(rom()));
    System::boot([partition]).nwd().ask(0x8001, [0; 5]);
}

// The permissions of one page say nothing about the pages behind it.
// req: SEL0-08, PERM-11
#[test]
fn pages_that_are_alike_are_set_together() {
    let partition = PartitionSpec::new("sp1").s_el0().script(|sp| {
        let first = sp.base() + 0x4_0000;
        let mixed = [
            READ_WRITE, READ_WRITE, READ_ONLY, NO_ACCESS, NO_ACCESS, NO_ACCESS, READ_WRITE,
            READ_ONLY, READ_ONLY,
        ];
        for (page, given) in (0..).zip(mixed) {
            assert_eq!(set(sp, first + page * 0x1000, given), None);
        }
        let all = [MEM_PERM_SET_64, first, 9, READ_ONLY];
        assert_eq!(sp.call_by(Conduit::Svc, all).error(), None);
        for page in 0..9 {
            assert_eq!(permissions(sp, first + page * 0x1000), READ_ONLY, "{page}");
        }
        sp.serve(|_, request| request.payload())
    });
    System::boot([partition]).nwd().ask(0x8001, [0; 5]);
}

/// Returns a region beside the image.
fn heap(pages: u32) -> Region {
    Region {
        name: "heap",
        base: HEAP,
        relative: false,
        pages,
        attributes: 3,
    }
}

const HEAP: u64 = 0x0e80_0000;

// req: SEL0-08, MAN-26, PERM-12
#[test]
fn what_a_partition_takes_away_from_a_region_it_can_give_back() {
    let partition = PartitionSpec::new("sp1")
        .s_el0()
        .with(|spec| spec.regions.push(heap(2)))
        .script(|sp| {
            for less in [READ_ONLY, NO_ACCESS, READ_EXECUTE] {
                assert_eq!(set(sp, HEAP, less), None);
                assert_eq!(set(sp, HEAP, READ_WRITE), None);
                assert!(sp.poke(Secure, HEAP, 1));
            }
            sp.serve(|_, request| request.payload())
        });
    System::boot([partition]).nwd().ask(0x8001, [0; 5]);
}

// Three blocks of 2 MiB: the first and the last are split.
// req: SEL0-08, PERM-09, PERM-10
#[test]
fn permissions_are_set_on_all_pages_or_on_none() {
    const BLOCK: u64 = 0x20_0000;
    let mut outcomes = BTreeSet::new();
    for tables in 4..40 {
        let outcome = Arc::new(Mutex::new(None));
        let set_by = Arc::clone(&outcome);
        let partition = PartitionSpec::new("sp1")
            .s_el0()
            .with(|spec| spec.regions.push(heap(3 * 512)))
            .script(move |sp| {
                let range = |sp: &mut Sp, page, count| {
                    let call = [MEM_PERM_SET_64, page, count, READ_ONLY];
                    sp.call_by(Conduit::Svc, call).error()
                };
                assert_eq!(range(sp, HEAP + BLOCK, 512), None);
                let error = range(sp, HEAP + BLOCK / 2, 1024);
                let expected = if error.is_some() {
                    READ_WRITE
                } else {
                    READ_ONLY
                };
                for page in [BLOCK / 2, BLOCK - 0x1000, 2 * BLOCK, 5 * BLOCK / 2 - 0x1000] {
                    assert_eq!(permissions(sp, HEAP + page), expected, "{page:#x}");
                }
                for page in [BLOCK / 2 - 0x1000, 5 * BLOCK / 2] {
                    assert_eq!(permissions(sp, HEAP + page), READ_WRITE, "{page:#x}");
                }
                *set_by.lock().unwrap() = Some(error);
                sp.serve(|_, request| request.payload())
            });
        System::builder().sp(partition).tables(tables).boot();
        outcomes.insert(*outcome.lock().unwrap());
    }
    // The partition may not even exist.
    let expected = [None, Some(None), Some(Some(NO_MEMORY))];
    assert_eq!(outcomes, BTreeSet::from(expected));
}

// A region of the manifest.
// req: SEL0-08, MAN-26, PERM-09, PERM-12
#[test]
fn a_region_gets_no_more_than_its_manifest_says() {
    let partition = PartitionSpec::new("sp1")
        .s_el0()
        .script(|sp| {
            begin(sp);
            let rom = sp.base() + ROM;
            for more in [READ_WRITE, READ_EXECUTE] {
                assert_eq!(set(sp, rom, more), Some(DENIED));
            }
            // Permissions that the manifest gave can be restored.
            for less in [NO_ACCESS, READ_ONLY] {
                assert_eq!(set(sp, rom, less), None);
            }
            // The image has the permissions that the partition asks for, up to the region.
            for page in [rom - 0x1000, rom + 0x1000] {
                for any in [READ_WRITE, READ_EXECUTE, READ_ONLY] {
                    assert_eq!(set(sp, page, any), None);
                }
            }
            let both = [MEM_PERM_SET_64, rom - 0x1000, 2, READ_WRITE];
            assert_eq!(sp.call_by(Conduit::Svc, both).error(), Some(DENIED));
            sp.serve(|_, request| request.payload())
        })
        .with(|spec| spec.regions.push(rom()));
    let system = System::boot([partition]);
    system.nwd().ask(0x8001, [0; 5]);
}

// As StandaloneMm does with the drivers that it loads to its heap.
// req: SEL0-08, MAN-26, PERM-02, PERM-12
#[test]
fn a_region_that_may_be_written_may_become_code() {
    let partition = PartitionSpec::new("sp1")
        .s_el0()
        .with(|spec| spec.regions.extend([rom(), heap(2)]))
        .script(|sp| {
            assert_eq!(permissions(sp, HEAP), READ_WRITE);
            for any in [READ_ONLY, READ_EXECUTE, READ_WRITE, READ_EXECUTE] {
                assert_eq!(set(sp, HEAP, any), None);
                assert_eq!(permissions(sp, HEAP), any);
                assert_eq!(permissions(sp, HEAP + 0x1000), READ_WRITE);
            }
            let rom = sp.base() + ROM;
            assert_eq!(set(sp, rom, READ_EXECUTE), Some(DENIED));
            sp.serve(|_, request| request.payload())
        });
    assert_eq!(System::boot([partition]).nwd().ask(0x8001, [0; 5]), [0; 5]);
}

// req: SEL0-08, PERM-14, MEMD-45
#[test]
fn non_secure_memory_never_executes() {
    let donated = Arc::new(Mutex::new(None));
    let handle = Arc::clone(&donated);
    let partition = PartitionSpec::new("sp1")
        .s_el0()
        .property("abort-action", 2)
        .with(|spec| {
            spec.extra = Some(Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap()
            }));
        })
        .script(move |sp| {
            begin(sp);
            if let Some(handle) = handle.lock().unwrap().take() {
                assert!(accept(sp, 0, handle, RW));
                can_only_lose(sp, NWD_PAGES, READ_WRITE);
            }
            sp.serve(|sp, request| {
                if request.0[3] == 1 {
                    // The partition dies, and initialises again.
                    sp.peek(NonSecure, NWD_PAGES);
                }
                request.payload()
            })
        });
    let system = System::boot([partition]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let handle = nwd.send(
        MEM_DONATE_64,
        &Transaction::donate(0, 0x8001, &[(NWD_PAGES, 1)]),
    );
    *donated.lock().unwrap() = Some(handle);
    let answer = nwd.request(0x8001, [1, 0, 0, 0, 0]);
    assert_eq!(answer.error(), Some(ABORTED));
    assert_eq!(*donated.lock().unwrap(), None, "it was loaded anew");
    nwd.ask(0x8001, [0; 5]);
    assert_eq!(system.spmc.shares.live(), 0);
}

// A permission that the partition removed is given to it again.
// req: SEL0-08, MSGD-08
#[test]
fn a_restart_brings_back_the_permissions_of_the_manifest() {
    const PAGES: u64 = 20;
    let lives = Mutex::new(0);
    let partition = PartitionSpec::new("sp1")
        .s_el0()
        .property("abort-action", 2)
        .with(|spec| {
            spec.regions.push(Region {
                name: "data",
                base: 0x4_0000,
                relative: true,
                pages: 2 * PAGES as u32,
                attributes: 3,
            });
            spec.extra = Some(Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap()
            }));
        })
        .script(move |sp| {
            // No two pages are adjacent, and no two consecutive ones are alike.
            let page = |n: u64| partition_base(0) + 0x4_0000 + n * 0x2000;
            for n in 0..PAGES {
                assert_eq!(permissions(sp, page(n)), READ_WRITE, "{n}");
            }
            *lives.lock().unwrap() += 1;
            for n in 0..PAGES {
                let less = [READ_ONLY, NO_ACCESS][n as usize % 2];
                assert_eq!(set(sp, page(n), less), None);
            }
            let life = *lives.lock().unwrap();
            sp.serve(move |sp, request| {
                if request.0[3] == 1 {
                    sp.peek(NonSecure, NWD_PAGES);
                }
                [life; 5]
            })
        });
    let system = System::boot([partition]);
    let nwd = system.nwd();
    for life in 1..4 {
        assert_eq!(nwd.ask(0x8001, [0; 5]), [life; 5]);
        let answer = nwd.request(0x8001, [1, 0, 0, 0, 0]);
        assert_eq!(answer.error(), Some(ABORTED));
    }
}
