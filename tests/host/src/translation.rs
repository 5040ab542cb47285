//! Stage 2, and stage 1 of the EL2&0 regime, as hardware sees them: the walk (Arm ARM D8.3, 4 KiB
//! granule, 39-bit input) and TLBs.
//!
//! A TLB keeps translations, and where the tables of levels 2 and 3 lie that it found on the way,
//! also when the walk ended at nothing: such an entry is for all that the table translates. It
//! keeps them until it is told to forget them. It may also lose them at any time; which it does is
//! random, so that an engine that forgets an invalidation is caught sooner or later, and one that
//! relies on a kept translation too. What it knows of tables it forgets only with everything else
//! of the VMID: who names ranges may mean leaves alone.
//!
//! As long as a TLB knows a page as a table, the page must be nothing else: see
//! [`Tlb::find_reused`].

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

use spmc::addr::{Ipa, World};
use spmc::hal::{Access, FaultKind, Stage2Roots, Table, TablePlaces, TlbScope};

/// A translation of one page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// Physical page, in the address space of the same world.
    pub page: u64,
    /// Reads are allowed.
    pub read: bool,
    /// Writes are allowed.
    pub write: bool,
    /// Instruction fetches are allowed.
    pub execute: bool,
    /// `MemAttr[3:2]` is zero.
    pub device: bool,
}

impl Translation {
    /// Returns whether the access may be made.
    pub fn permits(&self, access: Access) -> bool {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
            Access::Execute => self.execute,
        }
    }
}

/// Translation tables as memory: `tables[0]` lies at `base`.
#[derive(Clone, Copy)]
pub struct Tables<'a> {
    /// All of them.
    pub tables: &'a [Table],
    /// Where they lie.
    pub places: &'a TablePlaces,
}

const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const ACCESS_FLAG: u64 = 1 << 10;

/// Where a walk begins, and how it reads what it finds.
#[derive(Clone, Copy)]
struct Root {
    table: u64,
    /// Stage 1 of the EL2&0 regime: only what leads to this world counts.
    stage1: Option<World>,
}

impl Root {
    fn of(roots: &Stage2Roots, world: World) -> Self {
        let stage1 = roots.is_el0().then_some(world);
        let table = match world {
            World::NonSecure if stage1.is_none() => roots.non_secure,
            _ => roots.secure,
        };
        Self {
            table: table.raw(),
            stage1,
        }
    }

    const fn stage2(table: u64) -> Self {
        Self {
            table,
            stage1: None,
        }
    }
}

/// A table that translates `1 << shift` bytes.
#[derive(Clone, Copy)]
struct Step {
    shift: u32,
    table: u64,
}

/// log2 of the bytes that the tables of levels 1, 2 and 3 translate.
const LEVELS: [u32; 3] = [39, 30, 21];

/// Where a walk ended, and which tables of levels 2 and 3 it came by.
struct Walk {
    result: Result<Translation, FaultKind>,
    steps: Vec<Step>,
}

impl Tables<'_> {
    fn table(&self, table: u64) -> &Table {
        let TablePlaces { first, count, more } = *self.places;
        let (here, there) = self.tables.split_at(count);
        [(first, here), (more, there)]
            .into_iter()
            .find_map(|(base, tables)| {
                let offset = table.checked_sub(base.raw())?;
                tables.get((offset / 4096) as usize)
            })
            .expect("a table outside of the table storage")
    }

    fn load(&self, table: u64, index: u64) -> u64 {
        self.table(table).0[index as usize].load(Ordering::Acquire)
    }

    /// The entries of a table that are not zero, with their index. Most are zero, and looked at
    /// many at a time.
    fn entries(&self, table: u64) -> impl Iterator<Item = (u64, u64)> {
        const CHUNK: usize = 32;
        let chunks = (0..).step_by(CHUNK).zip(self.table(table).0.chunks(CHUNK));
        let load = |entry: &AtomicU64| entry.load(Ordering::Acquire);
        chunks
            .filter(move |(_, chunk)| chunk.iter().fold(0, |all, entry| all | load(entry)) != 0)
            .flat_map(move |(first, chunk)| (first..).zip(chunk.iter().map(load)))
            .filter(|(_, raw)| *raw != 0)
    }

    /// Translates the page of `ipa` with the stage-2 tables as they are now.
    pub fn walk(&self, root: u64, ipa: u64) -> Result<Translation, FaultKind> {
        self.walk_from_root(Root::stage2(root), ipa).result
    }

    fn walk_from_root(&self, root: Root, ipa: u64) -> Walk {
        if ipa >> LEVELS[0] != 0 {
            return Walk {
                result: Err(FaultKind::AddressSize),
                steps: Vec::new(),
            };
        }
        let first = Step {
            shift: LEVELS[0],
            table: root.table,
        };
        self.walk_from(first, ipa, root.stage1)
    }

    /// Goes on with a walk that has come to the table of `at`.
    fn walk_from(&self, mut at: Step, ipa: u64, stage1: Option<World>) -> Walk {
        let mut steps = Vec::new();
        let result = loop {
            let shift = at.shift - 9;
            let raw = self.load(at.table, ipa >> shift & 511);
            match (raw & 3, shift) {
                (3, 30 | 21) => {
                    at = Step {
                        shift,
                        table: raw & ADDRESS,
                    };
                    steps.push(at);
                }
                (1, 30 | 21) | (3, 12) => break leaf(raw, ipa, shift, stage1),
                _ => break Err(FaultKind::Translation),
            }
        };
        Walk { result, steps }
    }

    /// Finds the table that translates the `1 << shift` bytes around `ipa`.
    fn table_for(&self, root: Root, shift: u32, ipa: u64) -> Option<u64> {
        let walk = self.walk_from_root(root, ipa);
        let step = walk.steps.iter().find(|step| step.shift == shift);
        step.map(|step| step.table)
    }

    /// Tells whether a table below `at` lies at `target`.
    fn leads_to(&self, at: Step, target: u64) -> bool {
        let shift = at.shift - 9;
        shift > 12
            && self.entries(at.table).any(|(_, raw)| {
                let table = raw & ADDRESS;
                raw & 3 == 3 && (table == target || self.leads_to(Step { shift, table }, target))
            })
    }

    /// Adds everything that the tables under `root` say to a digest, software bits and all, but not
    /// where the tables lie.
    pub fn digest(&self, root: u64, digest: &mut impl Hasher) {
        self.digest_level(root, 30, digest);
    }

    fn digest_level(&self, table: u64, shift: u32, digest: &mut impl Hasher) {
        for (index, raw) in self.entries(table) {
            digest.write_u64(index);
            if shift > 12 && raw & 3 == 3 {
                self.digest_level(raw & ADDRESS, shift - 9, digest);
            } else {
                digest.write_u64(raw);
            }
        }
    }

    /// Calls `each` with every page that is mapped by stage 2 under `root`, in order.
    pub fn for_each(&self, root: u64, each: &mut impl FnMut(u64, Translation)) {
        self.visit(Root::stage2(root), 0, 30, each);
    }

    /// Calls `each` with every page of `world` that is mapped for the partition behind `roots`, at
    /// S-EL1 or S-EL0.
    pub fn for_each_of(
        &self,
        roots: &Stage2Roots,
        world: World,
        each: &mut impl FnMut(u64, Translation),
    ) {
        self.visit(Root::of(roots, world), 0, 30, each);
    }

    fn visit(&self, root: Root, base: u64, shift: u32, each: &mut impl FnMut(u64, Translation)) {
        let Root { table, stage1 } = root;
        for (index, raw) in self.entries(table) {
            let at = base + (index << shift);
            match (raw & 3, shift) {
                (3, 30 | 21) => {
                    let table = raw & ADDRESS;
                    self.visit(Root { table, stage1 }, at, shift - 9, each);
                }
                (1, 30 | 21) | (3, 12) => {
                    for page in 0..1 << (shift - 12) {
                        let ipa = at + (page << 12);
                        if let Ok(translation) = leaf(raw, ipa, shift, stage1) {
                            each(ipa, translation);
                        }
                    }
                }
                (0 | 2, _) => {}
                _ => panic!("reserved descriptor {raw:#x} for {at:#x}"),
            }
        }
    }
}

/// The translation of the page of `ipa` by the block or page descriptor `raw`.
fn leaf(raw: u64, ipa: u64, shift: u32, stage1: Option<World>) -> Result<Translation, FaultKind> {
    assert_ne!(
        raw & ACCESS_FLAG,
        0,
        "access flag fault at {ipa:#x}: nobody handles those"
    );
    let inside = ipa & ((1 << shift) - 1) & !0xfff;
    let output = raw & ADDRESS;
    assert_eq!(
        output & ((1 << shift) - 1),
        0,
        "misaligned block for {ipa:#x}"
    );
    let page = output | inside;
    if let Some(world) = stage1 {
        return stage1_leaf(raw, page, world);
    }
    Ok(Translation {
        page,
        read: raw & 1 << 6 != 0,
        write: raw & 1 << 7 != 0,
        // XN[1:0]: 00 executable by all, 10 by nobody; the engine uses no others.
        execute: match raw >> 53 & 3 {
            0b00 => true,
            0b10 => false,
            other => panic!("XN = {other:#b}"),
        },
        device: raw >> 4 & 3 == 0,
    })
}

/// Returns what EL0 may do by a descriptor of the EL2&0 regime.
fn stage1_leaf(raw: u64, page: u64, world: World) -> Result<Translation, FaultKind> {
    let bit = |n: u32| raw & 1 << n != 0;
    assert!(bit(53), "{page:#x} is executable for EL2");
    assert!(bit(11), "{page:#x} is global");
    if bit(5) != (world == World::NonSecure) {
        return Err(FaultKind::Translation);
    }
    let (access, read_only) = (bit(6), bit(7));
    let translation = Translation {
        page,
        read: access,
        write: access && !read_only,
        execute: !bit(54),
        // By MAIR_EL2: 0 and 2 are Normal.
        device: !matches!(raw >> 2 & 7, 0 | 2),
    };
    assert!(
        !translation.write || !translation.execute,
        "{page:#x} is writable and executable"
    );
    Ok(translation)
}

type Key = (u16, World, u64);

/// The TLB of one PE.
#[derive(Default)]
pub struct Tlb {
    pages: BTreeMap<Key, Translation>,
    /// Tables, by how much they translate and for which addresses.
    walks: BTreeMap<(u32, Key), u64>,
}

impl Tlb {
    /// Translates, from what is kept or by a walk; `coin` decides whether what is kept is used, and
    /// whether what is found is kept.
    pub fn translate(
        &mut self,
        tables: Tables<'_>,
        roots: &Stage2Roots,
        world: World,
        ipa: u64,
        coin: &mut impl FnMut() -> bool,
    ) -> Result<Translation, FaultKind> {
        let key = |shift: u32| (roots.vmid, world, ipa >> shift);
        if let Some(kept) = self.pages.get(&key(12)).copied() {
            return Ok(kept);
        }
        let root = Root::of(roots, world);
        // From the table nearest to the page that it knows and cares to remember.
        let known = [21, 30].into_iter().find_map(|shift| {
            let table = *self.walks.get(&(shift, key(shift))).filter(|_| coin())?;
            Some(Step { shift, table })
        });
        let found = match known {
            Some(step) => tables.walk_from(step, ipa, root.stage1),
            None => tables.walk_from_root(root, ipa),
        };
        for step in found.steps {
            let place = (step.shift, key(step.shift));
            if coin() || !self.walks.contains_key(&place) {
                self.walks.insert(place, step.table);
            }
        }
        if let Ok(translation) = found.result
            && coin()
        {
            self.pages.insert(key(12), translation);
        }
        found.result
    }

    /// Forgets what `scope` names.
    pub fn invalidate(&mut self, vmid: u16, scope: &TlbScope<'_>) {
        match scope {
            TlbScope::All => {
                self.pages.retain(|(id, _, _), _| *id != vmid);
                self.walks.retain(|(_, (id, _, _)), _| *id != vmid);
            }
            TlbScope::Ranges(ranges) => self.pages.retain(|(id, world, page), _| {
                let mut ranges = ranges.iter();
                *id != vmid
                    || !ranges.any(|(w, range)| {
                        let pages = range.base().raw() >> 12..range.end().raw() >> 12;
                        w == world && pages.contains(page)
                    })
            }),
        }
    }

    /// The first kept entry that no walk would find now.
    pub fn find_stale(
        &self,
        tables: Tables<'_>,
        roots: impl Fn(u16) -> Stage2Roots,
    ) -> Option<(u16, World, Ipa)> {
        let of = |(vmid, world, _): &Key| Root::of(&roots(*vmid), *world);
        let page = self
            .pages
            .iter()
            .find(|(key, kept)| tables.walk_from_root(of(key), key.2 << 12).result != Ok(**kept))
            .map(|(key, _)| (key.0, key.1, Ipa::new(key.2 << 12)));
        page.or_else(|| {
            let stale = |((shift, key), kept): &(&(u32, Key), &u64)| {
                tables.table_for(of(key), *shift, key.2 << shift) != Some(**kept)
            };
            let ((shift, key), _) = self.walks.iter().find(stale)?;
            Some((key.0, key.1, Ipa::new(key.2 << shift)))
        })
    }

    /// Describes a page that this TLB takes for a table though it has become something else. A
    /// table may have left its place, and the TLB may not have been told of that yet; but no other
    /// place leads to it, and it says nothing new: its entries map their own addresses, or nothing.
    pub fn find_reused(
        &self,
        tables: Tables<'_>,
        roots: &BTreeMap<u16, Stage2Roots>,
    ) -> Option<String> {
        self.walks.iter().find_map(|((shift, key), table)| {
            let (vmid, world, block) = *key;
            let base = block << shift;
            let root = Root::of(&roots[&vmid], world);
            if tables.table_for(root, *shift, base) == Some(*table) {
                return None;
            }
            let elsewhere = roots.values().find(|roots| {
                [roots.secure.raw(), roots.non_secure.raw()]
                    .into_iter()
                    .filter(|root| *root != 0)
                    .any(|table_of_root| {
                        let first = Step {
                            shift: LEVELS[0],
                            table: table_of_root,
                        };
                        tables.leads_to(first, *table)
                    })
            });
            let other = tables.entries(*table).find(|(index, raw)| {
                raw & ADDRESS != base + (index << (shift - 9))
            });
            let what = match (elsewhere, other) {
                (Some(roots), _) => format!("a table of VMID {}", roots.vmid),
                (None, Some((index, raw))) => format!("something with {raw:#x} in word {index}"),
                (None, None) => return None,
            };
            Some(format!(
                "page {table:#x} is {what}, and still taken for a table: VMID {vmid}, {world:?} {base:#x}"
            ))
        })
    }
}
