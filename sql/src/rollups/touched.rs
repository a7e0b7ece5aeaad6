//! Which tenants' days a stretch of commits to `usage_events` touched.
//!
//! Owns reading the log's entries: rows that were added or taken out count, rows that compaction put in order do not,
//! unless it found events that had been counted twice.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::Value;

use crate::lake::{DataFile, LakeError, TableHandle, parse_day};

/// Whose usage of a day may be another than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touch {
    Tenants(BTreeSet<String>),
    /// It cannot be told any more.
    Everybody,
}

/// Stands for all days: events that were voided or amended may lie on any of them.
pub const EVERY_DAY: i32 = i32::MIN;

impl Touch {
    pub fn is_of(&self, tenant: &str) -> bool {
        match self {
            Self::Tenants(tenants) => tenants.contains(tenant),
            Self::Everybody => true,
        }
    }
}

/// What the commits after one version up to another touched, by day; nothing where the log does not reach back so far.
pub async fn touched(
    table: &TableHandle,
    after: u64,
    until: u64,
) -> Result<Option<BTreeMap<i32, Touch>>, LakeError> {
    let mut days: BTreeMap<i32, Touch> = BTreeMap::new();
    for version in after + 1..=until {
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        let Ok(entry) = table.store().get(&path).await else { return Ok(None) };
        let Ok(bytes) = entry.bytes().await else { return Ok(None) };
        let Some(changes) = changes(&bytes) else { return Ok(None) };
        for mut change in changes {
            if change.is_correction() {
                change.day = EVERY_DAY;
            }
            let day = days.entry(change.day).or_insert_with(|| Touch::Tenants(BTreeSet::new()));
            let Touch::Tenants(tenants) = day else { continue };
            match tenants_of(table, change).await {
                Some(found) => tenants.extend(found),
                None => *day = Touch::Everybody,
            }
        }
    }
    Ok(Some(days))
}

/// A file whose rows count now and did not before, or the other way round.
fn changes(entry: &[u8]) -> Option<Vec<DataFile>> {
    let lines = entry.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let actions: Vec<Value> = lines.map(serde_json::from_slice).collect::<Result<_, _>>().ok()?;
    let compaction = actions.iter().find_map(|action| action.get("commitInfo")?.get("meterhouseCompaction"));
    let lost = |key: &str| compaction.and_then(|notes| notes.get(key)?.as_u64()).unwrap_or(0);
    let has_lost_rows = lost("duplicateRows") + lost("conflictRows") > 0;
    let files = actions.iter().filter_map(|action| action.get("add").or_else(|| action.get("remove")));
    let changed =
        files.filter(|file| has_lost_rows || file.get("dataChange").and_then(Value::as_bool).unwrap_or(true));
    changed.map(data_file).collect()
}

fn data_file(action: &Value) -> Option<DataFile> {
    let path = action.get("path")?.as_str()?.to_owned();
    let folder = path.split('/').find_map(|part| part.strip_prefix("event_day="));
    let values = action.get("partitionValues");
    let day = values.and_then(|values| values.get("event_day")?.as_str()).or(folder);
    Some(DataFile {
        day: parse_day(day?)?,
        size_bytes: action.get("size").and_then(Value::as_u64).unwrap_or(0),
        rows: 0,
        modified_at_ms: 0,
        statistics: None,
        path,
    })
}

/// The tenants of a file's rows; nothing where it is gone or cannot be read.
pub async fn tenants_of(table: &TableHandle, file: DataFile) -> Option<BTreeSet<String>> {
    let files = [file];
    let mut batches = table.read_batches(&files, Some(&["tenant"]));
    let mut tenants = BTreeSet::new();
    while let Some(batch) = batches.try_next().await.ok()? {
        let mut last = None;
        for tenant in batch.column(0).as_string::<i32>().iter().flatten() {
            if last != Some(tenant) && !tenants.contains(tenant) {
                tenants.insert(tenant.to_owned());
            }
            last = Some(tenant);
        }
    }
    Some(tenants)
}
