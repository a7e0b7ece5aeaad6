//! Several writers that carry the same sources into one table, each with its own (faulty) way to the store.
//!
//! A source is a sequence of numbered messages. A writer asks where sources stand, takes the next few messages
//! of some, writes them as a file and commits the file together with the new positions. Writers die, come back
//! and sleep between reading and committing. Afterwards every message is in exactly one file of the table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use deltalake_core::kernel::{Action, Add};
use ingest::commit::{Commit, CommitError, LogSettings, Position, TableLog};
use ingest::day_file::FinishedFile;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::json;
use sql::lake::{Lake, Table, TableHandle};

use super::faulty_store::Dial;
use super::random::Random;

/// Nothing in these tests may take longer.
const BOUND: Duration = Duration::from_mins(2);

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub writers: usize,
    pub sources: usize,
    /// Messages of each source.
    pub messages: i64,
    /// Of a hundred commits, how many are broken off as if the writer had died.
    pub deaths_percent: u64,
    pub life_us_max: u64,
    pub settings: LogSettings,
}

#[derive(Debug, Default)]
pub struct Counters {
    pub commits: AtomicU64,
    pub fenced: AtomicU64,
    pub deaths: AtomicU64,
    pub store_errors: AtomicU64,
    pub opened: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub fn settings_for_tests() -> LogSettings {
    LogSettings {
        patience: Duration::from_secs(10),
        first_pause: Duration::from_millis(1),
        checkpoint_interval: 7,
    }
}

fn application(source: usize) -> String {
    format!("meterhouse/kafka/test/{source}")
}

/// A file that says which messages it holds. The committing code never looks inside.
pub fn file_of(messages: &[(usize, i64)]) -> FinishedFile {
    let path = format!("event_day=2026-05-01/part-{}.parquet", uuid::Uuid::new_v4());
    let bytes = Bytes::from(serde_json::to_vec(messages).unwrap());
    let add = Add {
        path,
        partition_values: HashMap::from([("event_day".to_owned(), Some("2026-05-01".to_owned()))]),
        size: bytes.len() as i64,
        data_change: true,
        stats: Some(json!({ "numRecords": messages.len() }).to_string()),
        ..Add::default()
    };
    FinishedFile { pieces: vec![bytes], day: 20_574, rows: messages.len(), add }
}

pub fn commit_of(file: &FinishedFile, positions: Vec<Position>) -> Commit {
    Commit {
        operation: "WRITE",
        parameters: HashMap::new(),
        positions,
        actions: vec![Action::Add(file.add.clone())],
        notes: HashMap::new(),
    }
}

/// Runs the writers until every message is committed. `lakes` are their ways to the same lake.
pub async fn run(plan: Plan, lakes: Vec<(Lake, Dial)>, clean: &Lake) -> Counters {
    let counters = Arc::new(Counters::default());
    let tasks: Vec<_> = lakes
        .into_iter()
        .enumerate()
        .map(|(number, (lake, dial))| {
            let writer = Writer {
                plan,
                handle: lake.table(Table::UsageEvents),
                dial,
                names: (0..plan.sources).map(application).collect(),
                random: Random::new(plan.seed.wrapping_mul(31).wrapping_add(number as u64)),
                counters: Arc::clone(&counters),
                reports: Reports::default(),
                deadline: Instant::now() + BOUND,
            };
            tokio::spawn(writer.run())
        })
        .collect();
    let mut reports = Reports::default();
    for task in tasks {
        let Reports { landed, refused } = task.await.expect("the writer works");
        reports.landed.extend(landed);
        reports.refused.extend(refused);
    }
    // What was delayed arrives, and checkpoints in the making are written.
    tokio::time::sleep(Duration::from_millis(30)).await;
    check(plan, clean, &reports).await;
    Arc::try_unwrap(counters).expect("the writers are done")
}

struct Writer {
    plan: Plan,
    handle: TableHandle,
    dial: Dial,
    names: Vec<String>,
    random: Random,
    counters: Arc<Counters>,
    reports: Reports,
    deadline: Instant,
}

/// What the committing code said of its commits.
#[derive(Debug, Default)]
struct Reports {
    /// Version and file of each commit that was reported as landed,
    landed: Vec<(u64, String)>,
    /// and the file of each that was refused.
    refused: Vec<String>,
}

impl Writer {
    async fn run(mut self) -> Reports {
        let names = self.names.clone();
        let mut log = self.open().await;
        loop {
            assert!(Instant::now() < self.deadline, "the writers never finish");
            let Ok(stand) = log.positions(&names).await else {
                Counters::add(&self.counters.store_errors);
                log = self.open().await;
                continue;
            };
            let open: Vec<usize> = (0..self.plan.sources)
                .filter(|source| stand[&names[*source]].unwrap_or(0) < self.plan.messages)
                .collect();
            if open.is_empty() {
                return self.reports;
            }
            let (file, positions) = self.batch(&open, &names, &stand);
            // The longer this takes, the more often another writer was faster.
            tokio::time::sleep(Duration::from_millis(self.random.below(4))).await;
            if !self.upload_and_commit(&mut log, &file, positions).await {
                log = self.open().await;
            }
        }
    }

    /// Opens the table's log, as often as it takes: what a supervisor does with a process that ends. Opening
    /// reads the whole log through the library, which tries nothing again, so faults are rarer here: of dozens of
    /// calls not one may fail.
    async fn open(&self) -> TableLog {
        let percent = self.dial.percent();
        self.dial.turn(percent / 20);
        loop {
            Counters::add(&self.counters.opened);
            let opened = async {
                let mut log = TableLog::open_with(self.handle.clone(), self.plan.settings).await?;
                log.positions(&self.names).await?;
                Ok::<_, CommitError>(log)
            };
            match opened.await {
                Ok(log) => {
                    self.dial.turn(percent);
                    return log;
                }
                Err(error) => assert!(Instant::now() < self.deadline, "the log never opens: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The next few messages of one to three of the sources that are not finished.
    fn batch(
        &mut self,
        open: &[usize],
        names: &[String],
        stand: &HashMap<String, Option<i64>>,
    ) -> (FinishedFile, Vec<Position>) {
        let wanted = 1 + self.random.below(3);
        let chosen: BTreeSet<usize> =
            (0..wanted).map(|_| open[self.random.below(open.len() as u64) as usize]).collect();
        let (mut messages, mut positions) = (Vec::new(), Vec::new());
        for source in chosen {
            let expected = stand[&names[source]];
            let start = expected.unwrap_or(0);
            let next = (start + 1 + self.random.below(6) as i64).min(self.plan.messages);
            messages.extend((start..next).map(|number| (source, number)));
            positions.push(Position { application: names[source].clone(), expected, next });
        }
        (file_of(&messages), positions)
    }

    /// Returns whether the writer may go on with this log.
    async fn upload_and_commit(
        &mut self,
        log: &mut TableLog,
        file: &FinishedFile,
        positions: Vec<Position>,
    ) -> bool {
        let dies = self.random.below(100) < self.plan.deaths_percent;
        let life = if dies {
            Duration::from_micros(self.random.below(self.plan.life_us_max))
        } else {
            Duration::from_mins(1)
        };
        let commit = commit_of(file, positions);
        let work = async {
            log.upload(std::slice::from_ref(file)).await?;
            log.commit(&commit).await
        };
        match tokio::time::timeout(life, work).await {
            Ok(Ok(committed)) => {
                Counters::add(&self.counters.commits);
                self.reports.landed.push((committed.version, file.add.path.clone()));
                true
            }
            Ok(Err(CommitError::Fenced { .. })) => {
                Counters::add(&self.counters.fenced);
                self.reports.refused.push(file.add.path.clone());
                true
            }
            Ok(Err(_)) => {
                Counters::add(&self.counters.store_errors);
                false
            }
            Err(_) => {
                assert!(dies, "a commit took more than a minute");
                Counters::add(&self.counters.deaths);
                false
            }
        }
    }
}

/// What the clean store holds: every message once, positions at the end, reports that were true.
async fn check(plan: Plan, clean: &Lake, reports: &Reports) {
    let handle = clean.table(Table::UsageEvents);
    let snapshot = handle.snapshot(None).await.unwrap();
    let mut found: BTreeMap<(usize, i64), u32> = BTreeMap::new();
    let mut paths = BTreeSet::new();
    for file in &snapshot.files {
        assert!(paths.insert(file.path.clone()), "{} is in the table twice", file.path);
        let body = handle.store().get(&Path::from(file.path.as_str())).await.expect("a file of the table");
        let messages: Vec<(usize, i64)> = serde_json::from_slice(&body.bytes().await.unwrap()).unwrap();
        assert_eq!(file.rows, messages.len() as u64);
        for message in messages {
            *found.entry(message).or_default() += 1;
        }
    }
    for source in 0..plan.sources {
        for number in 0..plan.messages {
            assert_eq!(found.get(&(source, number)), Some(&1), "message {number} of source {source}");
        }
    }
    assert_eq!(found.len(), plan.sources * plan.messages as usize);
    let names: Vec<String> = (0..plan.sources).map(application).collect();
    let (version, positions) = handle.positions().await.unwrap();
    assert_eq!(version, snapshot.version);
    assert!(names.iter().all(|name| positions.get(name) == Some(&plan.messages)), "{positions:?}");
    for (version, path) in &reports.landed {
        let entry = handle.store().get(&Path::from(format!("_delta_log/{version:020}.json"))).await.unwrap();
        let text = String::from_utf8(entry.bytes().await.unwrap().to_vec()).unwrap();
        assert!(text.contains(path), "version {version} is not the commit that was reported");
    }
    assert!(reports.refused.iter().all(|path| !paths.contains(path)), "a refused commit landed");
}
