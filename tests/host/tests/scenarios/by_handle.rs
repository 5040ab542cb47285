//! The answer to a Hypervisor that retrieves by handle alone: the description that the owner gave
//! (FF-A v1.0 section 11.4.3).

use host_tests::Nwd;
use host_tests::ffa::*;
use host_tests::system::{NWD_RX, NWD_TX};

use super::stage::{SP1, Stage, TYPE_DONATE, TYPE_LEND, TYPE_SHARE};

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

// req: MEMRQ-20, MEMRQ-22, MEMRQ-27, MEMRQ-18, FRAG-08
#[test]
fn a_hypervisor_is_told_what_the_owner_said() {
    let kinds = [
        (MEM_SHARE_64, TYPE_SHARE, RW, NORMAL),
        (MEM_LEND_64, TYPE_LEND, RO, NO_TYPE),
        (MEM_DONATE_64, TYPE_DONATE, 0, NO_TYPE),
    ];
    for (version, security) in [(V1_0, 0), (V1_1, NON_SECURE), (V1_2, NON_SECURE)] {
        let stage = Stage::new();
        let nwd = stage.nwd();
        nwd.call([RXTX_UNMAP]).success();
        nwd.version(version);
        nwd.map_buffers();
        let layout = Layout::of(version);
        for (function, kind, permissions, attributes) in kinds {
            for pages in [1, 3, 254, 700] {
                let ranges: Vec<_> = (0..pages).map(|page| (MEMORY + page * 0x2000, 1)).collect();
                let said = Transaction {
                    attributes,
                    tag: 9,
                    ..Transaction::share(OWNER, SP1, permissions, &ranges)
                };
                let handle = sent(&nwd, function, &said, layout);
                let receiver = Receiver {
                    offset: Some(said.composite_offset(layout) as u32),
                    ..Receiver::new(SP1, permissions)
                };
                let expected = Transaction {
                    attributes: attributes | security,
                    flags: kind,
                    handle,
                    receivers: vec![receiver],
                    ..said
                };
                assert_eq!(asked(&nwd, handle, layout), expected);
                nwd.reclaim(handle).success();
            }
        }
    }
}
