//! Tests what another PE does between two looks of a call at the same object: a share that the call
//! unlocks and finds again, and an endpoint that dies during its own call. See `schedule::explore`.

use std::collections::BTreeSet;
use std::sync::Mutex;

use host_tests::ffa::*;
use host_tests::schedule::{Plan, Trace, explore};
use host_tests::system::NWD_PAGES;
use host_tests::{Nwd, PartitionSpec, Regs, Sp, System};
use spmc::addr::World::{NonSecure, Secure};
use spmc::limits::SLICE_PAGES;

type Body<'a> = Box<dyn FnOnce(Nwd<'a>) + Send + 'a>;

/// Begins a share of `page` and of the page behind it through the buffer at `buffer`, and leaves
/// the last range, which is not sent yet, in that buffer. Returns the handle.
fn begin_through(nwd: Nwd<'_>, buffer: u64, page: u64) -> u64 {
    let ranges = [(page, 1), (page + 0x1000, 1)];
    let bytes = Transaction::share(0, 0x8001, RW, &ranges).encode(Layout::V1_2);
    let first = bytes.len() - 16;
    nwd.write(buffer, &bytes[..first]);
    let answer = nwd.call([MEM_SHARE_64, bytes.len() as u64, first as u64, buffer, 1]);
    assert_eq!(answer.function(), MEM_FRAG_RX, "{answer:?}");
    nwd.write(buffer, &bytes[first..]);
    answer.0[1] | answer.0[2] << 32
}

fn last_fragment(nwd: Nwd<'_>, handle: u64) -> Regs {
    nwd.call([MEM_FRAG_TX, handle & 0xffff_ffff, handle >> 32, 16])
}
// req: FRAG-20, FRAG-14, MEMX-19, MEMX-11
#[test]
fn a_transaction_that_has_just_become_whole_is_kept() {
    explore(|plan| {
        let system = System::boot([PartitionSpec::new("sp1")]);
        let nwd = system.nwd();
        let before = system.snapshot();
        let page = |n: u64| 0x4200_0000 + n * 0x4000;
        let mut handles: Vec<u64> = (0..4)
            .map(|n| begin_through(nwd, NWD_PAGES + 0x1000 * n, page(n)))
            .collect();
        let (oldest, completed, fifth) = (handles[0], Mutex::new(None), Mutex::new(0));
        let begin: Body = Box::new(|nwd| {
            *fifth.lock().unwrap() = begin_through(nwd, NWD_PAGES + 0x8000, page(4));
        });
        let complete: Body = Box::new(|nwd| {
            *completed.lock().unwrap() = Some(last_fragment(nwd, oldest));
        });
        let points = system.interleave_by(plan, vec![begin, complete]);
        // The answer says whether the share is complete, or was dropped to make room.
        let answer = completed.into_inner().unwrap().unwrap();
        match answer.error() {
            Some(code) => assert_eq!(code, INVALID_PARAMETERS),
            None => drop(nwd.reclaim(answer.handle()).success()),
        }
        handles.push(fifth.into_inner().unwrap());
        for handle in &handles[1..] {
            if last_fragment(nwd, *handle).error().is_none() {
                nwd.reclaim(*handle).success();
            }
        }
        assert_eq!(system.spmc.shares.live(), 0);
        nwd.write(NWD_PAGES, &[0; 0x9000]);
        assert_eq!(before, system.snapshot());
        points
    });
}
// req: FRAG-20, MEMX-11
#[test]
fn pes_that_begin_at_once_count_each_others_transactions() {
    explore(|plan| {
        let system = System::boot([PartitionSpec::new("sp1")]);
        let nwd = system.nwd();
        for n in 0..4 {
            begin_through(nwd, NWD_PAGES + 0x1000 * n, 0x4200_0000 + n * 0x4000);
        }
        let bodies = [5, 6].map(|n| -> Body<'_> {
            Box::new(move |nwd| {
                begin_through(nwd, NWD_PAGES + 0x1000 * n, 0x4200_0000 + n * 0x4000);
            })
        });
        let points = system.interleave_by(plan, bodies.into());
        assert_eq!(system.spmc.shares.live(), 4);
        points
    });
}

/// Returns a partition with two contexts and no buffers. The second context fails when it is
/// called; the first one does `work`.
fn mortal(work: impl Fn(&mut Sp, &Regs) -> [u64; 5] + Send + Sync + 'static) -> PartitionSpec {
    PartitionSpec::new("mortal")
        .vcpus(2)
        .with(|sp| sp.takes_exceptions = false)
        .script(move |sp| {
            sp.serve(|sp, request| {
                if sp.vcpu == 1 {
                    sp.trap(0);
                }
                work(sp, request)
            })
        })
}

/// Makes a memory call with a descriptor in memory of the partition itself. While the SPMC reads
/// the descriptor, it holds no lock that the end of the partition would wait for.
fn call_through(sp: &mut Sp, function: u64, transaction: &Transaction) -> Regs {
    let buffer = sp.base() + 0x3_0000;
    let bytes = transaction.encode(sp.layout);
    sp.write(Secure, buffer, &bytes).unwrap();
    let length = bytes.len() as u64;
    sp.call([function, length, length, buffer, 1])
}

/// Lets the mortal partition 0x8001 work on PE 0 and fail on PE 1.
fn dies_meanwhile(system: &System, plan: Plan, payload: [u64; 5]) -> Trace {
    let work: Body = Box::new(move |nwd| {
        // The partition may die before, during, or after the request.
        let answer = nwd.request(0x8001, payload);
        let served = answer.function() == DIRECT_RESP_64;
        assert!(served || answer.error() == Some(ABORTED), "{answer:?}");
    });
    let die: Body = Box::new(|nwd| {
        assert_eq!(nwd.request(0x8001, [0; 5]).error(), Some(ABORTED));
    });
    let points = system.interleave_by(plan, vec![work, die]);
    system.nwd().call([RUN, 0x8001_0000]);
    system.nwd().refused([DIRECT_REQ_64, 0x8001], ABORTED);
    points
}

// Tests the check in `send` that the owner is alive.
// req: MEMX-20, MEMO-12
#[test]
fn an_owner_dies_while_it_sends() {
    explore(|plan| {
        let send = |sp: &mut Sp, _: &Regs| {
            let page = sp.base() + 0x4_0000;
            let lend = Transaction::lend(sp.id, 0x8002, RW, &[(page, 1)]);
            call_through(sp, MEM_LEND_64, &lend);
            [0; 5]
        };
        let system = System::boot([mortal(send), PartitionSpec::new("sp2")]);
        system.turn_on(1);
        let points = dies_meanwhile(&system, plan, [0; 5]);
        assert_eq!(system.spmc.shares.live(), 0, "nobody can end what it sent");
        points
    });
}

// Tests the check in `retrieve` that the caller is alive.
// req: MEMO-12, MEMRC-06, MEMX-20
#[test]
fn a_borrower_dies_while_it_retrieves() {
    explore(|plan| {
        let retrieve = |sp: &mut Sp, request: &Regs| {
            let wanted = Transaction {
                attributes: 0,
                ..Transaction::retrieve(0, sp.id, request.0[3], RW)
            };
            call_through(sp, MEM_RETRIEVE_REQ_64, &wanted);
            [0; 5]
        };
        let system = System::boot([mortal(retrieve), PartitionSpec::new("sp2")]);
        system.turn_on(1);
        let nwd = system.nwd();
        nwd.map_buffers();
        let lend = Transaction::lend(0, 0x8001, RW, &[(NWD_PAGES, 1)]);
        let handle = nwd.send(MEM_LEND_64, &lend);
        let points = dies_meanwhile(&system, plan, [handle, 0, 0, 0, 0]);
        // A dead partition has no memory.
        nwd.reclaim(handle).success();
        points
    });
}

// A transaction that is unlocked between two slices is checked again.
// req: MEMO-12, MEMRL-11, TIME-07
#[test]
fn a_borrower_dies_while_what_it_gives_back_is_zeroed() {
    const LAND: u64 = 0x4200_0000;
    const PAGES: u64 = SLICE_PAGES + 1;
    explore(|plan| {
        let work = |sp: &mut Sp, request: &Regs| {
            let [handle, gives_back, ..] = request.payload();
            if gives_back != 0 {
                // The call may end in either way.
                sp.relinquish(handle, 1);
            } else {
                sp.map_buffers();
                let wanted = Transaction {
                    attributes: 0,
                    ..Transaction::retrieve(0, sp.id, handle, RW)
                };
                sp.retrieve(&wanted).unwrap();
            }
            [0; 5]
        };
        let system = System::boot([mortal(work)]);
        system.turn_on(1);
        let nwd = system.nwd();
        nwd.map_buffers();
        let lend = Transaction::lend(0, 0x8001, RW, &[(LAND, PAGES as u32)]);
        let handle = nwd.send(MEM_LEND_64, &lend);
        nwd.ask(0x8001, [handle, 0, 0, 0, 0]);
        let points = dies_meanwhile(&system, plan, [handle, 1, 0, 0, 0]);
        // The dead partition has no memory, and the zeroing that it began is completed.
        let zeroed: u64 = {
            let journal = system.machine.journal();
            let zeroed = journal
                .zeroed
                .iter()
                .filter(|(world, _)| *world == NonSecure);
            zeroed.map(|(_, range)| range.end - range.start).sum()
        };
        assert!(zeroed == 0 || zeroed == PAGES * 0x1000, "{zeroed:#x} bytes");
        nwd.reclaim(handle).success();
        assert_eq!(system.spmc.shares.live(), 0);
        points
    });
}

// Tests the lock of `Channel::read`, which is held from the lookup of a buffer to the end of the
// copy.
// req: FRAG-03, FRAG-04, MEMO-27, MEMX-19
#[test]
fn a_buffer_is_read_by_who_owns_it_or_not_at_all() {
    const BUFFER: u64 = NWD_PAGES;
    const PAGE: u64 = NWD_PAGES + 0x4000;
    const OTHER: u64 = NWD_PAGES + 0x8000;
    let share = |page| Transaction::share(0, 0x8002, RW, &[(page, 1)]).encode(Layout::V1_2);
    explore(|plan| {
        // Writes a descriptor to a page that was lent to the borrower.
        let borrower = move |sp: &mut Sp| {
            sp.map_buffers();
            sp.serve(move |sp, request| {
                let wanted = Transaction {
                    attributes: 0,
                    ..Transaction::retrieve(0, sp.id, request.0[3], RW)
                };
                sp.retrieve(&wanted).unwrap();
                sp.write(NonSecure, BUFFER, &share(OTHER)).unwrap();
                [0; 5]
            })
        };
        let system = System::boot([
            PartitionSpec::new("sp1").script(borrower),
            PartitionSpec::new("sp2").script(|sp| {
                sp.map_buffers();
                sp.serve(|sp, request| {
                    let wanted = Transaction::retrieve(0, sp.id, request.0[3], RW);
                    let response = sp.retrieve(&wanted).unwrap();
                    [response.constituents[0].0, 0, 0, 0, 0]
                })
            }),
        ]);
        let nwd = system.nwd();
        nwd.map_buffers();
        nwd.write(BUFFER, &share(PAGE));
        let length = share(PAGE).len() as u64;
        let sent = Mutex::new(None);
        let send: Body = Box::new(|nwd| {
            let answer = nwd.call([MEM_SHARE_64, length, length, BUFFER, 1]);
            match answer.error() {
                Some(code) => assert_eq!(code, INVALID_PARAMETERS),
                None => *sent.lock().unwrap() = Some(answer.handle()),
            }
        });
        let lend: Body = Box::new(|nwd| {
            let lend = Transaction::lend(0, 0x8001, RW, &[(BUFFER, 1)]);
            let handle = nwd.send(MEM_LEND_64, &lend);
            nwd.ask(0x8001, [handle, 0, 0, 0, 0]);
        });
        let points = system.interleave_by(plan, vec![send, lend]);
        if let Some(handle) = sent.into_inner().unwrap() {
            let [page, ..] = nwd.ask(0x8002, [handle, 0, 0, 0, 0]);
            assert_eq!(page, PAGE, "the borrower wrote what the Normal world sent");
        }
        points
    });
}

/// Sends an empty indirect message to `to` in each request. Answers with the error or 0.
fn sends_to(to: u16) -> impl Fn(&mut Sp) {
    move |sp| {
        sp.map_buffers();
        sp.serve(move |sp, _| {
            let mut header = [0; 40];
            header[8] = 40;
            header[12..14].copy_from_slice(&to.to_le_bytes());
            header[14..16].copy_from_slice(&sp.id.to_le_bytes());
            sp.write(Secure, sp.tx(), &header).unwrap();
            let error = sp.call([MSG_SEND2]).error();
            [error.map_or(0, |code| code as u64), 0, 0, 0, 0]
        })
    }
}

// Each PE locks a TX and an RX, out of the same two pairs.
// req: RXTX-16
#[test]
fn messages_that_cross_do_not_dead_lock() {
    explore(|plan| {
        let partition = |name: &str, to| {
            let spec = PartitionSpec::new(name).script(sends_to(to));
            spec.with(|spec| spec.messaging = 7)
        };
        let system = System::boot([partition("sp1", 0x8002), partition("sp2", 0x8001)]);
        let bodies = [0x8001, 0x8002]
            .map(|id| -> Body<'_> { Box::new(move |nwd| assert_eq!(nwd.ask(id, [0; 5])[0], 0)) });
        system.interleave_by(plan, bodies.into())
    });
}

/// Lists what the Secure world can reach of the Normal world's memory, while another PE makes the
/// other call. Returns the answers to the list, of all orders in which that was tried.
fn listed_meanwhile(other: fn(Nwd<'_>)) -> BTreeSet<Option<i32>> {
    let answers = Mutex::new(BTreeSet::new());
    explore(|plan| {
        let system = System::builder()
            .el3(3, 3)
            .sp(PartitionSpec::new("sp1"))
            .boot();
        let nwd = system.nwd();
        assert_eq!(nwd.version(V1_3), V1_3);
        nwd.map_buffers();
        let list: Body = Box::new(|nwd| {
            let answer = nwd.call_with(Regs::new([NS_RES_INFO_GET]));
            answers.lock().unwrap().insert(answer.error());
        });
        system.interleave_by(plan, vec![list, Box::new(other)])
    });
    answers.into_inner().unwrap()
}

// req: NSRES-07
#[test]
fn a_list_during_which_a_map_changes_is_tried_again() {
    let answers = listed_meanwhile(|nwd| {
        // The page is given to nobody yet, but partitions can reach it from now on.
        let share = Transaction::share(0, 0x8001, RW, &[(NWD_PAGES, 1)]);
        let bytes = share.encode(Layout::V1_2);
        let buffer = NWD_PAGES + 0x8000;
        nwd.write(buffer, &bytes);
        let length = bytes.len() as u64;
        nwd.call([MEM_SHARE_64, length, length, buffer, 1])
            .success();
    });
    assert_eq!(answers, BTreeSet::from([None, Some(RETRY)]));
}

// req: NSRES-07
#[test]
fn a_list_is_tried_again_if_another_call_fills_the_buffer_first() {
    let answers = listed_meanwhile(|nwd| {
        let answer = nwd.call([PARTITION_INFO_GET, 0, 0, 0, 0, 0]);
        // The list may be in the buffer already.
        assert!(matches!(answer.error(), None | Some(BUSY)), "{answer:?}");
    });
    assert_eq!(answers, BTreeSet::from([None, Some(RETRY)]));
}
