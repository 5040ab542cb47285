//! Explores whole systems that are small enough (`cargo xtask explore`): those that are named, or
//! all whose exploration is known to end.

use std::time::Instant;

use host_tests::chains::{Chains, Setup};
use host_tests::exhaust::explore;
use host_tests::model::{Size, Small};
use host_tests::walk::walk;

/// Systems whose exploration is not known to end. They are explored only by name.
const LARGE: [&str; 11] = [
    "line-fails",
    "live-interrupt",
    "live-pair",
    "one-interrupt",
    "one-actions",
    "pair",
    "pair-interrupt",
    "pinned",
    "pinned-fails",
    "pinned-interrupt",
    "two-interrupt",
];

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| match &names[..] {
        [] => !LARGE.contains(&name),
        names => names.iter().any(|wanted| wanted == name),
    };
    for (name, size) in Size::all() {
        if !is_wanted(name) {
            continue;
        }
        let start = Instant::now();
        let figures = explore::<Small>(&size, usize::MAX);
        println!("{name}: {figures:?} in {:?}", start.elapsed());
    }
    for (name, setup) in Setup::all() {
        if !is_wanted(name) {
            continue;
        }
        let start = Instant::now();
        let figures = walk::<Chains>(&setup, usize::MAX);
        println!("{name}: {figures:?} in {:?}", start.elapsed());
    }
}
