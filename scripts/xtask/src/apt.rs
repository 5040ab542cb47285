//! Debian's package tools with a private configuration.
//!
//! Sources, lists, preferences and cache lie below `target/apt`, so that the system's apt stays as
//! it is: no suite is added to it, and its lists are not refreshed. The mirror is the one in the
//! system's own sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{logged, output, which};
use crate::workspace::target;

/// apt with private state.
pub struct Apt {
    dir: PathBuf,
    /// URI of the mirror that serves this system's release.
    mirror: String,
    /// Code name of this system's release.
    codename: String,
}

impl Apt {
    /// Opens the private state. Fails if there is no apt, or if its sources name no mirror of the
    /// installed release.
    pub fn open() -> Result<Self> {
        if which("apt-get").is_none() {
            bail!("this system has no apt-get");
        }
        let os = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
        let codename = os
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .context("/etc/os-release names no VERSION_CODENAME")?
            .trim_matches('"')
            .to_string();
        let uris = output(Command::new("apt-get").args(["update", "--print-uris"]))?;
        let suffix = format!("/dists/{codename}/InRelease");
        let mirror = uris
            .lines()
            .filter_map(|line| line.split('\'').nth(1))
            .find_map(|uri| uri.strip_suffix(&suffix))
            .with_context(|| format!("apt's sources name no mirror of {codename}"))?
            .to_string();
        Ok(Self {
            dir: target().join("apt"),
            mirror,
            codename,
        })
    }

    /// Returns the code name of this system's release.
    pub fn codename(&self) -> &str {
        &self.codename
    }

    /// Writes the private configuration and refreshes the private lists. If `backports` names a
    /// source package, the suite of backports is added, and that package is taken from it.
    pub fn update(&self, backports: Option<&str>) -> Result<()> {
        let parts = self.dir.join("sources");
        if parts.exists() {
            let removed = fs::remove_dir_all(&parts);
            removed.with_context(|| format!("cannot remove {}", parts.display()))?;
        }
        for folder in ["sources", "lists/partial", "cache/archives/partial"] {
            let folder = self.dir.join(folder);
            let created = fs::create_dir_all(&folder);
            created.with_context(|| format!("cannot create {}", folder.display()))?;
        }
        copy_sources(&parts)?;

        let mut pin = String::new();
        if let Some(source) = backports {
            let suite = format!("{}-backports", self.codename);
            fs::write(
                parts.join("backports.list"),
                format!("deb {} {suite} main\n", self.mirror),
            )?;
            pin = format!("Package: src:{source}\nPin: release n={suite}\nPin-Priority: 990\n");
        }
        fs::write(self.dir.join("preferences"), pin)?;

        logged(
            Command::new("apt-get")
                .args(self.options())
                .args(["-q", "update"]),
            &self.dir.join("update.log"),
        )
    }

    /// Installs packages as root or by sudo. If neither is possible, the error says which command
    /// to run.
    pub fn install(&self, packages: &[&str]) -> Result<()> {
        let mut words = vec!["apt-get".to_string()];
        words.extend(self.options());
        words.extend(["-y", "-q", "install", "--no-install-recommends"].map(String::from));
        words.extend(packages.iter().map(|package| package.to_string()));

        let Some(mut prefix) = privileges() else {
            bail!(
                "installing packages needs root. Run this and start again:\n\n  sudo {}\n",
                words.join(" ")
            );
        };
        prefix.extend(["env", "DEBIAN_FRONTEND=noninteractive"]);
        let mut command = Command::new(prefix.remove(0));
        command.args(prefix).args(words);
        logged(&mut command, &self.dir.join("install.log"))
    }

    /// Downloads a file from the mirror and checks its SHA-256.
    pub fn download(&self, path: &str, sha256: &str, to: &Path) -> Result<()> {
        let uri = format!("{}/{path}", self.mirror.trim_end_matches('/'));
        output(
            Command::new("/usr/lib/apt/apt-helper")
                .args(["-o", "APT::Sandbox::User=root", "download-file"])
                .arg(uri)
                .arg(to)
                .arg(format!("SHA256:{sha256}")),
        )?;
        Ok(())
    }

    fn options(&self) -> Vec<String> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        [
            "Dir::Etc::sourcelist=/dev/null".into(),
            format!("Dir::Etc::sourceparts={}", path("sources")),
            format!("Dir::Etc::preferences={}", path("preferences")),
            format!("Dir::State::lists={}", path("lists")),
            format!("Dir::Cache={}", path("cache")),
            // The private folders need not be readable for apt's own user.
            "APT::Sandbox::User=root".into(),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_string(), option])
        .collect()
    }
}

fn copy_sources(to: &Path) -> Result<()> {
    let list = Path::new("/etc/apt/sources.list");
    if list.exists() {
        fs::copy(list, to.join("system.list"))?;
    }
    if let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") {
        for entry in folder {
            let path = entry?.path();
            let known = path
                .extension()
                .is_some_and(|kind| kind == "list" || kind == "sources");
            if let (true, Some(name)) = (known, path.file_name()) {
                fs::copy(&path, to.join(name))?;
            }
        }
    }
    Ok(())
}

/// Returns the words to put before a command that needs root: none for root, `sudo` if it asks for
/// no password.
fn privileges() -> Option<Vec<&'static str>> {
    if output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0") {
        return Some(Vec::new());
    }
    let sudo = output(Command::new("sudo").args(["-n", "true"])).is_ok();
    sudo.then(|| vec!["sudo", "-n"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = std::env::temp_dir().join(format!("xtask-test-apt-{}", std::process::id()));
        fs::write(&file, "no folder").unwrap();
        let apt = Apt {
            dir: file.join("apt"),
            mirror: String::new(),
            codename: String::new(),
        };
        let error = apt.update(None).unwrap_err().to_string();
        fs::remove_file(&file).unwrap();
        assert!(
            error.contains(&file.display().to_string()),
            "{error} names no folder"
        );
    }
}
