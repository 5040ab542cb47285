//! Building the SPMC and the guests, from Rust sources to raw images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::board::Board;
use crate::elf::{self, Executable};
use crate::layout::images;
use crate::process::{detail, is_verbose, output, run, step};
use crate::stack::STACKS;
use crate::workspace::{root, target};

/// The bare-metal target.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";

/// The package with the SPMC's program, and the program, which is the same for all boards.
pub const SPMC_PACKAGE: &str = "platform-aarch64";
const SPMC: &str = "spmc";

/// The feature that the guests' programs need.
pub const BARE_METAL: &str = "guest/bare-metal";

/// The profiles of the SPMC and of the guests. Their product folders have the same names.
const SPMC_PROFILE: &str = "release";
const GUEST_PROFILE: &str = "guest";

/// Flags of rustc that keep the SPMC's image small. A function that the code does not mark
/// `#[inline]` is inlined only if it is tiny; `#[cold]` functions, and branches that only lead to
/// such, are compiled for size; and the image is not so large that one instruction could not form
/// any address in it. Other programs for the target are built without them.
const SMALL: &[&str] = &[
    "-Ccode-model=tiny",
    "-Cllvm-args=-inline-threshold=40",
    "-Cllvm-args=-hot-cold-split",
];

/// The SPMC's products.
pub struct Spmc {
    /// The raw image: BL32.
    pub bin: PathBuf,
    /// The program, with symbols.
    pub elf: PathBuf,
    /// The executable, with its addresses.
    pub executable: Executable,
}

/// The additions that an image of the SPMC has to the one that ships, which has none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Extras {
    /// Lines of the log at `debug` and `trace`.
    pub log: bool,
    /// Rings with the last calls of each PE.
    pub ring: bool,
}

impl Extras {
    /// Returns the arguments of cargo by which it builds that image.
    fn arguments(self) -> impl Iterator<Item = &'static str> {
        let log = self.log.then_some("--no-default-features");
        let ring = self.ring.then_some("--features=trace-ring");
        log.into_iter().chain(ring)
    }

    /// Returns the name of the image's files. `spmc` is the image that ships, whatever else was
    /// built since.
    fn name(self) -> &'static str {
        match (self.log, self.ring) {
            (false, false) => "spmc",
            (true, false) => "spmc-log",
            (false, true) => "spmc-ring",
            (true, true) => "spmc-log-ring",
        }
    }
}

/// Builds what runs on the target: the SPMC, which is the same for all boards, and the guests that
/// the layout needs, or all layouts of the board.
pub fn build(board: &Board, layout: Option<&str>, extras: Extras) -> Result<Spmc> {
    let guests = guests(board, layout)?;
    step(
        &format!("building the SPMC and the guests for {}", board.name),
        || {
            let place = Place::usual()?;
            run(&mut spmc_command(&place, extras)?)?;
            let mut command = build_command("guest", GUEST_PROFILE, &[], &place)?;
            command.args(["--features", BARE_METAL]);
            for name in &guests {
                command.args(["--bin", name]);
            }
            if !board.is_default() {
                command.args(["--features", &format!("guest/{}", board.name)]);
            }
            run(&mut command)
        },
    )?;
    fs::create_dir_all(board.guests())?;
    for name in guests {
        let executable = read(&artefact(&name, GUEST_PROFILE))?;
        fs::write(board.guests().join(format!("{name}.bin")), executable.image)?;
    }

    spmc(&artefact(SPMC, SPMC_PROFILE), &target().join(extras.name()))
}

/// Where the SPMC is built: the source tree, the folder in which cargo keeps what it downloads, and
/// the folder of products.
pub struct Place {
    pub tree: PathBuf,
    pub cargo_home: PathBuf,
    pub products: PathBuf,
}

impl Place {
    /// Returns the place of all other builds.
    pub fn usual() -> Result<Self> {
        Ok(Self {
            tree: root(),
            cargo_home: cargo_home()?,
            products: target(),
        })
    }
}

/// Builds the raw image of the SPMC in `place`, without looking anything up in the network.
pub fn build_in(place: &Place) -> Result<Vec<u8>> {
    run(spmc_command(place, Extras::default())?.args(["--offline", "--locked"]))?;
    Ok(read(&place.products.join(TARGET).join(SPMC_PROFILE).join(SPMC))?.image)
}

/// Checks the SPMC that was linked as `linked`, and copies it to `product` with the extensions
/// `elf` and `bin`.
fn spmc(linked: &Path, product: &Path) -> Result<Spmc> {
    check_stacks(linked)?;
    let elf = product.with_extension("elf");
    let bin = product.with_extension("bin");
    // Links to the program before, beside flash images, keep that one.
    if elf.exists() {
        fs::remove_file(&elf)?;
    }
    fs::copy(linked, &elf)?;
    let executable = read(&elf)?;
    for sources in sources(&root(), &cargo_home()?) {
        ensure!(
            !holds_path(&executable.image, &sources),
            "the image depends on where it is built: it has the path {}",
            sources.display()
        );
    }
    fs::write(&bin, &executable.image)?;
    Ok(Spmc {
        bin,
        elf,
        executable,
    })
}

/// Returns the folders with sources of the SPMC.
fn sources(root: &Path, cargo_home: &Path) -> [PathBuf; 3] {
    [
        root.join("spmc"),
        root.join("platform"),
        cargo_home.join("registry"),
    ]
}

/// Returns whether the image has the path of a folder, or of something in it.
fn holds_path(image: &[u8], folder: &Path) -> bool {
    let path = folder.as_os_str().as_encoded_bytes();
    image.windows(path.len()).any(|part| part == path)
}

/// Returns the folder in which cargo keeps what it downloads.
pub fn cargo_home() -> Result<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    let set = std::env::var_os("CARGO_HOME").map(|folder| root().join(folder));
    set.or_else(home)
        .context("neither CARGO_HOME nor HOME is set")
}

/// Returns flags of rustc by which messages of panics name the sources of crates in the same way,
/// wherever cargo keeps them.
fn remap_crates(cargo_home: &Path) -> Result<Vec<String>> {
    let registries = cargo_home.join("registry");
    // The sources of a registry's crates are only unpacked when they are first built.
    let packed = registries.join("cache");
    let mut flags = Vec::new();
    for registry in fs::read_dir(&packed).with_context(|| packed.display().to_string())? {
        let sources = registries.join("src").join(registry?.file_name());
        flags.push(format!("--remap-path-prefix={}=crates", sources.display()));
    }
    Ok(flags)
}

/// Fails if the deepest path of calls on one of the SPMC's stacks does not fit.
fn check_stacks(elf: &Path) -> Result<()> {
    let program = elf::program(&fs::read(elf)?)?;
    for stack in STACKS {
        let depth = stack
            .check(&program)
            .with_context(|| elf.display().to_string())?;
        detail(format_args!(
            "{} stack: {} of {} bytes",
            stack.name, depth.bytes, stack.size
        ));
    }
    Ok(())
}

/// Returns the guests that a layout of the board needs, or all its layouts. On the default board
/// returns every guest, since the demos use some.
fn guests(board: &Board, layout: Option<&str>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("tests/guest/src/bin"))? {
        let source = entry?.path();
        if let Some(name) = source.file_stem().and_then(|name| name.to_str()) {
            names.push(name.to_string());
        }
    }
    if layout.is_some() || !board.is_default() {
        let used = images(board, layout)?;
        names.retain(|name| name == "nwd" || used.contains(&format!("{name}.bin")));
    }
    Ok(names)
}

/// Returns the target triple of this machine. With an explicit target, flags for programs do not
/// apply to build scripts.
pub fn host() -> Result<String> {
    let version = output(Command::new("rustc").current_dir(root()).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(String::from)
        .context("rustc does not say what it runs on")
}

/// Returns a `cargo` command for this workspace, which puts products in the folder of products.
pub fn cargo_command(subcommand: &str) -> Command {
    cargo_command_in(&root(), &target(), subcommand)
}

fn cargo_command_in(tree: &Path, products: &Path, subcommand: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(tree)
        .arg(subcommand)
        .arg("--target-dir")
        .arg(products);
    command
}

fn spmc_command(place: &Place, extras: Extras) -> Result<Command> {
    let mut command = build_command(SPMC_PACKAGE, SPMC_PROFILE, SMALL, place)?;
    command.arg("--bins").args(extras.arguments());
    Ok(command)
}

fn build_command(package: &str, profile: &str, flags: &[&str], place: &Place) -> Result<Command> {
    let mut command = cargo_command_in(&place.tree, &place.products, "build");
    command.env("CARGO_HOME", &place.cargo_home);
    // Flags of the environment would take the place of the flags below.
    command.env_remove("RUSTFLAGS");
    command.env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.args(["--profile", profile]);
    command.args(["--target", TARGET, "--package", package]);
    if !is_verbose() {
        command.arg("--quiet");
    }
    // These flags follow those of `.cargo/config.toml`.
    let flags = flags.iter().map(|flag| flag.to_string());
    let flags: Vec<String> = flags.chain(remap_crates(&place.cargo_home)?).collect();
    command.arg("--config");
    command.arg(format!("target.{TARGET}.rustflags={flags:?}"));
    Ok(command)
}

/// Returns the program of a test guest, with its symbols.
pub fn guest(name: &str) -> PathBuf {
    artefact(name, GUEST_PROFILE)
}

fn artefact(name: &str, profile: &str) -> PathBuf {
    target().join(TARGET).join(profile).join(name)
}

fn read(path: &PathBuf) -> Result<Executable> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    elf::load(&bytes).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_image_that_ships_has_its_name() {
        let mut names = Vec::new();
        for (log, ring) in [(false, false), (false, true), (true, false), (true, true)] {
            let extras = Extras { log, ring };
            let ships = extras.arguments().next().is_none();
            assert_eq!(extras.name() == "spmc", ships, "{extras:?}");
            names.push(extras.name());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 4);
    }

    #[test]
    fn a_path_in_an_image_is_found() {
        let holds = |image: &[u8]| {
            let sources = sources(Path::new("/spmc"), Path::new("/home/u/.cargo"));
            sources.iter().any(|folder| holds_path(image, folder))
        };
        assert!(holds(b"..panicked at /home/u/.cargo/registry/src/x.rs\0.."));
        assert!(holds(b"\0/spmc/spmc/src/lib.rs"));
        assert!(!holds(b"/home/v/.cargo/registry/src/x.rs"));
        // Two strings, without a byte between them.
        assert!(!holds(b"crates/spmc/src/lib.rs"));
    }
}
