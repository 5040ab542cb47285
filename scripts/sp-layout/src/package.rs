//! The SP packages that the SPMC unpacks, and the oldest form of them: a header of 24 bytes (magic,
//! version, offset and size of the manifest, offset and size of the image), then the parts.

use crate::transfer_list;

/// Length of the header.
const HEADER: u64 = 24;
/// The unit of offsets in a package.
pub const PAGE: u64 = 0x1000;

/// The form of a package.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// SPKG in which the manifest follows the header directly.
    V1,
    /// SPKG in which the manifest begins on a page of its own (`sp_pkg`).
    V2,
    /// A transfer list (`tl_pkg`).
    TransferList {
        /// `size`: the bytes that the list may have.
        size: Option<u64>,
    },
}

/// Offsets of the parts in a package: `pm.offset` and `image.offset` of a layout, which TF-A's
/// generator passes to `sptool` as `--pm-offset` and `--img-offset`. Each form has usual ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offsets {
    /// Offset of the manifest. Ignored for version 1, in which the manifest follows the header.
    pub manifest: Option<u64>,
    /// Offset of the image. Usually equal to the manifest's `entrypoint-offset`.
    pub image: Option<u64>,
}

/// The contents of a package before they are packed.
#[derive(Clone, Copy)]
pub struct Contents<'a> {
    /// The manifest, a device tree.
    pub manifest: &'a [u8],
    /// The raw image.
    pub image: &'a [u8],
    /// The address that BL2 loads the package to.
    pub load_address: u64,
}

/// A package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// The bytes that BL2 loads.
    pub bytes: Vec<u8>,
    /// Offset of the image in them.
    pub image: u64,
}

/// Packs an SP package.
///
/// Errors, each a sentence: those of `sptool`, which are an offset that is no multiple of 4 KiB, a
/// manifest that is not before the image, and a manifest that reaches into it; a manifest that
/// overlaps the header; a package of more than 4 GiB; for a transfer list, one larger than its
/// `size`.
pub fn pack(form: Form, offsets: Offsets, contents: &Contents) -> Result<Package, String> {
    match form {
        Form::V1 => spkg(1, offsets, contents),
        Form::V2 => spkg(2, offsets, contents),
        Form::TransferList { size } => transfer_list::pack(size, offsets, contents),
    }
}

fn spkg(version: u64, offsets: Offsets, contents: &Contents) -> Result<Package, String> {
    let Contents {
        manifest, image, ..
    } = *contents;
    // The default offsets of `sptool`.
    let manifest_at = offsets.manifest.unwrap_or(0x1000);
    let image_at = offsets.image.unwrap_or(0x4000);
    for (name, offset) in [("pm", manifest_at), ("image", image_at)] {
        if !offset.is_multiple_of(PAGE) {
            return Err(format!(
                "the offset of `{name}`, {offset:#x}, is no multiple of 4 KiB"
            ));
        }
    }
    if manifest_at >= image_at {
        return Err(format!(
            "the offset of `pm`, {manifest_at:#x}, must be below that of `image`, {image_at:#x}"
        ));
    }
    let manifest_at = if version == 1 { HEADER } else { manifest_at };
    if manifest_at < HEADER {
        return Err("the offset of `pm`, 0x0, is that of the package's header".into());
    }
    let room = image_at - manifest_at;
    if manifest.len() as u64 > room {
        return Err(format!(
            "the manifest has {} bytes, but between the offsets of `pm` and `image` are {room}",
            manifest.len()
        ));
    }
    let mut package = Vec::from(*b"SPKG");
    for word in [
        version,
        manifest_at,
        manifest.len() as u64,
        image_at,
        image.len() as u64,
    ] {
        let word = u32::try_from(word).map_err(|_| "a package ends below 4 GiB".to_string())?;
        package.extend_from_slice(&word.to_le_bytes());
    }
    package.resize(manifest_at as usize, 0);
    package.extend_from_slice(manifest);
    package.resize(image_at as usize, 0);
    package.extend_from_slice(image);
    Ok(Package {
        bytes: package,
        image: image_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(manifest: u64, image: u64) -> Offsets {
        Offsets {
            manifest: Some(manifest),
            image: Some(image),
        }
    }

    fn contents<'a>(manifest: &'a [u8], image: &'a [u8]) -> Contents<'a> {
        Contents {
            manifest,
            image,
            load_address: 0,
        }
    }

    fn pack_at(offsets: Offsets) -> Result<Vec<u8>, String> {
        let package = pack(Form::V2, offsets, &contents(b"manifest", b"image"))?;
        assert_eq!(Some(package.image), offsets.image.or(Some(0x4000)));
        Ok(package.bytes)
    }

    #[test]
    fn parts_lie_where_the_header_says() {
        let package = pack_at(Offsets::default()).unwrap();
        assert_eq!(&package[..8], b"SPKG\x02\0\0\0");
        assert_eq!(&package[8..16], b"\0\x10\0\0\x08\0\0\0");
        assert_eq!(&package[16..24], b"\0\x40\0\0\x05\0\0\0");
        assert_eq!(&package[0x1000..0x1008], b"manifest");
        assert_eq!(&package[0x4000..], b"image");
    }

    #[test]
    fn offsets_are_places_in_the_package() {
        let package = pack_at(at(0x2000, 0x1_0000)).unwrap();
        assert_eq!(&package[8..16], b"\0\x20\0\0\x08\0\0\0");
        assert_eq!(&package[16..24], b"\0\0\x01\0\x05\0\0\0");
        assert_eq!(&package[0x2000..0x2008], b"manifest");
        assert_eq!(&package[0x1_0000..], b"image");
    }

    #[test]
    fn what_sptool_refuses_is_refused() {
        for (offsets, why) in [
            (
                at(0x1000, 0x4100),
                "the offset of `image`, 0x4100, is no multiple of 4 KiB",
            ),
            (
                at(0x10, 0x4000),
                "the offset of `pm`, 0x10, is no multiple of 4 KiB",
            ),
            (
                at(0x1000, 0),
                "the offset of `pm`, 0x1000, must be below that of `image`, 0x0",
            ),
            (
                at(0, 0x4000),
                "the offset of `pm`, 0x0, is that of the package's header",
            ),
        ] {
            assert_eq!(pack_at(offsets).unwrap_err(), why);
        }
    }

    #[test]
    fn a_manifest_that_would_reach_the_image_is_refused() {
        let pack = |size| {
            let manifest = vec![0; size];
            pack(Form::V2, Offsets::default(), &contents(&manifest, b""))
        };
        assert!(pack(0x3000).is_ok());
        assert!(pack(0x3001).is_err());
    }

    #[test]
    fn in_version_1_the_manifest_follows_the_header() {
        let contents = contents(b"manifest", b"image");
        let package = pack(Form::V1, Offsets::default(), &contents).unwrap().bytes;
        assert_eq!(&package[4..12], b"\x01\0\0\0\x18\0\0\0");
        assert_eq!(&package[24..32], b"manifest");
        assert_eq!(&package[0x4000..], b"image");
    }
}
