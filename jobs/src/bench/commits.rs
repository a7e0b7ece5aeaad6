//! How long a commit takes as a table grows old.

use std::collections::HashMap;
use std::time::Instant;

use ::ingest::batch::PartitionName;
use ::ingest::columns::UsageColumns;
use ::ingest::commit::{Commit, Position, TableLog};
use ::ingest::day_file::{DayFileWriter, FileKind};
use ::ingest::event::{Identity, UsageEvent};
use ::ingest::raw_message::Coordinates;
use anyhow::Result;
use arrow::array::RecordBatch;
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

/// Commits around each that is looked at: single ones vary.
const WINDOW: usize = 100;
/// Into another table, before the clock starts.
const WARMING_UP: usize = 300;

impl CommitBench {
    pub fn run(&self) -> Result<Rows> {
        let commit_so_many = |count| -> Result<Vec<f64>> {
            let folder = tempfile::tempdir()?;
            runtime()?.block_on(commit(folder.path(), count))
        };
        commit_so_many(WARMING_UP)?;
        let took_ms = commit_so_many(self.commits + WINDOW / 2)?;
        let mut rows = Rows::new(&["commit", "median_ms", "slowest_ms", "of_the_100th"]);
        let around = |number: usize| {
            took_ms.get(number.saturating_sub(WINDOW / 2)..number + WINDOW / 2).map(<[f64]>::to_vec)
        };
        let first = around(100).map_or(f64::NAN, median);
        for number in [100, self.commits / 10, self.commits / 2, self.commits] {
            let Some(window) = around(number) else { continue };
            let slowest = window.iter().copied().fold(0.0, f64::max);
            let median = median(window);
            rows.push(vec![number.into(), shown(median, 2), shown(slowest, 1), shown(median / first, 2)]);
        }
        Ok(rows)
    }
}

/// Milliseconds that each of so many commits took, each of one file with a row.
async fn commit(folder: &std::path::Path, count: usize) -> Result<Vec<f64>> {
    let lake = Lake::open(&folder.to_string_lossy())?;
    let mut log = TableLog::open(lake.table(Table::UsageEvents)).await?;
    let name = PartitionName { topic: "bench".into(), partition: 0 };
    let application = name.application().expect("a topic has a position");
    log.positions(std::slice::from_ref(&application)).await?;
    let mut took_ms = Vec::with_capacity(count);
    let mut expected = None;
    for next in 1..=count as i64 {
        let mut writer = DayFileWriter::new(Table::UsageEvents, 20_000, FileKind::Arrived)?;
        writer.write(&one_row(next))?;
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

fn one_row(number: i64) -> RecordBatch {
    let id = number.to_string();
    let event = UsageEvent {
        identity: Identity::of("bench", &id),
        source: "bench".into(),
        id: id.as_str().into(),
        tenant: "tenant".into(),
        event_type: "bench.event".into(),
        time_us: 20_000 * 86_400_000_000 + number,
        time_given: true,
        data: None,
        batch_index: 0,
        readings: [].into_iter().collect(),
    };
    let mut columns = UsageColumns::default();
    columns.push(&event, &[], Coordinates { topic: "bench", partition: 0, offset: number - 1 }, 0);
    columns.finish()
}
