//! The slot of one execution context: state and link, which everybody may read, and the record,
//! which belongs to the PE with the claim.
//!
//! A claim is held as long as the context runs, or for the few instructions of a look. The state,
//! which can be read without a claim, tells the two apart, so a caller is never told that a context
//! is busy because another PE looks at it.

use core::ops::{Deref, DerefMut};

use crate::error::{FfaError, Result};
use crate::hal::Context;
use crate::partition::link::Link;
use crate::partition::vcpu::{Begin, Caller, Event, Message, Model, State, Vcpu, begin, step};
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{self, Mutex, MutexGuard};

/// An execution context.
///
/// Only the PE with the claim writes state and link. Other PEs read them as they were a moment ago.
pub struct Slot<C> {
    state: AtomicU64,
    link: AtomicU64,
    vcpu: Mutex<Vcpu<C>>,
}

impl<C: Context> Slot<C> {
    /// One that has never run. All zero.
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "only initialises the partition table"
    )]
    pub const OFF: Self = Self {
        state: AtomicU64::new(State::Off.to_word()),
        link: AtomicU64::new(Link::NONE.0),
        vcpu: Mutex::new(Vcpu::OFF),
    };

    /// The run-time state.
    #[inline(always)]
    pub fn state(&self) -> State {
        State::from_word(self.state.load(Ordering::Relaxed))
    }

    /// Returns the link that names the context in its present life, or its last one.
    #[inline(always)]
    pub fn link(&self) -> Link {
        Link(self.link.load(Ordering::Relaxed))
    }

    /// Claims the context; `None` if it runs. Waits for a PE that only looks at it.
    ///
    /// So the caller must hold no lock, and no claim but those of contexts that run, which nobody
    /// waits for. With the feature `explore` a caller that holds others panics, whether or not it
    /// had to wait.
    #[inline(always)]
    pub fn claim(&self) -> Option<Claim<'_, C>> {
        sync::assert_may_wait();
        match self.try_claim() {
            None => self.claim_soon(),
            claim => claim,
        }
    }

    #[cold]
    #[inline(never)]
    fn claim_soon(&self) -> Option<Claim<'_, C>> {
        self.claim_while(|state| state != State::Running)
    }

    /// Claims the context for the PE that has the claim of `callee` and ends its work. May return
    /// `None` if the context does not wait for `callee`.
    ///
    /// The claim of `callee` may be held meanwhile: a PE with the claim of a blocked context only
    /// looks at it, and waits for no claim.
    #[inline(always)]
    pub fn claim_caller_of(&self, callee: Link) -> Option<Claim<'_, C>> {
        match self.try_claim() {
            None => self.claim_caller_of_soon(callee),
            claim => claim,
        }
    }

    #[cold]
    #[inline(never)]
    fn claim_caller_of_soon(&self, callee: Link) -> Option<Claim<'_, C>> {
        self.claim_while(|state| state == State::Blocked(callee))
    }

    /// Claims the context once no other PE has the claim. Returns `None` as soon as `is_worth_it`
    /// refuses the state.
    fn claim_while(&self, is_worth_it: impl Fn(State) -> bool) -> Option<Claim<'_, C>> {
        loop {
            // Pairs with the claim of the other PE: it has seen what was written before it took the
            // claim.
            fence(Ordering::Acquire);
            if !is_worth_it(self.state()) {
                return None;
            }
            if let Some(claim) = self.try_claim() {
                return Some(claim);
            }
            sync::wait_for(&self.vcpu);
        }
    }

    /// Claims the context, to run it or to look, if no other PE has the claim at this moment.
    #[inline(always)]
    pub fn try_claim(&self) -> Option<Claim<'_, C>> {
        let vcpu = self.vcpu.try_lock()?;
        Some(Claim { slot: self, vcpu })
    }
}

/// The claim of a context.
pub struct Claim<'s, C> {
    slot: &'s Slot<C>,
    vcpu: MutexGuard<'s, Vcpu<C>>,
}

impl<C: Context> Claim<'_, C> {
    /// The run-time state.
    #[inline(always)]
    pub fn state(&self) -> State {
        self.slot.state()
    }

    /// Returns whether the state is `state`, by comparing words.
    #[inline(always)]
    pub fn is(&self, state: State) -> bool {
        self.slot.state.load(Ordering::Relaxed) == state.to_word()
    }

    /// Returns the link that names the context in this life.
    #[inline(always)]
    pub fn link(&self) -> Link {
        self.slot.link()
    }

    #[inline(always)]
    fn set(&mut self, state: State) {
        self.slot.state.store(state.to_word(), Ordering::Relaxed);
        sync::note_awaited(&self.slot.vcpu, state != State::Running);
    }

    /// Gives the context `work`; errors as [`begin`].
    #[inline(always)]
    pub fn begin(&mut self, work: Begin) -> Result<()> {
        let state = begin(self.state(), &work)?;
        self.set(state);
        self.vcpu.model = work.model();
        self.vcpu.caller = work.caller();
        Ok(())
    }

    /// Lets `event` happen; errors as [`step`].
    #[inline(always)]
    pub fn step(&mut self, event: Event) -> Result<()> {
        let state = step(self.state(), event)?;
        self.set(state);
        Ok(())
    }

    /// Takes the PE back from the chain that `callee` begins, for interrupts of this context, which
    /// has to resume that chain later. `DENIED` if its model lets nobody be stopped for it.
    pub fn unblock_for_interrupts(&mut self, callee: Link) -> Result<()> {
        let model = self.vcpu.model.stop(callee).ok_or(FfaError::Denied)?;
        self.step(Event::Unblock(callee))?;
        self.vcpu.model = model;
        Ok(())
    }

    /// Blocks the context on the chain that `callee` begins, and that it resumes. A chain that was
    /// stopped for its interrupts is one that it need not resume any more.
    pub fn block_to_resume(&mut self, callee: Link) -> Result<()> {
        self.step(Event::Block(callee))?;
        self.forget_stopped();
        Ok(())
    }

    /// Relieves the context of the chain that was stopped for its interrupts, if there is one.
    pub fn forget_stopped(&mut self) {
        self.vcpu.model = self.vcpu.model.resume();
    }

    /// Notes that the request which is processed has a payload in x8 to x17.
    pub fn widen(&mut self) {
        if let Model::Request(request) = &mut self.vcpu.model {
            request.kind = Message::WideDirectReq;
        }
    }

    /// Replaces whoever gets the PE when the context is done.
    pub fn inherit(&mut self, caller: Caller) {
        self.vcpu.caller = caller;
    }

    /// Begins another life of the context `vcpu` of the partition at the index `partition`: links
    /// to its former life lead nowhere from now on.
    pub fn begin_life(&mut self, partition: usize, vcpu: u16) {
        let link = Link::reborn(partition, vcpu, self.link());
        self.slot.link.store(link.0, Ordering::Relaxed);
    }
}

impl<C> Deref for Claim<'_, C> {
    type Target = Vcpu<C>;

    #[inline(always)]
    fn deref(&self) -> &Vcpu<C> {
        &self.vcpu
    }
}

impl<C> DerefMut for Claim<'_, C> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Vcpu<C> {
        &mut self.vcpu
    }
}
