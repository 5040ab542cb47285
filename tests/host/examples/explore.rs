//! Explores whole systems that are small enough (`cargo xtask explore`).

use std::time::Instant;

use host_tests::chains::{Chains, Setup};
use host_tests::exhaust::explore;
use host_tests::model::{Size, Small};
use host_tests::walk::walk;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (name, size) in Size::all() {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let start = Instant::now();
        let figures = explore::<Small>(&size, usize::MAX);
        println!("{name}: {figures:?} in {:?}", start.elapsed());
    }
    for (name, setup) in Setup::all() {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let start = Instant::now();
        let figures = walk::<Chains>(&setup, usize::MAX);
        println!("{name}: {figures:?} in {:?}", start.elapsed());
    }
}
