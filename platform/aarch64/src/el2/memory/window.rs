//! Access to memory that is not ours: partitions' and the Normal world's.
//!
//! Each PE has one page of virtual addresses, its window, that is pointed at one foreign page after
//! the other. The accessors expect that the memory system refuses (there may be nothing at an
//! address that a caller names) and report it; nothing else at EL2 touches foreign memory. A store
//! may be refused late, by an SError. It is waited for, so that the call fails that stored, and not
//! whoever runs next.

use core::arch::asm;
use core::sync::atomic::Ordering;

use spmc::addr::{PAGE_SIZE, Pa, PageRange, World};
use spmc::hal::AccessFault;

use super::bulk::{window_clean, window_copy, window_settle, window_zero};
use super::stage1;

/// The window of one PE.
pub struct Window {
    /// Its PE.
    index: usize,
    /// The descriptor that it has now.
    descriptor: u64,
}

impl Window {
    /// A window that belongs to no PE yet.
    pub const NEW: Self = Self {
        index: 0,
        descriptor: 0,
    };

    /// Makes this the window of PE `index`, pointed at nothing.
    pub fn reset(&mut self, index: usize) {
        *self = Self {
            index,
            descriptor: 0,
        };
        stage1::window(index).1.store(0, Ordering::Relaxed);
    }

    /// Copies from foreign memory.
    pub fn read(&mut self, world: World, from: Pa, to: &mut [u8]) -> Result<(), AccessFault> {
        let mut done = 0;
        while let Some(rest) = to.get_mut(done..)
            && !rest.is_empty()
        {
            let (va, bytes) = self.show(world, from, done, rest.len());
            // SAFETY: `rest` has that many bytes; the window may fault.
            check(unsafe { window_copy(rest.as_mut_ptr(), va as *const u8, bytes) })?;
            done += bytes;
        }
        Ok(())
    }

    /// Copies to foreign memory.
    pub fn write(&mut self, world: World, to: Pa, from: &[u8]) -> Result<(), AccessFault> {
        let mut done = 0;
        while let Some(rest) = from.get(done..)
            && !rest.is_empty()
        {
            let (va, bytes) = self.show(world, to, done, rest.len());
            // SAFETY: `rest` has that many bytes; what the window shows is not the SPMC's (contract
            // of `Hal`).
            check(unsafe { window_copy(va as *mut u8, rest.as_ptr(), bytes) })?;
            done += bytes;
        }
        check(window_settle())
    }

    /// Zeroes foreign pages.
    pub fn zero(&mut self, world: World, range: PageRange<Pa>) -> Result<(), AccessFault> {
        for page in (range.base().raw()..range.end().raw()).step_by(PAGE_SIZE as usize) {
            let va = self.point(world, page);
            // SAFETY: what the window shows is not the SPMC's (contract of `Hal`).
            check(unsafe { window_zero(va, va + PAGE_SIZE) })?;
        }
        check(window_settle())
    }

    /// Cleans foreign memory to the point of coherency and drops stale instructions. What cannot be
    /// accessed has nothing to clean.
    pub fn clean(&mut self, world: World, from: Pa, bytes: u64) {
        let mut done = 0;
        while done < bytes {
            let (va, length) = self.show(world, from, done as usize, (bytes - done) as usize);
            // SAFETY: cleaning changes no data.
            let _ = unsafe { window_clean(va, va + length as u64) };
            done += length as u64;
        }
        let _ = window_settle();
        // SAFETY: instruction cache maintenance, and the barriers that complete it.
        unsafe {
            asm!(
                "ic ialluis",
                "dsb ish",
                "isb",
                options(nostack, preserves_flags)
            )
        };
    }

    /// Shows the page of `base + done`; returns the virtual address, and how many of `bytes` are in
    /// that page.
    fn show(&mut self, world: World, base: Pa, done: usize, bytes: usize) -> (u64, usize) {
        let address = base.raw().wrapping_add(done as u64);
        let offset = address % PAGE_SIZE;
        let va = self.point(world, address - offset) + offset;
        (va, bytes.min((PAGE_SIZE - offset) as usize))
    }

    /// Points the window at the physical page `page` and returns its virtual address.
    fn point(&mut self, world: World, page: u64) -> u64 {
        let (va, entry) = stage1::window(self.index);
        let descriptor = stage1::window_descriptor(page, world == World::NonSecure);
        if descriptor != self.descriptor {
            // Break before make. Only this PE uses the address, so its own TLB is all that has to
            // forget.
            entry.store(0, Ordering::Relaxed);
            // SAFETY: no reference points into the window.
            unsafe {
                asm!("dsb nshst", "tlbi vae2, {}", "dsb nsh", in(reg) va >> 12, options(nostack, preserves_flags));
            }
            entry.store(descriptor, Ordering::Relaxed);
            // SAFETY: barriers: the next access walks the new descriptor.
            unsafe { asm!("dsb nshst", "isb", options(nostack, preserves_flags)) };
            self.descriptor = descriptor;
        }
        va
    }
}

fn check(fault: u64) -> Result<(), AccessFault> {
    if fault == 0 { Ok(()) } else { Err(AccessFault) }
}
