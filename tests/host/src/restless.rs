//! Background activity for a race: a PE goes off and on, and a partition on it uses up its quota of
//! transactions and those that all endpoints share, fails in the middle, and starts again. In the
//! end everything is as before, so that a race can expect the same as without this activity.

use std::cell::Cell;

use vm_fdt::FdtWriter;

use crate::ffa::*;
use crate::guest::Sp;
use crate::manifest::PartitionSpec;
use crate::system::System;

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(false) };
}

/// More transactions than the partition's quota.
const SENDS: u64 = 12;

/// Adds the background activity to systems that are booted in `body`.
pub fn with<T>(body: impl FnOnce() -> T) -> T {
    struct Off;
    impl Drop for Off {
        fn drop(&mut self) {
            IS_ON.set(false);
        }
    }
    IS_ON.set(true);
    let _off = Off;
    body()
}

/// Returns the restless partition, if there is to be one.
pub(crate) fn partition() -> Option<PartitionSpec> {
    let restless = PartitionSpec::new("restless")
        .with(|spec| {
            spec.takes_exceptions = false;
            spec.extra = Some(std::sync::Arc::new(|fdt: &mut FdtWriter| {
                fdt.property_null("lifecycle-support").expect("a manifest");
            }));
        })
        .property("abort-action", 2)
        .script(|sp| {
            sp.map_buffers();
            sp.serve(|sp, _| fail(sp))
        });
    IS_ON.get().then_some(restless)
}

fn fail(sp: &mut Sp) -> [u64; 5] {
    for n in 0..SENDS {
        let page = sp.base() + 0x4_0000 + n * 0x1000;
        let share = Transaction::share(sp.id, 0x8001, RW, &[(page, 1)]);
        // Whether the share is accepted depends on all other endpoints.
        sp.memory_call(MEM_SHARE_64, &share.encode(sp.layout));
    }
    sp.trap(0);
    unreachable!("it has failed")
}

/// Does the work of the restless PE.
pub(crate) fn live(system: &System, id: u16) {
    // The last PE, on which races have no contexts.
    let pe = system.machine.pes() - 1;
    let nwd = system.pe(pe);
    system.turn_on(pe);
    let answer = nwd.request(id, [0; 5]);
    assert_eq!(answer.error(), Some(ABORTED), "{answer:?}");
    let cpu_off = 0x8400_0002;
    let answer = nwd.call([DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, cpu_off]);
    assert_eq!(answer.0[..4], [DIRECT_RESP_32, 0x8000_ffff, 0x8000_0002, 0]);
}
