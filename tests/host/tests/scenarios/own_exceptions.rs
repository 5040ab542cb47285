//! Tests what a partition at S-EL1 handles itself: undefined instructions, and its own interrupts,
//! during which the Normal world has to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::{RXTX_MAP_64, RXTX_UNMAP};
use host_tests::machine::NORMAL_RAM;
use host_tests::manifest::{Region, partition_base};
use host_tests::{PartitionSpec, System};
use spmc::addr::Ipa;
use spmc::hal::{Access, Fault, FaultKind};

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

// While another PE changes a table, hardware may find an invalid descriptor. A partition never sees
// the fault: it repeats the access, once for each change, if the access is permitted.
#[test]
fn an_access_that_met_a_change_of_tables_is_tried_again() {
    const READ_ONLY: u64 = partition_base(4);
    const SHARED: u64 = NORMAL_RAM.start;
    const NOTHING: u64 = partition_base(5);
    let region = |name, base, attributes| Region {
        name,
        base,
        relative: false,
        pages: 1,
        attributes,
    };
    let cases = [
        (READ_ONLY, Access::Read, FaultKind::Translation, false, true),
        (SHARED, Access::Read, FaultKind::Translation, false, true),
        (READ_ONLY, Access::Read, FaultKind::Permission, false, false),
        (
            READ_ONLY,
            Access::Write,
            FaultKind::Translation,
            false,
            false,
        ),
        // A stage-1 walk reads the partition's own tables, whatever the access is.
        (READ_ONLY, Access::Write, FaultKind::Translation, true, true),
        (NOTHING, Access::Read, FaultKind::Translation, false, false),
    ];
    let spec = PartitionSpec::new("sp").with(|spec| {
        spec.regions = vec![
            region("read-only", READ_ONLY, 1),
            region("shared", SHARED, 8 | 3),
        ];
    });
    let system = System::boot([spec.script(move |sp| {
        sp.serve(move |sp, request| {
            for (address, access, kind, on_walk, is_tried_again) in cases {
                let fault = Fault {
                    access,
                    kind,
                    va: Some(address),
                    ipa: Some(Ipa::new(address)),
                    on_walk,
                    pc: sp.entry,
                };
                // Each of the two calls changes the partition's tables.
                let tx = sp.tx();
                sp.call([RXTX_MAP_64, tx, tx + 0x1000, 1]).success();
                sp.call([RXTX_UNMAP]).success();
                let outcome = sp.fault(fault);
                assert_eq!(outcome.is_ok(), is_tried_again, "{fault}");
                assert_eq!(sp.fault(fault), Err(fault), "nothing has changed since");
            }
            request.payload()
        })
    })]);
    assert_eq!(system.nwd().ask(SP1, [3; 5]), [3; 5]);
}
