//! FF-A wire formats: what goes through registers and buffers, and nothing else.
//!
//! Sub-modules hold one format each. Nothing here looks at state: these are pure encoders and
//! decoders.

pub mod call_table;
pub mod framework;
pub mod function;
pub mod handle;
pub mod memory;
pub mod memory_call;
pub mod memory_descriptor;
pub mod message;
pub mod ns_resources;
pub mod partition_info;
pub mod rxtx_descriptor;
mod trace;
pub mod version;

pub use function::FunctionId;
pub use handle::Handle;
pub(crate) use trace::trace;
pub use version::Version;

use crate::error::FfaError;

/// The registers of a call, x0 to x17, which become those of its completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(16))]
pub struct SmcFrame {
    /// x0 to x17.
    pub x: [u64; 18],
}

impl SmcFrame {
    /// All registers zero.
    pub const ZERO: Self = Self { x: [0; 18] };

    /// Makes a call of the SPMC with the first registers given and the others zero.
    pub fn new<const N: usize>(regs: [u64; N]) -> Self {
        let mut frame = Self::ZERO;
        for (to, from) in frame.x.iter_mut().zip(regs) {
            *to = from;
        }
        frame
    }

    /// Puts the completion of a call into x0 to x7.
    #[inline(always)]
    pub fn answer(&mut self, answer: Answer) {
        if let Some(to) = self.x.first_chunk_mut() {
            answer.put(to);
        }
    }

    /// x0 to x7.
    pub fn head(&self) -> Answer {
        let x = self.x.first_chunk().copied();
        Answer {
            x: x.unwrap_or_default(),
        }
    }

    /// Returns the function that w0 names.
    pub fn function(&self) -> FunctionId {
        FunctionId::from_reg(self.x[0])
    }

    /// Returns the low half of register `n`; the upper half of a 32-bit argument is ignored
    /// (SMCCC).
    pub fn w(&self, n: usize) -> u32 {
        self.x.get(n).copied().unwrap_or(0) as u32
    }
}

/// The completion of a call, or a message: x0 to x7. The caller's other registers are preserved
/// (SMCCC).
///
/// Only `FFA_MSG_SEND_DIRECT_RESP2` and `FFA_PARTITION_INFO_GET_REGS` return more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// x0 to x7.
    pub x: [u64; 8],
}

impl Answer {
    /// Puts the completion into the registers `to`.
    #[inline(always)]
    pub fn put(&self, to: &mut [u64; 8]) {
        // Word by word: the compiler calls a function to copy more than 32 bytes.
        let [x0, x1, x2, x3, x4, x5, x6, x7] = self.x;
        *to = [x0, x1, x2, x3, x4, x5, x6, x7];
    }

    /// Makes a completion with the first registers given and the others zero.
    #[inline]
    pub fn new<const N: usize>(regs: [u64; N]) -> Self {
        let mut x = [0; 8];
        for (to, from) in x.iter_mut().zip(&regs) {
            *to = *from;
        }
        Self { x }
    }

    /// Makes an `FFA_ERROR` with `error` in w2.
    pub fn error(error: FfaError) -> Self {
        Self::new([function::ERROR as u64, 0, error.to_reg()])
    }

    /// Makes an `FFA_SUCCESS` (32-bit) with results from w2 on.
    #[inline]
    pub fn success<const N: usize>(results: [u32; N]) -> Self {
        let mut x = [0; 8];
        let [function, _, rest @ ..] = &mut x;
        *function = function::SUCCESS_32 as u64;
        for (to, from) in rest.iter_mut().zip(&results) {
            *to = *from as u64;
        }
        Self { x }
    }
}
