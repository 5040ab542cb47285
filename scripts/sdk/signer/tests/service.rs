//! The service over memory and random numbers that the tests choose, and so with a key that they
//! know.

use std::cell::{Cell, RefCell};

use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use signer::{Lender, Region, Signer, Words, operation, status};

/// The key of RFC 6979, A.2.5, and its public key.
const KEY: &str = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721";
const X: &str = "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6";
const Y: &str = "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299";
/// The signature of "sample" with SHA-256 there.
const R: &str = "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716";
const S: &str = "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8";

const HANDLE: u64 = 7;

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().as_chunks::<2>().0;
    let digits = digits.iter().map(|pair| str::from_utf8(pair).unwrap());
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
    static FAILS: Cell<bool> = const { Cell::new(false) };
}

/// Gives numbers that are no key, then the key, then the numbers from 1 on.
fn random() -> Option<u64> {
    let taken = TAKEN.replace(TAKEN.get() + 1);
    let key = bytes(KEY);
    let number = match taken {
        0..4 => u64::MAX,
        4..8 => u64::from_le_bytes(key.as_chunks().0[taken - 4]),
        later => later as u64 - 7,
    };
    (!FAILS.get()).then_some(number)
}

fn none() -> Option<u64> {
    None
}

/// A region, which counts how often each byte is read.
#[derive(Default)]
struct Memory {
    bytes: RefCell<Vec<u8>>,
    reads: RefCell<Vec<u32>>,
}

/// The owner of one region, which it shares for reading or also for writing.
struct Owner {
    memory: std::rc::Rc<Memory>,
    is_writable: bool,
    lent: i32,
}

struct Borrowed(std::rc::Rc<Memory>);

impl Owner {
    fn of(bytes: &[u8]) -> Self {
        let memory = Memory {
            reads: vec![0; bytes.len()].into(),
            bytes: bytes.to_vec().into(),
        };
        Self {
            memory: memory.into(),
            is_writable: true,
            lent: 0,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.memory.bytes.borrow().clone()
    }
}

impl Lender for Owner {
    type Region = Borrowed;

    fn borrow(&mut self, handle: u64, is_written: bool) -> Option<Borrowed> {
        if handle != HANDLE || is_written && !self.is_writable {
            return None;
        }
        self.lent += 1;
        Some(Borrowed(self.memory.clone()))
    }

    fn give_back(&mut self, handle: u64) {
        assert_eq!(handle, HANDLE);
        self.lent -= 1;
    }
}

impl Region for Borrowed {
    fn length(&self) -> usize {
        self.0.bytes.borrow().len()
    }

    fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        let range = offset..offset + to.len();
        to.copy_from_slice(&self.0.bytes.borrow()[range.clone()]);
        for count in &mut self.0.reads.borrow_mut()[range] {
            *count += 1;
        }
        true
    }

    fn write(&self, offset: usize, from: &[u8]) -> bool {
        self.0.bytes.borrow_mut()[offset..][..from.len()].copy_from_slice(from);
        true
    }
}

fn signer() -> Signer {
    Signer::new(random).unwrap()
}

fn ask(signer: &Signer, owner: &mut Owner, words: [u64; 4]) -> Words {
    let mut request = [0; 14];
    request[..4].copy_from_slice(&words);
    let answer = signer.answer(&request, owner);
    assert_eq!(owner.lent, 0, "a region was not given back");
    assert_eq!(answer[9..], [0; 5]);
    answer
}

/// Returns the eight words behind the status as bytes.
fn results(answer: &Words) -> Vec<u8> {
    answer[1..9]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect()
}

#[test]
fn keys_and_signatures_are_those_of_the_standard() {
    let signer = signer();
    let mut owner = Owner::of(b"a sample, and more");
    let key = ask(&signer, &mut owner, [operation::PUBLIC_KEY, 0, 0, 0]);
    assert_eq!(key[0], status::OK);
    assert_eq!(results(&key), [bytes(X), bytes(Y)].concat());
    let signature = ask(&signer, &mut owner, [operation::SIGN, HANDLE, 2, 6]);
    assert_eq!(signature[0], status::OK);
    assert_eq!(results(&signature), [bytes(R), bytes(S)].concat());
}

#[test]
fn a_signature_holds_for_any_part_of_a_region() {
    let signer = signer();
    let text: Vec<u8> = (0..2000u32).map(|n| (n * n) as u8).collect();
    let point = [vec![4], bytes(X), bytes(Y)].concat();
    let key = VerifyingKey::from_sec1_bytes(&point).unwrap();
    for (offset, length) in [
        (0, 0),
        (0, 1),
        (3, 255),
        (4, 256),
        (5, 257),
        (0, 2000),
        (2000, 0),
    ] {
        let mut owner = Owner::of(&text);
        let request = [operation::SIGN, HANDLE, offset as u64, length as u64];
        let signature = results(&ask(&signer, &mut owner, request));
        let signature = Signature::from_slice(&signature).unwrap();
        let part = &text[offset..offset + length];
        assert!(key.verify(part, &signature).is_ok(), "{offset}, {length}");
        assert!(key.verify(&[part, b"!"].concat(), &signature).is_err());
        // Whoever changes the region meanwhile gets a signature of something that stood there.
        let reads = owner.memory.reads.borrow();
        for (n, count) in reads.iter().enumerate() {
            let is_inside = (offset..offset + length).contains(&n);
            assert_eq!(*count, u32::from(is_inside), "byte {n}");
        }
        assert_eq!(owner.bytes(), text);
    }
}

#[test]
fn random_bytes_fill_the_range_and_nothing_else() {
    let signer = signer();
    let mut owner = Owner::of(&[0xee; 600]);
    let answer = ask(&signer, &mut owner, [operation::RANDOM, HANDLE, 10, 300]);
    assert_eq!(answer, [0; 14]);
    let numbers: Vec<u8> = (1..=38u64).flat_map(u64::to_le_bytes).collect();
    let bytes = owner.bytes();
    assert_eq!(bytes[..10], [0xee; 10]);
    assert_eq!(bytes[10..266], numbers[..256]);
    assert_eq!(bytes[266..310], numbers[256..300]);
    assert_eq!(bytes[310..], [0xee; 290]);
}

#[test]
fn what_cannot_be_served_is_refused_and_changes_nothing() {
    let signer = signer();
    let mut owner = Owner::of(&[0xee; 600]);
    let refused = |words, owner: &mut Owner, status| {
        let answer = ask(&signer, owner, words);
        assert_eq!(answer[0], status, "{words:x?}");
        assert_eq!(answer[1..], [0; 13]);
        assert_eq!(owner.bytes(), [0xee; 600]);
    };
    for unknown in [0, 4, u64::MAX] {
        refused([unknown, HANDLE, 0, 8], &mut owner, status::UNKNOWN);
    }
    for operation in [operation::SIGN, operation::RANDOM] {
        refused(
            [operation, HANDLE + 1, 0, 8],
            &mut owner,
            status::NOT_SHARED,
        );
        for (offset, length) in [
            (0, 601),
            (600, 1),
            (601, 0),
            (593, 8),
            (u64::MAX, 1),
            (1, u64::MAX),
            (u64::MAX, u64::MAX),
            (1 << 32, 8),
        ] {
            refused(
                [operation, HANDLE, offset, length],
                &mut owner,
                status::OUTSIDE,
            );
        }
    }
    owner.is_writable = false;
    refused(
        [operation::RANDOM, HANDLE, 0, 8],
        &mut owner,
        status::NOT_SHARED,
    );
    owner.is_writable = true;
    FAILS.set(true);
    refused(
        [operation::RANDOM, HANDLE, 0, 8],
        &mut owner,
        status::NO_ENTROPY,
    );
}

#[test]
fn without_random_numbers_there_is_no_key() {
    assert!(Signer::new(none).is_none());
}

#[test]
fn the_key_is_in_no_answer_and_in_no_shared_memory() {
    let signer = signer();
    let key = bytes(KEY);
    let reversed: Vec<u8> = key.iter().rev().copied().collect();
    let mut seen = Vec::new();
    let mut owner = Owner::of(&[0x5a; 1000]);
    for operation in 0..5 {
        for (handle, offset, length) in [
            (HANDLE, 0, 1000),
            (HANDLE, 500, 32),
            (HANDLE, 900, 200),
            (0, 0, 8),
        ] {
            let answer = ask(&signer, &mut owner, [operation, handle, offset, length]);
            seen.extend(answer.iter().flat_map(|word| word.to_le_bytes()));
            seen.extend(answer.iter().flat_map(|word| word.to_be_bytes()));
            seen.extend(owner.bytes());
        }
    }
    // Eight bytes of it would be too many.
    for part in key.windows(8).chain(reversed.windows(8)) {
        assert!(!seen.windows(8).any(|bytes| bytes == part), "{part:x?}");
    }
}
