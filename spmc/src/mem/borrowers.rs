//! The receivers of a share. Most shares have one, which lies in the share itself. The others of a
//! share with several lie in a list of [`MAX_BORROWERS`] less one, of which there are few: like
//! slots of shares, some belong to one endpoint each, and the others are for all.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter::{self, Chain};
use core::{mem, option, slice};

use super::share::Borrower;
use crate::error::{FfaError, Result};
use crate::limits::{CROWDS_COMMON, CROWDS_NORMAL_WORLD, CROWDS_PARTITION, MAX_BORROWERS};
use crate::sync::Mutex;

/// The receivers of one share, in the order in which the owner named them. They must be
/// [dismissed](Crowds::dismiss) in the end.
#[derive(Debug, Default)]
pub(super) struct Borrowers {
    first: Option<Borrower>,
    /// The others. Without a list there is no room for any.
    others: Vec<Borrower>,
    /// Where the list comes from.
    home: usize,
}

impl Borrowers {
    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()).saturating_add(self.others.len())
    }

    /// Returns the one that was named first.
    pub(super) fn first(&self) -> Option<&Borrower> {
        self.first.as_ref()
    }

    /// Iterates over them.
    #[inline]
    pub(super) fn iter(&self) -> Chain<option::Iter<'_, Borrower>, slice::Iter<'_, Borrower>> {
        self.first.iter().chain(&self.others)
    }

    /// Iterates over them, for changes.
    #[inline]
    pub(super) fn iter_mut(
        &mut self,
    ) -> Chain<option::IterMut<'_, Borrower>, slice::IterMut<'_, Borrower>> {
        self.first.iter_mut().chain(&mut self.others)
    }
}

/// Lists for the borrowers of shares that have several.
#[derive(Debug)]
pub(super) struct Crowds {
    /// Those of the Normal world, those of each partition by its index, and those for all.
    vacant: Box<[Mutex<Vec<Vec<Borrower>>>]>,
}

impl Crowds {
    /// Makes the lists of a system with that many partitions.
    pub(super) fn new(partitions: usize) -> Self {
        let own = iter::repeat_n(CROWDS_PARTITION, partitions);
        let counts = [CROWDS_NORMAL_WORLD]
            .into_iter()
            .chain(own)
            .chain([CROWDS_COMMON]);
        let list = || Vec::with_capacity(MAX_BORROWERS.saturating_sub(1));
        Self {
            vacant: counts
                .map(|count| Mutex::new((0..count).map(|_| list()).collect()))
                .collect(),
        }
    }

    /// Adds a borrower to a share of the partition at the index `owner`, or for `None` of the
    /// Normal world. `NO_MEMORY` if there are [`MAX_BORROWERS`] already, or no list is left.
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
        if borrowers.others.capacity() == 0 {
            let own = owner.map_or(0, |index| index.saturating_add(1));
            let common = self.vacant.len().saturating_sub(1);
            let (home, list) = [own, common]
                .into_iter()
                .find_map(|home| Some((home, self.vacant.get(home)?.lock().pop()?)))
                .ok_or(FfaError::NoMemory)?;
            borrowers.others = list;
            borrowers.home = home;
        }
        // Nothing is allocated after boot.
        if borrowers.others.len() == borrowers.others.capacity() {
            return Err(FfaError::NoMemory);
        }
        borrowers.others.push(borrower);
        Ok(())
    }

    /// Takes all borrowers of a share away.
    #[inline]
    pub(super) fn dismiss(&self, borrowers: &mut Borrowers) {
        if borrowers.others.capacity() != 0 {
            self.take_back(borrowers);
        }
        borrowers.first = None;
    }

    #[cold]
    #[inline(never)]
    fn take_back(&self, borrowers: &mut Borrowers) {
        let mut list = mem::take(&mut borrowers.others);
        list.clear();
        if let Some(home) = self.vacant.get(borrowers.home) {
            // The list that it comes from has room for it.
            home.lock().push(list);
        }
    }
}
