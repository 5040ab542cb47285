//! The way from the entry code to the loop that answers the SPMD, on every PE.

use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use aarch64_cpu::registers::{
    CNTHCTL_EL2, CNTVOFF_EL2, CPTR_EL2, HCR_EL2, ICH_HCR_EL2, MDCR_EL2, MIDR_EL1,
};
use spin::Once;
use spmc::addr::{Pa, PageRange};
use spmc::ffa::{SmcFrame, function};
use spmc::limits::MAX_PES;
use spmc::manifest::board::{Board, missing_gic};
use spmc::{Pe, Spmc};
use tock_registers::interfaces::{Readable, Writeable};

use super::cpu::{self, Cpu, features, vector_state, vectors};
use super::memory::{carve, layout, stacks, stage1, stage2, tables};
use super::platform::Platform;
use super::registers::{HSTR_EL2, VPIDR_EL2};
use super::{affinity, console, gic, smc};
use crate::traps;

mod board;
mod entry;

/// The SPMC, once the boot PE has read the manifest.
static SPMC: Once<Spmc<Platform>> = Once::new();

struct PerPe(UnsafeCell<Pe>);

// SAFETY: PE n alone accesses element n, see `pe`.
unsafe impl Sync for PerPe {}

/// The engine's state of each PE. All elements are zero, so that they take no room in the file;
/// [`pe`] sets the index.
static PES: [PerPe; MAX_PES] = [const { PerPe(UnsafeCell::new(Pe::new(0))) }; MAX_PES];

/// Largest SPMC manifest that is accepted. TF-A limits TOS_FW_CONFIG to a page.
const MAX_MANIFEST: u64 = 64 * 1024;

/// Returns the addresses of the device tree at `address`, with the size that its header states, or
/// an empty range if there is no device tree.
fn manifest_range(address: u64) -> Range<u64> {
    if address == 0 || !address.is_multiple_of(8) {
        return 0..0;
    }
    let header = address as *const [u32; 2];
    // SAFETY: EL3 passes the address of the manifest in memory that the PE can read, and that
    // nobody writes any more; the address is not null and aligned (checks above).
    let header = unsafe { header.read_volatile() };
    board::tree_range(address, header, MAX_MANIFEST)
}

/// Runs the part of the boot that needs the MMU off: builds the map of EL2.
///
/// # Safety
///
/// The entry code calls this once, on the boot PE.
pub unsafe extern "C" fn prepare(manifest: u64) {
    // SAFETY: the boot PE gets here first, with the MMU off, before any other use of the memory to
    // carve (contract above).
    unsafe {
        carve::add(layout::carve());
        stage1::build(manifest_range(manifest), vectors::page());
    }
}

/// Boots the SPMC on the boot PE, with the MMU on and on the boot stack. `hardware` is the address
/// of the hardware configuration, or 0. Leaves the first call to the SPMD in `frame`.
///
/// # Safety
///
/// The entry code calls this once, after [`prepare`] and with the same manifest.
pub unsafe extern "C" fn primary(manifest: u64, index: usize, frame: &mut SmcFrame, hardware: u64) {
    entry::close_first_entry();
    // SAFETY: this is the PE with that index, and the first use of its state.
    unsafe { Cpu::install(index) };
    vectors::install();
    console::begin();

    let range = manifest_range(manifest);
    let manifest = match NonNull::new(range.start as *mut u8) {
        // SAFETY: `prepare` read the same header and mapped this range; nobody writes it any more.
        Some(start) => unsafe {
            slice::from_raw_parts(start.as_ptr(), (range.end - range.start) as usize)
        },
        None => &[],
    };
    let image = layout::image();
    let Some(image) = PageRange::from_bytes(Pa::new(image.start), image.end - image.start) else {
        panic!("the image is not a range of pages");
    };
    let mut board = Board::default();
    let manifest = spmc::manifest::system(manifest, &image, stage2::address_bits(), &mut board);
    let cpus = manifest.as_ref().map_or(&[][..], |manifest| &manifest.cpus);
    // SAFETY: on the boot PE, once, before any other PE is let in.
    let has_gic = unsafe { board::bring_up(&mut board, hardware, cpus) };
    let manifest = manifest.and_then(|manifest| match has_gic {
        true => Ok(manifest),
        false => Err(missing_gic()),
    });
    tables::init();
    features::probe();
    vector_state::probe();
    // SAFETY: on the boot PE, before any other PE is let in, and once for this PE.
    unsafe { cpu::carve_vector_area(index) };
    init_pe(has_gic);

    *frame = SmcFrame::ZERO;
    // SAFETY: this is the PE with that index, and the only reference to its state.
    let pe = unsafe { pe(index) };
    SPMC.call_once(|| Spmc::new(Platform, manifest, image))
        .boot(pe, frame);
}

/// Continues on the boot PE's own stack: lets the other PEs in, and serves the SPMD.
///
/// # Safety
///
/// The entry code calls this once, after [`primary`].
pub unsafe extern "C" fn settle(index: usize, frame: &mut SmcFrame) -> ! {
    // SAFETY: this runs on the boot PE, on its own stack, before any other PE is let in. The boot
    // stack is free, since control never returns to it.
    unsafe {
        stacks::paint(index);
        carve::add(layout::boot_stack());
        for other in (0..MAX_PES).filter(|other| *other != index) {
            cpu::carve_vector_area(other);
        }
    }
    carve::seal();
    if frame.w(0) == function::MSG_WAIT {
        register_secondary_entry();
    }
    // SAFETY: this is the PE with that index. The reference that `primary` had is gone: the boot is
    // over.
    serve(unsafe { pe(index) }, frame)
}

/// Starts a PE other than the boot PE, with the MMU on. A PE that was turned off and on again
/// enters here again.
///
/// # Safety
///
/// The entry code calls this, on the PE with that index and on its own stack.
pub unsafe extern "C" fn secondary(index: usize, frame: &mut SmcFrame) -> ! {
    if affinity::has_run(index) {
        stacks::report(index);
    }
    // SAFETY: this PE is on its own stack (contract above).
    unsafe { stacks::paint(index) };
    // SAFETY: when the PE was turned off, its execution ended in EL3, so no reference from before
    // is in use any more.
    unsafe { Cpu::install(index) };
    vectors::install();
    init_pe(true);
    *frame = SmcFrame::ZERO;
    // SAFETY: this is the PE with that index, and the only reference to its state.
    let pe = unsafe { pe(index) };
    spmc().boot_secondary(pe, frame);
    serve(pe, frame)
}

/// Logs that EL3 sent a PE to the entry point of the boot PE. The MMU is on, but the PE has nothing
/// of the SPMC except a stack, and its affinity is not recorded. The entry code answers the SPMD
/// for it.
pub extern "C" fn refuse(index: usize) {
    log::error!(
        "PE {index} came to the entry point of the boot PE: the Normal world can use it, partitions cannot"
    );
}

/// Returns the SPMC.
fn spmc() -> &'static Spmc<Platform> {
    SPMC.wait()
}

/// Passes frames to the SPMD and answers what comes back, for ever.
fn serve(pe: &mut Pe, frame: &mut SmcFrame) -> ! {
    let spmc = spmc();
    loop {
        Cpu::current().restore_normal_world();
        smc::smc(frame);
        spmc.handle(pe, frame);
    }
}

/// Returns the engine's state of this PE.
///
/// # Safety
///
/// Called on the PE with that index, while no other reference from this function is in use there.
unsafe fn pe(index: usize) -> &'static mut Pe {
    // SAFETY: only this PE uses the element, and no other reference to it is in use (contract
    // above).
    let pe = unsafe { &mut *PES[index].0.get() };
    pe.index = index as u16;
    pe
}

/// Registers the entry point of the PEs that are turned on later. An SPMD that refuses it sends
/// these PEs to `_start`, where they are turned away: the system goes on, but partitions run on the
/// boot PE only.
fn register_secondary_entry() {
    let mut frame = SmcFrame::new([
        function::SECONDARY_EP_REGISTER_64 as u64,
        entry::secondary_entry(),
    ]);
    smc::smc(&mut frame);
    if !matches!(frame.w(0), function::SUCCESS_32 | function::SUCCESS_64) {
        log::error!(
            "the SPMD does not take the entry point of other PEs (answer {:#x}, {}), so only this one runs partitions: \
             do load_address and binary_size of the SPMC manifest span the image?",
            frame.w(0),
            frame.w(2) as i32
        );
    }
}

/// Sets the registers that keep their values from now on. EL3 switches EL2's registers between the
/// worlds. Without a GIC the boot is about to fail.
fn init_pe(has_gic: bool) {
    HCR_EL2.set(traps::HCR);
    CPTR_EL2.set(traps::CPTR);
    MDCR_EL2.set(traps::MDCR | features::event_counters() & traps::MDCR_HPMN);
    HSTR_EL2.set(0);
    VPIDR_EL2.set(MIDR_EL1.get());
    CNTHCTL_EL2.set(traps::CNTHCTL);
    CNTVOFF_EL2.set(0);
    ICH_HCR_EL2.set(traps::ICH_HCR);
    Cpu::current().check_vector_area();
    Cpu::current().look_at_pe();
    features::init_pe();
    stage2::init_pe();
    if has_gic {
        Cpu::current().lends_cpu_interface = gic::frames::lends_cpu_interface();
        gic::init_pe();
    }
}
