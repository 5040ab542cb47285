//! Memory transaction descriptors (FF-A v1.0 section 5.12, v1.1 section 10.11): an encoder for
//! senders and borrowers, and the layouts by which a borrower reads responses.

use crate::rt::page::{PAGE_SIZE, Shared};

use super::{V1_0, V1_1};

/// Read-only and read-write data permissions.
#[allow(missing_docs)]
pub mod access {
    pub const NOT_SPECIFIED: u8 = 0;
    pub const RO: u8 = 1;
    pub const RW: u8 = 2;
    pub const XN: u8 = 1 << 2;
    pub const X: u8 = 2 << 2;
}

/// Normal memory, write-back, inner shareable.
pub const NORMAL_WB: u16 = 0x2f;
/// Attribute bit of Non-secure memory in a retrieve response (1.1).
pub const NS: u16 = 1 << 6;

/// Flags of transactions.
#[allow(missing_docs)]
pub mod flag {
    pub const ZERO: u32 = 1;
    pub const TIME_SLICE: u32 = 1 << 1;
    pub const ZERO_AFTER: u32 = 1 << 2;
    pub const SHARE: u32 = 1 << 3;
    pub const LEND: u32 = 2 << 3;
    pub const DONATE: u32 = 3 << 3;
    pub const HINT_4K_TIMES_2: u32 = 1 << 5;
    pub const BYPASS: u32 = 1 << 10;
}

/// One receiver of a transaction.
#[derive(Clone, Copy)]
pub struct Receiver {
    /// Endpoint id.
    pub id: u16,
    /// Data and instruction permissions.
    pub access: u8,
    /// Flags of the receiver.
    pub flags: u8,
}

/// A transaction as its sender or a borrower describes it.
#[derive(Clone, Copy)]
pub struct Transaction<'a> {
    /// The owner of the memory.
    pub sender: u16,
    /// Memory region attributes.
    pub attributes: u16,
    /// Transaction flags.
    pub flags: u32,
    /// The handle; 0 in a send.
    pub handle: u64,
    /// The tag that the sender chose.
    pub tag: u64,
    /// The receivers.
    pub receivers: &'a [Receiver],
    /// Address and number of 4 KiB pages of each range. A retrieve request has none, and no
    /// composite descriptor.
    pub ranges: &'a [(u64, u32)],
}

/// Offsets and sizes in a descriptor of one version.
pub struct Layout {
    /// Offset of the array of receivers.
    pub receivers: usize,
    /// Size of one receiver.
    pub receiver_size: usize,
    /// Offset of the number of receivers.
    pub count: usize,
}

/// Returns the layout for a caller of this version.
pub const fn layout(version: u32) -> Layout {
    match version {
        V1_0 => Layout {
            receivers: 32,
            receiver_size: 16,
            count: 28,
        },
        V1_1 => Layout {
            receivers: 48,
            receiver_size: 16,
            count: 28,
        },
        _ => Layout {
            receivers: 48,
            receiver_size: 32,
            count: 28,
        },
    }
}

impl Layout {
    /// Returns the offset of the composite descriptor behind `receivers` receivers.
    pub const fn composite(&self, receivers: usize) -> usize {
        self.receivers + receivers * self.receiver_size
    }
}

/// Offset of the first constituent in a composite descriptor.
pub const CONSTITUENTS: usize = 16;

impl Transaction<'_> {
    /// Writes the descriptor as a caller of `version` does and returns its length.
    pub fn encode(&self, version: u32, buffer: &Shared<PAGE_SIZE>) -> usize {
        if self.ranges.is_empty() {
            return self.encode_receivers(version, 0, buffer);
        }
        let pages = self.ranges.iter().map(|range| range.1).sum();
        let count = self.ranges.len() as u32;
        let mut end = self.encode_head(version, count, pages, buffer);
        for (address, pages) in self.ranges {
            encode_constituent(buffer, end, *address, *pages);
            end += CONSTITUENT;
        }
        end
    }

    /// Writes the descriptor up to the first of `count` constituents, and returns the offset of
    /// that constituent.
    pub fn encode_head(
        &self,
        version: u32,
        count: u32,
        pages: u32,
        buffer: &Shared<PAGE_SIZE>,
    ) -> usize {
        let composite = layout(version).composite(self.receivers.len());
        self.encode_receivers(version, composite as u32, buffer);
        buffer.write(composite, &pages.to_le_bytes());
        buffer.write(composite + 4, &count.to_le_bytes());
        composite + CONSTITUENTS
    }

    /// Writes header and receivers, all with this offset of the composite descriptor, and returns
    /// the offset behind them.
    fn encode_receivers(&self, version: u32, offset: u32, buffer: &Shared<PAGE_SIZE>) -> usize {
        let layout = layout(version);
        buffer.fill(0);
        buffer.write(0, &self.sender.to_le_bytes());
        if version == V1_0 {
            buffer.write(2, &[self.attributes as u8]);
        } else {
            buffer.write(2, &self.attributes.to_le_bytes());
            buffer.write(24, &(layout.receiver_size as u32).to_le_bytes());
            buffer.write(32, &(layout.receivers as u32).to_le_bytes());
        }
        buffer.write(4, &self.flags.to_le_bytes());
        buffer.write(8, &self.handle.to_le_bytes());
        buffer.write(16, &self.tag.to_le_bytes());
        buffer.write(layout.count, &(self.receivers.len() as u32).to_le_bytes());
        for (n, receiver) in self.receivers.iter().enumerate() {
            let at = layout.composite(n);
            buffer.write(at, &receiver.id.to_le_bytes());
            buffer.write(at + 2, &[receiver.access, receiver.flags]);
            buffer.write(at + 4, &offset.to_le_bytes());
        }
        layout.composite(self.receivers.len())
    }
}

/// Size of a constituent.
pub const CONSTITUENT: usize = 16;

/// Writes one constituent at offset `at`.
pub fn encode_constituent(buffer: &Shared<PAGE_SIZE>, at: usize, address: u64, pages: u32) {
    buffer.write(at, &address.to_le_bytes());
    buffer.write(at + 8, &pages.to_le_bytes());
    buffer.write(at + 12, &[0; 4]);
}

/// Constituents of the same size at the same distance: a list of any length that needs no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scatter {
    /// Address of the first constituent.
    pub first: u64,
    /// Number of constituents.
    pub count: u32,
    /// Pages of each constituent.
    pub pages: u32,
    /// Pages from the start of one constituent to the start of the next.
    pub distance: u32,
}

impl Scatter {
    /// Returns a list of one constituent.
    pub const fn contiguous(first: u64, pages: u32) -> Self {
        Self {
            first,
            count: 1,
            pages,
            distance: pages,
        }
    }

    /// Returns a list of every second page, so that nothing can be mapped as a block.
    pub const fn every_second(first: u64, pages: u32) -> Self {
        Self {
            first,
            count: pages,
            pages: 1,
            distance: 2,
        }
    }

    /// Returns the address of constituent `n`.
    pub const fn constituent(&self, n: u32) -> u64 {
        self.first + n as u64 * self.distance as u64 * PAGE_SIZE as u64
    }

    /// Returns the number of pages of all constituents.
    pub const fn total(&self) -> u32 {
        self.count * self.pages
    }

    /// Returns the address of page `n` of all pages.
    pub const fn page(&self, n: u32) -> u64 {
        self.constituent(n / self.pages) + (n % self.pages) as u64 * PAGE_SIZE as u64
    }

    /// Packs the list into two words for the arguments of a helper. Each number may be 65,535 at
    /// most.
    pub const fn pack(&self) -> [u64; 2] {
        let numbers = self.count as u64 | (self.pages as u64) << 16 | (self.distance as u64) << 32;
        [self.first, numbers]
    }

    /// Unpacks what [`Scatter::pack`] packed.
    pub const fn unpack([first, numbers]: [u64; 2]) -> Self {
        Self {
            first,
            count: numbers as u16 as u32,
            pages: (numbers >> 16) as u16 as u32,
            distance: (numbers >> 32) as u16 as u32,
        }
    }
}

/// Writes the descriptor of `FFA_MEM_RELINQUISH`.
pub fn encode_relinquish(buffer: &Shared<PAGE_SIZE>, handle: u64, flags: u32, endpoints: &[u16]) {
    buffer.fill(0);
    buffer.write(0, &handle.to_le_bytes());
    buffer.write(8, &flags.to_le_bytes());
    buffer.write(12, &(endpoints.len() as u32).to_le_bytes());
    for (n, id) in endpoints.iter().enumerate() {
        buffer.write(16 + 2 * n, &id.to_le_bytes());
    }
}
