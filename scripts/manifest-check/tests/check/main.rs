//! `manifest-check`, run as a program: on layouts with one fault or several, and on those of the
//! repository.

mod device_tree;
mod differential;
mod layouts;
mod manifests;
mod names;
mod packages;
mod program;
mod support;
