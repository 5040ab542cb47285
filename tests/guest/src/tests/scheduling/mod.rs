//! Scheduling: `FFA_RUN`, preemption, several PEs at once, PEs that go off, partitions that end.

pub mod concurrency;
pub mod lifecycle;
pub mod live_activation;
pub mod live_kinds;
pub mod power;
pub mod preemption;
pub mod run;
pub mod unserved;
pub mod yielding;
