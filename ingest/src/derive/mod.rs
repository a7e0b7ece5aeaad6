//! Deriving meters for earlier events: a meter that the catalog got later reads them from their kept data.
//!
//! For each event of a day the rows of meters are added that read the event and have no row of it yet
//! (DESIGN.md 3.1). The new rows carry the event's identity, coordinates and arrival, so that it stays one
//! event for compaction; its data stays in its one row. An event that no meter took has a single row
//! without a meter: once a meter takes it, that row is replaced, by rewriting its file, and not left beside
//! the new ones. So a row without a meter always means an event that feeds none, and readers need no rule
//! to tell.
//!
//! Each day changes in one commit. It moves the position of derivations, and that of maintenance, because
//! it relies on the files that it read: if a compaction replaced them meanwhile, the commit is refused.
//! What is derived already is never derived again, so a run may be stopped and repeated at will. Amendments, by which
//! amended events count, are read in the same way after the days (`amendments`).

mod amendments;
mod day;
mod known;

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use deltalake_core::kernel::Action;
use rating::catalog::Catalog;
use serde_json::json;
use sql::lake::{DataFile, Lake, LakeError, Table};

use crate::commit::{Commit, CommitError, MAINTENANCE, Position, TableLog};
use crate::day_files::{RewriteError, removal};
use crate::decode::{DecodeLimits, Decoder, KeptReading, Underivable, underivable};
use crate::event::Readings;
use crate::raw_message::Coordinates;
use crate::rejected::Refusal;
use amendments::AmendmentDerivation;
use day::{DayChange, DayDerivation};

/// How many commits derived something.
pub const DERIVATIONS: &str = "meterhouse/derive";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeriveRequest {
    /// Keys of meters; none for all of the catalog.
    pub meters: Option<Vec<String>>,
    /// Days since 1970-01-01; none for all.
    pub days: Option<RangeInclusive<i32>>,
    /// Only find out what would be derived.
    pub dry_run: bool,
    pub limits: DecodeLimits,
    /// This many rows are remembered at once; a day with more is gone through several times.
    pub rows_remembered: u64,
}

impl Default for DeriveRequest {
    fn default() -> Self {
        Self {
            meters: None,
            days: None,
            dry_run: false,
            limits: DecodeLimits::default(),
            rows_remembered: 1_000_000,
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeriveReport {
    pub days: u64,
    pub days_changed: u64,
    /// Rows that were added, by the key of their meter.
    pub rows: BTreeMap<String, u64>,
    /// Events that no meter took before.
    pub newly_metered: u64,
    /// Readings that a meter refused, by its key and the reason. Such an event keeps the rows that it has.
    pub refused: BTreeMap<(String, &'static str), RefusedReadings>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefusedReadings {
    pub count: u64,
    /// Where the first such event came from, and what was wrong.
    pub example: String,
}

#[derive(Debug, thiserror::Error)]
pub enum DeriveError {
    #[error(transparent)]
    Underivable(#[from] Underivable),
    #[error("the catalog has no meter `{0}`")]
    UnknownMeter(String),
    #[error("more than {max} meters read the event type `{0}`", max = Wanted::PER_EVENT_TYPE_MAX)]
    TooManyMeters(String),
    #[error("the file {0} holds a row whose identity has not 16 bytes")]
    Identity(String),
    #[error("rewriting {path} would have turned {before} rows into {after} where {expected} were expected")]
    RowCount { path: String, before: u64, after: u64, expected: u64 },
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
}

impl From<CommitError> for DeriveError {
    fn from(error: CommitError) -> Self {
        Self::Rewrite(error.into())
    }
}

impl From<LakeError> for DeriveError {
    fn from(error: LakeError) -> Self {
        Self::Rewrite(error.into())
    }
}

/// The meters to derive, by the type of the events that they read.
#[derive(Debug)]
struct Wanted {
    keys: Vec<String>,
    by_event_type: HashMap<String, Vec<usize>>,
}

impl Wanted {
    /// Which meters an event lacks is kept as bits.
    const PER_EVENT_TYPE_MAX: usize = 128;

    fn new(catalog: &Catalog, meters: Option<&[String]>) -> Result<Self, DeriveError> {
        let is_wanted = |key: &str| meters.is_none_or(|meters| meters.iter().any(|meter| meter == key));
        if let Some(unknown) = meters.into_iter().flatten().find(|key| catalog.meter(key).is_none()) {
            return Err(DeriveError::UnknownMeter(unknown.clone()));
        }
        if let Some(underivable) = underivable(catalog, is_wanted) {
            return Err(underivable.into());
        }
        let mut by_event_type: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, meter) in catalog.meters.iter().enumerate().filter(|(_, meter)| is_wanted(&meter.key)) {
            by_event_type.entry(meter.event_type.clone()).or_default().push(index);
        }
        let too_many = by_event_type.iter().find(|(_, meters)| meters.len() > Self::PER_EVENT_TYPE_MAX);
        if let Some((event_type, _)) = too_many {
            return Err(DeriveError::TooManyMeters(event_type.clone()));
        }
        Ok(Self { keys: catalog.meters.iter().map(|meter| meter.key.clone()).collect(), by_event_type })
    }
}

/// Derives what the catalog's meters read from earlier events. `progress` is told of each day.
pub async fn derive(
    lake: &Lake,
    catalog: &Catalog,
    request: &DeriveRequest,
    mut progress: impl FnMut(&DeriveReport),
) -> Result<DeriveReport, DeriveError> {
    let wanted = Wanted::new(catalog, request.meters.as_deref())?;
    let decoder = Decoder::new(catalog, request.limits);
    let mut log = TableLog::open(lake.table(Table::UsageEvents)).await?;
    // Positions first: a file list that is newer than them cannot hide another owner's commit.
    let names = [DERIVATIONS.to_owned(), MAINTENANCE.to_owned()];
    let mut positions = log.positions(&names).await?;
    let mut days: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
    let files = log.handle().snapshot(None).await?.files;
    let mut corrections: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
    for file in files {
        if file.is_correction() {
            corrections.entry(file.day).or_default().push(file);
        } else if request.days.as_ref().is_none_or(|days| days.contains(&file.day)) {
            days.entry(file.day).or_default().push(file);
        }
    }
    let mut report = DeriveReport::default();
    for (day, files) in days {
        let derivation = DayDerivation { decoder: &decoder, wanted: &wanted, log: &log, files: &files, day };
        let change = derivation.run(request, &mut report).await?;
        report.days += 1;
        report.days_changed += u64::from(change.rows_added > 0);
        commit(&mut log, &files, &change, &mut positions).await?;
        progress(&report);
    }
    for (day, files) in corrections {
        let derivation =
            AmendmentDerivation { decoder: &decoder, wanted: &wanted, log: &log, files: &files, day };
        let change = derivation.run(request, &mut report).await?;
        commit(&mut log, &files, &change, &mut positions).await?;
        progress(&report);
    }
    log.settle().await;
    Ok(report)
}

/// Commits what changes of a day, if anything does.
async fn commit(
    log: &mut TableLog,
    files: &[DataFile],
    change: &DayChange,
    positions: &mut HashMap<String, Option<i64>>,
) -> Result<(), CommitError> {
    if change.stored.is_empty() {
        return Ok(());
    }
    let replaced = files.iter().filter(|file| change.replaced.contains(&file.path));
    let removes = replaced.map(|file| removal(Table::UsageEvents, file));
    let adds = change.stored.iter().map(|file| Action::Add(file.add.clone()));
    let step = |(application, expected): (&String, &Option<i64>)| Position {
        application: application.clone(),
        expected: *expected,
        next: expected.unwrap_or(0) + 1,
    };
    let commit = Commit {
        operation: if change.replaced.is_empty() { "WRITE" } else { "UPDATE" },
        parameters: HashMap::new(),
        positions: positions.iter().map(step).collect(),
        actions: removes.chain(adds).collect(),
        notes: HashMap::from([("meterhouseDerivation".to_owned(), json!({ "rows": change.rows_added }))]),
    };
    log.commit(&commit).await?;
    positions.extend(commit.positions.into_iter().map(|at| (at.application, Some(at.next))));
    Ok(())
}

impl DeriveReport {
    /// The readings of what was read from an event that has a usable value, all of which are noted.
    fn sort<'e>(&mut self, read: Vec<KeptReading<'e>>, at: Coordinates<'_>, keys: &[String]) -> Readings<'e> {
        let mut readings = Readings::new();
        for KeptReading { meter, reading } in read {
            match reading {
                Ok(reading) => {
                    *self.rows.entry(keys[meter].clone()).or_default() += 1;
                    readings.push(reading);
                }
                Err(refusal) => {
                    let place = format!("{} partition {} offset {}", at.topic, at.partition, at.offset);
                    self.note_refusal(&keys[meter], &place, &refusal);
                }
            }
        }
        readings
    }

    fn note_refusal(&mut self, meter: &str, place: &str, refusal: &Refusal) {
        let refused = self.refused.entry((meter.to_owned(), refusal.reason.name())).or_default();
        if refused.count == 0 {
            refused.example = format!("{place}: {}", refusal.detail);
        }
        refused.count += 1;
    }

    pub fn rows_in_all(&self) -> u64 {
        self.rows.values().sum()
    }
}
