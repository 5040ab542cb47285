//! Messages of all kinds, notifications among them, and lines for the console.

pub mod console_log;
pub mod direct;
pub mod direct_by_uuid;
pub mod direct_errors;
pub mod indirect;
pub mod message_soak;
pub mod notification;
pub mod subscriptions;
