//! Tests that faults on the board are shown with function, file and line: boots in which the first
//! instructions of a function of the SPMC, or of a partition, are replaced by a fault.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::elf;
use crate::image::{Components, assemble};
use crate::layout::{Layout, Package};
use crate::qemu::Machine;
use crate::selection::Selection;
use crate::symbols::{Program, Symbols};

/// UDF, an undefined instruction.
const UNDEFINED: &[u32] = &[0];

/// `movz x0, #0x0e10, lsl #16` and `ldr x0, [x0]`, which reads memory of the SPMC.
const READ_OF_THE_SPMC: &[u32] = &[0xd2a1_c200, 0xf940_0000];

/// As much of an image as tells where the image begins.
const BEGINNING: usize = 256;

/// A fault, and how the consoles must show it.
struct Fault {
    /// Its place.
    place: Place,
    code: &'static [u32],
    /// A text of each line that names the place.
    lines: &'static [&'static str],
}

/// The place of an instruction.
enum Place {
    /// The first instruction of the function whose name ends so, which is in that file.
    Function(&'static str, &'static str),
    /// An instruction of a line, as in `main.rs:12`.
    Line(String),
}

/// Boots with a fault in the SPMC, where it serves a partition that waits for messages.
pub fn of_spmc() -> Result<()> {
    let mut components = Components::build()?;
    let fault = Fault {
        place: Place::Function("::msg_wait", "spmc/src/dispatch/run/cycles.rs:"),
        code: UNDEFINED,
        lines: &["exception on PE"],
    };
    components.spmc.bin = fault.put_into(&components.spmc.elf, &components.spmc.bin)?;
    let layout = Layout::find("default")?;
    fault.is_shown(&components, &layout, "fault-spmc")
}

/// Boots with a fault in the partition of a layout: the line of `source` that contains `text` reads
/// what the partition was not given.
pub fn of_partition(layout: &mut Layout, source: &Path, text: &str) -> Result<()> {
    let lines = fs::read_to_string(source)?;
    let line = lines.lines().position(|line| line.contains(text));
    let line = line.with_context(|| format!("{}: no `{text}`", source.display()))?;
    let file = source.file_name().unwrap_or_default().to_string_lossy();
    let fault = Fault {
        place: Place::Line(format!("{file}:{}", line + 1)),
        code: READ_OF_THE_SPMC,
        lines: &[", pc 0x", "exception at 0x"],
    };
    let partition = layout.partitions.first_mut().context("no partition")?;
    let Package::Parts { image, .. } = &mut partition.package else {
        bail!("a partition without an image");
    };
    *image = fault.put_into(&image.with_extension("elf"), image)?;
    let name = format!("fault-{}", partition.name);
    fault.is_shown(&Components::build()?, layout, &name)
}

impl Place {
    /// Returns whether a text of [`Symbols`] names this place.
    fn is(&self, text: &str) -> bool {
        match self {
            // Debug information names a function without what it is in.
            Self::Function(name, file) => {
                text.starts_with(name.trim_start_matches(':')) && text.contains(file)
            }
            Self::Line(line) => text.ends_with(&format!("/{line}")),
        }
    }

    /// Returns the address of the first of `length` instructions of this place.
    fn address(&self, elf: &Path, length: usize) -> Result<u64> {
        let functions = elf::program(&fs::read(elf)?)?.functions;
        match self {
            Self::Function(name, _) => {
                let mut functions = functions.iter();
                let function = functions.find(|function| function.name.ends_with(name));
                Ok(function
                    .with_context(|| format!("no function {name}"))?
                    .address)
            }
            Self::Line(line) => {
                let symbols = Symbols::of(&[Program::open(elf.to_path_buf())?]);
                let is_here = |address| symbols.at(address).is_some_and(|at| self.is(&at));
                let mut runs = functions
                    .iter()
                    .flat_map(|function| function.code.windows(length));
                let run = runs.find(|run| run.iter().all(|(address, _)| is_here(*address)));
                let address = run.and_then(|run| Some(run.first()?.0));
                address.with_context(|| format!("no {length} instructions of {line}"))
            }
        }
    }
}

impl Fault {
    /// Writes a copy of an image, and its program, with the fault. Returns the path of the image.
    fn put_into(&self, elf: &Path, image: &Path) -> Result<PathBuf> {
        let program = elf::load(&fs::read(elf)?)?;
        let mut broken = fs::read(image)?;
        // A segment may begin in front of the image, with the headers of the file.
        let beginning = &broken[..broken.len().min(BEGINNING)];
        let mut windows = program.image.windows(beginning.len());
        let before = windows.position(|part| part == beginning);
        let before = before.with_context(|| format!("{}: of no image", elf.display()))?;
        let start = (self.place.address(elf, self.code.len())? - program.base) as usize - before;
        let code: Vec<u8> = self
            .code
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let place = broken.get_mut(start..start + code.len());
        place
            .context("the place is not in the image")?
            .copy_from_slice(&code);
        let path = image.with_file_name("faulty.bin");
        fs::write(&path, broken)?;
        fs::copy(elf, path.with_extension("elf"))?;
        Ok(path)
    }

    /// Boots, and looks the lines of the fault up.
    fn is_shown(&self, components: &Components, layout: &Layout, name: &str) -> Result<()> {
        let flash = assemble(components, layout, None)?;
        let mut machine = Machine {
            smp: 2,
            until: self.lines.last().copied(),
            ..Machine::default()
        };
        machine.apply(layout);
        machine.selection = Selection::Ping;
        let boot = machine.boot(&flash, name)?;
        let symbols = Symbols::of(&machine.programs);
        for text in self.lines {
            let mut lines = boot.log.iter().map(|line| line.text.as_str());
            let line = lines.find(|line| line.contains(text));
            let line = line.with_context(|| format!("{}: no `{text}`", boot.path.display()))?;
            let place = symbols.explain(line).unwrap_or_default();
            ensure!(self.place.is(&place), "`{line}` is explained by `{place}`");
        }
        Ok(())
    }
}
