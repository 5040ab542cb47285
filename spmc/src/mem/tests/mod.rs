//! Memory transactions on fake hardware, call by call. The tests build descriptors byte by byte
//! from the tables of the specification, not with the codec under test. Every refused call is
//! compared before and after.

extern crate std;

mod buffers;
mod fragments;
mod handles;
mod lifecycle;
mod many;
mod mixed;
mod receive;
mod requests;
mod responses;
mod room;
mod send;
mod slices;

use core::sync::atomic::Ordering;
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use super::*;
use crate::addr::{Ipa, Pa, PageRange, World};
use crate::error::FfaError::{Aborted, Busy, Denied, InvalidParameters, NoMemory};
use crate::error::Result;
use crate::ffa::memory_call::{DescriptorCall, FragmentRx, FragmentTx};
use crate::ffa::memory_descriptor::DescriptorBuffer;
use crate::ffa::{Answer, Handle, SmcFrame, Version, function};
use crate::limits::{MAX_BORROWERS, SHARES_PARTITION};
use crate::manifest::config::Permissions;
use crate::mm::testing::{FakeHal, Leaves, pages};
use crate::mm::{AddressSpace, Attributes, BufferPages, PagePool, State};

/// Partitions that have transactions of their own.
const PARTITIONS: usize = 8;

/// Transactions that there can be.
const SHARES: u16 = 96;

const RAM: u64 = 0x4000_0000;
const NS: u16 = 0;
const A: u16 = 0x8001;
const B: u16 = 0x8002;
const C: u16 = 0x8003;
const VERSIONS: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];
const RO: u8 = 0b01;
const RW: u8 = 0b10;
const XN: u8 = 0b0100;
const X: u8 = 0b1000;
/// Attributes of Normal, write-back, inner shareable memory.
const WB: u16 = 0x2f;

/// Returns the address of a partition's own memory: 256 pages, of which TX and RX are the first
/// two.
fn home(id: u16) -> u64 {
    0x0e30_0000 + (id as u64 - 0x8001) * 0x10_0000
}

/// Maps memory that belongs to one partition alone.
fn own(space: &mut AddressSpace, hal: &FakeHal, range: PageRange<Ipa>, permissions: Permissions) {
    let attributes = Attributes::normal(permissions);
    space
        .map(hal, range, World::Secure, attributes, State::OwnerExclusive)
        .unwrap();
}

struct Machine {
    hal: FakeHal,
    shares: Shares,
    endpoints: Vec<Endpoint>,
}

impl Endpoints for Machine {
    fn endpoint(&self, id: PartitionId) -> Option<&Endpoint> {
        let id = if id.is_secure() {
            id
        } else {
            PartitionId::NORMAL_WORLD
        };
        self.endpoints.iter().find(|endpoint| endpoint.id() == id)
    }

    fn proxy(&self, _: PartitionId) -> Option<Proxy> {
        None
    }

    fn estate(&self, id: PartitionId) -> Option<&Endpoint> {
        self.endpoint(id)
    }

    fn streams_of(&self, _: PartitionId) -> impl Iterator<Item = &Endpoint> {
        core::iter::empty()
    }

    fn index(&self, id: PartitionId) -> Option<usize> {
        id.is_secure().then(|| usize::from(id.0 - 0x8001))
    }
}

/// The state that a refused call must leave alone.
#[derive(PartialEq, Eq, Debug)]
struct Snapshot {
    leaves: Leaves,
    pools: Vec<usize>,
    shares: String,
    mailboxes: String,
}

impl Machine {
    fn new() -> Self {
        Self::with(&VERSIONS[1..], 7, 3)
    }

    /// Creates a machine with the Normal world and `partitions` partitions. `versions` has the
    /// version of each in that order; the last one is for all others. Each gets `quota` table
    /// pages.
    fn with(versions: &[Version], quota: usize, partitions: u16) -> Self {
        let hal = FakeHal::new(1 + quota * (1 + partitions as usize));
        let mut supply = PagePool::all(&hal);
        let mut endpoints = Vec::new();
        for n in 0..=partitions {
            let endpoint = Endpoint::new();
            let id = if n == 0 { NS } else { 0x8000 + n };
            endpoint.init(
                PartitionId(id),
                *versions.get(n as usize).or(versions.last()).unwrap(),
            );
            if id != NS {
                endpoint.allow_pauses();
            }
            let mut space = endpoint.memory.lock();
            let pool = supply.carve(quota);
            let base = if id == NS {
                let ram = PageRange::new(Pa::new(RAM), 0x4_0000).unwrap();
                space.init_normal_world(&hal, pool, vec![ram]).unwrap();
                RAM
            } else {
                space.init(&hal, n, pool).unwrap();
                own(&mut space, &hal, pages(home(id), 256), Permissions::all());
                home(id)
            };
            let buffers = space
                .lock_mailbox(
                    &hal,
                    BufferPages {
                        tx: pages(base, 1),
                        rx: pages(base + 0x1000, 1),
                    },
                )
                .unwrap();
            drop(space);
            endpoint.mailbox.lock().map(buffers).unwrap();
            endpoints.push(endpoint);
        }
        Self {
            hal,
            shares: Shares::new(PARTITIONS, SHARES, 1),
            endpoints,
        }
    }

    fn engine(&self) -> Engine<'_, FakeHal, Self> {
        Engine {
            hal: &self.hal,
            shares: &self.shares,
            endpoints: self,
        }
    }

    fn of(&self, id: u16) -> &Endpoint {
        self.endpoint(PartitionId(id)).unwrap()
    }

    fn snapshot(&self) -> Snapshot {
        let mut roots = Vec::new();
        let mut pools = Vec::new();
        let mut mailboxes = String::new();
        for endpoint in &self.endpoints {
            let mut space = endpoint.memory.lock();
            roots.extend(space.root_tables(&self.hal));
            pools.push(space.pool().available());
            mailboxes += &format!("{:?}", endpoint.mailbox.lock());
        }
        let shares = format!("{:?}", self.shares);
        Snapshot {
            leaves: self.hal.leaves(&roots),
            pools,
            shares,
            mailboxes,
        }
    }

    /// Gives a partition `count` more pages from `address` on.
    fn give(&self, id: u16, address: u64, count: u64, permissions: Permissions) {
        let mut space = self.of(id).memory.lock();
        own(&mut space, &self.hal, pages(address, count), permissions);
    }

    fn put_tx(&self, id: u16, bytes: &[u8]) {
        let buffers = self.of(id).mailbox.lock().buffers().unwrap();
        self.hal
            .write(buffers.world, buffers.tx.base(), bytes)
            .unwrap();
    }

    fn rx(&self, id: u16, length: usize) -> Vec<u8> {
        let buffers = self.of(id).mailbox.lock().buffers().unwrap();
        let mut bytes = vec![0; length];
        self.hal
            .read(buffers.world, buffers.rx.base(), &mut bytes)
            .unwrap();
        bytes
    }

    /// Makes a call and goes on with it until it ends, or until its caller must resume it.
    fn call(&self, id: u16, frame: SmcFrame) -> Result<SmcFrame> {
        let (engine, caller) = (self.engine(), self.of(id));
        let mut answer = self.first_step(id, frame);
        while let Ok(paused) = &answer
            && let Some(handle) = engine.unfinished(paused)
        {
            answer = engine.finish(caller, handle);
        }
        answer.map(told)
    }

    fn first_step(&self, id: u16, frame: SmcFrame) -> Result<Answer> {
        let mut buffer = DescriptorBuffer::new();
        let (engine, caller) = (self.engine(), self.of(id));
        let mut offer = |kind| {
            let call = DescriptorCall::decode(&frame)?;
            engine.send(&mut buffer, caller, kind, &call)
        };
        match frame.w(0) {
            function::MEM_DONATE_32 | function::MEM_DONATE_64 => offer(SendKind::Donate),
            function::MEM_LEND_32 | function::MEM_LEND_64 => offer(SendKind::Lend),
            function::MEM_SHARE_32 | function::MEM_SHARE_64 => offer(SendKind::Share),
            function::MEM_RETRIEVE_REQ_32 | function::MEM_RETRIEVE_REQ_64 => {
                let call = DescriptorCall::decode(&frame)?;
                engine.retrieve(&mut buffer, caller, &call)
            }
            function::MEM_FRAG_TX => {
                engine.fragment_tx(&mut buffer, caller, &FragmentTx::decode(&frame))
            }
            function::MEM_FRAG_RX => {
                engine.fragment_rx(&mut buffer, caller, &FragmentRx::decode(&frame))
            }
            function::MEM_OP_RESUME => engine.resume(caller, Handle::of_call(&frame)),
            function::MEM_RELINQUISH => engine.relinquish(caller),
            function::MEM_RECLAIM => engine.reclaim(caller, Handle::of_call(&frame), frame.w(3)),
            _ => unreachable!(),
        }
    }

    /// Makes a call with a descriptor in TX.
    fn call_with(&self, id: u16, function: u32, bytes: &[u8]) -> Result<SmcFrame> {
        self.put_tx(id, bytes);
        let length = bytes.len() as u64;
        self.call(id, SmcFrame::new([function as u64, length, length]))
    }

    /// Sends a descriptor and returns the handle.
    fn send(&self, id: u16, function: u32, descriptor: &Descriptor) -> Result<u64> {
        let answer = self.call_with(id, function, &descriptor.bytes(self.of(id).version()))?;
        assert_eq!((answer.w(0), answer.w(1)), (function::SUCCESS_32, 0));
        assert!(answer.x[4..].iter().all(|x| *x == 0));
        Ok(answer.x[3] << 32 | answer.x[2])
    }

    /// Retrieves, checks the registers, and returns the response.
    fn retrieve(&self, id: u16, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let bytes = descriptor.bytes(self.of(id).version());
        let answer = self.call_with(id, function::MEM_RETRIEVE_REQ_32, &bytes)?;
        assert_eq!(answer.w(0), function::MEM_RETRIEVE_RESP);
        assert_eq!(answer.x[1], answer.x[2]);
        assert!(answer.x[3..].iter().all(|x| *x == 0));
        assert_eq!(self.of(id).mailbox.lock().check_rx(1), Err(Busy));
        self.of(id).mailbox.lock().release_rx().unwrap();
        Ok(self.rx(id, answer.x[1] as usize))
    }

    fn relinquish_with(&self, id: u16, handle: u64, flags: u32, ids: &[u16]) -> Result<SmcFrame> {
        let mut bytes = handle.to_le_bytes().to_vec();
        bytes.extend(flags.to_le_bytes());
        bytes.extend((ids.len() as u32).to_le_bytes());
        ids.iter().for_each(|id| bytes.extend(id.to_le_bytes()));
        self.put_tx(id, &bytes);
        let mut call = SmcFrame::new([function::MEM_RELINQUISH as u64]);
        // Registers from x8 on are not parameters, so their values must not matter.
        call.x[8..].fill(u64::MAX);
        self.call(id, call)
    }

    fn relinquish(&self, id: u16, handle: u64) -> Result<SmcFrame> {
        self.relinquish_with(id, handle, 0, &[id])
    }

    fn reclaim(&self, id: u16, handle: u64, flags: u64) -> Result<SmcFrame> {
        let low = handle & 0xffff_ffff;
        self.call(
            id,
            SmcFrame::new([function::MEM_RECLAIM as u64, low, handle >> 32, flags]),
        )
    }

    /// Makes a call that must be refused with `error` and change nothing.
    #[track_caller]
    fn refuses<T: core::fmt::Debug>(&self, error: FfaError, call: impl FnOnce() -> Result<T>) {
        let before = self.snapshot();
        assert_eq!(call().unwrap_err(), error);
        assert_eq!(self.snapshot(), before);
    }

    /// Returns the access that hardware gives a partition at `address`, as (write, execute); `None`
    /// if there is none.
    fn access(&self, id: u16, world: World, address: u64) -> Option<(bool, bool)> {
        let roots = self.of(id).memory.lock().roots();
        let (descriptor, output) = self.hal.translate(roots.of(world), address)?;
        assert_eq!(output, address);
        assert_eq!(descriptor >> 6 & 1, 1, "readable");
        Some((descriptor >> 7 & 1 == 1, descriptor >> 54 & 1 == 0))
    }

    fn state(&self, id: u16, address: u64) -> Option<State> {
        let space = self.of(id).memory.lock();
        space
            .inspect(&self.hal, [pages(address, 1)].into_iter())
            .and_then(|(_, leaf)| leaf.state())
    }
}

#[derive(Clone)]
struct Entry {
    id: u16,
    permissions: u8,
    flags: u8,
    /// The offset of the composite descriptor; `None` for its true offset, if there is one.
    offset: Option<u32>,
    implementation_defined: [u64; 2],
}

/// A transaction descriptor.
#[derive(Clone)]
struct Descriptor {
    sender: u16,
    attributes: u16,
    flags: u32,
    handle: u64,
    tag: u64,
    entries: Vec<Entry>,
    constituents: Vec<(u64, u32)>,
    /// The number of pages that the composite descriptor claims; `None` for the true number.
    pages: Option<u32>,
}

fn entry(id: u16, permissions: u8) -> Entry {
    Entry {
        id,
        permissions,
        flags: 0,
        offset: None,
        implementation_defined: [0; 2],
    }
}

impl Descriptor {
    fn offer(
        sender: u16,
        attributes: u16,
        receivers: &[(u16, u8)],
        constituents: &[(u64, u32)],
    ) -> Self {
        Self {
            sender,
            attributes,
            flags: 0,
            handle: 0,
            tag: 0,
            entries: receivers
                .iter()
                .map(|(id, permissions)| entry(*id, *permissions))
                .collect(),
            constituents: constituents.to_vec(),
            pages: None,
        }
    }

    fn share(sender: u16, receiver: u16, address: u64, count: u32) -> Self {
        Self::offer(sender, WB, &[(receiver, RW)], &[(address, count)])
    }

    fn lend(sender: u16, receiver: u16, address: u64, count: u32) -> Self {
        Self::offer(sender, 0, &[(receiver, RW)], &[(address, count)])
    }

    fn donate(sender: u16, receiver: u16, address: u64, count: u32) -> Self {
        Self::offer(sender, 0, &[(receiver, 0)], &[(address, count)])
    }

    fn request(sender: u16, handle: u64, receiver: u16, permissions: u8) -> Self {
        Self {
            handle,
            ..Self::offer(sender, 0, &[(receiver, permissions)], &[])
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn bytes(&self, version: Version) -> Vec<u8> {
        let (header, size) = match version {
            Version::V1_0 => (32, 16),
            Version::V1_1 => (48, 16),
            _ => (48, 32),
        };
        let mut bytes = Vec::new();
        bytes.extend(self.sender.to_le_bytes());
        bytes.extend(self.attributes.to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.handle.to_le_bytes());
        bytes.extend(self.tag.to_le_bytes());
        bytes.extend(if header == 32 { 0_u32 } else { size }.to_le_bytes());
        bytes.extend((self.entries.len() as u32).to_le_bytes());
        if header == 48 {
            bytes.extend(48_u32.to_le_bytes());
        }
        bytes.resize(header, 0);
        let composite = header as u32 + size * self.entries.len() as u32;
        for entry in &self.entries {
            let start = bytes.len();
            bytes.extend(entry.id.to_le_bytes());
            bytes.extend([entry.permissions, entry.flags]);
            let default = if self.constituents.is_empty() {
                0
            } else {
                composite
            };
            bytes.extend(entry.offset.unwrap_or(default).to_le_bytes());
            if size == 32 {
                bytes.extend(
                    entry
                        .implementation_defined
                        .iter()
                        .flat_map(|word| word.to_le_bytes()),
                );
            }
            bytes.resize(start + size as usize, 0);
        }
        if !self.constituents.is_empty() {
            let sum = self
                .constituents
                .iter()
                .map(|(_, count)| count)
                .fold(0_u32, |a, b| a.wrapping_add(*b));
            bytes.extend(self.pages.unwrap_or(sum).to_le_bytes());
            bytes.extend((self.constituents.len() as u32).to_le_bytes());
            bytes.extend([0; 8]);
            for (address, count) in &self.constituents {
                bytes.extend(address.to_le_bytes());
                bytes.extend(count.to_le_bytes());
                bytes.extend([0; 4]);
            }
        }
        bytes
    }
}

const DONATE: u32 = function::MEM_DONATE_64;
const LEND: u32 = function::MEM_LEND_32;
const SHARE: u32 = function::MEM_SHARE_64;

/// Returns the registers after a call that had zeros behind x7.
fn told(answer: Answer) -> SmcFrame {
    let mut frame = SmcFrame::ZERO;
    frame.answer(answer);
    frame
}
