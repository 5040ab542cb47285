//! The way from the entry code to the loop that answers the SPMD, on every PE.

use alloc::boxed::Box;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use aarch64_cpu::registers::{CNTHCTL_EL2, CNTVOFF_EL2, CPTR_EL2, HCR_EL2, MDCR_EL2, MIDR_EL1};
use spin::Once;
use spmc::addr::{Pa, PageRange};
use spmc::error::Status;
use spmc::ffa::{SmcFrame, function};
use spmc::limits;
use spmc::manifest::board::Board;
use spmc::manifest::config::SpmcManifest;
use spmc::manifest::own_memory::{Wants, own_memory};
use spmc::manifest::{self, Report};
use spmc::mem::Shares;
use spmc::partition::Partition;
use spmc::{Pe, Spmc};
use tock_registers::interfaces::{Readable, Writeable};

use super::cpu::context::GuestContext;
use super::cpu::header::Header;
use super::cpu::{self, Cpu, features, vector_state, vectors};
use super::memory::{BOOT, layout, stacks, stage1, stage2, tables};
use super::per_pe::PerPe;
use super::platform::Platform;
use super::registers::{HSTR_EL2, VPIDR_EL2};
use super::ring::{self, Kind};
use super::{affinity, console, gic, smc};
use crate::boot_allocator::Sealed;
use crate::sizes::{self, Counts, PAGE, STACK_SIZE};
use crate::traps;

mod board;
mod entry;

/// The SPMC, once the boot PE has read the manifest.
static SPMC: Once<Spmc<Platform>> = Once::new();

/// The engine's state of each PE. PE n alone accesses element n, see [`pe`].
static PES: PerPe<Pe> = PerPe::new();

// `sizes` cannot see these types, but says how much memory there must be for them.
const _: () = assert!(size_of::<Pe>() + size_of::<Cpu>() <= sizes::PE_STATE_SIZE as usize);
const _: () = assert!(Pe::PARTITION_SIZE <= sizes::PE_PARTITION_SIZE as usize);
const _: () = assert!(Partition::<GuestContext>::CONTEXT_SIZE <= sizes::CONTEXT_SIZE as usize);
const _: () = assert!(Shares::SLOT_SIZE <= sizes::TRANSACTION_SIZE as usize);
const _: () = assert!(limits::MIN_CONTEXTS as u64 == sizes::MIN_CONTEXTS);
const _: () = assert!(limits::MIN_NOTIFIED_VCPUS as u64 == sizes::MIN_NOTIFIED_VCPUS);

/// Largest SPMC manifest that is accepted. TF-A limits TOS_FW_CONFIG to a page.
const MAX_MANIFEST: u64 = 64 * 1024;

/// Returns the addresses of the device tree at `address`, with the size that its header states, or
/// an empty range if there is no device tree.
#[cold]
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
    // SAFETY: the boot PE gets here first, with the MMU off, before any other use of the memory of
    // the allocator (contract above).
    unsafe {
        BOOT.init(layout::heap());
        stage1::build(manifest_range(manifest), vectors::page());
    }
}

/// Boots the SPMC on the boot PE, with the MMU on and on the boot stack. `hardware` is the address
/// of the hardware configuration, or 0. Leaves the first call to the SPMD in `frame`, on the PE's
/// own stack. Returns `false` if the SPMC cannot run, for a reason that was logged.
///
/// # Safety
///
/// The entry code calls this once, after [`prepare`] and with the same manifest. `frame` is the
/// place of the frame on the stack of the PE with that index, which need not be mapped yet.
pub unsafe extern "C" fn primary(
    manifest: u64,
    index: usize,
    frame: *mut SmcFrame,
    hardware: u64,
) -> bool {
    entry::close_first_entry();
    let mut header = Header::NEW;
    // SAFETY: the header lives on the stack of this function until `make_room` installs the state
    // of this PE.
    unsafe { header.install(index) };
    vectors::install();
    console::begin();

    let range = manifest_range(manifest);
    let dtb = match NonNull::new(range.start as *mut u8) {
        // SAFETY: `prepare` read the same header and mapped this range; nobody writes it any more.
        Some(start) => unsafe {
            slice::from_raw_parts(start.as_ptr(), (range.end - range.start) as usize)
        },
        None => &[],
    };
    let mut board = Board::default();
    // SAFETY: on the boot PE, which has this index, before any other PE is let in.
    let taken = unsafe { take_memory(dtb, &mut board, index) };
    let Some((mut manifest, own, needed)) = taken else {
        // SAFETY: as above, and once, since `bring_up` is not called.
        unsafe { board::bring_up_console(&board) };
        return false;
    };
    // SAFETY: on the boot PE, once, before any other PE is let in.
    if let Err(error) = unsafe { board::bring_up(&mut manifest, hardware) } {
        log::error!("SPMC manifest: {error}");
        return false;
    }
    features::probe();
    vector_state::probe();
    // SAFETY: on the boot PE, before any other PE is let in.
    unsafe { cpu::carve_vector_areas() };
    init_pe();

    // SAFETY: the stack of this PE is mapped now, and nothing else refers to the frame, which needs
    // no initial value.
    let frame = unsafe {
        frame.write(SmcFrame::ZERO);
        &mut *frame
    };
    // SAFETY: this is the PE with that index, and the only reference to its state.
    let pe = unsafe { pe(index) };
    let spmc = SPMC.call_once(|| Spmc::new(Platform, Ok(manifest), own));
    let [total, free] = [own.size(), tables::own_bytes()].map(|bytes| bytes / 1024);
    log::info!(
        "memory: {} KiB needed, {} used, {free} free for tables, {total} in all at {}",
        needed / 1024,
        total - free,
        own.base(),
    );
    spmc.boot(pe, frame);
    true
}

/// Reads the manifest `dtb`, takes the memory that the SPMC has by it, and gives each PE what it
/// needs. Returns the manifest, all memory of the SPMC, and how many bytes of it are needed, or
/// `None` if that cannot be, for a reason that was logged.
///
/// # Safety
///
/// The boot PE, which has the index `boot_pe`, calls this once, with the MMU on, before any other
/// PE is let in.
#[cold]
#[inline(never)]
unsafe fn take_memory(
    dtb: &[u8],
    board: &mut Board,
    boot_pe: usize,
) -> Option<(Box<SpmcManifest>, PageRange<Pa>, u64)> {
    let refuse = |error| log::error!("SPMC manifest: {error}");
    let bits = stage2::address_bits();
    let mut manifest = manifest::system(dtb, bits, board).map_err(refuse).ok()?;
    let pes = manifest.cpus.len().max(boot_pe + 1);
    let partitions = manifest.partitions.len();
    let image = layout::image();
    let wants = Wants {
        least: Counts {
            pes: pes as u64,
            partitions: partitions as u64,
            transactions: Shares::count(partitions, manifest.transactions) as u64,
            vms: manifest.vms.into(),
        }
        .needed()
            + ring::bytes(pes),
        most: sizes::WANTED + ring::bytes(pes),
    };
    let report = Report::new();
    let own = own_memory(&mut manifest, Pa::new(image.start), &wants, &report);
    let Some(own) = own else {
        let _ = report.verdict().map_err(refuse);
        let needed = wants.least / 1024;
        log::error!("the SPMC needs {needed} KiB of memory for {pes} PEs");
        return None;
    };
    let end = own.end().raw();
    let tree = dtb.as_ptr_range();
    if (tree.start as u64) < end && image.end < tree.end as u64 {
        log::error!("the SPMC manifest lies in the SPMC's own memory, {own}");
        return None;
    }
    stage1::map_tail(image.end..end);
    // SAFETY: on the boot PE, before any other PE is let in (contract above). The memory is mapped
    // now, and the SPMC's.
    unsafe {
        BOOT.extend(end);
        make_room(pes, boot_pe, manifest.partitions.len());
    }
    Some((manifest, own, wants.least))
}

/// Gives `pes` PEs the memory that each has for itself. The boot PE, which has the index `boot_pe`,
/// uses its own from now on.
///
/// # Safety
///
/// The boot PE calls this once, with the MMU on, before any other PE is let in.
#[cold]
#[inline(never)]
unsafe fn make_room(pes: usize, boot_pe: usize, partitions: usize) {
    affinity::make_room(pes);
    cpu::make_room(pes);
    let state = |index| Pe::new(index, partitions);
    PES.fill((0..pes as u16).map(state).collect());
    ring::make_room(pes);
    stage1::map_pes(stacks(pes, boot_pe));
    // SAFETY: this is the PE with that index, and the first use of its state.
    unsafe { Cpu::install(boot_pe) };
}

/// Returns the address of the memory for the stack of each PE. The boot PE has memory of its own;
/// other PEs have that of the boot stack as far as it goes: they are let in when control has left
/// the boot stack for ever.
fn stacks(pes: usize, boot_pe: usize) -> impl Iterator<Item = u64> {
    let boot_stack = layout::boot_stack();
    let mut pieces = (boot_stack.start..)
        .step_by(STACK_SIZE as usize)
        .take(((boot_stack.end - boot_stack.start) / STACK_SIZE) as usize);
    (0..pes).map(move |index| {
        let is_other = index != boot_pe;
        if is_other && let Some(piece) = pieces.next() {
            return piece;
        }
        // SAFETY: the boot PE consumes the iterator before any other PE is let in.
        unsafe { BOOT.carve(STACK_SIZE as usize, PAGE as usize) }.as_ptr() as u64
    })
}

/// Continues on the boot PE's own stack: lets the other PEs in, and serves the SPMD.
///
/// # Safety
///
/// The entry code calls this once, after [`primary`].
pub unsafe extern "C" fn settle(index: usize, frame: &mut SmcFrame) -> ! {
    // SAFETY: this PE is on its own stack (contract above).
    unsafe { stacks::paint(index) };
    let sealed = BOOT.seal();
    if frame.w(0) == function::MSG_WAIT {
        register_secondary_entry(sealed);
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
    init_pe();
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
        ring::record(Kind::SpmcOut, 0, &frame.x);
        smc::smc(frame);
        while ring::answer(frame) {
            smc::smc(frame);
        }
        ring::record(Kind::ToSpmc, 0, &frame.x);
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
    unsafe { &mut *PES.of(index) }
}

/// Registers the entry point of the PEs that are turned on later. An SPMD that refuses it sends
/// these PEs to `_start`, where they are turned away: the system goes on, but partitions run on the
/// boot PE only.
#[cold]
fn register_secondary_entry(_: Sealed) {
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
            Status(frame.x[2])
        );
    }
}

/// Sets the registers that keep their values from now on. EL3 switches EL2's registers between the
/// worlds.
#[cold]
fn init_pe() {
    HCR_EL2.set(traps::HCR);
    CPTR_EL2.set(traps::CPTR);
    MDCR_EL2.set(traps::MDCR | features::event_counters() & traps::MDCR_HPMN);
    HSTR_EL2.set(0);
    VPIDR_EL2.set(MIDR_EL1.get());
    CNTHCTL_EL2.set(traps::CNTHCTL);
    CNTVOFF_EL2.set(0);
    Cpu::current().check_vector_area();
    Cpu::current().look_at_pe();
    features::init_pe();
    stage2::init_pe();
    Cpu::current().lends_cpu_interface = gic::frames::lends_cpu_interface();
    gic::init_pe();
}
