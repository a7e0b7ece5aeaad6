//! Quantities of a month from roll-ups, against the same from events; and how long one late event takes until the drafts
//! know it.

use std::path::Path;

use ::sql::lake::{Lake, Table};
use anyhow::{Result, anyhow};
use clap::Args;

use super::month::{CATALOG, FIRST_DAY, PERIOD, UsageDays, append_late};
use super::side::{Measured, Sides, ours};
use crate::cli::runtime;
use crate::generate::count;
use crate::output::Rows;

const EVENTS: &str = "quantities from events";

#[derive(Debug, Clone, Args)]
pub(super) struct RollupsBench {
    /// How many events in the month
    #[arg(long, value_name = "COUNT", default_value = "100e6", value_parser = count)]
    events: u64,
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    tenants: u64,
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,
}

impl RollupsBench {
    pub fn run(&self) -> Result<Rows> {
        let folder = tempfile::tempdir()?;
        let folder = folder.path();
        std::fs::write(folder.join("catalog.yaml"), CATALOG)?;
        let lake = Lake::open(&folder.join("lake").to_string_lossy())?;
        let runtime = runtime()?;
        let month = UsageDays::month(self.events, self.tenants);
        runtime.block_on(month.write(&lake)).map_err(|error| anyhow!(error))?;
        let rate = ["rate", "--period", PERIOD];
        let mut sides = Sides::default();
        sides.add("rollup of the month", ours(folder, &["rollup"])?);
        sides.add("first rate of everybody", ours(folder, &rate)?);
        let table = lake.table(Table::UsageEvents);
        for round in 0..self.rounds.max(1) {
            sides.add(EVENTS, self.quantities(folder, "events")?);
            sides.add("quantities from roll-ups", self.quantities(folder, "rollups")?);
            let tenant = (round as u64 * 7 % self.tenants) as u32;
            let own = format!("tenant-{tenant:06}");
            let rate_own = ["rate", "--period", PERIOD, "--tenant", &own];
            for (side, rate) in [("its tenant", rate_own.as_slice()), ("everybody", rate.as_slice())] {
                let late = append_late(&table, tenant, FIRST_DAY + 9);
                runtime.block_on(late).map_err(|error| anyhow!(error))?;
                let rolled = ours(folder, &["rollup"])?;
                let side = format!("late event: rollup, and rate of {side}");
                sides.add(&side, rolled.followed_by(&ours(folder, rate)?));
            }
        }
        Ok(sides.rows_in_times_of(EVENTS, "of_events"))
    }

    fn quantities(&self, folder: &Path, from: &str) -> Result<Measured> {
        let tenants = self.tenants.to_string();
        ours(folder, &["bench", "month-quantities", "lake", "--tenants", &tenants, "--from", from])
    }
}
