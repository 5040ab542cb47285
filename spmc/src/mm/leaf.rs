//! Leaf descriptors (Arm ARM D8.3, stage 2, 4 KiB granule) and what the engine keeps in them.
//!
//! Bits 58:55 are for software and hold the [`State`]. Bit 0 says whether hardware may use the
//! leaf; an owner that has lent its page keeps the whole leaf with bit 0 clear, and gets the same
//! leaf back.

use crate::ffa::memory::{Cacheability, DeviceKind, MemoryType, Shareability};
use crate::manifest::config::Permissions;

/// The ownership and access of an endpoint for one page (FF-A v1.0 tables 5.1 to 5.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// Owner-EA: the owner has exclusive access.
    OwnerExclusive = 1,
    /// Owner-SA: the owner shares access with borrowers.
    OwnerShared = 2,
    /// Owner-NA: the page is lent, or donated and not retrieved yet; it is not mapped.
    OwnerNoAccess = 3,
    /// !Owner-EA: the only borrower, of an owner without access.
    BorrowedExclusive = 4,
    /// !Owner-SA: a borrower beside others, or beside an owner with access.
    BorrowedShared = 5,
    /// Owner-EA, in use as RX or TX buffer: no transaction may name the page.
    Mailbox = 6,
    /// Accessible because a manifest or the SPMC says so: no transaction may name the page.
    Fixed = 7,
    /// Normal world only: the page was donated and retrieved.
    Ceded = 8,
}

impl State {
    const ALL: [Self; 8] = [
        Self::OwnerExclusive,
        Self::OwnerShared,
        Self::OwnerNoAccess,
        Self::BorrowedExclusive,
        Self::BorrowedShared,
        Self::Mailbox,
        Self::Fixed,
        Self::Ceded,
    ];

    const fn has_access(self) -> bool {
        !matches!(self, Self::OwnerNoAccess | Self::Ceded)
    }
}

/// The access of an endpoint to a page, and the memory type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// Read, write, execute.
    pub permissions: Permissions,
    /// Stage 2 memory type.
    pub memory: MemoryType,
}

impl Attributes {
    /// Normal memory as the SPMC maps it unless a transaction asks for less.
    pub const fn normal(permissions: Permissions) -> Self {
        Self {
            permissions,
            memory: MemoryType::NORMAL,
        }
    }

    /// Device-nGnRnE.
    pub const fn device(permissions: Permissions) -> Self {
        Self {
            permissions,
            memory: MemoryType::Device(DeviceKind::NGnRnE),
        }
    }
}

pub(super) const VALID: u64 = 1;
/// Bits 1:0 of a descriptor that points to the next table (levels 1 and 2).
pub(super) const TABLE: u64 = 0b11;
/// Bit 1 of a leaf at level 3.
pub(super) const PAGE: u64 = 0b10;
pub(super) const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

const MEM_ATTR: u64 = 0b1111 << 2;
pub(super) const READ: u64 = 1 << 6;
pub(super) const WRITE: u64 = 1 << 7;
const SHAREABILITY: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
/// `XN[1:0]` = 0b10: neither EL1 nor EL0 executes.
pub(super) const EXECUTE_NEVER: u64 = 1 << 54;
const STATE_SHIFT: u32 = 55;
const STATE: u64 = 0b1111 << STATE_SHIFT;

/// A leaf descriptor without its address, so that all pages of a region have the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Leaf(pub(super) u64);

impl Leaf {
    /// No leaf: the endpoint neither owns nor borrows the page.
    pub const NONE: Self = Self(0);

    /// Makes a leaf, which hardware may use if `state` has access.
    pub const fn new(attributes: Attributes, state: State) -> Self {
        let permissions = attributes.permissions;
        let mut bits =
            encode_memory(attributes.memory) | ACCESSED | ((state as u64) << STATE_SHIFT);
        if permissions.contains(Permissions::READ) {
            bits |= READ;
        }
        if permissions.contains(Permissions::WRITE) {
            bits |= WRITE;
        }
        if !permissions.contains(Permissions::EXECUTE) {
            bits |= EXECUTE_NEVER;
        }
        if state.has_access() {
            bits |= VALID;
        }
        Self(bits)
    }

    /// Returns this leaf for a space that hardware never walks.
    pub(super) const fn shadow(self) -> Self {
        Self(self.0 & !VALID)
    }

    /// Returns the leaf in another state. This can only take access away; only restoring the former
    /// leaf gives access back.
    pub const fn with_state(self, state: State) -> Self {
        let bits = self.0 & !STATE | ((state as u64) << STATE_SHIFT);
        Self(if state.has_access() {
            bits
        } else {
            bits & !VALID
        })
    }

    /// Returns this leaf without execution; [`Self::NONE`] as it is.
    pub(super) const fn execute_never(self) -> Self {
        match self.0 {
            0 => self,
            bits => Self(bits | EXECUTE_NEVER),
        }
    }

    /// Returns the state; `None` for [`Self::NONE`].
    pub fn state(self) -> Option<State> {
        let raw = (self.0 & STATE) >> STATE_SHIFT;
        State::ALL.into_iter().find(|state| *state as u64 == raw)
    }

    /// Returns what the endpoint may do while it has access.
    #[inline]
    pub fn attributes(self) -> Attributes {
        let mut permissions = Permissions::empty();
        permissions.set(Permissions::READ, self.0 & READ != 0);
        permissions.set(Permissions::WRITE, self.0 & WRITE != 0);
        permissions.set(Permissions::EXECUTE, self.0 & EXECUTE_NEVER == 0);
        Attributes {
            permissions,
            memory: decode_memory(self.0),
        }
    }

    /// Returns whether hardware may use the leaf.
    pub const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// Returns whether hardware treats this leaf and `other` alike, so that no cached translation
    /// becomes wrong when one replaces the other.
    pub(super) const fn same_for_hardware(self, other: Self) -> bool {
        (self.0 ^ other.0) & !STATE == 0
    }
}

const fn encode_memory(memory: MemoryType) -> u64 {
    match memory {
        MemoryType::Device(kind) => (kind as u64) << 2,
        MemoryType::Normal(cacheability, shareability) => {
            let attr = match cacheability {
                Cacheability::NonCacheable => 0b0101,
                Cacheability::WriteBack => 0b1111,
            };
            let sh = match shareability {
                Shareability::Non => 0b00,
                Shareability::Outer => 0b10,
                Shareability::Inner => 0b11,
            };
            attr << 2 | sh << 8
        }
    }
}

fn decode_memory(bits: u64) -> MemoryType {
    let shareability = match (bits & SHAREABILITY) >> 8 {
        0b10 => Shareability::Outer,
        0b11 => Shareability::Inner,
        _ => Shareability::Non,
    };
    match (bits & MEM_ATTR) >> 2 {
        0b0000 => MemoryType::Device(DeviceKind::NGnRnE),
        0b0001 => MemoryType::Device(DeviceKind::NGnRE),
        0b0010 => MemoryType::Device(DeviceKind::NGRE),
        0b0011 => MemoryType::Device(DeviceKind::GRE),
        0b0101 => MemoryType::Normal(Cacheability::NonCacheable, shareability),
        _ => MemoryType::Normal(Cacheability::WriteBack, shareability),
    }
}

/// A replacement of one leaf by another on every page of a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The leaf that every page must have.
    pub from: Leaf,
    /// The leaf that every page gets.
    pub to: Leaf,
}

impl Change {
    /// Returns the change that undoes this one.
    pub const fn inverse(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
        }
    }

    /// Returns the same change for pages that the endpoint must not execute.
    pub(super) const fn execute_never(self) -> Self {
        Self {
            from: self.from.execute_never(),
            to: self.to.execute_never(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: MEMO-02, MEMO-03
    #[test]
    fn architectural_encodings() {
        let rw = Permissions::READ | Permissions::WRITE;
        let normal = Leaf::new(Attributes::normal(rw), State::OwnerExclusive);
        // MemAttr 1111, S2AP 11, SH 11, AF, XN 10, state 1, valid.
        assert_eq!(normal.0, 0x00c0_0000_0000_07fd);
        let code = Attributes::normal(Permissions::READ | Permissions::EXECUTE);
        assert_eq!(
            Leaf::new(code, State::OwnerExclusive).0,
            0x0080_0000_0000_077d
        );
        let device = Leaf::new(Attributes::device(rw), State::Fixed);
        assert_eq!(device.0, 0x03c0_0000_0000_04c1);
    }

    // req: MEMO-16
    #[test]
    fn states_and_attributes_round_trip() {
        for state in State::ALL {
            for bits in 0..8 {
                let permissions = Permissions::from_bits_truncate(bits);
                for memory in [
                    MemoryType::NORMAL,
                    MemoryType::Normal(Cacheability::NonCacheable, Shareability::Outer),
                    MemoryType::Device(DeviceKind::NGnRE),
                    MemoryType::Device(DeviceKind::NGRE),
                    MemoryType::Device(DeviceKind::GRE),
                ] {
                    let attributes = Attributes {
                        permissions,
                        memory,
                    };
                    let leaf = Leaf::new(attributes, state);
                    assert_eq!((leaf.state(), leaf.attributes()), (Some(state), attributes));
                    assert_eq!(leaf.is_valid(), state.has_access());
                }
            }
        }
        assert_eq!(Leaf::NONE.state(), None);
    }

    // req: MEMRC-10, MEMO-16
    #[test]
    fn an_owner_without_access_keeps_all_but_the_valid_bit() {
        let owned = Leaf::new(
            Attributes::normal(Permissions::all()),
            State::OwnerExclusive,
        );
        let lent = owned.with_state(State::OwnerNoAccess);
        assert!(!lent.is_valid());
        assert_eq!(lent.attributes(), owned.attributes());
        assert!(
            owned
                .with_state(State::OwnerShared)
                .same_for_hardware(owned)
        );
        assert!(!lent.same_for_hardware(owned));
    }
}
