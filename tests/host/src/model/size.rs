//! Sizes of the small systems whose states of memory are all visited.

/// A system, by what it has.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// One page or two of the Normal world, but for those below.
    pub pages: usize,
    /// The number of them, from the last on, that are the first partition's.
    pub secure: usize,
    /// Transactions at a time, half-sent ones among them.
    pub slots: usize,
    /// Read-only grants and retrievals, beside those with write access.
    pub read_only: bool,
    /// The flags that ask for zeroing, and writes that undo it.
    pub zeroing: bool,
    /// Descriptors in two fragments: those of all pages. Whole ones name the first page only. With
    /// two pages, those in fragments lend or donate to one partition.
    pub fragments: bool,
    /// RX/TX pairs come and go, and RX stays full until it is released.
    pub buffers: bool,
    /// Calls about transactions that are not there, or not there yet.
    pub stale: bool,
    /// Partitions that fail start anew.
    pub restarts: bool,
}

impl Size {
    /// Two pages of the Normal world, and none of what else there is.
    pub const PLAIN: Self = Self {
        pages: 2,
        secure: 0,
        slots: 2,
        read_only: false,
        zeroing: false,
        fragments: false,
        buffers: false,
        stale: false,
        restarts: false,
    };

    /// Each by its name: two pages and one of what else there is, and one page and much of it.
    pub const fn all() -> [(&'static str, Self); 11] {
        let plain = Self::PLAIN;
        let secure = Self { secure: 1, ..plain };
        let one = Self {
            pages: 1,
            slots: 1,
            stale: true,
            ..plain
        };
        [
            ("plain", plain),
            ("secure", secure),
            (
                "executed",
                Self {
                    secure: 2,
                    restarts: true,
                    ..plain
                },
            ),
            (
                "read-only",
                Self {
                    read_only: true,
                    ..plain
                },
            ),
            (
                "zeroing",
                Self {
                    zeroing: true,
                    ..plain
                },
            ),
            (
                "stale",
                Self {
                    stale: true,
                    ..secure
                },
            ),
            (
                "restarts",
                Self {
                    stale: true,
                    restarts: true,
                    ..secure
                },
            ),
            (
                "fragments",
                Self {
                    fragments: true,
                    stale: true,
                    ..plain
                },
            ),
            (
                "buffers",
                Self {
                    buffers: true,
                    ..one
                },
            ),
            (
                "buffers-fragments",
                Self {
                    buffers: true,
                    fragments: true,
                    ..one
                },
            ),
            (
                "one-page",
                Self {
                    secure: 1,
                    read_only: true,
                    zeroing: true,
                    fragments: true,
                    restarts: true,
                    ..one
                },
            ),
        ]
    }

    /// The one of that name.
    pub fn of(name: &str) -> Self {
        let mut all = Self::all().into_iter();
        let found = all.find(|(known, _)| *known == name);
        found.expect("a name").1
    }
}
