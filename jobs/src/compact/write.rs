//! Writing sorted rows: each row group's columns are gathered and encoded on their own, so that several
//! threads share the work of even a single small day.

use std::collections::BTreeMap;

use arrow::array::UInt32Array;
use arrow::compute::take;
use ingest::day_file::FinishedFile;
use ingest::sorted_file::{ColumnEncoder, EncodedColumn, ROW_GROUP_ROWS, RowGroupEncoders, SortedFileWriter};

use super::CompactError;
use super::rows::working_schema;
use super::whole::{WholeRows, in_order_of_cost};
use crate::threads::on_threads;

/// So many rows are gathered at a time, which a core's cache can hold.
const STEP_ROWS: usize = 16 * 1024;

/// The encoded row groups of some days, in order.
#[derive(Debug, Default)]
pub struct EncodedDays {
    row_groups: BTreeMap<i32, Vec<Vec<EncodedColumn>>>,
}

/// Encodes the rows of some days, whose places in the batch stand in the order in which they are written.
pub fn encode_days(
    whole: &WholeRows,
    days: Vec<(i32, Vec<u32>)>,
    threads: usize,
) -> Result<EncodedDays, CompactError> {
    let encoders = RowGroupEncoders::new()?;
    let mut row_groups: Vec<(i32, UInt32Array)> = Vec::new();
    for (day, rows) in days {
        let rows = UInt32Array::from(rows);
        row_groups.extend(cuts(rows.len()).map(|(start, length)| (day, rows.slice(start, length))));
    }
    let tasks = row_groups.iter().flat_map(|(_, rows)| column_tasks(&encoders, rows));
    let encoded = on_threads(threads, tasks, |task| task?.run(whole))?;
    let mut encoded = encoded.into_iter();
    let mut days = EncodedDays::default();
    let columns = working_schema().fields().len();
    for (day, _) in &row_groups {
        let mut group: Vec<(usize, EncodedColumn)> = encoded.by_ref().take(columns).collect();
        group.sort_unstable_by_key(|(column, _)| *column);
        days.row_groups.entry(*day).or_default().push(group.into_iter().map(|(_, column)| column).collect());
    }
    Ok(days)
}

/// Cuts rows into row groups of equal size, rather than having a small one at the end.
fn cuts(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = ((rows + ROW_GROUP_ROWS / 2) / ROW_GROUP_ROWS).max(1);
    let group_rows = rows.div_ceil(count).max(1);
    (0..rows).step_by(group_rows).map(move |start| (start, group_rows.min(rows - start)))
}

/// A column of a row group that is to be encoded.
struct ColumnTask<'r> {
    column: usize,
    encoder: ColumnEncoder,
    rows: &'r UInt32Array,
}

/// The columns of a row group, large ones first.
fn column_tasks<'r>(
    encoders: &RowGroupEncoders,
    rows: &'r UInt32Array,
) -> Vec<Result<ColumnTask<'r>, CompactError>> {
    let make = || -> Result<Vec<ColumnTask<'r>>, CompactError> {
        let schema = working_schema();
        let mut encoders: Vec<Option<ColumnEncoder>> = encoders.row_group()?.into_iter().map(Some).collect();
        let task = |name| {
            let column = schema.index_of(name)?;
            let encoder = encoders[column].take().expect("each column stands once in the schema");
            Ok(ColumnTask { column, encoder, rows })
        };
        in_order_of_cost().into_iter().map(task).collect()
    };
    match make() {
        Ok(tasks) => tasks.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    }
}

impl ColumnTask<'_> {
    fn run(mut self, whole: &WholeRows) -> Result<(usize, EncodedColumn), CompactError> {
        let values = whole.batch().column(self.column);
        for start in (0..self.rows.len()).step_by(STEP_ROWS) {
            let rows = self.rows.slice(start, STEP_ROWS.min(self.rows.len() - start));
            self.encoder.write(&take(values, &rows, None)?)?;
        }
        Ok((self.column, self.encoder.finish()?))
    }
}

impl EncodedDays {
    /// Puts the row groups into files of about this size.
    pub fn into_files(self, file_size_bytes: usize) -> Result<Vec<(i32, FinishedFile)>, CompactError> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let mut files = Vec::new();
        for (day, row_groups) in self.row_groups {
            let mut writer: Option<SortedFileWriter> = None;
            for columns in row_groups {
                let mut open = match writer.take() {
                    Some(open) => open,
                    None => SortedFileWriter::new(day)?,
                };
                open.append(columns)?;
                if open.bytes() >= file_size_bytes {
                    files.push((day, open.finish(now_ms)?));
                } else {
                    writer = Some(open);
                }
            }
            if let Some(last) = writer {
                files.push((day, last.finish(now_ms)?));
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
    use arrow::compute::cast;
    use ingest::columns::UsageColumns;
    use ingest::event::{Identity, UsageEvent};
    use ingest::raw_message::Coordinates;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    #[test]
    fn row_groups_are_of_about_the_same_size() {
        for (rows, groups) in [(0, 0), (1, 1), (190_000, 1), (200_000, 2), (700_000, 5), (131_072, 1)] {
            let cuts: Vec<(usize, usize)> = cuts(rows).collect();
            assert_eq!(cuts.len(), groups, "{rows} rows");
            assert_eq!(cuts.iter().map(|(_, length)| length).sum::<usize>(), rows);
            assert!(cuts.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0));
        }
    }

    /// Events of one day, as compaction decodes them.
    fn events(count: i64) -> RecordBatch {
        let mut columns = UsageColumns::default();
        for id in 0..count {
            let event = UsageEvent {
                identity: Identity::of("s", &id.to_string()),
                source: "s".into(),
                id: id.to_string().into(),
                tenant: (id % 3).to_string().into(),
                event_type: "t".into(),
                time_us: id,
                time_given: true,
                data: None,
                batch_index: 0,
                readings: [].into_iter().collect(),
            };
            columns.push(&event, &[], Coordinates { topic: "t", partition: 0, offset: id }, 0);
        }
        let plain = columns.finish();
        let schema = working_schema();
        let typed = plain.columns().iter().zip(schema.fields());
        let columns: Vec<ArrayRef> =
            typed.map(|(array, field)| cast(array, field.data_type()).unwrap()).collect();
        RecordBatch::try_new(schema, columns).unwrap()
    }

    #[test]
    fn row_groups_are_gathered_in_order_and_cut_into_files() {
        let whole = WholeRows::of_batches(0, vec![events(100_000), events(100_000)], 2).unwrap();
        let backwards: Vec<u32> = (0..200_000).rev().collect();
        for (threads, file_size_bytes, rows) in [(1, usize::MAX, vec![200_000]), (3, 1, vec![100_000; 2])] {
            let encoded = encode_days(&whole, vec![(0, backwards.clone()), (1, vec![])], threads).unwrap();
            let files = encoded.into_files(file_size_bytes).unwrap();
            assert_eq!(files.iter().map(|(_, file)| file.rows).collect::<Vec<_>>(), rows);
            let mut ids = Vec::new();
            for (_, file) in files {
                let bytes = bytes::Bytes::from(file.pieces.concat());
                for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
                    let batch = batch.unwrap();
                    let column: &StringArray = batch.column_by_name("id").unwrap().as_string();
                    ids.extend(column.iter().map(|id| id.unwrap().parse::<u32>().unwrap()));
                }
            }
            assert!(ids.into_iter().eq((0..100_000).rev().chain((0..100_000).rev())));
        }
    }
}
