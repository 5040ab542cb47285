//! The address ranges of one share, in the order in which the owner gave them.
//!
//! A range is one word. The first few lie in the share itself, the others in pages of the owner's
//! quota, each of which ends with the index of the next page. So a share of any size can be
//! recorded, at the expense of its owner alone. Pages are taken for ranges that have arrived,
//! fragment by fragment, and never for those that are only announced.

use core::slice;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{ADDRESS_LIMIT, Ipa, PAGE_SIZE, PageRange};
use crate::error::{FfaError, Result};
use crate::ffa::memory_descriptor::{CONSTITUENT, MAX_PAGES};
use crate::invariant::Invariant;
use crate::limits::MAX_TABLES;
use crate::mm::{ListPage, PagePool, Pages, WORDS, clear};

/// Ranges that lie in the share itself.
const INLINE: usize = 4;

/// Ranges per page; the last word is the index of the next page.
const PER_PAGE: usize = WORDS - 1;

/// The longest list, for which all pages of all pools are taken, has so few ranges that their
/// number, and the length of their description with any header, fit into 32 bits.
const _: () = {
    let ranges = INLINE as u64 + MAX_TABLES * PER_PAGE as u64;
    assert!((ranges + 256) * (CONSTITUENT as u64) < u32::MAX as u64);
    assert!(MAX_TABLES <= u16::MAX as u64 && PER_PAGE <= u16::MAX as usize);
};

/// The bits of a word that are zero in any address hold the number of pages behind the first one:
/// those from `ADDRESS_BITS` up hold the low bits of the number, and the low 12 bits hold the rest.
/// So every word is a range, and the word of a single page is the address of that page.
const LOW: u64 = PAGE_SIZE - 1;
const ADDRESS_BITS: u32 = ADDRESS_LIMIT.trailing_zeros();
const HIGH_BITS: u32 = u64::BITS - ADDRESS_BITS;
const _: () = assert!(MAX_PAGES == PAGE_SIZE << HIGH_BITS);

#[inline]
fn pack(range: PageRange<Ipa>) -> u64 {
    let more = range.pages().wrapping_sub(1);
    more << ADDRESS_BITS | range.base().raw() | more >> HIGH_BITS
}

/// Returns the range in `word`.
#[inline]
fn unpack(word: u64) -> PageRange<Ipa> {
    let more = word >> ADDRESS_BITS | (word & LOW) << HIGH_BITS;
    let base = Ipa::new(word & !LOW & (ADDRESS_LIMIT - 1));
    PageRange::again(base, more.wrapping_add(1))
}

/// Returns the ranges of a page, and the link to the next page. It is not inlined, so that the
/// loops over ranges have the registers.
#[inline(never)]
fn split(store: Pages<'_>, page: Option<ListPage>) -> Option<(&[AtomicU64], &AtomicU64)> {
    let (link, ranges) = page?.words(store).split_last()?;
    Some((ranges, link))
}

/// Returns the page behind `page`.
#[inline]
fn following(store: Pages<'_>, page: Option<ListPage>) -> Option<ListPage> {
    let (_, link) = split(store, page)?;
    ListPage::from_word(store, link.load(Ordering::Relaxed))
}

/// Returns word `index` of the ranges of a page.
#[inline]
fn range_in(store: Pages<'_>, page: Option<ListPage>, index: usize) -> Option<&AtomicU64> {
    split(store, page)?.0.get(index)
}

/// A list of ranges. It must be [released](Self::release) to the pool that its pages came from.
#[derive(Debug)]
pub(super) struct RangeList {
    inline: [AtomicU64; INLINE],
    /// The number of pages of memory in all ranges.
    pages: u64,
    count: u32,
    head: Option<ListPage>,
    /// The page that the next range goes to, and the place of that range in the page.
    tail: Option<ListPage>,
    next: u16,
    /// The last page, and the number of pages.
    last: Option<ListPage>,
    taken: u16,
}

impl RangeList {
    /// An empty list, which is all zero.
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "lists begin as copies of it"
    )]
    pub(super) const EMPTY: Self = Self {
        inline: [const { AtomicU64::new(0) }; INLINE],
        pages: 0,
        count: 0,
        head: None,
        tail: None,
        next: 0,
        last: None,
        taken: 0,
    };

    /// Returns the number of ranges.
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// Returns the number of pages in all ranges.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    /// Makes room for `more` ranges. `NO_MEMORY` if `pool` has too few pages; those that it had are
    /// taken then, and another attempt goes on from there.
    #[inline]
    pub(super) fn reserve(
        &mut self,
        store: Pages<'_>,
        pool: &mut PagePool,
        more: usize,
    ) -> Result<()> {
        let count = self.count().saturating_add(more).saturating_sub(INLINE);
        while usize::from(self.taken) < count.div_ceil(PER_PAGE) {
            let page = pool.take_list(store)?;
            match split(store, self.last) {
                Some((_, link)) => link.store(page.to_word(), Ordering::Relaxed),
                None => (self.head, self.tail) = (Some(page), Some(page)),
            }
            self.last = Some(page);
            self.taken = self.taken.wrapping_add(1);
        }
        Ok(())
    }

    /// Appends ranges, up to the first error among them or that of [`Self::push`], which it
    /// returns.
    pub(super) fn append(
        &mut self,
        store: Pages<'_>,
        mut ranges: impl Iterator<Item = Result<PageRange<Ipa>>>,
    ) -> Result<()> {
        while let Some(range) = ranges.next() {
            self.push(store, range?)?;
            // Fill the rest of the page without a look-up for each range.
            let (mut count, mut pages) = (0_usize, 0_u64);
            let mut outcome = Ok(());
            for (place, range) in self.room(store).iter().zip(ranges.by_ref()) {
                match range {
                    Ok(range) => {
                        place.store(pack(range), Ordering::Relaxed);
                        pages = pages.wrapping_add(range.pages());
                        count = count.wrapping_add(1);
                    }
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            // At most as many as a page has.
            self.next = self.next.wrapping_add(count as u16);
            self.count = self.count.wrapping_add(count as u32);
            self.pages = self.pages.wrapping_add(pages);
            outcome?;
        }
        Ok(())
    }

    /// Returns the free words of the page that the next range goes to; none while ranges go to the
    /// share itself.
    fn room<'p>(&self, store: Pages<'p>) -> &'p [AtomicU64] {
        let words = split(store, self.tail).filter(|_| self.count() >= INLINE);
        words
            .and_then(|(words, _)| words.get(self.next.into()..))
            .unwrap_or(&[])
    }

    /// Appends a range. `INVALID_PARAMETERS` if no room was reserved for it.
    #[inline]
    pub(super) fn push(&mut self, store: Pages<'_>, range: PageRange<Ipa>) -> Result<()> {
        if let Some(slot) = self.inline.get_mut(self.count as usize) {
            *slot.get_mut() = pack(range);
        } else {
            let place = match range_in(store, self.tail, self.next.into()) {
                Some(place) => place,
                None => self.turn_page(store)?,
            };
            place.store(pack(range), Ordering::Relaxed);
            self.next = self.next.wrapping_add(1);
        }
        self.count = self.count.wrapping_add(1);
        // At most `MAX_PAGES` in each of less than 2^32 ranges: no overflow.
        self.pages = self.pages.wrapping_add(range.pages());
        Ok(())
    }

    /// Goes on to the next page that was reserved, and returns its first word.
    #[cold]
    fn turn_page<'p>(&mut self, store: Pages<'p>) -> Result<&'p AtomicU64> {
        let next = following(store, self.tail);
        let first = range_in(store, next, 0).ok_or(FfaError::InvalidParameters)?;
        (self.tail, self.next) = (next, 0);
        Ok(first)
    }

    /// Returns the ranges in order.
    pub(super) fn iter<'p>(&'p self, store: Pages<'p>) -> Iter<'p> {
        self.iter_from(store, 0)
    }

    /// Returns the ranges in order, from the one with index `first` on.
    #[inline]
    pub(super) fn iter_from<'p>(&'p self, store: Pages<'p>, first: usize) -> Iter<'p> {
        let inline = self.inline.get(first..self.count().min(INLINE));
        let mut rest = Iter {
            words: inline.unwrap_or(&[]).iter(),
            store,
            page: self.head,
            left: self.count().saturating_sub(INLINE),
        };
        let mut skip = first.saturating_sub(INLINE);
        while skip > 0 && rest.page.is_some() {
            rest = rest.turn_page();
            let words = rest.words.as_slice();
            let skipped = skip.min(words.len());
            rest.words = Invariant::part(words.get(skipped..)).iter();
            skip = skip.wrapping_sub(skipped);
        }
        rest
    }

    /// Gives the pages back and forgets all ranges.
    #[inline(always)]
    pub(super) fn release(&mut self, store: Pages<'_>, pool: &mut PagePool) {
        if self.head.is_some() {
            self.release_pages(store, pool);
        }
        *self = Self::EMPTY;
    }

    /// Gives the pages back, of which there are some.
    #[inline]
    fn release_pages(&mut self, store: Pages<'_>, pool: &mut PagePool) {
        let mut left = self.count().saturating_sub(INLINE);
        while let Some(page) = self.head {
            self.head = following(store, self.head);
            let used = left.min(PER_PAGE);
            if let Some((ranges, link)) = split(store, Some(page)) {
                clear(ranges.get(..used).unwrap_or(ranges));
                link.store(0, Ordering::Relaxed);
            }
            pool.give_back_list(store, page);
            left = left.saturating_sub(used);
        }
    }
}

/// A position in a list, before which all pages are done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    /// Whole ranges that are done, and pages of the next range.
    ranges: u32,
    /// Fewer than [`MAX_PAGES`].
    pages: u32,
}

impl Position {
    /// The start, where nothing is done yet.
    pub(super) const START: Self = Self {
        ranges: 0,
        pages: 0,
    };

    /// Returns whether all of `list` is done.
    pub(super) fn is_end(&self, list: &RangeList) -> bool {
        self.ranges == list.count
    }

    /// Returns the number of pages of the next range that are done.
    fn pages(&self) -> u64 {
        self.pages.into()
    }

    /// Goes on by that many pages of `range`, in which the position lies.
    fn advance(&mut self, range: &PageRange<Ipa>, pages: u64) {
        let done = self.pages().saturating_add(pages);
        if done >= range.pages() {
            self.ranges = self.ranges.wrapping_add(1);
            self.pages = 0;
        } else {
            self.pages = done as u32;
        }
    }

    /// Returns the address of the position in `range`.
    fn address(&self, range: &PageRange<Ipa>) -> u64 {
        let offset = self.pages().wrapping_mul(PAGE_SIZE);
        range.base().raw().wrapping_add(offset)
    }

    /// Compares `list` with another one, which must name the same pages in the same order. The
    /// result is called with one range of the other list after the other, and returns whether that
    /// range is next.
    pub(super) fn compare<'c>(
        &'c mut self,
        list: &'c RangeList,
        store: Pages<'c>,
    ) -> impl FnMut(PageRange<Ipa>) -> bool + 'c {
        let mut rest = list.iter_from(store, self.ranges as usize);
        let mut own = rest.next();
        move |range| {
            let mut left = range.pages();
            let mut next = range.base().raw();
            while left > 0 {
                let Some(current) = own.filter(|current| self.address(current) == next) else {
                    return false;
                };
                let pages = left.min(current.pages().saturating_sub(self.pages()));
                left = left.saturating_sub(pages);
                next = next.wrapping_add(pages.wrapping_mul(PAGE_SIZE));
                self.advance(&current, pages);
                if self.pages == 0 {
                    own = rest.next();
                }
            }
            true
        }
    }

    /// Takes the next pages, at most `most` of them; `None` at the end, or if `most` is 0.
    pub(super) fn take(&mut self, rest: &mut Iter<'_>, most: u64) -> Option<PageRange<Ipa>> {
        let range = rest.clone().next()?;
        let pages = most.min(range.pages().saturating_sub(self.pages()));
        let taken = PageRange::new(Ipa::new(self.address(&range)), pages)?;
        self.advance(&range, pages);
        if self.pages == 0 {
            rest.next();
        }
        Some(taken)
    }

    /// Returns the ranges from the position on.
    pub(super) fn rest<'p>(&self, list: &'p RangeList, store: Pages<'p>) -> Iter<'p> {
        list.iter_from(store, self.ranges as usize)
    }
}

/// See [`RangeList::iter`].
#[derive(Clone)]
pub(super) struct Iter<'p> {
    /// Ranges in the share itself, which come first, or of the page behind which `page` comes.
    words: slice::Iter<'p, AtomicU64>,
    store: Pages<'p>,
    /// The next page, and the number of ranges in that page and those behind it.
    page: Option<ListPage>,
    left: usize,
}

impl Iter<'_> {
    /// Goes on to the next page. It takes the iterator by value, so that a loop can keep it in
    /// registers.
    #[cold]
    fn turn_page(mut self) -> Self {
        let words = split(self.store, self.page).map_or(&[][..], |(words, _)| words);
        let words = words.get(..self.left).unwrap_or(words);
        self.words = words.iter();
        self.left = self.left.saturating_sub(words.len());
        self.page = following(self.store, self.page);
        self
    }
}

impl Iterator for Iter<'_> {
    type Item = PageRange<Ipa>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(word) = self.words.next() {
                return Some(unpack(word.load(Ordering::Relaxed)));
            }
            if self.left == 0 || self.page.is_none() {
                return None;
            }
            *self = self.clone().turn_page();
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;
    use crate::addr::PAGE_SHIFT;
    use crate::mm::testing::{FakeHal, Leaves, pages};

    /// Returns all that a list consists of.
    fn fields(list: &RangeList) -> impl PartialEq + core::fmt::Debug + use<> {
        let inline = list.inline.each_ref().map(|it| it.load(Ordering::Relaxed));
        let tail = (list.tail, list.next);
        let room = (list.last, list.taken);
        (inline, list.pages, list.count, list.head, tail, room)
    }

    fn is_empty(list: &RangeList) -> bool {
        let empty = RangeList::EMPTY;
        fields(list) == fields(&empty)
    }

    // req: MEMRQ-07, MEMX-11
    #[test]
    fn ranges_keep_their_order_and_pages_come_back() {
        let hal = FakeHal::new(5);
        let store = Pages::of(&hal);
        let mut pool = PagePool::all(&hal);
        for count in [
            0,
            1,
            INLINE,
            INLINE + 1,
            INLINE + PER_PAGE,
            INLINE + PER_PAGE + 1,
            INLINE + 4 * PER_PAGE,
        ] {
            let ranges: Vec<_> = (0..count as u64)
                .map(|n| pages(((n * 7919) % 0x7000) << 12, 1 + n * 4099))
                .collect();
            let mut list = RangeList::EMPTY;
            list.reserve(store, &mut pool, count).unwrap();
            for range in &ranges {
                list.push(store, *range).unwrap();
            }
            assert_eq!(list.iter(store).collect::<Vec<_>>(), ranges);
            for first in [1, INLINE, INLINE + 1, PER_PAGE, INLINE + PER_PAGE, count] {
                let rest: Vec<_> = list.iter_from(store, first).collect();
                assert_eq!(rest, ranges.get(first..).unwrap_or(&[]), "from {first}");
                // In two fragments.
                list.release(store, &mut pool);
                let (some, others) = ranges.split_at(first.min(count));
                for part in [some, others] {
                    list.reserve(store, &mut pool, part.len()).unwrap();
                    list.append(store, part.iter().copied().map(Ok)).unwrap();
                }
                assert_eq!(list.iter(store).collect::<Vec<_>>(), ranges);
            }
            assert_eq!(list.count(), count);
            assert_eq!(list.pages(), ranges.iter().map(PageRange::pages).sum());
            assert_eq!(
                pool.available(),
                4 - count.saturating_sub(INLINE).div_ceil(PER_PAGE)
            );
            if pool.available() == 0 {
                let mut more = RangeList::EMPTY;
                assert_eq!(
                    more.reserve(store, &mut pool, INLINE + 1),
                    Err(FfaError::NoMemory)
                );
                more.reserve(store, &mut pool, INLINE).unwrap();
                assert!(is_empty(&more));
            }
            list.release(store, &mut pool);
            assert_eq!((is_empty(&list), pool.available()), (true, 4));
            // Given up half way.
            list.reserve(store, &mut pool, count).unwrap();
            for range in ranges.iter().take(count / 2) {
                list.push(store, *range).unwrap();
            }
            list.release(store, &mut pool);
            assert_eq!((is_empty(&list), pool.available()), (true, 4));
            assert_eq!(hal.leaves(&[]), Leaves::default());
        }
    }

    #[test]
    fn ranges_are_appended_up_to_the_first_that_is_none() {
        let hal = FakeHal::new(5);
        let store = Pages::of(&hal);
        let mut pool = PagePool::all(&hal);
        for count in [0, 1, INLINE, INLINE + 1, INLINE + PER_PAGE] {
            let mut list = RangeList::EMPTY;
            list.reserve(store, &mut pool, count + 1).unwrap();
            let good = (0..count as u64).map(|n| Ok(pages(n << 13, 1)));
            let bad = [Err(FfaError::Denied), Ok(pages(0, 1))];
            let appended = list.append(store, good.clone().chain(bad));
            assert_eq!(appended, Err(FfaError::Denied));
            assert!(list.iter(store).map(Ok).eq(good));
            assert_eq!((list.count(), list.pages()), (count, count as u64));
            list.release(store, &mut pool);
        }
    }

    // req: FRAG-07
    #[test]
    fn only_pages_that_were_reserved_are_written() {
        // Pages with notes: 0 and 1.
        let hal = FakeHal::new(300);
        let store = Pages::of(&hal);
        let mut pool = PagePool::all(&hal);
        let range = pages(0x1000, 1);
        for (reserved, room) in [
            (0, INLINE),
            (INLINE, INLINE),
            (INLINE + 1, INLINE + PER_PAGE),
            (INLINE + PER_PAGE + 1, INLINE + 2 * PER_PAGE),
        ] {
            let mut list = RangeList::EMPTY;
            list.reserve(store, &mut pool, reserved).unwrap();
            for _ in 0..room {
                list.push(store, range).unwrap();
            }
            let full = (hal.words(), fields(&list));
            for attempt in 0..3 {
                let refused = match attempt {
                    0 => list.push(store, range),
                    _ => list.append(store, [Ok(range), Ok(range)].into_iter()),
                };
                assert_eq!(refused, Err(FfaError::InvalidParameters));
                assert_eq!((hal.words(), fields(&list)), full);
            }
            assert_eq!(list.iter(store).count(), room);
            list.release(store, &mut pool);
            assert!(hal.words().iter().all(|(page, _, _)| *page < 2));
            assert_eq!(pool.held(), 0);
        }
        // A link that leads to notes leads nowhere.
        for page in 0..3 {
            let mut list = RangeList::EMPTY;
            list.count = INLINE as u32;
            list.tail = ListPage::from_word(store, page);
            let before = hal.words();
            let pushed = list.push(store, range);
            assert_eq!(pushed.is_ok(), page == 2, "page {page}");
            assert_eq!(hal.words() == before, page != 2);
        }
    }

    #[test]
    fn the_largest_range_fits_a_word() {
        let size = MAX_PAGES << PAGE_SHIFT;
        for limit in [1 << 39, 1 << 41, 1 << 43, 1 << 44, ADDRESS_LIMIT] {
            for range in [
                pages(0, MAX_PAGES.min(limit >> PAGE_SHIFT)),
                pages(0x1000, MAX_PAGES >> 4),
                pages(limit - size.min(limit), MAX_PAGES.min(limit >> PAGE_SHIFT)),
                pages(limit - PAGE_SIZE, 1),
            ] {
                assert_eq!(unpack(pack(range)), range);
            }
        }
    }
}
