//! Handles and tags have 64 bits, all of which count.

use super::fragments::{big, frame, scattered};
use super::*;

/// A generation whose handles need more than 32 bits.
const GENERATION: u32 = 0x89ab_cdef;
const HIGH: u64 = GENERATION as u64 >> 16;
const TAG: u64 = 0x0123_4567_89ab_cdef;

fn words(handle: u64) -> [u64; 2] {
    [handle & 0xffff_ffff, handle >> 32]
}

// req: MEMD-14, MEMD-65, MEMD-66, MEMRC-13, MEMRL-10, FRAG-06
#[test]
fn all_bits_of_handle_and_tag_count() {
    let machine = Machine::with(&VERSIONS[2..], 7, 3);
    machine.shares.begin_at(GENERATION);
    let before = machine.snapshot().leaves;
    let offer = Descriptor::share(A, B, home(A) + 0x1_0000, 1).with(|d| d.tag = TAG);
    // The descriptor is sent first in one piece, and then in two fragments.
    for first in [0, 16] {
        let bytes = offer.bytes(Version::V1_2);
        let (total, begin) = (bytes.len() as u64, bytes.len() - first);
        machine.put_tx(A, &bytes[..begin]);
        let mut answer = machine
            .call(A, SmcFrame::new([SHARE as u64, total, begin as u64]))
            .unwrap();
        if first != 0 {
            assert_eq!(answer.w(0), function::MEM_FRAG_RX);
            assert_eq!(answer.x[2], HIGH);
            machine.put_tx(A, &bytes[begin..]);
            let [_, low, high, ..] = answer.x;
            let other = SmcFrame::new([function::MEM_FRAG_TX as u64, low, 0, 16]);
            machine.refuses(InvalidParameters, || machine.call(A, other));
            let rest = SmcFrame::new([function::MEM_FRAG_TX as u64, low, high, 16]);
            answer = machine.call(A, rest).unwrap();
        }
        assert_eq!(answer.w(0), function::SUCCESS_32);
        assert_eq!(answer.x[3], HIGH);
        assert!(answer.x[2] <= u32::MAX as u64 && answer.x[2] >> 16 == GENERATION as u64 & 0xffff);
        let handle = answer.x[3] << 32 | answer.x[2];

        let request = |handle, tag| {
            Descriptor::request(A, handle, B, RW).with(|d| (d.attributes, d.tag) = (WB, tag))
        };
        let [low, _] = words(handle);
        for (wrong, tag) in [
            (low, TAG),
            (handle ^ 1 << 32, TAG),
            (handle ^ 1 << 63, TAG),
            (handle, TAG & 0xffff_ffff),
            (handle, TAG ^ 1 << 63),
            (handle, TAG ^ 1),
        ] {
            let wrong = request(wrong, tag);
            machine.refuses(InvalidParameters, || machine.retrieve(B, &wrong));
        }
        let response = machine.retrieve(B, &request(handle, TAG)).unwrap();
        assert_eq!(response[8..16], handle.to_le_bytes());
        assert_eq!(response[16..24], TAG.to_le_bytes());
        machine.refuses(InvalidParameters, || machine.relinquish(B, low));
        machine.relinquish(B, handle).unwrap();
        machine.refuses(InvalidParameters, || machine.reclaim(A, low, 0));
        machine.reclaim(A, handle, 0).unwrap();
        machine.shares.begin_at(GENERATION);
    }
    assert_eq!(machine.snapshot().leaves, before);
}

// req: MEMD-14, TIME-02, TIME-03
#[test]
fn all_bits_of_the_handle_of_a_paused_call_count() {
    let machine = Machine::with(&VERSIONS[2..], 7, 3);
    machine.shares.begin_at(GENERATION);
    machine.give(A, 0x1000_0000, 512, Permissions::all());
    let lend = Descriptor::lend(A, B, 0x1000_0000, 512).with(|d| d.flags = 3);
    let paused = machine
        .call_with(A, LEND, &lend.bytes(Version::V1_2))
        .unwrap();
    assert_eq!((paused.w(0), paused.x[2]), (function::MEM_OP_PAUSE, HIGH));
    let resume = |high| {
        let resume = function::MEM_OP_RESUME as u64;
        machine.call(A, SmcFrame::new([resume, paused.x[1], high]))
    };
    machine.refuses(InvalidParameters, || resume(0));
    let done = resume(HIGH).unwrap();
    assert_eq!(
        done.x[..4],
        [function::SUCCESS_32 as u64, 0, paused.x[1], HIGH]
    );
    machine.reclaim(A, done.x[3] << 32 | done.x[2], 0).unwrap();
    // The handle is also right when the SPMC goes on by itself after a slice.
    machine.shares.begin_at(GENERATION);
    let handle = machine.send(A, LEND, &lend.with(|d| d.flags = 1)).unwrap();
    assert_eq!(handle >> 32, HIGH);
}

// req: MEMD-14, FRAG-15
#[test]
fn all_bits_of_the_handle_of_a_response_count() {
    let machine = big(&VERSIONS[2..]);
    machine.shares.begin_at(GENERATION);
    let ranges = scattered(RAM + 0x10_0000, 300);
    let offer = Descriptor::offer(NS, WB, &[(A, RW)], &ranges).bytes(Version::V1_2);
    let handle = machine.begin(NS, NS, SHARE, &offer, 4096);
    machine.go_on(NS, NS, handle, &offer, 4096, 4096).unwrap();
    let request = Descriptor::request(NS, handle, A, RW).bytes(Version::V1_2);
    machine
        .call_with(A, function::MEM_RETRIEVE_REQ_64, &request)
        .unwrap();
    machine.of(A).mailbox.lock().release_rx().unwrap();
    let [low, high] = words(handle);
    assert_eq!(high, HIGH);
    machine.refuses(InvalidParameters, || machine.frag_rx(A, 0, low, 4096));
    let answer = machine.frag_rx(A, 0, handle, 4096).unwrap();
    let rest = offer.len() - 4096;
    assert_eq!(answer.x, frame(function::MEM_FRAG_TX, handle, rest, 0).x);
}

// A handle is never 0, and never that of the share before, even after 2^32 - 1 shares.
// req: MEMD-13, MEMD-14, MEMRC-13
#[test]
fn handles_of_a_slot_begin_anew_with_1() {
    let machine = Machine::with(&VERSIONS[2..], 7, 3);
    machine.shares.begin_at(u32::MAX - 1);
    let offer = Descriptor::share(A, B, home(A) + 0x1_0000, 1);
    for generation in [u32::MAX - 1, u32::MAX, 1, 2] {
        let handle = machine.send(A, SHARE, &offer).unwrap();
        assert_eq!(handle >> 16, generation as u64);
        machine.reclaim(A, handle, 0).unwrap();
    }
}
