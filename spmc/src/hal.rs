//! The only boundary between the engine and hardware.
//!
//! The engine decides; the platform acts. Every function is safe to call with any argument that its
//! contract allows. The engine has no `unsafe`, so an implementation must uphold memory safety by
//! itself. The engine passes only physical addresses of memory that belongs to partitions or to the
//! Normal world, never of the SPMC's own image.

use core::fmt;
use core::sync::atomic::AtomicU64;

use crate::addr::{ADDRESS_LIMIT, Ipa, Pa, PageRange, World};
use crate::ffa::SmcFrame;
use crate::geometry::Geometry;
use crate::manifest::config::{DeviceInterrupt, ExceptionLevel, SpmcManifest};
use crate::vector_length::VectorLength;

/// One translation table: 512 descriptors in one page. The descriptors are atomic because the table
/// walker of another PE may read while this PE writes.
#[repr(C, align(4096))]
pub struct Table(pub [AtomicU64; 512]);

impl Table {
    /// A table of invalid descriptors.
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "only initialises static tables"
    )]
    pub const EMPTY: Self = Self([const { AtomicU64::new(0) }; 512]);
}

/// The memory system refused a physical access: a granule protection fault, or no memory there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessFault;

/// The translation that a partition runs under.
///
/// VMIDs and ASIDs tag TLB entries. Each partition has one number, used as its VMID or its ASID,
/// that no other partition has. The number is never 0, and below 256.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Regime {
    /// Stage 2 of an S-EL1 partition. A root consists of as many consecutive tables as
    /// [`Hal::geometry`] says, and is aligned to its whole size.
    Stage2 {
        /// VMID.
        vmid: u16,
        /// Root of the Secure IPA space (VSTTBR_EL2).
        secure: Pa,
        /// Root of the Non-secure IPA space (VTTBR_EL2), which is not 0.
        non_secure: Pa,
    },
    /// Stage 1 of the EL2&0 regime, for an S-EL0 partition. Its tables map pages of both worlds.
    Stage1 {
        /// ASID.
        asid: u16,
        /// The one root table (TTBR0_EL2).
        root: Pa,
    },
}

/// A [`Regime`] as registers hold it, because it is loaded for each message. All fields are zero
/// where there is no partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roots {
    /// VSTTBR_EL2: the Secure root. For stage 1 TTBR0_EL2: ASID and root.
    first: u64,
    /// VTTBR_EL2: VMID and Non-secure root. 0 for stage 1.
    second: u64,
}

/// The lowest bit of VMID or ASID, behind the address of the root.
const TAG: u32 = ADDRESS_LIMIT.trailing_zeros();

/// Returns the register with that VMID or ASID and that root.
const fn tagged(tag: u16, root: Pa) -> u64 {
    (tag as u64) << TAG | root.raw()
}

/// Returns the root in a register.
const fn root_in(register: u64) -> Pa {
    Pa::new(register & (ADDRESS_LIMIT - 1))
}

impl Roots {
    /// Roots that belong to no partition.
    pub const NONE: Self = Self {
        first: 0,
        second: 0,
    };

    /// Packs a regime.
    pub const fn new(regime: Regime) -> Self {
        let (first, second) = match regime {
            Regime::Stage2 {
                vmid,
                secure,
                non_secure,
            } => (secure.raw(), tagged(vmid, non_secure)),
            Regime::Stage1 { asid, root } => (tagged(asid, root), 0),
        };
        Self { first, second }
    }

    /// Returns the regime that was packed.
    #[inline(always)]
    pub const fn regime(&self) -> Regime {
        if self.is_stage1() {
            Regime::Stage1 {
                asid: (self.first >> TAG) as u16,
                root: root_in(self.first),
            }
        } else {
            Regime::Stage2 {
                vmid: (self.second >> TAG) as u16,
                secure: Pa::new(self.first),
                non_secure: root_in(self.second),
            }
        }
    }

    /// Returns whether this is the translation of an S-EL0 partition.
    #[inline(always)]
    pub const fn is_stage1(&self) -> bool {
        self.second == 0
    }

    /// Returns the VMID or the ASID.
    pub const fn tag(&self) -> u16 {
        ((self.first | self.second) >> TAG) as u16
    }

    /// Returns the root of the tables that map pages of `world`.
    pub const fn of(&self, world: World) -> Pa {
        match (self.regime(), world) {
            (Regime::Stage2 { secure, .. }, World::Secure) => secure,
            (Regime::Stage2 { non_secure, .. }, World::NonSecure) => non_secure,
            (Regime::Stage1 { root, .. }, _) => root,
        }
    }
}

/// A stream of DMA transactions, as an SMMU identifies it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stream {
    /// The number of the SMMU in manifests.
    pub smmu: u32,
    /// The stream id.
    pub id: u32,
}

/// There is no such SMMU, or it does not know the stream or cannot translate it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSuchStream;

/// Selects the translations of a partition that all PEs must forget.
#[derive(Clone, Copy, Debug)]
pub enum TlbScope<'a> {
    /// Everything that is tagged with the VMID, for both IPA spaces: translations, combined
    /// translations of both stages, and the addresses of tables of any level.
    All,
    /// The translations of these ranges of the named IPA space. Cached addresses of tables may
    /// stay, because no table was taken out.
    Ranges(&'a [(World, PageRange<Ipa>)]),
}

/// The instruction by which a partition made a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// `HVC` from S-EL1.
    Hvc,
    /// `SMC` from S-EL1, trapped.
    Smc,
    /// `SVC` from S-EL0.
    Svc,
}

/// The kind of a faulting access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Data read.
    Read,
    /// Data write.
    Write,
    /// Instruction fetch.
    Execute,
}

/// The reason why an access faulted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// There is no valid descriptor.
    Translation,
    /// The descriptor does not permit the access.
    Permission,
    /// The address is beyond the input size.
    AddressSize,
    /// The memory system refused the access.
    External,
    /// Any other fault status code.
    Other(u8),
}

/// A fault that the SPMC's tables caused (stage 2, or stage 1 of an S-EL0 partition), or an
/// external abort, decoded from ESR, FAR and HPFAR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The access that was attempted.
    pub access: Access,
    /// The reason why the access failed.
    pub kind: FaultKind,
    /// The address that the partition used, where the architecture reports it.
    pub va: Option<u64>,
    /// The IPA of the faulting page, where the architecture reports it.
    pub ipa: Option<Ipa>,
    /// Set if the partition's own stage 1 table walk faulted.
    pub on_walk: bool,
    /// The address of the instruction.
    pub pc: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Execute => "execute",
        };
        match self.va {
            Some(va) => write!(f, "{access} of {va:#x} failed: ")?,
            None => write!(f, "{access} of an unknown address failed: ")?,
        }
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

/// The time at which the schedule receiver interrupt is raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SriTime {
    /// At once: the interrupt may preempt the partition that runs.
    Now,
    /// When this PE returns to the Normal world.
    OnReturn,
}

/// The reason why a vCPU stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// A call. Its registers are in the context, whose PC already points behind the call
    /// instruction.
    Call(Conduit),
    /// A fault that the partition's own stage 1 did not cause.
    Fault(Fault),
    /// An instruction that a partition may not use here (system register, SVE, ...).
    Trap {
        /// The raw syndrome (ESR_EL2).
        syndrome: u64,
        /// The address of the instruction.
        pc: u64,
    },
    /// A Non-secure interrupt is pending, and the partition's policy lets the interrupt preempt it.
    NonSecureInterrupt,
    /// A Secure interrupt is pending, or another PE asked this PE to check for work
    /// ([`Hal::look_again_elsewhere`]).
    SecureInterrupt,
    /// The EL1 physical timer of the loaded context changed its state.
    Timer {
        /// Set if the timer expired, which is reported once until the context writes to the timer.
        /// Clear if the context armed or disarmed the timer, or wrote to an expired timer, which
        /// withdraws the expiry.
        expired: bool,
    },
    /// The watchdog that [`Hal::start_watchdog`] armed expired.
    Watchdog,
}

/// The saved execution state of one vCPU.
pub trait Context: Send {
    /// A context that has never run.
    const NEW: Self;
    /// Returns x0 to x30.
    fn gprs(&self) -> &[u64; 31];
    /// Returns x0 to x30 for writing.
    fn gprs_mut(&mut self) -> &mut [u64; 31];
    /// Returns the address of the next instruction.
    fn pc(&self) -> u64;
}

/// The places of translation tables in physical memory: at most two pieces, as a manifest can add
/// one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TablePlaces {
    /// The first table.
    pub first: Pa,
    /// The number of consecutive tables from `first` on.
    pub count: usize,
    /// The table with the index `count`; the others follow it.
    pub more: Pa,
}

/// The reason why [`Hal::add_tables`] adds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableMemoryError {
    /// No memory answers there.
    Unreadable,
    /// The tables that exist already have no room for those through which EL2 itself would reach so
    /// much memory.
    TooMuch,
}

impl fmt::Display for TableMemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "no memory answers there",
            Self::TooMuch => "the SPMC's own memory has too few tables to reach so much",
        })
    }
}

/// Provides what the engine needs of a platform.
pub trait Hal: Sync + Sized {
    /// Saved execution state of a vCPU.
    type Context: Context;

    /// Prepares a context for its first entry at `pc`. S-EL1 starts at EL1h with interrupts masked,
    /// the MMU off, all general-purpose and system registers at their reset values, and VMPIDR =
    /// `vcpu_index`. S-EL0 starts at EL0t with the MMU on, and with SP and all other registers 0.
    fn reset(&self, context: &mut Self::Context, level: ExceptionLevel, pc: u64, vcpu_index: u16);

    /// Loads a context on this PE. If the Normal world's EL1 state is still loaded, it is saved
    /// first. With `mask_non_secure`, Non-secure interrupts stay pending until [`Hal::save`].
    fn load(&self, context: &mut Self::Context, roots: &Roots, mask_non_secure: bool);

    /// Runs the loaded context until it stops. The context may be run again without being loaded
    /// again.
    fn run(&self, context: &mut Self::Context) -> Exit;

    /// Saves the loaded context, after which it may be loaded on any PE.
    fn save(&self, context: &mut Self::Context);

    /// Returns a monotonic timestamp; the unit is the platform's.
    fn now(&self) -> u64;

    /// Converts milliseconds to the unit of [`Hal::now`].
    fn ticks(&self, milliseconds: u32) -> u64;

    /// Makes the loaded S-EL1 context take `fault` as an abort at its own exception vector. Returns
    /// `false`, with nothing changed, if the context cannot: it faulted on that very vector.
    fn inject_abort(&self, context: &mut Self::Context, fault: &Fault) -> bool;

    /// Makes the loaded S-EL1 context take an Undefined Instruction exception. Returns `false`,
    /// with nothing changed, if the context cannot.
    fn inject_undefined(&self, context: &mut Self::Context) -> bool;

    /// Makes [`Hal::run`] on this PE stop with [`Exit::Watchdog`] once [`Hal::now`] reaches `end`.
    fn start_watchdog(&self, end: u64);

    /// Undoes [`Hal::start_watchdog`].
    fn stop_watchdog(&self);

    /// Makes [`SCHEDULE_RECEIVER`](crate::own_interrupts::SCHEDULE_RECEIVER) pending on this PE.
    fn raise_schedule_receiver(&self, time: SriTime);

    /// Presents a virtual IRQ or FIQ to the loaded context, until the next call or [`Hal::save`].
    fn signal(&self, context: &mut Self::Context, irq: bool, fiq: bool);

    /// Acknowledges the Secure Group 1 interrupt of the highest priority that is pending on this
    /// PE, and drops its priority. The interrupt stays active. The platform's own interrupts are
    /// not returned, except for the one of [`Hal::stop_normal_world_at`], which is complete then;
    /// `None` if no other is pending.
    fn acknowledge_interrupt(&self) -> Option<u32>;

    /// Deactivates an acknowledged interrupt, on this PE if the interrupt is private. An interrupt
    /// that is not active is left alone.
    fn deactivate_interrupt(&self, id: u32);

    /// Configures a partition's interrupt as a Secure Group 1 interrupt with the priority, trigger
    /// and target of its manifest. The interrupt is left disabled and inactive; an edge-triggered
    /// one is not pending either. It is configured on this PE if it is private or names no target.
    /// Returns whether the interrupt exists.
    fn configure_interrupt(&self, interrupt: &DeviceInterrupt) -> bool;

    /// Enables or disables an interrupt, on this PE if the interrupt is private.
    fn enable_interrupt(&self, id: u32, enable: bool);

    /// Routes a shared interrupt to the PE with that index. Returns whether that is possible.
    fn route_interrupt(&self, id: u32, pe: u64) -> bool;

    /// Routes a shared interrupt from the PE with the affinity `from` to the PE with the affinity
    /// `to`. Returns whether the interrupt was routed to `from`.
    fn move_interrupt(&self, id: u32, from: u64, to: u64) -> bool;

    /// Stops all other PEs: partitions by [`Exit::SecureInterrupt`], and the Normal world by
    /// `FFA_INTERRUPT`.
    fn look_again_elsewhere(&self);

    /// Stops whatever runs next on this PE, a partition or the Normal world, in the same way.
    fn look_again_here(&self);

    /// Stops the Normal world on this PE by `FFA_INTERRUPT` as soon as it gets the PE back.
    fn look_again_on_return(&self);

    /// Stops the Normal world on this PE by `FFA_INTERRUPT` once [`Hal::now`] reaches `time`, or as
    /// soon as it gets the PE back after that. [`Hal::acknowledge_interrupt`] then returns
    /// [`PARTITION_TIMER`](crate::own_interrupts::PARTITION_TIMER). A time that was set before is
    /// forgotten.
    fn stop_normal_world_at(&self, time: u64);

    /// Returns the time at which the timer of a context expires, if the timer is armed and has not
    /// expired.
    fn deadline(&self, context: &Self::Context) -> Option<u64>;

    /// Makes the timer of a context that is not loaded expire, of which [`Hal::run`] does not tell
    /// any more.
    fn expire(&self, context: &mut Self::Context);

    /// Copies from physical memory into `to`. The range may start anywhere and cross pages.
    fn read(&self, world: World, from: Pa, to: &mut [u8]) -> Result<(), AccessFault>;

    /// Copies `from` to physical memory. The stores may stay in caches: observers that go around
    /// the caches see them after [`Hal::clean`].
    fn write(&self, world: World, to: Pa, from: &[u8]) -> Result<(), AccessFault>;

    /// Fills pages with zeros and makes the zeros visible to every observer (clean to the point of
    /// coherency).
    fn zero(&self, world: World, range: PageRange<Pa>) -> Result<(), AccessFault>;

    /// Makes `range` visible to observers without caches and to instruction fetch: cleans it to the
    /// point of coherency, and drops stale instructions.
    fn clean(&self, world: World, from: Pa, bytes: u64);

    /// Returns whether this system can confine partitions at S-EL0. If not, no such partition is
    /// started.
    fn confines_s_el0(&self) -> bool {
        true
    }

    /// Returns whether guarded pages have an effect: a partition at S-EL0 then takes an exception
    /// when it branches there to an instruction that is no target (FEAT_BTI).
    fn has_branch_targets(&self) -> bool {
        false
    }

    /// Returns the greatest vector length of SVE that partitions can have, or `None` if they cannot
    /// have SVE. All shorter ones exist, too.
    fn longest_vectors(&self) -> Option<VectorLength> {
        None
    }

    /// Gives a context registers of SVE with vectors of that length, which
    /// [`Hal::longest_vectors`] permits. Called at boot, once at most for each context. The context
    /// has these registers from then on; [`Hal::reset`] makes them zero.
    fn give_vectors(&self, context: &mut Self::Context, length: VectorLength) {
        let _ = (context, length);
    }

    /// Sets the geometry of all tables under [`Roots`]: stage 2 has this one, and stage 1 of S-EL0
    /// partitions has [`Geometry::stage1`]. Called at boot, before there is any such table.
    fn set_geometry(&self, geometry: Geometry);

    /// Returns the geometry that was set.
    fn geometry(&self) -> Geometry;

    /// Makes what memory is left the translation tables that the engine hands out. The engine calls
    /// this once at boot, before [`Hal::tables`], when it has allocated everything else.
    fn make_tables(&self, manifest: &SpmcManifest) {
        let _ = manifest;
    }

    /// Returns all translation tables that the engine hands out. Every byte is zero at boot.
    fn tables(&self) -> &[Table];

    /// Returns the places of [`Hal::tables`] in physical memory.
    fn table_places(&self) -> &TablePlaces;

    /// Appends the pages of `range`, zeroed, to [`Hal::tables`]. The range is Secure memory that
    /// nobody uses. Called at most once, before the tables are used. On an error nothing has
    /// changed.
    fn add_tables(&self, range: PageRange<Pa>) -> Result<(), TableMemoryError>;

    /// Returns the last entry that the first table of level 1 must have in each map of the EL2&0
    /// regime. EL2 needs the entry to reach its own memory when an S-EL0 partition stops.
    fn el2_entry(&self) -> u64;

    /// Makes table updates visible to translation walks (DSB) and invalidates stale translations on
    /// all PEs. On return, no PE can use them any more.
    fn invalidate_stage2(&self, roots: &Roots, scope: TlbScope<'_>);

    /// Makes table updates that only turn invalid descriptors into valid ones visible to
    /// translation walks (DSB).
    fn publish_tables(&self);

    /// Returns whether an SMMU confines `stream`, so that it can be attached.
    fn knows_stream(&self, stream: Stream) -> bool {
        let _ = stream;
        false
    }

    /// Translates all transactions of `stream` through the tables under `roots` from now on.
    /// [`Hal::invalidate_stage2`] of these roots then also invalidates what the SMMU has cached. A
    /// stream that is not attached is blocked: its transactions abort instead of passing
    /// untranslated.
    fn attach_stream(&self, stream: Stream, roots: &Roots) -> Result<(), NoSuchStream>;

    /// Undoes [`Hal::attach_stream`]: the stream is blocked again. On return, no transaction of the
    /// stream that was under way can reach memory any more. A stream that was never attached is
    /// left alone.
    fn detach_stream(&self, stream: Stream);

    /// Returns the MPIDR affinity of this PE: Aff3:Aff2:Aff1:Aff0, as in `reg` of a device tree.
    fn affinity(&self) -> u64;

    /// Makes a fast call to EL3 for the loaded context. `call` has x0 to x17, and receives the
    /// answer of EL3 (SMCCC 1.2).
    fn call_el3(&self, call: &mut SmcFrame);
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn a_fault_is_told_with_what_the_architecture_reports() {
        let fault = Fault {
            access: Access::Write,
            kind: FaultKind::Translation,
            va: Some(0x4567),
            ipa: Some(Ipa::new(0x4000)),
            on_walk: true,
            pc: 0x100,
        };
        assert_eq!(
            fault.to_string(),
            "write of 0x4567 failed: translation fault on a stage 1 table walk, ipa 0x4000, pc 0x100"
        );
        let error = Fault {
            kind: FaultKind::External,
            va: None,
            ipa: None,
            on_walk: false,
            ..fault
        };
        assert_eq!(
            error.to_string(),
            "write of an unknown address failed: external abort, pc 0x100"
        );
    }
}
