//! Framework messages to partitions: power management from the SPMD, availability of VMs from a
//! Hypervisor (v1.1 section 18).

use std::sync::{Arc, Mutex};

use host_tests::ffa::*;
use host_tests::{Nwd, PartitionSpec, Regs, Sp, System};

const CPU_SUSPEND: u64 = 0x8400_0001;
const CPU_SUSPEND_64: u64 = 0xc400_0001;
const CPU_OFF: u64 = 0x8400_0002;
const PSCI: u64 = 0x8000_0000;
const WARM_BOOT: u64 = 0x8000_0001;
const PSCI_RESPONSE: u64 = 0x8000_0002;
const PSCI_DENIED: u64 = 0xffff_fffd;

type Log = Arc<Mutex<Vec<(u16, u16, [u64; 3])>>>;

/// Returns the SPMD's answer to a message of `kind` with that w3.
fn spmd(nwd: Nwd<'_>, kind: u64, w3: u64) -> u64 {
    let answer = nwd.call([DIRECT_REQ_32, 0xffff_8000, kind, w3, 4, 5]);
    assert_eq!(answer.0[..3], [DIRECT_RESP_32, 0x8000_ffff, PSCI_RESPONSE]);
    assert_eq!(answer.0[4..], [0; 14]);
    answer.0[3]
}

/// Returns a partition that answers power management with `status`, logs it, and serves requests.
fn subscriber(name: &str, order: u32, messages: u32, log: &Log, status: u64) -> PartitionSpec {
    let log = Arc::clone(log);
    PartitionSpec::new(name)
        .vcpus(2)
        .with(|sp| sp.boot_order = Some(order))
        .property("power-management-messages", messages)
        .script(move |sp| {
            let own = u64::from(sp.id);
            let mut next = sp.msg_wait();
            loop {
                next = if next.0[2] == 0 {
                    let payload = next.payload();
                    sp.respond(&next, payload)
                } else {
                    assert_eq!(next.0[..2], [DIRECT_REQ_32, 0x8000_0000 | own]);
                    assert_eq!(next.0[4..], [4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                    let [_, _, kind, w3, ..] = next.0;
                    log.lock().unwrap().push((sp.id, sp.vcpu, [kind, w3, 0]));
                    // The Normal world waits for its PE to go off.
                    assert!(!sp.interrupt());
                    sp.refused([DIRECT_REQ_64, own << 16 | 0x8003], DENIED);
                    sp.refused([RUN, 0x8003_0000], DENIED);
                    sp.refused([YIELD], DENIED);
                    sp.refused([MSG_WAIT], DENIED);
                    sp.call([DIRECT_RESP_32, own << 16 | 0x8000, PSCI_RESPONSE, status])
                };
            }
        })
}

fn taken(log: &Log) -> Vec<(u16, u16, [u64; 3])> {
    std::mem::take(&mut *log.lock().unwrap())
}

// req: BOOT-17, MODEL-08, FWK-04, FWK-05, FWK-06, FWK-07, FWK-14
#[test]
fn subscribers_are_told_of_power_management_on_its_pe() {
    let log = Log::default();
    let system = System::boot([
        subscriber("early", 1, 7, &log, 0),
        subscriber("late", 2, 1, &log, 0),
        PartitionSpec::new("up").property("power-management-messages", 7),
        PartitionSpec::new("silent").vcpus(2),
    ]);
    for round in 0..3 {
        system.turn_on(1);
        let pe = system.pe(1);
        for partition in 0x8001..=0x8004 {
            assert_eq!(pe.ask(partition, [round; 5]), [round; 5]);
        }
        assert_eq!(spmd(pe, PSCI, CPU_SUSPEND), 0);
        assert_eq!(spmd(pe, PSCI, CPU_SUSPEND_64), 0);
        assert_eq!(spmd(pe, WARM_BOOT, 1), 0);
        assert_eq!(
            taken(&log),
            [
                (0x8001, 1, [PSCI, CPU_SUSPEND, 0]),
                (0x8001, 1, [PSCI, CPU_SUSPEND_64, 0]),
                (0x8001, 1, [WARM_BOOT, 1, 0]),
            ]
        );
        // Suspended contexts continue.
        assert_eq!(pe.ask(0x8001, [round; 5]), [round; 5]);
        // The last partition to boot is the first to be told.
        assert_eq!(spmd(pe, PSCI, CPU_OFF), 0);
        assert_eq!(
            taken(&log),
            [
                (0x8002, 1, [PSCI, CPU_OFF, 0]),
                (0x8001, 1, [PSCI, CPU_OFF, 0])
            ]
        );
        // Contexts on other PEs are not affected.
        assert_eq!(system.nwd().ask(0x8001, [9; 5]), [9; 5]);
    }
}

// The former caller of the partition gets no result of the message.
// req: FWK-07
#[test]
fn the_answer_of_one_that_worked_for_a_partition_reaches_the_spmd() {
    let log = Log::default();
    let relay = PartitionSpec::new("relay").vcpus(2).script(|sp| {
        sp.serve(|sp, request| {
            let [a, b, c, d, e] = request.payload();
            let answer = sp.call([DIRECT_REQ_64, 0x8002_8001, 0, a, b, c, d, e]);
            answer.payload()
        })
    });
    let first = subscriber("first", 1, 7, &log, 0);
    let system = System::boot([first, relay, PartitionSpec::new("up")]);
    system.turn_on(1);
    let pe = system.pe(1);
    assert_eq!(pe.ask(0x8002, [7; 5]), [7; 5]);
    assert_eq!(spmd(pe, PSCI, CPU_SUSPEND), 0);
    assert_eq!(taken(&log), [(0x8001, 1, [PSCI, CPU_SUSPEND, 0])]);
    assert_eq!(pe.ask(0x8002, [8; 5]), [8; 5]);
}

// req: FWK-08, FWK-13
#[test]
fn a_refusal_keeps_the_pe_on() {
    for (status, expected) in [
        (PSCI_DENIED, PSCI_DENIED),
        (7, PSCI_DENIED),
        (0xffff_fffa, 0xffff_fffa),
    ] {
        let log = Log::default();
        let system = System::boot([
            subscriber("first", 1, 7, &log, 0),
            subscriber("second", 2, 7, &log, status),
            PartitionSpec::new("up"),
        ]);
        system.turn_on(1);
        let pe = system.pe(1);
        assert_eq!(spmd(pe, PSCI, CPU_OFF), expected);
        assert_eq!(taken(&log), [(0x8002, 1, [PSCI, CPU_OFF, 0])]);
        assert_eq!(spmd(pe, PSCI, CPU_SUSPEND), expected);
        // Leaving a low-power state cannot be refused.
        assert_eq!(spmd(pe, WARM_BOOT, 0), 0);
        // All contexts are in the same state as before.
        for partition in [0x8001, 0x8002] {
            assert_eq!(pe.ask(partition, [3; 5]), [3; 5]);
        }
        // EL3 may turn off the PE all the same.
        system.turn_on(1);
        assert_eq!(pe.ask(0x8002, [4; 5]), [4; 5]);
    }
}

/// Returns a subscriber that does `act` when it is told of power management.
fn odd(act: impl Fn(&mut Sp) + Send + Sync + 'static) -> PartitionSpec {
    PartitionSpec::new("odd")
        .vcpus(2)
        .property("power-management-messages", 7)
        .with(|sp| sp.takes_exceptions = false)
        .script(move |sp| {
            let mut next = sp.msg_wait();
            while next.0[2] == 0 {
                let payload = next.payload();
                next = sp.respond(&next, payload);
            }
            act(sp);
        })
}

// req: MSGD-19, FWK-09, FWK-10, FWK-11
#[test]
fn partitions_that_answer_something_else() {
    // With an error: the partition has not done what it was asked for.
    let system = System::boot([odd(|sp| {
        sp.call([ERROR, 0, 0xffff_ffff]);
    })]);
    system.turn_on(1);
    assert_eq!(spmd(system.pe(1), PSCI, CPU_OFF), PSCI_DENIED);
    // With something that does not answer the message. The partition can still answer.
    let system = System::boot([odd(|sp| {
        sp.refused([DIRECT_RESP_32, 0x8001_8000], DENIED);
        sp.refused(
            [DIRECT_RESP_32, 0x8001_8000, 0x8000_0005],
            INVALID_PARAMETERS,
        );
        sp.refused([DIRECT_RESP_32, 0x8001_8000, 1], INVALID_PARAMETERS);
        sp.refused([DIRECT_RESP2, 0x8001_8000, PSCI_RESPONSE], DENIED);
        sp.refused([DIRECT_RESP_32, 0x8001_0000, PSCI_RESPONSE], DENIED);
        sp.call([DIRECT_RESP_32, 0x8001_8000, PSCI_RESPONSE]);
    })]);
    system.turn_on(1);
    assert_eq!(spmd(system.pe(1), PSCI, CPU_OFF), 0);
    // In either width, like any response.
    let system = System::boot([odd(|sp| {
        sp.call([DIRECT_RESP_64, 0x8001_8000, PSCI_RESPONSE]);
    })]);
    system.turn_on(1);
    assert_eq!(spmd(system.pe(1), PSCI, CPU_OFF), 0);
    // By failing, or by no answer: the partition has no influence any more.
    for hangs in [false, true] {
        let system = System::boot([odd(move |sp| {
            if hangs {
                sp.hang();
            }
            sp.trap(0);
        })]);
        system.turn_on(1);
        assert_eq!(spmd(system.pe(1), PSCI, CPU_OFF), 0);
        system.turn_on(1);
        system.pe(1).refused([DIRECT_REQ_64, 0x8001], ABORTED);
    }
}

// Contexts on the partition's other PEs still wait.
// req: FWK-11
#[test]
fn who_failed_on_another_pe_is_not_asked() {
    let system = System::boot([odd(|_| unreachable!("it is dead")).script(|sp| {
        let next = sp.msg_wait();
        assert_eq!((sp.vcpu, next.0[2]), (0, 0), "it is dead");
        sp.trap(0);
    })]);
    system.turn_on(1);
    assert_eq!(system.nwd().request(0x8001, [0; 5]).error(), Some(ABORTED));
    for function in [CPU_SUSPEND, CPU_OFF] {
        assert_eq!(spmd(system.pe(1), PSCI, function), 0);
    }
}

// req: FWK-12
#[test]
fn a_busy_context_is_not_asked() {
    let log = Log::default();
    let system = System::boot([subscriber("mp", 1, 7, &log, PSCI_DENIED).script(|sp| {
        sp.serve(|sp, _| {
            sp.interrupt();
            [1; 5]
        })
    })]);
    system.turn_on(1);
    assert_eq!(system.pe(1).request(0x8001, [0; 5]).function(), INTERRUPT);
    assert_eq!(spmd(system.pe(1), PSCI, CPU_OFF), 0);
    system.turn_on(1);
    assert_eq!(system.pe(1).request(0x8001, [0; 5]).function(), INTERRUPT);
}

// req: RUN-09, MSGD-05, FWK-01, FWK-10, FWK-16, FWK-17, FWK-18, FWK-19
#[test]
fn a_hypervisor_tells_subscribers_of_vms() {
    const CREATED: u64 = 0x8000_0004;
    const DESTROYED: u64 = 0x8000_0006;
    let system = System::boot([
        PartitionSpec::new("both")
            .property("vm-availability-messages", 3)
            .script(|sp| {
                let mut next = sp.msg_wait();
                loop {
                    let kind = next.0[2];
                    assert_eq!(next.0[..8], [DIRECT_REQ_32, 0x8001, kind, 1, 2, 5, 0, 0]);
                    sp.refused([DIRECT_RESP_32, 0x8001_0000], DENIED);
                    sp.refused([DIRECT_RESP_32, 0x8001_0000, kind], INVALID_PARAMETERS);
                    // Unlike power management, this message leaves time for others.
                    sp.call([DIRECT_REQ_64, 0x8001_8003]);
                    next = sp.call([DIRECT_RESP_32, 0x8001_0000, kind + 1, 0xffff_fff9]);
                }
            }),
        PartitionSpec::new("created")
            .property("vm-availability-messages", 1)
            .script(|sp| {
                let message = sp.msg_wait();
                assert_eq!(message.0[2], CREATED);
                sp.call([DIRECT_RESP_32, 0x8002_0000, CREATED + 1]);
            }),
        PartitionSpec::new("none"),
    ]);
    let nwd = system.nwd();
    for kind in [CREATED, DESTROYED] {
        let answer = nwd.call([DIRECT_REQ_32, 0x8001, kind, 1, 2, 5]);
        assert_eq!(
            answer.0[..8],
            [
                DIRECT_RESP_32,
                0x8001_0000,
                kind + 1,
                0xffff_fff9,
                0,
                0,
                0,
                0
            ]
        );
        nwd.refused([DIRECT_REQ_32, 0x8003, kind], DENIED);
        nwd.refused([DIRECT_REQ_32, 0x8009, kind], INVALID_PARAMETERS);
        nwd.refused([DIRECT_REQ_64, 0x8001, kind], INVALID_PARAMETERS);
        // A VM cannot speak for the Hypervisor.
        nwd.refused([DIRECT_REQ_32, 0x0001_8001, kind], INVALID_PARAMETERS);
    }
    nwd.refused([DIRECT_REQ_32, 0x8002, DESTROYED], DENIED);
    let answer = nwd.call([DIRECT_REQ_32, 0x8002, CREATED]);
    assert_eq!(answer.0[..4], [DIRECT_RESP_32, 0x8002_0000, CREATED + 1, 0]);
    for kind in [
        PSCI,
        WARM_BOOT,
        PSCI_RESPONSE,
        0x8000_0005,
        0x8000_0008,
        0x8000_0104,
    ] {
        nwd.refused([DIRECT_REQ_32, 0x8001, kind], INVALID_PARAMETERS);
    }
    // No remains of the message appear elsewhere.
    let mut call = Regs::new([DIRECT_REQ_32, 0x8001, CREATED, 1, 2, 5]);
    call.0[8..].fill(7);
    assert_eq!(nwd.call_with(call).0[8..], [7; 10]);
}

// The sender chooses the width of a message.
// req: FWK-15
#[test]
fn a_message_in_the_64_bit_form_is_passed_on_in_the_32_bit_form() {
    let log = Log::default();
    let first = subscriber("sp1", 0, 7, &log, 0);
    let others = ["sp2", "sp3"].map(PartitionSpec::new);
    let system = System::boot([first].into_iter().chain(others));
    const UPPER: u64 = 0x1234 << 32;
    let words = [PSCI, CPU_SUSPEND, 4, 5].map(|word| word | UPPER);
    let [kind, function, a, b] = words;
    let call = [DIRECT_REQ_64, 0xffff_8000, kind, function, a, b];
    let answer = system.nwd().call(call);
    assert_eq!(
        answer.0[..4],
        [DIRECT_RESP_32, 0x8000_ffff, PSCI_RESPONSE, 0]
    );
    assert_eq!(taken(&log), [(0x8001, 0, [PSCI, CPU_SUSPEND, 0])]);
}

// The SPMC reports what the receiver cannot do before what the caller may not do in this state.
// req: MSGD-07, RUN-17
#[test]
fn a_busy_receiver_shows_before_the_model_of_the_sender() {
    let told = Arc::new(Mutex::new(0));
    let count = Arc::clone(&told);
    let sleeper = PartitionSpec::new("sp1")
        .vcpus(2)
        .property("power-management-messages", 7)
        .script(move |sp| {
            sp.msg_wait();
            for code in [BUSY, DENIED] {
                sp.refused([DIRECT_REQ_64, 0x8001_8002], code);
                *count.lock().unwrap() += 1;
                let answer = [DIRECT_RESP_32, 0x8001_8000, PSCI_RESPONSE, 0];
                sp.call(answer);
            }
        });
    let other = PartitionSpec::new("sp2").script(|sp| {
        sp.serve(|sp, request| {
            assert!(sp.interrupt());
            request.payload()
        })
    });
    let system = System::boot([sleeper, other]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(0x8002, [3; 5]).function(), INTERRUPT);
    assert_eq!(spmd(nwd, PSCI, CPU_SUSPEND), 0);
    assert_eq!(nwd.call([RUN, 0x8002_0000]).payload(), [3; 5]);
    assert_eq!(spmd(nwd, PSCI, CPU_SUSPEND), 0);
    assert_eq!(*told.lock().unwrap(), 2);
}
