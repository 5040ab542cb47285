//! An SMMU: streams, the tables to which they are attached, and a TLB.

use std::collections::{BTreeMap, BTreeSet};

use spmc::addr::World;
use spmc::hal::{Access, FaultKind, NoSuchStream, Roots, Stream};

use crate::translation::{Tables, Tlb};

/// The reason why an access of a device fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmaFault {
    /// The stream is not attached.
    Blocked,
    /// The tables do not permit the access.
    Stage2(FaultKind),
}

/// All SMMUs of a machine.
#[derive(Default)]
pub struct Smmu {
    streams: BTreeSet<Stream>,
    attached: BTreeMap<Stream, Roots>,
    pub(crate) tlb: Tlb,
}

impl Smmu {
    /// Makes SMMUs that know those streams.
    pub fn new(streams: &[Stream]) -> Self {
        Self {
            streams: streams.iter().copied().collect(),
            ..Self::default()
        }
    }

    pub(crate) fn knows(&self, stream: Stream) -> bool {
        self.streams.contains(&stream)
    }

    pub(crate) fn forget(&mut self, stream: Stream) {
        self.streams.remove(&stream);
    }

    pub(crate) fn attach(&mut self, stream: Stream, roots: &Roots) -> Result<(), NoSuchStream> {
        if !self.knows(stream) {
            return Err(NoSuchStream);
        }
        let before = self.attached.insert(stream, *roots);
        assert!(
            before.is_none_or(|before| before == *roots),
            "{stream:?} belongs to two endpoints"
        );
        Ok(())
    }

    pub(crate) fn detach(&mut self, stream: Stream) {
        self.attached.remove(&stream);
    }

    /// Makes an access of the device behind `stream`. Returns the physical address.
    pub(crate) fn translate(
        &mut self,
        tables: Tables<'_>,
        stream: Stream,
        (world, ipa): (World, u64),
        access: Access,
        coin: &mut impl FnMut() -> bool,
    ) -> Result<u64, DmaFault> {
        let roots = *self.attached.get(&stream).ok_or(DmaFault::Blocked)?;
        let found = self.tlb.translate(tables, &roots, world, ipa, coin);
        let translation = found.map_err(DmaFault::Stage2)?;
        if !translation.permits(access) {
            return Err(DmaFault::Stage2(FaultKind::Permission));
        }
        Ok(translation.page | ipa & 0xfff)
    }
}
