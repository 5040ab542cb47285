//! The depth of EL2's stacks, computed from the machine code of the image: the sum of the frames
//! along the deepest path in its call [`graph`].
//!
//! A recursion is an error, so that no path is missed. The exceptions, with the depth to which they
//! may nest, are stated in [`Nesting`].

mod graph;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use self::graph::{Graph, Kind};
use crate::elf::{self, Program};
use crate::workspace::target;

/// The numbers of times that functions of each kind may still be entered on a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Nesting {
    /// Functions that display values, with the writer below them: a log line, an error in it, a
    /// reference to a value in the error, the value, its padding, the writer.
    format: u8,
    /// Interrupt handlers. They run in place of what was interrupted, but do not interrupt each
    /// other (`Pe::handles_interrupts`).
    handlers: u8,
}

impl Nesting {
    /// The numbers at a root.
    const ALL: Self = Self {
        format: 6,
        handlers: 1,
    };

    /// Returns what is left within the function with that name, or `None` if the function may not
    /// be entered.
    fn within(self, name: &str) -> Option<Self> {
        let mut left = self;
        if name.ends_with("::run_handlers") {
            left.handlers = left.handlers.checked_sub(1)?;
        }
        Some(left)
    }
}

/// Bytes below the deepest call that the vectors need to push registers.
const MARGIN: u64 = 256;

/// A stack, the functions that run on it first, and the bytes that are on it before.
pub struct Stack {
    /// The purpose of the stack.
    pub name: &'static str,
    /// The functions that are called first, by their demangled names.
    roots: &'static [&'static str],
    /// Bytes of the stack.
    pub size: u64,
    /// Bytes that are in use when a root is called.
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

/// The depth of a stack, and the functions on the deepest path.
pub struct Depth {
    /// Bytes, with the margin.
    pub bytes: u64,
    /// The functions from the root to the leaf, with the frame of each.
    pub path: Vec<(String, u64)>,
}

impl Stack {
    /// Computes the depth of this stack in `program`.
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
pub fn print(file: Option<&Path>) -> Result<()> {
    let path = file.map_or_else(|| target().join("spmc.elf"), Path::to_path_buf);
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

/// The search for the deepest path from each function, for each state of [`Nesting`].
struct Search<'g> {
    graph: &'g Graph,
    /// The results. `None` while a result is being computed: a search that meets it is a recursion.
    found: HashMap<(usize, Nesting), Option<Deepest>>,
}

/// Bytes of the deepest path, and its next function.
type Deepest = (u64, Option<Step>);

/// The next function of the deepest path, with the bytes that are in use when it is called.
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

    /// Returns the path that [`Self::deepest`] found from a root.
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
    use crate::elf::Function;

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

    /// Returns BL, or B, from instruction `at` of function number `from` to function number `to`. A
    /// function has 0x100 bytes.
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
