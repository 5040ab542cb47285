//! Regions of which the owner may execute some pages and not others.

use host_tests::ffa::*;
use host_tests::{PartitionSpec, System};
use spmc::addr::World::Secure;
use spmc::hal::Conduit;

use crate::stage::{
    ALL, NONE, OWN_PAGES, READ, READ_WRITE, SP1, SP2, SP3, Stage, TYPE_DONATE, TYPE_LEND,
};

fn request(sender: u16, receiver: u16, handle: u64, permissions: u8) -> Transaction {
    Transaction {
        attributes: 0,
        ..Transaction::retrieve(sender, receiver, handle, permissions)
    }
}

/// Makes `from` donate `count` pages to `to`, which retrieves them with read and write access.
fn donate(stage: &Stage, from: u16, to: u16, page: u64, count: u32) {
    let handle = stage.run(from, move |sp| {
        let donation = Transaction::donate(from, to, &[(page, count)]);
        sp.send(MEM_DONATE_64, &donation)
    });
    let response = stage.retrieve(to, request(from, to, handle, RW)).unwrap();
    assert_eq!(response.flags, TYPE_DONATE);
}
// req: MEMDN-06, MEMO-02, MEMD-46, MEMRC-10
#[test]
fn a_page_that_came_back_is_sent_with_its_neighbour() {
    let stage = Stage::new();
    let page = stage.run(SP1, |sp| sp.base()) + OWN_PAGES;
    donate(&stage, SP1, SP2, page, 1);
    donate(&stage, SP2, SP1, page, 1);
    let owned = || {
        assert_eq!(stage.access(SP1, Secure, page), READ_WRITE);
        assert_eq!(stage.access(SP1, Secure, page + 0x1000), ALL);
    };
    owned();
    let before = stage.system.snapshot();
    for order in [vec![(page, 2)], vec![(page + 0x1000, 1), (page, 1)]] {
        let region = order.clone();
        let handle = stage.run(SP1, move |sp| {
            let share = Transaction::share(SP1, SP2, RW, &region);
            sp.send(MEM_SHARE_64, &share)
        });
        owned();
        let shared = Transaction::retrieve(SP1, SP2, handle, RW);
        stage.retrieve(SP2, shared).unwrap();
        for at in [page, page + 0x1000] {
            assert_eq!(stage.access(SP2, Secure, at), READ_WRITE);
        }
        stage.relinquish(SP2, handle);
        stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
        owned();

        // With or without zeroing, to one or to several borrowers: nobody executes what the owner
        // cannot execute as a whole.
        for zero in [0, 1] {
            let region = order.clone();
            let handle = stage.run(SP1, move |sp| {
                let lend = Transaction::lend(SP1, SP2, RO, &region);
                sp.send(
                    MEM_LEND_64,
                    &Transaction {
                        flags: zero,
                        ..lend
                    },
                )
            });
            stage.retrieve_refused(SP2, request(SP1, SP2, handle, RO | X), DENIED);
            let response = stage.retrieve(SP2, request(SP1, SP2, handle, RO)).unwrap();
            assert_eq!(response.flags, TYPE_LEND | zero);
            for at in [page, page + 0x1000] {
                assert_eq!(stage.access(SP1, Secure, at), NONE);
                assert_eq!(stage.access(SP2, Secure, at), READ);
            }
            stage.relinquish(SP2, handle);
            stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
            owned();
        }
        assert_eq!(stage.system.snapshot(), before);
    }
    donate(&stage, SP1, SP3, page, 2);
    for at in [page, page + 0x1000] {
        assert_eq!(stage.access(SP1, Secure, at), NONE);
        assert_eq!(stage.access(SP3, Secure, at), READ_WRITE);
    }
    donate(&stage, SP3, SP1, page, 2);
    for at in [page, page + 0x1000] {
        assert_eq!(stage.access(SP1, Secure, at), READ_WRITE);
    }
}
// req: SEL0-08, MEMO-02, MEMRC-10, SEL0-07
#[test]
fn a_partition_at_s_el0_lends_pages_that_differ_in_execution_alone() {
    const READ_WRITE: u64 = 0b101;
    const READ_ONLY: u64 = 0b111;
    const READ_EXECUTE: u64 = 0b011;
    let lender = PartitionSpec::new("sp1").s_el0().script(|sp| {
        let set = |sp: &mut host_tests::Sp, page, permissions| {
            let call = [MEM_PERM_SET_64, page, 1, permissions];
            sp.call_by(Conduit::Svc, call).success();
        };
        let (tx, page) = (sp.tx(), sp.base() + OWN_PAGES);
        set(sp, tx, READ_WRITE);
        set(sp, tx + 0x1000, READ_WRITE);
        sp.map_buffers();
        // While it initialises, a partition can choose permissions.
        let mixed = [READ_ONLY, READ_EXECUTE, READ_ONLY];
        for (n, permissions) in (0..).zip(mixed) {
            set(sp, page + n * 0x1000, permissions);
        }
        let lend = Transaction::lend(SP1, SP2, RO, &[(page, 3)]);
        let handle = sp.send(MEM_LEND_64, &lend);
        let get = |sp: &mut host_tests::Sp, page| {
            let call = [MEM_PERM_GET_64, page, 0];
            sp.call_by(Conduit::Svc, call)
        };
        assert_eq!(get(sp, page + 0x1000).error(), Some(INVALID_PARAMETERS));
        sp.reclaim(handle, 0).success();
        for (n, permissions) in (0..).zip(mixed) {
            let found = get(sp, page + n * 0x1000).success();
            assert_eq!(found[0], permissions, "{n}");
        }
        // The write permission makes a difference.
        set(sp, page + 0x2000, READ_WRITE);
        let lend = lend.encode(sp.layout);
        sp.memory_refused(MEM_LEND_64, &lend, DENIED);
        sp.serve(|_, message| message.payload())
    });
    let system = System::boot([lender, PartitionSpec::new("sp2")]);
    assert_eq!(system.nwd().ask(SP1, [7; 5]), [7; 5]);
}
