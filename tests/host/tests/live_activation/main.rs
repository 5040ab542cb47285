//! Live activation: the image of a partition is replaced while everything else goes on.

mod basics;
mod failures;
mod meanwhile;
mod races;
mod stage;
mod states;
mod stop;
