//! `manifest-check`, run as a program: on layouts with one fault or several, and on those of the
//! repository.

mod faults;
mod layouts;
mod names;
mod support;
