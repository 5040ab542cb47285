//! A board that nobody has boots whole: the manifests of `scripts/manifest-check/tests/stranger`,
//! compiled by dtc and packed as for TF-A, on a machine that is as they say. It has a 16550 with
//! registers of 32 bits, which the driver of the platform writes the log to; a GICv4 with three
//! regions of redistributors; affinities with Aff3; and memory of the Normal world above 2^47.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use host_tests::after_boot::pause;
use host_tests::ffa::*;
use host_tests::machine::Site;
use host_tests::{PartitionSpec, Remote, System};
use log::{LevelFilter, Log, Metadata, Record};
use spmc::addr::World::{NonSecure, Secure};
use spmc::addr::{Pa, PageRange};
use spmc::manifest::board::{Board, Console, ConsoleKind};
use spmc::manifest::config::SpmcManifest;
use spmc::manifest::own_memory::{Wants, own_memory};
use spmc::manifest::{Report, validate};

#[allow(dead_code, reason = "the platform uses the rest")]
#[path = "../../../platform/aarch64/src/redistributor.rs"]
mod redistributor;
#[allow(dead_code, reason = "the platform uses the rest")]
#[path = "../../../platform/aarch64/src/uart/mod.rs"]
mod uart;

use redistributor::{Typer, redistributors};
use uart::{Registers, Uart, patience};

const ONE: u16 = 0x8001;
const TWO: u16 = 0x8002;
/// Memory of the Normal world: its buffers, and a page to share.
const TX: u64 = 0x8800_8000_0000;
const RX: u64 = TX + 0x1000;
const PAGE: u64 = 0x8800_ffff_f000;

/// Ticks of the counter in a second.
const COUNTER: u64 = 62_500_000;

/// A 16550 as a bus shows it: registers of 32 bits at a distance of four bytes, in 0x100 bytes.
struct Serial {
    base: u64,
    divisor_latch: Cell<bool>,
    divisor: Cell<u32>,
    /// Set while the transmitter takes no characters.
    stuck: Cell<bool>,
    sent: Mutex<String>,
}

impl Serial {
    fn new(base: u64) -> Self {
        Self {
            base,
            divisor_latch: Cell::new(false),
            divisor: Cell::new(0),
            stuck: Cell::new(false),
            sent: Mutex::new(String::new()),
        }
    }

    /// Returns the number of the register at an address, which is accessed with that width.
    fn register(&self, address: u64, bytes: u64) -> u64 {
        let offset = address - self.base;
        assert!(
            offset < 0x20 && bytes == 4 && offset.is_multiple_of(4),
            "a bus error at {address:#x}, {bytes} bytes"
        );
        offset / 4
    }

    fn load(&self, address: u64, bytes: u64) -> u32 {
        match self.register(address, bytes) {
            // LSR.THRE and TEMT.
            5 if !self.stuck.get() => 0x60,
            _ => 0,
        }
    }

    fn store(&self, address: u64, bytes: u64, value: u32) {
        match (self.register(address, bytes), self.divisor_latch.get()) {
            (0, true) => self.divisor.set(self.divisor.get() & 0xff00 | value),
            (1, true) => self.divisor.set(self.divisor.get() & 0xff | value << 8),
            (0, false) if !self.stuck.get() => {
                let character = u8::try_from(value).expect("a character");
                self.sent.lock().unwrap().push(character.into());
            }
            (3, _) => self.divisor_latch.set(value & 0x80 != 0),
            _ => {}
        }
    }
}

/// The way to the UART that a description of the board makes: where, and how wide accesses are.
struct Bus<'s> {
    serial: &'s Serial,
    base: u64,
    width: u64,
}

impl Registers for Bus<'_> {
    fn read(&self, offset: usize) -> u32 {
        self.serial.load(self.base + offset as u64, self.width)
    }

    fn write(&self, offset: usize, value: u32) {
        self.serial
            .store(self.base + offset as u64, self.width, value);
    }
}

/// Returns the driver for a console, as the platform chooses it.
fn driver<'s>(console: &Console, serial: &'s Serial) -> Uart<Bus<'s>> {
    let ConsoleKind::Ns16550 { shift, words } = console.kind else {
        panic!("{:?}", console.kind);
    };
    let bus = Bus {
        serial,
        base: console.base.raw(),
        width: if words { 4 } else { 1 },
    };
    let uart = Uart::Ns16550(bus, shift);
    uart.init(console.clock_hz.expect("a clock"), console.baud);
    uart
}

/// The lines that the engine logs.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let _pause = pause();
        LINES.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Returns a file of the layout, compiled.
fn compiled(name: &str) -> Vec<u8> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../scripts/manifest-check/tests/stranger"
    );
    let dtc = Command::new("dtc")
        .args(["-q", "-O", "dtb", name])
        .current_dir(Path::new(folder))
        .output()
        .expect("dtc");
    assert!(dtc.status.success(), "{dtc:?}");
    dtc.stdout
}

/// Returns the package of a partition: its manifest, and an image at the usual offset.
fn package(manifest: &str) -> Vec<u8> {
    let manifest = compiled(manifest);
    let words = [2, 0x1000, manifest.len() as u32, 0x4000, 0x1000];
    let mut package = Vec::from(*b"SPKG");
    package.extend(words.into_iter().flat_map(u32::to_le_bytes));
    package.resize(0x1000, 0);
    package.extend(&manifest);
    package.resize(0x4000, 0);
    package.extend([0x5a; 0x1000]);
    package
}

fn partition(name: &str, base: u64, minor: u32) -> (PartitionSpec, Remote) {
    let spec = PartitionSpec::new(name).version(minor).with(|spec| {
        spec.package = Some(package(&format!("{name}.dts")));
        spec.base = Some(base);
    });
    Remote::control(spec)
}

/// Returns the PEs whose redistributors the platform finds, of a GICv4 as the manifest says.
fn pes_with_redistributors(manifest: &SpmcManifest) -> Vec<u64> {
    const VLPIS: u64 = 1 << 1;
    const LAST: u64 = 1 << 4;
    let frame = |affinity: u64, last| {
        let compact = (affinity >> 32) << 24 | affinity & 0xff_ffff;
        Typer(compact << 32 | VLPIS | last)
    };
    let frames = HashMap::from([
        (0x3040_0000, frame(0, 0)),
        (0x3044_0000, frame(0x1_0000, LAST)),
        (0x3800_0000, frame(0x1_0001_0000, LAST)),
        (0x1000_3000_0000, frame(0x1_0000_0000, LAST)),
    ]);
    let gic = manifest.board.gic.as_ref().expect("a GIC");
    let regions = gic.redistributors.iter();
    let found = regions.flat_map(|region| {
        let range = region.base().raw()..region.end().raw();
        redistributors(range, gic.stride, |base| Some(frames[&base]))
    });
    found.map(|(_, typer)| typer.affinity()).collect()
}

/// Reads the SPMC manifest and decides what the boot decides before there is an engine, in the same
/// order: the memory of the SPMC, the console, the board as a whole.
fn begin(dtb: &[u8]) -> (Box<SpmcManifest>, PageRange<Pa>) {
    let mut manifest = spmc::manifest::system(dtb, 48, &mut Board::default()).expect("a manifest");
    let wants = Wants {
        least: 0x10_0000,
        most: 0x20_0000,
    };
    let report = Report::new();
    let own = own_memory(&mut manifest, Pa::new(0xf020_0000), &wants, &report);
    let own = own.expect("memory for the SPMC");
    validate::board(&manifest).expect("a board");
    (manifest, own)
}

#[test]
fn a_strangers_board_boots() {
    log::set_logger(&Logger).expect("the only logger");
    log::set_max_level(LevelFilter::Info);
    let dtb = compiled("spmc.dts");
    let (manifest, own) = begin(&dtb);
    let mut found = pes_with_redistributors(&manifest);
    let mut wanted = manifest.cpus.clone();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);

    let site = Site {
        image: own.base().raw()..own.end().raw(),
        affinities: manifest.cpus.clone(),
        memory: vec![
            (Secure, 0xf040_0000..0xf100_0000),
            (NonSecure, 0x8800_8000_0000..0x8801_0000_0000),
        ],
    };
    let (one, in_one) = partition("one", 0xf040_0000, 2);
    let (two, _) = partition("two", 0xf050_0000, 1);
    let system = System::builder()
        .site(site)
        .spmc_manifest(dtb)
        .sp(one)
        .sp(two)
        .boot();
    assert_eq!(system.boot_answer().function(), MSG_WAIT);
    assert_eq!(system.machine.geometry().bits(), 48);
    assert_eq!(system.spmc.partitions.len(), 2);
    let nwd = system.nwd();

    // A page that lies above 2^47, shared and given back.
    nwd.call([RXTX_MAP_64, TX, RX, 1]).success();
    nwd.write(PAGE, b"far away");
    let share = Transaction::share(0, ONE, RW, &[(PAGE, 1)]).encode(Layout::V1_2);
    nwd.write(TX, &share);
    let length = share.len() as u64;
    let handle = nwd.call([MEM_SHARE_64, length, length]).handle();
    let seen = in_one.run(nwd, ONE, move |sp| {
        let request = Transaction::retrieve(0, ONE, handle, RW);
        let response = sp.retrieve(&request).expect("a region");
        assert_eq!(response.constituents, [(PAGE, 1)]);
        let mut text = [0; 8];
        sp.read(NonSecure, PAGE, &mut text).expect("the page");
        sp.relinquish(handle, 0).success();
        assert_eq!(sp.peek(NonSecure, PAGE), None);
        text
    });
    assert_eq!(&seen, b"far away");
    nwd.reclaim(handle).success();

    // Both partitions answer on the other PEs, too, one of which is on the other socket.
    for pe in 1..4 {
        assert_eq!(system.turn_on(pe).function(), MSG_WAIT);
        assert_eq!(system.pe(pe).ask(ONE, [0; 5]), nwd.ask(ONE, [0; 5]));
    }
    assert_eq!(nwd.ask(TWO, [0; 5]), nwd.ask(ONE, [0; 5]));

    // The log, by the driver of the platform.
    let console = manifest.board.console.as_ref().expect("a console");
    let serial = Serial::new(0x2b00_0000);
    let uart = driver(console, &serial);
    let wanted = 48_000_000 / (16 * u64::from(console.baud));
    assert_eq!(u64::from(serial.divisor.get()), wanted);
    let lines = LINES.lock().unwrap().clone();
    assert!(!lines.is_empty());
    let clock = Cell::new(0);
    let now = || {
        clock.set(clock.get() + 100);
        clock.get()
    };
    let mut text = String::new();
    for line in &lines {
        writeln!(text, "[I] spmc: {line}").unwrap();
    }
    uart.write(&text, now, patience(COUNTER, console.baud))
        .expect("a UART that works");
    assert_eq!(*serial.sent.lock().unwrap(), text);
    serial.stuck.set(true);
    let patience = patience(COUNTER, console.baud);
    let before = clock.get();
    uart.write("lost", now, patience)
        .expect_err("a UART that is stuck");
    assert!(clock.get() - before < 2 * patience, "a bounded wait");
}
