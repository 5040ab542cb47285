//! Files of Debian's archive, each identified by its path on a mirror and its SHA-256.
//!
//! A file that exists under its name is complete: it is downloaded under another name and renamed
//! when its checksum is right. Folders unpacked from files are made in the same way. The mirror is
//! the one of the system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};

use crate::apt::Apt;
use crate::process::{output, step};
use crate::workspace::target;

/// A file of the archive.
#[derive(Hash)]
pub struct Pinned {
    /// The path below the root of a mirror.
    pub path: &'static str,
    pub sha256: &'static str,
}

/// MiB that downloads and builds may need while they run.
const SPACE: u64 = 3072;
/// MiB of free space below which a failure is attributed to lack of space.
const FULL: u64 = 16;

impl Pinned {
    fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

/// Returns the folder for the files of the demos.
pub fn folder() -> PathBuf {
    target().join("systems")
}

/// Returns the path of a file, which is downloaded if it is not there.
pub fn fetch(file: &Pinned) -> Result<PathBuf> {
    let dir = folder().join("files");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(file.name());
    if path.exists() {
        ensure!(
            sha256(&path)? == file.sha256,
            "{} does not have the SHA-256 {}: remove it and start again",
            path.display(),
            file.sha256
        );
        return Ok(path);
    }
    enough_space(&dir)?;
    step(&format!("fetching {}", file.name()), || {
        let part = dir.join(format!("{}.part", file.name()));
        let fetched = Apt::open().and_then(|apt| apt.download(file.path, file.sha256, &part));
        if let Err(error) = fetched {
            // apt renames a file with a wrong checksum to this name.
            let failed = dir.join(format!("{}.part.FAILED", file.name()));
            for left in [part, failed] {
                let _ = fs::remove_file(left);
            }
            return Err(explained(file, &path, &error));
        }
        fs::rename(&part, &path)?;
        Ok(path)
    })
}

/// Returns a folder with the contents of Debian packages of any architecture. `name` is the name of
/// the set.
pub fn unpack(name: &str, packages: &[&Pinned]) -> Result<PathBuf> {
    let contents = |folder: &Path| {
        for package in packages {
            let file = fetch(package)?;
            output(Command::new("dpkg").arg("-x").arg(file).arg(folder))?;
        }
        Ok(())
    };
    let sums: Vec<&str> = packages.iter().map(|package| package.sha256).collect();
    whole(name, &sums, contents)
}

/// Returns the folder with the contents of a source archive.
pub fn source(name: &str, archive: &Pinned) -> Result<PathBuf> {
    whole(name, &[archive.sha256], |folder| extract(archive, folder))
}

/// Puts the contents of a source archive into a folder.
pub fn extract(archive: &Pinned, folder: &Path) -> Result<()> {
    let file = fetch(archive)?;
    output(
        Command::new("tar")
            .arg("-xf")
            .arg(file)
            .args(["--strip-components=1", "-C"])
            .arg(folder),
    )?;
    Ok(())
}

/// Returns a folder below [`folder`] that is either complete or absent. Its name consists of `name`
/// and a hash of `key`.
pub fn whole(
    name: &str,
    key: &[&str],
    contents: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let path = folder().join(format!("{name}-{:016x}", hasher.finish()));
    if path.exists() {
        return Ok(path);
    }
    let part = path.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    enough_space(&target())?;
    fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
    if let Err(error) = contents(&part) {
        let is_full = free_space(&part)?.is_some_and(|free| free < FULL);
        fs::remove_dir_all(&part)?;
        let why = if is_full { ", the disk is full" } else { "" };
        return Err(error.context(format!("{name} is not there{why}")));
    }
    fs::rename(&part, &path)?;
    Ok(path)
}

fn sha256(file: &Path) -> Result<String> {
    let line = output(Command::new("sha256sum").arg(file))?;
    let sum = line.split_whitespace().next();
    Ok(sum.context("sha256sum printed nothing")?.to_string())
}

fn enough_space(dir: &Path) -> Result<()> {
    match free_space(dir)? {
        Some(free) if free < SPACE => bail!(
            "{} has {free} MiB left, the demos need {SPACE}",
            dir.display()
        ),
        _ => Ok(()),
    }
}

/// Returns the free MiB on the disk of a folder.
fn free_space(dir: &Path) -> Result<Option<u64>> {
    let mut df = Command::new("df");
    df.args(["--block-size=1M", "--output=avail"]).arg(dir);
    let text = output(&mut df)?;
    let last = text.lines().last();
    Ok(last.and_then(|line| line.trim().parse().ok()))
}

/// Returns an error that explains the most likely cause of a failure.
fn explained(file: &Pinned, path: &Path, error: &Error) -> Error {
    let details = format!("{error:#}");
    if details.contains("No space left") {
        return anyhow!("cannot fetch {}: the disk is full\n{details}", file.path);
    }
    let why = if details.contains("404 ") {
        "this system's Debian mirror has moved on: this version is not there any more"
    } else if details.contains("Hash Sum mismatch") {
        "this system's Debian mirror sends something else under this name"
    } else if details.contains("/apt-helper") {
        "this system's Debian mirror does not answer"
    } else {
        "this system has no Debian mirror"
    };
    anyhow!(
        "cannot fetch {}: {why}. Put the file at {} and start again; its SHA-256 is {}\n{details}",
        file.path,
        path.display(),
        file.sha256
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Pinned = Pinned {
        path: "pool/main/x/x/x_1.deb",
        sha256: "00",
    };

    #[test]
    fn each_failure_has_its_own_message() {
        let message = |error: &str| {
            let error = anyhow!("{error}");
            explained(&FILE, Path::new("/files/x_1.deb"), &error).to_string()
        };
        assert!(message("E: 404  Not Found").contains("has moved on"));
        assert!(message("E: Hash Sum mismatch").contains("something else"));
        let resolving = "/usr/lib/apt/apt-helper failed: Temporary failure resolving";
        assert!(message(resolving).contains("does not answer"));
        assert!(message("this system has no apt-get").contains("has no Debian mirror"));
        assert!(message("write error: No space left on device").contains("the disk is full"));
        for error in ["404 ", "Hash Sum mismatch", ""] {
            let message = message(error);
            assert!(message.contains(FILE.path) && message.contains("/files/x_1.deb"));
        }
    }

    #[test]
    fn a_file_with_another_checksum_is_not_used() {
        let files = super::folder().join("files");
        fs::create_dir_all(&files).unwrap();
        let file = Pinned {
            path: "pool/main/x/x/xtask-test-other.deb",
            ..FILE
        };
        let path = files.join(file.name());
        fs::write(&path, "other").unwrap();
        let error = fetch(&file).unwrap_err().to_string();
        fs::remove_file(&path).unwrap();
        assert!(error.contains("does not have the SHA-256") && error.contains("remove it"));
    }

    #[test]
    fn a_folder_is_there_as_a_whole_or_not_at_all() {
        let name = format!("test-{}", std::process::id());
        let failed = whole(&name, &["1"], |folder| {
            fs::write(folder.join("half"), "")?;
            bail!("no more")
        });
        assert!(failed.is_err());
        let left = fs::read_dir(super::folder()).unwrap();
        let is_ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&name);
        assert!(
            !left.flatten().any(|entry| is_ours(&entry)),
            "half a folder"
        );
        let folder = whole(&name, &["1"], |folder| {
            assert!(!folder.join("half").exists(), "left by the one before");
            Ok(fs::write(folder.join("all"), "")?)
        });
        let folder = folder.unwrap();
        assert!(folder.join("all").exists());
        let again = whole(&name, &["1"], |_| bail!("it is there")).unwrap();
        assert_eq!(again, folder);
        fs::remove_dir_all(folder).unwrap();
    }
}
