//! Gives each image its link address: the layout of the test partitions is one decision, and it stands here.

use std::path::Path;

/// Image and the address at which it runs. Partition images lie 0x4000 into their package.
const IMAGES: &[(&str, u64)] = &[
    ("nwd", 0x6000_0000),
    ("sp1", 0x0e30_4000),
    ("sp2", 0x0e40_4000),
    ("sp_v1_0", 0x0e40_4000),
    ("sp_restart", 0x0e50_4000),
    ("sp3_el0", 0x0e50_4000),
    ("sp4_el0", 0x0e60_4000),
    ("sp_el0_victim", 0x0e60_4000),
    ("sp_fault_abort", 0x0e40_4000),
    ("sp_fault_error", 0x0e40_4000),
    ("sp_fault_spin", 0x0e40_4000),
    ("sp_fault_unknown", 0x0e40_4000),
    ("sp3", 0x0e50_4000),
    ("sp4", 0x0e60_4000),
    ("sp5", 0x0e70_4000),
    ("sp6", 0x0e80_4000),
    ("sp7", 0x0e90_4000),
    ("sp8", 0x0ea0_4000),
    ("sp_clock", 0x0e50_4000),
    ("sp_disk_direct", 0x0e30_4000),
    ("sp_disk_indirect", 0x0e40_4000),
];

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = Path::new(&root).join("../../linker/guest.ld");
    println!("cargo:rerun-if-changed={}", script.display());
    for &(image, base) in IMAGES {
        println!("cargo:rustc-link-arg-bin={image}=-T{}", script.display());
        println!("cargo:rustc-link-arg-bin={image}=--defsym=IMAGE_BASE={base:#x}");
    }
}
