//! Memory transactions and partitions that are loaded again: what is in progress ends with the life
//! in which it began.

use std::sync::Arc;

use host_tests::Sp;
use host_tests::ffa::*;
use spmc::addr::World::Secure;

use crate::stage::{SP1, SP2, Stage};

const PAGES: u64 = 0x4200_0000;

/// Boots a stage on which SP1 fails at any fault and is then loaded again.
fn stage() -> Stage {
    Stage::with(|spec| {
        let restarts = spec.name == "sp1";
        let spec = spec.with(|sp| sp.takes_exceptions = false);
        if !restarts {
            return spec;
        }
        let spec = spec.property("abort-action", 2);
        spec.with(|sp| {
            sp.extra = Some(Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap()
            }));
        })
    })
}

fn scattered(count: u64) -> Vec<(u64, u32)> {
    (0..count).map(|n| (PAGES + n * 0x2000, 1)).collect()
}

/// Returns the arguments of a donation of all `ranges` through a buffer of two pages at `buffer`.
fn donation(bytes: &[u8], buffer: u64) -> [u64; 5] {
    let length = bytes.len() as u64;
    [MEM_DONATE_64, length, length, buffer, 2]
}

/// Donates so many ranges to SP1 that the response needs fragments. Returns the handle.
fn donated(stage: &Stage) -> u64 {
    let nwd = stage.nwd();
    let bytes = Transaction::donate(0, SP1, &scattered(300)).encode(Layout::V1_2);
    nwd.write(0x4400_0000, &bytes);
    nwd.call(donation(&bytes, 0x4400_0000)).handle()
}

/// Retrieves the donation of `donor` and reads the first fragment.
fn accept(sp: &mut Sp, donor: u16, handle: u64) {
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(donor, sp.id, handle, RW)
    };
    let answer = sp.memory_call(MEM_RETRIEVE_REQ_64, &request.encode(sp.layout));
    assert_eq!(answer.function(), MEM_RETRIEVE_RESP);
    assert!(answer.0[2] < answer.0[1], "{answer:?}");
    sp.call([RX_RELEASE]).success();
}

/// Reads the other fragment.
fn read_on(sp: &mut Sp, handle: u64) {
    let (low, high) = (handle & 0xffff_ffff, handle >> 32);
    let answer = sp.call([MEM_FRAG_RX, low, high, 4096]);
    assert_eq!(answer.function(), MEM_FRAG_TX);
    sp.call([RX_RELEASE]).success();
}
// req: MEMO-12, MEMD-75, FRAG-22
#[test]
fn nobody_goes_on_with_the_request_of_a_former_life() {
    let stage = stage();
    let nwd = stage.nwd();
    let ranges = scattered(2);
    let handle = nwd.send(MEM_LEND_64, &Transaction::lend(0, SP1, RW, &ranges));
    let (low, high) = (handle & 0xffff_ffff, handle >> 32);
    stage.run(SP1, move |sp| {
        let request = Transaction {
            attributes: 0,
            constituents: ranges,
            ..Transaction::retrieve(0, SP1, handle, RW)
        };
        let bytes = request.encode(sp.layout);
        sp.write(Secure, sp.tx(), &bytes).unwrap();
        let total = bytes.len() as u64;
        let asked = sp.call([MEM_RETRIEVE_REQ_64, total, total - 16]);
        assert_eq!(asked.0[..4], [MEM_FRAG_RX, low, high, total - 16]);
    });
    assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
    stage.run(SP1, move |sp| {
        let mut last = (PAGES + 0x2000).to_le_bytes().to_vec();
        last.extend(1_u64.to_le_bytes());
        sp.write(Secure, sp.tx(), &last).unwrap();
        sp.refused([MEM_FRAG_TX, low, high, 16], INVALID_PARAMETERS);
    });
    nwd.reclaim(handle).success();
}
// req: MEMO-12, FRAG-18
#[test]
fn a_donation_of_a_former_life_does_not_come_back() {
    let stage = stage();
    // Memory beside its own does not keep a partition from starting again.
    let first = donated(&stage);
    let second = stage.run(SP1, move |sp| {
        accept(sp, 0, first);
        read_on(sp, first);
        let bytes = Transaction::donate(SP1, SP2, &scattered(300)).encode(sp.layout);
        let buffer = sp.base() + 0x3_0000;
        sp.write(Secure, buffer, &bytes).unwrap();
        sp.call(donation(&bytes, buffer)).handle()
    });
    stage.run(SP2, move |sp| accept(sp, SP1, second));
    assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
    // The partition runs again, but is not the former donor.
    stage.run(SP1, |_| ());
    stage.run(SP2, move |sp| {
        assert_eq!(sp.relinquish(second, 0).error(), Some(DENIED));
        read_on(sp, second);
    });
    assert_eq!(stage.system.spmc.shares.live(), 0);
}

// req: MEMO-12, FRAG-18, MEMDN-06
#[test]
fn a_new_owner_that_dies_before_it_has_read_all_leaves_no_record() {
    let stage = stage();
    let handle = donated(&stage);
    stage.run(SP1, move |sp| accept(sp, 0, handle));
    assert_eq!(stage.system.spmc.shares.live(), 1);
    assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
    assert_eq!(stage.system.spmc.shares.live(), 0);
    // The partition runs again, but has nothing to read.
    stage.run(SP1, move |sp| {
        let (low, high) = (handle & 0xffff_ffff, handle >> 32);
        sp.refused([MEM_FRAG_RX, low, high, 4096], INVALID_PARAMETERS);
    });
}
