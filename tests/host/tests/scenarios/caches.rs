//! Endpoints that go around the caches, while PEs fetch any line by speculation: what starts with
//! its MMU off, buffers of which one side has its MMU off, and memory that is zeroed between two
//! owners. The rules of caches are in `caches.rs` of the fake machine.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use host_tests::ffa::*;
use host_tests::manifest::{ENTRY, Region};
use host_tests::system::{NWD_PAGES, NWD_RX, NWD_TX};
use host_tests::{PartitionSpec, System};
use spmc::addr::World::{NonSecure, Secure};

use crate::stage::{OWN_PAGES, SP1, SP2, Stage};

/// Returns the first line of memory.
fn line(at: u64) -> Range<u64> {
    at..at + 64
}

// What was stored with the MMU off is still there when the MMU is on. A line that the boot loader
// or the SPMC left dirty would be written over it.
// req: BOOT-02
#[test]
fn a_partition_keeps_what_it_stores_with_its_mmu_off() {
    const OWN: u64 = 0x0e80_0000;
    let lives = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&lives);
    let region = Region {
        name: "own",
        base: OWN,
        relative: false,
        pages: 1,
        attributes: 3,
    };
    let system = System::boot([PartitionSpec::new("sp1")
        .with(|sp| {
            sp.regions = vec![region];
            sp.boot_register = Some(0);
            sp.takes_exceptions = false;
            sp.extra = Some(Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap()
            }));
        })
        .property("abort-action", 2)
        .script(move |sp| {
            let life = count.fetch_add(1, Ordering::Relaxed) as u8;
            let information = sp.read_around(Secure, sp.base());
            assert_eq!(u16::from_le_bytes(information), 0xffa, "{life}");
            let image = sp.base() + ENTRY;
            assert_eq!(sp.read_around(Secure, image), *b"sp1", "{life}");
            let unused = sp.base() + 0x3_0000;
            for place in [sp.base(), image, unused, OWN] {
                if place >= unused {
                    assert_eq!(sp.read_around(Secure, place), [0; 2], "{life} {place:x}");
                }
                sp.write_around(Secure, place, &[0x70 + life; 2]);
                sp.maintain(Secure, line(place));
                let kept = sp.peek(Secure, place);
                assert_eq!(kept, Some(0x70 + life), "{life} {place:x}");
            }
            // What it leaves is in memory, and other things in the caches.
            sp.write_around(Secure, image, &[1]);
            sp.write(Secure, unused, &[2]).unwrap();
            sp.write_around(Secure, OWN + 64, &[3]);
            sp.serve(|sp, request| {
                if request.0[3] != 0 {
                    sp.call([ABORT_32]);
                }
                request.payload()
            })
        })]);
    for life in 1..4 {
        assert_eq!(lives.load(Ordering::Relaxed), life);
        let answer = system.nwd().request(SP1, [1, 0, 0, 0, 0]);
        assert_eq!(answer.error(), Some(ABORTED));
        assert_eq!(system.nwd().ask(SP1, [0; 5]), [0; 5]);
    }
}

/// Returns the call that asks for the partitions, with the number of descriptors in the answer.
const ALL_PARTITIONS: [u64; 1] = [PARTITION_INFO_GET];

// The side whose MMU is off maintains its buffers: as producer before the call, as consumer before
// it reads.
// req: RXTX-10
#[test]
fn buffers_of_a_partition_whose_mmu_is_off() {
    let stage = Stage::new();
    stage.run(SP1, |sp| {
        let (tx, rx) = (sp.tx(), sp.tx() + 0x1000);
        let pages = sp.base() + OWN_PAGES;
        let share = |page| Transaction::share(SP1, SP2, RW, &[(page, 1)]).encode(Layout::V1_2);
        for round in 0..3 {
            let page = pages + round * 0x1000;
            let descriptor = share(page);
            let length = descriptor.len() as u64;
            sp.write_around(Secure, tx, &descriptor);
            if round != 0 {
                // The SPMC still has the lines of the descriptor before.
                sp.refused([MEM_SHARE_64, length, length], DENIED);
            }
            sp.maintain(Secure, tx..tx + length);
            sp.call([MEM_SHARE_64, length, length]).handle();

            sp.write_around(Secure, rx, &[0xee; 2]);
            sp.maintain(Secure, line(rx));
            sp.call(ALL_PARTITIONS).success();
            assert_eq!(sp.read_around(Secure, rx), [0xee; 2], "{round}");
            sp.maintain(Secure, line(rx));
            assert_eq!(u16::from_le_bytes(sp.read_around(Secure, rx)), SP1);
            sp.call([RX_RELEASE]).success();
        }
    });
}

// req: RXTX-10
#[test]
fn buffers_of_a_normal_world_whose_mmu_is_off() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    for round in 0..3 {
        let page = NWD_PAGES + round * 0x1000;
        let descriptor = Transaction::share(0, SP1, RW, &[(page, 1)]).encode(Layout::V1_2);
        let length = descriptor.len() as u64;
        nwd.write_around(NWD_TX, &descriptor);
        if round != 0 {
            nwd.refused([MEM_SHARE_64, length, length], DENIED);
        }
        nwd.maintain(NWD_TX..NWD_TX + length);
        nwd.call([MEM_SHARE_64, length, length]).handle();

        nwd.write_around(NWD_RX, &[0xee; 2]);
        nwd.maintain(line(NWD_RX));
        nwd.call(ALL_PARTITIONS).success();
        assert_eq!(nwd.read_around(NWD_RX), [0xee; 2], "{round}");
        nwd.maintain(line(NWD_RX));
        assert_eq!(u16::from_le_bytes(nwd.read_around(NWD_RX)), SP1);
        nwd.call([RX_RELEASE]).success();
    }
}

/// Contents that whoever has a page leaves there.
const SECRET: [u8; 4] = *b"mine";

// Zeros are in the caches and in memory, however the former owner stored what was there: in the
// caches, around lines that speculation had fetched, or in both ways.
// req: MEMD-82, MEMRL-11, MEMRC-09
#[test]
fn zeros_are_seen_with_caches_and_without() {
    const PAGE: u64 = NWD_PAGES;
    let stage = Stage::new();
    let nwd = stage.nwd();
    // The flag that asks for zeros: in the send, the relinquishment and the reclaim.
    for (send, relinquish, reclaim) in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
        nwd.write(PAGE, &SECRET);
        nwd.write_around(PAGE + 64, &SECRET);
        nwd.write(PAGE + 128, &SECRET);
        nwd.write_around(PAGE + 132, &SECRET);
        let mut lend = Transaction::lend(0, SP1, RW, &[(PAGE, 1)]);
        lend.flags = send;
        let handle = nwd.send(MEM_LEND_64, &lend);
        let request = Transaction::retrieve(0, SP1, handle, RW);
        stage.retrieve(SP1, request).unwrap();
        stage.run(SP1, move |sp| {
            for at in [0, 64, 128, 132].map(|offset| PAGE + offset) {
                let (cached, around) = (sp.peek(NonSecure, at), sp.read_around(NonSecure, at));
                assert!(send == 0 || (cached, around) == (Some(0), SECRET.map(|_| 0)));
            }
            sp.write(NonSecure, PAGE + 192, &SECRET).unwrap();
            sp.write_around(NonSecure, PAGE + 256, &SECRET);
            sp.relinquish(handle, relinquish).success()
        });
        nwd.call([MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, reclaim])
            .success();
        for (offset, by_borrower) in [
            (0, false),
            (64, false),
            (128, false),
            (132, false),
            (192, true),
            (256, true),
        ] {
            let at = PAGE + offset;
            let left = [nwd.read(at, 4), nwd.read_around::<4>(at).to_vec()];
            let stays = by_borrower && send == 1;
            assert_eq!(left != [[0; 4]; 2], stays, "{at:#x} {left:?}");
        }
    }
}
