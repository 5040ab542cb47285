//! Interleavings: PEs are threads, and one at a time holds the baton. At every access to hardware the baton may go to another PE: to a
//! random one, or where a [`Plan`] says so.
//!
//! The order depends on the plan alone, with one exception: a PE that spins on a lock never comes to an access to hardware, so
//! after a moment the others go on without it; it goes on as soon as it has the lock.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::machine;

/// After this long the holder of the baton must be spinning.
const SPINNING: Duration = Duration::from_micros(300);

/// A small generator of random numbers (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator whose sequence depends on `seed` only.
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.bits() >> 16) % limit
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// In which order PEs run.
#[derive(Clone, Debug)]
pub enum Plan {
    /// At each point a random PE goes on, as the seed says.
    Random(u64),
    /// A PE goes on until it has finished, except that at the points of those numbers the next one does.
    Preempt {
        /// The PE that begins.
        first: usize,
        /// Numbers of the points, counted for all PEs from 0.
        at: Vec<usize>,
    },
}

/// Who goes on at a point.
enum Choice {
    Random(Random),
    Preempt(Vec<usize>),
}

struct Baton {
    choice: Choice,
    /// Points at which another PE could go on, so far.
    points: usize,
    holder: usize,
    running: BTreeSet<usize>,
    /// Counts every step, so that a holder that spins can be told from one that works.
    steps: u64,
}

impl Baton {
    /// The holder is at a point where another PE may go on.
    fn pass(&mut self) {
        let point = self.points;
        self.points += 1;
        match &mut self.choice {
            Choice::Random(random) => {
                let running: Vec<usize> = self.running.iter().copied().collect();
                if !running.is_empty() {
                    self.holder = random.pick(&running);
                }
            }
            Choice::Preempt(at) if at.contains(&point) => self.pass_on(),
            Choice::Preempt(_) => {}
        }
    }

    /// The holder has finished, or is to be preempted.
    fn pass_on(&mut self) {
        let after = self.running.range(self.holder + 1..).next();
        if let Some(next) = after.or_else(|| self.running.first()) {
            self.holder = *next;
        }
    }
}

/// Passes the baton between PEs.
pub struct Schedule {
    baton: Mutex<Baton>,
    passed: Condvar,
}

impl Schedule {
    /// A schedule of `pes` PEs.
    pub fn new(plan: Plan, pes: usize) -> Self {
        let (choice, holder) = match plan {
            Plan::Random(seed) => {
                let mut random = Random::new(seed);
                let first = random.below(pes as u64) as usize;
                (Choice::Random(random), first)
            }
            Plan::Preempt { first, at } => (Choice::Preempt(at), first),
        };
        let baton = Baton {
            choice,
            points: 0,
            holder,
            running: (0..pes).collect(),
            steps: 0,
        };
        Self {
            baton: Mutex::new(baton),
            passed: Condvar::new(),
        }
    }

    /// Offers the baton to the other PEs and waits until it comes back.
    pub fn step(&self, pe: usize) {
        let mut baton = self.baton.lock().unwrap();
        if !baton.running.contains(&pe) {
            return;
        }
        baton.steps += 1;
        if baton.holder == pe {
            baton.pass();
            self.passed.notify_all();
        }
        while baton.holder != pe {
            let before = baton.steps;
            let (again, timeout) = self.passed.wait_timeout(baton, SPINNING).unwrap();
            baton = again;
            if timeout.timed_out() && baton.steps == before && baton.holder != pe {
                baton.holder = pe;
                baton.steps += 1;
            }
        }
    }

    fn finish(&self, pe: usize) {
        let mut baton = self.baton.lock().unwrap();
        baton.running.remove(&pe);
        baton.steps += 1;
        if baton.holder == pe {
            baton.pass_on();
        }
        self.passed.notify_all();
    }

    /// At how many points another PE could go on.
    pub fn points(&self) -> usize {
        self.baton.lock().unwrap().points
    }

    /// Runs each of `bodies` on the PE of its index, interleaved.
    pub fn run<'a>(&self, bodies: Vec<Box<dyn FnOnce() + Send + 'a>>) {
        std::thread::scope(|scope| {
            let threads: Vec<_> = bodies
                .into_iter()
                .enumerate()
                .map(|(pe, body)| {
                    scope.spawn(move || {
                        struct Finish<'a>(&'a Schedule, usize);
                        impl Drop for Finish<'_> {
                            fn drop(&mut self) {
                                self.0.finish(self.1);
                            }
                        }
                        let _finish = Finish(self, pe);
                        machine::on_pe(pe, || {
                            self.step(pe);
                            body();
                        });
                    })
                })
                .collect();
            for thread in threads {
                if let Err(panic) = thread.join() {
                    resume_unwind(panic);
                }
            }
        });
    }
}

fn number(name: &str, default: usize) -> usize {
    let value = std::env::var(name).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// Runs `race` in every order with few preemptions and in random ones. It tells how many points there were at which a PE could be stopped.
///
/// `HOST_PREEMPTIONS` sets how many preemptions are tried in all combinations, `HOST_INTERLEAVINGS` how many random orders.
pub fn explore(race: impl Fn(Plan) -> usize) {
    for seed in 0..number("HOST_INTERLEAVINGS", 20) as u64 {
        race(Plan::Random(seed));
    }
    for first in 0..2 {
        extend(&race, first, &mut Vec::new(), number("HOST_PREEMPTIONS", 1));
    }
}

fn extend(race: &impl Fn(Plan) -> usize, first: usize, at: &mut Vec<usize>, more: usize) {
    let points = race(Plan::Preempt {
        first,
        at: at.clone(),
    });
    if more == 0 {
        return;
    }
    let from = at.last().map_or(0, |last| last + 1);
    for point in from..points {
        at.push(point);
        extend(race, first, at, more - 1);
        at.pop();
    }
}
