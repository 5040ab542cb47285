//! Keeps the state of one PE, and tracks whose EL1 state is on it.
//!
//! EL3 switches EL2 registers between the worlds; everything of EL1 and EL0 is ours to keep. A
//! *stay* begins when the SPMC is entered from the Normal world and ends when it goes back. State
//! is switched as late as it can be: the first [`Cpu::load`] of a stay displaces the Normal world's
//! EL1 registers, the first use of a [`Lazy`] group by a partition displaces that group, and
//! [`Cpu::restore_normal_world`] brings back what was displaced. A stay that runs no partition
//! moves nothing.

use core::cell::UnsafeCell;

use aarch64_cpu::registers::{CPTR_EL2, HCR_EL2, TPIDR_EL2, VTTBR_EL2};
use bitflags::bitflags;
use spmc::hal::{Exit, Stage2Roots};
use spmc::limits::MAX_PES;
use tock_registers::interfaces::{Readable, Writeable};

pub mod context;
pub mod el0;
mod exit;
pub mod features;
pub mod header;
pub mod inject;
pub mod vector_state;
pub mod vectors;

use self::context::{Attention, El1State, GuestContext, PointerKeys};
use self::features::Strays;
use self::header::Header;
use self::vector_state::VectorArea;
use super::gic::{self, timer};
use super::memory::bulk;
use super::memory::window::Window;
use super::registers::{ICC_PMR_EL1, ISR_EL1, VDISR_EL2, VSTTBR_EL2};
use super::{affinity, traps};

/// Flag in the interrupt priority mask, where the register has no bits: the loaded context is not
/// just entered.
const SPECIAL: u64 = 1 << 63;

/// Flag in the interrupt priority mask, likewise: an S-EL0 partition is loaded.
const EL0: u64 = 1 << 62;

/// Interrupt priority mask that lets all interrupts through.
const PRIORITY_ALL: u64 = 0xff;

/// Interrupt priority mask that lets Secure interrupts through only: the Normal world's priorities
/// are the upper half as the Secure world sees them.
const PRIORITY_SECURE: u64 = 0x80;

bitflags! {
    /// Groups of registers that are switched at a partition's first use of them in a stay.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Lazy: u8 {
        /// FP and Advanced SIMD; for the Normal world also SVE and the streaming mode of SME.
        const VECTOR = 1 << 0;
        /// Pointer authentication keys.
        const POINTER_KEYS = 1 << 1;
        /// Not a group of registers: the hardware watches the timer of the loaded context.
        const TIMER = 1 << 2;
        /// No registers: the schedule receiver interrupt is due when the Normal world gets the PE
        /// back. Among what was displaced, so that the way back asks only one question.
        const SCHEDULE_RECEIVER = 1 << 3;
        /// Likewise: this PE is to look at its interrupts again as soon as the Normal world has it.
        const LOOK_AGAIN = 1 << 4;
        /// No registers: the loaded context is shown a virtual interrupt. Among what it has opened,
        /// so that taking it off asks only one question.
        const SIGNALS = 1 << 5;
        /// Registers that partitions reach and that no context has, see `features.rs`.
        const STRAYS = 1 << 6;
        /// No registers: the memory system refused a store of the loaded context before it left the
        /// PE last.
        const LATE_ERROR = 1 << 7;
    }
}

/// Registers of the Normal world that are displaced.
struct NormalWorld {
    el1: El1State,
    priority_mask: u64,
    keys: PointerKeys,
    vector: VectorArea,
    strays: Strays,
}

/// State of one PE. Found through TPIDR_EL2.
#[repr(C)]
pub struct Cpu {
    /// First, so that TPIDR_EL2 points to it.
    header: Header,
    /// The Normal world's EL1 registers are in `normal_world`.
    el1_displaced: bool,
    /// Groups that are in `normal_world`.
    displaced: Lazy,
    /// Groups that the loaded context has on the PE.
    opened: Lazy,
    /// ICC_PMR_EL1 for the loaded context, and whether it is one of S-EL0.
    priority_mask: u64,
    /// TTBR0_EL2 for the loaded context of S-EL0.
    translation_base: u64,
    normal_world: NormalWorld,
    /// This PE's view of foreign pages.
    pub window: Window,
}

struct PerCpu(UnsafeCell<Cpu>);

// SAFETY: element n is used by PE n only, see `Cpu::current`.
unsafe impl Sync for PerCpu {}

static CPUS: [PerCpu; MAX_PES] = [const { PerCpu(UnsafeCell::new(Cpu::NEW)) }; MAX_PES];

impl Cpu {
    const NEW: Self = Self {
        header: Header::NEW,
        el1_displaced: false,
        displaced: Lazy::empty(),
        opened: Lazy::empty(),
        priority_mask: 0,
        translation_base: 0,
        normal_world: NormalWorld {
            el1: El1State::ZERO,
            priority_mask: 0,
            keys: PointerKeys::ZERO,
            vector: VectorArea::NEW,
            strays: Strays::ZERO,
        },
        window: Window::NEW,
    };

    /// Makes [`Self::current`] find the state of the PE with that index, with nothing displaced.
    ///
    /// # Safety
    ///
    /// Called on the PE with that index, while no reference from [`Self::current`] is alive on it.
    pub unsafe fn install(index: usize) {
        let cpu = CPUS[index].0.get();
        TPIDR_EL2.set(cpu as u64);
        affinity::introduce(index);
        // SAFETY: in the array; this PE's and not in use (contract above).
        let cpu = unsafe { &mut *cpu };
        cpu.header.index = index;
        cpu.el1_displaced = false;
        cpu.displaced = Lazy::empty();
        cpu.opened = Lazy::empty();
        cpu.window.reset(index);
    }

    /// The state of this PE. Whoever calls this is done with the reference before anybody calls it
    /// again: it is called by the functions of [`Hal`](spmc::hal::Hal), which do not call each
    /// other, and by the boot and serve code outside of the engine.
    #[inline(always)]
    pub fn current() -> &'static mut Self {
        // SAFETY: TPIDR_EL2 points to this PE's element (`install`, before anything else runs). One
        // reference at a time, see above; EL2 is not interrupted.
        unsafe { &mut *(TPIDR_EL2.get() as *mut Self) }
    }

    /// Puts `context` on this PE.
    #[inline(always)]
    pub fn load(&mut self, context: &mut GuestContext, roots: &Stage2Roots, mask_non_secure: bool) {
        if !self.el1_displaced {
            self.normal_world.el1.save();
            self.normal_world.priority_mask = ICC_PMR_EL1.get();
            self.el1_displaced = true;
        }
        context.el1.load();
        self.priority_mask = if mask_non_secure {
            PRIORITY_SECURE
        } else {
            PRIORITY_ALL
        };
        // DISR_EL1 of whoever was here before. Nobody is injected SErrors, so there is nothing to
        // keep.
        VDISR_EL2.set(0);
        if !context.attention.is_empty() {
            self.attend(context);
        }
        if roots.is_el0() {
            self.load_el0(context, roots);
            return;
        }
        VTTBR_EL2.set(u64::from(roots.vmid) << 48 | roots.non_secure.raw());
        VSTTBR_EL2.set(roots.secure.raw());
    }

    /// Lets the hardware watch the timer of the loaded `context`, if it is on.
    #[cold]
    pub fn watch_timer(&mut self, context: &GuestContext) {
        self.opened |= Lazy::TIMER;
        context.timer.start();
    }

    /// Sees to what the `context` needs beyond registers.
    #[cold]
    fn attend(&mut self, context: &mut GuestContext) {
        if context.attention.contains(Attention::TIMER) {
            self.watch_timer(context);
        }
        if context.attention.contains(Attention::STRAYS) {
            if !self.displaced.contains(Lazy::STRAYS) {
                self.normal_world.strays.save();
                self.displaced |= Lazy::STRAYS;
            }
            Strays::ZERO.load();
        }
        if context.attention.contains(Attention::LATE_ERROR) {
            context.attention.remove(Attention::LATE_ERROR);
            self.opened |= Lazy::LATE_ERROR;
            self.priority_mask |= SPECIAL;
        }
    }

    /// The rest of [`Self::load`] for a context of S-EL0. Stage 2 stays that of whoever was here
    /// before: with TGE = 1 there is none. Nothing stops it from using a key of pointer
    /// authentication, so it has its own from the beginning.
    #[cold]
    fn load_el0(&mut self, context: &GuestContext, roots: &Stage2Roots) {
        if features::has_pointer_keys() {
            self.open(context, Lazy::POINTER_KEYS);
        }
        self.priority_mask |= EL0 | SPECIAL;
        self.translation_base = el0::translation_base(roots);
    }

    /// Returns whether the loaded context is one of S-EL0.
    pub fn is_el0(&self) -> bool {
        self.priority_mask & EL0 != 0
    }

    /// Takes the loaded `context` off this PE.
    #[inline(always)]
    pub fn save(&mut self, context: &mut GuestContext) {
        context.el1.save();
        self.take_errors(context);
        gic::reclaim_cpu_interface();
        if !self.opened.is_empty() {
            self.close(context);
        }
    }

    /// Makes sure that no store of the `context` that leaves is refused when somebody else runs.
    /// Those that were are pending since the exception that stopped it (SCTLR_EL2.IESB): that waits
    /// for the context. DISR_EL1 would not tell: it is one register for both worlds, and the Normal
    /// world may have written anything.
    #[inline(always)]
    fn take_errors(&mut self, context: &mut GuestContext) {
        const SERROR_PENDING: u64 = 1 << 8;
        if ISR_EL1.get() & SERROR_PENDING != 0 {
            note_late_error(context);
        }
    }

    /// Runs the loaded `context` until it needs the engine.
    #[inline(always)]
    pub fn run(&mut self, context: &mut GuestContext) -> Exit {
        loop {
            // At every entry: on QEMU a partition reaches the physical register.
            ICC_PMR_EL1.set(self.priority_mask);
            // SAFETY: the engine runs what it loaded, so EL1 and stage 2, or the translation base,
            // are this context's. Stacks of all PEs are private.
            let kind = unsafe {
                if self.priority_mask & SPECIAL == 0 {
                    vectors::enter(context)
                } else {
                    self.enter_special(context)
                }
            };
            if let Some(exit) = exit::decode(self, context, kind) {
                return exit;
            }
        }
    }

    /// Lets a context of S-EL0 run, or one that has failed by now fail.
    ///
    /// # Safety
    ///
    /// As [`vectors::enter`] and [`el0::enter`].
    #[cold]
    unsafe fn enter_special(&mut self, context: &mut GuestContext) -> u64 {
        if self.opened.contains(Lazy::LATE_ERROR) {
            self.opened.remove(Lazy::LATE_ERROR);
            if !self.is_el0() {
                self.priority_mask &= !SPECIAL;
            }
            return vectors::kind::SERROR;
        }
        // SAFETY: a context of S-EL0, see above.
        unsafe { el0::enter(context, self.translation_base) }
    }

    /// Gives the loaded `context` a group of registers on its first use, displacing the Normal
    /// world's.
    #[cold]
    pub fn open(&mut self, context: &GuestContext, group: Lazy) {
        let displace = !self.displaced.contains(group);
        self.displaced |= group;
        self.opened |= group;
        let normal_world = &mut self.normal_world;
        if group == Lazy::VECTOR {
            if displace {
                normal_world.vector.save();
            }
            CPTR_EL2.set(vector_state::CPTR_FP_OPEN);
            vector_state::load_fp(&context.fp);
        } else {
            if displace {
                normal_world.keys.save();
            }
            context.keys.load();
            HCR_EL2.set(HCR_EL2.get() | traps::HCR_POINTER_AUTHENTICATION);
        }
    }

    /// Takes the opened groups of `context` off this PE; the next user has to open them again.
    #[cold]
    fn close(&mut self, context: &mut GuestContext) {
        if self.opened.contains(Lazy::VECTOR) {
            vector_state::save_fp(&mut context.fp);
            CPTR_EL2.set(vector_state::CPTR_CLOSED);
        }
        if self.opened.contains(Lazy::POINTER_KEYS) {
            context.keys.save();
        }
        if self.opened.intersects(Lazy::POINTER_KEYS | Lazy::SIGNALS) {
            HCR_EL2.set(traps::HCR);
        }
        if self.opened.contains(Lazy::TIMER) {
            timer::stop();
        }
        if self.opened.contains(Lazy::LATE_ERROR) {
            // It has not run.
            context.attention |= Attention::LATE_ERROR;
        }
        self.opened = Lazy::empty();
    }

    /// Makes sure that this PE's registers are not longer than those of the boot PE, which measured
    /// for all.
    pub fn check_vector_area(&self) {
        assert!(
            self.normal_world
                .vector
                .holds(vector_state::register_file_bytes()),
            "no memory for this PE's vector registers"
        );
    }

    /// Ends a stay: what was displaced of the Normal world is put back.
    #[inline(always)]
    pub fn restore_normal_world(&mut self) {
        if !self.el1_displaced {
            return;
        }
        self.normal_world.el1.load();
        ICC_PMR_EL1.set(self.normal_world.priority_mask);
        self.el1_displaced = false;
        if !self.displaced.is_empty() {
            self.restore_groups();
        }
    }

    /// Shows the loaded context a virtual IRQ or FIQ.
    #[cold]
    pub fn signal(&mut self, irq: bool, fiq: bool) {
        let signals = u64::from(irq) << 7 | u64::from(fiq) << 6;
        HCR_EL2.set(HCR_EL2.get() & !traps::HCR_SIGNALS | signals);
        self.opened.set(Lazy::SIGNALS, signals != 0);
    }

    /// Makes the end of this stay, in which a partition runs, raise an interrupt that says to look
    /// again.
    pub fn look_again_on_return(&mut self) {
        self.displaced |= Lazy::LOOK_AGAIN;
    }

    /// Raises the schedule receiver interrupt at the end of this stay, in which a partition runs.
    pub fn raise_on_return(&mut self) {
        self.displaced |= Lazy::SCHEDULE_RECEIVER;
    }

    #[cold]
    fn restore_groups(&mut self) {
        if self.displaced.contains(Lazy::VECTOR) {
            self.normal_world.vector.restore();
        }
        if self.displaced.contains(Lazy::POINTER_KEYS) {
            self.normal_world.keys.load();
        }
        if self.displaced.contains(Lazy::STRAYS) {
            self.normal_world.strays.load();
        }
        if self.displaced.contains(Lazy::LOOK_AGAIN) {
            gic::look_again_here();
        }
        if self.displaced.contains(Lazy::SCHEDULE_RECEIVER) {
            gic::raise_schedule_receiver();
        }
        self.displaced = Lazy::empty();
    }
}

/// The memory system refused a store, which `context` made before it left the PE.
#[cold]
fn note_late_error(context: &mut GuestContext) {
    bulk::drop_error();
    context.attention |= Attention::LATE_ERROR;
}

/// Gives PE `index` memory for the Normal world's vector registers, as long as this PE can make
/// them.
///
/// # Safety
///
/// Called on the boot PE, before any other PE is let in, and once for each PE.
pub unsafe fn carve_vector_area(index: usize) {
    // SAFETY: the PE does not run yet, or is this one, which does not hold a reference to its state
    // here.
    let cpu = unsafe { &mut *CPUS[index].0.get() };
    // SAFETY: contract above.
    unsafe {
        cpu.normal_world
            .vector
            .carve(vector_state::register_file_bytes())
    };
}
