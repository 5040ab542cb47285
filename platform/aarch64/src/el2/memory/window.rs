//! Access to memory that does not belong to the SPMC: memory of partitions and of the Normal world.
//!
//! Each PE has a window, which is one page of virtual addresses, and maps one foreign page after
//! the other there. A caller may name an address where there is no memory, so the accessors expect
//! that the memory system refuses an access, and report that. Nothing else at EL2 accesses foreign
//! memory. The memory system may refuse a store late, by an SError. The accessors wait for it, so
//! that the call fails that caused the store, and not whatever runs next.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use spmc::addr::{PAGE_SIZE, Pa, PageRange, World};
use spmc::hal::AccessFault;

use super::bulk::{window_clean, window_copy, window_settle, window_zero};
use super::stage1;

/// The window of one PE.
pub struct Window {
    /// The virtual address.
    va: u64,
    /// The last-level entry for that address; `None` before [`Self::reset`].
    entry: Option<&'static AtomicU64>,
    /// The descriptor that maps the window now, or 0.
    descriptor: u64,
}

impl Window {
    /// A window that belongs to no PE yet.
    pub const NEW: Self = Self {
        va: 0,
        entry: None,
        descriptor: 0,
    };

    /// Makes this the window of PE `index`, with nothing mapped.
    pub fn reset(&mut self, index: usize) {
        let (va, entry) = stage1::window(index);
        entry.store(0, Ordering::Relaxed);
        *self = Self {
            va,
            entry: Some(entry),
            descriptor: 0,
        };
    }

    /// Copies from foreign memory.
    #[inline]
    pub fn read(&mut self, world: World, from: Pa, to: &mut [u8]) -> Result<(), AccessFault> {
        let mut done = 0;
        while let Some(rest) = to.get_mut(done..)
            && !rest.is_empty()
        {
            let (va, bytes) = self.show(world, from, done, rest.len());
            // SAFETY: `rest` has that many bytes, and the source is in the window, where a fault is
            // reported.
            check(unsafe { window_copy(rest.as_mut_ptr(), va as *const u8, bytes) })?;
            done += bytes;
        }
        Ok(())
    }

    /// Copies to foreign memory.
    #[inline]
    pub fn write(&mut self, world: World, to: Pa, from: &[u8]) -> Result<(), AccessFault> {
        let mut done = 0;
        while let Some(rest) = from.get(done..)
            && !rest.is_empty()
        {
            let (va, bytes) = self.show(world, to, done, rest.len());
            // SAFETY: `rest` has that many bytes, and the destination is in the window, where a
            // fault is reported. The page does not belong to the SPMC (contract of `Hal`).
            check(unsafe { window_copy(va as *mut u8, rest.as_ptr(), bytes) })?;
            done += bytes;
        }
        check(window_settle())
    }

    /// Zeroes foreign pages.
    #[inline]
    pub fn zero(&mut self, world: World, range: PageRange<Pa>) -> Result<(), AccessFault> {
        for page in (range.base().raw()..range.end().raw()).step_by(PAGE_SIZE as usize) {
            let va = self.point(world, page);
            // SAFETY: the page in the window does not belong to the SPMC (contract of `Hal`).
            check(unsafe { window_zero(va, va + PAGE_SIZE) })?;
        }
        check(window_settle())
    }

    /// Cleans foreign memory to the point of coherency and invalidates instruction caches. Ignores
    /// faults: memory that cannot be accessed has nothing to clean.
    pub fn clean(&mut self, world: World, from: Pa, bytes: u64) {
        let mut done = 0;
        while done < bytes {
            let (va, length) = self.show(world, from, done as usize, (bytes - done) as usize);
            // SAFETY: cleaning changes no data, and a fault is reported.
            let _ = unsafe { window_clean(va, va + length as u64) };
            done += length as u64;
        }
        let _ = window_settle();
        // SAFETY: invalidating instruction caches changes no data; the barriers complete it.
        unsafe {
            asm!(
                "ic ialluis",
                "dsb ish",
                "isb",
                options(nostack, preserves_flags)
            )
        };
    }

    /// Maps the page of `base + done`. Returns the virtual address, and how many of `bytes` lie in
    /// that page.
    #[inline]
    fn show(&mut self, world: World, base: Pa, done: usize, bytes: usize) -> (u64, usize) {
        let address = base.raw().wrapping_add(done as u64);
        let offset = address % PAGE_SIZE;
        let va = self.point(world, address - offset) + offset;
        (va, bytes.min((PAGE_SIZE - offset) as usize))
    }

    /// Maps the physical page `page` into the window and returns its virtual address.
    #[inline]
    fn point(&mut self, world: World, page: u64) -> u64 {
        let va = self.va;
        let descriptor = stage1::window_descriptor(page, world == World::NonSecure);
        if descriptor != self.descriptor
            && let Some(entry) = self.entry
        {
            // Break-before-make. Only this PE uses the address, so invalidating its own TLB
            // suffices; a TLBI that is not broadcast is never followed by another.
            entry.store(0, Ordering::Relaxed);
            // SAFETY: no reference points into the window, so that nothing uses the address now.
            unsafe {
                asm!("dsb nshst", "tlbi vae2, {}", "dsb nsh", in(reg) va >> 12, options(nostack, preserves_flags));
            }
            entry.store(descriptor, Ordering::Relaxed);
            // SAFETY: barriers change no state; the next access uses the new descriptor.
            unsafe { asm!("dsb nshst", "isb", options(nostack, preserves_flags)) };
            self.descriptor = descriptor;
        }
        va
    }
}

fn check(fault: u64) -> Result<(), AccessFault> {
    if fault == 0 { Ok(()) } else { Err(AccessFault) }
}
