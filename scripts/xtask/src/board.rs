//! The boards that can be booted: what TF-A, QEMU and the images of each must be told. Addresses of
//! a board stand in its folder below `platform/`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::QEMU;
use crate::workspace::{root, target};

/// A board.
pub struct Board {
    /// Its folder below `platform/`, and the package in it.
    pub name: &'static str,
    /// The program of that package.
    pub spmc: &'static str,
    /// Layouts of the repository for it, below the root.
    layouts: &'static str,
    /// Arguments for TF-A's make beyond those of all boards, and in place of them.
    pub firmware: &'static [&'static str],
    /// Its name in TF-A.
    pub firmware_platform: &'static str,
    /// Where BL1 looks for the FIP in the boot flash.
    pub fip_offset: usize,
    /// Where BL33 has to be in memory, if BL2 does not load it from the FIP.
    pub preloaded_bl33: Option<u64>,
    /// Where the test OS looks for the number of the selection that it runs.
    pub selection_address: u64,
    machine: &'static [&'static str],
}

/// QEMU's virt machine.
pub static QEMU_VIRT: Board = Board {
    name: "qemu-virt",
    spmc: "spmc",
    layouts: "manifests",
    firmware: &[],
    firmware_platform: "qemu",
    fip_offset: 0x4_0000,
    preloaded_bl33: None,
    selection_address: 0x7000_0000,
    machine: &[
        "-M",
        "virt,secure=on,virtualization=on,gic-version=3,acpi=off,mte=on",
        "-cpu",
        "max,pauth-impdef=on",
    ],
};

/// QEMU's sbsa-ref machine.
///
/// TF-A's port of it was never told of an SPMC at S-EL2: sources and addresses that the port for
/// virt has are added here. It does not load BL33 either. BL31 has room for 512 PEs, but not if
/// each keeps the registers of features that this CPU does not have.
pub static QEMU_SBSA: Board = Board {
    name: "qemu-sbsa",
    spmc: "spmc-qemu-sbsa",
    layouts: "platform/qemu-sbsa/manifests",
    firmware: &[
        "PLAT=qemu_sbsa",
        "PRELOADED_BL33_BASE=0x10020000000",
        "--eval=BL2_SOURCES = common/uuid.c $(FDT_WRAPPERS_SOURCES)",
        "--eval=BL31_SOURCES = common/uuid.c plat/common/plat_spmd_manifest.c $(LIBFDT_SRCS)",
        "CFLAGS=-DTB_FW_CONFIG_BASE=0x3fcec000 -DTB_FW_CONFIG_LIMIT=0x3fced000 \
         -DTOS_FW_CONFIG_BASE=0x3fced000 -DTOS_FW_CONFIG_LIMIT=0x3fcee000",
        "ENABLE_SME_FOR_NS=0",
        "ENABLE_SME_FOR_SWD=0",
        "ENABLE_FEAT_TCR2=0",
        "ENABLE_FEAT_S1PIE=0",
        "ENABLE_FEAT_S2PIE=0",
        "ENABLE_FEAT_S1POE=0",
        "ENABLE_FEAT_S2POE=0",
        "ENABLE_FEAT_GCS=0",
    ],
    firmware_platform: "qemu_sbsa",
    fip_offset: 0x1_2000,
    preloaded_bl33: Some(0x100_2000_0000),
    selection_address: 0x100_3000_0000,
    // The display is not needed, and its ROM is not everywhere.
    machine: &[
        "-M",
        "sbsa-ref",
        "-cpu",
        "neoverse-n2",
        "-global",
        "bochs-display.romfile=",
    ],
};

/// Every board that can be booted, the default first.
pub static BOARDS: [&Board; 2] = [&QEMU_VIRT, &QEMU_SBSA];

impl Board {
    /// The board of that name.
    pub fn find(name: &str) -> Result<&'static Self> {
        let found = BOARDS.into_iter().find(|board| board.name == name);
        let names = BOARDS.map(|board| board.name).join(", ");
        found.with_context(|| format!("`{name}` is no board; there are {names}"))
    }

    /// Returns whether it is the one that is meant where none is named.
    pub fn is_default(&self) -> bool {
        self.name == BOARDS[0].name
    }

    /// The folder of its layouts.
    pub fn layouts(&self) -> PathBuf {
        root().join(self.layouts)
    }

    /// The folder of what is built for it.
    pub fn products(&self) -> PathBuf {
        if self.is_default() {
            target()
        } else {
            target().join(self.name)
        }
    }

    /// The raw images of the test partitions and of the Normal-world test OS.
    pub fn guests(&self) -> PathBuf {
        self.products().join("guest")
    }

    /// QEMU, told to be this board.
    pub fn machine(&self) -> Command {
        let mut command = Command::new(QEMU);
        command.args(self.machine);
        command
    }
}
