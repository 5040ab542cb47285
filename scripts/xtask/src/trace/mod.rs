//! `--trace`: every FF-A call of a boot, decoded, with its caller, its callee, its result and its
//! cost in instructions.
//!
//! A plugin of QEMU records the registers at each call and return ([`record`]), what the SPMC
//! copies from and to buffers, and its translation tables. When the boot is over, the records
//! become calls ([`calls`]), which are shown as text, for other programs or in numbers, and maps of
//! memory ([`memory`]).

mod buffers;
mod calls;
mod costs;
mod decode;
mod filter;
mod json;
mod memory;
mod picture;
mod ping;
mod record;
mod ring;
mod summary;
mod sums;
mod system;
#[cfg(test)]
mod tests;
mod text;
mod tracks;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args, ValueEnum};
use spmc::manifest::config::SpmcManifest;

use self::calls::Trace;
pub use self::costs::{Costs, Summed, table as cost_table};
use self::filter::{Condition, Filter};
pub use self::ping::check;
use self::record::Event;
pub use self::ring::check as check_ring;
pub use self::sums::Sums;
use self::text::Writer;
pub use self::text::grouped;
use crate::command_line::OfBoard;
use crate::elf;
use crate::image::elf_of;
use crate::layout::Layout;
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
    /// A picture of memory: who has which addresses, when most of it was lent or shared
    Map,
    /// A picture of memory for each transaction that changes it: NAME-001.svg and so on
    Maps,
}

/// Options of a trace.
#[derive(Args, Clone, Default)]
#[command(group = ArgGroup::new("traced").multiple(true))]
pub struct Options {
    /// Show every FF-A call when the boot is over, or write all to FILE
    #[arg(
        long = "trace", value_name = "FILE", num_args = 0..=1, require_equals = true,
        default_missing_value = STANDARD_OUTPUT, group = "traced"
    )]
    file: Option<PathBuf>,
    /// The form of the trace (default: `perfetto` for a FILE that ends in .json, `json` for one in
    /// .jsonl, `map` for one in .svg, otherwise `text`)
    #[arg(long = "trace-format", value_name = "FORMAT", requires = "file")]
    format: Option<Format>,
    /// Show, when the boot is over, how many calls of which function each caller made, and what
    /// they cost
    #[arg(long = "trace-summary", group = "traced")]
    summary: bool,
    /// Only calls of functions whose names contain this
    #[arg(long = "trace-function", value_name = "NAME", requires = "traced")]
    function: Option<String>,
    /// Only calls from or to the endpoint with this id or name, or that name it
    #[arg(long = "trace-endpoint", value_name = "ID", requires = "traced")]
    endpoint: Option<String>,
    /// Only calls with this handle of a memory region in a register or a descriptor
    #[arg(long = "trace-handle", value_name = "HANDLE", requires = "traced", value_parser = filter::number)]
    handle: Option<u64>,
}

/// A copy of the rings of an SPMC that was built with `--trace-ring`.
#[derive(Args)]
pub struct Dump {
    /// A copy of that memory, or what a console showed of `--normal-world ping`
    file: PathBuf,
    /// The layout that was booted, after `image` or `run`: for names and versions
    #[arg(long, value_name = "LAYOUT", default_value = "default")]
    partitions: String,
    #[command(flatten)]
    of: OfBoard,
    /// The form
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Show how many calls of which function each caller made, and what they cost, in place of the
    /// calls
    #[arg(long)]
    summary: bool,
    /// Only calls of functions whose names contain this
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Only calls from or to the endpoint with this id or name, or that name it
    #[arg(long, value_name = "ID")]
    endpoint: Option<String>,
    /// Only calls with this handle of a memory region in a register
    #[arg(long, value_name = "HANDLE", value_parser = filter::number)]
    handle: Option<u64>,
}

impl Dump {
    /// Prints the calls.
    pub fn show(self) -> Result<()> {
        let layout = Layout::find_for(self.of.board, &self.partitions)?;
        let images = self.of.board.products().join("images").join(layout.name);
        let partitions = system::partitions(&images)?;
        let trace = calls::follow(&ring::parse(&read(&self.file)?)?, &partitions);
        let names = Writer::of_terminal(&partitions, true);
        let filter = Filter {
            function: self.function,
            endpoint: self.endpoint,
            handle: self.handle,
        };
        let condition = filter.condition(&partitions)?;
        let text = match (self.summary, self.format) {
            (true, _) => {
                let shown = trace.calls.iter().filter(|call| condition.holds(call));
                summary::table(shown, &names)
            }
            (false, Format::Map | Format::Maps) => {
                bail!("a ring does not tell who has which memory")
            }
            (false, format) => form(format, &trace, &names, &condition, ring::HEADING),
        };
        print!("{text}");
        Ok(std::io::stdout().flush()?)
    }
}

/// Returns the calls that meet the condition, in a form other than a map. The text begins with
/// `heading`.
fn form(
    format: Format,
    trace: &Trace,
    names: &Writer,
    condition: &Condition,
    heading: &str,
) -> String {
    let shown = trace.calls.iter().filter(|call| condition.holds(call));
    match format {
        Format::Json => shown
            .map(|call| format!("{}\n", json::call(call, names)))
            .collect(),
        Format::Perfetto => json::events(trace, names, |call| condition.holds(call)).to_string(),
        Format::Text | Format::Map | Format::Maps => {
            let lines = shown.map(|call| names.line(call));
            [heading.to_string()].into_iter().chain(lines).collect()
        }
    }
}

/// A trace under way.
pub struct Recording {
    options: Options,
    records: PathBuf,
    /// The folder of the flash image, with the manifests.
    images: PathBuf,
    /// The file to write, or the word for the standard output; without one there is a summary only.
    file: Option<PathBuf>,
}

impl Options {
    /// Returns the options for a picture of memory, or for one of each change.
    pub fn map(file: PathBuf, all: bool) -> Self {
        Self {
            file: Some(file),
            format: Some(if all { Format::Maps } else { Format::Map }),
            ..Self::default()
        }
    }

    /// Makes the machine record the calls of a boot of the flash image, if that is wanted. `part`
    /// becomes a part of the name of the file, for one of several boots.
    pub fn record(
        &self,
        machine: &mut Machine,
        flash: &Path,
        part: Option<&str>,
    ) -> Result<Option<Recording>> {
        if !self.is_wanted() {
            return Ok(None);
        }
        let images = flash.parent().context("the flash image has no folder")?;
        let name = part.map_or(PLUGIN.to_string(), |part| format!("{PLUGIN}-{part}"));
        let records = target().join(name).with_extension("bin");
        let mut argument = format!("out={}", records.display());
        if self.is_map() {
            for (start, end) in Place::find(images)?.tables() {
                argument += &format!(",tables={start:x}:{end:x}");
            }
        }
        machine_with(machine, flash, &argument)?;
        Ok(Some(Recording {
            options: self.clone(),
            records,
            images: images.to_path_buf(),
            file: self.file.as_deref().map(|file| match part {
                Some(part) if file != Path::new(STANDARD_OUTPUT) => with_part(file, part),
                _ => file.to_path_buf(),
            }),
        }))
    }

    /// Returns whether calls are recorded.
    pub fn is_wanted(&self) -> bool {
        self.file.is_some() || self.summary
    }

    fn format(&self) -> Format {
        let file = self.file.as_deref().unwrap_or(Path::new(STANDARD_OUTPUT));
        let by_name = || match file.extension().and_then(|kind| kind.to_str()) {
            Some("json") => Format::Perfetto,
            Some("jsonl") => Format::Json,
            Some("svg") => Format::Map,
            _ => Format::Text,
        };
        self.format.unwrap_or_else(by_name)
    }

    fn is_map(&self) -> bool {
        self.file.is_some() && matches!(self.format(), Format::Map | Format::Maps)
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
    let place = Place::find(images)?.arguments();
    let argument = format!("{},{argument},{place}", plugin.display());
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

/// Where the SPMC is.
struct Place {
    /// The memory that it is linked with.
    linked: (u64, u64),
    /// The end of all of its memory.
    end: u64,
    /// The function that copies.
    copy: (u64, u64),
    manifest: SpmcManifest,
}

impl Place {
    /// Reads the executable, and the manifest in the folder of the flash image.
    fn find(images: &Path) -> Result<Self> {
        let elf = read(&elf_of(images))?;
        let executable = elf::load(&elf)?;
        let manifest = system::spmc_manifest(images)?;
        let start = manifest.load_address.unwrap_or(executable.base);
        let end = start + (executable.end - executable.base);
        let program = elf::program(&elf)?;
        let mut functions = program.functions.iter();
        let copy = functions.find(|function| function.name == COPY);
        let copy = copy.with_context(|| format!("the SPMC has no function {COPY}"))?;
        let moved = |address| address - executable.base + start;
        Ok(Self {
            linked: (start, end),
            end: end.max(start + manifest.binary_size.unwrap_or(0)),
            copy: (moved(copy.address), moved(copy.end)),
            manifest,
        })
    }

    /// Returns the arguments of the plugin.
    fn arguments(&self) -> String {
        let Self {
            linked, end, copy, ..
        } = self;
        format!(
            "spmc={:x}:{:x},own={end:x},copy={:x}:{:x}",
            linked.0, linked.1, copy.0, copy.1
        )
    }

    /// Returns the memory in which there are translation tables.
    fn tables(&self) -> Vec<(u64, u64)> {
        let more = self.manifest.table_memory;
        let more = more.map(|range| (range.base().raw(), range.end().raw()));
        [(self.linked.0, self.end)]
            .into_iter()
            .chain(more)
            .collect()
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

impl Recording {
    /// Returns what was recorded, after the boot.
    fn events(&self) -> Result<Vec<Event>> {
        record::parse(&read(&self.records)?)
    }

    /// Shows the calls, or writes the file, after the boot.
    pub fn show(self) -> Result<()> {
        let partitions = system::partitions(&self.images)?;
        let events = self.events()?;
        fs::remove_file(&self.records)?;
        let trace = calls::follow(&events, &partitions);
        let is_on_terminal = self.file.as_deref() == Some(Path::new(STANDARD_OUTPUT));
        let names = Writer::of_terminal(&partitions, is_on_terminal);
        let condition = self.options.filter().condition(&partitions)?;
        let shown = || trace.calls.iter().filter(|call| condition.holds(call));
        let text: String = match (self.options.format(), &self.file) {
            (_, None) => String::new(),
            (Format::Map | Format::Maps, Some(file)) => {
                self.map(&events, &trace, &names, file)?;
                String::new()
            }
            (format, _) => form(format, &trace, &names, &condition, text::HEADING),
        };
        match &self.file {
            Some(file) if !is_on_terminal && !text.is_empty() => {
                fs::write(file, text)
                    .with_context(|| format!("cannot write {}", file.display()))?;
                let (some, all) = (shown().count(), trace.calls.len());
                eprintln!("    {some} of {all} calls: {}", file.display());
            }
            _ => print!("{text}"),
        }
        if self.options.summary {
            print!("{}", summary::table(shown(), &names));
        }
        Ok(std::io::stdout().flush()?)
    }

    /// Writes one picture of memory, or one for each change.
    fn map(&self, events: &[Event], trace: &Trace, names: &Writer, file: &Path) -> Result<()> {
        let place = Place::find(&self.images)?;
        let own = (place.linked.0, place.end);
        let frames = memory::frames(events, trace, names.partitions, &place.manifest, own);
        let draw = |n: usize, file: &Path| {
            let frame = &frames[n];
            let before = n.checked_sub(1).and_then(|before| frames.get(before));
            let call = frame.call.and_then(|call| trace.calls.get(call));
            let caption = names.caption(n + 1, frames.len(), frame.time, call);
            let picture = picture::draw(frame, before, &caption, names);
            fs::write(file, picture).with_context(|| format!("cannot write {}", file.display()))
        };
        if self.options.format() == Format::Maps {
            for n in 0..frames.len() {
                draw(n, &with_part(file, &format!("{:03}", n + 1)))?;
            }
            eprintln!("    {} pictures: {}", frames.len(), file.display());
            return Ok(());
        }
        let fullest = memory::fullest(&frames).context("the boot has changed no memory")?;
        draw(fullest, file)?;
        eprintln!("    who has which memory: {}", file.display());
        Ok(())
    }
}
