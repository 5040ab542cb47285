//! The inspector: compares the leaves of ranges of pages with one leaf.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{Ipa, PAGE_SHIFT, PageRange};
use crate::hal::Hal;

use super::entry::{Code, Format, LAST, base, entry_pages, index, is_table, same_table};
use super::leaf::Leaf;
use super::pool::{PageIndex, Pages, WORDS};
use super::walk::start;
use crate::geometry::Geometry;

/// The inspector, which checks that every page of the ranges given has the same leaf.
pub(super) struct Inspector<'a, H> {
    pages: Pages<'a>,
    format: &'static Format,
    geometry: Geometry,
    root: PageIndex,
    leaf: Leaf,
    /// Bits in which a page may differ from the leaf.
    ignored: u64,
    code: Code,
    /// The last level 3 table, and the 2 MiB that it translates.
    words: &'a [AtomicU64],
    at: u64,
    /// The addresses of the last block.
    block: (u64, u64),
    hal: PhantomData<H>,
}

impl<'a, H: Hal> Inspector<'a, H> {
    #[inline]
    pub(super) fn new(
        pages: Pages<'a>,
        format: &'static Format,
        geometry: Geometry,
        root: PageIndex,
        leaf: Leaf,
        ignored: u64,
    ) -> Self {
        Self {
            pages,
            format,
            geometry,
            root,
            leaf,
            ignored,
            code: format.code(leaf, LAST),
            words: &[],
            at: 0,
            block: (0, 0),
            hal: PhantomData,
        }
    }

    /// Returns whether every page of `range` has the leaf.
    #[inline]
    pub(super) fn holds(&mut self, range: PageRange<Ipa>) -> bool {
        let mut ipa = range.base().raw();
        let end = range.end().raw();
        while ipa < end {
            if self.block.0 <= ipa && ipa < self.block.1 {
                ipa = self.block.1;
            } else {
                let left = end.wrapping_sub(ipa).wrapping_shr(PAGE_SHIFT);
                let Some(done) = self.step(ipa, left) else {
                    return false;
                };
                ipa = ipa.wrapping_add(done.wrapping_shl(PAGE_SHIFT));
            }
        }
        true
    }

    /// Returns how many pages from `ipa` on one table has checked, or 0 if a block covers them;
    /// `None` if one has another leaf.
    #[inline]
    fn step(&mut self, ipa: u64, left: u64) -> Option<u64> {
        if self.words.is_empty() || !same_table(ipa, self.at) {
            self.at = ipa;
            if let Some((level, raw)) = self.descend(ipa) {
                let start = base(ipa, level);
                let expect = self.format.code(self.leaf, level).at(start);
                if (raw ^ expect) & !self.ignored != 0 {
                    return None;
                }
                let size = entry_pages(level).wrapping_shl(PAGE_SHIFT);
                self.block = (start, start.wrapping_add(size));
                return Some(0);
            }
        }
        let first = index(ipa, LAST);
        let count = (left as usize).min(WORDS.saturating_sub(first));
        let mut expect = self.code.at(ipa);
        for word in self.words.get(first..first.wrapping_add(count))? {
            if (word.load(Ordering::Relaxed) ^ expect) & !self.ignored != 0 {
                return None;
            }
            expect = expect.wrapping_add(self.code.stride());
        }
        Some(count as u64)
    }

    /// Goes to the level 3 table for `ipa`, or returns the block that covers `ipa`, with its level.
    fn descend(&mut self, ipa: u64) -> Option<(usize, u64)> {
        self.words = &[];
        let mut table = start(self.geometry, self.root, 0, ipa);
        for level in self.geometry.level()..LAST {
            let raw = self.pages.load(table, index(ipa, level));
            if !is_table(level, raw) {
                return Some((level, raw));
            }
            table = self.pages.pointed_to(raw);
        }
        self.words = self.pages.words(table);
        None
    }
}
