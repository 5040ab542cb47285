//! The flash image: BL1, and a FIP with the rest of TF-A, the SPMC, its manifest and the partitions
//! of a layout.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use sp_layout::{Contents, Form, MAX_CONFIG, MAX_PACKAGES};

use crate::board::{Board, QEMU_VIRT};
use crate::build::{self, Extras, Spmc};
use crate::fip::{Uuid, fip};
use crate::hw_config;
use crate::layout::{self, Layout, Package, Partition};
use crate::process::{feed, output};
use crate::setup;
use crate::tfa::{self, Firmware};
use crate::untidy;

/// Options that select the contents of an image.
#[derive(Clone)]
pub struct ImageOptions {
    /// The board.
    pub board: &'static Board,
    /// Name or path of the layout.
    pub layout: String,
    /// The SPMC's log level, if not the default.
    pub log_level: Option<u32>,
    /// The additions of the SPMC's image.
    pub extras: Extras,
    /// The raw image of the Normal world, if not the test OS.
    pub bl33: Option<PathBuf>,
}

/// The names of log levels.
pub const LOG_LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The last log level of which the image that ships has lines: `info`.
const SHIPPED_LEVEL: u32 = 3;

/// Returns the number of a log level, as in `hypervisor/log-level` of the SPMC manifest.
pub fn log_level(name: &str) -> Result<u32> {
    let position = LOG_LEVELS.iter().position(|level| *level == name);
    let position = position.with_context(|| format!("`{name}` is not a log level"))?;
    Ok(position as u32 + 1)
}

/// Returns whether the SPMC that ships has no lines at this log level.
pub fn is_beyond_shipped(log_level: Option<u32>) -> bool {
    log_level.is_some_and(|level| level > SHIPPED_LEVEL)
}

/// The `compatible` of the GIC that the SPMC looks for.
const GIC: &str = "arm,gic-v3";

/// The components that images of all layouts share.
pub struct Components {
    /// The board.
    pub board: &'static Board,
    /// TF-A.
    pub firmware: Firmware,
    /// The SPMC.
    pub spmc: Spmc,
}

impl Components {
    /// Sets up the tools and builds what is not there yet, for the default board.
    pub fn build() -> Result<Self> {
        Self::build_for(&QEMU_VIRT, None)
    }

    /// Builds the components of another board, for one layout or for all tested layouts.
    pub fn build_for(board: &'static Board, layout: Option<&str>) -> Result<Self> {
        Self::build_with(board, layout, Extras::default())
    }

    /// Builds the same with another SPMC than the one that ships.
    pub fn build_with(board: &'static Board, layout: Option<&str>, extras: Extras) -> Result<Self> {
        setup::setup()?;
        Ok(Self {
            board,
            firmware: tfa::build(board, &[])?,
            spmc: build::build(board, layout, extras)?,
        })
    }
}

/// Builds the components and the flash image of a layout.
pub fn image(options: &ImageOptions) -> Result<(Layout, PathBuf)> {
    let layout = Some(options.layout.as_str());
    let components = Components::build_with(options.board, layout, options.extras)?;
    layout::build(&layout::folder(options.board, &options.layout)?)?;
    let layout = Layout::find_for(options.board, &options.layout)?;
    let flash = match &options.bl33 {
        None => assemble(&components, &layout, options.log_level)?,
        Some(file) => {
            let bl33 = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            assemble_with(&components, &layout, options.log_level, bl33)?
        }
    };
    Ok((layout, flash))
}

/// Assembles the flash image of a layout, with the test OS in the Normal world.
pub fn assemble(
    components: &Components,
    layout: &Layout,
    log_level: Option<u32>,
) -> Result<PathBuf> {
    let test_os = fs::read(components.board.guests().join("nwd.bin"))?;
    assemble_with(components, layout, log_level, test_os)
}

/// Assembles the flash image of a layout, with `bl33` in the Normal world.
pub fn assemble_with(
    components: &Components,
    layout: &Layout,
    log_level: Option<u32>,
    bl33: Vec<u8>,
) -> Result<PathBuf> {
    let board = components.board;
    let spmc = &components.spmc.bin;
    let special;
    let mut arguments = layout.scenario.firmware.clone();
    if layout.scenario.forgetful {
        arguments.extend(tfa::forgetful()?);
    }
    let firmware = if arguments.is_empty() {
        &components.firmware
    } else {
        special = tfa::build(board, &arguments)?;
        &special
    };
    let dir = folder(board, layout);
    fs::create_dir_all(&dir)?;
    let elf = elf_of(&dir);
    if elf.exists() {
        fs::remove_file(&elf)?;
    }
    fs::hard_link(&components.spmc.elf, &elf)?;
    ensure!(
        layout.partitions.len() <= MAX_PACKAGES,
        "layout {}: {} partitions, but BL2 loads at most {MAX_PACKAGES}",
        layout.name,
        layout.partitions.len()
    );

    let mut packages = Vec::new();
    let mut list = String::new();
    for partition in &layout.partitions {
        let packed = pack(&dir, layout, partition)
            .with_context(|| format!("layout {}, partition {}", layout.name, partition.name))?;
        list += &format!(
            "\t\t{} {{\n\t\t\tuuid = \"{}\";\n\t\t\tload-address = <{:#x}>;\n\t\t}};\n",
            partition.name, packed.uuid, packed.load_address
        );
        packages.push((packed.uuid, packed.bytes));
    }

    let tb_fw_config = match &layout.tb_fw_config {
        Some(path) => fs::read_to_string(path)?,
        None => format!(
            "/dts-v1/;\n/ {{\n\tsecure-partitions {{\n\t\tcompatible = \"arm,sp\";\n{list}\t}};\n}};\n"
        ),
    };
    let mut spmc_manifest = source(&layout.spmc_manifest)?;
    // A manifest that describes the GIC itself describes the board.
    if !spmc_manifest.contains(GIC) && !layout.scenario.hardware_configuration {
        spmc_manifest += &fs::read_to_string(board.description())?;
    }
    if let Some(level) = log_level {
        spmc_manifest += &format!("\n/ {{ hypervisor {{ log-level = <{level}>; }}; }};\n");
    }

    let mut bl32 = fs::read(spmc)?;
    if layout.scenario.hardware_configuration {
        bl32 = hw_config::precede(&bl32, board, &dir)?;
    }
    if layout.scenario.untidy {
        bl32 = untidy::precede(&bl32);
    }
    fs::write(bl33_of(&dir), &bl33)?;
    let mut images = vec![
        (Uuid::BL2, fs::read(&firmware.bl2)?),
        (Uuid::BL31, fs::read(&firmware.bl31)?),
        (Uuid::BL32, bl32),
        (Uuid::BL33, bl33),
        (
            Uuid::TB_FW_CONFIG,
            config(&tb_fw_config, &layout.dir, &dir.join("tb_fw_config.dtb"))?,
        ),
        (
            Uuid::TOS_FW_CONFIG,
            config(
                &spmc_manifest,
                layout.spmc_manifest.parent().unwrap_or(&layout.dir),
                &dir.join("tos_fw_config.dtb"),
            )?,
        ),
    ];
    images.append(&mut packages);

    let mut flash = fs::read(&firmware.bl1)?;
    ensure!(flash.len() <= board.fip_offset, "BL1 reaches into the FIP");
    flash.resize(board.fip_offset, 0);
    flash.extend(fip(&images));
    let path = dir.join("flash.bin");
    fs::write(&path, flash)?;
    Ok(path)
}

/// Returns the folder of the flash image of a layout.
pub fn folder(board: &Board, layout: &Layout) -> PathBuf {
    board.products().join("images").join(&layout.name)
}

/// Returns the path of the program of the SPMC that is in the flash image in `dir`.
pub fn elf_of(dir: &Path) -> PathBuf {
    dir.join("spmc.elf")
}

/// Returns the path of BL33 as a separate file, beside the flash image in `dir`.
pub fn bl33_of(dir: &Path) -> PathBuf {
    dir.join("bl33.bin")
}

/// A package as it is described to BL2.
struct Packed {
    uuid: Uuid,
    load_address: u64,
    bytes: Vec<u8>,
}

fn pack(dir: &Path, layout: &Layout, partition: &Partition) -> Result<Packed> {
    let package = dir.join(format!("{}.pkg", partition.name));
    let (mut bytes, manifest) = match &partition.package {
        Package::File(path) => (fs::read(path)?, None),
        Package::Parts {
            image,
            manifest,
            offsets,
            form,
        } => {
            let dtb = dir.join(format!("{}.dtb", partition.name));
            if manifest.extension().is_some_and(|kind| kind == "dtb") {
                fs::copy(manifest, &dtb)?;
            } else {
                let include = manifest.parent().unwrap_or(&layout.dir);
                compile(&source(manifest)?, include, &dtb)
                    .with_context(|| manifest.display().to_string())?;
            }
            let form = match layout.scenario.package_version {
                None => *form,
                Some(1) => Form::V1,
                Some(2) => Form::V2,
                Some(other) => bail!("there is no package version {other}"),
            };
            let contents = Contents {
                manifest: &fs::read(&dtb)?,
                image: &fs::read(image)?,
                load_address: load_address(partition, Some(&dtb))?,
            };
            let package = sp_layout::pack(form, *offsets, &contents);
            (package.map_err(anyhow::Error::msg)?.bytes, Some(dtb))
        }
    };
    let truncate = &layout.scenario.truncate;
    if let Some((_, size)) = truncate.iter().find(|(name, _)| *name == partition.name) {
        bytes.truncate(*size);
    }
    fs::write(&package, &bytes)?;
    Ok(Packed {
        uuid: match (&partition.uuid, &manifest) {
            (Some(uuid), _) => Uuid::parse(uuid)?,
            (None, Some(dtb)) => manifest_uuid(dtb)?,
            (None, None) => bail!("`uuid` is missing"),
        },
        load_address: load_address(partition, manifest.as_deref())?,
        bytes,
    })
}

/// Returns the address that BL2 loads a package to.
fn load_address(partition: &Partition, manifest: Option<&Path>) -> Result<u64> {
    match (partition.load_address, manifest) {
        (Some(address), _) => Ok(address),
        (None, Some(dtb)) => manifest_load_address(dtb),
        (None, None) => bail!("`physical-load-address` is missing"),
    }
}

/// Returns the first UUID of a manifest. TF-A writes each of its four words in little-endian order.
fn manifest_uuid(dtb: &Path) -> Result<Uuid> {
    let bytes: Vec<u8> = cells(dtb, "uuid")?
        .iter()
        .take(4)
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let bytes = bytes.try_into().ok();
    Ok(Uuid(
        bytes.context("the manifest's `uuid` has no four words")?,
    ))
}

fn manifest_load_address(dtb: &Path) -> Result<u64> {
    let words = cells(dtb, "load-address")?;
    Ok(words
        .iter()
        .fold(0, |address, word| (address << 32) | u64::from(*word)))
}

fn cells(dtb: &Path, property: &str) -> Result<Vec<u32>> {
    let text = output(
        Command::new("fdtget")
            .args(["-t", "x"])
            .arg(dtb)
            .args(["/", property]),
    )
    .with_context(|| format!("neither the layout nor the manifest has `{property}`"))?;
    text.split_whitespace()
        .map(|word| Ok(u32::from_str_radix(word, 16)?))
        .collect()
}

/// Returns the text of a device tree source, after the C preprocessor if the source uses it.
pub fn source(path: &Path) -> Result<String> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let directives = ["#include", "#define", "#if"];
    let is_directive = |line: &str| directives.iter().any(|word| line.starts_with(word));
    if !text.lines().any(is_directive) {
        return Ok(text);
    }
    output(
        Command::new("cc")
            .args([
                "-E",
                "-P",
                "-nostdinc",
                "-undef",
                "-x",
                "assembler-with-cpp",
            ])
            .arg(path),
    )
}

/// Compiles a device tree source. Paths in `/include/` are relative to `include`.
pub fn compile(source: &str, include: &Path, dtb: &Path) -> Result<()> {
    feed(
        Command::new("dtc")
            .args(["-q", "-I", "dts", "-O", "dtb", "-o"])
            .arg(dtb)
            .arg("-i")
            .arg(include),
        source.as_bytes(),
    )
}

fn config(source: &str, include: &Path, dtb: &Path) -> Result<Vec<u8>> {
    compile(source, include, dtb).with_context(|| dtb.display().to_string())?;
    let blob = fs::read(dtb)?;
    ensure!(
        blob.len() <= MAX_CONFIG,
        "{} has {} bytes, but BL2 reserves {MAX_CONFIG}",
        dtb.display(),
        blob.len()
    );
    Ok(blob)
}
