//! Interleavings: each PE is a thread, and one of them at a time holds the baton. At every access
//! to hardware, and at every operation on a lock or an atomic of the engine ([`spmc::sync`]), the
//! baton may pass to another PE: to a random one, or as a [`Plan`] says.
//!
//! The order depends only on the plan. A PE that needs a lock which is held passes on the baton and
//! waits until the lock is free. If all PEs wait, that is a deadlock, and the test fails.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use spmc::sync::{Point, observe};

use crate::after_boot::pause;
use crate::{machine, restless};

/// The number of consecutive points after which a PE is assumed to wait for another one in a loop.
const LOOPING: usize = 20_000;

/// The number of points after which a race is assumed never to end: its PEs keep each other from
/// making progress.
const ENDLESS: usize = 10_000_000;

/// A small generator of random numbers (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Makes a generator whose sequence depends only on `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns the next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Returns a number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.bits() >> 16) % limit
    }

    /// Returns one of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// The order in which PEs run.
#[derive(Clone, Debug)]
pub enum Plan {
    /// The baton passes to a random PE at some points, on average at one in 2 to 64, as the seed
    /// determines.
    Random(u64),
    /// A PE continues until it has finished or waits for a lock; at the points with the given
    /// numbers the next PE continues.
    Preempt {
        /// The PE that runs first.
        first: usize,
        /// Numbers of the points, counted for all PEs from 0.
        at: Vec<usize>,
    },
}

/// The rule that decides which PE continues at a point.
enum Choice {
    /// The baton passes at one point in that many.
    Random(Random, u64),
    Preempt(Vec<usize>),
}

/// The operation that a PE was about to do at a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Visit {
    /// The PE.
    pub pe: usize,
    /// Address of the lock or atomic, or `None` for the hardware.
    pub object: Option<usize>,
    /// Set if the operation may change the object.
    pub writes: bool,
}

struct Baton {
    choice: Choice,
    /// The points so far at which another PE could continue.
    visits: Vec<Visit>,
    holder: usize,
    /// The number of points since the holder got the baton.
    in_a_row: usize,
    running: BTreeSet<usize>,
    /// PEs that wait for the lock at that address.
    waiting: BTreeMap<usize, usize>,
    /// The reason why the race was given up, if it was.
    given_up: Option<String>,
}

/// Unwinds the threads of the other PEs when a race is given up.
struct GivenUp;

impl Baton {
    /// Notes that the holder is at a point where another PE may continue.
    fn pass(&mut self, visit: Visit) {
        let point = self.visits.len();
        self.visits.push(visit);
        self.in_a_row += 1;
        let passes = match &mut self.choice {
            Choice::Random(random, rate) => {
                if random.below(*rate) == 0 {
                    let able: Vec<usize> = self.able().collect();
                    if let Choice::Random(random, _) = &mut self.choice {
                        self.holder = random.pick(&able);
                    }
                    self.in_a_row = 0;
                }
                false
            }
            Choice::Preempt(at) => at.contains(&point),
        };
        if passes || self.in_a_row >= LOOPING {
            self.pass_on();
        }
        if point >= ENDLESS {
            self.given_up = Some("the PEs keep each other from going on".to_string());
        }
    }

    /// Returns the PEs that can continue.
    fn able(&self) -> impl Iterator<Item = usize> {
        let waits = |pe: &usize| self.waiting.contains_key(pe);
        self.running.iter().copied().filter(move |pe| !waits(pe))
    }

    /// Passes the baton from a holder that has finished, is preempted, or waits.
    fn pass_on(&mut self) {
        let after = self.able().find(|pe| *pe > self.holder);
        let next = after.or_else(|| self.able().next());
        match next {
            Some(next) => self.holder = next,
            None if self.running.is_empty() => {}
            None => self.given_up = Some(format!("dead lock: {:x?}", self.waiting)),
        }
        self.in_a_row = 0;
    }
}

/// Passes the baton between PEs.
pub struct Schedule {
    baton: Mutex<Baton>,
    /// One condition for each PE, signalled when the PE gets the baton.
    passed: Vec<Condvar>,
}

thread_local! {
    /// The schedule in which this thread is a PE.
    static SCHEDULE: RefCell<Option<(Arc<Schedule>, usize)>> = const { RefCell::new(None) };
}

thread_local! {
    /// The operations on locks, atomics and hardware that this thread has made.
    static OPERATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Returns how often the engine takes or releases a lock, uses an atomic or uses the hardware in
/// `body`, on this thread.
pub fn operations(body: impl FnOnce()) -> u64 {
    observe(at_point);
    let before = OPERATIONS.get();
    body();
    OPERATIONS.get() - before
}

/// Called by the engine at each point.
fn at_point(point: Point) {
    let _pause = pause();
    OPERATIONS.set(OPERATIONS.get() + 1);
    SCHEDULE.with_borrow(|schedule| {
        if let Some((schedule, pe)) = schedule {
            schedule.come_to(*pe, point);
        } else {
            let waits = matches!(point, Point::Contended(_));
            assert!(
                !waits,
                "a PE waits for a lock, and nobody goes on who has it"
            );
        }
    });
}

/// Makes a PE panic if it needs a lock that is held while there is no schedule: it would wait for
/// ever.
pub fn watch_locks() {
    observe(at_point);
}

/// Called before the hardware is used.
pub(crate) fn at_hardware() {
    OPERATIONS.set(OPERATIONS.get() + 1);
    SCHEDULE.with_borrow(|schedule| {
        if let Some((schedule, pe)) = schedule {
            schedule.step(Visit {
                pe: *pe,
                object: None,
                writes: true,
            });
        }
    });
}

/// Returns whether this thread is a PE of a schedule.
pub(crate) fn is_running() -> bool {
    SCHEDULE.with_borrow(Option::is_some)
}

/// Lets the other PEs run first, for a PE that repeats an attempt until another PE makes progress.
pub fn let_others_go() {
    SCHEDULE.with_borrow(|schedule| {
        if let Some((schedule, pe)) = schedule {
            let mut baton = schedule.baton();
            baton.pass_on();
            schedule.wait(baton, *pe);
        }
    });
}

impl Schedule {
    /// Makes a schedule of `pes` PEs.
    pub fn new(plan: Plan, pes: usize) -> Self {
        let (choice, holder) = match plan {
            Plan::Random(seed) => {
                let mut random = Random::new(seed);
                let first = random.below(pes as u64) as usize;
                let rate = 2 << random.below(6);
                (Choice::Random(random, rate), first)
            }
            Plan::Preempt { first, at } => (Choice::Preempt(at), first),
        };
        let baton = Baton {
            choice,
            visits: Vec::new(),
            holder,
            in_a_row: 0,
            running: (0..pes).collect(),
            waiting: BTreeMap::new(),
            given_up: None,
        };
        Self {
            baton: Mutex::new(baton),
            passed: (0..pes).map(|_| Condvar::new()).collect(),
        }
    }

    fn baton(&self) -> MutexGuard<'_, Baton> {
        self.baton.lock().unwrap()
    }

    fn come_to(&self, pe: usize, point: Point) {
        let (object, writes) = match point {
            Point::Lock(lock) | Point::Unlock(lock) => (lock, true),
            Point::Load(atomic) => (atomic, false),
            Point::Store(atomic) => (atomic, true),
            Point::Released(lock) => {
                self.baton().waiting.retain(|_, wanted| *wanted != lock);
                return;
            }
            Point::Contended(lock) => {
                let mut baton = self.baton();
                baton.waiting.insert(pe, lock);
                baton.pass_on();
                self.wait(baton, pe);
                return;
            }
        };
        self.step(Visit {
            pe,
            object: Some(object),
            writes,
        });
    }

    /// Offers the baton to the other PEs, and waits until it comes back.
    fn step(&self, visit: Visit) {
        if std::thread::panicking() {
            // A thread that unwinds only releases locks.
            return;
        }
        let mut baton = self.baton();
        baton.pass(visit);
        self.wait(baton, visit.pe);
    }

    /// Wakes the holder, and waits until `pe` is the holder.
    fn wait(&self, mut baton: MutexGuard<'_, Baton>, pe: usize) {
        if baton.holder != pe || baton.given_up.is_some() {
            self.wake(&baton);
        }
        while baton.holder != pe && baton.given_up.is_none() {
            baton = self.passed[pe].wait(baton).unwrap();
        }
        if baton.given_up.is_some() {
            drop(baton);
            resume_unwind(Box::new(GivenUp));
        }
    }

    /// Wakes the PE that continues, or all PEs if the race is given up.
    fn wake(&self, baton: &Baton) {
        if baton.given_up.is_some() {
            self.passed.iter().for_each(Condvar::notify_one);
        } else {
            self.passed[baton.holder].notify_one();
        }
    }

    fn finish(&self, pe: usize) {
        let mut baton = self.baton();
        baton.running.remove(&pe);
        if baton.holder == pe {
            baton.pass_on();
            self.wake(&baton);
        }
    }

    /// Returns the points at which another PE could continue, in their order.
    pub fn visits(&self) -> Vec<Visit> {
        std::mem::take(&mut self.baton().visits)
    }

    /// Runs each of `bodies` on the PE of its index, interleaved. The first panic of a body
    /// continues here.
    pub fn run<'a>(self: &Arc<Self>, bodies: Vec<Box<dyn FnOnce() + Send + 'a>>) {
        struct Finish<'a>(&'a Schedule, usize);
        impl Drop for Finish<'_> {
            fn drop(&mut self) {
                self.0.finish(self.1);
            }
        }
        observe(at_point);
        std::thread::scope(|scope| {
            let threads: Vec<_> = bodies
                .into_iter()
                .enumerate()
                .map(|(pe, body)| {
                    let schedule = Arc::clone(self);
                    scope.spawn(move || {
                        let _finish = Finish(&schedule, pe);
                        schedule.wait(schedule.baton(), pe);
                        SCHEDULE.set(Some((Arc::clone(&schedule), pe)));
                        machine::on_pe(pe, body);
                        SCHEDULE.set(None);
                    })
                })
                .collect();
            let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            for panic in ends.into_iter().filter_map(Result::err) {
                if !panic.is::<GivenUp>() {
                    resume_unwind(panic);
                }
            }
        });
        if let Some(why) = &self.baton().given_up {
            panic!("{why}");
        }
    }
}

/// Returns the number in the environment variable `name`, or `default`.
pub fn number(name: &str, default: usize) -> usize {
    let value = std::env::var(name).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// Returns the seeds of random orders. The environment variable `name`, or `default`, is their
/// number. `HOST_SEED` selects a different range of seeds for each value.
pub fn seeds(name: &str, default: usize) -> Range<u64> {
    let first = number("HOST_SEED", 0) as u64 * 1_000_000;
    first..first + number(name, default) as u64
}

/// Runs `race` in random orders, then with one preemption at every point where it can make a
/// difference, then with two preemptions at random points. A PE is preempted only before it uses an
/// object that another PE was seen to use in any of the runs, where one of the two may change the
/// object.
///
/// `HOST_INTERLEAVINGS` is the number of random orders, `HOST_RESTLESS` the number of those with
/// background activity ([`restless`]), and `HOST_PAIRS` the number of pairs of preemptions;
/// [`seeds`] selects them. A race with more than `HOST_POINTS` points is preempted at that many of
/// them only.
pub fn explore(race: impl Fn(Plan) -> Trace) {
    explore_in(20, race);
}

/// Explores a race as [`explore`] does, in that many random orders: for a race that few orders
/// show.
pub fn explore_in(orders: usize, race: impl Fn(Plan) -> Trace) {
    let mut explorer = Explorer {
        race,
        seen: Uses::default(),
        traces: BTreeMap::new(),
    };
    for seed in seeds("HOST_INTERLEAVINGS", orders) {
        explorer.run(&Plan::Random(seed));
    }
    for seed in seeds("HOST_RESTLESS", 10) {
        explorer.run_restless(&Plan::Random(seed));
    }
    explorer.preempt_once(number("HOST_POINTS", 250));
    explorer.preempt_twice(number("HOST_PAIRS", 200));
}

/// The PE that runs first, and the points at which the next PE continues.
type Preemptions = (usize, Vec<usize>);

struct Explorer<R> {
    race: R,
    seen: Uses,
    /// The traces of runs with at most one preemption.
    traces: BTreeMap<Preemptions, Trace>,
}

impl<R: Fn(Plan) -> Trace> Explorer<R> {
    fn run(&mut self, plan: &Plan) -> Trace {
        let told = Told(plan);
        let trace = (self.race)(plan.clone());
        std::mem::forget(told);
        self.seen.add(&trace);
        trace
    }

    /// Runs the race with background activity. The points of such a run are not explored further.
    fn run_restless(&self, plan: &Plan) {
        let told = Told(plan);
        restless::with(|| (self.race)(plan.clone()));
        std::mem::forget(told);
    }

    fn preempt(&mut self, (first, at): Preemptions) -> Trace {
        self.run(&Plan::Preempt { first, at })
    }

    /// Returns the points after the preemptions of a run at which another preemption can make a
    /// difference.
    fn branches(&self, run: &Preemptions) -> Vec<usize> {
        let from = run.1.last().map_or(0, |last| last + 1);
        let visits = self.traces[run].0.iter().enumerate().skip(from);
        let conflicts = visits.filter(|(_, visit)| self.seen.conflicts(visit));
        conflicts.map(|(point, _)| point).collect()
    }

    fn preempt_once(&mut self, most: usize) {
        for first in 0..2 {
            let trace = self.preempt((first, Vec::new()));
            self.traces.insert((first, Vec::new()), trace);
        }
        // A run can show uses that make points of earlier runs relevant.
        let mut before = 0;
        while before < self.seen.0.len() {
            before = self.seen.0.len();
            for first in 0..2 {
                let points = self.branches(&(first, Vec::new()));
                let stride = points.len().div_ceil(most).max(1);
                for point in points.into_iter().step_by(stride) {
                    let run = (first, vec![point]);
                    if !self.traces.contains_key(&run) {
                        let trace = self.preempt(run.clone());
                        self.traces.insert(run, trace);
                    }
                }
            }
        }
    }

    fn preempt_twice(&mut self, most: usize) {
        let runs: Vec<_> = self.traces.keys().filter(|run| run.1.len() == 1).collect();
        let mut pairs = Vec::new();
        for run in runs {
            let (first, point) = (run.0, run.1[0]);
            pairs.extend(
                self.branches(run)
                    .into_iter()
                    .map(|then| (first, point, then)),
            );
        }
        let mut random = Random::new(seeds("HOST_PAIRS", most).end);
        for _ in 0..most.min(pairs.len()) {
            let chosen = random.below(pairs.len() as u64) as usize;
            let (first, point, then) = pairs.swap_remove(chosen);
            self.preempt((first, vec![point, then]));
        }
    }
}

/// Prints, after a panic, the plan of the race that failed.
struct Told<'p>(&'p Plan);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        eprintln!("the race failed by {:?}", self.0);
    }
}

/// The points of one run, in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trace(Vec<Visit>);

impl Trace {
    /// Replaces the address of each object by the result of `place`, so that an object has one name
    /// in all runs. An object without a name counts as the hardware.
    pub(crate) fn new(mut visits: Vec<Visit>, place: impl Fn(usize) -> Option<usize>) -> Self {
        for visit in &mut visits {
            visit.object = visit.object.and_then(&place);
        }
        Self(visits)
    }
}

/// The objects that each PE used, and whether the PE may have changed them.
#[derive(Default)]
struct Uses(BTreeSet<(Option<usize>, usize, bool)>);

impl Uses {
    fn add(&mut self, trace: &Trace) {
        let uses = trace.0.iter();
        self.0
            .extend(uses.map(|visit| (visit.object, visit.pe, visit.writes)));
    }

    /// Returns whether another PE used the object of `visit`, and one of the two may have changed
    /// it.
    fn conflicts(&self, visit: &Visit) -> bool {
        let first = (visit.object, 0, false);
        let last = (visit.object, usize::MAX, true);
        self.0
            .range(first..=last)
            .any(|(_, pe, writes)| *pe != visit.pe && (*writes || visit.writes))
    }
}
