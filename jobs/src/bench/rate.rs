//! From quantities to written drafts: rating, canonical text and digest, Parquet, and both commits.
//!
//! The quantities are made up in memory, so that nothing but rating and writing is measured.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use rating::catalog::Catalog;
use rating::draft::DemandOptions;
use rating::period::{PeriodChoice, Span};
use rating::quantity::gauge::GaugeTotals;
use rating::quantity::rollup::{CumulativeRollup, DeltaRollup, GaugeRollup, HourSums};
use rating::quantity::{Dimensions, Samples, WideSum};
use rating::usage::{DeltaTotals, SeriesSpan, Totals, Usage};
use sql::lake::Lake;

use crate::cli::runtime;
use crate::generate::count;
use crate::output::Rows;
use crate::rate::drafts::{RunInputs, rate_all};
use crate::rate::provenance;
use crate::rate::stored::{DraftTables, StoredDrafts};
use crate::rate::tenants::{RatedTenants, threads};

const CATALOG: &str = "
catalog: drafts
currency: USD
meters:
  calls: { kind: delta, event_type: c, value: $.v, unit: request }
  stored: { kind: gauge, event_type: s, value: $.v, resource: $.r, unit: byte }
  received: { kind: cumulative, event_type: r, value: $.v, resource: $.r, unit: byte }
plans:
  basic:
    pools: { traffic: { quantity: 10, unit: GiB } }
    prices:
      fee: { description: Basic plan, flat: 29 }
      calls: { description: API calls, meter: calls, package: { size: 1000, price: 0.5 } }
      traffic: { description: Traffic, meter: received, unit: GiB, included: { pool: traffic }, round: up, per_unit: 0.1 }
      storage: { description: Storage, meter: stored, measure: average, unit: GB, included: 5, per_unit: 0.2 }
      peak: { description: Peak storage, meter: stored, measure: peak, unit: GB, graduated: [{ up_to: 50, per_unit: 0.02 }, { per_unit: 0.01 }] }
other_tenants:
  subscriptions: [{ plan: basic, from: 2025-01-01 }]
";

/// Made-up tenants whose drafts are written.
#[derive(Debug, Clone, Args)]
pub struct RateBench {
    /// How many invoices, of five lines each
    #[arg(long, value_name = "COUNT", default_value = "40e3", value_parser = count)]
    invoices: u64,
    /// How often
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    rounds: usize,
}

impl RateBench {
    pub fn run(&self) -> Result<Rows> {
        let catalog = Catalog::parse(CATALOG, "bench.yaml")?;
        let choice: PeriodChoice = "2026-05".parse()?;
        let tenants = RatedTenants::new(&catalog, choice, None)?;
        let charges = tenants.charges("anybody").context("everybody has the basic plan")?;
        let usages: Vec<Usage> = (0..self.invoices)
            .map(|number| {
                let demand = charges.demand(&format!("tenant-{number:07}"), DemandOptions::default());
                used(Usage::unused(demand), number)
            })
            .collect();
        let mut times: Vec<[Duration; 2]> = Vec::new();
        let runtime = runtime()?;
        for _ in 0..self.rounds.max(1) {
            times.push(runtime.block_on(self.write(&catalog, &tenants, &usages))?);
        }
        times.sort_by_key(|[rated, written]| *rated + *written);
        let [rated, written] = times[times.len() / 2];
        let per_second = u128::from(self.invoices) * 1_000_000 / (rated + written).as_micros().max(1);
        let mut rows =
            Rows::new(&["invoices", "threads", "rate_and_encode_ms", "write_ms", "invoices_per_s"]);
        rows.push(vec![
            self.invoices.into(),
            threads().into(),
            (rated.as_millis() as u64).into(),
            (written.as_millis() as u64).into(),
            (per_second as u64).into(),
        ]);
        Ok(rows)
    }

    async fn write(
        &self,
        catalog: &Catalog,
        tenants: &RatedTenants<'_>,
        usages: &[Usage],
    ) -> Result<[Duration; 2]> {
        let folder = tempfile::tempdir()?;
        let lake = Lake::open(folder.path().to_str().context("a path that is no text")?)?;
        let tables = DraftTables::open(&lake).await?;
        let stored = StoredDrafts::default();
        let inputs = RunInputs {
            provenance: provenance(catalog, None),
            catalog_file: "bench.yaml".to_owned(),
            ..RunInputs::default()
        };
        let started = Instant::now();
        let mut rated =
            tokio::task::block_in_place(|| rate_all(tenants, usages, &inputs, &stored, threads(), &|_| {}))?;
        let rating = started.elapsed();
        let started = Instant::now();
        let files = std::mem::take(&mut rated.files);
        tables.replace(&stored, &rated.changed, &BTreeSet::new(), files).await?;
        anyhow::ensure!(
            rated.changed.len() == usages.len() && rated.lines == usages.len() * 5,
            "drafts are missing"
        );
        Ok([rating, started.elapsed()])
    }
}

/// Some usage of everything that is asked.
fn used(mut usage: Usage, number: u64) -> Usage {
    let span = usage.demand.period.span;
    for (wanted, answer) in usage.demand.wanted.iter().zip(&mut usage.answers) {
        let totals = totals(&wanted.view.meter, span, i128::from(number % 997 + 3));
        answer.push(SeriesSpan { dimensions: Dimensions::new(), span, totals });
    }
    usage
}

fn totals(meter: &str, span: Span, amount: i128) -> Totals {
    const GIGA_NANO: i128 = 1_000_000_000 * 1_000_000_000;
    let samples = Samples { count: 700, first_us: Some(span.start_us + 1), last_us: Some(span.end_us - 1) };
    match meter {
        "calls" => Totals::Delta(DeltaTotals {
            rollup: DeltaRollup {
                span,
                sum_nano: amount * 1_234_000_000_000,
                max_nano: Some(amount),
                samples,
                hours: HourSums::default(),
            },
            transactions_nano: None,
        }),
        "received" => Totals::Cumulative(CumulativeRollup {
            span,
            increase_nano: amount * GIGA_NANO / 7,
            largest_step_nano: amount,
            resets: 0,
            negative_samples: 0,
            samples,
        }),
        _ => {
            let mut integral = WideSum::default();
            integral.add_product(amount * GIGA_NANO / 3, span.length_us() / 2);
            Totals::Gauge(GaugeTotals {
                rollup: GaugeRollup {
                    span,
                    opening_nano: 0,
                    closing_nano: amount * GIGA_NANO,
                    highest_nano: amount * GIGA_NANO,
                    lowest_nano: 0,
                    integral,
                    samples,
                    negative_samples: 0,
                },
                p95: None,
                sum_of_peaks: None,
            })
        }
    }
}
