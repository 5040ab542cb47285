//! The only boundary between the engine and hardware.
//!
//! The engine decides; the platform acts. Every function is safe to call with any argument that its
//! contract allows. The engine has no `unsafe`, so an implementation must uphold memory safety by
//! itself. The engine passes only physical addresses of memory that belongs to partitions or to the
//! Normal world, never of the SPMC's own image.

use core::fmt;
use core::sync::atomic::AtomicU64;

use crate::addr::{Ipa, Pa, PageRange, World};
use crate::ffa::SmcFrame;
use crate::manifest::config::{DeviceInterrupt, ExceptionLevel};
use crate::mm;

/// One translation table: 512 descriptors, one page. Atomic because the walker of another PE reads
/// while we write.
#[repr(C, align(4096))]
pub struct Table(pub [AtomicU64; 512]);

impl Table {
    /// A table of invalid descriptors.
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "initial value of static tables"
    )]
    pub const EMPTY: Self = Self([const { AtomicU64::new(0) }; 512]);
}

/// A physical access that the memory system refused (a granule protection fault, no memory there).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessFault;

/// The translation that a partition runs under.
///
/// VMIDs and ASIDs tag TLB entries. No two partitions have the same number, as either of them; it
/// is never 0, and below 256.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Regime {
    /// Stage 2 of an S-EL1 partition. A root is one table, or as many one behind the other as
    /// [`Hal::IPA_BITS`] asks for, aligned to all of them.
    Stage2 {
        /// VMID.
        vmid: u16,
        /// Root of the Secure IPA space (VSTTBR_EL2).
        secure: Pa,
        /// Root of the Non-secure IPA space (VTTBR_EL2), which is not 0.
        non_secure: Pa,
    },
    /// Stage 1 of the EL2&0 regime, for an S-EL0 partition. Pages of both worlds are in its tables.
    Stage1 {
        /// ASID.
        asid: u16,
        /// The one root table (TTBR0_EL2).
        root: Pa,
    },
}

/// A [`Regime`] without a discriminant: it is loaded for each message, and all zero where there is
/// no partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roots {
    tag: u16,
    first: Pa,
    /// 0 for stage 1.
    second: Pa,
}

impl Roots {
    /// Stands for the translation of nobody.
    pub const NONE: Self = Self {
        tag: 0,
        first: Pa::new(0),
        second: Pa::new(0),
    };

    /// Packs a regime.
    pub const fn new(regime: Regime) -> Self {
        let (tag, first, second) = match regime {
            Regime::Stage2 {
                vmid,
                secure,
                non_secure,
            } => (vmid, secure, non_secure),
            Regime::Stage1 { asid, root } => (asid, root, Pa::new(0)),
        };
        Self { tag, first, second }
    }

    /// Returns the regime that was packed.
    #[inline(always)]
    pub const fn regime(&self) -> Regime {
        if self.is_stage1() {
            Regime::Stage1 {
                asid: self.tag,
                root: self.first,
            }
        } else {
            Regime::Stage2 {
                vmid: self.tag,
                secure: self.first,
                non_secure: self.second,
            }
        }
    }

    /// Returns whether this is the translation of an S-EL0 partition.
    #[inline(always)]
    pub const fn is_stage1(&self) -> bool {
        self.second.raw() == 0
    }

    /// Returns the VMID or the ASID.
    pub const fn tag(&self) -> u16 {
        self.tag
    }

    /// Returns the root of the tables that pages of `world` are in.
    pub const fn of(&self, world: World) -> Pa {
        match (self.regime(), world) {
            (Regime::Stage2 { secure, .. }, World::Secure) => secure,
            (Regime::Stage2 { non_secure, .. }, World::NonSecure) => non_secure,
            (Regime::Stage1 { root, .. }, _) => root,
        }
    }
}

/// A stream of DMA transactions, as one SMMU tells it from others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stream {
    /// The SMMU, by the number that manifests give it.
    pub smmu: u32,
    /// Stream id.
    pub id: u32,
}

/// There is no such SMMU, it does not know the stream, or it cannot translate it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSuchStream;

/// Selects the translations of a partition that all PEs must forget.
#[derive(Clone, Copy, Debug)]
pub enum TlbScope<'a> {
    /// Everything under the VMID, both IPA spaces: translations, those that combine two stages, and
    /// where tables of any level lie.
    All,
    /// The translations of these ranges of the named IPA space. What is known of tables may stay:
    /// none has been taken out.
    Ranges(&'a [(World, PageRange<Ipa>)]),
}

/// How a call of a partition came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// `HVC` from S-EL1.
    Hvc,
    /// `SMC` from S-EL1, trapped.
    Smc,
    /// `SVC` from S-EL0.
    Svc,
}

/// Classifies a faulting access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Data read.
    Read,
    /// Data write.
    Write,
    /// Instruction fetch.
    Execute,
}

/// Why the access faulted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// No valid descriptor.
    Translation,
    /// The descriptor does not permit it.
    Permission,
    /// The address is beyond the input size.
    AddressSize,
    /// The memory system refused it.
    External,
    /// Any other fault status code.
    Other(u8),
}

/// A fault that the SPMC's tables caused (stage 2; stage 1 of an S-EL0 partition) or an external
/// abort, decoded from ESR, FAR and HPFAR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The access that was attempted.
    pub access: Access,
    /// Why it failed.
    pub kind: FaultKind,
    /// The address that the partition used.
    pub va: u64,
    /// The faulting page's IPA where the architecture reports one.
    pub ipa: Option<Ipa>,
    /// The fault arose on the partition's own stage-1 table walk.
    pub on_walk: bool,
    /// The instruction.
    pub pc: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Execute => "execute",
        };
        write!(f, "{access} of {:#x} failed: ", self.va)?;
        match self.kind {
            FaultKind::Translation => f.write_str("translation fault")?,
            FaultKind::Permission => f.write_str("permission fault")?,
            FaultKind::AddressSize => f.write_str("address size fault")?,
            FaultKind::External => f.write_str("external abort")?,
            FaultKind::Other(code) => write!(f, "fault status {code:#x}")?,
        }
        if self.on_walk {
            f.write_str(" on a stage 1 table walk")?;
        }
        if let Some(ipa) = self.ipa {
            write!(f, ", ipa {ipa}")?;
        }
        write!(f, ", pc {:#x}", self.pc)
    }
}

/// When the schedule receiver interrupt is raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SriTime {
    /// At once; it may preempt the partition that runs.
    Now,
    /// When this PE goes back to the Normal world.
    OnReturn,
}

/// Why a vCPU stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// A call; its registers are in the context, which already points behind the call instruction.
    Call(Conduit),
    /// A fault that the partition's own stage 1 did not cause.
    Fault(Fault),
    /// An instruction that a partition may not use here (system register, SVE, ...); the raw
    /// syndrome and its address.
    Trap {
        /// ESR_EL2.
        syndrome: u64,
        /// The instruction.
        pc: u64,
    },
    /// A Non-secure interrupt is pending and the partition's policy lets it preempt.
    NonSecureInterrupt,
    /// A Secure interrupt is pending, or another PE wants this one to look again
    /// ([`Hal::look_again_elsewhere`]).
    SecureInterrupt,
    /// The EL1 physical timer of the loaded context.
    Timer {
        /// It expired. Said once until the context writes to it; that takes the expiry back.
        expired: bool,
    },
    /// The watchdog armed by [`Hal::start_watchdog`] expired.
    Watchdog,
}

/// The saved execution state of one vCPU.
pub trait Context: Send {
    /// A context that has never run; all zero so that it costs nothing in the image.
    const NEW: Self;
    /// x0 to x30.
    fn gprs(&self) -> &[u64; 31];
    /// x0 to x30.
    fn gprs_mut(&mut self) -> &mut [u64; 31];
    /// The address of the next instruction.
    fn pc(&self) -> u64;
}

/// Where translation tables lie in physical memory: two pieces at most, as a manifest can add one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TablePlaces {
    /// The first table.
    pub first: Pa,
    /// Tables that lie one behind the other from `first` on.
    pub count: usize,
    /// The table with the index `count`; the others follow it.
    pub more: Pa,
}

/// Why [`Hal::add_tables`] adds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableMemoryError {
    /// No memory answers there.
    Unreadable,
    /// The tables that are there already have no room for those by which EL2 itself reaches so
    /// much.
    TooMuch,
}

impl fmt::Display for TableMemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "no memory answers there",
            Self::TooMuch => "the image has too few tables (SPMC_TABLES) to reach so much memory",
        })
    }
}

/// Provides what the engine needs of a platform.
pub trait Hal: Sync + Sized {
    /// Saved execution state of a vCPU.
    type Context: Context;

    /// log2 of the IPA space that stage 2 translates, 39 to 43: no partition is given, lent or
    /// shared what lies above. A root has a page for each 512 GiB.
    const IPA_BITS: u32 = mm::TABLE_BITS;

    /// Prepares a context for its first entry at `pc`: EL1h, interrupts masked, MMU off, all
    /// general-purpose and system registers at their reset values, VMPIDR = `vcpu_index`; or EL0t,
    /// with the MMU on, SP and all other registers 0.
    fn reset(&self, context: &mut Self::Context, level: ExceptionLevel, pc: u64, vcpu_index: u16);

    /// Puts a context on this PE, displacing (and keeping) the Normal world's EL1 state if that is
    /// still there. With `mask_non_secure`, Non-secure interrupts stay pending until [`Hal::save`].
    fn load(&self, context: &mut Self::Context, roots: &Roots, mask_non_secure: bool);

    /// Runs the loaded context until it stops. The same context may be run again without loading it
    /// anew.
    fn run(&self, context: &mut Self::Context) -> Exit;

    /// Takes the loaded context off this PE; afterwards it may be loaded on any PE.
    fn save(&self, context: &mut Self::Context);

    /// Returns a monotonic timestamp; the unit is the platform's.
    fn now(&self) -> u64;

    /// Converts milliseconds to the unit of [`Hal::now`].
    fn ticks(&self, milliseconds: u32) -> u64;

    /// Makes the loaded context, of S-EL1, take `fault` as an abort at its own exception vector.
    /// Returns `false`, with nothing changed, if it cannot: it faulted on that very vector.
    fn inject_abort(&self, context: &mut Self::Context, fault: &Fault) -> bool;

    /// Makes the loaded context, of S-EL1, take an Undefined Instruction exception. Returns
    /// `false`, with nothing changed, if it cannot.
    fn inject_undefined(&self, context: &mut Self::Context) -> bool;

    /// Interrupts [`Hal::run`] on this PE with [`Exit::Watchdog`] once [`Hal::now`] has come to
    /// `end`.
    fn start_watchdog(&self, end: u64);

    /// Undoes [`Hal::start_watchdog`].
    fn stop_watchdog(&self);

    /// Makes [`SCHEDULE_RECEIVER`](crate::own_interrupts::SCHEDULE_RECEIVER) pending on this PE.
    fn raise_schedule_receiver(&self, time: SriTime);

    /// Shows the loaded context a virtual IRQ or FIQ, until the next call or [`Hal::save`].
    fn signal(&self, context: &mut Self::Context, irq: bool, fiq: bool);

    /// Acknowledges the Secure Group 1 interrupt of highest priority that is pending on this PE and
    /// drops its priority. It stays active. Never returns the platform's own; `None` if there is no
    /// other.
    fn acknowledge_interrupt(&self) -> Option<u32>;

    /// Lets an acknowledged interrupt come again, of this PE if it is private. Nothing happens if
    /// it is not active.
    fn deactivate_interrupt(&self, id: u32);

    /// Makes a partition's interrupt a Secure Group 1 interrupt with the priority, trigger and
    /// target that its manifest says, disabled, neither active nor, if it is an edge, pending. On
    /// this PE if it is private or names no target. Returns whether there is such an interrupt.
    fn configure_interrupt(&self, interrupt: &DeviceInterrupt) -> bool;

    /// Enables or disables an interrupt, on this PE if it is private.
    fn enable_interrupt(&self, id: u32, enable: bool);

    /// Routes a shared interrupt to the PE with that affinity. Returns whether that can be done.
    fn route_interrupt(&self, id: u32, affinity: u64) -> bool;

    /// Routes a shared interrupt that is routed to the PE with the affinity `from` to the one with
    /// the affinity `to`. Returns whether it was routed to `from`.
    fn move_interrupt(&self, id: u32, from: u64, to: u64) -> bool;

    /// Stops all other PEs, partitions with [`Exit::SecureInterrupt`] and the Normal world with
    /// `FFA_INTERRUPT`.
    fn look_again_elsewhere(&self);

    /// Stops the next user of this PE, a partition or the Normal world, in the same way.
    fn look_again_here(&self);

    /// Stops the Normal world on this PE with `FFA_INTERRUPT` as soon as it has the PE back.
    fn look_again_on_return(&self);

    /// Copies from physical memory into `to`. The range may start anywhere and cross pages.
    fn read(&self, world: World, from: Pa, to: &mut [u8]) -> Result<(), AccessFault>;

    /// Copies `from` to physical memory.
    fn write(&self, world: World, to: Pa, from: &[u8]) -> Result<(), AccessFault>;

    /// Fills pages with zeros and makes that visible to every observer (clean to the point of
    /// coherency).
    fn zero(&self, world: World, range: PageRange<Pa>) -> Result<(), AccessFault>;

    /// Makes `range` visible to observers without caches and to instruction fetch: clean to the
    /// point of coherency, and drop stale instructions.
    fn clean(&self, world: World, from: Pa, bytes: u64);

    /// Returns whether a partition at S-EL0 can be kept from what it must not do on this system. If
    /// not, none is started.
    fn confines_s_el0(&self) -> bool {
        true
    }

    /// Storage of all translation tables that the engine hands out; all zero at boot.
    fn tables(&self) -> &[Table];

    /// Returns where [`Hal::tables`] lie in physical memory.
    fn table_places(&self) -> &TablePlaces;

    /// Puts the pages of `range`, zeroed, behind those of [`Hal::tables`]. It is Secure memory that
    /// nobody uses. Called once at most, before anything asks for the tables. On an error nothing
    /// has changed.
    fn add_tables(&self, range: PageRange<Pa>) -> Result<(), TableMemoryError>;

    /// Returns the last entry that each root table of the EL2&0 regime must have: by it EL2 finds
    /// itself when an S-EL0 partition stops.
    fn el2_entry(&self) -> u64;

    /// Makes table updates visible to translation walks (DSB) and invalidates stale translations on
    /// all PEs. Returns when no PE can use them any more.
    fn invalidate_stage2(&self, roots: &Roots, scope: TlbScope<'_>);

    /// Makes table updates that only turn invalid descriptors into valid ones visible to
    /// translation walks (DSB).
    fn publish_tables(&self);

    /// Sends all transactions of `stream` through the tables under `roots` from now on, and lets
    /// [`Hal::invalidate_stage2`] of these roots reach what the SMMU keeps. A stream that is not
    /// attached is blocked: its transactions abort, they do not pass untranslated.
    fn attach_stream(&self, stream: Stream, roots: &Roots) -> Result<(), NoSuchStream>;

    /// Undoes [`Hal::attach_stream`]: the stream is blocked again. When it returns, no transaction
    /// of the stream that was under way can reach memory any more. Nothing happens if it was never
    /// attached.
    fn detach_stream(&self, stream: Stream);

    /// MPIDR affinity of the PE that this runs on: Aff3:Aff2:Aff1:Aff0 as in a device tree `reg`.
    fn affinity(&self) -> u64;

    /// Makes a fast call of EL3 for the loaded context, with x0 to x17 in `call`, where EL3 leaves
    /// its answer (SMCCC 1.2).
    fn call_el3(&self, call: &mut SmcFrame);
}
