//! Boot: from the SPMC manifest to partitions that wait for messages (FF-A v1.0 sections 3.5 and 8;
//! TF-A's SPMD).
//!
//! All manifests are read and validated before any partition is loaded, so that the resources of
//! each partition are known to be its own before it runs. A partition that fails is left out, and
//! boot goes on without it.

mod activate;
mod admit;
mod load;
mod package;
mod reload;

pub(crate) use load::announced;

use core::sync::atomic::Ordering;

use crate::dispatch::{Member, works_for};
use crate::error::FfaError;
use crate::ffa::{Answer, SmcFrame, function};
use crate::hal::{Context, Hal};
use crate::invariant::Invariant;
use crate::manifest::config::{ExceptionLevel, PartitionConfig};
use crate::manifest::package::Lack;
use crate::manifest::{ManifestError, validate};
use crate::notification::Notifications;
use crate::partition::vcpu::{Begin, Caller, Event, State};
use crate::partition::{Endpoint, Frozen, Link, Partition, Slot};
use crate::spmc::{Pe, Spmc};
use crate::vector_length::VectorLength;

/// The time that a partition may take to initialise, if the SPMC manifest does not say.
pub(crate) const DEFAULT_INIT_TIMEOUT_MS: u32 = 30_000;

/// VMID or ASID of the first partition. The others follow, and 0 stays unused.
pub const FIRST_VMID: u16 = 1;

/// The reasons why a package is not started.
pub(crate) enum PackageError {
    Manifest(ManifestError),
    Unreadable,
    OutOfTables,
    Lack(Lack),
    InUse,
    OtherManifest,
    /// Pages of a new package, and of the place for its copy.
    LongerThanCopy {
        claimed: u64,
        room: u64,
    },
    OutOfStreamEndpoints,
    NoSuchStream,
    NotConfined,
    VectorsTooLong {
        wanted: VectorLength,
        longest: Option<VectorLength>,
    },
}

/// The register and the address by which a partition finds its boot information, if it asked for
/// it.
pub(crate) type BootInfo = Option<(u8, u64)>;

impl From<ManifestError> for PackageError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(error)
    }
}

impl From<Lack> for PackageError {
    fn from(error: Lack) -> Self {
        Self::Lack(error)
    }
}

impl core::fmt::Display for PackageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Manifest(error) => error.fmt(f),
            Self::Unreadable => f.write_str("the package cannot be read: no memory answers there"),
            Self::OutOfTables => f.write_str("out of translation tables"),
            Self::OutOfStreamEndpoints => f.write_str("too many stream endpoints"),
            Self::NoSuchStream => f.write_str("no SMMU confines the streams of its devices"),
            Self::NotConfined => f.write_str("this system cannot confine partitions at S-EL0"),
            Self::VectorsTooLong { wanted, longest } => {
                write!(f, "sve-vector-length: {} bits, but ", wanted.bits())?;
                match longest {
                    Some(longest) => write!(f, "this CPU has {} at most", longest.bits()),
                    None => f.write_str("this system has no SVE for partitions"),
                }
            }
            Self::Lack(error) => error.fmt(f),
            Self::InUse => f.write_str("others have memory of it"),
            Self::OtherManifest => f.write_str("its manifest is not that of boot"),
            Self::LongerThanCopy { claimed, room } => write!(
                f,
                "the package has {claimed} pages, and the place for its copy {room}: mem_size is \
                 too small"
            ),
        }
    }
}

/// How a context begins to run.
pub(crate) struct Entry {
    /// The first instruction.
    pub(crate) address: u64,
    /// How the partition finds its boot information.
    pub(crate) boot_info: BootInfo,
    /// The register that holds 1 because the image takes the place of another one.
    pub(crate) live: Option<u8>,
}

/// Gives an endpoint the properties that it has before its partition first runs.
fn introduce(
    endpoint: &Endpoint,
    notifications: &Notifications,
    index: usize,
    config: &PartitionConfig,
) {
    endpoint.init(config.id, config.ffa_version);
    if config.exception_level == ExceptionLevel::SEl1 {
        endpoint.allow_pauses();
    }
    if config.notifications {
        notifications.enable_partition(index, config.id, config.vcpu_count);
    }
}

impl<H: Hal> Spmc<H> {
    /// Boots the system on the first PE: starts the partitions, and leaves in `frame` the answer to
    /// the SPMD: `FFA_MSG_WAIT`, or `FFA_ERROR` if the SPMC manifest is unusable.
    #[cold]
    #[inline(never)]
    pub fn boot(&self, pe: &mut Pe, frame: &mut SmcFrame) {
        frame.answer(match &self.fault {
            None => {
                self.boot_partitions(pe);
                Answer::new([function::MSG_WAIT as u64])
            }
            Some(error) => {
                log::error!("SPMC manifest: {error}");
                Answer::error(FfaError::InvalidParameters)
            }
        });
    }

    #[cold]
    #[inline(never)]
    fn boot_partitions(&self, pe: &mut Pe) {
        self.join(pe);
        let devices = &self.manifest.stream_devices;
        for (index, device) in devices.iter().enumerate() {
            let earlier = Invariant::part(devices.get(..index));
            let admitted = validate::stream_device(device, earlier, &self.manifest)
                .map_err(PackageError::from)
                .and_then(|()| self.admit_device(device));
            if let Err(error) = admitted {
                log::error!("{}: not there: {error}", device.name);
            }
        }
        for partition in self
            .boot_order
            .iter()
            .filter_map(|index| self.partitions.get(*index))
            .filter(|partition| !partition.is_dead())
        {
            self.start(pe, partition);
        }
        self.booted.store(true, Ordering::Release);
    }

    /// Loads one partition and runs its boot context until it waits.
    #[cold]
    #[inline(never)]
    fn start(&self, pe: &mut Pe, partition: &Partition<H::Context>) {
        let frozen = &partition.frozen;
        let config = &frozen.config;
        let boot_info = match self.load(partition, frozen) {
            Ok(boot_info) => boot_info,
            Err(error) => {
                log::error!("{}: not started: {error}", config.name);
                partition.refuse();
                self.detach_streams(config);
                return;
            }
        };
        self.claim_interrupts(frozen);
        let entry = Entry {
            address: config.entry_point(),
            boot_info,
            live: None,
        };
        self.initialise(pe, partition, frozen, &entry);
        if !partition.is_dead() {
            log::info!(
                "{} ({}) is ready, {} execution contexts",
                config.name,
                config.id,
                config.vcpu_count
            );
        }
    }

    /// Runs the context of `partition` for this PE from `entry` until it waits or fails.
    #[cold]
    #[inline(never)]
    pub(crate) fn initialise(
        &self,
        pe: &mut Pe,
        partition: &Partition<H::Context>,
        frozen: &Frozen,
        entry: &Entry,
    ) {
        let member = Member { partition, frozen };
        let Ok(mut current) = self.claim(pe, member, Begin::Start) else {
            log::error!(
                "{}: has no execution context for PE {}",
                frozen.config.name,
                pe.index
            );
            return;
        };
        current.vcpu.begin_life(frozen.index, current.id.index);
        let vcpu = &mut *current.vcpu;
        let level = frozen.config.exception_level;
        self.hal
            .reset(&mut vcpu.context, level, entry.address, current.id.index);
        log::debug!(
            "{} vcpu {}: enters at {:#x} on PE {}",
            frozen.config.name,
            current.id.index,
            entry.address,
            pe.index
        );
        // All other registers are zero: a partition would take the contents of x0 for boot
        // information.
        let first = match entry.live {
            Some(register) => (register, 1),
            // The linear id of the PE, as Hafnium leaves it.
            None => (4, pe.index as u64),
        };
        let registers = vcpu.context.gprs_mut();
        for (register, value) in [Some(first), entry.boot_info].into_iter().flatten() {
            if let Some(slot) = registers.get_mut(register as usize) {
                *slot = value;
            }
        }
        self.prepare_interrupts(&current, entry.live.is_some());
        self.start_watch(pe, current.vcpu.link());
        self.enter(&mut current, false);
        let mut frame = SmcFrame::ZERO;
        self.run(pe, current, &mut frame);
        self.stop_watch(pe);
        partition.is_ready();
    }

    /// Boots a PE that the Normal world turned on: initialises the contexts pinned to that PE, and
    /// leaves `FFA_MSG_WAIT` for the SPMD in `frame`.
    pub fn boot_secondary(&self, pe: &mut Pe, frame: &mut SmcFrame) {
        log::debug!("PE {} comes", pe.index);
        self.join(pe);
        // EL3 may have turned the PE off although a partition refused.
        self.turn_off(pe);
        for index in &self.boot_order {
            let Some(partition) = self.partitions.get(*index) else {
                continue;
            };
            let frozen = &partition.frozen;
            let config = &frozen.config;
            if partition.is_dead() || config.is_up() || pe.index >= config.vcpu_count {
                continue;
            }
            let address = partition
                .secondary_entry()
                .map_or_else(|| config.entry_point(), |entry| entry.raw());
            let entry = Entry {
                address,
                boot_info: None,
                live: None,
            };
            self.initialise(pe, partition, frozen, &entry);
        }
        frame.answer(Answer::new([function::MSG_WAIT as u64]));
    }

    /// Resets the contexts pinned to a PE that is being turned off: they start from the beginning
    /// when the PE is on again. Contexts that they had called go to the callers of the reset ones.
    pub(crate) fn turn_off(&self, pe: &Pe) {
        log::debug!("PE {}: contexts are reset", pe.index);
        // This includes partitions that failed, whose contexts may be part of a chain.
        for partition in &self.partitions {
            if partition.frozen.config.is_up() {
                continue;
            }
            // No partition runs on this PE, so other PEs only read these contexts.
            let slot = partition.vcpus.get(pe.index as usize);
            let Some(mut vcpu) = slot.and_then(Slot::claim) else {
                continue;
            };
            let (link, state, caller) = (vcpu.link(), vcpu.state(), vcpu.caller());
            Invariant::Transition.expect(vcpu.step(Event::TurnOff).is_ok());
            drop(vcpu);
            if let State::Blocked(callee) = state {
                self.take_out_of_chain(link, caller, callee);
            }
        }
    }

    /// Connects the caller and the callee of a blocked context whose PE went off, so that the rest
    /// of the chain can end. The two changes are not one: a PE that sees only the first one sees a
    /// chain whose end is gone.
    fn take_out_of_chain(&self, link: Link, caller: Caller, callee: Link) {
        // The new caller only runs the callee again, and gets no answer from it.
        let waits = |heir: &Link| {
            self.place(*heir)
                .is_some_and(|place| place.slot.state() == State::Blocked(link))
        };
        let heir = caller.link().filter(waits);
        if let Some(mut callee) = self.follow(callee, |callee| works_for(callee, link)) {
            let caller = heir.map_or(Caller::NOBODY, Caller::Heir);
            callee.vcpu.inherit(caller);
        }
        if let Some(mut heir) = heir.and_then(|heir| self.waiting_for(link, heir)) {
            // The heir is blocked on the context that went off.
            Invariant::Transition.expect(heir.vcpu.step(Event::Rewire(link, callee)).is_ok());
        }
    }

    /// Returns whether all partitions have had their first run.
    pub(crate) fn has_booted(&self) -> bool {
        self.booted.load(Ordering::Acquire)
    }
}
