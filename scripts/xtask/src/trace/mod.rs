//! `--trace`: every FF-A call of a boot, decoded, with its caller, its callee, its result and its
//! cost in instructions.
//!
//! A plugin of QEMU records the registers at each call and return ([`record`]). When the boot is
//! over, the records become calls ([`calls`]), which are shown as text or for other programs.

mod buffers;
mod calls;
mod costs;
mod decode;
mod filter;
mod json;
mod ping;
mod record;
mod system;
#[cfg(test)]
mod tests;
mod text;
mod tracks;

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use spmc::manifest::spmc_manifest;

use self::calls::Trace;
pub use self::costs::Costs;
use self::filter::Filter;
pub use self::ping::check;
use self::text::Writer;
use crate::elf;
use crate::plugin;
use crate::qemu::Machine;
use crate::workspace::target;

/// The name of the plugin.
const PLUGIN: &str = "ffa-trace";

/// The word for the standard output.
const STANDARD_OUTPUT: &str = "-";

/// Forms of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// A line a call, in colour on a terminal
    Text,
    /// A line of JSON a call
    Json,
    /// A picture of all PEs: events to be opened in ui.perfetto.dev
    Perfetto,
}

/// Options of a trace.
#[derive(Args, Clone, Default)]
pub struct Options {
    /// Show every FF-A call when the boot is over, or write all to FILE
    #[arg(
        long = "trace", value_name = "FILE", num_args = 0..=1, require_equals = true,
        default_missing_value = STANDARD_OUTPUT
    )]
    file: Option<PathBuf>,
    /// The form of the trace (default: `perfetto` for a FILE that ends in .json, `json` for one in
    /// .jsonl, otherwise `text`)
    #[arg(long = "trace-format", value_name = "FORMAT", requires = "file")]
    format: Option<Format>,
    /// Only calls of functions whose names contain this
    #[arg(long = "trace-function", value_name = "NAME", requires = "file")]
    function: Option<String>,
    /// Only calls from or to the endpoint with this id or name, or that name it
    #[arg(long = "trace-endpoint", value_name = "ID", requires = "file")]
    endpoint: Option<String>,
    /// Only calls with this handle of a memory region in a register or a descriptor
    #[arg(long = "trace-handle", value_name = "HANDLE", requires = "file", value_parser = filter::number)]
    handle: Option<u64>,
}

/// A trace under way.
pub struct Recording {
    options: Options,
    records: PathBuf,
    /// The folder of the flash image, with the manifests.
    images: PathBuf,
    file: PathBuf,
}

impl Options {
    /// Makes the machine record the calls of a boot of the flash image, if that is wanted. `part`
    /// becomes a part of the name of the file, for one of several boots.
    pub fn record(
        &self,
        machine: &mut Machine,
        flash: &Path,
        part: Option<&str>,
    ) -> Result<Option<Recording>> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let images = flash.parent().context("the flash image has no folder")?;
        let name = part.map_or(PLUGIN.to_string(), |part| format!("{PLUGIN}-{part}"));
        let records = target().join(name).with_extension("bin");
        machine_with(machine, flash, &format!("out={}", records.display()))?;
        Ok(Some(Recording {
            options: self.clone(),
            records,
            images: images.to_path_buf(),
            file: match part {
                Some(part) if file != Path::new(STANDARD_OUTPUT) => with_part(file, part),
                _ => file.clone(),
            },
        }))
    }

    fn format(&self) -> Format {
        let file = self.file.as_deref().unwrap_or(Path::new(STANDARD_OUTPUT));
        let by_name = || match file.extension().and_then(|kind| kind.to_str()) {
            Some("json") => Format::Perfetto,
            Some("jsonl") => Format::Json,
            _ => Format::Text,
        };
        self.format.unwrap_or_else(by_name)
    }

    fn filter(&self) -> Filter {
        Filter {
            function: self.function.clone(),
            endpoint: self.endpoint.clone(),
            handle: self.handle,
        }
    }
}

/// Adds the plugin, with the SPMC's place and this argument, to a machine that boots the flash
/// image.
fn machine_with(machine: &mut Machine, flash: &Path, argument: &str) -> Result<()> {
    let images = flash.parent().context("the flash image has no folder")?;
    let plugin = plugin::build(PLUGIN)?;
    let argument = format!("{},{argument},{}", plugin.display(), spmc(images)?);
    machine.arguments.extend(["-plugin".into(), argument]);
    Ok(())
}

/// Returns `NAME-PART.KIND` for `NAME.KIND`.
fn with_part(file: &Path, part: &str) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = match file.extension() {
        Some(kind) => format!("{stem}-{part}.{}", kind.to_string_lossy()),
        None => format!("{stem}-{part}"),
    };
    file.with_file_name(name)
}

/// The function of the SPMC that copies from and to memory of others.
const COPY: &str = "window_copy";

/// Returns the arguments of the plugin that say where the SPMC is: the memory that it is linked
/// with, the end of all of its memory, and the function that copies.
fn spmc(images: &Path) -> Result<String> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let elf = read(&target().join("spmc.elf"))?;
    let executable = elf::load(&elf)?;
    let manifest = spmc_manifest::parse(&read(&images.join("tos_fw_config.dtb"))?).ok();
    let told = manifest.as_ref().and_then(|manifest| manifest.load_address);
    let start = told.unwrap_or(executable.base);
    let end = start + (executable.end - executable.base);
    let size = manifest.and_then(|manifest| manifest.binary_size);
    let own_end = end.max(start + size.unwrap_or(0));
    let program = elf::program(&elf)?;
    let mut functions = program.functions.iter();
    let copy = functions.find(|function| function.name == COPY);
    let copy = copy.with_context(|| format!("the SPMC has no function {COPY}"))?;
    let [from, to] = [copy.address, copy.end].map(|address| address - executable.base + start);
    Ok(format!(
        "spmc={start:x}:{end:x},own={own_end:x},copy={from:x}:{to:x}"
    ))
}

impl Recording {
    /// Returns the calls, after the boot.
    pub fn trace(&self) -> Result<Trace> {
        let bytes = fs::read(&self.records);
        let bytes = bytes.with_context(|| format!("cannot read {}", self.records.display()))?;
        let records = record::parse(&bytes)?;
        Ok(calls::follow(&records, &system::partitions(&self.images)?))
    }

    /// Shows the calls, or writes the file, after the boot.
    pub fn show(self) -> Result<()> {
        let trace = self.trace()?;
        let partitions = system::partitions(&self.images)?;
        let to_file = self.file != Path::new(STANDARD_OUTPUT);
        let names = Writer {
            partitions: &partitions,
            is_coloured: !to_file
                && std::io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none(),
        };
        let condition = self.options.filter().condition(&partitions)?;
        let shown = trace.calls.iter().filter(|call| condition.holds(call));
        let text: String = match self.options.format() {
            Format::Text => {
                let lines = shown.map(|call| names.line(call));
                [text::HEADING.to_string()]
                    .into_iter()
                    .chain(lines)
                    .collect()
            }
            Format::Json => shown
                .map(|call| format!("{}\n", json::call(call, &names)))
                .collect(),
            Format::Perfetto => {
                json::events(&trace, &names, |call| condition.holds(call)).to_string()
            }
        };
        fs::remove_file(&self.records)?;
        if !to_file {
            print!("{text}");
            return Ok(std::io::stdout().flush()?);
        }
        let file = &self.file;
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("    {} calls: {}", trace.calls.len(), file.display());
        Ok(())
    }
}
