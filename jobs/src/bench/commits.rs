//! How long a commit takes as a table grows old.

use std::collections::HashMap;
use std::time::Instant;

use ::ingest::batch::PartitionName;
use ::ingest::commit::{Commit, Position, TableLog};
use ::ingest::day_file::{DayFileWriter, FileKind};
use anyhow::Result;
use clap::Args;
use deltalake_core::kernel::Action;
use sql::lake::{Lake, Table};

use super::{median, shown};
use crate::cli::runtime;
use crate::output::Rows;

#[derive(Debug, Clone, Args)]
pub(super) struct CommitBench {
    /// How many commits, each with one file
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    commits: usize,
}

impl CommitBench {
    pub fn run(&self) -> Result<Rows> {
        let folder = tempfile::tempdir()?;
        let took_ms = runtime()?.block_on(self.commit(folder.path()))?;
        let mut rows = Rows::new(&["commits", "median_ms", "slowest_ms", "of_the_first"]);
        // The first hundred warm up; then windows of a hundred around round numbers.
        let window = |around: usize| took_ms.get(around.saturating_sub(50)..around + 50).map(<[f64]>::to_vec);
        let first = window(150).map_or(f64::NAN, median);
        for around in [150, self.commits / 10, self.commits / 2, self.commits.saturating_sub(50)] {
            let Some(window) = window(around) else { continue };
            let slowest = window.iter().copied().fold(0.0, f64::max);
            let median = median(window);
            rows.push(vec![around.into(), shown(median, 2), shown(slowest, 1), shown(median / first, 2)]);
        }
        Ok(rows)
    }

    async fn commit(&self, folder: &std::path::Path) -> Result<Vec<f64>> {
        let lake = Lake::open(&folder.to_string_lossy())?;
        let mut log = TableLog::open(lake.table(Table::UsageEvents)).await?;
        let name = PartitionName { topic: "bench".into(), partition: 0 };
        let application = name.application().expect("a topic has a position");
        log.positions(std::slice::from_ref(&application)).await?;
        let mut took_ms = Vec::with_capacity(self.commits);
        let mut expected = None;
        for next in 1..=self.commits as i64 {
            let writer = DayFileWriter::new(Table::UsageEvents, 20_000, FileKind::Arrived)?;
            let file = writer.finish(0)?;
            log.upload(std::slice::from_ref(&file)).await?;
            let commit = Commit {
                operation: "WRITE",
                parameters: HashMap::new(),
                positions: vec![Position { application: application.clone(), expected, next }],
                actions: vec![Action::Add(file.add)],
                notes: HashMap::new(),
            };
            let started = Instant::now();
            log.commit(&commit).await?;
            took_ms.push(started.elapsed().as_secs_f64() * 1e3);
            expected = Some(next);
        }
        log.settle().await;
        Ok(took_ms)
    }
}
