//! Locks and atomics of the engine, and the points between their operations at which another PE
//! can come in.
//!
//! In an image these are the ones of `spin` and `core`, and a point costs nothing. With the
//! feature `explore` each operation first tells a hook, by which a test decides who goes on.

#[cfg(feature = "explore")]
mod explore;
#[cfg(feature = "explore")]
mod held;

#[cfg(feature = "explore")]
pub use explore::{Mutex, MutexGuard, Point, atomic, observe, watch};

#[cfg(not(feature = "explore"))]
pub use core::sync::atomic;
#[cfg(not(feature = "explore"))]
pub use spin::{Mutex, MutexGuard};

use crate::partition::vcpu::Vcpu;

/// Lets a moment pass for whoever holds `lock`, right after an attempt to take it.
#[cfg_attr(not(feature = "explore"), allow(unused_variables))]
#[inline(always)]
pub(crate) fn wait_for<T>(lock: &Mutex<T>) {
    #[cfg(feature = "explore")]
    explore::tell(Point::Contended(explore::address(lock)));
    core::hint::spin_loop();
}

/// Marks a point just before `object` is changed, where `object` is none of this module's types:
/// a word of a table that carries a protocol.
#[cfg_attr(not(feature = "explore"), allow(unused_variables))]
#[inline(always)]
pub(crate) fn point<T>(object: &T) {
    #[cfg(feature = "explore")]
    explore::tell(Point::Store(explore::address(object)));
}

/// Shows what is about to run on this PE, which nobody else can look at before it stops.
#[cfg_attr(not(feature = "explore"), allow(unused_variables))]
#[inline(always)]
pub(crate) fn runs<C>(vcpu: &Vcpu<C>) {
    #[cfg(feature = "explore")]
    explore::show(vcpu.model(), vcpu.caller(), vcpu.masked);
}

/// Panics if this PE holds what another one may wait for: then it must not wait for a claim.
#[inline(always)]
pub(crate) fn assert_may_wait() {
    #[cfg(feature = "explore")]
    held::assert_may_wait();
}

/// Notes whether another PE may wait for `lock`, which this one holds. It may unless that is said.
#[cfg_attr(not(feature = "explore"), allow(unused_variables))]
#[inline(always)]
pub(crate) fn note_awaited<T>(lock: &Mutex<T>, is_awaited: bool) {
    #[cfg(feature = "explore")]
    held::note_awaited(explore::address(lock), is_awaited);
}
