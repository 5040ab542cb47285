//! Manifests and packages: which are accepted, and the exact line with which all others are
//! refused.

mod asked_ids;
mod board;
mod boot_info;
mod corpus;
mod every_fault;
mod log_capture;
mod package;
mod partition;
mod partition_refused;
mod regions_refused;
mod robustness;
mod spmc_manifest;
mod transfer_list;
mod tree;
mod validation;
