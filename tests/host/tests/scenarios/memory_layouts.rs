//! Transaction descriptors in the layout of the FF-A version of each side.

use host_tests::ffa::*;
use host_tests::system::NWD_PAGES;

use crate::stage::{OWN_PAGES, SP1, SP2, Stage};

// req: MEMD-61, MEMD-59, MEMD-60, MEMD-70, MEMD-94, MEMRQ-18, VER-09, RUN-07
#[test]
fn each_side_has_its_own_layout() {
    for sender in [V1_0, V1_1, V1_2] {
        for receiver in [V1_0, V1_1, V1_2] {
            let stage = Stage::with(move |spec| {
                let is_sender = spec.name == "sp1";
                spec.with(|sp| sp.version = if is_sender { sender } else { receiver } as u32)
            });
            let (handle, page) = stage.run(SP1, |sp| {
                let page = sp.base() + OWN_PAGES;
                (
                    sp.send(
                        MEM_SHARE_64,
                        &Transaction::share(SP1, SP2, RW, &[(page, 1), (page + 0x2000, 3)]),
                    ),
                    page,
                )
            });
            let response = stage
                .retrieve(SP2, Transaction::retrieve(SP1, SP2, handle, RW))
                .unwrap();
            assert_eq!(response.constituents, [(page, 1), (page + 0x2000, 3)]);
            assert_eq!(response.attributes, NORMAL);
            stage.relinquish(SP2, handle);
            // The security state of the memory is reported from 1.1 on.
            let nwd = stage.nwd();
            let handle = nwd.send(
                MEM_SHARE_64,
                &Transaction::share(0, SP2, RW, &[(NWD_PAGES, 1)]),
            );
            let response = stage
                .retrieve(SP2, Transaction::retrieve(0, SP2, handle, RW))
                .unwrap();
            let state = if receiver == V1_0 { 0 } else { NON_SECURE };
            assert_eq!(response.attributes, NORMAL | state);
        }
    }
}

// req: MEMD-94, FEAT-13
#[test]
fn a_1_0_receiver_is_told_the_security_state_if_it_asked_for_it() {
    let stage = Stage::with(|spec| spec.version(0));
    stage.run(SP1, |sp| {
        sp.call([FEATURES, MEM_RETRIEVE_REQ_64, 2]).success()
    });
    let handle = stage.nwd().send(
        MEM_SHARE_64,
        &Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]),
    );
    let response = stage
        .retrieve(SP1, Transaction::retrieve(0, SP1, handle, RW))
        .unwrap();
    assert_eq!(response.attributes, NORMAL | NON_SECURE);
}

// req: MEMD-59, MEMD-60, MEMD-61
#[test]
fn the_normal_world_sends_in_its_layout() {
    for version in [V1_0, V1_1, V1_2] {
        let stage = Stage::new();
        let nwd = stage.nwd();
        nwd.call([RXTX_UNMAP]).success();
        nwd.version(version);
        nwd.map_buffers();
        let share = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
        for layout in [Layout::V1_0, Layout::V1_1, Layout::V1_2] {
            // The layouts of 1.1 and 1.2 differ only in a size that the descriptor states.
            let fits = (layout == Layout::V1_0) == (version == V1_0);
            if fits {
                let handle = nwd
                    .memory_call(MEM_SHARE_32, &share.encode(layout))
                    .handle();
                nwd.reclaim(handle).success();
            } else {
                nwd.memory_refused(MEM_SHARE_32, &share.encode(layout), INVALID_PARAMETERS);
            }
        }
    }
}
