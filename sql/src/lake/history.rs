//! When a table had which version.
//!
//! Owns finding the version of an instant. A commit's time is what its `commitInfo` says, because files get new times when
//! a lake is copied; a commit of a writer that says none has the time of its file.

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use serde_json::Value;

use super::{LakeError, TableHandle};

/// So many commits may stand beside each other whose writers' clocks differ.
const OUT_OF_ORDER_MAX: usize = 64;
const LOOKED_AT_ONCE: usize = 16;

impl TableHandle {
    /// The newest version that was committed at an instant; none if the table is younger.
    pub async fn version_at(&self, at_us: i64) -> Result<Option<u64>, LakeError> {
        let log = Path::from("_delta_log");
        let listed: Vec<ObjectMeta> =
            self.store().list(Some(&log)).try_collect().await.map_err(|error| self.store_error(error))?;
        let mut commits: Vec<(u64, ObjectMeta)> =
            listed.into_iter().filter_map(|file| Some((version_of(&file.location)?, file))).collect();
        if commits.is_empty() {
            return Err(LakeError::Missing(self.table().name()));
        }
        commits.sort_by_key(|(version, _)| *version);
        // Commits follow each other in time but for writers whose clocks differ, so halving comes close.
        let (mut earlier, mut later) = (0, commits.len());
        while earlier < later {
            let middle = usize::midpoint(earlier, later);
            if self.committed_at_us(&commits[middle].1).await? <= at_us {
                earlier = middle + 1;
            } else {
                later = middle;
            }
        }
        // A commit counts as no earlier than those before it: the first that is later ends the answer, wherever halving
        // came out.
        let nearby = earlier.saturating_sub(OUT_OF_ORDER_MAX)..earlier;
        let times = nearby.clone().map(|at| self.committed_at_us(&commits[at].1));
        let mut times =
            futures::stream::iter(times).buffered(LOOKED_AT_ONCE).zip(futures::stream::iter(nearby));
        while let Some((time_us, at)) = times.next().await {
            if time_us? > at_us {
                earlier = at;
                break;
            }
        }
        Ok(earlier.checked_sub(1).map(|last| commits[last].0))
    }

    async fn committed_at_us(&self, commit: &ObjectMeta) -> Result<i64, LakeError> {
        let read = async { self.store().get(&commit.location).await?.bytes().await };
        let bytes = read.await.map_err(|error| self.store_error(error))?;
        let entries = bytes.split(|byte| *byte == b'\n');
        let mut actions = entries.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let told = actions.find_map(|action| action.get("commitInfo")?.get("timestamp")?.as_i64());
        Ok(told.map_or_else(|| commit.last_modified.timestamp_micros(), |ms| ms.saturating_mul(1_000)))
    }

    fn store_error(&self, error: object_store::Error) -> LakeError {
        LakeError::Delta { table: self.table().name(), source: Box::new(error.into()) }
    }
}

fn version_of(file: &Path) -> Option<u64> {
    let digits = file.filename()?.strip_suffix(".json")?;
    if digits.len() == 20 { digits.parse().ok() } else { None }
}
