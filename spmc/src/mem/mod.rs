//! The memory-transaction engine (FF-A v1.0 chapters 5 and 11).
