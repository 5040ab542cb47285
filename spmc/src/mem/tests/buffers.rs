//! Descriptors in buffers that their senders allocated.

use super::*;

/// Returns the registers of a call whose descriptor is in a buffer.
fn frame(function: u32, total: usize, fragment: usize, buffer: u64, pages: u64) -> SmcFrame {
    SmcFrame::new([
        function as u64,
        total as u64,
        fragment as u64,
        buffer,
        pages,
    ])
}

impl Machine {
    fn put(&self, world: World, at: u64, bytes: &[u8]) {
        self.hal.write(world, Pa::new(at), bytes).unwrap();
    }

    fn get(&self, world: World, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.hal.read(world, Pa::new(at), &mut bytes).unwrap();
        bytes
    }
}

// req: FRAG-01, FRAG-02, FRAG-03, FRAG-04, FRAG-05, MEMRQ-16, MEMX-01, MEMRQ-15
#[test]
fn a_buffer_serves_for_one_transaction() {
    let machine = Machine::with(&VERSIONS[1..], 40, 3);
    // A call with a buffer works without an RX/TX pair.
    let of_a = machine.of(A).mailbox.lock().unmap().unwrap();
    let ns = RAM + 0x8000;
    let own = home(A) + 0x10_000;
    let ranges: Vec<_> = (0..600)
        .map(|n| (RAM + 0x10_0000 + n * 0x2000, 1))
        .collect();
    let offer = Descriptor::offer(NS, WB, &[(A, RW)], &ranges).bytes(Version::V1_1);
    machine.put(World::NonSecure, ns, &offer);
    // The descriptor is sent as a whole, though it is longer than TX.
    let sent = machine
        .call(NS, frame(SHARE, offer.len(), offer.len(), ns, 3))
        .unwrap();
    let handle = sent.x[3] << 32 | sent.x[2];
    let request = Descriptor::request(NS, handle, A, RW).bytes(Version::V1_2);
    let retrieve = function::MEM_RETRIEVE_REQ_64;
    machine.put(World::Secure, own, &request);
    // The first response fits the buffer; the second does not.
    let total = 48 + 32 + 16 + 600 * 16;
    for pages in [3, 1] {
        let rest = own + request.len() as u64;
        machine.put(World::Secure, rest, &vec![0x5a; 3 * 4096 - request.len()]);
        let answer = machine
            .call(A, frame(retrieve, request.len(), request.len(), own, pages))
            .unwrap();
        let first = total.min(pages as usize * 4096);
        let expected = [
            function::MEM_RETRIEVE_RESP as u64,
            total as u64,
            first as u64,
        ];
        assert_eq!(answer.x, SmcFrame::new(expected).x);
        let size = pages as usize * 4096;
        let behind = machine.get(World::Secure, own + first as u64, size - first);
        assert!(
            behind.iter().all(|byte| *byte == 0x5a),
            "written behind the end"
        );
        let mut whole = machine.get(World::Secure, own, first);
        while whole.len() < total {
            let (low, high) = (handle & 0xffff_ffff, handle >> 32);
            let more = [function::MEM_FRAG_RX as u64, low, high, whole.len() as u64];
            let answer = machine.call(A, SmcFrame::new(more)).unwrap();
            assert_eq!(answer.w(0), function::MEM_FRAG_TX);
            whole.extend(machine.get(World::Secure, own, answer.x[3] as usize));
        }
        assert_eq!(whole[80..], offer[64..]);
        machine.relinquish_through(A, handle, of_a);
        machine.put(World::Secure, own, &request);
    }
    // The descriptor is sent in fragments, each at the start of the buffer.
    machine.reclaim(NS, handle, 0).unwrap();
    machine.put(World::NonSecure, ns, &offer[..4096]);
    let asked = machine
        .call(NS, frame(LEND, offer.len(), 4096, ns, 1))
        .unwrap_err();
    assert_eq!(asked, InvalidParameters, "a type in a lend");
    let asked = machine
        .call(NS, frame(SHARE, offer.len(), 4096, ns, 1))
        .unwrap();
    let handle = asked.x[2] << 32 | asked.x[1];
    let next = |length| {
        let (low, high) = (handle & 0xffff_ffff, handle >> 32);
        SmcFrame::new([function::MEM_FRAG_TX as u64, low, high, length])
    };
    machine.refuses(InvalidParameters, || machine.call(NS, next(4112)));
    machine.put(World::NonSecure, ns, &offer[4096..8192]);
    machine.call(NS, next(4096)).unwrap();
    machine.put(World::NonSecure, ns, &offer[8192..]);
    let done = machine.call(NS, next(offer.len() as u64 - 8192)).unwrap();
    assert_eq!(done.w(0), function::SUCCESS_32);
    machine.reclaim(NS, handle, 0).unwrap();
}

// The SPMC copies the descriptor in pieces that end in the middle of a constituent.
// req: FRAG-01, FRAG-05, MEMD-02
#[test]
fn constituents_of_1_0_may_lie_at_multiples_of_8() {
    let machine = Machine::with(&VERSIONS, 40, 3);
    let ns = RAM + 0x8000;
    let ranges: Vec<_> = (0..600)
        .map(|n| (RAM + 0x10_0000 + n * 0x2000, 1))
        .collect();
    let mut offer = Descriptor::offer(NS, WB, &[(A, RW)], &ranges)
        .with(|d| d.entries[0].offset = Some(56))
        .bytes(Version::V1_0);
    offer.splice(48..48, [0; 8]);
    machine.put(World::NonSecure, ns, &offer);
    let sent = frame(SHARE, offer.len(), offer.len(), ns, 3);
    let sent = machine.call(NS, sent).unwrap();
    for (page, _) in &ranges {
        assert_eq!(machine.state(NS, *page), Some(State::OwnerShared));
    }
    machine.reclaim(NS, sent.x[3] << 32 | sent.x[2], 0).unwrap();
}

impl Machine {
    /// Relinquishes through an RX/TX pair that is mapped for this call only, because
    /// `FFA_MEM_RELINQUISH` takes no buffer.
    fn relinquish_through(
        &self,
        id: u16,
        handle: u64,
        buffers: crate::partition::mailbox::Buffers,
    ) {
        self.of(id).mailbox.lock().map(buffers).unwrap();
        self.relinquish(id, handle).unwrap();
        self.of(id).mailbox.lock().unmap().unwrap();
    }
}

// req: FRAG-02, FRAG-03, FRAG-04, MEMX-18
#[test]
fn buffers_that_are_not_their_users() {
    let machine = Machine::with(&VERSIONS[1..], 40, 3);
    let offer = Descriptor::share(NS, A, RAM + 0x9_0000, 1).bytes(Version::V1_1);
    let length = offer.len();
    let lent = RAM + 0x3_0000;
    let handle = machine
        .send(NS, LEND, &Descriptor::lend(NS, A, lent, 1))
        .unwrap();
    machine.put(World::NonSecure, RAM + 0x8000, &offer);
    for (buffer, pages) in [
        (RAM + 0x8000, 0),
        (0, 1),
        (RAM + 0x8008, 1),
        // The next four addresses: TX, memory that was lent, no memory, and memory of another
        // owner.
        (RAM, 1),
        (lent, 1),
        (RAM - 0x1000, 1),
        (home(A) + 0x8000, 1),
        (RAM + 0x2_f000, 2),
        (!0xfff, 1),
        (RAM, 0xffff_ffff),
    ] {
        machine.refuses(InvalidParameters, || {
            machine.call(NS, frame(SHARE, length, length, buffer, pages))
        });
    }
    machine.refuses(InvalidParameters, || {
        machine.call(NS, frame(SHARE, 8192, 4112, RAM + 0x8000, 1))
    });
    // Address 0 stands for "no buffer", even for a partition that has a page there.
    machine.give(A, 0, 1, Permissions::all());
    let from_a = Descriptor::share(A, B, home(A) + 0x9_0000, 1).bytes(Version::V1_2);
    machine.put(World::Secure, 0, &from_a);
    machine.refuses(InvalidParameters, || {
        machine.call(A, frame(SHARE, from_a.len(), from_a.len(), 0, 1))
    });
    // 32-bit calls have 32-bit addresses: the upper half of the register does not count.
    let narrow = frame(function::MEM_SHARE_32, length, length, 1 << 32, 0);
    machine.put_tx(NS, &offer);
    let sent = machine.call(NS, narrow).unwrap();
    machine.reclaim(NS, sent.x[3] << 32 | sent.x[2], 0).unwrap();
    // A partition's buffer cannot be borrowed memory. Nor can it be read-only memory if the SPMC
    // must write to it.
    let request = Descriptor::request(NS, handle, A, RW).bytes(Version::V1_2);
    machine
        .retrieve(A, &Descriptor::request(NS, handle, A, RW))
        .unwrap();
    machine.put(World::NonSecure, lent, &request);
    let retrieve = |buffer| {
        let length = request.len();
        machine.call(
            A,
            frame(function::MEM_RETRIEVE_REQ_64, length, length, buffer, 1),
        )
    };
    machine.refuses(InvalidParameters, || retrieve(lent));
    machine.refuses(InvalidParameters, || retrieve(home(B) + 0x8000));
    machine.relinquish(A, handle).unwrap();
    let code = 0x2000_0000;
    machine.give(A, code, 1, Permissions::READ | Permissions::EXECUTE);
    machine.put(World::Secure, code, &request);
    machine.refuses(InvalidParameters, || retrieve(code));
    machine.put(World::Secure, home(A) + 0x8000, &request);
    machine.hal.faulty.store(true, Ordering::Relaxed);
    machine.refuses(Aborted, || retrieve(home(A) + 0x8000));
    machine.hal.faulty.store(false, Ordering::Relaxed);
    retrieve(home(A) + 0x8000).unwrap();
}
