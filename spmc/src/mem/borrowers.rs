//! The receivers of a share. Most shares have one, which lies in the share itself. The others of a
//! share with several lie in a list of [`MAX_BORROWERS`] less one, of which there are few: like
//! slots of shares, some belong to one endpoint each, and the others are for all.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter::{self, Chain};
use core::{option, slice};

use arrayvec::ArrayVec;

use super::share::Borrower;
use crate::error::{FfaError, Result};
use crate::limits::{CROWDS_COMMON, CROWDS_NORMAL_WORLD, CROWDS_PARTITION, MAX_BORROWERS};
use crate::sync::Mutex;

/// The receivers of one share, in the order in which the owner named them. They must be
/// [dismissed](Crowds::dismiss) in the end.
#[derive(Debug, Default)]
pub(super) struct Borrowers {
    first: Option<Borrower>,
    /// The others, if there are any.
    crowd: Option<Box<Crowd>>,
}

/// A list for all borrowers of a share but the first.
#[derive(Debug)]
struct Crowd {
    list: ArrayVec<Borrower, { MAX_BORROWERS - 1 }>,
    /// Where the list comes from: an index of [`Crowds::vacant`].
    home: usize,
}

impl Borrowers {
    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()).saturating_add(self.others().len())
    }

    #[inline]
    fn others(&self) -> &[Borrower] {
        self.crowd.as_ref().map_or(&[], |crowd| &crowd.list)
    }

    /// Returns the one that was named first.
    pub(super) fn first(&self) -> Option<&Borrower> {
        self.first.as_ref()
    }

    /// Iterates over them.
    #[inline]
    pub(super) fn iter(&self) -> Chain<option::Iter<'_, Borrower>, slice::Iter<'_, Borrower>> {
        self.first.iter().chain(self.others())
    }

    /// Iterates over them, for changes.
    #[inline]
    pub(super) fn iter_mut(
        &mut self,
    ) -> Chain<option::IterMut<'_, Borrower>, slice::IterMut<'_, Borrower>> {
        let others: &mut [Borrower] = match &mut self.crowd {
            Some(crowd) => &mut crowd.list,
            None => &mut [],
        };
        self.first.iter_mut().chain(others)
    }
}

/// Lists for the borrowers of shares that have several.
#[derive(Debug)]
pub(super) struct Crowds {
    /// Those of the Normal world, those of each partition by its index, and those for all.
    #[allow(
        clippy::vec_box,
        reason = "lists stay where they are, and change hands"
    )]
    vacant: Box<[Mutex<Vec<Box<Crowd>>>]>,
}

impl Crowds {
    /// Makes the lists of a system with that many partitions.
    pub(super) fn new(partitions: usize) -> Self {
        let own = iter::repeat_n(CROWDS_PARTITION, partitions);
        let counts = [CROWDS_NORMAL_WORLD]
            .into_iter()
            .chain(own)
            .chain([CROWDS_COMMON]);
        let crowd = |home| {
            Box::new(Crowd {
                list: ArrayVec::new(),
                home,
            })
        };
        let crowds =
            |(home, count)| Mutex::new(iter::repeat_with(|| crowd(home)).take(count).collect());
        Self {
            vacant: counts.enumerate().map(crowds).collect(),
        }
    }

    /// Adds a borrower to a share of the partition at the index `owner`, or for `None` of the
    /// Normal world. `NO_MEMORY` if there are [`MAX_BORROWERS`] already, or no list is left.
    #[inline]
    pub(super) fn add(
        &self,
        owner: Option<usize>,
        borrowers: &mut Borrowers,
        borrower: Borrower,
    ) -> Result<()> {
        if borrowers.first.is_none() {
            borrowers.first = Some(borrower);
            return Ok(());
        }
        self.add_other(owner, borrowers, borrower)
    }

    /// Adds a borrower that is not the first: see [`Self::add`].
    #[cold]
    #[inline(never)]
    fn add_other(
        &self,
        owner: Option<usize>,
        borrowers: &mut Borrowers,
        borrower: Borrower,
    ) -> Result<()> {
        let crowd = match &mut borrowers.crowd {
            Some(crowd) => crowd,
            none => none.insert(self.take(owner).ok_or(FfaError::NoMemory)?),
        };
        let pushed = crowd.list.try_push(borrower);
        pushed.map_err(|_| FfaError::NoMemory)
    }

    /// Takes a vacant list for a share of that owner.
    fn take(&self, owner: Option<usize>) -> Option<Box<Crowd>> {
        let own = owner.map_or(0, |index| index.saturating_add(1));
        let common = self.vacant.len().saturating_sub(1);
        let mut homes = [own, common].into_iter();
        homes.find_map(|home| self.vacant.get(home)?.lock().pop())
    }

    /// Takes all borrowers of a share away.
    #[inline]
    pub(super) fn dismiss(&self, borrowers: &mut Borrowers) {
        if let Some(crowd) = borrowers.crowd.take() {
            self.take_back(crowd);
        }
        borrowers.first = None;
    }

    #[cold]
    #[inline(never)]
    fn take_back(&self, mut crowd: Box<Crowd>) {
        crowd.list.clear();
        if let Some(home) = self.vacant.get(crowd.home) {
            // The vector that it comes from has room for it: nothing is allocated.
            home.lock().push(crowd);
        }
    }
}
