//! The smallest hardware that the tests of `mm` and `mem` need: sparse memory, tables, a record of
//! TLB maintenance, and a walker of its own that reads the tables as the architecture defines.

extern crate std;

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::vec::Vec;

use crate::addr::{Ipa, PAGE_SHIFT, PAGE_SIZE, Pa, PageRange, World};
use crate::ffa::SmcFrame;
use crate::geometry::Geometry;
use crate::geometry::TABLE_BITS;
use crate::hal::{
    AccessFault, Context, Exit, Fault, Hal, NoSuchStream, Roots, SriTime, Stream, Table,
    TableMemoryError, TablePlaces, TlbScope,
};
use crate::manifest::config::{DeviceInterrupt, ExceptionLevel};

/// Physical address of the first half of the fake tables.
pub(crate) const TABLES: u64 = 0x0e20_0000;

/// Physical address of the second half, which lies below the first.
const MORE: u64 = 0x0d00_0000;

/// Entry that maps EL2 itself in the root of an S-EL0 partition: the block of 1 GiB at 1 GiB.
pub(crate) const EL2_ENTRY: u64 = 1 << 30 | 1;

/// A context that only has general-purpose registers.
pub(crate) struct NoContext([u64; 31]);

impl Context for NoContext {
    const NEW: Self = Self([0; 31]);

    fn gprs(&self) -> &[u64; 31] {
        &self.0
    }

    fn gprs_mut(&mut self) -> &mut [u64; 31] {
        &mut self.0
    }

    fn pc(&self) -> u64 {
        0
    }
}

/// Pages that were written, by world and page number.
type Memory = BTreeMap<(World, u64), Box<[u8; 4096]>>;

/// The fake hardware.
pub(crate) struct FakeHal {
    geometry: Geometry,
    tables: Vec<Table>,
    places: TablePlaces,
    memory: Mutex<Memory>,
    /// Number of calls of `invalidate_stage2`.
    pub(crate) invalidations: AtomicUsize,
    /// Number of these calls that named everything.
    pub(crate) invalidations_of_all: AtomicUsize,
    /// Ranges that the last call named.
    pub(crate) invalidated: Mutex<Vec<(World, PageRange<Ipa>)>>,
    /// Number of calls of `publish_tables`.
    pub(crate) publications: AtomicUsize,
    /// Set if all accesses to memory fault.
    pub(crate) faulty: AtomicBool,
    /// Set if writes to memory fault.
    pub(crate) read_only: AtomicBool,
    /// A root, and an address that is looked up under it whenever everything is invalidated.
    pub(crate) watched: Mutex<Option<(Pa, u64)>>,
    /// How often that address was mapped then.
    pub(crate) mapped_meanwhile: AtomicUsize,
}

impl FakeHal {
    /// Creates hardware that translates addresses of 39 bits.
    pub(crate) fn new(tables: usize) -> Self {
        Self::of_bits(TABLE_BITS, TABLE_BITS, tables)
    }

    /// Creates hardware that translates addresses of 41 bits.
    pub(crate) fn wide(tables: usize) -> Self {
        Self::of_bits(41, 42, tables)
    }

    /// Creates hardware whose physical addresses have `physical` bits, of which `needed` are used.
    pub(crate) fn of_bits(needed: u32, physical: u32, tables: usize) -> Self {
        Self {
            geometry: Geometry::choose(needed, physical).unwrap(),
            tables: (0..tables).map(|_| Table::EMPTY).collect(),
            places: TablePlaces {
                first: Pa::new(TABLES),
                count: tables / 2,
                more: Pa::new(MORE),
            },
            memory: Mutex::default(),
            invalidations: AtomicUsize::new(0),
            invalidations_of_all: AtomicUsize::new(0),
            invalidated: Mutex::default(),
            publications: AtomicUsize::new(0),
            faulty: AtomicBool::new(false),
            read_only: AtomicBool::new(false),
            watched: Mutex::new(None),
            mapped_meanwhile: AtomicUsize::new(0),
        }
    }

    /// Returns the contents of the tables, wherever the tables lie: every leaf that is not zero,
    /// with its level and its first address; and every word that is not zero in a page that no root
    /// leads to.
    pub(crate) fn leaves(&self, roots: &[(Pa, u64, usize)]) -> Leaves {
        let mut leaves = Vec::new();
        let mut reached = Vec::new();
        for (root, base, level) in roots {
            self.collect(
                self.index(root.raw()),
                *level as u32,
                *base,
                &mut leaves,
                &mut reached,
            );
        }
        for (page, table) in self.tables.iter().enumerate().skip(1) {
            if !reached.contains(&page) {
                let words = (0..)
                    .zip(&table.0)
                    .map(|(n, word)| (n, word.load(Ordering::Relaxed)));
                leaves.extend(
                    words
                        .filter(|(_, word)| *word != 0)
                        .map(|(n, word)| (0, n, word)),
                );
            }
        }
        Leaves(leaves)
    }

    /// Returns all words that are not zero, including the notes, as (page, index, word).
    pub(crate) fn words(&self) -> Vec<(usize, usize, u64)> {
        let pages = self.tables.iter().enumerate();
        let words = pages.flat_map(|(page, table)| {
            let words = table.0.iter().enumerate();
            words.map(move |(index, word)| (page, index, word.load(Ordering::Relaxed)))
        });
        words.filter(|(_, _, word)| *word != 0).collect()
    }

    /// Returns the index of the table at a physical address.
    fn index(&self, address: u64) -> usize {
        let (base, first) = match address {
            TABLES.. => (TABLES, 0),
            _ => (MORE, self.tables.len() / 2),
        };
        assert!(address >= base, "{address:#x} is no table");
        let index = ((address - base) / PAGE_SIZE) as usize + first;
        assert!(
            (1..self.tables.len()).contains(&index),
            "{address:#x} is no table"
        );
        index
    }

    fn collect(
        &self,
        page: usize,
        level: u32,
        base: u64,
        leaves: &mut Vec<(u32, u64, u64)>,
        reached: &mut Vec<usize>,
    ) {
        assert!(!reached.contains(&page), "page {page} is used twice");
        reached.push(page);
        for (index, word) in (0..).zip(&self.tables[page].0) {
            let address = base | index << (39 - 9 * level);
            match word.load(Ordering::Relaxed) {
                0 => {}
                raw if raw & 3 == 3 && level < 3 => {
                    let next = self.index(raw & 0x0000_ffff_ffff_f000);
                    self.collect(next, level + 1, address, leaves, reached);
                }
                raw => leaves.push((level, address, raw)),
            }
        }
    }

    /// Walks the tables of a stage 2 as hardware does. Returns the descriptor for `ipa` under
    /// `root`, and the output address of the page.
    pub(crate) fn translate(&self, root: Pa, ipa: u64) -> Option<(u64, u64)> {
        self.translate_by(self.geometry, root, ipa)
    }

    /// Walks the tables of an S-EL0 partition, as [`Self::translate`] does.
    pub(crate) fn translate_el0(&self, root: Pa, ipa: u64) -> Option<(u64, u64)> {
        self.translate_by(self.geometry.stage1(), root, ipa)
    }

    fn translate_by(&self, geometry: Geometry, root: Pa, ipa: u64) -> Option<(u64, u64)> {
        assert!(ipa < geometry.limit());
        let mut table = root.raw();
        if geometry.level() == 1 {
            // Tables at the start level are concatenated, so the first index has more than 9 bits.
            let tables = 1 << geometry.bits().saturating_sub(TABLE_BITS);
            assert_eq!(root.raw() % (tables << PAGE_SHIFT), 0);
            table += ipa >> TABLE_BITS << PAGE_SHIFT;
        }
        let steps = [(0, 39), (1, 30), (2, 21), (3, 12)];
        for (level, shift) in steps.into_iter().skip(geometry.level()) {
            let entries = &self.tables[self.index(table)].0;
            let raw = entries[(ipa >> shift) as usize & 511].load(Ordering::Relaxed);
            match (raw & 3, level) {
                (3, 0..=2) => table = raw & 0x0000_ffff_ffff_f000,
                (1, 1 | 2) | (3, 3) => {
                    let offset = (1 << shift) - 1;
                    let base = raw & 0x0000_ffff_ffff_f000;
                    assert_eq!(base & offset, 0, "misaligned block");
                    return Some((raw & !0x0000_ffff_ffff_f000, base | ipa & offset & !0xfff));
                }
                _ => return None,
            }
        }
        None
    }

    fn access(
        &self,
        world: World,
        mut at: u64,
        bytes: &mut [u8],
        write: bool,
    ) -> Result<(), AccessFault> {
        let refuses_writes = self.read_only.load(Ordering::Relaxed);
        if self.faulty.load(Ordering::Relaxed) || write && refuses_writes {
            return Err(AccessFault);
        }
        let mut memory = self.memory.lock().unwrap();
        for byte in bytes {
            let page = memory
                .entry((world, at / PAGE_SIZE))
                .or_insert_with(|| Box::new([0; 4096]));
            let cell = &mut page[(at % PAGE_SIZE) as usize];
            if write {
                *cell = *byte
            } else {
                *byte = *cell
            }
            at += 1;
        }
        Ok(())
    }
}

impl Hal for FakeHal {
    type Context = NoContext;

    fn reset(&self, _: &mut NoContext, _: ExceptionLevel, _: u64, _: u16) {}

    fn load(&self, _: &mut NoContext, _: &Roots, _: bool) {}

    fn run(&self, _: &mut NoContext) -> Exit {
        Exit::Watchdog
    }

    fn save(&self, _: &mut NoContext) {}

    fn inject_abort(&self, _: &mut NoContext, _: &Fault) -> bool {
        false
    }

    fn inject_undefined(&self, _: &mut NoContext) -> bool {
        false
    }

    fn raise_schedule_receiver(&self, _: SriTime) {}

    fn signal(&self, _: &mut NoContext, _: bool, _: bool) {}

    fn acknowledge_interrupt(&self) -> Option<u32> {
        None
    }

    fn deactivate_interrupt(&self, _: u32) {}

    fn configure_interrupt(&self, _: &DeviceInterrupt) -> bool {
        true
    }

    fn enable_interrupt(&self, _: u32, _: bool) {}

    fn route_interrupt(&self, _: u32, _: u64) -> bool {
        false
    }

    fn move_interrupt(&self, _: u32, _: u64, _: u64) -> bool {
        false
    }

    fn now(&self) -> u64 {
        0
    }

    fn ticks(&self, _: u32) -> u64 {
        0
    }

    fn look_again_elsewhere(&self) {}

    fn look_again_here(&self) {}

    fn look_again_on_return(&self) {}

    fn stop_normal_world_at(&self, _: u64) {}

    fn deadline(&self, _: &Self::Context) -> Option<u64> {
        None
    }

    fn expire(&self, _: &mut Self::Context) {}

    fn start_watchdog(&self, _: u64) {}

    fn stop_watchdog(&self) {}

    fn read(&self, world: World, from: Pa, to: &mut [u8]) -> Result<(), AccessFault> {
        self.access(world, from.raw(), to, false)
    }

    fn write(&self, world: World, to: Pa, from: &[u8]) -> Result<(), AccessFault> {
        self.access(world, to.raw(), &mut from.to_vec(), true)
    }

    fn zero(&self, world: World, range: PageRange<Pa>) -> Result<(), AccessFault> {
        if [&self.faulty, &self.read_only]
            .iter()
            .any(|it| it.load(Ordering::Relaxed))
        {
            return Err(AccessFault);
        }
        let mut memory = self.memory.lock().unwrap();
        for page in 0..range.pages() {
            memory.remove(&(world, range.base().raw() / PAGE_SIZE + page));
        }
        Ok(())
    }

    fn clean(&self, _: World, _: Pa, _: u64) {}

    fn set_geometry(&self, _: Geometry) {}

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn tables(&self) -> &[Table] {
        &self.tables
    }

    fn table_places(&self) -> &TablePlaces {
        &self.places
    }

    fn add_tables(&self, _: PageRange<Pa>) -> Result<(), TableMemoryError> {
        Err(TableMemoryError::TooMuch)
    }

    fn el2_entry(&self) -> u64 {
        EL2_ENTRY
    }

    fn invalidate_stage2(&self, _: &Roots, scope: TlbScope<'_>) {
        self.invalidations.fetch_add(1, Ordering::Relaxed);
        let all = usize::from(matches!(scope, TlbScope::All));
        self.invalidations_of_all.fetch_add(all, Ordering::Relaxed);
        *self.invalidated.lock().unwrap() = match scope {
            TlbScope::Ranges(ranges) => ranges.to_vec(),
            _ => Vec::new(),
        };
        let watched = *self.watched.lock().unwrap();
        let found = watched.and_then(|(root, ipa)| self.translate(root, ipa));
        let is_mapped = all * usize::from(found.is_some());
        self.mapped_meanwhile
            .fetch_add(is_mapped, Ordering::Relaxed);
    }

    fn publish_tables(&self) {
        self.publications.fetch_add(1, Ordering::Relaxed);
    }

    fn attach_stream(&self, _: Stream, _: &Roots) -> Result<(), NoSuchStream> {
        Err(NoSuchStream)
    }

    fn detach_stream(&self, _: Stream) {}

    fn affinity(&self) -> u64 {
        0
    }

    fn call_el3(&self, _: &mut SmcFrame) {}
}

/// The result of [`FakeHal::leaves`]. It is long, so a test that fails does not print it.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Leaves(Vec<(u32, u64, u64)>);

impl core::fmt::Debug for Leaves {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} leaves", self.0.len())
    }
}

/// Returns a range of pages in the identity-mapped IPA space.
pub(crate) fn pages(base: u64, count: u64) -> PageRange<Ipa> {
    PageRange::new(Ipa::new(base), count).unwrap()
}
