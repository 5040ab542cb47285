//! Tells the linker how to lay out the image. Only the bare-metal target has a layout: on a host
//! the package is an ordinary program.

#[path = "src/sizes.rs"]
mod sizes;

fn main() {
    // Relative to the root, in which cargo runs the linker, so that a tree can be moved.
    let script = "linker/spmc.ld";
    println!("cargo:rerun-if-changed=../../{script}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    for argument in [
        &format!("-T{script}"),
        &format!("--defsym=BOOT_STACK_SIZE={}", sizes::BOOT_STACK_SIZE),
        &format!("--defsym=FIRST_HEAP_SIZE={}", sizes::FIRST_HEAP_SIZE),
        &format!("--defsym=IMAGE_SIZE={}", sizes::IMAGE_SIZE),
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
