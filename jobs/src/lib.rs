//! The jobs of Meterhouse, one module per subcommand of the `meterhouse` program.
//!
//! `cli` reads the command line and hands each job its settings; `config` owns the settings and where they
//! come from; `output` prints what a job found. A job never parses arguments of another and never reads the
//! environment on its own.

pub mod bench;
pub mod book;
pub mod catalog;
pub mod cli;
pub mod close;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod compact;
pub mod config;
pub mod credits;
pub mod demo;
pub mod derive;
pub mod doctor;
pub mod engine;
pub mod explain;
pub mod export;
pub mod generate;
pub mod ingest;
pub mod invoice;
pub mod issue;
pub mod memory;
pub mod metrics_server;
pub mod output;
pub mod paper;
pub mod periods;
pub mod push;
pub mod quantities;
pub mod quotas;
pub mod rate;
pub mod reconcile;
pub mod rejects;
pub mod replay;
pub mod report;
pub mod reporting;
pub mod rollup;
pub mod run;
pub mod runs;
pub mod schedule;
pub mod serve;
pub mod simulate;
pub mod source;
pub mod sql;
pub mod stripe;
mod threads;
pub mod vacuum;
pub mod verify;
