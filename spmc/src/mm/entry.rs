//! Entries of translation tables: which one translates an address, and how a leaf is written in it.
//! Nothing here reads or changes a table.

use crate::addr::{PAGE_SHIFT, PAGE_SIZE, World};
use crate::manifest::config::Branches;

use super::leaf::{ADDRESS, Leaf, PAGE, TABLE};
use super::pool::WORDS;
use super::stage1;

/// Levels of table: 0 (entries of 512 GiB, never blocks), 1 (entries of 1 GiB) to 3 (pages).
pub(super) const LARGEST_BLOCK: usize = 1;
pub(super) const LAST: usize = 3;
/// Bits of the index into a table.
const INDEX_BITS: u32 = WORDS.trailing_zeros();
/// Number of levels.
pub(super) const LEVELS: usize = LAST + 1;

/// Returns log2 of the bytes that an entry at `level` covers.
pub(super) const fn shift(level: usize) -> u32 {
    PAGE_SHIFT.wrapping_add((LAST.wrapping_sub(level) as u32).wrapping_mul(INDEX_BITS))
}

pub(super) fn index(ipa: u64, level: usize) -> usize {
    (ipa.wrapping_shr(shift(level)) as usize) % WORDS
}

/// Returns the pages that an entry at `level` covers.
pub(super) fn entry_pages(level: usize) -> u64 {
    1_u64.wrapping_shl(shift(level).wrapping_sub(PAGE_SHIFT))
}

/// Returns how many pages `ipa` lies behind the first of the entry at `level` that covers it.
pub(super) fn inside(ipa: u64, level: usize) -> u64 {
    ipa.wrapping_shr(PAGE_SHIFT) & entry_pages(level).wrapping_sub(1)
}

/// Returns the first address of the entry at `level` that covers `ipa`.
pub(super) fn base(ipa: u64, level: usize) -> u64 {
    ipa.wrapping_sub(inside(ipa, level).wrapping_shl(PAGE_SHIFT))
}

/// Returns whether one level 3 table translates both addresses.
pub(super) fn same_table(ipa: u64, other: u64) -> bool {
    (ipa ^ other) >> shift(2) == 0
}

pub(super) fn is_table(level: usize, raw: u64) -> bool {
    level < LAST && raw & TABLE == TABLE
}

/// How a space writes leaves into its tables.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// The meaning of a zero entry: no leaf in a space that hardware walks, "exclusive owner" in
    /// the Normal world's.
    default: Leaf,
    /// The bits of address and page descriptor that entries store: all, or none where hardware
    /// never looks.
    place: u64,
    /// For stage 1 of an S-EL0 partition, the security state of the leaves.
    stage1: Option<World>,
    /// The bits of every leaf beside those that the leaf says.
    also: u64,
}

impl Format {
    pub(super) const HARDWARE: Self = Self {
        default: Leaf::NONE,
        place: ADDRESS | PAGE,
        stage1: None,
        also: 0,
    };

    const fn of_stage1(world: World, also: u64) -> Self {
        Self {
            stage1: Some(world),
            also,
            ..Self::HARDWARE
        }
    }

    pub(super) const fn stage1(world: World, branches: Branches) -> &'static Self {
        use stage1::GUARDED;
        match (world, branches) {
            (World::Secure, Branches::Anywhere) => &const { Self::of_stage1(World::Secure, 0) },
            (World::NonSecure, Branches::Anywhere) => {
                &const { Self::of_stage1(World::NonSecure, 0) }
            }
            (World::Secure, Branches::ToTargets) => {
                &const { Self::of_stage1(World::Secure, GUARDED) }
            }
            (World::NonSecure, Branches::ToTargets) => {
                &const { Self::of_stage1(World::NonSecure, GUARDED) }
            }
        }
    }

    pub(super) const fn shadow(default: Leaf) -> Self {
        Self {
            default,
            place: 0,
            stage1: None,
            also: 0,
        }
    }

    /// Returns how entries at `level` with `leaf` are written.
    #[inline]
    pub(super) fn code(&self, leaf: Leaf, level: usize) -> Code {
        if leaf == Leaf::NONE {
            return Code {
                bits: self.default.0,
                address: 0,
            };
        }
        let page = if level == LAST { PAGE } else { 0 };
        let bits = match self.stage1 {
            Some(world) => stage1::encode(leaf, world),
            None => leaf.0,
        };
        Code {
            bits: (bits | self.also | page & self.place) ^ self.default.0,
            address: ADDRESS & self.place,
        }
    }

    pub(super) fn decode(&self, raw: u64) -> Leaf {
        let bits = (raw ^ self.default.0) & !(ADDRESS | PAGE | self.also);
        match self.stage1 {
            Some(world) => stage1::decode(bits, world),
            None => Leaf(bits),
        }
    }

    /// Returns the entry `index` that `origin` implies for a table at `level`.
    pub(super) fn implied(&self, origin: u64, index: usize, level: usize) -> u64 {
        if origin == 0 {
            return 0;
        }
        let page = if level == LAST { PAGE } else { 0 };
        origin | ((index as u64).wrapping_shl(shift(level)) | page) & self.place
    }

    /// Returns the difference of consecutive entries at `level` with the same leaf.
    pub(super) fn stride(&self, level: usize) -> u64 {
        entry_pages(level).wrapping_shl(PAGE_SHIFT) & self.place
    }
}

impl Leaf {
    /// Returns the leaf that a descriptor in the tables of a partition stands for: in those of
    /// stage 2, or, with a world, the memory of that world in those of stage 1. For tools that read
    /// the tables from outside.
    pub fn of_descriptor(raw: u64, stage1: Option<World>) -> Self {
        match stage1 {
            None => Format::HARDWARE.decode(raw),
            Some(world) => Format::stage1(world, Branches::ToTargets).decode(raw),
        }
    }
}

/// The entries that map addresses to themselves with one and the same leaf.
#[derive(Clone, Copy)]
pub(super) struct Code {
    bits: u64,
    /// Bits of the address that the entry stores.
    address: u64,
}

impl Code {
    #[inline]
    pub(super) fn at(self, ipa: u64) -> u64 {
        self.bits | ipa & self.address
    }

    /// Returns the difference of the entries of two pages in a row.
    #[inline]
    pub(super) fn stride(self) -> u64 {
        PAGE_SIZE & self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::config::Permissions;
    use crate::mm::{Attributes, State};

    #[test]
    fn leaves_of_guarded_spaces_have_gp() {
        let code = Permissions::READ | Permissions::EXECUTE;
        let leaf = Leaf::new(Attributes::normal(code), State::OwnerExclusive);
        for world in [World::Secure, World::NonSecure] {
            let [free, guarded] = [Branches::Anywhere, Branches::ToTargets]
                .map(|branches| Format::stage1(world, branches));
            let [plain, gp] = [free, guarded].map(|format| format.code(leaf, LAST).at(0x5000));
            assert_eq!(gp ^ plain, 1 << 50);
            assert_eq!([free.decode(plain), guarded.decode(gp)], [leaf; 2]);
            let read = |raw| Leaf::of_descriptor(raw, Some(world));
            assert_eq!([read(plain), read(gp)], [leaf; 2]);
            assert_eq!(guarded.code(Leaf::NONE, LAST).at(0x5000), 0);
        }
        let raw = Format::HARDWARE.code(leaf, LAST).at(0x5000);
        assert_eq!(Leaf::of_descriptor(raw, None), leaf);
    }
}
