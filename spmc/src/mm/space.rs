//! The memory of one endpoint, page by page.

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use crate::addr::{ADDRESS_LIMIT, Ipa, PAGE_SHIFT, Pa, PageRange, World};
use crate::error::{FfaError, Result};
use crate::hal::{Access, Hal, Regime, Roots};
use crate::invariant::Invariant;
use crate::manifest::config::{Branches, Permissions};
use crate::partition::mailbox::Buffers;

use super::entry::Format;
use super::error::ChangeError;
use super::inspect::Inspector;
use super::leaf::{Attributes, Change, EXECUTE_NEVER, Leaf, State, TABLE};
use super::pool::{PageIndex, PagePool, Pages, WORDS, physical};
use super::retired::Stale;
use super::walk::{Tree, Walker, look_up};
use crate::geometry::{Geometry, TABLE_BITS};

/// Ranges that one TLB invalidation names; a transaction with more of them invalidates everything.
const TLB_RANGES: usize = 16;

/// The meaning of a zero entry in the shadow of the Normal world: memory that the Normal world owns
/// exclusively, and maps itself.
const NORMAL_WORLD_DEFAULT: Leaf = Leaf::new(
    Attributes::normal(Permissions::READ.union(Permissions::WRITE)),
    State::OwnerExclusive,
)
.shadow();

/// The two buffers of a mailbox, as their owner names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferPages {
    /// The buffer that the owner sends from.
    pub tx: PageRange<Ipa>,
    /// The buffer that the owner receives in.
    pub rx: PageRange<Ipa>,
}

/// The user of the tables of a space. The variant of a space that is [`EMPTY`](AddressSpace::EMPTY)
/// has the tag 0.
#[derive(Debug)]
#[repr(u8)]
enum User {
    /// The hardware, for a partition.
    Hardware(Roots) = 0,
    /// The SPMC alone: the shadow of the Normal world. These ranges are what the Normal world may
    /// own, as far as stage 2 could translate it.
    Shadow(Vec<PageRange<Pa>>) = 1,
}

/// The first address of EL2 in the map of an S-EL0 partition: the last entry of the first table of
/// level 1.
const EL2: u64 = (1 << TABLE_BITS) - (1 << TABLE_BITS) / WORDS as u64;

/// The addresses that an S-EL0 partition can have where walks start at level 0.
const AROUND_EL2: [PageRange<Pa>; 2] = [
    PageRange::again(Pa::new(0), EL2 >> PAGE_SHIFT),
    PageRange::again(
        Pa::new(1 << TABLE_BITS),
        (ADDRESS_LIMIT - (1 << TABLE_BITS)) >> PAGE_SHIFT,
    ),
];

impl User {
    /// Returns whether hardware uses the tables for an S-EL0 partition.
    #[inline(always)]
    fn is_stage1(&self) -> bool {
        matches!(self, Self::Hardware(roots) if roots.is_stage1())
    }
}

/// The pages that an endpoint knows: stage-2 tables for both IPA spaces of a partition, the stage-1
/// table of an S-EL0 partition, or the shadow of the Normal world.
///
/// Every page is mapped to itself (IPA = PA, VA = PA). Lock rank: after the transaction's slot;
/// several spaces in ascending order of partition id.
#[derive(Debug)]
pub struct AddressSpace {
    pool: PagePool,
    /// Roots of the Secure and the Non-secure IPA space, each the first of its tables; the same one
    /// twice for an S-EL0 partition.
    secure: PageIndex,
    non_secure: PageIndex,
    user: User,
    geometry: Geometry,
    changes: u32,
    /// For an S-EL0 partition.
    branches: Branches,
}

impl AddressSpace {
    /// A space without tables, which is all zero.
    pub const EMPTY: Self = Self {
        pool: PagePool::EMPTY,
        secure: PageIndex::NONE,
        non_secure: PageIndex::NONE,
        user: User::Hardware(Roots::NONE),
        geometry: Geometry::NONE,
        changes: 0,
        branches: Branches::Anywhere,
    };

    /// Makes the empty space of a partition. `NO_MEMORY` if the pool has no pages for two roots.
    pub fn init<H: Hal>(&mut self, hal: &H, vmid: u16, mut pool: PagePool) -> Result<()> {
        let (pages, geometry) = (Pages::of(hal), hal.geometry());
        let mut root = || pool.take_root(pages, geometry.root_tables());
        let (secure, non_secure) = (root()?, root()?);
        let regime = Regime::Stage2 {
            vmid,
            secure: physical(pages, secure),
            non_secure: physical(pages, non_secure),
        };
        *self = Self {
            pool,
            secure,
            non_secure,
            user: User::Hardware(Roots::new(regime)),
            geometry,
            ..Self::EMPTY
        };
        Ok(())
    }

    /// Makes the empty space of an S-EL0 partition. `NO_MEMORY` if the pool has no pages for the
    /// root and the table of level 1 that leads to EL2.
    pub fn init_el0<H: Hal>(
        &mut self,
        hal: &H,
        asid: u16,
        mut pool: PagePool,
        branches: Branches,
    ) -> Result<()> {
        let (pages, geometry) = (Pages::of(hal), hal.geometry().stage1());
        let root = with_el2(pages, geometry, &mut pool, hal.el2_entry())?;
        let regime = Regime::Stage1 {
            asid,
            root: physical(pages, root),
        };
        *self = Self {
            pool,
            secure: root,
            non_secure: root,
            user: User::Hardware(Roots::new(regime)),
            geometry,
            branches,
            ..Self::EMPTY
        };
        Ok(())
    }

    /// Makes the space of the Normal world, which has the ranges `owned` exclusively. `NO_MEMORY`
    /// if the pool has no pages for the root.
    pub fn init_normal_world<H: Hal>(
        &mut self,
        hal: &H,
        mut pool: PagePool,
        mut owned: Vec<PageRange<Pa>>,
    ) -> Result<()> {
        let geometry = hal.geometry();
        let non_secure = pool.take_root(Pages::of(hal), geometry.root_tables())?;
        owned.retain_mut(|range| {
            let below = below_limit(geometry, range);
            *range = below.unwrap_or(*range);
            below.is_some()
        });
        *self = Self {
            pool,
            non_secure,
            user: User::Shadow(owned),
            geometry,
            ..Self::EMPTY
        };
        Ok(())
    }

    /// Makes `device` a device that the Normal world owns exclusively, in its space. `NO_MEMORY` if
    /// the pool is empty, `DENIED` if the Normal world has any of the pages already.
    pub fn own_device<H: Hal>(&mut self, hal: &H, device: &PageRange<Pa>) -> Result<()> {
        let (Some(range), User::Shadow(owned)) =
            (below_limit(self.geometry, device), &mut self.user)
        else {
            return Ok(());
        };
        if owned.iter().any(|other| other.overlaps(&range)) {
            return Err(FfaError::Denied);
        }
        owned.push(range);
        let device = Attributes::device(Permissions::READ | Permissions::WRITE);
        let change = Change {
            from: NORMAL_WORLD_DEFAULT,
            to: Leaf::new(device, State::OwnerExclusive).shadow(),
        };
        let ranges = [range.identity()].into_iter();
        let made = self.change(hal, World::NonSecure, ranges, change);
        if made.is_err()
            && let User::Shadow(owned) = &mut self.user
        {
            owned.pop();
        }
        made.map_err(|_| FfaError::NoMemory)
    }

    /// Returns the translation to run under; that of nobody for the Normal world.
    pub fn roots(&self) -> Roots {
        match self.user {
            User::Hardware(roots) => roots,
            User::Shadow(_) => Roots::NONE,
        }
    }

    /// Returns where walks start.
    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Returns the number of changes so far, by which a PE that faulted can tell whether another PE
    /// was changing the tables.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// Returns the pool of the space.
    pub fn pool(&mut self) -> &mut PagePool {
        &mut self.pool
    }

    /// Maps `range` to itself. `DENIED` if the endpoint has a page of it already, `NO_MEMORY` if
    /// the pool is empty; nothing is mapped then.
    #[inline]
    pub fn map<H: Hal>(
        &mut self,
        hal: &H,
        range: PageRange<Ipa>,
        world: World,
        attributes: Attributes,
        state: State,
    ) -> Result<()> {
        let change = Change {
            from: Leaf::NONE,
            to: Leaf::new(attributes, state),
        };
        self.change(hal, world, [range].into_iter(), change)
            .map_err(|error| match error {
                ChangeError::Mismatch => FfaError::Denied,
                ChangeError::NoMemory => FfaError::NoMemory,
            })
    }

    /// Takes `range` out of what transactions of the Normal world can name, because boot gave it to
    /// a partition as well. Errors as [`Self::map`].
    pub fn fix<H: Hal>(&mut self, hal: &H, range: PageRange<Ipa>) -> Result<()> {
        let change = Change {
            from: NORMAL_WORLD_DEFAULT,
            to: NORMAL_WORLD_DEFAULT.with_state(State::Fixed),
        };
        self.change(hal, World::NonSecure, [range].into_iter(), change)
            .map_err(|error| match error {
                ChangeError::Mismatch => FfaError::Denied,
                ChangeError::NoMemory => FfaError::NoMemory,
            })
    }

    /// Returns whether the tables permit the access now. If so, the fault came while a table was
    /// being exchanged, and the partition can try again.
    pub fn permits<H: Hal>(&self, hal: &H, world: World, ipa: Ipa, access: Access) -> bool {
        let Some(root) = self.root_for(world, ipa.raw()) else {
            return false;
        };
        let (format, geometry) = (self.format(world), self.geometry);
        let (leaf, _, _) = look_up::<H>(Pages::of(hal), format, geometry, root, ipa.raw());
        let needed = match access {
            Access::Read => Permissions::READ,
            Access::Write => Permissions::WRITE,
            Access::Execute => Permissions::EXECUTE,
        };
        leaf.is_valid() && leaf.attributes().permissions.contains(needed)
    }

    /// Returns the leaf of the first page of `range`, and the IPA space of that page. `None` if the
    /// endpoint does not have the page.
    #[inline]
    pub fn first_leaf<H: Hal>(&self, hal: &H, range: PageRange<Ipa>) -> Option<(World, Leaf)> {
        self.find::<H>(Pages::of(hal), range.base().raw())
            .map(|(world, _, leaf)| (world, leaf))
    }

    /// Finds the page at `ipa`: its IPA space, the root of that, and the leaf.
    fn find<H: Hal>(&self, pages: Pages<'_>, ipa: u64) -> Option<(World, PageIndex, Leaf)> {
        [World::Secure, World::NonSecure]
            .into_iter()
            .find_map(|world| {
                let root = self.root_for(world, ipa)?;
                let (leaf, _, _) =
                    look_up::<H>(pages, self.format(world), self.geometry, root, ipa);
                leaf.state().map(|_| (world, root, leaf))
            })
    }

    /// Returns the leaf that all pages of the ranges have in common, and their IPA space. `None` if
    /// pages differ, the endpoint does not have one of them, or there are none.
    pub fn inspect<H: Hal>(
        &self,
        hal: &H,
        ranges: impl Iterator<Item = PageRange<Ipa>> + Clone,
    ) -> Option<(World, Leaf)> {
        self.compare(hal, ranges, 0)
    }

    /// Returns whether all pages of the ranges have the same leaf, but for the bits that
    /// [`Self::change_owned`] keeps.
    pub fn are_alike<H: Hal>(
        &self,
        hal: &H,
        ranges: impl Iterator<Item = PageRange<Ipa>> + Clone,
    ) -> bool {
        self.compare(hal, ranges, EXECUTE_NEVER).is_some()
    }

    /// Compares as [`Self::inspect`] does, without the bits in `ignored`.
    fn compare<H: Hal>(
        &self,
        hal: &H,
        mut ranges: impl Iterator<Item = PageRange<Ipa>> + Clone,
        ignored: u64,
    ) -> Option<(World, Leaf)> {
        let pages = Pages::of(hal);
        let first = ranges.clone().next()?.base().raw();
        let (world, root, leaf) = self.find::<H>(pages, first)?;
        let (format, geometry) = (self.format(world), self.geometry);
        let mut inspector = Inspector::<H>::new(pages, format, geometry, root, leaf, ignored);
        let mut reach = self.reach();
        ranges
            .all(|range| reach.covers(&range) && inspector.holds(range))
            .then_some((world, leaf))
    }

    /// Makes `change` on every page of the ranges, in the IPA space of `world`, or nothing at all.
    /// When this returns, no PE uses an old translation.
    #[inline]
    pub fn change<H: Hal>(
        &mut self,
        hal: &H,
        world: World,
        ranges: impl Iterator<Item = PageRange<Ipa>> + Clone,
        change: Change,
    ) -> core::result::Result<(), ChangeError> {
        self.exchange(hal, world, ranges, change, 0).map(drop)
    }

    /// Changes the state of pages that the endpoint owns, as [`Self::change`] does. If the endpoint
    /// may execute some of them and not others, each page keeps that. A change to no leaf cannot
    /// keep it: if such a change fails, none of the pages is executable. Returns the change that
    /// was made on the pages with the least access.
    #[inline]
    pub fn change_owned<H: Hal>(
        &mut self,
        hal: &H,
        world: World,
        ranges: impl Iterator<Item = PageRange<Ipa>> + Clone,
        change: Change,
    ) -> core::result::Result<Change, ChangeError> {
        let mixed = self.exchange(hal, world, ranges, change, EXECUTE_NEVER)?;
        Ok(if mixed {
            change.execute_never()
        } else {
            change
        })
    }

    /// Makes a change on pages that may differ from `change.from` in the bits `kept`, which stay as
    /// they are. Returns whether any page differed.
    #[inline(never)]
    fn exchange<H: Hal>(
        &mut self,
        hal: &H,
        world: World,
        ranges: impl Iterator<Item = PageRange<Ipa>> + Clone,
        change: Change,
        kept: u64,
    ) -> core::result::Result<bool, ChangeError> {
        let root = self.root(world).ok_or(ChangeError::Mismatch)?;
        let format = self.format(world);
        let walked = match &self.user {
            User::Hardware(roots) => Some(roots),
            User::Shadow(_) => None,
        };
        let mut reach = Reach::of(&self.user, self.geometry);
        let tree = Tree {
            format,
            geometry: self.geometry,
            root,
        };
        let mut walker = Walker::new(hal, &mut self.pool, tree, walked, change, kept);
        let replaced = walker.replace(ranges.clone(), |range| reach.covers(range));
        let outcome = match replaced {
            Ok(()) => Ok(walker.is_mixed()),
            Err((error, _)) => Err(error),
        };
        let mut old = change.from;
        let mut new = change.to;
        if let Err((_, done)) = replaced {
            (old, new) = (new, old);
            // The inverse needs no pages but those of the tables that the change took out.
            walker.turn_round();
            let undone = walker.replace(prefix(ranges.clone(), done), |_| true);
            Invariant::Undo.expect(undone.is_ok());
        }
        self.changes = self.changes.wrapping_add(1);
        let mut batch = ArrayVec::<_, TLB_RANGES>::new();
        let stale = if !old.is_valid() || old.same_for_hardware(new) {
            Stale::Nothing
        } else {
            let fits = ranges
                .map(|range| (world, range))
                .all(|range| batch.try_push(range).is_ok());
            if fits {
                Stale::Ranges(&batch)
            } else {
                Stale::Everything
            }
        };
        walker.finish(stale);
        outcome
    }

    /// Returns the leaf that replaces `leaf` when the owner has donated the page and it was
    /// retrieved.
    pub fn given_away(&self, leaf: Leaf) -> Leaf {
        match self.user {
            User::Hardware(_) => Leaf::NONE,
            User::Shadow(_) => leaf.with_state(State::Ceded),
        }
    }

    /// Checks the pages of an RX/TX pair and takes them out of what transactions can name (FF-A
    /// v1.0 section 8.4).
    ///
    /// `INVALID_PARAMETERS` if the buffers overlap. `DENIED` if they are not both exclusively the
    /// endpoint's own Normal memory in one security state, or lack the permission to write TX or
    /// read RX. `NO_MEMORY` if the pool is empty. Nothing changes then.
    pub fn lock_mailbox<H: Hal>(
        &mut self,
        hal: &H,
        BufferPages { tx, rx }: BufferPages,
    ) -> Result<Buffers> {
        if tx.overlaps(&rx) {
            return Err(FfaError::InvalidParameters);
        }
        let (tx_world, tx_leaf) = self.inspect_buffer(hal, tx, Permissions::WRITE)?;
        let (rx_world, rx_leaf) = self.inspect_buffer(hal, rx, Permissions::READ)?;
        if tx_world != rx_world {
            return Err(FfaError::Denied);
        }
        let lock = |leaf: Leaf| Change {
            from: leaf,
            to: leaf.with_state(State::Mailbox),
        };
        let (lock_tx, lock_rx) = (lock(tx_leaf), lock(rx_leaf));
        let failed = |_| FfaError::NoMemory;
        self.change(hal, tx_world, [tx].into_iter(), lock_tx)
            .map_err(failed)?;
        if let Err(error) = self.change(hal, rx_world, [rx].into_iter(), lock_rx) {
            let undone = self.change(hal, tx_world, [tx].into_iter(), lock_tx.inverse());
            Invariant::Undo.expect(undone.is_ok());
            return Err(failed(error));
        }
        Ok(Buffers {
            tx: tx.identity(),
            rx: rx.identity(),
            world: tx_world,
        })
    }

    /// Undoes [`Self::lock_mailbox`], page by page: an S-EL0 partition may have changed permissions
    /// of some of them since.
    pub fn unlock_mailbox<H: Hal>(&mut self, hal: &H, buffers: &Buffers) {
        let buffers = [buffers.tx, buffers.rx].map(|range| range.identity());
        for page in buffers.into_iter().flat_map(PageRange::each_page) {
            let Some((world, leaf)) = self.first_leaf(hal, page) else {
                continue;
            };
            if leaf.state() == Some(State::Mailbox) {
                let unlock = Change {
                    from: leaf,
                    to: leaf.with_state(State::OwnerExclusive),
                };
                // The table exists: a mailbox is never part of a block.
                let unlocked = self.change(hal, world, [page].into_iter(), unlock);
                Invariant::Undo.expect(unlocked.is_ok());
            }
        }
    }

    #[inline]
    fn inspect_buffer<H: Hal>(
        &self,
        hal: &H,
        buffer: PageRange<Ipa>,
        needed: Permissions,
    ) -> Result<(World, Leaf)> {
        self.inspect(hal, [buffer].into_iter())
            .filter(|(_, leaf)| {
                let attributes = leaf.attributes();
                leaf.state() == Some(State::OwnerExclusive)
                    && attributes.permissions.contains(needed)
                    && attributes.memory.is_normal()
            })
            .ok_or(FfaError::Denied)
    }

    /// Returns the root tables, with the first address that each translates, and the level.
    #[cfg(test)]
    pub(crate) fn root_tables<H: Hal>(&self, hal: &H) -> ArrayVec<(Pa, u64, usize), 16> {
        let second = (self.secure != self.non_secure).then_some(self.non_secure);
        let roots = [Some(self.secure), second]
            .into_iter()
            .flatten()
            .filter(|root| !root.is_none());
        let count = self.geometry.root_tables() as u64;
        let table = |root: PageIndex, n| {
            let place = physical(Pages::of(hal), root.behind(n));
            (place, n << TABLE_BITS, self.geometry.level())
        };
        roots
            .flat_map(|root| (0..count).map(move |n| table(root, n)))
            .collect()
    }

    /// Returns the root for `ipa`; `None` if the address cannot be translated.
    #[inline(always)]
    pub(super) fn root_for(&self, world: World, ipa: u64) -> Option<PageIndex> {
        self.root(world)
            .filter(|_| ipa < self.geometry.limit() && !self.is_el2(ipa))
    }

    /// Returns which addresses the space can know.
    #[inline(always)]
    fn reach(&self) -> Reach<'_> {
        Reach::of(&self.user, self.geometry)
    }

    /// Returns whether the address is EL2's in the map of an S-EL0 partition.
    #[inline(always)]
    fn is_el2(&self, ipa: u64) -> bool {
        ipa & EL2 == EL2 && ipa < 1 << TABLE_BITS && self.user.is_stage1()
    }

    fn root(&self, world: World) -> Option<PageIndex> {
        let root = match world {
            World::Secure => self.secure,
            World::NonSecure => self.non_secure,
        };
        (!root.is_none()).then_some(root)
    }

    pub(super) fn format(&self, world: World) -> &'static Format {
        match (&self.user, world) {
            (User::Shadow(_), _) => &const { Format::shadow(NORMAL_WORLD_DEFAULT) },
            (User::Hardware(roots), _) if !roots.is_stage1() => &Format::HARDWARE,
            _ => Format::stage1(world, self.branches),
        }
    }
}

/// Returns what of `range` can be mapped under that geometry.
fn below_limit(geometry: Geometry, range: &PageRange<Pa>) -> Option<PageRange<Pa>> {
    let room = geometry.limit().saturating_sub(range.base().raw());
    PageRange::new(range.base(), range.pages().min(room >> PAGE_SHIFT))
}

/// Makes the tables of an S-EL0 partition down to level 1, which maps nothing but EL2. Returns the
/// root.
#[inline(never)]
fn with_el2(
    pages: Pages<'_>,
    geometry: Geometry,
    pool: &mut PagePool,
    el2: u64,
) -> Result<PageIndex> {
    let first = pool.take_table(pages)?;
    pages.store(first, WORDS.saturating_sub(1), el2);
    if geometry.level() != 0 {
        return Ok(first);
    }
    // The entry for EL2 deviates, so this table never goes away.
    let notes = pages.notes(first);
    notes.set_origin(0);
    notes.set_deviating(1);
    let root = pool.take_table(pages)?;
    pages.store(root, 0, pages.address(first) | TABLE);
    Ok(root)
}

/// The addresses that a space can have: all that can be translated, or for the Normal world all
/// memory that it may own.
struct Reach<'a> {
    runs: &'a [PageRange<Pa>],
    /// The run of addresses that was found last.
    start: u64,
    end: u64,
}

impl<'a> Reach<'a> {
    /// Makes the reach of a space of that user and geometry.
    #[inline(always)]
    fn of(user: &'a User, geometry: Geometry) -> Self {
        let (runs, end): (&[_], _) = match user {
            User::Hardware(roots) if roots.is_stage1() && geometry.level() == 0 => (&AROUND_EL2, 0),
            User::Hardware(roots) if roots.is_stage1() => (&[], EL2),
            User::Hardware(_) => (&[], geometry.limit()),
            User::Shadow(owned) => (owned, 0),
        };
        Self {
            runs,
            start: 0,
            end,
        }
    }

    #[inline]
    fn covers(&mut self, range: &PageRange<Ipa>) -> bool {
        let (first, end) = (range.base().raw(), range.end().raw());
        if first < self.start || self.end < end {
            self.find(first, end);
        }
        self.start <= first && end <= self.end
    }

    /// Turns to the run of memory that `first` lies in, and over ranges that continue it up to
    /// `end`.
    #[inline]
    fn find(&mut self, first: u64, end: u64) {
        let holds = |at: u64| {
            self.runs
                .iter()
                .find(|run| run.base().raw() <= at && at < run.end().raw())
        };
        if let Some(run) = holds(first) {
            self.start = run.base().raw();
            self.end = run.end().raw();
            while self.end < end
                && let Some(next) = holds(self.end)
            {
                self.end = next.end().raw();
            }
        }
    }
}

/// Returns the first `pages` pages of the ranges.
fn prefix(
    ranges: impl Iterator<Item = PageRange<Ipa>>,
    pages: u64,
) -> impl Iterator<Item = PageRange<Ipa>> {
    let mut left = pages;
    ranges.map_while(move |range| {
        let count = left.min(range.pages());
        left = left.saturating_sub(count);
        PageRange::new(range.base(), count)
    })
}
