//! Packages in the memory of their partitions: reading and copying them.

use super::PackageError;
use crate::addr::{PAGE_SIZE, Pa, PageRange, World};
use crate::hal::Hal;
use crate::manifest::package::Package;

/// Reads the headers of the package at `from`, and all of it if it has a checksum. The package is,
/// or is to be, loaded to `memory`.
#[cold]
#[inline(never)]
pub(super) fn read_package<H: Hal>(
    hal: &H,
    from: Pa,
    memory: PageRange<Pa>,
) -> Result<Package, PackageError> {
    Package::parse(memory, &mut |offset, to| {
        let from = Pa::new(from.raw().saturating_add(offset));
        hal.read(World::Secure, from, to)
            .map_err(|_| PackageError::Unreadable)
    })
}

/// Copies the manifest of a package into `buffer`. The parser of the package has checked offset and
/// size.
#[cold]
#[inline(never)]
pub(super) fn read_manifest<'b, H: Hal>(
    hal: &H,
    memory: PageRange<Pa>,
    package: &Package,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], PackageError> {
    let from = memory.base().raw();
    let from = Pa::new(from.saturating_add(package.manifest_offset()));
    let to = buffer
        .get_mut(..package.manifest_size())
        .ok_or(PackageError::Unreadable)?;
    hal.read(World::Secure, from, to)
        .map_err(|_| PackageError::Unreadable)?;
    Ok(to)
}

/// Pages of Secure memory that are copied.
pub(super) struct Copying {
    pub(super) from: Pa,
    pub(super) to: Pa,
    pub(super) pages: u64,
}

/// Copies pages by way of `buffer`, which has room for one.
#[cold]
#[inline(never)]
pub(super) fn copy_pages<H: Hal>(
    hal: &H,
    Copying { from, to, pages }: Copying,
    buffer: &mut [u8],
) -> Result<(), PackageError> {
    let Some(page) = buffer.first_chunk_mut::<{ PAGE_SIZE as usize }>() else {
        return Err(PackageError::Unreadable);
    };
    for offset in (0..pages).map(|page| page.saturating_mul(PAGE_SIZE)) {
        let at = |base: Pa| Pa::new(base.raw().saturating_add(offset));
        hal.read(World::Secure, at(from), page)
            .and_then(|()| hal.write(World::Secure, at(to), page))
            .map_err(|_| PackageError::Unreadable)?;
    }
    Ok(())
}
