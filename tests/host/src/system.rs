//! A whole system: machine, booted engine, partitions, and the Normal world's side of it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::machine::MIN_PES;
use spmc::addr::{Pa, PageRange, World};
use spmc::ffa::SmcFrame;
use spmc::hal::Stream;
use spmc::manifest::board::Board;
use spmc::{Pe, Spmc};

use crate::after_boot::forbid;
use crate::allocations::Allocations;
use crate::careless::leave_garbage;
use crate::ffa::{self, Layout, Regs, Transaction, V1_0, V1_2};
use crate::go_between;
use crate::guest::Program;
use crate::hal::FakeHal;
use crate::machine::{Machine, Site, VECTOR_MEMORY, on_pe};
use crate::manifest::{self, PARTITION_SIZE, PartitionSpec, partition_base};
use crate::restless;
use crate::schedule::{Plan, Schedule, Trace};
use crate::smmu::Smmu;
use crate::snapshot::{Snapshot, WATCHED};

/// The TX buffer of the Normal world.
pub const NWD_TX: u64 = WATCHED;
/// The RX buffer of the Normal world.
pub const NWD_RX: u64 = WATCHED + 0x1000;
/// Memory of the Normal world that tests may share, up to [`crate::snapshot::WATCHED_PAGES`].
pub const NWD_PAGES: u64 = WATCHED + 0x1_0000;

/// A change of the hardware before boot.
type Prepare = Box<dyn FnOnce(&Machine)>;

/// Collects the parts of a system.
pub struct Builder {
    partitions: Vec<PartitionSpec>,
    pes: usize,
    tables: usize,
    seed: u64,
    spmc_manifest: Option<Vec<u8>>,
    streams: Vec<Stream>,
    devices: Vec<(u16, Vec<Stream>)>,
    device_memory: Vec<(World, Range<u64>)>,
    normal_memory: Vec<Range<u64>>,
    settings: Vec<(&'static str, Vec<u32>)>,
    spmd: u64,
    prepare: Option<Prepare>,
    site: Option<Site>,
}

impl Builder {
    /// Adds a partition. Partitions have the ids from 0x8001 on, in the order in which they are
    /// added.
    pub fn sp(mut self, partition: PartitionSpec) -> Self {
        self.partitions.push(partition);
        self
    }

    /// Sets the number of PEs. All but the first stay off until [`System::turn_on`].
    pub fn pes(mut self, pes: usize) -> Self {
        self.pes = pes;
        self
    }

    /// Sets the number of translation tables.
    pub fn tables(mut self, tables: usize) -> Self {
        self.tables = tables;
        self
    }

    /// Sets the seed that determines what TLBs keep.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the streams that SMMUs know. The default is none.
    pub fn streams(mut self, streams: &[Stream]) -> Self {
        self.streams = streams.to_vec();
        self
    }

    /// Adds independent devices, each a SEPID with one stream.
    pub fn devices(mut self, devices: &[(u16, Stream)]) -> Self {
        let with_one = |&(id, stream): &(u16, Stream)| (id, vec![stream]);
        self.devices = devices.iter().map(with_one).collect();
        self
    }

    /// Adds an independent device with several streams of one SMMU.
    pub fn device(mut self, id: u16, streams: &[Stream]) -> Self {
        self.devices.push((id, streams.to_vec()));
        self
    }

    /// Adds device memory of either world to the SPMC manifest.
    pub fn device_memory(mut self, ranges: &[(World, Range<u64>)]) -> Self {
        self.device_memory = ranges.to_vec();
        self
    }

    /// Adds memory of the Normal world, in the SPMC manifest and in the machine.
    pub fn normal_memory(mut self, ranges: &[Range<u64>]) -> Self {
        self.normal_memory = ranges.to_vec();
        self
    }

    /// Adds a property to the node `hypervisor` of the SPMC manifest.
    pub fn setting(mut self, name: &'static str, value: u32) -> Self {
        self.settings.push((name, vec![value]));
        self
    }

    /// Adds a property without a value to the node `hypervisor` of the SPMC manifest.
    pub fn flag(mut self, name: &'static str) -> Self {
        self.settings.push((name, Vec::new()));
        self
    }

    /// Lets EL3 speak 1.`spmd`, and the SPMC manifest say 1.`declared`. The default is 1.2, as with
    /// TF-A 2.12.
    pub fn el3(mut self, spmd: u64, declared: u32) -> Self {
        self.spmd = V1_0 | spmd;
        self.setting("min_ver", declared)
    }

    /// Gives memory for translation tables in the SPMC manifest. The default is none.
    pub fn table_memory(mut self, range: Range<u64>) -> Self {
        let words = [range.start, range.end - range.start];
        let cells = words.map(|word| [(word >> 32) as u32, word as u32]);
        self.settings.push(("table-memory", cells.concat()));
        self
    }

    /// Replaces the SPMC manifest.
    pub fn spmc_manifest(mut self, dtb: Vec<u8>) -> Self {
        self.spmc_manifest = Some(dtb);
        self
    }

    /// Puts the machine elsewhere. Packages and the SPMC manifest must name places there.
    pub fn site(mut self, site: Site) -> Self {
        self.site = Some(site);
        self
    }

    /// Changes the hardware before the engine boots.
    pub fn prepare(mut self, prepare: impl FnOnce(&Machine) + 'static) -> Self {
        self.prepare = Some(Box::new(prepare));
        self
    }

    /// Loads the packages and boots the first PE.
    pub fn boot(mut self) -> System {
        let restless = restless::partition().filter(|_| self.spmc_manifest.is_none());
        let restless = restless.map(|partition| {
            self.partitions.push(partition);
            0x8000 + self.partitions.len() as u16
        });
        let site = self.site.take();
        let machine = Arc::new_cyclic(|this| match site {
            None => Machine::new(this.clone(), self.pes.max(MIN_PES), self.tables, self.seed),
            Some(site) => Machine::at(this.clone(), site, self.tables, self.seed),
        });
        let pes = machine.pes();
        *machine.smmu.lock().unwrap() = Smmu::new(&self.streams);
        machine.spmd_version.store(self.spmd, Ordering::Relaxed);
        for (index, partition) in self.partitions.iter().enumerate() {
            let base = partition.base.unwrap_or_else(|| partition_base(index));
            machine
                .memory()
                .write(World::Secure, base, &partition.package())
                .expect("secure memory");
            machine.programs.write().unwrap().push(Program {
                id: partition.id.unwrap_or(0x8001 + index as u16),
                memory: base..base + PARTITION_SIZE,
                takes_exceptions: partition.takes_exceptions,
                layout: Layout::of(partition.version.into()),
                script: Arc::clone(&partition.script),
                puppet: partition.puppet.clone(),
                held: partition.held.clone(),
            });
        }
        for range in &self.normal_memory {
            let range = range.clone();
            machine.memory().declare(World::NonSecure, range);
        }
        if let Some(prepare) = self.prepare {
            prepare(&machine);
        }
        let dtb = self.spmc_manifest.unwrap_or_else(|| {
            manifest::spmc_manifest_of(
                &self.partitions,
                self.pes,
                &self.devices,
                &self.device_memory,
                &self.normal_memory,
                &self.settings,
            )
        });
        let image_pages = (machine.image.end - machine.image.start) / 4096;
        let image = PageRange::new(Pa::new(machine.image.start), image_pages).expect("the image");
        let bits = machine.address_bits.load(Ordering::Relaxed);
        let mut manifest = spmc::manifest::system(&dtb, bits, &mut Board::default());
        if let Ok(manifest) = &mut manifest {
            manifest.vector_memory = VECTOR_MEMORY;
        }
        let hal = FakeHal(Arc::clone(&machine));
        let (spmc, allocations) =
            Allocations::of(|| on_pe(0, || Arc::new(Spmc::new(hal, manifest, image))));
        assert!(machine.spmc.set(Arc::downgrade(&spmc)).is_ok());
        let partitions = spmc.partitions.len();
        let system = System {
            spmc,
            machine,
            pes: (0..pes as u16)
                .map(|index| Mutex::new(Box::new(Pe::new(index, partitions))))
                .collect(),
            allocations,
            boot: Mutex::new(None),
            is_careful: AtomicBool::new(false),
            is_wide: AtomicBool::new(false),
            restless,
        };
        let answer = system.enter(0, |spmc, pe, frame| spmc.boot(pe, frame), [0; 18]);
        *system.boot.lock().unwrap() = Some(answer);
        system
    }
}

/// A booted system.
pub struct System {
    /// The engine.
    pub spmc: Arc<Spmc<FakeHal>>,
    /// The hardware.
    pub machine: Arc<Machine>,
    pes: Vec<Mutex<Box<Pe>>>,
    /// The memory of the engine.
    allocations: Allocations,
    boot: Mutex<Option<Regs>>,
    /// Set if the Normal world has negotiated 1.0, at which reserved registers must be zero.
    is_careful: AtomicBool,
    /// Set by a test whose Normal world exchanges direct messages of 1.3, in x3 to x17.
    pub is_wide: AtomicBool,
    /// The partition of [`crate::restless`], if there is one.
    restless: Option<u16>,
}

impl System {
    /// Returns the builder of a system with 4 PEs and no partitions.
    pub fn builder() -> Builder {
        Builder {
            partitions: Vec::new(),
            pes: 4,
            tables: 256,
            seed: 1,
            spmc_manifest: None,
            streams: Vec::new(),
            devices: Vec::new(),
            device_memory: Vec::new(),
            normal_memory: Vec::new(),
            settings: Vec::new(),
            spmd: V1_2,
            prepare: None,
            site: None,
        }
    }

    /// Boots a system with those partitions.
    pub fn boot(partitions: impl IntoIterator<Item = PartitionSpec>) -> Self {
        partitions
            .into_iter()
            .fold(Self::builder(), Builder::sp)
            .boot()
    }

    /// Returns the engine's call to the SPMD at the end of its boot.
    pub fn boot_answer(&self) -> Regs {
        self.boot.lock().unwrap().expect("it has booted")
    }

    fn enter(
        &self,
        pe: usize,
        body: impl FnOnce(&Spmc<FakeHal>, &mut Pe, &mut SmcFrame),
        regs: [u64; 18],
    ) -> Regs {
        let mut frame = SmcFrame { x: regs };
        let mut state = self.pes[pe].lock().unwrap();
        self.machine.wake(pe);
        let has_booted = self.boot.lock().unwrap().is_some();
        let work = || body(&self.spmc, &mut state, &mut frame);
        if has_booted {
            self.machine.pe(pe).begin_call();
            on_pe(pe, || forbid(work));
        } else {
            on_pe(pe, work);
        }
        assert!(
            self.machine.pe(pe).loaded.is_none(),
            "a partition stays loaded in the Normal world"
        );
        assert!(
            self.machine.pe(pe).watchdog.is_none(),
            "a watchdog stays armed in the Normal world"
        );
        self.machine.pe(pe).runs_partitions = false;
        self.machine.gic().leave(pe);
        if std::mem::take(&mut self.machine.pe(pe).raises_on_return) {
            self.machine.journal().schedule_receiver.push(pe);
        }
        let answer = Regs(frame.x);
        go_between::check_answer(&answer);
        answer
    }

    /// Returns the Normal world on the first PE.
    pub fn nwd(&self) -> Nwd<'_> {
        self.pe(0)
    }

    /// Returns the Normal world on that PE.
    pub fn pe(&self, pe: usize) -> Nwd<'_> {
        Nwd { system: self, pe }
    }

    /// Boots a secondary PE. Returns the engine's call to the SPMD.
    pub fn turn_on(&self, pe: usize) -> Regs {
        self.enter(
            pe,
            |spmc, pe, frame| spmc.boot_secondary(pe, frame),
            [0; 18],
        )
    }

    /// Returns the observable state of the engine.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.machine)
    }

    /// Runs each of `bodies` as the Normal world on the PE of its index, interleaved by `seed`.
    pub fn interleave<'a>(&'a self, seed: u64, bodies: Vec<Box<dyn FnOnce(Nwd<'a>) + Send + 'a>>) {
        self.interleave_by(Plan::Random(seed), bodies);
    }

    /// Runs `bodies` interleaved by `plan`. Returns the points at which another PE could continue.
    pub fn interleave_by<'a>(
        &'a self,
        plan: Plan,
        bodies: Vec<Box<dyn FnOnce(Nwd<'a>) + Send + 'a>>,
    ) -> Trace {
        let mut bodies = bodies;
        if let Some(id) = self.restless {
            bodies.push(Box::new(move |_| restless::live(self, id)));
        }
        let schedule = Arc::new(Schedule::new(plan, bodies.len()));
        let bodies = bodies
            .into_iter()
            .enumerate()
            .map(|(pe, body)| -> Box<dyn FnOnce() + Send + 'a> {
                Box::new(move || body(self.pe(pe)))
            })
            .collect();
        schedule.run(bodies);
        self.machine.check_tlbs();
        Trace::new(schedule.visits(), |address| self.place(address))
    }

    /// Returns a name for an object of the engine that is the same in all runs: its place in the
    /// memory of the engine, or in the tables, which count from the last address down.
    fn place(&self, address: usize) -> Option<usize> {
        self.allocations.name(address).or_else(|| {
            let tables = self.machine.tables().tables;
            let offset = address.checked_sub(tables.as_ptr().addr())?;
            (offset < size_of_val(tables)).then_some(usize::MAX - offset)
        })
    }
}

/// The value of the Normal world's registers that a call does not use.
const KEPT: u64 = 0x6b65_7074_6b65_7074;

/// Registers x0 to x2 of `FFA_VERSION` as TF-A passes it on.
const VERSION_REQUEST: [u64; 3] = [ffa::DIRECT_REQ_32, 0xffff_8000, 0x8000_0008];

/// The Normal world on one PE, whose calls the SPMD passes on.
#[derive(Clone, Copy)]
pub struct Nwd<'s> {
    pub(crate) system: &'s System,
    pe: usize,
}

impl Nwd<'_> {
    /// Makes a call with x0 and further registers as given. Returns x0 to x17. A register that is
    /// not given is 0 or, if the call does not use it, garbage. The registers after x7 hold a value
    /// of the caller, which must be preserved and is returned as 0, unless the call uses them.
    pub fn call<const N: usize>(&self, regs: [u64; N]) -> Regs {
        let mut regs = Regs::new(regs);
        if regs.0[..3] == VERSION_REQUEST && regs.0[3] < ffa::V1_1 {
            self.system.is_careful.store(true, Ordering::Relaxed);
        }
        if !self.system.is_careful.load(Ordering::Relaxed) {
            leave_garbage(&mut regs.0, N);
        }
        let keeps = regs.0[8..] == [0; 10]
            && !matches!(regs.0[0], ffa::DIRECT_REQ2 | ffa::PARTITION_INFO_GET_REGS);
        if keeps {
            regs.0[8..].fill(KEPT);
        }
        let mut answer = self.call_with(regs);
        if keeps && answer.0[0] != ffa::DIRECT_RESP2 {
            answer.0[8..].fill(0);
        }
        answer
    }

    /// Makes a call with all registers given.
    #[track_caller]
    pub fn call_with(&self, regs: Regs) -> Regs {
        let answer = self
            .system
            .enter(self.pe, |spmc, pe, frame| spmc.handle(pe, frame), regs.0);
        go_between::check_call(&regs, &answer);
        let wide = self.system.is_wide.load(Ordering::Relaxed);
        let returned = ffa::registers_returned(regs.0[0], answer.0[0], wide);
        assert_eq!(
            answer.0[returned..],
            regs.0[returned..],
            "registers that {answer:x?} does not return"
        );
        answer
    }

    /// Makes a call that must be refused with `code` and change nothing.
    #[track_caller]
    pub fn refused<const N: usize>(&self, regs: [u64; N], code: i32) {
        let before = self.system.snapshot();
        let answer = self.call(regs);
        assert_eq!(answer.error(), Some(code), "{answer:?}");
        assert_eq!(
            before,
            self.system.snapshot(),
            "a refused call changed something"
        );
    }

    /// Calls `FFA_VERSION` as TF-A passes it on: by a framework message. Returns the version or the
    /// error.
    pub fn version(&self, version: u64) -> u64 {
        let [function, ids, message] = VERSION_REQUEST;
        let answer = self.call([function, ids, message, version]);
        assert_eq!(
            answer.0[..3],
            [ffa::DIRECT_RESP_32, 0x8000_ffff, 0x8000_0009]
        );
        answer.0[3]
    }

    /// Sends a 64-bit direct request from id 0.
    pub fn request(&self, to: u16, payload: [u64; 5]) -> Regs {
        let [a, b, c, d, e] = payload;
        self.call([ffa::DIRECT_REQ_64, to.into(), 0, a, b, c, d, e])
    }

    /// Sends a direct request that must be answered. Returns the payload of the response.
    #[track_caller]
    pub fn ask(&self, to: u16, payload: [u64; 5]) -> [u64; 5] {
        let answer = self.request(to, payload);
        assert_eq!(
            answer.0[..3],
            [ffa::DIRECT_RESP_64, u64::from(to) << 16, 0],
            "{answer:?}"
        );
        answer.payload()
    }

    /// Registers [`NWD_TX`] and [`NWD_RX`], one page each.
    #[track_caller]
    pub fn map_buffers(&self) {
        let answer = self.call([ffa::RXTX_MAP_64, NWD_TX, NWD_RX, 1]);
        assert_eq!(answer.success(), [0; 6]);
    }

    /// Reads Normal-world memory.
    pub fn read(&self, address: u64, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        self.system
            .machine
            .memory()
            .read(World::NonSecure, address, &mut data)
            .expect("memory");
        data
    }

    /// Writes Normal-world memory.
    pub fn write(&self, address: u64, data: &[u8]) {
        self.system
            .machine
            .memory()
            .write(World::NonSecure, address, data)
            .expect("memory");
    }

    /// Makes a memory call with `descriptor` in TX.
    pub fn memory_call(&self, function: u64, descriptor: &[u8]) -> Regs {
        self.write(NWD_TX, descriptor);
        let length = descriptor.len() as u64;
        self.call([function, length, length])
    }

    /// Makes a memory call that must be refused with `code` and change nothing.
    #[track_caller]
    pub fn memory_refused(&self, function: u64, descriptor: &[u8], code: i32) {
        let before = self.system.snapshot();
        let answer = self.memory_call(function, descriptor);
        assert_eq!(answer.error(), Some(code), "{answer:?}");
        assert_eq!(
            before,
            self.system.snapshot(),
            "a refused call changed something"
        );
    }

    /// Sends `transaction` in the layout of 1.2. Returns the handle.
    #[track_caller]
    pub fn send(&self, function: u64, transaction: &Transaction) -> u64 {
        self.memory_call(function, &transaction.encode(Layout::V1_2))
            .handle()
    }

    /// Calls `FFA_MEM_RECLAIM`.
    pub fn reclaim(&self, handle: u64) -> Regs {
        self.call([ffa::MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32])
    }
}
