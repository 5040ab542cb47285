//! Addresses and page ranges, each kind with a type of its own so that they cannot be mixed up.
//!
//! The SPMC works in 4 KiB pages and 48-bit addresses throughout.

use core::fmt;
use core::num::NonZeroU64;

/// Bytes of a page, the granule of every translation table that the SPMC builds.
pub const PAGE_SIZE: u64 = 4096;

/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// First address beyond the supported 48-bit address space.
pub const ADDRESS_LIMIT: u64 = 1 << 48;

/// The security state of an address: its physical, or intermediate physical, address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum World {
    /// The Secure address space.
    Secure,
    /// The Non-secure address space.
    NonSecure,
}

/// The properties of an address kind that [`PageRange`] needs.
pub trait Address: Copy + Ord + fmt::Debug {
    /// Wraps a raw address.
    fn new(raw: u64) -> Self;
    /// Returns the raw address.
    fn raw(self) -> u64;
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a raw address.
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// Returns the raw address.
            pub const fn raw(self) -> u64 {
                self.0
            }

            /// Returns whether the address is the first of a page.
            pub const fn is_page_aligned(self) -> bool {
                self.0.is_multiple_of(PAGE_SIZE)
            }
        }

        impl Address for $name {
            fn new(raw: u64) -> Self {
                Self(raw)
            }

            fn raw(self) -> u64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// A physical address.
    Pa
}
address! {
    /// An intermediate physical address, which an S-EL1 partition takes for a physical one.
    Ipa
}

/// A non-empty run of pages that lies below [`ADDRESS_LIMIT`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRange<A> {
    base: A,
    pages: NonZeroU64,
}

impl<A: Address> PageRange<A> {
    /// Makes a range of `pages` pages from `base`; `None` if the range is empty, not page aligned,
    /// wraps or leaves the address space.
    #[inline]
    pub fn new(base: A, pages: u64) -> Option<Self> {
        if !base.raw().is_multiple_of(PAGE_SIZE) {
            return None;
        }
        let end = pages.checked_mul(PAGE_SIZE)?.checked_add(base.raw())?;
        let pages = NonZeroU64::new(pages)?;
        (end <= ADDRESS_LIMIT).then_some(Self { base, pages })
    }

    /// Makes a range again from the parts of one: what [`Self::new`] checks is true of them.
    #[inline]
    pub(crate) const fn again(base: A, pages: u64) -> Self {
        let pages = match NonZeroU64::new(pages) {
            Some(pages) => pages,
            None => NonZeroU64::MIN,
        };
        Self { base, pages }
    }

    /// Makes a range from a size in bytes; `None` as for [`Self::new`], and if `size` is not a
    /// multiple of a page.
    pub fn from_bytes(base: A, size: u64) -> Option<Self> {
        size.is_multiple_of(PAGE_SIZE)
            .then(|| Self::new(base, size / PAGE_SIZE))?
    }

    /// Returns the first address.
    #[inline]
    pub fn base(&self) -> A {
        self.base
    }

    /// Returns the number of pages, at least 1.
    #[inline]
    pub fn pages(&self) -> u64 {
        self.pages.get()
    }

    /// Returns the size in bytes.
    #[inline]
    pub fn size(&self) -> u64 {
        // The constructor has checked that the end is at most `ADDRESS_LIMIT`.
        self.pages().wrapping_mul(PAGE_SIZE)
    }

    /// Returns the first address behind the range.
    #[inline]
    pub fn end(&self) -> A {
        A::new(self.base.raw().wrapping_add(self.size()))
    }

    /// Returns whether the two ranges have a page in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.base < other.end() && other.base < self.end()
    }

    /// Returns what of the range is outside of `hole`: what lies before it, and behind it.
    pub fn outside(&self, hole: &Self) -> impl Iterator<Item = Self> {
        let between = |base: A, end: A| {
            let bytes = end.raw().checked_sub(base.raw())?;
            Self::from_bytes(base, bytes)
        };
        let before = between(self.base, self.end().min(hole.base));
        let behind = between(self.base.max(hole.end()), self.end());
        before.into_iter().chain(behind)
    }

    /// Returns whether `other` lies wholly in this range.
    pub fn contains(&self, other: &Self) -> bool {
        self.base <= other.base && other.end() <= self.end()
    }

    /// Iterates over the pages.
    pub fn each_page(self) -> impl Iterator<Item = Self> {
        let page = move |n: u64| self.base.raw().wrapping_add(n << PAGE_SHIFT);
        (0..self.pages()).filter_map(move |n| Self::new(A::new(page(n)), 1))
    }

    /// Returns the range with the same numbers as addresses of another kind, for identity mappings.
    pub fn identity<B: Address>(&self) -> PageRange<B> {
        PageRange {
            base: B::new(self.base.raw()),
            pages: self.pages,
        }
    }
}

impl<A: Address> fmt::Debug for PageRange<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.base.raw(), self.end().raw())
    }
}

impl<A: Address> fmt::Display for PageRange<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: MEMD-06
    #[test]
    fn page_range_refuses_what_is_not_a_range() {
        assert!(PageRange::new(Pa::new(0x1000), 0).is_none());
        assert!(PageRange::new(Pa::new(0x1001), 1).is_none());
        assert!(PageRange::new(Pa::new(0x1000), u64::MAX / PAGE_SIZE + 1).is_none());
        assert!(PageRange::new(Pa::new(!0xfff), 1).is_none());
        assert!(PageRange::new(Pa::new(ADDRESS_LIMIT - 0x1000), 2).is_none());
        assert!(PageRange::new(Pa::new(ADDRESS_LIMIT - 0x1000), 1).is_some());
        assert!(PageRange::from_bytes(Pa::new(0), 0x1800).is_none());
    }

    #[test]
    fn overlap_and_containment() {
        let range = |base, pages| PageRange::new(Pa::new(base), pages).unwrap();
        assert!(range(0x1000, 2).overlaps(&range(0x2000, 1)));
        assert!(!range(0x1000, 2).overlaps(&range(0x3000, 1)));
        assert!(range(0x1000, 2).contains(&range(0x2000, 1)));
        assert!(!range(0x1000, 2).contains(&range(0x2000, 2)));
        let pages = range(0x1000, 2).each_page();
        assert!(pages.eq([range(0x1000, 1), range(0x2000, 1)]));
    }

    #[test]
    fn what_is_outside_of_a_hole() {
        let range = |base, pages| PageRange::new(Pa::new(base), pages).unwrap();
        let whole = range(0x2000, 4);
        for (hole, left) in [
            (range(0x3000, 1), &[range(0x2000, 1), range(0x4000, 2)][..]),
            (range(0x1000, 2), &[range(0x3000, 3)]),
            (range(0x5000, 4), &[range(0x2000, 3)]),
            (range(0x2000, 4), &[]),
            (range(0x1000, 8), &[]),
            (range(0x1000, 1), &[whole]),
            (range(0x6000, 1), &[whole]),
        ] {
            assert!(whole.outside(&hole).eq(left.iter().copied()), "{hole:?}");
        }
    }
}
