//! Finding the redistributors of a GIC: one for each PE, in regions of memory, with one or several
//! kinds of distances between them (GICv3 and GICv4 architecture specification, Arm IHI 0069, 12.10
//! and 12.11.37).

use core::ops::{ControlFlow, Range};

/// Bytes of a frame.
const FRAME: u64 = 0x1_0000;

/// GICR_TYPER.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Typer(pub u64);

impl Typer {
    /// Returns the affinity of the PE: Aff3:Aff2:Aff1:Aff0 as MPIDR_EL1 has them. Bits `[63:32]`
    /// hold Aff3 next to the other fields.
    pub fn affinity(self) -> u64 {
        let compact = self.0 >> 32;
        compact >> 24 << 32 | compact & 0xff_ffff
    }

    /// Returns whether this redistributor is the last one of its region: Last.
    fn is_last(self) -> bool {
        self.0 & 1 << 4 != 0
    }

    /// Returns the distance to the next redistributor of the region. With VLPIS, in GICv4, there
    /// are two frames more, for virtual LPIs.
    fn size(self) -> u64 {
        const VLPIS: u64 = 1 << 1;
        if self.0 & VLPIS != 0 {
            4 * FRAME
        } else {
            2 * FRAME
        }
    }

    /// Returns the address of the next redistributor of the region, if this one at `base` is not
    /// the last. `stride` is the distance, if it is not the one that GICR_TYPER implies.
    fn next(self, base: u64, stride: Option<u64>) -> Option<u64> {
        base.checked_add(stride.unwrap_or(self.size()))
            .filter(|_| !self.is_last())
    }

    /// Returns the number of private interrupts: 32, and the extended PPIs, which are the INTIDs
    /// from 1056 to 1087 or to 1119 (PPInum, bits `[31:27]`).
    pub fn private_interrupts(self) -> u32 {
        match self.0 >> 27 & 0x1f {
            1 => 64,
            2 => 96,
            _ => 32,
        }
    }
}

/// Iterates over the redistributors of a region: the address of each, and its GICR_TYPER, which
/// `typer` reads at the address of a redistributor. Ends behind the last one that the GIC says, or
/// at the end of the region. `stride` is that of [`Typer::next`].
pub fn redistributors(
    region: Range<u64>,
    stride: Option<u64>,
    mut typer: impl FnMut(u64) -> Option<Typer>,
) -> impl Iterator<Item = (u64, Typer)> {
    let mut next = Some(region.start);
    core::iter::from_fn(move || {
        let base = next?;
        if base.checked_add(2 * FRAME)? > region.end {
            return None;
        }
        let found = typer(base)?;
        next = found.next(base, stride);
        Some((base, found))
    })
}

/// Passes the redistributors of all `regions` to `take`, as [`redistributors`] finds them, until
/// `take` breaks off. Returns whether the GIC has more of them than that: `take` wanted more, but a
/// region ends before the last one, and no other region begins there.
pub fn each_redistributor(
    regions: impl Iterator<Item = Range<u64>> + Clone,
    stride: Option<u64>,
    mut typer: impl FnMut(u64) -> Option<Typer>,
    mut take: impl FnMut(u64, Typer) -> ControlFlow<()>,
) -> bool {
    let mut has_more = false;
    for region in regions.clone() {
        let mut next = None;
        for (base, typer) in redistributors(region, stride, &mut typer) {
            next = typer.next(base, stride);
            if take(base, typer).is_break() {
                return false;
            }
        }
        has_more |= next.is_some_and(|next| regions.clone().all(|region| region.start != next));
    }
    has_more
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::slice;
    use std::vec::Vec;

    const BASE: u64 = 0x2f10_0000;
    const LAST: u64 = 1 << 4;
    const VLPIS: u64 = 1 << 1;

    /// GICR_TYPER of a PE, by Aff3 to Aff0.
    fn typer(affinity: [u64; 4], flags: u64) -> u64 {
        affinity.iter().fold(0, |value, field| value << 8 | field) << 32 | flags
    }

    /// Puts `count` PEs at a distance from each other. The n-th has n as Aff1.
    fn frames(base: u64, first: u64, count: u64, distance: u64, flags: u64) -> HashMap<u64, u64> {
        (0..count)
            .map(|n| {
                let last = if n + 1 == count { LAST } else { 0 };
                let value = typer([0, 0, first + n, 0], flags | last);
                (base + n * distance, value)
            })
            .collect()
    }

    /// Walks a region. A read at an address without a redistributor fails the test, as it would
    /// fail on hardware.
    fn walk(
        region: Range<u64>,
        stride: Option<u64>,
        frames: &HashMap<u64, u64>,
    ) -> Vec<(u64, u64)> {
        redistributors(region, stride, |base| Some(Typer(frames[&base])))
            .map(|(base, typer)| (base, typer.affinity()))
            .collect()
    }

    #[test]
    fn the_distance_is_that_of_each_redistributor() {
        for (flags, distance) in [(0, 0x2_0000), (VLPIS, 0x4_0000)] {
            let frames = frames(BASE, 0, 64, distance, flags);
            let found = walk(BASE..BASE + 64 * distance, None, &frames);
            let expected: Vec<_> = (0..64).map(|n| (BASE + n * distance, n << 8)).collect();
            assert_eq!(found, expected);
        }
        // A chip with both kinds.
        let mixed = HashMap::from([
            (BASE, typer([0, 0, 0, 0], VLPIS)),
            (BASE + 0x4_0000, typer([0, 0, 0, 1], 0)),
            (BASE + 0x6_0000, typer([0, 0, 0, 2], VLPIS | LAST)),
        ]);
        let found = walk(BASE..BASE + 0x10_0000, None, &mixed);
        let places: Vec<_> = found.iter().map(|(base, _)| base - BASE).collect();
        assert_eq!(places, [0, 0x4_0000, 0x6_0000]);
    }

    #[test]
    fn a_stated_stride_wins() {
        let frames = frames(BASE, 0, 4, 0x10_0000, VLPIS);
        let found = walk(BASE..BASE + 0x40_0000, Some(0x10_0000), &frames);
        assert_eq!(found.len(), 4);
        assert_eq!(found[3], (BASE + 0x30_0000, 0x300));
    }

    #[test]
    fn the_walk_ends_at_last_or_at_the_end_of_the_region() {
        let mut frames = frames(BASE, 0, 2, 0x2_0000, 0);
        assert_eq!(walk(BASE..BASE + 0x100_0000, None, &frames).len(), 2);
        // No Last, as with a region that is exactly full.
        frames.insert(BASE + 0x2_0000, typer([0, 0, 1, 0], 0));
        assert_eq!(walk(BASE..BASE + 0x4_0000, None, &frames).len(), 2);
        // The last one would not be whole.
        assert_eq!(walk(BASE..BASE + 0x3_0000, None, &frames).len(), 1);
        assert_eq!(walk(BASE..BASE + 0x1_0000, None, &frames).len(), 0);
        assert_eq!(walk(BASE..BASE, None, &frames).len(), 0);
        // At the end of the address space.
        let top = u64::MAX - 0x1_ffff;
        let frames = HashMap::from([(top, typer([0; 4], 0))]);
        assert_eq!(walk(top..u64::MAX, None, &frames).len(), 0);
    }

    #[test]
    fn several_regions_hold_the_pes_of_several_chips() {
        let regions = [(BASE, 0), (BASE + 0x1000_0000, 32)];
        let found: Vec<_> = regions
            .iter()
            .flat_map(|&(base, first)| {
                let frames = frames(base, first, 32, 0x4_0000, VLPIS);
                walk(base..base + 32 * 0x4_0000, None, &frames)
            })
            .collect();
        assert_eq!(found.len(), 64);
        let last = BASE + 0x1000_0000 + 31 * 0x4_0000;
        assert_eq!(found[63], (last, 63 << 8));
    }

    /// Walks over regions until `wanted` redistributors are found. Returns how many there were, and
    /// whether the GIC has more.
    fn search(
        regions: &[Range<u64>],
        stride: Option<u64>,
        wanted: usize,
        frames: &HashMap<u64, u64>,
    ) -> (usize, bool) {
        let mut found = 0;
        let read = |base| Some(Typer(frames[&base]));
        let has_more = each_redistributor(regions.iter().cloned(), stride, read, |_, _| {
            found += 1;
            if found < wanted {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        (found, has_more)
    }

    #[test]
    fn regions_that_end_before_the_last_one_are_too_small() {
        for (flags, distance) in [(0, 0x2_0000), (VLPIS, 0x4_0000)] {
            let frames = frames(BASE, 0, 4, distance, flags);
            let end = |count| BASE + count * distance;
            let (whole, short) = (BASE..end(4), BASE..end(3));
            let (whole, short) = (slice::from_ref(&whole), slice::from_ref(&short));
            assert_eq!(search(whole, None, 4, &frames), (4, false));
            // The manifest has more PEs than the machine, which is no fault of the regions.
            assert_eq!(search(whole, None, 8, &frames), (4, false));
            assert_eq!(search(short, None, 4, &frames), (3, true));
            assert_eq!(search(short, None, 8, &frames), (3, true));
            // Nobody wants the others.
            assert_eq!(search(short, None, 3, &frames), (3, false));
            // One region in pieces, with a stride or without.
            let pieces = [end(1)..end(3), BASE..end(1), end(3)..end(8)];
            assert_eq!(search(&pieces, None, 8, &frames), (4, false));
            assert_eq!(search(&pieces, Some(distance), 8, &frames), (4, false));
            assert_eq!(search(&pieces[..2], None, 8, &frames), (3, true));
        }
    }

    #[test]
    fn affinities_have_their_place_of_mpidr() {
        let value = Typer(typer([0x12, 0x34, 0x56, 0x78], 0xffff_ffff));
        assert_eq!(value.affinity(), 0x12_0034_5678);
    }

    #[test]
    fn the_number_of_ppis_is_known() {
        for (field, count) in [(0, 32), (1, 64), (2, 96), (3, 32)] {
            assert_eq!(Typer(field << 27).private_interrupts(), count);
        }
    }

    #[test]
    fn a_frame_that_cannot_be_read_ends_the_walk() {
        let found = redistributors(BASE..BASE + 0x10_0000, None, |base| {
            (base == BASE).then_some(Typer(0))
        });
        assert_eq!(found.count(), 1);
    }
}
