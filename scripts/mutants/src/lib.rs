//! Mutation testing: makes many small changes of the source, and finds those that no test notices.
//!
//! All mutants ([`operators`]) are written into one copy of the workspace ([`schema`],
//! [`project`]), so that they are built at once. At run time, each mutant asks whether it is on,
//! and the environment answers ([`switch`]). Mutants that do not compile are left out. Each test
//! runs once without a mutant and records which mutants it reaches ([`suite`]). A mutant then runs
//! only these tests, the fastest first, until one fails ([`judge`]). A survivor needs a test or a
//! reason ([`reasons`]).

pub mod judge;
pub mod operators;
pub mod place;
pub mod project;
pub mod reasons;
pub mod report;
pub mod schema;
pub mod suite;
pub mod switch;
