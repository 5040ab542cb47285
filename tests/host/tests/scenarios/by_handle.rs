//! The answer to a Hypervisor that retrieves by handle alone: the description that the owner gave
//! (FF-A v1.0 section 11.4.3).

use host_tests::Nwd;
use host_tests::ffa::*;
use host_tests::system::{NWD_RX, NWD_TX};

use super::stage::{SP1, SP2, SP3, Stage, TYPE_DONATE, TYPE_LEND, TYPE_SHARE};

/// No type is specified, but bits below the type are set.
const NO_TYPE: u16 = 0x0f;
/// The VM that owns the memory, as w4 of the calls about fragments has it.
const OWNER: u16 = 5;
const OWNER_WORD: u64 = (OWNER as u64) << 16;
/// Memory of the Normal world that no buffer is in.
const MEMORY: u64 = 0x4200_0000;

/// Sends a region of which no two pages adjoin, in as many fragments as it takes.
fn sent(nwd: &Nwd, function: u64, transaction: &Transaction, layout: Layout) -> u64 {
    let bytes = transaction.encode(layout);
    let first = bytes.len().min(4096);
    nwd.write(NWD_TX, &bytes[..first]);
    let mut answer = nwd.call([function, bytes.len() as u64, first as u64]);
    let mut at = first;
    while answer.function() == MEM_FRAG_RX {
        let next = bytes.len().min(at + 4096);
        nwd.write(NWD_TX, &bytes[at..next]);
        let [_, low, high, ..] = answer.0;
        answer = nwd.call([MEM_FRAG_TX, low, high, (next - at) as u64, OWNER_WORD]);
        at = next;
    }
    answer.handle()
}

/// Retrieves by handle alone, and returns what comes in all fragments.
fn asked(nwd: &Nwd, handle: u64, layout: Layout) -> Transaction {
    let mut request = vec![0; layout.header()];
    request[8..16].copy_from_slice(&handle.to_le_bytes());
    let answer = nwd.memory_call(MEM_RETRIEVE_REQ_64, &request);
    assert_eq!(answer.function(), MEM_RETRIEVE_RESP, "{answer:?}");
    let [_, total, length, ..] = answer.0;
    let mut bytes = nwd.read(NWD_RX, length as usize);
    nwd.call([RX_RELEASE]).success();
    while bytes.len() < total as usize {
        let (low, high) = (handle & 0xffff_ffff, handle >> 32);
        let answer = nwd.call([MEM_FRAG_RX, low, high, bytes.len() as u64, OWNER_WORD]);
        assert_eq!(answer.function(), MEM_FRAG_TX, "{answer:?}");
        bytes.extend(nwd.read(NWD_RX, answer.0[3] as usize));
        nwd.call([RX_RELEASE]).success();
    }
    assert_eq!(bytes.len(), total as usize);
    Transaction::decode(&bytes, layout)
}

/// Returns the Normal world of `stage` at that version, with buffers.
fn at_version(stage: &Stage, version: u64) -> Nwd<'_> {
    let nwd = stage.nwd();
    nwd.call([RXTX_UNMAP]).success();
    nwd.version(version);
    nwd.map_buffers();
    nwd
}

/// Sends a region of so many pages with a description like `said`, retrieves it by handle alone,
/// and checks that the answer repeats what was said. Reclaims the region.
fn is_told(nwd: &Nwd, function: u64, pages: u64, said: &Transaction, layout: Layout) {
    let kind = match function {
        MEM_SHARE_64 => TYPE_SHARE,
        MEM_LEND_64 => TYPE_LEND,
        _ => TYPE_DONATE,
    };
    let constituents = (0..pages).map(|page| (MEMORY + page * 0x2000, 1)).collect();
    let said = Transaction {
        tag: 9,
        constituents,
        ..said.clone()
    };
    let handle = sent(nwd, function, &said, layout);
    let offset = Some(said.composite_offset(layout) as u32);
    let receivers = said.receivers.iter();
    let receivers = receivers.map(|receiver| Receiver {
        offset,
        ..*receiver
    });
    let security = if layout == Layout::V1_0 {
        0
    } else {
        NON_SECURE
    };
    let expected = Transaction {
        attributes: said.attributes | security,
        flags: kind,
        handle,
        receivers: receivers.collect(),
        ..said
    };
    assert_eq!(asked(nwd, handle, layout), expected);
    nwd.reclaim(handle).success();
}

// req: MEMRQ-20, MEMRQ-22, MEMRQ-27, MEMRQ-18, FRAG-08
#[test]
fn a_hypervisor_is_told_what_the_owner_said() {
    let kinds = [
        (MEM_SHARE_64, RW, NORMAL),
        (MEM_LEND_64, RO, NO_TYPE),
        (MEM_DONATE_64, 0, NO_TYPE),
    ];
    for version in [V1_0, V1_1, V1_2] {
        let stage = Stage::new();
        let nwd = at_version(&stage, version);
        for (function, permissions, attributes) in kinds {
            let said = Transaction {
                attributes,
                ..Transaction::share(OWNER, SP1, permissions, &[])
            };
            for pages in [1, 3, 254, 700] {
                is_told(&nwd, function, pages, &said, Layout::of(version));
            }
        }
    }
}

// req: MEMRQ-20, FRAG-08
#[test]
fn a_hypervisor_is_told_of_all_receivers() {
    for version in [V1_0, V1_1, V1_2] {
        let stage = Stage::new();
        let nwd = at_version(&stage, version);
        for count in [2, 3] {
            let mut receivers = vec![(SP2, RW), (SP1, RO), (SP3, RW)];
            receivers.truncate(count);
            let receivers = receivers.into_iter().map(|(id, permissions)| Receiver {
                implementation_defined: if version == V1_2 {
                    [id.into(), 7]
                } else {
                    [0; 2]
                },
                ..Receiver::new(id, permissions)
            });
            let said = Transaction {
                receivers: receivers.collect(),
                ..Transaction::share(OWNER, SP1, RW, &[])
            };
            for function in [MEM_SHARE_64, MEM_LEND_64] {
                for pages in [1, 240, 250, 251, 252, 253, 254, 700] {
                    is_told(&nwd, function, pages, &said, Layout::of(version));
                }
            }
        }
    }
}
