//! Stage 2, and stage 1 of the EL2&0 regime, as hardware implements them: the table walk (Arm ARM
//! D8.3, 4 KiB granule, in the geometry that the engine has chosen) and TLBs.
//!
//! A TLB keeps translations. It also keeps the places of tables of levels 1 to 3 that a walk found
//! on the way, even if the walk ended at an invalid descriptor; such an entry applies to all
//! addresses that the table translates. The TLB keeps entries until they are invalidated, and may
//! lose them at any time. Which entries it loses is random, so that an engine that forgets an
//! invalidation is caught sooner or later, and so is an engine that relies on a kept translation.
//! Entries for tables are dropped only when the whole VMID is invalidated: an invalidation by
//! ranges may apply to leaves only.
//!
//! As long as a TLB holds a page as a table, the page must not be used for anything else: see
//! [`Tlb::find_reused`].

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

use spmc::addr::{Ipa, World};
use spmc::geometry::Geometry;
use spmc::hal::{Access, FaultKind, Roots, Table, TablePlaces, TlbScope};

/// A translation of one page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The physical page, in the address space of the same world.
    pub page: u64,
    /// Set if reads are permitted.
    pub read: bool,
    /// Set if writes are permitted.
    pub write: bool,
    /// Set if instruction fetches are permitted.
    pub execute: bool,
    /// Set if `MemAttr[3:2]` is zero.
    pub device: bool,
}

impl Translation {
    /// Returns whether the access is permitted.
    pub fn permits(&self, access: Access) -> bool {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
            Access::Execute => self.execute,
        }
    }
}

/// The translation tables as memory: `tables[0]` lies at `base`.
#[derive(Clone, Copy)]
pub struct Tables<'a> {
    /// All tables.
    pub tables: &'a [Table],
    /// The places of the tables.
    pub places: &'a TablePlaces,
    /// The geometry of stage 2.
    pub geometry: Geometry,
}

const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const ACCESS_FLAG: u64 = 1 << 10;

/// The beginning of a walk, and the format of its descriptors.
#[derive(Clone, Copy)]
struct Root {
    table: u64,
    /// Set for stage 1 of the EL2&0 regime: only descriptors of pages of this world count.
    stage1: Option<World>,
}

impl Root {
    fn of(roots: &Roots, world: World) -> Self {
        Self {
            table: roots.of(world).raw(),
            stage1: roots.is_stage1().then_some(world),
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

/// Returns log2 of the bytes that one table of `level` translates.
const fn size_of_table(level: usize) -> u32 {
    48 - 9 * level as u32
}

/// The result of a walk, and the tables below the root that it used.
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

    /// Returns the entries of a table that are not zero, with their indices. Most entries are zero,
    /// so many are tested at a time.
    fn entries(&self, table: u64) -> impl Iterator<Item = (u64, u64)> {
        const CHUNK: usize = 32;
        let chunks = (0..).step_by(CHUNK).zip(self.table(table).0.chunks(CHUNK));
        let load = |entry: &AtomicU64| entry.load(Ordering::Acquire);
        chunks
            .filter(move |(_, chunk)| chunk.iter().fold(0, |all, entry| all | load(entry)) != 0)
            .flat_map(move |(first, chunk)| (first..).zip(chunk.iter().map(load)))
            .filter(|(_, raw)| *raw != 0)
    }

    /// Translates the page of `ipa` by the current stage-2 tables.
    pub fn walk(&self, root: u64, ipa: u64) -> Result<Translation, FaultKind> {
        self.walk_from_root(Root::stage2(root), ipa).result
    }

    fn walk_from_root(&self, root: Root, ipa: u64) -> Walk {
        if ipa >> self.geometry_of(root).bits() != 0 {
            return Walk {
                result: Err(FaultKind::AddressSize),
                steps: Vec::new(),
            };
        }
        let tables = self.tables_of(root);
        let first = tables[(ipa >> tables[0].shift) as usize];
        self.walk_from(first, ipa, root.stage1)
    }

    fn geometry_of(&self, root: Root) -> Geometry {
        match root.stage1 {
            Some(_) => self.geometry.stage1(),
            None => self.geometry,
        }
    }

    /// Returns the tables of which a root consists, in order.
    fn tables_of(&self, root: Root) -> Vec<Step> {
        let geometry = self.geometry_of(root);
        let shift = size_of_table(geometry.level());
        let count = 1 << geometry.bits().saturating_sub(shift);
        assert_eq!(root.table % (count << 12), 0, "a misaligned root");
        (0..count)
            .map(|n| root.table + (n << 12))
            .map(|table| Step { shift, table })
            .collect()
    }

    /// Continues a walk at the table of `at`.
    fn walk_from(&self, mut at: Step, ipa: u64, stage1: Option<World>) -> Walk {
        let mut steps = Vec::new();
        let result = loop {
            let shift = at.shift - 9;
            let raw = self.load(at.table, ipa >> shift & 511);
            match (raw & 3, shift) {
                (3, 39 | 30 | 21) => {
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

    /// Returns the table that translates the `1 << shift` bytes around `ipa`.
    fn table_for(&self, root: Root, shift: u32, ipa: u64) -> Option<u64> {
        let walk = self.walk_from_root(root, ipa);
        let step = walk.steps.iter().find(|step| step.shift == shift);
        step.map(|step| step.table)
    }

    /// Returns whether a table below `at` lies at `target`.
    fn leads_to(&self, at: Step, target: u64) -> bool {
        let shift = at.shift - 9;
        shift > 12
            && self.entries(at.table).any(|(_, raw)| {
                let table = raw & ADDRESS;
                raw & 3 == 3 && (table == target || self.leads_to(Step { shift, table }, target))
            })
    }

    /// Adds the contents of the tables of `world` under `roots` to a digest, including software
    /// bits, but without the places of the tables.
    pub fn digest(&self, roots: &Roots, world: World, digest: &mut impl Hasher) {
        for Step { shift, table } in self.tables_of(Root::of(roots, world)) {
            self.digest_level(table, shift - 9, digest);
        }
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

    /// Calls `each` with every page that stage 2 under `root` maps, in order.
    pub fn for_each(&self, root: u64, each: &mut impl FnMut(u64, Translation)) {
        self.visit_all(Root::stage2(root), each);
    }

    /// Calls `each` with every page of `world` that is mapped for the partition with `roots`, at
    /// S-EL1 or S-EL0.
    pub fn for_each_of(
        &self,
        roots: &Roots,
        world: World,
        each: &mut impl FnMut(u64, Translation),
    ) {
        self.visit_all(Root::of(roots, world), each);
    }

    fn visit_all(&self, root: Root, each: &mut impl FnMut(u64, Translation)) {
        for (index, Step { shift, table }) in (0..).zip(self.tables_of(root)) {
            let root = Root { table, ..root };
            self.visit(root, index << shift, shift - 9, each);
        }
    }

    fn visit(&self, root: Root, base: u64, shift: u32, each: &mut impl FnMut(u64, Translation)) {
        let Root { table, stage1 } = root;
        for (index, raw) in self.entries(table) {
            let at = base + (index << shift);
            match (raw & 3, shift) {
                (3, 39 | 30 | 21) => {
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

/// Returns the translation of the page of `ipa` by the block or page descriptor `raw`.
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
        // XN[1:0]: 00 is executable at EL1 and EL0, 10 at neither; the engine uses no others.
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
        // By MAIR_EL2, the indices 0 and 2 are Normal memory.
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
    /// Places of tables, by the size and the address of what they translate.
    walks: BTreeMap<(u32, Key), u64>,
}

impl Tlb {
    /// Translates by a kept entry or by a walk. `coin` decides whether a kept entry is used, and
    /// whether a new one is kept.
    pub fn translate(
        &mut self,
        tables: Tables<'_>,
        roots: &Roots,
        world: World,
        ipa: u64,
        coin: &mut impl FnMut() -> bool,
    ) -> Result<Translation, FaultKind> {
        let key = |shift: u32| (roots.tag(), world, ipa >> shift);
        if let Some(kept) = self.pages.get(&key(12)).copied() {
            return Ok(kept);
        }
        let root = Root::of(roots, world);
        // Begin at the kept table that is nearest to the page, if `coin` permits its use.
        let known = [21, 30, 39].into_iter().find_map(|shift| {
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

    /// Drops the entries that `scope` names.
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

    /// Returns the first kept entry that no walk would find now.
    pub fn find_stale(
        &self,
        tables: Tables<'_>,
        roots: impl Fn(u16) -> Roots,
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

    /// Describes a page that this TLB holds as a table although the page is used for something
    /// else. A table may have left the tree, without the TLB being invalidated yet. But then no
    /// other descriptor may point to it, and its contents must not be new: its entries map their
    /// own addresses, or nothing.
    pub fn find_reused(&self, tables: Tables<'_>, roots: &BTreeMap<u16, Roots>) -> Option<String> {
        self.walks.iter().find_map(|((shift, key), table)| {
            let (vmid, world, block) = *key;
            let base = block << shift;
            let root = Root::of(&roots[&vmid], world);
            if tables.table_for(root, *shift, base) == Some(*table) {
                return None;
            }
            let elsewhere = roots.values().find(|roots| {
                [World::Secure, World::NonSecure]
                    .into_iter()
                    .flat_map(|world| tables.tables_of(Root::of(roots, world)))
                    .any(|first| tables.leads_to(first, *table))
            });
            let other = tables.entries(*table).find(|(index, raw)| {
                raw & ADDRESS != base + (index << (shift - 9))
            });
            let what = match (elsewhere, other) {
                (Some(roots), _) => format!("a table of VMID {}", roots.tag()),
                (None, Some((index, raw))) => format!("something with {raw:#x} in word {index}"),
                (None, None) => return None,
            };
            Some(format!(
                "page {table:#x} is {what}, and still taken for a table: VMID {vmid}, {world:?} {base:#x}"
            ))
        })
    }
}
