//! The systems whose scheduling is explored.

/// `ns-interrupts-action`
const QUEUED: u32 = 0;
pub(super) const MANAGED_EXIT: u32 = 1;
const SIGNALED: u32 = 2;

/// A system to be explored.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The action of each partition for Non-secure interrupts (`ns-interrupts-action`).
    pub actions: Vec<u32>,
    /// The number of contexts of the first partition. If there are two, they are pinned.
    pub first: u32,
    /// Set if the first partition has an interrupt.
    pub interrupt: bool,
    /// Set if partitions fail and start again.
    pub fails: bool,
    /// Set if PEs are turned off and on.
    pub off: bool,
    /// Set if each partition asks and runs only the next one, and the Normal world asks only the
    /// first.
    pub is_line: bool,
    /// Set if the image of the first partition is replaced (live activation).
    pub live: bool,
    /// Number of PEs.
    pub pes: usize,
}

impl Setup {
    /// Returns all systems by name, small ones first.
    pub fn all() -> Vec<(&'static str, Self)> {
        let of = |actions: &[u32], pes| Self {
            actions: actions.to_vec(),
            first: 1,
            interrupt: false,
            fails: false,
            off: false,
            is_line: false,
            live: false,
            pes,
        };
        let one = of(&[SIGNALED; 3], 1);
        let few = of(&[SIGNALED; 2], 1);
        let lone = of(&[SIGNALED], 2);
        let pair = of(&[SIGNALED; 2], 2);
        let two = of(&[SIGNALED; 3], 2);
        let pinned = |of: &Self| Self {
            first: 2,
            off: true,
            ..of.clone()
        };
        let off = |of: Self| Self { off: true, ..of };
        let fails = |of: Self| Self { fails: true, ..of };
        let interrupt = |of: Self| Self {
            interrupt: true,
            ..of
        };
        let line = |of: Self| Self {
            is_line: true,
            ..of
        };
        let live = |of: Self| Self { live: true, ..of };
        let actions = of(&[MANAGED_EXIT, SIGNALED, QUEUED], 1);
        vec![
            ("one", one.clone()),
            ("one-fails", fails(one.clone())),
            ("actions", actions.clone()),
            ("line", line(interrupt(one.clone()))),
            ("line-fails", line(fails(interrupt(one.clone())))),
            ("exits", of(&[MANAGED_EXIT, SIGNALED, SIGNALED], 1)),
            ("few", fails(interrupt(few.clone()))),
            ("few-actions", interrupt(of(&[MANAGED_EXIT, QUEUED], 1))),
            (
                "few-exits",
                fails(interrupt(of(&[MANAGED_EXIT, SIGNALED], 1))),
            ),
            ("lone", fails(off(interrupt(lone.clone())))),
            ("lone-pinned", fails(pinned(&lone))),
            ("lone-pinned-interrupt", interrupt(pinned(&lone))),
            ("live", live(few.clone())),
            ("live-exits", live(of(&[MANAGED_EXIT, SIGNALED], 1))),
            ("live-interrupt", live(interrupt(few))),
            ("live-pair", fails(off(live(pair.clone())))),
            ("pair-off", off(pair.clone())),
            ("pair-off-fails", fails(off(pair.clone()))),
            ("pair-actions", of(&[MANAGED_EXIT, QUEUED], 2)),
            ("pair-exits", off(of(&[MANAGED_EXIT, SIGNALED], 2))),
            (
                "pinned-exits",
                Self {
                    first: 2,
                    ..of(&[SIGNALED, MANAGED_EXIT], 2)
                },
            ),
            ("pair-interrupt", interrupt(pair.clone())),
            ("two", two.clone()),
            ("two-fails", fails(two.clone())),
            ("one-interrupt", interrupt(one)),
            ("one-actions", interrupt(actions)),
            ("pair", fails(interrupt(pair.clone()))),
            ("pinned", pinned(&pair)),
            ("pinned-fails", fails(pinned(&pair))),
            ("pinned-interrupt", interrupt(pinned(&pair))),
            ("two-interrupt", interrupt(two)),
        ]
    }

    /// Returns the system of that name.
    pub fn of(name: &str) -> Self {
        let mut all = Self::all().into_iter();
        let found = all.find(|(known, _)| *known == name);
        found.expect("a name").1
    }
}
