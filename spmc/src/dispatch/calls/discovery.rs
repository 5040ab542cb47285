//! Partition discovery: `FFA_PARTITION_INFO_GET` through RX and `FFA_PARTITION_INFO_GET_REGS`
//! through registers (FF-A v1.0 section 8.6, v1.1 section 13.8, v1.2, v1.3).
//!
//! Both list the same descriptors in the same order: partitions by place, and from 1.2 on each of
//! their services. Logical partitions of the SPMD follow in registers only, and for partitions
//! only, as with Hafnium.

use crate::error::{FfaError, Result};
use crate::ffa::partition_info::{
    DESCRIPTOR_1_1, Descriptor, MAX_DESCRIPTOR, Properties, WORDS, descriptor_size,
};
use crate::ffa::{Answer, SmcFrame, Version, function};
use crate::hal::Hal;
use crate::id::{PartitionId, Uuid};
use crate::manifest::config::VmMessages;
use crate::partition::{Frozen, Partition};
use crate::spmc::{Pe, Spmc};

use crate::dispatch::Instance;

/// w5 bit 0 (1.1): return only the count.
const COUNT_ONLY: u32 = 1;
/// The first of the registers that hold descriptors, up to x17.
const FIRST_REGISTER: usize = 3;

/// Bytes of a register.
const REGISTER_SIZE: usize = size_of::<u64>();
/// Registers of a descriptor at 1.1 and 1.2.
const WORDS_1_1: usize = DESCRIPTOR_1_1 / REGISTER_SIZE;

/// The arguments of `FFA_PARTITION_INFO_GET`.
struct InfoGet {
    uuid: Uuid,
    flags: u32,
}

impl InfoGet {
    /// Decodes w1 to w5.
    fn decode(frame: &SmcFrame) -> Self {
        Self {
            uuid: Uuid::from_words([frame.w(1), frame.w(2), frame.w(3), frame.w(4)]),
            flags: frame.w(5),
        }
    }
}

/// The arguments of `FFA_PARTITION_INFO_GET_REGS`.
struct InfoGetRegs {
    /// The two halves of the UUID.
    uuid: [u64; 2],
    /// The index of the first descriptor to return.
    start: usize,
    /// The tag of the list when the caller began with it.
    tag: u16,
}

impl InfoGetRegs {
    /// Decodes x1 to x3.
    fn decode(frame: &SmcFrame) -> Self {
        let [_, low, high, position, ..] = frame.x;
        Self {
            uuid: [low, high],
            start: position as u16 as usize,
            tag: (position >> 16) as u16,
        }
    }
}

/// A query for partitions, and the layout of the answer.
struct Query {
    uuid: Uuid,
    version: Version,
    /// The properties that the caller may learn.
    visible: Properties,
    /// The UUID may be that of an image.
    names_images: bool,
}

impl Query {
    fn new<C>(instance: &Instance<'_, C>, uuid: Uuid) -> Self {
        let version = instance.endpoint().version();
        Self {
            uuid,
            version,
            visible: visible_properties(instance, version),
            names_images: version >= Version::V1_3,
        }
    }

    /// Returns whether the query names the image of a partition.
    fn names_image_of(&self, frozen: &Frozen) -> bool {
        self.names_images && !self.uuid.is_nil() && frozen.config.image_uuid == self.uuid
    }

    /// The descriptors of one partition. A nil query lists it once, or from 1.2 on once per
    /// service, and so does one that names its image; any other lists it once, with no UUID of a
    /// service. The UUID that the query names is not repeated.
    fn descriptors<'a, C>(
        &'a self,
        partition: &Partition<C>,
        frozen: &'a Frozen,
    ) -> impl Iterator<Item = Descriptor> + 'a {
        let by_image = self.names_image_of(frozen);
        let any = by_image || self.uuid.is_nil();
        let version = partition.endpoint.version();
        // An image can be replaced whatever version it negotiated.
        let visible = self.visible & (properties_of(version) | Properties::LIVE_ACTIVATION);
        let each = self.version >= Version::V1_2;
        let mut constant = Properties::AARCH64;
        constant.set(Properties::NOTIFICATIONS, frozen.config.notifications);
        let wants = |messages| frozen.config.vm_messages.contains(messages);
        constant.set(Properties::VM_CREATED, wants(VmMessages::CREATED));
        constant.set(Properties::VM_DESTROYED, wants(VmMessages::DESTROYED));
        let live = frozen.config.live_activation.is_some();
        constant.set(Properties::LIVE_ACTIVATION, live);
        frozen
            .config
            .services
            .iter()
            .filter(move |service| any || service.uuid == self.uuid)
            .take(if each { usize::MAX } else { 1 })
            .map(move |service| {
                let messaging = if each {
                    service.messaging
                } else {
                    frozen.messaging
                };
                let mut properties = (Properties::from(messaging) | constant) & visible;
                if !properties.contains(Properties::RECEIVE_DIRECT) {
                    // Those messages are direct requests.
                    properties.remove(Properties::VM_CREATED | Properties::VM_DESTROYED);
                }
                Descriptor {
                    id: frozen.config.id,
                    contexts: frozen.config.vcpu_count,
                    properties,
                    uuid: if any { service.uuid } else { Uuid::NIL },
                    image: if by_image {
                        Uuid::NIL
                    } else {
                        frozen.config.image_uuid
                    },
                    version,
                }
            })
    }
}

impl<H: Hal> Spmc<H> {
    /// Handles `FFA_PARTITION_INFO_GET`: writes descriptors of the partitions with the UUID in w1
    /// to w4, or of all, to the caller's RX.
    ///
    /// `INVALID_PARAMETERS` for an unknown UUID or reserved bits, `BUSY` if RX is full or missing,
    /// `NO_MEMORY` if it is too short. Of the partitions that failed, only those are listed that
    /// have `lifecycle-support` and were not destroyed.
    pub(super) fn partition_info_get(
        &self,
        pe: &mut Pe,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let InfoGet { uuid, flags } = InfoGet::decode(frame);
        let query = Query::new(instance, uuid);
        let known_flags = if query.version >= Version::V1_1 {
            COUNT_ONLY
        } else {
            0
        };
        if flags & !known_flags != 0 {
            return Err(FfaError::InvalidParameters);
        }
        let size = descriptor_size(query.version);
        let mut room = pe.scratch.chunks_exact_mut(size);
        let mut count = 0_u32;
        for descriptor in self.matching(&query) {
            let to = room.next().ok_or(FfaError::NoMemory)?;
            let bytes = descriptor.bytes();
            to.copy_from_slice(bytes.get(..size).unwrap_or(&bytes));
            count = count.saturating_add(1);
        }
        if count == 0 {
            return Err(FfaError::InvalidParameters);
        }
        if flags & COUNT_ONLY != 0 {
            return Ok(Answer::success([count]));
        }
        let length = size.saturating_mul(count as usize);
        let bytes = pe.scratch.get(..length).ok_or(FfaError::NoMemory)?;
        let mut mailbox = instance.endpoint().mailbox.lock();
        mailbox.fill_rx(&self.hal, bytes, query.version)?;
        // A 1.0 caller knows the size and expects zero.
        let reported = if query.version >= Version::V1_1 {
            size as u32
        } else {
            0
        };
        Ok(Answer::success([count, reported]))
    }

    /// Handles `FFA_PARTITION_INFO_GET_REGS` (1.2): returns as many descriptors as fit into x3 to
    /// x17, from the index in x3 on, of the partitions with the UUID in x1 and x2, or of all. For a
    /// partition the logical partitions of the SPMD, which EL3 tells, follow all others.
    ///
    /// A logical partition asks for an image whatever the Normal world speaks, and its call looks
    /// like one of the Normal world. So such a query always gets the layout of 1.3.
    ///
    /// `INVALID_PARAMETERS` for an unknown UUID or an index behind the list; `RETRY` if the list
    /// has changed since the tag was given, and for a tag with index 0.
    pub(in crate::dispatch) fn partition_info_get_regs(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        let InfoGetRegs { uuid, start, tag } = InfoGetRegs::decode(frame);
        let mut query = Query::new(instance, Uuid::from_registers(uuid));
        let mut size = descriptor_size(query.version);
        if let Instance::NormalWorld(_) = instance {
            query.names_images = true;
            let mut partitions = self.listed_partitions();
            if partitions.any(|partition| query.names_image_of(&partition.frozen)) {
                size = MAX_DESCRIPTOR;
                query.visible |= Properties::LIVE_ACTIVATION;
            }
        }
        if start == 0 && tag != 0 {
            // Nothing can have gone before the first part. The code is that of Hafnium and of TF-A.
            return Err(FfaError::Retry);
        }
        let mut el3 = SmcFrame::ZERO;
        if let Instance::Partition(_) = instance {
            let [low, high] = uuid;
            el3.x[..3].copy_from_slice(&[function::PARTITION_INFO_GET_REGS.into(), low, high]);
            self.hal.call_el3(&mut el3);
        }
        let current_tag = self.list_tag();
        let mut answer = SmcFrame::ZERO;
        let (_, registers) = answer.x.split_at_mut(FIRST_REGISTER);
        let mut room = registers.chunks_exact_mut(size / REGISTER_SIZE);
        let (mut count, mut told) = (0_usize, 0_usize);
        let own = self.matching(&query).map(|descriptor| descriptor.words());
        for descriptor in own.chain(logical_partitions(&el3)) {
            if count >= start
                && let Some(to) = room.next()
            {
                to.iter_mut()
                    .zip(descriptor)
                    .for_each(|(to, word)| *to = word);
                told = count;
            }
            count = count.saturating_add(1);
        }
        if start != 0 && self.list_tag() != tag {
            // The list changed since the caller began with it, or during this call.
            return Err(FfaError::Retry);
        }
        let last = count
            .checked_sub(1)
            .filter(|last| start <= *last)
            .ok_or(FfaError::InvalidParameters)?;
        let size = size as u64;
        answer.x[0] = function::SUCCESS_64.into();
        answer.x[2] = size << 48 | u64::from(current_tag) << 32 | (told as u64) << 16 | last as u64;
        Ok(answer)
    }

    /// Returns the tag of the list, which changes when a partition fails or is loaded anew. The tag
    /// is zero until then: clients of Hafnium, which has no tags, expect zero and pass zero when
    /// they continue.
    fn list_tag(&self) -> u16 {
        self.partitions
            .iter()
            .map(Partition::turns)
            .fold(0, u16::wrapping_add)
    }

    /// Returns the descriptors that the query finds.
    fn matching<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = Descriptor> + 'a {
        self.listed_partitions()
            .flat_map(|partition| query.descriptors(partition, &partition.frozen))
    }
}

/// Returns the descriptors of logical partitions in an answer of the SPMD, in the layout of its
/// version: 1.3, or one before, which says neither image nor version. The SPMC asks for no further
/// answer: five descriptors of the shorter layout fit into one, and two of the longer.
fn logical_partitions(answer: &SmcFrame) -> impl Iterator<Item = [u64; WORDS]> {
    let (head, registers) = answer.x.split_at(FIRST_REGISTER);
    let size = match *head {
        [id, _, position] if id == function::SUCCESS_64.into() => position >> 48,
        _ => 0,
    };
    let words = if size == MAX_DESCRIPTOR as u64 {
        WORDS
    } else {
        WORDS_1_1
    };
    let is_list = words == WORDS || size == DESCRIPTOR_1_1 as u64;
    let descriptors = registers.chunks_exact(words).map(|descriptor| {
        let mut words = [0; WORDS];
        words[WORDS - 1] = Version::V1_2.to_word().into();
        words
            .iter_mut()
            .zip(descriptor)
            .for_each(|(to, word)| *to = *word);
        words
    });
    // Registers behind the last descriptor are zero.
    descriptors.filter(move |[first, ..]| is_list && PartitionId(*first as u16).is_logical())
}

/// Returns the properties that a partition that speaks `version` can have: it cannot use messages
/// that its version lacks.
fn properties_of(version: Version) -> Properties {
    let mut properties = Properties::RECEIVE_DIRECT
        | Properties::SEND_DIRECT
        | Properties::AARCH64
        | Properties::VM_CREATED
        | Properties::VM_DESTROYED;
    if version >= Version::V1_1 {
        properties |= Properties::INDIRECT | Properties::NOTIFICATIONS;
    }
    if version >= Version::V1_2 {
        properties |= Properties::RECEIVE_DIRECT2 | Properties::SEND_DIRECT2;
    }
    properties
}

/// Returns the properties that a caller may learn: those that its version knows, without messages
/// that the two cannot exchange.
fn visible_properties<C>(instance: &Instance<'_, C>, version: Version) -> Properties {
    let mut visible = properties_of(version);
    visible.remove(Properties::VM_CREATED | Properties::VM_DESTROYED);
    if version < Version::V1_1 {
        visible.remove(Properties::AARCH64);
    }
    if version >= Version::V1_3 {
        visible |= Properties::LIVE_ACTIVATION;
    }
    if let Instance::NormalWorld(_) = instance {
        // A partition cannot send requests to the Normal world.
        visible.remove(Properties::SEND_DIRECT | Properties::SEND_DIRECT2);
        if version >= Version::V1_1 {
            // Only a Hypervisor has VMs.
            visible |= Properties::VM_CREATED | Properties::VM_DESTROYED;
        }
    }
    visible
}
