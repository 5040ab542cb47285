//! Systems as large as the engine takes, and calls whose cost does not depend on the size.

use host_tests::ffa::*;
use host_tests::growth::{STEPS, Size, Step, Subject};
use host_tests::schedule::operations;
use host_tests::{Nwd, PartitionSpec, System};

const CPU_OFF: u64 = 0x8400_0002;

/// Returns a partition that fails if x3 of a request is 1, and else echoes the request.
fn mortal(index: usize, contexts: u32) -> PartitionSpec {
    PartitionSpec::new(&format!("sp{index}"))
        .vcpus(contexts)
        .with(|spec| spec.takes_exceptions = false)
        .script(|sp| {
            sp.serve(|sp, request| {
                if request.0[3] == 1 {
                    sp.trap(0);
                }
                request.payload()
            })
        })
}

fn turn_off(nwd: Nwd<'_>) {
    let answer = nwd.call([DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, CPU_OFF]);
    assert_eq!(answer.0[2..4], [0x8000_0002, 0], "{answer:?}");
}

// req: MAN-08, MSGD-08, BOOT-17
#[test]
fn a_system_of_512_pes_and_62_partitions_works() {
    let specs = (0..62).map(|index| mortal(index, if index % 8 == 5 { 512 } else { 1 }));
    let builder = System::builder().pes(512).tables(4096);
    let system = specs.fold(builder, |builder, spec| builder.sp(spec)).boot();
    let all = 0x8001..=0x803e;
    for pe in [0, 511] {
        if pe > 0 {
            assert_eq!(system.turn_on(pe).function(), MSG_WAIT);
        }
        for id in all.clone() {
            assert_eq!(system.pe(pe).ask(id, [7; 5]), [7; 5]);
        }
    }
    turn_off(system.pe(511));
    assert_eq!(system.turn_on(511).function(), MSG_WAIT);
    // The last partition migrates, and the one before it with contexts for all PEs does not.
    for victim in [0x803e, 0x8036] {
        let answer = system.pe(511).request(victim, [1, 0, 0, 0, 0]);
        assert_eq!(answer.error(), Some(ABORTED));
        system
            .nwd()
            .refused([DIRECT_REQ_64, victim.into()], ABORTED);
    }
    for id in all.filter(|id| ![0x803e, 0x8036].contains(id)) {
        assert_eq!(system.pe(511).ask(id, [7; 5]), [7; 5]);
    }
}

/// Returns what each step touches.
fn costs(partitions: usize, pes: usize, contexts: u32) -> Vec<(Step, u64)> {
    let mut subject = Subject::new(Size {
        constituents: 4,
        handles: 1,
        partitions,
        pes,
        contexts,
    });
    let cost = |step: Step| (step, operations(|| subject.step(step)));
    STEPS.map(cost).to_vec()
}

/// Asserts that a system of that size costs what `small` says, but for words that stand for 64 of
/// something.
fn assert_flat(partitions: usize, pes: usize, contexts: u32, small: &[(Step, u64)]) {
    for ((step, cost), (_, least)) in costs(partitions, pes, contexts).into_iter().zip(small) {
        // Contexts whose indices differ by a multiple of 64 share a mark: who takes it away looks
        // at three words of each of them.
        let sharers = 3 * u64::from(contexts.div_ceil(64) - 1);
        let more = match step {
            // Partitions and VMs are a bit each of a set that is read twice.
            Step::NotificationInfo if partitions == 62 => 2,
            Step::NotificationGet | Step::Interrupt => sharers,
            _ => 0,
        };
        assert_eq!(cost, least + more, "{step:?}: {partitions}, {pes}");
    }
}

#[test]
fn calls_touch_as_much_in_a_large_system_as_in_a_small_one() {
    let migrating = costs(1, 1, 1);
    let pinned = costs(2, 2, 2);
    assert!(migrating.iter().chain(&pinned).all(|(_, cost)| *cost > 0));
    for (partitions, pes) in [(2, 2), (8, 8), (32, 64), (62, 512)] {
        assert_flat(partitions, pes, 1, &migrating);
        assert_flat(partitions, pes, pes as u32, &pinned);
    }
}

// Linux passes the number of its CPU ids.
// req: NTF-01, NTF-04
#[test]
fn a_kernel_is_notified_on_each_of_its_cpus() {
    for (pes, cpus) in [(4, 16), (4, 64), (16, 64), (512, 512)] {
        let notifier = PartitionSpec::new("notifier").script(|sp| {
            sp.serve(|sp, request| {
                let vcpu = request.0[3];
                let own = u64::from(sp.id) << 16;
                sp.call([NOTIFICATION_SET, own, vcpu << 16 | 1, 1])
                    .success();
                [0; 5]
            })
        });
        let system = System::builder().pes(pes).sp(notifier).boot();
        let nwd = system.nwd();
        nwd.refused([NOTIFICATION_BITMAP_CREATE, 0, 513], NO_MEMORY);
        nwd.call([NOTIFICATION_BITMAP_CREATE, 0, cpus]).success();
        nwd.call([NOTIFICATION_BIND, 0x8001 << 16, 1, 1]).success();
        for vcpu in [0, 9, cpus - 1] {
            nwd.ask(0x8001, [vcpu, 0, 0, 0, 0]);
            let told = nwd.call([NOTIFICATION_INFO_GET_64]);
            // One list of one id, of the receiver 0, with one vCPU.
            assert_eq!(told.0[2..4], [1 << 12 | 1 << 7, vcpu << 16], "{told:?}");
            let got = nwd.call([NOTIFICATION_GET, vcpu << 16, 1]).success();
            assert_eq!(got[..2], [1, 0]);
        }
    }
}
