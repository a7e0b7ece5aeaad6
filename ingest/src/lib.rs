//! Every way usage gets into the lake: messages are read from Kafka or files, decoded, and committed to
//! Delta tables so that each counts exactly once.
//!
//! Modules stand in the order in which a message passes them. Three threads do the work: the source's
//! reads and decodes (`kafka`, `decode`, `batch`), the second encodes Parquet (`encoder`, `day_file`),
//! the third stores and commits (`committer`, `commit`); `unfinished` knows what a crash left between two
//! commits. Three jobs work on what is stored: `derive`, `rejects` and `replay`.

pub mod settings;

pub mod files;
pub mod kafka;
mod lines;
pub mod raw_message;

pub mod decimal;
pub mod decode;
mod dictionary_column;
pub mod event;
pub mod json;
pub mod rejected;
pub mod timestamp;

pub mod batch;
pub mod columns;
pub mod commit;
pub mod committer;
pub mod day_file;
pub mod encoder;
pub mod encoder_queue;
mod open_days;
pub mod sorted_file;
pub mod unfinished;

pub mod day_files;
pub mod derive;
pub mod rejects;
pub mod replay;
mod stored_rows;

pub mod crash_point;
pub mod metrics;
pub mod pipeline;
