//! Mutation testing: changes the source in many small ways, and tells which changes no test
//! notices.
//!
//! Every mutant ([`operators`]) is written into one copy of the workspace ([`schema`],
//! [`project`]), each behind a question that the environment answers at run time ([`switch`]), so
//! that all of them are built at once. What does not compile is left out. Each test runs once
//! without a mutant and notes which it reaches ([`suite`]); a mutant then runs only those tests,
//! the fastest first, until one fails ([`judge`]). A survivor needs a test or a reason
//! ([`reasons`]).

pub mod judge;
pub mod operators;
pub mod place;
pub mod project;
pub mod reasons;
pub mod report;
pub mod schema;
pub mod suite;
pub mod switch;
