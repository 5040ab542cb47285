//! The frame of virtio-msg: type, id, device, size, then the payload, all little-endian and packed.

use crate::rt::call::Regs;
use crate::rt::page::{PAGE_SIZE, Shared};

/// Bytes that a direct message carries, in x4 to x17.
pub const CAPACITY: usize = 112;
/// The most bytes that a bus of this revision sends in a message.
pub const SIZE: usize = 44;

const HEADER: usize = 6;
const FIRST_REGISTER: usize = 4;

const RESPONSE: u8 = 1 << 0;
const BUS: u8 = 1 << 1;

/// Ids of bus messages.
#[allow(missing_docs)]
pub mod bus {
    pub const GET_DEVICES: u8 = 0x02;
    pub const PING: u8 = 0x03;
    pub const VERSION: u8 = 0x80;
    pub const AREA_SHARE: u8 = 0x81;
    pub const AREA_UNSHARE: u8 = 0x82;
    pub const RESET: u8 = 0x83;
    pub const EVENT_POLL: u8 = 0x84;
    pub const AREA_RELEASE: u8 = 0xc0;
}

/// Ids of messages to and from a device.
#[allow(missing_docs)]
pub mod transport {
    pub const DEVICE_INFO: u8 = 0x02;
    pub const GET_DEV_FEATURES: u8 = 0x03;
    pub const SET_DRV_FEATURES: u8 = 0x04;
    pub const GET_CONFIG: u8 = 0x05;
    pub const SET_CONFIG: u8 = 0x06;
    pub const GET_DEVICE_STATUS: u8 = 0x07;
    pub const SET_DEVICE_STATUS: u8 = 0x08;
    pub const GET_VQUEUE: u8 = 0x09;
    pub const SET_VQUEUE: u8 = 0x0a;
    pub const RESET_VQUEUE: u8 = 0x0b;
    pub const EVENT_AVAIL: u8 = 0x41;
    pub const EVENT_USED: u8 = 0x42;
}

/// A message.
#[derive(Clone, Copy)]
pub struct Message([u8; CAPACITY]);

impl Message {
    fn new(kind: u8, id: u8, device: u16) -> Self {
        let mut message = Self([0; CAPACITY]);
        message.0[0] = kind;
        message.0[1] = id;
        message.0[2..4].copy_from_slice(&device.to_le_bytes());
        message.set_size(HEADER);
        message
    }

    /// Returns a message about the bus.
    pub fn bus(id: u8) -> Self {
        Self::new(BUS, id, 0)
    }

    /// Returns a message to or from a device.
    pub fn transport(id: u8, device: u16) -> Self {
        Self::new(0, id, device)
    }

    /// Returns the response to this message, without payload.
    pub fn response(&self) -> Self {
        Self::new(self.0[0] | RESPONSE, self.id(), self.device())
    }

    /// Adds little-endian bytes to the payload.
    pub fn with<const N: usize>(mut self, bytes: [u8; N]) -> Self {
        self.push(&bytes);
        self
    }

    /// Adds another message to the payload, as its end.
    pub fn with_message(mut self, other: &Self) -> Self {
        self.push(other.bytes());
        self
    }

    fn push(&mut self, bytes: &[u8]) {
        let (start, end) = (self.size(), self.size() + bytes.len());
        assert!(end <= SIZE);
        self.0[start..end].copy_from_slice(bytes);
        self.set_size(end);
    }

    fn set_size(&mut self, size: usize) {
        self.0[4..6].copy_from_slice(&(size as u16).to_le_bytes());
    }

    /// Returns the size of header and payload in bytes. A message from outside may have any.
    pub fn size(&self) -> usize {
        u16::from_le_bytes([self.0[4], self.0[5]]) as usize
    }

    /// Returns whether a frame may have this size.
    pub fn is_whole(&self) -> bool {
        (HEADER..=SIZE).contains(&self.size())
    }

    /// Returns the id of the message within its kind.
    pub fn id(&self) -> u8 {
        self.0[1]
    }

    /// Returns the device that the message is about.
    pub fn device(&self) -> u16 {
        u16::from_le_bytes([self.0[2], self.0[3]])
    }

    /// Returns whether the message is about the bus, and not about a device.
    pub fn is_bus(&self) -> bool {
        self.0[0] & BUS != 0
    }

    /// Returns whether the message is a response.
    pub fn is_response(&self) -> bool {
        self.0[0] & RESPONSE != 0
    }

    /// Returns the bytes of the message.
    pub fn bytes(&self) -> &[u8] {
        &self.0[..self.size().clamp(HEADER, SIZE)]
    }

    /// Returns the payload.
    pub fn payload(&self) -> Payload<'_> {
        Payload(&self.bytes()[HEADER..])
    }

    /// Returns the message in the payload, if there is one.
    pub fn payload_message(&self) -> Option<Self> {
        let inner = self.payload().rest();
        let mut bytes = [0; CAPACITY];
        bytes[..inner.len()].copy_from_slice(inner);
        (!inner.is_empty()).then_some(Self(bytes))
    }

    /// Takes a message from x4 to x17 of a direct message.
    pub fn from_registers(registers: &Regs) -> Self {
        let mut bytes = [0; CAPACITY];
        for (to, from) in bytes.chunks_exact_mut(8).zip(&registers[FIRST_REGISTER..]) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        Self(bytes)
    }

    /// Puts the message into x4 to x17 of a direct message.
    pub fn to_registers(self, registers: &mut Regs) {
        for (to, from) in registers[FIRST_REGISTER..]
            .iter_mut()
            .zip(self.0.chunks_exact(8))
        {
            *to = from
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
    }

    /// Takes a message from `size` bytes at `offset` of a buffer.
    pub fn from_buffer(buffer: &Shared<PAGE_SIZE>, offset: usize, size: usize) -> Self {
        let mut bytes = [0; CAPACITY];
        buffer.read(offset, &mut bytes[..size.min(SIZE)]);
        Self(bytes)
    }
}

/// The payload of a message, read from the front. Missing bytes read as zero.
pub struct Payload<'m>(&'m [u8]);

impl<'m> Payload<'m> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let (head, rest) = self.0.split_at(N.min(self.0.len()));
        bytes[..head.len()].copy_from_slice(head);
        self.0 = rest;
        bytes
    }

    /// Reads the next 16 bits.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    /// Reads the next 32 bits.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// Reads the next 64 bits.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// Returns the rest.
    pub fn rest(&self) -> &'m [u8] {
        self.0
    }
}
