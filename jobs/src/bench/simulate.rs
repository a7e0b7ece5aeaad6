//! Other prices tried on a year of roll-ups.

use ::sql::lake::Lake;
use anyhow::{Result, anyhow};
use clap::Args;

use super::month::{CATALOG, FIRST_DAY, UsageDays};
use super::side::{Sides, ours};
use crate::cli::runtime;
use crate::generate::count;
use crate::output::Rows;

const YEAR_DAYS: i32 = 365;
const MONTHS: &str = "2025-05..2026-04";
const SIMULATE: &str = "simulate of a year";

#[derive(Debug, Clone, Args)]
pub(super) struct SimulateBench {
    /// How many events in the year
    #[arg(long, value_name = "COUNT", default_value = "14.6e6", value_parser = count)]
    events: u64,
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    tenants: u64,
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,
}

impl SimulateBench {
    pub fn run(&self) -> Result<Rows> {
        let folder = tempfile::tempdir()?;
        let folder = folder.path();
        std::fs::write(folder.join("catalog.yaml"), CATALOG)?;
        let next = CATALOG.replace("unit: GB, per_unit: 0.02 }", "unit: GB, included: 5, per_unit: 0.03 }");
        std::fs::write(folder.join("next.yaml"), next)?;
        let lake = Lake::open(&folder.join("lake").to_string_lossy())?;
        let year = UsageDays {
            first_day: FIRST_DAY - YEAR_DAYS,
            days: YEAR_DAYS,
            ..UsageDays::month(self.events, self.tenants)
        };
        runtime()?.block_on(year.write(&lake)).map_err(|error| anyhow!(error))?;
        let mut sides = Sides::default();
        sides.add("rollup of the year", ours(folder, &["rollup"])?);
        for _ in 0..self.rounds.max(1) {
            let command = [
                "simulate",
                "--catalog",
                "next.yaml",
                "--period",
                MONTHS,
                "--from",
                "rollups",
                "--by",
                "plan",
            ];
            sides.add(SIMULATE, ours(folder, &command)?);
        }
        Ok(sides.rows_in_times_of(SIMULATE, "times_the_simulation"))
    }
}
