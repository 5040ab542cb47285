//! Tables that a change has taken out of the tree.
//!
//! A PE that has walked through such a table may keep its address in the TLB, and read the page as
//! a table until an invalidation. So the page belongs to the change, unmodified, until an
//! invalidation of all that it translated is complete on all PEs. Only then it becomes a
//! [`Forgotten`], which the pool takes back.

use crate::addr::{Ipa, PageRange, World};
use crate::hal::{Hal, Roots, TlbScope};

use super::pool::{PageIndex, PagePool, Pages, clear};

/// A table that no PE can walk any more. All zero.
pub(super) struct Forgotten(PageIndex);

impl Forgotten {
    /// The page.
    pub(super) fn page(&self) -> PageIndex {
        self.0
    }
}

/// Leaves that hardware must forget when a change is complete.
pub(super) enum Stale<'a> {
    /// No leaves: entries were invalid, or mean the same to hardware.
    Nothing,
    /// The leaves of these ranges.
    Ranges(&'a [(World, PageRange<Ipa>)]),
    /// All leaves: there are so many ranges that it is quicker to forget everything.
    Everything,
}

/// The tables that one change has taken out, linked by their first notes. The second note says
/// whether a page has words that are not zero.
#[must_use = "what is not returned to the pool is lost"]
pub(super) struct Retired<'a, H> {
    hal: &'a H,
    pages: Pages<'a>,
    /// The roots that hardware uses; `None` if it never walks the tables.
    roots: Option<&'a Roots>,
    top: PageIndex,
    /// A PE may still know some of the tables.
    known: bool,
}

impl<'a, H: Hal> Retired<'a, H> {
    /// Makes an empty list, for the tree under `roots`.
    pub(super) fn new(hal: &'a H, roots: Option<&'a Roots>) -> Self {
        Self {
            hal,
            pages: Pages::of(hal),
            roots,
            top: PageIndex::NONE,
            known: false,
        }
    }

    /// Adds a table. The entry that leads to it must be gone, or go before anything else happens to
    /// the tree. `used` says whether the table has words that are not zero.
    pub(super) fn push(&mut self, table: PageIndex, used: bool) {
        let notes = self.pages.notes(table);
        notes.set_origin(self.top.to_word());
        notes.set_deviating(used.into());
        self.top = table;
        self.known = true;
    }

    /// Waits until no PE uses one of these tables, or any other translation that is not in the tree
    /// now.
    #[inline]
    pub(super) fn forget(&mut self) {
        if let Some(roots) = self.roots {
            self.hal.invalidate_stage2(roots, TlbScope::All);
        }
        self.known = false;
    }

    /// Takes one of the tables, to be used again.
    pub(super) fn reuse(&mut self) -> Option<PageIndex> {
        if self.known {
            self.forget();
        }
        self.pop().map(|table| table.page())
    }

    /// Completes the change: hardware sees the new entries and has forgotten the `stale` leaves and
    /// all of these tables, and the tables go back to the pool.
    pub(super) fn complete(&mut self, pool: &mut PagePool, stale: Stale<'_>) {
        match (self.roots, stale) {
            (None, _) => self.known = false,
            (Some(_), Stale::Everything) => self.forget(),
            (Some(_), _) if self.known => self.forget(),
            (Some(roots), Stale::Ranges(ranges)) => {
                self.hal.invalidate_stage2(roots, TlbScope::Ranges(ranges));
            }
            (Some(_), Stale::Nothing) => self.hal.publish_tables(),
        }
        while let Some(table) = self.pop() {
            pool.give_back_table(self.pages, table);
        }
    }

    /// Takes the table on top and clears it. `None` if there is none, or if a PE may still know it.
    #[inline]
    fn pop(&mut self) -> Option<Forgotten> {
        let page = self.top;
        if page.is_none() || self.known {
            return None;
        }
        let notes = self.pages.notes(page);
        self.top = PageIndex::from_word(notes.origin());
        if notes.deviating() != 0 {
            clear(self.pages.words(page));
            notes.set_deviating(0);
        }
        Some(Forgotten(page))
    }
}
