//! A disk over virtio-msg: the whole life of the bus, by direct and by indirect messages. Only for
//! the layout `virtio-msg`.

use virtio_drivers::device::blk::{SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::transport::{DeviceStatus, Transport};

use crate::ffa::{self, NWD, V1_2, error, id};
use crate::nwd::{Nwd, RX, TX, Test, peek, poke};
use crate::rt::check::{Check, equal, fail, holds};
use crate::test;
use crate::virtio::driver::{Bus, Device, Method, for_each_bus, take_back};
use crate::virtio::frame::{Message, bus, transport};
use crate::virtio::pages::{self, Area, PAGES};
use crate::virtio::{AREA_SHIFT, RESULT_ERROR};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        virtio_setup,
        "A kernel at 1.2 with buffers and notifications"
    ),
    test!(
        virtio_probe,
        "The UUID finds a bus by direct and one by indirect messages; both agree on the version and have a disk"
    ),
    test!(
        virtio_disk,
        "What a virtio driver writes to the disk, through a shared area, it reads back"
    ),
    test!(
        virtio_area_errors,
        "Areas that cannot be had are refused, and memory comes back only after AREA_UNSHARE"
    ),
    test!(
        virtio_reset,
        "RESET gives all areas back, and the driver is told"
    ),
    test!(virtio_poll, "EVENT_POLL tells once that the queue was used"),
    test!(
        virtio_bad_ring,
        "A queue outside the area stops the device and nothing else"
    ),
    test!(
        virtio_unknown_messages,
        "Messages that nobody knows get an empty response"
    ),
];

const AREA: u16 = 1;
const TAG: u64 = 0x1234_5678_9abc_def0;
/// Sectors of the disk.
const SECTORS: usize = 64;
/// Sectors that one request moves.
const STRIDE: usize = 8;

// req: RXTX-01, VER-01
fn virtio_setup(_: &Nwd) -> Check {
    equal(ffa::call(id::VERSION, &[V1_2 as u64])[0] >> 16, 1u64)?;
    ffa::done(&ffa::call(
        id::RXTX_MAP_64,
        &[TX.address(), RX.address(), 1],
    ))?;
    ffa::done(&ffa::call(id::NOTIFICATION_BITMAP_CREATE, &[NWD as u64, 1]))
}

fn virtio_probe(_: &Nwd) -> Check {
    let (mut direct, mut indirect) = (0u32, 0u32);
    for_each_bus(|bus| {
        match bus.method {
            Method::Direct => direct += 1,
            Method::Indirect => indirect += 1,
        }
        bus.version()?;
        equal(bus.devices()?, 1u16)
    })?;
    equal(direct, 1u32)?;
    equal(indirect, 1u32)
}

fn virtio_disk(_: &Nwd) -> Check {
    for_each_bus(|bus| {
        with_area(bus, || {
            let Ok(mut disk) = VirtIOBlk::<Area, Device>::new(Device::new(bus, 0)) else {
                return fail(bus.partition);
            };
            equal(disk.capacity(), SECTORS as u64)?;
            let mut data = [0; STRIDE * SECTOR_SIZE];
            for first in (0..SECTORS).step_by(STRIDE) {
                pattern(bus.partition, first, &mut data);
                holds(disk.write_blocks(first, &data).is_ok(), first as u64)?;
            }
            holds(disk.flush().is_ok(), 0u64)?;
            for first in (0..SECTORS).step_by(STRIDE).rev() {
                let mut wanted = [0; STRIDE * SECTOR_SIZE];
                pattern(bus.partition, first, &mut wanted);
                data.fill(0);
                holds(disk.read_blocks(first, &mut data).is_ok(), first as u64)?;
                holds(data == wanted, first as u64)?;
            }
            // The sector lies beyond the end of the disk.
            holds(disk.read_blocks(SECTORS, &mut data).is_err(), 0u64)
        })
    })
}

/// Fills `data` with a pattern that differs from byte to byte, sector to sector and partition to
/// partition.
fn pattern(partition: u16, first: usize, data: &mut [u8]) {
    let mut state = u32::from(partition) << 16 | first as u32 | 1;
    for byte in data {
        state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        *byte = (state >> 24) as u8;
    }
}

/// Shares the area while `body` runs, and checks that all of it comes back.
fn with_area(bus: Bus, body: impl FnOnce() -> Check) -> Check {
    let (handle, result) = bus.share_area(AREA, TAG)?;
    equal(result, 0u16)?;
    pages::set_area(AREA);
    let outcome = body();
    equal(bus.unshare_area(AREA)?, 0u16)?;
    take_back(handle)?;
    outcome?;
    equal(pages::used(), 0u32)
}

// req: MEMRC-11, MEMRQ-01
fn virtio_area_errors(_: &Nwd) -> Check {
    for_each_bus(|bus| {
        let (handle, result) = bus.share_area(AREA, TAG)?;
        equal(result, 0u16)?;
        // The number of the area is taken, the second handle is nobody's, and the tag differs from
        // that of the share.
        equal(bus.announce_area(AREA, handle, TAG)?, RESULT_ERROR)?;
        equal(bus.announce_area(AREA + 1, handle + 1, TAG)?, RESULT_ERROR)?;
        equal(bus.announce_area(AREA + 1, handle, TAG + 1)?, RESULT_ERROR)?;
        equal(bus.unshare_area(AREA + 1)?, RESULT_ERROR)?;
        let handle_words = [handle & 0xffff_ffff, handle >> 32];
        ffa::refused(&ffa::call(id::MEM_RECLAIM, &handle_words), error::DENIED)?;
        equal(bus.unshare_area(AREA)?, 0u16)?;
        equal(bus.unshare_area(AREA)?, RESULT_ERROR)?;
        take_back(handle)
    })
}

fn virtio_reset(_: &Nwd) -> Check {
    for_each_bus(|bus| {
        let (handle, result) = bus.share_area(AREA, TAG)?;
        equal(result, 0u16)?;
        bus.reset()?;
        take_back(handle)?;
        let event = match bus.method {
            Method::Direct => bus.poll()?,
            Method::Indirect => {
                // The response occupied RX. Now RX is free for the event.
                let run = ffa::call(id::RUN, &[u64::from(bus.partition) << 16]);
                equal(run[0], id::MSG_WAIT)?;
                Some(bus.wait(|_| true)?)
            }
        };
        let Some(event) = event else {
            return fail(0u64);
        };
        holds(event.is_bus() && !event.is_response(), event.id())?;
        equal(event.id(), bus::AREA_RELEASE)?;
        equal(event.payload().u16(), AREA)
    })
}

fn virtio_poll(_: &Nwd) -> Check {
    for_each_bus(|bus| {
        if bus.method == Method::Indirect {
            // A partition of this kind sends its events by itself, so that a poll brings none.
            return holds(bus.poll()?.is_none(), 0u64);
        }
        with_area(bus, || {
            let Ok(mut disk) = VirtIOBlk::<Area, Device>::new(Device::new(bus, 0)) else {
                return fail(bus.partition);
            };
            // The driver of the disk watches the ring and does not poll, so the events of earlier
            // requests are still pending.
            bus.poll()?;
            let mut sector = [0; SECTOR_SIZE];
            holds(disk.read_blocks(0, &mut sector).is_ok(), 0u64)?;
            let Some(event) = bus.poll()? else {
                return fail(0u64);
            };
            holds(!event.is_bus() && !event.is_response(), event.id())?;
            equal(event.id(), transport::EVENT_USED)?;
            equal(event.payload().u32(), 0u32)?;
            holds(bus.poll()?.is_none(), 0u64)
        })
    })
}

/// Offsets of the parts of a queue of 16 entries in the area that the test writes by hand.
const DESCRIPTORS: u64 = 0;
const DRIVER: u64 = 0x400;
const DEVICE: u64 = 0x800;

fn virtio_bad_ring(_: &Nwd) -> Check {
    let end = (PAGES * 4096) as u64;
    let area = u64::from(AREA) << AREA_SHIFT;
    for_each_bus(|bus| {
        // The table lies outside, or in another area; a buffer runs over the end; a descriptor
        // leads nowhere.
        let cases = [
            (area | end, area | end, 16, 0),
            (area + (1 << AREA_SHIFT), area, 16, 0),
            (area, area | (end - 8), 16, 0),
            (area, area | 0x1000, 1 << 31, 0),
            (area, area | 0x1000, 16, 77),
        ];
        for (table, buffer, length, next) in cases {
            with_area(bus, || {
                let mut device = Device::new(bus, 0);
                device.set_status(DeviceStatus::empty());
                device.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
                device.write_driver_features(1 << 32);
                let ready = DeviceStatus::ACKNOWLEDGE
                    | DeviceStatus::DRIVER
                    | DeviceStatus::FEATURES_OK
                    | DeviceStatus::DRIVER_OK;
                device.queue_set(0, 16, table, area | DRIVER, area | DEVICE);
                device.set_status(ready);
                let base = pages::base();
                poke(base + DESCRIPTORS, buffer);
                // The second word of a descriptor: length, the flag NEXT, the next index.
                poke(base + DESCRIPTORS + 8, length | 1 << 32 | next << 48);
                poke(base + DRIVER, 1 << 16);
                poke(base + DEVICE, 0);
                let kick = device.request(transport::EVENT_AVAIL);
                bus.send_event(&kick.with([0; 8]))?;
                equal(
                    device.get_status().bits(),
                    (ready | DeviceStatus::DEVICE_NEEDS_RESET).bits(),
                )?;
                // The device used no buffer.
                equal(peek(base + DEVICE) >> 16 & 0xffff, 0u64)?;
                device.set_status(DeviceStatus::empty());
                equal(device.get_status().bits(), 0u32)
            })?;
        }
        Ok(())
    })
}

fn virtio_unknown_messages(_: &Nwd) -> Check {
    for_each_bus(|bus| {
        for request in [
            Message::bus(0x7f),
            Message::transport(0x3f, 0),
            // The bus has no device with that number.
            Message::transport(transport::GET_DEVICE_STATUS, 5),
        ] {
            let response = bus.transfer(&request)?;
            equal(response.payload().rest().len() as u64, 0u64)?;
        }
        let ping = Message::bus(bus::PING).with(0xfeed_beefu32.to_le_bytes());
        equal(bus.transfer(&ping)?.payload().u32(), 0xfeed_beefu32)
    })
}
