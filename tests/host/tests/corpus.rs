//! Runs call scripts with random registers. The engine never panics, the Normal world always gets
//! an answer, and a partition that none of the calls concern keeps working. `HOST_CORPUS_CALLS` is
//! the number of calls that the Normal world makes.

use std::collections::BTreeMap;

use host_tests::ffa::*;
use host_tests::machine::{NORMAL_RAM, SECURE_RAM};
use host_tests::manifest::partition_base;
use host_tests::schedule::Random;
use host_tests::system::{NWD_PAGES, NWD_RX, NWD_TX};
use host_tests::{PartitionSpec, Regs, Sp, System};
use spmc::addr::World::Secure;

/// The functions with which a call may return to the Normal world.
const ANSWERS: [u64; 9] = [
    ERROR,
    SUCCESS_32,
    INTERRUPT,
    MSG_WAIT,
    DIRECT_RESP_32,
    DIRECT_RESP_64,
    MEM_RETRIEVE_RESP,
    NORMAL_WORLD_RESUME,
    SUCCESS_64,
];

/// Returns a register of a wild call: a value that has a meaning in some call, or any value.
fn register(random: &mut Random, handles: &[u64]) -> u64 {
    match random.below(12) {
        0..=3 => 0,
        4 => random.below(64),
        5 => random.pick(&[
            NWD_TX,
            NWD_RX,
            NWD_PAGES,
            partition_base(0) + 0x4_0000,
            0x0e10_0000,
            NORMAL_RAM.end,
        ]),
        6 => {
            let id = || [0, 1, 0x8000, 0x8001, 0x8002, 0x8003, 0x8004, 0xffff];
            random.pick(&id()) << 16 | random.pick(&id())
        }
        7 => random.pick(&[
            0x8000_0000,
            0x8000_0008,
            1 << 31,
            u64::MAX,
            0x1_0000,
            0x1_0002,
        ]),
        8 if !handles.is_empty() => random.pick(handles),
        9 => 0x8400_0060 + random.below(0x38),
        10 => 1 << random.below(64),
        _ => random.bits(),
    }
}

/// The registers of a call, and the contents of TX before it.
struct Call {
    regs: [u64; 8],
    tx: Option<Vec<u8>>,
}

/// Returns a call of `sender`, whose buffers are at `tx`. Half of the calls are likely to succeed.
fn call(random: &mut Random, sender: u16, tx: u64, page: u64, handles: &[u64]) -> Call {
    let plain = |regs: &[u64]| {
        let mut all = [0; 8];
        all[..regs.len()].copy_from_slice(regs);
        Call {
            regs: all,
            tx: None,
        }
    };
    match random.below(20) {
        0..=4 => {
            let (function, bytes) = descriptor(random, sender, page, handles);
            let length = bytes.len() as u64;
            let lengths = if function == MEM_RELINQUISH {
                [0, 0]
            } else {
                [length, length]
            };
            Call {
                tx: Some(bytes),
                ..plain(&[function, lengths[0], lengths[1]])
            }
        }
        5 if !handles.is_empty() => {
            let handle = random.pick(handles);
            plain(&[
                MEM_RECLAIM,
                handle & 0xffff_ffff,
                handle >> 32,
                random.below(2),
            ])
        }
        6 => plain(&[random.pick(&[RX_RELEASE, RX_RELEASE, RXTX_UNMAP, PARTITION_INFO_GET])]),
        7 => plain(&[RXTX_MAP_64, tx, tx + 0x1000, 1]),
        8 | 9 => {
            let ids = u64::from(sender) << 16 | random.pick(&[0x8001, 0x8002, 0x8003]);
            plain(&[
                random.pick(&[DIRECT_REQ_32, DIRECT_REQ_64]),
                ids,
                0,
                random.bits(),
            ])
        }
        10 => plain(&[
            RUN,
            random.pick(&[0x8001_0000, 0x8002_0000, 0x8002_0001, 0x8003_0000]),
        ]),
        _ => {
            let mut regs = [0; 8].map(|_: u64| register(random, handles));
            let base = random.pick(&[0x8400_0000, 0xc400_0000]);
            if random.below(16) != 0 {
                regs[0] = base + 0x60 + random.below(0x38);
            }
            Call { regs, tx: None }
        }
    }
}

/// Returns a memory call and its descriptor, which is valid except for a few bytes now and then.
fn descriptor(random: &mut Random, sender: u16, page: u64, handles: &[u64]) -> (u64, Vec<u8>) {
    let receiver = random.pick(&[0x8001, 0x8002, 0x8003]);
    let ranges = [(page + random.below(8) * 0x1000, 1 + random.below(3) as u32)];
    let permissions = random.pick(&[RO, RW]);
    let handle = if handles.is_empty() {
        0
    } else {
        random.pick(handles)
    };
    // The first partition has version 1.2, the second 1.1.
    let layout = if sender == 0x8002 {
        Layout::V1_1
    } else {
        Layout::V1_2
    };
    let (function, mut bytes) = match random.below(6) {
        0 => (
            MEM_SHARE_64,
            Transaction::share(sender, receiver, permissions, &ranges).encode(layout),
        ),
        1 => (
            MEM_LEND_64,
            Transaction::lend(sender, receiver, permissions, &ranges).encode(layout),
        ),
        2 => (
            MEM_DONATE_64,
            Transaction::donate(sender, receiver, &ranges).encode(layout),
        ),
        3 => (MEM_RELINQUISH, relinquish(handle, 0, &[sender])),
        _ => {
            let owner = random.pick(&[0, 0x8001, 0x8002]);
            let request = Transaction {
                attributes: 0,
                ..Transaction::retrieve(owner, sender, handle, permissions)
            };
            (MEM_RETRIEVE_REQ_64, request.encode(layout))
        }
    };
    if random.below(3) == 0 {
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.pick(&[0, 1, 2, 0x10, 0x2f, 0x80, 0xff]) ^ random.below(2) as u8;
        }
    }
    (function, bytes)
}

/// Returns handles in the engine's numbering, which a partition can only guess.
fn guesses() -> Vec<u64> {
    (1..4)
        .flat_map(|generation| (0..6).map(move |slot| generation << 16 | slot))
        .collect()
}

/// Runs a partition that makes arbitrary calls, but answers each request in the end.
fn wild(sp: &mut Sp) {
    let mut random = Random::new(u64::from(sp.id) * 77 + u64::from(sp.vcpu));
    let page = sp.base() + 0x4_0000;
    if sp.vcpu == 0 {
        sp.map_buffers();
    }
    let mut handles = guesses();
    let mut message = sp.msg_wait();
    loop {
        let is_request = matches!(message.function(), DIRECT_REQ_32 | DIRECT_REQ_64);
        for _ in 0..random.below(4) {
            if random.below(40) == 0 {
                sp.interrupt();
            }
            if random.below(40) == 0 {
                sp.peek(Secure, SECURE_RAM.start + random.below(0x800) * 0x1000);
            }
            let Call { regs, tx } = call(&mut random, sp.id, sp.tx(), page, &handles);
            // A request must be answered before its end, and these functions would end it.
            let function = regs[0] & 0xffff_ffff & !(1 << 16);
            if matches!(function, ERROR | MSG_WAIT | DIRECT_RESP_32 | DIRECT_RESP_64) {
                continue;
            }
            if let Some(bytes) = tx {
                // TX may belong to another endpoint by now.
                let _ = sp.write(Secure, sp.tx(), &bytes);
            }
            let answer = sp.call(regs);
            if matches!(regs[0], MEM_SHARE_64 | MEM_LEND_64) && answer.function() == SUCCESS_32 {
                handles[random.below(18) as usize] = answer.handle();
            }
        }
        message = if is_request {
            sp.respond(&message, [1, 2, 3, 4, 5])
        } else {
            sp.msg_wait()
        };
        if message.error().is_some() {
            // A refused answer means that no request is in progress.
            message = sp.msg_wait();
        }
    }
}

fn check(answer: &Regs, regs: &[u64; 8]) {
    let function = answer.function();
    // FFA_VERSION and calls outside of FF-A have their results in w0.
    let is_plain = function >> 16 == 1 || function == 0xffff_ffff || function == u64::MAX;
    assert!(
        ANSWERS.contains(&function) || is_plain,
        "{regs:x?}: {answer:?}"
    );
    if let Some(code) = answer.error() {
        assert!((-9..0).contains(&code), "{regs:x?}: {answer:?}");
    }
}

// req: GEN-10, GEN-12, GEN-28, GEN-30, GEN-04, RXTX-17, MEMX-03, STAT-01, STAT-02
#[test]
fn random_calls_never_break_anything() {
    let calls: u64 = std::env::var("HOST_CORPUS_CALLS")
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(100_000);
    const ROUNDS: u64 = 20;
    let mut outcomes = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut random = Random::new(round + 1);
        let system = System::builder()
            .seed(round)
            .tables(random.pick(&[24, 64, 256]))
            .sp(PartitionSpec::new("wild1").script(wild))
            .sp(PartitionSpec::new("wild2").version(1).vcpus(2).script(wild))
            .sp(PartitionSpec::new("tame"))
            .boot();
        let nwd = system.nwd();
        if round % 2 == 0 {
            nwd.map_buffers();
        }
        let mut handles = guesses();
        let mut interrupted = None;
        for _ in 0..calls / ROUNDS {
            let Call { mut regs, tx } = call(&mut random, 0, NWD_TX, NWD_PAGES, &handles);
            if let Some(bytes) = tx {
                nwd.write(NWD_TX, &bytes);
            }
            if let Some(target) = interrupted.take_if(|_| random.below(3) == 0) {
                regs = [RUN, target, 0, 0, 0, 0, 0, 0];
            }
            let answer = system.pe(random.below(2) as usize).call(regs);
            check(&answer, &regs);
            if answer.function() == INTERRUPT {
                interrupted = Some(answer.0[1]);
            }
            if matches!(regs[0], MEM_SHARE_64 | MEM_LEND_64) && answer.function() == SUCCESS_32 {
                handles[random.below(18) as usize] = answer.handle();
            }
            *outcomes.entry(answer.function()).or_insert(0_u64) += 1;
        }
        system.machine.check_tlbs();
        // The tame partition is not affected.
        assert_eq!(nwd.ask(0x8003, [5; 5]), [5; 5]);
    }
    for answer in [
        SUCCESS_32,
        ERROR,
        DIRECT_RESP_32,
        DIRECT_RESP_64,
        INTERRUPT,
        MSG_WAIT,
    ] {
        assert!(
            outcomes.contains_key(&answer),
            "{answer:#x} never came back: {outcomes:x?}"
        );
    }
}
