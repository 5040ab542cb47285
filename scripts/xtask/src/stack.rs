//! The depth of EL2's stacks, from the machine code of the image: the sum of frames along the deepest path of calls.
//!
//! Frames are what instructions subtract from SP; calls are BL, and B to another function. What runs below a call through a
//! pointer is known by name: formatting, the logger, and two closures ([`Kind`]). Any other function whose address is taken, and any
//! recursion, is an error, so that nothing can be missed in silence. What may nest, and how deep, is said here ([`Nesting`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::elf::{self, Function, Program};
use crate::workspace::target;

/// How often each of these may still be entered on a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Nesting {
    /// Displayed values within displayed values, and the writer below: a log line, an error in it, a reference to a value in that,
    /// the value, its padding, the writer.
    format: u8,
    /// Handlers of interrupts, which run in place of what was interrupted, but not of each other (`Pe::handles_interrupts`).
    handlers: u8,
}

impl Nesting {
    /// At the root.
    const ALL: Self = Self {
        format: 6,
        handlers: 1,
    };

    /// What is left within the function of that name; `None` if it is never entered here.
    fn within(self, name: &str) -> Option<Self> {
        let mut left = self;
        if name.ends_with("::run_handlers") {
            left.handlers = left.handlers.checked_sub(1)?;
        }
        Some(left)
    }
}

/// What exceptions need below the deepest call: registers that the vectors push.
const MARGIN: u64 = 256;

/// A stack, the functions that begin on it, and the bytes that lie on it before.
pub struct Stack {
    /// What it is for.
    pub name: &'static str,
    /// Demangled names.
    roots: &'static [&'static str],
    /// Bytes of it.
    pub size: u64,
    /// Bytes that are taken when a root is called.
    taken: u64,
}

/// EL2's stacks, with sizes by [`sizes`](crate::sizes).
pub const STACKS: &[Stack] = &[
    Stack {
        name: "boot",
        roots: &[
            "platform_aarch64::el2::boot::prepare",
            "platform_aarch64::el2::boot::primary",
        ],
        size: crate::sizes::BOOT_STACK_SIZE,
        taken: crate::sizes::SMC_FRAME_SIZE,
    },
    Stack {
        name: "PE",
        roots: &[
            "platform_aarch64::el2::boot::settle",
            "platform_aarch64::el2::boot::secondary",
            "platform_aarch64::el2::boot::refuse",
        ],
        size: crate::sizes::STACK_SIZE,
        taken: crate::sizes::SMC_FRAME_SIZE,
    },
    Stack {
        name: "emergency",
        roots: &["platform_aarch64::el2::panic::unexpected_exception"],
        size: crate::sizes::EMERGENCY_STACK_SIZE,
        taken: 0,
    },
];

/// How deep a stack gets, and by which functions.
pub struct Depth {
    /// Bytes, with the margin.
    pub bytes: u64,
    /// From the root to the leaf, with the frame of each.
    pub path: Vec<(String, u64)>,
}

impl Stack {
    /// The depth of this stack in `program`.
    pub fn depth(&self, program: &Program) -> Result<Depth> {
        let graph = Graph::new(program)?;
        let mut deepest = (0, Vec::new());
        let mut search = Search::new(&graph);
        for root in self.roots {
            let (index, _) = graph
                .functions
                .iter()
                .enumerate()
                .find(|(_, function)| function.name == *root)
                .with_context(|| format!("there is no function {root}"))?;
            let found = search.deepest(index, Nesting::ALL)?;
            if found >= deepest.0 {
                deepest = (found, search.path(index));
            }
        }
        Ok(Depth {
            bytes: self.taken + deepest.0 + MARGIN,
            path: deepest.1,
        })
    }

    /// Fails if the stack is too small for `program`.
    pub fn check(&self, program: &Program) -> Result<Depth> {
        let depth = self.depth(program)?;
        if depth.bytes > self.size {
            let path: Vec<String> = depth
                .path
                .iter()
                .map(|(name, frame)| format!("  {frame:>6} {name}"))
                .collect();
            bail!(
                "the {} stack has {} bytes, but its deepest path takes {}:\n{}",
                self.name,
                self.size,
                depth.bytes,
                path.join("\n")
            );
        }
        Ok(depth)
    }
}

/// Prints the deepest path on each stack of an ELF file, or of the default board's SPMC.
pub fn print(file: Option<&str>) -> Result<()> {
    let path = file.map_or_else(|| target().join("spmc.elf"), PathBuf::from);
    let elf = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let program = elf::program(&elf)?;
    for stack in STACKS {
        let depth = stack.depth(&program)?;
        println!(
            "{} stack: {} of {} bytes",
            stack.name, depth.bytes, stack.size
        );
        for (name, frame) in depth.path {
            println!("  {frame:>6} {name}");
        }
    }
    Ok(())
}

/// Who may be called through a pointer, by the name of a function whose address is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Displays a value.
    Format,
    /// Takes the text of a value.
    Write,
    /// The logger.
    Log,
    /// Reads one region of a manifest.
    Region,
    /// Entered by hardware or by the entry code.
    Entry,
    /// Drops what a pointer to a trait leads to. There is no heap, so nobody has one of his own.
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

    /// What a call through a pointer in the function of that name leads to.
    fn called_by(name: &str) -> Self {
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

/// What one function does to the stack.
struct Node {
    name: String,
    /// The most that it takes itself.
    frame: u64,
    /// Functions that it calls, with the bytes that it has taken then.
    calls: BTreeSet<(usize, u64)>,
    /// Bytes that it has taken at calls through pointers.
    pointer_calls: BTreeSet<u64>,
}

struct Graph {
    functions: Vec<Node>,
    /// Functions whose address is taken.
    pointed_at: Vec<(usize, Kind)>,
}

impl Graph {
    fn new(program: &Program) -> Result<Self> {
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
                format!("{name} can be called through a pointer; scripts/xtask/src/stack.rs does not know by whom")
            })?;
            pointed_at.push((index, kind));
        }
        Ok(Self {
            functions,
            pointed_at,
        })
    }
}

/// Calls through pointers in what the compiler cut out of several functions are those of the functions.
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
    // What a block needs whose predecessors are not known is what the function needs at most, so that is found first.
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
                // Into a table of this function, whose entry was just added to its address; or instead of a call.
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

/// How an instruction goes on.
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

/// `bits` bits of `word` from `low` on, as a signed number of words.
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

/// Whether `word` is ADD (shifted register) to `register`.
fn is_sum(word: u32, register: u32) -> bool {
    word & 0xff20_0000 == 0x8b00_0000 && word & 0x1f == register
}

/// How many bytes an instruction takes from the stack.
fn change(word: u32) -> Result<i64> {
    const SP: u32 = 31;
    let (to, from) = (word & 0x1f, word >> 5 & 0x1f);
    // ADD and SUB (immediate), 64 bits, not those that set flags.
    if word & 0xbf80_0000 == 0x9100_0000 && to == SP {
        let bytes = i64::from(word >> 10 & 0xfff) << (12 * (word >> 22 & 1));
        if from == SP {
            return Ok(if word >> 30 & 1 == 1 { bytes } else { -bytes });
        }
        // Only the entry code has a stack from elsewhere, and what is called there are roots.
        return Ok(0);
    }
    // AND (immediate) and ADD, SUB (extended register) to SP: frames of unknown size.
    let aligns = word & 0xff80_0000 == 0x9200_0000;
    let moves = word & 0xbfe0_0000 == 0x8b20_0000;
    ensure!(
        !((aligns || moves) && to == SP),
        "instruction {word:#010x} changes SP by what cannot be told"
    );
    // STP, LDP with writeback, before (x3) or after (x1), of X or Q registers.
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

/// The address that an instruction puts into a register: ADR, or ADRP and ADD. `pages` has what ADRP left in registers.
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

/// The deepest path from a function on, for each number of displayed values that may still nest.
struct Search<'g> {
    graph: &'g Graph,
    /// `None` while it is looked for: whoever finds that has found a recursion.
    found: HashMap<(usize, Nesting), Option<Deepest>>,
}

/// Bytes of the deepest path, and its next function.
type Deepest = (u64, Option<Step>);

/// The next function of the deepest path, with the bytes that are taken when it is called.
type Step = (usize, Nesting, u64);

impl<'g> Search<'g> {
    fn new(graph: &'g Graph) -> Self {
        Self {
            graph,
            found: HashMap::new(),
        }
    }

    fn deepest(&mut self, index: usize, nesting: Nesting) -> Result<u64> {
        let node = &self.graph.functions[index];
        match self.found.get(&(index, nesting)) {
            Some(Some((bytes, _))) => return Ok(*bytes),
            Some(None) => bail!("{} calls itself in the end", node.name),
            None => {}
        }
        self.found.insert((index, nesting), None);
        let mut steps: Vec<Step> = Vec::new();
        for &(callee, bytes) in &node.calls {
            if let Some(left) = nesting.within(&self.graph.functions[callee].name) {
                steps.push((callee, left, bytes));
            }
        }
        let kind = Kind::called_by(&node.name);
        let mut below = nesting;
        let may_call = match kind {
            Kind::Format => {
                below.format = nesting.format.saturating_sub(1);
                nesting.format > 0
            }
            _ => true,
        };
        for &bytes in node.pointer_calls.iter().filter(|_| may_call) {
            let targets = self.graph.pointed_at.iter();
            steps.extend(
                targets
                    .filter(|(_, other)| {
                        *other == kind || kind == Kind::Format && *other == Kind::Write
                    })
                    .map(|&(target, _)| (target, below, bytes)),
            );
        }
        let mut deepest = (node.frame, None);
        for step in steps {
            let (callee, nesting, bytes) = step;
            let sum = bytes
                + self
                    .deepest(callee, nesting)
                    .with_context(|| format!("called by {}", node.name))?;
            if sum > deepest.0 {
                deepest = (sum, Some(step));
            }
        }
        self.found.insert((index, nesting), Some(deepest));
        Ok(deepest.0)
    }

    /// The path that [`Self::deepest`] found from a root.
    fn path(&self, root: usize) -> Vec<(String, u64)> {
        let mut path = Vec::new();
        let mut at = (root, Nesting::ALL);
        while let Some(Some((bytes, step))) = self.found.get(&at) {
            let name = self.graph.functions[at.0].name.clone();
            let Some((callee, nesting, taken)) = *step else {
                path.push((name, *bytes));
                break;
            };
            path.push((name, taken));
            at = (callee, nesting);
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RET: u32 = 0xd65f_03c0;
    /// SUB SP, SP, #64 and ADD SP, SP, #64.
    const TAKE_64: u32 = 0xd101_03ff;
    const GIVE_64: u32 = 0x9101_03ff;
    /// STP X29, X30, [SP, #-16]! and LDP X29, X30, [SP], #16.
    const PUSH: u32 = 0xa9bf_7bfd;
    const POP: u32 = 0xa8c1_7bfd;
    const BLR_X8: u32 = 0xd63f_0100;

    const STACK: Stack = Stack {
        name: "test",
        roots: &["root"],
        size: 512,
        taken: 0,
    };

    /// BL, or B, to the function number `to` from instruction `at` of function number `from`. A function has 0x100 bytes.
    fn branch(link: bool, from: u32, at: u32, to: u32) -> u32 {
        let words = (to * 0x40).wrapping_sub(from * 0x40 + at) & 0x3ff_ffff;
        words | if link { 0x9400_0000 } else { 0x1400_0000 }
    }

    fn program(functions: &[(&str, &[u32])], pointers: &[u64]) -> Program {
        let function = |(index, (name, words)): (usize, &(&str, &[u32]))| {
            let address = 0x1000 + index as u64 * 0x100;
            Function {
                name: name.to_string(),
                address,
                end: address + 4 * words.len() as u64,
                code: (address..).step_by(4).zip(words.iter().copied()).collect(),
            }
        };
        Program {
            functions: functions.iter().enumerate().map(function).collect(),
            words: pointers.to_vec(),
        }
    }

    fn depth(functions: &[(&str, &[u32])], pointers: &[u64]) -> Result<u64> {
        Ok(STACK.depth(&program(functions, pointers))?.bytes - MARGIN)
    }

    #[test]
    fn frames_add_up_along_calls() {
        let root = [TAKE_64, branch(true, 0, 1, 1), GIVE_64, RET];
        let leaf = [PUSH, TAKE_64, GIVE_64, POP, RET];
        assert_eq!(
            depth(&[("root", &root), ("leaf", &leaf)], &[]).unwrap(),
            64 + 80
        );
    }

    #[test]
    fn a_jump_to_a_function_lies_where_the_frame_was() {
        let root = [TAKE_64, GIVE_64, branch(false, 0, 2, 1)];
        let leaf = [PUSH, TAKE_64, GIVE_64, POP, RET];
        assert_eq!(depth(&[("root", &root), ("leaf", &leaf)], &[]).unwrap(), 80);
    }

    #[test]
    fn calls_through_pointers_lead_to_what_is_pointed_at() {
        let root = [PUSH, BLR_X8, POP, RET];
        let log = [TAKE_64, GIVE_64, RET];
        let functions: [(&str, &[u32]); 2] = [("root", &root), ("<C as log::Log>::log", &log)];
        assert_eq!(depth(&functions, &[0x1100]).unwrap(), 16 + 64);
        assert_eq!(depth(&functions, &[]).unwrap(), 16);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let root = [PUSH, branch(true, 0, 1, 1), POP, RET];
        let recursion = [PUSH, branch(true, 1, 1, 0), POP, RET];
        let error = depth(&[("root", &root), ("other", &recursion)], &[]).unwrap_err();
        assert!(format!("{error:#}").contains("calls itself"), "{error:#}");

        let error = depth(&[("root", &[RET]), ("stranger", &[RET])], &[0x1100]).unwrap_err();
        assert!(format!("{error:#}").contains("stranger"), "{error:#}");

        // AND SP, X8, #-16: a frame of unknown size.
        assert!(depth(&[("root", &[0x927c_ed1f, RET])], &[]).is_err());
    }

    #[test]
    fn interrupt_handlers_nest_once() {
        let root = [PUSH, branch(true, 0, 1, 1), POP, RET];
        let handlers = [TAKE_64, branch(true, 1, 1, 0), GIVE_64, RET];
        let functions: [(&str, &[u32]); 2] = [("root", &root), ("spmc::run_handlers", &handlers)];
        assert_eq!(depth(&functions, &[]).unwrap(), 16 + 64 + 16);
    }

    #[test]
    fn a_path_that_does_not_fit_is_told() {
        let root = [TAKE_64, TAKE_64, TAKE_64, TAKE_64, RET];
        assert!(STACK.check(&program(&[("root", &root)], &[])).is_ok());
        let root = [TAKE_64, TAKE_64, TAKE_64, TAKE_64, PUSH, RET];
        let error = STACK
            .check(&program(&[("root", &root)], &[]))
            .err()
            .unwrap();
        assert!(error.to_string().contains("272 root"), "{error}");
    }
}
