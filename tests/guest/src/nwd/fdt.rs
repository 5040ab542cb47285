//! A reader of the device tree that finds the PEs, and nothing else (Devicetree Specification
//! chapter 5).

use crate::board::RAM as FDT;

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;

fn be32(offset: usize) -> u32 {
    // SAFETY: an aligned word in RAM, mapped.
    let word = unsafe { ((FDT + offset as u64) as *const u32).read_volatile() };
    u32::from_be(word)
}

fn byte(offset: usize) -> u8 {
    // SAFETY: a byte in RAM, mapped.
    unsafe { ((FDT + offset as u64) as *const u8).read_volatile() }
}

fn starts_with(offset: usize, text: &[u8]) -> bool {
    text.iter()
        .enumerate()
        .all(|(n, wanted)| byte(offset + n) == *wanted)
}

fn length(offset: usize) -> usize {
    (0..).take_while(|n| byte(offset + n) != 0).count()
}

/// Calls `each` with the affinity of every node `/cpus/cpu@*`, in order.
pub fn for_each_cpu(mut each: impl FnMut(u64)) {
    if be32(0) != MAGIC {
        return each(0);
    }
    let (mut at, strings) = (be32(8) as usize, be32(12) as usize);
    let mut depth = 0;
    let mut in_cpu = false;
    loop {
        let token = be32(at);
        at += 4;
        match token {
            BEGIN_NODE => {
                depth += 1;
                in_cpu = depth == 3 && starts_with(at, b"cpu@");
                at += (length(at) + 4) & !3;
            }
            END_NODE => {
                depth -= 1;
                in_cpu = false;
            }
            PROP => {
                let (size, name) = (be32(at) as usize, strings + be32(at + 4) as usize);
                at += 8;
                if in_cpu && starts_with(name, b"reg\0") {
                    // One or two cells; the upper one is zero on this board.
                    each(be32(at + size - 4) as u64);
                }
                at += (size + 3) & !3;
            }
            NOP => {}
            _ => return,
        }
    }
}
