//! A day of roll-ups as it stands: of each tenant only what the newest generation says.

use std::collections::{BTreeSet, HashMap};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;

use super::RollUps;
use super::batch::TotalsBatch;
use crate::lake::{DataFile, TableSnapshot};
use crate::quantities::{Openings, QuantitiesError, TenantCarried};

/// What is there of one tenant's day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    pub generation: i64,
    /// The names of the questions as a JSON array.
    pub questions: String,
    /// Rows of `usage_events` that the day has.
    pub usage_rows: u64,
}

/// By tenant.
pub type DayMarkers = HashMap<String, Marker>;

/// What a day opens with, as texts, for each tenant that is known by then.
#[derive(Debug, Clone, Default)]
pub struct CarriedDay {
    pub states: HashMap<String, String>,
}

/// The state of a tenant whose days cannot be folded.
const NO_STATE: &str = "null";
/// Instead of questions or a state: the tenant's events, which were there once, are none of its own any more.
pub(super) const VANISHED: &str = "";

impl Marker {
    /// Whether the tenant had an event up to the end of the day.
    pub fn is_of_known(&self) -> bool {
        self.questions != VANISHED
    }
}

impl CarriedDay {
    /// The states that can be gone on from, and the tenants that have none.
    pub fn openings(&self) -> Result<(Openings, Vec<String>), serde_json::Error> {
        let (mut openings, mut failed) = (Openings::new(), Vec::new());
        for (tenant, state) in &self.states {
            if state == NO_STATE {
                failed.push(tenant.clone());
            } else {
                openings.insert(tenant.clone(), serde_json::from_str(state)?);
            }
        }
        Ok((openings, failed))
    }
}

fn files_of_day(snapshot: &TableSnapshot, day: i32) -> Vec<DataFile> {
    snapshot.files.iter().filter(|file| file.day == day).cloned().collect()
}

impl RollUps {
    /// What is there of a day for some tenants, or for all.
    pub async fn markers(
        &self,
        day: i32,
        tenants: Option<&BTreeSet<String>>,
    ) -> Result<DayMarkers, QuantitiesError> {
        let columns = ["tenant", "generation", "questions", "samples"];
        let files = files_of_day(&self.daily_files, day);
        let mut batches = self.daily.read_batches_of(&files, Some(&columns), tenants);
        let mut markers = DayMarkers::new();
        while let Some(batch) = batches.try_next().await? {
            let (names, questions) = (batch.column(0).as_string::<i32>(), batch.column(2).as_string::<i32>());
            let generations = batch.column(1).as_primitive::<Int64Type>();
            let rows = batch.column(3).as_primitive::<Int64Type>();
            for (row, questions) in questions.iter().enumerate() {
                let Some(questions) = questions.filter(|_| is_asked(tenants, names.value(row))) else {
                    continue;
                };
                let generation = generations.value(row);
                let usage_rows = rows.value(row).cast_unsigned();
                note(
                    &mut markers,
                    names.value(row),
                    Marker { generation, questions: questions.to_owned(), usage_rows },
                );
            }
        }
        Ok(markers)
    }

    /// What a day opens with for some tenants, or for all.
    pub async fn carried_into(
        &self,
        day: i32,
        tenants: Option<&BTreeSet<String>>,
    ) -> Result<CarriedDay, QuantitiesError> {
        let files = files_of_day(&self.carried_files, day);
        let columns = ["tenant", "generation", "state"];
        let mut batches = self.carried.read_batches_of(&files, Some(&columns), tenants);
        let mut newest: HashMap<String, (i64, String)> = HashMap::new();
        while let Some(batch) = batches.try_next().await? {
            let (names, states) = (batch.column(0).as_string::<i32>(), batch.column(2).as_string::<i32>());
            let generations = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let (tenant, generation) = (names.value(row), generations.value(row));
                if !is_asked(tenants, tenant) {
                    continue;
                }
                if newest.get(tenant).is_none_or(|(known, _)| *known < generation) {
                    newest.insert(tenant.to_owned(), (generation, states.value(row).to_owned()));
                }
            }
        }
        let known = newest.into_iter().filter(|(_, (_, state))| state != VANISHED);
        Ok(CarriedDay { states: known.map(|(tenant, (_, state))| (tenant, state)).collect() })
    }

    /// All rows of a day, older generations included; of some tenants, others' may be among them.
    pub(super) async fn rows_of_day(
        &self,
        day: i32,
        tenants: &BTreeSet<String>,
    ) -> Result<Vec<TotalsBatch>, QuantitiesError> {
        let files = files_of_day(&self.daily_files, day);
        let batches: Vec<_> = self.daily.read_dictionaries_of(&files, tenants).try_collect().await?;
        TotalsBatch::of_all(&self.daily, &files, &batches)
    }
}

fn is_asked(tenants: Option<&BTreeSet<String>>, tenant: &str) -> bool {
    tenants.is_none_or(|tenants| tenants.contains(tenant))
}

fn note(markers: &mut DayMarkers, tenant: &str, marker: Marker) {
    match markers.get_mut(tenant) {
        Some(known) if known.generation >= marker.generation => {}
        Some(known) => *known = marker,
        None => {
            markers.insert(tenant.to_owned(), marker);
        }
    }
}

/// What a tenant's day leaves to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    State(TenantCarried),
    /// The day could not be folded.
    NoState,
    /// There is no event of the tenant any more.
    Vanished,
}

impl Left {
    /// As `usage_carried` keeps it.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::State(carried) => serde_json::to_string(carried),
            Self::NoState => Ok(NO_STATE.to_owned()),
            Self::Vanished => Ok(VANISHED.to_owned()),
        }
    }
}
