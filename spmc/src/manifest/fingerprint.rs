//! Fingerprints of manifests, by which a new version of a package is seen to have the manifest that
//! the SPMC read at boot.
//!
//! The hash is FNV-1a with 64 bits: it finds a manifest that is another by mistake. One that was
//! made to have the same hash would gain nothing, because the SPMC goes by the manifest of boot.

/// The fingerprint of the bytes that were added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    size: usize,
    hash: u64,
}

impl Fingerprint {
    /// The fingerprint of no bytes.
    pub const EMPTY: Self = Self {
        size: 0,
        hash: 0xcbf2_9ce4_8422_2325,
    };

    /// Returns the fingerprint of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut fingerprint = Self::EMPTY;
        fingerprint.add(bytes);
        fingerprint
    }

    /// Adds bytes behind those that were added before.
    pub fn add(&mut self, bytes: &[u8]) {
        self.size = self.size.saturating_add(bytes.len());
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_other_bytes_have_another_fingerprint() {
        let bytes: [u8; 64] = core::array::from_fn(|n| n as u8);
        let mut pieces = Fingerprint::EMPTY;
        bytes.chunks(7).for_each(|piece| pieces.add(piece));
        let own = Fingerprint::of(&bytes);
        assert_eq!(pieces, own);
        // The test vector for "a" of the authors of FNV.
        assert_eq!(Fingerprint::of(b"a").hash, 0xaf63_dc4c_8601_ec8c);
        for at in 0..64 {
            let mut other = bytes;
            other[at] ^= 1 << (at % 8);
            assert_ne!(Fingerprint::of(&other), own);
            assert_ne!(Fingerprint::of(&bytes[..at]), own);
        }
    }
}
