//! The walker: replaces one leaf by another over ranges of pages, by the block where it can.
//!
//! A table replaces one descriptor, its *origin*: a block, or nothing. The table is removed once
//! its entries equal what the origin implies, or are all empty. So a change followed by its inverse
//! leaves the tree as it was, and an endpoint cannot use up its pool by splitting and mending
//! blocks. A table that was removed belongs to the change until no PE can walk it any more (see
//! [`Retired`]).
//!
//! A descriptor that hardware may be using, and a table, replace each other only through
//! break-before-make (Arm ARM D8.17.1); FEAT_BBM is not assumed. A partition that runs on another
//! PE may fault on the broken entry: the handler of stage-2 faults asks
//! [`super::AddressSpace::permits`] first, and lets the partition try again.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{Ipa, PAGE_SHIFT, PAGE_SIZE, PageRange};
use crate::hal::{Hal, Roots};
use crate::invariant::Invariant;

use super::entry::{
    Code, Format, LARGEST_BLOCK, LAST, LEVELS, base, entry_pages, index, inside, is_table,
    same_table, shift,
};
use super::error::ChangeError;
use super::leaf::{Change, Leaf, TABLE, VALID};
use super::pool::{Entries, PageIndex, PagePool, Pages, WORDS};
use super::retired::{Retired, Stale};
use crate::geometry::{Geometry, TABLE_BITS};

/// Entries of a table.
const ALL: u64 = WORDS as u64;

/// Returns the table of the root that translates `ipa`, where `table` translates `at`.
#[inline(always)]
pub(super) fn start(geometry: Geometry, table: PageIndex, at: u64, ipa: u64) -> PageIndex {
    if geometry.level() == 0 {
        table
    } else {
        table.behind((ipa >> TABLE_BITS).wrapping_sub(at >> TABLE_BITS))
    }
}

/// Looks up `ipa`: returns the leaf, the raw entry, and its level.
#[allow(
    clippy::extra_unused_type_parameters,
    reason = "only generic code is compiled for speed, see the profile in Cargo.toml"
)]
pub(super) fn look_up<H: Hal>(
    pages: Pages<'_>,
    format: &'static Format,
    geometry: Geometry,
    root: PageIndex,
    ipa: u64,
) -> (Leaf, u64, usize) {
    let mut table = start(geometry, root, 0, ipa);
    let mut level = geometry.level();
    loop {
        let raw = pages.load(table, index(ipa, level));
        if !is_table(level, raw) {
            return (format.decode(raw), raw, level);
        }
        table = pages.pointed_to(raw);
        level = level.wrapping_add(1);
    }
}

/// The walker, which replaces one leaf by another. It stands in one table and moves from there to
/// the next; [`Self::finish`] must be called in the end.
pub(super) struct Walker<'a, H: Hal> {
    pages: Pages<'a>,
    pool: &'a mut PagePool,
    /// Tables that the walker took out.
    retired: Retired<'a, H>,
    undoes: bool,
    format: &'static Format,
    geometry: Geometry,
    from: Leaf,
    to: Leaf,
    /// Bits in which a page may differ from the leaf to be replaced, and which it keeps.
    kept: u64,
    /// Pages differed in those bits.
    mixed: bool,
    /// How the two leaves are written at the last level.
    codes: Codes,
    /// Tables from the root's for `at` to where the walker stands, by level.
    path: [PageIndex; LEVELS],
    level: usize,
    at: u64,
    /// The table that the walker stands in, if that is of the last level.
    last: Option<Last<'a>>,
}

/// The tables that a walker changes.
pub(super) struct Tree {
    /// How leaves are written.
    pub(super) format: &'static Format,
    /// Where walks start.
    pub(super) geometry: Geometry,
    /// The first table of the root.
    pub(super) root: PageIndex,
}

/// How the leaves of a change are written in the tables of one level.
#[derive(Clone, Copy)]
struct Codes {
    from: Code,
    to: Code,
}

/// Values of entries in a row: the first, and the difference from one to the next.
struct Run {
    first: u64,
    stride: u64,
}

/// Entries that are compared together and then written together.
const GROUP: usize = 8;

/// Exchanges entries, from the first on, as long as they have the expected values. Arguments give
/// the first value of each run, type parameters the difference from one to the next. Returns how
/// many entries were exchanged.
#[inline]
fn exchange_run<const OLD_STRIDE: u64, const NEW_STRIDE: u64>(
    words: &[AtomicU64],
    mut old: u64,
    mut new: u64,
) -> usize {
    let mut done = 0_usize;
    for group in words.as_chunks::<GROUP>().0 {
        let mut expect = old;
        let mut differences = 0;
        for word in group {
            differences |= word.load(Ordering::Relaxed) ^ expect;
            expect = expect.wrapping_add(OLD_STRIDE);
        }
        if differences != 0 {
            break;
        }
        for word in group {
            word.store(new, Ordering::Relaxed);
            new = new.wrapping_add(NEW_STRIDE);
        }
        old = expect;
        done = done.wrapping_add(GROUP);
    }
    let rest = Invariant::part(words.get(done..));
    done.wrapping_add(exchange_rest(
        rest,
        Run {
            first: old,
            stride: OLD_STRIDE,
        },
        Run {
            first: new,
            stride: NEW_STRIDE,
        },
    ))
}

/// Exchanges less than a group, or a group with an unexpected entry. The code is small rather than
/// fast.
#[inline(never)]
fn exchange_rest(words: &[AtomicU64], mut old: Run, mut new: Run) -> usize {
    let other = words.iter().position(|word| {
        let is_other = word.load(Ordering::Relaxed) != old.first;
        if !is_other {
            word.store(new.first, Ordering::Relaxed);
            old.first = old.first.wrapping_add(old.stride);
            new.first = new.first.wrapping_add(new.stride);
        }
        is_other
    });
    other.unwrap_or(words.len())
}

/// A level 3 table that the walker works on. Its notes are written back when the walker leaves the
/// table.
#[derive(Clone, Copy)]
struct Last<'a> {
    words: &'a Entries,
    /// The number of its entries that differ from what it stands for, and how much each replacement
    /// adds to it.
    deviating: u64,
    drift: u64,
}

impl<'a, H: Hal> Walker<'a, H> {
    /// Makes a walker that stands at the root of a tree. `roots` are those that hardware uses, if
    /// it walks these tables.
    #[inline]
    pub(super) fn new(
        hal: &'a H,
        pool: &'a mut PagePool,
        Tree {
            format,
            geometry,
            root,
        }: Tree,
        roots: Option<&'a Roots>,
        Change { from, to }: Change,
        kept: u64,
    ) -> Self {
        let mut path = [PageIndex::NONE; LEVELS];
        if let Some(slot) = path.get_mut(geometry.level()) {
            *slot = root;
        }
        Self {
            pages: Pages::of(hal),
            pool,
            retired: Retired::new(hal, roots),
            undoes: false,
            format,
            geometry,
            from,
            to,
            kept,
            mixed: false,
            codes: Codes {
                from: format.code(from, LAST),
                to: format.code(to, LAST),
            },
            path,
            level: geometry.level(),
            at: 0,
            last: None,
        }
    }

    /// Returns whether any page differed from the leaf to be replaced in the bits that pages keep.
    pub(super) fn is_mixed(&self) -> bool {
        self.mixed
    }

    /// Reverses the direction: from now on the walker undoes what it did.
    pub(super) fn turn_round(&mut self) {
        self.undoes = true;
        (self.from, self.to) = (self.to, self.from);
        self.codes = Codes {
            from: self.codes.to,
            to: self.codes.from,
        };
        if self.mixed && self.from == Leaf::NONE {
            // Nothing records which of the pages were executable.
            self.to = self.to.execute_never();
            self.codes.to = self.format.code(self.to, LAST);
        }
        let drift = self.drift(self.pages.origin(self.table()));
        if let Some(last) = &mut self.last {
            last.drift = drift;
        }
    }

    /// Replaces the leaf on the pages of `ranges`, in order; one that `covers` refuses is a
    /// mismatch. An error comes with the number of pages that were done before.
    pub(super) fn replace(
        &mut self,
        mut ranges: impl Iterator<Item = PageRange<Ipa>>,
        mut covers: impl FnMut(&PageRange<Ipa>) -> bool,
    ) -> Result<(), (ChangeError, u64)> {
        let mut done = 0_u64;
        let mut next = ranges.next();
        while let Some(range) = next {
            let replaced = if covers(&range) {
                self.replace_run(range.base().raw(), range.pages())
            } else {
                Err((ChangeError::Mismatch, 0))
            };
            if let Err((error, more)) = replaced {
                return Err((error, done.saturating_add(more)));
            }
            let pages;
            (pages, next) = self.replace_single(&mut ranges, &mut covers);
            done = done.wrapping_add(range.pages()).wrapping_add(pages);
        }
        Ok(())
    }

    /// Replaces the leaf on ranges of one page each as long as they lie in the table of the last
    /// level that the walker stands in, and have the leaf to be replaced: nearly all of a scattered
    /// region. Returns how many pages were replaced, and the first range that needs another way.
    #[inline]
    fn replace_single(
        &mut self,
        ranges: &mut impl Iterator<Item = PageRange<Ipa>>,
        covers: &mut impl FnMut(&PageRange<Ipa>) -> bool,
    ) -> (u64, Option<PageRange<Ipa>>) {
        let Some(last) = &mut self.last else {
            return (0, ranges.next());
        };
        let (at, words, Codes { from, to }) = (self.at, last.words, self.codes);
        let mut done = 0_u64;
        let other = ranges.find(|range| {
            let ipa = range.base().raw();
            let word = words
                .get(index(ipa, LAST))
                .filter(|_| range.pages() == 1 && same_table(ipa, at) && covers(range))
                .filter(|word| word.load(Ordering::Relaxed) == from.at(ipa));
            let Some(word) = word else { return true };
            word.store(to.at(ipa), Ordering::Relaxed);
            done = done.wrapping_add(1);
            false
        });
        last.deviating = last.deviating.wrapping_add(last.drift.wrapping_mul(done));
        (done, other)
    }

    /// Replaces the leaf on `count` pages from `ipa` on, wherever they are. Errors as
    /// [`Self::replace`].
    #[inline(never)]
    fn replace_run(&mut self, mut ipa: u64, count: u64) -> Result<(), (ChangeError, u64)> {
        let mut done = 0;
        while done < count {
            let left = count.saturating_sub(done);
            if self.last.is_none() || !same_table(ipa, self.at) {
                self.seek(ipa, left).map_err(|error| (error, done))?;
            }
            let (replaced, complete) = match self.last {
                Some(last) => self.replace_pages(last, ipa, left),
                None => self.replace_block(ipa),
            };
            done = done.saturating_add(replaced);
            if !complete {
                return Err((ChangeError::Mismatch, done));
            }
            ipa = ipa.wrapping_add(replaced.wrapping_shl(PAGE_SHIFT));
        }
        Ok(())
    }

    /// Replaces those of `left` pages from `ipa` on that the level 3 table holds. Returns how many,
    /// and whether all had the leaf to be replaced.
    #[inline]
    fn replace_pages(&mut self, mut last: Last<'a>, ipa: u64, left: u64) -> (u64, bool) {
        if left == 1 {
            return self.replace_page(last, ipa);
        }
        let first = index(ipa, LAST);
        let wanted = (left as usize).min(WORDS.saturating_sub(first));
        let Codes { from, to } = self.codes;
        let words = Invariant::part(last.words.get(first..first.wrapping_add(wanted)));
        let (old, new) = (from.at(ipa), to.at(ipa));
        // Known strides make the loop half as long.
        let count = match (from.stride() != 0, to.stride() != 0) {
            (false, false) => exchange_run::<0, 0>(words, old, new),
            (false, true) => exchange_run::<0, PAGE_SIZE>(words, old, new),
            (true, false) => exchange_run::<PAGE_SIZE, 0>(words, old, new),
            (true, true) => exchange_run::<PAGE_SIZE, PAGE_SIZE>(words, old, new),
        };
        let done = count as u64;
        last.deviating = last.deviating.wrapping_add(last.drift.wrapping_mul(done));
        if count != wanted && self.kept != 0 {
            let behind = ipa.wrapping_add(done.wrapping_shl(PAGE_SHIFT));
            let words = Invariant::part(words.get(count..));
            let (more, complete) = self.replace_mixed(last, behind, words);
            return (done.wrapping_add(more), complete);
        }
        self.last = Some(last);
        (done, count == wanted)
    }

    /// Replaces the leaf in `words` of a table, the first of which is for `ipa`, one by one: each
    /// keeps the bits that pages may differ in. Returns how many, and whether all had the leaf to
    /// be replaced.
    #[cold]
    #[inline(never)]
    fn replace_mixed(
        &mut self,
        mut last: Last<'a>,
        mut ipa: u64,
        words: &[AtomicU64],
    ) -> (u64, bool) {
        let origin = self.pages.origin(self.table());
        let mut done = 0_usize;
        for word in words {
            let old = word.load(Ordering::Relaxed);
            let Some(new) = self.replacement(old, self.codes, ipa) else {
                break;
            };
            word.store(new, Ordering::Relaxed);
            let implied = self.format.implied(origin, index(ipa, LAST), LAST);
            last.deviating = last.deviating.wrapping_sub((old != implied) as u64);
            last.deviating = last.deviating.wrapping_add((new != implied) as u64);
            ipa = ipa.wrapping_add(PAGE_SIZE);
            done = done.wrapping_add(1);
        }
        self.last = Some(last);
        (done as u64, done == words.len())
    }

    /// Returns the entry that replaces `old` for `ipa`; `None` if `old` does not hold the leaf to
    /// be replaced.
    #[inline]
    fn replacement(&mut self, old: u64, Codes { from, to }: Codes, ipa: u64) -> Option<u64> {
        let differing = old ^ from.at(ipa);
        if differing & !self.kept != 0 {
            return None;
        }
        self.mixed |= differing != 0;
        // Without a leaf there are no bits to keep.
        let kept = if self.to == Leaf::NONE { 0 } else { differing };
        Some(to.at(ipa) ^ kept)
    }

    /// Replaces one page, as [`Self::replace_pages`] does, with less work than for many.
    #[inline]
    fn replace_page(&mut self, mut last: Last<'a>, ipa: u64) -> (u64, bool) {
        let Codes { from, to } = self.codes;
        let Some(word) = last.words.get(index(ipa, LAST)) else {
            return (0, false);
        };
        if word.load(Ordering::Relaxed) != from.at(ipa) {
            return if self.kept == 0 {
                (0, false)
            } else {
                self.replace_mixed(last, ipa, core::slice::from_ref(word))
            };
        }
        word.store(to.at(ipa), Ordering::Relaxed);
        last.deviating = last.deviating.wrapping_add(last.drift);
        self.last = Some(last);
        (1, true)
    }

    /// Replaces the block at `ipa` in the table above the last level. Returns the pages of the
    /// block, or 0 if it does not hold the leaf to be replaced.
    fn replace_block(&mut self, ipa: u64) -> (u64, bool) {
        let entry = index(ipa, self.level);
        let code = |leaf| self.format.code(leaf, self.level);
        let codes = Codes {
            from: code(self.from),
            to: code(self.to),
        };
        let old = self.pages.load(self.table(), entry);
        let Some(new) = self.replacement(old, codes, ipa) else {
            return (0, false);
        };
        self.pages.store(self.table(), entry, new);
        self.account(entry, old, new);
        (entry_pages(self.level), true)
    }

    fn table(&self) -> PageIndex {
        self.path
            .get(self.level % LEVELS)
            .copied()
            .unwrap_or(PageIndex::NONE)
    }

    /// Updates the count of deviating entries, in a table above the last level, after `entry`
    /// changed from `old` to `new`.
    #[inline]
    fn account(&self, entry: usize, old: u64, new: u64) {
        if self.level == self.geometry.level() {
            return;
        }
        let notes = self.pages.notes(self.table());
        let implied = self.format.implied(notes.origin(), entry, self.level);
        let mut deviating = notes.deviating();
        deviating = deviating.wrapping_sub((old != implied) as u64);
        deviating = deviating.wrapping_add((new != implied) as u64);
        notes.set_deviating(deviating);
    }

    /// Moves to the table in which the next entry for `ipa` is to be changed, when `left` pages are
    /// to be changed from there. A block that is not to be replaced is not split, so that the
    /// origin of a table always is what its entries go back to.
    fn seek(&mut self, ipa: u64, left: u64) -> Result<(), ChangeError> {
        loop {
            if self.level == self.geometry.level() {
                if let Some(root) = self.path.get_mut(self.level % LEVELS) {
                    *root = start(self.geometry, *root, self.at, ipa);
                }
                break;
            }
            if (ipa ^ self.at).wrapping_shr(shift(self.level.wrapping_sub(1))) == 0 {
                break;
            }
            self.leave();
        }
        self.at = ipa;
        let mut table = self.table();
        while self.level < LAST {
            let entry = index(ipa, self.level);
            let raw = self.pages.load(table, entry);
            let child = if is_table(self.level, raw) {
                self.pages.pointed_to(raw)
            } else {
                if self.level >= LARGEST_BLOCK
                    && inside(ipa, self.level) == 0
                    && left >= entry_pages(self.level)
                {
                    return Ok(());
                }
                let expect = self
                    .format
                    .code(self.from, self.level)
                    .at(base(ipa, self.level));
                if (raw ^ expect) & !self.kept != 0 {
                    return Err(ChangeError::Mismatch);
                }
                self.split(entry, raw)?
            };
            self.enter(child);
            table = child;
        }
        Ok(())
    }

    fn enter(&mut self, child: PageIndex) {
        self.level = self.level.wrapping_add(1);
        if let Some(slot) = self.path.get_mut(self.level % LEVELS) {
            *slot = child;
        }
        if self.level == LAST {
            let notes = self.pages.notes(child);
            self.last = self.pages.entries(child).map(|words| Last {
                words,
                deviating: notes.deviating(),
                drift: self.drift(notes.origin()),
            });
        }
    }

    /// Returns by how much replacing the leaf of one page changes the count of deviating entries,
    /// in a table of the last level with that origin. Either all pages with that leaf deviate from
    /// the origin, or none does, so the first entry tells it for all.
    #[inline]
    fn drift(&self, origin: u64) -> u64 {
        let first = base(self.at, LAST.wrapping_sub(1));
        let implied = self.format.implied(origin, 0, LAST);
        let differs = |code: Code| (code.at(first) != implied) as u64;
        differs(self.codes.to).wrapping_sub(differs(self.codes.from))
    }

    /// Replaces the leaf `raw` by a table that means the same.
    fn split(&mut self, entry: usize, raw: u64) -> Result<PageIndex, ChangeError> {
        let child = self.take()?;
        let child_level = self.level.wrapping_add(1);
        self.pages.set_origin(child, raw);
        if raw != 0 {
            let mut value = self.format.implied(raw, 0, child_level);
            let stride = self.format.stride(child_level);
            for word in self.pages.words(child) {
                word.store(value, Ordering::Relaxed);
                value = value.wrapping_add(stride);
            }
        }
        self.exchange(entry, raw, self.pages.address(child) | TABLE);
        Ok(child)
    }

    /// Takes a page for a table. Tables that the change took out are kept for undoing it, which
    /// must not fail, so they are not reused before that.
    fn take(&mut self) -> Result<PageIndex, ChangeError> {
        if self.undoes
            && let Some(table) = self.retired.reuse()
        {
            return Ok(table);
        }
        let taken = self.pool.take_table(self.pages);
        taken.map_err(|_| ChangeError::NoMemory)
    }

    /// Goes up one level; removes the table that it leaves if its entries equal what the origin
    /// implies, or are all empty.
    #[inline(never)]
    fn leave(&mut self) {
        let child = self.table();
        let notes = self.pages.notes(child);
        let deviating = match self.last.take() {
            Some(last) => {
                notes.set_deviating(last.deviating);
                last.deviating
            }
            None => notes.deviating(),
        };
        self.level = self.level.wrapping_sub(1);
        let words = || self.pages.words(child).iter();
        let origin = match deviating {
            0 => notes.origin(),
            ALL if words().all(|word| word.load(Ordering::Relaxed) == 0) => 0,
            _ => return,
        };
        self.retired.push(child, origin != 0);
        // Any table will do for the old entry: no origin implies one.
        self.exchange(index(self.at, self.level), TABLE, origin);
    }

    /// Replaces a leaf by a table that means the same, or a table by a leaf.
    fn exchange(&mut self, entry: usize, old: u64, new: u64) {
        let table = self.table();
        if old & new & VALID != 0 {
            self.pages.store(table, entry, 0);
            self.retired.forget();
        }
        self.pages.store(table, entry, new);
        self.account(entry, old, new);
    }

    /// Goes back to the root, so that no needless table stays, and completes the change: see
    /// [`Retired::complete`].
    pub(super) fn finish(&mut self, stale: Stale<'_>) {
        while self.level > self.geometry.level() {
            self.leave();
        }
        self.retired.complete(self.pool, stale);
    }
}
