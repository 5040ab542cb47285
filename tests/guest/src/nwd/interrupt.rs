//! A Non-secure interrupt at a chosen time: the EL2 physical timer, and as much of the GICv3 as lets it through.
//!
//! Interrupts stay masked in this image: it only wants to know what they do to a partition, and acknowledges them by polling.
