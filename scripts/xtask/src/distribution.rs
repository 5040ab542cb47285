//! Names of Debian's packages on distributions that have no apt.

use std::fs;

/// A distribution without apt.
struct Distribution {
    /// `ID` or a word of `ID_LIKE` in os-release(5).
    id: &'static str,
    install: &'static str,
    /// Packages whose name is not the one in Debian: Debian's name, and theirs.
    names: &'static [(&'static str, &'static str)],
    /// Packages of the same name.
    same: &'static [&'static str],
}

const DISTRIBUTIONS: [Distribution; 2] = [
    Distribution {
        id: "fedora",
        install: "sudo dnf install",
        names: &[
            ("qemu-system-arm", "qemu-system-aarch64"),
            ("device-tree-compiler", "dtc"),
            ("xz-utils", "xz"),
            ("g++", "gcc-c++"),
        ],
        same: &["util-linux", "gcc-aarch64-linux-gnu", "make", "gcc"],
    },
    Distribution {
        id: "arch",
        install: "sudo pacman -S",
        names: &[
            ("qemu-system-arm", "qemu-system-aarch64"),
            ("device-tree-compiler", "dtc"),
            ("gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"),
            ("xz-utils", "xz"),
            ("g++", "gcc"),
        ],
        same: &["util-linux", "make", "gcc"],
    },
];

impl Distribution {
    /// Returns whether os-release(5) names this distribution, or one that is like it.
    fn is_named_in(&self, release: &str) -> bool {
        release.lines().any(|line| {
            let Some(value) = ["ID=", "ID_LIKE="]
                .iter()
                .find_map(|key| line.strip_prefix(key))
            else {
                return false;
            };
            value
                .trim_matches('"')
                .split_whitespace()
                .any(|id| id == self.id)
        })
    }

    /// Returns the command that installs `packages`; `None` if the name of one is not known.
    fn command(&self, packages: &[&str]) -> Option<String> {
        let mut command = self.install.to_string();
        for package in packages {
            let renamed = self.names.iter().find(|(debian, _)| debian == package);
            let same = self.same.iter().find(|name| *name == package);
            let name = renamed.map(|(_, name)| name).or(same)?;
            command.push(' ');
            command.push_str(name);
        }
        Some(command)
    }
}

/// Returns how to install Debian's `packages` where there is no apt: the command, on a distribution
/// whose names are known.
pub fn how_to_install(packages: &[&str]) -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let known = DISTRIBUTIONS.iter().find(|it| it.is_named_in(&release));
    match known.and_then(|it| it.command(packages)) {
        Some(command) => format!("install the programs above: {command}"),
        None => "install the programs above in your system's way".to_string(),
    }
}

/// Returns whether the package of Debian with that name has a name on every distribution.
#[cfg(test)]
pub fn is_known_everywhere(package: &str) -> bool {
    let is_known = |it: &Distribution| it.command(&[package]).is_some();
    DISTRIBUTIONS.iter().all(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_the_names_of_the_distribution() {
        let [fedora, arch] = &DISTRIBUTIONS;
        assert_eq!(
            fedora.command(&["qemu-system-arm", "make"]).as_deref(),
            Some("sudo dnf install qemu-system-aarch64 make")
        );
        assert_eq!(
            arch.command(&["gcc-aarch64-linux-gnu"]).as_deref(),
            Some("sudo pacman -S aarch64-linux-gnu-gcc")
        );
        assert_eq!(arch.command(&["dpkg"]), None);
    }

    #[test]
    fn a_distribution_is_known_by_its_name_or_by_what_it_is_like() {
        let [fedora, arch] = &DISTRIBUTIONS;
        assert!(fedora.is_named_in("NAME=\"Fedora Linux\"\nID=fedora\n"));
        assert!(fedora.is_named_in("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"));
        assert!(arch.is_named_in("ID=manjaro\nID_LIKE=arch\n"));
        assert!(!arch.is_named_in("ID=fedora\nVARIANT_ID=arch\n"));
    }
}
