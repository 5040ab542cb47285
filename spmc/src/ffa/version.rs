//! Versions of the framework and their rules (FF-A v1.0 section 8.1).

use core::fmt;

/// A version that a component speaks; bit 31 of the word is zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u32);

impl Version {
    /// 1.0
    pub const V1_0: Self = Self::new(1, 0);
    /// 1.1
    pub const V1_1: Self = Self::new(1, 1);
    /// 1.2
    pub const V1_2: Self = Self::new(1, 2);
    /// 1.3
    pub const V1_3: Self = Self::new(1, 3);
    /// The version that this SPMC implements.
    pub const OWN: Self = Self::V1_3;

    /// Makes `major`.`minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self(((major as u32 & 0x7fff) << 16) | minor as u32)
    }

    /// Decodes a register or manifest word; `None` if bit 31 is set.
    pub const fn from_word(word: u32) -> Option<Self> {
        if word & (1 << 31) == 0 {
            Some(Self(word))
        } else {
            None
        }
    }

    /// Returns the register word.
    pub const fn to_word(self) -> u32 {
        self.0
    }

    /// Returns the major version, bits `[30:16]`.
    pub const fn major(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Returns the minor version, bits `[15:0]`.
    pub const fn minor(self) -> u16 {
        self.0 as u16
    }

    /// Returns whether the version is `other` or newer. The comparison operators are not `const`.
    pub const fn is_at_least(self, other: Self) -> bool {
        self.0 >= other.0
    }

    /// Returns whether this SPMC can serve a caller of that version: the major versions are equal,
    /// and the minor version is not above that of the SPMC.
    pub const fn is_compatible(self) -> bool {
        self.major() == Self::OWN.major() && self.minor() <= Self::OWN.minor()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: VER-01, VER-02, VER-07
    #[test]
    fn words() {
        assert_eq!(Version::V1_2.to_word(), 0x0001_0002);
        assert_eq!(Version::from_word(0x0001_0001), Some(Version::V1_1));
        assert_eq!(Version::from_word(0x8001_0001), None);
    }

    // req: VER-04, VER-05, VER-06, VER-08
    #[test]
    fn compatibility_and_order() {
        assert!(Version::V1_0.is_compatible() && Version::V1_3.is_compatible());
        assert!(!Version::new(1, 4).is_compatible());
        assert!(!Version::new(0, 9).is_compatible());
        assert!(!Version::new(2, 0).is_compatible());
        assert!(Version::new(0, 9) < Version::V1_0 && Version::V1_2 < Version::new(2, 0));
    }
}
