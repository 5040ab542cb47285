//! Provides what all guests need from the machine: calls, console, memory, exceptions. Nothing here
//! knows a test.

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

/// Assembly, the beginning of each image: zeroes what is not in it. Uses x9 and x10.
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

/// This image runs at S-EL0.
static AT_EL0: AtomicBool = AtomicBool::new(false);

/// Says that this image runs at S-EL0, which it could not find out itself.
pub fn set_el0() {
    AT_EL0.store(true, Ordering::Relaxed);
}

/// The exception level this image runs at: 0 or 1 in a partition, 2 in the Normal-world test OS.
pub fn exception_level() -> u64 {
    if AT_EL0.load(Ordering::Relaxed) {
        return 0;
    }
    let level: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, CurrentEL", out(reg) level, options(nomem, nostack)) };
    level >> 2
}

/// The virtual counter, which every exception level may read; same pace on all PEs.
pub fn counter() -> u64 {
    let count: u64;
    // SAFETY: reads the counter; the barrier keeps it in program order.
    unsafe { asm!("isb", "mrs {}, CNTVCT_EL0", out(reg) count, options(nostack)) };
    count
}

/// Counter ticks in a millisecond.
pub fn ticks_per_ms() -> u64 {
    let frequency: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, CNTFRQ_EL0", out(reg) frequency, options(nomem, nostack)) };
    frequency / 1000
}

/// Milliseconds in which what must come has come even where the machine is busy with other work:
/// the counter goes on while the PEs wait for it. `xtask` waits longer for a word from the console.
pub const PATIENCE_MS: u64 = 60_000;

/// A line now and then from a test that takes long, so that nobody takes it for stuck.
pub struct Life {
    next: u64,
}

impl Life {
    const PAUSE_MS: u64 = 10_000;

    /// Begins with a pause.
    pub fn new() -> Self {
        Self {
            next: counter() + Self::PAUSE_MS * ticks_per_ms(),
        }
    }

    /// Calls `show`, which writes a line, if the last one is some time ago.
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

/// Waits until `done` says so; false if that takes longer than `ms` milliseconds.
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
