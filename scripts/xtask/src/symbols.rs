//! Functions, files and lines of addresses in the SPMC's log: of a partition that touched what it
//! must not, or of the SPMC itself.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, Reader, SectionId};
use addr2line::{Context, Frame};
use anyhow::{Context as _, Result};
use object::{Object, ObjectSection, SymbolMap, SymbolMapName};

use crate::build;
use crate::elf;
use crate::layout::{Layout, Package};
use crate::workspace::root;

/// Words in front of the address of an instruction, in the log, after words that come before them.
const BEFORE: [(&str, &str); 3] = [
    ("", ", pc 0x"),
    ("", "exception at 0x"),
    ("exception on PE ", " at 0x"),
];

/// A program with symbols. It runs where it was linked, as the SPMC and partitions do.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    addresses: Range<u64>,
}

/// Returns the programs with symbols of a system whose SPMC is the program `spmc`: this one, and
/// the program of each partition that has one, `X.elf` beside its image `X.bin`, or that of a test
/// guest.
pub fn programs(spmc: PathBuf, layout: &Layout) -> Vec<Program> {
    let images = layout.partitions.iter().filter_map(|partition| {
        let Package::Parts { image, .. } = &partition.package else {
            return None;
        };
        let beside = image.with_extension("elf");
        let guest = build::guest(image.file_stem()?.to_str()?);
        [beside, guest].into_iter().find(|elf| elf.is_file())
    });
    let all = [spmc].into_iter().chain(images);
    all.filter_map(|path| Program::open(path).ok()).collect()
}

impl Program {
    /// Takes a program, which must have symbols.
    pub fn open(path: PathBuf) -> Result<Self> {
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let executable = elf::load(&bytes)?;
        Ok(Self {
            path,
            addresses: executable.base..executable.end,
        })
    }
}

/// Looks addresses up, and reads the symbols of a program when it is first needed.
pub struct Symbols {
    programs: Vec<(Program, OnceCell<Option<Lines>>)>,
    /// The answers so far: a test may provoke the same fault a thousand times.
    known: RefCell<HashMap<u64, Option<String>>>,
}

impl Symbols {
    /// Looks up in these programs.
    pub fn of(programs: &[Program]) -> Self {
        let programs = programs.iter().cloned();
        Self {
            programs: programs.map(|program| (program, OnceCell::new())).collect(),
            known: RefCell::default(),
        }
    }

    /// Returns the function, file and line of the instruction that a line of the log names.
    pub fn explain(&self, line: &str) -> Option<String> {
        self.at(address(line)?)
    }

    /// Returns the function, file and line of an instruction.
    pub fn at(&self, address: u64) -> Option<String> {
        let mut known = self.known.borrow_mut();
        known
            .entry(address)
            .or_insert_with(|| self.find(address).ok().flatten())
            .clone()
    }

    fn find(&self, address: u64) -> Result<Option<String>> {
        let mut programs = self.programs.iter();
        let found = programs.find(|(program, _)| program.addresses.contains(&address));
        let Some((program, lines)) = found else {
            return Ok(None);
        };
        let lines = lines.get_or_init(|| read(&program.path).ok());
        let lines = lines.as_ref().context("the program has no symbols")?;
        // The innermost of the functions that were inlined into each other, but for those of the
        // standard library: what it was told to do is wrong.
        let mut frames = lines.context.find_frames(address).skip_all_loads()?;
        let mut frame = frames.next()?;
        while frame.as_ref().is_some_and(is_of_the_library)
            && let Some(outer) = frames.next()?
        {
            frame = Some(outer);
        }
        let (name, location) = frame.map_or((None, None), |frame| (frame.function, frame.location));
        let mangled = match name {
            Some(name) => name.raw_name()?.into_owned(),
            // Assembly has no debug information.
            None => match lines.names.containing(address) {
                Some(symbol) => symbol.name().to_string(),
                None => return Ok(None),
            },
        };
        // The hash at the end of a name says nothing to readers.
        let function = format!("{:#}", rustc_demangle::demangle(&mangled));
        let place = location.and_then(|location| {
            let file = Path::new(location.file?);
            let file = file.strip_prefix(root()).unwrap_or(file);
            Some(format!("{}:{}", file.display(), location.line.unwrap_or(0)))
        });
        Ok(Some(match place {
            Some(place) => format!("{function}, {place}"),
            None => function,
        }))
    }
}

/// The lines and the symbols of a program.
struct Lines {
    context: Context<EndianSlice<'static, LittleEndian>>,
    names: SymbolMap<SymbolMapName<'static>>,
}

/// Returns whether a function is one of `core` or of `alloc`.
fn is_of_the_library<R: Reader>(frame: &Frame<'_, R>) -> bool {
    let file = frame.location.as_ref().and_then(|location| location.file);
    file.is_some_and(|file| file.starts_with("/rustc/"))
}

/// Reads the debug information of a program.
fn read(path: &Path) -> Result<Lines> {
    // Few programs are read, and each once: they stay in memory until the end.
    let bytes: &'static [u8] = std::fs::read(path)?.leak();
    let file = object::File::parse(bytes)?;
    let section = |id: SectionId| {
        let section = file.section_by_name(id.name());
        let data = section.map_or(Ok(&[][..]), |section| section.data())?;
        Ok::<_, object::Error>(EndianSlice::new(data, LittleEndian))
    };
    Ok(Lines {
        context: Context::from_dwarf(Dwarf::load(section)?)?,
        names: file.symbol_map(),
    })
}

/// Returns the address of an instruction that a line of the log names.
fn address(line: &str) -> Option<u64> {
    let digits = BEFORE.iter().find_map(|(first, then)| {
        let (_, rest) = line.split_once(first)?;
        Some(rest.split_once(then)?.1)
    })?;
    let end = digits.find(|digit: char| !digit.is_ascii_hexdigit());
    u64::from_str_radix(&digits[..end.unwrap_or(digits.len())], 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_instructions_are_found_in_lines() {
        for (line, expected) in [
            (
                "[W] spmc: sp1 vcpu 0: read of 0x0 failed: x, ipa 0x0, pc 0xe30c108",
                Some(0xe30c108),
            ),
            (
                "[E] spmc: exception on PE 1 at 0xe100abc: data abort",
                Some(0xe100abc),
            ),
            (
                "hello vcpu 0: exception at 0xe306758, of which",
                Some(0xe306758),
            ),
            (
                "[I] spmc: sp1 (0x8001) is ready, 1 execution contexts",
                None,
            ),
            ("[I] spmc: memory: 2048 in all at 0xe100000", None),
        ] {
            assert_eq!(address(line), expected, "{line}");
        }
    }

    #[test]
    fn this_program_finds_its_own_lines() {
        let path = std::env::current_exe().unwrap();
        let program = elf::program(&std::fs::read(&path).unwrap()).unwrap();
        let mut functions = program.functions.iter();
        let here = functions.find(|function| function.name.ends_with("symbols::address"));
        let here = here.unwrap().address;
        let addresses = here..here + 4;
        let symbols = Symbols::of(&[Program { path, addresses }]);
        let found = symbols.explain(&format!("x, pc {here:#x}")).unwrap();
        assert!(
            found.contains("address, ") && found.contains("xtask/src/symbols.rs:"),
            "{found}"
        );
        assert_eq!(symbols.explain(&format!("x, pc {:#x}", here + 4)), None);
    }
}
