//! Tells the linker how to lay out the image. Only the bare-metal target has a layout: on a host
//! the package is an ordinary program.

#[allow(dead_code, reason = "the linker needs only two limits")]
#[path = "../../spmc/src/limits.rs"]
mod limits;
#[path = "src/sizes.rs"]
mod sizes;

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../linker/spmc.ld");
    println!("cargo:rerun-if-changed={script}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let carve_size = sizes::carve_size(limits::MAX_PES as u64, limits::TABLES as u64);
    for argument in [
        &format!("-T{script}"),
        &format!("--defsym=TABLES={}", limits::TABLES),
        &format!("--defsym=PES={}", limits::MAX_PES),
        &format!("--defsym=STACK_SIZE={}", sizes::STACK_SIZE),
        &format!("--defsym=BOOT_STACK_SIZE={}", sizes::BOOT_STACK_SIZE),
        &format!("--defsym=CARVE_SIZE={carve_size}"),
        // One image runs at any load address. Absolute addresses become relative relocations, which
        // the entry code applies before any page is mapped read-only. They are packed (RELR), since
        // they count against the size of the image.
        "-pie",
        "--no-dynamic-linker",
        "--pack-dyn-relocs=relr",
        "--apply-dynamic-relocs",
        "-znotext",
        "-znorelro",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
