//! Room for transactions: slots, and pages for their lists of ranges.

use super::fragments::{VM, big, scattered};
use super::*;
use crate::limits::MIN_ARRIVING_PER_SENDER;
use crate::mm::Pages;

/// As many ranges as need a page.
const MANY: u64 = 10;

impl Machine {
    /// Returns the number of pages that are left for what that endpoint sends.
    fn available(&self, id: u16) -> usize {
        self.of(id).memory.lock().pool().available()
    }
}

// req: MEMX-11, MEMO-12
#[test]
fn pages_of_a_list_come_back_however_it_ends() {
    let machine = big(&VERSIONS[2..]);
    let before = machine.available(A);
    let ranges = scattered(home(A) + 0x1_0000, MANY);
    let donate = Descriptor::offer(A, 0, &[(B, 0)], &ranges);
    let handle = machine.send(A, DONATE, &donate).unwrap();
    assert_eq!(machine.available(A), before - 1);
    let request = Descriptor::request(A, handle, B, RW);
    machine.retrieve(B, &request).unwrap();
    assert_eq!(machine.available(A), before);
    // The share ends with the death of its owner.
    let ranges = scattered(home(A) + 0x8_0000, MANY);
    let share = Descriptor::offer(A, WB, &[(B, RW)], &ranges);
    machine.send(A, SHARE, &share).unwrap();
    assert_eq!(machine.available(A), before - 1);
    assert!(!machine.engine().bury(machine.of(A)));
    assert_eq!((machine.available(A), machine.shares.live()), (before, 0));
}

// req: MEMX-11, FRAG-20
#[test]
fn a_transaction_that_is_half_there_makes_room_for_a_whole_one() {
    let machine = Machine::with(&[Version::V1_1], 6, 2);
    let most = usize::from(SHARES) - PARTITIONS * SHARES_PARTITION;
    let share = |n: u64| Descriptor::share(NS, A, RAM + 0x2000 + n * 0x1000, 1);
    let bytes =
        Descriptor::offer(NS, WB, &[(A, RW)], &scattered(RAM + 0x20_0000, 2)).bytes(Version::V1_1);
    let (head, last) = bytes.split_at(bytes.len() - 16);
    let half = machine.begin(NS, NS, SHARE, &bytes, head.len());
    for n in 0..most as u64 {
        machine.send(NS, SHARE, &share(n)).unwrap();
    }
    assert_eq!(machine.shares.live(), most);
    machine.refuses(InvalidParameters, || machine.frag_tx(NS, NS, half, last));
    // A complete share does not make room for another one.
    let next = share(most as u64);
    machine.refuses(NoMemory, || machine.send(NS, SHARE, &next));
}

// req: MEMX-11, FRAG-20
#[test]
fn a_transaction_that_is_half_there_makes_room_for_another() {
    let machine = Machine::with(&VERSIONS[1..], 6, 3);
    let offer = |sender, base, count| {
        Descriptor::offer(sender, WB, &[(A, RW)], &scattered(base, count)).bytes(Version::V1_1)
    };
    let all = machine.available(NS);
    let small = offer(VM, RAM + 0x10_0000, MANY + 1);
    let first = machine.begin(NS, VM, SHARE, &small, small.len() - 16);
    assert_eq!(machine.available(NS), all - 1);
    // The large list needs every page.
    let large = offer(NS, RAM + 0x100_0000, 4 + all as u64 * 511);
    let second = machine.begin(NS, NS, SHARE, &large, 4096);
    for fragment in large[4096..large.len() - 16].chunks(4096) {
        let answer = machine.frag_tx(NS, NS, second, fragment).unwrap();
        assert_eq!(answer.w(0), function::MEM_FRAG_RX);
    }
    assert_eq!((machine.available(NS), machine.shares.live()), (0, 1));
    machine.refuses(InvalidParameters, || {
        machine.frag_tx(NS, VM, first, &small[small.len() - 16..])
    });
}

// req: FRAG-20
#[test]
fn each_pe_may_send_one_that_is_half_there() {
    let mut machine = big(&VERSIONS[2..]);
    let pes = MIN_ARRIVING_PER_SENDER + 3;
    machine.shares = Shares::new(PARTITIONS, SHARES, pes);
    let bytes = Descriptor::offer(A, WB, &[(B, RW)], &scattered(home(A) + 0x1_0000, 2))
        .bytes(Version::V1_2);
    let (head, last) = bytes.split_at(bytes.len() - 16);
    let begin = || machine.begin(A, 0, SHARE, &bytes, head.len());
    let handles: Vec<_> = (0..pes).map(|_| begin()).collect();
    assert_eq!(machine.shares.live(), pes);
    // All send the same page: who is whole first has it.
    machine.frag_tx(A, 0, handles[0], last).unwrap();
}

// req: FRAG-20, MEMX-11
#[test]
fn a_partition_gives_up_the_oldest_of_too_many_that_are_half_there() {
    let machine = big(&VERSIONS[2..]);
    let bytes = Descriptor::offer(A, WB, &[(B, RW)], &scattered(home(A) + 0x1_0000, 2))
        .bytes(Version::V1_2);
    let (head, last) = bytes.split_at(bytes.len() - 16);
    let handles: Vec<_> = (0..=MIN_ARRIVING_PER_SENDER)
        .map(|_| machine.begin(A, 0, SHARE, &bytes, head.len()))
        .collect();
    assert_eq!(machine.shares.live(), MIN_ARRIVING_PER_SENDER);
    machine.refuses(InvalidParameters, || {
        machine.frag_tx(A, 0, handles[0], last)
    });
    machine.frag_tx(A, 0, handles[1], last).unwrap();
}

// req: FRAG-18, MEMX-11, MEMX-18
#[test]
fn a_donor_without_tables_cannot_have_a_donation_back() {
    const PAGES: u64 = 512;
    let machine = big(&VERSIONS[2..]);
    let land = 0x1000_0000;
    machine.give(A, land, PAGES, Permissions::all());
    // The response to so many ranges takes two fragments. Together the ranges are one block, so
    // that the donor has no table for these addresses after the donation.
    let ranges: Vec<_> = (0..PAGES / 2).map(|n| (land + n * 0x2000, 2)).collect();
    let donate = Descriptor::offer(A, 0, &[(B, 0)], &ranges).bytes(Version::V1_2);
    let handle = machine.begin(A, 0, DONATE, &donate, 4096);
    machine.go_on(A, 0, handle, &donate, 4096, 4096).unwrap();
    let sent = machine.memory();
    let request = Descriptor::request(A, handle, B, RW).bytes(Version::V1_2);
    machine
        .call_with(B, function::MEM_RETRIEVE_REQ_64, &request)
        .unwrap();
    let store = Pages::of(&machine.hal);
    let take = |_| machine.of(A).memory.lock().pool().take_list(store).unwrap();
    let taken: Vec<_> = (0..machine.available(A)).map(take).collect();
    machine.refuses(NoMemory, || machine.relinquish(B, handle));
    for page in taken {
        let mut space = machine.of(A).memory.lock();
        space.pool().give_back_list(store, page);
    }
    machine.relinquish(B, handle).unwrap();
    assert_eq!(machine.memory(), sent);
}
