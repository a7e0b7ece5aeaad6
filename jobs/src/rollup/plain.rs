//! The files of plain tables (`usage_hourly`, `usage_periods`), in which rows that are replaced are taken out.
//!
//! Owns which files are written anew when the rows of some tenants change: those that hold rows of them, and small ones
//! once there are many. Files are small, so that a single tenant's change rewrites little.

use std::collections::BTreeSet;

use ::sql::lake::{DataFile, FileRead, TableHandle};
use anyhow::Result;
use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use futures::TryStreamExt;
use ingest::day_file::FinishedFile;

use super::rows::Files;
use super::write::{SMALL_FILE_ROWS, SMALL_FILES_MAX};

/// What a day's files become without the rows of some tenants.
#[derive(Debug, Default)]
pub(super) struct Without {
    pub removed: Vec<DataFile>,
    pub rewritten: Vec<FinishedFile>,
}

/// Takes the rows of some tenants out of a day's files.
pub(super) async fn without(
    table: &TableHandle,
    day: i32,
    files: &[DataFile],
    tenants: &BTreeSet<String>,
) -> Result<Without> {
    let is_small = |file: &DataFile| file.rows < SMALL_FILE_ROWS;
    let puts_together = files.iter().filter(|file| is_small(file)).count() >= SMALL_FILES_MAX;
    let mut found = Without::default();
    let mut rewritten = Files::new(table.table(), day);
    for file in files {
        let is_written_anew = (puts_together && is_small(file)) || holds_any(table, file, tenants).await?;
        if !is_written_anew {
            continue;
        }
        let schema = table.table().file_schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let read = FileRead { columns: Some(&names), ..FileRead::default() };
        let mut batches = table.read_file(file, read).await?;
        while let Some(batch) = batches.try_next().await? {
            let column = batch.column_by_name("tenant").expect("it was read").as_string::<i32>();
            let stays: BooleanArray =
                column.iter().map(|name| Some(name.is_none_or(|name| !tenants.contains(name)))).collect();
            if stays.true_count() > 0 {
                rewritten.write(&filter_record_batch(&batch, &stays)?)?;
            }
        }
        found.removed.push(file.clone());
    }
    found.rewritten = rewritten.finish()?;
    Ok(found)
}

async fn holds_any(table: &TableHandle, file: &DataFile, tenants: &BTreeSet<String>) -> Result<bool> {
    let files = std::slice::from_ref(file);
    let mut batches = table.read_batches_of(files, Some(&["tenant"]), Some(tenants));
    while let Some(batch) = batches.try_next().await? {
        let names = batch.column(0).as_string::<i32>();
        if (0..names.len()).any(|row| tenants.contains(names.value(row))) {
            return Ok(true);
        }
    }
    Ok(false)
}
