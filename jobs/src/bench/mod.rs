//! `meterhouse bench`: the figures that the README quotes, measured on the machine at hand.
//!
//! Each measurement runs both sides of its ratio in turns, several times, and quotes medians: machines are
//! shared and noisy, ratios are less so.

mod close;
mod commits;
mod compact;
mod decode;
mod growth;
mod ingest;
mod ingest_side;
mod month;
mod month_quantities;
mod papers;
mod push;
mod quantities;
mod rate;
mod reports;
mod rollups;
mod side;
mod simulate;
mod usage;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::cli::{Exit, Globals};
use crate::output::Format;

/// Measure ingest, commits, compaction, quantities, rating, closing, reports, papers and pushing on this machine
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse bench ingest --kafka 127.0.0.1:9092 --events 5e6
  meterhouse bench commits --commits 10000
  meterhouse bench compact --events 20e6 --python ~/venv/bin/python
  meterhouse bench papers --into samples
  meterhouse bench quantities --events 100e6 --python ~/venv/bin/python
  meterhouse bench growth --events 100e6
  meterhouse bench rollups --events 100e6
  meterhouse bench simulate --tenants 10000
  meterhouse bench rate --invoices 100e3
  meterhouse bench close
  meterhouse bench push --calls-per-second 1000
  meterhouse bench reports --events 20e6 --python ~/venv/bin/python

Measure with a release build and on a machine that does nothing else. Everything is made in a temporary folder (see \
TMPDIR) and removed again.")]
pub struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
    #[arg(long, value_enum, default_value_t, global = true)]
    format: Format,
}

#[derive(Debug, Clone, Subcommand)]
enum Bench {
    /// Kafka to a local lake, against a consumer that only counts the same messages
    Ingest(ingest::IngestBench),
    #[command(hide = true)]
    IngestSide(ingest_side::IngestSide),
    /// How long a commit takes as a table grows old
    Commits(commits::CommitBench),
    /// Sorting and deduplicating a month, against DuckDB doing the same
    Compact(compact::CompactBench),
    /// Invoices as PDF: papers per second, and whether memory grows
    Papers(papers::PaperBench),
    /// What every tenant used in a month, against DuckDB and polars
    Quantities(quantities::QuantitiesBench),
    /// How a month's quantities take longer with more events and more tenants
    Growth(growth::GrowthBench),
    /// Quantities from roll-ups, against events; and what one late event costs
    Rollups(rollups::RollupsBench),
    /// Another catalog tried on a year of roll-ups
    Simulate(simulate::SimulateBench),
    /// From quantities to written drafts
    Rate(rate::RateBench),
    /// From roll-ups to issued invoices without PDFs
    Close(close::CloseBench),
    /// The outbox drained into a Stripe of our own
    Push(push::PushBench),
    #[command(hide = true)]
    Measured(side::MeasuredCommand),
    #[command(hide = true)]
    Decode(decode::Decode),
    #[command(hide = true)]
    MonthQuantities(month_quantities::MonthQuantities),
    /// Every report over a month of many tenants, against DuckDB
    Reports(reports::ReportsBench),
}

pub fn run(args: &BenchArgs, _: &Globals) -> Result<Exit> {
    if cfg!(debug_assertions) {
        eprintln!("warning: this is a debug build; its figures mean nothing");
    }
    let rows = match &args.bench {
        Bench::Ingest(bench) => bench.run()?,
        Bench::IngestSide(side) => return side.run().map(|()| Exit::Done),
        Bench::Commits(bench) => bench.run()?,
        Bench::Compact(bench) => bench.run()?,
        Bench::Papers(bench) => bench.run()?,
        Bench::Quantities(bench) => bench.run()?,
        Bench::Growth(bench) => bench.run()?,
        Bench::Rollups(bench) => bench.run()?,
        Bench::Simulate(bench) => bench.run()?,
        Bench::Rate(bench) => bench.run()?,
        Bench::Close(bench) => bench.run()?,
        Bench::Push(bench) => bench.run()?,
        Bench::Measured(command) => return command.run(),
        Bench::Decode(decode) => return decode.run().map(|()| Exit::Done),
        Bench::MonthQuantities(quantities) => return quantities.run().map(|()| Exit::Done),
        Bench::Reports(bench) => bench.run()?,
    };
    rows.print(args.format)?;
    Ok(Exit::Done)
}

/// The middle one of some figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A figure for people.
fn shown(figure: f64, decimals: usize) -> serde_json::Value {
    format!("{figure:.decimals$}").into()
}
