//! Hostile guests: a Normal world and two partitions make random calls with half-right arguments,
//! on all PEs at once, while interrupts come, one of the partitions dies and starts anew, and PEs
//! go off and on. Two partitions that behave must get every answer in time, and keep what is
//! theirs.
//!
//! The seed, the PE and the number of the step decide every random choice, whatever the answers
//! were. The answers themselves depend on the order in which PEs make their calls.

pub mod calls;
pub mod fire;
pub mod inside;
pub mod outside;
pub mod random;
pub mod tally;
pub mod transactions;

use crate::nwd::page;
use crate::rt::page::PAGE_SIZE;

pub use inside::HELPERS;
pub use outside::TESTS;

/// Number of bytes that one table of stage 1 maps.
const WINDOW: u64 = 512 * PAGE_SIZE as u64;
/// Address of the pages that the Normal world gives and takes at random.
const GIVEN: u64 = page(0x3000);
/// Address of the pages that the Normal world gives to nobody. They lie far from the others, so
/// that one changed field of a descriptor does not lead there.
const PRIVATE: u64 = crate::board::RAM + 0x3b55_0000;
const PRIVATE_PAGES: u64 = 256;
/// Address of the pages that the Normal world shares with partitions that behave, one for each PE.
const LENT: u64 = page(0x3400);

/// Returns whether the Normal world never gave that address to anybody.
fn is_private(address: u64) -> bool {
    (PRIVATE..PRIVATE + PRIVATE_PAGES * PAGE_SIZE as u64).contains(&address)
}
