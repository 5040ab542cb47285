//! FF-A from the caller's side: function ids, status codes, descriptors. This is a reading of the
//! specification that is independent of the engine.

use std::fmt;

/// Defines function ids by their numbers in the range of FF-A.
macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $base:literal + $number:literal;)*) => {
        $($(#[$doc])* pub const $name: u64 = $base + $number;)*
    };
}

functions! {
    /// `FFA_ERROR`
    ERROR = 0x8400_0000 + 0x60;
    /// `FFA_SUCCESS` (32-bit)
    SUCCESS_32 = 0x8400_0000 + 0x61;
    /// `FFA_SUCCESS` (64-bit)
    SUCCESS_64 = 0xc400_0000 + 0x61;
    /// `FFA_INTERRUPT`
    INTERRUPT = 0x8400_0000 + 0x62;
    /// `FFA_VERSION`
    VERSION = 0x8400_0000 + 0x63;
    /// `FFA_FEATURES`
    FEATURES = 0x8400_0000 + 0x64;
    /// `FFA_RX_RELEASE`
    RX_RELEASE = 0x8400_0000 + 0x65;
    /// `FFA_RXTX_MAP` (32-bit)
    RXTX_MAP_32 = 0x8400_0000 + 0x66;
    /// `FFA_RXTX_MAP` (64-bit)
    RXTX_MAP_64 = 0xc400_0000 + 0x66;
    /// `FFA_RXTX_UNMAP`
    RXTX_UNMAP = 0x8400_0000 + 0x67;
    /// `FFA_PARTITION_INFO_GET`
    PARTITION_INFO_GET = 0x8400_0000 + 0x68;
    /// `FFA_ID_GET`
    ID_GET = 0x8400_0000 + 0x69;
    /// `FFA_MSG_POLL`
    MSG_POLL = 0x8400_0000 + 0x6a;
    /// `FFA_MSG_WAIT`
    MSG_WAIT = 0x8400_0000 + 0x6b;
    /// `FFA_MSG_WAIT` (64-bit)
    MSG_WAIT_64 = 0xc400_0000 + 0x6b;
    /// `FFA_YIELD` (64-bit)
    YIELD_64 = 0xc400_0000 + 0x6c;
    /// `FFA_RUN` (64-bit)
    RUN_64 = 0xc400_0000 + 0x6d;
    /// `FFA_ERROR` (64-bit)
    ERROR_64 = 0xc400_0000 + 0x60;
    /// `FFA_YIELD`
    YIELD = 0x8400_0000 + 0x6c;
    /// `FFA_RUN`
    RUN = 0x8400_0000 + 0x6d;
    /// `FFA_MSG_SEND`
    MSG_SEND = 0x8400_0000 + 0x6e;
    /// `FFA_MSG_SEND_DIRECT_REQ` (32-bit)
    DIRECT_REQ_32 = 0x8400_0000 + 0x6f;
    /// `FFA_MSG_SEND_DIRECT_REQ` (64-bit)
    DIRECT_REQ_64 = 0xc400_0000 + 0x6f;
    /// `FFA_MSG_SEND_DIRECT_RESP` (32-bit)
    DIRECT_RESP_32 = 0x8400_0000 + 0x70;
    /// `FFA_MSG_SEND_DIRECT_RESP` (64-bit)
    DIRECT_RESP_64 = 0xc400_0000 + 0x70;
    /// `FFA_MEM_DONATE` (32-bit)
    MEM_DONATE_32 = 0x8400_0000 + 0x71;
    /// `FFA_MEM_DONATE` (64-bit)
    MEM_DONATE_64 = 0xc400_0000 + 0x71;
    /// `FFA_MEM_LEND` (32-bit)
    MEM_LEND_32 = 0x8400_0000 + 0x72;
    /// `FFA_MEM_LEND` (64-bit)
    MEM_LEND_64 = 0xc400_0000 + 0x72;
    /// `FFA_MEM_SHARE` (32-bit)
    MEM_SHARE_32 = 0x8400_0000 + 0x73;
    /// `FFA_MEM_SHARE` (64-bit)
    MEM_SHARE_64 = 0xc400_0000 + 0x73;
    /// `FFA_MEM_RETRIEVE_REQ` (32-bit)
    MEM_RETRIEVE_REQ_32 = 0x8400_0000 + 0x74;
    /// `FFA_MEM_RETRIEVE_REQ` (64-bit)
    MEM_RETRIEVE_REQ_64 = 0xc400_0000 + 0x74;
    /// `FFA_MEM_RETRIEVE_RESP`
    MEM_RETRIEVE_RESP = 0x8400_0000 + 0x75;
    /// `FFA_MEM_RELINQUISH`
    MEM_RELINQUISH = 0x8400_0000 + 0x76;
    /// `FFA_MEM_RECLAIM`
    MEM_RECLAIM = 0x8400_0000 + 0x77;
    /// `FFA_MEM_OP_PAUSE`
    MEM_OP_PAUSE = 0x8400_0000 + 0x78;
    /// `FFA_MEM_OP_RESUME`
    MEM_OP_RESUME = 0x8400_0000 + 0x79;
    /// `FFA_MEM_FRAG_RX`
    MEM_FRAG_RX = 0x8400_0000 + 0x7a;
    /// `FFA_MEM_FRAG_TX`
    MEM_FRAG_TX = 0x8400_0000 + 0x7b;
    /// `FFA_NORMAL_WORLD_RESUME`
    NORMAL_WORLD_RESUME = 0x8400_0000 + 0x7c;
    /// `FFA_NOTIFICATION_BITMAP_CREATE`
    NOTIFICATION_BITMAP_CREATE = 0x8400_0000 + 0x7d;
    /// `FFA_NOTIFICATION_BITMAP_DESTROY`
    NOTIFICATION_BITMAP_DESTROY = 0x8400_0000 + 0x7e;
    /// `FFA_NOTIFICATION_BIND`
    NOTIFICATION_BIND = 0x8400_0000 + 0x7f;
    /// `FFA_NOTIFICATION_UNBIND`
    NOTIFICATION_UNBIND = 0x8400_0000 + 0x80;
    /// `FFA_NOTIFICATION_SET`
    NOTIFICATION_SET = 0x8400_0000 + 0x81;
    /// `FFA_NOTIFICATION_GET`
    NOTIFICATION_GET = 0x8400_0000 + 0x82;
    /// `FFA_NOTIFICATION_INFO_GET` (32-bit)
    NOTIFICATION_INFO_GET_32 = 0x8400_0000 + 0x83;
    /// `FFA_NOTIFICATION_INFO_GET` (64-bit)
    NOTIFICATION_INFO_GET_64 = 0xc400_0000 + 0x83;
    /// `FFA_RX_ACQUIRE`
    RX_ACQUIRE = 0x8400_0000 + 0x84;
    /// `FFA_SPM_ID_GET`
    SPM_ID_GET = 0x8400_0000 + 0x85;
    /// `FFA_MSG_SEND2`
    MSG_SEND2 = 0x8400_0000 + 0x86;
    /// `FFA_SECONDARY_EP_REGISTER` (32-bit)
    SECONDARY_EP_REGISTER_32 = 0x8400_0000 + 0x87;
    /// `FFA_SECONDARY_EP_REGISTER` (64-bit)
    SECONDARY_EP_REGISTER_64 = 0xc400_0000 + 0x87;
    /// `FFA_MEM_PERM_GET` (32-bit)
    MEM_PERM_GET_32 = 0x8400_0000 + 0x88;
    /// `FFA_MEM_PERM_GET` (64-bit)
    MEM_PERM_GET_64 = 0xc400_0000 + 0x88;
    /// `FFA_MEM_PERM_SET` (32-bit)
    MEM_PERM_SET_32 = 0x8400_0000 + 0x89;
    /// `FFA_MEM_PERM_SET` (64-bit)
    MEM_PERM_SET_64 = 0xc400_0000 + 0x89;
    /// `FFA_CONSOLE_LOG` (32-bit)
    CONSOLE_LOG_32 = 0x8400_0000 + 0x8a;
    /// `FFA_CONSOLE_LOG` (64-bit)
    CONSOLE_LOG_64 = 0xc400_0000 + 0x8a;
    /// `FFA_PARTITION_INFO_GET_REGS`
    PARTITION_INFO_GET_REGS = 0xc400_0000 + 0x8b;
    /// `FFA_EL3_INTR_HANDLE`
    EL3_INTR_HANDLE = 0x8400_0000 + 0x8c;
    /// `FFA_MSG_SEND_DIRECT_REQ2`
    DIRECT_REQ2 = 0xc400_0000 + 0x8d;
    /// `FFA_MSG_SEND_DIRECT_RESP2`
    DIRECT_RESP2 = 0xc400_0000 + 0x8e;
    /// `FFA_NOTIFICATION_BIND2`
    NOTIFICATION_BIND2 = 0xc400_0000 + 0x94;
    /// `FFA_NOTIFICATION_UNBIND2`
    NOTIFICATION_UNBIND2 = 0xc400_0000 + 0x95;
    /// `FFA_NOTIFICATION_SET2`
    NOTIFICATION_SET2 = 0xc400_0000 + 0x96;
    /// `FFA_NOTIFICATION_GET2`
    NOTIFICATION_GET2 = 0xc400_0000 + 0x97;
    /// `FFA_NS_RES_INFO_GET`
    NS_RES_INFO_GET = 0xc400_0000 + 0x8f;
    /// `FFA_ABORT` (32-bit)
    ABORT_32 = 0x8400_0000 + 0x90;
    /// `FFA_ABORT` (64-bit)
    ABORT_64 = 0xc400_0000 + 0x90;
}

/// NOT_READY
pub const NOT_READY: i32 = -10;
/// NOT_SUPPORTED
pub const NOT_SUPPORTED: i32 = -1;
/// INVALID_PARAMETERS
pub const INVALID_PARAMETERS: i32 = -2;
/// NO_MEMORY
pub const NO_MEMORY: i32 = -3;
/// BUSY
pub const BUSY: i32 = -4;
/// INTERRUPTED
pub const INTERRUPTED: i32 = -5;
/// DENIED
pub const DENIED: i32 = -6;
/// RETRY
pub const RETRY: i32 = -7;
/// ABORTED
pub const ABORTED: i32 = -8;
/// NO_DATA
pub const NO_DATA: i32 = -9;

/// Version 1.0.
pub const V1_0: u64 = 0x1_0000;
/// Version 1.1.
pub const V1_1: u64 = 0x1_0001;
/// Version 1.2.
pub const V1_2: u64 = 0x1_0002;
/// Version 1.3.
pub const V1_3: u64 = 0x1_0003;

/// Registers x0 to x17 of a call or of its completion.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Regs(pub [u64; 18]);

impl fmt::Debug for Regs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x?}", &self.0[..8])
    }
}

impl Regs {
    /// Makes a call; all further registers are 0.
    pub fn new<const N: usize>(regs: [u64; N]) -> Self {
        let mut all = [0; 18];
        all[..N].copy_from_slice(&regs);
        Self(all)
    }

    /// Returns the function id in x0.
    pub fn function(&self) -> u64 {
        self.0[0]
    }

    /// Returns the status code if this is `FFA_ERROR`. All other registers must then be zero.
    #[track_caller]
    pub fn error(&self) -> Option<i32> {
        if self.0[0] != ERROR {
            return None;
        }
        assert_eq!(self.0[1], 0, "w1 of FFA_ERROR");
        assert_eq!(self.0[2] >> 32, 0, "upper half of x2 of FFA_ERROR");
        assert_eq!(self.0[3..8], [0; 5], "w3 to w7 of FFA_ERROR");
        Some(self.0[2] as i32)
    }

    /// Returns x2 to x7 of a 32-bit `FFA_SUCCESS`. Panics if this is another function, or if w1 or
    /// the upper half of a register is not zero.
    #[track_caller]
    pub fn success(&self) -> [u64; 6] {
        assert_eq!(self.0[0], SUCCESS_32, "{self:?}");
        assert_eq!(self.0[1], 0, "w1 of FFA_SUCCESS");
        assert!(self.0[..8].iter().all(|x| x >> 32 == 0), "{self:?}");
        self.0[2..8].try_into().unwrap()
    }

    /// Returns the handle in w2 and w3 of `FFA_SUCCESS`.
    #[track_caller]
    pub fn handle(&self) -> u64 {
        let results = self.success();
        assert_eq!(results[2..], [0; 4]);
        results[0] | results[1] << 32
    }

    /// Returns x3 to x7, the payload of a direct message.
    pub fn payload(&self) -> [u64; 5] {
        self.0[3..8].try_into().unwrap()
    }
}

/// Returns how many registers, from x0 on, a call of `function` may change if it ends with
/// `answer`. The registers after these are preserved (SMCCC 1.1). `wide`: direct messages of 1.3
/// may be among the answers.
pub fn registers_returned(function: u64, answer: u64, wide: bool) -> usize {
    match (function & 0xffff_ffff, answer) {
        (_, DIRECT_REQ_64 | DIRECT_RESP_64) if wide => 18,
        (_, DIRECT_REQ2 | DIRECT_RESP2)
        | (PARTITION_INFO_GET_REGS | NOTIFICATION_GET2 | NS_RES_INFO_GET, SUCCESS_64) => 18,
        // The answer of EL3, if the call was passed on.
        (0x8000_0000..0x8400_0060 | 0xc000_0000..0xc400_0060, answer) if answer != u64::MAX => 18,
        _ => 8,
    }
}

/// Layout of memory transaction descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// 32-byte header, 16-byte receivers.
    V1_0,
    /// 48-byte header, 16-byte receivers.
    V1_1,
    /// 48-byte header, 32-byte receivers.
    V1_2,
}

impl Layout {
    /// Returns the bytes of the header.
    pub const fn header(self) -> usize {
        if matches!(self, Self::V1_0) { 32 } else { 48 }
    }

    /// Returns the bytes of an endpoint memory access descriptor.
    pub const fn receiver(self) -> usize {
        if matches!(self, Self::V1_2) { 32 } else { 16 }
    }

    /// Returns the layout for callers of that version.
    pub const fn of(version: u64) -> Self {
        match version {
            V1_0 => Self::V1_0,
            V1_1 => Self::V1_1,
            _ => Self::V1_2,
        }
    }
}

/// Data permission: read only.
pub const RO: u8 = 0b01;
/// Data permission: read and write.
pub const RW: u8 = 0b10;
/// Instruction permission: not executable.
pub const NX: u8 = 0b01 << 2;
/// Instruction permission: executable.
pub const X: u8 = 0b10 << 2;
/// Normal memory, Write-Back, Inner Shareable.
pub const NORMAL: u16 = 0x2f;
/// Attribute bit 6 of a response: the region is Non-secure.
pub const NON_SECURE: u16 = 1 << 6;

/// An endpoint memory access descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receiver {
    /// Partition id.
    pub id: u16,
    /// Data permission in `[1:0]`, instruction permission in `[3:2]`.
    pub permissions: u8,
    /// Bit 0: the receiver is listed, but is not the one that retrieves.
    pub flags: u8,
    /// Offset of the composite descriptor, or 0 for none. `None` means the place where the encoder
    /// puts the descriptor.
    pub offset: Option<u32>,
    /// IMPLEMENTATION DEFINED value (1.2 only).
    pub implementation_defined: [u64; 2],
}

impl Receiver {
    /// Makes a receiver with those permissions.
    pub const fn new(id: u16, permissions: u8) -> Self {
        Self {
            id,
            permissions,
            flags: 0,
            offset: None,
            implementation_defined: [0; 2],
        }
    }
}

/// A memory transaction descriptor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// The sender of the region.
    pub sender: u16,
    /// Memory region attributes.
    pub attributes: u16,
    /// Flags.
    pub flags: u32,
    /// The handle, 0 in a send.
    pub handle: u64,
    /// The tag, any value.
    pub tag: u64,
    /// Receivers.
    pub receivers: Vec<Receiver>,
    /// The constituents: address and number of pages. If empty, there is no composite descriptor.
    pub constituents: Vec<(u64, u32)>,
}

impl Transaction {
    /// Makes a share of `constituents` with one receiver.
    pub fn share(sender: u16, receiver: u16, permissions: u8, constituents: &[(u64, u32)]) -> Self {
        Self {
            sender,
            attributes: NORMAL,
            flags: 0,
            handle: 0,
            tag: 0,
            receivers: vec![Receiver::new(receiver, permissions)],
            constituents: constituents.to_vec(),
        }
    }

    /// Makes a lend of `constituents` to one receiver.
    pub fn lend(sender: u16, receiver: u16, permissions: u8, constituents: &[(u64, u32)]) -> Self {
        Self {
            attributes: 0,
            ..Self::share(sender, receiver, permissions, constituents)
        }
    }

    /// Makes a donation of `constituents`.
    pub fn donate(sender: u16, receiver: u16, constituents: &[(u64, u32)]) -> Self {
        Self::lend(sender, receiver, 0, constituents)
    }

    /// Makes the retrieve request of `receiver` for a region that `sender` sent.
    pub fn retrieve(sender: u16, receiver: u16, handle: u64, permissions: u8) -> Self {
        Self {
            handle,
            ..Self::share(sender, receiver, permissions, &[])
        }
    }

    /// Returns the offset at which the composite descriptor is encoded.
    pub fn composite_offset(&self, layout: Layout) -> usize {
        layout.header() + self.receivers.len() * layout.receiver()
    }

    /// Returns the descriptor in its wire format.
    pub fn encode(&self, layout: Layout) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.sender.to_le_bytes());
        out.extend(self.attributes.to_le_bytes());
        out.extend(self.flags.to_le_bytes());
        out.extend(self.handle.to_le_bytes());
        out.extend(self.tag.to_le_bytes());
        let count = (self.receivers.len() as u32).to_le_bytes();
        if layout == Layout::V1_0 {
            out.extend(0_u32.to_le_bytes());
            out.extend(count);
        } else {
            out.extend((layout.receiver() as u32).to_le_bytes());
            out.extend(count);
            out.extend((layout.header() as u32).to_le_bytes());
            out.extend([0; 12]);
        }
        let composite = self.composite_offset(layout) as u32;
        for receiver in &self.receivers {
            out.extend(receiver.id.to_le_bytes());
            out.extend([receiver.permissions, receiver.flags]);
            let default = if self.constituents.is_empty() {
                0
            } else {
                composite
            };
            out.extend(receiver.offset.unwrap_or(default).to_le_bytes());
            if layout == Layout::V1_2 {
                out.extend(receiver.implementation_defined[0].to_le_bytes());
                out.extend(receiver.implementation_defined[1].to_le_bytes());
            }
            out.extend([0; 8]);
        }
        if !self.constituents.is_empty() {
            let total: u32 = self
                .constituents
                .iter()
                .fold(0, |sum, (_, pages)| sum.wrapping_add(*pages));
            out.extend(total.to_le_bytes());
            out.extend((self.constituents.len() as u32).to_le_bytes());
            out.extend([0; 8]);
            for (address, pages) in &self.constituents {
                out.extend(address.to_le_bytes());
                out.extend(pages.to_le_bytes());
                out.extend([0; 4]);
            }
        }
        out
    }

    /// Parses a descriptor from the SPMC, which must be well formed to the last byte.
    #[track_caller]
    pub fn decode(bytes: &[u8], layout: Layout) -> Self {
        let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let (size, count, array) = if layout == Layout::V1_0 {
            assert_eq!(
                (bytes[3], u32_at(24)),
                (0, 0),
                "reserved fields of the header"
            );
            (16, u32_at(28) as usize, 32)
        } else {
            assert_eq!(bytes[36..48], [0; 12], "reserved fields of the header");
            (
                u32_at(24) as usize,
                u32_at(28) as usize,
                u32_at(32) as usize,
            )
        };
        assert_eq!(size, layout.receiver(), "receiver size");
        assert!(
            array >= layout.header() && array.is_multiple_of(16),
            "receiver offset {array}"
        );
        let mut receivers = Vec::new();
        let mut constituents = Vec::new();
        let mut end = array + count * size;
        for at in (0..count).map(|n| array + n * size) {
            let words = if layout == Layout::V1_2 {
                [u64_at(at + 8), u64_at(at + 16)]
            } else {
                [0; 2]
            };
            assert_eq!(u64_at(at + size - 8), 0, "reserved field of a receiver");
            let offset = u32_at(at + 4);
            receivers.push(Receiver {
                id: u16_at(at),
                permissions: bytes[at + 2],
                flags: bytes[at + 3],
                offset: Some(offset),
                implementation_defined: words,
            });
            if offset != 0 && constituents.is_empty() {
                let composite = offset as usize;
                assert!(
                    composite >= end && composite.is_multiple_of(8),
                    "composite offset {composite}"
                );
                assert_eq!(
                    u64_at(composite + 8),
                    0,
                    "reserved field of the composite descriptor"
                );
                let ranges = u32_at(composite + 4) as usize;
                for at in (0..ranges).map(|n| composite + 16 + n * 16) {
                    assert_eq!(u32_at(at + 12), 0, "reserved field of a constituent");
                    constituents.push((u64_at(at), u32_at(at + 8)));
                }
                let total: u32 = constituents.iter().map(|(_, pages)| pages).sum();
                assert_eq!(u32_at(composite), total, "total page count");
                end = composite + 16 + ranges * 16;
            }
        }
        assert_eq!(end, bytes.len(), "length of the descriptor");
        Self {
            sender: u16_at(0),
            attributes: if layout == Layout::V1_0 {
                bytes[2].into()
            } else {
                u16_at(2)
            },
            flags: u32_at(4),
            handle: u64_at(8),
            tag: u64_at(16),
            receivers,
            constituents,
        }
    }
}

/// Returns the descriptor of `FFA_MEM_RELINQUISH`.
pub fn relinquish(handle: u64, flags: u32, endpoints: &[u16]) -> Vec<u8> {
    let mut out = handle.to_le_bytes().to_vec();
    out.extend(flags.to_le_bytes());
    out.extend((endpoints.len() as u32).to_le_bytes());
    out.extend(endpoints.iter().flat_map(|id| id.to_le_bytes()));
    out
}
