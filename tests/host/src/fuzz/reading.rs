//! An independent parser for the memory transaction descriptors of callers (FF-A v1.0 tables 5.13
//! to 5.20, 1.1 and 1.2), by which tests check that every accepted descriptor is valid.

use crate::ffa::Layout;

/// Access to a descriptor with the offsets and sizes that the caller chose.
pub struct Reading<'a> {
    bytes: &'a [u8],
    layout: Layout,
}

/// An entry of the array of receivers.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Partition id.
    pub id: u16,
    /// Permissions.
    pub permissions: u8,
    /// Flags.
    pub flags: u8,
    /// Offset of the composite descriptor.
    pub composite: usize,
}

impl<'a> Reading<'a> {
    /// Makes a reading of `bytes`.
    pub fn new(bytes: &'a [u8], layout: Layout) -> Self {
        Self { bytes, layout }
    }

    fn field(&self, at: usize, bytes: usize) -> u64 {
        let field = &self.bytes[at..at + bytes];
        field
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Returns the sender.
    pub fn sender(&self) -> u16 {
        self.field(0, 2) as u16
    }

    /// Returns the flags.
    pub fn flags(&self) -> u32 {
        self.field(4, 4) as u32
    }

    /// Returns the handle.
    pub fn handle(&self) -> u64 {
        self.field(8, 8)
    }

    /// Returns the tag.
    pub fn tag(&self) -> u64 {
        self.field(16, 8)
    }

    /// Returns whether all reserved fields of the header are zero.
    pub fn header_is_clean(&self) -> bool {
        if self.layout == Layout::V1_0 {
            self.bytes[3] == 0 && self.field(24, 4) == 0
        } else {
            self.bytes[36..48] == [0; 12]
        }
    }

    /// Returns the layout of a response to this request. From 1.1 on, the size of the request's
    /// receivers determines it.
    pub fn layout_of_response(&self) -> Layout {
        match self.layout {
            Layout::V1_0 => Layout::V1_0,
            _ if self.field(24, 4) == 16 => Layout::V1_1,
            _ => Layout::V1_2,
        }
    }

    /// Returns the receivers. Panics if they are not at a valid place.
    pub fn receivers(&self) -> Vec<Entry> {
        let count = self.field(28, 4) as usize;
        let (array, size) = if self.layout == Layout::V1_0 {
            (32, 16)
        } else {
            (self.field(32, 4) as usize, self.field(24, 4) as usize)
        };
        if count > 0 {
            assert!(array >= self.layout.header() && size >= 16);
            assert!(array.is_multiple_of(16) && size.is_multiple_of(16));
        }
        (0..count)
            .map(|n| array + n * size)
            .map(|at| Entry {
                id: self.field(at, 2) as u16,
                permissions: self.bytes[at + 2],
                flags: self.bytes[at + 3],
                composite: self.field(at + 4, 4) as usize,
            })
            .collect()
    }

    /// Returns the constituents of the composite descriptor at `offset`. Panics if the descriptor
    /// does not fit, if its reserved field is not zero, or if the number of pages is wrong.
    pub fn constituents(&self, offset: usize) -> Vec<(u64, u64)> {
        let count = self.field(offset + 4, 4) as usize;
        assert_eq!(self.field(offset + 8, 8), 0);
        let ranges: Vec<(u64, u64)> = (0..count)
            .map(|n| offset + 16 + n * 16)
            .map(|at| (self.field(at, 8), self.field(at + 8, 4)))
            .collect();
        let pages: u64 = ranges.iter().map(|(_, pages)| pages).sum();
        assert_eq!(self.field(offset, 4), pages);
        ranges
    }

    /// Returns the pages of the region in their order. Panics as [`Self::constituents`] does.
    pub fn pages(&self) -> Vec<u64> {
        let receivers = self.receivers();
        self.constituents(receivers[0].composite)
            .iter()
            .flat_map(|(base, count)| (0..*count).map(move |n| base + n * 0x1000))
            .collect()
    }
}

/// Panics unless `ranges` are pages in `within` that overlap neither each other nor `taken`.
pub fn check_ranges(ranges: &[(u64, u64)], within: &std::ops::Range<u64>, taken: &[u64]) {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut end = within.start;
    for (base, pages) in sorted {
        assert!(pages > 0 && base.is_multiple_of(4096));
        assert!(base >= end, "{base:#x} is there twice or is not memory");
        end = base + pages * 4096;
        assert!(end <= within.end);
        assert!(
            taken.iter().all(|page| *page < base || *page >= end),
            "{base:#x}: a buffer is among the pages"
        );
    }
}
