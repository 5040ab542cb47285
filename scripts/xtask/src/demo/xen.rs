//! Xen at EL2 with its FF-A mediator, and Linux as its first domain.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::fetch::{Pinned, folder, source, whole};
use super::linux::{INITRAMFS, KERNEL, Loaded, WORDS};
use crate::process::{logged, output, step};
use crate::qemu::Machine;

const SOURCE: Pinned = Pinned {
    path: "pool/main/x/xen/xen_4.20.3+127-gc42374a105.orig.tar.xz",
    sha256: "df0831854a55a8f31cb3cb85036f2edc928e2ef098d77f815f5714bfafac68f3",
};

/// Options in addition to the default configuration.
const OPTIONS: &str = "
CONFIG_EXPERT=y
CONFIG_UNSUPPORTED=y
CONFIG_TEE=y
CONFIG_FFA=y
";

/// Address at which QEMU puts Xen.
pub const XEN: u64 = 0x4c00_0000;

/// Builds Xen unless that was done before, and makes QEMU load it.
pub fn load(machine: &mut Machine) -> Result<()> {
    let source = source("xen-source", &SOURCE)?;
    let build = whole("xen", &[SOURCE.sha256, OPTIONS], |products| {
        step("building Xen", || compile(&source, products))
    })?;
    machine.load(&build.join("xen"), XEN);
    Ok(())
}

/// Describes the kernel and its file system to Xen, with the command lines of Xen and of Linux.
pub fn describe(loaded: &Loaded, command_line: &str) -> Result<()> {
    let tree = &loaded.tree;
    tree.cell("/chosen", "#address-cells", 2)?;
    tree.cell("/chosen", "#size-cells", 2)?;
    let xen = "console=dtuart dtuart=/pl011@9000000 dom0_mem=1G";
    tree.text("/chosen", "xen,xen-bootargs", &[xen])?;
    let linux = format!("console=hvc0 {WORDS} {command_line}");
    tree.text("/chosen", "xen,dom0-bootargs", &[&linux])?;
    for (kind, address, size) in [
        ("multiboot,kernel", KERNEL, loaded.kernel),
        ("multiboot,ramdisk", INITRAMFS, loaded.initramfs),
    ] {
        let node = format!("/chosen/module@{address:x}");
        tree.text(&node, "compatible", &[kind, "multiboot,module"])?;
        tree.numbers(&node, "reg", &[address, size])?;
    }
    Ok(())
}

fn compile(source: &Path, products: &Path) -> Result<()> {
    // Xen is built in its source folder, so the build uses a copy.
    let work: PathBuf = products.join("work");
    output(Command::new("cp").arg("-a").arg(source).arg(&work))?;
    let jobs = std::thread::available_parallelism()?;
    let make = |target: &str| {
        logged(
            Command::new("make")
                .current_dir(work.join("xen"))
                .env_remove("MAKEFLAGS")
                .args(["XEN_TARGET_ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-"])
                .arg(format!("-j{jobs}"))
                .arg(target),
            &folder().join(format!("xen-{target}.log")),
        )
    };
    make("defconfig")?;
    let config = work.join("xen/.config");
    let defaults = std::fs::read_to_string(&config)?;
    std::fs::write(&config, defaults + OPTIONS)?;
    make("olddefconfig")?;
    make("build")?;
    std::fs::copy(work.join("xen/xen"), products.join("xen"))?;
    std::fs::remove_dir_all(&work)?;
    Ok(())
}
