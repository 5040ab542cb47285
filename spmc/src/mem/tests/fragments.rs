//! Descriptors and responses in fragments.

use super::*;
use crate::limits::{MIN_ARRIVING, MIN_ARRIVING_PER_SENDER};

pub(super) const VM: u16 = 7;

/// Returns the registers of `FFA_MEM_FRAG_TX` or `FFA_MEM_FRAG_RX`. `id` is the id that the Normal
/// world puts into the upper half of w4.
pub(super) fn frame(function: u32, handle: u64, w3: usize, id: u16) -> SmcFrame {
    SmcFrame::new([
        function as u64,
        handle & 0xffff_ffff,
        handle >> 32,
        w3 as u64,
        (id as u64) << 16,
    ])
}

/// Returns single pages with a gap of one page between any two.
pub(super) fn scattered(base: u64, count: u64) -> Vec<(u64, u32)> {
    (0..count).map(|n| (base + n * 0x2000, 1)).collect()
}

pub(super) fn big(versions: &[Version]) -> Machine {
    Machine::with(versions, 40, 3)
}

impl Machine {
    pub(super) fn frag_tx(
        &self,
        id: u16,
        sender: u16,
        handle: u64,
        bytes: &[u8],
    ) -> Result<SmcFrame> {
        self.put_tx(id, bytes);
        self.call(
            id,
            frame(function::MEM_FRAG_TX, handle, bytes.len(), sender),
        )
    }

    pub(super) fn frag_rx(
        &self,
        id: u16,
        owner: u16,
        handle: u64,
        offset: usize,
    ) -> Result<SmcFrame> {
        let mut call = frame(function::MEM_FRAG_RX, handle, offset, owner);
        // Registers from x8 on are not parameters, so their values must not matter.
        call.x[8..].fill(u64::MAX);
        self.call(id, call)
    }

    /// Sends the first `first` bytes of a descriptor. Returns the handle under which the SPMC asks
    /// for the rest.
    #[track_caller]
    pub(super) fn begin(
        &self,
        id: u16,
        sender: u16,
        function: u32,
        bytes: &[u8],
        first: usize,
    ) -> u64 {
        self.put_tx(id, &bytes[..first]);
        let (total, first) = (bytes.len() as u64, first as u64);
        let answer = self
            .call(id, SmcFrame::new([function as u64, total, first]))
            .unwrap();
        let handle = answer.x[2] << 32 | answer.x[1];
        let asked = frame(function::MEM_FRAG_RX, handle, first as usize, sender);
        assert_eq!(answer.x, asked.x);
        handle
    }

    /// Sends the rest of a descriptor from `first` on, in fragments of `step` bytes. Returns the
    /// answer to the last fragment.
    #[track_caller]
    pub(super) fn go_on(
        &self,
        id: u16,
        sender: u16,
        handle: u64,
        bytes: &[u8],
        first: usize,
        step: usize,
    ) -> Result<SmcFrame> {
        let mut at = first;
        loop {
            let end = (at + step).min(bytes.len());
            let answer = self.frag_tx(id, sender, handle, &bytes[at..end])?;
            if end == bytes.len() {
                return Ok(answer);
            }
            let asked = frame(function::MEM_FRAG_RX, handle, end, sender);
            assert_eq!(answer.x, asked.x);
            at = end;
        }
    }

    /// Reads a response fragment by fragment. Returns the whole response and the number of
    /// fragments.
    #[track_caller]
    fn read_all(&self, id: u16, owner: u16, handle: u64, request: &[u8]) -> (Vec<u8>, usize) {
        let answer = self
            .call_with(id, function::MEM_RETRIEVE_REQ_64, request)
            .unwrap();
        let (total, mut length) = (answer.x[1] as usize, answer.x[2] as usize);
        assert_eq!(answer.w(0), function::MEM_RETRIEVE_RESP);
        let (mut whole, mut fragments) = (Vec::new(), 1);
        loop {
            whole.extend(self.rx(id, length));
            self.of(id).mailbox.lock().release_rx().unwrap();
            if whole.len() == total {
                return (whole, fragments);
            }
            let answer = self.frag_rx(id, owner, handle, whole.len()).unwrap();
            length = answer.x[3] as usize;
            fragments += 1;
            assert_eq!(
                answer.x,
                frame(function::MEM_FRAG_TX, handle, length, owner).x
            );
        }
    }

    /// Returns the state that must be as before once everything is over: all but the generations of
    /// slots.
    pub(super) fn memory(&self) -> (Leaves, Vec<usize>) {
        let snapshot = self.snapshot();
        (snapshot.leaves, snapshot.pools)
    }
}

// req: FRAG-06, FRAG-07, FRAG-08, FRAG-09, FRAG-10, FRAG-11, FRAG-12, FRAG-15, FRAG-23, MEMD-13
// req: MEMX-04, MEMRQ-18, MEMRQ-22, MEMD-61
#[test]
fn descriptors_arrive_and_leave_in_fragments_of_any_size() {
    for (sender_version, receiver_version) in [(0, 2), (1, 1), (2, 0)] {
        let versions = [VERSIONS[sender_version], VERSIONS[receiver_version]];
        let machine = big(&versions);
        let before = machine.memory();
        let ranges = scattered(RAM + 0x10_0000, 600);
        let offer = Descriptor::offer(VM, WB, &[(A, RW)], &ranges).bytes(versions[0]);
        let head = offer.len() - 600 * 16;
        for (first, step) in [
            (head, 4096),
            (head + 16, 16),
            (4096, 4096),
            (head + 160, 1008),
        ] {
            let handle = machine.begin(NS, VM, SHARE, &offer, first);
            assert_eq!(machine.state(A, RAM + 0x10_0000), None);
            let done = machine.go_on(NS, VM, handle, &offer, first, step).unwrap();
            assert_eq!(
                done.x,
                told(Answer::success([handle as u32, (handle >> 32) as u32])).x
            );
            let request = Descriptor::request(VM, handle, A, RW).bytes(versions[1]);
            let (response, fragments) = machine.read_all(A, 0, handle, &request);
            let whole = Descriptor::offer(VM, WB, &[(A, RW)], &ranges).bytes(versions[1]);
            assert_eq!(fragments, whole.len().div_ceil(4096));
            assert_eq!(response.len(), whole.len());
            let behind_head = whole.len() - 601 * 16;
            assert_eq!(response[behind_head..], whole[behind_head..]);
            // A request by the Hypervisor gets the addresses of the region, too.
            let request = Descriptor::offer(0, 0, &[], &[]).with(|d| d.handle = handle);
            let (told, _) = machine.read_all(NS, VM, handle, &request.bytes(versions[0]));
            assert_eq!(told[head - 16..], offer[head - 16..]);
            machine.relinquish(A, handle).unwrap();
            machine.reclaim(NS, handle, 0).unwrap();
            assert_eq!(machine.memory(), before);
        }
    }
}

// req: FRAG-10, FRAG-13, FRAG-14, FRAG-06, MEMRQ-24, MEMRC-17, FRAG-20
#[test]
fn a_fragment_that_is_refused_can_be_sent_again() {
    let machine = big(&VERSIONS[1..]);
    let offer = Descriptor::offer(VM, WB, &[(A, RW)], &scattered(RAM + 0x10_0000, 20));
    let bytes = offer.bytes(Version::V1_1);
    let handle = machine.begin(NS, VM, SHARE, &bytes, 96);
    let rest = &bytes[96..];
    for wrong in [0, handle + 1, handle ^ 1 << 16, handle | 1 << 63, u64::MAX] {
        machine.refuses(InvalidParameters, || machine.frag_tx(NS, VM, wrong, rest));
    }
    let longer = [rest, &[0; 16]].concat();
    for fragment in [&rest[..0], &rest[..8], &rest[..40], &longer] {
        machine.refuses(InvalidParameters, || {
            machine.frag_tx(NS, VM, handle, fragment)
        });
    }
    for id in [0, VM + 1, A] {
        machine.refuses(InvalidParameters, || machine.frag_tx(NS, id, handle, rest));
    }
    let mut wrong = frame(function::MEM_FRAG_TX, handle, rest.len(), VM);
    wrong.x[4] |= 1;
    machine.refuses(InvalidParameters, || machine.call(NS, wrong));
    // Another endpoint must not send fragments for this handle.
    machine.refuses(InvalidParameters, || machine.frag_tx(A, 0, handle, rest));
    machine.refuses(InvalidParameters, || machine.frag_tx(A, VM, handle, rest));
    // No call can use the region before its descriptor is complete.
    machine.refuses(InvalidParameters, || {
        machine.retrieve(A, &Descriptor::request(VM, handle, A, RW))
    });
    machine.refuses(InvalidParameters, || machine.relinquish(A, handle));
    machine.refuses(InvalidParameters, || machine.reclaim(NS, handle, 0));
    machine.refuses(InvalidParameters, || machine.frag_rx(NS, VM, handle, 96));
    // A fragment is refused while the sender has no TX.
    let buffers = machine.of(NS).mailbox.lock().unmap().unwrap();
    machine.refuses(InvalidParameters, || {
        machine.call(NS, frame(function::MEM_FRAG_TX, handle, rest.len(), VM))
    });
    machine.of(NS).mailbox.lock().map(buffers).unwrap();
    machine.frag_tx(NS, VM, handle, rest).unwrap();
    machine.refuses(InvalidParameters, || machine.frag_tx(NS, VM, handle, rest));
    machine
        .retrieve(A, &Descriptor::request(VM, handle, A, RW))
        .unwrap();
}

// req: FRAG-17, FRAG-21, MEMX-18, MEMD-02, MEMD-07, MEMD-08
#[test]
fn what_is_wrong_in_any_fragment_ends_the_call() {
    let base = RAM + 0x10_0000;
    let page = home(A) + 0x8000;
    let twice = |ranges: &mut Vec<(u64, u32)>| ranges[19] = ranges[0];
    type Spoil<'a> = &'a dyn Fn(&mut Vec<(u64, u32)>);
    let spoils: [(Spoil<'_>, FfaError); 7] = [
        (&|ranges| ranges[19].0 += 1, InvalidParameters),
        (&|ranges| ranges[5].1 = 0, InvalidParameters),
        (&|ranges| ranges[19].0 = 1 << 48, InvalidParameters),
        (&|ranges| ranges[19].0 = 1 << 40, Denied),
        (&twice, InvalidParameters),
        (&|ranges| ranges[19].0 = page, Denied),
        (&|ranges| ranges[0].0 = RAM, Denied),
    ];
    for (spoil, error) in spoils {
        for function in [SHARE, LEND] {
            let machine = big(&VERSIONS[1..]);
            let before = machine.memory();
            let mut ranges = scattered(base, 20);
            spoil(&mut ranges);
            let attributes = if function == SHARE { WB } else { 0 };
            let bytes = Descriptor::offer(NS, attributes, &[(A, RW)], &ranges).bytes(Version::V1_1);
            let handle = machine.begin(NS, NS, function, &bytes, 80);
            let outcome = machine.go_on(NS, NS, handle, &bytes, 80, 64);
            assert_eq!(outcome.unwrap_err(), error);
            assert_eq!(machine.memory(), before);
            assert_eq!(machine.shares.live(), 0);
            machine.refuses(InvalidParameters, || {
                machine.frag_tx(NS, NS, handle, &bytes[80..])
            });
        }
    }
    // The sum of the pages is wrong.
    let machine = big(&VERSIONS[1..]);
    let before = machine.memory();
    let offer = Descriptor::offer(NS, WB, &[(A, RW)], &scattered(base, 20));
    let bytes = offer
        .clone()
        .with(|d| d.pages = Some(21))
        .bytes(Version::V1_1);
    let handle = machine.begin(NS, NS, SHARE, &bytes, 80);
    let outcome = machine.go_on(NS, NS, handle, &bytes, 80, 160);
    assert_eq!(outcome.unwrap_err(), InvalidParameters);
    assert_eq!(machine.memory(), before);
    // TX cannot be read.
    let bytes = offer.bytes(Version::V1_1);
    let handle = machine.begin(NS, NS, SHARE, &bytes, 80);
    machine.put_tx(NS, &bytes[80..]);
    machine.hal.faulty.store(true, Ordering::Relaxed);
    let call = frame(function::MEM_FRAG_TX, handle, bytes.len() - 80, NS);
    assert_eq!(machine.call(NS, call).unwrap_err(), Aborted);
    machine.hal.faulty.store(false, Ordering::Relaxed);
    assert_eq!((machine.memory(), machine.shares.live()), (before, 0));
}

// req: FRAG-20, FRAG-08, FRAG-11, FRAG-14
#[test]
fn senders_do_not_wait_for_each_other() {
    let machine = big(&VERSIONS[1..]);
    let before = machine.memory();
    let senders = [(NS, 0), (NS, VM), (NS, VM + 1), (B, B), (C, C)];
    let offers: Vec<_> = (0..)
        .zip(senders)
        .map(|(n, (_, sender))| {
            let base = if sender & 0x8000 == 0 {
                RAM + 0x10_0000 * (n + 1)
            } else {
                home(sender) + 0x1_0000
            };
            Descriptor::offer(sender, WB, &[(A, RO)], &scattered(base, 30))
        })
        .collect();
    let bytes: Vec<_> = senders
        .iter()
        .zip(&offers)
        .map(|((id, _), offer)| offer.bytes(machine.of(*id).version()))
        .collect();
    let asked = |sender: u16| if sender & 0x8000 == 0 { sender } else { 0 };
    let handles: Vec<_> = senders
        .iter()
        .zip(&bytes)
        .map(|((id, sender), bytes)| {
            machine.begin(*id, asked(*sender), SHARE, bytes, bytes.len() - 480)
        })
        .collect();
    for left in [320, 160, 0] {
        for ((id, sender), (bytes, handle)) in senders.iter().zip(bytes.iter().zip(&handles)) {
            let end = bytes.len() - left;
            let answer = machine
                .frag_tx(*id, asked(*sender), *handle, &bytes[end - 160..end])
                .unwrap();
            assert_eq!(answer.w(0) == function::SUCCESS_32, left == 0);
        }
    }
    for ((id, sender), handle) in senders.iter().zip(handles) {
        machine
            .retrieve(A, &Descriptor::request(*sender, handle, A, RO))
            .unwrap();
        machine.relinquish(A, handle).unwrap();
        machine.reclaim(*id, handle, 0).unwrap();
    }
    assert_eq!(machine.memory(), before);
}

// req: FRAG-20, MEMX-11
#[test]
fn a_forgotten_transaction_of_a_partition_makes_room_for_its_others() {
    let machine = big(&VERSIONS[1..]);
    let page = |n: u64| home(B) + 0x1_0000 + n * 0x1000;
    let fill = || {
        (0..)
            .map_while(|n| {
                machine
                    .send(B, SHARE, &Descriptor::share(B, A, page(n), 1))
                    .ok()
            })
            .collect::<Vec<_>>()
    };
    let all = fill();
    for handle in &all {
        machine.reclaim(B, *handle, 0).unwrap();
    }
    let forgotten = Descriptor::offer(B, WB, &[(A, RO)], &scattered(page(100), 5));
    let forgotten = forgotten.bytes(Version::V1_2);
    let (first, rest) = forgotten.split_at(forgotten.len() - 16);
    let handle = machine.begin(B, 0, SHARE, &forgotten, first.len());
    assert_eq!(
        fill().len(),
        all.len(),
        "the forgotten one gives its place up"
    );
    machine.refuses(InvalidParameters, || machine.frag_tx(B, 0, handle, rest));
}

// req: FRAG-20, MEMX-11
#[test]
fn forgotten_transactions_make_room() {
    let machine = big(&VERSIONS[1..]);
    let before = machine.memory();
    // A list with this many ranges needs a page of its own.
    const FIRST: usize = 80 + 10 * 16;
    let offer = |sender| {
        Descriptor::offer(sender, WB, &[(A, RW)], &scattered(RAM + 0x10_0000, 600))
            .bytes(Version::V1_1)
    };
    let begin = |sender| machine.begin(NS, sender, SHARE, &offer(sender), FIRST);
    let available = || machine.of(NS).memory.lock().pool().available();
    let all = available();
    // A sender that begins too many transactions loses its own oldest one.
    let mut handles: Vec<_> = (0..=MIN_ARRIVING_PER_SENDER).map(|_| begin(VM)).collect();
    assert_eq!(machine.shares.live(), MIN_ARRIVING_PER_SENDER);
    let next = &offer(VM)[FIRST..FIRST + 16];
    machine.refuses(InvalidParameters, || {
        machine.frag_tx(NS, VM, handles[0], next)
    });
    machine.frag_tx(NS, VM, handles[1], next).unwrap();
    // If many senders together begin too many, the oldest of all is lost.
    handles.extend((1..).take(MIN_ARRIVING).map(|n| begin(VM + n)));
    assert_eq!(machine.shares.live(), MIN_ARRIVING);
    assert_eq!(
        available(),
        all - MIN_ARRIVING,
        "no page for what is announced"
    );
    let kept = handles[handles.len() - MIN_ARRIVING..].to_vec();
    let first = offer(VM + 1);
    machine
        .frag_tx(NS, VM + 1, kept[0], &first[FIRST..FIRST + 16])
        .unwrap();
    // The quota of a partition does not depend on that of the Normal world.
    let page = home(B) + 0x1_0000;
    let own = Descriptor::offer(B, WB, &[(A, RO)], &scattered(page, 5)).bytes(Version::V1_2);
    let own = machine.begin(B, 0, SHARE, &own, own.len() - 16);
    assert_eq!(machine.shares.live(), MIN_ARRIVING + 1);
    // The next list needs three pages more than are free. Its beginning ends an older transaction,
    // which frees one page; the other two come from two more that end.
    let ranges = scattered(RAM + 0x100_0000, (available() as u64 + 3) * 511 + 5);
    let huge = Descriptor::offer(NS, WB, &[(A, RW)], &ranges).bytes(Version::V1_1);
    let handle = machine.begin(NS, NS, SHARE, &huge, 80);
    assert_eq!(machine.shares.live(), MIN_ARRIVING + 1);
    for fragment in huge[80..huge.len() - 16].chunks(4096) {
        let answer = machine.frag_tx(NS, NS, handle, fragment).unwrap();
        assert_eq!(answer.w(0), function::MEM_FRAG_RX);
    }
    assert_eq!((available(), machine.shares.live()), (0, MIN_ARRIVING - 1));
    for gone in &kept[..3] {
        machine.refuses(InvalidParameters, || {
            machine.frag_tx(NS, VM + 1, *gone, &first[..16])
        });
    }
    assert!(
        machine.shares.find_any(Handle::new(handle)).is_ok()
            && machine.shares.find_any(Handle::new(own)).is_ok()
    );
    for found in machine.shares.arriving() {
        machine.engine().discard(found);
    }
    assert_eq!((machine.memory(), machine.shares.live()), (before, 0));
}

// req: FRAG-17, MEMX-11, MEMX-18
#[test]
fn a_list_for_which_there_is_no_room_ends_when_it_comes_to_that() {
    let machine = Machine::with(&VERSIONS[1..], 6, 3);
    let before = machine.memory();
    let pages = machine.of(NS).memory.lock().pool().available() as u64;
    let ranges = scattered(RAM + 0x100_0000, 4 + pages * 511 + 1);
    let bytes = Descriptor::offer(NS, WB, &[(A, RW)], &ranges).bytes(Version::V1_1);
    let handle = machine.begin(NS, NS, SHARE, &bytes, 4096);
    let refused = machine.go_on(NS, NS, handle, &bytes, 4096, 4096);
    assert_eq!(refused.unwrap_err(), NoMemory);
    assert_eq!((machine.memory(), machine.shares.live()), (before, 0));
    machine.refuses(InvalidParameters, || {
        machine.frag_tx(NS, NS, handle, &bytes[4096..4112])
    });
}

// req: FRAG-22, FRAG-06, MEMD-75, MEMD-76, MEMD-77, MEMD-91, FRAG-10, MEMRQ-07
#[test]
fn a_receiver_that_says_where_the_region_is_to_lie() {
    let machine = big(&VERSIONS[1..]);
    let base = RAM + 0x10_0000;
    let ranges = [(base, 300), (base + 0x20_0000, 1), (base + 0x40_0000, 5)];
    let share = Descriptor::offer(NS, WB, &[(A, RW), (B, RO)], &ranges);
    let handle = machine.send(NS, SHARE, &share).unwrap();
    let request = |ranges: &[(u64, u32)]| {
        Descriptor::request(NS, handle, A, RW).with(|d| {
            d.flags = 1 << 10;
            d.constituents = ranges.to_vec();
        })
    };
    // The request cuts the region into other ranges than the owner did, and arrives in fragments.
    let mut pages: Vec<_> = (0..300).map(|n| (base + n * 0x1000, 1)).collect();
    pages.extend([
        (base + 0x20_0000, 1),
        (base + 0x40_0000, 2),
        (base + 0x40_2000, 3),
    ]);
    let all = request(&pages).bytes(Version::V1_2);
    let unlike = |change: fn(&mut Vec<(u64, u32)>)| {
        let mut ranges = ranges.to_vec();
        change(&mut ranges);
        request(&ranges).bytes(Version::V1_2)
    };
    for wrong in [
        unlike(|ranges| ranges[0].0 += 0x1000),
        unlike(|ranges| ranges.swap(1, 2)),
        unlike(|ranges| ranges[2].1 = 4),
        unlike(|ranges| ranges[2].1 = 6),
        unlike(|ranges| ranges.truncate(2)),
        unlike(|ranges| ranges.push((RAM + 0x90_0000, 1))),
        request(&ranges)
            .with(|d| d.flags |= 1 << 9)
            .bytes(Version::V1_2),
        request(&ranges)
            .with(|d| d.pages = Some(305))
            .bytes(Version::V1_2),
    ] {
        machine.refuses(InvalidParameters, || {
            machine.call_with(A, function::MEM_RETRIEVE_REQ_32, &wrong)
        });
    }
    // A borrower cannot choose the addresses of another borrower.
    let others = Descriptor::offer(NS, 0, &[(A, RW), (B, RO)], &ranges).with(|d| {
        d.handle = handle;
        d.entries[1].flags = 1;
    });
    machine.refuses(InvalidParameters, || machine.retrieve(A, &others));
    let own = others.with(|d| d.entries[1].offset = Some(0));
    let response = machine.retrieve(A, &own).unwrap();
    assert_eq!((response.len(), &response[52..56]), (48 + 32, &[0; 4][..]));
    machine.relinquish(A, handle).unwrap();

    for (first, step) in [(96, 16), (112, 4096), (4096, 4096)] {
        let before = machine.snapshot();
        machine.put_tx(A, &all[..first]);
        let (total, first_length) = (all.len() as u64, first as u64);
        let asked = machine
            .call(
                A,
                SmcFrame::new([function::MEM_RETRIEVE_REQ_64 as u64, total, first_length]),
            )
            .unwrap();
        assert_eq!(asked.x, frame(function::MEM_FRAG_RX, handle, first, 0).x);
        assert_eq!(machine.snapshot().leaves, before.leaves);
        for wrong in [&all[..0], &all[..24], &[&all[first..], &[0; 16]].concat()] {
            if wrong.len() <= 4096 {
                machine.refuses(InvalidParameters, || machine.frag_tx(A, 0, handle, wrong));
            }
        }
        // The fragment is longer than TX.
        let longer = frame(function::MEM_FRAG_TX, handle, 4112, 0);
        machine.refuses(InvalidParameters, || machine.call(A, longer));
        machine.refuses(InvalidParameters, || {
            machine.frag_tx(A, 1, handle, &all[first..first + 16])
        });
        machine.refuses(InvalidParameters, || {
            machine.frag_tx(B, 0, handle, &all[first..first + 16])
        });
        machine.refuses(InvalidParameters, || {
            machine.frag_tx(NS, NS, handle, &all[first..first + 16])
        });
        let answer = machine.go_on(A, 0, handle, &all, first, step).unwrap();
        assert_eq!(
            answer.x,
            SmcFrame::new([function::MEM_RETRIEVE_RESP as u64, 80, 80]).x
        );
        machine.of(A).mailbox.lock().release_rx().unwrap();
        assert_eq!(
            machine.access(A, World::NonSecure, base + 0x40_4000),
            Some((true, false))
        );
        machine.refuses(InvalidParameters, || {
            machine.frag_tx(A, 0, handle, &all[first..first + 16])
        });
        machine.relinquish(A, handle).unwrap();
    }
    // An error in a later fragment ends the request: the last address is not aligned.
    let before = machine.snapshot();
    let mut wrong = all.clone();
    wrong[all.len() - 15] |= 8;
    machine.put_tx(A, &wrong[..96]);
    let total = all.len() as u64;
    machine
        .call(
            A,
            SmcFrame::new([function::MEM_RETRIEVE_REQ_64 as u64, total, 96]),
        )
        .unwrap();
    let outcome = machine.go_on(A, 0, handle, &wrong, 96, 4096);
    assert_eq!(outcome.unwrap_err(), InvalidParameters);
    assert_eq!(machine.snapshot(), before);
    machine.refuses(InvalidParameters, || {
        machine.frag_tx(A, 0, handle, &all[96..112])
    });
}

// req: FRAG-20, FRAG-14, MEMX-18
#[test]
fn what_has_become_whole_since_it_was_found_is_not_given_up() {
    let machine = big(&VERSIONS[2..]);
    let bytes =
        Descriptor::offer(NS, WB, &[(A, RW)], &scattered(RAM + 0x10_0000, 2)).bytes(Version::V1_2);
    let handle = machine.begin(NS, NS, SHARE, &bytes, bytes.len() - 16);
    let arrival = machine.shares.arriving().next().unwrap().arrival().unwrap();
    assert_eq!(
        machine.shares.find_arriving(arrival).unwrap().handle(),
        Handle::new(handle)
    );
    let last = &bytes[bytes.len() - 16..];
    machine.frag_tx(NS, NS, handle, last).unwrap();
    assert!(machine.shares.find_arriving(arrival).is_none());
    // A reference that was found by the handle cannot discard the share either.
    let sent = machine.memory();
    machine
        .engine()
        .discard(machine.shares.find_any(Handle::new(handle)).unwrap());
    assert_eq!((machine.memory(), machine.shares.live()), (sent, 1));
    machine.reclaim(NS, handle, 0).unwrap();
    // The slot is used again for another transaction, which is still arriving.
    let again = machine.begin(NS, NS, SHARE, &bytes, bytes.len() - 16);
    assert_eq!((handle ^ again) & 0xffff, 0);
    assert!(machine.shares.find_arriving(arrival).is_none());
}
