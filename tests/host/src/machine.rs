//! The hardware: what all PEs share, and what each PE has for itself.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};

use spmc::Spmc;
use spmc::addr::{Ipa, PAGE_SIZE, Pa, PageRange, World};
use spmc::geometry::Geometry;
use spmc::hal::{
    Access, AccessFault, Fault, FaultKind, NoSuchStream, Roots, Stream, Table, TableMemoryError,
    TablePlaces, TlbScope,
};

use crate::ffa::V1_2;
use crate::gic::Gic;
use crate::guest::Guest;
use crate::hal::{FakeHal, affinity_of};
use crate::memory::Memory;
use crate::schedule::{self, Random};
use crate::smmu::{DmaFault, Smmu};
use crate::translation::{Tables, Tlb};

/// PEs that a machine has at least, however few the manifest names.
pub const MIN_PES: usize = 8;

/// All memory of the SPMC itself, which must not be accessed through [`spmc::hal::Hal`].
pub const SPMC_IMAGE: Range<u64> = 0x0e10_0000..0x0e30_0000;
/// The offset of the translation tables in that memory.
const TABLES: u64 = 0x8_0000;
/// Bytes of it for the SVE registers of partitions: those of four contexts with 512 bits.
pub const VECTOR_MEMORY: u64 = 4 * 2192;
/// The address of the translation tables.
pub const TABLES_BASE: u64 = SPMC_IMAGE.start + TABLES;
/// Secure memory that may be given to partitions.
pub const SECURE_RAM: Range<u64> = 0x0e30_0000..0x0f00_0000;
/// Secure memory for the partitions for which there is no room there.
pub const MORE_SECURE_RAM: Range<u64> = 0x1_0000_0000..0x1_0400_0000;
/// Non-secure memory.
pub const NORMAL_RAM: Range<u64> = 0x4000_0000..0x6100_0000;
/// Secure device memory.
pub const SECURE_DEVICE: Range<u64> = 0x0904_0000..0x0904_1000;
/// A device of the Normal world, in those systems that have one.
pub const NORMAL_DEVICE: Range<u64> = 0x0902_0000..0x0902_2000;

thread_local! {
    static CURRENT_PE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Runs `body` on that PE.
pub fn on_pe<T>(pe: usize, body: impl FnOnce() -> T) -> T {
    struct Restore(Option<usize>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT_PE.set(self.0);
        }
    }
    let _restore = Restore(CURRENT_PE.replace(Some(pe)));
    body()
}

/// Returns the PE that this thread represents.
pub fn current_pe() -> usize {
    CURRENT_PE
        .get()
        .expect("hardware is used by PEs only: see machine::on_pe")
}

/// The state of a PE.
#[derive(Default)]
pub struct PeState {
    /// The loaded context, with its translation and interrupt mask.
    pub loaded: Option<Loaded>,
    /// The time at which the watchdog expires, if it is armed.
    pub watchdog: Option<u64>,
    /// Set if the schedule receiver interrupt is due when the Normal world gets the PE back.
    pub raises_on_return: bool,
    /// Set if a partition was loaded since the Normal world had the PE.
    pub(crate) runs_partitions: bool,
    pub(crate) tlb: Tlb,
    /// The memory that the engine has read since the current call came in. `None` during boot, when
    /// nobody else runs who could write.
    reads: Option<Vec<(World, Range<u64>)>>,
}

impl PeState {
    /// Notes that a call comes in, before which memory may have changed.
    pub(crate) fn begin_call(&mut self) {
        self.reads.get_or_insert_default().clear();
    }

    /// Notes that the engine reads memory to which others can write. Panics if the engine has read
    /// any of it before in this call, since it could see two different values.
    pub(crate) fn read_once(&mut self, world: World, range: Range<u64>) {
        let Some(reads) = &mut self.reads else {
            return;
        };
        let again = reads
            .iter()
            .find(|(w, read)| *w == world && read.start < range.end && range.start < read.end);
        assert!(
            again.is_none(),
            "{range:x?} is read twice in one call: {again:x?}"
        );
        reads.push((world, range));
    }
}

/// A context on a PE.
#[derive(Clone, Copy)]
pub struct Loaded {
    /// Number of the guest.
    pub guest: usize,
    /// The translation of the context.
    pub roots: Roots,
    /// Set if Non-secure interrupts stay pending.
    pub masked: bool,
}

/// The record of what the engine asked for.
#[derive(Default)]
pub struct Journal {
    /// Ranges that were cleaned to the point of coherency.
    pub cleaned: Vec<(World, Range<u64>)>,
    /// Ranges that were zeroed.
    pub zeroed: Vec<(World, Range<u64>)>,
    /// The number of TLB invalidations.
    pub invalidations: usize,
    /// The number of contexts that were loaded.
    pub loads: usize,
    /// The number of times that the engine made a PE look at its interrupts again.
    pub looks: usize,
    /// PEs on which the schedule receiver interrupt was raised.
    pub schedule_receiver: Vec<usize>,
    /// The time that each armed watchdog would have run.
    pub watchdogs: Vec<u64>,
    /// Registers x0 to x17 of partitions' calls to EL3, each of which is answered by the complement
    /// of every register.
    pub el3_calls: Vec<[u64; 18]>,
    /// Descriptors of the logical partitions that EL3 has.
    pub logical_partitions: Vec<[u64; 3]>,
}

impl Journal {
    /// Clears the record, so that a machine can be used for millions of inputs.
    pub fn clear(&mut self) {
        self.cleaned.clear();
        self.zeroed.clear();
        self.schedule_receiver.clear();
        self.watchdogs.clear();
        self.el3_calls.clear();
    }

    /// Returns how many pages were zeroed since the last call of this function.
    pub fn pages_zeroed(&mut self) -> u64 {
        let zeroed = self.zeroed.drain(..);
        let bytes: u64 = zeroed.map(|(_, range)| range.end - range.start).sum();
        bytes / PAGE_SIZE
    }
}

/// The places of things in a machine.
#[derive(Clone)]
pub struct Site {
    /// All memory of the SPMC itself.
    pub image: Range<u64>,
    /// The affinity of each PE.
    pub affinities: Vec<u64>,
    /// Memory.
    pub memory: Vec<(World, Range<u64>)>,
}

impl Site {
    /// The places on most machines, with that many PEs.
    fn usual(pes: usize) -> Self {
        Self {
            image: SPMC_IMAGE,
            affinities: (0..pes).map(affinity_of).collect(),
            memory: vec![
                (World::Secure, SECURE_RAM),
                (World::Secure, MORE_SECURE_RAM),
                (World::NonSecure, NORMAL_RAM),
            ],
        }
    }
}

/// The hardware.
pub struct Machine {
    /// All memory of the SPMC itself, except tables that a manifest gives memory for.
    pub image: Range<u64>,
    affinities: Vec<u64>,
    pub(crate) memory: Mutex<Memory>,
    tables: (Box<[Table]>, TablePlaces),
    /// All tables, if a manifest has given memory for more, and the place of that memory.
    more_tables: OnceLock<(Box<[Table]>, TablePlaces)>,
    geometry: OnceLock<Geometry>,
    /// The number of bits of a physical address.
    pub address_bits: AtomicU32,
    /// The answer of the SPMD to `FFA_VERSION`.
    pub spmd_version: AtomicU64,
    pub(crate) pes: Box<[Mutex<PeState>]>,
    /// The PEs that have run anything, so that a large machine is as fast as a small one.
    awake: RwLock<Vec<usize>>,
    pub(crate) guests: RwLock<Vec<Arc<Guest>>>,
    pub(crate) programs: RwLock<Vec<crate::guest::Program>>,
    /// The translation of each VMID, which never changes.
    pub(crate) roots: Mutex<BTreeMap<u16, Roots>>,
    /// The blocks of 2 MiB that partitions have accessed, by VMID. PEs may translate addresses in
    /// them again by speculation.
    haunts: Mutex<BTreeMap<u16, BTreeSet<(World, u64)>>>,
    pub(crate) smmu: Mutex<Smmu>,
    pub(crate) spmc: OnceLock<Weak<Spmc<FakeHal>>>,
    this: Weak<Machine>,
    random: Mutex<Random>,
    journal: Mutex<Journal>,
    gic: Mutex<Gic>,
    incident: Mutex<Option<Incident>>,
    /// Set if partitions at S-EL0 can be confined.
    pub confines_s_el0: AtomicBool,
    /// Bits of the longest vectors that partitions can have, or 0 without SVE.
    pub vector_bits: AtomicU32,
}

/// Something that happens at one access of the engine to Secure memory.
struct Incident {
    range: Range<u64>,
    /// The number of accesses to the range before.
    others: u64,
    /// The address and the bytes that EL3 writes just before the access. Without them the access
    /// fails.
    written: Option<(u64, Vec<u8>)>,
}

fn empty_tables(count: usize) -> Box<[Table]> {
    (0..count).map(|_| Table::EMPTY).collect()
}

impl Machine {
    /// Makes a machine with that many PEs and translation tables. `seed` determines what TLBs keep.
    pub fn new(this: Weak<Self>, pes: usize, tables: usize, seed: u64) -> Self {
        Self::at(this, Site::usual(pes), tables, seed)
    }

    /// Makes a machine whose parts are elsewhere.
    pub fn at(this: Weak<Self>, site: Site, tables: usize, seed: u64) -> Self {
        let mut memory = Memory::default();
        for (world, range) in site.memory {
            memory.declare(world, range);
        }
        let pes = site.affinities.len();
        let first = Pa::new(site.image.start + TABLES);
        Self {
            image: site.image,
            affinities: site.affinities,
            memory: Mutex::new(memory),
            tables: (
                empty_tables(tables),
                TablePlaces {
                    first,
                    count: tables,
                    more: Pa::new(0),
                },
            ),
            more_tables: OnceLock::new(),
            geometry: OnceLock::new(),
            address_bits: AtomicU32::new(48),
            spmd_version: AtomicU64::new(V1_2),
            pes: (0..pes).map(|_| Mutex::default()).collect(),
            awake: RwLock::default(),
            guests: RwLock::default(),
            programs: RwLock::default(),
            roots: Mutex::default(),
            haunts: Mutex::default(),
            smmu: Mutex::default(),
            spmc: OnceLock::new(),
            this,
            random: Mutex::new(Random::new(seed)),
            journal: Mutex::default(),
            gic: Mutex::new(Gic::new(pes)),
            incident: Mutex::default(),
            confines_s_el0: AtomicBool::new(true),
            vector_bits: AtomicU32::new(0),
        }
    }

    /// Makes one access of the engine to Secure memory within `range` fail, after that many other
    /// accesses to the range.
    pub fn fail_access(&self, range: Range<u64>, others: u64) {
        *self.incident.lock().unwrap() = Some(Incident {
            range,
            others,
            written: None,
        });
    }

    /// Has EL3 write to Secure memory just before one access of the engine to `range`, after that
    /// many other accesses to the range.
    pub fn write_at_access(&self, range: Range<u64>, others: u64, at: u64, bytes: &[u8]) {
        *self.incident.lock().unwrap() = Some(Incident {
            range,
            others,
            written: Some((at, bytes.to_vec())),
        });
    }

    /// Returns whether what [`Self::fail_access`] or [`Self::write_at_access`] asks for is still to
    /// come.
    pub fn is_incident_ahead(&self) -> bool {
        self.incident.lock().unwrap().is_some()
    }

    /// Returns `Err` if an access of the engine fails.
    pub(crate) fn answers(&self, world: World, from: u64) -> Result<(), AccessFault> {
        let mut incident = self.incident.lock().unwrap();
        let Some(next) = incident
            .as_mut()
            .filter(|next| world == World::Secure && next.range.contains(&from))
        else {
            return Ok(());
        };
        if next.others > 0 {
            next.others -= 1;
            return Ok(());
        }
        let written = incident.take().and_then(|incident| incident.written);
        let (at, bytes) = written.ok_or(AccessFault)?;
        let mut memory = self.memory();
        memory.write(World::Secure, at, &bytes)?;
        memory.clean(World::Secure, &(at..at + bytes.len() as u64));
        Ok(())
    }

    pub(crate) fn this(&self) -> Arc<Self> {
        self.this.upgrade().expect("the machine is in use")
    }

    /// Returns the physical memory.
    pub fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    /// Returns the interrupt controller.
    pub fn gic(&self) -> std::sync::MutexGuard<'_, Gic> {
        self.gic.lock().unwrap()
    }

    /// Returns the record of what the engine asked for.
    pub fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.journal.lock().unwrap()
    }

    /// Returns the translation tables as memory.
    pub fn tables(&self) -> Tables<'_> {
        let given = self.more_tables.get();
        let (tables, places) = given.unwrap_or(&self.tables);
        Tables {
            tables,
            places,
            geometry: self.geometry(),
        }
    }

    /// Returns the geometry of all tables.
    pub fn geometry(&self) -> Geometry {
        self.geometry.get().copied().unwrap_or(Geometry::SMALL)
    }

    /// Implements [`spmc::hal::Hal::set_geometry`].
    pub(crate) fn set_geometry(&self, geometry: Geometry) {
        assert!(geometry.bits() <= self.address_bits.load(Relaxed));
        assert!(
            self.roots.lock().unwrap().is_empty() && self.geometry.set(geometry).is_ok(),
            "the geometry is set too late, or twice"
        );
    }

    /// Returns the memory that a manifest has given for tables. Empty if there is none.
    pub(crate) fn table_memory(&self) -> Range<u64> {
        let Some((tables, places)) = self.more_tables.get() else {
            return 0..0;
        };
        let base = places.more.raw();
        base..base + 4096 * (tables.len() - places.count) as u64
    }

    /// Implements [`spmc::hal::Hal::add_tables`]. Accepts Secure RAM only.
    pub(crate) fn add_tables(&self, range: PageRange<Pa>) -> Result<(), TableMemoryError> {
        if range.base().raw() < SECURE_RAM.start || range.end().raw() > SECURE_RAM.end {
            return Err(TableMemoryError::Unreadable);
        }
        let (own, places) = &self.tables;
        let places = TablePlaces {
            more: range.base(),
            ..*places
        };
        let added = (empty_tables(own.len() + range.pages() as usize), places);
        assert!(
            self.more_tables.set(added).is_ok(),
            "tables are added twice"
        );
        Ok(())
    }

    pub(crate) fn pe(&self, pe: usize) -> std::sync::MutexGuard<'_, PeState> {
        self.pes[pe].lock().unwrap()
    }

    /// Returns the affinity of a PE.
    pub(crate) fn affinity(&self, pe: usize) -> u64 {
        self.affinities[pe]
    }

    /// Returns the PE with that affinity.
    pub(crate) fn pe_with(&self, affinity: u64) -> Option<usize> {
        self.affinities.iter().position(|own| *own == affinity)
    }

    /// Returns the number of PEs.
    pub fn pes(&self) -> usize {
        self.pes.len()
    }

    /// Notes that a PE runs something.
    pub(crate) fn wake(&self, pe: usize) {
        if !self.awake().contains(&pe) {
            self.awake.write().unwrap().push(pe);
        }
    }

    /// Returns the PEs that have run anything; the state of all others is that of reset.
    pub(crate) fn awake(&self) -> std::sync::RwLockReadGuard<'_, Vec<usize>> {
        self.awake.read().unwrap()
    }

    fn coin(&self) -> bool {
        self.random.lock().unwrap().below(2) == 0
    }

    /// Returns whether anybody but the engine and EL3 can write to memory in that range.
    pub(crate) fn others_can_write(&self, world: World, range: &Range<u64>) -> bool {
        let Some(spmc) = self.spmc.get().and_then(Weak::upgrade) else {
            return true;
        };
        let touches = |memory: &PageRange<Pa>| {
            range.start < memory.end().raw() && memory.base().raw() < range.end
        };
        let configs = spmc
            .partitions
            .iter()
            .map(|partition| &partition.frozen.config);
        world == World::NonSecure
            || configs.into_iter().any(|config| {
                let mut regions = config.memory_regions.iter();
                touches(&config.memory) || regions.any(|region| touches(&region.range))
            })
    }

    /// Lets another PE run first, if there is a schedule. PEs may speculate at each such point, and
    /// no TLB may hold a page as a table that is used for something else.
    pub(crate) fn step(&self) {
        if schedule::is_running() {
            self.look_ahead();
            self.check_reuse();
        }
        schedule::at_hardware();
    }

    /// Lets each PE translate an address under the loaded VMID, or not, as speculation may do.
    fn look_ahead(&self) {
        for &pe in self.awake().iter() {
            let mut state = self.pe(pe);
            let Some(roots) = state.loaded.map(|loaded| loaded.roots) else {
                continue;
            };
            let haunts = self.haunts.lock().unwrap();
            let Some(places) = haunts.get(&roots.tag()).filter(|_| self.coin()) else {
                continue;
            };
            let chosen = self.random.lock().unwrap().below(places.len() as u64);
            for (world, block) in places.iter().skip(chosen as usize).take(1) {
                let tables = self.tables();
                let tlb = &mut state.tlb;
                let _ = tlb.translate(tables, &roots, *world, block << 21, &mut || self.coin());
            }
        }
    }

    /// Makes an access of the partition that is loaded on `pe`. Returns the physical address, or
    /// the fault as hardware reports it.
    pub(crate) fn translate(
        &self,
        pe: usize,
        world: World,
        ipa: u64,
        access: Access,
        pc: u64,
    ) -> Result<u64, Fault> {
        let mut state = self.pe(pe);
        let roots = state
            .loaded
            .expect("a partition runs without being loaded")
            .roots;
        let mut haunts = self.haunts.lock().unwrap();
        haunts
            .entry(roots.tag())
            .or_default()
            .insert((world, ipa >> 21));
        drop(haunts);
        let found = state
            .tlb
            .translate(self.tables(), &roots, world, ipa, &mut || self.coin());
        let fault = |kind| Fault {
            access,
            kind,
            va: Some(ipa),
            ipa: Some(Ipa::new(ipa & !0xfff)),
            on_walk: false,
            pc,
        };
        let translation = found.map_err(fault)?;
        if !translation.permits(access) {
            return Err(fault(FaultKind::Permission));
        }
        Ok(translation.page | ipa & 0xfff)
    }

    /// Makes an access of the device behind `stream`. Returns the physical address.
    pub fn dma(
        &self,
        stream: Stream,
        world: World,
        ipa: u64,
        access: Access,
    ) -> Result<u64, DmaFault> {
        let mut smmu = self.smmu.lock().unwrap();
        let tables = self.tables();
        smmu.translate(tables, stream, (world, ipa), access, &mut || self.coin())
    }

    /// Makes the SMMU refuse to attach that stream from now on.
    pub fn forget_stream(&self, stream: Stream) {
        self.smmu.lock().unwrap().forget(stream);
    }

    /// Attaches a stream to tables, for the engine.
    pub(crate) fn attach(&self, stream: Stream, roots: &Roots) -> Result<(), NoSuchStream> {
        self.smmu.lock().unwrap().attach(stream, roots)?;
        self.learn_roots(roots);
        Ok(())
    }

    /// Records the translation of a VMID. Panics if the VMID had another translation before.
    pub(crate) fn learn_roots(&self, roots: &Roots) {
        assert_ne!(roots.tag(), 0, "VMID 0");
        let mut all = self.roots.lock().unwrap();
        let known = *all.entry(roots.tag()).or_insert(*roots);
        assert_eq!(known, *roots, "the translation of a VMID changed");
    }

    pub(crate) fn invalidate(&self, roots: &Roots, scope: &TlbScope<'_>) {
        self.journal().invalidations += 1;
        self.check_reuse();
        for &pe in self.awake().iter() {
            self.pe(pe).tlb.invalidate(roots.tag(), scope);
        }
        self.smmu.lock().unwrap().tlb.invalidate(roots.tag(), scope);
    }

    /// Panics if a TLB takes a page for a table although the page is used for something else.
    pub fn check_reuse(&self) {
        let roots = self.roots.lock().unwrap();
        for &pe in self.awake().iter() {
            let reused = self.pe(pe).tlb.find_reused(self.tables(), &roots);
            assert!(reused.is_none(), "PE {pe}: {}", reused.unwrap_or_default());
        }
        let smmu = self.smmu.lock().unwrap();
        let reused = smmu.tlb.find_reused(self.tables(), &roots);
        assert!(reused.is_none(), "SMMU: {}", reused.unwrap_or_default());
    }

    /// Panics if a TLB holds a translation that the tables do not contain any more. To be called
    /// only while no PE is in the middle of a change.
    pub fn check_tlbs(&self) {
        let roots = self.roots.lock().unwrap();
        for &pe in self.awake().iter() {
            let stale = self
                .pe(pe)
                .tlb
                .find_stale(self.tables(), |vmid| roots[&vmid]);
            assert!(stale.is_none(), "stale translation on PE {pe}: {stale:?}");
        }
        let smmu = self.smmu.lock().unwrap();
        let stale = smmu.tlb.find_stale(self.tables(), |vmid| roots[&vmid]);
        assert!(stale.is_none(), "stale translation in an SMMU: {stale:?}");
    }
}
