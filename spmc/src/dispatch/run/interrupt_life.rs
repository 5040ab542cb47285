//! Interrupts over the lives of their owners: set up when a partition starts, handed over when a
//! PE goes off, masked when their owner fails.
//!
//! Interrupts that a context has not finished end with its life: nothing stays pending or active in
//! its lines. The device of a shared interrupt goes on, so another context takes that interrupt
//! over. Interrupts that become pending after that wait for the next life.

use crate::hal::Hal;
use crate::id::VcpuId;
use crate::interrupt::Line;
use crate::manifest::config::{DeviceInterrupt, ExceptionLevel};
use crate::partition::Frozen;
use crate::spmc::{Pe, Spmc};

use crate::dispatch::context::{Current, Member};

impl<H: Hal> Spmc<H> {
    /// Notes that this PE is on: other PEs may hand interrupts over to it.
    #[cold]
    pub(crate) fn join(&self, pe: &Pe) {
        self.watch_timers(pe);
        let mut places = self.places.lock();
        if !places.arrive(pe.index, self.hal.affinity()) {
            return;
        }
        // The PE is on already: EL3 turned it off although a partition refused.
        for partition in self.live_partitions() {
            let frozen = &partition.frozen;
            if !frozen.config.is_up() {
                Self::keep(pe, Member { partition, frozen });
            }
        }
    }

    /// Notes that this PE goes off, and hands its interrupts over to PEs that stay on.
    #[cold]
    pub(crate) fn leave(&self, pe: &mut Pe) {
        let mut places = self.places.lock();
        places.leave(pe.index);
        let here = self.hal.affinity();
        for partition in self.live_partitions() {
            let frozen = &partition.frozen;
            let member = Member { partition, frozen };
            let is_up = frozen.config.is_up();
            let contexts = frozen.config.vcpu_count.into();
            match places.first(if is_up { usize::MAX } else { contexts }) {
                // The context of a UP partition migrates, so only routing changes.
                Some((_, there)) if is_up => {
                    for (_, claim) in frozen.claims.shared() {
                        self.hal.move_interrupt(claim.id, here, there);
                    }
                }
                Some((heir, there)) => self.hand_over(pe, member, here, (heir, there)),
                None if is_up => {}
                // No PE can take them over: they wait until this one is on again.
                None => Self::keep(pe, member),
            }
        }
        self.leave_timers(pe);
        self.hal.look_again_elsewhere();
    }

    /// Ends a life of the context pinned to this PE. Shared interrupts that it did not finish
    /// become pending again, for its next life.
    fn keep(pe: &Pe, Member { partition, frozen }: Member<'_, H::Context>) {
        let Some(left) = partition.end_life(pe.index) else {
            return;
        };
        for (line, _) in frozen.claims.shared() {
            if left.unfinished & line.bit() != 0 {
                partition.pend(pe.index, line);
            }
        }
    }

    /// Ends a life of the context pinned to this PE, which is at `here`. The partition's context on
    /// the PE `heir`, which is at `there`, gets the shared interrupts that it did not finish, and
    /// those that are routed to this PE from now on; what was enabled here is enabled there.
    fn hand_over(
        &self,
        pe: &Pe,
        Member { partition, frozen }: Member<'_, H::Context>,
        here: u64,
        (heir, there): (u16, u64),
    ) {
        let (Some(left), Some((heirs, _))) = (partition.end_life(pe.index), partition.lines(heir))
        else {
            return;
        };
        for (line, claim) in frozen.claims.shared() {
            let has = |lines: u64| lines & line.bit() != 0;
            let is_unfinished = has(left.unfinished);
            let moves = self.hal.move_interrupt(claim.id, here, there);
            if (moves || is_unfinished) && has(left.enabled) {
                heirs.enable(line, has(left.fiq));
            }
            if is_unfinished {
                // It is active in the GIC until the heir deactivates it.
                partition.pend(heir, line);
            }
        }
    }

    /// Configures the shared interrupts of a partition that is about to start, or to start again,
    /// as its manifest says; they are disabled. An interrupt is routed to this PE if the manifest
    /// names no PE or, after boot, one that is off.
    #[cold]
    pub(crate) fn claim_interrupts(&self, frozen: &Frozen) {
        let places = self.places.lock();
        for (_, claim) in frozen.claims.shared() {
            let target = claim
                .target
                .filter(|target| !self.has_booted() || places.has(*target));
            self.configure(frozen, &DeviceInterrupt { target, ..*claim });
        }
    }

    fn configure(&self, frozen: &Frozen, claim: &DeviceInterrupt) {
        if !self.hal.configure_interrupt(claim) {
            let (name, id) = (frozen.config.name, claim.id);
            log::warn!("{name}: the GIC has no interrupt {id}");
        }
    }

    /// Prepares the lines of a context for its first entry, and configures its private interrupts
    /// on this PE. All interrupts of a partition at S-EL0 are enabled. An image that takes the
    /// place of another one (`takes_over`) has the interrupts that the other had enabled.
    #[cold]
    pub(crate) fn prepare_interrupts(&self, current: &Current<'_, H::Context>, takes_over: bool) {
        // If the manifest does not ask for these interrupts, they never become pending.
        let mut enabled = Line::NOTIFICATION.bit() | Line::MANAGED_EXIT.bit();
        let is_s_el0 = current.frozen.config.exception_level == ExceptionLevel::SEl0;
        if is_s_el0 {
            enabled |= current.frozen.claims.lines();
        }
        let fiq = if current.frozen.config.managed_exit_virq {
            0
        } else {
            Line::MANAGED_EXIT.bit()
        };
        if let Some((lines, _)) = current.partition.lines(current.id.index) {
            if takes_over {
                lines.hand_over();
            }
            lines.begin(enabled, fiq);
        }
        if self.is_notified(current.id) {
            // A former life of the context was interrupted for them, but did not fetch them.
            current.partition.pend(current.id.index, Line::NOTIFICATION);
        }
        let claims = current.frozen.claims.iter();
        for claim in claims.filter(|claim| claim.is_private() && !takes_over) {
            self.configure(current.frozen, claim);
        }
        if is_s_el0 {
            for claim in current.frozen.claims.iter() {
                self.hal.enable_interrupt(claim.id, true);
            }
        }
    }

    /// Returns whether notifications are pending for a context.
    fn is_notified(&self, id: VcpuId) -> bool {
        let receiver = self.notifications.receiver(&self.directory, id.partition);
        receiver.is_some_and(|receiver| receiver.is_pending_on(id.index))
    }

    /// Masks the interrupts of the partition of `current`, which failed.
    #[cold]
    pub(super) fn mask_interrupts(&self, current: &Current<'_, H::Context>) {
        for claim in current.frozen.claims.iter() {
            self.hal.enable_interrupt(claim.id, false);
            self.hal.deactivate_interrupt(claim.id);
        }
    }
}
