//! The partition of `scripts/sdk/signer`, whose signatures openssl judges.
//!
//! The client in the Normal world prints `key` (x and y), for each signature `pattern` (the words
//! that were signed: a seed, the first word and the number of words) and `signature` (r and s), and
//! `random` bytes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::fetch::folder;

/// The layout, from the root of the tree.
pub const LAYOUT: &str = "scripts/sdk/signer";

/// A public key of P-256 in DER (RFC 5480), up to the coordinates.
const KEY_HEADER: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// Checks every signature and all random bytes that a console shows.
pub fn judge(lines: &[&str]) -> Result<()> {
    let said = |word: &'static str| {
        let found = lines.iter().filter_map(move |line| line.strip_prefix("# "));
        found.filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '))
    };
    let key = bytes(said("key").next().context("no console shows a key")?)?;
    let mut count = 0;
    for (pattern, signature) in said("pattern").zip(said("signature")) {
        let message = message(pattern)?;
        let signature = bytes(signature)?;
        ensure!(
            verify(&key, &message, &signature)?,
            "openssl refuses the signature of {pattern}"
        );
        let mut other = message;
        other[0] ^= 1;
        ensure!(
            !verify(&key, &other, &signature)?,
            "openssl takes the signature of {pattern} for that of another message"
        );
        count += 1;
    }
    ensure!(count > 1, "{count} signatures are too few");
    are_random(&said("random").map(bytes).collect::<Result<Vec<_>>>()?)
}

/// Fails if chunks of random bytes repeat or have far too many ones or zeros.
fn are_random(chunks: &[Vec<u8>]) -> Result<()> {
    ensure!(chunks.len() > 1, "no console shows random bytes twice");
    for (n, chunk) in chunks.iter().enumerate() {
        let ones: u32 = chunk.iter().map(|byte| byte.count_ones()).sum();
        let all = 8 * chunk.len() as u32;
        // Ten standard deviations.
        let most = 5 * all.isqrt();
        ensure!(
            ones.abs_diff(all / 2) < most,
            "{ones} of {all} random bits are ones"
        );
        ensure!(!chunks[..n].contains(chunk), "random bytes repeat");
    }
    Ok(())
}

/// Returns the bytes that the client signed.
fn message(pattern: &str) -> Result<Vec<u8>> {
    let numbers = pattern
        .split(' ')
        .map(str::parse)
        .collect::<Result<Vec<u64>, _>>()?;
    let [seed, first, length] = numbers[..] else {
        bail!("`{pattern}` is no pattern");
    };
    let word = |n: u64| (seed ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Ok((first..first + length)
        .flat_map(|n| word(n).to_le_bytes())
        .collect())
}

/// Returns whether openssl takes 64 bytes for the signature of a message.
fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> Result<bool> {
    let dir = folder().join("boot/rust-sp");
    fs::create_dir_all(&dir)?;
    let file = |name: &str, contents: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, contents).with_context(|| path.display().to_string())?;
        Ok::<_, anyhow::Error>(path)
    };
    let key = file("key.der", &[KEY_HEADER, key].concat())?;
    let signature = file("signature.der", &der(signature)?)?;
    let message = file("message", message)?;
    openssl(&key, &signature, &message)
}

fn openssl(key: &Path, signature: &Path, message: &Path) -> Result<bool> {
    let verdict = Command::new("openssl")
        .args(["dgst", "-sha256", "-keyform", "DER", "-verify"])
        .arg(key)
        .arg("-signature")
        .arg(signature)
        .arg(message)
        .output()
        .context("cannot start openssl")?;
    match String::from_utf8_lossy(&verdict.stdout).trim() {
        "Verified OK" => Ok(true),
        "Verification failure" | "Verification Failure" => Ok(false),
        _ => bail!("openssl: {}", String::from_utf8_lossy(&verdict.stderr)),
    }
}

/// Returns a signature of r and s in DER (RFC 3279).
fn der(signature: &[u8]) -> Result<Vec<u8>> {
    ensure!(signature.len() == 64, "a signature has 64 bytes");
    let mut both = Vec::new();
    for number in signature.chunks(32) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let mut number = number[zeros.min(31)..].to_vec();
        if number[0] >= 0x80 {
            // Otherwise it would be negative.
            number.insert(0, 0);
        }
        both.extend([0x02, number.len() as u8]);
        both.extend(number);
    }
    Ok([vec![0x30, both.len() as u8], both].concat())
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    let pairs = hex.as_bytes().as_chunks::<2>();
    ensure!(pairs.1.is_empty(), "half a byte");
    let byte = |pair: &[u8; 2]| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?);
    pairs.0.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_in_der_has_the_shortest_positive_numbers() {
        let mut signature = [0; 64];
        signature[31] = 1;
        signature[34] = 0x80;
        signature[63] = 2;
        let mut expected = vec![0x30, 3 + 2 + 31, 0x02, 1, 1, 0x02, 31, 0, 0x80];
        expected.extend([0; 28]);
        expected.push(2);
        assert_eq!(der(&signature).unwrap(), expected);
        assert!(der(&signature[1..]).is_err());
    }

    #[test]
    fn patterns_are_words_from_the_first_on() {
        let all = message("1 0 3").unwrap();
        assert_eq!(all[..8], 0x9e37_79b9_7f4a_7c15_u64.to_le_bytes());
        assert_eq!(message("1 1 2").unwrap(), all[8..]);
        assert!(message("1 1").is_err());
    }

    #[test]
    fn bytes_that_are_not_random_are_noticed() {
        let good: Vec<u8> = (0..=255).collect();
        let other: Vec<u8> = (0..=255).rev().collect();
        assert!(are_random(&[good.clone(), other]).is_ok());
        assert!(are_random(&[good.clone(), good.clone()]).is_err());
        assert!(are_random(&[good.clone(), vec![0; 64]]).is_err());
        assert!(are_random(&[good]).is_err());
    }

    #[test]
    fn consoles_without_signatures_are_no_success() {
        assert!(judge(&[]).is_err());
        assert!(judge(&["# key 00", "# random 55", "# random aa"]).is_err());
    }
}
