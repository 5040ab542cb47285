//! The Normal world's end of the bus, as the Linux driver behaves: it probes by UUID and
//! properties, uses direct messages if the partition receives them and indirect ones otherwise, and
//! is the transport of a virtio driver.

use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::ffa::indirect_message::{self, Header};
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{NORMAL_WB, Receiver, Transaction, access};
use crate::ffa::{self, NWD, id, route};
use crate::nwd::{RX, TX, caller};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal, fail, holds};

use super::device::uuid_registers;
use super::frame::{Message, bus, transport};
use super::pages::{self, PAGES};
use super::{BUS_VERSION, REVISION, UUID, feature};

/// Properties of a partition.
const RECEIVES_DIRECT: u32 = 1 << 0;
const INDIRECT: u32 = 1 << 2;

/// Number of tries while the partition's RX is full.
const ATTEMPTS: usize = 10;
/// Number of times that partitions get cycles until a response must be there.
const ROUNDS: usize = 100;

/// Framework notifications of the SPM, the only ones that the SPMC keeps for the Normal world.
const FROM_SPM: u64 = 1 << 2;

/// The kind of messages that carry the frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// `FFA_MSG_SEND_DIRECT_REQ2`.
    Direct,
    /// `FFA_MSG_SEND2` and framework notifications.
    Indirect,
}

/// A partition that serves the bus.
#[derive(Clone, Copy, Debug)]
pub struct Bus {
    /// Id of the partition.
    pub partition: u16,
    /// The kind of messages that the partition takes.
    pub method: Method,
}

/// Calls `found` for each partition with the UUID of the service.
pub fn for_each_bus(mut found: impl FnMut(Bus) -> Check) -> Check {
    const ENTRY: usize = 24;
    let [a, b, c, d] = UUID.map(u64::from);
    let answer = ffa::call(id::PARTITION_INFO_GET, &[a, b, c, d]);
    ffa::succeeded(&answer)?;
    equal(answer[3], ENTRY as u64)?;
    let count = answer[2] as usize;
    let mut buses = [None; 4];
    for (n, bus) in buses.iter_mut().enumerate().take(count) {
        let (partition, properties) = (RX.u16(n * ENTRY), RX.u32(n * ENTRY + 4));
        let method = if properties & RECEIVES_DIRECT != 0 {
            Method::Direct
        } else if properties & INDIRECT != 0 {
            Method::Indirect
        } else {
            return fail(properties);
        };
        *bus = Some(Bus { partition, method });
    }
    ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    buses.into_iter().flatten().try_for_each(&mut found)
}

impl Bus {
    /// Sends a request and returns its response.
    pub fn transfer(&self, request: &Message) -> Check<Message> {
        let response = match self.method {
            Method::Direct => self.send_direct(request)?,
            Method::Indirect => {
                self.send_indirect(request)?;
                self.wait(|message| message.is_response())?
            }
        };
        holds(response.is_whole() && response.is_response(), response.id())?;
        equal(response.id(), request.id())?;
        equal(response.device(), request.device())?;
        equal(response.is_bus(), request.is_bus())?;
        Ok(response)
    }

    /// Sends a message that has no response.
    pub fn send_event(&self, event: &Message) -> Check {
        match self.method {
            // The response has no meaning.
            Method::Direct => self.send_direct(event).map(drop),
            Method::Indirect => self.send_indirect(event),
        }
    }

    fn send_direct(&self, request: &Message) -> Check<Message> {
        let [low, high] = uuid_registers();
        let mut registers: Regs =
            ffa::regs(id::DIRECT_REQ2, &[route(NWD, self.partition), low, high]);
        request.to_registers(&mut registers);
        let answer = call(ffa::conduit(), registers);
        if answer[0] == u64::from(id::ERROR) {
            return fail(answer[2]);
        }
        equal(answer[0], id::DIRECT_RESP2)?;
        equal(answer[1], route(self.partition, NWD))?;
        equal(answer[2] | answer[3], 0u64)?;
        Ok(Message::from_registers(&answer))
    }

    fn send_indirect(&self, request: &Message) -> Check {
        for _ in 0..ATTEMPTS {
            let answer = indirect_message::send(&TX, NWD, self.partition, request.bytes());
            if answer[0] != u64::from(id::ERROR) {
                return ffa::done(&answer);
            }
            ffa::refused(&answer, ffa::error::BUSY)?;
            give_cycles()?;
        }
        fail(self.partition)
    }

    /// Gives cycles to partitions that have something pending until a message comes that `wanted`
    /// takes. Drops other messages, as the driver does.
    pub fn wait(&self, wanted: impl Fn(&Message) -> bool) -> Check<Message> {
        for _ in 0..ROUNDS {
            if !give_cycles()? {
                continue;
            }
            if !indirect_message::is_announced(NWD, FROM_SPM) {
                continue;
            }
            let header = Header::read(&RX);
            let message = Message::from_buffer(&RX, header.offset as usize, header.size as usize);
            ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
            equal(header.sender, self.partition)?;
            equal(header.receiver, NWD)?;
            equal(header.size, message.size() as u32)?;
            if wanted(&message) {
                return Ok(message);
            }
        }
        fail(self.partition)
    }

    /// Asks a partition that sends no messages of its own for an event.
    pub fn poll(&self) -> Check<Option<Message>> {
        let response = self.transfer(&Message::bus(bus::EVENT_POLL))?;
        Ok(response.payload_message())
    }

    /// Sends VERSION. Fails unless both ends agree, and the features are those that the properties
    /// promise.
    pub fn version(&self) -> Check {
        let request = Message::bus(bus::VERSION)
            .with(BUS_VERSION.to_le_bytes())
            .with(REVISION.to_le_bytes())
            .with(0u32.to_le_bytes())
            .with(feature::ALL.to_le_bytes())
            .with(0xffu16.to_le_bytes());
        let response = self.transfer(&request)?;
        let mut payload = response.payload();
        equal(payload.u32(), BUS_VERSION)?;
        equal(payload.u32(), REVISION)?;
        equal(payload.u32(), 0u32)?;
        let features = payload.u32();
        let needed = match self.method {
            Method::Direct => feature::DIRECT_RX,
            Method::Indirect => feature::INDIRECT_RX | feature::INDIRECT_TX,
        };
        holds(features & needed != 0, features)
    }

    /// Sends GET_DEVICES, and returns the bitmap of device numbers below 16.
    pub fn devices(&self) -> Check<u16> {
        let request = Message::bus(bus::GET_DEVICES)
            .with(0u16.to_le_bytes())
            .with(0xffu16.to_le_bytes());
        let response = self.transfer(&request)?;
        let mut payload = response.payload();
        let (offset, count, next) = (payload.u16(), payload.u16(), payload.u16());
        equal(offset, 0u16)?;
        equal(next, 0u16)?;
        let map = payload.u16();
        equal(map.count_ones(), u32::from(count))?;
        Ok(map)
    }

    /// Shares the driver's pages and announces them as area `number`. Returns the handle, and the
    /// result in the response.
    pub fn share_area(&self, number: u16, tag: u64) -> Check<(u64, u16)> {
        let receivers = [Receiver {
            id: self.partition,
            access: access::RW,
            flags: 0,
        }];
        let transaction = Transaction {
            sender: NWD,
            attributes: NORMAL_WB,
            flags: 0,
            handle: 0,
            tag,
            receivers: &receivers,
            ranges: &[(pages::base(), PAGES as u32)],
        };
        let handle = caller().sent(id::MEM_SHARE_64, &transaction)?;
        Ok((handle, self.announce_area(number, handle, tag)?))
    }

    /// Sends AREA_SHARE, and returns the result in the response.
    pub fn announce_area(&self, number: u16, handle: u64, tag: u64) -> Check<u16> {
        let request = Message::bus(bus::AREA_SHARE)
            .with(number.to_le_bytes())
            .with(handle.to_le_bytes())
            .with(tag.to_le_bytes())
            .with((PAGES as u32).to_le_bytes())
            .with(0u32.to_le_bytes());
        self.about_area(&request, number)
    }

    /// Sends AREA_UNSHARE, and returns the result in the response.
    pub fn unshare_area(&self, number: u16) -> Check<u16> {
        self.about_area(
            &Message::bus(bus::AREA_UNSHARE).with(number.to_le_bytes()),
            number,
        )
    }

    fn about_area(&self, request: &Message, number: u16) -> Check<u16> {
        let response = self.transfer(request)?;
        let mut payload = response.payload();
        equal(payload.u16(), number)?;
        Ok(payload.u16())
    }

    /// Sends RESET.
    pub fn reset(&self) -> Check {
        self.transfer(&Message::bus(bus::RESET)).map(drop)
    }
}

/// Reclaims memory that nobody holds any more.
pub fn take_back(handle: u64) -> Check {
    ffa::done(&reclaim(handle, 0))
}

/// Gives cycles to all partitions with something pending, as the notification callback of the
/// kernel does. Returns whether something is pending for the Normal world.
fn give_cycles() -> Check<bool> {
    let answer = ffa::call(id::NOTIFICATION_INFO_GET_64, &[]);
    if answer[0] == u64::from(id::ERROR) {
        ffa::refused(&answer, ffa::error::NO_DATA)?;
        return Ok(false);
    }
    equal(answer[0], id::SUCCESS_64)?;
    let lists = (answer[2] >> 7 & 0x1f) as usize;
    let mut mine = false;
    let mut position = 0;
    let id_at = |n: usize| (answer[3 + n / 4] >> (16 * (n % 4))) as u16;
    for list in 0..lists {
        let vcpus = (answer[2] >> (12 + 2 * list) & 3) as usize;
        let endpoint = id_at(position);
        if endpoint == NWD {
            mine = true;
        } else {
            let run = ffa::call(id::RUN, &[u64::from(endpoint) << 16]);
            equal(run[0], id::MSG_WAIT)?;
        }
        position += 1 + vcpus;
    }
    Ok(mine)
}

/// A device on a bus, as the transport of a virtio driver. A message that fails causes a panic,
/// since the interface of transports has no errors.
pub struct Device {
    bus: Bus,
    number: u16,
}

impl Device {
    /// Returns device `number` of a bus.
    pub fn new(bus: Bus, number: u16) -> Self {
        Self { bus, number }
    }

    /// Returns a message to the device.
    pub fn request(&self, id: u8) -> Message {
        Message::transport(id, self.number)
    }

    /// Sends a message to the device, and returns the response.
    pub fn ask(&self, request: Message) -> Message {
        match self.bus.transfer(&request) {
            Ok(response) => response,
            Err(why) => panic!("device {} on {:?}: {why}", self.number, self.bus),
        }
    }
}

impl Transport for Device {
    fn device_type(&self) -> DeviceType {
        match self
            .ask(self.request(transport::DEVICE_INFO))
            .payload()
            .u32()
        {
            super::disk::DEVICE_ID => DeviceType::Block,
            other => panic!("device type {other}"),
        }
    }

    fn read_device_features(&mut self) -> u64 {
        let request = self.request(transport::GET_DEV_FEATURES);
        let response = self.ask(request.with(0u32.to_le_bytes()).with(2u32.to_le_bytes()));
        let mut payload = response.payload();
        let _index_and_count = payload.u64();
        payload.u64()
    }

    fn write_driver_features(&mut self, features: u64) {
        let request = self.request(transport::SET_DRV_FEATURES);
        let request = request.with(0u32.to_le_bytes()).with(2u32.to_le_bytes());
        self.ask(request.with(features.to_le_bytes()));
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        let response = self.ask(
            self.request(transport::GET_VQUEUE)
                .with(u32::from(queue).to_le_bytes()),
        );
        let mut payload = response.payload();
        let _index = payload.u32();
        payload.u32()
    }

    fn notify(&mut self, queue: u16) {
        let event = self.request(transport::EVENT_AVAIL);
        let event = event
            .with(u32::from(queue).to_le_bytes())
            .with(0u32.to_le_bytes());
        let mut outcome = self.bus.send_event(&event);
        if self.bus.method == Method::Indirect {
            let used =
                |message: &Message| message.id() == transport::EVENT_USED && !message.is_bus();
            outcome = outcome.and_then(|()| self.bus.wait(used).map(drop));
        }
        if let Err(why) = outcome {
            panic!("kick of device {} on {:?}: {why}", self.number, self.bus);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        let status = self
            .ask(self.request(transport::GET_DEVICE_STATUS))
            .payload()
            .u32();
        DeviceStatus::from_bits_retain(status)
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.ask(
            self.request(transport::SET_DEVICE_STATUS)
                .with(status.bits().to_le_bytes()),
        );
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        let request = self.request(transport::SET_VQUEUE);
        let request = request
            .with(u32::from(queue).to_le_bytes())
            .with(0u32.to_le_bytes());
        let request = request
            .with(size.to_le_bytes())
            .with(descriptors.to_le_bytes());
        self.ask(
            request
                .with(driver_area.to_le_bytes())
                .with(device_area.to_le_bytes()),
        );
    }

    fn queue_unset(&mut self, queue: u16) {
        self.ask(
            self.request(transport::RESET_VQUEUE)
                .with(u32::from(queue).to_le_bytes()),
        );
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        let response = self.ask(
            self.request(transport::GET_VQUEUE)
                .with(u32::from(queue).to_le_bytes()),
        );
        let mut payload = response.payload();
        let _index_and_max = payload.u64();
        payload.u32() != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let size = size_of::<T>();
        let request = self.request(transport::GET_CONFIG);
        let request = request
            .with((offset as u32).to_le_bytes())
            .with((size as u32).to_le_bytes());
        let response = self.ask(request);
        let bytes = response.payload().rest();
        let value = bytes.get(12..12 + size).ok_or(Error::ConfigSpaceTooSmall)?;
        T::read_from_bytes(value).map_err(|_| Error::ConfigSpaceTooSmall)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<()> {
        Err(Error::Unsupported)
    }
}
