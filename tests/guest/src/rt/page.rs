//! Memory that others can write: its pages are only accessed by volatile reads and writes, never
//! through references.

use core::cell::UnsafeCell;

/// Size of a page in bytes.
pub const PAGE_SIZE: usize = 4096;

/// A block of `N` bytes, aligned to a page, that may be shared with the SPMC or another world.
#[repr(C, align(4096))]
pub struct Shared<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: all accesses are volatile and of plain bytes; whoever writes at the same time makes the
// content arbitrary, not invalid.
unsafe impl<const N: usize> Sync for Shared<N> {}

impl<const N: usize> Shared<N> {
    /// Returns a block of zeros.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; N]))
    }

    /// Returns the address of the block, which is the same in all address spaces, since guests map
    /// memory one to one.
    pub fn address(&self) -> u64 {
        self.0.get() as u64
    }

    /// Copies `bytes` to `offset`.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= N);
        for (n, byte) in bytes.iter().enumerate() {
            // SAFETY: inside the block, as asserted.
            unsafe {
                (self.0.get() as *mut u8)
                    .add(offset + n)
                    .write_volatile(*byte)
            };
        }
    }

    /// Copies from `offset` to `bytes`.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        assert!(offset + bytes.len() <= N);
        for (n, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: inside the block, as asserted.
            *byte = unsafe { (self.0.get() as *const u8).add(offset + n).read_volatile() };
        }
    }

    /// Reads the little-endian word at `offset`.
    pub fn u16(&self, offset: usize) -> u16 {
        let mut bytes = [0; 2];
        self.read(offset, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    /// Reads the little-endian word at `offset`.
    pub fn u32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Reads the little-endian word at `offset`.
    pub fn u64(&self, offset: usize) -> u64 {
        let mut bytes = [0; 8];
        self.read(offset, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Fills the block.
    pub fn fill(&self, byte: u8) {
        for n in 0..N {
            // SAFETY: inside the block.
            unsafe { (self.0.get() as *mut u8).add(n).write_volatile(byte) };
        }
    }
}

impl<const N: usize> Default for Shared<N> {
    fn default() -> Self {
        Self::new()
    }
}
