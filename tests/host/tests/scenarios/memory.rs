//! Memory transactions end to end: share, lend and donate, retrieve, relinquish and reclaim.

use host_tests::Sp;
use host_tests::ffa::*;
use host_tests::system::NWD_PAGES;
use spmc::addr::World::{NonSecure, Secure};

use crate::stage::{
    ALL, NONE, OWN_PAGES, READ, READ_EXECUTE, READ_WRITE, SP1, SP2, SP3, Stage, TYPE_DONATE,
    TYPE_LEND, TYPE_SHARE,
};

// req: MEMS-01, MEMS-02, MEMS-03, MEMX-01, MEMX-02, MEMX-12, MEMX-17, MEMRQ-01, MEMRQ-07, MEMRQ-11
// req: MEMRQ-15, MEMRQ-17
// req: MEMRL-01, MEMRL-08, MEMRL-14, MEMRC-01, MEMRC-13, MEMO-22, MEMO-24, MEMO-28, MEMO-32
// req: MEMO-34, MEMO-35, MEMD-12, MEMD-14
// req: MEMD-65, MEMD-66, MEMD-93, MEMD-94, RXTX-13, GEN-13, MEMO-04, MEMO-07
#[test]
fn the_normal_world_shares_a_page() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let before = stage.system.snapshot();
    nwd.write(NWD_PAGES, b"from the Normal world");
    let mut share = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
    share.tag = 0x1234_5678_9abc_def0;
    let handle = nwd.send(MEM_SHARE_64, &share);
    assert_eq!(handle >> 63, 0);
    // The page is mapped by the retrieval only, and no other page is ever mapped.
    assert_eq!(stage.access(SP1, NonSecure, NWD_PAGES), NONE);
    let mut request = Transaction::retrieve(0, SP1, handle, RW);
    request.tag = share.tag;
    let response = stage.retrieve(SP1, request.clone()).unwrap();
    let mut expected = Transaction {
        attributes: NORMAL | NON_SECURE,
        flags: TYPE_SHARE,
        constituents: share.constituents.clone(),
        ..request.clone()
    };
    expected.receivers[0].permissions = RW | NX;
    expected.receivers[0].offset = response.receivers[0].offset;
    assert_eq!(response, expected);
    assert_eq!(stage.access(SP1, NonSecure, NWD_PAGES), READ_WRITE);
    assert_eq!(stage.access(SP1, NonSecure, NWD_PAGES + 0x1000), NONE);
    assert_eq!(stage.access(SP1, Secure, NWD_PAGES), NONE);
    assert_eq!(stage.access(SP2, NonSecure, NWD_PAGES), NONE);
    let seen = stage.run(SP1, |sp| {
        let mut text = [0; 21];
        sp.read(NonSecure, NWD_PAGES, &mut text).unwrap();
        sp.write(NonSecure, NWD_PAGES, b"from the partition")
            .unwrap();
        text
    });
    assert_eq!(&seen, b"from the Normal world");
    assert_eq!(nwd.read(NWD_PAGES, 18), b"from the partition");

    assert_eq!(nwd.reclaim(handle).error(), Some(DENIED));
    assert_eq!(
        stage.run(SP1, move |sp| sp.relinquish(handle, 0)).success(),
        [0; 6]
    );
    assert_eq!(stage.access(SP1, NonSecure, NWD_PAGES), NONE);
    assert_eq!(nwd.reclaim(handle).success(), [0; 6]);
    assert_eq!(nwd.reclaim(handle).error(), Some(INVALID_PARAMETERS));
    assert_eq!(stage.retrieve(SP1, request), Err(INVALID_PARAMETERS));
    assert_eq!(
        stage.run(SP1, move |sp| sp.relinquish(handle, 0)).error(),
        Some(INVALID_PARAMETERS)
    );
    assert_eq!(before, stage.system.snapshot(), "all is as it was");
}

// req: MEMS-02, MEMS-07, MEMRQ-11, MEMD-38, MEMD-40, MEMD-46, MEMD-57, MEMO-09, MEMRC-11, MEMD-33
#[test]
fn a_partition_shares_its_memory() {
    let stage = Stage::new();
    let before = stage.system.snapshot();
    for (granted, asked, got, access) in [
        (RO, RO, RO, READ),
        (RW, RO, RO, READ),
        (RW, RW, RW, READ_WRITE),
        (RW, 0, RW, READ_WRITE),
        (RO, 0, RO, READ),
    ] {
        let (handle, page) = stage.run(SP1, move |sp| {
            let page = sp.base() + OWN_PAGES;
            (
                sp.send(
                    MEM_SHARE_64,
                    &Transaction::share(SP1, SP2, granted, &[(page, 2)]),
                ),
                page,
            )
        });
        // The owner keeps its access.
        assert_eq!(stage.access(SP1, Secure, page), ALL);
        let response = stage
            .retrieve(SP2, Transaction::retrieve(SP1, SP2, handle, asked))
            .unwrap();
        assert_eq!(response.receivers[0].permissions, got | NX);
        assert_eq!(response.attributes, NORMAL, "secure");
        assert_eq!(response.constituents, [(page, 2)]);
        assert_eq!(stage.access(SP2, Secure, page), access);
        assert_eq!(stage.access(SP2, NonSecure, page), NONE);
        assert_eq!(stage.access(SP2, Secure, page + 0x2000), NONE);
        assert_eq!(stage.access(SP1, Secure, page), ALL);
        stage.relinquish(SP2, handle);
        assert_eq!(stage.access(SP2, Secure, page), NONE);
        stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
        assert_eq!(stage.access(SP1, Secure, page), ALL);
        assert_eq!(before, stage.system.snapshot());
    }
}

// req: MEML-01, MEML-02, MEML-03, MEML-05, MEML-08, MEMO-27, MEMO-29, MEMO-33, MEMO-35, MEMRQ-11
// req: MEMRQ-13, MEMRC-10, MEMRC-14
// req: MEMD-39, MEMD-47, MEMD-58, MEMX-20, MEMD-44
#[test]
fn a_partition_lends_its_memory() {
    let stage = Stage::new();
    let before = stage.system.snapshot();
    let lend = |sp: &mut Sp| {
        let page = sp.base() + OWN_PAGES;
        sp.poke(Secure, page, 0x77);
        (
            sp.send(MEM_LEND_32, &Transaction::lend(SP1, SP2, RW, &[(page, 1)])),
            page,
        )
    };
    // The owner reclaims the region before anybody retrieved it.
    let (handle, page) = stage.run(SP1, lend);
    assert_eq!(stage.access(SP1, Secure, page), NONE);
    stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
    assert_eq!(stage.access(SP1, Secure, page), ALL);
    assert_eq!(before, stage.system.snapshot());

    let (handle, page) = stage.run(SP1, lend);
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(SP1, SP2, handle, RW | NX)
    };
    for _ in 0..2 {
        let response = stage.retrieve(SP2, request.clone()).unwrap();
        assert_eq!((response.attributes, response.flags), (NORMAL, TYPE_LEND));
        assert_eq!(response.receivers[0].permissions, RW | NX);
        assert_eq!(stage.access(SP1, Secure, page), NONE);
        assert_eq!(stage.access(SP2, Secure, page), READ_WRITE);
        assert_eq!(stage.run(SP2, move |sp| sp.peek(Secure, page)), Some(0x77));
        assert_eq!(
            stage.run(SP1, move |sp| sp.reclaim(handle, 0)).error(),
            Some(DENIED)
        );
        stage.relinquish(SP2, handle);
        assert_eq!(stage.access(SP2, Secure, page), NONE);
        // The owner gets access back only by reclaiming.
        assert_eq!(stage.access(SP1, Secure, page), NONE);
    }
    stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
    assert_eq!(stage.access(SP1, Secure, page), ALL);
    assert_eq!(before, stage.system.snapshot());
}

// req: MEMD-42, MEMD-44, MEMD-45, MEMD-46, MEMD-20, MEMO-02
#[test]
fn who_borrows_alone_may_choose_execution_of_secure_memory() {
    let stage = Stage::new();
    let (handle, page) = stage.run(SP1, |sp| {
        let page = sp.base() + OWN_PAGES;
        (
            sp.send(MEM_LEND_64, &Transaction::lend(SP1, SP2, RW, &[(page, 1)])),
            page,
        )
    });
    let retrieve = |permissions| Transaction {
        attributes: 0,
        ..Transaction::retrieve(SP1, SP2, handle, permissions)
    };
    // Write and execute permission are never given together.
    stage.retrieve_refused(SP2, retrieve(RW | X), DENIED);
    stage.retrieve_refused(SP2, retrieve(X), DENIED);
    let response = stage.retrieve(SP2, retrieve(RO | X)).unwrap();
    assert_eq!(response.receivers[0].permissions, RO | X);
    assert_eq!(stage.access(SP2, Secure, page), READ_EXECUTE);
    stage.relinquish(SP2, handle);
    // Unspecified instruction access means not executable.
    assert_eq!(
        stage.retrieve(SP2, retrieve(RO)).unwrap().receivers[0].permissions,
        RO | NX
    );
    assert_eq!(stage.access(SP2, Secure, page), READ);
    // No partition executes memory of the Normal world.
    let handle = stage.nwd().send(
        MEM_LEND_64,
        &Transaction::lend(0, SP2, RO, &[(NWD_PAGES, 1)]),
    );
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(0, SP2, handle, RO | X)
    };
    stage.retrieve_refused(SP2, request, DENIED);
}

// req: MEMDN-01, MEMDN-02, MEMDN-03, MEMDN-04, MEMDN-05, MEMDN-06, MEMDN-08, MEMO-08, MEMO-11
// req: MEMO-25, MEMO-26, MEMO-31, MEMRL-16
#[test]
fn a_partition_donates_its_memory() {
    let stage = Stage::new();
    let before = stage.system.snapshot();
    let donate = |sp: &mut Sp| {
        let page = sp.base() + OWN_PAGES;
        (
            sp.send(MEM_DONATE_64, &Transaction::donate(SP1, SP2, &[(page, 1)])),
            page,
        )
    };
    let (handle, _) = stage.run(SP1, donate);
    stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
    assert_eq!(before, stage.system.snapshot());

    let (handle, page) = stage.run(SP1, donate);
    assert_eq!(stage.access(SP1, Secure, page), NONE);
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(SP1, SP2, handle, RW | NX)
    };
    let response = stage.retrieve(SP2, request.clone()).unwrap();
    assert_eq!(response.flags, TYPE_DONATE);
    assert_eq!(stage.access(SP2, Secure, page), READ_WRITE);
    // The handle is not valid any more.
    stage.retrieve_refused(SP2, request, INVALID_PARAMETERS);
    stage.run(SP1, move |sp| {
        sp.refused(
            [MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32],
            INVALID_PARAMETERS,
        );
        // The donor has no more rights to the page.
        let share = Transaction::share(SP1, SP3, RW, &[(page, 1)]).encode(sp.layout);
        sp.memory_refused(MEM_SHARE_64, &share, DENIED);
        assert_eq!(sp.peek(Secure, page), None);
    });
    assert_eq!(
        stage.run(SP2, move |sp| sp.relinquish(handle, 0)).error(),
        Some(INVALID_PARAMETERS)
    );
    // The new owner has all the rights of an owner, and may even donate the page back.
    let handle = stage.run(SP2, move |sp| {
        let handle = sp.send(
            MEM_SHARE_64,
            &Transaction::share(SP2, SP3, RO, &[(page, 1)]),
        );
        sp.reclaim(handle, 0).success();
        sp.send(MEM_DONATE_64, &Transaction::donate(SP2, SP1, &[(page, 1)]))
    });
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(SP2, SP1, handle, RW)
    };
    stage.retrieve(SP1, request).unwrap();
    assert_eq!(stage.access(SP1, Secure, page), READ_WRITE);
    assert_eq!(stage.access(SP2, Secure, page), NONE);
}

// req: MEMDN-07, MEMDN-06, MEMO-05
#[test]
fn the_normal_world_donates_memory() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let donate = Transaction::donate(0, SP1, &[(NWD_PAGES, 2)]);
    let handle = nwd.send(MEM_DONATE_64, &donate);
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(0, SP1, handle, 0)
    };
    let response = stage.retrieve(SP1, request).unwrap();
    assert_eq!(response.attributes, NORMAL | NON_SECURE);
    assert_eq!(response.receivers[0].permissions, RW | NX);
    assert_eq!(stage.access(SP1, NonSecure, NWD_PAGES + 0x1000), READ_WRITE);
    assert_eq!(stage.access(SP1, Secure, NWD_PAGES), NONE);
    // The page does not belong to the Normal world any more.
    for function in [MEM_SHARE_64, MEM_LEND_64, MEM_DONATE_64] {
        let again = match function {
            MEM_SHARE_64 => Transaction::share(0, SP2, RO, &[(NWD_PAGES, 1)]),
            MEM_LEND_64 => Transaction::lend(0, SP2, RO, &[(NWD_PAGES, 1)]),
            _ => Transaction::donate(0, SP2, &[(NWD_PAGES, 1)]),
        };
        nwd.memory_refused(function, &again.encode(Layout::V1_2), DENIED);
    }
    nwd.refused(
        [MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32],
        INVALID_PARAMETERS,
    );
    nwd.refused([RXTX_MAP_64, NWD_PAGES, NWD_PAGES + 0x1000, 1], DENIED);
    // The partition lends the pages on.
    let handle = stage.run(SP1, |sp| {
        sp.send(
            MEM_LEND_64,
            &Transaction::lend(SP1, SP2, RW, &[(NWD_PAGES, 2)]),
        )
    });
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(SP1, SP2, handle, RW)
    };
    let response = stage.retrieve(SP2, request).unwrap();
    assert_eq!(response.attributes & NON_SECURE, NON_SECURE);
    assert_eq!(stage.access(SP2, NonSecure, NWD_PAGES), READ_WRITE);
    assert_eq!(stage.access(SP1, NonSecure, NWD_PAGES), NONE);
}
