//! Claims of contexts: a PE waits for another one that only looks at a context, and does not wait
//! for one that runs the context.

use std::sync::Barrier;
use std::thread::{scope, sleep};
use std::time::Duration;

use host_tests::hal::FakeContext;
use spmc::partition::vcpu::{Begin, Event};
use spmc::partition::{Link, Slot};

/// Returns the result of `claims` on a PE that starts while another PE has the claim of `slot`. The
/// other PE releases the claim meanwhile.
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
        // Long enough for the PE to find the claim taken.
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
    // The context is not blocked on `other`, so there is no reason to wait for the claim.
    let looks = slot.try_claim().unwrap();
    assert!(slot.claim_caller_of(other).is_none());
    drop(looks);
    let mut runs = slot.try_claim().unwrap();
    runs.step(Event::Unblock(callee)).unwrap();
    assert!(slot.claim().is_none());
}

// Others may wait for what a PE that looks at a context has: two such PEs would wait for each other
// for ever. Tests are told of such a claim, whether or not a PE waits.
#[test]
#[should_panic(expected = "waits for a claim")]
fn whoever_looks_waits_for_no_other_claim() {
    let slots: [Slot<FakeContext>; 2] = [Slot::OFF, Slot::OFF];
    let _looks = slots[0].try_claim();
    slots[1].claim();
}
