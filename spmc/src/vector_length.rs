//! Vector lengths of SVE that partitions can have (Arm ARM B1.2.2).

/// A vector length: 128 to 2048 bits, a power of two. A PE that has one of these lengths has each
/// shorter one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct VectorLength(u16);

impl VectorLength {
    /// Returns the length of that many bits, if the architecture has it.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits.is_power_of_two() && matches!(bits, 128..=2048) {
            Some(Self(bits as u16))
        } else {
            None
        }
    }

    /// Returns the number of bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Returns the number of 128-bit words in a vector register, which LEN of the registers ZCR_ELx
    /// holds, less one.
    pub const fn quadwords(self) -> usize {
        self.0 as usize >> 7
    }

    /// Returns the number of 128-bit words for Z0 to Z31, and for P0 to P15 and FFR behind them.
    pub const fn state_quadwords(self) -> usize {
        let predicate = self.0 as usize >> 6;
        let predicates = predicate.wrapping_mul(17).div_ceil(size_of::<u128>());
        self.quadwords().wrapping_mul(32).wrapping_add(predicates)
    }

    /// Returns the number of bytes of these words.
    pub const fn state_bytes(self) -> u64 {
        self.state_quadwords().wrapping_mul(size_of::<u128>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_architecture() {
        let lengths = (0..=5000).filter_map(VectorLength::from_bits);
        assert!(
            lengths
                .map(VectorLength::bits)
                .eq([128, 256, 512, 1024, 2048])
        );
        assert_eq!(VectorLength::from_bits(1 << 24), None);
    }

    #[test]
    fn the_state_has_room_for_every_register() {
        for bits in [128, 256, 512, 1024, 2048] {
            let length = VectorLength::from_bits(bits).unwrap();
            let registers = 32 * u64::from(bits) / 8;
            let predicates = 17 * u64::from(bits) / 64;
            let spare = length.state_bytes() - registers - predicates;
            assert!(spare < 16, "{bits}: {spare}");
        }
    }
}
