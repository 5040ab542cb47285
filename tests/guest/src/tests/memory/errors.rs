//! Sends that the SPMC must refuse an owner in the Normal world. Each test takes a right
//! transaction, makes one thing wrong, and at the end sends the right one.

use crate::ffa::error::{DENIED, INVALID_PARAMETERS};
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{
    CONSTITUENTS, NORMAL_WB, NS, Receiver, Transaction, access, flag, layout,
};
use crate::ffa::{self, Answer, NOBODY, NWD, SP1, SP2, SPMC, id};
use crate::nwd::{self, Nwd, Test, page};
use crate::rt::check::{Check, equal, holds};
use crate::support::sharing::{receiver, transaction};
use crate::{board, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        send_receivers,
        "Memory is sent to partitions that exist, once each, by its owner"
    ),
    test!(
        send_permissions,
        "Permissions, attributes and flags that a send may not have"
    ),
    test!(send_shape, "Descriptors that contradict themselves"),
    test!(send_ranges, "Ranges that are no memory of the Normal world"),
    test!(send_registers, "Lengths and buffers of the send calls"),
    test!(
        send_of_lend_and_donate,
        "Lend and donate have rules of their own"
    ),
    test!(reclaim_errors, "Handles and flags that cannot be reclaimed"),
];

const FUNCTIONS: [u32; 3] = [id::MEM_SHARE_64, id::MEM_LEND_64, id::MEM_DONATE_64];

/// A page of the Normal world.
const PAGE: (u64, u32) = (page(30), 1);

/// Checks that the transaction is refused with `code` by `function`.
#[track_caller]
fn refuse(function: u32, wrong: &Transaction, code: i32) -> Check {
    ffa::refused(&nwd::caller().send(function, wrong), code)
}

/// Returns a transaction that `function` accepts.
fn good<'a>(function: u32, receivers: &'a [Receiver], ranges: &'a [(u64, u32)]) -> Transaction<'a> {
    let attributes = if function == id::MEM_SHARE_64 {
        NORMAL_WB
    } else {
        0
    };
    Transaction {
        attributes,
        ..transaction(receivers, ranges)
    }
}

/// Returns a receiver that `function` accepts.
fn sp1(function: u32) -> Receiver {
    let permission = if function == id::MEM_DONATE_64 {
        access::NOT_SPECIFIED
    } else {
        access::RW
    };
    receiver(SP1, permission)
}

/// Checks that the failed calls changed nothing: the page can still be sent.
#[track_caller]
fn still_works() -> Check {
    for function in FUNCTIONS {
        let receivers = [sp1(function)];
        let handle = nwd::caller().sent(function, &good(function, &receivers, &[PAGE]))?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

// req: MEMD-62, MEMD-63, MEMD-68, MEMD-71, MEMO-10, MEMO-11, MEMO-14, MEMO-21, MEMX-07, MEMX-10
// req: MEMX-16, MEMX-18, GEN-30
fn send_receivers(_: &Nwd) -> Check {
    for function in FUNCTIONS {
        let fine = sp1(function);
        for nobody in [NOBODY, NWD, SPMC, 0xffff, 0x1234] {
            let receivers = [Receiver { id: nobody, ..fine }];
            refuse(
                function,
                &good(function, &receivers, &[PAGE]),
                INVALID_PARAMETERS,
            )?;
        }
        for list in [
            [fine, fine],
            [fine, Receiver { id: NOBODY, ..fine }],
            [fine, Receiver { id: NWD, ..fine }],
        ] {
            refuse(
                function,
                &good(function, &list, &[PAGE]),
                INVALID_PARAMETERS,
            )?;
        }
        refuse(function, &good(function, &[], &[PAGE]), INVALID_PARAMETERS)?;
        let receivers = [fine];
        let sent = good(function, &receivers, &[PAGE]);
        for sender in [SP1, SP2, SPMC] {
            refuse(function, &Transaction { sender, ..sent }, DENIED)?;
        }
        refuse(
            function,
            &Transaction { handle: 1, ..sent },
            INVALID_PARAMETERS,
        )?;
    }
    still_works()
}

// req: MEMD-17, MEMD-18, MEMD-19, MEMD-20, MEMD-24, MEMD-28, MEMD-41, MEMD-42, MEMD-48, MEMD-49
// req: MEMD-52, MEMD-78, MEMD-80, MEMD-81
// req: MEMD-94, MEMS-05, MEMS-06, MEMO-02, TIME-01, TIME-09
fn send_permissions(_: &Nwd) -> Check {
    for function in FUNCTIONS {
        let fine = sp1(function);
        for wrong in [access::X, access::XN, 3 << 2, 1 << 4, 1 << 7] {
            let receivers = [Receiver {
                access: fine.access | wrong,
                ..fine
            }];
            refuse(
                function,
                &good(function, &receivers, &[PAGE]),
                INVALID_PARAMETERS,
            )?;
        }
        let receivers = [Receiver { access: 3, ..fine }];
        refuse(
            function,
            &good(function, &receivers, &[PAGE]),
            INVALID_PARAMETERS,
        )?;
        for flags in [1, 1 << 7] {
            let receivers = [Receiver { flags, ..fine }];
            refuse(
                function,
                &good(function, &receivers, &[PAGE]),
                INVALID_PARAMETERS,
            )?;
        }
        let receivers = [fine];
        let sent = good(function, &receivers, &[PAGE]);
        for bit in [
            flag::TIME_SLICE,
            1 << 2,
            1 << 5,
            1 << 9,
            flag::BYPASS,
            1 << 31,
        ] {
            refuse(
                function,
                &Transaction { flags: bit, ..sent },
                INVALID_PARAMETERS,
            )?;
        }
        for attributes in [NS, 1 << 7, 1 << 15, 3 << 4] {
            let wrong = Transaction {
                attributes: sent.attributes | attributes,
                ..sent
            };
            refuse(function, &wrong, INVALID_PARAMETERS)?;
        }
    }

    let share = id::MEM_SHARE_64;
    let receivers = [receiver(SP1, access::NOT_SPECIFIED)];
    refuse(share, &good(share, &receivers, &[PAGE]), INVALID_PARAMETERS)?;
    let receivers = [sp1(share)];
    let sent = good(share, &receivers, &[PAGE]);
    refuse(
        share,
        &Transaction {
            flags: flag::ZERO,
            ..sent
        },
        INVALID_PARAMETERS,
    )?;
    // Reserved cacheability and shareability of Normal memory.
    for attributes in [0x23, 0x2b, 0x2d] {
        refuse(
            share,
            &Transaction { attributes, ..sent },
            INVALID_PARAMETERS,
        )?;
    }
    still_works()
}

/// Encodes a share of one page, writes `bytes` over it at `offset`, and sends it.
fn patched(offset: usize, bytes: &[u8]) -> Answer {
    let function = id::MEM_SHARE_64;
    let receivers = [sp1(function)];
    let caller = nwd::caller();
    let length = good(function, &receivers, &[PAGE]).encode(caller.version, caller.tx) as u64;
    caller.tx.write(offset, bytes);
    ffa::call(function, &[length, length])
}

// req: MEMD-02, MEMD-03, MEMD-04, MEMD-05, MEMD-06, MEMD-07, MEMD-22, MEMD-23, MEMD-59, MEMD-60
// req: MEMD-61, MEMD-67, MEMD-69, MEMD-70, GEN-28
fn send_shape(_: &Nwd) -> Check {
    let layout = layout(nwd::caller().version);
    let composite = layout.composite(1);
    let constituent = composite + CONSTITUENTS;
    let emad = layout.receivers;
    let word = |value: u32| value.to_le_bytes();
    let patches: &[(usize, [u8; 4])] = &[
        (24, word(0)), // size of a receiver
        (24, word(8)),
        (24, word(24)),
        (24, word(u32::MAX)),
        (28, word(0)), // number of receivers
        (28, word(2)),
        (28, word(u32::MAX)),
        (32, word(0)), // where they are
        (32, word(40)),
        (32, word(49)),
        (32, word(0x1000)),
        (32, word(u32::MAX)),
        (36, word(1)), // reserved
        (40, word(1)),
        (44, word(1 << 31)),
        (emad + 4, word(0)), // where the composite descriptor is
        (emad + 4, word(emad as u32)),
        (emad + 4, word(composite as u32 + 4)),
        (emad + 4, word(composite as u32 + 16)),
        (emad + 4, word(0x1000)),
        (emad + 4, word(u32::MAX)),
        (emad + 24, word(1)), // reserved
        (emad + 28, word(1)),
        (composite, word(0)), // number of pages
        (composite, word(2)),
        (composite, word(u32::MAX)),
        (composite + 4, word(0)), // number of ranges
        (composite + 4, word(2)),
        (composite + 4, word(u32::MAX)),
        (composite + 8, word(1)), // reserved
        (composite + 12, word(1)),
        (constituent, word(PAGE.0 as u32 + 8)), // address
        (constituent, word(PAGE.0 as u32 + 0x800)),
        (constituent + 4, word(u32::MAX)),
        (constituent + 8, word(0)), // pages
        (constituent + 8, word(2)),
    ];
    for (offset, bytes) in patches {
        ffa::refused(&patched(*offset, bytes), INVALID_PARAMETERS)?;
    }
    still_works()
}

// req: MEMD-06, MEMD-08, MEMD-10, MEMO-07, MEMO-19, GEN-03, GEN-23, MEMX-18
fn send_ranges(_: &Nwd) -> Check {
    const MAX: u64 = !0xfff;
    for function in FUNCTIONS {
        let receivers = [sp1(function)];
        for ranges in [
            [(PAGE.0, 1), (PAGE.0, 1)],
            [(PAGE.0, 2), (PAGE.0 + 0x1000, 1)],
            [(PAGE.0 + 0x1000, 2), (PAGE.0, 2)],
        ] {
            refuse(
                function,
                &good(function, &receivers, &ranges),
                INVALID_PARAMETERS,
            )?;
        }
        for (address, pages) in [(MAX, 1), (MAX, 2), (MAX, u32::MAX), (1 << 52, 1)] {
            let wrong =
                nwd::caller().send(function, &good(function, &receivers, &[(address, pages)]));
            equal(wrong[0], id::ERROR)?;
        }
        // Memory of the SPMC, of both partitions and of EL3, the secure and the normal UART, and no
        // memory at all.
        for address in [
            board::SPMC,
            board::package(0),
            board::package(1),
            board::EL3[2],
            board::SECURE_UART,
            board::NORMAL_UART,
            board::HOLE,
        ] {
            for ranges in [[PAGE, (address, 1)], [(address, 1), PAGE]] {
                let wrong = nwd::caller().send(function, &good(function, &receivers, &ranges));
                equal(wrong[0], id::ERROR)?;
                let code = wrong[2] as i32;
                holds(code == DENIED || code == INVALID_PARAMETERS, wrong[2])?;
            }
        }
        // The SPMC uses the buffers.
        for address in [nwd::TX.address(), nwd::RX.address()] {
            refuse(
                function,
                &good(function, &receivers, &[(address, 1)]),
                DENIED,
            )?;
        }
    }
    still_works()
}

// req: FRAG-02, FRAG-03, MEMX-01, MEMX-03, MEMX-04, MEMX-05, MEMX-06, GEN-28
fn send_registers(_: &Nwd) -> Check {
    let function = id::MEM_SHARE_64;
    let receivers = [sp1(function)];
    let caller = nwd::caller();
    let length = good(function, &receivers, &[PAGE]).encode(caller.version, caller.tx) as u64;
    for (total, fragment) in [
        (0, 0),
        (length, length + 16),
        (length - 16, length - 16),
        (length + 16, length + 16),
        (32, 32),
        (0x1010, 0x1010),
        (0xffff_ffff, 0xffff_ffff),
        (length, 0),
    ] {
        ffa::refused(&ffa::call(function, &[total, fragment]), INVALID_PARAMETERS)?;
    }
    for buffer in [[1, 0], [0, 1]] {
        let call = ffa::call(function, &[length, length, buffer[0], buffer[1]]);
        ffa::refused(&call, INVALID_PARAMETERS)?;
    }
    let own_buffer = ffa::call(function, &[length, length, page(31), 1]);
    ffa::refused(&own_buffer, INVALID_PARAMETERS)?;
    still_works()
}

// req: MEMD-35, MEMD-42, MEMD-54, MEMD-68, MEMDN-01, MEMDN-04, MEML-05
fn send_of_lend_and_donate(_: &Nwd) -> Check {
    for function in [id::MEM_LEND_64, id::MEM_DONATE_64] {
        let receivers = [sp1(function)];
        let sent = good(function, &receivers, &[PAGE]);
        refuse(
            function,
            &Transaction {
                attributes: NORMAL_WB,
                ..sent
            },
            INVALID_PARAMETERS,
        )?;
    }
    for permission in [access::RO, access::RW] {
        let receivers = [receiver(SP1, permission)];
        refuse(
            id::MEM_DONATE_64,
            &good(id::MEM_DONATE_64, &receivers, &[PAGE]),
            INVALID_PARAMETERS,
        )?;
    }
    let receivers = [receiver(SP1, 0), receiver(SP2, 0)];
    refuse(
        id::MEM_DONATE_64,
        &good(id::MEM_DONATE_64, &receivers, &[PAGE]),
        INVALID_PARAMETERS,
    )?;
    let receivers = [receiver(SP1, access::NOT_SPECIFIED)];
    refuse(
        id::MEM_LEND_64,
        &good(id::MEM_LEND_64, &receivers, &[PAGE]),
        INVALID_PARAMETERS,
    )?;
    still_works()
}

// req: MEMRC-03, MEMRC-04, MEMRC-16, MEMD-15
fn reclaim_errors(_: &Nwd) -> Check {
    let receivers = [sp1(id::MEM_SHARE_64)];
    let handle = nwd::caller().sent(
        id::MEM_SHARE_64,
        &good(id::MEM_SHARE_64, &receivers, &[PAGE]),
    )?;
    for wrong in [
        handle + 1,
        handle | 1 << 62,
        handle | 1 << 63,
        u64::MAX,
        !handle,
    ] {
        ffa::refused(&reclaim(wrong, 0), INVALID_PARAMETERS)?;
    }
    for flags in [1 << 1, 1 << 2, 1 << 31] {
        ffa::refused(&reclaim(handle, flags), INVALID_PARAMETERS)?;
    }
    ffa::done(&reclaim(handle, 0))?;
    still_works()
}
