//! All rows of some files as one batch, whose repeating texts are numbers into one list for all files.
//!
//! Files are decoded column by column, so that several threads share the work and no row is touched twice.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use ingest::day_file::FileKind;
use sql::lake::DataFile;

use super::CompactError;
use super::rows::{ColumnReader, FindRow, RowId, SourceFile, working_schema};
use crate::threads::on_threads;

/// Columns whose numbers have the order of their texts.
const RANKED_COLUMNS: [&str; 2] = ["tenant", "meter"];
/// These take longest to decode, so they come first.
const LARGE_COLUMNS: [&str; 4] = ["data", "id", "identity", "value"];

/// Rows are named by the place of their file, and their place in the file.
#[derive(Debug)]
pub struct WholeRows {
    batch: RecordBatch,
    files: Vec<FileRows>,
}

/// Which rows are of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRows {
    pub day: i32,
    pub is_new: bool,
    pub rows: Range<usize>,
}

impl FindRow for WholeRows {
    fn find(&self, row: RowId) -> (&RecordBatch, usize) {
        (&self.batch, self.place(row))
    }
}

impl WholeRows {
    pub fn read(sources: &[SourceFile], threads: usize) -> Result<Self, CompactError> {
        let reader = ColumnReader::new(sources)?;
        let mut files = Vec::new();
        let mut start = 0;
        for (source, rows) in sources.iter().zip(reader.rows()) {
            files.push(FileRows { rows: start..start + rows, ..FileRows::of(&source.file) });
            start += rows;
        }
        let columns = in_order_of_cost();
        let arrays = on_threads(threads, columns.iter(), |column| {
            whole_column(column, reader.read(column)?).map(|array| (*column, array))
        })?;
        Ok(Self { batch: batch(arrays)?, files })
    }

    /// Puts batches of rows of one day together.
    pub fn of_batches(day: i32, batches: Vec<RecordBatch>, threads: usize) -> Result<Self, CompactError> {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let files = vec![FileRows { day, is_new: true, rows: 0..rows }];
        let mut parts: Vec<Vec<ArrayRef>> = working_schema().fields().iter().map(|_| Vec::new()).collect();
        for batch in batches {
            for (parts, column) in parts.iter_mut().zip(batch.columns()) {
                parts.push(Arc::clone(column));
            }
        }
        let schema = working_schema();
        let tasks = schema.fields().iter().map(|field| field.name().as_str()).zip(parts);
        let arrays = on_threads(threads, tasks, |(column, parts)| {
            Ok::<_, CompactError>((column, whole_column(column, parts)?))
        })?;
        Ok(Self { batch: batch(arrays)?, files })
    }

    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    pub fn files(&self) -> &[FileRows] {
        &self.files
    }

    /// Where in the batch a row is.
    pub fn place(&self, row: RowId) -> usize {
        self.files[row.part()].rows.start + row.row()
    }
}

impl FileRows {
    /// Of a file of which it does not matter where its rows are.
    pub fn of(file: &DataFile) -> Self {
        Self { day: file.day, is_new: FileKind::of(&file.path) == FileKind::Arrived, rows: 0..0 }
    }
}

/// The columns of the working schema, large ones first.
pub fn in_order_of_cost() -> Vec<&'static str> {
    let columns = sql::lake::Table::UsageEvents.columns().iter().map(|column| column.name);
    let others = columns.filter(|column| {
        *column != sql::lake::Table::UsageEvents.partition_column() && !LARGE_COLUMNS.contains(column)
    });
    LARGE_COLUMNS.into_iter().chain(others).collect()
}

/// Puts columns together in the order of the schema.
fn batch(mut arrays: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, CompactError> {
    let schema = working_schema();
    arrays.sort_by_key(|(column, _)| schema.index_of(column).unwrap_or(usize::MAX));
    let field = |(column, array): &(&str, ArrayRef)| {
        let is_nullable = schema.field_with_name(column).is_ok_and(Field::is_nullable);
        Field::new(*column, array.data_type().clone(), is_nullable)
    };
    let found = Arc::new(Schema::new(arrays.iter().map(field).collect::<Vec<_>>()));
    Ok(RecordBatch::try_new(found, arrays.into_iter().map(|(_, array)| array).collect())?)
}

/// Puts the parts of a column together.
fn whole_column(column: &str, mut parts: Vec<ArrayRef>) -> Result<ArrayRef, CompactError> {
    let is_ranked = RANKED_COLUMNS.contains(&column);
    if parts.len() == 1 && !is_ranked {
        return Ok(parts.swap_remove(0));
    }
    let schema = working_schema();
    let data_type = parts.first().map_or_else(
        || schema.field_with_name(column).map(Field::data_type).cloned(),
        |part| Ok(part.data_type().clone()),
    )?;
    if matches!(data_type, DataType::Dictionary(..)) {
        return with_one_dictionary(&parts, is_ranked);
    }
    if parts.is_empty() {
        return Ok(arrow::array::new_empty_array(&data_type));
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(concat(&parts)?)
}

/// Puts dictionary arrays together over one list of distinct values, on request in their order.
fn with_one_dictionary(parts: &[ArrayRef], is_ranked: bool) -> Result<ArrayRef, CompactError> {
    let mut values: Vec<&str> = Vec::new();
    let mut numbers: HashMap<&str, i32> = HashMap::new();
    // By part: the number of each value of its own dictionary; parts of one row group share theirs.
    let mut maps: Vec<Arc<Vec<i32>>> = Vec::new();
    let mut last: Option<&ArrayRef> = None;
    for part in parts {
        let dictionary = part.as_dictionary::<Int32Type>().values();
        if let (Some(known), Some(map)) = (last, maps.last().cloned())
            && Arc::ptr_eq(known, dictionary)
        {
            maps.push(map);
            continue;
        }
        let map = dictionary.as_string::<i32>().iter().map(|value| {
            let value = value.unwrap_or_default();
            *numbers.entry(value).or_insert_with(|| {
                values.push(value);
                values.len() as i32 - 1
            })
        });
        maps.push(Arc::new(map.collect()));
        last = Some(dictionary);
    }
    let mut ranks: Vec<i32> = (0..values.len() as i32).collect();
    if is_ranked {
        let mut order = ranks.clone();
        order.sort_unstable_by_key(|number| values[*number as usize]);
        for (rank, number) in order.iter().enumerate() {
            ranks[*number as usize] = rank as i32;
        }
        values.sort_unstable();
    }
    let keys = parts.iter().zip(maps).map(|(part, map)| {
        let keys = part.as_dictionary::<Int32Type>().keys();
        let rank = |key: &i32| map.get(*key as usize).map_or(0, |number| ranks[*number as usize]);
        Arc::new(Int32Array::new(keys.values().iter().map(rank).collect(), keys.nulls().cloned())) as ArrayRef
    });
    let keys: Vec<ArrayRef> = keys.collect();
    let keys = match keys.as_slice() {
        [] => Arc::new(Int32Array::from(Vec::<i32>::new())) as ArrayRef,
        [keys] => Arc::clone(keys),
        keys => concat(&keys.iter().map(AsRef::as_ref).collect::<Vec<_>>())?,
    };
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(values));
    Ok(Arc::new(DictionaryArray::try_new(keys.as_primitive::<Int32Type>().clone(), values)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(array: &ArrayRef) -> Vec<Option<String>> {
        let array = array.as_dictionary::<Int32Type>();
        let values = array.values().as_string::<i32>();
        array.keys().iter().map(|key| key.map(|key| values.value(key as usize).to_owned())).collect()
    }

    #[test]
    fn dictionaries_become_one_that_is_ranked_on_request() {
        let parts: [DictionaryArray<Int32Type>; 3] = [
            [Some("m"), None, Some("z"), Some("m")].into_iter().collect(),
            [Some("a"), Some("z")].into_iter().collect(),
            [None, None].into_iter().collect(),
        ];
        let mut parts: Vec<ArrayRef> = parts.map(|part| Arc::new(part) as ArrayRef).into();
        parts.push(parts[1].slice(1, 1));
        let expected: Vec<Option<String>> = parts.iter().flat_map(texts).collect();
        for is_ranked in [false, true] {
            let whole = with_one_dictionary(&parts, is_ranked).unwrap();
            assert_eq!(texts(&whole), expected);
            let values = whole.as_dictionary::<Int32Type>().values().as_string::<i32>();
            assert_eq!(values.len(), 3);
            assert!(!is_ranked || values.iter().is_sorted());
        }
        assert_eq!(whole_column("tenant", Vec::new()).unwrap().len(), 0);
        assert_eq!(whole_column("identity", Vec::new()).unwrap().len(), 0);
    }
}
