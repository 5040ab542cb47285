//! Refusals that name a region by its path in the manifest.

use arrayvec::ArrayString;

use crate::manifest::config::{DeviceRegion, MemoryRegion, Streams};
use crate::manifest::error::{Found, Refused, Report, push_lossy};

#[cold]
#[inline(never)]
pub(super) fn refuse_memory(
    region: &MemoryRegion,
    expected: &'static str,
    found: Found,
    report: &Report,
) -> Refused {
    let property = if region.relative {
        "load-address-relative-offset"
    } else {
        "base-address"
    };
    memory_error(region, property, expected, found, report)
}

#[cold]
#[inline(never)]
pub(super) fn memory_error(
    region: &MemoryRegion,
    property: &str,
    expected: &'static str,
    found: Found,
    report: &Report,
) -> Refused {
    report.refuse(
        &child("/memory-regions/", &region.name),
        property,
        expected,
        found,
    )
}

pub(super) fn child(parent: &str, name: &str) -> ArrayString<64> {
    let mut path = ArrayString::new();
    push_lossy(&mut path, parent.as_bytes());
    push_lossy(&mut path, name.as_bytes());
    path
}

pub(super) fn first(streams: &Streams) -> Found {
    Found::Number(streams.ids.first().copied().unwrap_or(0).into())
}

#[cold]
#[inline(never)]
pub(super) fn device_error(
    region: &DeviceRegion,
    property: &str,
    expected: &'static str,
    found: Found,
    report: &Report,
) -> Refused {
    report.refuse(
        &child("/device-regions/", &region.name),
        property,
        expected,
        found,
    )
}
