//! The first instructions: `aarch64-rt` sets up stage 1, the stack and the vectors.
//!
//! The first translation table is a constant, which cannot know where the code ends. So everything
//! Secure may be written and executed until [`stage1::protect`](crate::stage1::protect) has run.

use core::ops::Range;

use aarch64_rt::InitialPagetable;

pub(crate) const GIB: usize = 1 << 30;

/// The GiBs of the address space that a partition sees as Non-secure. On QEMU's virt machine the
/// RAM of the Normal world is there, and everything Secure is in the first GiB.
pub const NON_SECURE: Range<usize> = 1..4;

/// Normal memory (the second attribute of `aarch64_rt::DEFAULT_MAIR`, write-back) that the
/// partition may read, write and execute, in a block descriptor.
pub(crate) const BLOCK: usize = VALID | NORMAL | INNER_SHAREABLE | ACCESS | NOT_GLOBAL;
/// Neither EL1 nor EL0 executes it.
pub(crate) const NEVER_EXECUTED: usize = 3 << 53;

const VALID: usize = 1;
const NORMAL: usize = 1 << 2;
const NS: usize = 1 << 5;
const INNER_SHAREABLE: usize = 3 << 8;
const ACCESS: usize = 1 << 10;
const NOT_GLOBAL: usize = 1 << 11;

/// The translation table of stage 1: one entry a GiB, each of which maps addresses to themselves.
/// Devices become Device memory by stage 2, whatever this table says.
pub const PAGE_TABLE: InitialPagetable = {
    let mut table = [0; 512];
    let mut gib = 0;
    while gib < NON_SECURE.end {
        table[gib] = (gib * GIB) | BLOCK;
        if gib >= NON_SECURE.start {
            table[gib] |= NS | NEVER_EXECUTED;
        }
        gib += 1;
    }
    InitialPagetable(table)
};

/// Makes an image of a type that implements [`Partition`](crate::Partition): the entry point, the
/// stack, stage 1, the vectors and the handler of panics.
#[macro_export]
macro_rules! partition {
    ($partition:ty) => {
        $crate::aarch64_rt::initial_pagetable!($crate::PAGE_TABLE);
        $crate::aarch64_rt::entry!(start, 8);
        $crate::aarch64_rt::exception_handlers!(Exceptions);

        fn start(_: u64, _: u64, _: u64, _: u64) -> ! {
            $crate::serve::<$partition>()
        }

        struct Exceptions;

        impl $crate::aarch64_rt::ExceptionHandlers for Exceptions {
            extern "C" fn sync_current(registers: $crate::aarch64_rt::RegisterStateRef) {
                $crate::exception(registers.elr);
            }
        }

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo) -> ! {
            $crate::println!("{info}");
            $crate::call::abort()
        }
    };
}
