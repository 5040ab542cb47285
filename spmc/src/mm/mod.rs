//! Memory of endpoints: page pools, stage-2 tables, ownership and access of every page.
//!
//! All endpoints have the same kind of tables: stage 2 of a partition, stage 1 of an S-EL0
//! partition, and the shadow of the Normal world, which hardware never walks. A leaf holds the
//! address of a page, the access of its endpoint, and the state of ownership (FF-A v1.0 section
//! 5.4), so that state and access change in one store. Nothing here knows of handles or messages.

mod entry;
mod error;
mod inspect;
mod leaf;
mod pool;
mod retired;
mod space;
mod stage1;
mod survey;
mod walk;

pub use error::ChangeError;
pub use leaf::{Attributes, Change, Leaf, State};
pub use pool::{PagePool, Quotas};
pub use space::{AddressSpace, BufferPages};
pub use stage1::MAIR;

pub(crate) use pool::{ListPage, Pages, WORDS, clear};

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
