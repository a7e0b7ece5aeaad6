//! What an attempt that died between its two commits left behind: rejects that are stored, of messages whose
//! usage is not, so that they are read again.
//!
//! The catalog, the limits or the clock may make something else of these messages by now. A reject that is
//! stored stays one until it is replayed, and everything else is taken as it decodes now, so that whatever a
//! message holds ends in exactly one of the two tables (DESIGN.md 3.3). Does not decide which messages are
//! read again: that follows from the tables' positions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use futures::TryStreamExt;
use object_store::path::Path;
use sql::lake::{DataFile, FileRead, LakeError};

use crate::batch::PartitionName;
use crate::commit::{CommitError, ForeignEntry, TableLog};
use crate::decode::{Decoded, Decoder, KeptBytes};
use crate::raw_message::{Coordinates, RawMessage};
use crate::rejected::RejectReason;
use crate::rejects::PAYLOAD_ROWS;
use crate::stored_rows::StoredRows;

/// A partition whose rejects are further than its usage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unfinished {
    pub rejects: StoredRejects,
    /// How often rejects were stored by batches that began behind the reject table's position. It is a position of its
    /// own, because the other need not move then, and of two owners at once only one must succeed.
    pub rounds: Option<i64>,
}

/// The stored rejects of one partition, by their offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredRejects(HashMap<i64, Vec<StoredReject>>);

/// Which bytes were rejected. An earlier topic of the same name may have had another message at this offset,
/// so that the place alone does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StoredReject {
    batch_index: i32,
    stamped_at_us: Option<i64>,
    payload: blake3::Hash,
}

impl StoredReject {
    fn of(message: &RawMessage<'_>, batch_index: i32, payload: &[u8]) -> Self {
        Self { batch_index, stamped_at_us: message.stamped_at_us, payload: blake3::hash(payload) }
    }
}

impl StoredRejects {
    /// Whether something of the message at this offset may be stored.
    pub fn has(&self, offset: i64) -> bool {
        self.0.contains_key(&offset)
    }

    /// Decodes a message; `each` gets nothing in place of what stands among the rejects already.
    pub fn decode_rest<'m>(
        &self,
        decoder: &Decoder,
        message: &RawMessage<'m>,
        arrival_us: i64,
        each: &mut dyn FnMut(Option<Decoded<'m>>),
    ) {
        let stored = self.0.get(&message.at.offset).map_or(&[][..], Vec::as_slice);
        // A batch that was refused whole may be taken apart by now.
        if message.payload.is_some_and(|payload| stored.contains(&StoredReject::of(message, 0, payload))) {
            return each(None);
        }
        decoder.decode_again(message, KeptBytes::Message, arrival_us, &mut |payload, decoded| {
            let batch_index = match &decoded {
                Decoded::Event(event) => event.batch_index,
                Decoded::Rejected(rejected) => rejected.batch_index,
                Decoded::Tombstone => return each(Some(decoded)),
            };
            let is_stored = stored.contains(&StoredReject::of(message, batch_index, payload));
            each((!is_stored).then_some(decoded));
        });
    }

    fn add(&mut self, rows: StoredRows<'_>, row: usize) {
        self.0.entry(rows.coordinates(row).offset).or_default().push(StoredReject {
            batch_index: rows.batch_index(row),
            stamped_at_us: rows.optional_time_us("stamped", row),
            payload: blake3::hash(rows.optional_bytes("payload", row).unwrap_or_default()),
        });
    }
}

/// The offsets of partitions that are read again although rejects of them may be stored.
pub type ReadAgain = BTreeMap<PartitionName, Range<i64>>;

/// Reads which rejects the reject table holds of the given offsets, as of the version that its log has come to.
pub async fn stored_rejects(
    log: &TableLog,
    read_again: &ReadAgain,
) -> Result<HashMap<PartitionName, StoredRejects>, CommitError> {
    let mut files = log.handle().snapshot(Some(log.version())).await?.files;
    if let Some(added) = added_since_unfinished(log, read_again).await? {
        files.retain(|file| added.contains(&file.path));
    }
    let mut found = HashMap::new();
    for file in files {
        add_stored(log, &file, read_again, &mut found).await?;
    }
    Ok(found)
}

/// The files that entries of the log added since the oldest unfinished batch, that one's included. Nothing if the log
/// does not reach back so far.
///
/// A batch that began behind the position of the reject table counted a round in its commit. So, from the newest commit of
/// a partition back, the first without a round is that of the batch that is unfinished; all before it is finished.
/// The table may be old and have a file for every five seconds, so its other files must not even be looked at.
async fn added_since_unfinished(
    log: &TableLog,
    read_again: &ReadAgain,
) -> Result<Option<HashSet<String>>, CommitError> {
    let names = read_again.keys().filter_map(|name| name.application().zip(name.rounds_application()));
    let mut open: Vec<(String, String)> = names.collect();
    let mut added = HashSet::new();
    let mut version = log.version();
    while !open.is_empty() {
        let Some(ForeignEntry { positions, added: files, .. }) = log.entry(version).await? else {
            return Ok(None);
        };
        // A log may escape what it names; the table's file list does not.
        added.extend(files.into_iter().map(|path| match Path::from_url_path(&path) {
            Ok(path) => path.to_string(),
            Err(_) => path,
        }));
        let moved: BTreeSet<&str> = positions.iter().map(|(name, _)| name.as_str()).collect();
        open.retain(|(name, rounds)| !moved.contains(name.as_str()) || moved.contains(rounds.as_str()));
        if version == 0 {
            break;
        }
        version -= 1;
    }
    Ok(Some(added))
}

/// Adds what a file holds of the given offsets.
async fn add_stored(
    log: &TableLog,
    file: &DataFile,
    read_again: &ReadAgain,
    found: &mut HashMap<PartitionName, StoredRejects>,
) -> Result<(), LakeError> {
    let places = find_rows(log, file, read_again).await?;
    if places.is_empty() {
        return Ok(());
    }
    let read = FileRead {
        columns: Some(&["topic", "partition", "offset", "batch_index", "stamped", "payload"]),
        rows: Some(places),
        batch_rows: Some(PAYLOAD_ROWS),
        ..FileRead::default()
    };
    let mut batches = log.handle().read_file(file, read).await?;
    while let Some(batch) = batches.try_next().await? {
        let rows = StoredRows(&batch);
        for row in 0..rows.len() {
            found.entry(name_of(rows.coordinates(row))).or_default().add(rows, row);
        }
    }
    Ok(())
}

/// The rows of a file that lie in the given offsets, without a look at their payloads.
async fn find_rows(
    log: &TableLog,
    file: &DataFile,
    read_again: &ReadAgain,
) -> Result<Vec<Range<usize>>, LakeError> {
    let read = FileRead { columns: Some(&["reason", "topic", "partition", "offset"]), ..FileRead::default() };
    let mut batches = log.handle().read_file(file, read).await?;
    let (mut places, mut rows_before): (Vec<Range<usize>>, usize) = (Vec::new(), 0);
    while let Some(batch) = batches.try_next().await? {
        let rows = StoredRows(&batch);
        for row in 0..rows.len() {
            let at = rows.coordinates(row);
            let is_meant = read_again.get(&name_of(at)).is_some_and(|offsets| offsets.contains(&at.offset));
            // Conflicts are compaction's, of events that were counted.
            if !is_meant || rows.text("reason", row) == RejectReason::Conflict.name() {
                continue;
            }
            let place = rows_before + row;
            match places.last_mut() {
                Some(range) if range.end == place => range.end += 1,
                _ => places.push(place..place + 1),
            }
        }
        rows_before += rows.len();
    }
    Ok(places)
}

fn name_of(at: Coordinates<'_>) -> PartitionName {
    PartitionName { topic: at.topic.into(), partition: at.partition }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use deltalake_core::kernel::Action;
    use object_store::ObjectStoreExt;
    use rating::catalog::Catalog;
    use sql::lake::{Lake, Table};

    use super::*;
    use crate::columns::RejectedColumns;
    use crate::commit::{Commit, Position};
    use crate::day_file::{DayFileWriter, FileKind};
    use crate::decode::DecodeLimits;
    use crate::raw_message::Headers;
    use crate::rejected::{Refusal, Rejected};

    const STAMP_US: i64 = 1_777_600_000_000_000;

    fn event(id: u32, data: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","subject":"a","data":{data}}}"#)
    }

    fn message(partition: i32, offset: i64, payload: &str) -> RawMessage<'_> {
        RawMessage {
            at: Coordinates { topic: "usage", partition, offset },
            stamped_at_us: Some(STAMP_US),
            key: None,
            payload: Some(payload.as_bytes()),
            headers: Headers::new(),
        }
    }

    /// Commits a file of rejects, each the payload of a message, and moves positions along. Returns the file's path.
    async fn store(
        log: &mut TableLog,
        rejects: &[(RejectReason, i32, RawMessage<'_>)],
        moves: &[(String, i64)],
    ) -> String {
        let mut columns = RejectedColumns::default();
        for (reason, batch_index, message) in rejects {
            let (why, payload) = (Refusal::new(*reason, "said ingest"), message.payload.unwrap());
            let rejected = Rejected {
                why,
                batch_index: *batch_index,
                payload,
                source: None,
                id: None,
                tenant: None,
                event_type: None,
            };
            columns.push(&rejected, message, STAMP_US);
        }
        let mut writer = DayFileWriter::new(Table::RejectedMessages, 20_000, FileKind::Arrived).unwrap();
        writer.write(&columns.finish()).unwrap();
        let file = writer.finish(0).unwrap();
        log.upload(std::slice::from_ref(&file)).await.unwrap();
        let path = file.add.path.clone();
        let names: Vec<String> = moves.iter().map(|(name, _)| name.clone()).collect();
        let stand = log.positions(&names).await.unwrap();
        let positions = moves.iter().map(|(application, next)| Position {
            application: application.clone(),
            expected: stand[application],
            next: *next,
        });
        let (positions, actions) = (positions.collect(), vec![Action::Add(file.add)]);
        log.commit(&Commit { operation: "WRITE", positions, actions, ..Commit::default() }).await.unwrap();
        path
    }

    /// What is left of a message, as a letter per event: event, rejected, or `.` for what is stored.
    fn rest(stored: &StoredRejects, message: &RawMessage<'_>) -> String {
        let meter = "{ kind: gauge, event_type: t, value: $.n, unit: byte }";
        let catalog = Catalog::parse(&format!("catalog: c\nmeters:\n  m: {meter}\n"), "c.yaml").unwrap();
        let decoder = Decoder::new(&catalog, DecodeLimits::default());
        let mut text = String::new();
        stored.decode_rest(&decoder, message, STAMP_US, &mut |decoded| {
            let letter = match decoded {
                Some(Decoded::Event(_)) => 'e',
                Some(Decoded::Rejected(_)) => 'r',
                Some(Decoded::Tombstone) => 't',
                None => '.',
            };
            text.write_char(letter).unwrap();
        });
        text
    }

    #[tokio::test]
    async fn only_what_is_stored_of_this_very_message_is_left_out() {
        let lake = Lake::open("memory:///").unwrap();
        let mut log = TableLog::open(lake.table(Table::RejectedMessages)).await.unwrap();
        let (good, bad) = (event(1, r#"{"n":1}"#), event(2, "{}"));
        let batch = format!("[{good}, {bad}, {good}]");
        let older = RawMessage { stamped_at_us: Some(STAMP_US - 1_000), ..message(0, 14, &bad) };
        let missing = RejectReason::ValueMissing;
        store(&mut log, &[(missing, 0, message(0, 9, &bad)), (missing, 0, message(0, 10, &good))], &[]).await;
        let more = [
            (missing, 0, message(0, 12, "another topic's")),
            (missing, 2, message(0, 13, &good)),
            (missing, 0, older),
            (RejectReason::Conflict, 0, message(0, 15, &good)),
            (RejectReason::TooLarge, 0, message(0, 16, &batch)),
            (missing, 0, message(1, 17, &good)),
            (missing, 0, message(0, 20, &bad)),
        ];
        store(&mut log, &more, &[]).await;
        let mut other = TableLog::open(lake.table(Table::RejectedMessages)).await.unwrap();
        store(&mut other, &[(missing, 0, message(0, 19, &bad))], &[]).await;

        let name = PartitionName { topic: "usage".into(), partition: 0 };
        let read_again = ReadAgain::from([(name.clone(), 10..20)]);
        let mut found = stored_rejects(&log, &read_again).await.unwrap();
        let stored = found.remove(&name).unwrap();
        assert!(found.is_empty(), "{found:?}");
        for (why, offset, payload, expected) in [
            ("before what is read again", 9, &bad, "r"),
            ("stored, and accepted by now", 10, &good, "."),
            ("not stored, and rejected by now", 11, &bad, "r"),
            ("another message stood at this offset", 12, &good, "e"),
            ("one event of a batch is stored", 13, &batch, "er."),
            ("the same bytes, sent at another time", 14, &bad, "r"),
            ("a conflict is none of ours", 15, &good, "e"),
            ("the whole batch is stored", 16, &batch, "."),
            ("another partition", 17, &good, "e"),
            ("stored after the version that was asked for", 19, &bad, "r"),
            ("behind what is read again", 20, &bad, "r"),
        ] {
            assert_eq!(rest(&stored, &message(0, offset, payload)), expected, "{why}");
        }
        let tombstone = RawMessage { payload: None, ..message(0, 10, "") };
        assert_eq!(rest(&stored, &tombstone), "t");
    }

    /// Files of finished batches cannot even be opened here.
    #[tokio::test]
    async fn what_was_stored_before_the_unfinished_batch_is_not_looked_at() {
        let lake = Lake::open("memory:///").unwrap();
        let mut log = TableLog::open(lake.table(Table::RejectedMessages)).await.unwrap();
        let names: Vec<PartitionName> =
            (0..3).map(|partition| PartitionName { topic: "usage".into(), partition }).collect();
        let application = |partition: usize| names[partition].application().unwrap();
        let missing = RejectReason::ValueMissing;
        let mut finished = Vec::new();
        for offset in 0..20 {
            for partition in 0..2 {
                let reject = (missing, 0, message(partition, offset, "finished"));
                let moved = (application(partition as usize), offset + 1);
                finished.push(store(&mut log, &[reject], &[moved]).await);
            }
        }
        let rounds = |partition: usize, round: i64| (names[partition].rounds_application().unwrap(), round);
        let unfinished = |partition, offset| (missing, 0, message(partition, offset, "unfinished"));
        // Two owners of partition 0 died between their commits, the second before it came to the first one's end.
        store(&mut log, &[unfinished(0, 20), unfinished(0, 29)], &[(application(0), 30)]).await;
        store(&mut log, &[unfinished(0, 22)], &[(application(0), 30), rounds(0, 1)]).await;
        // Others go on, and partition 2 begins with a batch of which nothing is finished.
        store(&mut log, &[(missing, 0, message(1, 20, "finished later"))], &[(application(1), 21)]).await;
        for path in &finished {
            log.handle().store().delete(&Path::from(path.as_str())).await.unwrap();
        }
        let read_again = ReadAgain::from([(names[0].clone(), 20..30)]);
        let found = stored_rejects(&log, &read_again).await.unwrap();
        let offsets = |found: &HashMap<PartitionName, StoredRejects>, name: &PartitionName| {
            let mut offsets: Vec<i64> = found[name].0.keys().copied().collect();
            offsets.sort_unstable();
            offsets
        };
        assert_eq!((found.len(), offsets(&found, &names[0])), (1, vec![20, 22, 29]));

        store(&mut log, &[unfinished(2, 3)], &[(application(2), 5)]).await;
        let read_again = ReadAgain::from([(names[2].clone(), 0..5)]);
        let found = stored_rejects(&log, &read_again).await.unwrap();
        assert_eq!((found.len(), offsets(&found, &names[2])), (1, vec![3]));
    }
}
