//! EDK2, built from one source with the platform descriptions and drivers in `tests/firmware/edk2`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::fetch::{Pinned, extract, folder, whole};
use crate::process::{logged, output, step};
use crate::workspace::root;

const SOURCE: Pinned = Pinned {
    path: "pool/main/e/edk2/edk2_2025.02.orig.tar.xz",
    sha256: "b63b6053d6d89c74d9291f9e96fde1584be99e6fb9c169ba9511505129d6b049",
};

/// The package with our platform descriptions, in [`ours`].
const PACKAGE: &str = "SpmcDemoPkg";

/// The programs of EDK2's build that are needed. Debian's source lacks what another one is made of.
const TOOLS: &str = "APPLICATIONS=VfrCompile GenFfs GenFv GenFw GenSec LzmaCompress";

/// Object code that EDK2 adds to each program. Debian's source has its source only.
const LINKED: &str = "BaseTools/Bin/GccLto/liblto-aarch64";

/// The files that EDK2's build is configured by.
const CONFIGURATION: &[&str] = &["build_rule", "target", "tools_def"];

/// Returns the folder with our package.
fn ours() -> PathBuf {
    root().join("tests/firmware/edk2")
}

/// Returns the files in a folder and below, in the order of their paths.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_path_buf()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the folder with the source of EDK2, and with the programs of its build.
pub fn edk2() -> Result<PathBuf> {
    whole("edk2", &[SOURCE.sha256, TOOLS, LINKED], |folder| {
        extract(&SOURCE, folder)?;
        step("building the tools of EDK2", || build_tools(folder))
    })
}

fn build_tools(edk2: &Path) -> Result<()> {
    let jobs = std::thread::available_parallelism()?;
    logged(
        Command::new("make")
            .current_dir(edk2.join("BaseTools/Source/C"))
            .env_remove("MAKEFLAGS")
            .arg(format!("-j{jobs}"))
            .arg(TOOLS),
        &folder().join("edk2-tools.log"),
    )?;
    output(
        Command::new("aarch64-linux-gnu-gcc")
            .current_dir(edk2)
            .args([
                "-c",
                "-fpic",
                &format!("{LINKED}.s"),
                "-o",
                &format!("{LINKED}.a"),
            ]),
    )?;
    Ok(())
}

/// Builds a platform of our package unless that was done before. Returns the path of its image.
pub fn platform(edk2: &Path, name: &str, words: &[&str]) -> Result<PathBuf> {
    let mut key: Vec<String> = words.iter().map(|word| word.to_string()).collect();
    key.extend([SOURCE.sha256, TOOLS].map(String::from));
    for file in files_of(name)? {
        key.push(fs::read_to_string(&file).with_context(|| file.display().to_string())?);
    }
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    let image = "image.bin";
    let build = whole(&format!("edk2-{name}"), &key, |products| {
        step(&format!("building {name}"), || {
            let work = products.join("work");
            compile(edk2, &work, name, words)?;
            let built = files(&work.join("Build"))?;
            let mut built = built.iter().filter(|path| has_extension(path, "fd"));
            let built = built.next().context("EDK2 built no image")?;
            fs::copy(built, products.join(image))?;
            Ok(fs::remove_dir_all(&work)?)
        })
    })?;
    Ok(build.join(image))
}

/// Returns the files of our package from which a platform is made. UEFI has its description only.
fn files_of(platform: &str) -> Result<Vec<PathBuf>> {
    let mut found = files(&ours())?;
    if platform == "Uefi" {
        found.retain(|path| path.file_stem().is_some_and(|stem| stem == platform));
    }
    Ok(found)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn compile(edk2: &Path, work: &Path, platform: &str, words: &[&str]) -> Result<()> {
    let tools = edk2.join("BaseTools");
    let programs = tools.join("BinWrappers/PosixLike");
    let settings = work.join("Conf");
    fs::create_dir_all(&settings)?;
    for file in CONFIGURATION {
        let template = tools.join("Conf").join(file).with_extension("template");
        fs::copy(template, settings.join(file).with_extension("txt"))?;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs.clone()).chain(std::env::split_paths(&path));
    let jobs = std::thread::available_parallelism()?.to_string();
    logged(
        Command::new(programs.join("build"))
            .current_dir(edk2)
            .env_remove("MAKEFLAGS")
            .env("PATH", std::env::join_paths(path)?)
            .env("WORKSPACE", work)
            .env("CONF_PATH", &settings)
            .env("PACKAGES_PATH", std::env::join_paths([edk2, &ours()])?)
            .env("EDK_TOOLS_PATH", &tools)
            // A build must not depend on the seed of a run.
            .env("PYTHONHASHSEED", "1")
            // Nor on the time of day: UEFI's clock starts at this second, in March 2025.
            .env("SOURCE_DATE_EPOCH", "1740787200")
            .env("PYTHON_COMMAND", "/usr/bin/python3")
            .env("GCC_AARCH64_PREFIX", "aarch64-linux-gnu-")
            .args(["-q", "-a", "AARCH64", "-t", "GCC", "-n", &jobs])
            .args(["-p", &format!("{PACKAGE}/{platform}.dsc")])
            .args(words),
        &folder().join(format!("edk2-{platform}.log")),
    )
}
