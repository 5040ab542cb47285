//! The implementation of [`Hal`], which forwards each call to the module that does the work.

use aarch64_cpu::registers::CNTPCT_EL0;
use spmc::addr::{Pa, PageRange, World};
use spmc::ffa::SmcFrame;
use spmc::geometry::Geometry;
use spmc::hal::{
    AccessFault, Context, Exit, Fault, Hal, NoSuchStream, Regime, Roots, SriTime, Stream, Table,
    TableMemoryError, TablePlaces, TlbScope,
};
use spmc::manifest::config::{DeviceInterrupt, ExceptionLevel, SpmcManifest};
use spmc::vector_length::VectorLength;
use tock_registers::interfaces::Readable;

use super::cpu::context::GuestContext;
use super::cpu::vector_state::{self, ScalableState};
use super::cpu::{Cpu, el0, features, inject};
use super::gic::interrupt::Interrupt;
use super::gic::{self, watchdog};
use super::memory::{stage1, stage2, tables};
use super::ring::{self, Kind};
use super::{affinity, smc};

/// The hardware as the engine sees it.
pub struct Platform;

impl Hal for Platform {
    type Context = GuestContext;

    fn reset(&self, context: &mut GuestContext, level: ExceptionLevel, pc: u64, vcpu_index: u16) {
        context.reset(level, pc, vcpu_index);
    }

    #[inline(always)]
    fn load(&self, context: &mut GuestContext, roots: &Roots, mask_non_secure: bool) {
        Cpu::current().load(context, roots, mask_non_secure);
    }

    #[inline(always)]
    fn run(&self, context: &mut GuestContext) -> Exit {
        if !ring::IS_ON {
            return Cpu::current().run(context);
        }
        let tag = Cpu::current().tag();
        ring::record(Kind::ToSp, tag, context.gprs());
        let exit = Cpu::current().run(context);
        if let Exit::Call(_) = exit {
            ring::record(Kind::SpCall, tag, context.gprs());
        }
        exit
    }

    #[inline(always)]
    fn save(&self, context: &mut GuestContext) {
        Cpu::current().save(context);
    }

    fn inject_abort(&self, context: &mut GuestContext, fault: &Fault) -> bool {
        inject::abort(context, fault)
    }

    fn inject_undefined(&self, context: &mut GuestContext) -> bool {
        inject::undefined(context)
    }

    fn start_watchdog(&self, end: u64) {
        watchdog::start(end);
    }

    fn stop_watchdog(&self) {
        watchdog::stop();
    }

    fn raise_schedule_receiver(&self, time: SriTime) {
        match time {
            SriTime::Now => gic::raise_schedule_receiver(),
            SriTime::OnReturn => Cpu::current().raise_on_return(),
        }
    }

    fn signal(&self, _: &mut GuestContext, irq: bool, fiq: bool) {
        Cpu::current().signal(irq, fiq);
    }

    fn acknowledge_interrupt(&self) -> Option<u32> {
        gic::acknowledge(|| Cpu::current().timer_fires())
    }

    #[inline]
    fn deactivate_interrupt(&self, id: u32) {
        gic::deactivate(id);
    }

    fn configure_interrupt(&self, interrupt: &DeviceInterrupt) -> bool {
        Interrupt::find(interrupt.id).is_some_and(|own| own.configure(interrupt))
    }

    fn enable_interrupt(&self, id: u32, enable: bool) {
        if let Some(interrupt) = Interrupt::find(id) {
            interrupt.enable(enable);
        }
    }

    fn route_interrupt(&self, id: u32, pe: u64) -> bool {
        let place = Interrupt::find(id).zip(affinity::of(pe));
        if let Some((interrupt, affinity)) = &place {
            interrupt.route(*affinity);
        }
        place.is_some()
    }

    fn move_interrupt(&self, id: u32, from: u64, to: u64) -> bool {
        let interrupt = Interrupt::find(id).filter(|one| one.is_routed_to(from));
        if let Some(interrupt) = &interrupt {
            interrupt.route(to);
        }
        interrupt.is_some()
    }

    fn now(&self) -> u64 {
        CNTPCT_EL0.get()
    }

    fn ticks(&self, milliseconds: u32) -> u64 {
        watchdog::ticks(milliseconds)
    }

    fn look_again_elsewhere(&self) {
        gic::look_again_elsewhere();
    }

    fn look_again_here(&self) {
        gic::look_again_here();
    }

    fn look_again_on_return(&self) {
        Cpu::current().look_again_on_return();
    }

    fn stop_normal_world_at(&self, time: u64) {
        Cpu::current().stop_normal_world_at(time);
    }

    fn deadline(&self, context: &GuestContext) -> Option<u64> {
        context.timer.deadline()
    }

    fn expire(&self, context: &mut GuestContext) {
        context.expire_timer();
    }

    fn read(&self, world: World, from: Pa, to: &mut [u8]) -> Result<(), AccessFault> {
        Cpu::current().window.read(world, from, to)
    }

    #[inline]
    fn write(&self, world: World, to: Pa, from: &[u8]) -> Result<(), AccessFault> {
        Cpu::current().window.write(world, to, from)
    }

    #[inline]
    fn zero(&self, world: World, range: PageRange<Pa>) -> Result<(), AccessFault> {
        Cpu::current().window.zero(world, range)
    }

    fn clean(&self, world: World, from: Pa, bytes: u64) {
        Cpu::current().window.clean(world, from, bytes);
    }

    fn set_geometry(&self, geometry: Geometry) {
        stage2::set_geometry(geometry);
    }

    fn geometry(&self) -> Geometry {
        stage2::geometry()
    }

    fn make_tables(&self, manifest: &SpmcManifest) {
        tables::make(manifest.table_memory.map_or(0, |range| range.pages()));
    }

    #[inline(always)]
    fn tables(&self) -> &[Table] {
        tables::all()
    }

    #[inline(always)]
    fn table_places(&self) -> &TablePlaces {
        tables::places()
    }

    fn add_tables(&self, range: PageRange<Pa>) -> Result<(), TableMemoryError> {
        tables::add(range)
    }

    fn el2_entry(&self) -> u64 {
        stage1::private_entry()
    }

    #[inline]
    fn invalidate_stage2(&self, roots: &Roots, scope: TlbScope<'_>) {
        match roots.regime() {
            Regime::Stage1 { asid, .. } => el0::invalidate(asid, scope),
            Regime::Stage2 {
                vmid, non_secure, ..
            } => stage2::invalidate(vmid, non_secure, scope),
        }
    }

    /// Refuses every stream: no supported board has an SMMU with a Secure programming interface, so
    /// no device can be confined.
    fn attach_stream(&self, _: Stream, _: &Roots) -> Result<(), NoSuchStream> {
        Err(NoSuchStream)
    }

    fn detach_stream(&self, _: Stream) {}

    fn publish_tables(&self) {
        stage2::publish();
    }

    fn confines_s_el0(&self) -> bool {
        features::confines_s_el0()
    }

    fn has_branch_targets(&self) -> bool {
        features::has_branch_targets()
    }

    fn longest_vectors(&self) -> Option<VectorLength> {
        vector_state::longest()
    }

    fn give_vectors(&self, context: &mut GuestContext, length: VectorLength) {
        context.scalable = Some(ScalableState::new(length));
    }

    fn affinity(&self) -> u64 {
        affinity::own()
    }

    fn call_el3(&self, call: &mut SmcFrame) {
        ring::record(Kind::SpmcOut, 0, &call.x);
        smc::smc(call);
        ring::record(Kind::ToSpmc, 0, &call.x);
    }
}
