//! Memory of endpoints: page pools, stage-2 tables, ownership and access of every page.
//!
//! One structure serves all: the stage-2 tables of a partition (of an S-EL0 partition its stage 1), which hardware walks, and the shadow of
//! the Normal world, which it never sees. A leaf says where a page lies, what its endpoint may do there and in which state of the FF-A ownership model
//! (FF-A v1.0 section 5.4) the endpoint is, so that state and access change in one store. Nothing here knows of handles
//! or messages.

mod leaf;
mod pool;
mod space;
mod stage1;
mod walk;

pub use leaf::{Attributes, Leaf, State};
pub use pool::{PagePool, Quotas};
pub use space::{AddressSpace, Change, ChangeError};
pub use stage1::MAIR;

pub(crate) use pool::{PageIndex, Pages, WORDS};

/// log2 of the IPA space that stage 2 translates: T0SZ = 25, so that walks start at level 1 with one root page.
pub const IPA_BITS: u32 = 39;

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
