//! FF-A 1.3: who gets it, and what is different at it. Partitions at 1.3 live beside older ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::system::NWD_RX;
use host_tests::{PartitionSpec, Regs, Sp, System};
use spmc::addr::World::Secure;

const IMAGE: [u32; 4] = [0x1111, 0x2222, 0x3333, 0x4444];
const UUID_A: [u32; 4] = [0xa, 0xa, 0xa, 0xa];
const UUID_B: [u32; 4] = [0xb, 0xb, 0xb, 0xb];
const NIL: [u32; 4] = [0; 4];
const AARCH64: u32 = 1 << 8;

/// Boots under an EL3 that speaks 1.3.
fn boot(partitions: impl IntoIterator<Item = PartitionSpec>) -> System {
    let builder = System::builder().el3(3, 3);
    partitions
        .into_iter()
        .fold(builder, |all, sp| all.sp(sp))
        .boot()
}

/// Adds `image-uuid` as four cells.
fn with_image(spec: PartitionSpec, uuid: [u32; 4]) -> PartitionSpec {
    spec.with(|sp| {
        sp.extra = Some(Arc::new(move |fdt| {
            fdt.property_array_u32("image-uuid", &uuid).unwrap();
        }));
    })
}

// req: VER-17
#[test]
fn the_normal_world_is_offered_what_el3_and_the_manifest_carry() {
    for (spmd, declared, offered) in [
        (2, 2, V1_2),
        (3, 2, V1_2),
        (2, 3, V1_2),
        (3, 3, V1_3),
        (4, 9, V1_3),
        (0, 1, V1_2),
    ] {
        let system = System::builder().el3(spmd, declared).boot();
        for asked in [V1_0, V1_3, 0x1_0009] {
            assert_eq!(system.nwd().version(asked), offered, "{spmd} {declared}");
        }
    }
    let refused = |machine: &host_tests::machine::Machine| {
        machine.spmd_version.store(0xffff_ffff, Ordering::Relaxed);
    };
    let system = System::builder().el3(3, 3).prepare(refused).boot();
    assert_eq!(system.nwd().version(V1_3), V1_2);
}

// A kernel that does not negotiate may know nothing of 1.3.
// req: VER-09, VER-17
#[test]
fn before_it_negotiates_the_normal_world_is_at_1_2() {
    let system = boot([PartitionSpec::new("sp1")]);
    let nwd = system.nwd();
    nwd.map_buffers();
    assert_eq!(nwd.call([PARTITION_INFO_GET]).success()[..2], [1, 24]);
}

// req: VER-15
#[test]
fn queries_change_nothing() {
    let sp = PartitionSpec::new("sp1").script(|sp| {
        for ended in [false, true] {
            assert_eq!(sp.refused_version([V1_3, 1]), V1_3);
            assert_eq!(sp.refused_version([V1_3, 2]), if ended { V1_1 } else { 0 });
            assert_eq!(sp.refused_version([V1_3, 3]), 0xffff_ffff);
            assert_eq!(sp.refused_version([V1_3, 1 << 31]), 0xffff_ffff);
            // An older caller leaves anything in w2.
            assert_eq!(sp.call([VERSION, V1_1, 3]).0[0], V1_3);
            sp.call([ID_GET]).success();
        }
        sp.msg_wait();
    });
    let system = boot([sp]);
    let nwd = system.nwd();
    // The SPMD may use either width, and looks for the 32-bit form of the answer.
    let ask = |version, flags| {
        let told = [DIRECT_REQ_32, DIRECT_REQ_64].map(|id| {
            let answer = nwd.call([id, 0xffff_8000, 0x8000_0008, version, flags]);
            assert_eq!(answer.0[..3], [DIRECT_RESP_32, 0x8000_ffff, 0x8000_0009]);
            answer.0[3]
        });
        assert_eq!(told[0], told[1]);
        told[0]
    };
    assert_eq!(ask(V1_3, 2), 0);
    assert_eq!(ask(V1_3, 1), V1_3);
    assert_eq!(ask(V1_3, 0), V1_3);
    assert_eq!(ask(V1_3, 2), V1_3);
    assert_eq!(ask(V1_3, 4), 0xffff_ffff);
}

trait Query {
    fn refused_version(&mut self, regs: [u64; 2]) -> u64;
}

impl Query for Sp {
    /// Asks by `FFA_VERSION` what must not change anything.
    fn refused_version(&mut self, [version, flags]: [u64; 2]) -> u64 {
        let before = self.snapshot();
        let answer = self.call([VERSION, version, flags]).0[0];
        assert_eq!(before, self.snapshot());
        answer
    }
}

fn query(uuid: [u32; 4]) -> [u64; 6] {
    let [a, b, c, d] = uuid.map(u64::from);
    [PARTITION_INFO_GET, a, b, c, d, 0]
}

fn by_registers(uuid: [u32; 4], start: u64, tag: u64) -> [u64; 4] {
    let [a, b, c, d] = uuid.map(u64::from);
    let position = tag << 16 | start;
    [PARTITION_INFO_GET_REGS, b << 32 | a, d << 32 | c, position]
}

/// Returns a descriptor of 48 bytes.
fn descriptor(id: u16, properties: u32, uuid: [u32; 4], image: [u32; 4], version: u64) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(properties.to_le_bytes());
    let words = uuid.into_iter().chain(image).chain([version as u32, 0]);
    bytes.extend(words.flat_map(u32::to_le_bytes));
    bytes
}

fn described() -> [PartitionSpec; 2] {
    let first = PartitionSpec::new("sp1").version(3);
    [
        with_image(first, IMAGE).with(|sp| sp.uuids = vec![UUID_A, UUID_B]),
        PartitionSpec::new("sp2")
            .version(1)
            .with(|sp| sp.uuids = vec![UUID_B]),
    ]
}

// req: PINFO-20, PINFO-21, RXTX-32
#[test]
fn callers_at_1_3_get_48_bytes() {
    let system = boot(described());
    let nwd = system.nwd();
    assert_eq!(nwd.version(V1_3), V1_3);
    nwd.map_buffers();
    let properties = 1 | AARCH64;
    let sp1 = |uuid, image| descriptor(0x8001, properties, uuid, image, V1_3);
    let sp2 = |uuid| descriptor(0x8002, properties, uuid, NIL, V1_1);
    for (uuid, expected) in [
        (
            NIL,
            vec![sp1(UUID_A, IMAGE), sp1(UUID_B, IMAGE), sp2(UUID_B)],
        ),
        (UUID_B, vec![sp1(NIL, IMAGE), sp2(NIL)]),
        (IMAGE, vec![sp1(UUID_A, NIL), sp1(UUID_B, NIL)]),
    ] {
        nwd.write(NWD_RX, &[0xaa; 4096]);
        let count = expected.len() as u64;
        assert_eq!(nwd.call(query(uuid)).success()[..2], [count, 48]);
        let mut whole = expected.concat();
        whole.resize(4096, 0);
        assert_eq!(nwd.read(NWD_RX, 4096), whole, "the rest is zero");
        nwd.call([RX_RELEASE]).success();
        let mut listed = Vec::new();
        let mut position = (0, 0);
        while (listed.len() as u64) < count {
            let answer = nwd.call(by_registers(uuid, position.0, position.1));
            assert_eq!(answer.0[0], SUCCESS_64);
            let x2 = answer.0[2];
            assert_eq!((x2 >> 48, x2 & 0xffff), (48, count - 1));
            let bytes: Vec<u8> = answer.0[3..].iter().flat_map(|x| x.to_le_bytes()).collect();
            let told = (x2 >> 16 & 0xffff) + 1;
            let here = (told - position.0) as usize;
            assert!(here <= 2);
            listed.extend(bytes.chunks(48).take(here).map(<[u8]>::to_vec));
            position = (told, x2 >> 32 & 0xffff);
        }
        assert_eq!(listed, expected);
    }
    nwd.refused(query([9; 4]), INVALID_PARAMETERS);
}

// A logical partition of the SPMD asks for an image by a call that looks like one of the Normal
// world, whatever that speaks.
// req: PINFO-21, PINFO-22
#[test]
fn an_image_is_found_by_older_callers_in_registers_only() {
    let system = boot(described());
    let nwd = system.nwd();
    nwd.version(V1_2);
    nwd.map_buffers();
    nwd.refused(query(IMAGE), INVALID_PARAMETERS);
    let answer = nwd.call(by_registers(IMAGE, 0, 0));
    assert_eq!((answer.0[2] >> 48, answer.0[2] & 0xffff), (48, 1));
    assert_eq!(answer.0[8], V1_3);
    let answer = nwd.call(by_registers(UUID_B, 0, 0));
    assert_eq!((answer.0[2] >> 48, answer.0[2] & 0xffff), (24, 1));
    assert_eq!(nwd.call(query(NIL)).success()[..2], [3, 24]);
}

/// The property of partitions that can be replaced while the system runs.
const LIVE: u32 = 1 << 11;

// A logical partition asks by the image, whatever the Normal world speaks.
// req: PINFO-23
#[test]
fn callers_at_1_3_learn_who_can_be_replaced() {
    let live = |fdt: &mut vm_fdt::FdtWriter| {
        for name in ["lifecycle-support", "live-activation-support"] {
            fdt.property_null(name).unwrap();
        }
        fdt.property_u32("live-activation-register", 1).unwrap();
        fdt.property_array_u32("image-uuid", &IMAGE).unwrap();
    };
    let asks = |minor| {
        PartitionSpec::new("asks").version(minor).script(move |sp| {
            let first = by_registers(NIL, 0, 0);
            let answer = sp.call_with(Regs::new(first));
            let expected = if minor == 3 { LIVE } else { 0 };
            assert_eq!((answer.0[3] >> 32) as u32 & LIVE, expected, "1.{minor}");
            sp.serve(|_, request| request.payload())
        })
    };
    // The version of the partition itself does not count.
    for minor in [1, 3] {
        let replaced = PartitionSpec::new("sp1").version(minor);
        let system = boot([
            replaced.with(|sp| sp.extra = Some(Arc::new(live))),
            asks(2),
            asks(3),
        ]);
        let nwd = system.nwd();
        let properties = |query: [u64; 4], length: u64| {
            let answer = nwd.call(query);
            assert_eq!(answer.0[2] >> 48, length);
            (answer.0[3] >> 32) as u32
        };
        nwd.version(V1_2);
        assert_eq!(properties(by_registers(NIL, 0, 0), 24) & LIVE, 0);
        assert_eq!(properties(by_registers(IMAGE, 0, 0), 48) & LIVE, LIVE);
        let system = boot([PartitionSpec::new("sp1").with(|sp| sp.extra = Some(Arc::new(live)))]);
        let nwd = system.nwd();
        nwd.version(V1_3);
        for query in [by_registers(NIL, 0, 0), by_registers(IMAGE, 0, 0)] {
            let answer = nwd.call(query);
            // Bit 12 would ask for a meeting of all PEs.
            assert_eq!((answer.0[3] >> 32) as u32 & !0x7ff, LIVE);
        }
    }
}

/// Negotiates 1.`minor` and answers each request with its own payload plus one in each register, by
/// a response of that form.
fn echo(minor: u64, response: u64) -> impl Fn(&mut Sp) + Send + Sync + 'static {
    move |sp| {
        sp.wide = true;
        sp.call([VERSION, V1_0 + minor]);
        let mut request = sp.msg_wait();
        loop {
            let mut answer = request;
            answer.0[0] = response;
            answer.0[1] = u64::from(sp.id) << 16 | request.0[1] >> 16;
            for x in &mut answer.0[3..] {
                *x = x.wrapping_add(1);
            }
            request = sp.call_with(answer);
        }
    }
}

// req: MSGD-26
#[test]
fn direct_messages_between_endpoints_at_1_3_use_x8_to_x17() {
    let payload: [u64; 15] = std::array::from_fn(|n| 0xabcd_0000_0000 + n as u64);
    let mut request = Regs::new([DIRECT_REQ_64, 0x8001, 0]);
    request.0[3..].copy_from_slice(&payload);
    for (nwd_minor, sp_minor) in [(3, 3), (2, 3), (3, 2), (2, 2)] {
        let system = boot([PartitionSpec::new("sp1").script(echo(sp_minor, DIRECT_RESP_64))]);
        system.is_wide.store(true, Ordering::Relaxed);
        let nwd = system.nwd();
        nwd.version(V1_0 + nwd_minor);
        let answer = nwd.call_with(request);
        let wide = nwd_minor == 3 && sp_minor == 3;
        let expected: [u64; 15] = std::array::from_fn(|n| payload[n] + u64::from(n < 5 || wide));
        assert_eq!(answer.0[..3], [DIRECT_RESP_64, 0x8001_0000, 0]);
        assert_eq!(answer.0[3..], expected, "{nwd_minor} {sp_minor}");
        // The 32-bit form has 8 registers at every version, and so has a response in that form.
        let mut short = request;
        short.0[0] = DIRECT_REQ_32;
        let answer = nwd.call_with(short);
        assert_eq!(answer.0[8..], short.0[8..]);
    }
    let system = boot([PartitionSpec::new("sp1").script(echo(3, DIRECT_RESP_32))]);
    let nwd = system.nwd();
    nwd.version(V1_3);
    let answer = nwd.call_with(request);
    assert_eq!(
        (answer.0[0], &answer.0[8..]),
        (DIRECT_RESP_32, &request.0[8..])
    );
}

// req: MSGD-26
#[test]
fn partitions_at_1_3_exchange_x8_to_x17_too() {
    for caller_minor in [2, 3] {
        let system = boot([
            PartitionSpec::new("sp1").script(move |sp| {
                sp.wide = true;
                sp.call([VERSION, V1_0 + caller_minor]);
                let request = sp.msg_wait();
                let mut call = Regs::new([DIRECT_REQ_64, 0x8001_8002, 0]);
                call.0[3..].fill(7);
                let answer = sp.call_with(call);
                assert_eq!(
                    answer.0[..8],
                    [DIRECT_RESP_64, 0x8002_8001, 0, 8, 8, 8, 8, 8]
                );
                let last = if caller_minor == 3 { 8 } else { 7 };
                assert_eq!(answer.0[8..], [last; 10]);
                // Not a response that a plain request could have: the kinds differ.
                sp.respond(&request, [1; 5]);
            }),
            PartitionSpec::new("sp2").script(echo(3, DIRECT_RESP_64)),
        ]);
        assert_eq!(system.nwd().ask(0x8001, [0; 5]), [1; 5]);
    }
}

// req: MSGD-26, MSGD-18
#[test]
fn a_wide_request_is_answered_by_a_response_of_the_first_kind_only() {
    let system = boot([PartitionSpec::new("sp1").version(3).script(|sp| {
        sp.wide = true;
        let request = sp.msg_wait();
        sp.refused([DIRECT_RESP2, 0x8001_0000], DENIED);
        sp.refused([DIRECT_RESP_64, 0x8001_0001], DENIED);
        sp.refused([DIRECT_RESP_64, 0x8002_0000], INVALID_PARAMETERS);
        sp.regs[8..18].fill(0);
        sp.respond(&request, [3; 5]);
    })]);
    system.is_wide.store(true, Ordering::Relaxed);
    system.nwd().version(V1_3);
    assert_eq!(system.nwd().ask(0x8001, [0; 5]), [3; 5]);
}

// req: FEAT-15, FEAT-16, MSGW-26
#[test]
fn sixty_four_bit_forms_are_for_partitions_at_1_3() {
    let forms = [MSG_WAIT_64, YIELD_64, RUN_64, ERROR_64];
    let old = PartitionSpec::new("old").version(2).script(move |sp| {
        for form in forms {
            sp.refused([FEATURES, form], NOT_SUPPORTED);
            sp.refused([form], NOT_SUPPORTED);
        }
        sp.refused([FEATURES, 4], NOT_SUPPORTED);
        sp.msg_wait();
    });
    let new = PartitionSpec::new("new").version(3).script(move |sp| {
        sp.wide = true;
        for form in forms {
            sp.call([FEATURES, form]).success();
        }
        assert_eq!(sp.call([FEATURES, 4]).success(), [0; 6]);
        sp.refused([FEATURES, 4, 1], NOT_SUPPORTED);
        sp.refused([MSG_WAIT_64, 1], INVALID_PARAMETERS);
        let request = sp.call([MSG_WAIT_64]);
        assert_eq!(request.0[0], DIRECT_REQ_64);
        sp.refused([RUN_64, 0x8001_0000], DENIED);
        assert_eq!(sp.call([YIELD_64]).function(), SUCCESS_32);
        let request = sp.respond(&request, [5; 5]);
        assert_eq!(request.0[0], DIRECT_REQ_64);
        sp.call([ERROR_64, 0, NO_MEMORY as u32 as u64]);
    });
    let system = boot([old, new]);
    system.is_wide.store(true, Ordering::Relaxed);
    let nwd = system.nwd();
    nwd.version(V1_3);
    for form in forms {
        nwd.refused([FEATURES, form], NOT_SUPPORTED);
        nwd.refused([form, 0x8002_0000], NOT_SUPPORTED);
    }
    assert_eq!(nwd.call([FEATURES, 4]).success(), [0; 6]);
    assert_eq!(nwd.request(0x8002, [0; 5]).function(), YIELD);
    assert_eq!(nwd.call([RUN, 0x8002_0000]).payload(), [5; 5]);
    assert_eq!(nwd.request(0x8002, [0; 5]).error(), Some(NO_MEMORY));
}

// req: RXTX-32
#[test]
fn rx_holds_nothing_behind_what_was_written() {
    let base = partition_base(0) + 0x1_0000;
    let rx = base + 0x1000;
    let receiver = |version: u32| {
        PartitionSpec::new("sp1")
            .version(version)
            .with(|sp| sp.messaging = 7)
            .script(move |sp| {
                sp.call([RXTX_MAP_64, base, rx, 1]).success();
                sp.write(Secure, rx, &[0xaa; 4096]).unwrap();
                sp.msg_wait();
                let mut found = [0; 4096];
                sp.read(Secure, rx, &mut found).unwrap();
                let rest = found[48..].iter().all(|byte| *byte == 0);
                assert_eq!(rest, version == 3);
                assert_eq!(found[40..48], [7; 8]);
                sp.serve(|_, _| [0; 5])
            })
    };
    for version in [2, 3] {
        let system = boot([receiver(version)]);
        let nwd = system.nwd();
        nwd.version(V1_2);
        nwd.map_buffers();
        let mut message = vec![0; 48];
        message[8] = 40;
        message[12..14].copy_from_slice(&0x8001_u16.to_le_bytes());
        message[16] = 8;
        message[40..].fill(7);
        nwd.write(host_tests::system::NWD_TX, &message);
        nwd.call([MSG_SEND2]).success();
        nwd.call([RUN, 0x8001_0000]);
    }
}

// req: LIFE-01
#[test]
fn an_abort_has_no_arguments_but_a_reason() {
    let system = boot([PartitionSpec::new("sp1").version(3).script(|sp| {
        sp.refused([ABORT_64, 1], INVALID_PARAMETERS);
        sp.refused([ABORT_32, 0, 0, 1], INVALID_PARAMETERS);
        sp.refused([ABORT_64, 0, 0, 0, 0, 0, 0, 1], INVALID_PARAMETERS);
        sp.msg_wait();
        sp.call([ABORT_64, 0, 0x1234]);
        unreachable!()
    })]);
    assert_eq!(system.nwd().request(0x8001, [0; 5]).error(), Some(ABORTED));
}
