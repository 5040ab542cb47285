//! The boards that can be booted, with what TF-A, QEMU and the image builder must know of each. The
//! addresses of a board are in its folder below `platform/`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::ending::dies_with_its_starter;
use crate::setup::QEMU;
use crate::workspace::{root, target};

/// The facts of QEMU's virt machine that the guests have.
#[allow(dead_code, reason = "only the guests use all of them")]
mod virt {
    include!("../../../platform/qemu-virt/guest.rs");
    include!("../../../tests/guest/places.rs");
}

/// The facts of QEMU's sbsa-ref machine that the guests have.
#[allow(dead_code, reason = "only the guests use all of them")]
mod sbsa {
    include!("../../../platform/qemu-sbsa/guest.rs");
    include!("../../../tests/guest/places.rs");
}

pub use virt::PATTERN_LENGTH;

/// A board.
pub struct Board {
    /// The name of the folder below `platform/`.
    pub name: &'static str,
    /// The folder of the repository's layouts for the board, from the root.
    layouts: &'static str,
    /// Arguments for TF-A's make that come after those of all boards, and may override them.
    pub firmware: &'static [&'static str],
    /// The board's name in TF-A.
    pub firmware_platform: &'static str,
    /// The largest number of PEs: `PLATFORM_CORE_COUNT` of TF-A's port for the board.
    pub most_pes: u32,
    /// Offset in the boot flash at which BL1 looks for the FIP.
    pub fip_offset: usize,
    /// Address at which BL33 must be in memory, if BL2 does not load it from the FIP.
    pub preloaded_bl33: Option<u64>,
    /// Address at which the test OS looks for the number of its selection, its parameters, and
    /// which tests are wanted, in this order.
    pub selection_address: u64,
    machine: &'static [&'static str],
}

/// QEMU's virt machine.
pub static QEMU_VIRT: Board = Board {
    name: "qemu-virt",
    layouts: "manifests",
    firmware: &[],
    firmware_platform: "qemu",
    most_pes: 32,
    fip_offset: 0x4_0000,
    preloaded_bl33: None,
    selection_address: virt::SELECTION,
    machine: &[
        "-M",
        "virt,secure=on,virtualization=on,gic-version=3,acpi=off,mte=on",
        "-cpu",
        "max,pauth-impdef=on",
    ],
};

/// QEMU's sbsa-ref machine.
///
/// TF-A's port for this machine has no support for an SPMC at S-EL2, so sources and addresses from
/// the port for virt are added here. The port does not load BL33 either. BL31 has room for 512 PEs
/// only if it does not keep the registers of features that this CPU lacks.
pub static QEMU_SBSA: Board = Board {
    name: "qemu-sbsa",
    layouts: "platform/qemu-sbsa/manifests",
    firmware: &[
        "PLAT=qemu_sbsa",
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
    most_pes: 512,
    fip_offset: 0x1_2000,
    preloaded_bl33: Some(sbsa::BL33),
    selection_address: sbsa::SELECTION,
    // The display is not needed, and not every installation has its ROM.
    machine: &[
        "-M",
        "sbsa-ref",
        "-cpu",
        "neoverse-n2",
        "-global",
        "bochs-display.romfile=",
    ],
};

/// Every board that can be booted. The first is the default.
pub static BOARDS: [&Board; 2] = [&QEMU_VIRT, &QEMU_SBSA];

impl Board {
    /// Returns the board with that name.
    pub fn find(name: &str) -> Result<&'static Self> {
        let found = BOARDS.into_iter().find(|board| board.name == name);
        let names = BOARDS.map(|board| board.name).join(", ");
        found.with_context(|| format!("`{name}` is no board; there are {names}"))
    }

    /// Returns whether this board is used where none is named.
    pub fn is_default(&self) -> bool {
        self.name == BOARDS[0].name
    }

    /// Returns the folder of the board's layouts.
    pub fn layouts(&self) -> PathBuf {
        root().join(self.layouts)
    }

    /// Returns the device tree source of the board's console and GIC, which goes into each SPMC
    /// manifest.
    pub fn description(&self) -> PathBuf {
        root().join("platform").join(self.name).join("board.dtsi")
    }

    /// Returns the folder for what is built for the board alone.
    pub fn products(&self) -> PathBuf {
        if self.is_default() {
            target()
        } else {
            target().join(self.name)
        }
    }

    /// Returns the folder of the raw images of the test partitions and of the Normal-world test OS.
    pub fn guests(&self) -> PathBuf {
        self.products().join("guest")
    }

    /// Returns a QEMU command that emulates this board.
    pub fn machine(&self) -> Command {
        let mut command = dies_with_its_starter(QEMU);
        command.args(self.machine);
        command
    }
}
