//! The other PEs: the boot PE starts them, then each waits for jobs. A job may turn its PE off.
//!
//! A test posts a job to a PE and collects the answer later, so that the test can look at what
//! happens meanwhile.

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::rt::check::{Check, fail, holds};
use crate::rt::{PATIENCE_MS, wait_until};
use crate::sp::MAX_CONTEXTS;

use super::{fdt, gic, psci};

/// The most PEs: as many as the test partitions can have execution contexts.
pub const MAX: usize = MAX_CONTEXTS;
const STACK: usize = 0x8000;

#[repr(C, align(16))]
pub(super) struct Stacks(UnsafeCell<[[u8; STACK]; MAX]>);
// SAFETY: each PE touches its own stack only.
unsafe impl Sync for Stacks {}
// SAFETY: the linker script reserves the section's memory and has it cleared, as all of .bss.
#[unsafe(link_section = ".bss.stacks")]
static STACKS: Stacks = Stacks(UnsafeCell::new([[0; STACK]; MAX]));

/// A function that a PE can be asked to run.
pub type Job = fn([u64; 4]) -> Check<[u64; 4]>;

const OFFLINE: u32 = 0;
const IDLE: u32 = 1;
const POSTED: u32 = 2;
const DONE: u32 = 3;

struct Mailbox {
    state: AtomicU32,
    job: UnsafeCell<(Job, [u64; 4])>,
    answer: UnsafeCell<Check<[u64; 4]>>,
}

// SAFETY: `state` says who may touch the cells: the boot PE in IDLE and DONE, the PE itself in
// POSTED.
unsafe impl Sync for Mailbox {}

fn nothing(arguments: [u64; 4]) -> Check<[u64; 4]> {
    Ok(arguments)
}

static MAIL: [Mailbox; MAX] = [const {
    Mailbox {
        state: AtomicU32::new(OFFLINE),
        job: UnsafeCell::new((nothing, [0; 4])),
        answer: UnsafeCell::new(Ok([0; 4])),
    }
}; MAX];

/// Says whether PEs without a job sleep. Set before they are turned on.
static IDLE_PES_SLEEP: AtomicBool = AtomicBool::new(false);

/// Entry of every PE: its index in x0, MMU off, no stack.
///
/// # Safety
///
/// Only for the first instructions of a PE.
#[unsafe(naked)]
pub unsafe extern "C" fn enter(index: u64) -> ! {
    naked_asm!(
        "mov x9, #{stack}",
        "add x10, x0, #1",
        "adrp x11, {stacks}",
        "add x11, x11, :lo12:{stacks}",
        "madd x9, x9, x10, x11",
        "mov sp, x9",
        "adrp x9, vectors_el2",
        "add x9, x9, :lo12:vectors_el2",
        "msr vbar_el2, x9",
        "mov x9, #0x80000000", // HCR_EL2.RW
        "msr hcr_el2, x9",
        "mov x9, #0x33ff", // CPTR_EL2: RES1 bits, FP/SIMD not trapped
        "msr cptr_el2, x9",
        "msr daifset, #0xf",
        "isb",
        "mov x29, xzr",
        "mov x30, xzr",
        "b {main}",
        stack = const STACK,
        stacks = sym STACKS,
        main = sym main,
    )
}

extern "C" fn main(index: usize) -> ! {
    if index == 0 {
        super::main()
    }
    crate::rt::stage1::enable_el2();
    let mail = &MAIL[index];
    mail.state.store(IDLE, Ordering::Release);
    loop {
        let is_posted = || mail.state.load(Ordering::Acquire) == POSTED;
        if IDLE_PES_SLEEP.load(Ordering::Relaxed) {
            gic::sleep_until(index, is_posted);
        } else {
            while !is_posted() {
                core::hint::spin_loop();
            }
        }
        // SAFETY: in POSTED the cells belong to this PE.
        unsafe {
            let (job, arguments) = *mail.job.get();
            *mail.answer.get() = job(arguments);
        }
        mail.state.store(DONE, Ordering::Release);
    }
}

/// The affinity of each PE that was turned on.
static AFFINITIES: [AtomicU64; MAX] = [const { AtomicU64::new(0) }; MAX];

/// Returns the affinity of PE `index`.
fn affinity(index: usize) -> u64 {
    AFFINITIES[index].load(Ordering::Relaxed)
}

/// The behaviour of PEs that have no job.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// They sleep, and leave the processors of the host to those that work.
    Sleep,
    /// They spin, and take no interrupt.
    Spin,
}

/// Starts all PEs that the device tree names and returns how many run. Their indices follow the
/// order of their affinities.
pub fn start_all(idle: Idle) -> usize {
    IDLE_PES_SLEEP.store(idle == Idle::Sleep, Ordering::Relaxed);
    let mut pes = 1;
    fdt::for_each_cpu(|mpidr| {
        // The first node is the boot PE.
        let index = if mpidr == 0 { 0 } else { pes };
        if index == 0 || index >= MAX {
            return;
        }
        AFFINITIES[index].store(mpidr, Ordering::Relaxed);
        if turn_on(index) && is_on(index) {
            pes += 1;
        }
    });
    pes
}

/// Asks PSCI to turn PE `index` on, and returns whether PSCI took the call.
fn turn_on(index: usize) -> bool {
    psci::cpu_on(affinity(index), enter as *const () as u64, index as u64)
}

/// Waits until PE `index`, which was turned on, is ready for jobs.
fn is_on(index: usize) -> bool {
    wait_until(PATIENCE_MS, || {
        MAIL[index].state.load(Ordering::Acquire) == IDLE
    })
}

/// Turns the PEs off, all at the same time.
#[track_caller]
pub fn all_off(indices: Range<usize>) -> Check {
    for index in indices.clone() {
        let off = |[index, ..]: [u64; 4]| -> Check<[u64; 4]> {
            MAIL[index as usize].state.store(OFFLINE, Ordering::Release);
            psci::cpu_off()
        };
        start(index, off, [index as u64, 0, 0, 0])?;
    }
    for index in indices {
        // A PE that has not begun counts as on.
        holds(
            wait_until(PATIENCE_MS, || psci::is_off(affinity(index))),
            index as u64,
        )?;
    }
    Ok(())
}

/// Turns the PEs on again, all at the same time.
#[track_caller]
pub fn all_on(indices: Range<usize>) -> Check {
    for index in indices.clone() {
        holds(turn_on(index), index as u64)?;
    }
    for index in indices {
        holds(is_on(index), index as u64)?;
    }
    Ok(())
}

/// Lets PE `index` run `job`.
#[track_caller]
pub fn start(index: usize, job: Job, arguments: [u64; 4]) -> Check {
    let mail = &MAIL[index];
    if mail.state.load(Ordering::Acquire) != IDLE {
        return fail(index as u64);
    }
    // SAFETY: in IDLE the cells belong to the boot PE.
    unsafe { *mail.job.get() = (job, arguments) };
    mail.state.store(POSTED, Ordering::Release);
    if IDLE_PES_SLEEP.load(Ordering::Relaxed) {
        gic::wake(index);
    }
    Ok(())
}

/// Returns whether PE `index` is done with its job.
pub fn is_done(index: usize) -> bool {
    MAIL[index].state.load(Ordering::Acquire) == DONE
}

/// Waits for the job of PE `index`, and returns its answer.
#[track_caller]
pub fn finish(index: usize) -> Check<[u64; 4]> {
    let mail = &MAIL[index];
    if !wait_until(PATIENCE_MS, || mail.state.load(Ordering::Acquire) == DONE) {
        return fail(index as u64);
    }
    // SAFETY: in DONE the cells belong to the boot PE.
    let answer = unsafe { *mail.answer.get() };
    mail.state.store(IDLE, Ordering::Release);
    answer
}

/// Runs `job` on PE `index` and waits for the answer. Index 0 is the boot PE, which calls this.
#[track_caller]
pub fn run_on(index: usize, job: Job, arguments: [u64; 4]) -> Check<[u64; 4]> {
    if index == 0 {
        return job(arguments);
    }
    start(index, job, arguments)?;
    finish(index)
}
