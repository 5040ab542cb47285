//! How much of its stack a PE has used. `cargo xtask build` computes what it can need at most; this
//! is what was needed: the stack is painted when a PE is turned on, and looked at when it is turned
//! on again.

use core::arch::asm;

use super::stage1;
use crate::sizes::STACK_SIZE;

/// A word that nobody has used.
const PAINT: u64 = 0x5afe_57ac_5afe_57ac;

/// Fewer unused bytes than this are worth a warning: the computed depth leaves more. No boot of the
/// test command may show it.
const RESERVE: u64 = 512;

/// Private address of the stack of PE `index`.
fn base(index: usize) -> *mut u64 {
    (stage1::STACK_END - STACK_SIZE + index as u64 * stage1::PRIVATE_SIZE) as *mut u64
}

/// Logs how much of its stack PE `index` used since it was painted.
pub fn report(index: usize) {
    let words = STACK_SIZE as usize / size_of::<u64>();
    // SAFETY: the stack of this PE, which is mapped; what is in use of it is not painted, and
    // nothing is written.
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

/// Paints what is unused of the stack of PE `index`.
///
/// # Safety
///
/// Called on that PE, on that stack.
pub unsafe fn paint(index: usize) {
    /// More than the frame of this function.
    const IN_USE: u64 = 256;
    let stack_pointer: u64;
    // SAFETY: reads SP.
    unsafe { asm!("mov {}, sp", out(reg) stack_pointer, options(nomem, nostack, preserves_flags)) };
    let mut word = base(index);
    while (word as u64) < stack_pointer - IN_USE {
        // SAFETY: below everything that is in use of this PE's own stack (contract above), which is
        // mapped.
        unsafe {
            word.write_volatile(PAINT);
            word = word.add(1);
        }
    }
}
