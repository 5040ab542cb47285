//! Manifests: device trees turned into typed, validated configuration.

pub mod config;
