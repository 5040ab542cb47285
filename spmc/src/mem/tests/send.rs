//! Descriptors to send memory that are refused.

use super::*;

// req: MEMX-01, MEMX-04, MEMX-05, MEMX-06, FRAG-02, MEMRQ-03, MEMRC-04, MEMRL-01, MEMX-03, MEMRQ-02
#[test]
fn registers_that_are_not_as_they_should_be() {
    let machine = Machine::new();
    let offer = Descriptor::share(NS, A, RAM + 0x5000, 1).bytes(Version::V1_1);
    let length = offer.len() as u64;
    let handle = machine
        .send(NS, SHARE, &Descriptor::share(NS, A, RAM + 0x9000, 1))
        .unwrap();
    let request = Descriptor::request(NS, handle, A, RW).bytes(Version::V1_1);
    machine.put_tx(A, &request);
    machine.put_tx(NS, &offer);
    for n in 3..5 {
        let wrong = |function: u32, length: u64| {
            let mut frame = SmcFrame::new([function as u64, length, length]);
            frame.x[n] = 1;
            frame
        };
        machine.refuses(InvalidParameters, || machine.call(NS, wrong(SHARE, length)));
        machine.refuses(InvalidParameters, || {
            machine.call(
                A,
                wrong(function::MEM_RETRIEVE_REQ_64, request.len() as u64),
            )
        });
    }
    let mut high = SmcFrame::new([SHARE as u64, length, length]);
    high.x[3] = 1 << 32;
    machine.refuses(InvalidParameters, || machine.call(NS, high));
    high.x[0] = function::MEM_SHARE_32 as u64;
    let other = machine.call(NS, high).unwrap();
    machine
        .reclaim(NS, other.x[3] << 32 | other.x[2], 0)
        .unwrap();
    for (total, fragment) in [
        (length, length - 8),
        (length, length - 32),
        (length, 0),
        (length, length + 16),
        (length + 16, length + 16),
        (length - 16, length - 16),
        (4112, 4112),
        (0, 0),
        (8, 8),
    ] {
        let frame = SmcFrame::new([SHARE as u64, total, fragment]);
        machine.refuses(InvalidParameters, || machine.call(NS, frame));
    }
    for flags in [2, 4, 1 << 31] {
        machine.refuses(InvalidParameters, || machine.reclaim(NS, handle, flags));
    }
}

// req: MEMX-04, RXTX-27
#[test]
fn buffers_that_are_not_there() {
    let machine = Machine::new();
    let buffers = machine.of(A).mailbox.lock().unmap().unwrap();
    machine.refuses(InvalidParameters, || {
        machine.call(A, SmcFrame::new([SHARE as u64, 96, 96]))
    });
    machine.refuses(InvalidParameters, || {
        machine.call(
            A,
            SmcFrame::new([function::MEM_RETRIEVE_REQ_32 as u64, 64, 64]),
        )
    });
    machine.refuses(InvalidParameters, || {
        machine.call(A, SmcFrame::new([function::MEM_RELINQUISH as u64]))
    });
    // TX has several pages, and the descriptor needs them all.
    let long = PageRange::new(buffers.tx.base(), 4).unwrap();
    let mailbox = &machine.of(A).mailbox;
    mailbox
        .lock()
        .map(crate::partition::mailbox::Buffers {
            tx: long,
            rx: long,
            ..buffers
        })
        .unwrap();
    let ranges: Vec<_> = (0..600).map(|n| (RAM + n * 0x1000, 1)).collect();
    let foreign = Descriptor::offer(A, WB, &[(B, RW)], &ranges).bytes(Version::V1_2);
    machine.refuses(Denied, || machine.call_with(A, SHARE, &foreign));
    machine.refuses(InvalidParameters, || {
        machine.call(A, SmcFrame::new([SHARE as u64, 0x4010, 0x4010]))
    });
}

/// Returns an offer of the Normal world that shares two ranges with two partitions.
fn offer_to_two() -> Descriptor {
    let ranges = [(RAM + 0x5000, 2), (RAM + 0x9000, 1)];
    Descriptor::offer(NS, WB, &[(A, RW), (B, RO)], &ranges)
}

// req: MEMD-01, MEMD-02, MEMD-03, MEMD-04, MEMD-05, MEMD-06, MEMD-07, MEMD-08, MEMD-23, MEMD-59
// req: MEMD-60, MEMD-67, MEMD-70, MEMX-06
#[test]
fn descriptors_that_are_malformed() {
    for version in VERSIONS {
        let machine = Machine::with(&[version], 7, 2);
        let good = offer_to_two();
        let bytes = good.bytes(version);
        let (header, size) = if version < Version::V1_1 {
            (32, 16)
        } else {
            (48, if version < Version::V1_2 { 16 } else { 32 })
        };
        let composite = header + 2 * size;
        // Bytes that must be zero.
        let mut zeros = vec![composite + 8, composite + 15, 8, 15];
        if header == 32 {
            zeros.extend([3, 24, 27, header + 8, header + 15, header + 24]);
        } else {
            zeros.extend([36, 47]);
            zeros.extend(if size == 16 {
                [header + 8, header + 31]
            } else {
                [header + 24, header + 63]
            });
        }
        for at in zeros {
            let mut wrong = bytes.clone();
            wrong[at] = 1;
            machine.refuses(InvalidParameters, || machine.call_with(NS, SHARE, &wrong));
        }
        // Sizes, counts and offsets are off by one, or at the ends of their ranges.
        let mut fields = vec![28, composite, composite + 4, header + 4];
        if header == 48 {
            fields.extend([24, 32]);
        }
        for at in fields {
            let value = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            for value in [
                0,
                value - 1,
                value + 1,
                value + 16,
                value + 8,
                0x7fff_ffff,
                u32::MAX,
                u32::MAX - 15,
            ] {
                if (at, value) == (28, 1) {
                    // This is valid: one receiver, and a gap behind its entry.
                    continue;
                }
                let mut wrong = bytes.clone();
                wrong[at..at + 4].copy_from_slice(&value.to_le_bytes());
                machine.refuses(InvalidParameters, || machine.call_with(NS, SHARE, &wrong));
            }
        }
        // Every length but the right one.
        for length in (0..bytes.len()).chain([bytes.len() + 1, bytes.len() + 16]) {
            let mut wrong = bytes.clone();
            wrong.resize(length, 0);
            machine.refuses(InvalidParameters, || machine.call_with(NS, SHARE, &wrong));
        }
        let ranges: [&[(u64, u32)]; 12] = [
            &[(RAM + 0x5001, 1)],
            &[(RAM + 0x5800, 1)],
            &[(RAM + 0x5000, 0)],
            &[(RAM + 0x5000, 0), (RAM + 0x6000, 1)],
            &[(u64::MAX - 0xfff, 1)],
            &[(u64::MAX - 0xfff, 2)],
            &[(1 << 48, 1)],
            &[((1 << 48) - 0x1000, 2)],
            &[(RAM + 0x5000, (1 << 28) + 1)],
            &[(RAM + 0x5000, u32::MAX)],
            &[(RAM + 0x5000, 3), (RAM + 0x6000, 1)],
            &[(RAM + 0x6000, 1), (RAM + 0x9000, 1), (RAM + 0x5000, 2)],
        ];
        for ranges in ranges {
            let wrong = Descriptor::offer(NS, WB, &[(A, RW)], ranges);
            machine.refuses(InvalidParameters, || machine.send(NS, SHARE, &wrong));
        }
        // Addresses that nobody has.
        for range in [(1 << 39, 1), ((1 << 39) - 0x1000, 2), (RAM, 1 << 28)] {
            let wrong = Descriptor::offer(NS, WB, &[(A, RW)], &[range]);
            machine.refuses(Denied, || machine.send(NS, SHARE, &wrong));
        }
        for claimed in [0, 1, 2, 4, u32::MAX] {
            let wrong = good.clone().with(|d| d.pages = Some(claimed));
            machine.refuses(InvalidParameters, || machine.send(NS, SHARE, &wrong));
        }
        // The sum of the pages is 2^32 + 1, which must not count as 1.
        let wrong = Descriptor::offer(NS, WB, &[(A, RW)], &[(0, u32::MAX), (RAM, 2)])
            .with(|d| d.pages = Some(1));
        machine.refuses(InvalidParameters, || machine.send(NS, SHARE, &wrong));
        let handle = machine.send(NS, SHARE, &good).unwrap();
        machine.reclaim(NS, handle, 0).unwrap();
        // What is in the reserved fields of ranges does not matter.
        let mut careless = bytes.clone();
        for at in [composite + 16 + 12, composite + 32 + 12] {
            careless[at..at + 4].fill(0xa5);
        }
        machine.call_with(NS, SHARE, &careless).unwrap();
    }
}

// req: MEMD-16, MEMD-17, MEMD-18, MEMD-19, MEMD-21, MEMD-22, MEMD-24, MEMD-28, MEMD-35, MEMD-41
// req: MEMD-42, MEMD-48, MEMD-49, MEMD-52, MEMD-54, MEMD-63, MEMD-68
// req: MEMD-69, MEMD-71, MEMD-72, MEMD-78, MEMD-80, MEMD-81, MEMD-94, MEMX-10, MEMX-16, MEMO-21
// req: MEMDN-01, MEMDN-04, MEML-05, MEML-06, MEMS-06, TIME-01, MEMD-20
#[test]
fn offers_that_ask_for_what_is_not_allowed() {
    let machine = Machine::with(&[Version::V1_1], 7, 17);
    let page = RAM + 0x5000;
    let refuses = |error, function, wrong: Descriptor| {
        machine.refuses(error, || {
            machine.send(wrong.sender & 0x8fff, function, &wrong)
        })
    };
    let [share, lend, donate] = [
        (SHARE, Descriptor::share(NS, A, page, 1)),
        (LEND, Descriptor::lend(NS, A, page, 1)),
        (DONATE, Descriptor::donate(NS, A, page, 1)),
    ];
    let both = Descriptor::offer(NS, WB, &[(A, RW), (B, RW)], &[(page, 1)]);
    for (function, good) in [&share, &lend, &donate] {
        let refuses = |error, change: &dyn Fn(&mut Descriptor)| {
            refuses(error, *function, good.clone().with(change));
        };
        refuses(InvalidParameters, &|d| d.handle = 1);
        for bit in 1..32 {
            refuses(InvalidParameters, &|d| d.flags = 1 << bit);
        }
        for bit in 6..16 {
            refuses(InvalidParameters, &|d| d.attributes |= 1 << bit);
        }
        for attributes in [0x30, 0x23, 0x2d, 0x2b] {
            refuses(InvalidParameters, &|d| d.attributes = attributes);
        }
        refuses(InvalidParameters, &|d| d.entries.clear());
        for flags in [1, 2, 0x80] {
            refuses(InvalidParameters, &|d| d.entries[0].flags = flags);
        }
        for instruction in [XN, X, XN | X, 0x10, 0x80] {
            refuses(InvalidParameters, &|d| {
                d.entries[0].permissions |= instruction
            });
        }
        refuses(InvalidParameters, &|d| d.entries[0].permissions = 0b11);
        // Ids of no partition, of the SPMC, of the SPMD, of the Hypervisor and of a VM; then the
        // same receiver twice.
        for id in [0x8012, 0x8000, 0xffff, 0, 7] {
            refuses(InvalidParameters, &|d| d.entries[0].id = id);
        }
        refuses(InvalidParameters, &|d| d.entries.push(d.entries[0].clone()));
        refuses(InvalidParameters, &|d| d.entries[0].offset = Some(0));
    }
    refuses(
        InvalidParameters,
        SHARE,
        share.1.clone().with(|d| d.flags = 1),
    );
    refuses(
        InvalidParameters,
        SHARE,
        share.1.clone().with(|d| d.entries[0].permissions = 0),
    );
    refuses(
        InvalidParameters,
        LEND,
        lend.1.clone().with(|d| d.entries[0].permissions = 0),
    );
    refuses(
        InvalidParameters,
        DONATE,
        donate.1.clone().with(|d| d.entries[0].permissions = RW),
    );
    refuses(
        InvalidParameters,
        LEND,
        lend.1.clone().with(|d| d.attributes = WB),
    );
    refuses(
        InvalidParameters,
        DONATE,
        donate.1.clone().with(|d| d.attributes = WB),
    );
    refuses(
        InvalidParameters,
        DONATE,
        donate.1.clone().with(|d| d.entries.push(entry(B, 0))),
    );
    // The owner must give the attributes where it decides on them, and not more permissive ones
    // than it has: outer shareable is more permissive than inner shareable.
    for attributes in [0, 0x2e] {
        refuses(
            Denied,
            SHARE,
            share.1.clone().with(|d| d.attributes = attributes),
        );
        refuses(
            Denied,
            LEND,
            both.clone().with(|d| d.attributes = attributes),
        );
    }
    refuses(
        InvalidParameters,
        SHARE,
        both.clone().with(|d| d.entries[1].offset = Some(96)),
    );
    let many: Vec<_> = (0..17).map(|n| (A + n, RO)).collect();
    assert!(many.len() > MAX_BORROWERS);
    refuses(
        NoMemory,
        SHARE,
        Descriptor::offer(NS, WB, &many, &[(page, 1)]),
    );
    let handle = machine
        .send(
            NS,
            SHARE,
            &Descriptor::offer(NS, WB, &many[1..], &[(page, 1)]),
        )
        .unwrap();
    machine.reclaim(NS, handle, 0).unwrap();
    // A partition cannot send for another one, to itself, or to the Normal world.
    let own = home(A) + 0x5000;
    for (sender, receiver, error) in [
        (B, C, Denied),
        (NS, B, Denied),
        (A, A, InvalidParameters),
        (A, NS, Denied),
        (A, 5, Denied),
    ] {
        for (function, wrong) in [
            (SHARE, Descriptor::share(sender, receiver, own, 1)),
            (LEND, Descriptor::lend(sender, receiver, own, 1)),
            (DONATE, Descriptor::donate(sender, receiver, own, 1)),
        ] {
            machine.refuses(error, || machine.send(A, function, &wrong));
        }
    }
    machine.refuses(Denied, || {
        machine.send(NS, SHARE, &Descriptor::share(A, B, own, 1))
    });
}

// req: MEMRC-05, MEMO-06, MEMO-10, MEMO-15, MEMO-25, MEMO-27, MEMO-28, MEMD-10, MEMD-11, MEMD-29
// req: MEMD-79, MEML-07, MEMS-04, MEMX-09, MEMX-19, MEMX-17, RXTX-20
#[test]
fn memory_that_is_not_its_senders_alone() {
    let machine = Machine::new();
    let free = home(A) + 0x40000;
    let (ro, device, fixed) = (0x0f00_0000, 0x0f01_0000, 0x0f02_0000);
    {
        let mut space = machine.of(A).memory.lock();
        let mut map = |base, attributes, state| {
            space
                .map(
                    &machine.hal,
                    pages(base, 1),
                    World::Secure,
                    attributes,
                    state,
                )
                .unwrap();
        };
        map(
            ro,
            Attributes::normal(Permissions::READ),
            State::OwnerExclusive,
        );
        map(
            device,
            Attributes::device(Permissions::READ | Permissions::WRITE),
            State::Fixed,
        );
        map(fixed, Attributes::normal(Permissions::all()), State::Fixed);
    }
    let shared = machine
        .send(A, SHARE, &Descriptor::share(A, B, home(A) + 0x10000, 1))
        .unwrap();
    let lent = machine
        .send(A, LEND, &Descriptor::lend(A, B, home(A) + 0x11000, 1))
        .unwrap();
    machine
        .send(A, DONATE, &Descriptor::donate(A, B, home(A) + 0x12000, 1))
        .unwrap();
    let borrowed = machine
        .send(B, SHARE, &Descriptor::share(B, A, home(B) + 0x10000, 1))
        .unwrap();
    machine
        .retrieve(A, &Descriptor::request(B, borrowed, A, RW))
        .unwrap();
    let lent_to = machine
        .send(B, LEND, &Descriptor::lend(B, A, home(B) + 0x11000, 1))
        .unwrap();
    machine
        .retrieve(A, &Descriptor::request(B, lent_to, A, RW))
        .unwrap();
    machine
        .retrieve(B, &Descriptor::request(A, shared, B, RW))
        .unwrap();
    machine
        .retrieve(B, &Descriptor::request(A, lent, B, RW))
        .unwrap();
    let not_own = [
        home(A) + 0x10000,
        home(A) + 0x11000,
        home(A) + 0x12000,
        home(B) + 0x10000,
        home(B) + 0x11000,
        home(B) + 0x20000,
        home(A),
        home(A) + 0x1000,
        device,
        fixed,
        0x0e10_0000,
        RAM + 0x5000,
    ];
    for page in not_own {
        for ranges in [
            vec![(page, 1)],
            vec![(free, 1), (page, 1)],
            vec![(page, 1), (free, 1)],
            vec![(free - 0x1000, 2), (page, 1), (free + 0x8000, 1)],
        ] {
            machine.refuses(Denied, || {
                machine.send(A, SHARE, &Descriptor::offer(A, WB, &[(C, RO)], &ranges))
            });
            machine.refuses(Denied, || {
                machine.send(A, LEND, &Descriptor::offer(A, 0, &[(C, RO)], &ranges))
            });
            machine.refuses(Denied, || {
                machine.send(A, DONATE, &Descriptor::offer(A, 0, &[(C, 0)], &ranges))
            });
        }
    }
    // Read-only memory can be shared only as read-only, and cannot be zeroed.
    machine.refuses(Denied, || {
        machine.send(A, SHARE, &Descriptor::share(A, B, ro, 1))
    });
    machine.refuses(Denied, || {
        machine.send(
            A,
            LEND,
            &Descriptor::offer(A, 0, &[(B, RO)], &[(ro, 1)]).with(|d| d.flags = 1),
        )
    });
    machine.refuses(Denied, || {
        machine.send(
            A,
            DONATE,
            &Descriptor::donate(A, B, ro, 1).with(|d| d.flags = 1),
        )
    });
    // All pages of a region must have the same attributes.
    machine.refuses(Denied, || {
        machine.send(
            A,
            SHARE,
            &Descriptor::offer(A, WB, &[(B, RO)], &[(ro, 1), (free, 1)]),
        )
    });
    let handle = machine
        .send(A, LEND, &Descriptor::offer(A, 0, &[(B, RO)], &[(ro, 1)]))
        .unwrap();
    machine.refuses(Denied, || machine.reclaim(A, handle, 1));
    machine.refuses(Denied, || {
        machine.retrieve(
            B,
            &Descriptor::request(A, handle, B, RO).with(|d| d.flags = 1),
        )
    });
    machine.reclaim(A, handle, 0).unwrap();
    // The Normal world cannot send its buffers, memory that it has shared, Secure memory, or
    // addresses without memory.
    machine
        .send(NS, SHARE, &Descriptor::share(NS, A, RAM + 0x40_0000, 600))
        .unwrap();
    for page in [
        RAM,
        RAM + 0x1000,
        RAM + 0x40_5000,
        RAM + 0x60_0000,
        home(A) + 0x30000,
        RAM - 0x1000,
        RAM + 0x4000_0000,
    ] {
        machine.refuses(Denied, || {
            machine.send(
                NS,
                SHARE,
                &Descriptor::offer(NS, WB, &[(B, RW)], &[(RAM + 0x8000, 1), (page, 1)]),
            )
        });
    }
    machine.refuses(Denied, || {
        machine.send(NS, LEND, &Descriptor::lend(NS, B, RAM + 0x3f_f000, 2))
    });
}

// req: MEMX-03, MEMX-10, RXTX-17
#[test]
fn damaged_descriptors_are_refused_or_mean_something_else() {
    let mut seed = 1_u64;
    let mut random = |limit: usize| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) as usize % limit
    };
    for version in VERSIONS {
        let machine = Machine::with(&[version], 7, 2);
        let good = offer_to_two();
        for _ in 0..250 {
            let mut bytes = good.bytes(version);
            for _ in 0..=random(3) {
                let at = random(bytes.len());
                bytes[at] ^= 1 << random(8);
            }
            let before = machine.snapshot();
            match machine.call_with(NS, SHARE, &bytes) {
                Ok(answer) => {
                    let handle = answer.x[3] << 32 | answer.x[2];
                    machine.reclaim(NS, handle, 0).unwrap();
                    let after = machine.snapshot();
                    assert_eq!((after.leaves, after.pools), (before.leaves, before.pools));
                }
                Err(error) => {
                    assert!(matches!(error, InvalidParameters | Denied | NoMemory));
                    assert_eq!(machine.snapshot(), before);
                }
            }
        }
    }
}
