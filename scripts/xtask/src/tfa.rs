//! TF-A, from Debian's source package or from a folder of the user's (`--tf-a`), built once for
//! each board.
//!
//! Only BL1, BL2 and BL31 are built here. [`crate::fip`] packs the FIP, so that a new payload needs
//! no build of TF-A. The name of the product folder contains a hash of all inputs.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use crate::apt::Apt;
use crate::board::Board;
use crate::process::{logged, output, run, step};
use crate::workspace::{root, target};

/// The version in trixie. Other versions need other flags.
const FOLDER: &str = "arm-trusted-firmware-2.12.1";
const POOL: &str = "pool/main/a/arm-trusted-firmware";
const TARBALL: &str = "arm-trusted-firmware_2.12.1+dfsg.orig.tar.xz";
const SHA256: &str = "332c08d71867b7f0dce0bce4cb2abd80f19cb3e0a2de6fe07245c111189d6fb7";

/// Flags for S-EL2 with an SPMC, for keeping EL2's context of the Normal world, and for the
/// features of `-cpu max`, the use of which by guests would otherwise trap. SVE and SME are on for
/// both worlds: if they are on for one world only, CPTR_EL3.TFP stays set for the other. A board's
/// own flags follow these, and the last one counts.
const FLAGS: &[&str] = &[
    "CROSS_COMPILE=aarch64-linux-gnu-",
    "PLAT=qemu",
    "QEMU_USE_GIC_DRIVER=QEMU_GICV3",
    "BL32_RAM_LOCATION=tdram",
    "NEED_BL32=yes",
    "NEED_FDT=yes",
    "SPD=spmd",
    "SPMD_SPM_AT_SEL2=1",
    "CTX_INCLUDE_EL2_REGS=1",
    "ENABLE_FEAT_SEL2=1",
    "ENABLE_SVE_FOR_NS=2",
    "ENABLE_SVE_FOR_SWD=1",
    "ENABLE_SME_FOR_NS=2",
    "ENABLE_SME_FOR_SWD=1",
    "ENABLE_FEAT_FGT=2",
    "ENABLE_FEAT_HCX=2",
    "ENABLE_FEAT_ECV=2",
    "ENABLE_FEAT_MTE2=2",
    // Linux 7 uses these features on `-cpu max`, and would trap to EL3.
    "ENABLE_FEAT_TCR2=2",
    "ENABLE_FEAT_S1PIE=2",
    "ENABLE_FEAT_S2PIE=2",
    "ENABLE_FEAT_S1POE=2",
    "ENABLE_FEAT_S2POE=2",
    "ENABLE_FEAT_GCS=2",
    "BRANCH_PROTECTION=1",
    "ARM_ARCH_MAJOR=8",
    "ARM_ARCH_MINOR=3",
    // Logs which images are loaded at which address.
    "LOG_LEVEL=40",
    // TF-A's Python helpers only pack Secure Partitions, which this program does itself.
    "PYTHON=true",
];

/// Flags for the images of Debian's source to say neither when they were built nor from which
/// commit of what is around them.
const REPRODUCIBLE: [&str; 2] = [
    "BUILD_STRING=2.12.1",
    "BUILD_MESSAGE_TIMESTAMP=\"reproducible\"",
];

/// The folder of a source tree that takes the place of Debian's.
static OWN_TREE: OnceLock<PathBuf> = OnceLock::new();

/// The builds of [`OWN_TREE`] that are up to date.
static OWN_BUILDS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The three images of TF-A.
pub struct Firmware {
    pub bl1: PathBuf,
    pub bl2: PathBuf,
    pub bl31: PathBuf,
}

impl Firmware {
    fn below(products: &Path) -> Self {
        Self {
            bl1: products.join("bl1.bin"),
            bl2: products.join("bl2.bin"),
            bl31: products.join("bl31.bin"),
        }
    }

    /// Returns the three files.
    pub fn images(&self) -> [&Path; 3] {
        [&self.bl1, &self.bl2, &self.bl31]
    }
}

/// Lets every build take TF-A from the folder `tree`, which has another version, or is where
/// Debian's source cannot be fetched. The tree itself is left as it is.
pub fn use_tree(tree: &Path) -> Result<()> {
    if !tree.join("bl31").is_dir() || !tree.join("Makefile").is_file() {
        bail!("--tf-a {}: no source tree of TF-A", tree.display());
    }
    let tree = tree.canonicalize()?;
    if tree.to_string_lossy().contains(char::is_whitespace) {
        bail!(
            "--tf-a {}: TF-A's makefiles need a path without spaces",
            tree.display()
        );
    }
    OWN_TREE.get_or_init(|| tree);
    Ok(())
}

/// Builds TF-A, with `arguments` after those of the board, unless that was done before. A tree of
/// the user's is built once by each run of this program: `make` knows what has changed in it.
pub fn build(board: &Board, arguments: &[String]) -> Result<Firmware> {
    let flags = flags(board, arguments);
    let own = OWN_TREE.get();
    let mut hasher = DefaultHasher::new();
    (SHA256, own, &flags).hash(&mut hasher);
    let products = target()
        .join("tfa")
        .join(format!("build-{:016x}", hasher.finish()));
    let firmware = Firmware::below(&products);
    if let Some(tree) = own {
        let mut builds = OWN_BUILDS.lock().unwrap_or_else(PoisonError::into_inner);
        if !builds.contains(&products) {
            step(&format!("building TF-A for {}", board.name), || {
                compile(tree, board.firmware_platform, &flags, &products)
            })?;
            builds.insert(products);
        }
        return Ok(firmware);
    }
    if firmware.images().iter().all(|image| image.exists()) {
        return Ok(firmware);
    }
    let source = source()?;
    step(
        &format!("building TF-A (BL1, BL2, BL31) for {}", board.name),
        || compile(&source, board.firmware_platform, &flags, &products),
    )?;
    Ok(firmware)
}

/// Builds TF-A once more, from another folder, and fails unless its images are equal to those of
/// [`build`]. A tree of the user's is not built again: it may write the time of day into them.
pub fn compare_builds(board: &Board) -> Result<()> {
    if OWN_TREE.get().is_some() {
        return Ok(());
    }
    let usual = build(board, &[])?;
    let elsewhere = workshop().join("again");
    if elsewhere.exists() {
        fs::remove_dir_all(&elsewhere)?;
    }
    unpack(&elsewhere)?;
    let products = elsewhere.join("products");
    compile(
        &elsewhere.join(FOLDER),
        board.firmware_platform,
        &flags(board, &[]),
        &products,
    )?;
    let again = Firmware::below(&products);
    for (one, other) in usual.images().into_iter().zip(again.images()) {
        ensure!(
            fs::read(one)? == fs::read(other)?,
            "{} and {} differ",
            one.display(),
            other.display()
        );
    }
    Ok(fs::remove_dir_all(elsewhere)?)
}

/// Returns the arguments of `make`.
fn flags(board: &Board, arguments: &[String]) -> Vec<String> {
    let flags = [FLAGS, board.firmware].concat();
    let bl33 = board
        .preloaded_bl33
        .map(|address| format!("PRELOADED_BL33_BASE={address:#x}"));
    let mut flags: Vec<String> = flags.into_iter().map(String::from).collect();
    flags.extend(bl33);
    flags.extend_from_slice(arguments);
    if OWN_TREE.get().is_none() {
        flags.extend(REPRODUCIBLE.map(String::from));
    }
    flags
}

/// Returns the arguments for a BL31 that forgets registers, see `tests/firmware/forgetful.c`.
pub fn forgetful() -> Result<[String; 3]> {
    let text = fs::read(root().join("tests/firmware/forgetful.c"))?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    fs::create_dir_all(workshop())?;
    let file = workshop().join("forgetful.c");
    fs::write(&file, text)?;
    Ok([
        format!("--eval=BL31_SOURCES = {}", file.display()),
        "--eval=BL31_LDFLAGS = -Wl,--wrap=cm_el2_sysregs_context_restore".to_string(),
        // Has no effect but to tell versions of the file apart.
        format!("FORGETFUL={:016x}", hasher.finish()),
    ])
}

fn compile(source: &Path, platform: &str, flags: &[String], products: &Path) -> Result<()> {
    let name = products.file_name().context("a folder of products")?;
    let work = workshop().join(name).with_extension("work");
    let keep = OWN_TREE.get().is_some();
    if work.exists() && !keep {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    let layout = work.join("sp_layout.json");
    fs::write(&layout, "{ }\n")?;
    let jobs = std::thread::available_parallelism()?;
    logged(
        Command::new("make")
            .current_dir(source)
            .env_remove("MAKEFLAGS")
            .arg(format!("-j{jobs}"))
            .args(flags)
            .arg(format!("SP_LAYOUT_FILE={}", layout.display()))
            .arg(format!("BUILD_BASE={}", work.display()))
            .args(["bl1", "bl2", "bl31"]),
        &work.join("build.log"),
    )?;
    fs::create_dir_all(products)?;
    for image in ["bl1.bin", "bl2.bin", "bl31.bin"] {
        let built = work.join(platform).join("release").join(image);
        fs::copy(built, products.join(image))?;
    }
    if !keep {
        fs::remove_dir_all(&work)?;
    }
    Ok(())
}

/// Returns the folder in which TF-A is unpacked and compiled. Its makefiles cannot cope with spaces
/// in paths, so this folder is elsewhere if the products are below such a path.
fn workshop() -> PathBuf {
    let dir = target().join("tfa");
    if !dir.to_string_lossy().contains(char::is_whitespace) {
        return dir;
    }
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    env::temp_dir().join(format!("spmc-tfa-{:016x}", hasher.finish()))
}

/// Returns the folder of the unpacked source.
fn source() -> Result<PathBuf> {
    let dir = workshop();
    let source = dir.join(FOLDER);
    if source.exists() {
        return Ok(source);
    }
    fs::create_dir_all(&dir)?;
    let unpacked = dir.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    unpack(&unpacked)?;
    fs::rename(unpacked.join(FOLDER), &source)?;
    Ok(source)
}

/// Unpacks Debian's source below `folder`, and fetches it if it is not there yet.
fn unpack(folder: &Path) -> Result<()> {
    let kept = target().join("tfa");
    fs::create_dir_all(&kept)?;
    let tarball = kept.join(TARBALL);
    if !tarball.exists() {
        step(&format!("fetching {TARBALL}"), || fetch(&tarball))?;
    }
    check(&tarball)?;
    fs::create_dir_all(folder)?;
    run(Command::new("tar")
        .arg("-xJf")
        .arg(&tarball)
        .arg("-C")
        .arg(folder))?;
    ensure!(folder.join(FOLDER).is_dir(), "{TARBALL} holds no {FOLDER}");
    Ok(())
}

fn fetch(tarball: &Path) -> Result<()> {
    let path = format!("{POOL}/{TARBALL}");
    // Download under another name first, so that a part of a file is never taken for the whole
    // file.
    let part = tarball.with_extension("part");
    Apt::open()?
        .download(&path, SHA256, &part)
        .with_context(|| {
            format!(
                "cannot fetch {path} from this system's Debian mirror. It is the source of trixie's package \
                 arm-trusted-firmware 2.12.1+dfsg-1; a mirror may have moved on to a newer one, whose flags were not \
                 tried here. Put the file at {} and start again; its SHA-256 is {SHA256}",
                tarball.display()
            )
        })?;
    fs::rename(part, tarball)?;
    Ok(())
}

fn check(tarball: &Path) -> Result<()> {
    let sum = output(Command::new("sha256sum").arg(tarball))?;
    if sum.split_whitespace().next() != Some(SHA256) {
        bail!(
            "{} does not have the SHA-256 {SHA256}: remove it and start again",
            tarball.display()
        );
    }
    Ok(())
}
