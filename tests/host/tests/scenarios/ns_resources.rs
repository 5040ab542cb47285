//! `FFA_NS_RES_INFO_GET`: what the Secure world can reach of the Normal world's memory.

use host_tests::ffa::*;
use host_tests::manifest::Region;
use host_tests::system::{NWD_PAGES, NWD_RX, NWD_TX};
use host_tests::{Nwd, Regs};

use crate::stage::{SP1, SP2, SP3, Stage};

const SPMC: u16 = 0x8000;
const VALID: u64 = 1;
const CONTINUE: u64 = 1 << 4;
/// A page that a manifest gives to the first partition.
const REGION: u64 = NWD_PAGES + 0x8_0000;
/// Pages behind one another, none of which continues the one before.
const SCATTERED: u64 = NWD_PAGES + 0x10_0000;

/// An entry: base, pages, permissions, endpoint, flags.
type Entry = (u64, u32, u8, u16, u8);

/// The buffers of the Normal world, which the SPMC uses.
const BUFFERS: Entry = (NWD_TX, 2, 0x33, SPMC, 1);

/// Boots partitions of which the first has Non-secure memory by its manifest, and the third is at
/// S-EL0.
fn stage() -> Stage {
    assert_eq!(NWD_RX, NWD_TX + 0x1000);
    let stage = Stage::of(
        |builder| builder.el3(3, 3),
        |spec| match spec.name.as_str() {
            "sp1" => spec.with(|spec| {
                spec.regions.push(Region {
                    name: "shared",
                    base: REGION,
                    relative: false,
                    pages: 3,
                    attributes: 1 | 8,
                });
            }),
            // The pages of its image are not writable, so its buffers are in a region.
            "sp3" => spec.s_el0().with(|spec| {
                spec.regions.push(Region {
                    name: "buffers",
                    base: 0x1_0000,
                    relative: true,
                    pages: 2,
                    attributes: 1 | 2,
                });
            }),
            // It can fail.
            _ => spec.with(|spec| spec.takes_exceptions = false),
        },
    );
    let nwd = stage.nwd();
    nwd.call([RXTX_UNMAP]).success();
    assert_eq!(nwd.version(V1_3), V1_3);
    nwd.map_buffers();
    stage
}

/// Makes the call, and returns the sizes in x2 of its answer.
fn ask(nwd: Nwd<'_>, id: u64, flags: u64) -> Result<(usize, usize), i32> {
    let answer = nwd.call_with(Regs::new([NS_RES_INFO_GET, id, flags]));
    if let Some(code) = answer.error() {
        return Err(code);
    }
    let [function, x1, x2, rest @ ..] = answer.0;
    assert_eq!((function, x1, rest), (SUCCESS_64, 0, [0; 15]));
    Ok(((x2 >> 32) as usize, x2 as u32 as usize))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Decodes a whole stream.
fn decode(stream: &[u8]) -> Vec<Entry> {
    let (header, entries) = stream.split_at(16);
    assert_eq!(
        [word(header, 0), word(header, 8), word(header, 12)],
        [16, 16, 0]
    );
    let entries: Vec<_> = entries
        .chunks(16)
        .map(|entry| {
            let base = u64::from(word(entry, 4)) << 32 | u64::from(word(entry, 0));
            let id = u16::from_le_bytes([entry[13], entry[14]]);
            (base, word(entry, 8), entry[12], id, entry[15])
        })
        .collect();
    assert_eq!(word(header, 4) as usize, entries.len());
    entries
}

/// Returns the bytes in RX, behind which RX is zero, and releases RX.
fn fetch(nwd: Nwd<'_>, written: usize) -> Vec<u8> {
    let mut bytes = nwd.read(NWD_RX, 4096);
    assert!(bytes.split_off(written).iter().all(|byte| *byte == 0));
    nwd.call([RX_RELEASE]).success();
    bytes
}

/// Returns the list, which fits into one answer.
fn list(nwd: Nwd<'_>, id: u64, flags: u64) -> Vec<Entry> {
    nwd.write(NWD_RX, &[0xaa; 4096]);
    let (written, left) = ask(nwd, id, flags).unwrap();
    assert_eq!(left, 0);
    decode(&fetch(nwd, written))
}

// req: NSRES-01, NSRES-02, NSRES-03, NSRES-04, NSRES-05
#[test]
fn what_partitions_have_mapped_and_what_they_can_get_is_listed() {
    let stage = stage();
    let nwd = stage.nwd();
    let region = (REGION, 3, 0x11, SP1, 0);
    assert_eq!(list(nwd, 0, 0), [region, BUFFERS]);
    let page = NWD_PAGES + 0x4000;
    let share = nwd.send(MEM_SHARE_64, &Transaction::share(0, SP2, RW, &[(page, 2)]));
    let offered = (page, 2, 0x33, SPMC, 1);
    assert_eq!(list(nwd, 0, 0), [region, BUFFERS, offered]);
    let request = Transaction::retrieve(0, SP2, share, RW);
    stage.retrieve(SP2, request).unwrap();
    let second = (page, 2, 0x33, SP2, 0);
    assert_eq!(list(nwd, 0, 0), [region, second, BUFFERS, offered]);
    // At S-EL0 software is unprivileged.
    let lend = nwd.send(
        MEM_LEND_64,
        &Transaction::lend(0, SP3, RO, &[(page + 0x4000, 1)]),
    );
    stage
        .retrieve(SP3, Transaction::retrieve(0, SP3, lend, RO))
        .unwrap();
    let third = (page + 0x4000, 1, 0x01, SP3, 0);
    let lent = (page + 0x4000, 1, 0x33, SPMC, 1);
    assert_eq!(
        list(nwd, 0, 0),
        [region, second, third, BUFFERS, offered, lent]
    );
    for (id, own) in [(SP1, region), (SP2, second), (SP3, third)] {
        assert_eq!(list(nwd, id.into(), VALID), [own, BUFFERS, offered, lent]);
    }
    stage.relinquish(SP2, share);
    nwd.reclaim(share).success();
    assert_eq!(list(nwd, SP2.into(), VALID), [BUFFERS, lent]);
    // A donation is its new owner's alone.
    let gift = nwd.send(MEM_DONATE_64, &Transaction::donate(0, SP2, &[(page, 1)]));
    assert_eq!(
        list(nwd, SP2.into(), VALID),
        [BUFFERS, (page, 1, 0x33, SPMC, 1), lent]
    );
    stage
        .retrieve(SP2, Transaction::retrieve(0, SP2, gift, RW))
        .unwrap();
    let own = (page, 1, 0x33, SP2, 0);
    assert_eq!(list(nwd, SP2.into(), VALID), [own, BUFFERS, lent]);
    stage.kill(SP2);
    assert_eq!(list(nwd, 0, 0), [region, third, BUFFERS, lent]);
    assert_eq!(ask(nwd, SP2.into(), VALID), Err(INVALID_PARAMETERS));
}

/// Shares `count` single pages with gaps in between.
fn scatter(nwd: Nwd<'_>, first: u64, count: u64) -> u64 {
    let pages: Vec<_> = (first..first + count)
        .map(|n| (SCATTERED + n * 0x2000, 1))
        .collect();
    nwd.send(MEM_SHARE_64, &Transaction::share(0, SP2, RW, &pages))
}

// req: NSRES-02, NSRES-06, NSRES-07
#[test]
fn a_long_list_comes_in_pieces() {
    let stage = stage();
    let nwd = stage.nwd();
    let handles: Vec<_> = (0..4).map(|n| scatter(nwd, n * 150, 150)).collect();
    let bytes = 16 * (1 + 2 + 600);
    let mut stream = Vec::new();
    assert_eq!(ask(nwd, 0, 0), Ok((4096, bytes - 4096)));
    // The last part is still in RX.
    assert_eq!(ask(nwd, 0, CONTINUE), Err(RETRY));
    assert_eq!(ask(nwd, SP1.into(), VALID | CONTINUE), Err(ABORTED));
    stream.extend(fetch(nwd, 4096));
    assert_eq!(ask(nwd, 0, CONTINUE), Ok((4096, bytes - 8192)));
    stream.extend(fetch(nwd, 4096));
    assert_eq!(ask(nwd, 0, CONTINUE), Ok((bytes - 8192, 0)));
    stream.extend(fetch(nwd, bytes - 8192));
    let entries = decode(&stream);
    assert_eq!(entries.len(), 602);
    let scattered = (0..600).map(|n| (SCATTERED + n * 0x2000, 1, 0x33, SPMC, 1));
    assert!(entries[2..].iter().copied().eq(scattered));
    assert_eq!(ask(nwd, 0, CONTINUE), Err(ABORTED), "nothing is left");

    // Any change of a map ends the retrieval, and a new one begins from the start.
    ask(nwd, 0, 0).unwrap();
    fetch(nwd, 4096);
    nwd.reclaim(handles[0]).success();
    assert_eq!(ask(nwd, 0, CONTINUE), Err(ABORTED));
    ask(nwd, 0, 0).unwrap();
    fetch(nwd, 4096);
    assert_eq!(ask(nwd, 0, 0), Ok((4096, bytes - 150 * 16 - 4096)));
    fetch(nwd, 4096);
    stage.kill(SP3);
    assert_eq!(ask(nwd, 0, CONTINUE), Err(ABORTED));
    ask(nwd, 0, 0).unwrap();
    fetch(nwd, 4096);
    nwd.call([RXTX_UNMAP]).success();
    nwd.version(V1_3);
    nwd.map_buffers();
    assert_eq!(ask(nwd, 0, CONTINUE), Err(ABORTED));
}

// req: NSRES-01, NSRES-08
#[test]
fn bad_calls_change_nothing() {
    let stage = stage();
    let nwd = stage.nwd();
    let before = stage.system.snapshot();
    let id = u64::from(SP1);
    for (x1, x2) in [
        (id, 0),
        (0, VALID),
        (id, 2 | VALID),
        (0, 4),
        (0, 8),
        (0, 1 << 5),
        (0, 1 << 63),
        (1 << 16, 0),
        (1 << 16 | id, VALID),
        (1, VALID),
        (SPMC.into(), VALID),
        (0x8009, VALID),
    ] {
        assert_eq!(ask(nwd, x1, x2), Err(INVALID_PARAMETERS), "{x1:#x} {x2:#x}");
    }
    for n in 3..18 {
        let mut call = Regs::new([NS_RES_INFO_GET]);
        call.0[n] = 1 << 40;
        assert_eq!(nwd.call_with(call).error(), Some(INVALID_PARAMETERS));
    }
    assert_eq!(ask(nwd, 0, CONTINUE), Err(ABORTED));
    assert_eq!(before, stage.system.snapshot());
    nwd.call([FEATURES, NS_RES_INFO_GET]).success();
    stage.run(SP1, |sp| {
        sp.call([VERSION, V1_3]);
        sp.refused([FEATURES, NS_RES_INFO_GET], NOT_SUPPORTED);
        sp.refused([NS_RES_INFO_GET], NOT_SUPPORTED);
    });
    nwd.call([RXTX_UNMAP]).success();
    nwd.version(V1_3);
    assert_eq!(ask(nwd, 0, 0), Err(RETRY));
    nwd.map_buffers();
    nwd.call([RXTX_UNMAP]).success();
    nwd.version(V1_2);
    nwd.refused([FEATURES, NS_RES_INFO_GET], NOT_SUPPORTED);
    assert_eq!(ask(nwd, 0, 0), Err(NOT_SUPPORTED));
}
