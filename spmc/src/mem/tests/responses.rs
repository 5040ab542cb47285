//! Responses in fragments.

use super::fragments::{VM, big, frame, scattered};
use super::*;

// req: FRAG-15, FRAG-16, FRAG-10, FRAG-09, MEMRQ-15
#[test]
fn a_response_is_read_at_the_pace_of_its_reader() {
    let machine = big(&VERSIONS[1..]);
    let ranges = scattered(RAM + 0x10_0000, 600);
    let offer = Descriptor::offer(VM, WB, &[(A, RW), (B, RO)], &ranges);
    let bytes = offer.bytes(Version::V1_1);
    let handle = machine.begin(NS, VM, SHARE, &bytes, 4096);
    machine.go_on(NS, VM, handle, &bytes, 4096, 4096).unwrap();
    // There is no response yet.
    machine.refuses(InvalidParameters, || machine.frag_rx(A, 0, handle, 0));
    machine.refuses(InvalidParameters, || machine.frag_rx(NS, VM, handle, 4096));
    let request = Descriptor::request(VM, handle, A, RW).with(|d| d.flags = 1 << 10);
    let first = machine
        .call_with(
            A,
            function::MEM_RETRIEVE_REQ_32,
            &request.bytes(Version::V1_2),
        )
        .unwrap();
    let total = first.x[1] as usize;
    assert_eq!((total, first.x[2]), (48 + 32 + 16 + 600 * 16, 4096));
    // RX is full.
    machine.refuses(Busy, || machine.frag_rx(A, 0, handle, 4096));
    machine.of(A).mailbox.lock().release_rx().unwrap();
    for offset in [0, 1, 16, 4080, 4112, 8192, total, 0xffff_fff0] {
        machine.refuses(InvalidParameters, || machine.frag_rx(A, 0, handle, offset));
    }
    machine.refuses(InvalidParameters, || machine.frag_rx(A, 1, handle, 4096));
    machine.refuses(InvalidParameters, || machine.frag_rx(B, 0, handle, 4096));
    machine.refuses(InvalidParameters, || machine.frag_rx(NS, VM, handle, 4096));
    machine.refuses(InvalidParameters, || {
        machine.frag_rx(A, 0, handle + 1, 4096)
    });
    let mut wrong = frame(function::MEM_FRAG_RX, handle, 4096, 0);
    wrong.x[4] = 1;
    machine.refuses(InvalidParameters, || machine.call(A, wrong));
    machine.hal.faulty.store(true, Ordering::Relaxed);
    machine.refuses(Aborted, || machine.frag_rx(A, 0, handle, 4096));
    machine.hal.faulty.store(false, Ordering::Relaxed);
    // Each fragment is read twice.
    let mut at = 4096;
    while at < total {
        let fragment = |offset| {
            let answer = machine.frag_rx(A, 0, handle, offset).unwrap();
            machine.of(A).mailbox.lock().release_rx().unwrap();
            machine.rx(A, answer.x[3] as usize)
        };
        let once = fragment(at);
        assert_eq!(once.len(), (total - at).min(4096));
        assert_eq!(fragment(at), once);
        at += once.len();
    }
    machine.refuses(InvalidParameters, || machine.frag_rx(A, 0, handle, total));
    // Only the last fragment can be repeated.
    machine.refuses(InvalidParameters, || machine.frag_rx(A, 0, handle, 4096));
    machine.relinquish(A, handle).unwrap();
    machine.refuses(InvalidParameters, || machine.frag_rx(A, 0, handle, 8192));
    // The Hypervisor can repeat a fragment as well.
    let request = Descriptor::offer(0, 0, &[], &[]).with(|d| d.handle = handle);
    machine
        .call_with(
            NS,
            function::MEM_RETRIEVE_REQ_32,
            &request.bytes(Version::V1_1),
        )
        .unwrap();
    let fragment = |offset| {
        machine.of(NS).mailbox.lock().release_rx().unwrap();
        let answer = machine.frag_rx(NS, VM, handle, offset).unwrap();
        machine.rx(NS, answer.x[3] as usize)
    };
    assert_eq!(fragment(4096), fragment(4096));
}

// req: FRAG-16
#[test]
fn a_response_that_came_whole_is_not_read_again() {
    let machine = Machine::new();
    let share = Descriptor::share(NS, A, RAM + 0x5000, 1);
    let handle = machine.send(NS, SHARE, &share).unwrap();
    machine
        .retrieve(A, &Descriptor::request(NS, handle, A, RW))
        .unwrap();
    for offset in [0, 16, 64] {
        machine.refuses(InvalidParameters, || machine.frag_rx(A, 0, handle, offset));
    }
}

// req: FRAG-18, MEMRL-15, MEMDN-06
#[test]
fn a_response_that_is_not_wanted_any_more() {
    for function in [LEND, DONATE] {
        let machine = big(&VERSIONS[2..]);
        let start = machine.memory();
        let ranges = scattered(RAM + 0x10_0000, 300);
        let permissions = if function == LEND { RW } else { 0 };
        let bytes = Descriptor::offer(NS, 0, &[(A, permissions)], &ranges).bytes(Version::V1_2);
        let handle = machine.begin(NS, NS, function, &bytes, 4096);
        machine.go_on(NS, NS, handle, &bytes, 4096, 4096).unwrap();
        let sent = machine.memory();
        let request = Descriptor::request(NS, handle, A, RW).bytes(Version::V1_2);
        let retrieve = || {
            machine
                .call_with(A, function::MEM_RETRIEVE_REQ_32, &request)
                .unwrap();
            machine.of(A).mailbox.lock().release_rx().unwrap();
        };
        retrieve();
        let error = if function == LEND {
            Denied
        } else {
            InvalidParameters
        };
        machine.refuses(error, || machine.reclaim(NS, handle, 0));
        if function == DONATE {
            machine.refuses(InvalidParameters, || {
                machine.retrieve(A, &Descriptor::request(NS, handle, A, RW))
            });
            machine.refuses(InvalidParameters, || {
                machine.relinquish_with(A, handle, 1, &[A])
            });
            machine.refuses(InvalidParameters, || machine.relinquish(B, handle));
            // Memory that the borrower has shared on cannot be relinquished.
            let page = RAM + 0x10_0000;
            let on = machine
                .send(A, SHARE, &Descriptor::share(A, B, page, 1))
                .unwrap();
            machine.refuses(Denied, || machine.relinquish(A, handle));
            machine.reclaim(A, on, 0).unwrap();
        }
        machine.relinquish(A, handle).unwrap();
        assert_eq!(machine.memory(), sent);
        machine.refuses(InvalidParameters, || machine.frag_rx(A, 0, handle, 4096));
        retrieve();
        machine.frag_rx(A, 0, handle, 4096).unwrap();
        machine.of(A).mailbox.lock().release_rx().unwrap();
        if function == DONATE {
            // The donation ends with its last fragment.
            assert_eq!(machine.shares.live(), 0);
            machine.refuses(InvalidParameters, || machine.relinquish(A, handle));
            machine.refuses(InvalidParameters, || machine.frag_rx(A, 0, handle, 4096));
            assert_eq!(
                machine.state(A, RAM + 0x10_0000),
                Some(State::OwnerExclusive)
            );
        } else {
            machine.relinquish(A, handle).unwrap();
            machine.reclaim(NS, handle, 0).unwrap();
            assert_eq!(machine.memory(), start);
        }
    }
}
