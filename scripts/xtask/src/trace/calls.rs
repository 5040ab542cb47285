//! Calls with their results, from the records of a run.
//!
//! A context of a partition has at most one call that has not returned, and so has the Normal world
//! on each PE. A call returns when control next enters its caller; for a call by which the caller
//! gives up the PE, such as `FFA_MSG_WAIT`, that is the next message.

use std::collections::HashMap;

use spmc::ffa::{SmcFrame, Version, function};
use spmc::id::PartitionId;

use super::buffers::{self, Bytes};
use super::decode::{self, Field};
use super::record::{Copied, Count, Direction, Event, Kind, Record};
use super::system::Partition;
use super::tracks::Tracks;

/// An end of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// The Normal world, or one of its VMs.
    NormalWorld(PartitionId),
    Spmc,
    /// EL3.
    Spmd,
    Partition(PartitionId),
    /// A partition that no manifest describes, by its VMID.
    Unknown(u64),
}

impl Who {
    /// Returns the id, if it is known.
    pub fn id(self) -> Option<PartitionId> {
        match self {
            Self::NormalWorld(id) | Self::Partition(id) => Some(id),
            Self::Spmc => Some(PartitionId::SPMC),
            Self::Spmd => Some(PartitionId::SPMD),
            Self::Unknown(_) => None,
        }
    }

    /// Returns the end of a call that has the id.
    pub fn of(id: PartitionId) -> Self {
        match id {
            PartitionId::SPMC => Self::Spmc,
            id if id.is_el3() => Self::Spmd,
            id if id.is_secure() => Self::Partition(id),
            id => Self::NormalWorld(id),
        }
    }
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    pub pe: usize,
    /// Instructions that all PEs had executed when it was made.
    pub time: u64,
    pub caller: Who,
    pub callee: Who,
    /// The version that the caller spoke.
    pub version: Version,
    pub frame: SmcFrame,
    /// The registers with which it returned, if it did.
    pub answer: Option<SmcFrame>,
    /// Instructions of the PE until it returned. For a call by which the caller gave up the PE,
    /// those until the SPMC passed the PE on. `None` if it returned on another PE, or never.
    pub cost: Option<Count>,
    /// The bytes that the SPMC read for it from memory of others: from TX, as a rule.
    pub read: Bytes,
    /// The bytes that the SPMC wrote for it to memory of others: to RX, as a rule.
    pub written: Bytes,
    /// The instructions that the PE had executed.
    begun: Count,
}

impl Call {
    /// Returns the arguments, in registers and in buffers.
    pub fn arguments(&self) -> Vec<Field> {
        let mut fields = decode::arguments(&self.frame, self.version);
        fields.extend(buffers::arguments(self));
        fields
    }

    /// Returns what the answer says, in registers and in buffers. There is none if it did not
    /// return.
    pub fn results(&self) -> Vec<Field> {
        let Some(answer) = self.answer else {
            return Vec::new();
        };
        let mut fields = decode::results(&self.frame, &answer, self.version);
        fields.extend(buffers::results(self, &answer));
        fields
    }
}

/// A trace: the calls in the order in which they were made, and who had which PE.
pub struct Trace {
    pub calls: Vec<Call>,
    pub tracks: Tracks,
}

/// The calls on a PE that have not returned. Numbers are places in the list of calls.
#[derive(Clone, Default)]
struct Pe {
    /// The Normal world's.
    normal_world: Option<usize>,
    /// Set when EL3 has passed that on to the SPMC.
    has_entered: bool,
    /// EL3's, such as a message about power.
    spmd: Option<usize>,
    /// The SPMC's own to EL3.
    own: Option<usize>,
    /// The call by which a caller gave up the PE, until the SPMC passes the PE on.
    leaving: Option<usize>,
    /// The call that the SPMC works for.
    current: Option<usize>,
}

/// Puts calls together.
struct Follower<'s> {
    partitions: &'s [Partition],
    calls: Vec<Call>,
    tracks: Tracks,
    pes: HashMap<usize, Pe>,
    /// The calls of contexts that have not returned, by VMID and, for partitions with one context
    /// for each PE, by PE.
    open: HashMap<(u64, usize), usize>,
    /// The versions that callers negotiated, by id.
    versions: HashMap<u16, Version>,
}

/// Puts the calls of a run together.
pub fn follow(events: &[Event], partitions: &[Partition]) -> Trace {
    let versions = partitions.iter().map(|sp| (sp.id.0, sp.version)).collect();
    let mut follower = Follower {
        partitions,
        calls: Vec::new(),
        tracks: Tracks::default(),
        pes: HashMap::new(),
        open: HashMap::new(),
        versions,
    };
    let mut end = 0;
    for event in events {
        match event {
            Event::Passage(record) => {
                follower.add(record);
                end = record.time;
            }
            Event::Copy(copied) => follower.copy(copied),
            Event::Tables(..) | Event::Roots(_) => {}
        }
    }
    follower.tracks.finish(end);
    Trace {
        calls: follower.calls,
        tracks: follower.tracks,
    }
}

impl Follower<'_> {
    fn add(&mut self, record: &Record) {
        match record.kind {
            Kind::NwdCall => {
                let id = decode::sender(&record.frame).unwrap_or(PartitionId::NORMAL_WORLD);
                let call = self.begin(record, Who::NormalWorld(id));
                let pe = self.pe(record);
                pe.normal_world = Some(call);
                pe.has_entered = false;
            }
            Kind::ToNwd => {
                self.pass_on(record);
                if let Some(call) = self.pe(record).normal_world.take() {
                    self.end(call, record);
                }
            }
            Kind::ToSpmc => self.enter_spmc(record),
            Kind::SpmcOut => self.leave_spmc(record),
            Kind::SpCall => {
                let caller = self.partition(record.tag);
                let call = self.begin(record, caller);
                self.open.insert(self.context(record), call);
                self.tracks.run(record, Who::Spmc);
            }
            Kind::ToSp => {
                self.pass_on(record);
                self.tracks.stop(record);
                let call = self.open.remove(&self.context(record));
                if let Some(call) = call.filter(|call| self.is_answered(*call, record)) {
                    self.end(call, record);
                }
                let partition = self.partition(record.tag);
                self.tracks.run(record, partition);
                if decode::is_request(&record.frame) {
                    self.tracks.arrive(record);
                }
            }
        }
    }

    /// Notes what the SPMC reads or writes for the call that it works for.
    fn copy(&mut self, copied: &Copied) {
        let current = self.pes.get(&copied.pe).and_then(|pe| pe.current);
        if let Some(call) = current.and_then(|index| self.calls.get_mut(index)) {
            let bytes = match copied.direction {
                Direction::FromMemory => &mut call.read,
                Direction::ToMemory => &mut call.written,
            };
            bytes.add(copied.address, &copied.bytes);
        }
    }

    fn pe(&mut self, record: &Record) -> &mut Pe {
        self.pes.entry(record.pe).or_default()
    }

    /// EL3 enters the SPMC: with the answer to a call of the SPMC, with a call of the Normal world,
    /// or with a message of its own.
    fn enter_spmc(&mut self, record: &Record) {
        self.tracks.run(record, Who::Spmc);
        if let Some(call) = self.pe(record).own.take() {
            return self.end(call, record);
        }
        let forwarded = self.pe(record).normal_world;
        if let Some(call) = forwarded.filter(|_| !self.pe(record).has_entered) {
            self.pe(record).has_entered = true;
            let call = &mut self.calls[call];
            if call.callee == Who::Spmd {
                call.callee = Who::Spmc;
            }
            // The SPMD turns some calls into messages.
            if call.frame.function() == record.frame.function() {
                return;
            }
        }
        // A boot of a PE is no call. Its registers may be those of the last response on that PE.
        if record.frame.function().is_ffa()
            && !decode::is_response_of(&record.frame, Who::Spmc.id())
        {
            let call = self.begin(record, Who::Spmd);
            self.pe(record).spmd = Some(call);
        }
    }

    /// The SPMC answers what came from EL3, or makes a call to EL3.
    fn leave_spmc(&mut self, record: &Record) {
        self.pass_on(record);
        self.tracks.stop(record);
        let is_answer = decode::is_answer(&record.frame);
        let pe = self.pe(record);
        match pe.spmd {
            Some(call) if is_answer => {
                pe.spmd = None;
                self.end(call, record);
            }
            None if is_answer && pe.normal_world.is_some() => {}
            _ if record.frame.function().is_ffa() => {
                let call = self.begin(record, Who::Spmc);
                if is_answer {
                    // The end of a boot, which answers no call.
                    self.pass_on(record);
                } else {
                    self.pe(record).own = Some(call);
                }
            }
            _ => {}
        }
    }

    /// Adds a call. Returns its place in the list.
    fn begin(&mut self, record: &Record, caller: Who) -> usize {
        let callee = match (caller, decode::receiver(&record.frame)) {
            (_, Some(receiver)) => Who::of(receiver),
            (Who::Partition(_) | Who::Unknown(_) | Who::Spmd, None) => Who::Spmc,
            // Until the SPMC is entered.
            (Who::NormalWorld(_) | Who::Spmc, None) => Who::Spmd,
        };
        let index = self.calls.len();
        self.calls.push(Call {
            pe: record.pe,
            time: record.time,
            caller,
            callee,
            version: self.version(caller),
            frame: record.frame,
            answer: None,
            cost: None,
            read: Bytes::default(),
            written: Bytes::default(),
            begun: record.executed,
        });
        self.tracks.begin(record, index);
        self.pe(record).current = Some(index);
        if decode::is_request(&record.frame) {
            self.tracks.send(record);
        }
        if decode::leaves(&record.frame) {
            self.pe(record).leaving = Some(index);
            if decode::receiver(&record.frame).is_some() {
                self.tracks.send(record);
            }
        }
        index
    }

    /// Ends a call with the registers with which control enters its caller.
    fn end(&mut self, index: usize, record: &Record) {
        let call = &mut self.calls[index];
        call.answer = Some(record.frame);
        if !decode::leaves(&call.frame) {
            self.tracks.end(record, index);
            if call.pe == record.pe {
                call.cost = Some(record.executed.since(call.begun));
            }
            let is_response = decode::receiver(&record.frame).is_some();
            if decode::is_request(&call.frame) && is_response {
                self.tracks.arrive(record);
            }
        }
        let (caller, frame) = (call.caller, call.frame);
        if frame.function().0 == function::VERSION {
            self.negotiate(caller, &frame, &record.frame);
        }
    }

    /// The SPMC passes the PE on. That ends the work for a call by which a caller gave up the PE.
    fn pass_on(&mut self, record: &Record) {
        self.pe(record).current = None;
        if let Some(index) = self.pe(record).leaving.take() {
            let call = &mut self.calls[index];
            call.cost = Some(record.executed.since(call.begun));
            self.tracks.end(record, index);
        }
    }

    /// Returns whether the record answers a call. It does not if the context begins a new life: its
    /// registers are no message then.
    fn is_answered(&self, index: usize, record: &Record) -> bool {
        let asked = self.calls[index].frame.function().0;
        asked == function::VERSION || record.frame.function().is_ffa()
    }

    /// Notes the version in force: the lower of the two that caller and callee told.
    fn negotiate(&mut self, caller: Who, asked: &SmcFrame, answer: &SmcFrame) {
        let versions = (
            Version::from_word(asked.w(1)),
            Version::from_word(answer.w(0)),
        );
        if let ((Some(asked), Some(told)), Some(id)) = (versions, caller.id())
            && asked.major() == told.major()
        {
            self.versions.insert(id.0, asked.min(told));
        }
    }

    fn version(&self, caller: Who) -> Version {
        let version = caller.id().and_then(|id| self.versions.get(&id.0));
        let default = match caller {
            Who::Spmc | Who::Spmd => Version::OWN,
            _ => Version::V1_0,
        };
        version.copied().unwrap_or(default)
    }

    fn partition(&self, tag: u64) -> Who {
        let mut all = self.partitions.iter();
        let found = all.find(|partition| partition.tag == tag);
        found.map_or(Who::Unknown(tag), |found| Who::Partition(found.id))
    }

    fn context(&self, record: &Record) -> (u64, usize) {
        let mut all = self.partitions.iter();
        let is_mp = all.any(|partition| partition.tag == record.tag && partition.is_mp);
        (record.tag, if is_mp { record.pe } else { 0 })
    }
}
