//! A second build of what boots, in another place: its images must be equal to the first, byte by
//! byte, so that anybody can tell which sources an image was made of.
//!
//! The SPMC is built from a copy of the tree, with another `CARGO_HOME` that unpacks the crates
//! anew, and all paths of the copy have spaces. TF-A is unpacked and built in another folder.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Result, ensure};

use crate::board::QEMU_VIRT;
use crate::build::{self, Place};
use crate::image::Components;
use crate::parallel;
use crate::process::{output, step};
use crate::tfa;
use crate::workspace::{self, target};

/// Files of cargo that both builds share, so that the second one needs no network.
const SHARED: &[&str] = &["registry/cache", "registry/index", "config.toml", "config"];

/// Builds the SPMC and TF-A again, and fails if an image differs. Prints the SHA-256 of each image.
pub fn check() -> Result<()> {
    let firmware = Components::build_for(&QEMU_VIRT, Some("default"))?.firmware;
    let builds: [fn() -> Result<()>; 2] = [spmc, || tfa::compare_builds(&QEMU_VIRT)];
    step("building the SPMC and TF-A again, elsewhere", || {
        let results = parallel::for_each(&builds, builds.len(), |build| build());
        results.into_iter().collect::<Result<()>>()
    })?;
    let mut sums = Command::new("sha256sum");
    sums.arg(target().join("spmc.bin")).args(firmware.images());
    print!("{}", output(&mut sums)?);
    Ok(())
}

fn spmc() -> Result<()> {
    let elsewhere = env::temp_dir().join(format!("another place {}", process::id()));
    let result = compare(&elsewhere);
    if elsewhere.exists() {
        fs::remove_dir_all(&elsewhere)?;
    }
    result
}

fn compare(elsewhere: &Path) -> Result<()> {
    let place = Place {
        tree: elsewhere.join("the tree"),
        cargo_home: elsewhere.join("cargo home"),
        products: elsewhere.join("products"),
    };
    workspace::copy(&place.tree)?;
    another_cargo_home(&build::cargo_home()?, &place.cargo_home)?;
    let first: PathBuf = target().join("spmc.bin");
    ensure!(
        fs::read(&first)? == build::build_in(&place)?,
        "{} differs from the image that another folder and another CARGO_HOME give",
        first.display()
    );
    Ok(())
}

/// Makes a folder for cargo with links to what was downloaded. The sources of crates are not
/// linked: cargo unpacks those that it needs.
fn another_cargo_home(usual: &Path, new: &Path) -> Result<()> {
    fs::create_dir_all(new.join("registry"))?;
    for name in SHARED {
        if usual.join(name).exists() {
            symlink(usual.join(name), new.join(name))?;
        }
    }
    Ok(())
}
