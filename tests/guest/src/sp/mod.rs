//! The life of a test partition: it initialises, then runs the helpers that direct requests name.
//!
//! A partition is entered at EL1 with the MMU off, boot information where the manifest says, and
//! the index of the PE in x4 (FF-A v1.1 section 5, and Hafnium). The partition needs the MMU,
//! because only a stage 1 descriptor with NS = 1 reaches Non-secure memory.

pub mod clock;
pub mod el0;
pub mod fault;

use core::arch::{asm, naked_asm};
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::ffa::memory_calls::Caller;
use crate::ffa::{self, error, id, route};
use crate::println;
use crate::rt::call::{Conduit, Regs, call};
use crate::rt::check::{Check, Failure};
use crate::rt::exception_level;
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::rt::stage1::{self, Attributes};
use crate::rt::uart::SECURE_UART;
use crate::support::{helper_call, interrupt_handler};
use crate::tests;
use crate::tests::scheduling::live_activation;

/// The identity of the partition that an image is.
pub struct Identity {
    /// Name on the console.
    pub name: &'static str,
    /// FF-A id.
    pub id: u16,
    /// FF-A version that the partition asks for.
    pub version: u32,
    /// The conduit of its calls.
    pub conduit: Conduit,
    /// Number of execution contexts.
    pub contexts: usize,
}

/// The partition, the context and the request that a helper runs for.
pub struct Sp {
    /// The partition.
    pub identity: &'static Identity,
    /// Index of the execution context.
    pub vcpu: usize,
    /// The request.
    pub request: Regs,
    /// A response that the helper wants in place of its results.
    pub response: Cell<Option<Regs>>,
}

impl Sp {
    /// Returns the partition as an owner or borrower of memory.
    pub fn caller(&self) -> Caller {
        caller(self.identity)
    }

    /// Lets another partition run a helper.
    #[track_caller]
    pub fn ask(&self, partition: u16, command: u32, arguments: [u64; 4]) -> Check<[u64; 4]> {
        helper_call::ask_from(self.identity.id, partition, command, arguments)
    }
}

/// Returns a partition as an owner or borrower of memory.
pub fn caller(identity: &Identity) -> Caller {
    Caller {
        id: identity.id,
        version: identity.version,
        tx: &TX,
        rx: &RX,
    }
}

/// Code that a test runs inside a partition. The arguments are x4 to x7 of the request, the results
/// x4 to x7 of the response.
pub type Helper = fn(&Sp, [u64; 4]) -> Check<[u64; 4]>;

/// A helper and the number by which requests name it.
pub struct Command {
    /// x3 of the request.
    pub id: u32,
    /// The helper.
    pub run: Helper,
}

/// Returns the number of a helper: FNV-1a over its path.
pub const fn number(path: &str) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut n = 0;
    while n < path.len() {
        hash = (hash ^ path.as_bytes()[n] as u32).wrapping_mul(0x0100_0193);
        n += 1;
    }
    hash
}

/// Evaluates to the number by which a request names the helper function of this module.
#[macro_export]
macro_rules! command {
    ($helper:ident) => {{
        const _: $crate::sp::Helper = $helper;
        const { $crate::sp::number(concat!(module_path!(), "::", stringify!($helper))) }
    }};
}

/// Makes a [`Command`] of the helper function of this module.
#[macro_export]
macro_rules! helper {
    ($helper:ident) => {
        $crate::sp::Command {
            id: $crate::command!($helper),
            run: $helper,
        }
    };
}

/// The most execution contexts that a partition can have.
pub const MAX_CONTEXTS: usize = 16;
/// Bytes of the stack of an execution context.
pub const STACK: usize = 0x3000;

/// The stacks of all execution contexts.
#[repr(C, align(16))]
pub struct Stacks(UnsafeCell<[[u8; STACK]; MAX_CONTEXTS]>);
// SAFETY: each execution context touches its own stack only.
unsafe impl Sync for Stacks {}
/// The stacks. A context at S-EL0 uses the first one.
pub static STACKS: Stacks = Stacks(UnsafeCell::new([[0; STACK]; MAX_CONTEXTS]));

/// The buffer in which the partition writes to the SPMC.
pub static TX: Shared<PAGE_SIZE> = Shared::new();
/// The buffer in which the SPMC writes to the partition.
pub static RX: Shared<PAGE_SIZE> = Shared::new();

/// x0 to x7 at the first entry of the partition.
pub static ENTRY: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
/// x4 at the first entry of each execution context.
pub static CONTEXT_ENTRY: [AtomicU64; MAX_CONTEXTS] =
    [const { AtomicU64::new(u64::MAX) }; MAX_CONTEXTS];
/// Number of times that `FFA_RUN` gave each context cycles without a message.
pub static RUNS: [AtomicU64; MAX_CONTEXTS] = [const { AtomicU64::new(0) }; MAX_CONTEXTS];

/// w2 of the next `FFA_MSG_WAIT` after cycles without a message.
pub static NEXT_WAIT: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    static image_start: u8;
    static text_end: u8;
    static image_end: u8;
}

/// Returns the start of the memory of the partition; the image lies 0x4000 into it.
pub fn memory_start() -> u64 {
    (&raw const image_start) as u64 - 0x4000
}

/// Returns the first address behind the image, in memory of the partition that nothing uses.
pub fn free_memory() -> u64 {
    (&raw const image_end) as u64
}

/// Defines the entry point of a partition image: its identity, and what it does once it is
/// initialised, where that is not to run helpers.
#[macro_export]
macro_rules! secure_partition {
    ($identity:expr) => {
        $crate::secure_partition!(@ $identity, |entry| $crate::sp::boot(&IDENTITY, entry));
    };
    ($identity:expr, $serve:path) => {
        $crate::secure_partition!(@ $identity, |entry| {
            $crate::sp::initialise(&IDENTITY, entry);
            $serve(&IDENTITY)
        });
    };
    (@ $identity:expr, |$entry:ident| $life:expr) => {
        static IDENTITY: $crate::sp::Identity = $identity;

        extern "C" fn main($entry: &[u64; 8]) -> ! {
            $life
        }

        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".text.entry")]
        extern "C" fn _start() -> ! {
            core::arch::naked_asm!(
                $crate::clear_bss!(),
                "adrp x8, {main}",
                "add x8, x8, :lo12:{main}",
                "b {enter}",
                main = sym main,
                enter = sym $crate::sp::enter,
            )
        }
    };
}

/// Sets up a stack, exception vectors and FP/SIMD as the first instructions of every execution
/// context; then calls the function in x8 with a pointer to x0 to x7 as they were at entry.
///
/// # Safety
///
/// Only for the first instructions of an execution context.
#[unsafe(naked)]
pub unsafe extern "C" fn enter() -> ! {
    naked_asm!(
        "mrs x9, mpidr_el1", // the SPMC gives the index of the context in Aff0
        "and x9, x9, #0xff",
        "add x9, x9, #1",
        "mov x10, #{stack}",
        "adrp x11, {stacks}",
        "add x11, x11, :lo12:{stacks}",
        "madd x9, x9, x10, x11",
        "mov sp, x9",
        "adrp x9, vectors_el1",
        "add x9, x9, :lo12:vectors_el1",
        "msr vbar_el1, x9",
        "mov x9, #0x300000", // CPACR_EL1.FPEN
        "msr cpacr_el1, x9",
        "isb",
        "stp x6, x7, [sp, #-16]!",
        "stp x4, x5, [sp, #-16]!",
        "stp x2, x3, [sp, #-16]!",
        "stp x0, x1, [sp, #-16]!",
        "mov x0, sp",
        "mov x29, xzr",
        "mov x30, xzr",
        "br x8",
        stack = const STACK,
        stacks = sym STACKS,
    )
}

/// Defines the entry point of the other execution contexts, which gets a stack and goes on in
/// `$main`.
macro_rules! secondary_entry {
    ($name:ident, $main:path) => {
        #[unsafe(naked)]
        extern "C" fn $name() -> ! {
            core::arch::naked_asm!(
                "adrp x8, {main}",
                "add x8, x8, :lo12:{main}",
                "b {enter}",
                main = sym $main,
                enter = sym $crate::sp::enter,
            )
        }
    };
}
pub(crate) use secondary_entry;

secondary_entry!(secondary, secondary_main);

static SELF: AtomicPtr<Identity> = AtomicPtr::new(core::ptr::null_mut());

/// Index of the execution context that runs this.
pub fn vcpu_index() -> usize {
    if exception_level() == 0 {
        return 0;
    }
    let mpidr: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, mpidr_el1", out(reg) mpidr, options(nomem, nostack)) };
    (mpidr & 0xff) as usize
}

/// Runs the first execution context: initialises the partition, then runs helpers.
pub fn boot(identity: &'static Identity, entry: &[u64; 8]) -> ! {
    initialise(identity, entry);
    tests::setup::boot::during_initialisation(identity);
    live_activation::during_initialisation(identity);
    if identity.contexts > 1 {
        let entry = secondary as *const () as u64;
        let register = ffa::call(id::SECONDARY_EP_REGISTER, &[entry]);
        must(
            identity,
            "FFA_SECONDARY_EP_REGISTER",
            ffa::done(&register).is_ok(),
        );
    }
    println!("# {}: initialised", identity.name);
    interrupt_handler::during_initialisation(identity);
    serve(identity, entry)
}

/// Maps the image in stage 1, negotiates the version and registers the buffers.
pub fn initialise(identity: &'static Identity, entry: &[u64; 8]) {
    prepare(identity, entry);
    introduce(identity);
}

/// Stores the registers of the entry and maps the image in stage 1. Makes no call.
pub fn prepare(identity: &'static Identity, entry: &[u64; 8]) {
    for (to, from) in ENTRY.iter().zip(entry) {
        to.store(*from, Ordering::Relaxed);
    }
    SELF.store((&raw const *identity).cast_mut(), Ordering::Release);
    ffa::set_conduit(identity.conduit);
    tests::setup::boot::look_at_entry();

    let start = memory_start();
    let text = (&raw const image_start) as u64;
    let data = (&raw const text_end) as u64;
    let pages = |from: u64, to: u64| ((to - from) as usize).div_ceil(PAGE_SIZE);
    stage1::map_range(start, pages(start, text), Attributes::Data);
    stage1::map_range(text, pages(text, data), Attributes::Code);
    stage1::map_range(data, pages(data, free_memory()), Attributes::Data);
    stage1::map(SECURE_UART as u64, Attributes::Device);
    stage1::map_non_secure_gib();
    stage1::enable_el1();
}

/// Makes the calls with which every partition begins.
fn introduce(identity: &Identity) {
    must(
        identity,
        "FFA_VERSION",
        ffa::call(id::VERSION, &[identity.version as u64])[0] >> 16 == 1,
    );
    let me = ffa::call(id::ID_GET, &[]);
    must(
        identity,
        "FFA_ID_GET",
        ffa::results(&me, [identity.id as u64, 0, 0, 0, 0, 0]).is_ok(),
    );
    let map = ffa::call(id::RXTX_MAP_64, &[TX.address(), RX.address(), 1]);
    must(identity, "FFA_RXTX_MAP", ffa::done(&map).is_ok());
}

fn must(identity: &Identity, what: &str, right: bool) {
    if !right {
        println!("# {}: {what} has the wrong answer", identity.name);
    }
}

extern "C" fn secondary_main(entry: &[u64; 8]) -> ! {
    stage1::enable_el1();
    // SAFETY: the first context stored a reference to a static before it registered the entry
    // point.
    let identity = unsafe { &*SELF.load(Ordering::Acquire) };
    serve(identity, entry)
}

/// Waits for messages and answers them, for ever.
fn serve(identity: &'static Identity, entry: &[u64; 8]) -> ! {
    let vcpu = vcpu_index();
    CONTEXT_ENTRY[vcpu].store(entry[4], Ordering::Relaxed);
    let mut next = ffa::call(id::MSG_WAIT, &[]);
    loop {
        next = match next[0] as u32 {
            id::DIRECT_REQ2 => tests::messages::direct_by_uuid::answer(identity, &next),
            id::DIRECT_REQ_32 if live_activation::is_stop(&next) => {
                live_activation::stop(identity, &next)
            }
            id::DIRECT_REQ_32 if next[2] != 0 => {
                tests::messages::subscriptions::answer(identity, vcpu, &next)
            }
            id::DIRECT_REQ_32 | id::DIRECT_REQ_64 => {
                let sp = Sp {
                    identity,
                    vcpu,
                    request: next,
                    response: Cell::new(None),
                };
                let answer = process(&sp);
                call(ffa::conduit(), sp.response.get().unwrap_or(answer))
            }
            id::RUN => {
                RUNS[vcpu].fetch_add(1, Ordering::Relaxed);
                interrupt_handler::on_run();
                ffa::call(id::MSG_WAIT, &[0, NEXT_WAIT.swap(0, Ordering::Relaxed)])
            }
            id::INTERRUPT => {
                interrupt_handler::on_interrupt();
                ffa::call(id::MSG_WAIT, &[])
            }
            other => panic!(
                "{}: unexpected {other:#x}, code {}",
                identity.name, next[2] as i32
            ),
        };
    }
}

/// Runs the helper that the request names, and returns the registers of the response.
fn process(sp: &Sp) -> Regs {
    let request = &sp.request;
    let command = request[3] as u32;
    let mut helpers = tests::HELPERS.iter().flat_map(|group| group.iter());
    let arguments = [request[4], request[5], request[6], request[7]];
    let payload = match helpers.find(|helper| helper.id == command) {
        None => [helper_call::UNKNOWN, command as u64, 0, 0, 0],
        Some(helper) => match (helper.run)(sp, arguments) {
            Ok([a, b, c, d]) => [helper_call::OK, a, b, c, d],
            Err(why) => {
                println!("# {} vcpu {}: {why}", sp.identity.name, sp.vcpu);
                match why {
                    Failure::Check { at, got, want } => {
                        [helper_call::FAILED, at.line() as u64, got, want, 0]
                    }
                    Failure::Partition {
                        line, got, want, ..
                    } => [helper_call::FAILED, line, got, want, 0],
                    Failure::Skip(_) => [helper_call::FAILED, 0, 0, 0, 0],
                }
            }
        },
    };
    let function = if request[0] as u32 == id::DIRECT_REQ_64 {
        id::DIRECT_RESP_64
    } else {
        id::DIRECT_RESP_32
    };
    let [p3, p4, p5, p6, p7] = payload;
    let back = route(request[1] as u16, (request[1] >> 16) as u16);
    ffa::regs(function, &[back, 0, p3, p4, p5, p6, p7])
}

/// Answers every request with an error from now on, after a panic.
pub fn give_up() -> ! {
    if tests::hostile::inside::is_hostile() {
        fault::die();
    }
    loop {
        ffa::call(id::ERROR, &[0, error::ABORTED as u32 as u64]);
    }
}
