//! Framework messages to partitions that subscribed to them: power management and availability of
//! VMs (FF-A v1.1 section 18).

use core::sync::atomic::{AtomicU64, Ordering};

use crate::ffa::error::{DENIED, INVALID_PARAMETERS};
use crate::ffa::{self, NWD, SP1, SP2, SPMC, id, route};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal};
use crate::sp::{Command, Identity, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        cpu_off_is_announced,
        "sp2 is told of each PE that goes off, on that PE, in a loop over all PEs",
        pes = 2
    ),
    test!(
        cpu_off_is_refused,
        "sp2 refuses CPU_OFF; what EL3 turns off all the same comes back whole",
        pes = 2
    ),
    test!(
        vm_availability,
        "sp2 is told of VMs that come and go, sp1 is not"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(announcements), helper!(refuse_power)];

const PSCI_REQUEST: u64 = 0x8000_0000;
const PSCI_RESPONSE: u64 = 0x8000_0002;
const VM_CREATED: u64 = 0x8000_0004;
const VM_DESTROYED: u64 = 0x8000_0006;
const CPU_OFF: u64 = 0x8400_0002;
const PSCI_DENIED: u64 = 0xffff_fffd;
const ROUNDS: u64 = 3;

/// Number of times that each context was told that its PE goes off.
static OFF: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
/// PSCI status that contexts answer with.
static STATUS: AtomicU64 = AtomicU64::new(0);

/// Answers a framework message as a partition, and returns the next message of that partition.
pub fn answer(identity: &Identity, vcpu: usize, message: &Regs) -> Regs {
    let (kind, word) = (message[2], message[3]);
    let (answer, status) = match (kind, word) {
        (PSCI_REQUEST, CPU_OFF) if message[1] == route(SPMC, identity.id) => {
            OFF[vcpu].fetch_add(1, Ordering::Relaxed);
            (PSCI_RESPONSE, STATUS.load(Ordering::Relaxed))
        }
        // The partition returns the number of the VM as if it were an error code.
        (VM_CREATED | VM_DESTROYED, _) => (kind + 1, message[5]),
        _ => (PSCI_RESPONSE, PSCI_DENIED),
    };
    let back = route(identity.id, (message[1] >> 16) as u16);
    let response = ffa::regs(id::DIRECT_RESP_32, &[back, answer, status]);
    call(ffa::conduit(), response)
}

/// Returns how often the context of this number was told.
fn announcements(_: &Sp, [vcpu, ..]: [u64; 4]) -> Check<[u64; 4]> {
    Ok([OFF[vcpu as usize].load(Ordering::Relaxed), 0, 0, 0])
}

fn refuse_power(_: &Sp, [status, ..]: [u64; 4]) -> Check<[u64; 4]> {
    STATUS.store(status, Ordering::Relaxed);
    Ok([0; 4])
}

fn told(pe: usize) -> Check<u64> {
    let [count, ..] = ask(SP2, command!(announcements), [pe as u64, 0, 0, 0])?;
    Ok(count)
}

/// Turns the PE off and on. Fails unless sp2 was told, on that PE alone.
fn off_and_on(nwd: &Nwd, pe: usize) -> Check {
    let mut expected = [0; 8];
    for (other, count) in expected.iter_mut().enumerate().take(nwd.pes) {
        *count = told(other)? + u64::from(other == pe);
    }
    pe::all_off(pe..pe + 1)?;
    for (other, count) in expected.iter().enumerate().take(nwd.pes) {
        equal(told(other)?, *count)?;
    }
    pe::all_on(pe..pe + 1)?;
    let job = |[pe, ..]: [u64; 4]| ask(SP2, command!(announcements), [pe, 0, 0, 0]);
    let [count, ..] = pe::run_on(pe, job, [pe as u64, 0, 0, 0])?;
    equal(count, expected[pe])
}

// req: BOOT-17, FWK-04, FWK-06
fn cpu_off_is_announced(nwd: &Nwd) -> Check {
    for _ in 0..ROUNDS {
        for pe in 1..nwd.pes {
            off_and_on(nwd, pe)?;
        }
    }
    Ok(())
}

// req: FWK-04
fn cpu_off_is_refused(nwd: &Nwd) -> Check {
    ask(SP2, command!(refuse_power), [PSCI_DENIED, 0, 0, 0])?;
    off_and_on(nwd, 1)?;
    ask(SP2, command!(refuse_power), [0; 4])?;
    off_and_on(nwd, 1)
}

// req: RUN-09, FWK-16, FWK-17, FWK-18, FWK-19
fn vm_availability(_: &Nwd) -> Check {
    for kind in [VM_CREATED, VM_DESTROYED] {
        let request = [route(NWD, SP2), kind, 0x11, 0x22, 7];
        let answer = ffa::call(id::DIRECT_REQ_32, &request);
        let expected = ffa::regs(id::DIRECT_RESP_32, &[route(SP2, NWD), kind + 1, 7]);
        for (got, want) in answer.into_iter().zip(expected) {
            equal(got, want)?;
        }
        let others = ffa::call(id::DIRECT_REQ_32, &[route(NWD, SP1), kind]);
        ffa::refused(&others, DENIED)?;
        let vm = ffa::call(id::DIRECT_REQ_32, &[route(1, SP2), kind]);
        ffa::refused(&vm, INVALID_PARAMETERS)?;
    }
    Ok(())
}
