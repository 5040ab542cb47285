//! The descriptors in TX and RX buffers as named fields, by the version of the caller.
//!
//! The bytes are those that the SPMC read and wrote while it worked for the call, so a sender that
//! changes TX meanwhile changes nothing here. The engine's own types decode them.

use spmc::addr::PAGE_SIZE;
use spmc::ffa::function::*;
use spmc::ffa::memory::{
    AccessPermissions, Cacheability, DataAccess, DeviceKind, InstructionAccess, MemoryType,
    Shareability,
};
use spmc::ffa::memory_descriptor::{
    CONSTITUENT, DescriptorBuffer, Receiver, Relinquish, Transaction,
};
use spmc::ffa::message::{self, Header};
use spmc::ffa::partition_info::{Properties, descriptor_size};
use spmc::ffa::rxtx_descriptor::RxTxDescriptor;
use spmc::ffa::{Handle, SmcFrame, Version};
use spmc::id::{PartitionId, Uuid};
use spmc::limits::MAX_MAILBOX_PAGES;

use super::calls::Call;
use super::decode::{Field, Value};

/// The greatest distance of bytes that belong together: a buffer has fewer pages.
const FARTHEST: u64 = 1 << 20;

/// Bytes that were copied for one call, from the lowest address on.
#[derive(Clone, Default, Debug)]
pub struct Bytes {
    base: u64,
    bytes: Vec<u8>,
}

impl Bytes {
    /// Adds bytes. Those that are far from the others are of another buffer, and left out.
    pub fn add(&mut self, address: u64, bytes: &[u8]) {
        if self.bytes.is_empty() {
            self.base = address;
        }
        if address.abs_diff(self.base) > FARTHEST {
            return;
        }
        if address < self.base {
            let before = (self.base - address) as usize;
            self.bytes.splice(..0, vec![0; before]);
            self.base = address;
        }
        let start = (address - self.base) as usize;
        let end = start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(to) = self.bytes.get_mut(start..end) {
            to.copy_from_slice(bytes);
        }
    }
}

fn field(name: &'static str, value: Value) -> Field {
    Field { name, value }
}

fn bits(name: &'static str, bits: u64) -> Option<Field> {
    (bits != 0).then(|| field(name, Value::Bits(bits)))
}

/// Returns what a call says in TX.
pub fn arguments(call: &Call) -> Vec<Field> {
    let bytes = &call.read.bytes;
    if bytes.is_empty() {
        return Vec::new();
    }
    match call.frame.function().0 {
        MEM_DONATE_32 | MEM_DONATE_64 | MEM_LEND_32 | MEM_LEND_64 | MEM_SHARE_32 | MEM_SHARE_64
        | MEM_RETRIEVE_REQ_32 | MEM_RETRIEVE_REQ_64 => transaction(bytes, call.version),
        MEM_FRAG_TX => vec![ranges(bytes)],
        MEM_RELINQUISH => relinquish(bytes),
        MSG_SEND2 => indirect(bytes, call.version),
        RXTX_MAP_32 | RXTX_MAP_64 => buffers_of_vm(bytes, call.version),
        _ => Vec::new(),
    }
}

/// Returns what the answer to a call says in RX, or, for partition information, in registers.
pub fn results(call: &Call, answer: &SmcFrame) -> Vec<Field> {
    let bytes = &call.written.bytes;
    match (call.frame.function().0, answer.function().0) {
        (_, MEM_RETRIEVE_RESP) if !bytes.is_empty() => transaction(bytes, call.version),
        (MEM_FRAG_RX, MEM_FRAG_TX) if !bytes.is_empty() => vec![ranges(bytes)],
        (PARTITION_INFO_GET, SUCCESS_32) if !bytes.is_empty() => {
            let stated = answer.w(3) as usize;
            let size = match stated {
                0 => descriptor_size(call.version),
                stated => stated,
            };
            vec![partitions(bytes, size, answer.w(2) as usize)]
        }
        (PARTITION_INFO_GET_REGS, SUCCESS_64) => {
            let size = (answer.x[2] >> 48) as usize;
            let (start, current) = (call.frame.x[3] & 0xffff, answer.x[2] >> 16 & 0xffff);
            let count = (current + 1).saturating_sub(start) as usize;
            let bytes: Vec<u8> = answer
                .x
                .iter()
                .skip(3)
                .flat_map(|x| x.to_le_bytes())
                .collect();
            vec![partitions(&bytes, size, count)]
        }
        _ => Vec::new(),
    }
}

/// Returns the fields of a memory transaction descriptor, or of its first fragment.
fn transaction(bytes: &[u8], version: Version) -> Vec<Field> {
    // The engine reads descriptors in place, and wants them aligned.
    let mut head = DescriptorBuffer::new();
    let length = bytes.len().min(head.len());
    head[..length].copy_from_slice(&bytes[..length]);
    let Ok(transaction) = Transaction::parse(&head[..length], version) else {
        return vec![field("descriptor", Value::Word("malformed".into()))];
    };
    let mut fields = vec![field("sender", Value::Endpoint(transaction.sender))];
    if transaction.handle.bits() != 0 {
        fields.push(field("handle", Value::Handle(transaction.handle)));
    }
    fields.extend(bits("flags", transaction.flags.into()));
    fields.extend(bits("tag", transaction.tag));
    fields.extend(attributes(transaction.attributes));
    let mut composites = Vec::new();
    let receivers = transaction.receivers().map(|receiver| match receiver {
        Ok(receiver) => {
            composites.push(receiver.composite_offset as usize);
            receiver_of(&receiver)
        }
        Err(_) => Value::Word("malformed".into()),
    });
    fields.push(field("receivers", Value::List(receivers.collect())));
    // All receivers of a transaction share one composite descriptor.
    if let Some(offset) = composites.into_iter().find(|offset| *offset != 0) {
        let header = bytes
            .get(offset..)
            .and_then(|rest| rest.split_at_checked(16));
        if let Some((header, constituents)) = header {
            let [pages, count] = [0, 4].map(|at| word(header, at));
            let first = constituents.len().min(count as usize * CONSTITUENT);
            fields.push(field("pages", Value::Number(pages.into())));
            fields.push(ranges(&constituents[..first]));
        }
    }
    fields
}

/// Returns an access descriptor: the endpoint and its permissions.
fn receiver_of(receiver: &Receiver) -> Value {
    let mut fields = vec![
        field("id", Value::Endpoint(receiver.id)),
        field("access", Value::Word(permissions(receiver.permissions))),
    ];
    fields.extend(bits("flags", receiver.flags.into()));
    let [low, high] = receiver.implementation_defined;
    fields.extend(bits("value", low));
    fields.extend(bits("value_high", high));
    Value::Record(fields)
}

/// Returns data and instruction access, with `?` for what is not specified.
fn permissions(byte: u8) -> String {
    let Ok(AccessPermissions { data, instruction }) = AccessPermissions::decode(byte) else {
        return format!("{byte:#x}");
    };
    let data = match data {
        Some(DataAccess::ReadOnly) => "r-",
        Some(DataAccess::ReadWrite) => "rw",
        None => "??",
    };
    let instruction = match instruction {
        Some(InstructionAccess::Execute) => "x",
        Some(InstructionAccess::ExecuteNever) => "-",
        None => "?",
    };
    format!("{data}{instruction}")
}

/// Returns the memory type, if one is specified, and the security state.
fn attributes(raw: u16) -> Vec<Field> {
    const NON_SECURE: u16 = spmc::ffa::memory::ATTRIBUTE_NON_SECURE;
    let mut words: Vec<&str> = match MemoryType::decode(raw & !NON_SECURE) {
        Err(_) => return vec![field("attributes", Value::Bits(raw.into()))],
        Ok(None) => vec![],
        Ok(Some(MemoryType::Device(kind))) => vec![match kind {
            DeviceKind::NGnRnE => "device-nGnRnE",
            DeviceKind::NGnRE => "device-nGnRE",
            DeviceKind::NGRE => "device-nGRE",
            DeviceKind::GRE => "device-GRE",
        }],
        Ok(Some(MemoryType::Normal(cacheability, shareability))) => vec![
            match cacheability {
                Cacheability::NonCacheable => "non-cacheable",
                Cacheability::WriteBack => "write-back",
            },
            match shareability {
                Shareability::Non => "non-shareable",
                Shareability::Inner => "inner-shareable",
                Shareability::Outer => "outer-shareable",
            },
        ],
    };
    if raw & NON_SECURE != 0 {
        words.push("non-secure");
    }
    if words.is_empty() {
        return Vec::new();
    }
    vec![field("memory", Value::Word(words.join(" ")))]
}

/// Returns the addresses of each constituent.
fn ranges(bytes: &[u8]) -> Field {
    let range = |bytes: &[u8; CONSTITUENT]| {
        let pages = u64::from(word(bytes, 8));
        let address = long(bytes, 0);
        let end = address.wrapping_add(pages.wrapping_mul(PAGE_SIZE));
        Value::Range(address, end)
    };
    let ranges = bytes.as_chunks().0.iter().map(range);
    field("ranges", Value::List(ranges.collect()))
}

fn relinquish(bytes: &[u8]) -> Vec<Field> {
    const ENDPOINTS: usize = std::mem::offset_of!(Relinquish, endpoint);
    let mut fields = vec![field("handle", Value::Handle(Handle::new(long(bytes, 0))))];
    fields.extend(bits("flags", word(bytes, 8).into()));
    let ids = bytes.get(ENDPOINTS..).unwrap_or_default().as_chunks().0;
    let ids = ids.iter().take(word(bytes, 12) as usize);
    let ids = ids.map(|id| Value::Endpoint(PartitionId(u16::from_le_bytes(*id))));
    fields.push(field("endpoints", Value::List(ids.collect())));
    fields
}

/// Returns the header of an indirect message.
fn indirect(bytes: &[u8], version: Version) -> Vec<Field> {
    let mut head = [0; message::MAX_HEADER];
    let length = bytes.len().min(head.len());
    head[..length].copy_from_slice(&bytes[..length]);
    let header = Header::decode(&head, version);
    let mut fields = vec![
        field("from", Value::Endpoint(header.sender)),
        field("to", Value::Endpoint(header.receiver)),
        field("size", Value::Number(header.size.into())),
    ];
    if !header.uuid.is_nil() {
        fields.push(field("uuid", Value::Uuid(header.uuid)));
    }
    fields
}

/// Returns the buffers that a Hypervisor registers for a VM.
fn buffers_of_vm(bytes: &[u8], version: Version) -> Vec<Field> {
    let Ok(descriptor) = RxTxDescriptor::decode(bytes, version, MAX_MAILBOX_PAGES) else {
        return vec![field("descriptor", Value::Word("malformed".into()))];
    };
    vec![
        field("vm", Value::Endpoint(descriptor.id)),
        field("vm_tx", Value::Bits(descriptor.tx.base().raw())),
        field("vm_rx", Value::Bits(descriptor.rx.base().raw())),
        field("vm_pages", Value::Number(descriptor.tx.pages())),
    ]
}

/// Returns up to `count` partition information descriptors of `size` bytes.
fn partitions(bytes: &[u8], size: usize, count: usize) -> Field {
    let all = bytes.chunks_exact(size.max(8)).take(count);
    field("partitions", Value::List(all.map(partition).collect()))
}

fn partition(bytes: &[u8]) -> Value {
    let head = long(bytes, 0);
    let properties = Properties::from_bits_retain((head >> 32) as u32);
    let mut fields = vec![
        field("id", Value::Endpoint(PartitionId(head as u16))),
        field("contexts", Value::Number(head >> 16 & 0xffff)),
        field("properties", Value::Word(words(properties))),
    ];
    if let Some(uuid) = bytes.get(8..24).and_then(|bytes| bytes.try_into().ok()) {
        let uuid = Uuid(uuid);
        if !uuid.is_nil() {
            fields.push(field("uuid", Value::Uuid(uuid)));
        }
    }
    Value::Record(fields)
}

/// Returns properties by their names.
fn words(properties: Properties) -> String {
    let names = properties
        .iter_names()
        .map(|(name, _)| name.to_lowercase().replace('_', "-"));
    let unknown = properties.difference(Properties::all()).bits();
    let unknown = (unknown != 0).then(|| format!("{unknown:#x}"));
    names.chain(unknown).collect::<Vec<_>>().join("|")
}

/// Returns the 32 bits at an offset; bytes that are missing are zero.
fn word(bytes: &[u8], at: usize) -> u32 {
    long(bytes, at) as u32
}

/// Returns the 64 bits at an offset; bytes that are missing are zero.
fn long(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.iter().skip(at).take(8).rev();
    bytes.fold(0, |long, byte| long << 8 | u64::from(*byte))
}
