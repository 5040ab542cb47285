//! The arguments and results of FF-A calls as named fields, by the version of the caller.
//!
//! Ids, names, status codes, versions, handles and the registers of memory calls are decoded by the
//! engine's own types. A trace shows wrong calls, too, so nothing here judges.

use std::fmt;

use spmc::error::FfaError;
use spmc::ffa::function::*;
use spmc::ffa::memory_call::{DescriptorCall, FragmentRx, FragmentTx};
use spmc::ffa::{FunctionId, Handle, SmcFrame, Version, framework};
use spmc::id::{PartitionId, Uuid, VcpuId};

/// A named argument or result.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: &'static str,
    pub value: Value,
}

/// A value, by what it stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count or a size.
    Number(u64),
    /// Bits, or an address.
    Bits(u64),
    Endpoint(PartitionId),
    Context(VcpuId),
    Handle(Handle),
    Version(Version),
    Function(FunctionId),
    Error(FfaError),
    Uuid(Uuid),
    Text(String),
    /// A word that stands for bits.
    Word(String),
    /// Addresses from the first one up to the second one.
    Range(u64, u64),
    List(Vec<Value>),
    Record(Vec<Field>),
}

impl Value {
    /// Returns whether the value, or one inside, meets a condition.
    pub fn any(&self, condition: &impl Fn(&Self) -> bool) -> bool {
        condition(self)
            || match self {
                Self::List(values) => values.iter().any(|value| value.any(condition)),
                Self::Record(fields) => fields.iter().any(|field| field.value.any(condition)),
                _ => false,
            }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Bits(bits) => write!(f, "{bits:#x}"),
            Self::Endpoint(id) => write!(f, "{id}"),
            Self::Context(vcpu) => write!(f, "{}.{}", vcpu.partition, vcpu.index),
            Self::Handle(handle) => write!(f, "{:#x}", handle.bits()),
            Self::Version(version) => write!(f, "{version}"),
            Self::Function(id) => f.write_str(&name(*id)),
            Self::Error(error) => f.write_str(error.name()),
            Self::Uuid(uuid) => write!(f, "{uuid}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Word(word) => f.write_str(word),
            Self::Range(base, end) => write!(f, "{base:#x}..{end:#x}"),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(Self::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Self::Record(fields) => {
                let pair = |field: &Field| format!("{}={}", field.name, field.value);
                write!(
                    f,
                    "{{{}}}",
                    fields.iter().map(pair).collect::<Vec<_>>().join(", ")
                )
            }
        }
    }
}

/// Returns the name of a function, or its number if it has none.
pub fn name(id: FunctionId) -> String {
    id.name()
        .map_or_else(|| format!("{:#010x}", id.0), String::from)
}

/// Fields under construction, from the registers of a call.
struct Fields<'f> {
    frame: &'f SmcFrame,
    is_64: bool,
    fields: Vec<Field>,
}

impl<'f> Fields<'f> {
    fn new(frame: &'f SmcFrame) -> Self {
        Self {
            frame,
            is_64: frame.function().is_64(),
            fields: Vec::new(),
        }
    }

    fn add(&mut self, name: &'static str, value: Value) -> &mut Self {
        self.fields.push(Field { name, value });
        self
    }

    /// Adds a value unless it is zero, which means that nothing is said.
    fn unless_zero(&mut self, name: &'static str, bits: u64) -> &mut Self {
        if bits == 0 {
            return self;
        }
        self.add(name, Value::Bits(bits))
    }

    /// Returns register `n` as wide as the convention of the call has it.
    fn register(&self, n: usize) -> u64 {
        if self.is_64 {
            self.frame.x[n]
        } else {
            self.frame.w(n).into()
        }
    }

    fn number(&mut self, name: &'static str, n: usize) -> &mut Self {
        self.add(name, Value::Number(self.frame.w(n).into()))
    }

    fn address(&mut self, name: &'static str, n: usize) -> &mut Self {
        self.add(name, Value::Bits(self.register(n)))
    }

    fn flags(&mut self, n: usize) -> &mut Self {
        self.unless_zero("flags", self.register(n))
    }

    fn handle(&mut self) -> &mut Self {
        self.add("handle", Value::Handle(Handle::of_call(self.frame)))
    }

    fn low_endpoint(&mut self, name: &'static str, n: usize) -> &mut Self {
        self.add(name, Value::Endpoint(PartitionId(self.frame.w(n) as u16)))
    }

    fn high_endpoint(&mut self, name: &'static str, n: usize) -> &mut Self {
        let id = PartitionId((self.frame.w(n) >> 16) as u16);
        self.add(name, Value::Endpoint(id))
    }

    /// Adds sender and receiver, which are in w1.
    fn route(&mut self) -> &mut Self {
        self.high_endpoint("sender", 1).low_endpoint("receiver", 1)
    }

    fn context(&mut self) -> &mut Self {
        self.add("context", Value::Context(VcpuId::from_w1(self.frame.x[1])))
    }

    /// Adds the registers from `first` to `last` that are not zero.
    fn payload(&mut self, first: usize, last: usize) -> &mut Self {
        const NAMES: [&str; 18] = [
            "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
            "x14", "x15", "x16", "x17",
        ];
        for (n, name) in NAMES.iter().enumerate().take(last + 1).skip(first) {
            self.unless_zero(name, self.register(n));
        }
        self
    }

    fn uuid_in_registers(&mut self, first: usize) -> &mut Self {
        let uuid = Uuid::from_registers([self.frame.x[first], self.frame.x[first + 1]]);
        self.uuid(uuid)
    }

    fn uuid(&mut self, uuid: Uuid) -> &mut Self {
        if uuid.is_nil() {
            return self;
        }
        self.add("uuid", Value::Uuid(uuid))
    }

    fn descriptor(&mut self) -> &mut Self {
        match DescriptorCall::decode(self.frame) {
            Ok(call) => {
                self.add("length", Value::Number(call.total as u64));
                if call.fragment != call.total {
                    self.add("fragment", Value::Number(call.fragment as u64));
                }
                if let Some(buffer) = call.buffer {
                    self.add("buffer", Value::Bits(buffer.base().raw()));
                    self.add("pages", Value::Number(buffer.pages()));
                }
            }
            Err(_) => {
                self.payload(1, 4);
            }
        }
        self
    }

    /// Adds a bitmap of notifications: from w3 and w4, or from x3 on at 1.3.
    fn notifications(&mut self) -> &mut Self {
        if self.is_64 {
            self.payload(3, 8)
        } else {
            let map = Handle::from_halves([self.frame.w(3).into(), self.frame.w(4).into()]);
            self.add("notifications", Value::Bits(map.bits()))
        }
    }
}

/// Returns the arguments of a call, or of an answer that has the form of one, from a caller that
/// speaks `version`.
pub fn arguments(frame: &SmcFrame, version: Version) -> Vec<Field> {
    let mut to = Fields::new(frame);
    let is_since = |since| version >= since;
    match frame.function().0 {
        ERROR | ERROR_64 => {
            error(&mut to);
        }
        VERSION => {
            match Version::from_word(frame.w(1)) {
                Some(asked) => to.add("version", Value::Version(asked)),
                None => to.address("version", 1),
            };
            if is_since(Version::V1_3) {
                to.flags(2);
            }
        }
        FEATURES => {
            let id = FunctionId(frame.w(1));
            if id.is_fast() {
                to.add("function", Value::Function(id));
            } else {
                to.number("feature", 1);
            }
            to.unless_zero("properties", frame.w(2).into());
        }
        RX_RELEASE | RX_ACQUIRE => {
            if is_since(Version::V1_1) && frame.w(1) as u16 != 0 {
                to.low_endpoint("vm", 1);
            }
        }
        RXTX_MAP_32 | RXTX_MAP_64 => {
            to.address("tx", 1).address("rx", 2).number("pages", 3);
        }
        RXTX_UNMAP => {
            if frame.w(1) >> 16 != 0 {
                to.high_endpoint("vm", 1);
            }
        }
        PARTITION_INFO_GET => {
            let uuid = [frame.w(1), frame.w(2), frame.w(3), frame.w(4)];
            to.uuid(Uuid::from_words(uuid));
            if is_since(Version::V1_1) {
                to.flags(5);
            }
        }
        PARTITION_INFO_GET_REGS => {
            to.uuid_in_registers(1);
            to.add("start", Value::Number(frame.x[3] & 0xffff));
            to.unless_zero("tag", frame.x[3] >> 16 & 0xffff);
        }
        MSG_WAIT | MSG_WAIT_64 => {
            if is_since(Version::V1_2) {
                to.flags(2);
            }
        }
        YIELD | YIELD_64 => {
            let time = Handle::from_halves([frame.w(2).into(), frame.w(3).into()]);
            to.unless_zero("nanoseconds", time.bits());
        }
        RUN | RUN_64 => {
            to.context();
        }
        INTERRUPT => {
            if frame.w(1) != 0 {
                to.context();
            }
            to.unless_zero("interrupt", frame.w(2).into());
        }
        MSG_SEND_DIRECT_REQ_32
        | MSG_SEND_DIRECT_REQ_64
        | MSG_SEND_DIRECT_RESP_32
        | MSG_SEND_DIRECT_RESP_64 => message(&mut to),
        MSG_SEND_DIRECT_REQ2 => {
            to.route().uuid_in_registers(2).payload(4, 17);
        }
        MSG_SEND_DIRECT_RESP2 => {
            to.route().payload(4, 17);
        }
        MSG_SEND2 => {
            if frame.w(1) >> 16 != 0 {
                to.high_endpoint("sender", 1);
            }
            to.flags(2);
        }
        MEM_DONATE_32 | MEM_DONATE_64 | MEM_LEND_32 | MEM_LEND_64 | MEM_SHARE_32 | MEM_SHARE_64
        | MEM_RETRIEVE_REQ_32 | MEM_RETRIEVE_REQ_64 => {
            to.descriptor();
        }
        MEM_RETRIEVE_RESP => {
            to.number("length", 1).number("fragment", 2);
        }
        MEM_RECLAIM => {
            to.handle().flags(3);
        }
        MEM_OP_PAUSE | MEM_OP_RESUME => {
            to.handle();
        }
        MEM_FRAG_RX => {
            let call = FragmentRx::decode(frame);
            to.add("handle", Value::Handle(call.handle));
            to.add("offset", Value::Number(call.offset as u64));
            fragment_of(&mut to, call.endpoint);
        }
        MEM_FRAG_TX => {
            let call = FragmentTx::decode(frame);
            to.add("handle", Value::Handle(call.handle));
            to.add("length", Value::Number(call.length as u64));
            fragment_of(&mut to, call.endpoint);
        }
        NOTIFICATION_BITMAP_CREATE => {
            to.low_endpoint("vm", 1).number("contexts", 2);
        }
        NOTIFICATION_BITMAP_DESTROY => {
            to.low_endpoint("vm", 1);
        }
        NOTIFICATION_BIND | NOTIFICATION_UNBIND | NOTIFICATION_SET | NOTIFICATION_BIND2
        | NOTIFICATION_UNBIND2 | NOTIFICATION_SET2 => {
            to.route().flags(2).notifications();
        }
        NOTIFICATION_GET | NOTIFICATION_GET2 => {
            to.low_endpoint("receiver", 1);
            to.add("vcpu", Value::Number((frame.w(1) >> 16).into()));
            to.flags(2);
        }
        SECONDARY_EP_REGISTER_32 | SECONDARY_EP_REGISTER_64 => {
            to.address("entry", 1);
        }
        MEM_PERM_GET_32 | MEM_PERM_GET_64 => {
            to.address("base", 1);
            if is_since(Version::V1_3) {
                to.number("pages", 2);
            }
        }
        MEM_PERM_SET_32 | MEM_PERM_SET_64 => {
            to.address("base", 1)
                .number("pages", 2)
                .address("permissions", 3);
        }
        CONSOLE_LOG_32 | CONSOLE_LOG_64 => {
            let text = console_text(frame);
            to.add("text", Value::Text(text));
        }
        MEM_RELINQUISH
        | ID_GET
        | SPM_ID_GET
        | NOTIFICATION_INFO_GET_32
        | NOTIFICATION_INFO_GET_64
        | EL3_INTR_HANDLE
        | NORMAL_WORLD_RESUME => {}
        _ => {
            to.payload(1, 7);
        }
    }
    to.fields
}

/// Returns what the answer to a call says. `asked` has the registers of the call.
pub fn results(asked: &SmcFrame, answer: &SmcFrame, version: Version) -> Vec<Field> {
    let mut to = Fields::new(answer);
    let function = answer.function().0;
    if asked.function().0 == VERSION {
        return match Version::from_word(answer.w(0)) {
            Some(version) => vec![Field {
                name: "version",
                value: Value::Version(version),
            }],
            None => error_in(answer.x[0]).into_iter().collect(),
        };
    }
    if function != SUCCESS_32 && function != SUCCESS_64 {
        return arguments(answer, version);
    }
    match asked.function().0 {
        ID_GET | SPM_ID_GET => {
            to.low_endpoint("id", 2);
        }
        FEATURES => {
            to.unless_zero("properties", answer.w(2).into());
            to.unless_zero("more", answer.w(3).into());
        }
        PARTITION_INFO_GET => {
            to.number("count", 2);
            if version >= Version::V1_1 && answer.w(3) != 0 {
                to.number("size", 3);
            }
        }
        PARTITION_INFO_GET_REGS => {
            to.add("last", Value::Number(answer.x[2] & 0xffff));
            to.add("current", Value::Number(answer.x[2] >> 16 & 0xffff));
            to.unless_zero("tag", answer.x[2] >> 32 & 0xffff);
            to.add("size", Value::Number(answer.x[2] >> 48));
            to.payload(3, 17);
        }
        MEM_DONATE_32 | MEM_DONATE_64 | MEM_LEND_32 | MEM_LEND_64 | MEM_SHARE_32 | MEM_SHARE_64
        | MEM_FRAG_TX | MEM_OP_RESUME => {
            let handle = Handle::from_halves([answer.w(2).into(), answer.w(3).into()]);
            to.add("handle", Value::Handle(handle));
        }
        MEM_PERM_GET_32 | MEM_PERM_GET_64 => {
            to.add("permissions", Value::Bits(answer.w(2).into()));
            to.unless_zero("pages", answer.w(3).into());
        }
        NOTIFICATION_GET => {
            let pair = |n| Handle::from_halves([answer.w(n).into(), answer.w(n + 1).into()]);
            to.unless_zero("from_partitions", pair(2).bits());
            to.unless_zero("from_vms", pair(4).bits());
            to.unless_zero("from_framework", pair(6).bits());
        }
        _ => {
            to.payload(2, 7);
        }
    }
    to.fields
}

/// Returns the name of the function that answers a call, or `None` if the answer to the call names
/// none, as that to `FFA_VERSION`.
pub fn result_name(asked: &SmcFrame, answer: &SmcFrame) -> Option<String> {
    (asked.function().0 != VERSION).then(|| name(answer.function()))
}

/// Adds the fields of a direct message, with the names of framework messages.
fn message(to: &mut Fields) {
    let w2 = to.frame.w(2);
    to.route();
    let name = match w2 {
        framework::PSCI_REQUEST => "PSCI request",
        framework::WARM_BOOT => "warm boot",
        framework::PSCI_RESPONSE => "PSCI response",
        framework::VM_CREATED => "VM created",
        framework::VM_CREATED_RESPONSE => "VM created, response",
        framework::VM_DESTROYED => "VM destroyed",
        framework::VM_DESTROYED_RESPONSE => "VM destroyed, response",
        framework::VERSION_REQUEST => "version request",
        framework::VERSION_RESPONSE => "version response",
        _ => {
            to.unless_zero("flags", w2.into()).payload(3, 7);
            return;
        }
    };
    to.add("framework", Value::Text(name.into())).payload(3, 7);
}

fn error(to: &mut Fields) {
    if to.frame.w(1) != 0 {
        to.context();
    }
    match error_in(to.frame.x[2]) {
        Some(field) => to.fields.push(field),
        None => {
            to.address("error", 2);
        }
    }
}

fn error_in(register: u64) -> Option<Field> {
    let value = Value::Error(FfaError::from_reg(register)?);
    Some(Field {
        name: "error",
        value,
    })
}

fn fragment_of(to: &mut Fields, endpoint: u32) {
    if endpoint >> 16 != 0 {
        to.add("vm", Value::Endpoint(PartitionId((endpoint >> 16) as u16)));
    }
}

/// Returns the characters in the registers of `FFA_CONSOLE_LOG`: four a register, or eight.
fn console_text(frame: &SmcFrame) -> String {
    let (width, last) = if frame.function().is_64() {
        (8, 17)
    } else {
        (4, 7)
    };
    let registers = frame.x.iter().take(last + 1).skip(2);
    let bytes = registers.flat_map(|x| x.to_le_bytes().into_iter().take(width));
    let bytes: Vec<u8> = bytes.take(frame.w(1) as usize & 0xff).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the sender of a call, if the call names it and is a message.
pub fn sender(frame: &SmcFrame) -> Option<PartitionId> {
    let names = is_request(frame) || frame.function().0 == MSG_SEND2;
    names.then_some(PartitionId((frame.w(1) >> 16) as u16))
}

/// Returns whether a call is a direct request.
pub fn is_request(frame: &SmcFrame) -> bool {
    let function = frame.function().0;
    [
        MSG_SEND_DIRECT_REQ_32,
        MSG_SEND_DIRECT_REQ_64,
        MSG_SEND_DIRECT_REQ2,
    ]
    .contains(&function)
}

/// Returns the receiver of a direct message.
pub fn receiver(frame: &SmcFrame) -> Option<PartitionId> {
    let function = frame.function().0;
    let is_response = [
        MSG_SEND_DIRECT_RESP_32,
        MSG_SEND_DIRECT_RESP_64,
        MSG_SEND_DIRECT_RESP2,
    ]
    .contains(&function);
    (is_request(frame) || is_response).then_some(PartitionId(frame.w(1) as u16))
}

/// Returns whether these registers are a response that `sender` sent.
pub fn is_response_of(frame: &SmcFrame, sender: Option<PartitionId>) -> bool {
    let is_response = receiver(frame).is_some() && !is_request(frame);
    is_response && sender == Some(PartitionId((frame.w(1) >> 16) as u16))
}

/// Returns whether the caller gives up the PE by the call, which then ends with the next message.
pub fn leaves(frame: &SmcFrame) -> bool {
    let is_response = receiver(frame).is_some() && !is_request(frame);
    is_response
        || matches!(
            frame.function().0,
            MSG_WAIT | MSG_WAIT_64 | YIELD | YIELD_64 | ERROR | ERROR_64 | ABORT_32 | ABORT_64
        )
}

/// Returns whether these registers answer a call, when the SPMC leaves to EL3 with them.
pub fn is_answer(frame: &SmcFrame) -> bool {
    match frame.function().0 {
        ERROR
        | ERROR_64
        | SUCCESS_32
        | SUCCESS_64
        | INTERRUPT
        | MSG_WAIT
        | YIELD
        | MSG_SEND_DIRECT_RESP_32
        | MSG_SEND_DIRECT_RESP_64
        | MSG_SEND_DIRECT_RESP2
        | MEM_RETRIEVE_RESP
        | MEM_OP_PAUSE
        | MEM_FRAG_RX
        | MEM_FRAG_TX
        | NORMAL_WORLD_RESUME
        | ABORT_32
        | ABORT_64 => true,
        // The answer to FFA_VERSION.
        function => function >> 31 == 0 || FfaError::from_reg(function.into()).is_some(),
    }
}
