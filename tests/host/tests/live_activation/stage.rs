//! A partition that can be activated live, new versions of it, and EL3's side of an activation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::manifest::{ENTRY, Region};
use host_tests::system::NWD_TX;
use host_tests::{Nwd, PartitionSpec, Regs, Sp, System};
use spmc::addr::World::Secure;

pub const SP1: u16 = 0x8001;
pub const SPMC: u16 = 0x8000;
/// A logical partition, as which EL3 asks for an activation.
pub const LSP: u16 = 0xffc0;
pub const OTHER_LSP: u16 = 0xffc1;

pub const STOP: u64 = 0x8000_000a;
pub const STOPPED: u64 = 0x8000_000b;
pub const START: u64 = 0x8000_000c;
pub const FINISH: u64 = 0x8000_000e;

/// The live-state buffer.
pub const STATE: u64 = 0x0e80_0000;
pub const STATE_SIZE: u64 = 0x2000;
/// Where EL3 puts new packages.
pub const STAGED: u64 = 0x0ea0_0000;
const IMAGE_UUID: [u32; 4] = [0x10, 0x20, 0x30, 0x40];

/// Sends sp1 an indirect message of the Normal world, which says 0x5a.
pub fn send_message(nwd: Nwd<'_>) {
    // Flags, reserved, offset, receiver and sender, size, and then the payload.
    let mut message = vec![0; 44];
    message[8..12].copy_from_slice(&40_u32.to_le_bytes());
    message[12..14].copy_from_slice(&SP1.to_le_bytes());
    message[16..20].copy_from_slice(&4_u32.to_le_bytes());
    message[40] = 0x5a;
    nwd.write(NWD_TX, &message);
    nwd.call([MSG_SEND2]).success();
}

/// The value of the register that tells an image that it takes over.
pub fn takes_over(sp: &Sp) -> bool {
    sp.regs[1] == 1
}

/// Returns a partition that can be activated live, with these properties beside.
pub fn live(name: &str, flags: &'static [&'static str]) -> PartitionSpec {
    PartitionSpec::new(name).with(|spec| {
        spec.regions = vec![Region {
            name: "state",
            base: STATE,
            relative: false,
            pages: (STATE_SIZE / 0x1000) as u32,
            attributes: 3,
        }];
        spec.extra = Some(Arc::new(move |fdt| {
            for name in ["lifecycle-support", "live-activation-support"] {
                fdt.property_null(name).unwrap();
            }
            for name in flags {
                fdt.property_null(name).unwrap();
            }
            fdt.property_u32("live-activation-register", 1).unwrap();
            fdt.property_array_u32("image-uuid", &IMAGE_UUID).unwrap();
            let node = fdt.begin_node("live-state-buffer-info").unwrap();
            fdt.property_string("compatible", "arm,ffa-manifest,live-state-buffer")
                .unwrap();
            fdt.property_u32("live-state-buffer", 1).unwrap();
            fdt.end_node(node).unwrap();
        }));
    })
}

/// Returns the package of a new version of a partition, whose image says `version`.
pub fn version(spec: &PartitionSpec, version: u8) -> Vec<u8> {
    let mut package = spec.package();
    package[ENTRY as usize] = version;
    package
}

/// Puts a package where EL3 puts it.
pub fn stage(system: &System, package: &[u8]) {
    let mut memory = system.machine.memory();
    memory.write(Secure, STAGED, package).expect("memory");
    let bytes = package.len() as u64;
    memory.clean(Secure, &(STAGED..STAGED + bytes));
}

/// Returns the version of the image that runs.
pub fn image(sp: &mut Sp) -> u8 {
    let code = sp.base() + ENTRY;
    sp.peek(Secure, code).expect("its own code")
}

pub fn is_stop(message: &Regs) -> bool {
    message.0[0] == DIRECT_REQ_32 && message.0[2] != 0
}

/// Answers a stop message. Returns what comes after an answer that does not stop the partition.
pub fn stop(sp: &mut Sp, status: i32) -> Regs {
    let [base, size] = if status == 0 {
        [STATE, STATE_SIZE]
    } else {
        [0; 2]
    };
    let ids = u64::from(sp.id) << 16 | u64::from(SPMC);
    let status = u64::from(status as u32);
    sp.call([DIRECT_RESP_64, ids, STOPPED, status, base, size])
}

/// Counts requests, over all its images: a response has the version of the image and the number.
pub fn count(sp: &mut Sp) {
    let version = image(sp);
    let mut number = 0;
    if takes_over(sp) {
        let mut bytes = [0; 8];
        sp.read(Secure, STATE, &mut bytes).unwrap();
        number = u64::from_le_bytes(bytes);
    }
    let mut message = sp.msg_wait();
    loop {
        message = if is_stop(&message) {
            assert_eq!(
                message.0[..8],
                [DIRECT_REQ_32, 0x8000_8001, STOP, 1, 0, 0, 0, 0]
            );
            sp.write(Secure, STATE, &u64::to_le_bytes(number)).unwrap();
            stop(sp, 0)
        } else if matches!(message.0[0], DIRECT_REQ_32 | DIRECT_REQ_64) {
            number += 1;
            sp.respond(&message, [version.into(), number, 0, 0, 0])
        } else {
            sp.msg_wait()
        };
    }
}

pub fn route(from: u16, to: u16) -> u64 {
    u64::from(from) << 16 | u64::from(to)
}

/// Asks for a step of an activation. Returns its status.
#[track_caller]
pub fn ask(nwd: Nwd<'_>, message: u64, source: u16, arguments: [u64; 5]) -> i32 {
    let [x3, x4, x5, x6, x7] = arguments;
    let answer = nwd.call([
        DIRECT_REQ_64,
        route(source, SPMC),
        message,
        x3,
        x4,
        x5,
        x6,
        x7,
    ]);
    let head = [DIRECT_RESP_32, route(SPMC, source), message + 1];
    assert_eq!(answer.0[..3], head, "{answer:x?}");
    assert_eq!(answer.0[4..8], [0; 4]);
    answer.0[3] as u32 as i32
}

#[track_caller]
pub fn start(nwd: Nwd<'_>, package: &[u8]) -> i32 {
    let pages = package.len().div_ceil(0x1000) as u64;
    ask(nwd, START, LSP, [SP1.into(), STAGED, pages, 0, 0])
}

#[track_caller]
pub fn finish(nwd: Nwd<'_>) -> i32 {
    ask(nwd, FINISH, LSP, [SP1.into(), 0, 0, 0, 0])
}

/// Returns the version of the image and the number of a request.
#[track_caller]
pub fn served(nwd: Nwd<'_>) -> (u8, u64) {
    let [version, number, ..] = nwd.ask(SP1, [0; 5]);
    (version as u8, number)
}

pub fn boot(spec: PartitionSpec) -> System {
    System::builder().el3(3, 3).sp(spec).boot()
}

/// Hafnium's calls for virtual interrupts.
pub const ENABLE: u64 = 0xff03;
pub const GET: u64 = 0xff04;
pub const DEACTIVATE: u64 = 0xff08;

/// The interrupt of the Secure device.
pub const LINE: u32 = 40;

/// Gives a partition the Secure device with [`LINE`].
pub fn with_device(spec: PartitionSpec) -> PartitionSpec {
    spec.with(|spec| {
        spec.device = true;
        spec.device_properties = vec![("interrupts", vec![LINE, 0xb10])];
    })
}

/// Handles a pending interrupt of [`LINE`].
pub fn handle(sp: &mut Sp) {
    let id = sp.call([GET]).0[0];
    assert_eq!(id, u64::from(LINE));
    sp.gic(|gic| gic.set_level(LINE, false));
    assert_eq!(sp.call([DEACTIVATE, id, id]).0[0], 0);
}

/// Returns a partition that counts the interrupts that it handles.
pub fn owner(name: &str, handled: &Arc<AtomicU64>) -> PartitionSpec {
    let handled = Arc::clone(handled);
    with_device(PartitionSpec::new(name)).script(move |sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        loop {
            if sp.msg_wait().0[0] == INTERRUPT {
                handle(sp);
                handled.fetch_add(1, SeqCst);
            }
        }
    })
}
