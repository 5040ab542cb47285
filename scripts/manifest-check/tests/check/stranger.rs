//! A board that nobody has, described as `docs/porting.md` says: the layout is good, and what the
//! SPMC reads from it leads the platform to each redistributor.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use spmc::addr::Pa;
use spmc::manifest::board::{Board, ConsoleKind};
use spmc::manifest::config::SpmcManifest;

use crate::support::run;

#[allow(dead_code, reason = "the platform uses the rest")]
#[path = "../../../../platform/aarch64/src/redistributor.rs"]
mod redistributor;

use redistributor::{Typer, redistributors};

/// GICR_TYPER.VLPIS, as a GICv4 has it, and GICR_TYPER.Last.
const VLPIS: u64 = 1 << 1;
const LAST: u64 = 1 << 4;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stranger"))
}

/// Returns what the SPMC reads on PEs with physical addresses of `bits` bits.
fn manifest(bits: u32) -> Result<Box<SpmcManifest>, String> {
    let dtc = Command::new("dtc")
        .args(["-q", "-O", "dtb", "spmc.dts"])
        .current_dir(folder())
        .output()
        .unwrap();
    assert!(dtc.status.success(), "{dtc:?}");
    let manifest = spmc::manifest::system(&dtc.stdout, bits, &mut Board::default());
    manifest.map_err(|error| error.to_string())
}

#[test]
fn the_layout_is_good() {
    let output = run(&["."], folder());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with(" pages for tables\ngood\n"), "{text}");
}

#[test]
fn the_console_is_found_below_a_bus() {
    let console = manifest(48).unwrap().board.console.unwrap();
    assert_eq!(
        console.kind,
        ConsoleKind::Ns16550 {
            shift: 2,
            words: true
        }
    );
    assert_eq!(console.base, Pa::new(0x2b00_0000));
    assert_eq!(console.clock_hz, Some(48_000_000));
}

#[test]
fn addresses_take_as_many_bits_as_the_pes_must_have() {
    assert_eq!(manifest(48).unwrap().geometry.bits(), 48);
    assert_eq!(
        manifest(44).unwrap_err(),
        "/: ns-memory: expected addresses that the PEs have, found 0x880080000000..0x880100000000"
    );
}

#[test]
fn each_pe_has_a_redistributor_in_one_of_the_regions() {
    let manifest = manifest(48).unwrap();
    let frame = |aff: u64, last| {
        let compact = (aff >> 32) << 24 | aff & 0xff_ffff;
        Typer(compact << 32 | VLPIS | last)
    };
    let frames = HashMap::from([
        (0x3040_0000, frame(0, 0)),
        (0x3044_0000, frame(0x1_0000, LAST)),
        (0x3800_0000, frame(0x1_0001_0000, LAST)),
        (0x1000_3000_0000, frame(0x1_0000_0000, LAST)),
    ]);
    let gic = manifest.board.gic.as_ref().unwrap();
    let regions = gic.redistributors.iter();
    let found = regions.flat_map(|region| {
        let range = region.base().raw()..region.end().raw();
        redistributors(range, gic.stride, |base| Some(frames[&base]))
    });
    let mut found: Vec<_> = found.map(|(_, typer)| typer.affinity()).collect();
    let mut wanted = manifest.cpus.clone();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}
