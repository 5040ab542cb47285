//! The Normal-world test OS at NS-EL2: starts the other PEs, runs the tests in order and reports
//! them, then powers off.
//!
//! Line protocol on UART0: `TESTS <n>`, for each test `TEST <name> ok`, `TEST <name> fail: <why>`
//! or `TEST <name> skip: <why>`, at the end `DONE <passed> passed, <failed> failed`. If the tests
//! are to be listed, `LIST <name>: <about>` for each of them, and nothing else. Lines that start
//! with `#` are for human readers.

pub mod bench;
pub mod bench_live;
pub mod bench_parallel;
pub mod fdt;
pub mod gic;
pub mod pe;
pub mod ping;
pub mod psci;
pub mod source;
pub mod wanted;

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use crate::board::{BL33, SELECTION};
use crate::ffa::memory_calls::Caller;
use crate::ffa::{NWD, V1_2};
use crate::println;
use crate::rt::check::{Check, Failure};
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::selection::Selection;
use crate::support::helper_call;
use crate::tests;
use pe::Idle;
use wanted::Wanted;

/// The buffer in which the Normal world writes to the SPMC.
pub static TX: Shared<PAGE_SIZE> = Shared::new();
/// The buffer in which the SPMC writes to the Normal world.
pub static RX: Shared<PAGE_SIZE> = Shared::new();

/// Describes the machine to a test.
pub struct Nwd {
    /// Number of PEs that run.
    pub pes: usize,
}

/// The version that the test OS negotiated.
static VERSION: AtomicU32 = AtomicU32::new(V1_2);

/// Remembers the version that was negotiated.
pub fn set_version(version: u32) {
    VERSION.store(version, Ordering::Relaxed);
}

/// Returns the Normal world as an owner of memory.
pub fn caller() -> Caller {
    Caller {
        id: NWD,
        version: VERSION.load(Ordering::Relaxed),
        tx: &TX,
        rx: &RX,
    }
}

/// Returns the address of page number `n` of the RAM that only tests use.
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
    helper_call::ask_from(NWD, partition, command, arguments)
}

/// A test: what it shows, and the function that shows it.
pub struct Test {
    /// Name in the line protocol.
    pub name: &'static str,
    /// One sentence for the reader of the console.
    pub about: &'static str,
    /// Number of PEs that it needs.
    pub pes: usize,
    /// The function.
    pub run: fn(&Nwd) -> Check,
}

/// Makes a [`Test`] of the function of that name.
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
/// The running test, which a panic reports as failed.
static RUNNING: AtomicPtr<Test> = AtomicPtr::new(null_mut());

/// Runs the selected tests or benchmark on the boot PE, and ends the machine.
pub fn main() -> ! {
    crate::rt::stage1::enable_el2();
    match selection() {
        Selection::All => run(tests::ALL),
        Selection::Bench => bench::run(),
        Selection::BenchParallel => bench_parallel::run(),
        Selection::BenchLive => bench_live::run(),
        Selection::NormalWorld1_0 => run(tests::NORMAL_WORLD_1_0),
        Selection::Memory => run(tests::MEMORY),
        Selection::FarApart => run(tests::FAR_APART),
        Selection::Queued => run(tests::QUEUED),
        Selection::Interrupts => run(tests::INTERRUPTS),
        Selection::InterruptsSEl0 => run(tests::INTERRUPTS_S_EL0),
        Selection::InterruptSoak => run(tests::INTERRUPT_SOAK),
        Selection::Scheduling => run(tests::SCHEDULING),
        Selection::Live => run(tests::LIVE),
        Selection::LiveKinds => run(tests::LIVE_KINDS),
        Selection::FirstPeOnly => run(tests::FIRST_PE_ONLY),
        Selection::ManyPes => run(tests::MANY_PES),
        Selection::EachPe => run(tests::EACH_PE),
        Selection::Hole => run(tests::HOLE),
        Selection::Foreign => run(tests::FOREIGN),
        Selection::Registers => run(tests::REGISTERS),
        Selection::Traps => run(tests::TRAPS),
        Selection::SEl0 => run(tests::S_EL0),
        Selection::Packages => run(tests::PACKAGES),
        Selection::Pointers => run(tests::POINTERS),
        Selection::Sve => run(tests::SVE),
        Selection::VirtioMsg => run(tests::VIRTIO_MSG),
        Selection::Soak => run(tests::SOAK),
        Selection::Signer => run(tests::SIGNER),
        Selection::Ping => ping::run(),
        Selection::Idle => println!("# The Normal world has nothing to do"),
        Selection::Hostile => run(tests::HOSTILE),
    }
    psci::system_off()
}

/// Returns the selection that stands in memory. Where nobody wrote the word, memory may hold
/// anything: every number that is no selection stands for all tests.
fn selection() -> Selection {
    // SAFETY: the word lies in RAM that is mapped and that nothing else uses.
    let number = unsafe { (SELECTION as *const u64).read_volatile() };
    Selection::numbered(number).unwrap_or(Selection::All)
}

fn run(groups: &'static [&'static [Test]]) {
    let wanted = Wanted::read();
    let all = || {
        let tests = groups.iter().flat_map(|group| group.iter());
        tests.filter(|test| wanted.has(test.name))
    };
    if wanted.only_list {
        for test in all() {
            println!("LIST {}: {}", test.name, test.about);
        }
        return;
    }
    println!("# Normal-world test OS at NS-EL2");
    println!("TESTS {}", all().count());
    let nwd = Nwd {
        pes: pe::start_all(Idle::Sleep),
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

/// Reports the running test as failed after a panic, and ends the machine.
pub fn give_up() -> ! {
    // SAFETY: null, or a reference to a test of the static list.
    if let Some(test) = unsafe { RUNNING.load(Ordering::Acquire).as_ref() } {
        println!("TEST {} fail: the test OS panicked", test.name);
    }
    FAILED.fetch_add(1, Ordering::Relaxed);
    finish();
    psci::system_off()
}

/// Defines the entry point of the Normal-world image.
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
