//! Memory transactions at their limits: zeroing, exhausted resources, memory that disappears, and
//! partitions that die.

use host_tests::Sp;
use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::system::NWD_PAGES;
use spmc::addr::World::{NonSecure, Secure};

use crate::stage::{OWN_PAGES, SP1, SP2, SP3, Stage, TYPE_LEND};

const V12: Layout = Layout::V1_2;

// req: MEMD-78, MEMD-82, MEMD-84, MEMD-85, MEMD-86, MEMD-88, MEMD-93, MEMRL-11, MEMRL-13, MEMRC-09
// req: MEMS-06
#[test]
fn zeroing() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let lend = |flags| Transaction {
        flags,
        ..Transaction::lend(0, SP1, RW, &[(NWD_PAGES, 2)])
    };
    let request = |handle, permissions, flags| Transaction {
        attributes: 0,
        flags,
        ..Transaction::retrieve(0, SP1, handle, permissions)
    };
    let dirty = || {
        nwd.write(NWD_PAGES, &[0xaa; 0x2000]);
        nwd.write(NWD_PAGES + 0x2000, &[0xbb; 16]);
    };
    let is_zero = || {
        assert_eq!(
            nwd.read(NWD_PAGES + 0x2000, 16),
            [0xbb; 16],
            "not a byte too much"
        );
        nwd.read(NWD_PAGES, 0x2000).iter().all(|byte| *byte == 0)
    };
    // Zeroing by a flag of the sender. The receiver can insist on it, and the response reports it.
    dirty();
    let share = Transaction {
        flags: 1,
        ..Transaction::share(0, SP1, RW, &[(NWD_PAGES, 2)])
    };
    nwd.memory_refused(MEM_SHARE_64, &share.encode(V12), INVALID_PARAMETERS);
    let handle = nwd.send(MEM_LEND_64, &lend(0));
    assert!(!is_zero());
    stage.retrieve_refused(SP1, request(handle, RW, 1), DENIED);
    nwd.reclaim(handle).success();
    let handle = nwd.send(MEM_LEND_64, &lend(1));
    assert!(is_zero());
    assert_eq!(
        stage.retrieve(SP1, request(handle, RW, 1)).unwrap().flags,
        TYPE_LEND | 1
    );
    stage.relinquish(SP1, handle);
    // The region was zeroed for the first retrieval only.
    stage.retrieve_refused(SP1, request(handle, RW, 1), INVALID_PARAMETERS);

    // Zeroing by a flag of the receiver. The flag of the retrieval counts if the receiver dies; the
    // flag of the relinquishment overrides it.
    dirty();
    stage.retrieve_refused(SP1, request(handle, RO, 4), DENIED);
    for (announced, said) in [(0, 0), (0, 1), (4, 0), (4, 1)] {
        dirty();
        stage.retrieve(SP1, request(handle, RW, announced)).unwrap();
        assert!(!is_zero());
        stage
            .run(SP1, move |sp| sp.relinquish(handle, said))
            .success();
        assert_eq!(is_zero(), said == 1, "{announced} {said}");
    }
    dirty();
    stage.retrieve(SP1, request(handle, RO, 0)).unwrap();
    stage.run(SP1, move |sp| {
        sp.write(Secure, sp.tx(), &relinquish(handle, 1, &[SP1]))
            .unwrap();
        sp.refused([MEM_RELINQUISH], DENIED);
    });
    stage.relinquish(SP1, handle);
    assert!(!is_zero());
    stage.retrieve(SP1, request(handle, RW, 0)).unwrap();
    stage.run(SP1, move |sp| sp.relinquish(handle, 1)).success();
    assert!(is_zero());

    // Zeroing by a flag of the owner, when it reclaims the region.
    dirty();
    nwd.call([MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, 1])
        .success();
    assert!(is_zero());
}
// req: MEMD-82, MEMRL-11, MEMRC-09
#[test]
fn zeroing_reaches_every_range_and_nothing_in_between() {
    const RANGES: u64 = 4;
    let at = |n: u64| NWD_PAGES + n * 0x4000;
    let stage = Stage::new();
    let nwd = stage.nwd();
    let ranges: Vec<_> = (0..RANGES).map(|n| (at(n), 2)).collect();
    let dirty = || nwd.write(NWD_PAGES, &[0x77; 4 * RANGES as usize * 4096]);
    let is_zeroed = || {
        for n in 0..RANGES {
            assert_eq!(nwd.read(at(n), 0x2000), [0; 0x2000], "{n}");
            assert_eq!(nwd.read(at(n) + 0x2000, 0x2000), [0x77; 0x2000], "{n}");
        }
    };
    dirty();
    let lend = Transaction {
        flags: 1,
        ..Transaction::lend(0, SP1, RW, &ranges)
    };
    let handle = nwd.send(MEM_LEND_64, &lend);
    is_zeroed();
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(0, SP1, handle, RW)
    };
    stage.retrieve(SP1, request).unwrap();
    dirty();
    stage.run(SP1, move |sp| sp.relinquish(handle, 1)).success();
    is_zeroed();
    dirty();
    nwd.call([MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, 1])
        .success();
    is_zeroed();
}

// A borrower that set the flag for zeroing in its retrieval and died cannot override the flag.
// req: MEMD-88
#[test]
fn what_a_dead_borrower_announced_is_zeroed() {
    for flags in [0, 4] {
        let stage = Stage::with(|spec| spec.with(|sp| sp.takes_exceptions = false));
        let nwd = stage.nwd();
        nwd.write(NWD_PAGES, &[0xaa; 64]);
        let handle = nwd.send(
            MEM_LEND_64,
            &Transaction::lend(0, SP1, RW, &[(NWD_PAGES, 1)]),
        );
        let request = Transaction {
            flags,
            ..Transaction::retrieve(0, SP1, handle, RW)
        };
        stage.retrieve(SP1, request).unwrap();
        stage.kill(SP1);
        nwd.reclaim(handle).success();
        let left = if flags == 0 { 0xaa } else { 0 };
        assert_eq!(nwd.read(NWD_PAGES, 64), [left; 64]);
    }
}
// req: MEMD-85, MEMD-86, MEMRQ-25
#[test]
fn checks_of_a_retrieval_that_clients_know_the_order_of() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let zeroed = Transaction {
        flags: 1,
        ..Transaction::lend(0, SP1, RW, &[(NWD_PAGES, 1)])
    };
    let handle = nwd.send(MEM_LEND_64, &zeroed);
    let good = Transaction {
        attributes: 0,
        ..Transaction::retrieve(0, SP1, handle, RO)
    };
    // A borrower with read-only access cannot ask for zeroing.
    let read_only = Transaction {
        flags: 1,
        ..good.clone()
    };
    stage.retrieve_refused(SP1, read_only, DENIED);
    // The length is wrong as well as the sender: the error is that for the length.
    let mut sender = good.clone();
    sender.sender = SP2;
    stage.retrieve_refused(SP1, sender.clone(), DENIED);
    let mut longer = sender.encode(V12);
    longer.extend([0; 16]);
    stage.run(SP1, move |sp| {
        sp.memory_refused(MEM_RETRIEVE_REQ_64, &longer, INVALID_PARAMETERS)
    });
    // There are too many permissions and an invalid memory type: the error is that for permissions.
    let handle = nwd.send(
        MEM_LEND_64,
        &Transaction::lend(0, SP1, RO, &[(NWD_PAGES + 0x1000, 1)]),
    );
    let mut both = Transaction::retrieve(0, SP1, handle, RW);
    both.attributes = 0x30;
    stage.retrieve_refused(SP1, both.clone(), DENIED);
    both.receivers[0].permissions = RO;
    stage.retrieve_refused(SP1, both, INVALID_PARAMETERS);
}
// req: MEMD-25, MEMD-27
#[test]
fn other_borrowers_need_not_be_marked_as_such() {
    let stage = Stage::new();
    let mut share = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
    share.receivers.push(Receiver::new(SP2, RW));
    let handle = stage.nwd().send(MEM_SHARE_64, &share);
    for (own, others) in [(SP1, 0), (SP2, 0), (SP1, 1)] {
        let mut request = Transaction::retrieve(0, SP1, handle, RW);
        request.receivers.push(Receiver::new(SP2, RW));
        for receiver in &mut request.receivers {
            receiver.flags = if receiver.id == own { 0 } else { others };
        }
        stage.retrieve(own, request).unwrap();
        stage.relinquish(own, handle);
    }
}

// req: MEMRL-11, MEMD-88
#[test]
fn with_several_borrowers_the_last_one_leaves_zeros() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    nwd.write(NWD_PAGES, &[0xaa; 64]);
    let mut lend = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
    lend.receivers.push(Receiver::new(SP2, RW));
    let handle = nwd.send(MEM_LEND_64, &lend);
    for (id, flags) in [(SP1, 1 << 10 | 4), (SP2, 1 << 10)] {
        let request = Transaction {
            flags,
            ..Transaction::retrieve(0, id, handle, RW)
        };
        stage.retrieve(id, request).unwrap();
    }
    stage.run(SP1, move |sp| sp.relinquish(handle, 1)).success();
    assert_eq!(
        stage.run(SP2, |sp| sp.peek(NonSecure, NWD_PAGES)),
        Some(0xaa),
        "still in use"
    );
    stage.relinquish(SP2, handle);
    assert_eq!(nwd.read(NWD_PAGES, 64), [0; 64]);
}

// req: MEMRL-11, MEMD-88, MEMO-12
#[test]
fn what_a_dead_borrower_wanted_zeroed_stays_with_the_others_as_it_is() {
    let stage = Stage::with(|spec| spec.with(|sp| sp.takes_exceptions = false));
    let nwd = stage.nwd();
    nwd.write(NWD_PAGES, &[0xaa; 64]);
    let mut lend = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
    lend.receivers.push(Receiver::new(SP2, RW));
    let handle = nwd.send(MEM_LEND_64, &lend);
    for (id, flags) in [(SP1, 1 << 10 | 4), (SP2, 1 << 10)] {
        let request = Transaction {
            flags,
            ..Transaction::retrieve(0, id, handle, RW)
        };
        stage.retrieve(id, request).unwrap();
    }
    assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
    let seen = stage.run(SP2, |sp| sp.peek(NonSecure, NWD_PAGES));
    assert_eq!(seen, Some(0xaa));
    stage.relinquish(SP2, handle);
    assert_eq!(nwd.read(NWD_PAGES, 64), [0; 64]);
}

// req: MEMX-11, MEMX-18, MEMD-13, MEMRC-13, MEMD-15
#[test]
fn as_many_transactions_as_there_is_room_for() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let share = |n: u64| Transaction::share(0, SP1, RW, &[(0x4200_0000 + n * 0x1000, 1)]);
    let mut handles: Vec<u64> = Vec::new();
    let refused = loop {
        let n = handles.len() as u64;
        let answer = nwd.memory_call(MEM_SHARE_64, &share(n).encode(V12));
        if answer.error().is_some() {
            break n;
        }
        handles.push(answer.handle());
        assert!(n < 10_000, "a limit");
    };
    assert!(refused >= 32);
    nwd.memory_refused(MEM_SHARE_64, &share(refused).encode(V12), NO_MEMORY);
    let mut unique = handles.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), handles.len());
    nwd.reclaim(handles[3]).success();
    let again = nwd.send(MEM_SHARE_64, &share(3));
    assert!(!handles.contains(&again));
    handles[3] = again;
    for handle in handles {
        nwd.reclaim(handle).success();
    }
}

// req: MEMX-11, MEMX-18, MEMRQ-09, MEMRC-12, MEMRL-10, GEN-30
#[test]
fn running_out_of_tables_changes_nothing() {
    for tables in [18, 20, 24, 28] {
        let stage = Stage::of(|builder| builder.tables(tables), |spec| spec);
        let nwd = stage.nwd();
        let before = stage.system.snapshot();
        let mut live = Vec::new();
        let mut exhausted = false;
        for n in 0..40_u64 {
            let base = 0x4200_0000 + n * 0x20_1000;
            let share = Transaction::share(0, SP1, RW, &[(base, 1)]);
            let unsent = stage.system.snapshot();
            let answer = nwd.memory_call(MEM_SHARE_64, &share.encode(V12));
            if answer.error().is_some() {
                assert_eq!(answer.error(), Some(NO_MEMORY));
                assert_eq!(unsent, stage.system.snapshot());
                exhausted = true;
                continue;
            }
            let handle = answer.handle();
            let request = Transaction::retrieve(0, SP1, handle, RW);
            let outcome = stage.run(SP1, move |sp| {
                let unretrieved = sp.snapshot();
                let outcome = sp.retrieve(&request);
                if outcome.is_err() {
                    assert_eq!(outcome, Err(NO_MEMORY));
                    assert_eq!(unretrieved, sp.snapshot());
                }
                outcome.is_ok()
            });
            exhausted |= !outcome;
            live.push((handle, outcome));
        }
        assert!(exhausted, "{tables} tables are too many for this test");
        for (handle, retrieved) in live {
            if retrieved {
                stage.relinquish(SP1, handle);
            }
            nwd.reclaim(handle).success();
        }
        assert_eq!(before, stage.system.snapshot(), "every table came back");
    }
}

// req: MEMX-21, MEMX-18, MEMD-84
#[test]
fn memory_that_is_taken_away_ends_a_call_in_aborted() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let protect = |at| {
        stage
            .system
            .machine
            .memory()
            .protect(NonSecure, at..at + 0x1000)
    };
    let unprotect = || stage.system.machine.memory().unprotect_all();
    let lend = Transaction {
        flags: 1,
        ..Transaction::lend(0, SP1, RW, &[(NWD_PAGES, 2)])
    };
    protect(NWD_PAGES + 0x1000);
    nwd.memory_refused(MEM_LEND_64, &lend.encode(V12), ABORTED);
    unprotect();
    let handle = nwd.send(MEM_LEND_64, &lend);
    let request = Transaction {
        attributes: 0,
        flags: 4,
        ..Transaction::retrieve(0, SP1, handle, RW)
    };
    stage.retrieve(SP1, request).unwrap();
    protect(NWD_PAGES);
    stage.run(SP1, move |sp| {
        // An external abort of the partition's own access is handled by the partition.
        assert_eq!(sp.peek(NonSecure, NWD_PAGES), None);
        let before = sp.snapshot();
        assert_eq!(sp.relinquish(handle, 1).error(), Some(ABORTED));
        assert_eq!(before, sp.snapshot());
        assert_eq!(
            sp.peek(NonSecure, NWD_PAGES + 0x1000),
            Some(0),
            "still mapped"
        );
    });
    unprotect();
    stage.relinquish(SP1, handle);
    protect(NWD_PAGES);
    nwd.refused(
        [MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, 1],
        ABORTED,
    );
    unprotect();
    nwd.reclaim(handle).success();
}

// Receiver and donor keep what they had before a retrieval whose response cannot be written.
// req: MEMX-21, MEMX-18, MEMRQ-09
#[test]
fn a_response_that_cannot_be_written_undoes_the_retrieval() {
    let stage = Stage::new();
    let rx = partition_base(0) + 0x1_1000;
    let memory = || stage.system.machine.memory();
    for function in [MEM_LEND_64, MEM_DONATE_64] {
        let handle = stage.run(SP2, move |sp| {
            let page = [(sp.base() + OWN_PAGES, 1)];
            let transaction = match function {
                MEM_LEND_64 => Transaction::lend(SP2, SP1, RW, &page),
                _ => Transaction::donate(SP2, SP1, &page),
            };
            sp.send(function, &transaction)
        });
        let request = Transaction {
            attributes: 0,
            ..Transaction::retrieve(SP2, SP1, handle, RW)
        };
        memory().protect(Secure, rx..rx + 0x1000);
        stage.retrieve_refused(SP1, request.clone(), ABORTED);
        memory().unprotect_all();
        stage.retrieve(SP1, request.clone()).unwrap();
        if function == MEM_LEND_64 {
            stage.relinquish(SP1, handle);
            stage.run(SP2, move |sp| sp.reclaim(handle, 0)).success();
        }
    }
}

// req: MEMO-12, MEMD-88, MEMRC-06
#[test]
fn what_a_dead_partition_borrowed_can_be_reclaimed() {
    let stage = Stage::with(|spec| spec.with(|sp| sp.takes_exceptions = false));
    let nwd = stage.nwd();
    nwd.write(NWD_PAGES, &[0xaa; 16]);
    let lend = Transaction::lend(0, SP1, RW, &[(NWD_PAGES, 1)]);
    let handle = nwd.send(MEM_LEND_64, &lend);
    // The flag asks for zeroing at the relinquishment, which the death of the partition implies.
    let request = Transaction {
        attributes: 0,
        flags: 4,
        ..Transaction::retrieve(0, SP1, handle, RW)
    };
    stage.retrieve(SP1, request).unwrap();
    assert_eq!(nwd.reclaim(handle).error(), Some(DENIED));
    assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
    nwd.reclaim(handle).success();
    assert_eq!(nwd.read(NWD_PAGES, 16), [0; 16]);
    // A dead partition cannot be a receiver.
    nwd.memory_refused(MEM_LEND_64, &lend.encode(V12), INVALID_PARAMETERS);
    // Other partitions are not affected.
    let share = Transaction::share(0, SP2, RW, &[(NWD_PAGES, 1)]);
    let handle = nwd.send(MEM_SHARE_64, &share);
    stage
        .retrieve(SP2, Transaction::retrieve(0, SP2, handle, RW))
        .unwrap();
    assert!(stage.run(SP2, |sp| sp.poke(NonSecure, NWD_PAGES, 1)));
}

// req: MEMO-12, MEMO-08
#[test]
fn what_a_dead_partition_lent_goes_to_nobody_else() {
    let stage = Stage::with(|spec| spec.with(|sp| sp.takes_exceptions = false));
    let send = |sp: &mut Sp| {
        let page = sp.base() + OWN_PAGES;
        let held = sp.send(MEM_LEND_64, &Transaction::lend(SP1, SP2, RW, &[(page, 1)]));
        let waits = sp.send(
            MEM_LEND_64,
            &Transaction::lend(SP1, SP2, RW, &[(page + 0x1000, 1)]),
        );
        (held, waits, page)
    };
    let (held, waits, page) = stage.run(SP1, send);
    let request = |handle| Transaction {
        attributes: 0,
        ..Transaction::retrieve(SP1, SP2, handle, RW)
    };
    stage.retrieve(SP2, request(held)).unwrap();
    assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
    // A borrower keeps its access until it relinquishes.
    assert!(stage.run(SP2, move |sp| sp.poke(Secure, page, 1)));
    assert!(stage.retrieve(SP2, request(waits)).is_err());
    stage.relinquish(SP2, held);
    assert!(stage.retrieve(SP2, request(held)).is_err());
    assert_eq!(stage.run(SP3, move |sp| sp.id), SP3);
}

// req: MEMO-12, MEMO-08
#[test]
fn what_a_dead_partition_shared_ends_with_its_last_borrower() {
    let stage = Stage::with(|spec| spec.with(|sp| sp.takes_exceptions = false));
    let (handle, page) = stage.run(SP1, |sp: &mut Sp| {
        let page = sp.base() + OWN_PAGES;
        let mut share = Transaction::share(SP1, SP2, RW, &[(page, 1)]);
        share.receivers.push(Receiver::new(SP3, RW));
        (sp.send(MEM_SHARE_64, &share), page)
    });
    for id in [SP2, SP3] {
        let request = Transaction {
            flags: 1 << 10,
            ..Transaction::retrieve(SP1, id, handle, RW)
        };
        stage.retrieve(id, request).unwrap();
    }
    assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
    stage.relinquish(SP2, handle);
    assert_eq!(stage.system.spmc.shares.live(), 1);
    assert!(stage.run(SP3, move |sp| sp.poke(Secure, page, 1)));
    stage.relinquish(SP3, handle);
    assert_eq!(stage.system.spmc.shares.live(), 0);
}

// req: MEML-01, MEML-02, MEMRQ-14
#[test]
fn both_forms_of_a_lend_take_one_or_more_borrowers() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    for function in [MEM_LEND_32, MEM_LEND_64] {
        for borrowers in [&[SP2][..], &[SP2, SP3]] {
            let lend = |sender, page| {
                let mut lend = Transaction::lend(sender, SP2, RW, &[(page, 1)]);
                if borrowers.len() > 1 {
                    lend.attributes = NORMAL;
                    lend.receivers.push(Receiver::new(SP3, RW));
                }
                lend
            };
            let handles = [
                nwd.send(function, &lend(0, NWD_PAGES)),
                stage.run(SP1, {
                    let lend = lend(SP1, partition_base(0) + OWN_PAGES);
                    move |sp| sp.send(function, &lend)
                }),
            ];
            for (owner, handle) in [0, SP1].into_iter().zip(handles) {
                for borrower in borrowers {
                    let request = Transaction {
                        attributes: 0,
                        flags: TYPE_LEND | if borrowers.len() > 1 { 1 << 10 } else { 0 },
                        ..Transaction::retrieve(owner, *borrower, handle, RW)
                    };
                    // A second retrieval while the region is retrieved describes nothing; a later
                    // one describes it again.
                    let first = stage.retrieve(*borrower, request.clone()).unwrap();
                    stage.retrieve_refused(*borrower, request.clone(), DENIED);
                    stage.relinquish(*borrower, handle);
                    assert_eq!(stage.retrieve(*borrower, request).unwrap(), first);
                    stage.relinquish(*borrower, handle);
                }
            }
            nwd.reclaim(handles[0]).success();
            let own = handles[1];
            stage.run(SP1, move |sp| sp.reclaim(own, 0)).success();
        }
    }
}
