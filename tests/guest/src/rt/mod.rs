//! Run-time support of all guests: calls, console, memory, exceptions. Nothing in this folder knows
//! a test.

pub mod call;
pub mod check;
pub mod fp;
pub mod lock;
pub mod mark;
pub mod page;
pub mod probe;
pub mod stage1;
pub mod sve;
pub mod uart;
pub mod vector;

use core::arch::asm;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

/// Zeroes the BSS, in assembly, at the beginning of each image. Uses x9 and x10.
#[macro_export]
macro_rules! clear_bss {
    () => {
        "adrp x9, bss_start
         add x9, x9, :lo12:bss_start
         adrp x10, bss_end
         add x10, x10, :lo12:bss_end
         1: cmp x9, x10
         b.hs 2f
         stp xzr, xzr, [x9], #16
         b 1b
         2:"
    };
}

/// Says whether this image runs at S-EL0.
static AT_EL0: AtomicBool = AtomicBool::new(false);

/// Notes that this image runs at S-EL0, where it cannot read its exception level.
pub fn set_el0() {
    AT_EL0.store(true, Ordering::Relaxed);
}

/// Returns the exception level of this image: 0 or 1 in a partition, 2 in the Normal-world test OS.
pub fn exception_level() -> u64 {
    if AT_EL0.load(Ordering::Relaxed) {
        return 0;
    }
    let level: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, CurrentEL", out(reg) level, options(nomem, nostack)) };
    level >> 2
}

/// Returns the virtual counter, which every exception level may read and which has the same pace on
/// all PEs.
pub fn counter() -> u64 {
    let count: u64;
    // SAFETY: reads the counter; the barrier keeps it in program order.
    unsafe { asm!("isb", "mrs {}, CNTVCT_EL0", out(reg) count, options(nostack)) };
    count
}

/// Returns the number of counter ticks in a millisecond.
pub fn ticks_per_ms() -> u64 {
    let frequency: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, CNTFRQ_EL0", out(reg) frequency, options(nomem, nostack)) };
    frequency / 1000
}

/// Milliseconds after which a test gives up waiting. The limit is long because the counter goes on
/// while a busy machine lets PEs wait. `xtask` waits longer for a line on the console.
pub const PATIENCE_MS: u64 = 60_000;

/// Writes a line now and then from a test that takes long, so that nobody takes the test for stuck.
pub struct Life {
    next: u64,
}

impl Life {
    const PAUSE_MS: u64 = 10_000;

    /// Begins with a pause before the first line.
    pub fn new() -> Self {
        Self {
            next: counter() + Self::PAUSE_MS * ticks_per_ms(),
        }
    }

    /// Calls `show`, which writes a line, if the last line was written some time ago.
    pub fn show(&mut self, show: impl FnOnce()) {
        if counter() >= self.next {
            show();
            *self = Self::new();
        }
    }
}

impl Default for Life {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits until `done` returns true. Returns false if that takes longer than `ms` milliseconds.
pub fn wait_until(ms: u64, mut done: impl FnMut() -> bool) -> bool {
    let end = counter() + ms * ticks_per_ms();
    loop {
        if done() {
            return true;
        }
        if counter() > end {
            return false;
        }
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    crate::println!("guest panic: {info}");
    if exception_level() == 2 {
        crate::nwd::give_up()
    } else {
        crate::sp::give_up()
    }
}
