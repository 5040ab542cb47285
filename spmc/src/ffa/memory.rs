//! Memory region attributes (FF-A v1.0 table 5.18).

/// Device memory, from the least to the most permissive kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum DeviceKind {
    /// Device-nGnRnE
    NGnRnE = 0,
    /// Device-nGnRE
    NGnRE = 1,
    /// Device-nGRE
    NGRE = 2,
    /// Device-GRE
    GRE = 3,
}

/// Cacheability of Normal memory, from the least to the most permissive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cacheability {
    /// Non-cacheable.
    NonCacheable,
    /// Write-back.
    WriteBack,
}

/// Shareability of Normal memory, from the least to the most permissive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Shareability {
    /// Non-shareable.
    Non,
    /// Inner shareable.
    Inner,
    /// Outer shareable.
    Outer,
}

/// A memory type that is specified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryType {
    /// Device memory.
    Device(DeviceKind),
    /// Normal memory.
    Normal(Cacheability, Shareability),
}

impl MemoryType {
    /// Normal, write-back, inner shareable.
    pub const NORMAL: Self = Self::Normal(Cacheability::WriteBack, Shareability::Inner);

    /// Whether it is Normal memory.
    pub const fn is_normal(self) -> bool {
        matches!(self, Self::Normal(..))
    }

    /// Whether `other` is equal or less permissive (section 5.11.4).
    pub fn allows(self, other: Self) -> bool {
        match (self, other) {
            (Self::Device(own), Self::Device(asked)) => asked <= own,
            (Self::Device(_), Self::Normal(..)) => false,
            (Self::Normal(..), Self::Device(_)) => true,
            (Self::Normal(cache, share), Self::Normal(asked_cache, asked_share)) => {
                asked_cache <= cache && asked_share <= share
            }
        }
    }
}
