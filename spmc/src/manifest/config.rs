//! The configuration that manifests are parsed into, and that boot uses.

use alloc::vec::Vec;

use arrayvec::ArrayVec;
use bitflags::bitflags;

use super::board::Board;
use super::error::ManifestError;
use super::tree::Name;
use crate::addr::{Pa, PageRange, World};
use crate::ffa::Version;
use crate::geometry::Geometry;
use crate::id::{PartitionId, Uuid};
use crate::limits::{DEFAULT_SHARES, DEFAULT_VMS, MAX_MAILBOX_PAGES, MIN_CONTEXTS};
use crate::vector_length::VectorLength;

/// The SPMC manifest (TOS_FW_CONFIG, `arm,ffa-core-manifest-1.0`).
#[derive(Clone, Debug)]
pub struct SpmcManifest {
    /// `attribute/spmc_id`.
    pub spmc_id: PartitionId,
    /// `attribute/maj_ver` and `min_ver`: the version that the SPMD takes the SPMC to have.
    pub version: Version,
    /// `attribute/load_address`, where it is given.
    pub load_address: Option<u64>,
    /// `attribute/binary_size`, where it is given: bytes from `load_address` on that the SPMC has.
    pub binary_size: Option<u64>,
    /// `stream-endpoints` (ours): independent devices.
    pub stream_devices: Vec<StreamDevice>,
    /// `hypervisor/vmN`, in the order of N.
    pub partitions: Vec<PackageEntry>,
    /// The faults of `vmN` nodes that are therefore not in `partitions`.
    pub faults: Vec<ManifestError>,
    /// MPIDR affinity of each PE under `cpus`.
    pub cpus: Vec<u64>,
    /// Secure memory that partitions may be given.
    pub memory: Vec<PageRange<Pa>>,
    /// Non-secure memory that partitions may be given and that the Normal world may share.
    pub ns_memory: Vec<PageRange<Pa>>,
    /// Secure devices.
    pub device_memory: Vec<PageRange<Pa>>,
    /// Non-secure devices.
    pub ns_device_memory: Vec<PageRange<Pa>>,
    /// The console and the GIC. The platform completes them from the hardware configuration.
    pub board: Board,
    /// `hypervisor/table-memory` (ours): Secure memory for translation tables and lists of memory
    /// transactions.
    pub table_memory: Option<PageRange<Pa>>,
    /// Bytes of the SPMC's own memory that nothing else needs, for the SVE registers of partitions,
    /// see [`own_memory`](super::own_memory::own_memory).
    pub vector_memory: u64,
    /// The smallest geometry that has all these addresses, see [`system`](super::system).
    pub geometry: Geometry,
    /// `hypervisor/memory-transactions` (ours): how many can be live at the same time.
    pub transactions: u16,
    /// `hypervisor/rxtx-pages` (ours): how many pages an RX or TX buffer may have that a caller
    /// registers.
    pub mailbox_pages: u32,
    /// `hypervisor/vms` (ours): how many VMs can be notified, and have RX/TX pairs.
    pub vms: u16,
    /// `hypervisor/log-level` (ours): 1 error to 5 trace.
    pub log_level: Option<u32>,
    /// `hypervisor/init-timeout-ms` (ours): how long a partition may take to initialise.
    pub init_timeout_ms: Option<u32>,
    /// `hypervisor/live-activation-from-nwd` (ours): the Normal world may replace images,
    /// for tests.
    pub live_activation_from_nwd: bool,
}

impl Default for SpmcManifest {
    /// Returns what a manifest means that says nothing.
    fn default() -> Self {
        Self {
            spmc_id: PartitionId::SPMC,
            version: Version::OWN,
            load_address: None,
            binary_size: None,
            stream_devices: Vec::new(),
            partitions: Vec::new(),
            faults: Vec::new(),
            cpus: Vec::new(),
            memory: Vec::new(),
            ns_memory: Vec::new(),
            device_memory: Vec::new(),
            ns_device_memory: Vec::new(),
            board: Board::default(),
            table_memory: None,
            vector_memory: 0,
            geometry: Geometry::SMALL,
            transactions: DEFAULT_SHARES,
            mailbox_pages: MAX_MAILBOX_PAGES,
            vms: DEFAULT_VMS,
            log_level: None,
            init_timeout_ms: None,
            live_activation_from_nwd: false,
        }
    }
}

impl SpmcManifest {
    /// Returns the most execution contexts that a partition can have.
    pub fn most_contexts(&self) -> u16 {
        MIN_CONTEXTS.max(self.cpus.len() as u16)
    }
}

/// One `hypervisor/vmN` node: where BL2 loaded a package and what it may use.
#[derive(Clone, Debug)]
pub struct PackageEntry {
    /// N - 1: the index of the partition in the partition table.
    pub index: usize,
    /// `debug_name`.
    pub name: Name,
    /// `load_address` and `mem_size`.
    pub memory: PageRange<Pa>,
    /// `vcpu_count`.
    pub vcpu_count: u16,
    /// `smc_whitelist`: ids of SMCs that are not FF-A and that the partition may pass on.
    pub smc_whitelist: Vec<u32>,
    /// `smc_whitelist_permissive`.
    pub smc_whitelist_permissive: bool,
}

impl PackageEntry {
    /// Returns the id that the partition has if its manifest asks for no other.
    pub fn id(&self) -> PartitionId {
        PartitionId::of_place(self.index)
    }
}

bitflags! {
    /// `messaging-method`, with the bit numbers of the partition properties (FF-A v1.0 table 8.25).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Messaging: u32 {
        /// Receives direct requests.
        const RECEIVE_DIRECT = 1 << 0;
        /// Sends direct requests.
        const SEND_DIRECT = 1 << 1;
        /// Sends and receives indirect messages.
        const INDIRECT = 1 << 2;
        /// Receives FFA_MSG_SEND_DIRECT_REQ2.
        const RECEIVE_DIRECT2 = 1 << 9;
        /// Sends FFA_MSG_SEND_DIRECT_REQ2.
        const SEND_DIRECT2 = 1 << 10;
    }
}

/// `abort-action`: the fate of a partition that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AbortAction {
    /// The partition is stopped; its memory stays as it is.
    Stop,
    /// The partition is stopped, and its memory is zeroed.
    Destroy,
    /// The partition is restarted.
    Restart,
    /// The partition is stopped, and EL3 is told that the SPMC cannot go on.
    Propagate,
}

/// `live-activation-support`: how an image takes over from the one before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LiveActivation {
    /// `live-activation-register`: the register that is 1 if an image takes over, and 0 otherwise.
    pub register: u8,
    /// `live-state-buffer-info`: the index in `memory_regions` of the region in which an image
    /// leaves its state to the next one; none if there is no state to hand over.
    pub state_buffer: Option<usize>,
}

bitflags! {
    /// `power-management-messages`: the messages that a partition subscribes to.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PowerMessages: u32 {
        /// PSCI CPU_OFF.
        const CPU_OFF = 1 << 0;
        /// PSCI CPU_SUSPEND and its like.
        const CPU_SUSPEND = 1 << 1;
        /// A PE left a low-power state.
        const RESUME = 1 << 2;
    }
}

bitflags! {
    /// `vm-availability-messages`: the messages that a partition subscribes to.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct VmMessages: u32 {
        /// A VM was created.
        const CREATED = 1 << 0;
        /// A VM was destroyed.
        const DESTROYED = 1 << 1;
    }
}

/// One service of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Service {
    /// Never nil.
    pub uuid: Uuid,
    /// The messages that the service receives and sends.
    pub messaging: Messaging,
}

/// The instructions to which indirect branches may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Branches {
    /// Any instruction.
    Anywhere,
    /// Branch targets only: pages with code are guarded (FEAT_BTI).
    ToTargets,
}

/// `exception-level`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExceptionLevel {
    /// A partition behind stage 2.
    SEl1,
    /// A partition in the EL2&0 regime.
    SEl0,
}

/// `ns-interrupts-action`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NsInterruptAction {
    /// Non-secure interrupts wait until the partition gives up the PE.
    Queued,
    /// The partition is asked for a managed exit.
    ManagedExit,
    /// The partition is preempted.
    Signaled,
}

bitflags! {
    /// Permissions of a region: the low bits of `attributes`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Permissions: u32 {
        /// Read.
        const READ = 1 << 0;
        /// Write.
        const WRITE = 1 << 1;
        /// Execute.
        const EXECUTE = 1 << 2;
    }
}

impl Permissions {
    /// Returns a letter for each permission, and `-` in place of those that are not there.
    pub fn letters(self) -> &'static str {
        let letters = ["---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx"];
        letters.get(self.bits() as usize).copied().unwrap_or("?")
    }
}

/// A child of `memory-regions`.
#[derive(Clone, Debug)]
pub struct MemoryRegion {
    /// Node name.
    pub name: Name,
    /// The pages; partitions see them at the same address.
    pub range: PageRange<Pa>,
    /// Secure or Non-secure memory.
    pub world: World,
    /// The partition's access to the region.
    pub permissions: Permissions,
    /// Set if the base came as `load-address-relative-offset`.
    pub relative: bool,
    /// Set if the region is a part of the partition's own package memory, for which it narrows the
    /// permissions.
    pub in_package: bool,
    /// `smmu-id` and `stream-ids`, for DMA of the partition's devices.
    pub streams: Option<Streams>,
}

/// A child of `device-regions`.
#[derive(Clone, Debug)]
pub struct DeviceRegion {
    /// Node name.
    pub name: Name,
    /// The registers.
    pub range: PageRange<Pa>,
    /// Secure or Non-secure device.
    pub world: World,
    /// Read or read-write, never execute.
    pub permissions: Permissions,
    /// `exclusive-access`.
    pub exclusive: bool,
    /// `interrupts`.
    pub interrupts: Vec<DeviceInterrupt>,
    /// `smmu-id` and `stream-ids`.
    pub streams: Option<Streams>,
    /// `stream-endpoint-id`: the stream endpoint that the streams belong to, with the partition as
    /// its proxy. Without one the streams see the memory of the partition.
    pub stream_endpoint: Option<PartitionId>,
}

/// An independent device: DMA that no partition controls.
#[derive(Clone, Debug)]
pub struct StreamDevice {
    /// Node name.
    pub name: Name,
    /// `stream-endpoint-id`.
    pub id: PartitionId,
    /// `smmu-id` and `stream-ids`.
    pub streams: Streams,
}

/// Stream ids behind one SMMU.
#[derive(Clone, Debug)]
pub struct Streams {
    /// `smmu-id`.
    pub smmu: u32,
    /// `stream-ids`.
    pub ids: Vec<u32>,
}

bitflags! {
    /// `sri-interrupts-policy`: when the SPMC signals the schedule receiver interrupt, in place of
    /// running the context that has interrupts to handle.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SriPolicy: u8 {
        /// An interrupt comes while the context waits.
        const WAITING = 1 << 0;
        /// A context with pending interrupts begins to wait.
        const LEAVING = 1 << 1;
    }
}

/// One pair of `interrupts`, with its `interrupts-target`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceInterrupt {
    /// GIC INTID.
    pub id: u32,
    /// The attribute cell: priority in `[7:0]`, bit 8 secure, bit 9 level, `[11:10]` SGI, PPI or
    /// SPI.
    pub attributes: u32,
    /// MPIDR affinity of `interrupts-target`.
    pub target: Option<u64>,
}

impl DeviceInterrupt {
    /// Returns the type of the interrupt by its INTID, as the attribute cell has it: 0 SGI, 1 PPI,
    /// 2 SPI, extended or not (Arm IHI 0069, 2.2). `None` for INTIDs that do not exist, and for
    /// LPIs.
    pub const fn kind(&self) -> Option<u32> {
        match self.id {
            0..16 => Some(0),
            16..32 | 1056..1120 => Some(1),
            32..1020 | 4096..5120 => Some(2),
            _ => None,
        }
    }

    /// SGIs and PPIs: each PE has its own.
    pub const fn is_private(&self) -> bool {
        matches!(self.id, 0..32 | 1056..1120)
    }

    /// Level-sensitive, otherwise edge-triggered.
    pub const fn is_level(&self) -> bool {
        self.attributes & 1 << 9 != 0
    }

    /// Its priority.
    pub const fn priority(&self) -> u8 {
        self.attributes as u8
    }
}

/// The `boot-info` node together with `gp-register-num`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BootInfo {
    /// Pass the SP manifest.
    pub ffa_manifest: bool,
    /// Pass a HOB list: that of the package, or one that is built from the manifest.
    pub hob_list: bool,
}

impl BootInfo {
    /// Returns whether anything is to be passed.
    pub const fn is_for_something(&self) -> bool {
        self.ffa_manifest || self.hob_list
    }
}

/// One SP manifest (`arm,ffa-manifest-1.0` or `-1.1`) together with its [`PackageEntry`].
#[derive(Clone, Debug)]
pub struct PartitionConfig {
    /// N - 1 of `vmN`: the index of the partition in the partition table.
    pub index: usize,
    /// 0x8000 + N, or what [`ids::settle`](super::ids::settle) granted.
    pub id: PartitionId,
    /// `id` as the manifest has it.
    pub requested_id: Option<PartitionId>,
    /// `debug_name` of `vmN`.
    pub name: Name,
    /// `load_address` and `mem_size` of `vmN`.
    pub memory: PageRange<Pa>,
    /// `ffa-version`.
    pub ffa_version: Version,
    /// The services, at least one.
    pub services: Vec<Service>,
    /// `execution-ctx-count`.
    pub vcpu_count: u16,
    /// `exception-level`.
    pub exception_level: ExceptionLevel,
    /// `sve-vector-length` (ours): the length of the vectors of SVE, if the partition has SVE.
    pub vectors: Option<VectorLength>,
    /// `branch-target-identification` (ours), at S-EL0.
    pub branches: Branches,
    /// `entrypoint-offset`: from the package's load address.
    pub entrypoint_offset: u64,
    /// `boot-order`; partitions without one boot last, in order of N.
    pub boot_order: Option<u16>,
    /// `rx_tx-info`: indices of the RX and of the TX region in `memory_regions`.
    pub rx_tx: Option<(usize, usize)>,
    /// `gp-register-num`.
    pub boot_register: Option<u8>,
    /// `boot-info`.
    pub boot_info: Option<BootInfo>,
    /// `ns-interrupts-action` (or the old `managed-exit`).
    pub ns_interrupts: NsInterruptAction,
    /// `other-s-interrupts-action` 0: interrupts of other partitions wait while the partition runs.
    pub queues_other_interrupts: bool,
    /// `sri-interrupts-policy`.
    pub sri_policy: SriPolicy,
    /// `managed-exit-virq`.
    pub managed_exit_virq: bool,
    /// `notification-support`.
    pub notifications: bool,
    /// `power-management-messages`, none for UP and S-EL0 partitions.
    pub power_messages: PowerMessages,
    /// `vm-availability-messages`.
    pub vm_messages: VmMessages,
    /// `lifecycle-support`.
    pub lifecycle: bool,
    /// `abort-action`.
    pub abort_action: AbortAction,
    /// `image-uuid`; nil if there is none.
    pub image_uuid: Uuid,
    /// `live-activation-support`, with what it needs.
    pub live_activation: Option<LiveActivation>,
    /// The end of the package's memory, which the SPMC keeps for copies of packages: one with
    /// [`AbortAction::Restart`], two with `live_activation`. `memory` ends before them.
    pub copies: ArrayVec<PageRange<Pa>, 2>,
    /// `auxiliary-id`.
    pub auxiliary_id: Option<u16>,
    /// `memory-regions`.
    pub memory_regions: Vec<MemoryRegion>,
    /// `stream-endpoint-ids`: the stream endpoints whose proxy the partition is.
    pub stream_endpoints: Vec<PartitionId>,
    /// `device-regions`.
    pub device_regions: Vec<DeviceRegion>,
    /// From the [`PackageEntry`].
    pub smc_whitelist: Vec<u32>,
    /// From the [`PackageEntry`].
    pub smc_whitelist_permissive: bool,
}

impl PartitionConfig {
    /// Returns the messages that the partition as a whole can be sent: the union over its services.
    pub fn messaging(&self) -> Messaging {
        self.services
            .iter()
            .fold(Messaging::empty(), |all, service| all | service.messaging)
    }

    /// Returns the address that the first context starts at.
    pub fn entry_point(&self) -> u64 {
        let base = self.memory.base().raw();
        base.saturating_add(self.entrypoint_offset)
    }

    /// Returns whether the one execution context moves between PEs; otherwise each is pinned to the
    /// PE of its index.
    pub fn is_up(&self) -> bool {
        self.vcpu_count == 1
    }
}
