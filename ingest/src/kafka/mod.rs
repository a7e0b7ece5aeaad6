//! Reading Kafka topics into the lake.
//!
//! The consumer group only shares out partitions. Where to read from comes from the lake's tables, so
//! rows and offsets can never disagree. A partition that is taken away is committed first; a process
//! that learned of it too late is fenced off by the commit itself.

mod batch_consumer;
mod gaps;
mod rebalance;
mod source;
#[cfg(test)]
mod tests;

pub use gaps::{AcceptedGap, OffsetGap};
pub use source::{KafkaSource, ingest_kafka};
