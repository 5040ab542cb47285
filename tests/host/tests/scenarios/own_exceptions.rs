//! What a partition at S-EL1 deals with itself: instructions that are not there, and interrupts of
//! its own, during which the Normal world has to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::{PartitionSpec, System};

use super::interrupts::{LINE, with_device};

const SP1: u16 = 0x8001;
const ENABLE: u64 = 0xff03;
const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;

#[test]
fn an_instruction_that_is_not_there_is_undefined_and_the_partition_goes_on() {
    let system = System::boot([PartitionSpec::new("sp").script(|sp| {
        sp.serve(|sp, _| [sp.trap(0x6200_0000).into(), 0, 0, 0, 0]);
    })]);
    for _ in 0..3 {
        assert_eq!(system.nwd().ask(SP1, [0; 5]), [1, 0, 0, 0, 0]);
    }
}

// FF-A v1.1 section 9.3: a context that handles its interrupts is not stopped for others.
// req: INT-05
#[test]
fn non_secure_interrupts_wait_while_a_handler_runs() {
    let handled = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handled);
    let system = System::boot([
        with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(move |sp| {
            sp.call([ENABLE, LINE.into(), 1, 0]);
            loop {
                sp.msg_wait();
                assert!(!sp.interrupt(), "the handler was stopped");
                let id = sp.call([GET]).0[0];
                sp.gic(|gic| gic.set_level(LINE, false));
                assert_eq!(sp.call([DEACTIVATE, id, id]).0[0], 0);
                count.fetch_add(1, SeqCst);
            }
        }),
    ]);
    for n in 1..4 {
        system.machine.gic().set_level(LINE, true);
        system.nwd().call([host_tests::ffa::INTERRUPT]);
        assert_eq!(handled.load(SeqCst), n);
    }
}
