//! U-Boot in the Normal world, with its `armffa` command.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::fetch::{Pinned, source, whole};
use crate::process::{logged, step};
use crate::qemu::Machine;

const SOURCE: Pinned = Pinned {
    path: "pool/main/u/u-boot/u-boot_2025.01.orig.tar.bz2",
    sha256: "cdef7d507c93f1bbd9f015ea9bc21fa074268481405501945abc6f854d5b686f",
};

/// Options in addition to `qemu_arm64_defconfig`. The tools for images are off, since they need
/// libraries and are not used.
const OPTIONS: &str = "
CONFIG_ARM_FFA_TRANSPORT=y
CONFIG_CMD_ARMFFA=y
CONFIG_ARM_SMCCC=y
CONFIG_ARM_SMCCC_FEATURES=y
CONFIG_CMD_POWEROFF=y
CONFIG_BOOTDELAY=0
CONFIG_USE_BOOTCOMMAND=y
CONFIG_BOOTCOMMAND=\"env import -t 0x50000000 0x1000; run demo\"
# CONFIG_TOOLS_LIBCRYPTO is not set
# CONFIG_TOOLS_MKEFICAPSULE is not set
";

/// Address at which U-Boot finds its variable `demo`, whose commands it runs.
const VARIABLES: u64 = 0x5000_0000;

/// Builds U-Boot unless that was done before.
pub fn build() -> Result<Vec<u8>> {
    let source = source("u-boot-source", &SOURCE)?;
    let build = whole("u-boot", &[SOURCE.sha256, OPTIONS], |products| {
        step("building U-Boot", || compile(&source, products))
    })?;
    Ok(fs::read(build.join("u-boot.bin"))?)
}

/// Makes U-Boot run `commands` on this machine. The file with the commands goes to `dir`.
pub fn load(machine: &mut Machine, dir: &Path, commands: &str) -> Result<()> {
    fs::create_dir_all(dir)?;
    let file = dir.join("variables.txt");
    fs::write(&file, format!("demo={commands}\n\0"))?;
    machine.load(&file, VARIABLES);
    Ok(())
}

fn compile(source: &Path, products: &Path) -> Result<()> {
    let work = products.join("work");
    let jobs = std::thread::available_parallelism()?;
    let make = |target: &str| {
        logged(
            Command::new("make")
                .current_dir(source)
                .env_remove("MAKEFLAGS")
                .arg(format!("-j{jobs}"))
                .arg("CROSS_COMPILE=aarch64-linux-gnu-")
                .arg(format!("O={}", work.display()))
                .arg(target),
            &super::fetch::folder().join(format!("u-boot-{target}.log")),
        )
    };
    make("qemu_arm64_defconfig")?;
    let config = work.join(".config");
    let defaults = fs::read_to_string(&config)?;
    fs::write(&config, defaults + OPTIONS)?;
    make("olddefconfig")?;
    make("u-boot.bin")?;
    fs::copy(work.join("u-boot.bin"), products.join("u-boot.bin"))?;
    fs::remove_dir_all(&work)?;
    Ok(())
}
