//! Names the linker scripts: that of `aarch64-rt`, and the place of this partition. Only the target
//! has them.

fn main() {
    // Relative to the root, in which cargo runs the linker, so that a tree can be moved.
    let place = "scripts/sdk/signer/memory.ld";
    println!("cargo:rerun-if-changed=memory.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    println!("cargo:rustc-link-arg-bins=-Timage.ld");
    println!("cargo:rustc-link-arg-bins=-T{place}");
}
