//! Descriptors of RETRIEVE_REQ, from a partition or the Hypervisor, and of RELINQUISH.
//!
//! The input is a byte and a descriptor. Bits `[2:0]` of the byte select a region, the handle of
//! which is put into the descriptor, unless there is no region of that number. Bit 3 selects the
//! 32-bit call, and bit 4 a request of the Hypervisor.

use super::reading::Reading;
use super::stage::{Before, Kept, Stage, with};
use crate::ffa::*;
use crate::puppet::Puppet;
use crate::system::NWD_PAGES;

/// A region that borrowers may retrieve.
struct Region {
    handle: u64,
    owner: u16,
    /// The data permission of the tested partition.
    granted: u8,
    pages: Vec<(u64, u32)>,
    /// Set if a retrieval changes the state for good.
    once: bool,
}

/// A stage with regions for the tested partition, whose version is 1.`minor`.
struct Offers {
    stage: Stage,
    minor: usize,
    regions: Vec<Region>,
}

thread_local! {
    static OFFERS: [Kept<Offers>; 3] = const { [const { Kept::new(None) }; 3] };
    static HELD: Kept<Offers> = const { Kept::new(None) };
}

/// The regions that the partition has retrieved for `relinquish`: a share and a lend.
const HELD_REGIONS: [usize; 2] = [0, 2];

const TAG: u64 = 0x7a6;

/// Returns the transactions that make the regions: function and descriptor.
fn transactions(id: u16, other: u16) -> Vec<(u64, Transaction)> {
    let page = |n: u64, pages| (NWD_PAGES + n * 0x1000, pages);
    let mut two = Transaction::share(0, id, RO, &[page(1, 1), page(4, 2)]);
    two.receivers.push(Receiver::new(other, RW));
    let mut zeroed = Transaction::lend(0, id, RW, &[page(8, 2)]);
    zeroed.flags = 1;
    let mut lent = Transaction::share(0, other, RO, &[page(12, 1)]);
    lent.receivers.push(Receiver::new(id, RW));
    let base = crate::manifest::partition_base(usize::from(other - 0x8001));
    let secure = Transaction::lend(other, id, RW, &[(base + 0x4_0000, 2)]);
    [
        (MEM_SHARE_64, Transaction::share(0, id, RW, &[page(0, 1)])),
        (MEM_SHARE_64, two),
        (MEM_LEND_64, zeroed),
        (MEM_LEND_64, lent),
        (MEM_DONATE_64, Transaction::donate(0, id, &[page(16, 1)])),
        (MEM_LEND_64, secure),
    ]
    .into_iter()
    .map(|(function, mut transaction)| {
        transaction.tag = TAG;
        (function, transaction)
    })
    .collect()
}

impl Offers {
    fn new(minor: usize) -> Self {
        let stage = Stage::new(2, 64, 1);
        let (id, other) = (stage.puppets[minor].id, stage.puppets[(minor + 1) % 3].id);
        let regions = transactions(id, other)
            .into_iter()
            .map(|(function, transaction)| {
                let handle = if transaction.sender == 0 {
                    stage.system.nwd().send(function, &transaction)
                } else {
                    let sender = &stage.puppets[(minor + 1) % 3];
                    let bytes = transaction.encode(sender.layout);
                    sender.memory_call(&stage.system, function, &bytes).handle()
                };
                let own = transaction.receivers.iter().find(|r| r.id == id);
                let granted = own.map_or(0, |receiver| receiver.permissions);
                Region {
                    handle,
                    owner: transaction.sender,
                    granted: if granted == 0 { RW } else { granted },
                    once: transaction.flags & 1 != 0 || function == MEM_DONATE_64,
                    pages: transaction.constituents,
                }
            })
            .collect();
        Self {
            stage,
            minor,
            regions,
        }
    }

    fn puppet(&self) -> &Puppet {
        &self.stage.puppets[self.minor]
    }

    /// Returns `descriptor` with the handle that `choice` selects, at the offset `at`.
    fn with_handle(&self, choice: u8, descriptor: &[u8], at: usize) -> Vec<u8> {
        let mut bytes = descriptor.to_vec();
        if let Some(region) = self.regions.get(usize::from(choice & 7))
            && let Some(field) = bytes.get_mut(at..at + 8)
        {
            field.copy_from_slice(&region.handle.to_le_bytes());
        }
        bytes
    }

    /// Retrieves the region of that number.
    fn take(&self, index: usize) {
        let (system, puppet) = (&self.stage.system, self.puppet());
        let request = requests(self.minor)[index].encode(puppet.layout);
        let bytes = self.with_handle(index as u8, &request, 8);
        let answer = puppet.memory_call(system, MEM_RETRIEVE_REQ_64, &bytes);
        assert_eq!(answer.function(), MEM_RETRIEVE_RESP, "{answer:?}");
        puppet.call(system, [RX_RELEASE]).success();
    }

    /// Checks an accepted request and undoes it. Returns whether everything is as before.
    fn check_accepted(&self, descriptor: &[u8], answer: &Regs) -> bool {
        let (system, puppet) = (&self.stage.system, self.puppet());
        let reading = Reading::new(descriptor, puppet.layout);
        assert!(reading.header_is_clean());
        let region = self
            .regions
            .iter()
            .find(|region| region.handle == reading.handle())
            .expect("a handle that was sent to it");
        assert_eq!(reading.sender(), region.owner);
        let receivers = reading.receivers();
        let own: Vec<_> = receivers
            .iter()
            .filter(|receiver| receiver.id == puppet.id)
            .collect();
        assert_eq!(own.len(), 1, "{receivers:x?}");

        let length = answer.0[1] as usize;
        assert_eq!(answer.0[..3], [MEM_RETRIEVE_RESP, answer.0[1], answer.0[1]]);
        let response = puppet.read_rx(system, length);
        let response = Transaction::decode(&response, reading.layout_of_response());
        assert_eq!(
            (response.sender, response.handle, response.tag),
            (region.owner, region.handle, TAG)
        );
        let pages = |ranges: &[(u64, u32)]| -> Vec<u64> {
            ranges
                .iter()
                .flat_map(|(base, pages)| (0..u64::from(*pages)).map(move |n| base + n * 0x1000))
                .collect()
        };
        assert_eq!(pages(&response.constituents), pages(&region.pages));
        let given = response.receivers[0].permissions;
        assert!(
            given & 3 <= region.granted,
            "{given:#x} of {}",
            region.granted
        );
        assert!(given >> 2 != 0 && given >> 2 < 3 && given != RW | X);
        puppet.call(system, [RX_RELEASE]).success();
        if region.once {
            return false;
        }
        puppet.relinquish(system, region.handle, 0).success();
        true
    }
}

/// Makes one request of the partition of version 1.`minor`, or of the Hypervisor.
pub fn run(minor: usize, input: &[u8]) {
    let Some((choice, descriptor)) = input.split_first() else {
        return;
    };
    OFFERS.with(|offers| {
        with(
            &offers[minor],
            || Offers::new(minor),
            |offers| retrieve(offers, *choice, descriptor),
        );
    });
}

fn retrieve(offers: &Offers, choice: u8, descriptor: &[u8]) -> bool {
    let stage = &offers.stage;
    let function = if choice & 8 != 0 {
        MEM_RETRIEVE_REQ_32
    } else {
        MEM_RETRIEVE_REQ_64
    };
    let bytes = offers.with_handle(choice, descriptor, 8);
    let before = Before::take(stage, descriptor);
    let hypervisor = choice & 16 != 0;
    let answer = if hypervisor {
        stage.system.nwd().memory_call(function, &bytes)
    } else {
        offers.puppet().memory_call(&stage.system, function, &bytes)
    };
    if answer.error().is_none() {
        if hypervisor {
            let nwd = stage.system.nwd();
            let response = nwd.read(crate::system::NWD_RX, answer.0[1] as usize);
            let response = Transaction::decode(&response, stage.layout);
            assert_eq!(response.sender, 0);
            nwd.call([RX_RELEASE]).success();
        } else if !offers.check_accepted(&bytes, &answer) {
            return false;
        }
    }
    before.check(stage, &answer);
    true
}

/// Makes one RELINQUISH of a partition that has a share and a lend. Bits `[2:0]` of the first byte
/// select the handle.
pub fn relinquish(input: &[u8]) {
    const MINOR: usize = 2;
    let Some((choice, descriptor)) = input.split_first() else {
        return;
    };
    let new = || {
        let offers = Offers::new(MINOR);
        HELD_REGIONS.iter().for_each(|index| offers.take(*index));
        offers
    };
    HELD.with(|held| {
        with(held, new, |offers| {
            let (stage, puppet) = (&offers.stage, offers.puppet());
            let bytes = offers.with_handle(*choice, descriptor, 0);
            let before = Before::take(stage, descriptor);
            puppet.write_tx(&stage.system, &[0; 64]);
            puppet.write_tx(&stage.system, &bytes);
            let answer = puppet.call(&stage.system, [MEM_RELINQUISH]);
            if answer.error().is_some() {
                before.check(stage, &answer);
                return true;
            }
            answer.success();
            let handle = |index: usize| offers.regions[index].handle.to_le_bytes();
            let index = HELD_REGIONS
                .into_iter()
                .find(|index| bytes[..8] == handle(*index));
            assert!(bytes[12..16] == [1, 0, 0, 0] && bytes[16..18] == puppet.id.to_le_bytes());
            offers.take(index.expect("a region that it had"));
            before.check(stage, &answer);
            true
        });
    });
}

/// Returns a valid request for each region, without its handle.
fn requests(minor: usize) -> Vec<Transaction> {
    let (id, other) = (0x8001 + minor as u16, 0x8001 + (minor as u16 + 1) % 3);
    transactions(id, other)
        .into_iter()
        .map(|(_, mut transaction)| {
            transaction.constituents.clear();
            transaction.flags = 0;
            transaction.attributes = 0;
            for receiver in &mut transaction.receivers {
                receiver.flags = u8::from(receiver.id != id);
            }
            transaction
        })
        .collect()
}

/// Returns requests as real borrowers and a Hypervisor make them.
pub fn seeds(minor: usize) -> Vec<Vec<u8>> {
    let layout = Layout::of(V1_0 | minor as u64);
    let mut seeds: Vec<Vec<u8>> = requests(minor)
        .into_iter()
        .zip(0..)
        .map(|(request, choice)| [vec![choice], request.encode(layout)].concat())
        .collect();
    let hypervisor = Transaction {
        attributes: 0,
        receivers: Vec::new(),
        ..Transaction::retrieve(0, 0, 0, 0)
    };
    seeds.push([vec![16], hypervisor.encode(Layout::V1_2)].concat());
    seeds
}

/// Returns valid descriptors, and one for two endpoints.
pub fn relinquish_seeds() -> Vec<Vec<u8>> {
    [
        (0, 0, &[0x8003][..]),
        (2, 0, &[0x8003]),
        (2, 1, &[0x8003]),
        (0, 0, &[0x8003, 0x8002]),
    ]
    .into_iter()
    .map(|(choice, flags, endpoints)| {
        [vec![choice], crate::ffa::relinquish(0, flags, endpoints)].concat()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_accepted() {
        for minor in 0..3 {
            for seed in seeds(minor) {
                let offers = Offers::new(minor);
                let bytes = offers.with_handle(seed[0], &seed[1..], 8);
                let answer = if seed[0] == 16 {
                    let nwd = offers.stage.system.nwd();
                    nwd.memory_call(MEM_RETRIEVE_REQ_64, &bytes)
                } else {
                    let puppet = offers.puppet();
                    puppet.memory_call(&offers.stage.system, MEM_RETRIEVE_REQ_64, &bytes)
                };
                assert_eq!(
                    answer.function(),
                    MEM_RETRIEVE_RESP,
                    "{seed:x?}: {answer:?}"
                );
            }
        }
    }
}
