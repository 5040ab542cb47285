//! Descriptors of DONATE, LEND and SHARE, sent by the Normal world.
//!
//! The input is a byte that selects the call, and a descriptor.

use super::reading::{Reading, check_ranges};
use super::stage::{Before, Kept, Stage, with};
use crate::ffa::*;
use crate::machine::NORMAL_RAM;
use crate::snapshot::WATCHED;
use crate::system::{NWD_PAGES, NWD_RX, NWD_TX};

thread_local! {
    static STAGES: [Kept<Stage>; 3] = const { [const { Kept::new(None) }; 3] };
}

const FUNCTIONS: [u64; 6] = [
    MEM_SHARE_64,
    MEM_LEND_64,
    MEM_DONATE_64,
    MEM_SHARE_32,
    MEM_LEND_32,
    MEM_DONATE_32,
];

/// Makes one call of a Normal world at 1.`minor`.
pub fn run(minor: usize, input: &[u8]) {
    let Some((choice, descriptor)) = input.split_first() else {
        return;
    };
    let function = FUNCTIONS[usize::from(*choice) % FUNCTIONS.len()];
    STAGES.with(|stages| {
        with(
            &stages[minor],
            || Stage::new(minor as u32, 48, 1),
            |stage| {
                send(stage, function, descriptor);
                true
            },
        );
    });
}

/// Sends the descriptor, and reclaims what was accepted. Returns whether it was accepted.
fn send(stage: &Stage, function: u64, descriptor: &[u8]) -> bool {
    let nwd = stage.system.nwd();
    let before = Before::take(stage, descriptor);
    let answer = nwd.memory_call(function, descriptor);
    if answer.error().is_none() {
        let handle = answer.handle();
        check_accepted(stage, function, descriptor);
        nwd.reclaim(handle).success();
    }
    before.check(stage, &answer);
    answer.error().is_none()
}

/// Checks that an accepted descriptor is one that the specification permits.
fn check_accepted(stage: &Stage, function: u64, descriptor: &[u8]) {
    let reading = Reading::new(descriptor, stage.layout);
    assert!(reading.header_is_clean());
    assert_eq!(reading.sender() >> 15, 0, "sent in the name of a partition");
    assert_eq!(reading.handle(), 0);
    let share = matches!(function, MEM_SHARE_32 | MEM_SHARE_64);
    let donate = matches!(function, MEM_DONATE_32 | MEM_DONATE_64);
    assert!(reading.flags() & 1 == 0 || !share, "a share is zeroed");
    let receivers = reading.receivers();
    assert!(receivers.len() == 1 || receivers.len() > 1 && !donate);
    for (n, receiver) in receivers.iter().enumerate() {
        assert!(matches!(receiver.id, 0x8001..=0x8003), "{receiver:x?}");
        assert!(
            receivers[..n].iter().all(|other| other.id != receiver.id),
            "a receiver is there twice"
        );
        assert_eq!(receiver.composite, receivers[0].composite);
        assert!(matches!(
            (receiver.permissions, donate),
            (0, true) | (RO | RW, false)
        ));
        assert_eq!(receiver.flags, 0);
    }
    let ranges = reading.constituents(receivers[0].composite);
    check_ranges(&ranges, &NORMAL_RAM, &[NWD_TX, NWD_RX]);
}

/// Returns descriptors as real callers send them.
pub fn seeds(minor: u32) -> Vec<Vec<u8>> {
    let layout = Layout::of(V1_0 | u64::from(minor));
    let page = |n: u64, pages| (NWD_PAGES + n * 0x1000, pages);
    let mut two = Transaction::share(0, 0x8001, RW, &[page(0, 1), page(4, 2)]);
    two.receivers.push(Receiver::new(0x8003, RO));
    let mut zeroed = Transaction::lend(0, 0x8002, RW, &[page(1, 1)]);
    zeroed.flags = 1;
    let many: Vec<(u64, u32)> = (0..20).map(|n| page(2 * n, 1)).collect();
    let whole = [(WATCHED + 0x100_0000, 0x400)];
    [
        (0, Transaction::share(0, 0x8001, RW, &[page(0, 1)])),
        (0, two),
        (
            1,
            Transaction::lend(0, 0x8003, RO, &[page(0, 1), page(2, 3)]),
        ),
        (1, zeroed),
        (2, Transaction::donate(0, 0x8002, &[page(0, 1)])),
        (3, Transaction::share(0, 0x8001, RO, &many)),
        (4, Transaction::lend(0, 0x8001, RW, &whole)),
    ]
    .into_iter()
    .map(|(choice, transaction)| {
        let mut input = vec![choice];
        input.extend(transaction.encode(layout));
        input
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_accepted() {
        for minor in 0..3 {
            let stage = Stage::new(minor, 48, 1);
            for seed in seeds(minor) {
                let function = FUNCTIONS[usize::from(seed[0])];
                assert!(send(&stage, function, &seed[1..]), "1.{minor}: {seed:x?}");
            }
        }
    }
}
