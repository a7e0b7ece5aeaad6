//! A writer's view of one table's log: the newest version it knows of, and where each source stands.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use deltalake_core::kernel::Action;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde_json::Value;
use sql::lake::{LakeError, Positions, TableHandle};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::entry::{ForeignEntry, write_entry};
use super::{CLOCKS_DIFFER, MAINTENANCE, VACUUMED_BEFORE};
use crate::crash_point::crash_point;
use crate::day_file::FinishedFile;

const UPLOADS_AT_ONCE: usize = 8;
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How a writer treats its table's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// Object-store calls are tried again for this long, on top of what the store's own client does.
    pub patience: Duration,
    /// The pause before the second attempt; each further one is twice as long.
    pub first_pause: Duration,
    /// A checkpoint is written once in this many commits, so that readers start quickly.
    pub checkpoint_interval: u64,
}

impl LogSettings {
    /// Tries a call that is safe to repeat until it works or patience ends.
    pub async fn with_patience<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        what: &str,
        call: impl Fn() -> F,
    ) -> Result<T, CommitError> {
        let started = Instant::now();
        let mut pause = self.first_pause;
        loop {
            match call().await {
                Ok(value) => return Ok(value),
                Err(error) if started.elapsed() > self.patience || is_final(&error) => {
                    let tried_for = started.elapsed();
                    return Err(CommitError::Store { what: what.to_owned(), tried_for, source: error });
                }
                Err(error) => {
                    tracing::debug!(what, error = &error as &dyn std::error::Error, "trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(45),
            first_pause: Duration::from_millis(20),
            checkpoint_interval: 100,
        }
    }
}

/// How far an application (such as the reader of a Kafka partition) has come, before and after a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub application: String,
    /// Where the writer believes it to stand; none if it never committed.
    pub expected: Option<i64>,
    pub next: i64,
}

/// Something to commit.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    pub operation: &'static str,
    pub parameters: HashMap<String, Value>,
    pub positions: Vec<Position>,
    pub actions: Vec<Action>,
    /// Extra entries for the commit's information.
    pub notes: HashMap<String, Value>,
}

impl Commit {
    /// A change of rows by a table's owner: it lands only if no other owner's did since the table stood at this epoch.
    /// The note says in the log who it was.
    pub fn maintenance(
        operation: &'static str,
        epoch: Option<i64>,
        actions: Vec<Action>,
        (note, content): (&str, Value),
    ) -> Self {
        let next = epoch.unwrap_or(0) + 1;
        Self {
            operation,
            parameters: HashMap::new(),
            positions: vec![Position { application: MAINTENANCE.to_owned(), expected: epoch, next }],
            actions,
            notes: HashMap::from([(note.to_owned(), content)]),
        }
    }

    pub(super) fn removed_paths(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().filter_map(|action| match action {
            Action::Remove(remove) => Some(remove.path.as_str()),
            _ => None,
        })
    }
}

/// A commit that landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub version: u64,
    /// How often the log had to be written, because others committed too or the store failed.
    pub attempts: u32,
}

/// Why a commit did not land.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("another writer moved {application} to {found:?} while this one stood at {expected:?}")]
    Fenced { application: String, expected: Option<i64>, found: Option<i64> },
    #[error("the file {0} was removed by another writer")]
    RemovedTwice(String),
    #[error("the file {0} was stored so long ago that `meterhouse vacuum` may have deleted it since")]
    MayBeDeleted(String),
    #[error("the schema or settings of the table `{0}` changed in version {1}; start again to use them")]
    TableChanged(&'static str, u64),
    #[error("version {version} of the table `{table}` cannot be understood")]
    Entry {
        table: &'static str,
        version: u64,
        #[source]
        source: serde_json::Error,
    },
    #[error("the object store failed for {} s while {what}", tried_for.as_secs())]
    Store {
        what: String,
        tried_for: Duration,
        #[source]
        source: object_store::Error,
    },
    #[error("cannot make the stored files durable")]
    Sync(#[source] std::io::Error),
    #[error(transparent)]
    Lake(#[from] LakeError),
}

impl CommitError {
    /// Whether others only were faster: what was to be committed is void, and the same work from its start may succeed.
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Self::Fenced { .. } | Self::RemovedTwice(_) | Self::MayBeDeleted(_))
    }
}

/// What stood in the log behind the version that a commit built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CaughtUp {
    Nothing,
    /// Entries of others only.
    Others,
    /// The commit itself, as this version.
    Ours(u64),
}

/// The log of one table as a writer follows it.
#[derive(Debug)]
pub struct TableLog {
    handle: TableHandle,
    settings: LogSettings,
    version: u64,
    /// Who is not among them never committed.
    positions: Positions,
    /// A checkpoint that is being written beside the commits.
    checkpoint: Option<JoinHandle<()>>,
}

impl TableLog {
    /// Follows a table, which is created if need be.
    pub async fn open(handle: TableHandle) -> Result<Self, CommitError> {
        Self::open_with(handle, LogSettings::default()).await
    }

    pub async fn open_with(handle: TableHandle, settings: LogSettings) -> Result<Self, CommitError> {
        crash_point("before_create");
        handle.create_if_missing().await?;
        crash_point("after_create");
        let (version, positions) = handle.positions().await?;
        Ok(Self { handle, settings, version, positions, checkpoint: None })
    }

    pub fn handle(&self) -> &TableHandle {
        &self.handle
    }

    /// The newest version that this writer knows of.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Where applications stand in the newest version.
    pub async fn positions(
        &mut self,
        applications: &[String],
    ) -> Result<HashMap<String, Option<i64>>, CommitError> {
        self.read_on().await?;
        let stand = |name: &String| (name.clone(), self.positions.get(name).copied());
        Ok(applications.iter().map(stand).collect())
    }

    /// Whether an application whose name begins like this has come anywhere, by what was read of the log so far.
    pub fn knows_any(&self, prefix: &str) -> bool {
        self.positions.keys().any(|application| application.starts_with(prefix))
    }

    /// Reads what others have committed since.
    pub async fn read_on(&mut self) -> Result<(), CommitError> {
        while self.read_next().await?.is_some() {}
        Ok(())
    }

    /// Reads the next entry, if there is one.
    async fn read_next(&mut self) -> Result<Option<ForeignEntry>, CommitError> {
        let version = self.version + 1;
        let Some(entry) = self.entry(version).await? else { return Ok(None) };
        if entry.changes_table {
            return Err(CommitError::TableChanged(self.handle.table().name(), version));
        }
        self.version = version;
        self.positions.extend(entry.positions.iter().cloned());
        Ok(Some(entry))
    }

    /// What an entry of the log says, if it is there.
    pub async fn entry(&self, version: u64) -> Result<Option<ForeignEntry>, CommitError> {
        let Some(bytes) = self.read_entry(version).await? else { return Ok(None) };
        let table = self.handle.table().name();
        ForeignEntry::parse(&bytes).map(Some).map_err(|source| CommitError::Entry { table, version, source })
    }

    async fn read_entry(&self, version: u64) -> Result<Option<Bytes>, CommitError> {
        let path = entry_path(version);
        let store = self.handle.store();
        self.settings
            .with_patience(&format!("reading {path}"), || async {
                match store.get(&path).await {
                    Ok(found) => found.bytes().await.map(Some),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .await
    }

    /// Stores files under their paths. They belong to the table only once a commit names them.
    pub async fn upload(&self, files: &[FinishedFile]) -> Result<(), CommitError> {
        upload_with(&self.handle, &self.settings, files).await
    }

    /// Commits, as long as every application stands where the writer expects it.
    ///
    /// An error of the store says nothing about whether the entry landed, so after each one the log is
    /// read again: an entry that carries this commit's id is this commit.
    pub async fn commit(&mut self, commit: &Commit) -> Result<Committed, CommitError> {
        let id = Uuid::new_v4();
        let mut at_tip_since = Instant::now();
        let mut pause = self.settings.first_pause;
        for attempts in 1.. {
            self.check_positions(commit)?;
            self.check_ages(commit)?;
            let version = self.version + 1;
            let table = self.handle.table().name();
            let now_ms = jiff::Timestamp::now().as_millisecond();
            let text = write_entry(commit, id, self.version, now_ms)
                .map_err(|source| CommitError::Entry { table, version, source })?;
            crash_point("before_commit");
            let put = self.put_entry(version, text).await;
            crash_point("after_commit");
            let Err(error) = put else {
                self.landed(commit, version).await?;
                return Ok(Committed { version, attempts });
            };
            match self.catch_up(commit, id).await? {
                CaughtUp::Ours(version) => {
                    self.landed(commit, version).await?;
                    return Ok(Committed { version, attempts });
                }
                CaughtUp::Others => (at_tip_since, pause) = (Instant::now(), self.settings.first_pause),
                CaughtUp::Nothing if at_tip_since.elapsed() > self.settings.patience => {
                    return Err(CommitError::Store {
                        what: format!("committing version {version}"),
                        tried_for: at_tip_since.elapsed(),
                        source: error,
                    });
                }
                CaughtUp::Nothing => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        unreachable!("the loop only ends by returning")
    }

    /// Whether a commit could land by what the log says now.
    pub async fn check(&mut self, commit: &Commit) -> Result<(), CommitError> {
        self.read_on().await?;
        self.check_positions(commit)
    }

    /// Reads what stands in the log that a commit did not know of, up to its end: writing after each entry would cost
    /// a refused attempt for each.
    async fn catch_up(&mut self, commit: &Commit, id: Uuid) -> Result<CaughtUp, CommitError> {
        let mut caught_up = CaughtUp::Nothing;
        while let Some(entry) = self.read_next().await? {
            if entry.is_ours(id) {
                return Ok(CaughtUp::Ours(self.version));
            }
            check_removals(commit, &entry)?;
            self.check_positions(commit)?;
            caught_up = CaughtUp::Others;
        }
        Ok(caught_up)
    }

    /// Waits for a checkpoint that is still being written; call it before the runtime ends.
    pub async fn settle(&mut self) {
        if let Some(checkpoint) = self.checkpoint.take()
            && let Err(error) = checkpoint.await
        {
            tracing::warn!(%error, "a checkpoint was not finished");
        }
    }

    fn check_positions(&self, commit: &Commit) -> Result<(), CommitError> {
        for position in &commit.positions {
            let found = self.positions.get(&position.application).copied();
            if found != position.expected {
                let (application, expected) = (position.application.clone(), position.expected);
                return Err(CommitError::Fenced { application, expected, found });
            }
        }
        Ok(())
    }

    /// A file that no version names yet must not be so old that a vacuum takes it for garbage.
    fn check_ages(&self, commit: &Commit) -> Result<(), CommitError> {
        let Some(vacuumed_before_ms) = self.positions.get(VACUUMED_BEFORE) else { return Ok(()) };
        let young_from_ms = vacuumed_before_ms.saturating_add(CLOCKS_DIFFER.as_millis() as i64);
        let is_old =
            |action: &&Action| matches!(action, Action::Add(add) if add.modification_time < young_from_ms);
        match commit.actions.iter().find(is_old) {
            Some(Action::Add(add)) => Err(CommitError::MayBeDeleted(add.path.clone())),
            _ => Ok(()),
        }
    }

    async fn put_entry(&self, version: u64, text: String) -> object_store::Result<()> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.handle.store().put_opts(&entry_path(version), text.into(), options).await.map(drop)
    }

    async fn landed(&mut self, commit: &Commit, version: u64) -> Result<(), CommitError> {
        self.version = version;
        for position in &commit.positions {
            self.positions.insert(position.application.clone(), position.next);
        }
        make_durable(&self.handle, vec![entry_path(version).to_string()]).await?;
        let is_idle = self.checkpoint.as_ref().is_none_or(JoinHandle::is_finished);
        if version.is_multiple_of(self.settings.checkpoint_interval) && is_idle {
            let handle = self.handle.clone();
            self.checkpoint = Some(tokio::spawn(async move {
                crash_point("before_checkpoint");
                let written = handle.checkpoint(version).await;
                crash_point("after_checkpoint");
                if let Err(error) = written {
                    tracing::warn!(
                        version,
                        error = &error as &dyn std::error::Error,
                        "no checkpoint was written"
                    );
                }
            }));
        }
        Ok(())
    }
}

/// Stores files of a table under their paths. They belong to it only once a commit names them.
pub async fn upload(handle: &TableHandle, files: &[FinishedFile]) -> Result<(), CommitError> {
    upload_with(handle, &LogSettings::default(), files).await
}

async fn upload_with(
    handle: &TableHandle,
    settings: &LogSettings,
    files: &[FinishedFile],
) -> Result<(), CommitError> {
    crash_point("before_upload");
    let store = handle.store();
    let objects: Vec<(Path, PutPayload)> = files
        .iter()
        .map(|file| (Path::from(file.add.path.as_str()), file.pieces.iter().cloned().collect()))
        .collect();
    let puts = objects.into_iter().map(|(path, payload)| async move {
        // Trying again is safe: the name is used once, and the bytes are the same.
        settings
            .with_patience(&format!("writing {path}"), || async {
                store.put(&path, payload.clone()).await.map(drop)
            })
            .await
    });
    futures::stream::iter(puts).buffer_unordered(UPLOADS_AT_ONCE).try_collect::<()>().await?;
    make_durable(handle, files.iter().map(|file| file.add.path.clone()).collect()).await?;
    crash_point("after_upload");
    Ok(())
}

/// On a local lake, has the disk keep the files (and their names) before anything refers to them.
async fn make_durable(handle: &TableHandle, paths: Vec<String>) -> Result<(), CommitError> {
    let url = handle.url();
    let Some(folder) = (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten() else {
        return Ok(());
    };
    let sync = move || {
        let mut folders = HashSet::new();
        for path in paths {
            let path = folder.join(path);
            std::fs::File::open(&path)?.sync_data()?;
            folders.extend(path.parent().map(std::path::Path::to_owned));
        }
        folders.into_iter().try_for_each(|folder| std::fs::File::open(folder)?.sync_all())
    };
    tokio::task::spawn_blocking(sync).await.expect("syncing does not panic").map_err(CommitError::Sync)
}

/// Two writers must not remove the same file: each would believe that it replaced its rows.
fn check_removals(commit: &Commit, entry: &ForeignEntry) -> Result<(), CommitError> {
    let removed: HashSet<&str> = entry.removed.iter().map(String::as_str).collect();
    match commit.removed_paths().find(|path| removed.contains(path)) {
        Some(path) => Err(CommitError::RemovedTwice(path.to_owned())),
        None => Ok(()),
    }
}

fn entry_path(version: u64) -> Path {
    Path::from(format!("_delta_log/{version:020}.json"))
}

/// Errors that no waiting mends.
fn is_final(error: &object_store::Error) -> bool {
    use object_store::Error as E;
    matches!(
        error,
        E::PermissionDenied { .. }
            | E::Unauthenticated { .. }
            | E::NotSupported { .. }
            | E::InvalidPath { .. }
            | E::UnknownConfigurationKey { .. }
    )
}

impl TableLog {
    /// The store below the table, for callers that read what they committed.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(self.handle.store())
    }
}
