//! A day of roll-ups as it stands: of each tenant only what the newest generation says.

use std::collections::HashMap;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;

use super::RollUps;
use super::columns::DailyBatch;
use crate::lake::{DataFile, LakeError, TableHandle, TableSnapshot};
use crate::quantities::{Openings, QuantitiesError};

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

/// What a day opens with, as texts; nothing for a tenant whose days cannot be folded.
#[derive(Debug, Clone, Default)]
pub struct CarriedDay {
    pub states: HashMap<String, String>,
}

/// The state of a tenant whose days cannot be folded.
const NO_STATE: &str = "null";

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
    pub async fn markers(&self, day: i32) -> Result<DayMarkers, QuantitiesError> {
        let columns = ["tenant", "generation", "questions", "samples"];
        let files = files_of_day(&self.daily_files, day);
        let mut batches = self.daily.read_batches(&files, Some(&columns));
        let mut markers = DayMarkers::new();
        while let Some(batch) = batches.try_next().await? {
            let (tenants, questions) =
                (batch.column(0).as_string::<i32>(), batch.column(2).as_string::<i32>());
            let generations = batch.column(1).as_primitive::<Int64Type>();
            let rows = batch.column(3).as_primitive::<Int64Type>();
            for (row, questions) in questions.iter().enumerate() {
                let Some(questions) = questions else { continue };
                let generation = generations.value(row);
                let usage_rows = rows.value(row).cast_unsigned();
                note(
                    &mut markers,
                    tenants.value(row),
                    Marker { generation, questions: questions.to_owned(), usage_rows },
                );
            }
        }
        Ok(markers)
    }

    pub async fn carried_into(&self, day: i32) -> Result<CarriedDay, QuantitiesError> {
        let files = files_of_day(&self.carried_files, day);
        let mut batches = self.carried.read_batches(&files, Some(&["tenant", "generation", "state"]));
        let mut newest: HashMap<String, (i64, String)> = HashMap::new();
        while let Some(batch) = batches.try_next().await? {
            let (tenants, states) = (batch.column(0).as_string::<i32>(), batch.column(2).as_string::<i32>());
            let generations = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let (tenant, generation) = (tenants.value(row), generations.value(row));
                if newest.get(tenant).is_none_or(|(known, _)| *known < generation) {
                    newest.insert(tenant.to_owned(), (generation, states.value(row).to_owned()));
                }
            }
        }
        let states = newest.into_iter().map(|(tenant, (_, state))| (tenant, state)).collect();
        Ok(CarriedDay { states })
    }

    /// All rows of a day, older generations included.
    pub(super) async fn rows(&self, day: i32) -> Result<Vec<DailyBatch>, QuantitiesError> {
        rows(&self.daily, files_of_day(&self.daily_files, day)).await
    }
}

async fn rows(table: &TableHandle, files: Vec<DataFile>) -> Result<Vec<DailyBatch>, QuantitiesError> {
    let batches: Vec<_> = table.read_batches(&files, None).try_collect().await?;
    let missing = || LakeError::Incomplete {
        table: table.table().name(),
        path: files.first().map(|file| file.path.clone()).unwrap_or_default(),
        what: "columns",
    };
    let typed = batches.iter().map(|batch| DailyBatch::of(batch).ok_or_else(missing));
    Ok(typed.collect::<Result<_, _>>()?)
}

pub(super) fn note(markers: &mut DayMarkers, tenant: &str, marker: Marker) {
    match markers.get_mut(tenant) {
        Some(known) if known.generation >= marker.generation => {}
        Some(known) => *known = marker,
        None => {
            markers.insert(tenant.to_owned(), marker);
        }
    }
}

/// What a fold left to the next day, as `usage_carried` keeps it; nothing where the day could not be folded.
pub fn carried_text(carried: Option<&crate::quantities::TenantCarried>) -> Result<String, serde_json::Error> {
    carried.map_or_else(|| Ok(NO_STATE.to_owned()), serde_json::to_string)
}
