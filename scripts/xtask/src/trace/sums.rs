//! The sums of the plugin of traces in a boot: times, and the calls of the SPMC by kind with their
//! instructions.

use std::time::Duration;

use anyhow::{Result, ensure};
use spmc::ffa::FunctionId;

use super::decode;

/// The way in which the SPMC was entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// By EL3: a call of the Normal world, or the start of a PE.
    El3,
    /// By a framework message of EL3.
    Framework,
    /// By a call of a partition.
    Partition,
    /// From a partition, but by no call.
    Interrupt,
}

/// The sum of all calls of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub origin: Origin,
    pub function: u32,
    pub count: u64,
    /// 0 if no instructions were counted.
    pub instructions: u64,
}

impl Row {
    pub fn name(&self) -> String {
        match (self.origin, self.function) {
            (Origin::Interrupt, _) => "interrupts and faults of partitions".into(),
            (Origin::Framework, _) => "framework messages of EL3".into(),
            (Origin::El3, 0) => "boot".into(),
            (Origin::Partition, id) => format!("{} of partitions", decode::name(FunctionId(id))),
            (Origin::El3, id) => decode::name(FunctionId(id)),
        }
    }

    /// Returns whether the row is of direct requests of the Normal world.
    fn is_request(&self) -> bool {
        let name = decode::name(FunctionId(self.function));
        self.origin == Origin::El3 && name.starts_with("FFA_MSG_SEND_DIRECT_REQ")
    }
}

/// The sums of a whole boot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sums {
    /// Instructions of all PEs. 0 if none were counted.
    pub all: u64,
    /// Those of the SPMC.
    pub spmc: u64,
    /// The times, from the start of QEMU, at which the SPMC had booted, and of the first and of the
    /// last direct request of the Normal world. They are 0 for what never came.
    booted: Duration,
    first: Duration,
    last: Duration,
    pub rows: Vec<Row>,
}

impl Sums {
    /// Parses the file of the plugin.
    pub fn parse(text: &str) -> Result<Self> {
        let mut sums = Self {
            all: 0,
            spmc: 0,
            booted: Duration::ZERO,
            first: Duration::ZERO,
            last: Duration::ZERO,
            rows: Vec::new(),
        };
        let ms = |word: &str| -> Result<Duration> { Ok(Duration::from_millis(word.parse()?)) };
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["executed", all, spmc] => {
                    (sums.all, sums.spmc) = (all.parse()?, spmc.parse()?);
                }
                ["times", booted, first, last] => {
                    sums.booted = ms(booted)?;
                    (sums.first, sums.last) = (ms(first)?, ms(last)?);
                }
                ["call", origin, function, count, instructions] => sums.rows.push(Row {
                    origin: match origin {
                        "1" => Origin::Framework,
                        "2" => Origin::El3,
                        "4" => Origin::Partition,
                        _ => Origin::Interrupt,
                    },
                    function: u32::from_str_radix(function, 16)?,
                    count: count.parse()?,
                    instructions: instructions.parse()?,
                }),
                _ => anyhow::bail!("the plugin wrote `{line}`"),
            }
        }
        ensure!(!sums.rows.is_empty(), "the plugin saw no call");
        sums.rows
            .sort_by_key(|row| std::cmp::Reverse(row.instructions));
        Ok(sums)
    }

    /// Returns the time after which the SPMC had booted, if it had.
    pub fn booted(&self) -> Option<Duration> {
        (!self.booted.is_zero()).then_some(self.booted)
    }

    /// Returns the number of direct requests of the Normal world.
    pub fn requests(&self) -> u64 {
        let requests = self.rows.iter().filter(|row| row.is_request());
        requests.map(|row| row.count).sum()
    }

    /// Returns the time of the first direct request of the Normal world, if there was one.
    pub fn first_request(&self) -> Option<Duration> {
        (!self.first.is_zero()).then_some(self.first)
    }

    /// Returns the number of direct requests in a second, between the first and the last one. A
    /// single request has no rate.
    pub fn rate(&self) -> Option<f64> {
        let span = self.last.saturating_sub(self.first);
        let following = self.requests().checked_sub(1)?;
        (following > 0 && !span.is_zero()).then(|| following as f64 / span.as_secs_f64())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const FILE: &str = "\
executed 2000000 4000
times 1500 2000 4000
call 2 0 1 1000
call 2 8400006f 11 1000
call 2 c400008d 30 500
call 4 84000070 40 1400
call 1 8400006f 7 60
call 5 0 2 100
call 5 1 0 0
";

    #[test]
    fn requests_have_times_and_a_rate() {
        let sums = Sums::parse(FILE).unwrap();
        assert_eq!(sums.booted(), Some(Duration::from_millis(1500)));
        assert_eq!(sums.first_request(), Some(Duration::from_secs(2)));
        assert_eq!((sums.requests(), sums.rate()), (41, Some(20.0)));
        assert!(
            sums.rows
                .is_sorted_by(|a, b| a.instructions >= b.instructions)
        );
    }

    #[test]
    fn what_never_came_has_no_time() {
        let sums = Sums::parse("times 0 0 0\ncall 2 0 1 5\n").unwrap();
        assert_eq!((sums.booted(), sums.first_request()), (None, None));
        assert_eq!((sums.requests(), sums.rate()), (0, None));
        let one = Sums::parse("times 1 2 2\ncall 2 8400006f 1 5\n").unwrap();
        assert_eq!((one.requests(), one.rate()), (1, None));
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        for wrong in [
            "",
            "executed 0 0\n",
            "executed 1\n",
            "call 2 x 1 1\n",
            "hello\n",
        ] {
            assert!(Sums::parse(wrong).is_err(), "{wrong}");
        }
    }
}
