//! Stage 2, and stage 1 of the EL2&0 regime, as hardware sees them: the walk (Arm ARM D8.3, 4 KiB granule, 39-bit input) and TLBs.
//!
//! A TLB keeps translations, and the level 3 tables that it found on the way, until it is told to forget them. It may also lose
//! them at any time; which it does is random, so that an engine that forgets an invalidation is caught sooner or later, and one that
//! relies on a kept translation too.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

use spmc::addr::{Ipa, World};
use spmc::hal::{Access, FaultKind, Stage2Roots, Table, TlbScope};

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
    /// Whether the access may be made.
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
    /// Physical address of the first.
    pub base: u64,
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

/// Where a walk ended, or what it learned on the way.
struct Walk {
    result: Result<Translation, FaultKind>,
    /// Address of the level 3 table, if the walk came there.
    level3: Option<u64>,
}

impl Tables<'_> {
    fn table(&self, table: u64) -> &Table {
        let slot = table.checked_sub(self.base).map(|offset| offset / 4096);
        slot.and_then(|slot| self.tables.get(slot as usize))
            .expect("a table outside of the table storage")
    }

    fn load(&self, table: u64, index: u64) -> u64 {
        self.table(table).0[index as usize].load(Ordering::Acquire)
    }

    /// The entries of a table that are not zero, with their index. Most are zero, and looked at many at a time.
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
        if ipa >> 39 != 0 {
            return Walk {
                result: Err(FaultKind::AddressSize),
                level3: None,
            };
        }
        let mut table = root.table;
        for shift in [30, 21] {
            let raw = self.load(table, ipa >> shift & 511);
            match raw & 3 {
                3 => table = raw & ADDRESS,
                1 => {
                    return Walk {
                        result: leaf(raw, ipa, shift, root.stage1),
                        level3: None,
                    };
                }
                _ => {
                    return Walk {
                        result: Err(FaultKind::Translation),
                        level3: None,
                    };
                }
            }
        }
        Walk {
            result: self.walk_level3(table, ipa, root.stage1),
            level3: Some(table),
        }
    }

    fn walk_level3(
        &self,
        table: u64,
        ipa: u64,
        stage1: Option<World>,
    ) -> Result<Translation, FaultKind> {
        let raw = self.load(table, ipa >> 12 & 511);
        if raw & 3 == 3 {
            leaf(raw, ipa, 12, stage1)
        } else {
            Err(FaultKind::Translation)
        }
    }

    /// Adds everything that the tables under `root` say to a digest, software bits and all, but not where the tables lie.
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

    /// The same with every page of `world` that is mapped for the partition behind `roots`, at S-EL1 or S-EL0.
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

/// What EL0 may do by a descriptor of the EL2&0 regime.
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
    /// Level 3 table by 2 MiB of IPA.
    walks: BTreeMap<Key, u64>,
}

impl Tlb {
    /// Translates, from what is kept or by a walk; `coin` decides whether what is kept is used, and whether what is found is kept.
    pub fn translate(
        &mut self,
        tables: Tables<'_>,
        roots: &Stage2Roots,
        world: World,
        ipa: u64,
        coin: &mut impl FnMut() -> bool,
    ) -> Result<Translation, FaultKind> {
        let page = (roots.vmid, world, ipa >> 12);
        let block = (roots.vmid, world, ipa >> 21);
        if let Some(kept) = self.pages.get(&page).copied() {
            return Ok(kept);
        }
        let found = match self.walks.get(&block) {
            Some(table) if coin() => Walk {
                result: tables.walk_level3(*table, ipa, Root::of(roots, world).stage1),
                level3: Some(*table),
            },
            _ => tables.walk_from_root(Root::of(roots, world), ipa),
        };
        if let Some(table) = found.level3 {
            self.walks.insert(block, table);
        }
        if let Ok(translation) = found.result
            && coin()
        {
            self.pages.insert(page, translation);
        }
        found.result
    }

    /// Forgets what `scope` names.
    pub fn invalidate(&mut self, vmid: u16, scope: &TlbScope<'_>) {
        let stale = |(id, world, first): &Key, pages: u64| {
            *id == vmid
                && match scope {
                    TlbScope::All => true,
                    TlbScope::Ranges(ranges) => ranges.iter().any(|(w, range)| {
                        let (start, end) = (range.base().raw() >> 12, range.end().raw() >> 12);
                        w == world && first * pages < end && start < (first + 1) * pages
                    }),
                }
        };
        self.pages.retain(|key, _| !stale(key, 1));
        self.walks.retain(|key, _| !stale(key, 512));
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
            self.walks
                .iter()
                .find(|(key, kept)| {
                    tables.walk_from_root(of(key), key.2 << 21).level3 != Some(**kept)
                })
                .map(|(key, _)| (key.0, key.1, Ipa::new(key.2 << 21)))
        })
    }
}
