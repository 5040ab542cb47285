//! Secure Partitions: frozen configuration, execution contexts, mailbox, address space.

pub mod console;
pub mod directory;
pub mod endpoint;
pub mod images;
pub mod life;
pub mod link;
pub mod log_quota;
pub mod mailbox;
pub mod restarts;
pub mod slot;
pub mod stream;
pub mod vcpu;
pub mod vm;

pub use directory::Directory;
pub use endpoint::Endpoint;
pub use images::{Images, Stored};
pub use link::Link;
pub use log_quota::LogQuota;
pub use mailbox::Mailbox;
pub use restarts::Restarts;
pub use slot::{Claim, Slot};
pub use stream::{Proxy, StreamEndpoint};
pub use vm::VmMailboxes;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;

use crate::addr::Ipa;
use crate::hal::{Context, Roots};
use crate::interrupt::{Calling, Claims, Left, Line, Lines, Seat};
use crate::manifest::Fingerprint;
use crate::manifest::config::{AbortAction, Messaging, PartitionConfig};
use crate::manifest::package::Package;
use crate::partition::life::{Event, Life, Remains};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::vcpu_set::{AtomicVcpuSet, Marks};

/// Holds what boot decided about a partition; nothing changes it afterwards.
pub struct Frozen {
    /// Its index among the partitions that were admitted.
    pub index: usize,
    /// From its manifest.
    pub config: PartitionConfig,
    /// The fingerprint of its manifest.
    pub manifest: Fingerprint,
    /// Its translation.
    pub roots: Roots,
    /// Union over the services, kept here because every direct message asks for it.
    pub messaging: Messaging,
    /// Its physical interrupts, by line.
    pub claims: Claims,
}

/// The first bit of the state in [`Partition::turns`].
const LIFE: u32 = 16;

/// A partition that boot admitted.
pub struct Partition<C> {
    /// Holds what boot decided.
    pub frozen: Frozen,
    /// The parts of the package that it boots from, for boot information.
    pub package: Package,
    /// Id, mailbox, memory and version: what it shares with the Normal world as an FF-A endpoint.
    pub endpoint: Endpoint,
    /// Its execution contexts.
    pub vcpus: Box<[Slot<C>]>,
    secondary_entry: AtomicU64,
    /// The number of times that it failed or was loaded again: odd while it is dead. Both are in
    /// one word, so that a change between two looks at the list of partitions is never missed.
    ///
    /// Bits `[31:16]` are its [`Life`].
    turns: AtomicU32,
    /// Limits its restarts.
    pub restarts: Restarts,
    /// Its packages. No other lock is taken while this one is held.
    pub images: Mutex<Images>,
    /// The lines that the partition may still have logged; the lock is held for nothing else, so it
    /// may be taken under any other.
    pub log_quota: Mutex<LogQuota>,
    /// How many of its calls were passed on to EL3.
    el3_calls: AtomicU64,
    /// Virtual interrupts of each context. They are not behind its claim, since any PE that takes
    /// an interrupt pends it.
    lines: Box<[Lines]>,
    /// Contexts for which something may be pending in `lines`.
    interrupted: Marks,
    /// Where PEs find the partition when they look for handlers.
    calling: Arc<Calling>,
    /// Contexts that the scheduler is to be told of because of their interrupts.
    wants_cycles: AtomicVcpuSet,
}

impl<C: Context> Partition<C> {
    /// Bytes that are allocated for each context: the context itself, its lines, and what is
    /// pending for it from senders of both worlds.
    pub const CONTEXT_SIZE: usize =
        size_of::<Slot<C>>() + size_of::<Lines>() + 2 * size_of::<u64>();

    /// Makes the partition, whose contexts have never run, and which PEs find by `calling`. It
    /// boots from `package`, which its first copy holds, if it has one.
    pub fn new(
        frozen: Frozen,
        package: Package,
        endpoint: Endpoint,
        calling: Arc<Calling>,
    ) -> Self {
        let contexts = 0..frozen.config.vcpu_count;
        let good = frozen.config.copies.first().map(|copy| Stored {
            base: copy.base(),
            package,
            copy: 0,
        });
        Self {
            endpoint,
            vcpus: contexts.clone().map(|_| Slot::OFF).collect(),
            secondary_entry: AtomicU64::new(0),
            turns: AtomicU32::new(0),
            restarts: Restarts::new(),
            package,
            images: Mutex::new(Images::new(good)),
            log_quota: Mutex::new(LogQuota::new()),
            el3_calls: AtomicU64::new(0),
            lines: contexts.map(|_| Lines::new()).collect(),
            interrupted: Marks::new(),
            calling,
            wants_cycles: AtomicVcpuSet::new(frozen.config.vcpu_count),
            frozen,
        }
    }

    /// Returns whether the partition failed and must not run.
    #[inline(always)]
    pub fn is_dead(&self) -> bool {
        self.turns.load(Ordering::Acquire) & 1 != 0
    }

    /// Returns whether discovery lists the partition: it has not failed, or it has
    /// `lifecycle-support` and was not destroyed.
    pub fn is_listed(&self) -> bool {
        let turns = self.turns.load(Ordering::Acquire);
        turns & 1 == 0 || Life::from_word(turns >> LIFE) == Life::Stopped
    }

    /// Returns the state of the partition as a whole.
    pub fn life(&self) -> Life {
        Life::from_word(self.turns.load(Ordering::Relaxed) >> LIFE)
    }

    /// Lets `event` happen to the partition, and adds `turns` to the count of its turns. Returns
    /// whether it changed anything.
    fn happens(&self, event: Event, turns: u16) -> bool {
        let next = |word: u32| {
            let life = life::step(Life::from_word(word >> LIFE), event)?;
            let turns = (word as u16).wrapping_add(turns);
            Some((life as u32) << LIFE | u32::from(turns))
        };
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let changed = self.turns.fetch_update(order.0, order.1, next).is_ok();
        if changed {
            log::debug!("{} is {:?}", self.frozen.config.name, self.life());
        }
        changed
    }

    /// Notes that the first context has initialised, if the partition is still alive.
    pub fn is_ready(&self) {
        self.happens(Event::Ready, 0);
    }

    /// Notes that the partition is asked to stop for a live activation, if it runs.
    pub fn begin_stop(&self) {
        self.happens(Event::Stop, 0);
    }

    /// Notes that the partition goes on in place of stopping, if it is still alive.
    pub fn resume(&self) {
        self.happens(Event::Resume, 0);
    }

    /// Notes that the partition stopped for a live activation.
    pub fn halt(&self) {
        self.happens(Event::Halt, 0);
    }

    /// Notes that an image is entered in place of the one that stopped.
    pub fn begin_trial(&self) {
        self.images.lock().begin_trial();
        self.happens(Event::Enter, 0);
    }

    /// Marks the partition as failed. Returns whether it was alive until now.
    pub fn kill(&self) -> bool {
        let config = &self.frozen.config;
        let remains = match config.abort_action {
            // It is loaded again.
            _ if self.images.lock().can_go_back() => Remains::Stopped,
            _ if !config.lifecycle => Remains::Aborted,
            AbortAction::Destroy => Remains::Nothing,
            AbortAction::Stop | AbortAction::Restart | AbortAction::Propagate => Remains::Stopped,
        };
        self.happens(Event::Fail(remains), 1)
    }

    /// Marks the partition as one that boot does not start, and that nobody finds.
    pub fn refuse(&self) {
        self.happens(Event::Fail(Remains::Aborted), 1);
    }

    /// Undoes [`Self::kill`]: the partition, which is dead, was loaded again.
    pub fn revive(&self) {
        self.happens(Event::Load, 1);
    }

    /// Returns a count, which wraps around, of the times that the partition failed or was loaded
    /// anew.
    pub fn turns(&self) -> u16 {
        self.turns.load(Ordering::Relaxed) as u16
    }

    /// Counts a call that is passed on to EL3. Returns how many there were, with this one.
    pub fn count_el3_call(&self) -> u64 {
        self.el3_calls
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1)
    }

    /// Virtual interrupts of the context with that index, and the context.
    pub fn lines(&self, index: u16) -> Option<(&Lines, &Slot<C>)> {
        let index = usize::from(index);
        self.lines.get(index).zip(self.vcpus.get(index))
    }

    /// Makes a line of the context with that index pending.
    pub fn pend(&self, index: u16, line: Line) {
        if let Some((lines, _)) = self.lines(index) {
            lines.pend(line);
            if line.is_waking() {
                self.calling.note(self.frozen.index, self.seat(index));
            }
            self.interrupted.set(index);
        }
    }

    /// Notes whether the timer of the context with that index is armed. Only the PE with the claim
    /// may call this.
    pub fn note_timer(&self, index: u16, armed: bool) {
        if let Some((lines, _)) = self.lines(index) {
            lines.set_timed(armed);
            if armed {
                self.interrupted.set(index);
            }
        }
    }

    /// Returns whether PEs that look for handlers find the context with that index.
    #[cfg(feature = "explore")]
    pub fn is_found(&self, index: u16) -> bool {
        self.calling.has(self.frozen.index, self.seat(index))
    }

    #[inline(always)]
    fn seat(&self, index: u16) -> Seat {
        if self.frozen.config.is_up() {
            Seat::Any
        } else {
            Seat::Pe(index)
        }
    }

    /// Ends a life of the context with that index: it has no interrupts any more, and wants no
    /// cycles for them. Returns what it left; `None` if there is no such context.
    pub fn end_life(&self, index: u16) -> Option<Left> {
        let (lines, _) = self.lines(index)?;
        self.wants_cycles.remove(index);
        Some(lines.end())
    }

    /// Takes the notification pending interrupt back from those of `contexts` for which nothing
    /// `is_pending`.
    pub fn keep_notification_interrupts(
        &self,
        contexts: Range<u16>,
        is_pending: impl Fn(u16) -> bool,
    ) {
        for index in contexts {
            if let Some((lines, _)) = self.lines(index)
                && !is_pending(index)
            {
                lines.clear(Line::NOTIFICATION);
            }
        }
    }

    /// Returns whether an interrupt may be pending for any of its contexts, enabled or not, or
    /// fetched and not deactivated. This never misses one, with one exception: the PE with the
    /// claim of a context may miss one of that context for a moment, and then looks again itself.
    #[inline(always)]
    pub fn may_have_interrupts(&self) -> bool {
        !self.interrupted.is_empty()
    }

    /// Returns whether an interrupt may be pending for the context with that index.
    #[cfg(feature = "explore")]
    pub fn may_be_interrupted(&self, index: u16) -> bool {
        self.interrupted.has(index)
    }

    /// Notes that no interrupt is pending any more for the context with that index, and none that
    /// it fetched is active, if that is so. Only the PE with the claim may call this.
    #[inline]
    pub fn forget_interrupts(&self, index: u16) {
        let is_unfinished = |index: u16| {
            let lines = self.lines.get(usize::from(index));
            lines.is_some_and(Lines::is_unfinished)
        };
        if is_unfinished(index) {
            return;
        }
        // An interrupt that becomes pending meanwhile is seen here, or noted after this: this pairs
        // with `pend`.
        self.calling.forget(self.frozen.index, self.seat(index));
        self.interrupted.clear(index);
        if is_unfinished(index) {
            self.calling.note(self.frozen.index, self.seat(index));
        }
        if Marks::sharers(index, self.frozen.config.vcpu_count).any(is_unfinished) {
            self.interrupted.set(index);
        }
    }

    /// Returns the contexts that the scheduler is to run for their interrupts
    /// (`sri-interrupts-policy`).
    pub fn wants_cycles(&self) -> &AtomicVcpuSet {
        &self.wants_cycles
    }

    /// The entry point of secondary contexts, where one was registered
    /// (`FFA_SECONDARY_EP_REGISTER`).
    pub fn secondary_entry(&self) -> Option<Ipa> {
        match self.secondary_entry.load(Ordering::Acquire) {
            0 => None,
            entry => Some(Ipa::new(entry)),
        }
    }

    /// Registers the entry point of secondary contexts; the last call wins.
    pub fn set_secondary_entry(&self, entry: Ipa) {
        self.secondary_entry.store(entry.raw(), Ordering::Release);
    }
}
