//! Every way usage gets into the lake: messages are read from Kafka or files, decoded, and committed to
//! Delta tables so that each counts exactly once.
//!
//! Modules stand in the order in which a message passes them.

pub mod columns;
pub mod decimal;
pub mod decode;
pub mod event;
pub mod json;
pub mod raw_message;
pub mod rejected;
pub mod timestamp;
