//! Installation of the programs that the other commands need.
//!
//! A program that is there is not installed again. On Debian, apt installs missing programs.

use std::process::Command;

use anyhow::{Result, bail};

use crate::apt::Apt;
use crate::distribution;
use crate::ending::SETPRIV;
use crate::process::{output, step, which};

/// A program, and the Debian package that contains it.
struct Tool {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        program: QEMU,
        package: "qemu-system-arm",
        why: "the board",
    },
    Tool {
        program: SETPRIV,
        package: "util-linux",
        why: "ending QEMU together with this program",
    },
    Tool {
        program: "dtc",
        package: "device-tree-compiler",
        why: "manifests",
    },
    Tool {
        program: "aarch64-linux-gnu-gcc",
        package: "gcc-aarch64-linux-gnu",
        why: "TF-A",
    },
    Tool {
        program: "make",
        package: "make",
        why: "TF-A",
    },
    Tool {
        program: "xz",
        package: "xz-utils",
        why: "TF-A",
    },
    Tool {
        program: "cc",
        package: "gcc",
        why: "the instruction counter of `bench`",
    },
];

/// The tools that only `fuzz` needs.
const FUZZING: &[Tool] = &[Tool {
    program: "c++",
    package: "g++",
    why: "libFuzzer",
}];

/// The tools that only the demos need. Python modules are represented by a file.
const SYSTEMS: &[Tool] = &[
    Tool {
        program: "dpkg",
        package: "dpkg",
        why: "unpacking Debian packages",
    },
    Tool {
        program: "openssl",
        package: "openssl",
        why: "judging signatures",
    },
    Tool {
        program: "bzip2",
        package: "bzip2",
        why: "U-Boot",
    },
    Tool {
        program: "bison",
        package: "bison",
        why: "U-Boot",
    },
    Tool {
        program: "flex",
        package: "flex",
        why: "U-Boot",
    },
    Tool {
        program: "bc",
        package: "bc",
        why: "U-Boot",
    },
    Tool {
        program: "/usr/lib/python3/dist-packages/elftools/__init__.py",
        package: "python3-pyelftools",
        why: "OP-TEE",
    },
    Tool {
        program: "/usr/lib/python3/dist-packages/cryptography/__init__.py",
        package: "python3-cryptography",
        why: "OP-TEE",
    },
    Tool {
        program: "c++",
        package: "g++",
        why: "EDK2's build tools",
    },
    Tool {
        program: "/usr/include/uuid/uuid.h",
        package: "uuid-dev",
        why: "EDK2's build tools",
    },
    Tool {
        program: "iasl",
        package: "acpica-tools",
        why: "EDK2",
    },
];

/// The emulator.
pub const QEMU: &str = "qemu-system-aarch64";

/// The first major version of QEMU with which S-EL2 was tested successfully.
const QEMU_MAJOR: u32 = 10;

/// Installs missing programs.
pub fn setup() -> Result<()> {
    install(TOOLS)
}

/// Installs missing programs for `fuzz`.
pub fn setup_for_fuzzing() -> Result<()> {
    install(FUZZING)
}

/// Installs missing programs for `demo`.
pub fn setup_for_systems() -> Result<()> {
    install(SYSTEMS)
}

fn install(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !usable(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        eprintln!(
            "missing: {} (Debian package {}), for {}",
            tool.program, tool.package, tool.why
        );
    }
    let apt = match Apt::open() {
        Ok(apt) => apt,
        Err(error) => {
            let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
            bail!("{error}: {}", distribution::how_to_install(&packages))
        }
    };
    // The QEMU of Debian 12 is too old.
    let backports = (apt.codename() == "bookworm").then_some("qemu");
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    step(&format!("installing {}", packages.join(" ")), || {
        apt.update(backports)?;
        apt.install(&packages)
    })?;

    match tools.iter().find(|tool| !usable(tool)) {
        Some(tool) => bail!(
            "{} is still missing or too old; {} must bring it",
            tool.program,
            tool.package
        ),
        None => Ok(()),
    }
}

fn usable(tool: &Tool) -> bool {
    which(tool.program).is_some()
        && (tool.program != QEMU || qemu_major().is_some_and(|major| major >= QEMU_MAJOR))
}

/// Returns the major version in `QEMU emulator version 10.0.2 (...)`.
fn qemu_major() -> Option<u32> {
    let text = output(Command::new(QEMU).arg("--version")).ok()?;
    let version = text.split("version ").nth(1)?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_two_commands_need_has_a_name_on_every_distribution() {
        for tool in TOOLS.iter().chain(FUZZING) {
            assert!(
                distribution::is_known_everywhere(tool.package),
                "{}",
                tool.package
            );
        }
    }
}
