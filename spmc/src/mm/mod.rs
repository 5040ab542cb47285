//! Memory management: page pools, stage-2 tables, and the ownership state of each page.
