// Places in memory that follow from the facts of a board (`guest.rs` in its folder). The guests of
// the tests and `xtask`, which puts things there, include this file.

/// Address at which the Normal-world test OS is loaded.
pub const BL33: u64 = RAM + 0x2000_0000;
/// Address of the word with the number of the selection that the test OS runs.
pub const SELECTION: u64 = RAM + 0x3000_0000;
/// Address of two words for the tests that are selected: the seed of random choices, and how many
/// calls to make.
pub const PARAMETERS: u64 = SELECTION + 8;
/// Address of a word that is 1 if the tests are to be listed and not run.
pub const LISTING: u64 = PARAMETERS + 16;
/// Address of the text, padded with zeros, that the names of tests must contain.
pub const PATTERN: u64 = LISTING + 8;
/// The most bytes of this text.
pub const PATTERN_LENGTH: usize = 64;
