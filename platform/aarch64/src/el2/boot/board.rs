//! From the description of the board to its console and its GIC.
//!
//! The SPMC manifest describes the board. If the manifest has no GIC, the hardware configuration
//! completes it: the device tree whose address TF-A's `populate_next_bl_params_config` passes in x1
//! (Arm's platforms do; QEMU's do not, and pass 0).

use core::ops::Range;
use core::slice;

use spmc::addr::{Pa, World};
use spmc::manifest::board::{self, Board, missing_gic};
use spmc::manifest::config::SpmcManifest;
use spmc::manifest::{ManifestError, validate};

use crate::el2::cpu::Cpu;
use crate::el2::memory::stage1;
use crate::el2::{console, gic};
use crate::sizes::PAGE;

/// Largest hardware configuration that is accepted.
const MAX_HARDWARE: u64 = 1 << 20;

/// Maps the console and the GIC, of which the redistributors are those of the manifest's PEs, and
/// begins to write the log.
///
/// Errors: those of [`validate::board`]; no GIC.
///
/// # Safety
///
/// Called on the boot PE, once, before any other PE is let in. The device trees are right.
#[cold]
pub unsafe fn bring_up(manifest: &mut SpmcManifest, hardware: u64) -> Result<(), ManifestError> {
    if manifest.board.gic.is_none() {
        // SAFETY: on the boot PE, alone (contract above).
        unsafe { complete(&mut manifest.board, hardware) };
    }
    let board = &manifest.board;
    // SAFETY: as this function.
    unsafe { bring_up_console(board) };
    validate::board(manifest)?;
    let gic = board.gic.as_ref().ok_or_else(missing_gic)?;
    // SAFETY: on the boot PE, alone, and once (contract above).
    if unsafe { gic::frames::map(board, gic, &manifest.cpus) } {
        Ok(())
    } else {
        Err(missing_gic())
    }
}

/// Maps the console and begins to write the log.
///
/// # Safety
///
/// As [`bring_up`].
#[cold]
pub unsafe fn bring_up_console(board: &Board) {
    if let Some(uart) = &board.console {
        let page = uart.base.raw() & !(PAGE - 1);
        // SAFETY: on the boot PE, alone; the device tree says that there is a UART (contract
        // above), which nothing else of the SPMC uses.
        unsafe {
            if stage1::map_registers(page..page + PAGE) {
                console::init(uart);
            }
        }
    }
}

/// Reads the hardware configuration at `address`, if there is one.
///
/// # Safety
///
/// Called on the boot PE, before any other PE is let in.
#[cold]
unsafe fn complete(board: &mut Board, address: u64) {
    let range = find(address);
    // SAFETY: on the boot PE, alone (contract above); the header says that there is a device tree.
    if range.is_empty() || !unsafe { stage1::map_readable(range.clone()) } {
        return;
    }
    // SAFETY: the range was mapped just now, and nobody writes it before the Normal world starts.
    let dtb = unsafe {
        slice::from_raw_parts(range.start as *const u8, (range.end - range.start) as usize)
    };
    if let Err(error) = board::complete(board, dtb) {
        log::error!("hardware configuration: {error}");
    }
    stage1::unmap(range);
}

/// Returns the addresses of the device tree at `address`, or an empty range. Whatever the boot
/// loader left in the register, looking there does no harm.
fn find(address: u64) -> Range<u64> {
    let mut header = [0; 8];
    if address == 0 || !address.is_multiple_of(8) {
        return 0..0;
    }
    let window = &mut Cpu::current().window;
    if window
        .read(World::Secure, Pa::new(address), &mut header)
        .is_err()
    {
        return 0..0;
    }
    let words = header.as_chunks::<4>().0;
    let [magic, size] = [words[0], words[1]].map(u32::from_ne_bytes);
    tree_range(address, [magic, size], MAX_HARDWARE)
}

/// Returns the addresses of the device tree at `address` whose first two words are `header`, or an
/// empty range if it is none, or has more than `max` bytes.
pub fn tree_range(address: u64, header: [u32; 2], max: u64) -> Range<u64> {
    const MAGIC: u32 = 0xd00d_feed;
    let [magic, size] = header.map(u32::from_be);
    if magic != MAGIC || u64::from(size) > max {
        return 0..0;
    }
    address..address.saturating_add(size.into())
}
