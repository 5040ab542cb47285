//! Partitions: frozen configuration, execution contexts, mailbox, negotiated version.

pub mod mailbox;

pub use mailbox::Mailbox;
