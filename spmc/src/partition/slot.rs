//! The place of one execution context: what everybody may see of it, and the rest, which belongs to
//! whoever has the claim.
//!
//! A claim is held as long as the context runs, or for the few instructions of a look. Which of the
//! two it is, the state says, and that can be read without a claim: so nobody is told that a
//! context is busy because somebody looks at it.

use core::ops::{Deref, DerefMut};

use crate::error::{FfaError, Result};
use crate::hal::Context;
use crate::partition::link::Link;
use crate::partition::vcpu::{Begin, Caller, Event, State, Vcpu, begin, step};
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{self, Mutex, MutexGuard};

/// An execution context.
///
/// State and link are written by whoever has the claim. Others read them as they were a moment ago.
pub struct Slot<C> {
    state: AtomicU64,
    link: AtomicU64,
    vcpu: Mutex<Vcpu<C>>,
}

impl<C: Context> Slot<C> {
    /// One that has never run. All zero.
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "initial value of the partition table"
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

    /// The name of the context in the life that it lives, or lived last.
    #[inline(always)]
    pub fn link(&self) -> Link {
        Link(self.link.load(Ordering::Relaxed))
    }

    /// Claims the context; `None` if it runs. Whoever only looks at it is waited for.
    ///
    /// So the caller must hold no lock, and no claim but of contexts that run: nobody waits for
    /// those. With the feature `explore` a caller that does panics, whether it had to wait or not.
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

    /// Claims the context that waits for `callee`, for the one who has the claim of that and ends
    /// its work; maybe `None` if the context does not wait for it.
    ///
    /// The claim of `callee` may be held meanwhile: whoever has the claim of a blocked context only
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

    /// Claims the context once nobody else has a claim; `None` if its state is another one before
    /// that.
    fn claim_while(&self, is_worth_it: impl Fn(State) -> bool) -> Option<Claim<'_, C>> {
        loop {
            // Whoever has the claim now has seen what was written before he took it.
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

    /// Claims the context, if nobody else has a claim at this moment, to run it or to look.
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

    /// Returns whether that is `state`: a word compare.
    #[inline(always)]
    pub fn is(&self, state: State) -> bool {
        self.slot.state.load(Ordering::Relaxed) == state.to_word()
    }

    /// The name of the context in this life.
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

    /// Replaces whoever gets the PE when the context is done.
    pub fn inherit(&mut self, caller: Caller) {
        self.vcpu.caller = caller;
    }

    /// The context of that index of the partition at that index starts anew: links to its former
    /// life lead nowhere from now on.
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
