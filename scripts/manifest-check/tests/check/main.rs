//! Runs the program `manifest-check` on layouts with one or several faults, and on the layouts of
//! the repository.

mod device_tree;
mod differential;
mod layouts;
mod manifests;
mod names;
mod packages;
mod program;
mod stranger;
mod support;
mod transfer_lists;
