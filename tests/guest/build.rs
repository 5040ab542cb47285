//! Gives each image its link address. The table below is the only place that says which test
//! partition lies where.

use std::path::Path;

#[allow(dead_code, reason = "the build script needs only addresses of images")]
#[path = "src/board.rs"]
mod board;

/// Partitions and the numbers of their places. Partitions that no layout has together share a
/// place.
const PARTITIONS: &[(&str, u64)] = &[
    ("sp1", 0),
    ("sp2", 1),
    ("sp_v1_0", 1),
    ("sp_restart", 2),
    ("sp3_el0", 2),
    ("sp4_el0", 3),
    ("sp_el0_victim", 3),
    ("sp_fault_abort", 1),
    ("sp_fault_error", 1),
    ("sp_fault_spin", 1),
    ("sp_fault_unknown", 1),
    ("sp3", 2),
    ("sp4", 3),
    ("sp5", 4),
    ("sp6", 5),
    ("sp7", 6),
    ("sp8", 7),
    ("sp_clock", 2),
    ("sp_live", 2),
    ("sp_live_next", 2),
    ("sp_live_dies", 2),
    ("sp_live_el0", 2),
    ("sp_live_el0_next", 2),
    ("sp_live_stateless", 7),
    ("sp_live_stateless_next", 7),
    ("sp_fire", 2),
    ("sp_disk_direct", 0),
    ("sp_disk_indirect", 1),
    ("sp_odp", 0),
    ("sp_cactus", 1),
    ("sp_optee", 2),
    ("sp_trusty", 3),
    ("sp_stmm", 4),
];

fn main() {
    // Relative to the root, in which cargo runs the linker, so that a tree can be moved.
    let script = Path::new("linker/guest.ld");
    println!("cargo:rerun-if-changed=../../linker/guest.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let partitions = PARTITIONS
        .iter()
        .map(|&(image, slot)| (image, board::package(slot) + board::IMAGE_OFFSET));
    for (image, base) in [("nwd", board::BL33)].into_iter().chain(partitions) {
        println!("cargo:rustc-link-arg-bin={image}=-T{}", script.display());
        println!("cargo:rustc-link-arg-bin={image}=--defsym=IMAGE_BASE={base:#x}");
    }
}
