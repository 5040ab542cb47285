//! Calls of partitions to EL3 that `smc_whitelist` and `smc_whitelist_permissive` permit.

use host_tests::ffa::{ID_GET, Regs};
use host_tests::{PartitionSpec, Sp, System};
use spmc::hal::Conduit;

use crate::log_lines::{capture, lines};

const SMCCC_VERSION: u64 = 0x8000_0000;
const TRNG_RND64: u64 = 0xc400_0053;
const SIP: u64 = 0x8200_0010;
const UNKNOWN: u64 = u64::MAX;

/// Calls that no list permits: PSCI, FF-A, yielding calls, and ids in the range of the SPMC's own
/// hypercalls that do not exist.
const NEVER: [u64; 10] = [
    0x8400_0000,
    0x8400_0002,
    0xc400_0003,
    0x8400_001f,
    0x8400_0098,
    0xc400_00a0,
    0x8400_00ef,
    0x0200_0010,
    0x3200_0000,
    0xff0b,
];

fn listed(ids: &[u64]) -> Vec<(&'static str, Vec<u32>)> {
    let ids = ids.iter().map(|id| *id as u32).collect();
    vec![("smc_whitelist", ids)]
}

/// Makes partition 1 do `script` in a request. Its node in the SPMC manifest has the properties
/// `vm`.
fn run(name: &str, vm: Vec<(&'static str, Vec<u32>)>, script: fn(&mut Sp)) -> System {
    let spec = PartitionSpec::new(name).with(|spec| spec.vm = vm);
    let system = System::boot([spec.script(move |sp| {
        sp.serve(|sp, request| {
            script(sp);
            request.payload()
        })
    })]);
    system.nwd().ask(0x8001, [1; 5]);
    system
}

fn calls(system: &System) -> Vec<[u64; 18]> {
    system.machine.journal().el3_calls.clone()
}

/// Makes a call with a value in each register. Returns the earlier values of x0 to x17 and the
/// answer.
fn full(sp: &mut Sp, conduit: Conduit, id: u64) -> ([u64; 18], Regs) {
    for (n, register) in sp.regs.iter_mut().enumerate() {
        *register = 0x1111_1111_1111_1111 * (n as u64 % 16);
    }
    let head: [u64; 7] = sp.regs[1..8].try_into().unwrap();
    let [a, b, c, d, e, f, g] = head;
    let mut made: [u64; 18] = sp.regs[..18].try_into().unwrap();
    made[0] = id;
    (made, sp.call_by(conduit, [id, a, b, c, d, e, f, g]))
}

// req: PMAN-25
#[test]
fn what_is_listed_goes_to_el3_with_all_registers() {
    let system = run("listed", listed(&[SIP, TRNG_RND64]), |sp| {
        for id in [SIP, TRNG_RND64] {
            let (made, answer) = full(sp, Conduit::Smc, id);
            assert_eq!(answer.0, made.map(|x| !x));
        }
        // x0 holds more than w0, and the SVE hint of SMCCC 1.3.
        let (_, answer) = full(sp, Conduit::Hvc, 0xdead_0000_0000_0000 | SIP | 1 << 16);
        assert_eq!(answer.0[0], !(SIP | 1 << 16));
        let (made, answer) = full(sp, Conduit::Smc, SMCCC_VERSION);
        assert_eq!(answer.0[0], UNKNOWN);
        assert_eq!(answer.0[1..], made[1..], "nothing else is changed");
    });
    let ids: Vec<u64> = calls(&system).iter().map(|call| call[0]).collect();
    assert_eq!(ids, [SIP, TRNG_RND64, SIP | 1 << 16]);
    let last = calls(&system)[2];
    assert_eq!(
        (last[1], last[17]),
        (0x1111_1111_1111_1111, 0x1111_1111_1111_1111)
    );
}

// req: PMAN-25
#[test]
fn without_a_list_nothing_goes_to_el3() {
    let system = run("unlisted", Vec::new(), |sp| {
        for id in [SIP, SMCCC_VERSION, TRNG_RND64] {
            assert_eq!(full(sp, Conduit::Smc, id).1.0[0], UNKNOWN);
        }
    });
    assert!(calls(&system).is_empty());
}

// req: PMAN-25
#[test]
fn calls_of_psci_and_the_framework_never_go_to_el3() {
    let permissive = vec![("smc_whitelist_permissive", Vec::new())];
    for vm in [listed(&NEVER), permissive.clone()] {
        let system = run("never", vm, |sp| {
            for id in NEVER {
                let answer = full(sp, Conduit::Smc, id).1;
                assert!(
                    answer.0[0] == UNKNOWN || answer.error().is_some(),
                    "{id:#x}"
                );
            }
            sp.call([ID_GET]).success();
        });
        assert!(calls(&system).is_empty());
    }
    let system = run("permissive", permissive, |sp| {
        assert_eq!(full(sp, Conduit::Smc, SMCCC_VERSION).1.0[0], !SMCCC_VERSION);
    });
    assert_eq!(calls(&system).len(), 1);
}

// A partition at S-EL0 makes the call by SVC.
// req: PMAN-25
#[test]
fn a_partition_at_s_el0_has_a_list_too() {
    let spec = PartitionSpec::new("el0").s_el0();
    let spec = spec.with(|spec| spec.vm = listed(&[SIP]));
    let system = System::boot([spec.script(|sp| {
        sp.serve(|sp, request| {
            let (made, answer) = full(sp, Conduit::Svc, SIP);
            assert_eq!(answer.0, made.map(|x| !x));
            assert_eq!(full(sp, Conduit::Svc, TRNG_RND64).1.0[0], UNKNOWN);
            request.payload()
        })
    })]);
    system.nwd().ask(0x8001, [1; 5]);
    assert_eq!(calls(&system).len(), 1);
}

#[test]
fn calls_are_counted_in_the_log() {
    capture();
    run("counted", listed(&[SIP]), |sp| {
        for _ in 0..9 {
            sp.call([SIP]);
        }
    });
    let line = |count: u32| format!("counted vcpu 0: call 0x82000010 goes to EL3; {count} so far");
    assert_eq!(lines("counted vcpu"), [1, 2, 4, 8].map(line));
}
