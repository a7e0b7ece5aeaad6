//! The quantities of the made-up month, computed and counted: our side of several comparisons.

use std::sync::Arc;

use ::sql::lake::{Lake, Table};
use ::sql::quantities::{Narrowed, PeriodScan, Question};
use anyhow::{Result, bail};
use clap::Args;
use rating::catalog::Catalog;
use rating::draft::DemandOptions;

use super::month::{CATALOG, PERIOD};
use crate::cli::runtime;
use crate::source::SourceArgs;

#[derive(Debug, Clone, Args)]
pub(super) struct MonthQuantities {
    lake: String,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long)]
    tenants: usize,
    /// Every measure of every meter, and not only what the prices ask
    #[arg(long)]
    everything: bool,
    #[command(flatten)]
    source: SourceArgs,
}

impl MonthQuantities {
    pub fn run(&self) -> Result<()> {
        let catalog = Arc::new(Catalog::parse(CATALOG, "month.yaml")?);
        let lake = Lake::open(&self.lake)?;
        let table = lake.table(Table::UsageEvents);
        let answers = runtime()?.block_on(async {
            let snapshot = Arc::new(table.snapshot(None).await?);
            let question = if self.everything {
                Question::Everything
            } else {
                Question::Prices(DemandOptions::default())
            };
            let (period, threads) = (PERIOD.parse()?, self.threads);
            let scan = PeriodScan {
                table,
                snapshot,
                catalog,
                period,
                question,
                tenants: None,
                narrowed: Narrowed::default(),
                threads,
            };
            anyhow::Ok(scan.run_from(&lake, self.source.source()).await?)
        })?;
        let quantities: usize =
            answers.usages.iter().map(|usage| usage.quantities(|_| String::new()).count()).sum();
        if answers.usages.len() != self.tenants || quantities < self.tenants {
            bail!("{} tenants and {quantities} quantities came out", answers.usages.len());
        }
        Ok(())
    }
}
