//! TF-A's Firmware Image Package, which BL2 reads: a table of contents with UUID, offset, size and
//! flags of each image, which a nil UUID ends, and then the images.

use std::fmt;

use anyhow::{Context, Result, ensure};

/// A UUID as the 16 bytes of its text form, from left to right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    pub const BL2: Self =
        Self(*b"\x5f\xf9\xec\x0b\x4d\x22\x3e\x4d\xa5\x44\xc3\x9d\x81\xc7\x3f\x0a");
    pub const BL31: Self =
        Self(*b"\x47\xd4\x08\x6d\x4c\xfe\x98\x46\x9b\x95\x29\x50\xcb\xbd\x5a\x00");
    pub const BL32: Self =
        Self(*b"\x05\xd0\xe1\x89\x53\xdc\x13\x47\x8d\x2b\x50\x0a\x4b\x7a\x3e\x38");
    pub const BL33: Self =
        Self(*b"\xd6\xd0\xee\xa7\xfc\xea\xd5\x4b\x97\x82\x99\x34\xf2\x34\xb6\xe4");
    pub const TB_FW_CONFIG: Self =
        Self(*b"\x6c\x04\x58\xff\xaf\x6b\x7d\x4f\x82\xed\xaa\x27\xbc\x69\xbf\xd2");
    pub const TOS_FW_CONFIG: Self =
        Self(*b"\x26\x25\x7c\x1a\xdb\xc6\x7f\x47\x8d\x96\xc4\xc4\xb0\x24\x80\x21");

    /// Parses a UUID such as `b4b5671e-4a90-4fe1-b81f-fb13dae1dacb`.
    pub fn parse(text: &str) -> Result<Self> {
        let digits: Vec<u8> = text.bytes().filter(|&byte| byte != b'-').collect();
        ensure!(digits.len() == 32, "`{text}` is not a UUID");
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair)?;
            *byte =
                u8::from_str_radix(pair, 16).with_context(|| format!("`{text}` is not a UUID"))?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if [4, 6, 8, 10].contains(&index) {
                "-"
            } else {
                ""
            };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

const FIP_MAGIC: u32 = 0xaa64_0001;
/// The serial number of the package: any value except zero.
const FIP_SERIAL: u32 = 0x1234_5678;
const FIP_HEADER: usize = 16;
const FIP_ENTRY: usize = 40;

/// Packs a FIP.
pub fn fip(images: &[(Uuid, Vec<u8>)]) -> Vec<u8> {
    let mut fip = Vec::new();
    fip.extend_from_slice(&FIP_MAGIC.to_le_bytes());
    fip.extend_from_slice(&FIP_SERIAL.to_le_bytes());
    fip.extend_from_slice(&0u64.to_le_bytes());
    let mut offset = FIP_HEADER + (images.len() + 1) * FIP_ENTRY;
    for (uuid, image) in images {
        entry(&mut fip, *uuid, offset, image.len());
        offset += image.len();
    }
    entry(&mut fip, Uuid([0; 16]), offset, 0);
    for (_, image) in images {
        fip.extend_from_slice(image);
    }
    fip
}

fn entry(fip: &mut Vec<u8>, uuid: Uuid, offset: usize, size: usize) {
    fip.extend_from_slice(&uuid.0);
    fip.extend_from_slice(&(offset as u64).to_le_bytes());
    fip.extend_from_slice(&(size as u64).to_le_bytes());
    fip.extend_from_slice(&0u64.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fip_entries_point_at_their_images() {
        let fip = fip(&[
            (Uuid::BL2, b"two".to_vec()),
            (Uuid::BL31, b"three".to_vec()),
        ]);
        let word = |at: usize| u64::from_le_bytes(fip[at..at + 8].try_into().unwrap()) as usize;
        assert_eq!(fip[..4], FIP_MAGIC.to_le_bytes());
        for (index, uuid, text) in [(0, Uuid::BL2, &b"two"[..]), (1, Uuid::BL31, b"three")] {
            let at = FIP_HEADER + index * FIP_ENTRY;
            assert_eq!(fip[at..at + 16], uuid.0);
            assert_eq!(&fip[word(at + 16)..word(at + 16) + word(at + 24)], text);
        }
        assert_eq!(fip[16 + 80..16 + 80 + 16], [0; 16], "ended by a nil UUID");
    }

    #[test]
    fn uuid_text() {
        let text = "b4b5671e-4a90-4fe1-b81f-fb13dae1dacb";
        let uuid = Uuid::parse(text).unwrap();
        assert_eq!(uuid.to_string(), text);
        assert_eq!(uuid.0[..4], [0xb4, 0xb5, 0x67, 0x1e]);
        assert!(Uuid::parse("b4b5671e-4a90").is_err());
        assert!(Uuid::parse("b4b5671e-4a90-4fe1-b81f-fb13dae1dacx").is_err());
    }
}
