//! The geometry of translation tables: how many bits an address has, at which level walks start,
//! and how many tables make a root (Arm ARM D8.2, 4 KiB granule).
//!
//! Boot chooses the geometry once, for all stage 2 and for the Normal world's shadow. Small systems
//! have one root table of level 1. Stage 2 can concatenate tables of level 1; stage 1 of an S-EL0
//! partition cannot, and has walks of four levels instead.

/// log2 of the bytes that one table of level 1 translates.
pub const TABLE_BITS: u32 = 39;

/// log2 of the bytes that one table of level 0 translates: all that a descriptor can name.
pub const MAX_BITS: u32 = 48;

/// The most tables that a root consists of, as log2. Hardware permits twice as many, but a CPU with
/// so many bits can also start at level 0.
const MAX_ROOT_BITS: u32 = 3;

/// The fewest bits of physical addresses with which walks of stage 2 may start at level 0.
const LEVEL_0_BITS: u32 = 44;

/// The shape of the tables of one endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    bits: u8,
    level: u8,
}

impl Geometry {
    /// The geometry of a space without tables, which is all zero.
    pub(crate) const NONE: Self = Self { bits: 0, level: 0 };

    /// One root table of level 1.
    pub const SMALL: Self = Self::new(TABLE_BITS);

    /// Makes the geometry for addresses of `bits` bits: up to 42 bits by tables of level 1, more by
    /// a table of level 0.
    const fn new(bits: u32) -> Self {
        let concatenated = bits <= TABLE_BITS.wrapping_add(MAX_ROOT_BITS);
        Self {
            bits: bits as u8,
            level: if concatenated { 1 } else { 0 },
        }
    }

    /// Returns the smallest geometry for addresses of `needed` bits, on PEs that implement physical
    /// addresses of `physical` bits. `None` if they are narrower, or if a descriptor cannot hold
    /// such an address.
    pub const fn choose(needed: u32, physical: u32) -> Option<Self> {
        if needed > physical || needed > MAX_BITS {
            return None;
        }
        if needed <= TABLE_BITS {
            return Some(Self::SMALL);
        }
        // Eight tables for each root are more than what walks of four levels need.
        let is_scarce = needed == TABLE_BITS.wrapping_add(MAX_ROOT_BITS);
        if is_scarce && physical >= LEVEL_0_BITS {
            return Some(Self::new(LEVEL_0_BITS));
        }
        Some(Self::new(needed))
    }

    /// Returns the geometry of S-EL0 partitions in a system with this one.
    pub const fn stage1(self) -> Self {
        if self.bits as u32 <= TABLE_BITS {
            self
        } else {
            Self::new(MAX_BITS)
        }
    }

    /// Returns the number of bits of an address.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.bits as u32
    }

    /// Returns the level at which walks start: 0 or 1.
    #[inline(always)]
    pub const fn level(self) -> usize {
        self.level as usize
    }

    /// Returns how many tables make a root.
    pub const fn root_tables(self) -> usize {
        if self.level == 0 {
            return 1;
        }
        1_usize.wrapping_shl(self.bits().saturating_sub(TABLE_BITS))
    }

    /// Returns how many tables an endpoint needs beyond one for each root, before anything is
    /// mapped: the others of a root, or the first of level 1.
    pub(crate) const fn more_tables(self) -> usize {
        if self.level == 0 {
            1
        } else {
            self.root_tables().saturating_sub(1)
        }
    }

    /// Returns the first address that cannot be translated.
    #[inline(always)]
    pub const fn limit(self) -> u64 {
        1_u64.wrapping_shl(self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: MEMO-03
    #[test]
    fn the_smallest_geometry_is_chosen_that_covers_what_is_needed() {
        // Needed and physical bits; bits, start level and root tables.
        for (needed, physical, expected) in [
            (1, 40, Some((39, 1, 1))),
            (32, 48, Some((39, 1, 1))),
            (39, 39, Some((39, 1, 1))),
            (39, 52, Some((39, 1, 1))),
            (40, 40, Some((40, 1, 2))),
            (40, 48, Some((40, 1, 2))),
            (41, 42, Some((41, 1, 4))),
            (41, 48, Some((41, 1, 4))),
            (42, 42, Some((42, 1, 8))),
            (42, 44, Some((44, 0, 1))),
            (43, 44, Some((43, 0, 1))),
            (44, 44, Some((44, 0, 1))),
            (45, 48, Some((45, 0, 1))),
            (48, 48, Some((48, 0, 1))),
            (48, 52, Some((48, 0, 1))),
            (37, 36, None),
            (40, 39, None),
            (43, 42, None),
            (45, 44, None),
            (49, 52, None),
            (52, 52, None),
        ] {
            let chosen = Geometry::choose(needed, physical)
                .map(|it| (it.bits(), it.level(), it.root_tables()));
            assert_eq!(chosen, expected, "{needed} of {physical}");
        }
    }

    #[test]
    fn stage_1_has_one_root_table() {
        for needed in 30..=48 {
            let geometry = Geometry::choose(needed, 48).unwrap();
            let stage1 = geometry.stage1();
            assert_eq!(stage1.root_tables(), 1);
            assert!(stage1.limit() >= geometry.limit());
            assert_eq!(stage1 == Geometry::SMALL, needed <= 39);
        }
    }
}
