//! Identity filters: whether an event may already have been counted on another day.
//!
//! A filter answers for all events of a compacted day in 36 bits an event, and errs once in 4 billion
//! questions. With the 16-bit kind half the room would do, but over 35 days it would err several hundred
//! times for each compacted day, and each time the identities of a whole other day would have to be read.
//! Filters are only a cache: one that is missing or damaged is made again from its day's files.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use bytes::{Buf, Bytes};
use ingest::crash_point::crash_point;
use ingest::day_file::FileKind;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use sql::lake::{DataFile, TableHandle, TableSnapshot};
use xorf::{BinaryFuse32, Descriptor, Filter};

use super::identity::{Elsewhere, identity_of, prefix, share_of};
use super::rows::{ArrivalColumns, ArrivalKey, IDENTITY_COLUMNS, fetch, portions};
use super::{CompactError, CompactSettings};
use crate::threads::{blocking, on_threads};

/// Making a filter takes about 25 bytes of memory for each event of it.
const PART_EVENTS: usize = 4_000_000;
/// So many identities are looked for in one filter after the other.
const ASKED_AT_ONCE: usize = 32 * 1024;
/// A part of a filter begins with its seed, the lengths of its segments, and that of itself.
const PART_HEAD_BYTES: usize = 24;

/// The filter of one day: a part for each of equal shares of all identities.
#[derive(Debug, Clone, Default)]
pub struct DayFilter {
    /// None where the day has no event.
    parts: Vec<Option<BinaryFuse32>>,
}

impl DayFilter {
    /// A filter over prefixes that are sorted and distinct.
    pub fn build(prefixes: &[u64]) -> Self {
        let parts = prefixes.len().div_ceil(PART_EVENTS);
        let mut filter = Self { parts: vec![None; parts] };
        let share = |prefix: &u64| share_of(*prefix, parts);
        for prefixes in prefixes.chunk_by(|left, right| share(left) == share(right)) {
            filter.parts[share(&prefixes[0])] = build_part(prefixes);
        }
        filter
    }

    /// Adds the part of the next share.
    pub fn push_share(&mut self, prefixes: &[u64]) {
        self.parts.push(build_part(prefixes));
    }

    fn is_empty(&self) -> bool {
        self.parts.iter().all(Option::is_none)
    }

    fn contains(&self, prefix: u64) -> bool {
        let part = self.parts.get(share_of(prefix, self.parts.len()));
        part.is_some_and(|part| part.as_ref().is_some_and(|part| part.contains(&prefix)))
    }

    fn memory_bytes(&self) -> usize {
        self.parts.iter().flatten().map(|part| part.fingerprints.len() * 4).sum()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.memory_bytes() + 64);
        for part in &self.parts {
            let Some(part) = part else {
                bytes.extend([0; PART_HEAD_BYTES]);
                continue;
            };
            let Descriptor { seed, segment_length, segment_length_mask, segment_count_length } =
                part.descriptor;
            bytes.extend(seed.to_le_bytes());
            let length = part.fingerprints.len() as u32;
            for number in [segment_length, segment_length_mask, segment_count_length, length] {
                bytes.extend(number.to_le_bytes());
            }
            part.fingerprints.iter().for_each(|fingerprint| bytes.extend(fingerprint.to_le_bytes()));
        }
        let digest = blake3::hash(&bytes);
        bytes.extend(digest.as_bytes());
        bytes
    }

    /// None if the bytes are damaged.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (mut bytes, digest) = bytes.split_at_checked(bytes.len().checked_sub(blake3::OUT_LEN)?)?;
        if blake3::hash(bytes).as_bytes() != digest {
            return None;
        }
        let mut filter = Self::default();
        while bytes.len() >= PART_HEAD_BYTES {
            let descriptor = Descriptor {
                seed: bytes.get_u64_le(),
                segment_length: bytes.get_u32_le(),
                segment_length_mask: bytes.get_u32_le(),
                segment_count_length: bytes.get_u32_le(),
            };
            let length = bytes.get_u32_le() as usize;
            if bytes.len() / 4 < length {
                return None;
            }
            let fingerprints = (0..length).map(|_| bytes.get_u32_le()).collect();
            filter.parts.push((length > 0).then_some(BinaryFuse32 { descriptor, fingerprints }));
        }
        bytes.is_empty().then_some(filter)
    }
}

fn build_part(prefixes: &[u64]) -> Option<BinaryFuse32> {
    // Construction draws its own seeds and fails less than once in many millions of tries.
    (!prefixes.is_empty()).then(|| BinaryFuse32::try_from(prefixes).expect("prefixes are distinct"))
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

/// Where the filters of a version's days are.
pub fn filter_paths(snapshot: &TableSnapshot) -> impl Iterator<Item = String> {
    let mut days: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
    for file in snapshot.files.iter().filter(|file| FileKind::of(&file.path) == FileKind::Sorted) {
        days.entry(file.day).or_default().push(&file.path);
    }
    days.into_iter().map(|(day, paths)| FileSet::of(paths.into_iter()).path(day).to_string())
}

/// The filters of the days around the one at work.
#[derive(Debug)]
pub struct IdentityFilters {
    table: TableHandle,
    /// By day, with the files that each covers.
    held: HashMap<i32, (FileSet, Arc<DayFilter>)>,
    /// How much may be held in memory; the rest is read whenever it is asked.
    held_bytes_max: usize,
    /// Whether filters that are made are kept in the lake.
    stores: bool,
    threads: usize,
}

impl IdentityFilters {
    pub fn new(table: TableHandle, settings: &CompactSettings) -> Self {
        let held_bytes_max = settings.memory_bytes / 4;
        Self {
            table,
            held: HashMap::new(),
            held_bytes_max,
            stores: !settings.dry_run,
            threads: settings.threads,
        }
    }

    /// Looks for events among the compacted files of other days.
    pub async fn elsewhere(
        &mut self,
        asked: &[u128],
        others: &BTreeMap<i32, Vec<DataFile>>,
    ) -> Result<Elsewhere, CompactError> {
        self.held.retain(|day, _| others.contains_key(day));
        let mut found = Elsewhere::new();
        let mut filters: Vec<(i32, Arc<DayFilter>)> = Vec::new();
        let mut rest = others.iter().peekable();
        while let Some((day, files)) = rest.next() {
            filters.push((*day, self.filter(*day, files).await?));
            let bytes: usize = filters.iter().map(|(_, filter)| filter.memory_bytes()).sum();
            if bytes < self.held_bytes_max && rest.peek().is_some() {
                continue;
            }
            let candidates = blocking(|| ask(&filters, asked, self.threads))?;
            filters.clear();
            for (day, identities) in candidates {
                for (identity, arrival) in first_arrivals(&identities, &others[&day], &self.table).await? {
                    found.entry(identity).or_default().push((day, arrival));
                }
            }
        }
        Ok(found)
    }

    async fn filter(&mut self, day: i32, files: &[DataFile]) -> Result<Arc<DayFilter>, CompactError> {
        let set = FileSet::of(files.iter().map(|file| file.path.as_str()));
        if let Some((_, filter)) = self.held.get(&day).filter(|(known, _)| *known == set) {
            return Ok(Arc::clone(filter));
        }
        let filter = match load(&set.path(day), &self.table).await? {
            Some(filter) => filter,
            None => {
                let filter = DayFilter::build(&read_prefixes(files, &self.table).await?);
                self.store(&filter, &set.path(day)).await;
                filter
            }
        };
        Ok(self.hold(day, set, filter))
    }

    /// Stores the filter of a day whose compacted files are these.
    pub async fn add(&mut self, day: i32, paths: impl Iterator<Item = &str>, filter: DayFilter) {
        let set = FileSet::of(paths);
        self.store(&filter, &set.path(day)).await;
        self.hold(day, set, filter);
    }

    fn hold(&mut self, day: i32, set: FileSet, filter: DayFilter) -> Arc<DayFilter> {
        let filter = Arc::new(filter);
        self.held.remove(&day);
        let held: usize = self.held.values().map(|(_, filter)| filter.memory_bytes()).sum();
        if held + filter.memory_bytes() <= self.held_bytes_max {
            self.held.insert(day, (set, Arc::clone(&filter)));
        }
        filter
    }

    /// A filter that cannot be stored costs time later, and nothing else.
    async fn store(&self, filter: &DayFilter, path: &Path) {
        if !self.stores || filter.is_empty() {
            return;
        }
        crash_point("before_filter");
        let stored = self.table.store().put(path, Bytes::from(filter.to_bytes()).into()).await;
        crash_point("after_filter");
        if let Err(error) = stored {
            tracing::warn!(%path, error = &error as &dyn std::error::Error, "no identity filter was stored");
        }
    }
}

/// By day, which of the identities its filter may hold.
fn ask(
    filters: &[(i32, Arc<DayFilter>)],
    asked: &[u128],
    threads: usize,
) -> Result<BTreeMap<i32, HashSet<u128>>, CompactError> {
    let found = on_threads(threads, asked.chunks(ASKED_AT_ONCE), |asked| {
        let of_filter = |(day, filter): &(i32, Arc<DayFilter>)| {
            let held = asked.iter().filter(|identity| filter.contains(prefix(**identity)));
            held.map(|identity| (*day, *identity)).collect::<Vec<_>>()
        };
        Ok::<_, CompactError>(filters.iter().flat_map(of_filter).collect::<Vec<_>>())
    })?;
    let mut candidates: BTreeMap<i32, HashSet<u128>> = BTreeMap::new();
    for (day, identity) in found.into_iter().flatten() {
        candidates.entry(day).or_default().insert(identity);
    }
    Ok(candidates)
}

/// Reads a stored filter; none if there is none, or if it is damaged.
async fn load(path: &Path, table: &TableHandle) -> Result<Option<DayFilter>, CompactError> {
    let failed = |source| CompactError::Store { path: path.to_string(), source };
    match table.store().get(path).await {
        Ok(found) => Ok(DayFilter::from_bytes(&found.bytes().await.map_err(failed)?)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// What the filter of a day's files has to hold.
async fn read_prefixes(files: &[DataFile], table: &TableHandle) -> Result<Vec<u64>, CompactError> {
    let mut prefixes = Vec::new();
    for portion in portions(files) {
        for source in fetch(table, portion).await? {
            for batch in source.read(Some(&["identity"]))? {
                let batch = batch?;
                let column =
                    batch.column_by_name("identity").and_then(|column| column.as_binary_opt::<i32>());
                let column = column.ok_or_else(|| source.columns_error())?;
                let read = column.iter().map(|bytes| Some(prefix(identity_of(bytes?)?)));
                prefixes.extend(read.collect::<Option<Vec<_>>>().ok_or_else(|| source.columns_error())?);
            }
        }
    }
    prefixes.sort_unstable();
    prefixes.dedup();
    Ok(prefixes)
}

/// When the events of these identities first arrived, for those that the files really hold.
async fn first_arrivals(
    candidates: &HashSet<u128>,
    files: &[DataFile],
    table: &TableHandle,
) -> Result<BTreeMap<u128, ArrivalKey<String>>, CompactError> {
    let mut first: BTreeMap<u128, ArrivalKey<String>> = BTreeMap::new();
    for portion in portions(files) {
        for source in fetch(table, portion).await? {
            for batch in source.read(Some(&IDENTITY_COLUMNS))? {
                let batch = batch?;
                let identity =
                    batch.column_by_name("identity").and_then(|column| column.as_binary_opt::<i32>());
                let (Some(identity), Some(arrivals)) = (identity, ArrivalColumns::of(&batch)) else {
                    return Err(source.columns_error());
                };
                for row in 0..identity.len() {
                    let found = identity_of(identity.value(row)).filter(|it| candidates.contains(it));
                    let Some(found) = found else { continue };
                    let key = arrivals.key(row);
                    if first.get(&found).is_none_or(|known| key < known.as_ref()) {
                        first.insert(found, key.to_owned());
                    }
                }
            }
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sql::lake::{Lake, Table};

    fn prefixes() -> Vec<u64> {
        let mut prefixes: Vec<u64> =
            (0..10_000u64).map(|it| it.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
        prefixes.sort_unstable();
        prefixes
    }

    fn in_shares(shares: usize) -> DayFilter {
        let mut filter = DayFilter::default();
        let prefixes = prefixes();
        let mut rest = prefixes.as_slice();
        for share in 0..shares {
            let length = rest.partition_point(|prefix| share_of(*prefix, shares) == share);
            filter.push_share(&rest[..length]);
            rest = &rest[length..];
        }
        filter
    }

    #[tokio::test]
    async fn a_filter_survives_storage_and_a_damaged_one_is_not_used() {
        let table = Lake::open("memory:///").unwrap().table(Table::UsageEvents);
        let path = FileSet::of(["a", "b"].into_iter()).path(20_000);
        let settings = CompactSettings { memory_bytes: 0, ..CompactSettings::default() };
        let filters = IdentityFilters::new(table.clone(), &settings);
        for filter in [DayFilter::build(&prefixes()), in_shares(1), in_shares(7), in_shares(20_000)] {
            filters.store(&filter, &path).await;
            let filter = load(&path, &table).await.unwrap().unwrap();
            assert!(prefixes().iter().all(|prefix| filter.contains(*prefix)));
            let strangers = (1..10_000u64).filter(|it| filter.contains(it * 7 + 3)).count();
            assert!(strangers <= 1, "{strangers}");
        }
        let mut bytes = table.store().get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        bytes[100] ^= 1;
        table.store().put(&path, bytes.into()).await.unwrap();
        assert!(load(&path, &table).await.unwrap().is_none());
    }

    #[test]
    fn the_filter_of_no_events_holds_nothing() {
        assert!(DayFilter::build(&[]).is_empty());
        assert!(!DayFilter::build(&[]).contains(7));
        assert!(DayFilter::build(&[7]).contains(7));
        assert!(DayFilter::from_bytes(&[]).is_none());
    }
}
