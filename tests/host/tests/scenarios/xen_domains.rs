//! Two domains under Xen, register by register as its mediator makes the calls (4.20 and 4.21).
//!
//! Xen speaks 1.1 and has one pair of buffers for the memory of all domains; the id of a domain is
//! its number plus one. It tells subscribers of a new domain, and then creates the bitmaps. When a
//! domain ends, Xen unmaps its buffers, destroys its bitmaps and does not look at the answer, tells
//! the subscribers, again while they answer `RETRY`, and then reclaims its memory.

use std::collections::VecDeque;

use host_tests::ffa::*;
use host_tests::system::{NWD_PAGES, NWD_RX, NWD_TX};
use host_tests::{Nwd, PartitionSpec, Regs, Sp, System};
use spmc::addr::World;

use super::indirect::{Message, code};

const TEE: u16 = 0x8001;

/// w2 of the messages about domains.
const CREATED: u64 = 0x8000_0004;
const DESTROYED: u64 = 0x8000_0006;

/// w3 of requests to the partition: to retrieve the handle in w4 and w5, to raise the notification
/// in w4, and to send a message to the requester.
const BORROW: u64 = 1;
const RAISE: u64 = 2;
const WRITE: u64 = 3;

/// x2 of `FFA_NOTIFICATION_GET`: those of partitions and of the SPM.
const ALL_SECURE: u64 = 0b101;

/// Returns a partition that subscribes to messages about domains. When a domain has ended, it first
/// answers `RETRY`, as it still works for the domain, and then lets go of its memory.
fn tee(name: &str) -> PartitionSpec {
    PartitionSpec::new(name)
        .version(1)
        .with(|sp| sp.messaging = 7)
        .property("vm-availability-messages", 3)
        .script(|sp| {
            sp.map_buffers();
            let mut held: VecDeque<(u64, u64)> = VecDeque::new();
            let mut domains = Vec::new();
            let mut ending = None;
            let mut message = sp.msg_wait();
            loop {
                let (w1, kind, domain) = (message.0[1], message.0[2], message.0[5]);
                let back = w1 >> 16 & 0xffff | (w1 & 0xffff) << 16;
                message = match kind {
                    CREATED => {
                        assert_eq!(message.0[3..8], [0, 0, domain, 0, 0]);
                        assert!(!domains.contains(&domain), "{domain} is there already");
                        domains.push(domain);
                        sp.call([DIRECT_RESP_32, back, CREATED + 1, 0])
                    }
                    DESTROYED if ending != Some(domain) => {
                        ending = Some(domain);
                        let retry = u64::from(RETRY as u32);
                        sp.call([DIRECT_RESP_32, back, DESTROYED + 1, retry])
                    }
                    DESTROYED => {
                        ending = None;
                        domains.retain(|known| *known != domain);
                        held.retain(|(owner, handle)| {
                            if *owner == domain {
                                sp.relinquish(*handle, 0).success();
                            }
                            *owner != domain
                        });
                        sp.call([DIRECT_RESP_32, back, DESTROYED + 1, 0])
                    }
                    _ => {
                        let owner = w1 >> 16;
                        let request = message;
                        let status = serve(sp, owner, &request);
                        if request.0[3] == BORROW && status == 0 {
                            held.push_back((owner, request.0[4] | request.0[5] << 32));
                        }
                        sp.respond(&request, [status, 0, 0, 0, 0])
                    }
                };
            }
        })
}

fn serve(sp: &mut Sp, owner: u64, request: &Regs) -> u64 {
    let route = u64::from(sp.id) << 16 | owner;
    match request.0[3] {
        BORROW => {
            let handle = request.0[4] | request.0[5] << 32;
            let wanted = Transaction::retrieve(owner as u16, sp.id, handle, RW);
            match sp.retrieve(&wanted) {
                Ok(region) => {
                    let (page, _) = region.constituents[0];
                    let byte = sp.peek(World::NonSecure, page).expect("what was shared");
                    assert!(sp.poke(World::NonSecure, page, byte + 1));
                    0
                }
                Err(error) => code(error),
            }
        }
        RAISE => {
            let set = [NOTIFICATION_SET, route, 0, request.0[4]];
            sp.call(set).error().map_or(0, code)
        }
        _ => {
            let message = Message::new(V1_1, sp.id, owner as u16, &[0xa5; 4]);
            let tx = sp.tx();
            sp.write(World::Secure, tx, &message.encode(V1_1)).unwrap();
            sp.call([MSG_SEND2]).error().map_or(0, code)
        }
    }
}

/// Xen with its FF-A mediator.
struct Xen<'s>(Nwd<'s>);

impl<'s> Xen<'s> {
    /// Probes the SPMC, as Xen does when it boots.
    fn boot(system: &'s System) -> Self {
        let nwd = system.nwd();
        assert!(nwd.version(V1_1) >= V1_1);
        for function in [
            VERSION,
            FEATURES,
            NOTIFICATION_BITMAP_CREATE,
            NOTIFICATION_BITMAP_DESTROY,
            PARTITION_INFO_GET,
            NOTIFICATION_INFO_GET_64,
            NOTIFICATION_GET,
            RX_RELEASE,
            RX_ACQUIRE,
            RXTX_MAP_64,
            RXTX_UNMAP,
            MEM_SHARE_32,
            MEM_SHARE_64,
            MEM_RECLAIM,
            DIRECT_REQ_32,
            DIRECT_REQ_64,
            MSG_SEND2,
            RUN,
        ] {
            nwd.call([FEATURES, function, 0, 0, 0, 0, 0, 0]).success();
        }
        nwd.call([RXTX_MAP_64, NWD_TX, NWD_RX, 1, 0]).success();
        let list = nwd.call([PARTITION_INFO_GET, 0, 0, 0, 0, 0]).success();
        // Who subscribes is in bits 6 and 7 of the properties.
        assert_eq!(list[..2], [2, 24]);
        for n in 0..2 {
            let entry = nwd.read(NWD_RX + 24 * n, 8);
            assert_eq!(entry[..2], (0x8001 + n as u16).to_le_bytes());
            assert_eq!(entry[4] >> 6, 0b11);
        }
        nwd.call([RX_RELEASE]).success();
        nwd.call([FEATURES, 2]).success();
        Self(nwd)
    }

    /// Sends a message about a domain, ten times while the partition answers `RETRY`. Returns the
    /// last status, and how often the message was sent.
    fn tell(&self, partition: u16, kind: u64, domain: u16) -> (i32, u32) {
        for sent in 1.. {
            let message = [DIRECT_REQ_32, partition.into(), kind, 0, 0, domain.into()];
            let answer = self.0.call(message).0;
            let back = u64::from(partition) << 16;
            assert_eq!(answer[..3], [DIRECT_RESP_32, back, kind + 1]);
            let status = answer[3] as i32;
            if status != RETRY || sent > 10 {
                return (status, sent);
            }
        }
        unreachable!()
    }

    /// Creates a domain with two vCPUs. Returns the status of its bitmap.
    fn create(&self, domain: u16) -> Option<i32> {
        for partition in [TEE, TEE + 1] {
            assert_eq!(self.tell(partition, CREATED, domain), (0, 1));
        }
        let create = [NOTIFICATION_BITMAP_CREATE, domain.into(), 2, 0, 0];
        self.0.call(create).error()
    }

    /// Returns the RX of a domain, with its TX behind it.
    fn buffers(domain: u16) -> u64 {
        NWD_PAGES + 0x2000 * u64::from(domain)
    }

    /// Passes on `FFA_RXTX_MAP` of a domain: a header of 12 bytes and 4 of padding, and then the
    /// lists of RX and of TX, with one range each.
    fn map(&self, domain: u16) {
        let rx = Self::buffers(domain);
        let mut bytes = domain.to_le_bytes().to_vec();
        bytes.extend([0, 0, 16, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0]);
        for page in [rx, rx + 0x1000] {
            bytes.extend([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend(page.to_le_bytes());
            bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        }
        assert_eq!(bytes.len(), 80);
        self.0.write(NWD_TX, &bytes);
        self.0.call([RXTX_MAP_64, 0, 0, 0, 0]).success();
    }

    /// Passes on `FFA_MEM_SHARE` of one page of a domain, from Xen's own TX.
    fn share(&self, domain: u16, page: u64) -> Result<u64, i32> {
        let mut bytes = domain.to_le_bytes().to_vec();
        // Attributes, flags, handle, tag; receivers have 16 bytes, there is one, at 48.
        bytes.extend([0x2f, 0]);
        bytes.extend([0; 4 + 8 + 8]);
        bytes.extend([16, 0, 0, 0, 1, 0, 0, 0, 48, 0, 0, 0]);
        bytes.extend([0; 12]);
        // The receiver: id, read and write, and the offset of the list.
        bytes.extend(TEE.to_le_bytes());
        bytes.extend([2, 0, 64, 0, 0, 0]);
        bytes.extend([0; 8]);
        // The list: one page in one range.
        bytes.extend([1, 0, 0, 0, 1, 0, 0, 0]);
        bytes.extend([0; 8]);
        bytes.extend(page.to_le_bytes());
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes.len(), 96);
        self.0.write(NWD_TX, &bytes);
        let answer = self.0.call([MEM_SHARE_64, 96, 96, 0, 0]);
        answer.error().map_or_else(|| Ok(answer.handle()), Err)
    }

    /// Passes on a request of a domain. Returns the status in w3 of the answer.
    fn ask(&self, domain: u16, partition: u16, words: [u64; 3]) -> u64 {
        let [operation, first, second] = words;
        let w1 = u64::from(domain) << 16 | u64::from(partition);
        let answer = self
            .0
            .call([DIRECT_REQ_32, w1, 0, operation, first, second, 0, 0]);
        let back = u64::from(partition) << 16 | u64::from(domain);
        assert_eq!(answer.0[..3], [DIRECT_RESP_32, back, 0]);
        answer.0[3]
    }

    fn borrow(&self, domain: u16, handle: u64) -> u64 {
        self.ask(domain, TEE, [BORROW, handle & 0xffff_ffff, handle >> 32])
    }

    /// Passes on `FFA_NOTIFICATION_BIND` of a domain, for notifications of the first partition.
    fn bind(&self, domain: u16, map: u64) -> Option<i32> {
        let route = u64::from(TEE) << 16 | u64::from(domain);
        self.0.call([NOTIFICATION_BIND, route, 0, map, 0]).error()
    }

    /// Passes on `FFA_NOTIFICATION_GET` of a domain. Returns w2, w3 and w6.
    fn pending(&self, domain: u16) -> [u64; 3] {
        let told = self
            .0
            .call([NOTIFICATION_GET, domain.into(), ALL_SECURE])
            .success();
        assert_eq!([told[2], told[3], told[5]], [0; 3]);
        [told[0], told[1], told[4]]
    }

    fn reclaim(&self, handle: u64) -> Option<i32> {
        let call = [MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, 0, 0];
        self.0.call(call).error()
    }

    /// Ends a domain. Returns the status of its bitmap.
    fn destroy(&self, domain: u16, has_buffers: bool) -> Option<i32> {
        if has_buffers {
            let unmap = [RXTX_UNMAP, u64::from(domain) << 16, 0, 0, 0];
            self.0.call(unmap).success();
        }
        let bitmaps = [NOTIFICATION_BITMAP_DESTROY, domain.into(), 0, 0, 0];
        let status = self.0.call(bitmaps).error();
        for partition in [TEE, TEE + 1] {
            assert_eq!(self.tell(partition, DESTROYED, domain), (0, 2));
        }
        status
    }
}

fn system() -> System {
    System::boot([tee("tee"), tee("other")])
}

fn page(domain: u16, number: u64) -> u64 {
    NWD_PAGES + 0x1_0000 + 0x8000 * u64::from(domain) + 0x1000 * number
}

// req: FWK-16, FWK-19, NTF-03, NTF-21, NTF-23, NTF-33, RXTX-23, VMB-08, VMB-09, MEMX-14, MSGD-22
// req: IND-22
#[test]
fn two_domains_share_one_hypervisor() {
    let system = system();
    let xen = Xen::boot(&system);
    for domain in [1, 2] {
        assert_eq!(xen.create(domain), None);
        xen.map(domain);
        assert_eq!(xen.bind(domain, 1 << domain), None);
    }
    let shares = [1, 2].map(|domain| {
        xen.0.write(page(domain, 0), &[40]);
        let handle = xen.share(domain, page(domain, 0)).unwrap();
        assert_eq!(xen.borrow(domain, handle), 0);
        assert_eq!(xen.0.read(page(domain, 0), 1), [41]);
        handle
    });
    // A domain's request does not reach the memory of another one.
    let other = xen.share(1, page(1, 1)).unwrap();
    assert_eq!(xen.borrow(2, other), code(DENIED));
    assert_eq!(xen.reclaim(other), None);

    for domain in [1, 2] {
        assert_eq!(xen.ask(domain, TEE, [RAISE, 1 << domain, 0]), 0);
        assert_eq!(
            xen.ask(domain, TEE, [RAISE, 1 << (3 - domain), 0]),
            code(DENIED)
        );
        assert_eq!(
            xen.ask(domain, TEE + 1, [RAISE, 1 << domain, 0]),
            code(DENIED)
        );
    }
    // One list for each, with one id.
    let told = xen.0.call([NOTIFICATION_INFO_GET_64]).0;
    assert_eq!(told[..4], [SUCCESS_64, 0, 2 << 7, 2 << 16 | 1]);
    xen.0.refused([NOTIFICATION_INFO_GET_64], NO_DATA);
    assert_eq!(xen.pending(2), [1 << 2, 0, 0]);
    assert_eq!(xen.pending(2), [0; 3]);
    assert_eq!(xen.pending(1), [1 << 1, 0, 0]);

    // Messages to both, at the same time; Xen takes RX before it writes there itself.
    for domain in [1, 2] {
        assert_eq!(xen.ask(domain, TEE, [WRITE, 0, 0]), 0);
        assert_eq!(xen.ask(domain, TEE, [WRITE, 0, 0]), code(BUSY));
        xen.0.refused([RX_ACQUIRE, domain.into()], DENIED);
    }
    for domain in [2, 1] {
        let at = Xen::buffers(domain);
        let got = Message::decode(|offset, bytes| xen.0.read(at + offset, bytes), V1_1);
        assert_eq!((got.sender, got.receiver, got.size), (TEE, domain, 4));
        assert_eq!(xen.pending(domain), [0, 0, 1]);
        xen.0.call([RX_RELEASE, domain.into()]).success();
        xen.0.call([RX_ACQUIRE, domain.into()]).success();
        xen.0.call([RX_RELEASE, domain.into()]).success();
    }
    // Both end, the second one first.
    for domain in [2, 1] {
        assert_eq!(xen.reclaim(shares[usize::from(domain) - 1]), Some(DENIED));
        assert_eq!(xen.destroy(domain, true), None);
        assert_eq!(xen.reclaim(shares[usize::from(domain) - 1]), None);
    }
    xen.0.call([RXTX_UNMAP]).success();
}

// req: FWK-16, FWK-19, NTF-05, NTF-06, NTF-47, RXTX-25, MEMRC-15, MEMO-13
#[test]
fn a_domain_ends_in_the_middle_of_everything() {
    let system = system();
    let xen = Xen::boot(&system);
    for domain in [1, 2] {
        assert_eq!(xen.create(domain), None);
        xen.map(domain);
        assert_eq!(xen.bind(domain, 0b11), None);
        assert_eq!(xen.ask(domain, TEE, [RAISE, 0b01, 0]), 0);
        assert_eq!(xen.ask(domain, TEE, [WRITE, 0, 0]), 0);
    }
    let [retrieved, lives] = [1, 2].map(|domain| {
        let handle = xen.share(domain, page(domain, 0)).unwrap();
        assert_eq!(xen.borrow(domain, handle), 0);
        handle
    });
    let sent = xen.share(1, page(1, 1)).unwrap();
    assert_eq!(xen.reclaim(retrieved), Some(DENIED));

    // Something is pending for the domain, and Xen does not look at the answer.
    assert_eq!(xen.destroy(1, true), Some(DENIED));
    assert_eq!(
        [retrieved, sent].map(|handle| xen.reclaim(handle)),
        [None; 2]
    );
    // Nothing of the domain is left to be scheduled.
    let told = xen.0.call([NOTIFICATION_INFO_GET_64]).0;
    assert_eq!(told[..4], [SUCCESS_64, 0, 1 << 7, 2]);
    xen.0
        .refused([NOTIFICATION_GET, 1, ALL_SECURE], INVALID_PARAMETERS);
    xen.0.refused([RX_RELEASE, 1], INVALID_PARAMETERS);

    // The other one has everything that it had.
    assert_eq!(xen.pending(2), [0b01, 0, 1]);
    xen.0.call([RX_RELEASE, 2]).success();
    assert_eq!(xen.ask(2, TEE, [RAISE, 0b10, 0]), 0);
    assert_eq!(xen.pending(2), [0b10, 0, 0]);
    assert_eq!(xen.reclaim(lives), Some(DENIED));

    // A new domain with the same number begins with nothing, and can use the same memory.
    assert_eq!(xen.create(1), None);
    assert_eq!(xen.pending(1), [0; 3]);
    assert_eq!(xen.ask(1, TEE, [RAISE, 0b01, 0]), code(DENIED));
    assert_eq!(xen.ask(1, TEE, [WRITE, 0, 0]), code(BUSY));
    assert_eq!(xen.bind(1, 0b01), None);
    assert_eq!(xen.ask(1, TEE, [RAISE, 0b01, 0]), 0);
    assert_eq!(xen.pending(1), [0b01, 0, 0]);
    xen.map(1);
    assert_eq!(xen.borrow(1, retrieved), code(INVALID_PARAMETERS));
    let again = xen.share(1, page(1, 0)).unwrap();
    assert_eq!(xen.borrow(1, again), 0);
}

// More domains end than there are slots, each with a notification that it did not take.
// req: NTF-47
#[test]
fn domains_come_and_go_without_end() {
    let system = system();
    let xen = Xen::boot(&system);
    assert_eq!(xen.create(1), None);
    for domain in 2..30 {
        assert_eq!(xen.create(domain), None, "{domain}");
        assert_eq!(xen.bind(domain, 1), None);
        assert_eq!(xen.ask(domain, TEE, [RAISE, 1, 0]), 0);
        assert_eq!(xen.destroy(domain, false), Some(DENIED));
    }
    // Where nothing is pending, a Hypervisor may destroy the bitmap when all have been told.
    for partition in [TEE, TEE + 1] {
        assert_eq!(xen.tell(partition, DESTROYED, 1), (0, 2));
    }
    xen.0.call([NOTIFICATION_BITMAP_DESTROY, 1]).success();
}
