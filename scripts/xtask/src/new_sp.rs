//! `cargo xtask new-sp`: a folder with a partition that prints and answers, and with a layout that
//! boots it. The templates are in `scripts/sdk`.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::board::QEMU_VIRT;
use crate::image::{Components, assemble};
use crate::layout::{self, Layout};
use crate::places;
use crate::qemu::Machine;
use crate::selection::Selection;
use crate::workspace::{root, target};

/// The languages in which there are templates.
#[derive(Clone, Copy, ValueEnum)]
pub enum Language {
    Rust,
    C,
}

impl Language {
    /// Returns the name of the language's folder in the SDK.
    fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
        }
    }
}

/// The text that every template has in place of the partition's name, and that names of files have.
const NAME: &str = "@NAME@";
const NAME_OF_FILE: &str = "NAME";

/// Makes the folder `path`, whose name becomes that of the partition.
pub fn new_sp(path: &Path, language: Language) -> Result<()> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{}: not a name", path.display()))?;
    check(name)?;
    ensure!(!path.exists(), "{} is there already", path.display());
    ensure!(
        !QEMU_VIRT.layouts().join(name).exists(),
        "a layout of the repository has the name `{name}`"
    );
    create(path, name, language)?;
    println!("Made {}. Boot it with", path.display());
    println!("  cargo xtask run --partitions {}", path.display());
    Ok(())
}

/// Fails unless a package of Rust, a file and a node of a device tree can have that name.
fn check(name: &str) -> Result<()> {
    let mut letters = name.chars();
    let is_good = letters
        .next()
        .is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
        && name.len() <= 31;
    ensure!(
        is_good,
        "`{name}`: a name has 1 to 31 characters from a-z, 0-9, `-` and `_`, and begins with a letter"
    );
    Ok(())
}

fn create(path: &Path, name: &str, language: Language) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    let path = path.canonicalize()?;
    let sdk = root().join("scripts/sdk");
    let words = [
        (NAME, name.to_string()),
        ("@UUID@", uuid()?),
        ("@SDK@", from(&path, &root(), &sdk).display().to_string()),
    ];
    for templates in [
        sdk.join("layout"),
        sdk.join(language.folder()).join("template"),
    ] {
        copy(&templates, &path, &words)?;
    }
    if let Language::Rust = language {
        // The versions with which the SDK was tried.
        for file in ["Cargo.lock", "rust-toolchain.toml"] {
            fs::copy(root().join(file), path.join(file))?;
        }
    }
    Ok(())
}

/// Copies a folder, with the words replaced in files and the name in names of files.
fn copy(from: &Path, to: &Path, words: &[(&str, String)]) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let file = file.replace(NAME_OF_FILE, &words[0].1);
        if path.is_dir() {
            copy(&path, &to.join(file), words)?;
            continue;
        }
        let mut text = fs::read_to_string(&path)?;
        for (word, value) in words {
            text = text.replace(word, value);
        }
        fs::write(to.join(file), text)?;
    }
    Ok(())
}

/// Returns the path of `sdk` for files in `folder`: relative if the folder is in the tree, so that
/// both can be moved together.
fn from(folder: &Path, root: &Path, sdk: &Path) -> PathBuf {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    let Ok(inside) = folder.strip_prefix(&root) else {
        return sdk.to_path_buf();
    };
    let mut path = PathBuf::new();
    for _ in inside.components() {
        path.push(Component::ParentDir);
    }
    path.join("scripts/sdk")
}

/// Returns a random UUID as the four words of a manifest.
fn uuid() -> Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    // Version 4, and the usual variant.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let words = bytes.as_chunks().0.iter().copied();
    let words: Vec<_> = words
        .map(|word| format!("{:#010x}", u32::from_le_bytes(word)))
        .collect();
    Ok(words.join(" "))
}

/// Makes a partition, boots it with the Normal world that greets, and fails unless the partition
/// answers, reads a page, notifies in turn when its timer has run out, and takes 32-bit requests.
pub fn try_out(language: Language) -> Result<()> {
    let name = format!("new-{}", language.folder());
    let path = target().join("new-sp").join(&name);
    // Compiled crates stay, since they cost most of the time; the image is made anew.
    let built = path.join("build").join(format!("{name}.bin"));
    if built.exists() {
        fs::remove_file(built)?;
    }
    create(&path, &name, language)?;
    layout::build(&path)?;
    let mut layout = Layout::find(&path.display().to_string())?;
    let flash = assemble(&Components::build()?, &layout, None)?;
    let machine = Machine {
        smp: 2,
        selection: Selection::Ping,
        ..Machine::default()
    };
    let boot = machine.boot(&flash, &name)?;
    let check = || {
        boot.check()?;
        for text in [
            "greeting",
            "read a shared page",
            "notified in turn",
            "answered a 32-bit request",
        ] {
            let shown = boot.log.iter().any(|line| line.text.contains(text));
            ensure!(shown, "no console shows `{text}`");
        }
        Ok(())
    };
    check().with_context(|| boot.path.display().to_string())?;
    let source = match language {
        Language::Rust => path.join("src/main.rs"),
        Language::C => path.join(format!("{name}.c")),
    };
    places::of_partition(&mut layout, &source, "(\"greeting ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_packages() {
        for good in ["a", "hello", "my-sp_2"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "Hello", "2sp", "a b", "a/b", "é", &"a".repeat(32)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_sdk_is_found_by_a_relative_path_within_the_tree() {
        let tree = Path::new("/no/tree");
        let sdk = tree.join("scripts/sdk");
        let find = |folder: &str| from(Path::new(folder), tree, &sdk);
        assert_eq!(find("/no/tree/a"), Path::new("../scripts/sdk"));
        assert_eq!(find("/no/tree/a/b"), Path::new("../../scripts/sdk"));
        assert_eq!(find("/no/treeless/a"), sdk);
    }

    #[test]
    fn a_uuid_is_four_words() {
        let words = uuid().unwrap();
        assert_eq!(words.split(' ').count(), 4);
        assert_ne!(words, uuid().unwrap());
    }
}
