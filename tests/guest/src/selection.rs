//! The tests that the Normal-world test OS can run, by name. A boot runs one selection of them.
//!
//! `cargo xtask` includes this file: the key `tests` of a `scenario.json` has one of the names, and
//! a word in memory carries the number to the test OS.

/// Defines [`Selection`] from one list, so that each name stands in one place and no number in any.
macro_rules! selections {
    ($($(#[doc = $about:literal])* $variant:ident = $name:literal,)*) => {
        /// Names what the test OS does in a boot.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Selection {
            $($(#[doc = $about])* $variant,)*
        }

        impl Selection {
            /// Every selection, with its name.
            pub const NAMES: &[(Self, &'static str)] = &[$((Self::$variant, $name),)*];
        }
    };
}

selections! {
    /// All tests for the default layout: what runs unless something else is selected.
    All = "all",
    /// The benchmark of calls.
    Bench = "bench",
    /// The benchmark of PEs that make calls at the same time.
    BenchParallel = "bench-parallel",
    /// The benchmark of a partition that is replaced.
    BenchLive = "bench-live",
    /// A Normal world that speaks FF-A 1.0.
    NormalWorld1_0 = "normal-world-1.0",
    /// Memory transactions of a partition that speaks FF-A 1.0 and has much memory.
    Memory = "memory",
    /// Regions in many distant places.
    FarApart = "far-apart",
    /// A partition that has Non-secure interrupts queued.
    Queued = "queued",
    /// Interrupts of partitions with all actions.
    Interrupts = "interrupts",
    /// Interrupts of partitions at S-EL0.
    InterruptsSEl0 = "interrupts-s-el0",
    /// Random interrupts against random requests.
    InterruptSoak = "interrupt-soak",
    /// `FFA_YIELD`, direct messages of the second kind, subscriptions, partitions that start anew.
    Scheduling = "scheduling",
    /// A partition that is replaced by another image of itself.
    Live = "live",
    /// Partitions at S-EL0, or without a state, that are replaced.
    LiveKinds = "live-kinds",
    /// PEs other than the first have no entry point in the SPMC.
    FirstPeOnly = "first-pe-only",
    /// More PEs than the SPMC has room for.
    ManyPes = "many-pes",
    /// Every PE makes calls.
    EachPe = "each-pe",
    /// RAM that the SPMC manifest names is not there.
    Hole = "hole",
    /// Partitions and drivers in the style of other projects.
    Foreign = "foreign",
    /// Access to system registers, whatever EL3 permits EL2.
    Registers = "registers",
    /// As `registers`, where EL3 permits EL2 every trap.
    Traps = "traps",
    /// Partitions at S-EL0.
    SEl0 = "s-el0",
    /// Packages that are transfer lists.
    Packages = "packages",
    /// Pointer authentication and branch targets at S-EL0.
    Pointers = "pointers",
    /// Partitions with SVE.
    Sve = "sve",
    /// A disk over virtio-msg.
    VirtioMsg = "virtio-msg",
    /// Random calls that are permitted, with eight partitions.
    Soak = "soak",
    /// The client of the partition `signer`.
    Signer = "signer",
    /// A greeting to each partition, whatever they are.
    Ping = "ping",
    /// Nothing.
    Idle = "idle",
    /// Random calls that are not permitted.
    Hostile = "hostile",
}

impl Selection {
    /// Returns the selection of that name.
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(_, its)| *its == name);
        found.map(|(selection, _)| *selection)
    }

    /// Returns the selection that [`Self::number`] has turned into that number.
    pub fn numbered(number: u64) -> Option<Self> {
        let mut all = Self::NAMES.iter().map(|(selection, _)| *selection);
        all.find(|selection| selection.number() == number)
    }

    /// Returns the number that stands for it in memory: 0 for [`Self::All`].
    pub const fn number(self) -> u64 {
        self as u64
    }
}
