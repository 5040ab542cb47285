//! The calls that each PE passed last, as records in memory: for hardware, where nothing can watch
//! from outside. `cargo xtask trace-dump` decodes them.
//!
//! Only an image that was built with the feature `trace-ring` has the rings. All functions are
//! empty otherwise.
//!
//! The memory is one array of words: [`MAGIC`], the number of PEs, that of the records of a PE, and
//! the frequency of the time; then for each PE how many records were written, and the records. Each
//! PE writes its own part only. The Normal world reads the words by a direct request to the SPMC,
//! see [`answer`].

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTPCT_EL0};
use spin::Once;
use spmc::ffa::{Answer, SmcFrame, function};
use spmc::id::PartitionId;
use tock_registers::interfaces::Readable;

use super::cpu::header;

/// Tells whether there are rings.
pub const IS_ON: bool = cfg!(feature = "trace-ring");

/// The first word.
const MAGIC: u64 = u64::from_le_bytes(*b"FFA ring");
/// Words in front of the part of the first PE.
const HEAD: usize = 4;
/// Records of a PE.
const RECORDS: usize = 256;
/// Words of a record: kind and PE, the time, the VMID or ASID of the partition, and x0 to x17.
const RECORD: usize = 3 + 18;
/// Words of a PE: the number of records that were written so far, and the last records.
const PE: usize = 1 + RECORDS * RECORD;

/// The kinds of records. The numbers are those of `tests/qemu/ffa-trace.c`.
#[derive(Clone, Copy)]
pub enum Kind {
    /// EL3 enters the SPMC.
    ToSpmc = 2,
    /// The SPMC calls or answers EL3.
    SpmcOut = 3,
    /// A partition makes a call.
    SpCall = 4,
    /// The SPMC enters a partition.
    ToSp = 5,
}

/// All words.
static WORDS: Once<&[AtomicU64]> = Once::new();

const fn words(pes: usize) -> usize {
    HEAD + pes * PE
}

/// Returns the bytes of memory that the rings of so many PEs take.
pub const fn bytes(pes: usize) -> u64 {
    if IS_ON { 8 * words(pes) as u64 } else { 0 }
}

/// Makes the rings. The boot PE calls this once.
pub fn make_room(pes: usize) {
    if !IS_ON {
        return;
    }
    let all: Vec<_> = (0..words(pes)).map(|_| AtomicU64::new(0)).collect();
    let all: &[_] = all.leak();
    let head = [MAGIC, pes as u64, RECORDS as u64, CNTFRQ_EL0.get()];
    for (to, from) in all.iter().zip(head) {
        to.store(from, Ordering::Relaxed);
    }
    let (size, start) = (bytes(pes), all.as_ptr());
    WORDS.call_once(|| all);
    log::info!("trace ring: {size} bytes at {start:p}");
}

/// Records what passes on this PE. `tag` is the VMID or ASID of the partition, if there is one.
pub fn record(kind: Kind, tag: u64, registers: &[u64]) {
    if !IS_ON {
        return;
    }
    let words = WORDS.get().copied().unwrap_or_default();
    let pe = header::current_index();
    let own = words.get(HEAD + pe * PE..).and_then(|rest| rest.get(..PE));
    let Some((count, records)) = own.and_then(<[_]>::split_first) else {
        return;
    };
    let written = count.load(Ordering::Relaxed);
    let at = written as usize % RECORDS * RECORD;
    let head = [(pe as u64) << 16 | kind as u64, CNTPCT_EL0.get(), tag];
    let record = records.iter().skip(at).take(RECORD);
    for (to, from) in record.zip(head.iter().chain(registers)) {
        to.store(*from, Ordering::Relaxed);
    }
    count.store(written + 1, Ordering::Release);
}

/// Answers a call by which the Normal world reads the rings: `FFA_MSG_SEND_DIRECT_REQ` in its
/// 64-bit form from the Normal world to the SPMC, with the index of a word in x3. The response has
/// the number of words in x3, and four words in x4 to x7. Returns `false` for any other call.
pub fn answer(frame: &mut SmcFrame) -> bool {
    if !IS_ON {
        return false;
    }
    let words = WORDS.get().copied().unwrap_or_default();
    let [source, destination] =
        [frame.w(1) >> 16, frame.w(1) & 0xffff].map(|id| PartitionId(id as u16));
    let is_asked = frame.function().0 == function::MSG_SEND_DIRECT_REQ_64
        && (destination, frame.w(2)) == (PartitionId::SPMC, 0)
        && !source.is_secure();
    if !is_asked {
        return false;
    }
    let first = frame.x[3] as usize;
    let word = |n| {
        let word = words.get(first.saturating_add(n));
        word.map_or(0, |word| word.load(Ordering::Acquire))
    };
    let route = u64::from(destination.0) << 16 | u64::from(source.0);
    frame.answer(Answer::new([
        function::MSG_SEND_DIRECT_RESP_64.into(),
        route,
        0,
        words.len() as u64,
        word(0),
        word(1),
        word(2),
        word(3),
    ]));
    true
}
