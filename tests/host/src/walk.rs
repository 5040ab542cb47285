//! Exhaustive exploration by walking. A system that cannot be copied walks from state to state. In
//! each state it makes a move that was not made there yet. If there is none, it goes the shortest
//! known way to a state that has one. So every move is made in every state, until nothing new is
//! reached.
//!
//! States are compared by value. Known moves on the way are made again and again, and must lead to
//! the known state each time, which shows that the value contains everything that determines the
//! further behaviour.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;

/// A system whose states can all be visited.
pub trait Walker: Sized {
    /// The description from which a system is made.
    type Setup;
    /// One move.
    type Move: Copy + PartialEq + Debug;
    /// A value that contains everything that determines the further behaviour.
    type State: Clone + Eq + Hash + Debug;

    /// Boots a system.
    fn boot(setup: &Self::Setup) -> Self;

    /// Returns the moves that are possible now, valid and invalid ones.
    fn moves(&self) -> Vec<Self::Move>;

    /// Makes a move. Panics if its result is wrong.
    fn make(&mut self, chosen: Self::Move);

    /// Returns the state as a value.
    fn state(&self) -> Self::State;

    /// Panics if something is wrong in this state.
    fn check(&self);

    /// Returns whether the system has reached a limit that is not a part of its state, so that
    /// another system must continue.
    fn is_worn(&self) -> bool {
        false
    }

    /// Ends the system.
    fn end(self) {}

    /// Returns whether a cooperative party could make the move.
    fn helps(chosen: Self::Move) -> bool;

    /// Returns whether there is no work left in this state.
    fn is_at_rest(state: &Self::State) -> bool;
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
    /// The number of states without work left.
    pub at_rest: usize,
    /// The number of moves that were made in total, including repeated ones.
    pub steps: usize,
    /// The number of systems that were booted.
    pub boots: usize,
}

struct Node<M> {
    /// The state to which each move leads.
    edges: Vec<(M, Option<usize>)>,
    /// The moves before this index have been made.
    next: usize,
    /// The neighbouring states, with an edge to each.
    near: Vec<(usize, usize)>,
    /// The last search that reached this state, and from which state and by which edge.
    seen: usize,
    from: (usize, usize),
}

/// The known part of the state space.
struct Map<W: Walker> {
    nodes: Vec<Node<W::Move>>,
    states: HashMap<W::State, usize>,
    searches: usize,
    /// States that have, or had, moves left to make.
    open: Vec<usize>,
}

impl<W: Walker> Map<W> {
    /// Returns the number of the state that `walker` is in.
    fn place(&mut self, walker: &W) -> usize {
        let state = walker.state();
        if let Some(known) = self.states.get(&state) {
            return *known;
        }
        walker.check();
        let index = self.nodes.len();
        let moves = walker.moves();
        self.nodes.push(Node {
            edges: moves.into_iter().map(|chosen| (chosen, None)).collect(),
            next: 0,
            near: Vec::new(),
            seen: 0,
            from: (0, 0),
        });
        self.open.push(index);
        self.states.insert(state, index);
        index
    }

    /// Returns the shortest way from one state to the nearest state for which `wanted` is true.
    fn way(
        &mut self,
        from: usize,
        wanted: impl Fn(&Node<W::Move>, usize) -> bool,
    ) -> Option<Vec<usize>> {
        self.searches += 1;
        let mut queue = VecDeque::from([from]);
        self.nodes[from].seen = self.searches;
        while let Some(at) = queue.pop_front() {
            if wanted(&self.nodes[at], at) {
                let mut way = Vec::new();
                let mut here = at;
                while here != from {
                    let (before, edge) = self.nodes[here].from;
                    way.push(edge);
                    here = before;
                }
                way.reverse();
                return Some(way);
            }
            for near in 0..self.nodes[at].near.len() {
                let (to, edge) = self.nodes[at].near[near];
                let node = &mut self.nodes[to];
                if node.seen != self.searches {
                    node.seen = self.searches;
                    node.from = (at, edge);
                    queue.push_back(to);
                }
            }
        }
        None
    }

    fn moves_to(&mut self, to: usize) -> Vec<W::Move> {
        let way = self.way(0, |_, at| at == to).unwrap_or_default();
        let mut at = 0;
        let edges = way.into_iter().map(|edge| {
            let (chosen, next) = self.nodes[at].edges[edge];
            at = next.expect("it was made");
            chosen
        });
        edges.collect()
    }
}

/// Explores everything that can be reached. Panics if something is wrong, with a list of the moves
/// that led there; if there are more than `most` states; and if cooperative parties cannot bring a
/// state to rest.
pub fn walk<W: Walker>(setup: &W::Setup, most: usize) -> Figures {
    let mut figures = Figures::default();
    let mut told = Told::<W>(
        Map {
            nodes: Vec::new(),
            states: HashMap::new(),
            searches: 0,
            open: Vec::new(),
        },
        0,
        None,
    );
    let mut walker = W::boot(setup);
    figures.boots += 1;
    told.0.place(&walker);
    let mut at = 0;
    let mut told_of = 0;
    loop {
        let map = &mut told.0;
        assert!(map.nodes.len() <= most, "more than {most} states");
        let is_open = |node: &Node<W::Move>, _| node.next < node.edges.len();
        if figures.steps / 500_000 > told_of {
            told_of = figures.steps / 500_000;
            let open = map.open.iter().filter(|at| is_open(&map.nodes[**at], 0));
            eprintln!("{} states, {} to go on from", map.nodes.len(), open.count());
        }
        let way = if walker.is_worn() {
            None
        } else {
            map.way(at, is_open)
        };
        let Some(way) = way else {
            while map
                .open
                .last()
                .is_some_and(|last| !is_open(&map.nodes[*last], 0))
            {
                map.open.pop();
            }
            if map.open.is_empty() {
                break;
            }
            std::mem::replace(&mut walker, W::boot(setup)).end();
            figures.boots += 1;
            at = map.place(&walker);
            assert_eq!(at, 0, "another system begins in another state");
            continue;
        };
        for edge in way {
            let to = told.0.nodes[at].edges[edge].1;
            at = told.go(&mut walker, at, edge);
            figures.steps += 1;
            if Some(at) != to {
                let map = &told.0;
                panic!(
                    "the same move led to another state, {:#?}, and before to {:#?}",
                    map.state(at),
                    to.map(|to| map.state(to))
                );
            }
            if walker.is_worn() {
                break;
            }
        }
        let node = &mut told.0.nodes[at];
        if walker.is_worn() || node.next >= node.edges.len() {
            continue;
        }
        let edge = node.next;
        node.next += 1;
        let now = told.go(&mut walker, at, edge);
        figures.steps += 1;
        let node = &mut told.0.nodes[at];
        node.edges[edge].1 = Some(now);
        if now != at && node.near.iter().all(|(to, _)| *to != now) {
            node.near.push((now, edge));
        }
        at = now;
    }
    walker.end();
    told.2 = None;
    figures.states = told.0.nodes.len();
    figures.moves = told.0.nodes.iter().map(|node| node.edges.len()).sum();
    figures.depth = told.0.depth();
    figures.at_rest = told.0.come_to_rest();
    figures
}

impl<W: Walker> Map<W> {
    /// Returns the state of that number.
    fn state(&self, number: usize) -> Option<&W::State> {
        let found = self.states.iter().find(|(_, index)| **index == number);
        found.map(|(state, _)| state)
    }

    /// Returns the distance of the farthest state from the first one.
    fn depth(&self) -> usize {
        let mut far = vec![usize::MAX; self.nodes.len()];
        far[0] = 0;
        let mut queue = VecDeque::from([0]);
        let mut depth = 0;
        while let Some(at) = queue.pop_front() {
            depth = far[at];
            for (_, to) in &self.nodes[at].edges {
                let to = to.expect("every move was made");
                if far[to] == usize::MAX {
                    far[to] = far[at] + 1;
                    queue.push_back(to);
                }
            }
        }
        depth
    }

    /// Panics if no moves of cooperative parties lead from some state to one at rest. Returns how
    /// many states are at rest.
    fn come_to_rest(&mut self) -> usize {
        let mut before = vec![Vec::new(); self.nodes.len()];
        for (from, node) in self.nodes.iter().enumerate() {
            for (chosen, to) in &node.edges {
                if W::helps(*chosen) {
                    before[to.expect("every move was made")].push(from);
                }
            }
        }
        let mut good = vec![false; self.nodes.len()];
        let at_rest = self.states.iter().filter(|(state, _)| W::is_at_rest(state));
        let mut queue: Vec<usize> = at_rest.map(|(_, index)| *index).collect();
        let count = queue.len();
        for index in &queue {
            good[*index] = true;
        }
        while let Some(at) = queue.pop() {
            for from in &before[at] {
                if !std::mem::replace(&mut good[*from], true) {
                    queue.push(*from);
                }
            }
        }
        let stuck = good.iter().filter(|good| !**good).count();
        if let Some(first) = good.iter().position(|good| !good) {
            let moves = self.moves_to(first);
            let state = self.state(first);
            panic!("{stuck} states do not come to rest, first:\n{state:#?}\nafter {moves:#?}");
        }
        count
    }
}

/// Prints, after a panic, the moves that led to it.
struct Told<W: Walker>(Map<W>, usize, Option<W::Move>);

impl<W: Walker> Told<W> {
    /// Makes that move, which starts in the state `at`. Returns the resulting state.
    fn go(&mut self, walker: &mut W, at: usize, edge: usize) -> usize {
        let chosen = self.0.nodes[at].edges[edge].0;
        (self.1, self.2) = (at, Some(chosen));
        walker.make(chosen);
        self.0.place(walker)
    }
}

impl<W: Walker> Drop for Told<W> {
    fn drop(&mut self) {
        if let (true, Some(last)) = (std::thread::panicking(), self.2) {
            for step in self.0.moves_to(self.1) {
                eprintln!("{step:?}");
            }
            eprintln!("{last:?}");
            let state = self.0.state(self.1);
            eprintln!("the last but one state is {state:#?}");
        }
    }
}
