//! Exhaustive exploration of small systems: makes every move from every reached state, until no
//! move leads to a new state. States are compared by value.
//!
//! A system cannot be copied. To reach a state again, the moves that led to it are made again, or
//! the last move is undone. An undo must show that the earlier state is back.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A system so small that all its states can be visited, and the moves that it can make.
pub trait System: Sized {
    /// The parts of which a system is made.
    type Setup: Sync;
    /// One move.
    type Move: Clone + Debug + Send + Sync;

    /// Boots a system.
    fn boot(setup: &Self::Setup) -> Self;

    /// Returns the moves that are possible now, valid and invalid ones.
    fn moves(&self) -> Vec<Self::Move>;

    /// Makes a move. Returns whether it may have changed anything. Panics if its result is wrong.
    fn make(&mut self, chosen: &Self::Move) -> bool;

    /// Undoes the move `made` if that is possible. Returns whether it tried.
    fn undo(&mut self, made: &Self::Move) -> bool;

    /// Returns everything that determines the further behaviour, as a value.
    fn state(&self) -> String;

    /// Panics if something is wrong in this state.
    fn check(&self);
}

/// The size of an exploration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// The number of different states.
    pub states: usize,
    /// The number of moves, summed over all states.
    pub moves: usize,
    /// The number of moves on the shortest way to the farthest state.
    pub depth: usize,
}

/// A state that was reached, with the previous state and the move.
struct Node<M> {
    from: usize,
    by: Option<M>,
    state: String,
}

/// The result of all moves in one state: the number of moves, and the states to which they led.
type Expansion<M> = (usize, Vec<(M, String)>);

/// Explores everything that can be reached. Panics if something is wrong, with a list of the moves
/// that led there, and if there are more than `most` states.
pub fn explore<S: System>(setup: &S::Setup, most: usize) -> Figures {
    let first = S::boot(setup);
    first.check();
    let mut nodes = vec![Node {
        from: 0,
        by: None,
        state: first.state(),
    }];
    let mut known = HashMap::from([(nodes[0].state.clone(), 0)]);
    let mut figures = Figures::default();
    let mut layer = 0..1;
    while !layer.is_empty() {
        let end = nodes.len();
        for (index, (moves, reached)) in layer.clone().zip(expand_all::<S>(setup, &nodes, layer)) {
            figures.moves += moves;
            for (by, state) in reached {
                if !known.contains_key(&state) {
                    known.insert(state.clone(), nodes.len());
                    nodes.push(Node {
                        from: index,
                        by: Some(by),
                        state,
                    });
                }
            }
        }
        assert!(nodes.len() <= most, "more than {most} states");
        layer = end..nodes.len();
        figures.depth += usize::from(!layer.is_empty());
    }
    figures.states = nodes.len();
    figures
}

/// Expands the nodes of a layer on all processors. The results are in the order of the layer.
fn expand_all<S: System>(
    setup: &S::Setup,
    nodes: &[Node<S::Move>],
    layer: std::ops::Range<usize>,
) -> Vec<Expansion<S::Move>> {
    let next = AtomicUsize::new(layer.start);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= layer.end {
                return done;
            }
            done.push((index, expand::<S>(setup, nodes, index)));
        }
    };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    all.sort_by_key(|(index, _): &(usize, _)| *index);
    all.into_iter().map(|(_, expansion)| expansion).collect()
}

/// Makes every move in one state.
fn expand<S: System>(
    setup: &S::Setup,
    nodes: &[Node<S::Move>],
    index: usize,
) -> Expansion<S::Move> {
    let mut path = Told(path_to(nodes, index));
    let mut system = reach::<S>(setup, &path.0, &nodes[index].state);
    let moves = system.moves();
    let mut reached = Vec::new();
    for chosen in &moves {
        path.0.push(chosen.clone());
        if system.make(chosen) {
            let state = system.state();
            if state != nodes[index].state {
                system.check();
                reached.push((chosen.clone(), state));
            }
            let is_back = system.undo(chosen) && system.state() == nodes[index].state;
            path.0.pop();
            if !is_back {
                system = reach::<S>(setup, &path.0, &nodes[index].state);
            }
        } else {
            path.0.pop();
        }
    }
    assert_eq!(
        system.state(),
        nodes[index].state,
        "a refused call changed something"
    );
    std::mem::forget(path);
    (moves.len(), reached)
}

/// Boots a system and makes the moves of `path`. The state at the end must be `state` again.
fn reach<S: System>(setup: &S::Setup, path: &[S::Move], state: &str) -> S {
    let mut system = S::boot(setup);
    for step in path {
        system.make(step);
    }
    assert_eq!(system.state(), state, "the same moves led to another state");
    system
}

fn path_to<M: Clone>(nodes: &[Node<M>], index: usize) -> Vec<M> {
    let mut path = Vec::new();
    let mut at = index;
    while let Some(by) = &nodes[at].by {
        path.push(by.clone());
        at = nodes[at].from;
    }
    path.reverse();
    path
}

/// Prints, after a panic, the moves that led to it.
struct Told<M: Debug>(Vec<M>);

impl<M: Debug> Drop for Told<M> {
    fn drop(&mut self) {
        for step in &self.0 {
            eprintln!("{step:x?}");
        }
    }
}
