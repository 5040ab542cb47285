//! Ids that manifests ask for: partitions have them in every call, and the places in tables do not
//! depend on them.

use std::sync::Arc;

use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::system::NWD_PAGES;
use host_tests::{PartitionSpec, Sp, System};

use crate::notification::{both, caller, done, info, via};

/// The id for which the first and the third partition ask. As an index of a place it would be
/// behind every table.
const FIRST: u16 = 0x8041;
const SECOND: u16 = 0x9105;
const THIRD: u16 = 0x8003;

fn system() -> System {
    System::boot([
        caller("one").id(FIRST),
        caller("two").id(SECOND).vcpus(2),
        caller("three").property("id", FIRST.into()),
    ])
}

// req: MAN-05, GEN-16, GEN-17, PINFO-02
#[test]
fn a_free_id_is_the_partitions() {
    let system = system();
    let nwd = system.nwd();
    for id in [FIRST, SECOND, THIRD] {
        let [code, own, ..] = nwd.ask(id, [ID_GET, 0, 0, 0, 0]);
        assert_eq!((code, own), (0, id.into()));
    }
    // The ids of unused places belong to nobody, and so do ids whose low bytes are those of
    // existing partitions.
    for nobody in [0x8001, 0x8002, 0x8004, 0x8141, 0x9141, 0x8105, 0x8005] {
        let refused = nwd.request(nobody, [0; 5]);
        assert_eq!(refused.error(), Some(INVALID_PARAMETERS), "{nobody:#x}");
    }
    let listed = nwd.call([PARTITION_INFO_GET_REGS, 0, 0, 0]);
    let ids = [3, 6, 9].map(|register| listed.0[register] as u16);
    assert_eq!(ids, [FIRST, SECOND, THIRD]);
}

// req: MSGD-01, MSGD-07
#[test]
fn messages_between_partitions_go_by_the_id_that_they_have() {
    let system = system();
    let nwd = system.nwd();
    let pairs = [(FIRST, SECOND), (SECOND, THIRD), (THIRD, FIRST)];
    for (sender, receiver) in pairs {
        let (code, _) = via(
            &nwd,
            sender,
            [DIRECT_REQ_64, both(sender, receiver), 0, ID_GET],
        );
        assert_eq!(code, 0, "{sender:#x} to {receiver:#x}");
    }
    let false_sender = [DIRECT_REQ_64, both(0x8001, SECOND), 0, ID_GET];
    assert_eq!(via(&nwd, FIRST, false_sender).0, INVALID_PARAMETERS);
}

// req: MSGW-20, MSGW-22
#[test]
fn a_context_is_named_by_the_id_that_it_has() {
    let system = System::boot([
        PartitionSpec::new("one"),
        PartitionSpec::new("two").id(SECOND).script(|sp| {
            sp.serve(|sp, request| {
                sp.interrupt();
                request.payload()
            })
        }),
    ]);
    let nwd = system.nwd();
    let stopped = nwd.request(SECOND, [7; 5]);
    assert_eq!(stopped.0[..2], [INTERRUPT, u64::from(SECOND) << 16]);
    nwd.refused([RUN, 0x8002_0000], INVALID_PARAMETERS);
    let resumed = nwd.call([RUN, u64::from(SECOND) << 16]);
    assert_eq!(resumed.payload(), [7; 5]);
}

// req: MEMS-01, MEMX-01
#[test]
fn memory_is_lent_to_the_id_that_a_partition_has() {
    let borrow = |sp: &mut Sp, request: &Regs| {
        let handle = request.0[3];
        let own = sp.id;
        let retrieved = sp.retrieve(&Transaction::retrieve(0, own, handle, RW));
        retrieved.expect("it is its own");
        sp.relinquish(handle, 0).success();
        [0; 5]
    };
    let lend = |sp: &mut Sp, request: &Regs| {
        let own = Transaction::share(
            sp.id,
            request.0[3] as u16,
            RW,
            &[(partition_base(1) + 0x4_0000, 1)],
        );
        // More than the partition's own slots.
        let handles: Vec<u64> = (0..8)
            .map(|page| {
                let mut own = own.clone();
                own.constituents[0].0 += page * 0x1000;
                sp.send(MEM_SHARE_64, &own)
            })
            .collect();
        for handle in handles {
            sp.reclaim(handle, 0).success();
        }
        [0; 5]
    };
    let system = System::boot([
        PartitionSpec::new("one").id(FIRST).script(move |sp| {
            sp.map_buffers();
            sp.serve(borrow)
        }),
        PartitionSpec::new("two").id(SECOND).script(move |sp| {
            sp.map_buffers();
            sp.serve(lend)
        }),
    ]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let before = system.snapshot();
    let page = [(NWD_PAGES, 1)];
    let by_place = Transaction::share(0, 0x8001, RW, &page).encode(Layout::of(V1_2));
    nwd.memory_refused(MEM_SHARE_64, &by_place, INVALID_PARAMETERS);
    let handle = nwd.send(MEM_SHARE_64, &Transaction::share(0, FIRST, RW, &page));
    nwd.ask(FIRST, [handle, 0, 0, 0, 0]);
    nwd.reclaim(handle).success();
    nwd.ask(SECOND, [FIRST.into(), 0, 0, 0, 0]);
    assert_eq!(before, system.snapshot());
}

// req: GEN-16
#[test]
fn notifications_are_those_of_the_id_that_a_partition_has() {
    let system = system();
    let nwd = system.nwd();
    done(&nwd, SECOND, [NOTIFICATION_BIND, both(FIRST, SECOND), 0, 1]);
    done(&nwd, FIRST, [NOTIFICATION_SET, both(FIRST, SECOND), 0, 1]);
    let told = info(&nwd);
    assert_eq!(told.0[3] as u16, SECOND);
    let (code, [from_partitions, ..]) = via(&nwd, SECOND, [NOTIFICATION_GET, SECOND.into(), 1, 0]);
    assert_eq!((code, from_partitions), (0, 1));
    let of_place = [NOTIFICATION_SET, both(FIRST, 0x8002), 0, 1];
    assert_eq!(via(&nwd, FIRST, of_place).0, INVALID_PARAMETERS);
}

// req: MSGD-08
#[test]
fn one_that_fails_is_the_one_that_starts_anew() {
    let system = System::boot([
        PartitionSpec::new("one"),
        PartitionSpec::new("two")
            .id(SECOND)
            .with(|sp| {
                sp.takes_exceptions = false;
                sp.extra = Some(Arc::new(|fdt| {
                    fdt.property_null("lifecycle-support").unwrap();
                }));
            })
            .property("abort-action", 2)
            .script(|sp| {
                sp.serve(|sp, request| {
                    if request.0[3] == 1 {
                        sp.trap(0);
                    }
                    request.payload()
                })
            }),
    ]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(SECOND, [1; 5]).error(), Some(ABORTED));
    assert_eq!(nwd.ask(SECOND, [2; 5]), [2; 5]);
    assert_eq!(nwd.ask(0x8001, [2; 5]), [2; 5]);
}
