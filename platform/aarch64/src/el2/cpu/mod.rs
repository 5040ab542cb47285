//! The state of one PE, which includes whose EL1 state is in its registers.
//!
//! EL3 switches the registers of EL2 between the worlds; the SPMC switches those of EL1 and EL0. A
//! *stay* begins when the Normal world enters the SPMC, and ends when the SPMC returns. State is
//! switched as late as possible. The first [`Cpu::load`] of a stay displaces the Normal world's EL1
//! registers. The first use of a [`Lazy`] group by a partition displaces the group.
//! [`Cpu::restore_normal_world`] puts back what was displaced. A stay in which no partition runs
//! switches nothing.

use alloc::vec::Vec;
use core::arch::asm;

use aarch64_cpu::registers::{CPTR_EL2, ESR_EL2, HCR_EL2, TPIDR_EL2, VMPIDR_EL2, VTTBR_EL2};
use bitflags::bitflags;
use spmc::hal::{Exit, Regime, Roots};
use tock_registers::interfaces::{Readable, Writeable};

pub mod context;
pub mod el0;
mod exit;
pub mod features;
pub mod header;
pub mod inject;
mod pointer_keys;
pub mod vector_state;
pub mod vectors;

use self::context::{Attention, AuxiliaryState, El1State, GuestContext, PointerKeys};
use self::features::Strays;
use self::header::Header;
use self::vector_state::VectorArea;
use super::affinity;
use super::gic::{self, timer};
use super::memory::window::Window;
use super::memory::{bulk, stage2};
use super::per_pe::PerPe;
use super::registers::{ICC_PMR_EL1, ISR_EL1, VDISR_EL2, VSTCR_EL2, VSTTBR_EL2};
use crate::errata::{self, BranchHistory};
use crate::traps;

/// Flag beside the interrupt priority mask, in a bit that the register does not have: the next
/// entry of the loaded context is not a plain one ([`Cpu::enter_special`]).
const SPECIAL: u64 = 1 << 63;

/// Flag beside the interrupt priority mask: the loaded context is one of S-EL0.
const EL0: u64 = 1 << 62;

/// Interrupt priority mask that masks no interrupt.
const PRIORITY_ALL: u64 = 0xff;

/// Interrupt priority mask that masks Non-secure interrupts: as the Secure world sees them, their
/// priorities are 0x80 to 0xff.
const PRIORITY_SECURE: u64 = 0x80;

bitflags! {
    /// Groups of registers that are switched when a partition first uses them in a stay. Some flags
    /// mean no registers, but other work for the same moment: with one word for all of it, the
    /// usual case needs a single test.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Lazy: u16 {
        /// FP and Advanced SIMD, and SVE if the context has it; in the Normal world also the
        /// streaming mode of SME.
        const VECTOR = 1 << 0;
        /// Pointer authentication keys.
        const POINTER_KEYS = 1 << 1;
        /// The hardware watches the timer of the loaded context.
        const TIMER = 1 << 2;
        /// The schedule receiver interrupt is due when the Normal world gets the PE back.
        const SCHEDULE_RECEIVER = 1 << 3;
        /// This PE is due to look at its interrupts again as soon as the Normal world gets the PE
        /// back.
        const LOOK_AGAIN = 1 << 4;
        /// A virtual interrupt is pending for the loaded context.
        const SIGNALS = 1 << 5;
        /// Registers that partitions reach and that no context holds, see `features.rs`.
        const STRAYS = 1 << 6;
        /// The memory system refused a store of the loaded context when the context last left a PE.
        const LATE_ERROR = 1 << 7;
        /// The registers that the implementation defines, switched with the first partition.
        const AUXILIARY = 1 << 8;
        /// The hardware timer is to stop the Normal world at a time.
        const ALARM = 1 << 9;
    }
}

/// Displaced registers of the Normal world.
struct NormalWorld {
    el1: El1State,
    auxiliary: AuxiliaryState,
    priority_mask: u64,
    keys: PointerKeys,
    vector: VectorArea,
    strays: Strays,
}

/// The state of one PE. TPIDR_EL2 points to it.
#[repr(C)]
pub struct Cpu {
    /// The first field, so that TPIDR_EL2 points to it.
    header: Header,
    /// Set while the Normal world's EL1 registers are in `normal_world`.
    el1_displaced: bool,
    /// The branches that clear the branch history, or [`BY_INSTRUCTION`], or 0 if nothing needs to
    /// be cleared.
    branch_history: u8,
    /// Set if the PE may write samples or trace by the Normal world's EL1 registers, see [`drain`].
    records: bool,
    /// Work for every load on this PE, beyond registers.
    attention: Attention,
    /// The groups of the Normal world that are in `normal_world`.
    displaced: Lazy,
    /// The groups of the loaded context that are on the PE.
    opened: Lazy,
    /// Partitions at S-EL1 access the physical CPU interface of the GIC.
    pub lends_cpu_interface: bool,
    /// The time at which the hardware timer stops the Normal world; `u64::MAX` if it does not.
    alarm: u64,
    /// ICC_PMR_EL1 for the loaded context, with the flags [`SPECIAL`] and [`EL0`].
    priority_mask: u64,
    /// TTBR0_EL2 for the loaded context, if it is one of S-EL0.
    translation_base: u64,
    normal_world: NormalWorld,
    /// The window by which this PE accesses foreign pages.
    pub window: Window,
}

/// The state of each PE. PE n alone accesses element n, see [`Cpu::current`].
static CPUS: PerPe<Cpu> = PerPe::new();

/// Makes room for that many PEs, as [`PerPe::fill`] does.
pub fn make_room(count: usize) {
    CPUS.fill((0..count).map(|_| Cpu::NEW).collect::<Vec<_>>());
}

impl Cpu {
    const NEW: Self = Self {
        header: Header::NEW,
        el1_displaced: false,
        branch_history: 0,
        records: false,
        attention: Attention::empty(),
        displaced: Lazy::empty(),
        opened: Lazy::empty(),
        lends_cpu_interface: false,
        alarm: u64::MAX,
        priority_mask: 0,
        translation_base: 0,
        normal_world: NormalWorld {
            el1: El1State::ZERO,
            auxiliary: AuxiliaryState::ZERO,
            priority_mask: 0,
            keys: PointerKeys::ZERO,
            vector: VectorArea::NEW,
            strays: Strays::ZERO,
        },
        window: Window::NEW,
    };

    /// Makes [`Self::current`] return the state of the PE with that index. Nothing is displaced.
    ///
    /// # Safety
    ///
    /// Called on the PE with that index, while no reference from [`Self::current`] is in use there.
    pub unsafe fn install(index: usize) {
        let cpu = CPUS.of(index);
        TPIDR_EL2.set(cpu as u64);
        affinity::introduce(index);
        // SAFETY: the element belongs to this PE and is not in use (contract above).
        let cpu = unsafe { &mut *cpu };
        cpu.header.index = index;
        cpu.el1_displaced = false;
        cpu.displaced = Lazy::empty();
        cpu.opened = Lazy::empty();
        cpu.alarm = u64::MAX;
        cpu.window.reset(index);
    }

    /// Returns the state of this PE. A caller must not use the reference after the next call. The
    /// functions of [`Hal`](spmc::hal::Hal) call this, and they do not call each other; so does the
    /// code for boot and for serving, outside of the engine.
    #[inline(always)]
    pub fn current() -> &'static mut Self {
        // SAFETY: `install`, which runs before anything else, makes TPIDR_EL2 point to this PE's
        // element. There is one reference at a time, see above, and EL2 is not interrupted.
        unsafe { &mut *(TPIDR_EL2.get() as *mut Self) }
    }

    /// Puts `context` on this PE.
    #[inline(always)]
    pub fn load(&mut self, context: &mut GuestContext, roots: &Roots, mask_non_secure: bool) {
        if !self.el1_displaced {
            if self.records {
                drain();
            }
            self.normal_world.el1.save();
            self.normal_world.priority_mask = ICC_PMR_EL1.get();
            // The Normal world may have suspended the PE with loss of power since the last stay. No
            // call tells, and EL3 does not keep this register (docs/hardware.md).
            VSTCR_EL2.set(stage2::secure_control());
            self.el1_displaced = true;
        }
        context.el1.load();
        VMPIDR_EL2.set(context.vmpidr);
        self.priority_mask = if mask_non_secure {
            PRIORITY_SECURE
        } else {
            PRIORITY_ALL
        };
        // Clears DISR_EL1 of the previous context. The SPMC injects no SErrors, so no context needs
        // its value.
        VDISR_EL2.set(0);
        if !context.attention.is_empty() || !self.attention.is_empty() {
            self.attend(context);
        }
        match roots.regime() {
            Regime::Stage1 { .. } => self.load_el0(context, roots),
            Regime::Stage2 {
                vmid,
                secure,
                non_secure,
            } => {
                VTTBR_EL2.set(u64::from(vmid) << 48 | non_secure.raw());
                VSTTBR_EL2.set(secure.raw());
            }
        }
    }

    /// Returns whether the hardware may watch the timer of the loaded context.
    pub fn watches_timer(&self) -> bool {
        self.opened.contains(Lazy::TIMER)
    }

    /// Makes the hardware watch the timer of the loaded `context`, if the timer is armed.
    #[cold]
    pub fn watch_timer(&mut self, context: &GuestContext) {
        self.opened |= Lazy::TIMER;
        context.timer.start();
    }

    /// Does the work for the load of `context` that goes beyond registers.
    #[cold]
    fn attend(&mut self, context: &mut GuestContext) {
        let attention = context.attention | self.attention;
        if attention.contains(Attention::TIMER) {
            self.watch_timer(context);
        }
        if attention.contains(Attention::AUXILIARY) {
            if !self.displaced.contains(Lazy::AUXILIARY) {
                self.normal_world.auxiliary = AuxiliaryState::of_this_pe();
                self.displaced |= Lazy::AUXILIARY;
            }
            context.auxiliary.load();
            self.opened |= Lazy::AUXILIARY;
        }
        if attention.contains(Attention::STRAYS) {
            if !self.displaced.contains(Lazy::STRAYS) {
                self.normal_world.strays.save();
                self.displaced |= Lazy::STRAYS;
            }
            Strays::ZERO.load();
        }
        if attention.contains(Attention::STREAMING) && !self.displaced.contains(Lazy::VECTOR) {
            self.leave_streaming_mode();
        }
        if attention.contains(Attention::LATE_ERROR) {
            context.attention.remove(Attention::LATE_ERROR);
            self.opened |= Lazy::LATE_ERROR;
            self.priority_mask |= SPECIAL;
        }
    }

    /// Displaces the Normal world's vector registers if they are in streaming mode. In that mode
    /// the first instruction of SVE would trap as one of SME does, to EL1 if that keeps SME to
    /// itself (CPACR_EL1.SMEN), and not to EL2 (Arm ARM, pseudocode `CheckSVEEnabled`).
    #[cold]
    fn leave_streaming_mode(&mut self) {
        if vector_state::is_streaming() {
            self.normal_world.vector.save();
            self.displaced |= Lazy::VECTOR;
        }
        CPTR_EL2.set(traps::CPTR);
    }

    /// Completes [`Self::load`] for a context of S-EL0. Stage 2 keeps the registers of the previous
    /// context, since TGE = 1 disables stage 2. Nothing traps the use of pointer authentication
    /// keys at S-EL0, so the context's own keys are loaded at once.
    #[cold]
    fn load_el0(&mut self, context: &mut GuestContext, roots: &Roots) {
        if features::has_pointer_keys() {
            self.open(context, Lazy::POINTER_KEYS);
        }
        self.priority_mask |= EL0 | SPECIAL;
        self.translation_base = el0::translation_base(roots);
    }

    /// Returns the VMID of the loaded context, or its ASID if it is one of S-EL0.
    pub fn tag(&self) -> u64 {
        let base = if self.is_el0() {
            self.translation_base
        } else {
            VTTBR_EL2.get()
        };
        base >> 48
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
        if self.lends_cpu_interface {
            gic::reclaim_cpu_interface();
        }
        if !self.opened.is_empty() {
            self.close(context);
        }
    }

    /// Makes sure that no refused store of the leaving `context` is reported to what runs next.
    /// IESB (SCTLR_EL2) makes each such SError pending at the exception that stopped the context; a
    /// pending one is noted for the context's next run. ISR_EL1 shows it. DISR_EL1 could not, since
    /// both worlds share that register and the Normal world may have written any value.
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
            let priority_mask = self.priority_mask;
            // Set at every entry, because partitions on QEMU reach the physical register.
            ICC_PMR_EL1.set(priority_mask);
            // SAFETY: the engine runs the context that it loaded, so EL1 and stage 2, or the
            // translation base, are those of this context. The stacks of all PEs are at private
            // addresses.
            let kind = unsafe {
                if priority_mask & SPECIAL == 0 {
                    vectors::enter(context)
                } else {
                    self.enter_special(context)
                }
            };
            if self.branch_history != 0 {
                clear_branch_history(self.branch_history);
            }
            // Each kind of exit returns by itself: one result for all would be copied.
            if kind != vectors::kind::SYNC {
                if let Some(exit) = exit::asynchronous(self, context, kind) {
                    return exit;
                }
                continue;
            }
            let syndrome = ESR_EL2.get();
            if let Some(conduit) = exit::call(context, syndrome) {
                return Exit::Call(conduit);
            }
            if let Some(exit) = exit::synchronous(self, context, syndrome) {
                return exit;
            }
        }
    }

    /// Runs a context of S-EL0, or returns at once with the SError of a context that has a late
    /// error.
    ///
    /// # Safety
    ///
    /// As for [`vectors::enter`] and [`el0::enter`].
    #[cold]
    unsafe fn enter_special(&mut self, context: &mut GuestContext) -> u64 {
        if self.opened.contains(Lazy::LATE_ERROR) {
            self.opened.remove(Lazy::LATE_ERROR);
            if !self.is_el0() {
                self.priority_mask &= !SPECIAL;
            }
            return vectors::kind::SERROR;
        }
        let branches = match self.branch_history {
            // The way from S-EL0 executes it anyhow.
            BY_INSTRUCTION => 0,
            branches => branches.into(),
        };
        // SAFETY: without a late error, only a context of S-EL0 gets here; the rest is the contract
        // above.
        unsafe { el0::enter(context, self.translation_base, branches) }
    }

    /// Loads a group of registers of the loaded `context` on its first use, and displaces the
    /// Normal world's.
    #[cold]
    pub fn open(&mut self, context: &mut GuestContext, group: Lazy) {
        let displace = !self.displaced.contains(group);
        self.displaced |= group;
        self.opened |= group;
        let normal_world = &mut self.normal_world;
        if group == Lazy::VECTOR {
            if displace {
                normal_world.vector.save();
            }
            match &mut context.scalable {
                None => vector_state::load_fp(&context.fp),
                Some(scalable) => {
                    vector_state::open_scalable();
                    normal_world.vector.save_limits();
                    scalable.load(&context.fp);
                }
            }
        } else {
            if displace {
                normal_world.keys.save();
            }
            context.keys.load();
            HCR_EL2.set(HCR_EL2.get() | traps::HCR_POINTER_AUTHENTICATION);
        }
    }

    /// Takes the opened groups of `context` off this PE. The next context has to open them again.
    #[cold]
    fn close(&mut self, context: &mut GuestContext) {
        if self.opened.contains(Lazy::VECTOR) {
            match &mut context.scalable {
                None => vector_state::save_fp(&mut context.fp),
                Some(scalable) => scalable.save(&mut context.fp),
            }
            CPTR_EL2.set(traps::CPTR);
        }
        if self.opened.contains(Lazy::POINTER_KEYS) {
            context.keys.save();
        }
        if self.opened.intersects(Lazy::POINTER_KEYS | Lazy::SIGNALS) {
            HCR_EL2.set(traps::HCR);
        }
        if self.opened.contains(Lazy::TIMER) {
            timer::stop();
            self.displaced |= Lazy::ALARM;
        }
        if self.opened.contains(Lazy::AUXILIARY) {
            context.auxiliary = AuxiliaryState::of_this_pe();
        }
        if self.opened.contains(Lazy::LATE_ERROR) {
            // The context has not run since it was loaded, so the error is still to be reported.
            context.attention |= Attention::LATE_ERROR;
        }
        self.opened = Lazy::empty();
    }

    /// Finds out what this PE needs when a partition is entered and when it stops: whether the PE
    /// profiles or traces into memory, whether it has registers that the implementation defines,
    /// and what clears its branch history. Finds out what all PEs need when they invalidate
    /// translations of this one.
    pub fn look_at_pe(&mut self) {
        self.records = features::has_records();
        let auxiliary = AuxiliaryState::exists();
        self.attention.set(Attention::AUXILIARY, auxiliary);
        if errata::completes_tlbis_early(features::identity().midr) {
            stage2::repeat_tlbis();
        }
        self.branch_history = match errata::branch_history(&features::identity()) {
            BranchHistory::Confined => 0,
            BranchHistory::Instruction => BY_INSTRUCTION,
            BranchHistory::Branches(number) => number,
        };
    }

    /// Checks that this PE's vector registers are not longer than those of the boot PE, which sized
    /// the memory for all PEs, and not shorter than those that partitions were promised.
    pub fn check_vector_area(&self) {
        assert!(
            self.normal_world
                .vector
                .holds(vector_state::register_file_bytes()),
            "no memory for this PE's vector registers"
        );
        assert!(
            vector_state::has_promised_vectors(),
            "this PE's vector registers are shorter than those of partitions"
        );
    }

    /// Puts back what was displaced of the Normal world, at the end of a stay.
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

    /// Makes a virtual IRQ or FIQ pending for the loaded context.
    #[cold]
    pub fn signal(&mut self, irq: bool, fiq: bool) {
        let signals = u64::from(irq) << 7 | u64::from(fiq) << 6;
        HCR_EL2.set(HCR_EL2.get() & !traps::HCR_SIGNALS | signals);
        self.opened.set(Lazy::SIGNALS, signals != 0);
    }

    /// Raises the SGI that makes this PE look at its interrupts again, at the end of this stay, in
    /// which a partition runs.
    pub fn look_again_on_return(&mut self) {
        self.displaced |= Lazy::LOOK_AGAIN;
    }

    /// Makes the hardware timer stop the Normal world at that time.
    #[cold]
    pub fn stop_normal_world_at(&mut self, time: u64) {
        self.alarm = time;
        if self.el1_displaced {
            self.displaced |= Lazy::ALARM;
        } else {
            self.set_alarm();
        }
    }

    /// Makes the hardware timer fire at the time that is set for the Normal world, if there is one.
    fn set_alarm(&self) {
        if self.alarm != u64::MAX {
            timer::fire_at(self.alarm);
        }
    }

    /// Handles the interrupt of the hardware timer, unless the timer was stopped meanwhile. Returns
    /// the interrupt if it stopped the Normal world.
    ///
    /// The timer of the loaded context is left to its next run. Otherwise the timer fires because
    /// a partition runs at the time that was set for the Normal world, which the timer then stops
    /// as soon as it has the PE back; or for nobody, as CNTHVS_CTL_EL2.ENABLE is UNKNOWN after a
    /// suspend with loss of power (Arm ARM D24).
    #[cold]
    #[inline(never)]
    pub fn timer_fires(&mut self) -> Option<u32> {
        if self.watches_timer() || !timer::is_firing() {
            return None;
        }
        timer::stop();
        if self.el1_displaced {
            self.displaced |= Lazy::ALARM;
            return None;
        }
        self.alarm = u64::MAX;
        Some(timer::INTERRUPT)
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
        if self.displaced.contains(Lazy::AUXILIARY) {
            self.normal_world.auxiliary.load();
        }
        if self.displaced.contains(Lazy::ALARM) {
            self.set_alarm();
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

/// The value of [`Cpu::branch_history`] for CLRBHB.
const BY_INSTRUCTION: u8 = u8::MAX;

/// Keeps the branches that a partition took from steering indirect branches of EL2 (Arm,
/// "Spectre-BHB"). No indirect branch of EL2 comes before this, except one on the way from S-EL0,
/// which does the same before.
#[cold]
#[inline(never)]
fn clear_branch_history(branches: u8) {
    if branches == BY_INSTRUCTION {
        // SAFETY: CLRBHB changes no state that programs see.
        unsafe { asm!("hint #22", "isb", options(nostack, preserves_flags)) };
        return;
    }
    // SAFETY: the branches go to the instructions that follow them; the barriers keep what comes
    // behind them from being executed by speculation.
    unsafe {
        asm!(
            "2: b . + 4",
            "subs {0}, {0}, #1",
            "b.ne 2b",
            "dsb nsh",
            "isb",
            inout(reg) u64::from(branches) => _,
            options(nostack)
        );
    }
}

/// Waits until profiling and trace data of the Normal world are in memory. The buffers of SPE and
/// TRBE are written through the translation of the world that owns them, so the registers of EL1
/// may change only then (Arm ARM, PSB CSYNC and TSB CSYNC, each with a DSB). Cortex-A710 and
/// Neoverse N2 may need a second TSB CSYNC (errata 2054223 and 2067961).
#[cold]
fn drain() {
    // SAFETY: the hints and the barrier change no state. They are PSB CSYNC and TSB CSYNC.
    unsafe {
        asm!(
            "hint #17",
            "hint #18",
            "hint #18",
            "dsb nsh",
            options(nostack, preserves_flags)
        )
    };
}

/// Notes for `context` that the memory system refused one of its stores.
#[cold]
fn note_late_error(context: &mut GuestContext) {
    bulk::drop_error();
    context.attention |= Attention::LATE_ERROR;
}

/// Gives each PE memory for the Normal world's vector registers, at the greatest length that this
/// PE supports.
///
/// # Safety
///
/// Called on the boot PE, once, before any other PE is let in.
pub unsafe fn carve_vector_areas() {
    let bytes = vector_state::register_file_bytes();
    for index in 0..CPUS.count() {
        // SAFETY: the other PEs do not run yet, and this PE holds no reference to its state now
        // (contract above).
        let cpu = unsafe { &mut *CPUS.of(index) };
        // SAFETY: contract above.
        unsafe { cpu.normal_world.vector.carve(bytes) };
    }
}
