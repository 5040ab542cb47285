//! Constituents in fragments, in both directions: the Normal world sends a descriptor that is cut
//! anywhere and in which a few bytes are changed, while a partition sends a descriptor of its own;
//! the borrower fetches the response piece by piece.
//!
//! The places of the cuts must make no difference: a descriptor that fits one page is also sent
//! whole, with the same result.

use super::reading::{Reading, check_ranges};
use super::stage::{Before, Kept, Stage, with};
use crate::ffa::*;
use crate::machine::NORMAL_RAM;
use crate::puppet::Puppet;
use crate::schedule::Random;
use crate::source::{Bytes, Source};
use crate::system::{NWD_RX, NWD_TX};

thread_local! {
    static STAGES: [Kept<Stage>; 3] = const { [const { Kept::new(None) }; 3] };
}

/// The address of the pages, of which every other one is used.
const PAGES: u64 = NORMAL_RAM.start + 0x80_0000;

/// Bytes of TX and RX.
const BUFFER: usize = 4096;

/// Makes one transmission.
pub fn run(input: &[u8]) {
    let mut source = Bytes(input);
    let minor = 2 - source.below(3) as usize;
    STAGES.with(|stages| {
        with(
            &stages[minor],
            || Stage::new(minor as u32, 192, 1),
            |stage| {
                let before = Before::take(stage, input);
                let answer = transmit(stage, &mut source);
                before.check(stage, &answer);
                true
            },
        );
    });
}

/// Sends, retrieves, relinquishes and reclaims. Returns the answer to the last fragment.
fn transmit(stage: &Stage, source: &mut Bytes<'_>) -> Regs {
    let (system, nwd) = (&stage.system, stage.system.nwd());
    let count = source.pick(&[2, 5, 17, 260, 300]);
    let ranges: Vec<(u64, u32)> = (0..count).map(|n| (PAGES + n * 0x2000, 1)).collect();
    let receiver = &stage.puppets[source.below(3) as usize];
    let function = source.pick(&[MEM_LEND_64, MEM_SHARE_64]);
    let mut offer = Transaction::lend(0, receiver.id, RW, &ranges);
    if function == MEM_SHARE_64 {
        offer.attributes = NORMAL;
    }
    let mut bytes = offer.encode(stage.layout);
    let head = offer.composite_offset(stage.layout) + 16;
    let mut changed = false;
    while changed_more(source) {
        let at = source.below(bytes.len() as u64) as usize;
        bytes[at] = source.below(256) as u8;
        changed = true;
    }

    let other = &stage.puppets[(usize::from(receiver.id - 0x8001) + 1) % 3];
    let begun = source
        .rarely(2)
        .then(|| begin_own(stage, other, receiver.id));
    let (answer, clean) = send_in_pieces(stage, source, function, &bytes, head);
    if let Some((handle, rest)) = begun {
        finish_own(stage, other, handle, &rest);
    }

    let accepted = answer.function() == SUCCESS_32;
    assert!(accepted || changed || !clean, "{answer:?}");
    if accepted {
        let reading = Reading::new(&bytes, stage.layout);
        assert!(reading.header_is_clean());
        let ranges = reading.constituents(reading.receivers()[0].composite);
        check_ranges(&ranges, &NORMAL_RAM, &[NWD_TX, NWD_RX]);
        if !changed {
            retrieve(stage, source, receiver, &offer, answer.handle());
        }
        nwd.reclaim(answer.handle()).success();
    }
    if clean && bytes.len() <= BUFFER {
        let whole = nwd.memory_call(function, &bytes);
        assert_eq!(whole.error().is_none(), accepted, "{whole:?}, {answer:?}");
        if whole.error().is_none() {
            nwd.reclaim(whole.handle()).success();
        }
    }
    assert_eq!(system.spmc.shares.live(), 0);
    answer
}

fn changed_more(source: &mut Bytes<'_>) -> bool {
    source.rarely(4)
}

/// Sends `bytes` in pieces that the input chooses. Returns the last answer, and whether all pieces
/// were sent correctly.
fn send_in_pieces(
    stage: &Stage,
    source: &mut Bytes<'_>,
    function: u64,
    bytes: &[u8],
    head: usize,
) -> (Regs, bool) {
    let nwd = stage.system.nwd();
    let total = bytes.len();
    let most = (BUFFER.min(total) - head) / 16;
    let mut done = match source.below(8) {
        7 => source.below(BUFFER.min(total) as u64 + 1) as usize,
        0..=2 => head + 16 * most,
        _ => head + 16 * source.below(most as u64 + 1) as usize,
    };
    let mut clean = done >= head && (done - head).is_multiple_of(16);
    nwd.write(NWD_TX, &bytes[..done]);
    let mut answer = nwd.call([function, total as u64, done as u64]);
    for _ in 0..64 {
        if answer.function() != MEM_FRAG_RX {
            break;
        }
        let [_, low, high, offset, endpoint, ..] = answer.0;
        assert_eq!(offset as usize, done);
        let rest = total - done;
        let length = match source.below(8) {
            7 => source.below(rest as u64 + 1) as usize,
            0..=3 => rest.min(BUFFER),
            _ => 16 * (1 + source.below(rest as u64 / 16) as usize),
        }
        .min(rest)
        .min(BUFFER);
        nwd.write(NWD_TX, &bytes[done..done + length]);
        let next = nwd.call([MEM_FRAG_TX, low, high, length as u64, endpoint]);
        if length == 0 || !length.is_multiple_of(16) {
            // The fragment can be sent again.
            assert_eq!(next.error(), Some(INVALID_PARAMETERS));
            continue;
        }
        done += length;
        answer = next;
    }
    if answer.function() == MEM_FRAG_RX {
        // There are too many pieces, so the transmission is ended.
        clean = false;
        answer = give_up(stage, &answer);
    }
    (answer, clean)
}

/// Ends a transmission by a fragment that cannot continue any descriptor.
fn give_up(stage: &Stage, asked: &Regs) -> Regs {
    let nwd = stage.system.nwd();
    let [_, low, high, _, endpoint, ..] = asked.0;
    nwd.write(NWD_TX, &[0xff; 16]);
    let answer = nwd.call([MEM_FRAG_TX, low, high, 16, endpoint]);
    assert!(answer.error().is_some(), "{answer:?}");
    answer
}

/// Makes a partition send the first fragment of a lend. Returns the handle and the missing bytes.
fn begin_own(stage: &Stage, sender: &Puppet, receiver: u16) -> (u64, Vec<u8>) {
    let page = sender.base() + 0x4_0000;
    let lend = Transaction::lend(
        sender.id,
        receiver,
        RW,
        &[(page, 1), (page + 0x2000, 1), (page + 0x4000, 2)],
    );
    let bytes = lend.encode(sender.layout);
    let first = lend.composite_offset(sender.layout) + 16;
    sender.write_tx(&stage.system, &bytes[..first]);
    let regs = [MEM_LEND_64, bytes.len() as u64, first as u64];
    let answer = sender.call(&stage.system, regs);
    assert_eq!(answer.function(), MEM_FRAG_RX, "{answer:?}");
    (answer.0[1] | answer.0[2] << 32, bytes[first..].to_vec())
}

fn finish_own(stage: &Stage, sender: &Puppet, handle: u64, rest: &[u8]) {
    let (low, high) = (handle & 0xffff_ffff, handle >> 32);
    sender.write_tx(&stage.system, rest);
    let regs = [MEM_FRAG_TX, low, high, rest.len() as u64];
    assert_eq!(sender.call(&stage.system, regs).handle(), handle);
    let reclaim = [MEM_RECLAIM, low, high];
    sender.call(&stage.system, reclaim).success();
}

/// Makes the borrower retrieve the region, fetch the response, and relinquish the region.
fn retrieve(
    stage: &Stage,
    source: &mut Bytes<'_>,
    puppet: &Puppet,
    offer: &Transaction,
    handle: u64,
) {
    let system = &stage.system;
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(0, puppet.id, handle, RW)
    };
    let request = request.encode(puppet.layout);
    let answer = puppet.memory_call(system, MEM_RETRIEVE_REQ_64, &request);
    let [id, total, length, ..] = answer.0;
    assert_eq!(id, MEM_RETRIEVE_RESP, "{answer:?}");
    let mut response = puppet.read_rx(system, length as usize);
    let mut last = 0;
    while response.len() < total as usize && !source.rarely(16) {
        let next = response.len();
        let offset = match source.below(8) {
            6 if last > 0 => last,
            7 => source.below(total) as usize,
            _ => next,
        };
        let regs = [
            MEM_FRAG_RX,
            handle & 0xffff_ffff,
            handle >> 32,
            offset as u64,
        ];
        if offset == next && source.rarely(8) {
            assert_eq!(puppet.call(system, regs).error(), Some(BUSY));
        }
        puppet.call(system, [RX_RELEASE]).success();
        let answer = puppet.call(system, regs);
        if answer.error().is_some() {
            assert!(
                offset != next && (offset != last || last == 0),
                "{answer:?}"
            );
            // RX is free now, so the next turn expects a response in it.
            let again = [MEM_FRAG_RX, regs[1], regs[2], next as u64];
            take(&mut response, &mut last, next, system, puppet, again);
        } else {
            keep(&mut response, &mut last, offset, system, puppet, &answer);
        }
    }
    if response.len() == total as usize {
        let response = Transaction::decode(&response, puppet.layout);
        assert_eq!(response.constituents, offer.constituents);
    }
    puppet.call(system, [RX_RELEASE]).success();
    puppet.relinquish(system, handle, 0).success();
}

fn take(
    response: &mut Vec<u8>,
    last: &mut usize,
    offset: usize,
    system: &crate::System,
    puppet: &Puppet,
    regs: [u64; 4],
) {
    let answer = puppet.call(system, regs);
    keep(response, last, offset, system, puppet, &answer);
}

/// Stores a fragment at its place in the response.
fn keep(
    response: &mut Vec<u8>,
    last: &mut usize,
    offset: usize,
    system: &crate::System,
    puppet: &Puppet,
    answer: &Regs,
) {
    assert_eq!(answer.function(), MEM_FRAG_TX, "{answer:?}");
    let bytes = puppet.read_rx(system, answer.0[3] as usize);
    let known = response.len() - offset;
    assert_eq!(
        response[offset..],
        bytes[..known],
        "sent again, but not the same"
    );
    response.extend(&bytes[known..]);
    *last = offset;
}

/// Returns inputs of random bytes.
pub fn seeds() -> Vec<Vec<u8>> {
    (0..12)
        .map(|seed| {
            let mut random = Random::new(seed);
            (0..40).map(|_| random.bits() as u8).collect()
        })
        .collect()
}
