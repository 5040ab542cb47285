//! Requests that name the addresses of the region, and callers that die in the middle of a request.

use super::fragments::{big, frame};
use super::*;
use crate::limits::SLICE_PAGES;

const BASE: u64 = RAM + 0x10_0000;
const RETRIEVE: u32 = function::MEM_RETRIEVE_REQ_64;
/// The flag by which a request does not list the other borrowers.
const BYPASS: u32 = 1 << 10;

/// Returns a request of `id` that names these ranges.
fn placed(owner: u16, handle: u64, id: u16, ranges: &[(u64, u32)]) -> Descriptor {
    Descriptor::request(owner, handle, id, RW).with(|d| d.constituents = ranges.to_vec())
}

/// Returns a call with the first `first` bytes of a descriptor.
fn first(function: u32, bytes: &[u8], first: usize) -> SmcFrame {
    SmcFrame::new([function as u64, bytes.len() as u64, first as u64])
}

impl Machine {
    /// Begins a request with all but its last range. Returns the last range.
    #[track_caller]
    fn begin_request(&self, id: u16, bytes: &[u8]) -> Vec<u8> {
        let (head, last) = bytes.split_at(bytes.len() - 16);
        self.put_tx(id, head);
        let asked = self.call(id, first(RETRIEVE, bytes, head.len())).unwrap();
        assert_eq!(asked.w(0), function::MEM_FRAG_RX);
        last.to_vec()
    }
}

// req: FRAG-22, MEMD-75, MEMD-76
#[test]
fn ranges_may_be_cut_otherwise_than_their_owner_cut_them() {
    let machine = big(&VERSIONS[2..]);
    let end = (BASE + 0x8000, 1);
    // The owner's first two ranges are adjacent, so a range of the request may reach from one into
    // the other.
    let owners = [(BASE, 2), (BASE + 0x2000, 3), end];
    let share = Descriptor::offer(NS, WB, &[(A, RW)], &owners);
    let handle = machine.send(NS, SHARE, &share).unwrap();
    for ranges in [
        &[(BASE, 5), end][..],
        &[(BASE, 1), (BASE + 0x1000, 4), end],
        &[(BASE, 3), (BASE + 0x3000, 1), (BASE + 0x4000, 1), end],
    ] {
        let request = placed(NS, handle, A, ranges);
        machine.retrieve(A, &request).unwrap();
        machine.relinquish(A, handle).unwrap();
    }
}

// req: FRAG-22, FRAG-17, MEMD-76
#[test]
fn a_range_that_is_not_the_owners_is_not_skipped() {
    let machine = big(&VERSIONS[2..]);
    let share = Descriptor::offer(NS, WB, &[(A, RW)], &[(BASE, 2), (BASE + 0x4000, 1)]);
    let handle = machine.send(NS, SHARE, &share).unwrap();
    // All ranges that follow are right, and so is the number of pages.
    let wrong = (BASE + 0x10_0000, 1);
    let request = placed(NS, handle, A, &[wrong, (BASE, 2), (BASE + 0x4000, 1)]);
    let bytes = request.with(|d| d.pages = Some(3)).bytes(Version::V1_2);
    machine.put_tx(A, &bytes);
    for there in [bytes.len(), bytes.len() - 32] {
        machine.refuses(InvalidParameters, || {
            machine.call(A, first(RETRIEVE, &bytes, there))
        });
    }
}

// Otherwise C would have access to memory that is being zeroed.
// req: TIME-04, FRAG-22, MEMRL-12
#[test]
fn the_rest_of_a_request_does_not_come_in_a_pause() {
    let machine = Machine::with(&VERSIONS[2..], 40, 3);
    let land = 0x1000_0000;
    machine.give(A, land, 2 * SLICE_PAGES, Permissions::all());
    let half = SLICE_PAGES as u32;
    let ranges = [(land, half), (land + SLICE_PAGES * 0x1000, half)];
    let lend = Descriptor::offer(A, WB, &[(B, RW), (C, RW)], &ranges);
    let handle = machine.send(A, LEND, &lend).unwrap();
    let ask = |id, ranges| placed(A, handle, id, ranges).with(|d| d.flags = BYPASS);
    machine.retrieve(B, &ask(B, &[])).unwrap();
    let last = machine.begin_request(C, &ask(C, &ranges).bytes(Version::V1_2));
    let paused = machine.relinquish_with(B, handle, 3, &[B]).unwrap();
    assert_eq!(paused.w(0), function::MEM_OP_PAUSE);
    machine.refuses(InvalidParameters, || machine.frag_tx(C, 0, handle, &last));
    assert_eq!(machine.access(C, World::Secure, land), None);
    let mut resume = frame(function::MEM_OP_RESUME, handle, 0, 0);
    resume.x[4] = 0;
    let resumed = machine.call(B, resume).unwrap();
    assert_eq!(resumed.w(0), function::SUCCESS_32);
    let answer = machine.frag_tx(C, 0, handle, &last).unwrap();
    assert_eq!(answer.w(0), function::MEM_RETRIEVE_RESP);
}

/// The endpoints of a machine, one of which has died on another PE.
struct Without<'m>(&'m Machine, u16);

impl Endpoints for Without<'_> {
    fn endpoint(&self, id: PartitionId) -> Option<&Endpoint> {
        self.0.endpoint(id).filter(|_| id.0 != self.1)
    }

    fn proxy(&self, _: PartitionId) -> Option<Proxy> {
        None
    }

    fn estate(&self, id: PartitionId) -> Option<&Endpoint> {
        self.0.estate(id)
    }

    fn streams_of(&self, _: PartitionId) -> impl Iterator<Item = &Endpoint> {
        core::iter::empty()
    }

    fn index(&self, id: PartitionId) -> Option<usize> {
        self.0.index(id)
    }
}

// req: MEMO-12, MEMX-20, FRAG-17
#[test]
fn who_has_died_meanwhile_gets_and_leaves_nothing() {
    let machine = big(&VERSIONS[2..]);
    let (hal, shares, dead) = (&machine.hal, &machine.shares, machine.of(A));
    let endpoints = &Without(&machine, A);
    let engine = Engine {
        hal,
        shares,
        endpoints,
    };
    let mut buffer = DescriptorBuffer::new();
    let ranges = [(BASE, 1), (BASE + 0x4000, 1)];
    let share = Descriptor::offer(NS, WB, &[(A, RW)], &ranges);
    let handle = machine.send(NS, SHARE, &share).unwrap();
    let whole = placed(NS, handle, A, &[]).bytes(Version::V1_2);
    machine.put_tx(A, &whole);
    let call = DescriptorCall::decode(&first(RETRIEVE, &whole, whole.len())).unwrap();
    machine.refuses(Denied, || engine.retrieve(&mut buffer, dead, &call));
    // The caller dies while fragments of its request are missing.
    let before = machine.snapshot();
    let request = placed(NS, handle, A, &ranges).bytes(Version::V1_2);
    let last = machine.begin_request(A, &request);
    machine.put_tx(A, &last);
    let rest = FragmentTx::decode(&frame(function::MEM_FRAG_TX, handle, last.len(), 0));
    let answer = engine.fragment_tx(&mut buffer, dead, &rest);
    assert_eq!(answer.unwrap_err(), Aborted);
    assert_eq!(machine.snapshot(), before);
    // What the dead caller sends ends at once, and the caller has its memory again.
    let memory = machine.memory();
    let lend = Descriptor::lend(A, B, home(A) + 0x1_0000, 1).bytes(Version::V1_2);
    machine.put_tx(A, &lend);
    let call = DescriptorCall::decode(&first(LEND, &lend, lend.len())).unwrap();
    let answer = engine.send(&mut buffer, dead, SendKind::Lend, &call);
    assert_eq!(answer.unwrap_err(), Aborted);
    assert_eq!((machine.memory(), machine.shares.live()), (memory, 1));
}
