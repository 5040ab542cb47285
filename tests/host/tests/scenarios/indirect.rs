//! Indirect messages: `FFA_MSG_SEND2` in both directions and between partitions (FF-A v1.1 chapter
//! 7 and section 15.1, v1.2).

use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::system::{NWD_PAGES, NWD_RX, NWD_TX};
use host_tests::{Nwd, PartitionSpec, Sp, System};
use spmc::addr::World::Secure;

const SERVICE: [u32; 4] = [0xb528_60c6, 0xa14a_9824, 0xda77_e79d, 0xf0ab_2261];
pub const DELAY_SRI: u64 = 2;

/// A message: a header in the layout of a version, and the payload at the header's offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub flags: u32,
    pub offset: u32,
    pub receiver: u16,
    pub sender: u16,
    pub size: u32,
    pub uuid: [u32; 4],
    pub payload: Vec<u8>,
}

impl Message {
    pub fn new(version: u64, sender: u16, receiver: u16, payload: &[u8]) -> Self {
        Self {
            flags: 0,
            offset: header(version) as u32,
            receiver,
            sender,
            size: payload.len() as u32,
            uuid: [0; 4],
            payload: payload.to_vec(),
        }
    }

    pub fn encode(&self, version: u64) -> Vec<u8> {
        let mut bytes = self.flags.to_le_bytes().to_vec();
        bytes.extend([0xee; 4]);
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.receiver.to_le_bytes());
        bytes.extend(self.sender.to_le_bytes());
        bytes.extend(self.size.to_le_bytes());
        if version >= V1_2 {
            bytes.extend([0xee; 4]);
            bytes.extend(self.uuid.iter().flat_map(|word| word.to_le_bytes()));
        }
        let start = self.offset as usize;
        if start >= bytes.len() && start < 4096 {
            bytes.resize(start, 0xdd);
            bytes.extend(&self.payload);
        }
        bytes
    }

    /// Parses the message that the SPMC wrote to RX of an endpoint with `version`.
    pub fn decode(read: impl Fn(u64, usize) -> Vec<u8>, version: u64) -> Self {
        let bytes = read(0, 40);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let half = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
        assert_eq!(word(4), 0, "reserved");
        let (offset, size) = (word(8), word(16));
        let uuid = if version >= V1_2 {
            assert_eq!(word(20), 0, "reserved");
            [word(24), word(28), word(32), word(36)]
        } else {
            [0; 4]
        };
        Self {
            flags: word(0),
            offset,
            receiver: half(12),
            sender: half(14),
            size,
            uuid,
            payload: read(offset.into(), size as usize),
        }
    }
}

const fn header(version: u64) -> usize {
    if version >= V1_2 { 40 } else { 20 }
}

/// Calls `FFA_MSG_SEND2` for the Normal world.
pub fn send(nwd: &Nwd<'_>, version: u64, message: &Message) -> Option<i32> {
    nwd.write(NWD_TX, &message.encode(version));
    nwd.call([MSG_SEND2]).error()
}

pub const SENT: Option<i32> = None;

fn received(nwd: &Nwd<'_>, version: u64) -> Message {
    Message::decode(|at, bytes| nwd.read(NWD_RX + at, bytes), version)
}

fn sp_send(sp: &mut Sp, version: u64, message: &Message, flags: u64) -> Option<i32> {
    sp.write(Secure, sp.tx(), &message.encode(version)).unwrap();
    sp.call([MSG_SEND2, 0, flags]).error()
}

fn sp_received(sp: &mut Sp, version: u64) -> Message {
    let rx = sp.tx() + 0x1000;
    let mut page = vec![0; 4096];
    sp.read(Secure, rx, &mut page).unwrap();
    Message::decode(
        |at, bytes| page[at as usize..at as usize + bytes].to_vec(),
        version,
    )
}

/// Returns a partition with indirect messages that answers direct requests by `serve`.
pub fn partition(name: &str, serve: fn(&mut Sp, [u64; 5]) -> [u64; 5]) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|sp| sp.messaging = 7)
        .script(move |sp| {
            sp.map_buffers();
            sp.serve(move |sp, request| serve(sp, request.payload()))
        })
}

/// Answers with the contents of RX (id of the sender, size, first byte of the payload) and releases
/// RX.
pub fn tell(sp: &mut Sp, _: [u64; 5]) -> [u64; 5] {
    let message = sp_received(sp, V1_2);
    assert_eq!(message.receiver, sp.id);
    assert_eq!(sp.call([RX_RELEASE]).success(), [0; 6]);
    let first = message.payload.first().copied().unwrap_or(0);
    [
        message.sender.into(),
        message.size.into(),
        first.into(),
        0,
        0,
    ]
}

/// Sends a message of bytes 0xa5 with the requested receiver, size and flags. Answers with the
/// error or 0.
pub fn send_to(sp: &mut Sp, [to, size, flags, ..]: [u64; 5]) -> [u64; 5] {
    let message = Message::new(V1_2, sp.id, to as u16, &vec![0xa5; size as usize]);
    let error = sp_send(sp, V1_2, &message, flags);
    [error.map_or(0, |code| code as u32 as u64), 0, 0, 0, 0]
}

pub const fn code(error: i32) -> u64 {
    error as u32 as u64
}

// req: RXTX-12, RXTX-13, RXTX-14, IND-01, IND-13
#[test]
fn from_the_normal_world_to_a_partition() {
    let system = System::boot([partition("sp1", tell)]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let message = Message::new(V1_2, 0, 0x8001, &[0x5a; 100]);
    assert_eq!(send(&nwd, V1_2, &message), SENT);
    assert_eq!(send(&nwd, V1_2, &message), Some(BUSY), "RX is full");
    assert_eq!(nwd.ask(0x8001, [0; 5]), [0, 100, 0x5a, 0, 0]);
    let empty = Message::new(V1_2, 0, 0x8001, &[]);
    assert_eq!(send(&nwd, V1_2, &empty), SENT);
    assert_eq!(nwd.ask(0x8001, [0; 5]), [0, 0, 0, 0, 0]);
}

// req: RXTX-13, RXTX-15, IND-01, IND-13
#[test]
fn from_a_partition_to_the_normal_world() {
    let system = System::boot([partition("sp1", send_to)]);
    let nwd = system.nwd();
    nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
    assert_eq!(nwd.ask(0x8001, [0, 4, 0, 0, 0])[0], code(BUSY), "no RX yet");
    nwd.map_buffers();
    for flags in [0, DELAY_SRI] {
        assert_eq!(nwd.ask(0x8001, [0, 48, flags, 0, 0])[0], 0);
        assert_eq!(nwd.ask(0x8001, [0, 48, flags, 0, 0])[0], code(BUSY));
        let expected = Message::new(V1_2, 0x8001, 0, &[0xa5; 48]);
        assert_eq!(received(&nwd, V1_2), expected);
        nwd.call([RX_RELEASE]).success();
    }
}

// req: RXTX-16, IND-01
#[test]
fn between_partitions_in_both_orders_of_their_ids() {
    let both = |sp: &mut Sp, request: [u64; 5]| {
        if request[4] == 0 {
            send_to(sp, request)
        } else {
            tell(sp, request)
        }
    };
    let system = System::boot([partition("sp1", both), partition("sp2", both)]);
    let nwd = system.nwd();
    for (from, to) in [(0x8001, 0x8002), (0x8002, 0x8001)] {
        assert_eq!(nwd.ask(from, [to.into(), 16, 0, 0, 0])[0], 0);
        let expected = [from.into(), 16, 0xa5, 0, 0];
        assert_eq!(nwd.ask(to, [0, 0, 0, 0, 1]), expected);
    }
}

// req: IND-02, IND-03, IND-15
#[test]
fn the_header_is_that_of_each_side() {
    let serve = |version: u64| {
        move |sp: &mut Sp| {
            sp.map_buffers();
            sp.serve(move |sp, _| {
                let got = sp_received(sp, version);
                let answer = Message::new(version, sp.id, 0, &got.payload);
                assert_eq!(sp_send(sp, version, &answer, 0), None);
                [got.offset.into(), got.sender.into(), 0, 0, 0]
            })
        }
    };
    for (ours, theirs) in [(V1_1, V1_2), (V1_2, V1_1), (V1_1, V1_1), (V1_2, V1_2)] {
        let system = System::boot([PartitionSpec::new("sp1")
            .with(|sp| sp.messaging = 7)
            .version(theirs as u32 & 0xff)
            .script(serve(theirs))]);
        let nwd = system.nwd();
        nwd.version(ours);
        nwd.map_buffers();
        nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
        let message = Message::new(ours, 0, 0x8001, b"payload");
        assert_eq!(send(&nwd, ours, &message), SENT);
        // The payload only moves to make room for a longer header.
        let offset = header(ours).max(header(theirs)) as u32;
        assert_eq!(nwd.ask(0x8001, [0; 5])[..2], [offset.into(), 0]);
        let answer = received(&nwd, ours);
        assert_eq!(
            (answer.offset, answer.payload.as_slice()),
            (offset, &b"payload"[..])
        );
    }
}

// req: IND-15
#[test]
fn a_payload_stays_where_its_sender_put_it() {
    let serve = |sp: &mut Sp, _: [u64; 5]| {
        let message = sp_received(sp, V1_2);
        sp.call([RX_RELEASE]).success();
        [
            message.offset.into(),
            message.payload[0].into(),
            message.uuid[0].into(),
            0,
            0,
        ]
    };
    for minor in [1, 2] {
        let system = System::boot([partition("sp1", serve).version(minor)]);
        let nwd = system.nwd();
        nwd.map_buffers();
        let mut message = Message::new(V1_2, 0, 0x8001, &[7; 64]);
        for offset in [40, 64, 1000, 4096 - 64] {
            message.offset = offset;
            assert_eq!(send(&nwd, V1_2, &message), SENT);
            assert_eq!(nwd.ask(0x8001, [0; 5]), [offset.into(), 7, 0, 0, 0]);
        }
    }
}

// The bytes behind a message are those of its receiver, or of an earlier message.
// req: RXTX-13, IND-16
#[test]
fn nothing_is_written_behind_a_message() {
    let script = |sp: &mut Sp| {
        sp.map_buffers();
        let rx = sp.tx() + 0x1000;
        sp.write(Secure, rx, &[0x5a; 4096]).unwrap();
        sp.serve(move |sp, _| {
            let mut page = [0; 4096];
            sp.read(Secure, rx, &mut page).unwrap();
            sp.call([RX_RELEASE]).success();
            let kept = page.iter().rev().take_while(|byte| **byte == 0x5a);
            [kept.count() as u64, 0, 0, 0, 0]
        })
    };
    let system = System::boot([PartitionSpec::new("sp1")
        .with(|sp| sp.messaging = 7)
        .script(script)]);
    let nwd = system.nwd();
    nwd.map_buffers();
    nwd.write(NWD_TX, &[0x77; 4096]);
    for (size, behind) in [(1, 41), (64, 104), (40, 104)] {
        let message = Message::new(V1_2, 0, 0x8001, &vec![0xa5; size]);
        assert_eq!(send(&nwd, V1_2, &message), SENT);
        assert_eq!(nwd.ask(0x8001, [0; 5])[0], 4096 - behind);
    }
}

// req: IND-11
#[test]
fn services_are_those_with_indirect_messages() {
    let system = System::boot([partition("sp1", tell).with(|sp| {
        sp.uuids = vec![[1, 2, 3, 4], SERVICE];
        sp.methods = vec![3, 7];
    })]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let mut message = Message::new(V1_2, 0, 0x8001, &[9]);
    message.uuid = [1, 2, 3, 5];
    assert_eq!(send(&nwd, V1_2, &message), Some(INVALID_PARAMETERS));
    // Only the other partition has these messages.
    message.uuid = [1, 2, 3, 4];
    assert_eq!(send(&nwd, V1_2, &message), Some(INVALID_PARAMETERS));
    message.uuid = SERVICE;
    assert_eq!(send(&nwd, V1_2, &message), SENT);
    assert_eq!(nwd.ask(0x8001, [0; 5]), [0, 1, 9, 0, 0]);
}

// req: IND-02, IND-12
#[test]
fn the_uuid_reaches_the_receiver() {
    let serve = |sp: &mut Sp, _: [u64; 5]| {
        let [a, b, c, d] = sp_received(sp, V1_2).uuid.map(u64::from);
        [a, b, c, d, 0]
    };
    let system = System::boot([partition("sp1", serve).with(|sp| sp.uuids = vec![SERVICE])]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let mut message = Message::new(V1_2, 0, 0x8001, &[9]);
    message.uuid = SERVICE;
    assert_eq!(send(&nwd, V1_2, &message), SENT);
    let [a, b, c, d] = SERVICE.map(u64::from);
    assert_eq!(nwd.ask(0x8001, [0; 5]), [a, b, c, d, 0]);
}

// req: RXTX-18, IND-21
#[test]
fn messages_of_sixteen_pages_arrive_whole() {
    const PAGES: u64 = 16;
    let payload: Vec<u8> = (0..PAGES * 4096 - 40).map(|n| (n % 251) as u8).collect();
    let expected = payload.clone();
    let script = move |sp: &mut Sp| {
        let (tx, rx) = (partition_base(0) + 0x2_0000, partition_base(0) + 0x4_0000);
        sp.call([RXTX_MAP_64, tx, rx, PAGES]).success();
        let expected = expected.clone();
        sp.serve(move |sp, _| {
            let mut bytes = vec![0; expected.len()];
            sp.read(Secure, rx + 40, &mut bytes).unwrap();
            [(bytes == expected).into(), 0, 0, 0, 0]
        })
    };
    let system = System::boot([PartitionSpec::new("sp1")
        .with(|sp| sp.messaging = 7)
        .script(script)]);
    let nwd = system.nwd();
    let (tx, rx) = (NWD_PAGES, NWD_PAGES + 0x10_000);
    nwd.call([RXTX_MAP_64, tx, rx, PAGES]).success();
    let mut message = Message::new(V1_2, 0, 0x8001, &[]).encode(V1_2);
    message[16..20].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    message.extend(payload);
    nwd.write(tx, &message);
    assert_eq!(nwd.call([MSG_SEND2]).success(), [0; 6]);
    assert_eq!(nwd.ask(0x8001, [0; 5])[0], 1);
}

/// Returns the framework notifications in an answer to vCPU 0: those of the SPM and of the
/// Hypervisor.
fn framework_notifications(answer: &host_tests::Regs) -> [u64; 2] {
    let [none @ .., spm, hypervisor] = answer.success();
    assert_eq!(none, [0; 4]);
    [spm, hypervisor]
}

// FF-A v1.1 section 10.8: the framework notifies that RX is full.
// req: RXTX-13, NTF-22, NTF-23, NTF-39, NTF-40
#[test]
fn a_receiver_is_notified_of_a_full_rx() {
    const SPM: u64 = 1 << 2;
    const HYPERVISOR: u64 = 1 << 3;
    let script = |sp: &mut Sp, request: [u64; 5]| {
        if request[4] == 0 {
            return send_to(sp, request);
        }
        let own = sp.id.into();
        let [spm, hypervisor] =
            framework_notifications(&sp.call([NOTIFICATION_GET, own, request[3]]));
        assert_eq!(sp_received(sp, V1_2).receiver, sp.id);
        sp.call([RX_RELEASE]).success();
        [spm, hypervisor, 0, 0, 0]
    };
    let notified = |name| {
        partition(name, script).with(|sp| {
            sp.extra = Some(std::sync::Arc::new(|fdt| {
                fdt.property_null("notification-support").unwrap();
            }));
        })
    };
    let system = System::boot([notified("sp1"), notified("sp2")]);
    let nwd = system.nwd();
    nwd.map_buffers();
    nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
    // From the Normal world to a partition. A call that asks for the SPM's map gets the
    // Hypervisor's, too.
    for maps in [SPM | HYPERVISOR, SPM, HYPERVISOR] {
        assert_eq!(send(&nwd, V1_2, &Message::new(V1_2, 0, 0x8001, &[1])), SENT);
        let told = nwd.call([NOTIFICATION_INFO_GET_64]);
        assert_eq!(told.0[..4], [SUCCESS_64, 0, 1 << 7, 0x8001]);
        assert_eq!(nwd.ask(0x8001, [0, 0, 0, maps, 1])[..2], [0, 1]);
    }
    // Between partitions.
    assert_eq!(nwd.ask(0x8001, [0x8002, 8, 0, 0, 0])[0], 0);
    assert_eq!(nwd.ask(0x8002, [0, 0, 0, SPM, 1])[..2], [1, 0]);
    // To the Normal world. A refused message notifies nobody.
    assert_eq!(nwd.ask(0x8002, [0, 8, 2, 0, 0])[0], 0);
    let get = [NOTIFICATION_GET, 0, 5];
    assert_eq!(framework_notifications(&nwd.call(get)), [1, 0]);
    assert_eq!(nwd.ask(0x8002, [0, 8, 0, 0, 0])[0], code(BUSY));
    assert_eq!(framework_notifications(&nwd.call(get)), [0, 0]);
}

// req: RXTX-14, MSGW-02, IND-24
#[test]
fn a_message_that_the_receiver_does_not_know_of_outlasts_its_wait() {
    for (notified, kept) in [(true, true), (false, false)] {
        let script = |sp: &mut Sp| {
            sp.map_buffers();
            let mut message = sp.msg_wait();
            loop {
                // The partition works on something else while the message comes in, and then waits.
                message = if message.function() == RUN {
                    sp.interrupt();
                    sp.msg_wait()
                } else {
                    let full = sp.call([RX_RELEASE]).error().is_none();
                    sp.respond(&message, [full.into(), 0, 0, 0, 0])
                };
            }
        };
        let system = System::boot([PartitionSpec::new("sp1")
            .with(|sp| {
                sp.messaging = 7;
                sp.extra = notified.then(|| -> std::sync::Arc<dyn Fn(&mut _) + Send + Sync> {
                    std::sync::Arc::new(|fdt: &mut vm_fdt::FdtWriter| {
                        fdt.property_null("notification-support").unwrap();
                    })
                });
            })
            .script(script)]);
        let nwd = system.nwd();
        nwd.map_buffers();
        assert_eq!(nwd.call([RUN, 0x8001_0000]).function(), INTERRUPT);
        assert_eq!(send(&nwd, V1_2, &Message::new(V1_2, 0, 0x8001, &[1])), SENT);
        assert_eq!(nwd.call([RUN, 0x8001_0000]).function(), MSG_WAIT);
        assert_eq!(nwd.ask(0x8001, [0; 5])[0], kept.into());
    }
}

// The interrupt comes at once, unless the sender asked for a delay.
// req: NTF-33, NTF-34
#[test]
fn the_scheduler_is_told_at_once_unless_the_sender_wants_to_give_the_pe_back_first() {
    let receiver = super::notification::caller("receiver")
        .with(|sp| sp.messaging = 7)
        .script(|sp| {
            sp.map_buffers();
            loop {
                sp.msg_wait();
                sp.call([RX_RELEASE]).success();
            }
        });
    let sender = PartitionSpec::new("sender")
        .with(|sp| sp.messaging = 7)
        .script(|sp| {
            sp.map_buffers();
            sp.serve(|sp, request| {
                let message = Message::new(V1_2, sp.id, 0x8001, b"news");
                sp.write(Secure, sp.tx(), &message.encode(V1_2)).unwrap();
                let raised =
                    |sp: &mut Sp| sp.journal(|journal| journal.schedule_receiver.len() as u64);
                let before = raised(sp);
                sp.call([MSG_SEND2, 0, request.0[3]]).success();
                [raised(sp) - before, 0, 0, 0, 0]
            })
        });
    let system = System::boot([receiver, sender]);
    let nwd = system.nwd();
    let raised = || system.machine.journal().schedule_receiver.len();
    for (flags, at_once) in [(0, 1), (DELAY_SRI, 0)] {
        let before = raised();
        assert_eq!(nwd.ask(0x8002, [flags; 5])[0], at_once);
        assert_eq!(raised(), before + 1);
        assert_eq!(nwd.call([RUN, 0x8001_0000]).function(), MSG_WAIT);
    }
}
