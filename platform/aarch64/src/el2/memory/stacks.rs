//! Measurement of the stack that a PE has used. `cargo xtask build` computes an upper bound; this
//! module measures the actual depth. A PE paints its stack when it is turned on, and counts the
//! words that are still painted when it is turned on again.

use core::arch::asm;

use super::stage1;
use crate::sizes::STACK_SIZE;

/// The value of a word that has not been used.
const PAINT: u64 = 0x5afe_57ac_5afe_57ac;

/// The least number of unused bytes that causes no warning. The computed depth leaves more unused,
/// so the warning must not come in any boot of the test command.
const RESERVE: u64 = 512;

/// Returns the private address at which the stack of PE `index` begins.
fn base(index: usize) -> *mut u64 {
    (stage1::stack_end(index) - STACK_SIZE) as *mut u64
}

/// Logs how much of its stack PE `index` has used since the stack was painted.
pub fn report(index: usize) {
    let words = STACK_SIZE as usize / size_of::<u64>();
    // SAFETY: the stack of this PE, which is mapped. The iteration ends at the frames that are in
    // use now at the latest, and only reads.
    let unused = (0..words).take_while(|n| unsafe { base(index).add(*n).read_volatile() } == PAINT);
    let left = unused.count() as u64 * 8;
    let used = STACK_SIZE - left;
    if left < RESERVE {
        log::warn!(
            "PE {index} used {used} of the {STACK_SIZE} bytes of its stack: fewer than {RESERVE} are left"
        );
    } else {
        log::debug!("PE {index} used {used} of the {STACK_SIZE} bytes of its stack");
    }
}

/// Paints the unused part of the stack of PE `index`.
///
/// # Safety
///
/// Called on that PE, while it is on that stack.
pub unsafe fn paint(index: usize) {
    /// More bytes than the frame of this function has.
    const IN_USE: u64 = 256;
    let stack_pointer: u64;
    // SAFETY: copies SP into a register.
    unsafe { asm!("mov {}, sp", out(reg) stack_pointer, options(nomem, nostack, preserves_flags)) };
    let mut word = base(index);
    while (word as u64) < stack_pointer - IN_USE {
        // SAFETY: the word is on this PE's own stack, which is mapped, below the frames that are in
        // use (contract above).
        unsafe {
            word.write_volatile(PAINT);
            word = word.add(1);
        }
    }
}
