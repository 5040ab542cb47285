//! The survey: all memory of the Non-secure IPA space that an endpoint has, as runs of pages.

use core::sync::atomic::Ordering;

use crate::addr::{Ipa, PAGE_SHIFT, PageRange, World};
use crate::hal::Hal;

use super::entry::{Format, LAST, base, entry_pages, index, is_table};
use super::leaf::Leaf;
use super::pool::Pages;
use super::space::AddressSpace;
use super::walk::start;

/// The level whose entries point to tables of pages.
const ABOVE_PAGES: usize = LAST - 1;

/// A run of pages that grows page by page, or block by block.
struct Run<T> {
    base: u64,
    end: u64,
    kind: T,
}

impl<T> Run<T> {
    fn range(&self) -> Option<PageRange<Ipa>> {
        let pages = self.end.saturating_sub(self.base).wrapping_shr(PAGE_SHIFT);
        PageRange::new(Ipa::new(self.base), pages)
    }
}

/// The findings of a survey so far.
struct Findings<T, K, V> {
    format: &'static Format,
    kind_of: K,
    visit: V,
    run: Option<Run<T>>,
    /// The entry that continues the last one.
    next: u64,
    /// The kind of the last entry.
    kind: Option<T>,
}

impl<T: Copy + PartialEq, K: Fn(Leaf) -> Option<T>, V: FnMut(PageRange<Ipa>, T)> Findings<T, K, V> {
    /// Adds the entry `raw` at `level`, which translates the addresses from `at` on.
    #[inline]
    fn add(&mut self, at: u64, raw: u64, level: usize) {
        if raw == 0 {
            self.kind = None;
        } else if raw != self.next || self.kind.is_none() {
            self.kind = (self.kind_of)(self.format.decode(raw));
        }
        self.next = raw.wrapping_add(self.format.stride(level));
        let end = at.wrapping_add(entry_pages(level).wrapping_shl(PAGE_SHIFT));
        match (&mut self.run, self.kind) {
            (Some(run), Some(kind)) if run.end == at && run.kind == kind => run.end = end,
            (_, Some(kind)) => {
                self.finish();
                let base = at;
                self.run = Some(Run { base, end, kind });
            }
            (_, None) => {}
        }
    }

    /// Ends the run.
    fn finish(&mut self) {
        if let Some(run) = self.run.take()
            && let Some(range) = run.range()
        {
            (self.visit)(range, run.kind);
        }
    }
}

impl AddressSpace {
    /// Calls `visit` for each run of pages of the Non-secure IPA space that are of one kind, in
    /// ascending order. `kind_of` says the kind of a leaf, or `None` for pages that do not count.
    /// The shadow of the Normal world does not count pages that the Normal world has for itself.
    ///
    /// The time is linear in the number of tables.
    pub fn survey<H: Hal, T: Copy + PartialEq>(
        &self,
        hal: &H,
        kind_of: impl Fn(Leaf) -> Option<T>,
        visit: impl FnMut(PageRange<Ipa>, T),
    ) {
        let pages = Pages::of(hal);
        let geometry = self.geometry();
        let mut findings = Findings {
            format: self.format(World::NonSecure),
            kind_of,
            visit,
            run: None,
            next: 0,
            kind: None,
        };
        let mut at = 0;
        while at < geometry.limit() {
            let mut level = geometry.level();
            if let Some(root) = self.root_for(World::NonSecure, at) {
                let mut table = start(geometry, root, 0, at);
                while level <= ABOVE_PAGES {
                    let raw = pages.load(table, index(at, level));
                    if !is_table(level, raw) {
                        findings.add(base(at, level), raw, level);
                        break;
                    }
                    table = pages.pointed_to(raw);
                    level = level.wrapping_add(1);
                }
                if level == LAST {
                    for word in pages.words(table) {
                        findings.add(at, word.load(Ordering::Relaxed), LAST);
                        at = at.wrapping_add(entry_pages(LAST).wrapping_shl(PAGE_SHIFT));
                    }
                    continue;
                }
            } else {
                // The address is EL2's.
                level = level.max(1);
            }
            let size = entry_pages(level).wrapping_shl(PAGE_SHIFT);
            at = base(at, level).wrapping_add(size);
        }
        findings.finish();
    }
}
