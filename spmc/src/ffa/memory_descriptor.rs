//! Memory transaction descriptors (FF-A v1.0 tables 5.13 to 5.19; 1.1 and 1.2 layouts) and access
//! to their parts.
//!
//! The header has the layout of the version that the caller negotiated; from 1.1 on it holds the
//! size of a receiver. Decoding checks sizes, offsets and reserved fields, which needs no knowledge
//! of the transaction. The meaning of the fields is not judged here.

use core::ops::{Deref, DerefMut};
use core::slice;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Handle, Version};
use crate::addr::{ADDRESS_LIMIT, Ipa, PageRange};
use crate::error::{FfaError, Result};
use crate::id::PartitionId;
use crate::invariant::Invariant;
use crate::limits::MAX_DESCRIPTOR;

#[cfg(target_endian = "big")]
compile_error!("descriptors are little-endian and are read in place");

/// Room for one descriptor, aligned as its fields are.
#[repr(C, align(16))]
pub struct DescriptorBuffer(pub [u8; MAX_DESCRIPTOR]);

impl DescriptorBuffer {
    /// All zero.
    pub const fn new() -> Self {
        Self([0; MAX_DESCRIPTOR])
    }
}

impl Default for DescriptorBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for DescriptorBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for DescriptorBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Header of 1.0.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Header10 {
    sender: u16,
    attributes: u8,
    reserved_3: u8,
    flags: u32,
    handle: Handle,
    tag: u64,
    reserved_24: u32,
    receiver_count: u32,
}

/// Header of 1.1 and 1.2.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Header11 {
    sender: u16,
    attributes: u16,
    flags: u32,
    handle: Handle,
    tag: u64,
    receiver_size: u32,
    receiver_count: u32,
    receiver_offset: u32,
    reserved: [u32; 3],
}

/// Endpoint memory access descriptor up to 1.1.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Receiver10 {
    id: u16,
    permissions: u8,
    flags: u8,
    composite_offset: u32,
    /// Reserved up to 1.1; the first half of the implementation defined value from 1.2 on.
    word_8: u64,
}

/// The end of a receiver, from 1.2 on.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Receiver12Tail {
    word_16: u64,
    reserved: u64,
}

/// Composite memory region descriptor, without its constituents.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct CompositeHeader {
    pages: u32,
    constituents: u32,
    reserved: u64,
}

/// Constituent memory region descriptor.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct RawConstituent {
    address: u64,
    pages: u32,
    reserved: u32,
}

/// The most pages that one constituent may have: 1 TiB. Number and address fit into a word.
pub const MAX_PAGES: u64 = 1 << 28;

/// Bytes of a composite header.
const COMPOSITE_HEADER: usize = size_of::<CompositeHeader>();
/// Bytes of a constituent.
pub const CONSTITUENT: usize = size_of::<RawConstituent>();

/// Bytes of a receiver from 1.2 on.
const RECEIVER_12: usize = size_of::<Receiver10>().saturating_add(size_of::<Receiver12Tail>());

/// The layout of header and receivers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Layout {
    /// The layout of 1.0.
    #[default]
    V1_0,
    /// The layout of 1.1, which callers of 1.2 may use, too: receivers have 16 bytes.
    V1_1,
    /// The layout of 1.2: receivers have 32 bytes.
    V1_2,
}

impl Layout {
    /// Returns the layout that belongs to `version`.
    pub const fn of(version: Version) -> Self {
        if !version.is_at_least(Version::V1_1) {
            Self::V1_0
        } else if version.is_at_least(Version::V1_2) {
            Self::V1_2
        } else {
            Self::V1_1
        }
    }

    const fn header(self) -> usize {
        match self {
            Self::V1_0 => size_of::<Header10>(),
            Self::V1_1 | Self::V1_2 => size_of::<Header11>(),
        }
    }

    const fn receiver(self) -> usize {
        match self {
            Self::V1_0 | Self::V1_1 => size_of::<Receiver10>(),
            Self::V1_2 => RECEIVER_12,
        }
    }
}

/// One endpoint memory access descriptor, independent of the version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receiver {
    /// The receiver.
    pub id: PartitionId,
    /// Data access in `[1:0]`, instruction access in `[3:2]`.
    pub permissions: u8,
    /// Flags; bit 0: the receiver is listed, but does not retrieve the region now.
    pub flags: u8,
    /// Offset of the composite descriptor in the transaction descriptor; 0 if there is none.
    pub composite_offset: u32,
    /// Implementation defined value; zero in an entry of 16 bytes, which has no place for it.
    pub implementation_defined: [u64; 2],
}

/// A transaction descriptor without the composite descriptor: the header, and the place of its
/// receivers.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'b> {
    /// The sender, which is the owner of the region.
    pub sender: PartitionId,
    /// Memory region attributes.
    pub attributes: u16,
    /// Flags of the transaction.
    pub flags: u32,
    /// Handle of the region, 0 in what a sender sends.
    pub handle: Handle,
    /// Tag.
    pub tag: u64,
    /// The layout.
    pub layout: Layout,
    bytes: &'b [u8],
    receivers: &'b [u8],
    receiver_size: usize,
    receivers_end: usize,
    composite_alignment: usize,
}

impl<'b> Transaction<'b> {
    /// Decodes the header in `bytes`, laid out by `version`. `INVALID_PARAMETERS` if it does not
    /// fit, the receivers do not fit, a size or offset is not one of that version, or a reserved
    /// field is not zero.
    #[inline]
    pub fn parse(bytes: &'b [u8], version: Version) -> Result<Self> {
        let invalid = FfaError::InvalidParameters;
        let layout = Layout::of(version);
        let header_size = layout.header();
        let mut transaction;
        let (offset, size, count);
        if version < Version::V1_1 {
            let (header, _) = Header10::ref_from_prefix(bytes).map_err(|_| invalid)?;
            if header.reserved_3 != 0 || header.reserved_24 != 0 {
                return Err(invalid);
            }
            offset = header_size;
            (size, count) = (layout.receiver(), header.receiver_count as usize);
            transaction = Self {
                sender: PartitionId(header.sender),
                attributes: header.attributes as u16,
                flags: header.flags,
                handle: header.handle,
                tag: header.tag,
                layout,
                bytes,
                receivers: &[],
                receiver_size: size,
                receivers_end: 0,
                composite_alignment: 8,
            };
        } else {
            let (header, _) = Header11::ref_from_prefix(bytes).map_err(|_| invalid)?;
            size = header.receiver_size as usize;
            offset = header.receiver_offset as usize;
            count = header.receiver_count as usize;
            if header.reserved != [0; 3]
                || (count != 0 || offset != 0 || size != 0)
                    && (size < Layout::V1_1.receiver()
                        || !size.is_multiple_of(16)
                        || offset < header_size
                        || !offset.is_multiple_of(16))
            {
                return Err(invalid);
            }
            transaction = Self {
                sender: PartitionId(header.sender),
                attributes: header.attributes,
                flags: header.flags,
                handle: header.handle,
                tag: header.tag,
                layout: match size {
                    // Size and offset of receivers have no meaning without receivers.
                    _ if count == 0 => layout,
                    ..RECEIVER_12 => Layout::V1_1,
                    _ => Layout::V1_2,
                },
                bytes,
                receivers: &[],
                receiver_size: size,
                receivers_end: 0,
                composite_alignment: 16,
            };
        }
        let end = size
            .checked_mul(count)
            .and_then(|all| all.checked_add(offset))
            .ok_or(invalid)?;
        transaction.receivers = bytes.get(offset..end).ok_or(invalid)?;
        transaction.receivers_end = end.max(header_size);
        Ok(transaction)
    }

    /// Returns the number of receivers.
    pub fn receiver_count(&self) -> usize {
        self.receivers
            .len()
            .checked_div(self.receiver_size)
            .unwrap_or(0)
    }

    /// Returns the offset of the first byte behind header and receivers.
    pub fn receivers_end(&self) -> usize {
        self.receivers_end
    }

    /// Returns the receivers, with `INVALID_PARAMETERS` in place of one with a reserved field that
    /// is not zero.
    #[inline]
    pub fn receivers(&self) -> impl Iterator<Item = Result<Receiver>> + use<'b> {
        // The size is 0 only if there are no receivers.
        self.receivers
            .chunks_exact(self.receiver_size.max(1))
            .map(|bytes| {
                let invalid = FfaError::InvalidParameters;
                let (head, rest) = Receiver10::ref_from_prefix(bytes).map_err(|_| invalid)?;
                let implementation_defined = match Receiver12Tail::ref_from_prefix(rest) {
                    Ok((tail, _)) if tail.reserved == 0 => [head.word_8, tail.word_16],
                    Err(_) if head.word_8 == 0 => [0; 2],
                    _ => return Err(invalid),
                };
                Ok(Receiver {
                    id: PartitionId(head.id),
                    permissions: head.permissions,
                    flags: head.flags,
                    composite_offset: head.composite_offset,
                    implementation_defined,
                })
            })
    }

    /// Returns the composite descriptor at `offset` of a descriptor of `total` bytes, both of which
    /// must end at the same place. `INVALID_PARAMETERS` if they do not, or if the composite
    /// descriptor is misplaced, misaligned or empty, has a reserved field that is not zero, or its
    /// header has not arrived.
    #[inline]
    pub fn composite(&self, offset: u32, total: usize) -> Result<Composite> {
        let invalid = FfaError::InvalidParameters;
        let offset = offset as usize;
        if offset < self.receivers_end || !offset.is_multiple_of(self.composite_alignment) {
            return Err(invalid);
        }
        let bytes = self.bytes.get(offset..).ok_or(invalid)?;
        let (header, _) = CompositeHeader::ref_from_prefix(bytes).map_err(|_| invalid)?;
        let constituents = header.constituents as usize;
        let start = offset.saturating_add(COMPOSITE_HEADER);
        let end = constituents
            .checked_mul(CONSTITUENT)
            .and_then(|all| all.checked_add(start));
        if header.reserved != 0 || constituents == 0 || end != Some(total) {
            return Err(invalid);
        }
        Ok(Composite {
            pages: header.pages,
            constituents,
            start,
        })
    }
}

/// A composite memory region descriptor, without its constituents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Composite {
    /// Total page count, which must be the sum over the constituents.
    pub pages: u32,
    /// Number of constituents.
    pub constituents: usize,
    /// Offset of the first constituent in the transaction descriptor.
    pub start: usize,
}

/// Returns the constituents in `bytes` in order, and ignores bytes behind the last whole one.
/// `INVALID_PARAMETERS` stands in place of one that is empty, longer than [`MAX_PAGES`], not page
/// aligned, or beyond addresses of 48 bits. The reserved field is ignored: public clients of
/// Hafnium, which does not look at the field, leave there what was on their stack.
#[inline]
pub fn constituents(bytes: &[u8]) -> Constituents<'_> {
    let whole = bytes.len() & !CONSTITUENT.wrapping_sub(1);
    // Constituents are aligned as the buffer is, or to 8 bytes if a sender of 1.0 aligns no better,
    // which is enough.
    let raw = Invariant::part(
        bytes
            .get(..whole)
            .and_then(|bytes| <[RawConstituent]>::ref_from_bytes(bytes).ok()),
    );
    Constituents(raw.iter())
}

/// See [`constituents`].
pub struct Constituents<'b>(slice::Iter<'b, RawConstituent>);

impl Iterator for Constituents<'_> {
    type Item = Result<PageRange<Ipa>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let raw = self.0.next()?;
        let pages = u64::from(raw.pages);
        // The first condition spares the range its own: it can neither be empty nor wrap.
        let range = Some(Ipa::new(raw.address))
            .filter(|base| base.raw() < ADDRESS_LIMIT && pages.wrapping_sub(1) < MAX_PAGES)
            .and_then(|base| PageRange::new(base, pages));
        Some(range.ok_or(FfaError::InvalidParameters))
    }
}

/// The contents of a descriptor that the SPMC writes.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// How it is laid out: as the request was.
    pub layout: Layout,
    /// The owner.
    pub sender: PartitionId,
    /// Memory region attributes, as 1.1 writes them.
    pub attributes: u16,
    /// Flags of the response.
    pub flags: u32,
    /// Handle of the region.
    pub handle: Handle,
    /// Tag.
    pub tag: u64,
    /// The receiver; its offset is filled in.
    pub receiver: Receiver,
    /// Pages in all constituents.
    pub pages: u64,
    /// Number of constituents; 0 leaves the composite descriptor out, for a receiver that knows
    /// where the region lies.
    pub constituents: usize,
}

impl Response {
    /// Bytes of a descriptor in that layout with one receiver, up to its constituents.
    #[inline]
    pub fn head_size(layout: Layout) -> usize {
        Self::head_size_of(layout, 1)
    }

    /// Bytes of a descriptor in that layout with so many receivers, up to its constituents.
    #[inline]
    pub fn head_size_of(layout: Layout, receivers: usize) -> usize {
        let header = layout.header();
        header
            .saturating_add(layout.receiver().saturating_mul(receivers))
            .saturating_add(COMPOSITE_HEADER)
    }

    /// Bytes of the whole descriptor.
    #[inline]
    pub fn size(&self) -> usize {
        let head = Self::head_size(self.layout);
        if self.constituents == 0 {
            return head.saturating_sub(COMPOSITE_HEADER);
        }
        head.saturating_add(self.constituents.saturating_mul(CONSTITUENT))
    }

    /// Writes the descriptor up to its constituents to the start of `to`. `NO_MEMORY` if it does
    /// not fit.
    #[inline]
    pub fn write_head(&self, to: &mut [u8]) -> Result<()> {
        let whole = to
            .get_mut(..Self::head_size(self.layout).min(self.size()))
            .ok_or(FfaError::NoMemory)?;
        let (header_size, receiver_size) = (self.layout.header(), self.layout.receiver());
        let composite_offset = if self.constituents == 0 {
            0
        } else {
            header_size.saturating_add(receiver_size)
        };
        let (header, rest) = whole
            .split_at_mut_checked(header_size)
            .ok_or(FfaError::NoMemory)?;
        self.put_header(header, 1);
        let (receiver, rest) = rest
            .split_at_mut_checked(receiver_size)
            .ok_or(FfaError::NoMemory)?;
        put_receiver(receiver, &self.receiver, composite_offset)?;
        self.put_composite(rest);
        Ok(())
    }

    /// Writes the descriptor like [`Self::write_head`], with these receivers, of which there are
    /// `count`, in place of its own, and with a composite descriptor.
    #[cold]
    pub fn write_head_of(
        &self,
        receivers: impl Iterator<Item = Receiver>,
        count: usize,
        to: &mut [u8],
    ) -> Result<()> {
        let size = Self::head_size_of(self.layout, count);
        let composite_offset = size.saturating_sub(COMPOSITE_HEADER);
        let whole = to.get_mut(..size).ok_or(FfaError::NoMemory)?;
        let (header, mut rest) = whole
            .split_at_mut_checked(self.layout.header())
            .ok_or(FfaError::NoMemory)?;
        self.put_header(header, count as u32);
        for receiver in receivers {
            let (entry, behind) = rest
                .split_at_mut_checked(self.layout.receiver())
                .ok_or(FfaError::NoMemory)?;
            put_receiver(entry, &receiver, composite_offset)?;
            rest = behind;
        }
        self.put_composite(rest);
        Ok(())
    }

    #[inline]
    fn put_header(&self, to: &mut [u8], receiver_count: u32) {
        if self.layout == Layout::V1_0 {
            put(
                to,
                &Header10 {
                    sender: self.sender.0,
                    attributes: self.attributes as u8,
                    reserved_3: 0,
                    flags: self.flags,
                    handle: self.handle,
                    tag: self.tag,
                    reserved_24: 0,
                    receiver_count,
                },
            );
        } else {
            put(
                to,
                &Header11 {
                    sender: self.sender.0,
                    attributes: self.attributes,
                    flags: self.flags,
                    handle: self.handle,
                    tag: self.tag,
                    receiver_size: self.layout.receiver() as u32,
                    receiver_count,
                    receiver_offset: self.layout.header() as u32,
                    reserved: [0; 3],
                },
            );
        }
    }

    #[inline]
    fn put_composite(&self, to: &mut [u8]) {
        put(
            to,
            &CompositeHeader {
                pages: self.pages as u32,
                constituents: self.constituents as u32,
                reserved: 0,
            },
        );
    }
}

/// Writes the descriptor of a receiver to `to`, which is as long as the layout says.
#[inline]
fn put_receiver(to: &mut [u8], receiver: &Receiver, composite_offset: usize) -> Result<()> {
    let (head, tail) = to
        .split_at_mut_checked(size_of::<Receiver10>())
        .ok_or(FfaError::NoMemory)?;
    let [word_8, word_16] = if tail.is_empty() {
        [0; 2]
    } else {
        receiver.implementation_defined
    };
    put(
        head,
        &Receiver10 {
            id: receiver.id.0,
            permissions: receiver.permissions,
            flags: receiver.flags,
            composite_offset: composite_offset as u32,
            word_8,
        },
    );
    put(
        tail,
        &Receiver12Tail {
            word_16,
            reserved: 0,
        },
    );
    Ok(())
}

/// Writes constituents to `to`, as many as fit and there are.
pub fn write_constituents(to: &mut [u8], ranges: impl Iterator<Item = PageRange<Ipa>>) {
    let whole = to.len() & !CONSTITUENT.wrapping_sub(1);
    let slots = to
        .get_mut(..whole)
        .and_then(|bytes| <[RawConstituent]>::mut_from_bytes(bytes).ok())
        .unwrap_or(&mut []);
    for (slot, range) in slots.iter_mut().zip(ranges) {
        *slot = RawConstituent {
            address: range.base().raw(),
            pages: range.pages() as u32,
            reserved: 0,
        };
    }
}

/// Writes `value` if `to` has room for it: what a layout does not have gets no room.
fn put<T: IntoBytes + Immutable>(to: &mut [u8], value: &T) {
    // A layout without the field leaves no room for it.
    let _ = value.write_to_prefix(to);
}

/// Descriptor of `FFA_MEM_RELINQUISH` (FF-A v1.0 table 11.25) for one endpoint.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug)]
#[repr(C)]
pub struct Relinquish {
    /// Handle of the region.
    pub handle: Handle,
    /// Bit 0: zero the memory; bit 1: may be time-sliced.
    pub flags: u32,
    /// How many endpoint ids follow.
    pub count: u32,
    /// The first of them.
    pub endpoint: u16,
    /// Whatever stands behind: 0 to 3 more ids.
    pub rest: [u16; 3],
}
