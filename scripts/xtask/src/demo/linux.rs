//! Debian's arm64 kernel in the Normal world: the parts of the kernel and of its initial file
//! system, and the way they are started.
//!
//! There is no boot loader: BL33 consists of a few instructions that jump to the kernel, which QEMU
//! puts into memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::fetch::{Pinned, unpack};
use super::initramfs::Initramfs;
use crate::process::output;
use crate::qemu::Machine;

const VERSION: &str = "7.2.13+deb14-cloud-arm64";
const BINARY: Pinned = Pinned {
    path: "pool/main/l/linux-signed-arm64/linux-binary-7.2.13+deb14-cloud-arm64_7.2.13-1_arm64.deb",
    sha256: "6468b94955d8b5e8a2b3b36a826851ad0aa431c7340f6401e20b065dc08e4f5d",
};
const MODULES: Pinned = Pinned {
    path: "pool/main/l/linux/linux-modules-7.2.13+deb14-cloud-arm64_7.2.13-1_arm64.deb",
    sha256: "e356ce4b166e33d7d9a14683bf10e18265ba9b1b255bfcb963b19be5d42cb0fa",
};
const BUSYBOX: Pinned = Pinned {
    path: "pool/main/b/busybox/busybox-static_1.38.0-3+b1_arm64.deb",
    sha256: "968d1aa8f579fa1ac59c26afa365454369e13cf29848e6400b50028fed0ffda0",
};

/// The modules, in the order in which they are loaded.
const DRIVERS: &[&str] = &[
    "drivers/firmware/arm_ffa/ffa-core",
    "drivers/firmware/arm_ffa/ffa-module",
    "drivers/tee/tee",
    "drivers/tee/optee/optee",
    "drivers/char/hw_random/optee-rng",
];

/// Devices that a layout may assign to a partition. The Normal world does not need them.
const OTHERS_DEVICES: &[&str] = &["/pl031@9010000", "/pl061@9030000", "/gpio-keys"];

/// Addresses at which QEMU puts the device tree, the kernel and its file system.
const DEVICE_TREE: u64 = 0x4000_0000;
pub const KERNEL: u64 = 0x4400_0000;
pub const INITRAMFS: u64 = 0x5200_0000;

/// The command line of every kernel: the first process, and no watchdogs, since these would only
/// show how busy the host is.
pub const WORDS: &str = "rdinit=/init nowatchdog rcupdate.rcu_cpu_stall_suppress=1";

/// Returns the command line of a kernel with its console on UART0.
fn words(command_line: &str) -> String {
    format!("console=ttyAMA0 {WORDS} {command_line}")
}

/// The kernel, and a file system to which demos add files.
pub struct Linux {
    /// The folder with the contents of the packages.
    root: PathBuf,
    /// With busybox, the drivers and the first process.
    pub initramfs: Initramfs,
}

impl Linux {
    /// Downloads the parts that are not there.
    pub fn new() -> Result<Self> {
        let root = unpack("linux", &[&BINARY, &MODULES, &BUSYBOX])?;
        let mut initramfs = Initramfs::default();
        for directory in ["proc", "sys", "tmp", "run"] {
            initramfs.directory(directory);
        }
        initramfs.device("dev/console", 5, 1);
        initramfs.device("dev/null", 1, 3);
        initramfs.copy("bin/busybox", &root.join("usr/bin/busybox"))?;
        initramfs.link("bin/sh", "busybox");
        initramfs.file("init", include_bytes!("init.sh"));
        let mut linux = Self { root, initramfs };
        for driver in DRIVERS {
            linux.add_driver(driver)?;
        }
        Ok(linux)
    }

    /// Adds a module of the kernel to the file system, as `modules/NAME.ko`.
    pub fn add_driver(&mut self, driver: &str) -> Result<()> {
        let modules = self.modules().join("kernel");
        let packed = modules.join(format!("{driver}.ko.xz"));
        ensure!(
            packed.exists(),
            "the kernel {VERSION} has no {driver}: it is built without that driver"
        );
        let module = self.root.join("module.ko");
        output(
            Command::new("sh")
                .args(["-c", "xz -dc \"$1\" > \"$2\"", "sh"])
                .arg(&packed)
                .arg(&module),
        )?;
        let name = driver.rsplit('/').next().unwrap_or(driver);
        self.initramfs.copy(&format!("modules/{name}.ko"), &module)
    }

    fn modules(&self) -> PathBuf {
        self.root.join("usr/lib/modules").join(VERSION)
    }

    fn kernel(&self) -> PathBuf {
        self.modules().join("vmlinuz")
    }

    /// Makes QEMU hand the kernel, its file system and its command line over to the firmware, which
    /// starts the kernel. The files go to `dir`.
    pub fn hand_over(self, machine: &mut Machine, dir: &Path, command_line: &str) -> Result<()> {
        fs::create_dir_all(dir)?;
        let archive = dir.join("initramfs.cpio");
        let kernel = self.kernel().display().to_string();
        fs::write(&archive, self.initramfs.finish())?;
        machine.arguments.extend([
            "-kernel".into(),
            kernel,
            "-initrd".into(),
            archive.display().to_string(),
            "-append".into(),
            words(command_line),
        ]);
        Ok(())
    }

    /// Writes the files that QEMU loads to `dir`, and makes the machine load them.
    pub fn load(self, machine: &mut Machine, dir: &Path) -> Result<Loaded> {
        fs::create_dir_all(dir)?;
        let tree = DeviceTree::of(machine, dir.join("linux.dtb"))?;
        let archive = dir.join("initramfs.cpio");
        let kernel = self.kernel();
        fs::write(&archive, self.initramfs.finish())?;
        let size = |path: &Path| -> Result<u64> { Ok(fs::metadata(path)?.len()) };
        let loaded = Loaded {
            tree,
            kernel: size(&kernel)?,
            initramfs: size(&archive)?,
        };
        machine.load(&kernel, KERNEL);
        machine.load(&archive, INITRAMFS);
        Ok(loaded)
    }
}

/// The files that QEMU loads: the device tree, and the sizes of the kernel and of its file system.
pub struct Loaded {
    pub tree: DeviceTree,
    pub kernel: u64,
    pub initramfs: u64,
}

impl Loaded {
    /// Describes the file system and the command line to the kernel, in the device tree.
    pub fn describe(&self, command_line: &str) -> Result<()> {
        self.tree
            .text("/chosen", "bootargs", &[&words(command_line)])?;
        let end = INITRAMFS + self.initramfs;
        for (property, address) in [("start", INITRAMFS), ("end", end)] {
            let property = format!("linux,initrd-{property}");
            self.tree.numbers("/chosen", &property, &[address])?;
        }
        Ok(())
    }

    /// Returns the arguments of U-Boot's `booti`.
    pub fn booti(&self) -> String {
        let size = self.initramfs;
        format!("{KERNEL:#x} {INITRAMFS:#x}:{size:x} {DEVICE_TREE:#x}")
    }
}

/// A device tree that is edited in its file.
pub struct DeviceTree(PathBuf);

impl DeviceTree {
    /// Writes the machine's tree to a file, without the devices of partitions, and makes the
    /// machine use it.
    pub fn of(machine: &mut Machine, file: PathBuf) -> Result<Self> {
        machine.device_tree(&file)?;
        let argument = file.display().to_string();
        machine.arguments.extend(["-dtb".into(), argument]);
        let tree = Self(file);
        for device in OTHERS_DEVICES {
            tree.text(device, "status", &["disabled"])?;
        }
        Ok(tree)
    }

    /// Sets a property to strings. Adds the node if it is missing.
    pub fn text(&self, node: &str, property: &str, values: &[&str]) -> Result<()> {
        self.put("s", node, property, values)
    }

    /// Sets a property to 64-bit numbers. Adds the node if it is missing.
    pub fn numbers(&self, node: &str, property: &str, values: &[u64]) -> Result<()> {
        let words: Vec<String> = values
            .iter()
            .flat_map(|value| [value >> 32, value & 0xffff_ffff])
            .map(|word| format!("{word:x}"))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.put("x", node, property, &words)
    }

    /// Sets a property to one cell.
    pub fn cell(&self, node: &str, property: &str, value: u32) -> Result<()> {
        self.put("x", node, property, &[&format!("{value:x}")])
    }

    fn put(&self, kind: &str, node: &str, property: &str, values: &[&str]) -> Result<()> {
        let mut command = Command::new("fdtput");
        command.args(["-p", "-t", kind]).arg(&self.0);
        output(command.args([node, property]).args(values))
            .context("cannot write the device tree")?;
        Ok(())
    }
}

/// Returns BL33, which sets x0 = device tree, x1 to x3 = 0 and jumps to `entry`, a multiple of 64
/// KiB below 4 GiB.
pub fn loader(entry: u64) -> Vec<u8> {
    let movz = |register: u32, address: u64| {
        let half = (address >> 16) as u32;
        0xd280_0000 | 1 << 21 | half << 5 | register
    };
    let code = [
        movz(0, DEVICE_TREE),
        movz(1, 0),
        movz(2, 0),
        movz(3, 0),
        movz(4, entry),
        // br x4
        0xd61f_0080,
    ];
    code.iter()
        .flat_map(|word: &u32| word.to_le_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_is_the_code_that_an_assembler_makes() {
        let words: Vec<u32> = loader(KERNEL)
            .chunks(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        // mov x0, #0x40000000; movz x1..x3, #0, lsl #16; mov x4, #0x44000000; br x4
        assert_eq!(
            words,
            [
                0xd2a8_0000,
                0xd2a0_0001,
                0xd2a0_0002,
                0xd2a0_0003,
                0xd2a8_8004,
                0xd61f_0080
            ]
        );
    }
}
