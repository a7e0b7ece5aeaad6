//! What was rejected: counts by reason, with samples that a person can read.
//!
//! Rejects that a replay has taken in already, but whose file it could not remove yet, are left out.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::TryStreamExt;
use sql::lake::{DataFile, FileRead, Lake, LakeError, Table, TableHandle};

use crate::day_file::FileKind;
use crate::raw_message::Coordinates;
use crate::rejected::RejectReason;
use crate::replay::guard;
use crate::stored_rows::StoredRows;
use crate::timestamp::day_of;

/// Rows decoded at once where payloads are read: each may be as large as a message.
pub(crate) const PAYLOAD_ROWS: usize = 8;

/// Which rejects are meant; an empty filter means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RejectFilter {
    pub reasons: Vec<RejectReason>,
    pub topic: Option<String>,
    /// Those that arrived at this instant or later,
    pub since_us: Option<i64>,
    /// and before this one.
    pub until_us: Option<i64>,
}

impl RejectFilter {
    pub fn matches(&self, reason: &str, topic: &str, arrival_us: i64) -> bool {
        let is_reason = self.reasons.is_empty() || self.reasons.iter().any(|wanted| wanted.name() == reason);
        is_reason
            && self.topic.as_deref().is_none_or(|wanted| wanted == topic)
            && self.since_us.is_none_or(|since_us| arrival_us >= since_us)
            && self.until_us.is_none_or(|until_us| arrival_us < until_us)
    }

    /// Whether a file may hold such rejects: none arrived after the day on which it was stored.
    pub fn may_match(&self, file: &DataFile) -> bool {
        self.since_us.is_none_or(|since_us| file.day >= day_of(since_us))
    }
}

/// What to look at, and how much of it to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RejectQuery {
    pub filter: RejectFilter,
    /// Samples per reason; those that arrived last.
    pub samples: usize,
    /// A sample shows at most this many characters of its payload.
    pub preview_characters: usize,
}

/// The rejects of one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectSummary {
    pub reason: String,
    pub count: u64,
    pub first_arrival_us: i64,
    pub last_arrival_us: i64,
    /// The last to arrive first.
    pub samples: Vec<RejectSample>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectSample {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub batch_index: i32,
    pub arrival_us: i64,
    pub detail: String,
    pub tenant: Option<String>,
    pub source: Option<String>,
    pub id: Option<String>,
    pub payload_bytes: usize,
    /// The payload's beginning, with what cannot be shown escaped.
    pub preview: String,
}

/// Where a sample's row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    arrival_us: i64,
    file: usize,
    row: usize,
}

#[derive(Debug)]
struct Group {
    count: u64,
    first_arrival_us: i64,
    last: Vec<Place>,
    last_arrival_us: i64,
}

/// Sums up the rejects by reason, the most frequent first.
pub async fn rejects(lake: &Lake, query: &RejectQuery) -> Result<Vec<RejectSummary>, LakeError> {
    let handle = lake.table(Table::RejectedMessages);
    let files = match handle.snapshot(None).await {
        Ok(snapshot) => snapshot.files,
        Err(LakeError::Missing(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let taken_in = taken_in(lake, &files).await?;
    let files: Vec<DataFile> = files
        .into_iter()
        .filter(|file| query.filter.may_match(file) && !taken_in.contains(&file.path))
        .collect();
    let groups = count(&handle, &files, query).await?;
    let mut samples = read_samples(&handle, &files, &groups, query).await?;
    let mut summaries: Vec<RejectSummary> = groups
        .into_iter()
        .map(|(reason, group)| {
            let places = group.last.iter().rev();
            RejectSummary {
                samples: places.filter_map(|place| samples.remove(&(place.file, place.row))).collect(),
                reason,
                count: group.count,
                first_arrival_us: group.first_arrival_us,
                last_arrival_us: group.last_arrival_us,
            }
        })
        .collect();
    summaries.sort_by(|left, right| (right.count, &left.reason).cmp(&(left.count, &right.reason)));
    Ok(summaries)
}

/// Those files of rejects whose rows the usage table has: a replay was interrupted before it could remove
/// them.
pub(crate) async fn taken_in(lake: &Lake, files: &[DataFile]) -> Result<HashSet<String>, LakeError> {
    let replaying = files.iter().filter(|file| FileKind::of(&file.path) == FileKind::Replaying);
    let usage = lake.table(Table::UsageEvents);
    if replaying.clone().next().is_none() || !usage.exists().await? {
        return Ok(HashSet::new());
    }
    let (_, set) = usage.positions().await?;
    Ok(replaying.filter(|file| set.contains_key(&guard(&file.path))).map(|file| file.path.clone()).collect())
}

async fn count(
    handle: &TableHandle,
    files: &[DataFile],
    query: &RejectQuery,
) -> Result<BTreeMap<String, Group>, LakeError> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        let read = FileRead { columns: Some(&["reason", "topic", "arrival"]), ..FileRead::default() };
        let mut batches = handle.read_file(file, read).await?;
        let mut rows_before = 0;
        while let Some(batch) = batches.try_next().await? {
            let rows = StoredRows(&batch);
            for row in 0..rows.len() {
                let (reason, arrival_us) = (rows.text("reason", row), rows.time_us("arrival", row));
                if !query.filter.matches(reason, rows.text("topic", row), arrival_us) {
                    continue;
                }
                if !groups.contains_key(reason) {
                    groups.insert(reason.to_owned(), Group::at(arrival_us));
                }
                let group = groups.get_mut(reason).expect("inserted above");
                group.add(Place { arrival_us, file: at, row: rows_before + row }, query.samples);
            }
            rows_before += rows.len();
        }
    }
    Ok(groups)
}

impl Group {
    fn at(arrival_us: i64) -> Self {
        Self { count: 0, first_arrival_us: arrival_us, last_arrival_us: arrival_us, last: Vec::new() }
    }

    fn add(&mut self, place: Place, samples: usize) {
        self.count += 1;
        self.first_arrival_us = self.first_arrival_us.min(place.arrival_us);
        self.last_arrival_us = self.last_arrival_us.max(place.arrival_us);
        let at = self.last.partition_point(|other| *other < place);
        self.last.insert(at, place);
        if self.last.len() > samples {
            self.last.remove(0);
        }
    }
}

/// Reads the samples' rows, and nothing else of the payloads.
async fn read_samples(
    handle: &TableHandle,
    files: &[DataFile],
    groups: &BTreeMap<String, Group>,
    query: &RejectQuery,
) -> Result<HashMap<(usize, usize), RejectSample>, LakeError> {
    let mut wanted: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for place in groups.values().flat_map(|group| &group.last) {
        wanted.entry(place.file).or_default().push(place.row);
    }
    let mut samples = HashMap::new();
    for (at, mut places) in wanted {
        places.sort_unstable();
        let read = FileRead {
            rows: Some(places.iter().map(|row| *row..row + 1).collect()),
            batch_rows: Some(PAYLOAD_ROWS),
            ..FileRead::default()
        };
        let mut batches = handle.read_file(&files[at], read).await?;
        let mut places = places.into_iter();
        while let Some(batch) = batches.try_next().await? {
            let rows = StoredRows(&batch);
            for (row, place) in (0..rows.len()).zip(places.by_ref()) {
                samples.insert((at, place), sample(rows, row, query.preview_characters));
            }
        }
    }
    Ok(samples)
}

fn sample(rows: StoredRows<'_>, row: usize, preview_characters: usize) -> RejectSample {
    let Coordinates { topic, partition, offset } = rows.coordinates(row);
    let owned = |name: &str| rows.optional_text(name, row).map(str::to_owned);
    let payload = rows.optional_bytes("payload", row).unwrap_or_default();
    RejectSample {
        topic: topic.to_owned(),
        partition,
        offset,
        batch_index: rows.batch_index(row),
        arrival_us: rows.time_us("arrival", row),
        detail: rows.text("detail", row).to_owned(),
        tenant: owned("tenant"),
        source: owned("source"),
        id: owned("id"),
        payload_bytes: payload.len(),
        preview: preview(payload, preview_characters),
    }
}

/// The beginning of a payload as one printable line.
fn preview(payload: &[u8], characters: usize) -> String {
    // No character takes more than four bytes.
    let start = &payload[..payload.len().min(characters.saturating_mul(4))];
    let mut shown = String::new();
    let text = String::from_utf8_lossy(start);
    for character in text.chars().take(characters) {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if text.chars().count() > characters || start.len() < payload.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_are_short_and_printable() {
        for (payload, expected) in [
            (&b"short"[..], "short"),
            (b"line\nbreak", "line\\nbreak"),
            (b"\xff\x00!", "\u{fffd}\\u{0}!"),
            ("ääääääääääääää".as_bytes(), "ääääääääääää…"),
            (b"", ""),
        ] {
            assert_eq!(preview(payload, 12), expected);
        }
    }

    #[test]
    fn filters_combine() {
        let filter = RejectFilter {
            reasons: vec![RejectReason::InvalidJson, RejectReason::TooLarge],
            topic: Some("usage".to_owned()),
            since_us: Some(10),
            until_us: Some(20),
        };
        assert!(filter.matches("invalid_json", "usage", 10));
        for (reason, topic, arrival_us) in [
            ("conflict", "usage", 10),
            ("too_large", "other", 10),
            ("too_large", "usage", 9),
            ("too_large", "usage", 20),
        ] {
            assert!(!filter.matches(reason, topic, arrival_us), "{reason} {topic} {arrival_us}");
        }
        assert!(RejectFilter::default().matches("conflict", "any", 0));
    }

    #[test]
    fn reasons_are_found_by_name() {
        for reason in RejectReason::ALL {
            assert_eq!(RejectReason::from_name(reason.name()), Some(reason));
        }
        assert_eq!(RejectReason::from_name("bad luck"), None);
    }
}
