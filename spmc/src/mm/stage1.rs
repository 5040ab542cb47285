//! Leaf descriptors of the EL2&0 regime (Arm ARM D8.3, stage 1, 4 KiB granule), for S-EL0
//! partitions.
//!
//! The engine uses leaves in one form, that of stage 2 ([`Leaf`]). Valid bit, shareability, access
//! flag, XN (here UXN) and software bits stand in the same places in both; memory type and data
//! permissions are translated, one to one. All leaves are non-global, as they belong to the ASID of
//! the partition, and never executable for EL2 (PXN). One table maps memory of both security
//! states, which the NS bit tells apart.

use super::leaf::{Leaf, READ, WRITE};
use crate::addr::World;

/// The value of MAIR_EL2 that the memory types below rely on. The first two are also EL2's own:
/// write-back, Device-nGnRE.
pub const MAIR: u64 = 0x0c08_0044_04ff;

/// MemAttr of stage 2 by index into [`MAIR`]: write-back, Device-nGnRE, non-cacheable,
/// Device-nGnRnE, -nGRE, -GRE.
const MEMORY_TYPES: [u64; 6] = [0b1111, 0b0001, 0b0101, 0b0000, 0b0010, 0b0011];

const MEM_ATTR_SHIFT: u32 = 2;
const MEM_ATTR: u64 = 0b1111 << MEM_ATTR_SHIFT;
const ATTR_INDEX: u64 = 0b111 << MEM_ATTR_SHIFT;
const NON_SECURE: u64 = 1 << 5;
/// `AP[1]`.
const EL0_ACCESS: u64 = 1 << 6;
/// `AP[2]`.
const READ_ONLY: u64 = 1 << 7;
const NOT_GLOBAL: u64 = 1 << 11;
const EL2_EXECUTE_NEVER: u64 = 1 << 53;
/// GP: branches to instructions that are no targets fault. Without effect where nothing is
/// executed.
pub(super) const GUARDED: u64 = 1 << 50;

/// Fields that only one of the two forms has.
const TRANSLATED: u64 = MEM_ATTR | READ | WRITE | NOT_GLOBAL | EL2_EXECUTE_NEVER;

/// Returns the descriptor for `leaf` in memory of `world`.
pub(super) fn encode(leaf: Leaf, world: World) -> u64 {
    let memory = (leaf.0 & MEM_ATTR) >> MEM_ATTR_SHIFT;
    // The type of every leaf is in the list.
    let index = MEMORY_TYPES.iter().take_while(|it| **it != memory).count() as u64;
    let mut bits = leaf.0 & !TRANSLATED | index << MEM_ATTR_SHIFT | NOT_GLOBAL | EL2_EXECUTE_NEVER;
    if world == World::NonSecure {
        bits |= NON_SECURE;
    }
    if leaf.0 & READ != 0 {
        bits |= EL0_ACCESS;
    }
    if leaf.0 & WRITE == 0 {
        bits |= READ_ONLY;
    }
    bits
}

/// Returns the leaf that [`encode`] made `bits` from; [`Leaf::NONE`] for a zero entry, or one of
/// the other world.
pub(super) fn decode(bits: u64, world: World) -> Leaf {
    if bits == 0 || (bits & NON_SECURE != 0) != (world == World::NonSecure) {
        return Leaf::NONE;
    }
    let index = (bits & ATTR_INDEX) >> MEM_ATTR_SHIFT;
    let memory = MEMORY_TYPES.get(index as usize).copied().unwrap_or(0);
    let mut leaf = bits & !TRANSLATED | memory << MEM_ATTR_SHIFT;
    if bits & EL0_ACCESS != 0 {
        leaf |= READ;
    }
    if bits & READ_ONLY == 0 {
        leaf |= WRITE;
    }
    Leaf(leaf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffa::memory::{Cacheability, DeviceKind, MemoryType, Shareability};
    use crate::manifest::config::Permissions;
    use crate::mm::{Attributes, State};

    // req: MEMO-01, MEMO-02, MEMO-03
    #[test]
    fn architectural_encodings() {
        let owned = |permissions| Leaf::new(Attributes::normal(permissions), State::OwnerExclusive);
        let (r, w, x) = (Permissions::READ, Permissions::WRITE, Permissions::EXECUTE);
        // State 1, UXN, PXN, nG, AF, SH 11, AP 01, AttrIndx 0, valid.
        assert_eq!(encode(owned(r | w), World::Secure), 0x00e0_0000_0000_0f41);
        // AP 11, NS.
        assert_eq!(encode(owned(r), World::NonSecure), 0x00e0_0000_0000_0fe1);
        // UXN 0.
        assert_eq!(encode(owned(r | x), World::Secure), 0x00a0_0000_0000_0fc1);
        // AP 10: no access for EL0.
        let none = owned(Permissions::empty());
        assert_eq!(encode(none, World::Secure), 0x00e0_0000_0000_0f81);
        let device = Leaf::new(Attributes::device(r | w), State::Fixed);
        assert_eq!(encode(device, World::Secure), 0x03e0_0000_0000_0c4d);
    }

    #[test]
    fn memory_types_are_those_of_mair() {
        let encoding = |memory: u64| match memory {
            0b1111 => 0xff,
            0b0101 => 0x44,
            device => device << 2,
        };
        for (memory, byte) in MEMORY_TYPES.iter().zip(MAIR.to_le_bytes()) {
            assert_eq!(encoding(*memory), u64::from(byte));
        }
    }

    // req: MEMO-01, MEMO-16
    #[test]
    fn every_leaf_comes_back() {
        let kinds = [
            DeviceKind::NGnRnE,
            DeviceKind::NGnRE,
            DeviceKind::NGRE,
            DeviceKind::GRE,
        ];
        let normal = [Cacheability::NonCacheable, Cacheability::WriteBack]
            .into_iter()
            .flat_map(|cacheability| {
                [Shareability::Non, Shareability::Outer, Shareability::Inner]
                    .map(|shareability| MemoryType::Normal(cacheability, shareability))
            });
        for memory in normal.chain(kinds.map(MemoryType::Device)) {
            for permissions in (0..8).map(Permissions::from_bits_truncate) {
                for state in [State::OwnerExclusive, State::OwnerNoAccess, State::Mailbox] {
                    let leaf = Leaf::new(
                        Attributes {
                            permissions,
                            memory,
                        },
                        state,
                    );
                    for world in [World::Secure, World::NonSecure] {
                        assert_eq!(decode(encode(leaf, world), world), leaf);
                    }
                    assert_eq!(
                        decode(encode(leaf, World::Secure), World::NonSecure),
                        Leaf::NONE
                    );
                }
            }
        }
        assert_eq!(decode(0, World::Secure), Leaf::NONE);
    }
}
