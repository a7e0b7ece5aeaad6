//! `close` of a month, from roll-ups that are in place to issued invoices without PDFs, on a lake and a book of its own.

use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use rating::period::PeriodChoice;
use sql::lake::Lake;

use super::month::{UsageDays, meters};
use super::usage::{Stopwatch, Taken, memory_peak_mib, reset_memory_peak};
use super::{median, shown};
use crate::book::Book;
use crate::catalog::chosen::ChosenCatalog;
use crate::cli::runtime;
use crate::close::{CloseRequest, close_as_run};
use crate::compact::{compact_as_run, settings_of};
use crate::config::{Config, Environment};
use crate::generate::count;
use crate::output::Rows;
use crate::periods::PeriodArg;
use crate::rate::tenants::threads;
use crate::rollup::{RollUpSettings, roll_up_as_run};

const PERIOD: &str = "2026-05";
const PLANS: &str = "
plans:
  basic:
    prices:
      fee: { description: Basic plan, flat: 29 }
      devices: { description: Devices, meter: devices, measure: unique_resources, per_unit: 0.4 }
      messages: { description: Messages, meter: messages, package: { size: 1000, price: 0.5 } }
      storage: { description: Storage, meter: storage, measure: average, unit: GB, included: 5, per_unit: 0.2 }
      traffic: { description: Traffic, meter: traffic, measure: sum, unit: GB, graduated: [{ up_to: 50, per_unit: 0.02 }, { per_unit: 0.01 }] }
other_tenants:
  subscriptions: [{ plan: basic, from: 2025-01-01 }]
";
/// The steps of a close.
const JOBS: [&str; 4] = ["compact", "rollup", "rate", "issue"];

#[derive(Debug, Clone, Args)]
pub(super) struct CloseBench {
    #[arg(long, value_name = "COUNT", default_value = "10e3", value_parser = count)]
    tenants: u64,
    /// How many events in the month
    #[arg(long, value_name = "COUNT", default_value = "4e6", value_parser = count)]
    events: u64,
    /// How often, each time on a lake and a book of its own
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,
}

/// What a close took, and each of its steps by the book's own account.
struct Closed {
    taken: Taken,
    steps_ms: [i64; 4],
}

impl CloseBench {
    pub fn run(&self) -> Result<Rows> {
        let runtime = runtime()?;
        reset_memory_peak();
        let mut closed = Vec::new();
        for _ in 0..self.rounds.max(1) {
            closed.push(runtime.block_on(self.close_once())?);
        }
        let wall_s = median(closed.iter().map(|own| own.taken.wall_s).collect());
        let cpu_s = median(closed.iter().map(|own| own.taken.cpu_s).collect());
        let mut rows = Rows::new(&[
            "invoices",
            "threads",
            "wall_s",
            "cpu_s",
            "invoices_per_s",
            "compact_ms",
            "rollup_ms",
            "rate_ms",
            "issue_ms",
            "memory_mib",
        ]);
        let mut row = vec![
            self.tenants.into(),
            threads().into(),
            shown(wall_s, 2),
            shown(cpu_s, 2),
            shown(self.tenants as f64 / wall_s, 0),
        ];
        for at in 0..JOBS.len() {
            row.push(shown(median(closed.iter().map(|own| own.steps_ms[at] as f64).collect()), 0));
        }
        row.push(shown(memory_peak_mib(), 0));
        rows.push(row);
        Ok(rows)
    }

    async fn close_once(&self) -> Result<Closed> {
        let folder = tempfile::tempdir()?;
        let config = settings(folder.path())?;
        let lake = Lake::open(&config.lake)?;
        let month = UsageDays::month(self.events, self.tenants);
        month.write(&lake).await.map_err(anyhow::Error::from_boxed)?;
        let book = Book::of(&config).await?;
        let period: PeriodChoice = PERIOD.parse()?;
        let chosen = ChosenCatalog::for_period(Some(&book), &config, period, None).await?;
        compact_as_run(&book, &lake, &config, settings_of(&config)).await?;
        let rolling = RollUpSettings::of_catalog(Arc::clone(&chosen.catalog), threads());
        roll_up_as_run(&book, &lake, &config, &rolling).await?;

        let request = CloseRequest {
            period: PeriodArg::Chosen(period),
            tenants: None,
            grace: jiff::SignedDuration::ZERO,
            with_papers: false,
            with_push: false,
        };
        let stopwatch = Stopwatch::start();
        let report = close_as_run(&book, &lake, &config, &request, &|_| ()).await?;
        let taken = stopwatch.taken();
        let count = report.months.iter().map(|closed| closed.issued.issued.len() as u64).sum::<u64>();
        anyhow::ensure!(count == self.tenants, "{count} invoices were issued instead of {}", self.tenants);
        let mut steps_ms = [0; 4];
        for (job, step_ms) in JOBS.into_iter().zip(&mut steps_ms) {
            let newest = book.runs(Some(job), 1).await?.into_iter().next().context("a step without a run")?;
            *step_ms = (newest.ended_at_us.unwrap_or_default() - newest.started_at_us) / 1000;
        }
        book.close().await?;
        Ok(Closed { taken, steps_ms })
    }
}

fn settings(folder: &std::path::Path) -> Result<Config> {
    std::fs::write(folder.join("catalog.yaml"), format!("{}{PLANS}", meters()))?;
    let text = |name: &str| folder.join(name).display().to_string();
    let environment = Environment::from([
        ("METERHOUSE_LAKE".to_owned(), text("lake")),
        ("METERHOUSE_CATALOG".to_owned(), text("catalog.yaml")),
        ("METERHOUSE_BOOK_URL".to_owned(), format!("sqlite:{}", text("book.sqlite"))),
        ("METERHOUSE_ISSUER_NAME".to_owned(), "Bench".to_owned()),
    ]);
    let none = folder.join("meterhouse.toml");
    std::fs::write(&none, "")?;
    Ok(Config::load(Some(&none), &environment)?)
}
