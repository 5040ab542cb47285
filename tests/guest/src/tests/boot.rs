//! How a partition comes to life (FF-A v1.0 section 3.5, v1.1 section 5).

use crate::sp::Identity;

/// Called once by each partition before its first FF-A call.
pub fn record(_identity: &Identity) {}
