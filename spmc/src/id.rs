//! Identifiers of partitions, execution contexts and services.

use core::fmt;

use crate::limits::MAX_PARTITIONS;

/// A 16-bit FF-A partition id (FF-A v1.0 section 2.8). Bit 15 marks Secure ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// The Hypervisor, or the OS kernel where there is none.
    pub const NORMAL_WORLD: Self = Self(0);
    /// The SPMC itself.
    pub const SPMC: Self = Self(0x8000);
    /// The SPMD at EL3.
    pub const SPMD: Self = Self(0xffff);

    /// Returns whether the id is of the Secure world.
    pub const fn is_secure(self) -> bool {
        self.0 & 0x8000 != 0
    }

    /// Returns whether the id is that of a logical partition of the SPMD, if there is such a one.
    pub const fn is_logical(self) -> bool {
        matches!(self.0, 0xffc0..=0xfffe)
    }

    /// Returns whether the id is one that EL3 has: the SPMD's or that of a logical partition.
    pub const fn is_el3(self) -> bool {
        self.0 == Self::SPMD.0 || self.is_logical()
    }

    /// Returns the id of the place at `index` of the partition table: 0x8001 + index, as Hafnium
    /// numbers partitions. A partition has it unless its manifest asks for another one.
    pub const fn of_place(index: usize) -> Self {
        Self(0x8001_u16.wrapping_add(index as u16))
    }

    /// Returns whether the id is that of a place of the partition table.
    pub const fn is_of_place(self) -> bool {
        (self.0.wrapping_sub(0x8001) as usize) < MAX_PARTITIONS
    }
}

impl fmt::Debug for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One execution context: partition and index of the vCPU in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VcpuId {
    /// The partition.
    pub partition: PartitionId,
    /// Index of the context, below the partition's context count.
    pub index: u16,
}

impl VcpuId {
    /// No context: the Normal world has none here.
    pub const NONE: Self = Self {
        partition: PartitionId::NORMAL_WORLD,
        index: 0,
    };

    /// Encodes w1 of `FFA_RUN` and `FFA_INTERRUPT`: partition in `[31:16]`, vCPU in `[15:0]`.
    pub const fn to_w1(self) -> u64 {
        ((self.partition.0 as u64) << 16) | self.index as u64
    }

    /// Decodes w1 of `FFA_RUN`.
    pub const fn from_w1(w1: u64) -> Self {
        Self {
            partition: PartitionId((w1 >> 16) as u16),
            index: w1 as u16,
        }
    }
}

/// The UUID of a service, as the 16 bytes of its text form in order.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// All zero: "any".
    pub const NIL: Self = Self([0; 16]);

    /// From four 32-bit registers or manifest cells: byte 0 is bits 7:0 of the first (SMCCC order).
    pub fn from_words(words: [u32; 4]) -> Self {
        let mut bytes = [0; 16];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        Self(bytes)
    }

    /// From two 64-bit registers: byte 0 is bits 7:0 of the first.
    pub fn from_registers([low, high]: [u64; 2]) -> Self {
        Self((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
    }

    /// The two 64-bit registers that hold it.
    pub fn registers(&self) -> [u64; 2] {
        let value = u128::from_le_bytes(self.0);
        [value as u64, (value >> 64) as u64]
    }

    /// Returns whether this is the nil UUID.
    pub fn is_nil(&self) -> bool {
        *self == Self::NIL
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    // req: PINFO-01
    #[test]
    fn uuid_words_are_little_endian() {
        let uuid = Uuid::from_words([0xe078_6148, 0xe311_f8e7, 0x0200_5ebc, 0x1bc5_d5a5]);
        assert_eq!(uuid.to_string(), "486178e0-e7f8-11e3-bc5e-0002a5d5c51b");
        assert_eq!(
            Uuid::from_registers([0xe311_f8e7_e078_6148, 0x1bc5_d5a5_0200_5ebc]),
            uuid
        );
        assert_eq!(Uuid::from_registers(uuid.registers()), uuid);
    }

    // req: MSGW-20
    #[test]
    fn run_argument_round_trip() {
        let id = VcpuId {
            partition: PartitionId(0x8003),
            index: 5,
        };
        assert_eq!(id.to_w1(), 0x8003_0005);
        assert_eq!(VcpuId::from_w1(id.to_w1()), id);
    }

    // req: GEN-16
    #[test]
    fn ids_of_places_are_secure_and_in_order() {
        let ids: [_; MAX_PARTITIONS] = core::array::from_fn(PartitionId::of_place);
        assert_eq!(ids[..3], [0x8001, 0x8002, 0x8003].map(PartitionId));
        assert!(ids.iter().all(|id| id.is_secure() && id.is_of_place()));
        let behind = PartitionId::of_place(MAX_PARTITIONS);
        for other in [PartitionId::SPMC, PartitionId::NORMAL_WORLD, behind] {
            assert!(!other.is_of_place(), "{other}");
        }
    }
}
