//! A lake in a temporary folder, filled through the real pipeline from files, and read through SQL.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::util::pretty::pretty_format_batches;
use ingest::files::{FileSource, ingest_files};
use ingest::metrics::Metrics;
use ingest::pipeline::IngestRun;
use ingest::settings::IngestSettings;
use rating::catalog::Catalog;
use sql::lake::{Lake, Table};
use sql::session::{SessionSettings, open_session};

pub struct World {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

pub fn catalog(meters: &str) -> Catalog {
    Catalog::parse(&format!("catalog: test\nmeters:\n{meters}"), "test.yaml").unwrap()
}

/// An event of one of three days in May 2026.
pub fn event(event_type: &str, id: u32, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"{event_type}","subject":"acme","time":"2026-05-{:02}T10:{:02}:00.25Z","data":{data}}}"#,
        id % 3 + 1,
        id % 60,
    )
}

impl World {
    pub fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { runtime, folder: tempfile::tempdir().unwrap() }
    }

    pub fn lake(&self) -> Lake {
        Lake::open(self.folder.path().join("lake").to_str().unwrap()).unwrap()
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Must not be called on a thread of the runtime.
    pub fn ingest(&self, file: &str, meters: &str, lines: &[String]) {
        let path = self.folder.path().join(file);
        let text = lines.iter().fold(String::new(), |mut text, line| {
            writeln!(text, "{line}").unwrap();
            text
        });
        std::fs::write(&path, text).unwrap();
        let run = IngestRun {
            lake: self.lake(),
            catalog: catalog(meters),
            settings: IngestSettings::default(),
            metrics: Arc::new(Metrics::default()),
            runtime: self.runtime.handle().clone(),
            stop: Arc::new(AtomicBool::new(false)),
        };
        ingest_files(&run, &[FileSource::Path(path)], |_| ()).unwrap();
    }

    pub async fn table(&self, query: &str) -> String {
        let settings = SessionSettings { threads: 2, ..SessionSettings::default() };
        let session = open_session(&self.lake(), &settings).await.unwrap();
        let batches = session.query(query).await.unwrap().collect().await.unwrap();
        pretty_format_batches(&batches).unwrap().to_string()
    }

    /// The rows of an answer as their cells, joined by a blank.
    pub async fn cells(&self, query: &str) -> Vec<String> {
        let table = self.table(query).await;
        let rows = table.lines().filter(|line| line.starts_with('|')).skip(1);
        rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" "))
            .collect()
    }

    pub async fn count(&self, query: &str) -> u64 {
        self.cells(query).await[0].parse().unwrap()
    }

    pub async fn version(&self, table: Table) -> u64 {
        self.lake().table(table).snapshot(None).await.unwrap().version
    }

    pub async fn versions(&self) -> (u64, u64) {
        (self.version(Table::UsageEvents).await, self.version(Table::RejectedMessages).await)
    }
}
