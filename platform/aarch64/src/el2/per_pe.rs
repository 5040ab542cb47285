//! Tables with an element for each PE, which are allocated at boot by the number of PEs.

use alloc::vec::Vec;
use core::ptr::null_mut;
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// One element for each PE, by index; none until [`Self::fill`] is called. The entry code reads
/// both fields.
#[repr(C)]
pub struct PerPe<T> {
    first: AtomicPtr<T>,
    count: AtomicUsize,
}

impl<T> PerPe<T> {
    /// Elements for no PE.
    pub const fn new() -> Self {
        Self {
            first: AtomicPtr::new(null_mut()),
            count: AtomicUsize::new(0),
        }
    }

    /// Sets the elements, for ever. The boot PE calls this once, with the MMU on, before any other
    /// PE is let in.
    pub fn fill(&self, elements: Vec<T>) {
        let elements = elements.leak();
        self.first.store(elements.as_mut_ptr(), Ordering::Relaxed);
        self.count.store(elements.len(), Ordering::Release);
    }

    /// Returns the number of PEs that have an element.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Returns the address of the element of PE `index`.
    #[inline]
    pub fn of(&self, index: usize) -> *mut T {
        assert!(index < self.count(), "there is no PE {index}");
        self.first.load(Ordering::Relaxed).wrapping_add(index)
    }
}

impl<T: Sync> PerPe<T> {
    /// Returns the elements of all PEs.
    pub fn all(&self) -> &'static [T] {
        match self.count() {
            0 => &[],
            // SAFETY: `fill` stored the address and the length of a slice that lives for ever, and
            // PEs share its elements (`Sync`). Nothing else makes a unique reference to one: `of`
            // returns an address only, and its users have elements that are not `Sync`.
            count => unsafe { slice::from_raw_parts(self.first.load(Ordering::Relaxed), count) },
        }
    }
}
