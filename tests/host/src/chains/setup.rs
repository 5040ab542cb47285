//! The systems whose scheduling is explored.

/// `ns-interrupts-action`
const QUEUED: u32 = 0;
const MANAGED_EXIT: u32 = 1;
const SIGNALED: u32 = 2;

/// A system to be explored.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The action of each partition for Non-secure interrupts (`ns-interrupts-action`).
    pub actions: Vec<u32>,
    /// Number of contexts of the first one. With two they are pinned, and PEs go off.
    pub first: u32,
    /// The first one has an interrupt.
    pub interrupt: bool,
    /// Partitions fail, and start anew.
    pub fails: bool,
    /// Number of PEs.
    pub pes: usize,
}

impl Setup {
    /// Each by its name, small ones first.
    pub fn all() -> Vec<(&'static str, Self)> {
        let plain = |actions: &[u32], first, pes| Self {
            actions: actions.to_vec(),
            first,
            interrupt: false,
            fails: false,
            pes,
        };
        let with = |of: &Self, interrupt, fails| Self {
            interrupt,
            fails,
            ..of.clone()
        };
        let one = plain(&[SIGNALED; 3], 1, 1);
        let actions = plain(&[MANAGED_EXIT, SIGNALED, QUEUED], 1, 1);
        let few = plain(&[SIGNALED; 2], 1, 1);
        let two = plain(&[SIGNALED; 3], 1, 2);
        let pair = plain(&[SIGNALED; 2], 1, 2);
        let pinned = plain(&[SIGNALED; 2], 2, 2);
        vec![
            ("one", one.clone()),
            ("one-fails", with(&one, false, true)),
            ("few", with(&few, true, true)),
            ("one-interrupt", with(&one, true, false)),
            ("one-actions", with(&actions, true, false)),
            ("pair", with(&pair, true, true)),
            ("pinned", pinned.clone()),
            ("pinned-fails", with(&pinned, false, true)),
            ("pinned-interrupt", with(&pinned, true, false)),
            ("two", two.clone()),
            ("two-fails", with(&two, false, true)),
            ("two-interrupt", with(&two, true, false)),
        ]
    }

    /// The one of that name.
    pub fn of(name: &str) -> Self {
        let mut all = Self::all().into_iter();
        let found = all.find(|(known, _)| *known == name);
        found.expect("a name").1
    }
}
