//! The choice of calls that are shown.

use anyhow::{Context, Result};
use spmc::ffa::Handle;
use spmc::id::PartitionId;

use super::calls::Call;
use super::decode::{Value, name};
use super::system::Partition;

/// Conditions, all of which a call that is shown meets.
#[derive(Clone, Default, Debug)]
pub struct Filter {
    /// A part of the name of the function, in any case.
    pub function: Option<String>,
    /// The id or the name of an endpoint: the caller, the callee, or one that an argument names.
    pub endpoint: Option<String>,
    /// A handle in the arguments or in the result.
    pub handle: Option<u64>,
}

/// The filter, with what its words stand for.
pub struct Condition {
    function: Option<String>,
    endpoint: Option<PartitionId>,
    handle: Option<Handle>,
}

/// Parses a number, which is hexadecimal behind `0x`.
pub fn number(text: &str) -> Result<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.with_context(|| format!("`{text}` is no number"))
}

impl Filter {
    /// Looks the endpoint up.
    pub fn condition(&self, partitions: &[Partition]) -> Result<Condition> {
        Ok(Condition {
            function: self.function.as_ref().map(|text| text.to_uppercase()),
            endpoint: self
                .endpoint
                .as_ref()
                .map(|text| endpoint(text, partitions))
                .transpose()?,
            handle: self.handle.map(Handle::new),
        })
    }
}

fn endpoint(text: &str, partitions: &[Partition]) -> Result<PartitionId> {
    let named = partitions.iter().find(|partition| partition.name == text);
    if let Some(partition) = named {
        return Ok(partition.id);
    }
    let id = number(text).ok().and_then(|id| u16::try_from(id).ok());
    id.map(PartitionId).with_context(|| {
        let names: Vec<_> = partitions
            .iter()
            .map(|partition| &*partition.name)
            .collect();
        format!(
            "`{text}` is no id, and no partition; there are {}",
            names.join(", ")
        )
    })
}

impl Condition {
    /// Returns whether a call is shown.
    pub fn holds(&self, call: &Call) -> bool {
        let function = name(call.frame.function());
        let is_named = |text: &String| function.contains(text.as_str());
        self.function.as_ref().is_none_or(is_named)
            && self.endpoint.is_none_or(|id| {
                let ends = [call.caller.id(), call.callee.id()];
                ends.contains(&Some(id))
                    || tells(call, |value| match value {
                        Value::Endpoint(other) => *other == id,
                        Value::Context(vcpu) => vcpu.partition == id,
                        _ => false,
                    })
            })
            && self
                .handle
                .is_none_or(|handle| tells(call, |value| *value == Value::Handle(handle)))
    }
}

/// Returns whether a value of a call or of its result meets a condition.
fn tells(call: &Call, condition: impl Fn(&Value) -> bool) -> bool {
    let mut fields = call.arguments().into_iter().chain(call.results());
    fields.any(|field| field.value.any(&condition))
}
