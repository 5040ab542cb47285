//! ME and INT: a Non-secure interrupt in chains of partitions, by the actions in their manifests.
//! The least permissive action applies as long as the partition that has it is in the chain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

use crate::interrupts::with_device;

#[path = "../../../cases/interrupt_chains.rs"]
mod cases;
use cases::{CHAINS, NOTHING};

const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;
const MANAGED_EXIT: u64 = 4;

/// The reaction of a partition to the interrupt.
#[derive(Clone, Copy, Debug)]
enum Action {
    Queued,
    ByFiq,
    ByIrq,
    Signaled,
}
use Action::*;

/// The actions of the partitions, in their order.
const ACTIONS: [Action; 6] = [Signaled, Signaled, ByFiq, ByIrq, Queued, Queued];

/// Calls the rest of the chain, the last member of which gets the interrupt. For the other members
/// it stays pending until the Normal world takes it.
fn member(sp: &mut Sp, request: &Regs, pending: &AtomicBool) -> [u64; 5] {
    let [path, ..] = request.payload();
    let mut seen = 0;
    if path == 0 {
        pending.store(true, SeqCst);
    } else {
        let id = u64::from(sp.id);
        let next = 0x8000 | path & 0xf;
        let mut answer = sp.call([DIRECT_REQ_64, id << 16 | next, 0, path >> 4]);
        if answer.0[0] == INTERRUPT {
            // The partition leaves after it has the answer.
            assert_eq!(answer.0[1] >> 16, next);
            answer = sp.call([RUN, answer.0[1]]);
        }
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

// req: ME-02, ME-03, ME-04, ME-05, ME-07, ME-09, INT-01, INT-02, INT-10, SINT-11, SINT-12, SINT-13
// req: SINT-14
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
