//! The table of calls: who has a function, from which version on, and which registers it takes.
//!
//! Both doors of the dispatcher, `FFA_FEATURES`, the checks of reserved registers and
//! `docs/support.md` (by a test) go by this table. Rules that depend on more than the caller's
//! world and version, such as its exception level, are in the handlers.

use crate::error::{FfaError, Result};

use super::{FunctionId, Version, function};

/// Where a call comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The Normal world, through the SPMD.
    NormalWorld,
    /// A partition.
    Partition,
}

/// The first version that has something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Since {
    /// From 1.0 on.
    V1_0 = 0,
    /// From 1.1 on.
    V1_1 = 1,
    /// From 1.2 on.
    V1_2 = 2,
    /// From 1.3 on.
    V1_3 = 3,
    /// In no version.
    Never = u16::MAX,
}

const _: () = assert!(Version::OWN.minor() == 3, "rows know four versions");

impl Since {
    /// Returns whether `version` is late enough.
    pub const fn includes(self, version: Version) -> bool {
        self as u16 <= version.minor()
    }
}

/// Who has a function, and what its registers are.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    normal_world: Since,
    partition: Since,
    /// The version from which on `FFA_FEATURES` reports the function to callers that have it.
    told_to_users: Since,
    /// The version from which on `FFA_FEATURES` reports the function to everybody, although the
    /// function is an answer, or only the other world has it.
    told_to_all: Since,
    /// The first of the registers up to w7 that no version reads; 8 if there is none.
    first_ignored: u8,
    /// For each minor version up to 1.2, whose bits also count for 1.3, bits for the reserved
    /// registers among w0 to w7 that are checked. Reserved registers must be zero (MBZ) in v1.0.
    /// From v1.1 on they should be zero (SBZ), and only those are checked that Hafnium checks.
    zero: [u8; 3],
}

impl Row {
    /// Describes a function that nobody has.
    const NONE: Self = Self {
        normal_world: Since::Never,
        partition: Since::Never,
        told_to_users: Since::V1_0,
        told_to_all: Since::Never,
        first_ignored: 8,
        zero: [0; 3],
    };

    /// Returns the row of a function at build time; [`find`] does so at run time.
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "evaluated only at build time"
    )]
    const fn of(function: u32) -> Self {
        let mut row = 0;
        while row < ROWS.len() {
            let (functions, call) = ROWS[row];
            let mut n = 0;
            while n < functions.len() {
                if functions[n] == function {
                    return call;
                }
                n += 1;
            }
            row += 1;
        }
        Self::NONE
    }

    /// Describes a function of the Normal world and of partitions that reads w1 to
    /// w(`first_ignored` - 1).
    const fn of_both(normal_world: Since, partition: Since, first_ignored: u8) -> Self {
        Self {
            normal_world,
            partition,
            first_ignored,
            ..Self::NONE
        }
    }

    /// Describes a function of both worlds.
    const fn of_all(since: Since, first_ignored: u8) -> Self {
        Self::of_both(since, since, first_ignored)
    }

    /// Describes a function of partitions alone.
    const fn of_partitions(since: Since, first_ignored: u8) -> Self {
        Self::of_both(Since::Never, since, first_ignored)
    }

    /// Describes a function of the Normal world alone.
    const fn of_the_normal_world(since: Since, first_ignored: u8) -> Self {
        Self::of_both(since, Since::Never, first_ignored)
    }

    const fn told_to_users(self, since: Since) -> Self {
        Self {
            told_to_users: since,
            ..self
        }
    }

    const fn told_to_all(self, since: Since) -> Self {
        Self {
            told_to_all: since,
            ..self
        }
    }

    /// Demands zero in these registers, at 1.0, at 1.1, and from 1.2 on.
    const fn zero(self, zero: [u8; 3]) -> Self {
        Self { zero, ..self }
    }

    /// Returns whether a caller at that instance, which speaks `version`, has the function.
    pub const fn is_for(&self, origin: Origin, version: Version) -> bool {
        match origin {
            Origin::NormalWorld => self.normal_world.includes(version),
            Origin::Partition => self.partition.includes(version),
        }
    }

    /// Returns whether `FFA_FEATURES` reports the function to such a caller.
    pub const fn is_told(&self, origin: Origin, version: Version) -> bool {
        self.told_to_users.includes(version) && self.is_for(origin, version)
            || self.told_to_all.includes(version)
    }

    /// Returns the first of the registers up to w7 that no version reads; 8 if there is none.
    pub const fn first_ignored(&self) -> usize {
        self.first_ignored as usize
    }

    /// Returns a bit for each of w0 to w7 that must be zero in a call at `version`.
    pub const fn reserved(&self, version: Version) -> u8 {
        let [at_1_0, at_1_1, later] = self.zero;
        match version.minor() {
            0 => at_1_0,
            1 => at_1_1,
            _ => later,
        }
    }

    /// Judges a call from `origin` at `version`, before its handler sees it. `registers` are those
    /// from x0 on.
    ///
    /// `NOT_SUPPORTED` if that caller does not have the function; `INVALID_PARAMETERS` if the lower
    /// half of a register is not zero but must be.
    #[inline(always)]
    pub fn judge(&self, origin: Origin, version: Version, registers: &[u64]) -> Result<()> {
        if !self.is_for(origin, version) {
            return Err(FfaError::NotSupported);
        }
        if self.reserved(version) & not_zero(registers) != 0 {
            return Err(FfaError::InvalidParameters);
        }
        Ok(())
    }

    /// Returns a bit for each origin and version whose calls need no check.
    const fn plain(&self) -> u8 {
        let versions = [Version::V1_0, Version::V1_1, Version::V1_2, Version::V1_3];
        let mut plain = 0;
        let mut rest: &[Version] = &versions;
        while let [version, behind @ ..] = rest {
            if self.reserved(*version) == 0 {
                plain |= (self.is_for(Origin::NormalWorld, *version) as u8)
                    << bit(Origin::NormalWorld, *version);
                plain |= (self.is_for(Origin::Partition, *version) as u8)
                    << bit(Origin::Partition, *version);
            }
            rest = behind;
        }
        plain
    }
}

/// Returns the bit of [`Row::plain`] that stands for a caller.
const fn bit(origin: Origin, version: Version) -> u32 {
    match origin {
        Origin::NormalWorld => version.minor() as u32 & 3,
        Origin::Partition => version.minor() as u32 & 3 | 4,
    }
}

/// Returns bits for w`first` to w7.
const fn from(first: u32) -> u8 {
    0xff << first
}

/// Reserves w`first` to w7 at 1.0.
const fn at_1_0(first: u32) -> [u8; 3] {
    [from(first), 0, 0]
}

/// The table, by function. Nobody has a function that is not in it.
const ROWS: &[(&[u32], Row)] = {
    use Since::{V1_0, V1_1, V1_2, V1_3};
    use function::*;
    &[
        (&[ERROR], Row::of_partitions(V1_0, 8).told_to_all(V1_0)),
        (
            &[SUCCESS_32, SUCCESS_64, INTERRUPT, MEM_RETRIEVE_RESP],
            Row::NONE.told_to_all(V1_0),
        ),
        (&[VERSION], Row::of_all(V1_0, 3)),
        (&[FEATURES], Row::of_all(V1_0, 3)),
        (&[RX_RELEASE], Row::of_all(V1_0, 2)),
        (&[RXTX_MAP_64], Row::of_all(V1_0, 4).zero(at_1_0(4))),
        // Every caller has 64-bit addresses, and Hafnium has the 64-bit form alone.
        (
            &[RXTX_MAP_32],
            Row::of_all(V1_0, 4)
                .zero(at_1_0(4))
                .told_to_users(Since::Never),
        ),
        (&[RXTX_UNMAP], Row::of_all(V1_0, 2)),
        (&[PARTITION_INFO_GET], Row::of_all(V1_0, 6).zero(at_1_0(6))),
        (&[ID_GET], Row::of_all(V1_0, 1)),
        // Hafnium checks reserved registers at every version, except for the flags that 1.2 has in
        // w2.
        (
            &[MSG_WAIT],
            Row::of_partitions(V1_0, 8).told_to_all(V1_0).zero([
                from(1),
                from(1),
                from(3) | 1 << 1,
            ]),
        ),
        (
            &[MSG_WAIT_64],
            Row::of_partitions(V1_3, 8).zero([0, 0, from(3) | 1 << 1]),
        ),
        (
            &[YIELD],
            Row::of_partitions(V1_1, 8).zero([0, from(4), from(4)]),
        ),
        (
            &[YIELD_64],
            Row::of_partitions(V1_3, 8).zero([0, 0, from(4)]),
        ),
        (&[RUN], Row::of_both(V1_0, V1_1, 2).zero(at_1_0(2))),
        (&[RUN_64], Row::of_partitions(V1_3, 2)),
        (&[ERROR_64], Row::of_partitions(V1_3, 8)),
        (
            &[MSG_SEND_DIRECT_REQ_32, MSG_SEND_DIRECT_REQ_64],
            Row::of_all(V1_0, 8),
        ),
        (
            &[MSG_SEND_DIRECT_RESP_32, MSG_SEND_DIRECT_RESP_64],
            Row::of_partitions(V1_0, 8).told_to_all(V1_0),
        ),
        (
            &[
                MEM_DONATE_32,
                MEM_DONATE_64,
                MEM_LEND_32,
                MEM_LEND_64,
                MEM_SHARE_32,
                MEM_SHARE_64,
            ],
            Row::of_all(V1_0, 5).zero(at_1_0(5)),
        ),
        (
            &[MEM_RETRIEVE_REQ_32, MEM_RETRIEVE_REQ_64],
            Row::of_all(V1_0, 5).zero(at_1_0(5)),
        ),
        (&[MEM_RELINQUISH], Row::of_all(V1_0, 1).zero(at_1_0(1))),
        (&[MEM_RECLAIM], Row::of_all(V1_0, 4).zero(at_1_0(4))),
        (&[MEM_OP_PAUSE], Row::NONE.told_to_all(V1_0)),
        (
            &[MEM_OP_RESUME],
            Row::of_partitions(V1_0, 3).zero(at_1_0(3)),
        ),
        (
            &[MEM_FRAG_RX, MEM_FRAG_TX],
            Row::of_all(V1_0, 5).zero(at_1_0(5)),
        ),
        (
            &[NOTIFICATION_BITMAP_CREATE],
            Row::of_the_normal_world(V1_1, 3).told_to_all(V1_1),
        ),
        (
            &[NOTIFICATION_BITMAP_DESTROY],
            Row::of_the_normal_world(V1_1, 2).told_to_all(V1_1),
        ),
        (
            &[NOTIFICATION_BIND, NOTIFICATION_UNBIND, NOTIFICATION_SET],
            Row::of_all(V1_1, 5),
        ),
        (&[NOTIFICATION_GET], Row::of_all(V1_1, 3)),
        (
            &[
                NOTIFICATION_BIND2,
                NOTIFICATION_UNBIND2,
                NOTIFICATION_SET2,
                NOTIFICATION_GET2,
            ],
            Row::of_all(V1_3, 8),
        ),
        (
            &[NOTIFICATION_INFO_GET_32, NOTIFICATION_INFO_GET_64],
            Row::of_the_normal_world(V1_1, 1).told_to_all(V1_1),
        ),
        (&[RX_ACQUIRE], Row::of_the_normal_world(V1_1, 2)),
        (&[SPM_ID_GET], Row::of_all(V1_0, 1)),
        (&[MSG_SEND2], Row::of_all(V1_1, 3)),
        (
            &[SECONDARY_EP_REGISTER_32, SECONDARY_EP_REGISTER_64],
            Row::of_partitions(V1_0, 2),
        ),
        (
            &[MEM_PERM_GET_32, MEM_PERM_GET_64],
            Row::of_partitions(V1_0, 8),
        ),
        (
            &[MEM_PERM_SET_32, MEM_PERM_SET_64],
            Row::of_partitions(V1_0, 4),
        ),
        (
            &[CONSOLE_LOG_32, CONSOLE_LOG_64],
            Row::of_partitions(V1_0, 8),
        ),
        (&[PARTITION_INFO_GET_REGS], Row::of_all(V1_2, 8)),
        (&[MSG_SEND_DIRECT_REQ2], Row::of_all(V1_2, 8)),
        (
            &[MSG_SEND_DIRECT_RESP2],
            Row::of_partitions(V1_2, 8).told_to_all(V1_2),
        ),
        (&[NS_RES_INFO_GET], Row::of_the_normal_world(V1_3, 8)),
        // w2 is for the reason, which nobody defines. The function is one of 1.3.
        (
            &[ABORT_32, ABORT_64],
            Row::of_partitions(V1_2, 8)
                .zero([0, 0, from(3) | 1 << 1])
                .told_to_users(V1_3),
        ),
    ]
};

/// Row of `FFA_MSG_WAIT`, whose registers are checked whenever a handler of interrupts ends.
pub const MSG_WAIT: Row = Row::of(function::MSG_WAIT);

/// Forms of a function: the 32-bit and the 64-bit one.
const FORMS: usize = 2;
/// Number of function ids of the framework, without the two forms.
const NUMBERS: usize = (function::LAST - function::FIRST + 1) as usize;

/// Number of the places of function ids.
const PLACES: usize = NUMBERS * FORMS;

/// Rows by the place of a function id.
#[expect(clippy::indexing_slicing, reason = "evaluated only at build time")]
static TABLE: [Row; PLACES] = {
    let mut table = [Row::NONE; PLACES];
    let mut place = 0;
    while place < PLACES {
        table[place] = Row::of(at(place));
        place += 1;
    }
    table
};

/// [`Row::plain`] by the place of a function id. `FFA_VERSION` is not plain: it is the only call
/// that does not end the negotiation of its caller's version.
#[expect(clippy::indexing_slicing, reason = "evaluated only at build time")]
static PLAIN: [u8; PLACES] = {
    let mut plain = [0; PLACES];
    let mut place = 0;
    while place < PLACES {
        if at(place) != function::VERSION {
            plain[place] = Row::of(at(place)).plain();
        }
        place += 1;
    }
    plain
};

/// Returns the function id at a place.
const fn at(place: usize) -> u32 {
    let form = if place.is_multiple_of(FORMS) {
        0
    } else {
        function::IS_64
    };
    function::FIRST.wrapping_add((place / FORMS) as u32) | form
}

/// Returns the place of a function id; one behind the last place if the id is not one of the
/// framework.
#[inline(always)]
const fn place(id: FunctionId) -> usize {
    if !id.is_ffa() {
        return PLACES;
    }
    let number = (id.0 & !function::IS_64).wrapping_sub(function::FIRST) as usize;
    number.wrapping_mul(FORMS).wrapping_add(id.is_64() as usize)
}

/// Returns the row of a function; that of a function that nobody has if there is none.
#[inline]
pub fn find(id: FunctionId) -> &'static Row {
    TABLE.get(place(id)).unwrap_or(&Row::NONE)
}

/// Returns whether a caller from `origin` that speaks `version` has the function, and no register
/// of it has to be checked. Most calls are of that kind, and are not judged further.
#[inline(always)]
pub fn is_plain(id: FunctionId, origin: Origin, version: Version) -> bool {
    PLAIN
        .get(place(id))
        .is_some_and(|plain| plain >> bit(origin, version) & 1 != 0)
}

/// Returns a bit for each of w0 to w7 that is not zero. The code has no branch, because it runs at
/// each end of a handler.
#[inline(always)]
fn not_zero(registers: &[u64]) -> u8 {
    let Some(registers) = registers.first_chunk::<8>() else {
        return u8::MAX;
    };
    let bits = registers.iter().enumerate();
    bits.fold(0, |seen, (n, x)| seen | u8::from(*x as u32 != 0) << n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSIONS: [Version; 4] = [Version::V1_0, Version::V1_1, Version::V1_2, Version::V1_3];

    // req: GEN-28, RXTX-18, PINFO-01, MSGW-11, MEMX-01, MEMRL-01
    #[test]
    fn each_reserved_register_must_be_zero() {
        for (function, version, reserved) in [
            (function::MEM_RELINQUISH, 0, 0b1111_1110),
            (function::MEM_RELINQUISH, 1, 0),
            (function::RUN, 0, 0b1111_1100),
            (function::RUN, 2, 0),
            (function::MEM_OP_RESUME, 0, 0b1111_1000),
            (function::RXTX_MAP_64, 0, 0b1111_0000),
            (function::MEM_RECLAIM, 0, 0b1111_0000),
            (function::MEM_SHARE_32, 0, 0b1110_0000),
            (function::MEM_FRAG_RX, 0, 0b1110_0000),
            (function::PARTITION_INFO_GET, 0, 0b1100_0000),
            (function::PARTITION_INFO_GET, 1, 0),
            (function::RX_RELEASE, 0, 0),
            (function::YIELD, 1, 0b1111_0000),
            (function::YIELD, 2, 0b1111_0000),
            (function::MSG_WAIT, 0, 0b1111_1110),
            (function::MSG_WAIT, 1, 0b1111_1110),
            (function::MSG_WAIT, 2, 0b1111_1010),
            (function::MSG_WAIT, 3, 0b1111_1010),
            (function::RUN, 3, 0),
            (function::MSG_WAIT_64, 3, 0b1111_1010),
            (function::YIELD_64, 3, 0b1111_0000),
            (function::ABORT_64, 3, 0b1111_1010),
        ] {
            let origin = if function == function::RUN {
                Origin::NormalWorld
            } else {
                Origin::Partition
            };
            for n in 0..18 {
                let mut registers = [0xffff_ffff_0000_0000; 18];
                let id = FunctionId(function);
                let version = VERSIONS[version];
                assert_eq!(find(id).judge(origin, version, &registers), Ok(()));
                registers[n] = 1;
                let expected = if n < 8 && reserved & 1 << n != 0 {
                    Err(FfaError::InvalidParameters)
                } else {
                    Ok(())
                };
                assert_eq!(
                    find(id).judge(origin, version, &registers),
                    expected,
                    "{function:#x} w{n} at {version}"
                );
            }
        }
    }

    // req: FEAT-03, FEAT-08
    #[test]
    fn who_has_a_function_need_not_be_told() {
        let told = |function, version| {
            let row = find(FunctionId(function));
            assert!(row.is_for(Origin::Partition, version));
            row.is_told(Origin::Partition, version)
        };
        for version in VERSIONS {
            assert!(!told(function::RXTX_MAP_32, version));
            assert!(told(function::RXTX_MAP_64, version));
        }
        for function in [function::ABORT_32, function::ABORT_64] {
            assert!(!told(function, Version::V1_2) && told(function, Version::V1_3));
        }
    }

    // req: FEAT-02
    #[test]
    fn nobody_has_what_is_not_in_the_table() {
        let known: usize = ROWS.iter().map(|(functions, _)| functions.len()).sum();
        let ids = (0..=u32::MAX)
            .step_by(0x40_0000)
            .flat_map(|base| (0..0x200).map(move |n| base | n));
        let found = ids.filter(|id| {
            let call = find(FunctionId(*id));
            [Origin::NormalWorld, Origin::Partition]
                .iter()
                .any(|origin| {
                    call.is_for(*origin, Version::OWN) || call.is_told(*origin, Version::OWN)
                })
        });
        assert_eq!(found.count(), known);
    }
}
