//! What the log of `usage_events` says, entry by entry: files, stretches of offsets, positions.
//!
//! Reads the entries' JSON itself and shares no code with the program under test.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::world::World;

/// Offsets `[start, end)` of a partition, as a commit recorded them.
#[derive(Debug, Clone)]
pub struct Stretch {
    pub version: u64,
    pub start: i64,
    pub end: i64,
    pub messages: i64,
    pub skipped: i64,
    pub rows: i64,
    pub rejected: i64,
    pub tombstones: i64,
}

#[derive(Debug, Default)]
pub struct Ledger {
    /// The newest version; none of a table that does not exist.
    pub version: Option<u64>,
    /// How many versions hold stretches.
    pub commits: usize,
    pub stretches: BTreeMap<i64, Vec<Stretch>>,
    /// Where each partition stands.
    pub ends: BTreeMap<i64, i64>,
    /// Every file that was ever added, and the paths of those that compaction replaced.
    pub added: Vec<Added>,
    pub replaced: BTreeSet<String>,
}

#[derive(Debug)]
pub struct Added {
    pub path: String,
    /// As the log counts them.
    pub rows: i64,
}

impl Added {
    /// Whether compaction wrote it, of rows that had arrived in other files.
    pub fn is_compacted(&self) -> bool {
        self.path.contains("/sorted-")
    }
}

impl Ledger {
    /// The files of the newest version.
    pub fn live(&self) -> impl Iterator<Item = &Added> {
        self.added.iter().filter(|file| !self.replaced.contains(&file.path))
    }
}

/// Reads the log of the lake's `usage_events` so far.
pub fn read(world: &World) -> Ledger {
    let mut ledger = Ledger::default();
    for version in 0.. {
        let path = format!("usage_events/_delta_log/{version:020}.json");
        let Some(bytes) = world.object(&path) else { break };
        ledger.version = Some(version);
        for line in std::str::from_utf8(&bytes).unwrap().lines() {
            let action: Value = serde_json::from_str(line).unwrap();
            take_action(&mut ledger, version, &action);
        }
    }
    ledger
}

fn take_action(ledger: &mut Ledger, version: u64, action: &Value) {
    if let Some(add) = action.get("add") {
        let statistics: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
        let path = add["path"].as_str().unwrap().to_owned();
        ledger.added.push(Added { path, rows: statistics["numRecords"].as_i64().unwrap() });
    }
    ledger.replaced.extend(action.get("remove").map(|remove| remove["path"].as_str().unwrap().to_owned()));
    let of_kafka =
        |transaction: &&Value| transaction["appId"].as_str().unwrap().starts_with("meterhouse/kafka/");
    if let Some(transaction) = action.get("txn").filter(of_kafka) {
        let application = transaction["appId"].as_str().unwrap();
        let partition = application.rsplit('/').next().unwrap().parse().unwrap();
        ledger.ends.insert(partition, transaction["version"].as_i64().unwrap());
    }
    let Some(stretches) = action.get("commitInfo").and_then(|info| info.get("meterhouseStretches")) else {
        return;
    };
    ledger.commits += 1;
    for stretch in stretches.as_array().unwrap() {
        let number = |name: &str| stretch[name].as_i64().unwrap_or_else(|| panic!("{name} in {stretch}"));
        ledger.stretches.entry(number("partition")).or_default().push(Stretch {
            version,
            start: number("start"),
            end: number("end"),
            messages: number("messages"),
            skipped: number("skippedOffsets"),
            rows: number("rows"),
            rejected: number("rejected"),
            tombstones: number("tombstones"),
        });
    }
}
