//! Compaction beside ingest, beside another compaction, and beside readers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use ingest::commit::CommitError;
use jobs::compact::{CompactError, CompactSettings, compact};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use tokio::sync::Notify;

use crate::lake::{Event, Row, TestLake, append, event};

/// Holds back the first write of a log entry of `usage_events` until it is told to go on.
#[derive(Debug, Default)]
struct Gate {
    passed: AtomicBool,
    reached: Notify,
    go_on: Notify,
}

#[derive(Debug)]
struct GatedStore {
    inner: Arc<dyn ObjectStore>,
    gate: Arc<Gate>,
}

impl std::fmt::Display for GatedStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "gated {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for GatedStore {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        if path.as_ref().contains("usage_events/_delta_log/")
            && !self.gate.passed.swap(true, Ordering::SeqCst)
        {
            self.gate.reached.notify_one();
            self.gate.go_on.notified().await;
        }
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Runs a compaction that has done all its work but the commit, then `meanwhile`, then its commit.
fn compact_while(
    lake: &TestLake,
    meanwhile: impl AsyncFnOnce(),
) -> Result<jobs::compact::CompactReport, CompactError> {
    let gate = Arc::new(Gate::default());
    let gated = lake.lake.clone().with_store(|inner| Arc::new(GatedStore { inner, gate: Arc::clone(&gate) }));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| lake.runtime.block_on(compact(&gated, CompactSettings::default(), |_| ())));
        lake.runtime.block_on(async {
            gate.reached.notified().await;
            meanwhile().await;
            gate.go_on.notify_one();
        });
        slow.join().unwrap()
    })
}

#[test]
fn what_arrives_while_a_day_is_compacted_stays() {
    let lake = TestLake::new();
    let mut all = vec![event(1, "a"), event(2, "a"), event(3, "b")];
    lake.ingest(&all);
    let late = vec![event(4, "c"), event(5, "b"), event(6, "d").on(1)];
    let report = compact_while(&lake, async || append(&lake.lake, &late).await).unwrap();
    all.extend(late);
    assert_eq!((report.rows_before, report.rows_after), (3, 2));
    assert_eq!(lake.events_left(&all), [1, 3, 4, 5, 6]);
    lake.compact();
    assert_eq!(lake.events_left(&all), [1, 3, 4, 6]);
    lake.assert_sorted();
}

#[test]
fn of_two_compactions_of_a_day_one_is_refused() {
    let lake = TestLake::new();
    let all = [event(1, "a"), event(2, "a"), event(3, "b").on(1), event(4, "b").data("{}").on(1)];
    lake.ingest(&all);
    let error = compact_while(&lake, async || {
        let report = compact(&lake.lake, CompactSettings::default(), |_| ()).await.unwrap();
        assert_eq!((report.days, report.rows_after), (2, 2));
    })
    .unwrap_err();
    let CompactError::Commit(CommitError::Fenced { .. } | CommitError::RemovedTwice(_)) = error else {
        panic!("{error:?}");
    };
    assert_eq!(lake.events_left(&all), [1, 3]);
    assert_eq!(lake.conflicts(), [4]);
    assert_eq!(lake.compact().days, 0);
}

#[test]
fn a_compaction_that_lost_its_turn_on_another_day_is_refused_too() {
    let lake = TestLake::new();
    let mut all = vec![event(1, "a"), event(2, "a")];
    lake.ingest(&all);
    let late = vec![event(3, "a").on(1)];
    // The slow one knows day 0 only; what the quick one does to day 1 depends on day 0.
    let error = compact_while(&lake, async || {
        append(&lake.lake, &late).await;
        compact(&lake.lake, CompactSettings::default(), |_| ()).await.unwrap();
    });
    assert!(error.is_err());
    all.extend(late);
    assert_eq!(lake.events_left(&all), [1]);
    assert_eq!(lake.conflicts(), [3]);
}

#[test]
fn many_compactions_and_ingest_at_once() {
    let lake = TestLake::new();
    lake.ingest(&[event(0, "first")]);
    let batch = |at: i64| -> Vec<Event> {
        let event = |of: i64| {
            let offset = at * 20 + of + 1;
            // Every id comes about four times, on two days.
            event(offset, &(offset * 7 % 100).to_string()).untimed().on((offset % 2) as i32).meters(&[0, 1])
        };
        (0..20).map(event).collect()
    };
    let all: Vec<Event> = std::iter::once(event(0, "first")).chain((0..20).flat_map(batch)).collect();
    let done = AtomicBool::new(false);
    let compact_on = || {
        let mut refused = 0;
        while !done.load(Ordering::SeqCst) {
            match lake.compact_with(CompactSettings::default()) {
                Ok(_) => {}
                Err(CompactError::Commit(CommitError::Fenced { .. } | CommitError::RemovedTwice(_))) => {
                    refused += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        refused
    };
    let refused: u32 = std::thread::scope(|scope| {
        let compactors = [scope.spawn(compact_on), scope.spawn(compact_on)];
        (0..20).for_each(|at| lake.ingest(&batch(at)));
        done.store(true, Ordering::SeqCst);
        compactors.into_iter().map(|compactor| compactor.join().unwrap()).sum()
    });
    lake.compact();
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    for event in &all {
        first.entry(&event.id).or_insert(event.offset);
    }
    let mut expected: Vec<i64> = first.into_values().collect();
    expected.sort_unstable();
    assert_eq!(lake.events_left(&all), expected);
    assert_eq!(lake.conflicts(), [0_i64; 0]);
    println!("{} versions, {refused} compactions refused", lake.version());
    for version in 1..=lake.version() {
        assert_whole(&lake, version, &all);
    }
}

/// In every version each event has all of its rows or none, and every id that arrived is there.
pub fn assert_whole(lake: &TestLake, version: u64, all: &[Event]) {
    let mut rows: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
    for row in lake.rows_at(Some(version)) {
        rows.entry(row.offset).or_default().push(row);
    }
    for (offset, rows) in &rows {
        let event = all.iter().find(|event| event.offset == *offset).unwrap();
        assert_eq!(*rows, crate::lake::sorted(event.rows()), "event {offset} in version {version}");
    }
    if version > 1 {
        let ids =
            |rows: Vec<Row>| rows.into_iter().map(|row| row.id).collect::<std::collections::BTreeSet<_>>();
        let before = ids(lake.rows_at(Some(version - 1)));
        let now = ids(lake.rows_at(Some(version)));
        assert!(now.is_superset(&before), "an event vanished in version {version}");
    }
}
