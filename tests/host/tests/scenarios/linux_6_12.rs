//! Linux 6.12, register by register and byte by byte, as its `arm_ffa` driver and the drivers on
//! top of it make the calls.
//!
//! That driver speaks 1.2 and lists partitions by registers, but its access descriptors have 16
//! bytes, as those of 1.1. Descriptors fill its buffer of 4 KiB to the last byte and go on in
//! fragments whose call names no owner. It unbinds notifications of vCPUs without the flag with
//! which it bound them.

use std::sync::Arc;

use host_tests::ffa::*;
use host_tests::system::{NWD_PAGES, NWD_RX, NWD_TX};
use host_tests::{Nwd, PartitionSpec, Regs, Remote, Sp, System};
use spmc::addr::World;

use super::indirect::{Message, code};

const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;
const SP3: u16 = 0x8003;
const CPUS: usize = 4;

/// The driver, and the partitions' side of each test.
struct Linux<'s> {
    system: &'s System,
    remotes: &'s [Remote],
}

/// Returns two partitions, the first of which speaks 1.1 and the second one 1.2, the second one
/// with seven services.
fn system() -> (System, Vec<Remote>) {
    let services = |sp: &mut PartitionSpec| {
        sp.messaging = 0x607;
        sp.uuids = (0..7).map(|n| [n + 1, 2, 3, 4]).collect();
    };
    let specs = [
        PartitionSpec::new("sp1")
            .version(1)
            .with(|sp| sp.messaging = 7),
        PartitionSpec::new("sp2").with(services).with(|sp| {
            sp.extra = Some(Arc::new(|fdt| {
                fdt.property_null("notification-support").unwrap();
            }));
        }),
    ];
    let (specs, remotes): (Vec<_>, Vec<_>) = specs.map(Remote::control).into_iter().unzip();
    let system = System::boot(specs.into_iter().chain([inverter()]));
    for pe in 1..CPUS {
        system.turn_on(pe);
    }
    (system, remotes)
}

/// Returns a partition that answers requests of the second kind with all bits inverted.
fn inverter() -> PartitionSpec {
    let invert = |sp: &mut Sp| {
        let mut next = sp.msg_wait();
        loop {
            assert_eq!(next.0[0], DIRECT_REQ2);
            let mut answer = Regs::new([DIRECT_RESP2, route(sp.id, 0)]);
            for (to, from) in answer.0[4..].iter_mut().zip(&next.0[4..]) {
                *to = !from;
            }
            next = sp.call_with(answer);
        }
    };
    PartitionSpec::new("sp3")
        .with(|sp| sp.messaging = 0x200)
        .script(invert)
}

impl<'s> Linux<'s> {
    /// Probes and sets up, in the order of the driver.
    fn boot(system: &'s System, remotes: &'s [Remote]) -> Self {
        let linux = Self { system, remotes };
        let nwd = linux.cpu(0);
        assert_eq!(nwd.version(V1_2), V1_2);
        assert_eq!(nwd.call([ID_GET]).success()[0], 0);
        // The size of buffers: 4 KiB.
        assert_eq!(nwd.call([FEATURES, RXTX_MAP_64, 0]).success()[0] & 0b11, 0);
        nwd.call([RXTX_MAP_64, NWD_TX, NWD_RX, 1]).success();
        for function in [
            MEM_LEND_64,
            MEM_SHARE_64,
            DIRECT_REQ2,
            DIRECT_RESP2,
            NOTIFICATION_BITMAP_CREATE,
        ] {
            nwd.call([FEATURES, function, 0]).success();
        }
        nwd.call([NOTIFICATION_BITMAP_CREATE, 0, CPUS as u64])
            .success();
        assert!((8..16).contains(&nwd.call([FEATURES, 2, 0]).success()[0]));
        nwd.refused([FEATURES, 1, 0], NOT_SUPPORTED);
        nwd.call([FEATURES, PARTITION_INFO_GET_REGS, 0]).success();
        linux
    }

    fn cpu(&self, cpu: usize) -> Nwd<'s> {
        self.system.pe(cpu)
    }

    /// Runs `task` in a partition.
    #[track_caller]
    fn run<T: Send + 'static>(
        &self,
        id: u16,
        task: impl FnOnce(&mut Sp) -> T + Send + 'static,
    ) -> T {
        self.remotes[usize::from(id - SP1)].run(self.cpu(0), id, task)
    }

    /// Lists the partitions with a UUID by registers: asks for the number first, and then from the
    /// beginning. Returns the three registers of each.
    fn list(&self, uuid: [u64; 2]) -> Vec<[u64; 3]> {
        let ask = |start: u64, tag: u64| {
            let answer = self.cpu(0).call_with(Regs::new([
                PARTITION_INFO_GET_REGS,
                uuid[0],
                uuid[1],
                start | tag << 16,
            ]));
            assert_eq!(answer.0[0], SUCCESS_64, "{answer:?}");
            answer.0
        };
        let count = (ask(0, 0)[2] & 0xffff) + 1;
        let (mut found, mut before, mut tag) = (Vec::new(), 0, 0);
        loop {
            // This driver cannot tell the first entry from none.
            let start = if before == 0 { 0 } else { before + 1 };
            let answer = ask(start, tag);
            let current = answer[2] >> 16 & 0xffff;
            tag = answer[2] >> 32 & 0xffff;
            assert_eq!(answer[2] >> 48, 24);
            for n in 0..current - start + 1 {
                let at = 3 + 3 * n as usize;
                found.push(answer[at..at + 3].try_into().unwrap());
            }
            before = current;
            if current >= count - 1 {
                assert_eq!(found.len() as u64, count);
                return found;
            }
        }
    }

    /// Sends memory to `receivers`, with their permissions. Returns the handle, and how many calls
    /// were made.
    fn send(&self, function: u64, receivers: &[(u16, u8)], pages: &[u64]) -> (u64, usize) {
        let (nwd, count) = (self.cpu(0), receivers.len());
        let attributes: u16 = if function == MEM_LEND_64 { 0 } else { 0x2f };
        let composite = 48 + 16 * count;
        let mut bytes = 0_u16.to_le_bytes().to_vec();
        bytes.extend(attributes.to_le_bytes());
        bytes.extend([0; 4 + 8]);
        bytes.extend(0x0bad_cafe_u64.to_le_bytes());
        for number in [16, count as u32, 48, 0, 0, 0] {
            bytes.extend(number.to_le_bytes());
        }
        for (id, permissions) in receivers {
            bytes.extend(id.to_le_bytes());
            bytes.extend([*permissions, 0]);
            bytes.extend((composite as u32).to_le_bytes());
            bytes.extend([0; 8]);
        }
        assert_eq!(bytes.len(), composite);
        let pages_and_ranges = [pages.len() as u32, pages.len() as u32, 0, 0];
        bytes.extend(pages_and_ranges.map(u32::to_le_bytes).concat());
        for page in pages {
            bytes.extend(page.to_le_bytes());
            bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        }

        let total = bytes.len() as u64;
        let fragments: Vec<&[u8]> = bytes.chunks(4096).collect();
        nwd.write(NWD_TX, fragments[0]);
        let length = fragments[0].len() as u64;
        let mut answer = nwd.call([function, total, length, 0, 0]);
        let mut sent = length;
        for fragment in &fragments[1..] {
            assert_eq!(answer.0[0], MEM_FRAG_RX, "{answer:?}");
            let [_, low, high, next, ..] = answer.0;
            assert_eq!(next, sent);
            nwd.write(NWD_TX, fragment);
            let length = fragment.len() as u64;
            answer = nwd.call([MEM_FRAG_TX, low, high, length]);
            sent += length;
        }
        (answer.handle(), fragments.len())
    }

    fn reclaim(&self, handle: u64) {
        let call = [MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, 0];
        self.cpu(0).call(call).success();
    }

    /// Answers the schedule receiver interrupt. Returns the ids of each list.
    fn information(&self) -> Vec<Vec<u16>> {
        let answer = self.cpu(0).call([NOTIFICATION_INFO_GET_64]).0;
        assert_eq!(answer[0], SUCCESS_64);
        assert_eq!(answer[2] & 1, 0, "no more");
        let ids = answer[3..8].iter().flat_map(|word| word.to_le_bytes());
        let ids: Vec<u8> = ids.collect();
        let mut ids = ids.chunks(2).map(|id| u16::from_le_bytes([id[0], id[1]]));
        let lists = answer[2] >> 7 & 0x1f;
        let length = |list: u64| (answer[2] >> (12 + 2 * list) & 0b11) + 1;
        (0..lists)
            .map(|list| ids.by_ref().take(length(list) as usize).collect())
            .collect()
    }

    /// Returns w2 to w7 of `FFA_NOTIFICATION_GET` on a CPU.
    fn pending(&self, cpu: usize) -> [u64; 6] {
        let call = [NOTIFICATION_GET, (cpu as u64) << 16, 0b101];
        self.cpu(cpu).call(call).success()
    }
}

fn route(sender: u16, receiver: u16) -> u64 {
    u64::from(sender) << 16 | u64::from(receiver)
}

// req: VER-09, FEAT-01, RXTX-01, PINFO-14, NTF-01, NTF-36
#[test]
fn it_probes_and_lists_services_by_registers() {
    let (system, remotes) = system();
    let linux = Linux::boot(&system, &remotes);
    let all = linux.list([0, 0]);
    assert_eq!(all.len(), 9);
    let ids: Vec<u64> = all.iter().map(|entry| entry[0] & 0xffff).collect();
    assert_eq!(ids[..2], [0x8001, 0x8002]);
    assert_eq!(ids[2..], [[0x8002; 6].as_slice(), &[0x8003]].concat());
    for (n, entry) in all[1..8].iter().enumerate() {
        assert_eq!(entry[1..], [(n as u64 + 1) | 2 << 32, 3 | 4 << 32]);
        // It takes direct requests of both kinds, and 64-bit ones.
        assert_eq!(entry[0] >> 32 & 0x301, 0x301);
        assert_eq!(linux.list([entry[1], entry[2]]).len(), 1);
    }
    let unknown = Regs::new([PARTITION_INFO_GET_REGS, 1, 1, 0]);
    assert_eq!(
        linux.cpu(0).call_with(unknown).error(),
        Some(INVALID_PARAMETERS)
    );
    // The module is removed and loaded again.
    linux
        .cpu(0)
        .call([NOTIFICATION_BITMAP_DESTROY, 0])
        .success();
    linux.cpu(0).call([RXTX_UNMAP, 0]).success();
    assert_eq!(Linux::boot(&system, &remotes).list([0, 0]), all);
}

// req: DSC-01, DSC-06, DSC-09, FRAG-11, FRAG-12, MEMD-60, MEMD-61, MEMD-66
#[test]
fn its_access_descriptors_have_16_bytes_at_1_2() {
    let (system, remotes) = system();
    let linux = Linux::boot(&system, &remotes);
    let both: &[(u16, u8)] = &[(SP1, RW), (SP2, RO)];
    // A descriptor that ends with the buffer is one fragment. One more range makes it two.
    for (function, receivers, count, calls) in [
        (MEM_SHARE_64, &both[..1], 1, 1),
        (MEM_SHARE_64, &both[..1], 251, 1),
        (MEM_SHARE_64, &both[..1], 252, 2),
        (MEM_SHARE_64, both, 3, 1),
        (MEM_SHARE_64, both, 520, 3),
        (MEM_LEND_64, &both[..1], 300, 2),
    ] {
        let pages: Vec<u64> = (0..count).map(|n| NWD_PAGES + 0x2000 * n).collect();
        let (handle, made) = linux.send(function, receivers, &pages);
        assert_eq!(made, calls, "{count} ranges");
        for (id, permissions) in receivers {
            let (id, permissions) = (*id, *permissions);
            let all = receivers.to_vec();
            let first = pages[0];
            linux.run(id, move |sp| {
                // Each partition reads the layout of its own version.
                assert_eq!(sp.layout == Layout::V1_1, id == SP1);
                let mut wanted = Transaction::retrieve(0, id, handle, permissions);
                wanted.attributes = 0;
                wanted.tag = 0x0bad_cafe;
                wanted.receivers = all
                    .iter()
                    .map(|(id, permissions)| Receiver::new(*id, *permissions))
                    .collect();
                let answer = sp.memory_call(MEM_RETRIEVE_REQ_64, &wanted.encode(sp.layout));
                assert_eq!(answer.0[0], MEM_RETRIEVE_RESP, "{answer:?}");
                sp.call([RX_RELEASE]).success();
                assert!(sp.peek(World::NonSecure, first).is_some());
                assert_eq!(sp.poke(World::NonSecure, first, 1), permissions == RW);
                sp.relinquish(handle, 0).success();
            });
        }
        linux.reclaim(handle);
    }
}

// req: MSGD-01, DIR2-01, RUN-01
#[test]
fn its_requests_come_in_three_forms() {
    let (system, remotes) = system();
    let linux = Linux::boot(&system, &remotes);
    for (request, response) in [
        (DIRECT_REQ_32, DIRECT_RESP_32),
        (DIRECT_REQ_64, DIRECT_RESP_64),
    ] {
        let answer = linux
            .cpu(1)
            .call([request, u64::from(SP1), 0, 1, 2, 3, 4, 5]);
        assert_eq!(answer.0[..8], [response, route(SP1, 0), 0, 1, 2, 3, 4, 5]);
    }
    let [_, uuid @ ..] = linux.list([0, 0])[8];
    let mut request = Regs::new([DIRECT_REQ2, u64::from(SP3), uuid[0], uuid[1]]);
    let words: [u64; 14] = core::array::from_fn(|n| n as u64 + 7);
    request.0[4..].copy_from_slice(&words);
    let answer = linux.cpu(0).call_with(request).0;
    assert_eq!(answer[..4], [DIRECT_RESP2, route(SP3, 0), 0, 0]);
    assert_eq!(answer[4..], words.map(|word| !word));
}

// req: NTF-13, NTF-15, NTF-19, NTF-21, NTF-26, NTF-30, NTF-38, NTF-39, IND-13, IND-22
#[test]
fn its_notifications_are_global_and_of_one_cpu() {
    let (system, remotes) = system();
    let linux = Linux::boot(&system, &remotes);
    let nwd = linux.cpu(0);
    let (global, own) = (1_u64 << 37, 1_u64 << 2);
    let words = |map: u64| [map & 0xffff_ffff, map >> 32];
    for (map, flags) in [(global, 0), (own, 1)] {
        let [low, high] = words(map);
        nwd.call([NOTIFICATION_BIND, route(SP1, 0), flags, low, high])
            .success();
    }
    let set = move |map: u64, flags: u64| {
        let [low, high] = words(map);
        move |sp: &mut Sp| {
            sp.call([NOTIFICATION_SET, route(SP1, 0), flags, low, high])
                .error()
        }
    };
    assert_eq!(linux.run(SP1, set(global, 0)), None);
    assert_eq!(linux.run(SP1, set(own, 2 << 16 | 1)), None);
    assert_eq!(linux.run(SP1, set(own, 3 << 16 | 1)), None);
    // The driver handles the first id of a list as the receiver, and the others as its CPUs.
    let told = linux.information();
    assert_eq!(
        told.concat()
            .iter()
            .filter(|id| [2, 3].contains(id))
            .count(),
        2
    );
    assert!(told.iter().all(|list| list[0] == 0));
    let [low, high] = words(own);
    let unbind = [NOTIFICATION_UNBIND, route(SP1, 0), 0, low, high];
    nwd.refused(unbind, DENIED);
    assert_eq!(linux.pending(3), [own, global >> 32, 0, 0, 0, 0]);
    assert_eq!(linux.pending(2), [own, 0, 0, 0, 0, 0]);
    assert_eq!(linux.pending(0), [0; 6]);
    // Without the flag for vCPUs.
    nwd.call(unbind).success();
    let [low, high] = words(global);
    nwd.call([NOTIFICATION_UNBIND, route(SP1, 0), 0, low, high])
        .success();

    // The other direction, to one context of a partition.
    linux.run(SP2, |sp| {
        sp.call([NOTIFICATION_BIND, route(0, SP2), 0, 0, 1 << 9])
            .success();
    });
    nwd.call([NOTIFICATION_SET, route(0, SP2), 0, 0, 1 << 9])
        .success();
    let got = linux.run(SP2, |sp| {
        sp.call([NOTIFICATION_GET, u64::from(SP2), 0b11]).success()
    });
    assert_eq!(got, [0, 0, 0, 1 << 9, 0, 0]);

    // A message with a UUID, and the answer, whose notification is in w6.
    let mut bytes = [0_u32, 0, 40, route(0, SP2) as u32, 3, 0, 1, 2, 3, 4]
        .map(u32::to_le_bytes)
        .concat();
    bytes.extend(b"abc");
    nwd.write(NWD_TX, &bytes);
    nwd.call([MSG_SEND2, 0, 0]).success();
    let sent = linux.run(SP2, |sp| {
        let rx = sp.tx() + 0x1000;
        let mut page = vec![0; 64];
        sp.read(World::Secure, rx, &mut page).unwrap();
        sp.call([RX_RELEASE]).success();
        let got = Message::decode(|at, length| page[at as usize..][..length].to_vec(), V1_2);
        assert_eq!((got.sender, got.payload.as_slice()), (0, &b"abc"[..]));
        let answer = Message::new(V1_2, SP2, 0, b"defg");
        let tx = sp.tx();
        sp.write(World::Secure, tx, &answer.encode(V1_2)).unwrap();
        sp.call([MSG_SEND2]).error().map_or(0, code)
    });
    assert_eq!(sent, 0);
    // The full RX of the partition is news, too, which it did not ask for.
    assert_eq!(linux.information(), [[SP2], [0]]);
    assert_eq!(linux.pending(1), [0, 0, 0, 0, 1, 0]);
    let got = Message::decode(|at, bytes| nwd.read(NWD_RX + at, bytes), V1_2);
    assert_eq!((got.sender, got.payload.as_slice()), (SP2, &b"defg"[..]));
    nwd.call([RX_RELEASE]).success();
}
