//! The command line.

use std::path::PathBuf;

/// How to call the program. `xtask` adds `--layouts` and `--files`.
pub const USAGE: &str = "\
usage: cargo xtask manifest check [OPTION]... LAYOUT|FILE...

  LAYOUT           a folder with an sp_layout.json, such a file, or the name of a layout of the repository:
                   judged as a whole, with the SPMC manifest, all manifests and packages, and tb_fw_config
  FILE             a manifest, as source (.dts) or blob (.dtb); partitions are judged with the SPMC manifest
                   if one is named beside them
  --board BOARD    the board whose layouts and images are meant by name
  --json           print one JSON object
  -I DIR           where #include and /include/ look for files; may be repeated
  --deny-warnings  take warnings for faults

The exit status is 0 if nothing is wrong, 1 if there are faults, 2 if the command cannot be understood.";

/// The parsed command line.
#[derive(Default)]
pub struct Arguments {
    /// Names of layouts, and paths of files.
    pub inputs: Vec<String>,
    /// `--json`
    pub json: bool,
    /// `--deny-warnings`
    pub deny_warnings: bool,
    /// `--help`
    pub help: bool,
    /// `-I`
    pub includes: Vec<PathBuf>,
    /// `--layouts`: the folder in which layouts are looked for by name.
    pub layouts: Option<PathBuf>,
    /// `--files`: further folders in which a layout's images may lie.
    pub files: Vec<PathBuf>,
}

impl Arguments {
    /// Parses the words of a command line.
    ///
    /// Errors: an unknown option, an option without its value, nothing to check.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let mut value = |option: &str| {
                let value = words.next().filter(|value| !value.is_empty());
                value
                    .map(PathBuf::from)
                    .ok_or(format!("{option} needs a folder"))
            };
            match word.as_str() {
                "--json" => arguments.json = true,
                "--deny-warnings" => arguments.deny_warnings = true,
                "--help" | "-h" => arguments.help = true,
                "-I" => arguments.includes.push(value("-I")?),
                "--layouts" => arguments.layouts = Some(value("--layouts")?),
                "--files" => arguments.files.push(value("--files")?),
                _ => match word.strip_prefix("-I") {
                    Some(folder) => arguments.includes.push(folder.into()),
                    None if word.starts_with('-') => return Err(format!("unknown option {word}")),
                    None => arguments.inputs.push(word),
                },
            }
        }
        if arguments.inputs.is_empty() && !arguments.help {
            return Err("nothing to check is named".into());
        }
        Ok(arguments)
    }
}
