//! Identity filters: whether an event may already have been counted on another day.
//!
//! A filter answers for all events of a compacted day in 36 bits an event, and errs once in 4 billion
//! questions. With the 16-bit kind half the room would do, but over 35 days it would err several hundred
//! times for each compacted day, and each time the identities of a whole other day would have to be read.
//! Filters are only a cache: one that is missing is made again from its day's files.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array, AsArray};
use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use sql::lake::{DataFile, TableHandle};
use xorf::{BinaryFuse32, Descriptor, Filter};

use super::CompactError;
use super::identity::{DayIdentities, LostEvent, RowId, Winner, identity_of, prefix};
use super::rows::{ARRIVAL_COLUMNS, ArrivalColumns, ArrivalKey, fetch};

/// A stored filter begins with its seed and the lengths of its segments.
const DESCRIPTOR_BYTES: usize = 20;

/// The filters of the days around the one at work.
#[derive(Debug, Default)]
pub struct IdentityFilters {
    /// By day, with the files that each covers.
    filters: HashMap<i32, (FileSet, Option<BinaryFuse32>)>,
}

/// A digest of the paths of a day's compacted files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileSet(String);

impl FileSet {
    fn of<'f>(paths: impl Iterator<Item = &'f str>) -> Self {
        let mut paths: Vec<&str> = paths.collect();
        paths.sort_unstable();
        Self(blake3::hash(paths.join("\n").as_bytes()).to_hex()[..32].to_owned())
    }

    fn path(&self, day: i32) -> Path {
        Path::from(format!("_identity/{}-{}.fuse", ingest::day_file::day_text(day), self.0))
    }
}

/// What the other days say of the new events.
#[derive(Debug)]
pub enum Found {
    /// These were counted before.
    Lost(Vec<LostEvent>),
    /// On this day an event was counted that arrived later than the one at hand.
    CameLater(i32),
}

impl IdentityFilters {
    /// Looks for the new events among the compacted files of other days.
    pub async fn find(
        &mut self,
        identities: &DayIdentities,
        lost: &HashSet<RowId>,
        others: &BTreeMap<i32, Vec<DataFile>>,
        table: &TableHandle,
    ) -> Result<Found, CompactError> {
        self.filters.retain(|day, _| others.contains_key(day));
        let asked = identities.new_identities(lost);
        let mut found = Vec::new();
        let mut gone: HashSet<u128> = HashSet::new();
        for (day, files) in others {
            let Some(filter) = self.filter(*day, files, table).await? else { continue };
            let candidates: HashSet<u128> =
                asked.iter().copied().filter(|identity| filter.contains(&prefix(*identity))).collect();
            if candidates.is_empty() {
                continue;
            }
            for (identity, arrival) in first_arrivals(&candidates, files, table).await? {
                let rows = identities.rows_of(identity, lost);
                if rows.iter().any(|row| identities.arrival(*row) < arrival) {
                    return Ok(Found::CameLater(*day));
                }
                if gone.insert(identity) {
                    found.push(LostEvent { identity, rows, winner: Winner::OtherDay(*day) });
                }
            }
        }
        Ok(Found::Lost(found))
    }

    async fn filter(
        &mut self,
        day: i32,
        files: &[DataFile],
        table: &TableHandle,
    ) -> Result<Option<&BinaryFuse32>, CompactError> {
        let set = FileSet::of(files.iter().map(|file| file.path.as_str()));
        if self.filters.get(&day).is_none_or(|(known, _)| *known != set) {
            let filter = match load(&set.path(day), table).await? {
                Some(filter) => Some(filter),
                None => {
                    let sources = fetch(table, files).await?;
                    let prefixes = DayIdentities::read(&sources)?.prefixes_of_day(day, &HashSet::new());
                    store(build(&prefixes).as_ref(), &set.path(day), table).await?;
                    build(&prefixes)
                }
            };
            self.filters.insert(day, (set, filter));
        }
        Ok(self.filters[&day].1.as_ref())
    }

    /// Stores the filter of a day whose compacted files are these, and remembers it.
    pub async fn add(
        &mut self,
        day: i32,
        paths: impl Iterator<Item = &str>,
        filter: Option<BinaryFuse32>,
        table: &TableHandle,
    ) -> Result<(), CompactError> {
        let set = FileSet::of(paths);
        store(filter.as_ref(), &set.path(day), table).await?;
        self.filters.insert(day, (set, filter));
        Ok(())
    }
}

/// A filter over distinct prefixes; none for no prefixes at all.
pub fn build(prefixes: &[u64]) -> Option<BinaryFuse32> {
    // Construction draws its own seeds and fails less than once in many millions of tries.
    (!prefixes.is_empty()).then(|| BinaryFuse32::try_from(prefixes).expect("prefixes are distinct"))
}

async fn store(filter: Option<&BinaryFuse32>, path: &Path, table: &TableHandle) -> Result<(), CompactError> {
    let Some(filter) = filter else { return Ok(()) };
    let Descriptor { seed, segment_length, segment_length_mask, segment_count_length } = filter.descriptor;
    let mut bytes = seed.to_le_bytes().to_vec();
    for number in [segment_length, segment_length_mask, segment_count_length] {
        bytes.extend(number.to_le_bytes());
    }
    for fingerprint in &filter.fingerprints {
        bytes.extend(fingerprint.to_le_bytes());
    }
    let digest = blake3::hash(&bytes);
    bytes.extend(digest.as_bytes());
    let failed = |source| CompactError::Store { path: path.to_string(), source };
    table.store().put(path, Bytes::from(bytes).into()).await.map_err(failed)?;
    Ok(())
}

/// Reads a stored filter; none if there is none, or if it is damaged.
async fn load(path: &Path, table: &TableHandle) -> Result<Option<BinaryFuse32>, CompactError> {
    let failed = |source| CompactError::Store { path: path.to_string(), source };
    let bytes = match table.store().get(path).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let Some(length) = bytes.len().checked_sub(blake3::OUT_LEN) else { return Ok(None) };
    let (content, digest) = bytes.split_at(length);
    if blake3::hash(content).as_bytes() != digest || length < DESCRIPTOR_BYTES {
        return Ok(None);
    }
    let (bytes, fingerprints) = content.split_at(DESCRIPTOR_BYTES);
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let descriptor = Descriptor {
        seed: u64::from(number(0)) | u64::from(number(4)) << 32,
        segment_length: number(8),
        segment_length_mask: number(12),
        segment_count_length: number(16),
    };
    let fingerprints = fingerprints
        .chunks_exact(4)
        .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("chunks of four")))
        .collect();
    Ok(Some(BinaryFuse32 { descriptor, fingerprints }))
}

/// When the events of these identities first arrived, for those that the files really hold.
async fn first_arrivals(
    candidates: &HashSet<u128>,
    files: &[DataFile],
    table: &TableHandle,
) -> Result<Vec<(u128, ArrivalKey)>, CompactError> {
    let mut first: BTreeMap<u128, ArrivalKey> = BTreeMap::new();
    let mut columns = vec!["identity"];
    columns.extend(ARRIVAL_COLUMNS);
    for source in fetch(table, files).await? {
        for batch in source.read(Some(&columns))? {
            let batch = batch?;
            let identity = batch.column_by_name("identity").and_then(|column| column.as_binary_opt::<i32>());
            let (Some(identity), Some(arrivals)) = (identity, ArrivalColumns::of(&batch)) else {
                return Err(source.columns_error());
            };
            for row in 0..identity.len() {
                let Some(found) = identity_of(identity.value(row)).filter(|it| candidates.contains(it))
                else {
                    continue;
                };
                let key = arrivals.key(row);
                first.entry(found).and_modify(|known| *known = key.clone().min(known.clone())).or_insert(key);
            }
        }
    }
    Ok(first.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sql::lake::{Lake, Table};

    #[tokio::test]
    async fn a_filter_survives_storage_and_a_damaged_one_is_not_used() {
        let lake = Lake::open("memory:///").unwrap();
        let table = lake.table(Table::UsageEvents);
        let path = FileSet::of(["a", "b"].into_iter()).path(20_000);
        let prefixes: Vec<u64> = (0..10_000u64).map(|it| it.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
        store(build(&prefixes).as_ref(), &path, &table).await.unwrap();
        let filter = load(&path, &table).await.unwrap().unwrap();
        assert!(prefixes.iter().all(|prefix| filter.contains(prefix)));
        let strangers = (1..10_000u64).filter(|it| filter.contains(&(it * 7 + 3))).count();
        assert!(strangers <= 1, "{strangers}");

        let mut bytes = table.store().get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        bytes[100] ^= 1;
        table.store().put(&path, bytes.into()).await.unwrap();
        assert!(load(&path, &table).await.unwrap().is_none());
    }
}
