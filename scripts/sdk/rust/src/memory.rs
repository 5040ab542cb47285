//! Memory transactions: borrowing what another endpoint shares or lends, and sharing pages.
//!
//! The RX/TX pair belongs to [`Memory`], which exists once: whoever has it may use the buffers.

use core::cell::UnsafeCell;

use arm_ffa::interface_args::RxTxAddr;
use arm_ffa::memory_management::{Cacheability, MemTransactionFlags, Shareability};
use arm_ffa::memory_management::{
    ConstituentMemRegion, DataAccessPerm, Handle, MemAccessPerm, MemReclaimFlags,
    MemRegionAttributes, MemRelinquishDesc, MemTransactionDesc, MemType, SuccessArgsMemOp,
};
use arm_ffa::{FfaError, Interface};

use crate::call::{call, own_id};
use crate::stage1;

/// The size of a page, and of each buffer.
pub const PAGE_SIZE: usize = 4096;

/// Offset of the first access descriptor in a memory transaction descriptor, as `arm-ffa` writes
/// it, and in an access descriptor the offset of the word that says where the ranges are.
const ACCESS: usize = 48;
const COMPOSITE: usize = 4;
/// Bytes of an access descriptor.
const ACCESS_SIZE: usize = 16;

/// A page of the partition's own memory that others may change.
#[repr(C, align(4096))]
pub struct Page(UnsafeCell<[u8; PAGE_SIZE]>);

// SAFETY: the contents are reached through raw pointers and volatile accesses only.
unsafe impl Sync for Page {}

static TX: Page = Page::new();
static RX: Page = Page::new();

impl Page {
    /// Returns a page of zeros, for a `static`.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; PAGE_SIZE]))
    }

    /// Returns the page as memory that may be shared.
    pub fn region(&'static self) -> Region {
        Region {
            start: self.0.get() as u64,
            length: PAGE_SIZE,
        }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

/// A range of memory that another endpoint may change at any time: it can be copied, and no
/// reference to it is ever made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    start: u64,
    length: usize,
}

impl Region {
    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Returns whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Copies bytes from `offset` on. Returns whether all of them lie in the region.
    #[must_use]
    pub fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        let has = self.has(offset, to.len());
        if has {
            for (n, byte) in to.iter_mut().enumerate() {
                // SAFETY: within memory that the partition has, by the check above.
                *byte = unsafe { (self.start as *const u8).add(offset + n).read_volatile() };
            }
        }
        has
    }

    /// Copies bytes to `offset` and on. Returns whether all of them lie in the region.
    #[must_use]
    pub fn write(&self, offset: usize, from: &[u8]) -> bool {
        let has = self.has(offset, from.len());
        if has {
            for (n, byte) in from.iter().enumerate() {
                // SAFETY: as above.
                unsafe {
                    (self.start as *mut u8)
                        .add(offset + n)
                        .write_volatile(*byte)
                };
            }
        }
        has
    }

    fn has(&self, offset: usize, length: usize) -> bool {
        offset
            .checked_add(length)
            .is_some_and(|end| end <= self.length)
    }
}

/// The partition's side of memory transactions.
pub struct Memory(());

impl Memory {
    /// Registers the RX/TX pair of the partition.
    pub(crate) fn map() -> Result<Self, FfaError> {
        let addr = RxTxAddr::Addr64 {
            rx: RX.region().start,
            tx: TX.region().start,
        };
        call(Interface::RxTxMap { addr, page_cnt: 1 })?;
        Ok(Self(()))
    }

    /// Borrows what `owner` shares or lends under `handle`, with these permissions, which the owner
    /// must have granted. Memory in more than one range is refused, and so is memory that stage 1
    /// does not map as the owner's world has it: an access would end the partition.
    pub fn retrieve(
        &mut self,
        owner: u16,
        handle: Handle,
        data_access: DataAccessPerm,
    ) -> Result<Region, FfaError> {
        let transaction = MemTransactionDesc {
            sender_id: owner,
            handle,
            ..MemTransactionDesc::default()
        };
        let mut request = [0; ACCESS + ACCESS_SIZE + 16];
        transaction.pack(&[], &[access(data_access)], &mut request);
        // The SPMC knows the ranges: there is no list of them.
        request[ACCESS + COMPOSITE..][..4].fill(0);
        let request = &request[..ACCESS + ACCESS_SIZE];
        let total_len = send(request);
        let answer = call(Interface::MemRetrieveReq {
            total_len,
            frag_len: total_len,
            buf: None,
        })?;
        let Interface::MemRetrieveResp { frag_len, .. } = answer else {
            return Err(FfaError::NotSupported);
        };
        let region = received(frag_len as usize);
        call(Interface::RxRelease { vm_id: 0 })?;
        // Partitions have the ids from this one on.
        let is_secure = owner & 0x8000 != 0;
        let region = region.filter(|region| stage1::maps(region.start, region.length, is_secure));
        region.ok_or_else(|| {
            // Nobody else can give it back.
            let _ = self.relinquish(handle);
            FfaError::InvalidParameters
        })
    }

    /// Gives borrowed memory back. The caller must not touch the region any more.
    pub fn relinquish(&mut self, handle: Handle) -> Result<(), FfaError> {
        let mut request = [0; 32];
        let descriptor = MemRelinquishDesc { handle, flags: 0 };
        let length = descriptor.pack(&[own_id()], &mut request);
        send(&request[..length]);
        call(Interface::MemRelinquish).map(drop)
    }

    /// Shares a page with `receiver` and returns the handle, which a message must carry to it.
    pub fn share(
        &mut self,
        page: &'static Page,
        receiver: u16,
        data_access: DataAccessPerm,
    ) -> Result<Handle, FfaError> {
        let transaction = MemTransactionDesc {
            sender_id: own_id(),
            mem_region_attr: MemRegionAttributes {
                mem_type: MemType::Normal {
                    cacheability: Cacheability::WriteBack,
                    shareability: Shareability::Inner,
                },
                ..MemRegionAttributes::default()
            },
            flags: MemTransactionFlags::default(),
            ..MemTransactionDesc::default()
        };
        let range = ConstituentMemRegion {
            address: page.region().start,
            page_cnt: 1,
        };
        let access = MemAccessPerm {
            endpoint_id: receiver,
            ..access(data_access)
        };
        let mut request = [0; 128];
        let length = transaction.pack(&[range], &[access], &mut request);
        let total_len = send(&request[..length]);
        let answer = call(Interface::MemShare {
            total_len,
            frag_len: total_len,
            buf: None,
        })?;
        let Interface::Success { args, .. } = answer else {
            return Err(FfaError::NotSupported);
        };
        let shared = SuccessArgsMemOp::try_from(args).map_err(|_| FfaError::NotSupported)?;
        Ok(shared.handle)
    }

    /// Ends a share, once every borrower has given the memory back.
    pub fn reclaim(&mut self, handle: Handle) -> Result<(), FfaError> {
        let flags = MemReclaimFlags::default();
        call(Interface::MemReclaim { handle, flags }).map(drop)
    }
}

/// Returns what the partition itself may do with memory.
fn access(data_access: DataAccessPerm) -> MemAccessPerm {
    MemAccessPerm {
        endpoint_id: own_id(),
        data_access,
        ..MemAccessPerm::default()
    }
}

/// Writes a descriptor to TX and returns its length.
fn send(descriptor: &[u8]) -> u32 {
    // Every descriptor here is shorter than a page.
    let _ = TX.region().write(0, descriptor);
    descriptor.len() as u32
}

/// Returns the range that a response of `length` bytes in RX describes, if it is exactly one.
fn received(length: usize) -> Option<Region> {
    let mut response = [0; 256];
    let response = response.get_mut(..length)?;
    if !RX.region().read(0, response) {
        return None;
    }
    let (_, _, ranges) = MemTransactionDesc::unpack(response).ok()?;
    let mut ranges = ranges?;
    let range = ranges.next()?.ok()?;
    ranges.next().is_none().then_some(Region {
        start: range.address,
        length: range.page_cnt as usize * PAGE_SIZE,
    })
}
