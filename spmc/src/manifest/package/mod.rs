//! Packages of partitions: what BL2 loads for each. There are three forms, which the first word
//! tells apart: SPKG versions 1 and 2, and transfer lists.
//!
//! Packages come from a file that is signed but not trusted: each size and offset is checked
//! against the memory of the package before it is used.

mod hob_list;
mod piece;
mod spkg;
mod transfer_list;

pub use piece::{Piece, Read};

use core::fmt;

use super::config::{AbortAction, PartitionConfig};
use super::error::ManifestError;
use crate::addr::{PAGE_SIZE, Pa, PageRange};

/// Bytes of the header, in every form.
pub const HEADER_SIZE: usize = spkg::HEADER_SIZE;
const _: () = assert!(HEADER_SIZE == transfer_list::HEADER_SIZE);

/// Says of a partition with `live-activation-support` that [`Package::reserve_copies`] took too few
/// pages.
pub const NOT_REPLACED: &str =
    "no room for two copies of its package: its image cannot be replaced";

/// A checked package: header, manifest and image follow each other inside the package's memory, and
/// a HOB list is in front of the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Package {
    manifest: Piece,
    image: Piece,
    hob_list: Option<Piece>,
}

/// The lack of something in a package that its manifest asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// `boot-info`: header and image leave too little between them.
    RoomForBootInfo,
    /// `abort-action` 2: the package's memory has no room for a second copy of the package.
    RoomForCopy,
    /// `hob_list`: the package has none, and none can be made.
    HobList,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoomForBootInfo => {
                "the package has no room for boot information before its image"
            }
            Self::RoomForCopy => {
                "abort-action 2 (restart) needs room for a copy of the package at the end of its \
                 memory, and no region there"
            }
            Self::HobList => {
                "hob_list needs a HOB list in the package, or regions named heap and \
                 ns_comm_buffer to make one of"
            }
        })
    }
}

impl Package {
    /// Parses the package at the beginning of `memory`; `read` copies bytes of it.
    ///
    /// Refused: a first word that belongs to no form; what the readers of the forms refuse. Errors
    /// of `read` end the parsing.
    #[cold]
    #[inline(never)]
    pub fn parse<E: From<ManifestError>>(
        memory: PageRange<Pa>,
        read: &mut Read<E>,
    ) -> Result<Self, E> {
        let mut header = [0; HEADER_SIZE];
        read(0, &mut header)?;
        let (manifest, image, hob_list) = match u32::from_le_bytes(*first_word(&header)) {
            spkg::MAGIC => {
                let (manifest, image) = spkg::parse(&header, memory.size())?;
                (manifest, image, None)
            }
            transfer_list::SIGNATURE => transfer_list::parse(&header, memory, read)?,
            other => {
                let expected = "0x474b5053 (\"SPKG\") or 0x4a0fb10b (transfer list)";
                return Err(spkg::refuse("magic", expected, other).into());
            }
        };
        Ok(Self {
            manifest,
            image,
            hob_list,
        })
    }

    /// Returns the offset of the manifest in the package.
    pub fn manifest_offset(&self) -> u64 {
        self.manifest.offset.into()
    }

    /// Returns the bytes of the manifest, 1 to [`crate::limits::MAX_SP_MANIFEST`].
    pub fn manifest_size(&self) -> usize {
        self.manifest.size as usize
    }

    /// Returns the offset of the image in the package.
    pub fn image_offset(&self) -> u64 {
        self.image.offset.into()
    }

    /// Returns the bytes of the image, at least 1.
    pub fn image_size(&self) -> u64 {
        self.image.size.into()
    }

    /// Returns the HOB list that the package has.
    pub fn hob_list(&self) -> Option<Piece> {
        self.hob_list
    }

    /// Returns the offset of the manifest that leaves `room` bytes, a multiple of 8, for boot
    /// information in front of it. Boot information is written over the header: where there is not
    /// as much room, the manifest has to move.
    ///
    /// Errors: the manifest would reach the image.
    pub fn offset_behind_boot_info(&self, room: usize) -> Result<u64, Lack> {
        let offset = room as u64;
        if self.manifest_offset() >= offset {
            return Ok(self.manifest_offset());
        }
        if offset.saturating_add(self.manifest.size.into()) > self.image_offset() {
            return Err(Lack::RoomForBootInfo);
        }
        Ok(offset)
    }

    /// Returns the number of pages from the header to the end of the image.
    pub fn pages(&self) -> u64 {
        self.image.end().div_ceil(PAGE_SIZE)
    }

    /// Takes pages at the end of the partition's memory for copies of the package: two if the
    /// partition is activated live and there is room, one if it is to be restarted when it fails.
    /// The next version of a package that is activated live may have a quarter more pages.
    ///
    /// Errors: the partition is to be restarted, and the package itself, a region, or the entry
    /// point lies there.
    pub fn reserve_copies(&self, config: &mut PartitionConfig) -> Result<(), Lack> {
        let pages = self.pages();
        let longer = pages.saturating_add(pages.div_ceil(4));
        if config.live_activation.is_some() && reserve(config, 2, longer) {
            return Ok(());
        }
        if config.abort_action == AbortAction::Restart && !reserve(config, 1, pages) {
            return Err(Lack::RoomForCopy);
        }
        Ok(())
    }
}

/// Takes `count` times that many pages at the end of the partition's memory for copies. Returns
/// whether there is room for them.
fn reserve(config: &mut PartitionConfig, count: u64, pages: u64) -> bool {
    let taken = pages.saturating_mul(count);
    let left = config.memory.pages().saturating_sub(taken);
    let base = config.memory.base();
    let at = |pages: u64| Pa::new(base.raw().saturating_add(pages.saturating_mul(PAGE_SIZE)));
    let (Some(memory), Some(all)) = (
        PageRange::new(base, left).filter(|_| left >= pages),
        PageRange::new(at(left), taken),
    ) else {
        return false;
    };
    let mut regions = config.memory_regions.iter();
    if regions.any(|region| region.range.overlaps(&all))
        || config.entrypoint_offset >= memory.size()
    {
        return false;
    }
    config.memory = memory;
    let places = (0..count).map(|n| at(left.saturating_add(pages.saturating_mul(n))));
    config.copies = places
        .filter_map(|place| PageRange::new(place, pages))
        .collect();
    true
}

fn first_word(header: &[u8; HEADER_SIZE]) -> &[u8; 4] {
    header.first_chunk().unwrap_or(&[0; 4])
}
