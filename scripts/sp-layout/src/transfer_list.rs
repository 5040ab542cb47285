//! Packages that are transfer lists, as TF-A's `tlc` writes them for `tl_pkg`: manifest, HOB list
//! if the manifest asks for one, and image, each on a page of its own. Entries without contents
//! fill the space between them.

use crate::hob_list::{Places, hob_list};
use crate::package::{Contents, Offsets, PAGE, Package};

/// Bytes of the header of an entry.
const ENTRY: usize = 8;

/// Tags of entries.
const VOID: u32 = 0;
const HOB_LIST: u32 = 3;
const IMAGE: u32 = 0x103;
const MANIFEST: u32 = 0x106;

/// The maximum size of a list, if the layout does not say.
const USUAL_SIZE: u64 = 0x10_0000;

/// Packs a transfer list that may have `size` bytes. The offsets are those of the data. What has
/// none is on the next page.
///
/// Errors, each a sentence: an offset that is no multiple of 4 KiB, or inside of what comes before
/// it; a list larger than its maximum.
pub fn pack(size: Option<u64>, offsets: Offsets, contents: &Contents) -> Result<Package, String> {
    let size = size.unwrap_or(USUAL_SIZE);
    let mut list = List::new();
    list.put("pm", MANIFEST, offsets.manifest, contents.manifest)?;
    let places = |list: u64, image: u64| Places {
        package: contents.load_address,
        list: contents.load_address + list,
        image: contents.load_address + image,
        image_size: contents.image.len() as u64,
        end: contents.load_address + size,
    };
    let at = list.next_page();
    // The length of the list does not depend on the places in it.
    if let Some(hobs) = hob_list(contents.manifest, &places(0, 0)) {
        let behind = (at + hobs.len() as u64 + ENTRY as u64).next_multiple_of(PAGE);
        let places = places(at, offsets.image.unwrap_or(behind));
        let hobs = hob_list(contents.manifest, &places).unwrap_or_default();
        list.put("hob_list", HOB_LIST, None, &hobs)?;
    }
    let image = list.put("image", IMAGE, offsets.image, contents.image)?;
    Ok(Package {
        bytes: list.finish(size)?,
        image,
    })
}

/// A list while it is written.
struct List(Vec<u8>);

impl List {
    /// Returns a list without entries, whose header gives version 1, its own size, an alignment of
    /// 4 KiB, and that there is a checksum.
    fn new() -> Self {
        let words = [0x4a0f_b10b_u32, 0x0c18_0100, 0, 0, 1, 0];
        Self(words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }

    /// Returns the first page on which the data of an entry can begin.
    fn next_page(&self) -> u64 {
        ((self.0.len() + ENTRY) as u64).next_multiple_of(PAGE)
    }

    /// Adds an entry whose data are at `offset`, or on the next page. Returns their offset.
    fn put(
        &mut self,
        name: &str,
        tag: u32,
        offset: Option<u64>,
        data: &[u8],
    ) -> Result<u64, String> {
        let first = self.next_page();
        let offset = offset.unwrap_or(first);
        if !offset.is_multiple_of(PAGE) {
            return Err(format!(
                "the offset of `{name}`, {offset:#x}, is no multiple of 4 KiB"
            ));
        }
        if offset < first {
            return Err(format!(
                "the offset of `{name}`, {offset:#x}, must be {first:#x} at least, behind what \
                 comes before it"
            ));
        }
        // Either nothing, or enough for a header: entries begin at multiples of 8.
        let before = offset as usize - ENTRY - self.0.len();
        if let Some(filler) = before.checked_sub(ENTRY) {
            self.add(VOID, &vec![0; filler])?;
        }
        self.add(tag, data)?;
        Ok(offset)
    }

    fn add(&mut self, tag: u32, data: &[u8]) -> Result<(), String> {
        let size = u32::try_from(data.len());
        let size = size.map_err(|_| "a package ends below 4 GiB".to_string())?;
        self.0.extend((tag | (ENTRY as u32) << 24).to_le_bytes());
        self.0.extend(size.to_le_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        Ok(())
    }

    /// Writes sizes and checksum.
    fn finish(self, size: u64) -> Result<Vec<u8>, String> {
        let mut list = self.0;
        let used = list.len();
        let most = u32::try_from(size).unwrap_or(u32::MAX);
        if used > most as usize {
            return Err(format!(
                "the package has {used:#x} bytes, but `size` allows {most:#x} at most"
            ));
        }
        list[8..12].copy_from_slice(&(used as u32).to_le_bytes());
        list[12..16].copy_from_slice(&most.to_le_bytes());
        let sum = list.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        list[4] = sum.wrapping_neg();
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents<'a>(manifest: &'a [u8], image: &'a [u8]) -> Contents<'a> {
        Contents {
            manifest,
            image,
            load_address: 0x630_0000,
        }
    }

    fn at(manifest: u64, image: u64) -> Offsets {
        Offsets {
            manifest: Some(manifest),
            image: Some(image),
        }
    }

    fn word(list: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(list[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn the_usual_places() {
        let package = pack(None, Offsets::default(), &contents(b"manifest", b"image")).unwrap();
        let list = &package.bytes;
        assert_eq!(package.image, 0x2000);
        assert_eq!(word(list, 0), 0x4a0f_b10b);
        assert_eq!(list[5..8], [1, 24, 12]);
        assert_eq!(list.len(), 0x2008);
        let header = [8, 12, 16, 20].map(|at| word(list, at));
        assert_eq!(header, [0x2008, 0x10_0000, 1, 0]);
        let sum = list.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!(sum, 0);
        // A void from the header to that of the manifest's entry.
        assert_eq!([word(list, 0x18), word(list, 0x1c)], [8 << 24, 0xfd8]);
        assert_eq!([word(list, 0xff8), word(list, 0xffc)], [8 << 24 | 0x106, 8]);
        assert_eq!(&list[0x1000..0x1008], b"manifest");
        assert_eq!(
            [word(list, 0x1ff8), word(list, 0x1ffc)],
            [8 << 24 | 0x103, 5]
        );
        assert_eq!(&list[0x2000..], b"image\0\0\0");
    }

    #[test]
    fn offsets_are_places_in_the_package() {
        let contents = contents(b"manifest", b"image");
        let package = pack(None, at(0x3000, 0x8000), &contents).unwrap();
        assert_eq!(package.image, 0x8000);
        assert_eq!(&package.bytes[0x3000..0x3008], b"manifest");
        assert_eq!(&package.bytes[0x8000..0x8005], b"image");
    }

    // Data that end where there is room for one header in front of the next page, or for none.
    #[test]
    fn data_that_fill_their_page() {
        for size in 0xfe0..0x1010 {
            let manifest = vec![1; size];
            let package = pack(None, Offsets::default(), &contents(&manifest, b"image")).unwrap();
            assert_eq!(package.bytes[0x1000..0x1000 + size], manifest);
            let image = package.image as usize;
            let end = (0x1000 + size).next_multiple_of(8);
            assert_eq!(image, (end + 8).next_multiple_of(0x1000));
            assert_eq!(word(&package.bytes, image - 8), 8 << 24 | 0x103);
            assert_eq!(&package.bytes[image..image + 5], b"image");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let contents = contents(&[0; 0x1000], b"image");
        for (size, offsets, why) in [
            (
                None,
                at(0x1000, 0x3100),
                "the offset of `image`, 0x3100, is no multiple of 4 KiB",
            ),
            (
                None,
                at(0, 0x3000),
                "the offset of `pm`, 0x0, must be 0x1000 at least, behind what comes before it",
            ),
            (
                None,
                at(0x1000, 0x2000),
                "the offset of `image`, 0x2000, must be 0x3000 at least, behind what comes before \
                 it",
            ),
            (
                Some(0x3000),
                Offsets::default(),
                "the package has 0x3008 bytes, but `size` allows 0x3000 at most",
            ),
        ] {
            let refused = pack(size, offsets, &contents).map(|_| ());
            assert_eq!(refused.unwrap_err(), why);
        }
    }
}
