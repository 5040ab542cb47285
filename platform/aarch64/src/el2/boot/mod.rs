//! From the entry code to the SPMC's loop, on every PE.

use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use aarch64_cpu::registers::{
    CNTHCTL_EL2, CNTVOFF_EL2, CPTR_EL2, HCR_EL2, ICH_HCR_EL2, MDCR_EL2, MIDR_EL1,
};
use spmc::addr::{Pa, PageRange};
use spmc::ffa::{SmcFrame, function};
use spmc::limits::MAX_PES;
use spmc::{Pe, Spmc};
use tock_registers::interfaces::{Readable, Writeable};

use super::cpu::{self, Cpu, features, vector_state, vectors};
use super::memory::{carve, layout, stacks, stage1, stage2, tables};
use super::platform::Platform;
use super::registers::{HSTR_EL2, VPIDR_EL2};
use super::{BOARD, affinity, console, gic, smc, traps};

mod entry;

static SPMC: Spmc<Platform> = Spmc::new(Platform);

struct PerPe(UnsafeCell<Pe>);

// SAFETY: element n is used by PE n only, see `serve`.
unsafe impl Sync for PerPe {}

/// All zero, so that they need no place in the image; [`pe`] fills the index in.
static PES: [PerPe; MAX_PES] = [const { PerPe(UnsafeCell::new(Pe::new(0))) }; MAX_PES];

/// Largest SPMC manifest that is looked at. TF-A limits TOS_FW_CONFIG to a page.
const MAX_MANIFEST: u64 = 64 * 1024;

/// The bytes of the device tree at `address` as its header has it, or none if there is no device
/// tree.
fn manifest_range(address: u64) -> Range<u64> {
    const MAGIC: u32 = 0xd00d_feed;
    if address == 0 || !address.is_multiple_of(8) {
        return 0..0;
    }
    let header = address as *const [u32; 2];
    // SAFETY: EL3 passes the address of the manifest; it is readable, and nobody writes it.
    let [magic, size] = unsafe { header.read_volatile() }.map(u32::from_be);
    if magic != MAGIC || u64::from(size) > MAX_MANIFEST {
        return 0..0;
    }
    address..address + u64::from(size)
}

/// The part of the boot that happens with the MMU off.
///
/// # Safety
///
/// Called by the entry code, once, on the boot PE.
pub unsafe extern "C" fn prepare(manifest: u64) {
    // SAFETY: first and only use, on the boot PE, MMU off.
    unsafe {
        carve::add(layout::carve());
        stage1::build(&BOARD, manifest_range(manifest), vectors::page());
    }
}

/// The boot PE, MMU on, on the boot stack: leaves in `frame` what goes to the SPMD.
///
/// # Safety
///
/// Called by the entry code, once, after [`prepare`] and with what that was called with.
pub unsafe extern "C" fn primary(manifest: u64, index: usize, frame: &mut SmcFrame) {
    entry::close_first_entry();
    // SAFETY: first use on this PE.
    unsafe { Cpu::install(index) };
    vectors::install();
    console::init(&BOARD);
    tables::init();
    features::probe();
    vector_state::announce();
    // SAFETY: on the boot PE, before any other PE is let in.
    unsafe { cpu::carve_vector_area(index) };
    init_pe();

    let range = manifest_range(manifest);
    let manifest = match NonNull::new(range.start as *mut u8) {
        // SAFETY: mapped by `prepare`, which saw the same header; nobody writes it.
        Some(start) => unsafe {
            slice::from_raw_parts(start.as_ptr(), (range.end - range.start) as usize)
        },
        None => &[],
    };
    let image = layout::image();
    let Some(image) = PageRange::from_bytes(Pa::new(image.start), image.end - image.start) else {
        panic!("the image is not a range of pages");
    };
    *frame = SmcFrame::ZERO;
    // SAFETY: the only reference on this PE.
    SPMC.boot(unsafe { pe(index) }, manifest, image, frame);
}

/// The boot PE on its own stack: lets the others in, and serves.
///
/// # Safety
///
/// Called by the entry code, once, after [`primary`].
pub unsafe extern "C" fn settle(index: usize, frame: &mut SmcFrame) -> ! {
    // SAFETY: on the boot PE and its own stack, before any other PE is let in; nobody is on the
    // boot stack any more.
    unsafe {
        stacks::paint(index);
        carve::add(layout::boot_stack());
        for other in (0..MAX_PES).filter(|other| *other != index) {
            cpu::carve_vector_area(other);
        }
    }
    if frame.w(0) == function::MSG_WAIT {
        register_secondary_entry();
    }
    // SAFETY: the only reference on this PE: the boot is over.
    serve(unsafe { pe(index) }, frame)
}

/// Any other PE, MMU on. A PE that was turned off and on again comes here again.
///
/// # Safety
///
/// Called by the entry code.
pub unsafe extern "C" fn secondary(index: usize, frame: &mut SmcFrame) -> ! {
    if affinity::has_run(index) {
        stacks::report(index);
    }
    // SAFETY: this PE is on its own stack.
    unsafe { stacks::paint(index) };
    // SAFETY: nothing of an earlier life of this PE is in use any more.
    unsafe { Cpu::install(index) };
    vectors::install();
    init_pe();
    *frame = SmcFrame::ZERO;
    // SAFETY: the only reference on this PE.
    let pe = unsafe { pe(index) };
    SPMC.boot_secondary(pe, frame);
    serve(pe, frame)
}

/// A PE, MMU on, that EL3 sent to the entry point of the boot PE. Nothing of the SPMC is set up for
/// it but its stack, and it stays unknown: the entry code answers for it.
pub extern "C" fn refuse(index: usize) {
    log::error!(
        "PE {index} came to the entry point of the boot PE: the Normal world can use it, partitions cannot"
    );
}

/// Answers the SPMD, for ever.
fn serve(pe: &mut Pe, frame: &mut SmcFrame) -> ! {
    loop {
        Cpu::current().restore_normal_world();
        smc::smc(frame);
        SPMC.handle(pe, frame);
    }
}

/// The engine's state of this PE.
///
/// # Safety
///
/// Called on the PE with that index, where no other reference that this returned is in use.
unsafe fn pe(index: usize) -> &'static mut Pe {
    // SAFETY: element of this PE; no other reference is in use (contract above).
    let pe = unsafe { &mut *PES[index].0.get() };
    pe.index = index as u16;
    pe
}

/// Tells the SPMD where PEs enter that are turned on later. Where it does not take that, it sends
/// them to `_start`, which turns them away: the system can go on, but partitions have the boot PE
/// only.
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

/// The registers that stay the same from now on. EL3 keeps EL2's registers of the two worlds apart.
fn init_pe() {
    HCR_EL2.set(traps::HCR);
    CPTR_EL2.set(vector_state::CPTR_CLOSED);
    MDCR_EL2.set(MDCR_EL2.get() & traps::MDCR_HPMN | traps::MDCR);
    HSTR_EL2.set(0);
    VPIDR_EL2.set(MIDR_EL1.get());
    CNTHCTL_EL2.set(traps::CNTHCTL);
    CNTVOFF_EL2.set(0);
    ICH_HCR_EL2.set(0);
    Cpu::current().check_vector_area();
    features::init_pe();
    stage2::init_pe();
    gic::init_pe(&BOARD);
}
