//! Pages and transactions.

use std::ops::Range;

use spmc::addr::World;

use super::{Model, NWD, PARTITIONS};
use crate::ffa::NORMAL;
use crate::machine::NORMAL_RAM;
use crate::manifest::{PARTITION_SIZE, partition_base};
use crate::system::{NWD_PAGES, NWD_RX, NWD_TX};

/// Everything that happens to one page.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Where it is.
    pub world: World,
    /// Whose it is.
    pub owner: u16,
    /// True if the owner may write while it has access; it may always read.
    pub write: bool,
    /// True if the owner may execute while it has access.
    pub execute: bool,
    /// The memory type by which the owner has it, in the encoding of descriptors.
    pub memory: u16,
    /// First byte of the content.
    pub byte: u8,
}

impl Page {
    /// Returns whether the owner has it as Normal memory. What it took as a device can only be
    /// lent, as a device.
    pub const fn is_normal(&self) -> bool {
        self.memory >> 4 == 2
    }
}

/// The three ways to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Owner and borrowers have access.
    Share,
    /// Borrowers alone.
    Lend,
    /// The receiver becomes the owner.
    Donate,
}

/// Describes the access of a borrower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// It may write.
    pub write: bool,
    /// It may execute.
    pub execute: bool,
    /// It wants the pages zeroed if it dies with them.
    pub zero_after: bool,
}

/// Somebody who may retrieve.
#[derive(Clone, Debug)]
pub struct Borrower {
    /// Who.
    pub id: u16,
    /// Data permission that the owner gave; the owner's own in a donation.
    pub write: bool,
    /// The access that it has now.
    pub held: Option<Held>,
}

/// A transaction.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Share, lend or donate.
    pub kind: Kind,
    /// Who sent it.
    pub owner: u16,
    /// Its handle.
    pub handle: u64,
    /// Its tag.
    pub tag: u64,
    /// The pages in their order.
    pub pages: Vec<u64>,
    /// The receivers.
    pub borrowers: Vec<Borrower>,
    /// It was zeroed before it was sent.
    pub zeroed: bool,
    /// It will be zeroed when the last borrower leaves.
    pub zero_after: bool,
    /// Its descriptor was changed at random, so that it may hold what nobody asks for in the right
    /// way.
    pub odd: bool,
    /// The life in which its owner sent it is over: it ends when nobody has it.
    pub orphaned: bool,
    /// The handle is good.
    pub live: bool,
}

impl Sent {
    /// Returns whether anybody has it.
    pub fn is_held(&self) -> bool {
        self.borrowers
            .iter()
            .any(|borrower| borrower.held.is_some())
    }

    /// Returns whether all receivers are bound to what the owner said.
    pub fn is_uniform(&self) -> bool {
        self.kind == Kind::Share || self.borrowers.len() > 1
    }
}

impl Model {
    /// The page as it is; `None` if transactions know no such page.
    pub(super) fn page(&self, page: u64) -> Option<Page> {
        self.touched.get(&page).copied().or_else(|| at_first(page))
    }

    /// The page, from now on one that something happened to.
    pub(super) fn page_mut(&mut self, page: u64) -> &mut Page {
        self.touched
            .entry(page)
            .or_insert_with(|| at_first(page).expect("a page"))
    }

    /// The live transaction that the page is in.
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

    /// Those pages of live transactions that lie in `range`.
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

    /// Returns whether `by` may send these pages in one transaction: all its own, with access, none
    /// twice, none a buffer, all alike but for execution.
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

    /// Pages that transactions are mostly made of.
    pub(super) fn favourites() -> Vec<u64> {
        // Some in a row, and some around a border of 2 MiB.
        let mut pages: Vec<u64> = (0..4)
            .flat_map(|n| [NWD_PAGES + n * 0x1000, 0x423f_e000 + n * 0x1000])
            .collect();
        for index in 0..PARTITIONS.len() {
            pages.extend((0..4).map(|n| partition_base(index) + 0x4_0000 + n * 0x1000));
        }
        pages
    }
}

/// Returns whether the page is RX or TX of somebody.
pub fn is_buffer(page: u64) -> bool {
    let of_partition = (0..PARTITIONS.len())
        .map(|index| partition_base(index) + 0x1_0000)
        .any(|tx| page == tx || page == tx + 0x1000);
    of_partition || page == NWD_TX || page == NWD_RX
}

/// A page after boot.
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
