//! Conversion of ELF executables to the raw images that BL2 and the loaders of Secure Partitions
//! need, and access to their code.
//!
//! The image consists of the loadable segments of a little-endian 64-bit ELF file. Sections and
//! symbols tell where code is.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

const PT_LOAD: u32 = 1;

/// An executable as a loader needs it.
pub struct Executable {
    /// Lowest address of a loadable segment.
    pub base: u64,
    /// Address after the last loadable segment, with the memory that is not in the file (.bss).
    pub end: u64,
    /// The bytes from `base` on, without zeros at the end.
    pub image: Vec<u8>,
}

/// Reads the loadable segments of `elf`.
pub fn load(elf: &[u8]) -> Result<Executable> {
    ensure!(
        elf.starts_with(b"\x7fELF\x02\x01"),
        "not a little-endian 64-bit ELF file"
    );
    let table = u64_at(elf, 0x20)? as usize;
    let entry_size = u16_at(elf, 0x36)? as usize;
    let count = u16_at(elf, 0x38)? as usize;

    let mut segments = Vec::new();
    for index in 0..count {
        let header = table + index * entry_size;
        if u32_at(elf, header)? == PT_LOAD {
            let offset = u64_at(elf, header + 0x08)? as usize;
            let file_size = u64_at(elf, header + 0x20)? as usize;
            segments.push(Segment {
                address: u64_at(elf, header + 0x18)?,
                bytes: elf
                    .get(offset..offset + file_size)
                    .context("a segment lies outside the file")?,
                memory_size: u64_at(elf, header + 0x28)?,
            });
        }
    }

    let base = segments.iter().map(|segment| segment.address).min();
    let base = base.context("no loadable segment")?;
    let mut end = base;
    let mut image = Vec::new();
    for segment in &segments {
        end = end.max(segment.address + segment.memory_size);
        if !segment.bytes.is_empty() {
            let start = (segment.address - base) as usize;
            let stop = start + segment.bytes.len();
            image.resize(image.len().max(stop), 0);
            image[start..stop].copy_from_slice(segment.bytes);
        }
    }
    Ok(Executable { base, end, image })
}

struct Segment<'a> {
    address: u64,
    bytes: &'a [u8],
    memory_size: u64,
}

/// The code of an executable, by function, and the words that may point to functions.
pub struct Program {
    /// The functions, by address.
    pub functions: Vec<Function>,
    /// Aligned words of initialised data.
    pub words: Vec<u64>,
}

/// A function, or the code from a label in assembly up to the next label.
pub struct Function {
    /// The name, without the compiler's hash.
    pub name: String,
    /// Address of the first instruction.
    pub address: u64,
    /// Address after the last instruction.
    pub end: u64,
    /// The instructions with their addresses.
    pub code: Vec<(u64, u32)>,
}

/// Reads the functions of `elf`, which must have its symbols.
pub fn program(elf: &[u8]) -> Result<Program> {
    const SYMBOLS: u32 = 2;
    const PROGRAM: u32 = 1;
    const ALLOCATED: u64 = 2;
    const EXECUTABLE: u64 = 4;
    let table = u64_at(elf, 0x28)? as usize;
    let entry_size = u16_at(elf, 0x3a)? as usize;
    let count = u16_at(elf, 0x3c)? as usize;
    let headers = || (0..count as u32).map(|index| header_of(table, entry_size, index));
    let contents = |header: usize| {
        let offset = u64_at(elf, header + 0x18)? as usize;
        let size = u64_at(elf, header + 0x20)? as usize;
        elf.get(offset..offset + size)
            .context("a section lies outside the file")
    };

    let mut code = BTreeMap::new();
    let mut words = Vec::new();
    for header in headers() {
        let flags = u64_at(elf, header + 8)?;
        if u32_at(elf, header + 4)? != PROGRAM || flags & ALLOCATED == 0 {
            continue;
        }
        let bytes = contents(header)?;
        if flags & EXECUTABLE == 0 {
            words.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|word| u64::from_le_bytes(*word)),
            );
            continue;
        }
        let start = u64_at(elf, header + 0x10)?;
        for (address, word) in (start..).step_by(4).zip(bytes.as_chunks().0) {
            code.insert(address, u32::from_le_bytes(*word));
        }
    }

    // Names by address. `$d` and `$x` mark the beginning and the end of data within code.
    let mut names = BTreeMap::new();
    let mut kinds = BTreeMap::new();
    for header in headers() {
        if u32_at(elf, header + 4)? != SYMBOLS {
            continue;
        }
        let strings = contents(header_of(table, entry_size, u32_at(elf, header + 0x28)?))?;
        for symbol in contents(header)?.chunks_exact(24) {
            let name = strings
                .get(u32_at(symbol, 0)? as usize..)
                .and_then(|text| text.split(|byte| *byte == 0).next())
                .context("a name lies outside the strings")?;
            let name = String::from_utf8_lossy(name).into_owned();
            let address = u64_at(symbol, 8)?;
            let kind = symbol[4] & 0xf;
            if name.starts_with('$') {
                kinds.insert(address, name.starts_with("$d"));
            } else if (kind == 2 || kind == 0 && !name.starts_with("__") && !name.is_empty())
                && code.contains_key(&address)
            {
                let name = format!("{:#}", rustc_demangle::demangle(&name));
                names.insert(address, name);
            }
        }
    }
    ensure!(!names.is_empty(), "the file has no symbols");

    let mut functions: Vec<Function> = Vec::new();
    for (address, word) in code {
        if let Some(name) = names.get(&address) {
            functions.push(Function {
                name: name.clone(),
                address,
                end: address,
                code: Vec::new(),
            });
        }
        let is_data = kinds.range(..=address).next_back();
        if let Some(function) = functions.last_mut()
            && is_data.is_none_or(|(_, is_data)| !is_data)
        {
            function.code.push((address, word));
            function.end = address + 4;
        }
    }
    Ok(Program { functions, words })
}

fn header_of(table: usize, entry_size: usize, index: u32) -> usize {
    table + index as usize * entry_size
}

fn field<const N: usize>(elf: &[u8], offset: usize) -> Result<[u8; N]> {
    let bytes = elf
        .get(offset..offset + N)
        .context("the file is too short")?;
    Ok(bytes.try_into()?)
}

fn u16_at(elf: &[u8], offset: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(field(elf, offset)?))
}

fn u32_at(elf: &[u8], offset: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(field(elf, offset)?))
}

fn u64_at(elf: &[u8], offset: usize) -> Result<u64> {
    Ok(u64::from_le_bytes(field(elf, offset)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a header and two segments: four bytes at 0x1000, and two bytes at 0x1010 that need
    /// 0x100 bytes of memory.
    fn sample() -> Vec<u8> {
        let mut elf = vec![0; 64 + 2 * 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[0x20..0x28].copy_from_slice(&64u64.to_le_bytes());
        elf[0x36..0x38].copy_from_slice(&56u16.to_le_bytes());
        elf[0x38..0x3a].copy_from_slice(&2u16.to_le_bytes());
        for (index, address, offset, size, memory) in [
            (0, 0x1000u64, 176u64, 4u64, 4u64),
            (1, 0x1010, 180, 2, 0x100),
        ] {
            let at = 64 + index * 56;
            elf[at..at + 4].copy_from_slice(&PT_LOAD.to_le_bytes());
            elf[at + 0x08..at + 0x10].copy_from_slice(&offset.to_le_bytes());
            elf[at + 0x18..at + 0x20].copy_from_slice(&address.to_le_bytes());
            elf[at + 0x20..at + 0x28].copy_from_slice(&size.to_le_bytes());
            elf[at + 0x28..at + 0x30].copy_from_slice(&memory.to_le_bytes());
        }
        elf.extend_from_slice(&[1, 2, 3, 4, 5, 6]);
        elf
    }

    #[test]
    fn segments_land_at_their_addresses() {
        let executable = load(&sample()).unwrap();
        assert_eq!(executable.base, 0x1000);
        assert_eq!(executable.end, 0x1110);
        assert_eq!(executable.image.len(), 0x12);
        assert_eq!(executable.image[..5], [1, 2, 3, 4, 0]);
        assert_eq!(executable.image[0x10..], [5, 6]);
    }

    #[test]
    fn damaged_files_are_refused() {
        let elf = sample();
        assert!(load(b"#!/bin/sh").is_err());
        for length in [6, 64, 100, 178] {
            assert!(load(&elf[..length]).is_err(), "cut at {length}");
        }
    }
}
