//! Layouts: the Secure Partitions of an image, and their places.
//!
//! A layout is a folder with files in the formats of TF-A and Hafnium, so that existing files can
//! be used unchanged: `sp_layout.json` (the partitions, as for TF-A's `SP_LAYOUT_FILE`); the
//! manifests that it names; `spmc.dts` (TOS_FW_CONFIG, by default that of the folder above or of
//! the default layout); and `tb_fw_config.dts`, which is generated if it is missing. A
//! `scenario.json` is an extension of this project: it states what to break and what the boot must
//! then show.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use sp_layout::{Form, Offsets, Source};

use crate::board::{Board, QEMU_VIRT};
use crate::process::{run, step};
use crate::selection::Selection;
use crate::workspace::root;

/// A layout as its files describe it.
pub struct Layout {
    /// Path of the folder below `manifests/`, or its name if it is elsewhere.
    pub name: String,
    /// Path of the folder.
    pub dir: PathBuf,
    /// The SPMC manifest.
    pub spmc_manifest: PathBuf,
    /// The file that tells BL2 where packages are. It is generated if there is none.
    pub tb_fw_config: Option<PathBuf>,
    /// The partitions, in the order of their names.
    pub partitions: Vec<Partition>,
    /// The scenario: what the layout breaks, and what its boot must show.
    pub scenario: Scenario,
}

/// An entry of `sp_layout.json`.
pub struct Partition {
    pub name: String,
    pub package: Package,
    /// `uuid`, which names the package in the FIP. The default is the manifest's first UUID.
    pub uuid: Option<String>,
    /// `physical-load-address`. The default is the manifest's `load-address`.
    pub load_address: Option<u64>,
}

/// The source of a package.
pub enum Package {
    /// `image` and `pm`, to be packed.
    Parts {
        image: PathBuf,
        manifest: PathBuf,
        offsets: Offsets,
        form: Form,
    },
    /// `package-file`, an extension of this project: a package that is used unchanged.
    File(PathBuf),
}

/// The contents of a `scenario.json`.
#[derive(Clone, Default)]
pub struct Scenario {
    /// A description in one sentence.
    pub about: String,
    /// Requirement rows that the scenario shows.
    pub requirements: Vec<String>,
    /// Numbers of PEs, each of which is booted.
    pub smp: Vec<u32>,
    /// The tests that the test OS runs. Without a selection it runs all.
    pub tests: Option<Selection>,
    /// Seeds of random choices, each of which is booted.
    pub seeds: Vec<u64>,
    /// Set if a boot takes minutes. It is started first, so that others can run beside it.
    pub long: bool,
    /// MiB of RAM, if not the number that boards have.
    pub memory: Option<u64>,
    /// Arguments for TF-A's make. They follow those of the board, and the last one counts.
    pub firmware: Vec<String>,
    /// Set if the console and the GIC are in the hardware configuration only (`hw_config.rs`).
    pub hardware_configuration: bool,
    /// Set if registers of EL2 hold unusual values when the SPMC is entered (`untidy.rs`).
    pub untidy: bool,
    /// Set if EL3 forgets registers of the Secure world (`tests/firmware/forgetful.c`).
    pub forgetful: bool,
    /// Version of the packages, 1 or 2, if it is not what the layout says.
    pub package_version: Option<u64>,
    /// Bytes to which the package of a partition is truncated.
    pub truncate: Vec<(String, usize)>,
    /// Texts that must appear on the console, each on a separate line.
    pub expect: Vec<String>,
    /// Texts that must not appear.
    pub forbid: Vec<String>,
}

impl Layout {
    /// Finds a layout by the name of a folder below `manifests/`, or by the path of a folder or of
    /// an `sp_layout.json`.
    pub fn find(name: &str) -> Result<Self> {
        Self::find_for(&QEMU_VIRT, name)
    }

    /// Finds a layout of a board, which may have layouts of its own.
    pub fn find_for(board: &Board, name: &str) -> Result<Self> {
        let file = layout_file(board, name)?;
        Self::read(board, &file).with_context(|| format!("layout {}", file.display()))
    }

    /// Returns every layout of a board in the repository that has a `scenario.json`, in the order
    /// of their names.
    pub fn scenarios(board: &Board) -> Result<Vec<Self>> {
        let folders = scenario_folders(&board.layouts())?;
        let find = |name: &String| Self::find_for(board, name);
        folders.iter().map(find).collect()
    }

    /// Returns whether the layout is one of the repository's for this board.
    pub fn is_of(&self, board: &Board) -> bool {
        self.dir.starts_with(board.layouts())
    }

    fn read(board: &Board, file: &Path) -> Result<Self> {
        let dir = file.parent().unwrap_or(Path::new(".")).canonicalize()?;
        let manifests = board.layouts();
        let name = match (dir.strip_prefix(&manifests), dir.file_name()) {
            (Ok(name), _) => name.display().to_string(),
            (Err(_), Some(name)) => name.to_string_lossy().into_owned(),
            (Err(_), None) => bail!("a layout needs a folder of its own"),
        };
        let mut partitions = Vec::new();
        for entry in entries(file)? {
            let name = entry.name.value.clone();
            partitions
                .push(partition(board, &dir, entry).with_context(|| format!("partition {name}"))?);
        }
        let scenario = dir.join("scenario.json");
        Ok(Self {
            name,
            spmc_manifest: sp_layout::spmc_manifest(&dir, Some(&manifests))
                .context("there is no spmc.dts")?,
            tb_fw_config: sp_layout::tb_fw_config(&dir),
            partitions,
            scenario: if scenario.exists() {
                Scenario::read(&scenario).context("scenario.json")?
            } else {
                Scenario::default()
            },
            dir,
        })
    }
}

impl Scenario {
    /// Returns the scenario of every layout of the repository that has one, with the layout's name.
    /// Works without anything being built.
    pub fn all() -> Result<Vec<(String, Self)>> {
        let manifests = root().join("manifests");
        let read = |name: String| {
            let file = manifests.join(&name).join("scenario.json");
            let scenario = Self::read(&file).with_context(|| file.display().to_string())?;
            Ok((name, scenario))
        };
        scenario_folders(&manifests)?
            .into_iter()
            .map(read)
            .collect()
    }

    fn read(file: &Path) -> Result<Self> {
        let mut scenario = Self::default();
        for (key, value) in object(file)? {
            match key.as_str() {
                "about" => scenario.about = text(&value)?,
                "requirements" => scenario.requirements = texts(&value)?,
                "smp" => {
                    for count in value.as_array().context("a list is wanted")? {
                        scenario.smp.push(u32::try_from(number(count)?)?);
                    }
                }
                "tests" => scenario.tests = Some(selection(&text(&value)?)?),
                "seeds" => {
                    for seed in value.as_array().context("a list is wanted")? {
                        scenario.seeds.push(number(seed)?);
                    }
                }
                "long" => scenario.long = value.as_bool().context("true or false is wanted")?,
                "memory" => scenario.memory = Some(number(&value)?),
                "firmware" => scenario.firmware = texts(&value)?,
                "hardware_configuration" => {
                    let value = value.as_bool().context("true or false is wanted")?;
                    scenario.hardware_configuration = value;
                }
                "untidy" => {
                    scenario.untidy = value.as_bool().context("true or false is wanted")?;
                }
                "forgetful" => {
                    scenario.forgetful = value.as_bool().context("true or false is wanted")?;
                }
                "package_version" => scenario.package_version = Some(number(&value)?),
                "truncate" => {
                    for (name, size) in value.as_object().context("an object is wanted")? {
                        let size = usize::try_from(number(size)?)?;
                        scenario.truncate.push((name.clone(), size));
                    }
                }
                "expect" => scenario.expect = texts(&value)?,
                "forbid" => scenario.forbid = texts(&value)?,
                other => bail!("unknown key `{other}`"),
            }
        }
        Ok(scenario)
    }
}

/// Returns the images that a layout names, or all layouts of the board that have a `scenario.json`.
/// Works without anything being built.
pub fn images(board: &Board, layout: Option<&str>) -> Result<Vec<String>> {
    let names = match layout {
        Some(name) => vec![name.to_string()],
        None => scenario_folders(&board.layouts())?,
    };
    let mut found = Vec::new();
    for name in names {
        for entry in entries(&layout_file(board, &name)?)? {
            if let Source::Parts { image, .. } = entry.source {
                found.push(image.file.value);
            }
        }
    }
    Ok(found)
}

/// Builds the partitions of a layout that brings a Makefile.
pub fn build(folder: &Path) -> Result<()> {
    if !folder.join("Makefile").is_file() {
        return Ok(());
    }
    step(&format!("building what {} has", folder.display()), || {
        run(Command::new("make").arg("--silent").current_dir(folder))
    })
}

/// Returns the folder of a layout, see [`Layout::find`].
pub fn folder(board: &Board, name: &str) -> Result<PathBuf> {
    let file = layout_file(board, name)?;
    // A bare file name has an empty parent, which is no folder to go to.
    let folder = file.canonicalize()?;
    Ok(folder.parent().unwrap_or(&folder).to_path_buf())
}

/// Returns the path of a layout's `sp_layout.json`, see [`Layout::find`].
fn layout_file(board: &Board, name: &str) -> Result<PathBuf> {
    let named = board.layouts().join(name);
    let path = if named.is_dir() {
        named
    } else {
        PathBuf::from(name)
    };
    let file = if path.is_dir() {
        path.join("sp_layout.json")
    } else {
        path
    };
    if !file.is_file() {
        bail!(
            "there is no layout `{name}`: no {} and no folder of that name below {}",
            file.display(),
            board.layouts().display()
        );
    }
    Ok(file)
}

/// Returns the folders below `manifests` that contain a `scenario.json`, in the order of their
/// names.
fn scenario_folders(manifests: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut left = vec![manifests.to_path_buf()];
    while let Some(folder) = left.pop() {
        if folder.join("scenario.json").exists() {
            found.push(folder.strip_prefix(manifests)?.display().to_string());
        }
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the entries of an `sp_layout.json`. The first fault in it is an error.
fn entries(file: &Path) -> Result<Vec<sp_layout::Entry>> {
    let text = fs::read_to_string(file)?;
    let (entries, faults) = sp_layout::parse(&text);
    if let Some(fault) = faults.first() {
        let (line, column) = fault.position(&text);
        bail!("line {line}, column {column}: {}", fault.message);
    }
    Ok(entries)
}

fn partition(board: &Board, dir: &Path, entry: sp_layout::Entry) -> Result<Partition> {
    let offsets = entry.offsets();
    Ok(Partition {
        package: match &entry.source {
            Source::File(file) => Package::File(find(board, dir, &file.value)?),
            Source::Parts {
                image,
                manifest,
                form,
            } => Package::Parts {
                image: find(board, dir, &image.file.value)?,
                manifest: find(board, dir, &manifest.file.value)?,
                offsets,
                form: *form,
            },
        },
        name: entry.name.value,
        uuid: entry.uuid.map(|uuid| uuid.value),
        load_address: entry.load_address.map(|address| address.value),
    })
}

/// Returns the path of a file, which is beside the layout or among the guests that `build` makes.
fn find(board: &Board, dir: &Path, file: &str) -> Result<PathBuf> {
    sp_layout::find(file, dir, &[board.guests()]).with_context(|| {
        format!(
            "there is no {} and no {}",
            dir.join(file).display(),
            board.guests().join(file).display()
        )
    })
}

fn object(file: &Path) -> Result<Map<String, Value>> {
    match serde_json::from_str(&fs::read_to_string(file)?)? {
        Value::Object(object) => Ok(object),
        _ => bail!("an object is wanted"),
    }
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("a string is wanted")?.to_string())
}

fn texts(value: &Value) -> Result<Vec<String>> {
    let list = value.as_array().context("a list is wanted")?;
    list.iter().map(text).collect()
}

fn selection(name: &str) -> Result<Selection> {
    Selection::named(name).with_context(|| {
        let names: Vec<_> = Selection::NAMES.iter().map(|(_, name)| *name).collect();
        format!("`{name}` names no tests; there are {}", names.join(", "))
    })
}

/// Returns the value of a number, or of a string with a decimal number or, after `0x`, a
/// hexadecimal one.
fn number(value: &Value) -> Result<u64> {
    if let Some(number) = value.as_u64() {
        return Ok(number);
    }
    let text = text(value)?;
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.with_context(|| format!("`{text}` is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_selected_by_name() {
        assert_eq!(selection("interrupts").unwrap(), Selection::Interrupts);
        for (selected, name) in Selection::NAMES {
            assert_eq!(selection(name).unwrap(), *selected);
            assert_eq!(Selection::numbered(selected.number()), Some(*selected));
        }
    }

    #[test]
    fn a_name_that_no_tests_have_is_refused_with_those_that_there_are() {
        let refused = selection("interupts").unwrap_err().to_string();
        assert!(refused.contains("`interupts` names no tests"), "{refused}");
        for (_, name) in Selection::NAMES {
            assert!(refused.contains(name), "{refused}");
        }
    }
}
