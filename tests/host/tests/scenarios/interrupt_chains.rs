//! ME and INT: a Non-secure interrupt in chains of partitions, by the actions that their manifests want. The least permissive one in the chain wins as
//! long as whoever has it is in the chain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

use crate::interrupts::with_device;

const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;
const MANAGED_EXIT: u64 = 4;

/// What a partition is to do about it.
#[derive(Clone, Copy, Debug)]
enum Action {
    Queued,
    ByFiq,
    ByIrq,
    Signaled,
}
use Action::*;

/// Partitions by number, from 1 on. Even ones have a context for each PE.
const ACTIONS: [Action; 6] = [Signaled, Signaled, ByFiq, ByIrq, Queued, Queued];

/// What a member of a chain sees.
const NOTHING: u64 = 0;
const IRQ: u64 = 1;
const FIQ: u64 = 2;

/// A chain: its members; whether the Normal world is told of the interrupt before the answer; what the members see.
type Case = (&'static [u64], bool, &'static [u64]);

const CHAINS: &[Case] = &[
    (&[1], true, &[NOTHING]),
    (&[2], true, &[NOTHING]),
    (&[3], false, &[FIQ]),
    (&[4], false, &[IRQ]),
    (&[5], false, &[NOTHING]),
    (&[6], false, &[NOTHING]),
    // Neither has managed exit, only the caller, only the callee, both.
    (&[1, 2], true, &[NOTHING, NOTHING]),
    (&[3, 1], false, &[FIQ, NOTHING]),
    (&[4, 2], false, &[IRQ, NOTHING]),
    (&[1, 3], true, &[NOTHING, FIQ]),
    (&[2, 4], true, &[NOTHING, IRQ]),
    (&[3, 4], false, &[FIQ, IRQ]),
    (&[4, 3], false, &[IRQ, FIQ]),
    (&[5, 1], false, &[NOTHING, NOTHING]),
    (&[5, 3], false, &[NOTHING, NOTHING]),
    (&[6, 4], false, &[NOTHING, NOTHING]),
    (&[1, 5], true, &[NOTHING, NOTHING]),
    (&[3, 6], false, &[FIQ, NOTHING]),
    // Chains of three.
    (&[1, 2, 3], true, &[NOTHING, NOTHING, FIQ]),
    (&[3, 1, 2], false, &[FIQ, NOTHING, NOTHING]),
    (&[3, 4, 1], false, &[FIQ, IRQ, NOTHING]),
    (&[1, 3, 5], true, &[NOTHING, FIQ, NOTHING]),
    (&[3, 5, 4], false, &[FIQ, NOTHING, NOTHING]),
    (&[6, 3, 1], false, &[NOTHING, NOTHING, NOTHING]),
];

/// Calls the rest of the chain, of which the last member gets the interrupt; it stays pending for the others until the Normal world takes it.
fn member(sp: &mut Sp, request: &Regs, pending: &AtomicBool) -> [u64; 5] {
    let [path, ..] = request.payload();
    let mut seen = 0;
    if path == 0 {
        pending.store(true, SeqCst);
    } else {
        let id = u64::from(sp.id);
        let next = 0x8000 | path & 0xf;
        let answer = sp.call([DIRECT_REQ_64, id << 16 | next, 0, path >> 4]);
        assert_eq!(answer.0[0], DIRECT_RESP_64);
        seen = answer.payload()[0];
    }
    if pending.load(SeqCst) {
        sp.interrupt();
    }
    let (irq, fiq) = sp.signals();
    let own = u64::from(irq) | u64::from(fiq) << 1;
    if own != NOTHING {
        assert_eq!(sp.call([GET]).0[0], MANAGED_EXIT);
        assert_eq!(sp.call([DEACTIVATE, MANAGED_EXIT, MANAGED_EXIT]).0[0], 0);
        assert!(!sp.interrupt(), "masked until it answers");
    }
    [seen << 4 | own, 0, 0, 0, 0]
}

fn packed(numbers: &[u64]) -> u64 {
    numbers.iter().rev().fold(0, |rest, one| rest << 4 | one)
}

// req: ME-02, ME-03, ME-04, ME-05, ME-07, ME-09, INT-01, INT-02, INT-10
#[test]
fn the_least_permissive_action_wins() {
    let pending = Arc::new(AtomicBool::new(false));
    let partitions = ACTIONS.iter().enumerate().map(|(n, action)| {
        let pending = Arc::clone(&pending);
        let spec = PartitionSpec::new(&format!("sp{}", n + 1))
            .vcpus(if n % 2 == 0 { 1 } else { 4 })
            .with(|spec| {
                spec.ns_interrupts = match action {
                    Queued => 0,
                    ByFiq | ByIrq => 1,
                    Signaled => 2,
                };
            });
        let spec = match action {
            ByIrq => with_device(spec, &[50], &["managed-exit-virq"]),
            _ => spec,
        };
        spec.script(move |sp| {
            let pending = Arc::clone(&pending);
            sp.serve(move |sp, request| member(sp, request, &pending))
        })
    });
    let system = System::boot(partitions);
    system.turn_on(1);
    for pe in 0..2 {
        let nwd = system.pe(pe);
        for (members, preempts, sees) in CHAINS {
            let root = 0x8000 | members[0] as u16;
            let index = if root.is_multiple_of(2) { pe as u64 } else { 0 };
            let root_context = u64::from(root) << 16 | index;
            let mut answer = nwd.request(root, [packed(members) >> 4, 0, 0, 0, 0]);
            if *preempts {
                assert_eq!(answer.0[..2], [INTERRUPT, root_context], "{members:?}");
                assert!(pending.swap(false, SeqCst));
                answer = nwd.call([RUN, root_context]);
            }
            assert_eq!(answer.0[0], DIRECT_RESP_64, "{members:?}: {answer:?}");
            assert_eq!(answer.payload()[0], packed(sees), "{members:?}");
            assert_eq!(pending.swap(false, SeqCst), !preempts, "{members:?}");
        }
    }
}
