//! Fuzzes what passes through RX and TX apart from memory transactions: the endpoint RX/TX
//! descriptor of a Hypervisor, and indirect messages.

use spmc::addr::World;

use super::reading::check_ranges;
use super::stage::{Before, Kept, Stage, with};
use crate::ffa::*;
use crate::machine::NORMAL_RAM;
use crate::system::{NWD_PAGES, NWD_RX, NWD_TX};

thread_local! {
    static STAGES: [Kept<Stage>; 3] = const { [const { Kept::new(None) }; 3] };
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Returns a page of TX that begins with `input`.
fn page(input: &[u8]) -> Vec<u8> {
    let mut page = input.to_vec();
    page.resize(4096, 0);
    page
}

/// Makes one `FFA_RXTX_MAP` of a Hypervisor at 1.`minor` on behalf of a VM.
pub fn map(minor: usize, input: &[u8]) {
    let stage = || Stage::new(minor as u32, 48, 1);
    STAGES.with(|stages| {
        with(&stages[minor], stage, |stage| {
            let nwd = stage.system.nwd();
            let before = Before::take(stage, input);
            let bytes = page(input);
            nwd.write(NWD_TX, &bytes);
            let answer = nwd.call([RXTX_MAP_64]);
            if answer.error().is_none() {
                let id = check_pair(minor, &bytes);
                nwd.call([RXTX_UNMAP, u64::from(id) << 16]).success();
            }
            before.check(stage, &answer);
            true
        });
    });
}

/// Panics unless the descriptor is that of a VM with two buffers of equal size in the VM's own
/// memory. Returns the VM.
fn check_pair(minor: usize, bytes: &[u8]) -> u16 {
    let id = u16_at(bytes, 0);
    assert!(id != 0 && id >> 15 == 0 && u16_at(bytes, 2) == 0);
    let ranges = |at: usize, count: u32| -> Vec<(u64, u64)> {
        (0..count as usize)
            .map(|n| at + 16 * n)
            .map(|at| (u64_at(bytes, at), u32_at(bytes, at + 8).into()))
            .collect()
    };
    let (first, second) = (u32_at(bytes, 4), u32_at(bytes, 8));
    let (rx, tx) = if minor == 0 {
        let rx = ranges(12, first);
        (rx, ranges(12 + 16 * first as usize, second))
    } else {
        let composite = |at: u32| {
            assert!(at >= 16);
            let at = at as usize;
            let ranges = ranges(at + 16, u32_at(bytes, at + 4));
            let pages: u64 = ranges.iter().map(|(_, pages)| pages).sum();
            assert_eq!(pages, u32_at(bytes, at).into());
            ranges
        };
        (composite(first), composite(second))
    };
    let size = |ranges: &[(u64, u64)]| -> u64 { ranges.iter().map(|(_, pages)| pages).sum() };
    assert!(size(&rx) == size(&tx) && size(&rx) <= 16);
    for list in [&rx, &tx] {
        let follows = |pair: &[(u64, u64)]| pair[0].0 + pair[0].1 * 0x1000 == pair[1].0;
        assert!(list.windows(2).all(follows), "not contiguous: {list:x?}");
    }
    check_ranges(&[rx, tx].concat(), &NORMAL_RAM, &[NWD_TX, NWD_RX]);
    id
}

/// Returns descriptors with buffers of one range each, and of several.
pub fn map_seeds(minor: usize) -> Vec<Vec<u8>> {
    let range = |page: u64, pages: u64| [NWD_PAGES + page * 0x1000, pages];
    let one = [&range(0, 1)[..], &range(1, 1)];
    let several = [
        &[range(0, 1), range(1, 2)].concat()[..],
        &[range(4, 2), range(6, 1)].concat(),
    ];
    [one, several]
        .into_iter()
        .map(|[rx, tx]| {
            let counts = [rx.len() as u32 / 2, tx.len() as u32 / 2];
            let words = |words: &[u64]| -> Vec<u8> {
                words.iter().flat_map(|word| word.to_le_bytes()).collect()
            };
            let mut bytes = 7_u32.to_le_bytes().to_vec();
            if minor == 0 {
                bytes.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
                bytes.extend(words(&[rx, tx].concat()));
                return bytes;
            }
            let composite = |ranges: &[u64]| {
                let pages: u64 = ranges.chunks(2).map(|range| range[1]).sum();
                let count = ranges.len() as u64 / 2;
                words(&[&[pages | count << 32, 0], ranges].concat())
            };
            let (rx, tx) = (composite(rx), composite(tx));
            bytes.extend(16_u32.to_le_bytes());
            bytes.extend((16 + rx.len() as u32).to_le_bytes());
            bytes.extend([0; 4]);
            [bytes, rx, tx].concat()
        })
        .collect()
}

/// Makes one `FFA_MSG_SEND2` of the Normal world at 1.`minor`.
pub fn message(minor: usize, input: &[u8]) {
    let stage = || Stage::new(minor as u32, 48, 1);
    STAGES.with(|stages| {
        with(&stages[minor], stage, |stage| {
            let nwd = stage.system.nwd();
            let before = Before::take(stage, input);
            let bytes = page(input);
            nwd.write(NWD_TX, &bytes);
            let answer = nwd.call([MSG_SEND2]);
            if answer.error().is_none() {
                check_message(stage, minor, &bytes);
            }
            before.check(stage, &answer);
            true
        });
    });
}

/// Checks that the receiver got what was sent, and nothing else.
fn check_message(stage: &Stage, minor: usize, bytes: &[u8]) {
    let header = if minor == 1 { 20 } else { 40 };
    let (offset, size) = (u32_at(bytes, 8) as usize, u32_at(bytes, 16) as usize);
    assert_eq!((u32_at(bytes, 0), u16_at(bytes, 14)), (0, 0));
    assert!(offset >= header && offset + size <= bytes.len());
    let receiver = u16_at(bytes, 12);
    assert!(
        matches!(receiver, 0x8002 | 0x8003),
        "1.0 has no such messages"
    );
    let puppet = &stage.puppets[usize::from(receiver - 0x8001)];
    let rx = puppet.read_rx(&stage.system, 4096);
    assert_eq!(u32_at(&rx, 0), 0);
    assert_eq!((u16_at(&rx, 12), u16_at(&rx, 14)), (receiver, 0));
    assert_eq!(u32_at(&rx, 16) as usize, size);
    let at = u32_at(&rx, 8) as usize;
    assert!(at >= if receiver == 0x8002 { 20 } else { 40 });
    assert_eq!(rx[at..at + size], bytes[offset..offset + size]);
    assert!(
        rx[at + size..].iter().all(|byte| *byte == 0),
        "more than was sent"
    );
    puppet.call(&stage.system, [RX_RELEASE]).success();
    // Clean up. The partitions have no notifications, so nothing is pending.
    let mut memory = stage.system.machine.memory();
    memory
        .write(World::Secure, puppet.tx() + 0x1000, &[0; 4096])
        .expect("its own RX");
}

/// Returns messages to the partitions of 1.1 and 1.2.
pub fn message_seeds(minor: usize) -> Vec<Vec<u8>> {
    let header: u32 = if minor == 1 { 20 } else { 40 };
    [
        (0x8002_u32, header, 8_u32),
        (0x8003, header, 16),
        (0x8003, 64, 0),
    ]
    .into_iter()
    .map(|(receiver, offset, size)| {
        let mut bytes: Vec<u8> = [0, 0, offset, receiver, size, 0]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        bytes.resize(offset as usize, 0);
        bytes.extend((0..size as u8).map(|byte| byte + 1));
        bytes
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_accepted() {
        for minor in 0..3 {
            for seed in map_seeds(minor) {
                let stage = Stage::new(minor as u32, 48, 1);
                stage.system.nwd().write(NWD_TX, &page(&seed));
                let answer = stage.system.nwd().call([RXTX_MAP_64]);
                assert!(answer.error().is_none(), "1.{minor}: {seed:x?}: {answer:?}");
            }
        }
        for minor in 1..3 {
            for seed in message_seeds(minor) {
                let stage = Stage::new(minor as u32, 48, 1);
                stage.system.nwd().write(NWD_TX, &page(&seed));
                let answer = stage.system.nwd().call([MSG_SEND2]);
                assert!(answer.error().is_none(), "1.{minor}: {seed:x?}: {answer:?}");
            }
        }
    }
}
