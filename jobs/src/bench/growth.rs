//! How the time of a month's quantities grows with events and with tenants.

use ::sql::lake::Lake;
use anyhow::{Result, anyhow};
use clap::Args;

use super::month::UsageDays;
use super::side::{Sides, ours};
use crate::cli::runtime;
use crate::generate::count;
use crate::output::Rows;

#[derive(Debug, Clone, Args)]
pub(super) struct GrowthBench {
    /// How many events in the largest month; the smallest has a tenth of them
    #[arg(long, value_name = "COUNT", default_value = "100e6", value_parser = count)]
    events: u64,
    /// How many tenants in the largest month; the smallest has a tenth of them
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    tenants: u64,
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    threads: usize,
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    rounds: usize,
}

impl GrowthBench {
    pub fn run(&self) -> Result<Rows> {
        let mut sides = Sides::default();
        let smallest = (self.events / 10, self.tenants / 10);
        let name = |(events, tenants): (u64, u64)| format!("{events} events, {tenants} tenants");
        for size in [smallest, (self.events, self.tenants / 10), (self.events, self.tenants)] {
            let folder = tempfile::tempdir()?;
            let lake = Lake::open(&folder.path().join("lake").to_string_lossy())?;
            let month = UsageDays::month(size.0, size.1);
            runtime()?.block_on(month.write(&lake)).map_err(|error| anyhow!(error))?;
            let (threads, tenants) = (self.threads.to_string(), size.1.to_string());
            let command = ["bench", "month-quantities", "lake", "--threads", &threads, "--tenants", &tenants];
            for _ in 0..self.rounds.max(1) {
                sides.add(&name(size), ours(folder.path(), &command)?);
            }
        }
        Ok(sides.rows_in_times_of(&name(smallest), "times_the_smallest"))
    }
}
