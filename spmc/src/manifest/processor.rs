//! Properties of a partition manifest that ask for optional features of the processor. All of them
//! are ours: FF-A and the bindings of TF-A have none.

use super::config::{Branches, PartitionConfig};
use super::error::{Found, Parsed};
use super::property::Property;
use crate::vector_length::VectorLength;

/// Reads one property of the root node. A property of another kind is left alone.
pub(super) fn set(config: &mut PartitionConfig, property: &Property) -> Parsed<()> {
    match property.name {
        "sve-vector-length" => config.vectors = vectors(property)?,
        "branch-target-identification" => {
            property.flag()?;
            config.branches = Branches::ToTargets;
        }
        "sme-vector-length" => {
            property.u32_up_to(0, "0: partitions have no SME")?;
        }
        _ => {}
    }
    Ok(())
}

/// Reads the length of a partition's vectors; 0 means that it has no SVE.
fn vectors(property: &Property) -> Parsed<Option<VectorLength>> {
    let bits = property.u32()?;
    let length = VectorLength::from_bits(bits);
    if length.is_none() && bits != 0 {
        let expected = "0 (no SVE), 128, 256, 512, 1024 or 2048 bits";
        return Err(property.error(expected, Found::Count(bits.into())));
    }
    Ok(length)
}
