//! The hardware configuration in x1, as a boot loader may pass it.
//!
//! TF-A's ports for QEMU pass none. In a layout with `"hardware_configuration": true`, EL3 enters
//! two instructions that put the address of a device tree into x1, and the SPMC follows them. The
//! tree is the one that QEMU makes for the board. The SPMC manifest of such a layout has neither
//! console nor GIC.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::board::Board;
use crate::process::output;

/// Bytes before the SPMC, a multiple of the alignment of its sections.
const SIZE: usize = 0x4000;

/// Offset of the device tree.
const TREE: usize = 0x1000;

/// Returns BL32: the instructions and the device tree, followed by `spmc`. Writes the device tree
/// to `dir`, too.
pub fn precede(spmc: &[u8], board: &Board, dir: &Path) -> Result<Vec<u8>> {
    let (made, packed) = (dir.join("qemu.dtb"), dir.join("hw_config.dtb"));
    let dump = format!("dumpdtb={}", made.display());
    output(board.machine().args(["-net", "none", "-M", &dump]))?;
    output(
        Command::new("dtc")
            .args(["-q", "-I", "dtb", "-O", "dtb", "-o"])
            .args([&packed, &made]),
    )?;
    let tree = fs::read(&packed)?;
    ensure!(
        TREE + tree.len() <= SIZE,
        "the device tree has {} bytes",
        tree.len()
    );
    let words = [
        0x1000_0001 | (TREE as u32 / 4) << 5, // ADR X1, .+TREE
        0x1400_0000 | (SIZE as u32 / 4 - 1),  // B .+SIZE-4
    ];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.resize(TREE, 0);
    bytes.extend(tree);
    bytes.resize(SIZE, 0);
    bytes.extend(spmc);
    Ok(bytes)
}
