//! The partition's end of the bus: it answers messages about the bus and about its one device, by
//! direct or by indirect messages.

use crate::ffa::indirect_message::{self, Header};
use crate::ffa::{self, NWD, id, route};
use crate::rt::call::{Regs, call};
use crate::sp::{Identity, RX, TX, caller};

use super::areas::Areas;
use super::disk::{self, CONFIG_SIZE, Disk};
use super::frame::{Message, SIZE, bus, transport};
use super::ring::{MAX_SIZE, Ring};
use super::{BUS_VERSION, RESULT_ERROR, REVISION, UUID};

/// Number of the only device.
const DEVICE: u16 = 0;
/// Configuration bytes that fit into a message, behind three words.
const CONFIG_MAX: usize = SIZE - 6 - 12;

/// A bus with one disk.
pub struct Bus {
    features: u32,
    areas: Areas,
    disk: Disk,
    /// Says whether the queue was used and the driver has not been told.
    used: bool,
    /// Areas that the partition gave back unasked and that the driver has not been told of: one bit
    /// for each number below 64.
    released: u64,
}

impl Bus {
    fn new(identity: &Identity, features: u32) -> Self {
        Self {
            features,
            areas: Areas::new(caller(identity)),
            disk: Disk::default(),
            used: false,
            released: 0,
        }
    }

    /// Handles a message, and returns the response if the message has one.
    fn handle(&mut self, message: &Message) -> Option<Message> {
        if !message.is_whole() || message.is_response() {
            return Some(message.response());
        }
        if message.is_bus() {
            return Some(self.about_bus(message));
        }
        if message.device() != DEVICE {
            return Some(message.response());
        }
        if message.id() == transport::EVENT_AVAIL {
            self.used |= self.disk.process(&self.areas);
            return None;
        }
        Some(self.about_disk(message))
    }

    fn about_bus(&mut self, message: &Message) -> Message {
        let response = message.response();
        let mut payload = message.payload();
        match message.id() {
            bus::VERSION => response
                .with(BUS_VERSION.to_le_bytes())
                .with(REVISION.to_le_bytes())
                .with(0u32.to_le_bytes())
                .with(self.features.to_le_bytes())
                .with(0xffu16.to_le_bytes()),
            bus::GET_DEVICES => {
                // There is one device, with number 0.
                let offset = payload.u16();
                let (count, map) = if offset == 0 { (1u16, 1u16) } else { (0, 0) };
                response
                    .with(offset.to_le_bytes())
                    .with(count.to_le_bytes())
                    .with(0u16.to_le_bytes())
                    .with(map.to_le_bytes())
            }
            bus::PING => response.with(payload.u32().to_le_bytes()),
            bus::AREA_SHARE => {
                let (number, handle, tag) = (payload.u16(), payload.u64(), payload.u64());
                let shared = self.areas.add(NWD, number, handle, tag, payload.u32());
                about_area(response, number, shared)
            }
            bus::AREA_UNSHARE => {
                let number = payload.u16();
                about_area(response, number, self.areas.remove(number))
            }
            bus::RESET => {
                self.disk.set_status(0);
                self.used = false;
                while let Some(number) = self.areas.any() {
                    self.areas.remove(number);
                    self.released |= 1 << (number % 64);
                }
                response
            }
            bus::EVENT_POLL => match self.next_event() {
                Some(event) => response.with_message(&event),
                None => response,
            },
            _ => response,
        }
    }

    /// Returns the next event that the driver has not been told. Each event is returned once.
    fn next_event(&mut self) -> Option<Message> {
        if self.used {
            self.used = false;
            let event = Message::transport(transport::EVENT_USED, DEVICE);
            return Some(event.with(0u32.to_le_bytes()));
        }
        if self.released != 0 {
            let number = self.released.trailing_zeros() as u16;
            self.released &= self.released - 1;
            return Some(Message::bus(bus::AREA_RELEASE).with(number.to_le_bytes()));
        }
        None
    }

    fn about_disk(&mut self, message: &Message) -> Message {
        let response = message.response();
        let mut payload = message.payload();
        let disk = &mut self.disk;
        match message.id() {
            transport::DEVICE_INFO => response
                .with(disk::DEVICE_ID.to_le_bytes())
                .with(0u32.to_le_bytes())
                .with(64u32.to_le_bytes())
                .with(CONFIG_SIZE.to_le_bytes())
                .with(1u32.to_le_bytes())
                .with([0; 4]),
            transport::GET_DEV_FEATURES => {
                let (index, count) = (payload.u32(), payload.u32().min(2));
                let offered = disk::VERSION_1 | disk::FLUSH;
                let mut answer = response.with(index.to_le_bytes()).with(count.to_le_bytes());
                for block in index..index.saturating_add(count) {
                    let word = offered.checked_shr(block.saturating_mul(32)).unwrap_or(0);
                    answer = answer.with((word as u32).to_le_bytes());
                }
                answer
            }
            transport::SET_DRV_FEATURES => {
                let (index, count) = (payload.u32(), payload.u32());
                for block in index..index.saturating_add(count.min(2)) {
                    let shift = block.saturating_mul(32).min(63);
                    let mask = (u64::from(u32::MAX)).checked_shl(block * 32).unwrap_or(0);
                    disk.features &= !mask;
                    disk.features |= (u64::from(payload.u32()) << shift) & mask;
                }
                response
            }
            transport::GET_CONFIG => {
                let (offset, size) = (payload.u32(), payload.u32());
                let mut answer = response
                    .with(0u32.to_le_bytes())
                    .with(offset.to_le_bytes())
                    .with(size.to_le_bytes());
                for at in 0..(size as usize).min(CONFIG_MAX) {
                    answer = answer.with([Disk::config((offset as usize).saturating_add(at))]);
                }
                answer
            }
            transport::GET_DEVICE_STATUS => response.with(disk.status.to_le_bytes()),
            transport::SET_DEVICE_STATUS => {
                disk.set_status(payload.u32());
                response.with(disk.status.to_le_bytes())
            }
            transport::GET_VQUEUE => {
                let index = payload.u32();
                let max = if index == 0 { MAX_SIZE } else { 0 };
                response
                    .with(index.to_le_bytes())
                    .with(max.to_le_bytes())
                    .with(disk.ring.size.to_le_bytes())
                    .with(disk.ring.descriptors.to_le_bytes())
                    .with(disk.ring.driver.to_le_bytes())
                    .with(disk.ring.device.to_le_bytes())
            }
            transport::SET_VQUEUE => {
                let (index, _, size) = (payload.u32(), payload.u32(), payload.u32());
                let ring = Ring::new(size, payload.u64(), payload.u64(), payload.u64());
                if let (0, Some(ring)) = (index, ring) {
                    disk.ring = ring;
                }
                response
            }
            transport::RESET_VQUEUE => {
                disk.ring = Ring::default();
                response
            }
            _ => response,
        }
    }
}

fn about_area(response: Message, number: u16, worked: bool) -> Message {
    let result = if worked { 0 } else { RESULT_ERROR };
    response
        .with(number.to_le_bytes())
        .with(result.to_le_bytes())
}

/// Returns the UUID as x2 and x3 carry it.
pub fn uuid_registers() -> [u64; 2] {
    let [a, b, c, d] = UUID.map(u64::from);
    [b << 32 | a, d << 32 | c]
}

/// Serves the bus by direct messages, for ever.
pub fn serve_direct(identity: &'static Identity) -> ! {
    let mut bus = Bus::new(identity, super::feature::DIRECT_RX);
    let mut next = ffa::call(id::MSG_WAIT, &[]);
    loop {
        next = if next[0] as u32 == id::DIRECT_REQ2 && next[2..4] == uuid_registers() {
            let response = bus.handle(&Message::from_registers(&next));
            let back = route(next[1] as u16, (next[1] >> 16) as u16);
            let mut registers: Regs = ffa::regs(id::DIRECT_RESP2, &[back]);
            if let Some(response) = response {
                response.to_registers(&mut registers);
            }
            call(ffa::conduit(), registers)
        } else {
            ffa::call(id::MSG_WAIT, &[])
        };
    }
}

/// Serves the bus by indirect messages, for ever.
pub fn serve_indirect(identity: &'static Identity) -> ! {
    let features = super::feature::INDIRECT_RX | super::feature::INDIRECT_TX;
    let mut bus = Bus::new(identity, features);
    // The response that waits until the Normal world's RX is free.
    let mut response = None;
    loop {
        if response.is_none()
            && let Some(message) = receive(identity.id)
        {
            response = bus.handle(&message);
        }
        let sent = match response.take().or_else(|| bus.next_event()) {
            Some(message) if is_sent(identity.id, &message) => true,
            unsent => {
                response = unsent;
                false
            }
        };
        if !sent {
            ffa::call(id::MSG_WAIT, &[]);
        }
    }
}

/// Takes the message that a framework notification announces, if there is one.
fn receive(me: u16) -> Option<Message> {
    if !indirect_message::is_announced(me, FRAMEWORK) {
        return None;
    }
    let header = Header::read(&RX);
    let message = Message::from_buffer(&RX, header.offset as usize, header.size as usize);
    ffa::call(id::RX_RELEASE, &[]);
    Some(message)
}

/// Sends a message to the Normal world. Returns false if its RX is full.
fn is_sent(me: u16, message: &Message) -> bool {
    ffa::done(&indirect_message::send(&TX, me, NWD, message.bytes())).is_ok()
}

/// Framework notifications of the SPM and of the Hypervisor.
const FRAMEWORK: u64 = 1 << 2 | 1 << 3;
