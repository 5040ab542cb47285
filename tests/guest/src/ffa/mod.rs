//! FF-A as a caller sees it, written from the specification and from callers in the field: function
//! ids, error codes, and the calls.

mod careless;
pub mod fragment_calls;
pub mod indirect_message;
pub mod memory_calls;
pub mod memory_descriptor;

use core::sync::atomic::{AtomicU8, Ordering};

use crate::rt::call::{Conduit, Regs, call as raw_call};
use crate::rt::check::{Check, equal};

/// The Normal world: the OS kernel or hypervisor.
pub const NWD: u16 = 0;
/// The SPMC.
pub const SPMC: u16 = 0x8000;
/// The test partition with one execution context.
pub const SP1: u16 = 0x8001;
/// The test partition with an execution context for each PE.
pub const SP2: u16 = 0x8002;
/// The third partition, in layouts that have more than two. The layout says what it is.
pub const SP3: u16 = 0x8003;
/// The fourth partition.
pub const SP4: u16 = 0x8004;
/// The fifth partition.
pub const SP5: u16 = 0x8005;
/// The sixth partition.
pub const SP6: u16 = 0x8006;
/// The seventh partition.
pub const SP7: u16 = 0x8007;
/// The eighth partition.
pub const SP8: u16 = 0x8008;
/// An id that no partition has in any layout.
pub const NOBODY: u16 = 0x80ee;

/// Version 1.0.
pub const V1_0: u32 = 0x1_0000;
/// Version 1.1.
pub const V1_1: u32 = 0x1_0001;
/// Version 1.2.
pub const V1_2: u32 = 0x1_0002;
/// Version 1.3.
pub const V1_3: u32 = 0x1_0003;

/// Function ids.
#[allow(missing_docs)]
pub mod id {
    pub const ERROR: u32 = 0x8400_0060;
    pub const SUCCESS: u32 = 0x8400_0061;
    pub const SUCCESS_64: u32 = 0xc400_0061;
    pub const INTERRUPT: u32 = 0x8400_0062;
    pub const VERSION: u32 = 0x8400_0063;
    pub const FEATURES: u32 = 0x8400_0064;
    pub const RX_RELEASE: u32 = 0x8400_0065;
    pub const RXTX_MAP_32: u32 = 0x8400_0066;
    pub const RXTX_MAP_64: u32 = 0xc400_0066;
    pub const RXTX_UNMAP: u32 = 0x8400_0067;
    pub const PARTITION_INFO_GET: u32 = 0x8400_0068;
    pub const ID_GET: u32 = 0x8400_0069;
    pub const MSG_POLL: u32 = 0x8400_006a;
    pub const MSG_WAIT: u32 = 0x8400_006b;
    pub const YIELD: u32 = 0x8400_006c;
    pub const RUN: u32 = 0x8400_006d;
    pub const MSG_SEND: u32 = 0x8400_006e;
    pub const DIRECT_REQ_32: u32 = 0x8400_006f;
    pub const DIRECT_REQ_64: u32 = 0xc400_006f;
    pub const DIRECT_RESP_32: u32 = 0x8400_0070;
    pub const DIRECT_RESP_64: u32 = 0xc400_0070;
    pub const MEM_DONATE_32: u32 = 0x8400_0071;
    pub const MEM_DONATE_64: u32 = 0xc400_0071;
    pub const MEM_LEND_32: u32 = 0x8400_0072;
    pub const MEM_LEND_64: u32 = 0xc400_0072;
    pub const MEM_SHARE_32: u32 = 0x8400_0073;
    pub const MEM_SHARE_64: u32 = 0xc400_0073;
    pub const MEM_RETRIEVE_REQ_32: u32 = 0x8400_0074;
    pub const MEM_RETRIEVE_REQ_64: u32 = 0xc400_0074;
    pub const MEM_RETRIEVE_RESP: u32 = 0x8400_0075;
    pub const MEM_RELINQUISH: u32 = 0x8400_0076;
    pub const MEM_RECLAIM: u32 = 0x8400_0077;
    pub const MEM_OP_PAUSE: u32 = 0x8400_0078;
    pub const MEM_OP_RESUME: u32 = 0x8400_0079;
    pub const MEM_FRAG_RX: u32 = 0x8400_007a;
    pub const MEM_FRAG_TX: u32 = 0x8400_007b;
    pub const NORMAL_WORLD_RESUME: u32 = 0x8400_007c;
    pub const NOTIFICATION_BITMAP_CREATE: u32 = 0x8400_007d;
    pub const NOTIFICATION_BITMAP_DESTROY: u32 = 0x8400_007e;
    pub const NOTIFICATION_BIND: u32 = 0x8400_007f;
    pub const NOTIFICATION_UNBIND: u32 = 0x8400_0080;
    pub const NOTIFICATION_SET: u32 = 0x8400_0081;
    pub const NOTIFICATION_GET: u32 = 0x8400_0082;
    pub const NOTIFICATION_INFO_GET_32: u32 = 0x8400_0083;
    pub const NOTIFICATION_INFO_GET_64: u32 = 0xc400_0083;
    pub const RX_ACQUIRE: u32 = 0x8400_0084;
    pub const SPM_ID_GET: u32 = 0x8400_0085;
    pub const MSG_SEND2: u32 = 0x8400_0086;
    pub const SECONDARY_EP_REGISTER_32: u32 = 0x8400_0087;
    pub const SECONDARY_EP_REGISTER: u32 = 0xc400_0087;
    pub const MEM_PERM_GET_32: u32 = 0x8400_0088;
    pub const MEM_PERM_GET_64: u32 = 0xc400_0088;
    pub const MEM_PERM_SET_32: u32 = 0x8400_0089;
    pub const MEM_PERM_SET_64: u32 = 0xc400_0089;
    pub const CONSOLE_LOG_32: u32 = 0x8400_008a;
    pub const CONSOLE_LOG_64: u32 = 0xc400_008a;
    pub const PARTITION_INFO_GET_REGS: u32 = 0xc400_008b;
    pub const EL3_INTR_HANDLE: u32 = 0x8400_008c;
    pub const DIRECT_REQ2: u32 = 0xc400_008d;
    pub const DIRECT_RESP2: u32 = 0xc400_008e;
    pub const ABORT_32: u32 = 0x8400_0090;
    pub const ABORT_64: u32 = 0xc400_0090;
    /// An id of the FF-A range that no version defines.
    pub const UNDEFINED: u32 = 0x8400_0095;
}

/// Error codes, as w2 of `FFA_ERROR` shows them.
#[allow(missing_docs)]
pub mod error {
    pub const NOT_SUPPORTED: i32 = -1;
    pub const INVALID_PARAMETERS: i32 = -2;
    pub const NO_MEMORY: i32 = -3;
    pub const BUSY: i32 = -4;
    pub const INTERRUPTED: i32 = -5;
    pub const DENIED: i32 = -6;
    pub const RETRY: i32 = -7;
    pub const ABORTED: i32 = -8;
    pub const NO_DATA: i32 = -9;

    /// Returns the name of a code.
    pub const fn name(code: i32) -> &'static str {
        match code {
            NOT_SUPPORTED => "NOT_SUPPORTED",
            INVALID_PARAMETERS => "INVALID_PARAMETERS",
            NO_MEMORY => "NO_MEMORY",
            BUSY => "BUSY",
            INTERRUPTED => "INTERRUPTED",
            DENIED => "DENIED",
            RETRY => "RETRY",
            ABORTED => "ABORTED",
            NO_DATA => "NO_DATA",
            _ => "no code of FF-A",
        }
    }
}

/// w0 in which `FFA_VERSION`, and calls that are not FF-A's, report failure.
pub const NOT_SUPPORTED: u64 = 0xffff_ffff;

/// The registers with which a call completes.
pub type Answer = Regs;

static CONDUIT: AtomicU8 = AtomicU8::new(Conduit::Smc as u8);

/// Sets the conduit that [`call`] uses from now on.
pub fn set_conduit(conduit: Conduit) {
    CONDUIT.store(conduit as u8, Ordering::Relaxed);
}

/// Returns the conduit that [`call`] uses.
pub fn conduit() -> Conduit {
    let conduit = CONDUIT.load(Ordering::Relaxed);
    [Conduit::Smc, Conduit::Hvc, Conduit::Svc]
        .into_iter()
        .find(|it| *it as u8 == conduit)
        .unwrap_or(Conduit::Smc)
}

/// Returns the registers of a call: function id, arguments from x1 on, and zeros behind them.
#[inline(always)]
pub fn regs(function: u32, arguments: &[u64]) -> Regs {
    let mut regs = [0; 18];
    regs[0] = function as u64;
    for (to, from) in regs[1..].iter_mut().zip(arguments) {
        *to = *from;
    }
    regs
}

/// Makes a call with the arguments from x1 on. The registers behind them are zero, or garbage if
/// the call ignores them.
#[inline(always)]
pub fn call(function: u32, arguments: &[u64]) -> Regs {
    let mut call = regs(function, arguments);
    careless::leave_garbage(&mut call, arguments.len() + 1);
    let answer = raw_call(conduit(), call);
    if function == id::VERSION {
        careless::negotiated(call[1], answer[0]);
    }
    answer
}

/// Returns w1 of a direct message.
pub const fn route(source: u16, destination: u16) -> u64 {
    (source as u64) << 16 | destination as u64
}

/// Checks that `answer` is `FFA_SUCCESS` without results.
#[track_caller]
pub fn done(answer: &Regs) -> Check {
    results(answer, [0; 6])
}

/// Checks that `answer` is `FFA_SUCCESS` with exactly these values in w2 to w7.
#[track_caller]
pub fn results(answer: &Regs, values: [u64; 6]) -> Check {
    succeeded(answer)?;
    for (got, want) in answer[2..8].iter().zip(values) {
        equal(*got, want)?;
    }
    Ok(())
}

/// Checks that `answer` is a 32-bit `FFA_SUCCESS`, whatever the results.
#[track_caller]
pub fn succeeded(answer: &Regs) -> Check {
    if answer[0] == id::ERROR as u64 {
        // A failure that shows the error code tells more than one that shows the function id.
        return equal(answer[2], 0u64);
    }
    equal(answer[0], id::SUCCESS)?;
    equal(answer[1], 0u64)
}

/// Checks that `answer` is `FFA_ERROR` with this code and nothing else (FF-A table 7.4).
#[track_caller]
pub fn refused(answer: &Regs, code: i32) -> Check {
    equal(answer[0], id::ERROR)?;
    equal(answer[2], code as u32)?;
    equal(answer[1], 0u64)?;
    for register in &answer[3..8] {
        equal(*register, 0u64)?;
    }
    Ok(())
}
