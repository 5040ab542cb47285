//! EDK2's StandaloneMm as a partition at S-EL0 that keeps the variables of UEFI, UEFI in the Normal
//! world, and Linux that reads and writes the variables through efivarfs.
//!
//! Each demo boots several times with one flash.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::edk2::{edk2, platform};
use super::keys;
use super::linux::{DeviceTree, Linux};
use crate::board::QEMU_VIRT;
use crate::qemu::Machine;

/// Bytes of a bank of QEMU's flash.
const BANK_SIZE: usize = 64 << 20;

/// A bank of QEMU's flash, of which StandaloneMm has three blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bank {
    /// The bank with the firmware, which only the Secure world reaches.
    Secure,
    /// The other bank, which the Normal world reaches, too.
    Shared,
}

/// The state of the flash before a boot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing was ever written to it.
    Empty,
    /// As the boot before left it.
    Kept,
    /// The store for variables begins with other bytes, and the file ends within it.
    Damaged,
}

/// One of the boots with a flash.
pub struct Round {
    /// Part of the name of the log.
    pub name: &'static str,
    pub state: State,
    pub program: Program,
    /// The folder with the layout, below that of the demo.
    pub folder: &'static str,
    /// Texts that must appear on a console.
    pub expect: &'static [&'static str],
}

/// The program that UEFI starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Its shell, with the script `variables.nsh`.
    Shell,
    /// Linux, whose first process uses variables as this word says.
    Linux(&'static str),
}

const STARTS_EMPTY: &str =
    "stmm vcpu 0: flash: no store for variables, or a damaged one: it starts empty";
const IS_INTACT: &str = "stmm vcpu 0: flash: the store for variables is intact";

/// The lines of the shell, which writes a variable, and another one that it removes.
const SHELL_WRITES: &[&str] = &[
    STARTS_EMPTY,
    "stmm: HOB list of the manifest",
    "66 00 72 00 6F 00 6D 00-20 00 74 00 68 00 65 00  *f.r.o.m. .t.h.e.*",
    "2A 00                                            **.*",
    ": Unable to get - ",
    "demo: end",
];

/// All boots, in order.
pub const ROUNDS: &[Round] = &[
    Round {
        name: "shell",
        state: State::Empty,
        program: Program::Shell,
        folder: "",
        expect: SHELL_WRITES,
    },
    Round {
        name: "written",
        state: State::Kept,
        program: Program::Linux("shell"),
        folder: "",
        expect: &[
            IS_INTACT,
            "demo: variables: the text of the shell survived",
            "demo: variables: a text is read back",
            "demo: variables: a text is replaced",
            "demo: variables: a long text is read back",
            "demo: variables: many are listed",
            "demo: variables: a volatile one is refused",
            "demo: keys: PK, KEK and db are enrolled",
            "demo: keys: a right signature is taken",
            "demo: keys: 7 wrong ones are refused",
        ],
    },
    Round {
        name: "kept",
        state: State::Kept,
        program: Program::Linux("kept"),
        folder: "transfer-list",
        expect: &[
            IS_INTACT,
            "stmm: HOB list of the package",
            "demo: variables: a text survived the power-off",
            "demo: variables: a long text survived the power-off",
            "demo: variables: many survived the power-off",
            "demo: variables: many are removed",
            "demo: keys: PK, KEK and db survived the power-off",
            "demo: keys: 7 wrong ones are refused",
            "demo: keys: PK is removed",
        ],
    },
    Round {
        name: "damaged",
        state: State::Damaged,
        program: Program::Linux("empty"),
        folder: "",
        expect: &[
            STARTS_EMPTY,
            "demo: variables: none of an earlier boot",
            "demo: variables: a text is read back",
            "demo: variables: many are listed",
            "demo: keys: none of an earlier boot",
            "demo: keys: PK, KEK and db are enrolled",
            "demo: keys: 7 wrong ones are refused",
        ],
    },
];

/// The boot that leaves the flash as it is.
pub fn kept() -> Option<&'static Round> {
    ROUNDS.iter().find(|round| round.name == "kept")
}

impl Bank {
    /// Returns the address of the first block of the store.
    fn store(self) -> u64 {
        match self {
            Self::Secure => 0x0100_0000,
            Self::Shared => 0x0400_0000,
        }
    }

    /// Returns the offset of that block in the bank.
    fn offset(self) -> usize {
        match self {
            Self::Secure => 0x0100_0000,
            Self::Shared => 0,
        }
    }

    /// Returns the name of StandaloneMm's image in a layout.
    fn image(self) -> &'static str {
        match self {
            Self::Secure => "stmm-secure-flash.bin",
            Self::Shared => "stmm.bin",
        }
    }
}

/// Builds StandaloneMm for this flash and UEFI unless that was done before, and copies the image of
/// StandaloneMm to where layouts look for it. Returns the image of UEFI.
pub fn build(bank: Bank) -> Result<Vec<u8>> {
    let edk2 = edk2()?;
    let store = format!("STORE={:#x}", bank.store());
    let words = ["-b", "RELEASE", "-D", &store];
    let stmm = platform(&edk2, "StandaloneMm", &words)?;
    fs::create_dir_all(QEMU_VIRT.guests())?;
    fs::copy(stmm, QEMU_VIRT.guests().join(bank.image()))?;
    Ok(fs::read(platform(&edk2, "Uefi", &["-b", "DEBUG"])?)?)
}

/// Prepares a machine whose UEFI starts what the round says. `words` are added to the command line
/// of Linux. The files go to `dir`.
pub fn load(machine: &mut Machine, dir: &Path, round: &Round, words: &str) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let keys = dir.join("keys");
    if round.state != State::Kept || !keys.exists() {
        keys::make(&keys)?;
    }
    match round.program {
        Program::Shell => add_script(machine, dir)?,
        Program::Linux(variables) => {
            let mut linux = Linux::new()?;
            linux.add_driver("fs/efivarfs/efivarfs")?;
            let initramfs = &mut linux.initramfs;
            initramfs.file("variables.sh", include_bytes!("variables.sh"));
            initramfs.file("keys.sh", include_bytes!("keys.sh"));
            for (name, contents) in keys::values(&keys)? {
                initramfs.file(&format!("keys/{name}"), &contents);
            }
            linux.hand_over(machine, dir, &format!("VARIABLES={variables} {words}"))?;
        }
    }
    DeviceTree::of(machine, dir.join("uefi.dtb"))?;
    add_memory(machine);
    Ok(())
}

/// Adds a disk with the script that the shell of UEFI runs.
fn add_script(machine: &mut Machine, dir: &Path) -> Result<()> {
    let disk = dir.join("disk");
    fs::create_dir_all(&disk).with_context(|| disk.display().to_string())?;
    fs::write(disk.join("startup.nsh"), include_bytes!("variables.nsh"))?;
    let drive = format!("if=none,id=disk,format=raw,file=fat:{}", disk.display());
    machine.arguments.extend([
        "-drive".into(),
        drive + ",readonly=on",
        "-device".into(),
        "virtio-blk-device,drive=disk".into(),
    ]);
    Ok(())
}

/// Gives the machine its memory. UEFI adds the buffer that it shares with StandaloneMm to its
/// memory map, so the buffer must not be in the memory that UEFI has: that of the last node of
/// QEMU's.
fn add_memory(machine: &mut Machine) {
    let all = machine.smp - 1;
    machine.arguments.extend([
        "-object".into(),
        "memory-backend-ram,id=first,size=32M".into(),
        "-object".into(),
        format!("memory-backend-ram,id=rest,size={}M", machine.memory - 32),
        "-numa".into(),
        format!("node,memdev=first,cpus=0-{all}"),
        "-numa".into(),
        "node,memdev=rest".into(),
    ]);
}

/// Gives the machine the flash with the variables, in that state. The file is in `dir`; `firmware`
/// is the image from which the machine boots.
pub fn insert(
    machine: &mut Machine,
    dir: &Path,
    bank: Bank,
    state: State,
    firmware: &Path,
) -> Result<()> {
    let path = dir.join("flash.bin");
    let before = match (state, fs::read(&path)) {
        (State::Empty, _) | (_, Err(_)) => Vec::new(),
        (State::Kept, Ok(bytes)) => bytes,
        (State::Damaged, Ok(bytes)) => damaged(bytes, bank.offset()),
    };
    let mut bytes = whole_bank(before);
    match bank {
        Bank::Secure => {
            let firmware = fs::read(firmware)?;
            ensure!(
                firmware.len() <= bank.offset(),
                "the firmware reaches into the variables"
            );
            bytes[..firmware.len()].copy_from_slice(&firmware);
            machine.boot_flash = Some(path.clone());
        }
        Bank::Shared => {
            let drive = format!("if=pflash,unit=1,format=raw,file={}", path.display());
            machine.arguments.extend(["-drive".into(), drive]);
        }
    }
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Returns a flash with other bytes at the begin of the store, cut in the middle of its block.
fn damaged(mut bytes: Vec<u8>, store: usize) -> Vec<u8> {
    bytes.truncate(store + 0x2_0000);
    let begin = bytes.iter_mut().skip(store).take(0x1000);
    for (index, byte) in begin.enumerate() {
        *byte = (index * 7) as u8;
    }
    bytes
}

/// Returns the contents of a whole bank, since QEMU refuses a file that was cut. What is missing is
/// erased flash.
fn whole_bank(mut bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.is_empty() && bytes.len() != BANK_SIZE {
        eprintln!(
            "the flash has {} bytes in place of {BANK_SIZE}: what is missing counts as erased",
            bytes.len()
        );
    }
    bytes.resize(BANK_SIZE, 0xff);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flash_that_was_cut_becomes_whole() {
        assert!(whole_bank(Vec::new()).iter().all(|byte| *byte == 0xff));
        let store = 0x10_0000;
        let cut = damaged(vec![1; BANK_SIZE], store);
        let whole = whole_bank(cut.clone());
        assert_eq!(whole.len(), BANK_SIZE);
        assert_eq!(whole[..cut.len()], cut);
        assert!(whole[cut.len()..].iter().all(|byte| *byte == 0xff));
        assert_eq!(whole[store - 1], 1);
        assert_ne!(whole[store..store + 0x1000], [1; 0x1000]);
    }
}
