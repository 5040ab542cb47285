//! The model's pages and transactions.

use std::ops::Range;

use spmc::addr::World;

use super::{Model, NWD, PARTITIONS};
use crate::ffa::NORMAL;
use crate::machine::NORMAL_RAM;
use crate::manifest::{PARTITION_SIZE, partition_base};
use crate::system::{NWD_PAGES, NWD_RX, NWD_TX};

/// The offset in a page of the byte that partitions write around the caches whenever they write the
/// first one.
pub(super) const AROUND: u64 = 0x800;

/// The state of one page.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The address space of the page.
    pub world: World,
    /// The owner.
    pub owner: u16,
    /// Set if the owner may write while it has access. It may always read.
    pub write: bool,
    /// Set if the owner may execute while it has access.
    pub execute: bool,
    /// The owner's memory type, in the encoding of descriptors.
    pub memory: u16,
    /// The first byte of the contents. Where it is zero, memory has zero at [`AROUND`].
    pub byte: u8,
}

impl Page {
    /// Returns whether the owner has the page as Normal memory. A page that it has as Device memory
    /// can only be lent, as Device memory.
    pub const fn is_normal(&self) -> bool {
        self.memory >> 4 == 2
    }
}

/// The three ways to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Owner and borrowers have access.
    Share,
    /// Only borrowers have access.
    Lend,
    /// The receiver becomes the owner.
    Donate,
}

/// The access of a borrower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Set if the borrower may write.
    pub write: bool,
    /// Set if the borrower may execute.
    pub execute: bool,
    /// Set if the borrower wants the pages zeroed if it dies while it has them.
    pub zero_after: bool,
}

/// An endpoint that may retrieve.
#[derive(Clone, Debug)]
pub struct Borrower {
    /// The id.
    pub id: u16,
    /// The data permission that the owner gave. In a donation, that of the owner itself.
    pub write: bool,
    /// The present access.
    pub held: Option<Held>,
}

/// A transaction.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Share, lend or donate.
    pub kind: Kind,
    /// The sender.
    pub owner: u16,
    /// The handle.
    pub handle: u64,
    /// The tag.
    pub tag: u64,
    /// The pages in their order.
    pub pages: Vec<u64>,
    /// The receivers.
    pub borrowers: Vec<Borrower>,
    /// Set if the region was zeroed before it was sent.
    pub zeroed: bool,
    /// Set if the region will be zeroed when the last borrower relinquishes it.
    pub zero_after: bool,
    /// Set if the descriptor was changed at random, so that it may contain what no valid request
    /// asks for.
    pub odd: bool,
    /// Set if the owner's life in which it sent the region is over. The transaction then ends with
    /// the last borrower.
    pub orphaned: bool,
    /// Set if the handle is valid.
    pub live: bool,
}

impl Sent {
    /// Returns whether any borrower has the region.
    pub fn is_held(&self) -> bool {
        self.borrowers
            .iter()
            .any(|borrower| borrower.held.is_some())
    }

    /// Returns whether all receivers are bound to the attributes that the owner stated.
    pub fn is_uniform(&self) -> bool {
        self.kind == Kind::Share || self.borrowers.len() > 1
    }
}

impl Model {
    /// Returns the page, or `None` if no transaction can contain it.
    pub(super) fn page(&self, page: u64) -> Option<Page> {
        self.touched.get(&page).copied().or_else(|| at_first(page))
    }

    /// Returns the page for a change, and notes it as touched.
    pub(super) fn page_mut(&mut self, page: u64) -> &mut Page {
        self.touched
            .entry(page)
            .or_insert_with(|| at_first(page).expect("a page"))
    }

    /// Returns the live transaction that contains the page.
    pub(super) fn sent_page(&self, page: u64) -> Option<&Sent> {
        self.sent
            .iter()
            .find(|sent| sent.live && sent.pages.contains(&page))
    }

    /// Returns what `id` can do with `page`: read, write, execute.
    pub(super) fn access(&self, id: u16, page: u64) -> [bool; 3] {
        let Some(state) = self.page(page) else {
            return [false; 3];
        };
        let sent = self.sent_page(page);
        if state.owner == id {
            let has = sent.is_none_or(|sent| sent.kind == Kind::Share);
            return [has, has && state.write, has && state.execute];
        }
        let held = sent
            .and_then(|sent| sent.borrowers.iter().find(|borrower| borrower.id == id))
            .and_then(|borrower| borrower.held);
        held.map_or([false; 3], |held| [true, held.write, held.execute])
    }

    /// Returns the pages of live transactions that lie in `range`.
    pub(super) fn live_pages(&self, range: Range<u64>) -> impl Iterator<Item = u64> {
        let live = self.sent.iter().filter(|sent| sent.live);
        let pages = live.flat_map(|sent| &sent.pages).copied();
        pages.filter(move |page| range.contains(page))
    }

    /// Fills pages with zeros.
    pub(super) fn zero(&mut self, pages: &[u64]) {
        for page in pages {
            self.page_mut(*page).byte = 0;
        }
    }

    /// Returns whether `by` may send these pages in one transaction: it owns all of them and has
    /// access, no page occurs twice, none is a buffer, and all are alike except for execution.
    pub(super) fn may_send(&self, by: u16, pages: &[u64]) -> bool {
        let mut distinct = pages.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let Some(first) = pages.first().and_then(|page| self.page(*page)) else {
            return false;
        };
        distinct.len() == pages.len()
            && pages.iter().all(|page| {
                !is_buffer(*page)
                    && self.sent_page(*page).is_none()
                    && self.page(*page).is_some_and(|state| {
                        state.owner == by
                            && (state.world, state.write, state.memory)
                                == (first.world, first.write, first.memory)
                    })
            })
    }

    /// Returns whether the owner may execute all these pages while it has access.
    pub(super) fn executes_all(&self, pages: &[u64]) -> bool {
        let mut pages = pages.iter();
        pages.all(|page| self.page(*page).is_some_and(|page| page.execute))
    }

    /// Returns the pages of which most transactions are made.
    pub(super) fn favourites() -> Vec<u64> {
        // Some consecutive pages, and some on both sides of a multiple of 2 MiB.
        let mut pages: Vec<u64> = (0..4)
            .flat_map(|n| [NWD_PAGES + n * 0x1000, 0x423f_e000 + n * 0x1000])
            .collect();
        for index in 0..PARTITIONS.len() {
            pages.extend((0..4).map(|n| partition_base(index) + 0x4_0000 + n * 0x1000));
        }
        pages
    }
}

/// Returns whether the page is RX or TX of an endpoint.
pub fn is_buffer(page: u64) -> bool {
    let of_partition = (0..PARTITIONS.len())
        .map(|index| partition_base(index) + 0x1_0000)
        .any(|tx| page == tx || page == tx + 0x1000);
    of_partition || page == NWD_TX || page == NWD_RX
}

/// Returns the state of a page after boot.
fn at_first(page: u64) -> Option<Page> {
    let page_of = |world, owner, execute| Page {
        world,
        owner,
        write: true,
        execute,
        memory: NORMAL,
        byte: 0,
    };
    if NORMAL_RAM.contains(&page) {
        return Some(page_of(World::NonSecure, NWD, false));
    }
    (0..PARTITIONS.len())
        .find(|index| {
            let base = partition_base(*index);
            (base..base + PARTITION_SIZE).contains(&page)
        })
        .map(|index| page_of(World::Secure, PARTITIONS[index], true))
}
