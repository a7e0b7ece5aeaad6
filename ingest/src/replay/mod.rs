//! Replaying rejects after a fix: what decodes now moves from `rejected_messages` to `usage_events`.
//!
//! Two tables cannot change in one commit, so a file of rejects moves in three, each of which leaves the
//! lake whole:
//! 1. set aside: the file is replaced by one with the rejects that stay (under their new reason) and one,
//!    named `replaying-…`, with those that decode now. No reject is gained or lost.
//! 2. take in: the usage rows of the whole `replaying-…` file are committed, together with a guard, a
//!    position that bears the file's name. It can be set only once.
//! 3. remove: the `replaying-…` file leaves the reject table.
//!
//! A crash after 1 leaves ordinary rejects. After 2, the next run sees the guard and goes on with 3: what
//! was taken in does not depend on what would decode by then. Whoever rewrites rejects otherwise must leave
//! `replaying-…` files alone. Conflicts are never replayed: their event counts already, with other content.
//!
//! A replayed event arrives now, each a microsecond after the one before, and not when its message first did: what was counted in the meantime stays
//! counted, also if it shares an identity with the replayed event.

mod job;
mod verdict;

use std::collections::BTreeMap;

use rating::catalog::Catalog;
use sql::lake::{Lake, LakeError};

use crate::commit::CommitError;
use crate::day_files::RewriteError;
use crate::decode::DecodeLimits;
use crate::rejects::RejectFilter;
pub use job::Replay;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRequest {
    pub filter: RejectFilter,
    /// Also takes messages at offsets that ingest has not committed yet, which it may read again. After a
    /// topic was made anew its old offsets look like that.
    pub include_uncommitted: bool,
    /// Only find out what would happen.
    pub dry_run: bool,
    pub limits: DecodeLimits,
    pub now_us: i64,
}

/// What a run did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Rejects that the filter selects.
    pub selected: u64,
    /// Events that were accepted, and the usage rows that they became.
    pub events: u64,
    pub rows: u64,
    /// Accepted events that no meter takes.
    pub unmetered: u64,
    /// Selected rejects that still are, by their new reason.
    pub still_rejected: BTreeMap<&'static str, u64>,
    /// Selected, but conflicts are never replayed.
    pub conflicts: u64,
    /// Selected, but ingest has not committed their offsets yet.
    pub uncommitted: u64,
    /// Files that an earlier run had taken in and not removed yet.
    pub finished_files: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error("{place} of the rejects was accepted and is refused now: {detail}")]
    Undecided { place: String, detail: String },
}

impl From<CommitError> for ReplayError {
    fn from(error: CommitError) -> Self {
        Self::Rewrite(error.into())
    }
}

impl From<LakeError> for ReplayError {
    fn from(error: LakeError) -> Self {
        Self::Rewrite(error.into())
    }
}

/// The position in the usage table which says that a file of rejects was taken in.
pub fn guard(path: &str) -> String {
    format!("meterhouse/replay/{path}")
}

/// Replays the selected rejects. `progress` is told of each file.
pub async fn replay(
    lake: &Lake,
    catalog: &Catalog,
    request: &ReplayRequest,
    mut progress: impl FnMut(&ReplayReport),
) -> Result<ReplayReport, ReplayError> {
    let mut replay = Replay::open(lake, catalog, request.clone()).await?;
    for file in replay.finish_earlier().await? {
        for moving in replay.set_aside(&file).await? {
            replay.take_in(&moving).await?;
            replay.remove(&moving).await?;
        }
        progress(replay.report());
    }
    replay.settle().await;
    Ok(replay.report().clone())
}
