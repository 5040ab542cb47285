//! The end of a PE after a defect of the SPMC itself: the PE reports where it failed, tells EL3
//! (FFA_ABORT, FF-A 1.3), and stops. The PE may hold locks, so that others may wait for ever: an
//! EL3 that knows the call can end the system. If EL3 does not, the other PEs and the data of the
//! Normal world stay as they are.

use core::arch::asm;
use core::panic::PanicInfo;

use aarch64_cpu::registers::{ELR_EL2, ESR_EL2, FAR_EL2, SPSR_EL2};
use spmc::ffa::{SmcFrame, function};
use tock_registers::interfaces::Readable;

use super::cpu::header;
use super::{console, smc};

/// Stops this PE for good.
fn halt() -> ! {
    smc::smc(&mut SmcFrame::new([function::ABORT_32 as u64]));
    loop {
        // SAFETY: WFI changes no memory and no register. Interrupts stay masked at EL2, so that a
        // wake-up event only leads to the next WFI.
        unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) };
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let pe = header::current_index();
    match info.location() {
        Some(at) => console::last_words(&format_args!(
            "panic on PE {pe} at {}:{}: {}",
            at.file(),
            at.line(),
            info.message()
        )),
        None => console::last_words(&format_args!("panic on PE {pe}: {}", info.message())),
    }
    halt()
}

/// Reports an exception that EL2 took from EL2. The vectors call this function, on the emergency
/// stack.
pub extern "C" fn unexpected_exception() -> ! {
    if header::fail() {
        let syndrome = ESR_EL2.get();
        console::last_words(&format_args!(
            "exception on PE {} at {:#x}: {}, syndrome {syndrome:#x}, address {:#x}, status {:#x}",
            header::current_index(),
            ELR_EL2.get(),
            name(syndrome),
            FAR_EL2.get(),
            SPSR_EL2.get(),
        ));
    }
    halt()
}

/// Returns a name for the exception class in ESR_EL2.EC.
fn name(syndrome: u64) -> &'static str {
    match syndrome >> 26 & 0x3f {
        0x00 => "unknown instruction",
        0x07 => "FP or SIMD instruction",
        0x0e => "illegal execution state",
        0x21 => "instruction abort",
        0x22 => "misaligned PC",
        0x25 => "data abort",
        0x26 => "misaligned SP",
        0x2f => "SError",
        0x3c => "BRK instruction",
        _ => "exception",
    }
}
