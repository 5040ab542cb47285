//! Races of memory calls. Each race runs with a preemption at every point at which one PE can be
//! stopped for another, which finds every fault that one preemption can cause. It also runs in
//! random orders. See `schedule::explore`.

use std::sync::Mutex;

use host_tests::ffa::*;
use host_tests::schedule::explore;
use host_tests::system::{NWD_PAGES, NWD_TX};
use host_tests::{Nwd, PartitionSpec, Sp, System};
use spmc::addr::World::{NonSecure, Secure};

type Body<'a> = Box<dyn FnOnce(Nwd<'a>) + Send + 'a>;

/// Runs a partition that retrieves, and relinquishes unless it is told to keep the region. The
/// first result is the error.
fn borrower(sp: &mut Sp) {
    sp.map_buffers();
    sp.serve(|sp, request| {
        let (handle, owner, page) = (request.0[3], request.0[4] as u16, request.0[5]);
        let wanted = Transaction {
            attributes: 0,
            ..Transaction::retrieve(owner, sp.id, handle, RW)
        };
        let world = if owner == 0 { NonSecure } else { Secure };
        let code = match sp.retrieve(&wanted) {
            Ok(_) => {
                assert!(sp.poke(world, page, 5), "it cannot use what it retrieved");
                if request.0[6] == 0 {
                    sp.relinquish(handle, 0).success();
                    assert!(!sp.poke(world, page, 5));
                }
                0
            }
            Err(code) => {
                assert!(!sp.poke(world, page, 5), "it was refused, and has it");
                code
            }
        };
        [code as u64, 0, 0, 0, 0]
    });
}

fn ask_borrower(nwd: Nwd<'_>, id: u16, handle: u64, keep: bool) -> i32 {
    nwd.ask(id, [handle, 0, NWD_PAGES, keep.into(), 0])[0] as i32
}

// req: MEMX-19, MEMX-09, MEMX-17, RXTX-16
#[test]
fn two_sends_of_the_same_pages() {
    explore(|plan| {
        let system = System::boot([PartitionSpec::new("sp1")]);
        system.nwd().map_buffers();
        let before = system.snapshot();
        let share = Transaction::share(0, 0x8001, RW, &[(NWD_PAGES, 2), (NWD_PAGES + 0x4000, 1)]);
        let bytes = share.encode(Layout::V1_2);
        system.nwd().write(NWD_TX, &bytes);
        let length = bytes.len() as u64;
        let handles = Mutex::new(Vec::new());
        let body = |nwd: Nwd<'_>| {
            let answer = nwd.call([MEM_SHARE_64, length, length]);
            match answer.error() {
                Some(code) => assert_eq!(code, DENIED),
                None => handles.lock().unwrap().push(answer.handle()),
            }
        };
        let points = system.interleave_by(plan, vec![Box::new(body), Box::new(body)]);
        let handles = handles.into_inner().unwrap();
        assert_eq!(handles.len(), 1, "exactly one wins");
        system.nwd().reclaim(handles[0]).success();
        assert_eq!(before, system.snapshot());
        points
    });
}

/// Begins a share of `ranges`, the last of which is left for another fragment. Returns the handle.
fn begin(nwd: Nwd<'_>, ranges: &[(u64, u32)]) -> u64 {
    let bytes = Transaction::share(0, 0x8001, RW, ranges).encode(Layout::V1_2);
    let first = bytes.len() - 16;
    nwd.write(NWD_TX, &bytes[..first]);
    let answer = nwd.call([MEM_SHARE_64, bytes.len() as u64, first as u64]);
    assert_eq!(answer.function(), MEM_FRAG_RX, "{answer:?}");
    nwd.write(NWD_TX, &bytes[first..]);
    answer.0[1] | answer.0[2] << 32
}

fn last_fragment(nwd: Nwd<'_>, handle: u64) -> Regs {
    nwd.call([MEM_FRAG_TX, handle & 0xffff_ffff, handle >> 32, 16])
}

// req: FRAG-20, FRAG-21, MEMX-19, MEMX-09, MEMX-17
#[test]
fn two_sends_of_which_one_page_is_the_same() {
    explore(|plan| {
        let system = System::boot([PartitionSpec::new("sp1")]);
        let nwd = system.nwd();
        nwd.map_buffers();
        let before = system.snapshot();
        let page = |n: u64| (NWD_PAGES + n * 0x1000, 1);
        let handles = [
            begin(nwd, &[page(0), page(4)]),
            begin(nwd, &[page(2), page(4)]),
        ];
        let won = Mutex::new(Vec::new());
        let bodies = handles.map(|handle| -> Body<'_> {
            let won = &won;
            Box::new(move |nwd| {
                let answer = last_fragment(nwd, handle);
                match answer.error() {
                    Some(code) => assert_eq!(code, DENIED),
                    None => won.lock().unwrap().push(answer.handle()),
                }
            })
        });
        let points = system.interleave_by(plan, bodies.into());
        let won = won.into_inner().unwrap();
        assert_eq!(won.len(), 1, "exactly one wins");
        nwd.reclaim(won[0]).success();
        assert_eq!(before, system.snapshot());
        points
    });
}

// req: FRAG-14, FRAG-20, MEMX-19
#[test]
fn the_same_fragment_twice_at_once() {
    explore(|plan| {
        let system = System::boot([PartitionSpec::new("sp1")]);
        let nwd = system.nwd();
        nwd.map_buffers();
        let before = system.snapshot();
        let handle = begin(nwd, &[(NWD_PAGES, 1), (NWD_PAGES + 0x2000, 1)]);
        let accepted = Mutex::new(0);
        let body = |nwd: Nwd<'_>| {
            let answer = last_fragment(nwd, handle);
            match answer.error() {
                Some(code) => assert_eq!(code, INVALID_PARAMETERS),
                None => *accepted.lock().unwrap() += 1,
            }
        };
        let points = system.interleave_by(plan, vec![Box::new(body), Box::new(body)]);
        assert_eq!(accepted.into_inner().unwrap(), 1, "exactly one wins");
        nwd.reclaim(handle).success();
        assert_eq!(before, system.snapshot());
        points
    });
}

// req: MEMRC-06, MEMRC-13, MEMRQ-11, MEMDN-05, MEMDN-06, MEMO-26
#[test]
fn retrieve_against_reclaim() {
    for donate in [false, true] {
        explore(|plan| {
            let system = System::boot([PartitionSpec::new("sp1").script(borrower)]);
            let nwd = system.nwd();
            nwd.map_buffers();
            let ranges = [(NWD_PAGES, 1)];
            let handle = if donate {
                nwd.send(MEM_DONATE_64, &Transaction::donate(0, 0x8001, &ranges))
            } else {
                nwd.send(MEM_LEND_64, &Transaction::lend(0, 0x8001, RW, &ranges))
            };
            let retrieved = Mutex::new(None);
            let reclaimed = Mutex::new(None);
            let retrieve: Body = Box::new(|nwd| {
                *retrieved.lock().unwrap() = Some(ask_borrower(nwd, 0x8001, handle, true));
            });
            let reclaim: Body = Box::new(|nwd| {
                *reclaimed.lock().unwrap() = Some(nwd.reclaim(handle).error());
            });
            let points = system.interleave_by(plan, vec![retrieve, reclaim]);
            let outcome = (
                retrieved.into_inner().unwrap(),
                reclaimed.into_inner().unwrap(),
            );
            let late = if donate { INVALID_PARAMETERS } else { DENIED };
            assert!(
                outcome == (Some(0), Some(Some(late)))
                    || outcome == (Some(INVALID_PARAMETERS), Some(None)),
                "exactly one wins: {outcome:?}"
            );
            points
        });
    }
}

// req: MEMRL-08, MEMRC-06, MEMRC-07, MEMRL-14
#[test]
fn relinquish_against_reclaim() {
    explore(|plan| {
        let system = System::boot([PartitionSpec::new("sp1").script(borrower)]);
        let nwd = system.nwd();
        nwd.map_buffers();
        let before = system.snapshot();
        let lend = Transaction::lend(0, 0x8001, RW, &[(NWD_PAGES, 1)]);
        let handle = nwd.send(MEM_LEND_64, &lend);
        let borrow: Body = Box::new(|nwd| {
            let code = ask_borrower(nwd, 0x8001, handle, false);
            assert!(matches!(code, 0 | INVALID_PARAMETERS), "{code}");
        });
        let reclaim: Body = Box::new(|nwd| {
            let mut answer = nwd.reclaim(handle);
            while answer.error().is_some() {
                assert_eq!(answer.error(), Some(DENIED));
                answer = nwd.reclaim(handle);
            }
        });
        let points = system.interleave_by(plan, vec![borrow, reclaim]);
        assert_eq!(before, system.snapshot());
        points
    });
}

// req: MEMRL-08, MEMRL-13, MEMRQ-11
#[test]
fn relinquish_of_one_borrower_against_retrieve_of_another() {
    // Both borrowers ask for zeroing: the page is zeroed once no borrower has it, and never while
    // one has it.
    let script = |sp: &mut Sp| {
        sp.map_buffers();
        sp.serve(|sp, request| {
            let handle = request.0[3];
            let mut wanted = Transaction::retrieve(0, sp.id, handle, RW);
            wanted.attributes = 0;
            let mut other = Receiver::new(0x8001 + (sp.id & 1), RW);
            other.flags = 1;
            wanted.receivers.push(other);
            if request.0[4] == 0 {
                sp.retrieve(&wanted).unwrap();
                assert!(sp.poke(NonSecure, NWD_PAGES, 7));
                assert_eq!(
                    sp.peek(NonSecure, NWD_PAGES),
                    Some(7),
                    "zeroed under its hands"
                );
            } else {
                sp.relinquish(handle, 1).success();
                assert!(!sp.poke(NonSecure, NWD_PAGES, 5));
            }
            [0; 5]
        });
    };
    explore(|plan| {
        let system = System::boot([
            PartitionSpec::new("sp1").script(script),
            PartitionSpec::new("sp2").script(script),
        ]);
        let nwd = system.nwd();
        nwd.map_buffers();
        let mut lend = Transaction::share(0, 0x8001, RW, &[(NWD_PAGES, 1)]);
        lend.receivers.push(Receiver::new(0x8002, RW));
        let handle = nwd.send(MEM_LEND_64, &lend);
        nwd.ask(0x8001, [handle, 0, 0, 0, 0]);
        let leave: Body = Box::new(|nwd| {
            nwd.ask(0x8001, [handle, 1, 0, 0, 0]);
        });
        let come: Body = Box::new(|nwd| {
            nwd.ask(0x8002, [handle, 0, 0, 0, 0]);
        });
        let points = system.interleave_by(plan, vec![leave, come]);
        nwd.ask(0x8002, [handle, 1, 0, 0, 0]);
        assert_eq!(nwd.read(NWD_PAGES, 1), [0], "the last one left");
        nwd.reclaim(handle).success();
        points
    });
}

// req: MEMDN-05, MEMDN-06, MEMX-19
#[test]
fn two_partitions_retrieve_donations_of_each_other() {
    let script = |sp: &mut Sp| {
        sp.map_buffers();
        sp.serve(|sp, request| {
            let (handle, other) = (request.0[3], 0x8001 + (sp.id & 1));
            if handle == 0 {
                let page = sp.base() + 0x4_0000;
                let donate = Transaction::donate(sp.id, other, &[(page, 1)]);
                return [sp.send(MEM_DONATE_64, &donate), page, 0, 0, 0];
            }
            let wanted = Transaction::retrieve(other, sp.id, handle, RW);
            sp.retrieve(&Transaction {
                attributes: 0,
                ..wanted
            })
            .unwrap();
            assert!(sp.poke(Secure, request.0[4], 1), "it is its own now");
            [0; 5]
        });
    };
    explore(|plan| {
        let system = System::boot([
            PartitionSpec::new("sp1").script(script),
            PartitionSpec::new("sp2").script(script),
        ]);
        let nwd = system.nwd();
        let donations = [0x8001, 0x8002].map(|id| nwd.ask(id, [0; 5]));
        let bodies = [(0x8001, 1), (0x8002, 0)].map(|(id, donation)| -> Body<'_> {
            let [handle, page, ..] = donations[donation];
            Box::new(move |nwd| {
                nwd.ask(id, [handle, page, 0, 0, 0]);
            })
        });
        let points = system.interleave_by(plan, bodies.into());
        assert_eq!(system.spmc.shares.live(), 0);
        points
    });
}

// req: RXTX-16, RXTX-27, MEMX-03
#[test]
fn send_against_unmap() {
    explore(|plan| {
        let system = System::boot([PartitionSpec::new("sp1")]);
        let nwd = system.nwd();
        nwd.map_buffers();
        let bytes = Transaction::share(0, 0x8001, RW, &[(NWD_PAGES, 1)]).encode(Layout::V1_2);
        nwd.write(NWD_TX, &bytes);
        let length = bytes.len() as u64;
        let send: Body = Box::new(|nwd| {
            let answer = nwd.call([MEM_SHARE_64, length, length]);
            match answer.error() {
                Some(code) => assert_eq!(code, INVALID_PARAMETERS),
                None => drop(nwd.reclaim(answer.handle()).success()),
            }
        });
        let unmap: Body = Box::new(|nwd| {
            nwd.call([RXTX_UNMAP]).success();
        });
        let points = system.interleave_by(plan, vec![send, unmap]);
        nwd.map_buffers();
        assert_eq!(system.spmc.shares.live(), 0);
        points
    });
}

// req: MEMX-20, MSGW-16, MEMO-12, MSGD-08
#[test]
fn a_sender_dies_while_it_sends() {
    explore(|plan| {
        let system = System::boot([
            PartitionSpec::new("mp")
                .vcpus(2)
                .with(|sp| sp.takes_exceptions = false)
                .script(|sp| {
                    if sp.vcpu == 0 {
                        sp.map_buffers();
                    }
                    sp.serve(|sp, _| {
                        if sp.vcpu == 1 {
                            sp.trap(0);
                        }
                        let page = sp.base() + 0x4_0000;
                        let lend = Transaction::lend(sp.id, 0x8002, RW, &[(page, 1)]);
                        let bytes = lend.encode(sp.layout);
                        sp.memory_call(MEM_LEND_64, &bytes);
                        [0; 5]
                    })
                }),
            PartitionSpec::new("sp2"),
        ]);
        system.turn_on(1);
        let send: Body = Box::new(|nwd| {
            // The partition may die before, during, or after the request.
            let answer = nwd.request(0x8001, [0; 5]);
            let served = answer.function() == DIRECT_RESP_64;
            assert!(served || answer.error() == Some(ABORTED), "{answer:?}");
        });
        let die: Body = Box::new(|nwd| {
            let answer = nwd.request(0x8001, [0; 5]);
            assert_eq!(answer.error(), Some(ABORTED));
        });
        let points = system.interleave_by(plan, vec![send, die]);
        let nwd = system.nwd();
        nwd.call([RUN, 0x8001_0000]);
        nwd.refused([DIRECT_REQ_64, 0x8001], ABORTED);
        assert_eq!(system.spmc.shares.live(), 0, "nobody can end what it sent");
        points
    });
}
