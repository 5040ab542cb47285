//! EL2's own translation (stage 1 of the EL2&0 regime, E2H = 1). It consists of an identity map of
//! the image and of the few regions outside the image that the SPMC accesses, and of private
//! addresses for each PE: its window (`window.rs`) and its stack, each with unmapped pages next to
//! it.
//!
//! The private addresses, which also hold the boot stack and a second mapping of the page of
//! vectors, are mapped while an S-EL0 partition runs, too (`el0.rs`), and are therefore global. All
//! other mappings are the SPMC's only (ASID 0).
//!
//! No page is both writable and executable, and no page is mapped without need. The boot PE builds
//! the map of the image and of the SPMC manifest with the MMU off, and adds devices when it knows
//! them; after boot only the windows change.
//!
//! Virtual addresses have 39 bits, so that walks start at level 1, unless something is to be mapped
//! that lies higher, or S-EL0 partitions need more, since TCR_EL2 applies to their maps, too. Then
//! addresses have 48 bits ([`widen`]). The private addresses are the same in both cases.

use core::arch::{asm, global_asm};
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::registers::SCTLR_EL2;
use spmc::hal::Table;
use tock_registers::interfaces::Readable;

use super::{BOOT, layout};
use crate::sizes::{BOOT_STACK_SIZE, MAX_PES, PAGE, STACK_SIZE};
use crate::traps;

/// log2 of the size of the address space where walks start at level 1, and where they start at
/// level 0.
const VA_BITS: u32 = 39;
const WIDE_VA_BITS: u32 = 48;

/// The end of the private addresses: the end of the smaller address space.
const PRIVATE_END: u64 = 1 << VA_BITS;

/// The second address of the page of vectors: the last page.
pub const VECTORS: u64 = PRIVATE_END - PAGE;

/// The end of the boot stack. The pages on both sides of the stack are not mapped.
pub const BOOT_STACK_END: u64 = VECTORS - PAGE;

/// The end of the private addresses of PE 0. Those of each further PE lie below those of the PE
/// before it.
const PES_END: u64 = BOOT_STACK_END - BOOT_STACK_SIZE;

/// Bytes of the private addresses of one PE: a gap, the window in one page, a gap, the stack.
pub const PRIVATE_SIZE: u64 = 3 * PAGE + STACK_SIZE;

/// The address of the window, as an offset in the private addresses of a PE.
const WINDOW: u64 = PAGE;

/// The end of PE 0's stack. The stacks of other PEs end at multiples of [`PRIVATE_SIZE`] before it.
pub const STACK_END: u64 = PES_END - PAGE;

const _: () = assert!(
    MAX_PES * PRIVATE_SIZE + (PRIVATE_END - STACK_END) <= 1 << 30,
    "the private addresses do not fit under one entry of the root table"
);

// MAIR_EL2 is `spmc::mm::MAIR`; NORMAL and DEVICE are its indices. The descriptors are those of
// VMSAv8-64 stage 1 (Arm ARM D8.3) for a regime with two privilege levels: AP[1] = 0 denies EL0
// access.
const TABLE_OR_PAGE: u64 = 0b11;
const VALID_BLOCK: u64 = 0b01;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const NORMAL: u64 = 0 << 2;
const DEVICE: u64 = 1 << 2;
const NON_SECURE: u64 = 1 << 5;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const EXECUTE_NEVER: u64 = 1 << 53;
const EL0_EXECUTE_NEVER: u64 = 1 << 54;

const COMMON: u64 = TABLE_OR_PAGE | ACCESSED | EL0_EXECUTE_NEVER;
const READ_EXECUTE: u64 = COMMON | NORMAL | INNER_SHAREABLE | READ_ONLY;
const READ: u64 = COMMON | NORMAL | INNER_SHAREABLE | READ_ONLY | EXECUTE_NEVER;
const READ_WRITE: u64 = COMMON | NORMAL | INNER_SHAREABLE | EXECUTE_NEVER;
const REGISTERS: u64 = COMMON | DEVICE | EXECUTE_NEVER;

/// Returns the descriptor for a foreign page in a window: not executable, and Write-Back cacheable,
/// as partitions and the Normal world map it.
pub const fn window_descriptor(page: u64, non_secure: bool) -> u64 {
    page & ADDRESS | READ_WRITE | if non_secure { NON_SECURE } else { 0 }
}

/// Bytes that an entry at level 2 maps.
const BLOCK: u64 = 2 << 20;

/// The level-1 table for the first 512 GiB.
#[unsafe(no_mangle)]
static STAGE1_ROOT: Table = Table::EMPTY;

/// The values of TTBR0_EL2 and, but for IPS, of TCR_EL2. PEs read them from memory, with the MMU
/// off.
#[repr(C, align(16))]
struct Translation {
    root: AtomicU64,
    control: AtomicU64,
}

static TRANSLATION: Translation = Translation {
    root: AtomicU64::new(0),
    control: AtomicU64::new(tcr(VA_BITS)),
};

/// Returns the address of the end of the stack of PE `index`.
pub const fn stack_end(index: usize) -> u64 {
    STACK_END - index as u64 * PRIVATE_SIZE
}

/// Returns the address of the window of PE `index`, and the descriptor of that page.
pub fn window(index: usize) -> (u64, &'static AtomicU64) {
    let address = stack_end(index) - PRIVATE_SIZE + WINDOW;
    (address, entry(address))
}

/// Builds the map. The page at `vectors` is mapped a second time, among the private addresses.
///
/// # Safety
///
/// Called on the boot PE, once, with the MMU off: this code uses no atomic operations except plain
/// loads and stores, and does not log.
pub unsafe fn build(manifest: Range<u64>, vectors: u64) {
    let first = &raw const STAGE1_ROOT as u64;
    TRANSLATION.root.store(first, Ordering::Relaxed);
    map(layout::text(), READ_EXECUTE);
    map(layout::rodata(), READ);
    map(layout::data(), READ_WRITE);
    map(manifest, READ);
    map_private(layout::boot_stack(), BOOT_STACK_END);
    entry(VECTORS).store(vectors | READ_EXECUTE, Ordering::Relaxed);
}

/// Maps the stack of each PE, by index, at the private addresses of the PE. Makes the tables for
/// the windows, too.
///
/// The boot PE calls this once, with the MMU on, before any other PE is let in.
#[cold]
pub fn map_pes(stacks: impl Iterator<Item = u64>) {
    for (index, stack) in stacks.enumerate() {
        map_private(stack..stack + STACK_SIZE, stack_end(index));
        let _ = window(index);
    }
    publish();
}

/// The virtual address of the engine's tables if the SPMC manifest gives memory for more of them:
/// the last GiB before the one of the private addresses.
const TABLES_BASE: u64 = PRIVATE_END - (2 << 30);

/// Maps `pieces`, each an address and a number of pages, one behind the other, and returns the
/// virtual address of the first. `own` are the tables for this map: all zero, one for level 2 and
/// one for each 2 MiB. Returns `None` if these addresses are in use.
///
/// The boot PE calls this before any other PE is let in.
#[cold]
pub fn map_tables(pieces: &[(u64, usize)], own: &'static [Table]) -> Option<u64> {
    let root = &STAGE1_ROOT.0[index(TABLES_BASE, 1)];
    let (level2, level3) = own.split_first()?;
    if root.load(Ordering::Relaxed) != 0 {
        return None;
    }
    let pages = pieces.iter().flat_map(|(first, count)| {
        let page = move |n: usize| first + n as u64 * PAGE;
        (0..*count).map(page)
    });
    for (n, page) in pages.enumerate() {
        let table = &level3[n / ENTRIES];
        table.0[n % ENTRIES].store(page | READ_WRITE | NOT_GLOBAL, Ordering::Relaxed);
    }
    for (entry, table) in level2.0.iter().zip(level3) {
        let descriptor = table as *const Table as u64 | TABLE_OR_PAGE;
        entry.store(descriptor, Ordering::Relaxed);
    }
    root.store(
        level2 as *const Table as u64 | TABLE_OR_PAGE,
        Ordering::Relaxed,
    );
    publish();
    Some(TABLES_BASE)
}

/// Undoes [`map_tables`], which was called with `own`. Nothing refers to the unmapped addresses.
pub fn unmap_tables(own: &'static [Table]) {
    STAGE1_ROOT.0[index(TABLES_BASE, 1)].store(0, Ordering::Relaxed);
    // No address under the entry is in use.
    invalidate();
    for entry in own.iter().flat_map(|table| &table.0) {
        entry.store(0, Ordering::Relaxed);
    }
}

/// The end of the SPMC's own memory.
static OWN_END: AtomicU64 = AtomicU64::new(0);

/// Maps memory of the SPMC that follows the image.
///
/// The boot PE calls this once, with the MMU on, before any other PE is let in.
pub fn map_tail(tail: Range<u64>) {
    OWN_END.store(tail.end, Ordering::Relaxed);
    map(tail, READ_WRITE);
    publish();
}

/// Maps each page that `range` touches to itself, as registers of a device. Returns false if EL2's
/// addresses do not reach there, or if the SPMC's own memory is there.
///
/// # Safety
///
/// Called on the boot PE, before any other PE is let in. There is no memory in the range.
pub unsafe fn map_registers(range: Range<u64>) -> bool {
    map_more(range, REGISTERS)
}

/// Maps each page that `range` touches to itself, for reading, as [`map_registers`] does.
///
/// # Safety
///
/// Called on the boot PE, before any other PE is let in. There is memory in the range.
pub unsafe fn map_readable(range: Range<u64>) -> bool {
    map_more(range, READ)
}

/// Unmaps what [`map_readable`] mapped.
pub fn unmap(range: Range<u64>) {
    map(range, 0);
    invalidate();
}

#[cold]
#[inline(never)]
fn map_more(range: Range<u64>, attributes: u64) -> bool {
    let image = layout::image();
    let own = image.start..OWN_END.load(Ordering::Relaxed).max(image.end);
    let taken = [own, TABLES_BASE..PRIVATE_END];
    let overlaps = |own: &Range<u64>| range.start < own.end && own.start < range.end;
    if range.end > 1 << WIDE_VA_BITS || taken.iter().any(overlaps) {
        return false;
    }
    map(range, attributes);
    publish();
    true
}

/// Makes descriptors that replaced invalid ones visible to table walks (DSB) and to the
/// instructions that follow (ISB).
fn publish() {
    // SAFETY: barriers change no state.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
}

/// Invalidates EL2's translations, after descriptors were made invalid.
fn invalidate() {
    // SAFETY: the PEs only walk the tables again.
    unsafe {
        asm!(
            "dsb ishst",
            "tlbi alle2is",
            "dsb ish",
            "isb",
            options(nostack, preserves_flags)
        )
    };
}

/// Number of descriptors in a table.
const ENTRIES: usize = 512;

/// Returns the entry of the root table that leads to all private addresses.
pub fn private_entry() -> u64 {
    STAGE1_ROOT.0[index(PRIVATE_END - 1, 1)].load(Ordering::Relaxed)
}

/// Maps a stack so that it ends at the private address `end`.
#[cold]
fn map_private(stack: Range<u64>, end: u64) {
    let start = end - (stack.end - stack.start);
    for (n, page) in stack.step_by(PAGE as usize).enumerate() {
        let address = start + n as u64 * PAGE;
        entry(address).store(page | READ_WRITE, Ordering::Relaxed);
    }
}

/// Returns the last-level entry for `address`. Makes the tables that lead to it if there are none.
fn entry(address: u64) -> &'static AtomicU64 {
    let level2 = next(&STAGE1_ROOT, index(address, 1));
    let level3 = next(level2, index(address, 2));
    &level3.0[index(address, 3)]
}

/// Maps each page that `range` touches to itself. The descriptors are invalid if `attributes` is 0.
#[cold]
#[inline(never)]
fn map(range: Range<u64>, attributes: u64) {
    let mut page = range.start & !(PAGE - 1);
    while page < range.end {
        let level2 = next(level1(page), index(page, 1));
        let block = &level2.0[index(page, 2)];
        if page.is_multiple_of(BLOCK)
            && range.end - page >= BLOCK
            && attributes & VALID_BLOCK != 0
            && block.load(Ordering::Relaxed) == 0
        {
            let attributes = attributes & !TABLE_OR_PAGE | VALID_BLOCK;
            block.store(page | attributes | NOT_GLOBAL, Ordering::Relaxed);
            page += BLOCK;
            continue;
        }
        let level3 = next(level2, index(page, 2));
        // One last-level table covers 2 MiB: find it once, not for each page.
        loop {
            level3.0[index(page, 3)].store(page | attributes | NOT_GLOBAL, Ordering::Relaxed);
            page += PAGE;
            if page >= range.end || index(page, 3) == 0 {
                break;
            }
        }
    }
}

/// Returns the level-1 table for an address.
fn level1(va: u64) -> &'static Table {
    if va >> VA_BITS == 0 {
        &STAGE1_ROOT
    } else {
        next(widen(), index(va, 0))
    }
}

/// Gives EL2 and S-EL0 partitions addresses of 48 bits from now on, if they have not got them yet.
/// Everything keeps its address. Returns the level-0 table.
///
/// The boot PE calls this before any other PE is let in and before any S-EL0 partition has tables,
/// with the MMU on or off.
#[cold]
pub fn widen() -> &'static Table {
    let Translation { root, control } = &TRANSLATION;
    if control.load(Ordering::Relaxed) == tcr(WIDE_VA_BITS) {
        // SAFETY: the level-0 table, which was stored below and is never freed.
        return unsafe { &*(root.load(Ordering::Relaxed) as *const Table) };
    }
    let level0 = new_table();
    let first = &raw const STAGE1_ROOT as u64 | TABLE_OR_PAGE;
    level0.0[0].store(first, Ordering::Relaxed);
    root.store(level0 as *const Table as u64, Ordering::Relaxed);
    control.store(tcr(WIDE_VA_BITS), Ordering::Relaxed);
    if SCTLR_EL2.get() & SCTLR_M != 0 {
        // SAFETY: the tables that both roots lead to are the same, so every address keeps its
        // meaning. No other PE runs.
        unsafe { stage1_switch(&TRANSLATION) };
    }
    level0
}

/// Returns the index of the entry for an address in a table of `level`.
fn index(va: u64, level: u32) -> usize {
    (va >> (39 - 9 * level) & 0x1ff) as usize
}

/// Returns the table to which entry `index` of `table` points. Makes a new table if there is none.
fn next(table: &Table, index: usize) -> &'static Table {
    let entry = &table.0[index];
    let descriptor = entry.load(Ordering::Relaxed);
    if descriptor != 0 {
        // SAFETY: non-zero entries above the last level are written only below, with the address of
        // a table that is never freed.
        return unsafe { &*((descriptor & ADDRESS) as *const Table) };
    }
    let new = new_table();
    // A table walk that sees the entry sees the zeros in the table.
    entry.store(
        new as *const Table as u64 | TABLE_OR_PAGE,
        Ordering::Release,
    );
    new
}

fn new_table() -> &'static Table {
    // SAFETY: tables are made on the boot PE before any other PE is let in. The block has the size
    // and alignment of a table, and nothing else refers to it.
    unsafe {
        let table: NonNull<Table> = BOOT.carve(size_of::<Table>(), size_of::<Table>()).cast();
        table.write_bytes(0, 1);
        table.as_ref()
    }
}

/// Returns TCR_EL2 without IPS: 4 KiB granule, walks Write-Back cacheable and Inner Shareable, like
/// all memory of the SPMC; TBI = 0, so that the top byte of a pointer counts. EPD1 disables the
/// upper half: an EL3 without FEAT_VHE does not switch TTBR1_EL2, so that it may hold the Normal
/// world's value.
const fn tcr(va_bits: u32) -> u64 {
    const T1SZ: u64 = 64 - VA_BITS as u64;
    const EPD1: u64 = 1 << 23;
    const TG1_4K: u64 = 0b10 << 30;
    let t0sz = 64 - va_bits as u64;
    0b11 << 12 | 0b01 << 10 | 0b01 << 8 | t0sz | T1SZ << 16 | EPD1 | TG1_4K
}

/// SCTLR_EL2.M.
const SCTLR_M: u64 = 1 << 0;

/// SCTLR_EL2. A = 0, since copies from and to buffers of any alignment profit from unaligned
/// accesses, which Normal memory permits.
const SCTLR: u64 = {
    const M: u64 = SCTLR_M;
    const C: u64 = 1 << 2;
    const SA: u64 = 1 << 3;
    const EOS: u64 = 1 << 11; // exception entry and return are context synchronization events
    const EIS: u64 = 1 << 22;
    const I: u64 = 1 << 12;
    const IESB: u64 = 1 << 21; // exception entry and return wait for errors of earlier accesses
    const WXN: u64 = 1 << 19; // writable pages are never executable, whatever their descriptors say
    const AARCH32: u64 = 1 << 29 | 1 << 28 | 1 << 5; // the values for a PE without AArch32
    M | C | SA | EOS | EIS | I | IESB | WXN | AARCH32 | traps::SCTLR_S_EL0
};

unsafe extern "C" {
    /// Changes to the translation, which must map everything that the present one maps.
    unsafe fn stage1_switch(translation: &Translation);
}

global_asm!(
    r#"
// Turns on the MMU; used by all PEs. Caches are off until the last instruction, so the only memory
// that this code reads is what the boot PE wrote with caches off, or cleaned. Clobbers x0, x9 to
// x12 and x14 to x17.
.section .text.stage1, "ax"
.global stage1_enable
stage1_enable:
    mov     x15, x30
    adrp    x9, el2_vectors
    msr     vbar_el2, x9
    ldr     x10, ={hcr}
    msr     hcr_el2, x10
    isb
    // ID_AA64MMFR3_EL1.TCRX and SCTLRX. An earlier boot stage may have enabled permission
    // indirection, so TCR2_EL2 and SCTLR2_EL2 are cleared if they exist.
    mrs     x14, s3_0_c0_c7_3
    tst     x14, #0xf
    b.eq    1f
    bl      clear_tcr2
1:  tst     x14, #0xf0
    b.eq    2f
    bl      clear_sctlr2
2:
    adrp    x9, {translation}
    add     x9, x9, :lo12:{translation}
    ldp     x9, x12, [x9]
    msr     ttbr0_el2, x9
    ldr     x10, ={mair}
    msr     mair_el2, x10
    // TCR_EL2.IPS is the size that the PE implements, limited to the 48 bits that descriptors hold.
    mrs     x11, id_aa64mmfr0_el1
    and     x11, x11, #0xf
    mov     x9, #5
    cmp     x11, x9
    csel    x11, x11, x9, lo
    orr     x10, x12, x11, lsl #32
    msr     tcr_el2, x10
    dsb     sy
    isb
    tlbi    alle2
    tlbi    alle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x10, ={sctlr}
    msr     sctlr_el2, x10
    isb
    ret     x15

// void stage1_switch(translation): puts new values in TTBR0_EL2 and TCR_EL2, which cannot be done
// at once, so the MMU is off in between. This code is mapped to its own address, and accesses no
// memory meanwhile. First it cleans the new values, which other PEs read with caches off.
.global stage1_switch
stage1_switch:
    ldp     x9, x10, [x0]
    dc      cvac, x0
    mrs     x11, tcr_el2
    and     x11, x11, #(7 << 32)
    orr     x10, x10, x11
    mrs     x12, sctlr_el2
    bic     x13, x12, #1
    dsb     sy
    msr     sctlr_el2, x13
    isb
    msr     ttbr0_el2, x9
    msr     tcr_el2, x10
    isb
    tlbi    alle2
    dsb     nsh
    isb
    msr     sctlr_el2, x12
    isb
    ret
.ltorg
"#,
    hcr = const traps::HCR,
    translation = sym TRANSLATION,
    mair = const spmc::mm::MAIR,
    sctlr = const SCTLR,
);
