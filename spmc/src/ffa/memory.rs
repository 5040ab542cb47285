//! Memory region attributes and access permissions (FF-A v1.0 tables 5.15 and 5.18).

use crate::error::{FfaError, Result};

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

    /// Returns whether the type is Normal memory.
    pub const fn is_normal(self) -> bool {
        matches!(self, Self::Normal(..))
    }

    /// Returns whether `other` is equal or less permissive (section 5.11.4).
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

/// Bit 6 of the attributes (1.1): the region is Non-secure.
pub const ATTRIBUTE_NON_SECURE: u16 = 1 << 6;

impl MemoryType {
    /// Decodes bits `[5:0]` of the attributes of a sender or of a retrieve request. `None` means
    /// that no type is specified; the low bits are ignored then. The shareability of a device is
    /// ignored: Hafnium wants to read inner shareable there, and FF-A zero. `INVALID_PARAMETERS`
    /// for reserved values and if any higher bit is set, the security state included.
    #[inline]
    pub const fn decode(attributes: u16) -> Result<Option<Self>> {
        if attributes >> 6 != 0 {
            return Err(FfaError::InvalidParameters);
        }
        match (attributes >> 4, attributes >> 2 & 0b11, attributes & 0b11) {
            (0b00, _, _) => Ok(None),
            (0b01, kind, _) => Ok(Some(Self::Device(match kind {
                0b00 => DeviceKind::NGnRnE,
                0b01 => DeviceKind::NGnRE,
                0b10 => DeviceKind::NGRE,
                _ => DeviceKind::GRE,
            }))),
            (0b10, cacheability @ (0b01 | 0b11), shareability @ (0b00 | 0b10 | 0b11)) => {
                let cacheability = match cacheability {
                    0b01 => Cacheability::NonCacheable,
                    _ => Cacheability::WriteBack,
                };
                let shareability = match shareability {
                    0b00 => Shareability::Non,
                    0b10 => Shareability::Outer,
                    _ => Shareability::Inner,
                };
                Ok(Some(Self::Normal(cacheability, shareability)))
            }
            _ => Err(FfaError::InvalidParameters),
        }
    }

    /// Returns bits `[5:0]` of the attributes.
    pub const fn encode(self) -> u16 {
        match self {
            Self::Device(kind) => 0b01 << 4 | (kind as u16) << 2,
            Self::Normal(cacheability, shareability) => {
                let cacheability = match cacheability {
                    Cacheability::NonCacheable => 0b01,
                    Cacheability::WriteBack => 0b11,
                };
                let shareability = match shareability {
                    Shareability::Non => 0b00,
                    Shareability::Outer => 0b10,
                    Shareability::Inner => 0b11,
                };
                0b10 << 4 | cacheability << 2 | shareability
            }
        }
    }
}

/// Data access, bits `[1:0]` of the permissions, when it is specified.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DataAccess {
    /// Read-only.
    ReadOnly,
    /// Read-write.
    ReadWrite,
}

/// Instruction access, bits `[3:2]` of the permissions, when it is specified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InstructionAccess {
    /// Not executable.
    ExecuteNever,
    /// Executable.
    Execute,
}

/// The permissions of one receiver; `None` stands for "not specified".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessPermissions {
    /// Data access.
    pub data: Option<DataAccess>,
    /// Instruction access.
    pub instruction: Option<InstructionAccess>,
}

impl AccessPermissions {
    /// Decodes the byte. `INVALID_PARAMETERS` for reserved values and bits.
    #[inline]
    pub const fn decode(byte: u8) -> Result<Self> {
        if byte >> 4 != 0 {
            return Err(FfaError::InvalidParameters);
        }
        let data = match byte & 0b11 {
            0b00 => None,
            0b01 => Some(DataAccess::ReadOnly),
            0b10 => Some(DataAccess::ReadWrite),
            _ => return Err(FfaError::InvalidParameters),
        };
        let instruction = match byte >> 2 {
            0b00 => None,
            0b01 => Some(InstructionAccess::ExecuteNever),
            0b10 => Some(InstructionAccess::Execute),
            _ => return Err(FfaError::InvalidParameters),
        };
        Ok(Self { data, instruction })
    }

    /// Returns the byte.
    pub const fn encode(self) -> u8 {
        let data = match self.data {
            None => 0b00,
            Some(DataAccess::ReadOnly) => 0b01,
            Some(DataAccess::ReadWrite) => 0b10,
        };
        let instruction = match self.instruction {
            None => 0b00,
            Some(InstructionAccess::ExecuteNever) => 0b01,
            Some(InstructionAccess::Execute) => 0b10,
        };
        instruction << 2 | data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: MEMD-48, MEMD-49, MEMD-50, MEMD-94, DSC-05
    #[test]
    fn every_attribute_value_decodes_or_is_refused() {
        let mut specified = 0;
        for raw in 0..=u16::MAX {
            let reserved = raw >> 6 != 0
                || raw >> 4 == 0b11
                || raw >> 4 == 0b10 && (raw >> 2 & 1 == 0 || raw & 0b11 == 0b01);
            match MemoryType::decode(raw) {
                Err(error) => assert!(reserved && error == FfaError::InvalidParameters, "{raw:#x}"),
                Ok(None) => assert!(raw < 0x10),
                Ok(Some(memory)) => {
                    assert!(!reserved);
                    let ignored = if memory.is_normal() { 0 } else { 0b11 };
                    assert_eq!(memory.encode(), raw & !ignored);
                    specified += 1;
                }
            }
        }
        assert_eq!(specified, 4 * 4 + 6);
        assert_eq!(MemoryType::decode(0x2f), Ok(Some(MemoryType::NORMAL)));
    }

    // req: MEMD-51
    #[test]
    fn permissiveness() {
        use Cacheability::*;
        use Shareability::*;
        let normal = |cacheability, shareability| MemoryType::Normal(cacheability, shareability);
        assert!(MemoryType::NORMAL.allows(MemoryType::NORMAL));
        assert!(MemoryType::NORMAL.allows(normal(NonCacheable, Non)));
        assert!(!MemoryType::NORMAL.allows(normal(WriteBack, Outer)));
        assert!(!normal(NonCacheable, Outer).allows(normal(WriteBack, Inner)));
        assert!(MemoryType::NORMAL.allows(MemoryType::Device(DeviceKind::GRE)));
        assert!(!MemoryType::Device(DeviceKind::GRE).allows(normal(NonCacheable, Non)));
        assert!(MemoryType::Device(DeviceKind::GRE).allows(MemoryType::Device(DeviceKind::NGnRnE)));
        assert!(
            !MemoryType::Device(DeviceKind::NGnRE).allows(MemoryType::Device(DeviceKind::NGRE))
        );
    }

    // req: MEMD-17, MEMD-18, MEMD-19
    #[test]
    fn every_permission_byte_decodes_or_is_refused() {
        for byte in 0..=u8::MAX {
            let reserved = byte >> 4 != 0 || byte & 0b11 == 0b11 || byte >> 2 == 0b11;
            match AccessPermissions::decode(byte) {
                Err(error) => assert!(reserved && error == FfaError::InvalidParameters),
                Ok(permissions) => assert!(!reserved && permissions.encode() == byte),
            }
        }
    }
}
