//! A signing service and a source of random numbers, without the hardware: what the partition
//! `signer` answers.
//!
//! The key is made when the service starts and is never given out: no answer has it, nor does any
//! byte of memory that others share. A signature is ECDSA over P-256 with SHA-256, and
//! deterministic (RFC 6979), so that a signature needs no random number that could give the key
//! away.
//!
//! A request has an operation in its first word, of [`operation`]. Its other words are the handle
//! of a region that the caller shares, an offset into that region, and a number of bytes. An answer
//! begins with a word of [`status`]. Keys and signatures follow as eight words, each with eight
//! bytes in the order of memory.

#![no_std]

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::zeroize::Zeroizing;
use sha2::{Digest, Sha256};

/// The payload of a request, and of an answer: x4 to x17.
pub type Words = [u64; 14];

/// The operations.
pub mod operation {
    /// Returns the public key: its coordinates x and y.
    pub const PUBLIC_KEY: u64 = 1;
    /// Signs a range of the region. Returns r and s.
    pub const SIGN: u64 = 2;
    /// Fills a range of the region, which must be writable, with random bytes.
    pub const RANDOM: u64 = 3;
}

/// The results.
pub mod status {
    /// Done.
    pub const OK: u64 = 0;
    /// No operation has that number.
    pub const UNKNOWN: u64 = 1;
    /// The region cannot be borrowed with the access that the operation needs.
    pub const NOT_SHARED: u64 = 2;
    /// The range is not within the region.
    pub const OUTSIDE: u64 = 3;
    /// The source of random numbers failed.
    pub const NO_ENTROPY: u64 = 4;
}

/// Memory that the caller shares and may change at any time.
pub trait Region {
    /// Returns the number of bytes.
    fn length(&self) -> usize;
    /// Copies bytes from `offset` on. Returns whether all of them lie in the region.
    fn read(&self, offset: usize, to: &mut [u8]) -> bool;
    /// Copies bytes to `offset` and on. Returns whether all of them lie in the region.
    fn write(&self, offset: usize, from: &[u8]) -> bool;
}

/// The memory of one caller.
pub trait Lender {
    /// A region that was borrowed.
    type Region: Region;
    /// Borrows a region for reading, or for writing as well.
    fn borrow(&mut self, handle: u64, is_written: bool) -> Option<Self::Region>;
    /// Gives a region back. It is not touched any more.
    fn give_back(&mut self, handle: u64);
}

/// A source of random numbers, which may fail.
pub type Random = fn() -> Option<u64>;

/// The service.
pub struct Signer {
    key: SigningKey,
    random: Random,
}

/// How many bytes are copied out of, or into, shared memory at a time.
const CHUNK: usize = 256;

impl Signer {
    /// Makes a key. Fails if there are no random numbers.
    pub fn new(random: Random) -> Option<Self> {
        loop {
            let mut bytes = Zeroizing::new([0; 32]);
            fill(&mut *bytes, random)?;
            // One of 2^32 numbers is no key.
            if let Ok(key) = SigningKey::from_slice(&*bytes) {
                return Some(Self { key, random });
            }
        }
    }

    /// Answers a request.
    pub fn answer(&self, request: &Words, lender: &mut impl Lender) -> Words {
        let mut answer = [0; 14];
        let (status, results) = match self.serve(request, lender) {
            Ok(results) => (status::OK, results),
            Err(status) => (status, [0; 64]),
        };
        answer[0] = status;
        for (word, bytes) in answer[1..].iter_mut().zip(results.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        answer
    }

    fn serve(&self, request: &Words, lender: &mut impl Lender) -> Result<[u8; 64], u64> {
        let [operation, handle, offset, length, ..] = *request;
        let is_written = match operation {
            operation::PUBLIC_KEY => return Ok(self.public_key()),
            operation::SIGN => false,
            operation::RANDOM => true,
            _ => return Err(status::UNKNOWN),
        };
        let region = lender
            .borrow(handle, is_written)
            .ok_or(status::NOT_SHARED)?;
        let results = match Range::within(&region, offset, length) {
            None => Err(status::OUTSIDE),
            Some(range) if is_written => self.randomise(&region, range),
            Some(range) => self.sign(&region, range),
        };
        lender.give_back(handle);
        results
    }

    fn public_key(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let point = self.key.verifying_key().to_sec1_point(false);
        // The first byte says that both coordinates follow.
        bytes.copy_from_slice(&point.as_bytes()[1..]);
        bytes
    }

    /// Signs what a range has while it is read. Each byte is read once.
    fn sign(&self, region: &impl Region, range: Range) -> Result<[u8; 64], u64> {
        let mut hash = Sha256::new();
        for (offset, length) in range.chunks() {
            let mut chunk = [0; CHUNK];
            let chunk = &mut chunk[..length];
            if !region.read(offset, chunk) {
                return Err(status::OUTSIDE);
            }
            hash.update(chunk);
        }
        let signature: Signature = self
            .key
            .sign_prehash(&hash.finalize())
            .expect("a hash of SHA-256 is as long as the key");
        let mut bytes = [0; 64];
        bytes.copy_from_slice(&signature.to_bytes());
        Ok(bytes)
    }

    fn randomise(&self, region: &impl Region, range: Range) -> Result<[u8; 64], u64> {
        for (offset, length) in range.chunks() {
            let mut chunk = [0; CHUNK];
            let chunk = &mut chunk[..length];
            fill(chunk, self.random).ok_or(status::NO_ENTROPY)?;
            if !region.write(offset, chunk) {
                return Err(status::OUTSIDE);
            }
        }
        Ok([0; 64])
    }
}

/// A part of a region.
#[derive(Clone, Copy)]
struct Range {
    offset: usize,
    length: usize,
}

impl Range {
    fn within(region: &impl Region, offset: u64, length: u64) -> Option<Self> {
        let end = offset.checked_add(length)?;
        (end <= region.length() as u64).then_some(Self {
            offset: offset as usize,
            length: length as usize,
        })
    }

    /// Returns offset and length of each chunk.
    fn chunks(self) -> impl Iterator<Item = (usize, usize)> {
        let starts = (0..self.length).step_by(CHUNK);
        starts.map(move |start| (self.offset + start, CHUNK.min(self.length - start)))
    }
}

/// Fills bytes with random ones.
fn fill(bytes: &mut [u8], random: Random) -> Option<()> {
    for chunk in bytes.chunks_mut(8) {
        let number = random()?.to_le_bytes();
        chunk.copy_from_slice(&number[..chunk.len()]);
    }
    Some(())
}
