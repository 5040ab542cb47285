//! The Normal-world test OS at NS-EL2: starts the other PEs, runs the tests in order and reports
//! them, then powers off.
//!
//! Line protocol on UART0: `TESTS <n>`, for each test `TEST <name> ok`, `TEST <name> fail: <why>`
//! or `TEST <name> skip: <why>`, at the end `DONE <passed> passed, <failed> failed`. Lines that
//! start with `#` tell the story to a human.

pub mod bench;
pub mod bench_parallel;
pub mod fdt;
pub mod interrupt;
pub mod pe;
pub mod psci;
pub mod source;

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use crate::board::{BL33, MODE};
use crate::ffa::transfer::Caller;
use crate::ffa::{NWD, V1_2};
use crate::message;
use crate::println;
use crate::rt::check::{Check, Failure};
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::tests;

const MODE_BENCH: u64 = 1;
const MODE_V1_0: u64 = 2;
const MODE_QUEUED: u64 = 3;
const MODE_SCHEDULING: u64 = 8;
const MODE_BENCH_PARALLEL: u64 = 9;
const MODE_MEMORY: u64 = 10;
const MODE_VIRTIO: u64 = 4;
const MODE_SOAK: u64 = 5;
const MODE_S_EL0: u64 = 7;
const MODE_INTERRUPTS: u64 = 11;
const MODE_INTERRUPT_SOAK: u64 = 12;
const MODE_INTERRUPTS_S_EL0: u64 = 13;
const MODE_HOSTILE: u64 = 14;
const MODE_FIRST_PE_ONLY: u64 = 20;
const MODE_MANY_PES: u64 = 21;
const MODE_EACH_PE: u64 = 22;
const MODE_FAR_APART: u64 = 23;
const MODE_REGISTERS: u64 = 24;
const MODE_TRAPS: u64 = 25;
const MODE_HOLE: u64 = 26;
const MODE_FOREIGN: u64 = 27;

/// The buffer in which the Normal world writes to the SPMC.
pub static TX: Shared<PAGE_SIZE> = Shared::new();
/// The buffer in which the SPMC writes to the Normal world.
pub static RX: Shared<PAGE_SIZE> = Shared::new();

/// Describes the machine to a test.
pub struct Nwd {
    /// Number of PEs that run.
    pub pes: usize,
}

/// The version that this image negotiated.
static VERSION: AtomicU32 = AtomicU32::new(V1_2);

/// Remembers the version that was negotiated.
pub fn set_version(version: u32) {
    VERSION.store(version, Ordering::Relaxed);
}

/// This image as an owner of memory.
pub fn caller() -> Caller {
    Caller {
        id: NWD,
        version: VERSION.load(Ordering::Relaxed),
        tx: &TX,
        rx: &RX,
    }
}

/// Address of a page of RAM that nothing uses: number `n` of them.
pub const fn page(n: u64) -> u64 {
    BL33 + 0x100_0000 + n * PAGE_SIZE as u64
}

/// Reads a word of such a page.
pub fn peek(address: u64) -> u64 {
    // SAFETY: RAM, mapped, aligned, used by tests only.
    unsafe { (address as *const u64).read_volatile() }
}

/// Writes a word of such a page.
pub fn poke(address: u64, value: u64) {
    // SAFETY: as above.
    unsafe { (address as *mut u64).write_volatile(value) };
}

/// Lets `partition` run a helper and returns its results.
#[track_caller]
pub fn ask(partition: u16, command: u32, arguments: [u64; 4]) -> Check<[u64; 4]> {
    message::ask_from(NWD, partition, command, arguments)
}

/// A test: what it shows, and the function that shows it.
pub struct Test {
    /// Name in the line protocol.
    pub name: &'static str,
    /// One sentence for the reader of the console.
    pub about: &'static str,
    /// Number of PEs that it needs.
    pub pes: usize,
    /// Runs it.
    pub run: fn(&Nwd) -> Check,
}

/// A [`Test`] from the function of that name.
#[macro_export]
macro_rules! test {
    ($name:ident, $about:literal) => {
        $crate::test!($name, $about, pes = 1)
    };
    ($name:ident, $about:literal, pes = $pes:literal) => {
        $crate::nwd::Test {
            name: stringify!($name),
            about: $about,
            pes: $pes,
            run: $name,
        }
    };
}

static PASSED: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicUsize = AtomicUsize::new(0);
static SKIPPED: AtomicUsize = AtomicUsize::new(0);
/// The running test, for a panic.
static RUNNING: AtomicPtr<Test> = AtomicPtr::new(null_mut());

/// The life of the boot PE.
pub fn main() -> ! {
    crate::rt::stage1::enable_el2();
    // SAFETY: the word lies in RAM that nothing else uses; whoever starts this image may have set
    // it.
    let mode = unsafe { (MODE as *const u64).read_volatile() };
    match mode {
        MODE_BENCH => bench::run(),
        MODE_BENCH_PARALLEL => bench_parallel::run(),
        MODE_V1_0 => run(tests::V1_0),
        MODE_QUEUED => run(tests::QUEUED),
        MODE_SCHEDULING => run(tests::SCHEDULING),
        MODE_MEMORY => run(tests::MEMORY),
        MODE_VIRTIO => run(tests::VIRTIO),
        MODE_SOAK => run(tests::SOAK),
        MODE_INTERRUPTS => run(tests::INTERRUPTS),
        MODE_INTERRUPT_SOAK => run(tests::INTERRUPT_SOAK),
        MODE_INTERRUPTS_S_EL0 => run(tests::INTERRUPTS_S_EL0),
        MODE_HOSTILE => run(tests::HOSTILE),
        MODE_FIRST_PE_ONLY => run(tests::FIRST_PE_ONLY),
        MODE_MANY_PES => run(tests::MANY_PES),
        MODE_FAR_APART => run(tests::FAR_APART),
        MODE_EACH_PE => run(tests::EACH_PE),
        MODE_REGISTERS => run(tests::REGISTERS),
        MODE_TRAPS => run(tests::TRAPS),
        MODE_HOLE => run(tests::HOLE),
        MODE_FOREIGN => run(tests::FOREIGN),
        MODE_S_EL0 => run(tests::S_EL0),
        _ => run(tests::ALL),
    }
    psci::system_off()
}

fn run(groups: &'static [&'static [Test]]) {
    let all = || groups.iter().flat_map(|group| group.iter());
    println!("# Normal-world test OS at NS-EL2");
    println!("TESTS {}", all().count());
    let nwd = Nwd {
        pes: pe::start_all(),
    };
    println!("# {} PEs run", nwd.pes);
    for test in all() {
        RUNNING.store((&raw const *test).cast_mut(), Ordering::Release);
        println!("# {}", test.about);
        let outcome = if nwd.pes < test.pes {
            Err(needs(test.pes))
        } else {
            (test.run)(&nwd)
        };
        report(test.name, outcome);
    }
    RUNNING.store(null_mut(), Ordering::Release);
    finish();
}

fn needs(pes: usize) -> Failure {
    Failure::Skip(match pes {
        2 => "needs 2 PEs",
        3 => "needs 3 PEs",
        _ => "needs more PEs",
    })
}

fn report(name: &str, outcome: Check) {
    let counter = match &outcome {
        Ok(()) => {
            println!("TEST {name} ok");
            &PASSED
        }
        Err(Failure::Skip(why)) => {
            println!("TEST {name} skip: {why}");
            &SKIPPED
        }
        Err(why) => {
            println!("TEST {name} fail: {why}");
            &FAILED
        }
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

fn finish() {
    println!("# {} skipped", SKIPPED.load(Ordering::Relaxed));
    println!(
        "DONE {} passed, {} failed",
        PASSED.load(Ordering::Relaxed),
        FAILED.load(Ordering::Relaxed)
    );
}

/// After a panic: the running test fails, and the machine stops.
pub fn give_up() -> ! {
    // SAFETY: null, or a reference to a test of the static list.
    if let Some(test) = unsafe { RUNNING.load(Ordering::Acquire).as_ref() } {
        println!("TEST {} fail: the test OS panicked", test.name);
    }
    FAILED.fetch_add(1, Ordering::Relaxed);
    finish();
    psci::system_off()
}

/// The entry point of the Normal-world image.
#[macro_export]
macro_rules! normal_world {
    () => {
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".text.entry")]
        extern "C" fn _start() -> ! {
            core::arch::naked_asm!(
                $crate::clear_bss!(),
                "mov x0, #0",
                "b {enter}",
                enter = sym $crate::nwd::pe::enter,
            )
        }
    };
}
