//! The call graph of an image, and the bytes that each function takes from the stack, both from the
//! machine code.
//!
//! Frames are what instructions subtract from SP. Calls are BL, and B to another function. The
//! targets of calls through pointers are known by name: formatting, the logger, and two closures
//! ([`Kind`]). Any other function whose address is taken is an error.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result, ensure};

use crate::elf::{Function, Program};

/// Kinds of functions that may be called through a pointer, by the name of the function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Writes the text of a value.
    Format,
    /// Takes the text of a value.
    Write,
    /// The logger.
    Log,
    /// Reads one region of a manifest.
    Region,
    /// Entered by hardware or by the entry code.
    Entry,
    /// Drops the target of a pointer to a trait. There is no heap, so no such target has a
    /// destructor.
    Drop,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        let entries = [
            "_start",
            "secondary_start",
            "exit_guest",
            "window_",
            "el2_vectors",
            "el0_vectors",
            "arrive_at_el0",
        ];
        if name.starts_with("core::ptr::drop_in_place") {
            Some(Self::Drop)
        } else if name.contains("core::fmt::Write>::") {
            Some(Self::Write)
        } else if name.contains("core::fmt::") {
            Some(Self::Format)
        } else if name.contains("as log::Log>::") || name.contains("as log::__private_api::") {
            Some(Self::Log)
        } else if name.contains("spmc::manifest::regions::parse_") && name.contains("{{closure}}") {
            Some(Self::Region)
        } else if entries.iter().any(|entry| name.starts_with(entry)) {
            Some(Self::Entry)
        } else {
            None
        }
    }

    /// Returns the kind of functions that are called through pointers in the function with that
    /// name.
    pub fn called_by(name: &str) -> Self {
        if name.contains("core::fmt::Formatter>::pad") {
            Self::Write
        } else if name.contains("core::fmt::") {
            Self::Format
        } else if name.contains("spmc::manifest::regions::parse_children") {
            Self::Region
        } else {
            Self::Log
        }
    }
}

/// One function, and its use of the stack.
pub struct Node {
    /// The demangled name.
    pub name: String,
    /// The largest number of bytes that the function takes.
    pub frame: u64,
    /// Called functions, each with the bytes that are taken at the call.
    pub calls: BTreeSet<(usize, u64)>,
    /// Bytes that are taken at calls through pointers.
    pub pointer_calls: BTreeSet<u64>,
}

/// The call graph of an image.
pub struct Graph {
    /// All functions of the image.
    pub functions: Vec<Node>,
    /// Functions whose address is taken.
    pub pointed_at: Vec<(usize, Kind)>,
}

impl Graph {
    /// Reads the machine code. Fails if the code cannot be understood, or if there is a pointer to
    /// a function that may not be called through a pointer.
    pub fn new(program: &Program) -> Result<Self> {
        let starts: BTreeMap<u64, usize> = program
            .functions
            .iter()
            .enumerate()
            .map(|(index, function)| (function.address, index))
            .collect();
        let mut functions = Vec::new();
        let mut taken: BTreeSet<usize> = program
            .words
            .iter()
            .filter_map(|word| starts.get(word).copied())
            .collect();
        for function in &program.functions {
            functions.push(
                node(function, &starts, &mut taken)
                    .with_context(|| format!("in {}", function.name))?,
            );
        }
        fold_outlined(&mut functions);
        let mut pointed_at = Vec::new();
        for index in taken {
            let name = &functions[index].name;
            let kind = Kind::of(name).with_context(|| {
                format!(
                    "{name} can be called through a pointer; \
                     scripts/xtask/src/stack/graph.rs does not know by whom"
                )
            })?;
            pointed_at.push((index, kind));
        }
        Ok(Self {
            functions,
            pointed_at,
        })
    }
}

/// Attributes calls through pointers in outlined code, which several functions share, to these
/// functions.
fn fold_outlined(functions: &mut [Node]) {
    let outlined: Vec<BTreeSet<u64>> = functions
        .iter_mut()
        .map(|node| match node.name.starts_with("OUTLINED_FUNCTION") {
            true => std::mem::take(&mut node.pointer_calls),
            false => BTreeSet::new(),
        })
        .collect();
    for node in functions {
        for &(callee, bytes) in &node.calls {
            let more = outlined[callee].iter().map(|inner| bytes + inner);
            node.pointer_calls.extend(more);
        }
    }
}

/// Reads the instructions of one function.
fn node(
    function: &Function,
    starts: &BTreeMap<u64, usize>,
    taken: &mut BTreeSet<usize>,
) -> Result<Node> {
    let mut result = Node {
        name: function.name.clone(),
        frame: 0,
        calls: BTreeSet::new(),
        pointer_calls: BTreeSet::new(),
    };
    // A block with unknown predecessors is assumed to need the largest depth of the function, so
    // that depth is found first.
    let mut depth = 0;
    for &(address, word) in &function.code {
        depth = (depth + change(word)?).max(0);
        result.frame = result.frame.max(depth as u64);
        if matches!(
            flow(address, word),
            Flow::Jump(_) | Flow::PointerJump(_) | Flow::End
        ) {
            depth = result.frame as i64;
        }
    }
    let most = result.frame as i64;
    let mut depth = 0;
    let mut pages = HashMap::new();
    let mut before = 0;
    for &(address, word) in &function.code {
        depth = (depth + change(word)?).max(0);
        if let Some(target) = address_of(address, word, &mut pages)
            && let Some(&index) = starts.get(&target)
        {
            taken.insert(index);
        }
        let inside = |target: u64| target >= function.address && target < function.end;
        match flow(address, word) {
            Flow::On => {}
            Flow::Call(target) => {
                let callee = callee(starts, target)?;
                result.calls.insert((callee, result.frame));
            }
            Flow::PointerCall => {
                result.pointer_calls.insert(result.frame);
            }
            Flow::Maybe(target) if inside(target) => {}
            Flow::Jump(target) if inside(target) => depth = most,
            Flow::Maybe(target) | Flow::Jump(target) => {
                let bytes = depth as u64;
                result.calls.insert((callee(starts, target)?, bytes));
                depth = most;
            }
            Flow::PointerJump(register) => {
                // A jump into a table of this function adds the table's entry to its address just
                // before. Other jumps are tail calls.
                if !is_sum(before, register) {
                    result.pointer_calls.insert(depth as u64);
                }
                depth = most;
            }
            Flow::End => depth = most,
        }
        before = word;
    }
    Ok(result)
}

fn callee(starts: &BTreeMap<u64, usize>, target: u64) -> Result<usize> {
    starts
        .range(..=target)
        .next_back()
        .map(|(_, index)| *index)
        .with_context(|| format!("a call of {target:#x}, where no function is"))
}

/// The control flow after an instruction.
enum Flow {
    On,
    Call(u64),
    PointerCall,
    /// A branch that may be taken.
    Maybe(u64),
    Jump(u64),
    PointerJump(u32),
    End,
}

/// Returns `bits` bits of `word` from bit `low` on, as a signed number of words.
fn offset(word: u32, low: u32, bits: u32) -> i64 {
    let shift = 32 - bits;
    i64::from(((word >> low) << shift) as i32 >> shift) * 4
}

fn flow(address: u64, word: u32) -> Flow {
    let to = |offset: i64| address.wrapping_add_signed(offset);
    match word {
        _ if word & 0xfc00_0000 == 0x9400_0000 => Flow::Call(to(offset(word, 0, 26))),
        _ if word & 0xfc00_0000 == 0x1400_0000 => Flow::Jump(to(offset(word, 0, 26))),
        // B.cond, CBZ and CBNZ
        _ if word & 0xff00_0000 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 => {
            Flow::Maybe(to(offset(word, 5, 19)))
        }
        // TBZ and TBNZ
        _ if word & 0x7e00_0000 == 0x3600_0000 => Flow::Maybe(to(offset(word, 5, 14))),
        _ if word & 0xffff_fc1f == 0xd63f_0000 => Flow::PointerCall,
        _ if word & 0xffff_fc1f == 0xd61f_0000 => Flow::PointerJump(word >> 5 & 0x1f),
        // RET, ERET, BRK, UDF
        _ if word & 0xffff_fc1f == 0xd65f_0000
            || word == 0xd69f_03e0
            || word & 0xffe0_001f == 0xd420_0000
            || word & 0xffff_0000 == 0 =>
        {
            Flow::End
        }
        _ => Flow::On,
    }
}

/// Returns whether `word` is ADD (shifted register) to `register`.
fn is_sum(word: u32, register: u32) -> bool {
    word & 0xff20_0000 == 0x8b00_0000 && word & 0x1f == register
}

/// Returns the number of bytes that an instruction takes from the stack.
fn change(word: u32) -> Result<i64> {
    const SP: u32 = 31;
    let (to, from) = (word & 0x1f, word >> 5 & 0x1f);
    // ADD and SUB (immediate) of 64 bits, without those that set flags.
    if word & 0xbf80_0000 == 0x9100_0000 && to == SP {
        let bytes = i64::from(word >> 10 & 0xfff) << (12 * (word >> 22 & 1));
        if from == SP {
            return Ok(if word >> 30 & 1 == 1 { bytes } else { -bytes });
        }
        // Only the entry code switches to another stack, and the functions that it calls are roots.
        return Ok(0);
    }
    // AND (immediate) and ADD, SUB (extended register) to SP: frames of unknown size.
    let aligns = word & 0xff80_0000 == 0x9200_0000;
    let moves = word & 0xbfe0_0000 == 0x8b20_0000;
    ensure!(
        !((aligns || moves) && to == SP),
        "instruction {word:#010x} changes SP by what cannot be told"
    );
    // STP and LDP of X or Q registers with writeback, pre-indexed (x3) or post-indexed (x1).
    let pair = word & 0x3a80_0000 == 0x2880_0000;
    if pair && from == SP {
        let scale = match (word >> 30, word >> 26 & 1) {
            (0, 0) => 4,
            (_, 0) => 8,
            (size, _) => 4 << size,
        };
        return Ok(-(offset(word, 15, 7) / 4) * scale);
    }
    // STR, LDR with writeback.
    let single = word & 0x3b20_0400 == 0x3800_0400;
    if single && from == SP {
        return Ok(-(offset(word, 12, 9) / 4));
    }
    Ok(0)
}

/// Returns the address that an instruction puts into a register: ADR, or ADRP and ADD. `pages`
/// holds the results of ADRP by register.
fn address_of(address: u64, word: u32, pages: &mut HashMap<u32, u64>) -> Option<u64> {
    let to = word & 0x1f;
    if word & 0x1f00_0000 == 0x1000_0000 {
        let high = offset(word, 5, 19);
        let value = high | i64::from(word >> 29 & 3);
        if word >> 31 == 0 {
            return Some(address.wrapping_add_signed(value));
        }
        pages.insert(to, (address & !0xfff).wrapping_add_signed(value << 12));
        return None;
    }
    if word & 0xffc0_0000 == 0x9100_0000 {
        let page = pages.get(&(word >> 5 & 0x1f))?;
        return Some(page + u64::from(word >> 10 & 0xfff));
    }
    None
}
