//! The walker: replaces one leaf by another over ranges of pages, by the block where it can.
//!
//! A table exists only while it says more than one descriptor can: it disappears when its entries are again what the
//! descriptor in whose place it came (its *origin*: a block, or nothing) said of them, or when all are empty. So a change followed by its inverse leaves the tree as it was, and
//! an endpoint cannot use up its pool by fragmenting and mending.
//!
//! A descriptor that hardware may be using is replaced by a table, or a table by it, only through break-before-make (Arm ARM
//! D8.17.1); FEAT_BBM is not assumed. A partition that runs on another PE may fault on the broken entry: whoever handles
//! stage-2 faults asks [`super::AddressSpace::permits`] first and lets it try again.

use core::sync::atomic::Ordering;

use crate::addr::{Ipa, PAGE_SHIFT, PageRange};
use crate::hal::{Hal, Stage2Roots, TlbScope};

use super::leaf::{ADDRESS, Leaf, PAGE, TABLE, VALID};
use super::pool::{PageIndex, PagePool, Pages, WORDS};
use super::space::ChangeError;

/// Levels of table: 1 (entries of 1 GiB) to 3 (pages).
const ROOT: usize = 1;
const LAST: usize = 3;

/// Entries of a table.
const ALL: u64 = WORDS as u64;

/// log2 of the bytes that an entry at `level` covers.
const fn shift(level: usize) -> u32 {
    match level {
        ROOT => 30,
        2 => 21,
        _ => PAGE_SHIFT,
    }
}

fn index(ipa: u64, level: usize) -> usize {
    (ipa.wrapping_shr(shift(level)) as usize) % WORDS
}

/// Pages that an entry at `level` covers.
fn entry_pages(level: usize) -> u64 {
    1_u64.wrapping_shl(shift(level).wrapping_sub(PAGE_SHIFT))
}

/// How many pages `ipa` lies behind the first of the entry at `level` that covers it.
fn inside(ipa: u64, level: usize) -> u64 {
    ipa.wrapping_shr(PAGE_SHIFT) & entry_pages(level).wrapping_sub(1)
}

/// The first address of the entry at `level` that covers `ipa`.
fn base(ipa: u64, level: usize) -> u64 {
    ipa.wrapping_sub(inside(ipa, level).wrapping_shl(PAGE_SHIFT))
}

fn is_table(level: usize, raw: u64) -> bool {
    level < LAST && raw & TABLE == TABLE
}

/// How a space writes leaves into its tables.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// What an entry of zero means. Nothing in a space that hardware walks; "exclusive owner" in the Normal world's.
    pub(super) default: Leaf,
    /// Which of address and page bit are stored: all, or none where hardware never looks.
    pub(super) place: u64,
}

impl Format {
    pub(super) const HARDWARE: Self = Self {
        default: Leaf::NONE,
        place: ADDRESS | PAGE,
    };

    pub(super) const fn shadow(default: Leaf) -> Self {
        Self { default, place: 0 }
    }

    /// The entry at `level` that maps `ipa` to itself with `leaf`.
    fn encode(self, leaf: Leaf, ipa: u64, level: usize) -> u64 {
        if leaf == Leaf::NONE {
            return self.default.0;
        }
        let page = if level == LAST { PAGE } else { 0 };
        (leaf.0 | (ipa | page) & self.place) ^ self.default.0
    }

    fn decode(self, raw: u64) -> Leaf {
        Leaf((raw ^ self.default.0) & !(ADDRESS | PAGE))
    }

    /// What entry `index` of a table at `level` is if the table says nothing but `origin`.
    fn implied(self, origin: u64, index: usize, level: usize) -> u64 {
        if origin == 0 {
            return 0;
        }
        let page = if level == LAST { PAGE } else { 0 };
        origin | ((index as u64).wrapping_shl(shift(level)) | page) & self.place
    }

    /// By how much consecutive entries with the same leaf differ.
    fn stride(self, raw: u64, level: usize) -> u64 {
        if raw == 0 {
            0
        } else {
            entry_pages(level).wrapping_shl(PAGE_SHIFT) & self.place
        }
    }
}

/// Reads: the leaf for `ipa`, the raw entry, and at which level it stands.
pub(super) fn look_up(
    pages: Pages<'_>,
    format: Format,
    root: PageIndex,
    ipa: u64,
) -> (Leaf, u64, usize) {
    let mut table = root;
    let mut level = ROOT;
    loop {
        let raw = pages.load(table, index(ipa, level));
        if !is_table(level, raw) {
            return (format.decode(raw), raw, level);
        }
        table = pages.pointed_to(raw);
        level = level.wrapping_add(1);
    }
}

/// Reads: whether every page of the ranges given has one and the same leaf.
pub(super) struct Inspector<'a> {
    pages: Pages<'a>,
    format: Format,
    root: PageIndex,
    leaf: Leaf,
    /// The last level 3 table and the 2 MiB that it is for.
    last: PageIndex,
    last_at: u64,
}

impl<'a> Inspector<'a> {
    pub(super) fn new(pages: Pages<'a>, format: Format, root: PageIndex, leaf: Leaf) -> Self {
        Self {
            pages,
            format,
            root,
            leaf,
            last: PageIndex::NONE,
            last_at: 0,
        }
    }

    /// Whether the leaf stands for every page of `range`.
    pub(super) fn holds(&mut self, range: PageRange<Ipa>) -> bool {
        let mut ipa = range.base().raw();
        let mut left = range.pages();
        while left > 0 {
            let done = match self.step(ipa, left) {
                Some(done) => done,
                None => return false,
            };
            ipa = ipa.wrapping_add(done.wrapping_shl(PAGE_SHIFT));
            left = left.saturating_sub(done);
        }
        true
    }

    /// Pages from `ipa` that one entry or one table answered for; `None` if one has another leaf.
    #[inline]
    fn step(&mut self, ipa: u64, left: u64) -> Option<u64> {
        if self.last.is_none() || (ipa ^ self.last_at).wrapping_shr(shift(2)) != 0 {
            let mut table = self.root;
            for level in ROOT..LAST {
                let raw = self.pages.load(table, index(ipa, level));
                if !is_table(level, raw) {
                    let covered = entry_pages(level).saturating_sub(inside(ipa, level));
                    return (raw == self.format.encode(self.leaf, base(ipa, level), level))
                        .then_some(left.min(covered));
                }
                table = self.pages.pointed_to(raw);
            }
            (self.last, self.last_at) = (table, ipa);
        }
        let first = index(ipa, LAST);
        let count = (left as usize).min(WORDS.saturating_sub(first));
        let mut expect = self.format.encode(self.leaf, ipa, LAST);
        let stride = self.format.stride(expect, LAST);
        for word in self.pages.words(self.last, first, count) {
            if word.load(Ordering::Relaxed) != expect {
                return None;
            }
            expect = expect.wrapping_add(stride);
        }
        Some(count as u64)
    }
}

/// Writes. Stands in one table and moves from there; [`Self::finish`] must be called in the end.
pub(super) struct Walker<'a, H: Hal> {
    pub(super) hal: &'a H,
    pub(super) pages: Pages<'a>,
    pub(super) pool: &'a mut PagePool,
    pub(super) format: Format,
    pub(super) roots: &'a Stage2Roots,
    /// Tables from the root to where the walker stands, by level.
    path: [PageIndex; 3],
    level: usize,
    at: u64,
}

impl<'a, H: Hal> Walker<'a, H> {
    pub(super) fn new(
        hal: &'a H,
        pool: &'a mut PagePool,
        format: Format,
        roots: &'a Stage2Roots,
        root: PageIndex,
    ) -> Self {
        Self {
            hal,
            pages: Pages::of(hal),
            pool,
            format,
            roots,
            path: [root, PageIndex::NONE, PageIndex::NONE],
            level: ROOT,
            at: 0,
        }
    }

    /// Replaces `from` by `to` on the pages of `range`, in order. On failure says how many pages were done before it.
    pub(super) fn replace(
        &mut self,
        range: PageRange<Ipa>,
        from: Leaf,
        to: Leaf,
    ) -> Result<(), (ChangeError, u64)> {
        let mut ipa = range.base().raw();
        let mut done = 0;
        while done < range.pages() {
            let left = range.pages().saturating_sub(done);
            self.seek(ipa, left, from).map_err(|error| (error, done))?;
            let (count, complete) = self.replace_here(ipa, left, from, to);
            let count = count.wrapping_mul(entry_pages(self.level));
            done = done.saturating_add(count);
            if !complete {
                return Err((ChangeError::Mismatch, done));
            }
            ipa = ipa.wrapping_add(count.wrapping_shl(PAGE_SHIFT));
        }
        Ok(())
    }

    /// Replaces entries of the table it stands in. Returns how many, and whether all had the expected value.
    #[inline]
    fn replace_here(&mut self, ipa: u64, left: u64, from: Leaf, to: Leaf) -> (u64, bool) {
        let level = self.level;
        let table = self.table();
        let first = index(ipa, level);
        // Above the last level the next entry may be a table, so take one at a time.
        let wanted = if level == LAST {
            (left as usize).min(WORDS.saturating_sub(first))
        } else {
            1
        };
        let old = self.format.encode(from, ipa, level);
        let new = self.format.encode(to, ipa, level);
        let (old_stride, new_stride) = (
            self.format.stride(old, level),
            self.format.stride(new, level),
        );
        let (mut expect, mut value) = (old, new);
        let mut count = 0_u64;
        for word in self.pages.words(table, first, wanted) {
            if word.load(Ordering::Relaxed) != expect {
                break;
            }
            word.store(value, Ordering::Relaxed);
            expect = expect.wrapping_add(old_stride);
            value = value.wrapping_add(new_stride);
            count = count.wrapping_add(1);
        }
        self.account(table, level, first, old, new, count);
        (count, count == wanted as u64)
    }

    fn table(&self) -> PageIndex {
        self.path
            .get(self.level.wrapping_sub(1))
            .copied()
            .unwrap_or(PageIndex::NONE)
    }

    /// Keeps the count of deviating entries: `count` entries from `first` changed from `old` to `new` (both counted on by their stride).
    #[inline]
    fn account(
        &self,
        table: PageIndex,
        level: usize,
        first: usize,
        old: u64,
        new: u64,
        count: u64,
    ) {
        if level == ROOT {
            return;
        }
        let implied = self.format.implied(self.pages.origin(table), first, level);
        let mut deviating = self.pages.deviating(table);
        if old != implied {
            deviating = deviating.wrapping_sub(count);
        }
        if new != implied {
            deviating = deviating.wrapping_add(count);
        }
        self.pages.set_deviating(table, deviating);
    }

    /// Moves to the table in which the next entry for `ipa` is to be changed, when `left` pages are to be changed from there.
    /// What is not `from` is not split, so that a table always stands for what its entries go back to.
    #[inline]
    fn seek(&mut self, ipa: u64, left: u64, from: Leaf) -> Result<(), ChangeError> {
        while self.level > ROOT
            && (ipa ^ self.at).wrapping_shr(shift(self.level.wrapping_sub(1))) != 0
        {
            self.leave();
        }
        self.at = ipa;
        while self.level < LAST {
            let entry = index(ipa, self.level);
            let raw = self.pages.load(self.table(), entry);
            let child = if is_table(self.level, raw) {
                self.pages.pointed_to(raw)
            } else {
                if inside(ipa, self.level) == 0 && left >= entry_pages(self.level) {
                    return Ok(());
                }
                if raw != self.format.encode(from, base(ipa, self.level), self.level) {
                    return Err(ChangeError::Mismatch);
                }
                self.split(entry, raw)?
            };
            self.level = self.level.wrapping_add(1);
            if let Some(slot) = self.path.get_mut(self.level.wrapping_sub(1)) {
                *slot = child;
            }
        }
        Ok(())
    }

    /// Puts a table in place of the leaf `raw`, meaning the same.
    fn split(&mut self, entry: usize, raw: u64) -> Result<PageIndex, ChangeError> {
        let child = self
            .pool
            .take(self.pages)
            .map_err(|_| ChangeError::NoMemory)?;
        let child_level = self.level.wrapping_add(1);
        self.pages.set_origin(child, raw);
        if raw != 0 {
            let mut value = self.format.implied(raw, 0, child_level);
            let stride = self.format.stride(raw, child_level);
            for word in self.pages.words(child, 0, WORDS) {
                word.store(value, Ordering::Relaxed);
                value = value.wrapping_add(stride);
            }
        }
        self.exchange(entry, raw, self.pages.address(child) | TABLE);
        Ok(child)
    }

    /// Goes up one level; drops the table it leaves if that says no more than its origin, or nothing.
    fn leave(&mut self) {
        let child = self.table();
        self.level = self.level.wrapping_sub(1);
        let words = self.pages.words(child, 0, WORDS);
        let origin = match self.pages.deviating(child) {
            0 => self.pages.origin(child),
            ALL if words.iter().all(|word| word.load(Ordering::Relaxed) == 0) => 0,
            _ => return,
        };
        self.exchange(
            index(self.at, self.level),
            self.pages.address(child) | TABLE,
            origin,
        );
        if origin != 0 {
            for word in words {
                word.store(0, Ordering::Relaxed);
            }
        }
        self.pool.give_back(self.pages, child);
    }

    /// Exchanges a leaf and a table that mean the same.
    fn exchange(&mut self, entry: usize, old: u64, new: u64) {
        let table = self.table();
        if old & new & VALID != 0 {
            self.pages.store(table, entry, 0);
            self.hal.invalidate_stage2(self.roots, TlbScope::All);
        }
        self.pages.store(table, entry, new);
        self.account(table, self.level, entry, old, new, 1);
    }

    /// Goes back to the root, so that no needless table stays.
    pub(super) fn finish(&mut self) {
        while self.level > ROOT {
            self.leave();
        }
    }
}
