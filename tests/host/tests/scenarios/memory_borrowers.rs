//! Sends and retrievals of a region that another endpoint already has.

use host_tests::ffa::*;
use host_tests::system::NWD_PAGES;
use spmc::addr::World::{NonSecure, Secure};

use crate::stage::{ALL, NONE, OWN_PAGES, READ, READ_WRITE, SP1, SP2, SP3, Stage};

// req: MEMO-10, MEMO-15, MEMO-17, MEMO-25, MEMO-27, MEMO-28, MEMX-09, MEMX-19, MEMS-04
#[test]
fn nothing_is_sent_twice_and_borrowers_send_nothing() {
    let stage = Stage::new();
    let sends = |owner: u16, to: u16, page: u64| {
        [
            (
                MEM_SHARE_64,
                Transaction::share(owner, to, RO, &[(page, 1)]),
            ),
            (MEM_LEND_64, Transaction::lend(owner, to, RO, &[(page, 1)])),
            (MEM_DONATE_64, Transaction::donate(owner, to, &[(page, 1)])),
        ]
    };
    let page = stage.run(SP1, |sp| sp.base() + OWN_PAGES);
    for (function, first) in sends(SP1, SP2, page) {
        let sent = first.clone();
        let handle = stage.run(SP1, move |sp| sp.send(function, &sent));
        for retrieved in [false, true] {
            if retrieved && function != MEM_DONATE_64 {
                let request = Transaction {
                    attributes: first.attributes,
                    ..Transaction::retrieve(SP1, SP2, handle, RO)
                };
                stage.retrieve(SP2, request).unwrap();
            }
            // The owner can send the region neither to the same receiver nor to another one, and
            // cannot send a part of it.
            for to in [SP2, SP3] {
                for (again, transaction) in sends(SP1, to, page) {
                    stage.run(SP1, move |sp| {
                        let layout = sp.layout;
                        sp.memory_refused(again, &transaction.encode(layout), DENIED);
                    });
                }
            }
            let larger = Transaction::share(SP1, SP3, RO, &[(page - 0x1000, 3)]);
            stage.run(SP1, move |sp| {
                let layout = sp.layout;
                sp.memory_refused(MEM_SHARE_64, &larger.encode(layout), DENIED);
            });
            // A borrower is not the owner.
            for (again, transaction) in sends(SP2, SP3, page) {
                stage.run(SP2, move |sp| {
                    let layout = sp.layout;
                    sp.memory_refused(again, &transaction.encode(layout), DENIED);
                });
            }
        }
        if function != MEM_DONATE_64 {
            stage.relinquish(SP2, handle);
        }
        stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
    }
}

// req: MEMO-10, MEMX-17, MEMX-19, MEMO-23
#[test]
fn the_normal_world_sends_nothing_twice_either() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let handle = nwd.send(
        MEM_LEND_64,
        &Transaction::lend(0, SP1, RW, &[(NWD_PAGES, 4)]),
    );
    for sender in [0, 1, 0x7fff] {
        let share = Transaction::share(sender, SP2, RO, &[(NWD_PAGES + 0x3000, 2)]);
        nwd.memory_refused(MEM_SHARE_64, &share.encode(Layout::V1_2), DENIED);
    }
    nwd.send(
        MEM_SHARE_64,
        &Transaction::share(1, SP2, RO, &[(NWD_PAGES + 0x4000, 1)]),
    );
    nwd.reclaim(handle).success();
}

// req: MEMO-14, MEMO-27, MEML-06, MEMD-33, MEMD-34, MEMD-41, MEMD-71, MEMD-73, MEMRQ-11, MEMRC-06
// req: MEMRC-07, MEMO-30
#[test]
fn several_borrowers() {
    for (function, owner_access) in [(MEM_SHARE_64, ALL), (MEM_LEND_64, NONE)] {
        let stage = Stage::new();
        let before = stage.system.snapshot();
        let (handle, page) = stage.run(SP1, move |sp| {
            let page = sp.base() + OWN_PAGES;
            let mut transaction = Transaction::share(SP1, SP2, RW, &[(page, 1)]);
            transaction.receivers.push(Receiver::new(SP3, RO));
            (sp.send(function, &transaction), page)
        });
        assert_eq!(stage.access(SP1, Secure, page), owner_access);
        let request = |own: u16, permissions: [u8; 2]| {
            let mut request = Transaction::retrieve(SP1, SP2, handle, permissions[0]);
            request.receivers.push(Receiver::new(SP3, permissions[1]));
            for receiver in &mut request.receivers {
                receiver.flags = u8::from(receiver.id != own);
            }
            request
        };
        // No receiver gets a permission that the owner did not give.
        stage.retrieve_refused(SP3, request(SP3, [RW, RW]), DENIED);
        stage.retrieve_refused(SP2, request(SP2, [RW, RW]), DENIED);
        // Smaller or unspecified permissions of other receivers make no difference.
        for others in [RO, 0] {
            stage.retrieve(SP3, request(SP3, [others, RO])).unwrap();
            assert_eq!(stage.access(SP3, Secure, page), READ);
            stage.relinquish(SP3, handle);
        }
        // No receiver may specify instruction access.
        stage.retrieve_refused(SP3, request(SP3, [RW, RO | X]), INVALID_PARAMETERS);
        stage.retrieve_refused(SP3, request(SP3, [RW, RO | NX]), INVALID_PARAMETERS);
        // A request lists all receivers, and marks those that do not retrieve.
        stage.retrieve_refused(SP3, request(SP2, [RW, RO]), INVALID_PARAMETERS);
        let mut alone = Transaction::retrieve(SP1, SP3, handle, RO);
        stage.retrieve_refused(SP3, alone.clone(), INVALID_PARAMETERS);

        stage.retrieve(SP2, request(SP2, [RW, RO])).unwrap();
        // From 1.1 on, a receiver that does not know the others can say so by a flag.
        alone.flags = 1 << 10;
        stage.retrieve(SP3, alone).unwrap();
        assert_eq!(stage.access(SP2, Secure, page), READ_WRITE);
        assert_eq!(stage.access(SP3, Secure, page), READ);
        for borrower in [SP2, SP3] {
            assert_eq!(
                stage.run(SP1, move |sp| sp.reclaim(handle, 0)).error(),
                Some(DENIED)
            );
            stage.relinquish(borrower, handle);
        }
        stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
        assert_eq!(before, stage.system.snapshot());
    }
}

// req: MEMRQ-12, MEMRQ-10, FEAT-07, RXTX-15
#[test]
fn one_retrieval_at_a_time_and_room_in_rx() {
    let stage = Stage::new();
    let handle = stage.nwd().send(
        MEM_SHARE_64,
        &Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]),
    );
    stage.run(SP1, move |sp| {
        let request = Transaction::retrieve(0, SP1, handle, RW).encode(sp.layout);
        sp.call([PARTITION_INFO_GET]).success();
        sp.memory_refused(MEM_RETRIEVE_REQ_64, &request, BUSY);
        assert_eq!(sp.peek(NonSecure, NWD_PAGES), None);
        sp.call([RX_RELEASE]).success();
        assert_eq!(
            sp.memory_call(MEM_RETRIEVE_REQ_32, &request).function(),
            MEM_RETRIEVE_RESP
        );
        sp.call([RX_RELEASE]).success();
        sp.memory_refused(MEM_RETRIEVE_REQ_64, &request, DENIED);
        assert!(sp.poke(NonSecure, NWD_PAGES, 1));
    });
}
