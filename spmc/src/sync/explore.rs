//! Provides the types of `sync` with a hook before each operation, for tests that decide the order
//! of PEs.

use core::fmt;
use core::ops::{Deref, DerefMut};

use spin::Once;

use super::held;
use crate::partition::vcpu::{Caller, Model};

/// The next step of a PE. Each object is named by its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// It is about to take a lock, or to try.
    Lock(usize),
    /// It needs a lock that is held: it comes again, and can only go on once the lock is free.
    Contended(usize),
    /// It is about to release a lock.
    Unlock(usize),
    /// It has released a lock. Nothing else happens here.
    Released(usize),
    /// It is about to read an atomic.
    Load(usize),
    /// It is about to change an atomic, or may be.
    Store(usize),
}

static HOOK: Once<fn(Point)> = Once::new();

/// Has `hook` called at each point from now on, on the PE that comes to it. The first hook stays.
pub fn observe(hook: fn(Point)) {
    HOOK.call_once(|| hook);
}

/// Sees why a context runs, who gets the PE back, and whether Non-secure interrupts are masked.
type Watcher = fn(Model, Caller, bool);

static WATCHER: Once<Watcher> = Once::new();

/// Has `watcher` called before each context runs, on its PE. The first watcher stays.
pub fn watch(watcher: Watcher) {
    WATCHER.call_once(|| watcher);
}

pub(super) fn show(model: Model, caller: Caller, masked: bool) {
    if let Some(watcher) = WATCHER.get() {
        watcher(model, caller, masked);
    }
}

pub(super) fn tell(point: Point) {
    if let Some(hook) = HOOK.get() {
        hook(point);
    }
}

pub(super) fn address<T>(object: &T) -> usize {
    core::ptr::from_ref(object).addr()
}

/// A spin lock.
pub struct Mutex<T>(spin::Mutex<T>);

impl<T> Mutex<T> {
    /// Returns a free lock around `value`.
    pub const fn new(value: T) -> Self {
        Self(spin::Mutex::new(value))
    }

    /// Takes the lock and spins as long as somebody else holds it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            tell(Point::Contended(address(self)));
            core::hint::spin_loop();
        }
    }

    /// Takes the lock unless somebody holds it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let lock = address(self);
        tell(Point::Lock(lock));
        let inner = self.0.try_lock()?;
        held::took(lock);
        Some(MutexGuard {
            _before: Tells(Point::Unlock(lock)),
            inner,
            _after: Tells(Point::Released(lock)),
        })
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lock that is held. It is released when this is dropped.
pub struct MutexGuard<'a, T> {
    // Fields are dropped in the order of their declaration.
    _before: Tells,
    inner: spin::MutexGuard<'a, T>,
    _after: Tells,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Tells of a point when it is dropped.
struct Tells(Point);

impl Drop for Tells {
    fn drop(&mut self) {
        if let Point::Released(lock) = self.0 {
            held::gave(lock);
        }
        tell(self.0);
    }
}

/// Atomics, as in [`core::sync::atomic`].
pub mod atomic {
    use super::{Point, address, tell};
    pub use core::sync::atomic::{Ordering, fence};

    /// An atomic of `core` and the operations that all of them have.
    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            /// As in [`core::sync::atomic`], with a point before each operation.
            #[derive(Debug)]
            pub struct $name(core::sync::atomic::$name);

            #[allow(missing_docs, reason = "`core::sync::atomic` documents them")]
            impl $name {
                pub const fn new(value: $value) -> Self {
                    Self(core::sync::atomic::$name::new(value))
                }

                pub fn load(&self, order: Ordering) -> $value {
                    tell(Point::Load(address(self)));
                    self.0.load(order)
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    self.change().store(value, order);
                }

                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.change().swap(value, order)
                }

                pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                    self.change().fetch_or(value, order)
                }

                pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                    self.change().fetch_and(value, order)
                }

                pub fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.change()
                        .compare_exchange(current, new, success, failure)
                }

                /// Comes to a point before the load, and to another before each exchange.
                pub fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    mut update: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    let mut previous = self.load(fetch);
                    while let Some(next) = update(previous) {
                        match self.compare_exchange(previous, next, set, fetch) {
                            Ok(previous) => return Ok(previous),
                            Err(changed) => previous = changed,
                        }
                    }
                    Err(previous)
                }

                fn change(&self) -> &core::sync::atomic::$name {
                    tell(Point::Store(address(self)));
                    &self.0
                }
            }
        };
    }

    /// Operations of integers beyond that.
    macro_rules! integer {
        ($name:ident, $value:ty) => {
            atomic!($name, $value);

            #[allow(missing_docs, reason = "`core::sync::atomic` documents them")]
            impl $name {
                pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    self.change().fetch_add(value, order)
                }

                pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                    self.change().fetch_sub(value, order)
                }

                pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                    self.change().fetch_max(value, order)
                }
            }
        };
    }

    atomic!(AtomicBool, bool);
    integer!(AtomicU8, u8);
    integer!(AtomicU16, u16);
    integer!(AtomicU32, u32);
    integer!(AtomicU64, u64);
    integer!(AtomicUsize, usize);
}
