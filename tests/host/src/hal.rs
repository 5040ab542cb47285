//! The engine's view of the [`Machine`], which checks that the engine follows the contract of
//! [`Hal`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use spmc::addr::{Pa, PageRange, World};
use spmc::ffa::SmcFrame;
use spmc::geometry::Geometry;
use spmc::hal::{
    AccessFault, Context, Exit, Fault, Hal, NoSuchStream, Roots, SriTime, Stream, Table,
    TableMemoryError, TablePlaces, TlbScope,
};
use spmc::manifest::config::{DeviceInterrupt, ExceptionLevel};
use spmc::own_interrupts::PARTITION_TIMER;
use spmc::vector_length::VectorLength;

use crate::after_boot::pause;
use crate::ffa::{ERROR, NOT_SUPPORTED, PARTITION_INFO_GET_REGS, SUCCESS_64, VERSION};
use crate::guest::{Guest, Pending, Resume};
use crate::machine::{Loaded, Machine, current_pe};
use crate::schedule;

/// The saved state of a vCPU: its registers, and the number of its [`Guest`].
pub struct FakeContext {
    gprs: [u64; 31],
    pc: u64,
    /// Number of the guest plus one; 0 before the first [`Hal::reset`].
    guest: usize,
    level: ExceptionLevel,
    pending: Pending,
    /// The signalled virtual interrupts: IRQ and FIQ.
    signals: (bool, bool),
    /// The time at which its timer expires, if that is armed.
    timer: Option<u64>,
    /// The length of its vectors, if it has SVE.
    pub vectors: Option<VectorLength>,
}

/// The descriptor that stands for the SPMC's own addresses in the tables of S-EL0 partitions. No
/// partition can use it.
pub const EL2_ENTRY: u64 = 0x0e12_3002;

impl Context for FakeContext {
    const NEW: Self = Self {
        gprs: [0; 31],
        pc: 0,
        guest: 0,
        level: ExceptionLevel::SEl1,
        pending: Pending::Nothing,
        signals: (false, false),
        timer: None,
        vectors: None,
    };

    fn gprs(&self) -> &[u64; 31] {
        &self.gprs
    }

    fn gprs_mut(&mut self) -> &mut [u64; 31] {
        &mut self.gprs
    }

    fn pc(&self) -> u64 {
        self.pc
    }
}

impl FakeContext {
    fn guest(&self) -> usize {
        self.guest
            .checked_sub(1)
            .expect("a context is used before it was reset")
    }
}

/// The hardware, as the engine uses it.
#[derive(Clone)]
pub struct FakeHal(pub Arc<Machine>);

impl FakeHal {
    /// Panics unless `context` is loaded on this PE.
    fn loaded(&self, context: &FakeContext) -> Loaded {
        let pe = current_pe();
        let loaded = self.0.pe(pe).loaded.expect("nothing is loaded on this PE");
        assert_eq!(
            loaded.guest,
            context.guest(),
            "another context is loaded on PE {pe}"
        );
        loaded
    }

    fn check_address(&self, world: World, from: u64, bytes: u64) {
        let tables = self.0.table_memory();
        let touches = |own: &Range<u64>| from < own.end && own.start < from.saturating_add(bytes);
        assert!(
            world == World::NonSecure || !(touches(&self.0.image) || touches(&tables)),
            "the engine touches its own memory as foreign memory: {from:#x}"
        );
    }
}

impl Hal for FakeHal {
    type Context = FakeContext;

    fn reset(&self, context: &mut FakeContext, level: ExceptionLevel, pc: u64, vcpu_index: u16) {
        let _pause = pause();
        self.0.step();
        let mut guests = self.0.guests.write().unwrap();
        for pe in self.0.awake().iter() {
            let loaded = self.0.pe(*pe).loaded.map(|loaded| loaded.guest + 1);
            assert!(
                context.guest == 0 || loaded != Some(context.guest),
                "reset of a loaded context"
            );
        }
        let guest = guests.len();
        guests.push(Arc::new(Guest::new(&self.0, guest, pc, vcpu_index)));
        *context = FakeContext {
            pc,
            guest: guest + 1,
            level,
            vectors: context.vectors,
            ..FakeContext::NEW
        };
    }

    fn load(&self, context: &mut FakeContext, roots: &Roots, mask_non_secure: bool) {
        let _pause = pause();
        self.0.step();
        let (this, guest) = (current_pe(), context.guest());
        for &pe in self.0.awake().iter() {
            let elsewhere = self
                .0
                .pe(pe)
                .loaded
                .is_some_and(|loaded| loaded.guest == guest);
            assert!(!elsewhere, "load of a context that is loaded on PE {pe}");
        }
        assert_eq!(roots.is_stage1(), context.level == ExceptionLevel::SEl0);
        self.0.learn_roots(roots);
        self.0.journal().loads += 1;
        let mut state = self.0.pe(this);
        assert!(state.loaded.is_none(), "load over another context");
        state.runs_partitions = true;
        state.loaded = Some(Loaded {
            guest,
            roots: *roots,
            masked: mask_non_secure,
        });
    }

    fn run(&self, context: &mut FakeContext) -> Exit {
        let _pause = pause();
        self.0.step();
        let loaded = self.loaded(context);
        if !schedule::is_running() {
            self.0.check_tlbs();
        }
        let pe = current_pe();
        let guest = Arc::clone(&self.0.guests.read().unwrap()[loaded.guest]);
        let resume = Resume {
            pe,
            masked: loaded.masked,
            watchdog: self.0.pe(pe).watchdog,
            gprs: context.gprs,
            pending: std::mem::take(&mut context.pending),
            signals: context.signals,
        };
        guest.check_memory_at_start(&self.0, &loaded.roots);
        let (exit, gprs) = guest.run(&self.0, resume);
        match exit {
            Exit::Timer { expired: true } => context.timer = None,
            Exit::Timer { expired: false } => context.timer = guest.timer(),
            _ => {}
        }
        self.0.pe(pe).begin_call();
        context.gprs = gprs;
        if let Exit::Call(_) = exit {
            context.pc += 4;
        }
        self.0.step();
        exit
    }

    fn save(&self, context: &mut FakeContext) {
        let _pause = pause();
        self.loaded(context);
        context.signals = (false, false);
        self.0.pe(current_pe()).loaded = None;
        self.0.step();
    }

    fn inject_abort(&self, context: &mut FakeContext, fault: &Fault) -> bool {
        let _pause = pause();
        let loaded = self.loaded(context);
        assert!(
            !loaded.roots.is_stage1(),
            "an abort for a partition without EL1"
        );
        let takes = self.0.guests.read().unwrap()[loaded.guest].takes_exceptions();
        if takes {
            context.pending = Pending::Abort(*fault);
        }
        takes
    }

    fn inject_undefined(&self, context: &mut FakeContext) -> bool {
        let _pause = pause();
        let loaded = self.loaded(context);
        assert!(
            !loaded.roots.is_stage1(),
            "an exception for a partition without EL1"
        );
        let takes = self.0.guests.read().unwrap()[loaded.guest].takes_exceptions();
        if takes {
            context.pending = Pending::Undefined;
        }
        takes
    }

    fn signal(&self, context: &mut FakeContext, irq: bool, fiq: bool) {
        let _pause = pause();
        self.loaded(context);
        context.signals = (irq, fiq);
    }

    fn acknowledge_interrupt(&self) -> Option<u32> {
        let _pause = pause();
        self.0.step();
        let pe = current_pe();
        let runs_partitions = self.0.pe(pe).runs_partitions;
        let mut gic = self.0.gic();
        if !runs_partitions && gic.take_alarm(pe) {
            return Some(PARTITION_TIMER);
        }
        gic.acknowledge(pe)
    }

    fn deactivate_interrupt(&self, id: u32) {
        let _pause = pause();
        self.0.step();
        self.0.gic().deactivate(id);
    }

    fn configure_interrupt(&self, interrupt: &DeviceInterrupt) -> bool {
        let _pause = pause();
        let target = interrupt.target.and_then(|target| self.0.pe_with(target));
        let target = target.unwrap_or(current_pe());
        self.0.gic().configure(interrupt.id, target)
    }

    fn enable_interrupt(&self, id: u32, enable: bool) {
        let _pause = pause();
        self.0.step();
        self.0.gic().enable(id, enable);
    }

    fn route_interrupt(&self, id: u32, pe: u64) -> bool {
        let _pause = pause();
        let known = pe < self.0.pes.len() as u64;
        if known {
            self.0.gic().route(id, pe as usize);
        }
        known
    }

    fn move_interrupt(&self, id: u32, from: u64, to: u64) -> bool {
        let _pause = pause();
        self.0.step();
        let [from, to] = [from, to].map(|affinity| self.0.pe_with(affinity).expect("a PE"));
        self.0.gic().move_from(id, from, to)
    }

    fn now(&self) -> u64 {
        let _pause = pause();
        self.0.gic().now()
    }

    fn ticks(&self, milliseconds: u32) -> u64 {
        u64::from(milliseconds) * 1000
    }

    fn look_again_elsewhere(&self) {
        let _pause = pause();
        self.0.step();
        self.0.journal().looks += 1;
        self.0.gic().look_again_elsewhere(current_pe());
    }

    fn call_el3(&self, call: &mut SmcFrame) {
        let _pause = pause();
        self.0.step();
        let mut journal = self.0.journal();
        if call.x[0] == PARTITION_INFO_GET_REGS {
            call.x = list(&journal.logical_partitions, [call.x[1], call.x[2]]);
            return;
        }
        if call.x[0] == VERSION {
            // The SPMD has one version, whatever it is asked for.
            call.x[0] = self.0.spmd_version.load(Relaxed);
            return;
        }
        journal.el3_calls.push(call.x);
        call.x = call.x.map(|x| !x);
    }

    fn look_again_here(&self) {
        let _pause = pause();
        self.0.journal().looks += 1;
        self.0.gic().look_again_here(current_pe());
    }

    fn look_again_on_return(&self) {
        let _pause = pause();
        self.0.journal().looks += 1;
        self.0.gic().look_again_on_return(current_pe());
    }

    fn stop_normal_world_at(&self, time: u64) {
        let _pause = pause();
        self.0.gic().stop_normal_world_at(current_pe(), time);
    }

    fn deadline(&self, context: &FakeContext) -> Option<u64> {
        context.timer
    }

    fn expire(&self, context: &mut FakeContext) {
        context.timer = None;
    }

    fn start_watchdog(&self, end: u64) {
        let _pause = pause();
        let time = end - self.now();
        self.0.journal().watchdogs.push(time);
        self.0.pe(current_pe()).watchdog = Some(end);
    }

    fn stop_watchdog(&self) {
        let _pause = pause();
        self.0.pe(current_pe()).watchdog = None;
    }

    fn raise_schedule_receiver(&self, time: SriTime) {
        let _pause = pause();
        let pe = current_pe();
        match time {
            SriTime::Now => self.0.journal().schedule_receiver.push(pe),
            SriTime::OnReturn => self.0.pe(pe).raises_on_return = true,
        }
    }

    fn read(&self, world: World, from: Pa, to: &mut [u8]) -> Result<(), AccessFault> {
        let _pause = pause();
        self.0.step();
        let range = from.raw()..from.raw().saturating_add(to.len() as u64);
        self.check_address(world, range.start, to.len() as u64);
        if self.0.others_can_write(world, &range) {
            self.0.pe(current_pe()).read_once(world, range);
        }
        self.0.answers(world, from.raw())?;
        self.0.memory().read(world, from.raw(), to)
    }

    fn write(&self, world: World, to: Pa, from: &[u8]) -> Result<(), AccessFault> {
        let _pause = pause();
        self.0.step();
        self.check_address(world, to.raw(), from.len() as u64);
        self.0.answers(world, to.raw())?;
        self.0.memory().write(world, to.raw(), from)
    }

    fn zero(&self, world: World, range: PageRange<Pa>) -> Result<(), AccessFault> {
        let _pause = pause();
        self.0.step();
        let (from, bytes) = (range.base().raw(), range.size());
        self.check_address(world, from, bytes);
        self.0.answers(world, from)?;
        self.0.journal().zeroed.push((world, from..from + bytes));
        self.0.memory().zero(world, from, bytes)
    }

    fn clean(&self, world: World, from: Pa, bytes: u64) {
        let _pause = pause();
        self.0.step();
        let from = from.raw();
        self.check_address(world, from, bytes);
        let mut memory = self.0.memory();
        memory.clean(world, &(from..from + bytes));
        memory.drop_instructions();
        drop(memory);
        self.0.journal().cleaned.push((world, from..from + bytes));
    }

    fn longest_vectors(&self) -> Option<VectorLength> {
        VectorLength::from_bits(self.0.vector_bits.load(Relaxed))
    }

    fn give_vectors(&self, context: &mut FakeContext, length: VectorLength) {
        assert!(
            self.longest_vectors()
                .is_some_and(|longest| length <= longest)
        );
        assert_eq!(context.vectors.replace(length), None);
    }

    fn confines_s_el0(&self) -> bool {
        self.0.confines_s_el0.load(Relaxed)
    }

    fn set_geometry(&self, geometry: Geometry) {
        let _pause = pause();
        self.0.set_geometry(geometry);
    }

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn tables(&self) -> &[Table] {
        self.0.tables().tables
    }

    fn table_places(&self) -> &TablePlaces {
        self.0.tables().places
    }

    fn add_tables(&self, range: PageRange<Pa>) -> Result<(), TableMemoryError> {
        let _pause = pause();
        self.0.add_tables(range)
    }

    fn el2_entry(&self) -> u64 {
        EL2_ENTRY
    }

    fn invalidate_stage2(&self, roots: &Roots, scope: TlbScope<'_>) {
        let _pause = pause();
        self.0.step();
        self.0.invalidate(roots, &scope);
    }

    fn publish_tables(&self) {
        let _pause = pause();
        self.0.step();
    }

    fn knows_stream(&self, stream: Stream) -> bool {
        let _pause = pause();
        self.0.smmu.lock().unwrap().knows(stream)
    }

    fn attach_stream(&self, stream: Stream, roots: &Roots) -> Result<(), NoSuchStream> {
        let _pause = pause();
        self.0.attach(stream, roots)
    }

    fn detach_stream(&self, stream: Stream) {
        let _pause = pause();
        self.0.step();
        self.0.smmu.lock().unwrap().detach(stream);
    }

    fn affinity(&self) -> u64 {
        self.0.affinity(current_pe())
    }
}

/// Returns the affinity of a PE. It is not the index, as on boards where threads come first.
pub fn affinity_of(pe: usize) -> u64 {
    (pe as u64) << 8
}

/// Returns the SPMD's answer to a query for logical partitions with that UUID, or for all of them.
fn list(all: &[[u64; 3]], uuid: [u64; 2]) -> [u64; 18] {
    let found = all.iter().filter(|one| uuid == [0, 0] || one[1..] == uuid);
    let found: Vec<u64> = found.flatten().copied().collect();
    let mut answer = [0; 18];
    match (found.len() as u64 / 3).checked_sub(1) {
        None => [answer[0], answer[2]] = [ERROR, NOT_SUPPORTED as u32 as u64],
        Some(last) => {
            [answer[0], answer[2]] = [SUCCESS_64, 24 << 48 | last << 16 | last];
            answer[3..][..found.len()].copy_from_slice(&found);
        }
    }
    answer
}
