//! Tells the linker how to lay out the image. Only the bare-metal target has a layout; on a host this is an ordinary program.

#[allow(dead_code, reason = "one of them sizes the image")]
#[path = "../../spmc/src/limits.rs"]
mod limits;

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../linker/spmc.ld");
    println!("cargo:rerun-if-changed={script}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    for argument in [
        &format!("-T{script}"),
        &format!("--defsym=TABLES={}", limits::TABLES),
        // One image for every load address: absolute addresses become relative relocations, packed (RELR) because they
        // count against the size of the image, and applied at entry before anything is mapped read-only.
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
