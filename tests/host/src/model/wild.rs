//! Calls with arbitrary contents of registers and descriptors. The engine decides what they are;
//! the model only requires that an endpoint which gets something is entitled to it.

use super::{Expect, Model, NWD};
use crate::ffa::*;
use crate::source::Source;

/// Returns random bytes, in which values that have a meaning somewhere are more frequent.
pub(super) fn bytes(source: &mut impl Source) -> Vec<u8> {
    const LIKELY: &[u8] = &[0, 0, 0, 0, 1, 2, 0x10, 0x20, 0x2f, 0x30, 0x40, 0x80, 0xff];
    let length = 1 + source.below(192) as usize;
    (0..length)
        .map(|_| {
            if source.rarely(8) {
                source.below(256) as u8
            } else {
                source.pick(LIKELY)
            }
        })
        .collect()
}

impl Model {
    /// Makes a call that does not concern memory, or is no call at all. It must not change any
    /// memory state.
    pub(super) fn wild_registers(&mut self, source: &mut impl Source) {
        let living = self.living();
        let by = source.pick(&living);
        let base = source.pick(&[0x8400_0060, 0xc400_0060]);
        let number = source.below(0x30);
        let is_wait = matches!(number, 0x00..=0x03 | 0x0b..=0x10 | 0x2d | 0x2e);
        let has_effect = matches!(number, 0x05..=0x08 | 0x11..=0x1b | 0x1d | 0x26 | 0x27);
        if is_wait || has_effect {
            return;
        }
        let mut regs = [base + number, 0, 0, 0, 0, 0, 0, 0];
        for register in &mut regs[1..] {
            *register = match source.below(4) {
                0 => source.bits(),
                1 => source.pick(&[0x8001, 0x8002_0000, 0x1000, 1]),
                _ => 0,
            };
        }
        self.call(by, regs);
    }

    /// Makes RETRIEVE_REQ or RELINQUISH with random bytes, sometimes with a valid handle.
    pub(super) fn wild_descriptor(&mut self, source: &mut impl Source) {
        let living = self.living();
        let by = source.pick(&living);
        let retrieves = source.rarely(2);
        let mut bytes = bytes(source);
        let at = if retrieves { 8 } else { 0 };
        if let Some(index) = self.choose(source)
            && let Some(field) = bytes.get_mut(at..at + 8)
        {
            field.copy_from_slice(&self.sent[index].handle.to_le_bytes());
        }
        let length = bytes.len() as u64;
        let (name, regs) = if retrieves {
            ("wild retrieve", [MEM_RETRIEVE_REQ_64, length, length])
        } else {
            // No length says where the descriptor ends, so the rest of TX must not belong to it.
            bytes.resize(256, 0);
            ("wild relinquish", [MEM_RELINQUISH, 0, 0])
        };
        self.write_tx(by, &bytes);
        let (accepted, answer) = self.judged(name, by, regs, Expect::Any);
        if !accepted {
            return;
        }
        let field = |at: usize, size: usize| {
            let field = bytes[at..at + size].iter().rev();
            field.fold(0, |value, byte| value << 8 | u64::from(*byte))
        };
        let known = |sent: &super::Sent| sent.live && sent.handle == field(at, 8);
        let index = self.sent.iter().position(known);
        let index = index.expect("a handle that is good");
        if retrieves {
            // A Hypervisor learns what its VMs have sent, and nothing changes.
            if by == NWD {
                assert_eq!(self.sent[index].owner >> 15, 0);
            } else {
                self.note_retrieval(index, by, &answer, field(4, 4) & 4 != 0);
            }
            self.call(by, [RX_RELEASE]).success();
        } else {
            answer.success();
            assert_eq!((field(12, 4), field(16, 2)), (1, by.into()));
            let has_it = |borrower: &&super::pages::Borrower| borrower.id == by;
            let borrower = self.sent[index].borrowers.iter().find(has_it);
            assert!(borrower.is_some_and(|borrower| borrower.held.is_some()));
            self.note_relinquish(index, by, field(8, 4) & 1 != 0);
        }
    }
}
