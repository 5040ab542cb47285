//! OP-TEE 4.6 as a partition, and Linux's driver for it, register by register and byte by byte.
//!
//! As a partition OP-TEE makes its calls by HVC and gives up the PE by SMC. It takes the lower one
//! of its version, 1.2, and the SPMC's, but its access descriptors have 16 bytes at each version
//! from 1.1 on, and 32 bytes precede them at 1.0. Its retrieve request is the 32-bit call and says
//! that it takes any alignment. Before 3.17, at 1.0, it asked for time slicing as well, and did so
//! twice. The driver makes requests of 32 bits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use host_tests::ffa::*;
use host_tests::system::NWD_PAGES;
use host_tests::{Nwd, PartitionSpec, Regs, Sp, System};
use spmc::addr::World;
use spmc::hal::Conduit;

use super::indirect::code;

const OPTEE: u16 = 0x8001;

/// w3 of requests: the API version, the revision, the capabilities, to let go of a handle, to
/// enable notifications, and to call with an argument in shared memory.
const API: u64 = 0;
const REVISION: u64 = 1;
const CAPABILITIES: u64 = 2;
const UNREGISTER: u64 = 3;
const ENABLE: u64 = 5;
const CALL: u64 = 0x8000_0000;

/// Flags of its retrieve request: a share, and the hint about alignment is valid and zero.
const FLAGS: u32 = 1 << 3 | 1 << 9;

/// Flags before 3.17. The flag for time slicing is in its own entry, too.
const FLAGS_OF_3_16: u32 = FLAGS | SLICED;
const SLICED: u32 = 1 << 1;

/// Makes a call by HVC, with zero in all registers that it does not give.
fn hvc<const N: usize>(sp: &mut Sp, regs: [u64; N]) -> Regs {
    let mut all = [0; 8];
    all[..N].copy_from_slice(&regs);
    sp.call_by(Conduit::Hvc, all)
}

/// Returns OP-TEE with a version, one context for each PE, its answers, and the flags of its
/// retrieve request.
fn optee(version: u64, flags: u32) -> PartitionSpec {
    // The map of notifications that it sets, which all contexts share.
    let enabled = Arc::new(AtomicU64::new(0));
    PartitionSpec::new("optee")
        .version((version & 0xffff) as u32)
        .vcpus(4)
        .with(|sp| sp.ns_interrupts = 1)
        .script(move |sp| {
            if sp.vcpu == 0 {
                let told = hvc(sp, [VERSION, version]).0[0];
                assert!(told >> 16 == 1 && told >= version, "{told:#x}");
                let tx = sp.tx();
                let map = hvc(sp, [RXTX_MAP_64, tx, tx + 0x1000, 1]);
                map.success();
                assert_eq!(hvc(sp, [SPM_ID_GET]).success()[0], 0x8000);
                assert_eq!(hvc(sp, [ID_GET]).success()[0], u64::from(OPTEE));
                let notifies = hvc(sp, [FEATURES, NOTIFICATION_SET]).error();
                assert_eq!(notifies.is_none(), version >= V1_1);
                let entry = sp.entry;
                sp.call([SECONDARY_EP_REGISTER_64, entry]).success();
            }
            let mut message = sp.call([MSG_WAIT, 0, 0, 0, 0, 0, 0, 0]);
            loop {
                assert_eq!(message.0[0], DIRECT_REQ_32);
                let [_, w1, w2, ..] = message.0;
                assert_eq!(w2, 0);
                let result = match message.0[3] {
                    API => [1, 0, 0, 0, 0],
                    REVISION => [4, 6, 0x1234_5678, 0, 0],
                    CAPABILITIES => [0, 0, 0b11, 0, 0],
                    ENABLE => {
                        enabled.store(1 << message.0[4], Ordering::Relaxed);
                        [0; 5]
                    }
                    UNREGISTER => {
                        let handle = message.0[4] | message.0[5] << 32;
                        let bytes = relinquish(handle, 0, &[OPTEE]);
                        let tx = sp.tx();
                        sp.write(World::Secure, tx, &bytes).unwrap();
                        hvc(sp, [MEM_RELINQUISH]).success();
                        [0; 5]
                    }
                    CALL => {
                        let owner = (w1 >> 16) as u16;
                        let handle = message.0[4] | message.0[5] << 32;
                        let status = borrow(sp, version, flags, owner, handle);
                        let map = enabled.load(Ordering::Relaxed);
                        if map != 0 {
                            let route = u64::from(OPTEE) << 16 | u64::from(owner);
                            let set = [NOTIFICATION_SET, route, 2, map, 0];
                            hvc(sp, set).success();
                        }
                        [status, 0, 0, 0, 0]
                    }
                    other => panic!("request {other:#x}"),
                };
                let back = w1 >> 16 & 0xffff | (w1 & 0xffff) << 16;
                let [a, b, c, d, e] = result;
                message = sp.call([DIRECT_RESP_32, back, 0, a, b, c, d, e]);
            }
        })
}

/// Retrieves, reads the response as OP-TEE does, and adds 1 to the first byte of each page.
fn borrow(sp: &mut Sp, version: u64, flags: u32, owner: u16, handle: u64) -> u64 {
    let mut bytes = owner.to_le_bytes().to_vec();
    bytes.extend([0x2f, 0]);
    bytes.extend(flags.to_le_bytes());
    bytes.extend(handle.to_le_bytes());
    bytes.extend([0; 8]);
    if version == V1_0 {
        bytes.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    } else {
        bytes.extend([16, 0, 0, 0, 1, 0, 0, 0, 48, 0, 0, 0]);
        bytes.extend([0; 12]);
    }
    bytes.extend(OPTEE.to_le_bytes());
    bytes.extend([2, (flags & SLICED) as u8]);
    bytes.extend([0; 4 + 8]);
    let (tx, length) = (sp.tx(), bytes.len() as u64);
    sp.write(World::Secure, tx, &bytes).unwrap();
    let answer = hvc(sp, [MEM_RETRIEVE_REQ_32, length, length, 0, 0]);
    if let Some(error) = answer.error() {
        return code(error);
    }
    let [id, total, length, ..] = answer.0;
    assert_eq!((id, total), (MEM_RETRIEVE_RESP, length));
    let mut told = vec![0; length as usize];
    sp.read(World::Secure, tx + 0x1000, &mut told).unwrap();
    hvc(sp, [RX_RELEASE]).success();
    let word = |at: usize| u32::from_le_bytes(told[at..at + 4].try_into().unwrap()) as usize;
    // Attributes and flags of more than 8 bits, and bad sizes, make OP-TEE give up.
    let wide = |at: usize| u16::from_le_bytes([told[at], told[at + 1]]);
    assert!(wide(2) < 0x100 && word(4) < 0x100);
    let (size, count, receivers) = if version == V1_0 {
        (16, word(28), 32)
    } else {
        (word(24), word(28), word(32))
    };
    assert_eq!((size, count, receivers % 16), (16, 1, 0));
    let list = word(receivers + 4);
    let (pages, ranges) = (word(list), word(list + 4));
    let mut seen = 0;
    for at in (0..ranges).map(|n| list + 16 + 16 * n) {
        let base = u64::from_le_bytes(told[at..at + 8].try_into().unwrap());
        for page in 0..word(at + 8) {
            let address = base + 0x1000 * page as u64;
            let byte = sp.peek(World::NonSecure, address).unwrap();
            assert!(sp.poke(World::NonSecure, address, byte + 1));
            seen += 1;
        }
    }
    assert_eq!(seen, pages);
    0
}

/// Sends a request as the driver does, on a CPU. Returns w3 to w7 of the answer.
fn ask(nwd: Nwd<'_>, words: [u64; 4]) -> [u64; 5] {
    let [a, b, c, d] = words;
    let answer = nwd.call([DIRECT_REQ_32, OPTEE.into(), 0, a, b, c, d, 0]);
    let back = u64::from(OPTEE) << 16;
    assert_eq!(answer.0[..3], [DIRECT_RESP_32, back, 0], "{answer:?}");
    answer.payload()
}

// req: VER-09, DSC-01, DSC-06, DSC-09, MEMD-25, MEMD-59, MEMD-60, MEMD-61, NTF-21, NTF-33, NTF-34
// req: RXTX-01, MEMRL-01, MEMRC-01
#[test]
fn it_serves_a_driver_at_each_version() {
    for (version, driver, flags) in [
        (V1_2, V1_2, FLAGS),
        (V1_1, V1_2, FLAGS),
        (V1_0, V1_2, FLAGS),
        (V1_0, V1_2, FLAGS_OF_3_16),
        (V1_2, V1_1, FLAGS),
    ] {
        let system = System::boot([optee(version, flags)]);
        for pe in 1..4 {
            system.turn_on(pe);
        }
        let nwd = system.nwd();
        nwd.version(driver);
        nwd.map_buffers();
        for pe in 0..4 {
            let cpu = system.pe(pe);
            assert_eq!(ask(cpu, [API, 0, 0, 0])[..2], [1, 0]);
            assert_eq!(ask(cpu, [REVISION, 0, 0, 0])[..2], [4, 6]);
        }
        assert_eq!(ask(nwd, [CAPABILITIES, 0, 0, 0])[2], 0b11);
        if version >= V1_1 {
            nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 4]).success();
            let bind = [NOTIFICATION_BIND, u64::from(OPTEE) << 16, 0, 1 << 3, 0];
            nwd.call(bind).success();
            ask(nwd, [ENABLE, 3, 0, 0]);
        }
        for pages in [1, 5] {
            let ranges: Vec<_> = (0..pages)
                .map(|n| (NWD_PAGES + 0x2000 * n, 1 + n as u32 % 2))
                .collect();
            for (base, _) in &ranges {
                nwd.write(*base, &[60]);
            }
            let share = Transaction::share(0, OPTEE, RW, &ranges).encode(Layout::V1_1);
            let handle = nwd.memory_call(MEM_SHARE_64, &share).handle();
            let [low, high] = [handle & 0xffff_ffff, handle >> 32];
            let raised = system.snapshot().raised();
            // Another CPU uses the memory.
            assert_eq!(
                ask(system.pe(2), [CALL, low, high, 0])[0],
                0,
                "{version:#x}"
            );
            for (base, _) in &ranges {
                assert_eq!(nwd.read(*base, 1), [61]);
            }
            if version >= V1_1 {
                // The interrupt was delayed until the answer.
                assert_eq!(system.snapshot().raised(), raised + 1);
                let got = nwd.call([NOTIFICATION_GET, 0, 0b101]).success();
                assert_eq!(got, [1 << 3, 0, 0, 0, 0, 0]);
            }
            assert_eq!(nwd.reclaim(handle).error(), Some(DENIED));
            ask(system.pe(1), [UNREGISTER, low, high, 0]);
            nwd.reclaim(handle).success();
            // A handle that is gone is refused, and OP-TEE says so.
            let gone = ask(nwd, [CALL, low, high, 0])[0];
            assert_eq!(gone, code(INVALID_PARAMETERS));
            if version >= V1_1 {
                nwd.call([NOTIFICATION_GET, 0, 0b101]).success();
            }
        }
    }
}
