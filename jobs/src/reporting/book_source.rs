//! The book's rows for SQL.
//!
//! Owns reading them a page at a time, each after the last row of the one before: an outbox can be larger than memory, and
//! whoever wants a few rows shall not wait for all.

use std::sync::Arc;

use ::sql::relation::{BookRows, BookSource, BookTable, ReadError};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use futures::StreamExt;
use futures::stream::try_unfold;

use crate::book::{Book, BookOutbox, Run};
use crate::stripe::StripeRecord;

const PAGE_ROWS: u64 = 2_000;

/// A book whose runs and Stripe records can be queried.
#[derive(Debug, Clone)]
pub struct BookRowsOf(pub Book);

impl BookSource for BookRowsOf {
    fn rows(&self, table: BookTable, tenant: Option<&str>) -> BookRows {
        let book = self.0.clone();
        match table {
            BookTable::Runs => try_unfold(None, move |last: Option<Run>| {
                let book = book.clone();
                async move {
                    let mut runs = book.runs_after(last.as_ref(), PAGE_ROWS).await?;
                    let Some(rows) = page(&runs, run_rows)? else { return Ok(None) };
                    Ok(Some((rows, runs.pop())))
                }
            })
            .boxed(),
            BookTable::StripeRecords => {
                let tenant = tenant.map(str::to_owned);
                try_unfold(None, move |last: Option<String>| {
                    let (outbox, tenant) = (BookOutbox::new(&book), tenant.clone());
                    async move {
                        let records = outbox.after(last.as_deref(), tenant.as_deref(), PAGE_ROWS).await?;
                        let Some(rows) = page(&records, stripe_rows)? else { return Ok(None) };
                        Ok(Some((rows, records.into_iter().next_back().map(|record| record.key))))
                    }
                })
                .boxed()
            }
        }
    }
}

/// Nothing after the last.
fn page<T>(
    rows: &[T],
    of: impl Fn(&[T]) -> Result<RecordBatch, ReadError>,
) -> Result<Option<RecordBatch>, ReadError> {
    if rows.is_empty() { Ok(None) } else { of(rows).map(Some) }
}

fn texts<'r, T>(rows: &'r [T], of: impl Fn(&'r T) -> Option<String>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<StringArray>())
}

fn times<'r, T>(rows: &'r [T], of: impl Fn(&'r T) -> Option<i64>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn numbers<'r, T>(rows: &'r [T], of: impl Fn(&'r T) -> Option<i64>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<Int64Array>())
}

fn run_rows(runs: &[Run]) -> Result<RecordBatch, ReadError> {
    let columns = vec![
        texts(runs, |run| Some(run.run_id.clone())),
        texts(runs, |run| Some(run.job.clone())),
        texts(runs, |run| Some(run.period.clone()).filter(|period| !period.is_empty())),
        texts(runs, |run| Some(run.holder.clone())),
        texts(runs, |run| Some(run.program_version.clone())),
        times(runs, |run| Some(run.started_at_us)),
        times(runs, |run| run.ended_at_us),
        texts(runs, |run| Some(run.outcome.name().to_owned())),
        texts(runs, |run| serde_json::to_string(&run.inputs).ok()),
        texts(runs, |run| serde_json::to_string(&run.counts).ok()),
        texts(runs, |run| Some(run.error.join(": ")).filter(|error| !error.is_empty())),
    ];
    Ok(RecordBatch::try_new(BookTable::Runs.schema(), columns)?)
}

fn stripe_rows(records: &[StripeRecord]) -> Result<RecordBatch, ReadError> {
    let columns = vec![
        texts(records, |record| Some(record.key.clone())),
        texts(records, |record| Some(record.content.tenant.clone())),
        texts(records, |record| Some(record.content.customer.clone())),
        texts(records, |record| Some(record.content.kind.name().to_owned())),
        texts(records, |record| record.content.meter.clone()),
        texts(records, |record| Some(record.content.period.clone())),
        texts(records, |record| Some(record.content.invoice_number.clone())),
        texts(records, |record| Some(record.content.currency.clone())),
        numbers(records, |record| record.content.amount_minor),
        numbers(records, |record| record.content.usage.as_ref().map(|usage| usage.value)),
        texts(records, |record| Some(record.state.name().to_owned())),
        numbers(records, |record| Some(i64::from(record.attempts))),
        times(records, |record| record.first_sent_us),
        texts(records, |record| record.last_error.clone()),
        texts(records, |record| record.stripe_id.clone()),
    ];
    Ok(RecordBatch::try_new(BookTable::StripeRecords.schema(), columns)?)
}
