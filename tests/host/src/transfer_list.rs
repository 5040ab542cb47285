//! Packages in the form of transfer lists, with the HOB list that TF-A's tool would put there.

use crate::manifest::{ENTRY, PartitionSpec};

/// Tag of an entry that fills space.
pub const VOID: u32 = 0;
/// Tag of a HOB list.
pub const HOB_LIST: u32 = 3;
/// Tag of a partition's image.
pub const IMAGE: u32 = 0x103;
/// Tag of a partition's manifest.
pub const MANIFEST: u32 = 0x106;

/// Packs entries, each a tag and data. Data of manifests, HOB lists and images begin on a page.
pub fn pack(entries: &[(u32, &[u8])]) -> Vec<u8> {
    let words = [0x4a0f_b10b_u32, 0x0c18_0100, 0, u32::MAX, 1, 0];
    let mut list: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    for (tag, data) in entries {
        if matches!(*tag, HOB_LIST | IMAGE | MANIFEST) {
            let page = (list.len() + 16).next_multiple_of(0x1000);
            let filler = vec![0; page - 16 - list.len()];
            put(&mut list, VOID, &filler);
        }
        put(&mut list, *tag, data);
    }
    let size = (list.len() as u32).to_le_bytes();
    list[8..12].copy_from_slice(&size);
    seal(&mut list);
    list
}

fn put(list: &mut Vec<u8>, tag: u32, data: &[u8]) {
    list.extend((tag | 8 << 24).to_le_bytes());
    list.extend((data.len() as u32).to_le_bytes());
    list.extend(data);
    list.resize(list.len().next_multiple_of(8), 0);
}

/// Makes the checksum right.
pub fn seal(list: &mut [u8]) {
    list[4] = 0;
    let sum = list.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    list[4] = sum.wrapping_neg();
}

/// Returns a HOB list for memory that begins at `base`, which will lie at `at` and ends there.
pub fn hob_list(base: u64, at: u64) -> Vec<u8> {
    let words = [
        &[56 << 16 | 1, 10, 0, base + 0x10_0000, base, at + 0x1000][..],
        &[at + 88],
        &[24 << 16 | 5, base + ENTRY, 0x1000],
        &[8 << 16 | 0xffff],
    ];
    let words = words.concat();
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

impl PartitionSpec {
    /// Puts manifest and image into a transfer list, together with the HOB list if there is one,
    /// which is on the page behind the manifest.
    pub fn in_transfer_list(mut self, hob_list: Option<&[u8]>) -> Self {
        let manifest = self.manifest();
        let image = vec![0xd5; 0x1000];
        let mut entries = vec![(MANIFEST, &manifest[..])];
        entries.extend(hob_list.map(|list| (HOB_LIST, list)));
        // What the void in front of the image needs to reach the entry point.
        let before = pack(&entries).len();
        let fill = vec![0; ENTRY as usize - 24 - before];
        entries.extend([(VOID, &fill[..]), (IMAGE, &image[..])]);
        self.package = Some(pack(&entries));
        self
    }
}
