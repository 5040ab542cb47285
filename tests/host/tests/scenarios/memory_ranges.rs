//! Regions of many ranges, and of large ranges.

use host_tests::ffa::*;
use spmc::addr::World::NonSecure;

use crate::stage::{SP1, Stage};

// req: MEMRQ-07, MEMRQ-14, MEMX-04, MEMD-01, MEMD-02, MEMD-05, MEMX-20
#[test]
fn many_constituents_keep_their_order() {
    let stage = Stage::new();
    let before = stage.system.snapshot();
    let nwd = stage.nwd();
    // As many ranges as fit into one page.
    let ranges: Vec<(u64, u32)> = (0..248)
        .map(|n| (0x4200_0000 + (n * 97 % 248) * 0x4000, 1 + (n % 3) as u32))
        .collect();
    let handle = nwd.send(MEM_SHARE_64, &Transaction::share(0, SP1, RW, &ranges));
    let response = stage
        .retrieve(SP1, Transaction::retrieve(0, SP1, handle, RW))
        .unwrap();
    assert_eq!(response.constituents, ranges);
    stage.run(SP1, move |sp| {
        for (base, pages) in ranges {
            let end = base + u64::from(pages) * 0x1000;
            assert!(sp.poke(NonSecure, base, 1) && sp.poke(NonSecure, end - 1, 1));
            assert!(!sp.poke(NonSecure, end, 1) && !sp.poke(NonSecure, base - 1, 1));
        }
    });
    stage.relinquish(SP1, handle);
    nwd.reclaim(handle).success();
    assert_eq!(before, stage.system.snapshot());
}

// req: MEMRQ-07, MEMRL-14, MEMD-06, MEMO-06
#[test]
fn large_regions_of_any_alignment() {
    let stage = Stage::new();
    let before = stage.system.snapshot();
    let nwd = stage.nwd();
    for (base, pages) in [
        (0x4200_0000, 512),
        (0x4200_0000, 1024),
        (0x421f_f000, 514),
        (0x4200_1000, 511),
        (0x4300_0000, 0x8000),
        (0x42ff_f000, 0x8002),
    ] {
        let handle = nwd.send(
            MEM_LEND_64,
            &Transaction::lend(0, SP1, RW, &[(base, pages)]),
        );
        let request = Transaction {
            attributes: 0,
            ..Transaction::retrieve(0, SP1, handle, RW)
        };
        stage.retrieve(SP1, request).unwrap();
        stage.run(SP1, move |sp| {
            let end = base + u64::from(pages) * 0x1000;
            for inside in [base, base + 0x1234, end - 1, base + (end - base) / 2] {
                assert!(sp.poke(NonSecure, inside, 1), "{inside:#x}");
            }
            assert!(!sp.poke(NonSecure, end, 1) && !sp.poke(NonSecure, base - 1, 1));
        });
        stage.relinquish(SP1, handle);
        stage.run(SP1, move |sp| assert!(!sp.poke(NonSecure, base, 1)));
        nwd.reclaim(handle).success();
        assert_eq!(before, stage.system.snapshot());
    }
}
