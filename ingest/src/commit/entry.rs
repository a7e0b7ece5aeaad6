//! One entry of a table's log: a JSON line per action.

use deltalake_core::kernel::{Action, CommitInfo, Transaction};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::table_log::Commit;

/// Under this key of its `commitInfo` every commit of ours carries its own id.
const COMMIT_ID: &str = "meterhouseCommitId";
const ENGINE: &str = concat!("meterhouse/", env!("CARGO_PKG_VERSION"));

/// Writes a commit as the text of a log entry.
pub(super) fn write_entry(
    commit: &Commit,
    id: Uuid,
    read_version: u64,
    now_ms: i64,
) -> serde_json::Result<String> {
    let mut info = CommitInfo {
        timestamp: Some(now_ms),
        operation: Some(commit.operation.to_owned()),
        operation_parameters: Some(commit.parameters.clone()),
        read_version: Some(read_version),
        is_blind_append: Some(commit.removed_paths().next().is_none()),
        engine_info: Some(ENGINE.to_owned()),
        ..CommitInfo::default()
    };
    info.info.insert(COMMIT_ID.to_owned(), json!(id));
    info.info.extend(commit.notes.clone());
    let transactions = commit.positions.iter().map(|position| {
        // No `lastUpdated`: with one, the position would expire together with old transactions.
        Action::Txn(Transaction::new(&position.application, position.next))
    });
    let mut text = String::new();
    for action in std::iter::once(Action::CommitInfo(info)).chain(transactions) {
        text.push_str(&serde_json::to_string(&action)?);
        text.push('\n');
    }
    for action in &commit.actions {
        text.push_str(&serde_json::to_string(action)?);
        text.push('\n');
    }
    Ok(text)
}

/// What a writer must know of an entry that somebody wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignEntry {
    commit_id: Option<String>,
    pub positions: Vec<(String, i64)>,
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// The table's schema, settings or protocol changed.
    pub changes_table: bool,
}

impl ForeignEntry {
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        let mut entry = Self::default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let action: EntryLine = serde_json::from_slice(line)?;
            entry.changes_table |= action.meta_data.is_some() || action.protocol.is_some();
            entry.positions.extend(action.txn.map(|txn| (txn.app_id, txn.version)));
            entry.added.extend(action.add.map(|add| add.path));
            entry.removed.extend(action.remove.map(|remove| remove.path));
            let id = action.commit_info.as_ref().and_then(|info| info.get(COMMIT_ID)).and_then(Value::as_str);
            entry.commit_id = entry.commit_id.or(id.map(str::to_owned));
        }
        Ok(entry)
    }

    pub fn is_ours(&self, id: Uuid) -> bool {
        self.commit_id.as_deref() == Some(&id.to_string())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryLine {
    txn: Option<EntryTransaction>,
    add: Option<EntryFile>,
    remove: Option<EntryFile>,
    commit_info: Option<Value>,
    meta_data: Option<serde::de::IgnoredAny>,
    protocol: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryTransaction {
    app_id: String,
    version: i64,
}

#[derive(Deserialize)]
struct EntryFile {
    path: String,
}
