//! Partitions at S-EL0. They are entered with the MMU on and all of their memory readable and
//! executable, so they ask for writable memory first (FF-A v1.1 section 16.9). Then they behave
//! like any partition.

use core::sync::atomic::Ordering;

use super::{ENTRY, Identity, introduce, serve};
use crate::{ffa, println, rt, tests};

/// Runs the only execution context: initialises the partition, then serves.
pub fn boot(identity: &'static Identity, entry: &[u64; 8]) -> ! {
    prepare(identity, entry);
    introduce(identity);
    tests::s_el0::during_initialisation();
    tests::scheduling::live_activation::during_initialisation(identity);
    println!("# {}: initialised", identity.name);
    serve(identity, entry)
}

/// Stores the registers of the entry. Makes no call.
pub fn prepare(identity: &Identity, entry: &[u64; 8]) {
    rt::set_el0();
    for (to, from) in ENTRY.iter().zip(entry) {
        to.store(*from, Ordering::Relaxed);
    }
    ffa::set_conduit(identity.conduit);
}

/// Defines the entry point of an S-EL0 partition: its identity, and its life where that is not
/// [`boot`].
#[macro_export]
macro_rules! s_el0_partition {
    ($identity:expr) => {
        $crate::s_el0_partition!($identity, $crate::sp::el0::boot);
    };
    ($identity:expr, $life:path) => {
        static IDENTITY: $crate::sp::Identity = $identity;

        extern "C" fn main(entry: &[u64; 8]) -> ! {
            $life(&IDENTITY, entry)
        }

        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".text.entry")]
        extern "C" fn _start() -> ! {
            core::arch::naked_asm!(
                "mov x20, x0",
                "mov x21, x1",
                "mov x22, x2",
                "mov x23, x3",
                "mov x24, x4",
                "mov x25, x5",
                "mov x26, x6",
                "mov x27, x7",
                // FFA_MEM_PERM_SET: read and write access from the end of the code to the end of
                // the image.
                "mov w0, #0x0089",
                "movk w0, #0xc400, lsl #16",
                "adrp x1, text_end",
                "adrp x2, image_end",
                "sub x2, x2, x1",
                "lsr x2, x2, #12",
                "mov x3, #5",
                "mov x4, #0",
                "mov x5, #0",
                "mov x6, #0",
                "mov x7, #0",
                "svc #0",
                $crate::clear_bss!(),
                "adrp x9, {stack}",
                "add x9, x9, :lo12:{stack}",
                "add sp, x9, #{size}",
                "stp x26, x27, [sp, #-16]!",
                "stp x24, x25, [sp, #-16]!",
                "stp x22, x23, [sp, #-16]!",
                "stp x20, x21, [sp, #-16]!",
                "mov x0, sp",
                "mov x29, xzr",
                "mov x30, xzr",
                "b {main}",
                stack = sym $crate::sp::STACKS,
                size = const $crate::sp::STACK,
                main = sym main,
            )
        }
    };
}

/// Defines the entry point of a partition whose requests tell it what to do: x3 says what, x4 has
/// the address. The code is position-independent and needs no stack, so that one image can stand in
/// for several partitions.
#[macro_export]
macro_rules! s_el0_victim {
    () => {
        $crate::failing_partition!(
            "b 7f",
            // At 0x40 a branch target, at 0x80 none.
            ".balign 64",
            "hint #34", // BTI c
            "ret",
            ".balign 64",
            "nop",
            "ret",
            // A writable page behind the code, with a return instruction in it.
            "7: adr x20, .",
            "and x20, x20, #0xfffffffffffff000",
            "add x20, x20, #0x1000",
            "mov w0, #0x0089",
            "movk w0, #0xc400, lsl #16",
            "mov x1, x20",
            "mov x2, #1",
            "mov x3, #5",
            "mov x4, #0",
            "mov x5, #0",
            "mov x6, #0",
            "mov x7, #0",
            "svc #0",
            "mov w9, #0x03c0",
            "movk w9, #0xd65f, lsl #16",
            "str w9, [x20]",
            // FFA_MSG_WAIT
            "mov w0, #0x006b",
            "movk w0, #0x8400, lsl #16",
            "mov x1, #0",
            "mov x2, #0",
            "mov x3, #0",
            "mov x4, #0",
            "mov x7, #0",
            "1: mov x5, #0",
            "mov x6, #0",
            "svc #0",
            "mov x21, x1",
            "cmp x3, #1",
            "b.lo 2f", // 0: nothing
            "b.eq 3f", // 1: read
            "cmp x3, #3",
            "b.lo 4f", // 2: write
            "b.eq 5f", // 3: execute
            "cmp x3, #5",
            "b.lo 6f", // 4: an identification register
            "smc #0",  // 5
            "2: mov w0, #0x0070",
            "movk w0, #0xc400, lsl #16",
            "ror w1, w21, #16",
            "mov x2, #0",
            "mov x3, #0",
            "mov x7, #0",
            "b 1b",
            "3: ldr w4, [x4]",
            "b 2b",
            "4: str w9, [x4]",
            "b 2b",
            "5: blr x4",
            "b 2b",
            "6: mrs x4, id_aa64pfr0_el1",
            "b 2b"
        );
    };
}
