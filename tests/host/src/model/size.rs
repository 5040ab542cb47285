//! The sizes of the small systems whose memory states are all visited.

/// The features of a small system.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// The number of pages, one or two. They belong to the Normal world, except the secure ones.
    pub pages: usize,
    /// The number of pages, counted from the last one, that belong to the first partition.
    pub secure: usize,
    /// The largest number of transactions, including half-sent ones.
    pub slots: usize,
    /// Set if there are read-only grants and retrievals, beside those with write access.
    pub read_only: bool,
    /// Set if there are flags for zeroing, and writes that make zeroing visible.
    pub zeroing: bool,
    /// Set if descriptors of all pages are sent in two fragments, while whole descriptors contain
    /// the first page only. With two pages, fragments are used for lends and donations to one
    /// partition.
    pub fragments: bool,
    /// Set if RX/TX pairs are unmapped and mapped, and RX stays full until it is released.
    pub buffers: bool,
    /// Set if there are calls about transactions that do not exist, or not yet.
    pub stale: bool,
    /// Set if partitions that fail start again.
    pub restarts: bool,
}

impl Size {
    /// Two pages of the Normal world, and no other features.
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

    /// Returns all sizes by name: two pages and one more feature, or one page and many of them.
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

    /// Returns the size of that name.
    pub fn of(name: &str) -> Self {
        let mut all = Self::all().into_iter();
        let found = all.find(|(known, _)| *known == name);
        found.expect("a name").1
    }
}
