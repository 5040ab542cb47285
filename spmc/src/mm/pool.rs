//! Pages for translation tables and for lists of transactions: one supply at boot, split into a
//! pool per endpoint and a reserve.
//!
//! A table comes back only as [`Forgotten`]: hardware may walk a page long after the last entry
//! that led to it has gone. A [`ListPage`] was never in a tree, so it comes back at once. The types
//! keep the two apart.
//!
//! A pool is a run of pages never used yet and a stack of pages given back: its endpoint's quota,
//! which nobody else can use up. When the pool is empty, the reserve lends pages, so that one large
//! transaction needs no large quota for everybody; pages that were lent go back to the reserve
//! first. All pages that are not handed out are zero. The two words that the walker notes of each
//! table lie in the first pages of the supply, so that tables hold nothing but descriptors.

use core::num::NonZeroU16;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{PAGE_SHIFT, Pa};
use crate::error::{FfaError, Result};
use crate::hal::{Hal, Table, TablePlaces};
use crate::sync::point;

use super::leaf::ADDRESS;
use super::retired::Forgotten;
use crate::geometry::Geometry;

/// Words of a page.
pub(crate) const WORDS: usize = 512;

/// All words of a page.
pub(super) type Entries = [AtomicU64; WORDS];

/// Pages whose notes fit into one page: two words each.
const NOTES_PER_PAGE: usize = WORDS / 2;

/// Returns how many pages are for the notes of `pages` pages: the first ones. That is one more than
/// needed if the notes fill their last page, which the quickest way to tell accepts.
#[inline]
const fn notes(pages: usize) -> usize {
    (pages / NOTES_PER_PAGE).wrapping_add(1)
}

/// One page of [`Hal::tables`]. Index 0 holds notes and is never handed out: it stands for "none".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PageIndex(u16);

impl PageIndex {
    pub(super) const NONE: Self = Self(0);

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Returns the page that lies `count` pages behind this one.
    pub(super) fn behind(self, count: u64) -> Self {
        Self(self.0.wrapping_add(count as u16))
    }

    /// Returns the index as a word, to be stored in another page.
    pub(super) fn to_word(self) -> u64 {
        self.0 as u64
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self(word as u16)
    }
}

/// A page for a list, which hardware never walks and which holds no notes; the latter is checked
/// once, when the page is named. All its words are zero when it is taken and when it is given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ListPage(NonZeroU16);

impl ListPage {
    fn new(pages: Pages<'_>, page: PageIndex) -> Option<Self> {
        pages.entries(page)?;
        NonZeroU16::new(page.0).map(Self)
    }

    fn page(self) -> PageIndex {
        PageIndex(self.0.get())
    }

    /// Returns the page as a word, to be stored in another page of the list.
    pub(crate) fn to_word(self) -> u64 {
        self.0.get().into()
    }

    /// Returns the page that a word names; `None` if there is no such page, or if it holds notes.
    pub(crate) fn from_word(pages: Pages<'_>, word: u64) -> Option<Self> {
        Self::new(pages, PageIndex::from_word(word))
    }

    /// Returns the words of the page; none if there is no such page.
    #[inline]
    pub(crate) fn words(self, pages: Pages<'_>) -> &[AtomicU64] {
        pages.words(self.page())
    }
}

/// Sets words to zero.
pub(crate) fn clear(words: &[AtomicU64]) {
    let (groups, rest) = words.as_chunks::<8>();
    let zero = |word: &AtomicU64| word.store(0, Ordering::Relaxed);
    for group in groups {
        group.iter().for_each(zero);
    }
    rest.iter().for_each(zero);
}

/// The pages of all pools. Every access is bounds-checked, and those with notes are out of bounds
/// for all but the notes' own functions. Indices come from pools, so the checks never fail.
#[derive(Clone, Copy)]
pub(crate) struct Pages<'a> {
    tables: &'a [Table],
    places: &'a TablePlaces,
}

impl<'a> Pages<'a> {
    #[inline]
    pub(crate) fn of<H: Hal>(hal: &'a H) -> Self {
        Self {
            tables: hal.tables(),
            places: hal.table_places(),
        }
    }

    /// Returns all words of a page; `None` if there is no such page, or if it has notes.
    #[inline]
    pub(super) fn entries(self, page: PageIndex) -> Option<&'a Entries> {
        let index = usize::from(page.0);
        if index < notes(self.tables.len()) {
            return None;
        }
        self.tables.get(index).map(|Table(words)| words)
    }

    /// Returns all words of a page; none if there is no such page, or if it has notes.
    #[inline]
    pub(super) fn words(self, page: PageIndex) -> &'a [AtomicU64] {
        self.entries(page).map_or(&[], |entries| entries)
    }

    #[inline]
    fn word(self, page: PageIndex, index: usize) -> Option<&'a AtomicU64> {
        self.entries(page)?.get(index)
    }

    #[inline]
    pub(super) fn load(self, page: PageIndex, index: usize) -> u64 {
        self.word(page, index)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Stores with release: a walker that sees this store sees everything stored before it.
    #[inline]
    pub(super) fn store(self, page: PageIndex, index: usize, value: u64) {
        if let Some(word) = self.word(page, index) {
            word.store(value, Ordering::Release);
        }
    }

    #[inline]
    pub(super) fn address(self, page: PageIndex) -> u64 {
        let (index, places) = (usize::from(page.0), self.places);
        let (base, behind) = match index.checked_sub(places.count) {
            None => (places.first, index),
            Some(behind) => (places.more, behind),
        };
        base.raw().wrapping_add((behind as u64) << PAGE_SHIFT)
    }

    /// Returns the page that a table descriptor points to.
    #[inline]
    pub(super) fn pointed_to(self, descriptor: u64) -> PageIndex {
        let (address, places) = (descriptor & ADDRESS, self.places);
        let page = address.wrapping_sub(places.first.raw()) >> PAGE_SHIFT;
        if page < places.count as u64 {
            return PageIndex(page as u16);
        }
        let behind = address.wrapping_sub(places.more.raw()) >> PAGE_SHIFT;
        PageIndex(places.count.wrapping_add(behind as usize) as u16)
    }

    /// Returns the notes of `page`.
    #[inline]
    pub(super) fn notes(self, page: PageIndex) -> Notes<'a> {
        let index = page.0 as usize;
        let table = self.tables.get(index / NOTES_PER_PAGE);
        Notes(table.and_then(|Table(words)| words.as_chunks().0.get(index % NOTES_PER_PAGE)))
    }

    /// Returns the first note of `page`: see [`Notes::origin`].
    #[inline]
    pub(super) fn origin(self, page: PageIndex) -> u64 {
        self.notes(page).origin()
    }

    #[inline]
    pub(super) fn set_origin(self, page: PageIndex, origin: u64) {
        self.notes(page).set_origin(origin);
    }
}

/// The two words that the walker notes of a page; none if there is no such page.
#[derive(Clone, Copy)]
pub(super) struct Notes<'a>(Option<&'a [AtomicU64; 2]>);

impl Notes<'_> {
    /// Returns the first note: for a table the descriptor that it stands for; for a free page the
    /// next free one.
    #[inline]
    pub(super) fn origin(self) -> u64 {
        self.0
            .map_or(0, |[origin, _]| origin.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn set_origin(self, value: u64) {
        if let Some([origin, _]) = self.0 {
            origin.store(value, Ordering::Release);
        }
    }

    /// Returns the second note: for a table the number of entries that differ from what its origin
    /// implies.
    #[inline]
    pub(super) fn deviating(self) -> u64 {
        self.0
            .map_or(0, |[_, deviating]| deviating.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn set_deviating(self, count: u64) {
        if let Some([_, deviating]) = self.0 {
            deviating.store(count, Ordering::Release);
        }
    }
}

/// The pages that no quota holds: a stack that all pools share, without a lock of its own.
///
/// No pool can have all of the reserve: a pool gets another page only while it has less than
/// [`SHARE_OF_RESERVE`] times what is left.
///
/// The top lies in the first note of page 0, which is never handed out, together with the number of
/// pages and a count of changes. By that count a PE notices that it was overtaken between reading
/// the top and replacing it, even if the same page is on top again.
struct Reserve<'a> {
    pages: Pages<'a>,
    top: &'a AtomicU64,
}

/// The share of the reserve that a pool may have, as a multiple of what is left: five sixths of all
/// if it is the only one.
const SHARE_OF_RESERVE: u64 = 5;

/// One page and one change of the stack, in the word of its top.
const RESERVE_PAGE: u64 = 1 << 16;
const RESERVE_CHANGE: u64 = 1 << 32;

impl<'a> Reserve<'a> {
    fn of(pages: Pages<'a>) -> Option<Self> {
        let [top, _] = pages.notes(PageIndex::NONE).0?;
        Some(Self { pages, top })
    }

    /// Returns the word after a change that leaves `left` pages.
    fn next(word: u64, top: PageIndex, left: u64) -> u64 {
        let changes = (word & !(RESERVE_CHANGE - 1)).wrapping_add(RESERVE_CHANGE);
        changes | left.wrapping_mul(RESERVE_PAGE) | top.to_word()
    }

    fn left(word: u64) -> u64 {
        (word & (RESERVE_CHANGE - 1)) / RESERVE_PAGE
    }

    /// Takes the page on top for a pool that has `borrowed` pages of the reserve, if it may have
    /// one more.
    #[cold]
    fn pop(&self, borrowed: u16) -> Option<PageIndex> {
        point(self.top);
        let taken = self
            .top
            .fetch_update(Ordering::Acquire, Ordering::Acquire, |word| {
                let page = PageIndex::from_word(word);
                let below = PageIndex::from_word(self.pages.origin(page));
                point(self.top);
                let left = Self::left(word);
                let may = u64::from(borrowed) < left.saturating_mul(SHARE_OF_RESERVE);
                may.then(|| Self::next(word, below, left.saturating_sub(1)))
            });
        taken.ok().map(PageIndex::from_word)
    }

    /// Puts a zeroed page on top.
    #[cold]
    #[inline]
    fn push(&self, page: PageIndex) {
        point(self.top);
        let _ = self
            .top
            .fetch_update(Ordering::Release, Ordering::Relaxed, |word| {
                let below = PageIndex::from_word(word);
                self.pages.set_origin(page, below.to_word());
                point(self.top);
                Some(Self::next(word, page, Self::left(word).saturating_add(1)))
            });
    }
}

/// The number of pages that each endpoint has for itself. The rest of the supply is the reserve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quotas {
    /// Pages of the Normal world, which owns most of what is sent, and whose quota holds the lists
    /// for that.
    pub normal_world: usize,
    /// Pages of each partition.
    pub partition: usize,
}

impl Quotas {
    /// Splits a supply of that many pages among the Normal world and `partitions`. Pages that roots
    /// need beyond one table each come first.
    pub const fn of(geometry: Geometry, pages: usize, partitions: usize) -> Self {
        let root = geometry.more_tables();
        let roots = root.saturating_mul(partitions.saturating_mul(2).saturating_add(1));
        let pages = pages.saturating_sub(roots);
        // Partitions have a third together, and a 24th each at most.
        let partitions = if partitions > 8 { partitions } else { 8 };
        let partition = match pages.checked_div(partitions.saturating_mul(3)) {
            Some(partition) => partition,
            None => 0,
        };
        Self {
            normal_world: (pages.saturating_mul(2) / 5).saturating_add(root),
            partition: partition.saturating_add(root.saturating_mul(2)),
        }
    }
}

/// A quota of pages, and what its endpoint has of the reserve.
#[derive(Debug)]
pub struct PagePool {
    /// Pages from here up to `end` were never used.
    fresh: u16,
    end: u16,
    /// Top of the stack of pages given back.
    free: PageIndex,
    quota: u16,
    /// Pages handed out. Those beyond the quota count as pages of the reserve.
    held: u16,
}

impl PagePool {
    /// No quota.
    pub const EMPTY: Self = Self {
        fresh: 0,
        end: 0,
        free: PageIndex::NONE,
        quota: 0,
        held: 0,
    };

    /// Returns the whole supply, at boot and once. At most 65535 pages are used.
    pub fn all<H: Hal>(hal: &H) -> Self {
        let pages = hal.tables().len().min(u16::MAX as usize);
        let notes = notes(hal.tables().len());
        Self {
            fresh: notes as u16,
            end: pages as u16,
            quota: pages.saturating_sub(notes) as u16,
            ..Self::EMPTY
        }
    }

    /// Splits `pages` pages off the supply, or what is left if that is less. Nothing may have been
    /// taken from the supply before.
    pub fn carve(&mut self, pages: usize) -> Self {
        let count =
            (self.end.saturating_sub(self.fresh)).min(u16::try_from(pages).unwrap_or(u16::MAX));
        let first = self.fresh;
        self.fresh = first.saturating_add(count);
        self.quota = self.quota.saturating_sub(count);
        Self {
            fresh: first,
            end: self.fresh,
            quota: count,
            ..Self::EMPTY
        }
    }

    /// Makes the reserve of `pages` pages, or of what is left if that is less, as [`Self::carve`]
    /// does.
    pub fn carve_reserve<H: Hal>(&mut self, hal: &H, pages: usize) {
        let store = Pages::of(hal);
        let part = self.carve(pages);
        if let Some(reserve) = Reserve::of(store) {
            for page in (part.fresh..part.end).rev() {
                reserve.push(PageIndex(page));
            }
        }
    }

    /// Returns how many pages of the quota can be taken.
    pub fn available(&self) -> usize {
        self.quota.saturating_sub(self.held) as usize
    }

    /// Returns how many pages are taken and not given back, those of the reserve included.
    pub fn held(&self) -> usize {
        self.held as usize
    }

    /// Takes a zeroed page for a table, whose first note is still that of a free page. `NO_MEMORY`
    /// if the quota and the share of the reserve are used up.
    #[inline]
    pub(super) fn take_table(&mut self, pages: Pages<'_>) -> Result<PageIndex> {
        self.take(pages)
    }

    /// Takes a zeroed page for a list. `NO_MEMORY` as [`Self::take_table`].
    #[inline]
    pub(crate) fn take_list(&mut self, pages: Pages<'_>) -> Result<ListPage> {
        let page = self.take(pages)?;
        ListPage::new(pages, page).ok_or(FfaError::NoMemory)
    }

    #[inline]
    fn take(&mut self, pages: Pages<'_>) -> Result<PageIndex> {
        let page = if self.held >= self.quota {
            Reserve::of(pages)
                .and_then(|reserve| reserve.pop(self.held.saturating_sub(self.quota)))
                .ok_or(FfaError::NoMemory)?
        } else if !self.free.is_none() {
            let page = self.free;
            self.free = PageIndex::from_word(pages.origin(page));
            page
        } else {
            let page = PageIndex(self.fresh);
            self.fresh = self.fresh.saturating_add(1);
            page
        };
        self.held = self.held.saturating_add(1);
        Ok(page)
    }

    /// Takes a root: one page, or `count` contiguous ones of the quota, aligned to their size.
    /// Nothing but roots may have been taken before. `NO_MEMORY` if there are no such pages.
    pub(super) fn take_root(&mut self, pages: Pages<'_>, count: usize) -> Result<PageIndex> {
        let count = count as u16;
        if count == 1 {
            return self.take(pages);
        }
        let alignment = u64::from(count).wrapping_shl(PAGE_SHIFT);
        let last = u64::from(count).wrapping_sub(1);
        let fits = |fresh| {
            let first = PageIndex(fresh);
            let start = pages.address(first);
            let end = pages.address(first.behind(last));
            // The supply may consist of two pieces.
            start.is_multiple_of(alignment)
                && end.wrapping_sub(start) == last.wrapping_shl(PAGE_SHIFT)
        };
        while !fits(self.fresh) {
            if self.fresh >= self.end {
                return Err(FfaError::NoMemory);
            }
            let skipped = PageIndex(self.fresh);
            self.fresh = self.fresh.saturating_add(1);
            pages.set_origin(skipped, self.free.to_word());
            self.free = skipped;
        }
        if self.end.saturating_sub(self.fresh) < count {
            return Err(FfaError::NoMemory);
        }
        let root = PageIndex(self.fresh);
        self.fresh = self.fresh.saturating_add(count);
        self.held = self.held.saturating_add(count);
        Ok(root)
    }

    /// Gives back a table that no PE can walk any more.
    #[inline]
    pub(super) fn give_back_table(&mut self, pages: Pages<'_>, table: Forgotten) {
        self.give_back(pages, table.page());
    }

    /// Gives back a page whose words the caller has set to zero.
    #[inline]
    pub(crate) fn give_back_list(&mut self, pages: Pages<'_>, page: ListPage) {
        self.give_back(pages, page.page());
    }

    #[inline]
    fn give_back(&mut self, pages: Pages<'_>, page: PageIndex) {
        if self.held > self.quota
            && let Some(reserve) = Reserve::of(pages)
        {
            reserve.push(page);
        } else {
            pages.set_origin(page, self.free.to_word());
            self.free = page;
        }
        self.held = self.held.saturating_sub(1);
    }
}

/// Returns the physical address of a page, for the translation base registers.
pub(super) fn physical(pages: Pages<'_>, page: PageIndex) -> Pa {
    Pa::new(pages.address(page))
}
