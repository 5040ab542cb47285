//! The dispatcher: every call from the Normal world and from partitions ends up here.
//!
//! It has two doors, `normal_world` and `partition`, and two rooms behind them: `calls`
//! answers at once, `run` passes the PE on from one context to another. `context` finds and
//! claims contexts for both.

mod calls;
mod context;
mod normal_world;
mod partition;
mod run;

pub(crate) use context::Member;
pub(crate) use run::works_for;

use crate::error::Result;
use crate::ffa::call_table::{self, Origin, Row};
use crate::ffa::{FunctionId, function};
use crate::partition::{Endpoint, Partition};

/// Where a call comes from. Which functions exist, and how their registers read, depends on it.
pub(crate) enum Instance<'s, C> {
    /// The Normal world, through the SPMD.
    NormalWorld(&'s Endpoint),
    /// A partition.
    Partition(&'s Partition<C>),
}

impl<'s, C> Instance<'s, C> {
    /// The caller as an endpoint.
    pub(crate) fn endpoint(&self) -> &'s Endpoint {
        match self {
            Self::NormalWorld(endpoint) => endpoint,
            Self::Partition(partition) => &partition.endpoint,
        }
    }

    /// Returns the column of the table of calls.
    pub(crate) const fn origin(&self) -> Origin {
        match self {
            Self::NormalWorld(_) => Origin::NormalWorld,
            Self::Partition(_) => Origin::Partition,
        }
    }

    /// Begins a call. Any call but `FFA_VERSION` ends the negotiation of the caller's version.
    /// `registers` are those from x0 on. Errors as [`Row::judge`].
    #[inline(always)]
    pub(crate) fn begin(&self, id: FunctionId, registers: &[u64]) -> Result<()> {
        let endpoint = self.endpoint();
        if call_table::is_plain(id, self.origin(), endpoint.version()) {
            endpoint.end_negotiation();
            Ok(())
        } else if id.0 == function::VERSION {
            Ok(())
        } else {
            self.begin_slowly(id, registers)
        }
    }

    #[cold]
    #[inline(never)]
    fn begin_slowly(&self, id: FunctionId, registers: &[u64]) -> Result<()> {
        self.begin_by(call_table::find(id), registers)
    }

    /// Begins a call whose row was found.
    #[inline(always)]
    pub(crate) fn begin_by(&self, row: &Row, registers: &[u64]) -> Result<()> {
        let endpoint = self.endpoint();
        endpoint.end_negotiation();
        row.judge(self.origin(), endpoint.version(), registers)
    }
}
