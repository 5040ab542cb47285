//! The model: the state of every page and of every transaction, in a table that is independent of
//! the engine. Sequences of calls by any endpoints are made on both, and both must agree after each
//! call.
//!
//! If a descriptor was built on purpose, valid or invalid, the model predicts the result. If its
//! bytes were changed at random, the engine decides, and the model only requires that no accepted
//! call takes memory from somebody: see [`Expect`].

mod check;
mod exhaust;
mod lifecycle;
mod pages;
mod send;
mod size;
mod stale;
mod wild;

pub use exhaust::Small;
pub use pages::{Kind, Page, Sent};
pub use size::Size;

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::ffa::*;
use crate::fuzz::stage::Stage;
use crate::memory::PAGE;
use crate::snapshot::{Counts, Snapshot};
use crate::source::Source;

/// The Normal world.
pub const NWD: u16 = 0;
/// The partitions.
pub const PARTITIONS: [u16; 3] = [0x8001, 0x8002, 0x8003];
/// All endpoints.
pub const ENDPOINTS: [u16; 4] = [NWD, 0x8001, 0x8002, 0x8003];

/// The expected result of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Success, or `NO_MEMORY` in a system with few tables.
    Accept,
    /// An error.
    Refuse,
    /// Either; but an accepted call must be safe.
    Any,
}

impl Expect {
    fn of(may: bool) -> Self {
        if may { Self::Accept } else { Self::Refuse }
    }
}

/// The numbers of accepted and refused calls of each kind.
pub type Tally = BTreeMap<&'static str, [usize; 2]>;

/// The amount of state that is compared after each call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// The counters that every change of the state changes.
    Light,
    /// The whole state and all tables.
    Full,
}

thread_local! {
    /// Systems that a model left as it had found them, with the pages that were mapped in them.
    static KEPT: RefCell<BTreeMap<(u32, usize), (Stage, Mapped)>> =
        const { RefCell::new(BTreeMap::new()) };
}

/// The numbers of pages that are mapped for each partition, in each IPA space.
type Mapped = BTreeMap<u16, [usize; 2]>;

/// A system and the model's table.
pub struct Model {
    stage: Stage,
    /// The version of the Normal world and the number of tables.
    key: (u32, usize),
    depth: Depth,
    /// Set if partitions may die and donations may be retrieved.
    final_steps: bool,
    /// The state after boot, as far as it is compared.
    initial: (Counts, Option<Snapshot>),
    /// Set if tables are short, so that a valid call may end with `NO_MEMORY`.
    scarce: bool,
    /// The pages that are mapped at first.
    mapped: Mapped,
    /// The pages that something has happened to. All others are in their initial state.
    touched: BTreeMap<u64, Page>,
    sent: Vec<Sent>,
    /// Descriptors of which only a part was sent.
    halves: Vec<send::Half>,
    /// Partitions whose RX holds a response.
    rx_full: BTreeMap<u16, bool>,
    dead: Vec<u16>,
    /// Endpoints that have unmapped their RX and TX.
    unmapped: Vec<u16>,
    /// Set if something went for good: by a donation or a death.
    moved: bool,
    tally: Tally,
}

impl Model {
    /// Boots a system. The source chooses the version of the Normal world and the number of tables.
    pub fn new(source: &mut impl Source, depth: Depth) -> Self {
        let minor = 2 - source.below(3) as u32;
        let tables = match depth {
            Depth::Light => source.pick(&[64, 64, 64, 40]),
            Depth::Full => source.pick(&[256, 256, 64, 40]),
        };
        let final_steps = source.pick(&[false, false, depth == Depth::Full, true]);
        let key = (minor, tables);
        let kept = (depth == Depth::Light).then(|| KEPT.with_borrow_mut(|kept| kept.remove(&key)));
        let (stage, mapped) = kept.flatten().unwrap_or_else(|| {
            let stage = Stage::new(minor, tables, source.below(0x1_0000));
            let mapped = PARTITIONS.map(|id| (id, check::count_mapped(&stage, id)));
            (stage, mapped.into())
        });
        Self::of(stage, mapped, key, depth, final_steps)
    }

    /// Boots a system with 64 PEs and 32 partitions, of which [`PARTITIONS`] make calls. The source
    /// chooses the version of the Normal world.
    pub fn crowded(source: &mut impl Source) -> Self {
        let key = (2 - source.below(3) as u32, 4096);
        let stage = Stage::crowded(key.0, key.1, source.below(0x1_0000));
        let mapped = PARTITIONS.map(|id| (id, check::count_mapped(&stage, id)));
        Self::of(stage, mapped.into(), key, Depth::Full, true)
    }

    /// Makes the model of a system that has just booted.
    fn of(
        stage: Stage,
        mapped: Mapped,
        key: (u32, usize),
        depth: Depth,
        final_steps: bool,
    ) -> Self {
        Self {
            initial: (
                stage.counts(),
                (depth == Depth::Full).then(|| stage.system.snapshot()),
            ),
            stage,
            key,
            depth,
            final_steps,
            scarce: key.1 < 256,
            mapped,
            touched: BTreeMap::new(),
            sent: Vec::new(),
            halves: Vec::new(),
            rx_full: BTreeMap::new(),
            dead: Vec::new(),
            unmapped: Vec::new(),
            moved: false,
            tally: BTreeMap::new(),
        }
    }

    /// Makes one call, or one event beside calls.
    pub fn step(&mut self, source: &mut impl Source) {
        match source.below(32) {
            0..=8 => self.send(source),
            9..=11 => self.go_on(source),
            12..=17 => self.retrieve(source),
            18..=21 => self.relinquish(source),
            22..=25 => self.reclaim(source),
            26 | 27 => self.touch(source),
            28 => self.release(source),
            29 => self.remap(source),
            30 if source.rarely(2) => self.wild_descriptor(source),
            30 => self.wild_registers(source),
            _ if self.final_steps => self.die(source),
            _ => {}
        }
        if self.depth == Depth::Full {
            self.check();
        }
    }

    /// Keeps the system, which is in its initial state, for another model.
    fn keep(self) -> Tally {
        if self.depth == Depth::Light {
            for (page, state) in &self.touched {
                let mut memory = self.stage.system.machine.memory();
                memory.zero(state.world, *page, PAGE).expect("memory");
            }
            self.stage.system.machine.journal().clear();
            KEPT.with_borrow_mut(|kept| kept.insert(self.key, (self.stage, self.mapped)));
        }
        self.tally
    }

    fn state(&self) -> (Counts, Option<Snapshot>) {
        let all = (self.depth == Depth::Full).then(|| self.stage.system.snapshot());
        (self.stage.counts(), all)
    }

    /// Returns all living endpoints, among which is at least the Normal world.
    fn living(&self) -> Vec<u16> {
        ENDPOINTS
            .into_iter()
            .filter(|id| !self.dead.contains(id))
            .collect()
    }

    fn layout(&self, by: u16) -> Layout {
        if by == NWD {
            self.stage.layout
        } else {
            self.puppet(by).layout
        }
    }

    fn puppet(&self, id: u16) -> &crate::Puppet {
        &self.stage.puppets[usize::from(id - 0x8001)]
    }

    /// Makes a call by any endpoint.
    fn call<const N: usize>(&self, by: u16, regs: [u64; N]) -> Regs {
        if by == NWD {
            self.stage.system.nwd().call(regs)
        } else {
            self.puppet(by).call(&self.stage.system, regs)
        }
    }

    fn write_tx(&self, by: u16, bytes: &[u8]) {
        if by == NWD {
            self.stage.system.nwd().write(crate::system::NWD_TX, bytes);
        } else {
            self.puppet(by).write_tx(&self.stage.system, bytes);
        }
    }

    fn read_rx(&self, by: u16, length: usize) -> Vec<u8> {
        if by == NWD {
            self.stage.system.nwd().read(crate::system::NWD_RX, length)
        } else {
            self.puppet(by).read_rx(&self.stage.system, length)
        }
    }

    /// Makes a call and checks its result: a refused call changes nothing. Returns whether the call
    /// was accepted, and the answer.
    fn judged<const N: usize>(
        &mut self,
        name: &'static str,
        by: u16,
        regs: [u64; N],
        expect: Expect,
    ) -> (bool, Regs) {
        let before = self.state();
        let answer = self.call(by, regs);
        let accepted = answer.error().is_none();
        self.tally.entry(name).or_default()[usize::from(!accepted)] += 1;
        let short = self.scarce && answer.error() == Some(NO_MEMORY);
        let right = match expect {
            Expect::Accept => accepted || short,
            Expect::Refuse => !accepted,
            Expect::Any => true,
        };
        assert!(
            right,
            "{name} by {by:#x}: {expect:?}, but {answer:?} to {regs:x?}"
        );
        if !accepted {
            assert_eq!(before, self.state(), "{answer:?} to {regs:x?}");
        }
        (accepted, answer)
    }

    /// Unmaps RX and TX of an endpoint, and maps them again.
    fn remap(&mut self, source: &mut impl Source) {
        let living = self.living();
        let by = source.pick(&living);
        if self.halves.iter().any(|half| half.by == by) {
            return;
        }
        self.unmap(by);
        self.map(by);
    }

    fn unmap(&mut self, by: u16) {
        let may = Expect::of(self.has_buffers(by));
        if self
            .judged("unmap", by, [RXTX_UNMAP, u64::from(by) << 16], may)
            .0
        {
            self.rx_full.remove(&by);
            self.unmapped.push(by);
        }
    }

    fn map(&mut self, by: u16) {
        let tx = if by == NWD {
            crate::system::NWD_TX
        } else {
            self.puppet(by).tx()
        };
        let may = Expect::of(!self.has_buffers(by));
        if self
            .judged("map", by, [RXTX_MAP_64, tx, tx + 0x1000, 1], may)
            .0
        {
            self.unmapped.retain(|id| *id != by);
        }
    }

    fn has_buffers(&self, by: u16) -> bool {
        !self.unmapped.contains(&by)
    }

    /// Makes an owner of RX release it.
    fn release(&mut self, source: &mut impl Source) {
        let living = self.living();
        let by = source.pick(&living);
        self.release_by(by);
    }

    fn release_by(&mut self, by: u16) {
        let full = self.rx_full.remove(&by).is_some();
        self.judged("release", by, [RX_RELEASE], Expect::of(full));
    }
}
