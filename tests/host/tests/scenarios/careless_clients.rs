//! Descriptors in which public clients of other SPMCs leave what was on their stack.

use host_tests::ffa::*;
use host_tests::system::NWD_PAGES;

use crate::stage::{OWN_PAGES, SP1, SP2, Stage};

/// Returns the three sends of three pages to SP2, with garbage in the reserved field of each range.
fn sends(sender: u16, page: u64, layout: Layout) -> [(u64, Transaction, Vec<u8>); 3] {
    let pages = [(page, 1), (page + 0x2000, 2)];
    [
        (MEM_SHARE_64, Transaction::share(sender, SP2, RW, &pages)),
        (MEM_LEND_64, Transaction::lend(sender, SP2, RW, &pages)),
        (MEM_DONATE_64, Transaction::donate(sender, SP2, &pages)),
    ]
    .map(|(function, transaction)| {
        let mut bytes = transaction.encode(layout);
        let ranges = transaction.composite_offset(layout) + 16;
        for (n, garbage) in [0xffff_ffff_u32, 0x8000_0001].into_iter().enumerate() {
            let at = ranges + 16 * n + 12;
            bytes[at..at + 4].copy_from_slice(&garbage.to_le_bytes());
        }
        (function, transaction, bytes)
    })
}

/// Lets SP2 retrieve what was sent. The response has no garbage, which its decoder checks.
fn retrieves(stage: &Stage, sent: &Transaction, handle: u64) {
    let request = Transaction {
        attributes: sent.attributes,
        ..Transaction::retrieve(sent.sender, SP2, handle, RW)
    };
    let told = stage.retrieve(SP2, request).unwrap();
    assert_eq!(told.constituents, sent.constituents);
}

// req: MEMD-06, MEMD-07, MEMRC-01
#[test]
fn reserved_fields_of_ranges_are_ignored_and_not_passed_on() {
    for version in [0, 1, 2, 3] {
        let stage = Stage::with(|spec| spec.version(version));
        for (function, sent, bytes) in sends(0, NWD_PAGES, Layout::V1_2) {
            let handle = stage.nwd().memory_call(function, &bytes).handle();
            retrieves(&stage, &sent, handle);
            if function != MEM_DONATE_64 {
                stage.relinquish(SP2, handle);
                stage.nwd().reclaim(handle).success();
            }
        }
        let (base, layout) = stage.run(SP1, |sp| (sp.base(), sp.layout));
        for (function, sent, bytes) in sends(SP1, base + OWN_PAGES, layout) {
            let handle = stage.run(SP1, move |sp| sp.memory_call(function, &bytes).handle());
            retrieves(&stage, &sent, handle);
            if function != MEM_DONATE_64 {
                stage.relinquish(SP2, handle);
                stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
            }
        }
    }
}
