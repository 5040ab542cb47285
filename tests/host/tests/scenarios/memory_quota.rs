//! What one endpoint takes, others do not lack: slots for transactions, and pages for their lists and tables.

use host_tests::ffa::*;
use host_tests::system::NWD_PAGES;
use spmc::limits::{MAX_PARTITIONS, MAX_SHARES, SHARES_NORMAL_WORLD, SHARES_PARTITION};

use crate::stage::{OWN_PAGES, SP1, SP2, SP3, Stage};

const V12: Layout = Layout::V1_2;

/// Lets a partition share single pages with SP2 or SP3 until that is refused; how many it shared.
fn share_all(stage: &Stage, id: u16) -> usize {
    stage.run(id, move |sp| {
        let to = if id == SP2 { SP3 } else { SP2 };
        let base = sp.base() + OWN_PAGES;
        for n in 0.. {
            let share = Transaction::share(id, to, RW, &[(base + n * 0x1000, 1)]);
            let answer = sp.memory_call(MEM_SHARE_64, &share.encode(sp.layout));
            if let Some(code) = answer.error() {
                assert_eq!(code, NO_MEMORY);
                return n as usize;
            }
        }
        unreachable!()
    })
}

// M3. req: MEMX-11, MEMX-18
#[test]
fn nobody_takes_the_transactions_of_others() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let common = MAX_SHARES - SHARES_NORMAL_WORLD - MAX_PARTITIONS * SHARES_PARTITION;
    assert_eq!(share_all(&stage, SP1), common + SHARES_PARTITION);
    // Everybody else has its own quota, whole.
    let share = |n: u64| Transaction::share(0, SP2, RW, &[(NWD_PAGES + n * 0x1000, 1)]);
    let mut handles = Vec::new();
    for n in 0..SHARES_NORMAL_WORLD as u64 {
        handles.push(nwd.send(MEM_SHARE_64, &share(n)));
    }
    let one_more = share(SHARES_NORMAL_WORLD as u64).encode(V12);
    nwd.memory_refused(MEM_SHARE_64, &one_more, NO_MEMORY);
    for id in [SP2, SP3] {
        assert_eq!(share_all(&stage, id), SHARES_PARTITION);
    }
    // A VM that begins transactions and leaves them takes its Hypervisor's quota and nobody else's.
    nwd.reclaim(handles[5]).success();
    assert_eq!(share_all(&stage, SP3), 0);
    nwd.send(MEM_SHARE_64, &share(5));
}
