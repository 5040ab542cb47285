//! Claims of contexts: whoever only looks at one is waited for, whoever runs it is not.

use std::sync::Barrier;
use std::thread::{scope, sleep};
use std::time::Duration;

use host_tests::hal::FakeContext;
use spmc::partition::vcpu::{Begin, Event};
use spmc::partition::{Link, Slot};

/// Returns what `claims` says on a PE that begins while another one has the claim of `slot`, which
/// that gives up for it.
fn waits(slot: &Slot<FakeContext>, claims: impl FnOnce() -> bool + Send) -> bool {
    let begins = Barrier::new(2);
    scope(|scope| {
        let claim = slot.try_claim();
        assert!(claim.is_some());
        let waiting = scope.spawn(|| {
            begins.wait();
            claims()
        });
        begins.wait();
        // Long enough for it to find the claim taken.
        sleep(Duration::from_millis(20));
        drop(claim);
        waiting.join().unwrap()
    })
}

// req: MSGW-14, RUN-24
#[test]
fn whoever_only_looks_is_waited_for() {
    let [callee, other] = [1, 2].map(|vcpu| Link::reborn(0, vcpu, Link::NONE));
    let slot = Slot::OFF;
    assert!(waits(&slot, || slot.claim().is_some()));
    slot.try_claim().unwrap().begin(Begin::Start).unwrap();
    slot.try_claim()
        .unwrap()
        .step(Event::Block(callee))
        .unwrap();
    assert!(waits(&slot, || slot.claim_caller_of(callee).is_some()));
    // Who is not waited for has no reason to wait.
    let looks = slot.try_claim().unwrap();
    assert!(slot.claim_caller_of(other).is_none());
    drop(looks);
    let mut runs = slot.try_claim().unwrap();
    runs.step(Event::Unblock(callee)).unwrap();
    assert!(slot.claim().is_none());
}

// Others may wait for what it has: two of that kind would wait for ever. Tests are told of it,
// whether anybody waits or not.
#[test]
#[should_panic(expected = "waits for a claim")]
fn whoever_looks_waits_for_no_other_claim() {
    let slots: [Slot<FakeContext>; 2] = [Slot::OFF, Slot::OFF];
    let _looks = slots[0].try_claim();
    slots[1].claim();
}
