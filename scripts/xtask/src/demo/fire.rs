//! A hostile partition beside a system (`tests/guest/src/tests/hostile/fire.rs`): what is different
//! in such a boot, and what it must show.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::consoles::Boot;

/// The differences of a boot beside a hostile partition.
pub struct Fire {
    /// The layout, a folder below `manifests/`.
    pub layout: &'static str,
    /// The command line of Linux, or the commands of U-Boot.
    pub words: &'static str,
    /// Numbers of PEs.
    pub smp: &'static [u32],
    /// Texts that must appear on a console.
    pub expect: &'static [&'static str],
    /// Errors and warnings in Linux's log that the partition may cause.
    pub known: &'static [&'static str],
}

/// A line of the partition at the beginning of each of its lives.
const LIVES: &str = "# fire: lives";
/// The line of the partition in each second in which it attacks, and a number: seconds since
/// power-on.
const BURNS: &str = "# fire: burns in second ";
/// The longest time without such a line, from the first one to power-off: the host may be busy.
const QUIET: Duration = Duration::from_secs(20);
/// The line of the SPMC when the partition failed.
const DEAD: &str = "fire is dead";

/// Warnings of a Linux that turns PEs off and on: it takes notice of notifications before it knows
/// the partitions, and a PE that is being attacked goes off late.
pub const KNOWN: &[&str] = &[
    "__do_sched_recv_cb: Invalid partition ID",
    "may not have shut down cleanly",
];

impl Fire {
    /// Returns the conditions of a Linux with OP-TEE that runs some of OP-TEE's tests.
    pub const fn optee(words: &'static str) -> Self {
        Self {
            layout: "systems/optee-and-fire",
            words,
            smp: &[2],
            expect: &["demo: /dev/tee0", "demo: xtest ended with 0", "demo: end"],
            known: KNOWN,
        }
    }

    /// Fails unless the partition failed and started anew, attacked until power-off, nobody else
    /// failed, and nobody's memory was within its reach.
    pub fn check(&self, boot: &Boot) -> Result<()> {
        let count = |text: &str| {
            let lines = boot.log.iter();
            lines.filter(|line| line.text.contains(text)).count()
        };
        let (lives, deaths) = (count(LIVES), count(DEAD));
        ensure!(
            lives > 1 && deaths > 0,
            "the hostile partition had {lives} lives and {deaths} deaths"
        );
        let quiet = longest_quiet(boot);
        ensure!(
            quiet < QUIET,
            "the hostile partition attacked nobody for {} s",
            quiet.as_secs()
        );
        let is_wrong = |line: &str| {
            line.contains("VIOLATION") || line.contains(" is dead") && !line.contains(DEAD)
        };
        let wrong = boot.log.iter().find(|line| is_wrong(&line.text));
        let wrong = wrong.map(|line| line.text.as_str());
        ensure!(
            wrong.is_none(),
            "a console shows `{}`",
            wrong.unwrap_or_default()
        );
        Ok(())
    }
}

/// Returns the longest time in which the partition did not attack, from its first attack to the end
/// of the boot.
fn longest_quiet(boot: &Boot) -> Duration {
    let seconds = boot.log.iter().filter_map(|line| {
        let (_, second) = line.text.split_once(BURNS)?;
        second.trim().parse().ok().map(Duration::from_secs)
    });
    let times: Vec<Duration> = seconds.chain([boot.time]).collect();
    let gaps = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    gaps.max().unwrap_or(boot.time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRE: Fire = Fire::optee("");

    #[test]
    fn the_hostile_partition_alone_dies_and_lives_again() {
        const GOOD: &[&str] = &[
            "# fire: lives, seed 1",
            "# fire: burns in second 2",
            "x fire is dead",
            "# fire: lives, seed 2",
        ];
        let check = |lines: &[&str]| FIRE.check(&Boot::of(lines, Some(0)));
        assert!(check(GOOD).is_ok());
        assert!(check(&GOOD[..3]).is_err());
        assert!(check(&[GOOD[0], GOOD[1], GOOD[3]]).is_err());
        for wrong in ["[E] spmc: sp1 is dead", "# VIOLATION: 0x8003 reaches 0"] {
            assert!(check(&[GOOD, &[wrong]].concat()).is_err(), "{wrong}");
        }
    }
    #[test]
    fn the_hostile_partition_attacks_until_power_off() {
        let quiet = |lines: &[&str], seconds| {
            let boot = Boot {
                time: Duration::from_secs(seconds),
                ..Boot::of(lines, Some(0))
            };
            longest_quiet(&boot).as_secs()
        };
        const LINES: &[&str] = &["# fire: burns in second 2", "# fire: burns in second 9"];
        assert_eq!(quiet(&[], 30), 30);
        assert_eq!(quiet(LINES, 10), 7);
        assert_eq!(quiet(LINES, 30), 21);
    }
}
