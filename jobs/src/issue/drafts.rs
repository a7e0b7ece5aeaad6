//! Invoices as they lie in the lake, drafts and issued ones.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use futures::TryStreamExt;
use jiff::civil::Date;
use rating::invoice::Invoice;
use rating::period::PeriodChoice;
use sql::lake::{FileRead, Lake, LakeError, Table};

use crate::rate::drafts::days;

/// An invoice with what stands beside it.
#[derive(Debug, Clone)]
pub struct StoredDocument {
    pub id: String,
    /// None for a draft.
    pub number: Option<String>,
    pub digest: String,
    /// The canonical JSON.
    pub text: String,
    pub invoice: Invoice,
}

const COLUMNS: [&str; 6] = ["invoice", "number", "tenant", "period", "digest", "document"];

/// The invoices of a period, or all of them, each checked against its digest.
pub async fn stored_documents(
    lake: &Lake,
    period: Option<PeriodChoice>,
    tenants: Option<&BTreeSet<String>>,
) -> Result<Vec<StoredDocument>> {
    let documents = documents_as_they_lie(lake, period, tenants).await?;
    documents.iter().try_for_each(check_digest)?;
    Ok(documents)
}

fn check_digest(document: &StoredDocument) -> Result<()> {
    let StoredDocument { id, digest, text, .. } = document;
    if rating::invoice::canonical::digest(text) != *digest {
        bail!("invoice {id} does not match its digest {digest}: its row was changed");
    }
    Ok(())
}

/// The same, for whoever compares digests himself.
pub async fn documents_as_they_lie(
    lake: &Lake,
    period: Option<PeriodChoice>,
    tenants: Option<&BTreeSet<String>>,
) -> Result<Vec<StoredDocument>> {
    let table = lake.table(Table::Invoices);
    let files = match table.snapshot(None).await {
        Ok(snapshot) => snapshot.files,
        Err(LakeError::Missing(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut documents = Vec::new();
    for file in files {
        if matches!(period, Some(PeriodChoice::Month(first)) if days(first) != file.day) {
            continue;
        }
        let read = FileRead { columns: Some(&COLUMNS), ..FileRead::default() };
        let mut batches = table.read_file(&file, read).await?;
        while let Some(batch) = batches.try_next().await? {
            for row in 0..batch.num_rows() {
                if tenants.is_none_or(|tenants| tenants.contains(text(&batch, "tenant").value(row))) {
                    documents.push(document(&batch, row)?);
                }
            }
        }
    }
    if let Some(PeriodChoice::Day(day)) = period {
        documents.retain(|document| covers(&document.invoice, day));
    }
    Ok(documents)
}

/// The invoices with these digests; only those rows are read whole. Their ids name their months, but digests do not, so the
/// digests of all files are looked at.
pub async fn documents_with(lake: &Lake, digests: &BTreeSet<String>) -> Result<Vec<StoredDocument>> {
    let table = lake.table(Table::Invoices);
    let files = match table.snapshot(None).await {
        _ if digests.is_empty() => return Ok(Vec::new()),
        Ok(snapshot) => snapshot.files,
        Err(LakeError::Missing(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut documents = Vec::new();
    for file in files {
        let read = FileRead { columns: Some(&["digest"]), ..FileRead::default() };
        let mut batches = table.read_file(&file, read).await?;
        let (mut rows, mut first) = (Vec::new(), 0);
        while let Some(batch) = batches.try_next().await? {
            let own = text(&batch, "digest");
            let found = (0..batch.num_rows()).filter(|row| digests.contains(own.value(*row)));
            rows.extend(found.map(|row| first + row..first + row + 1));
            first += batch.num_rows();
        }
        if rows.is_empty() {
            continue;
        }
        let read = FileRead { columns: Some(&COLUMNS), rows: Some(rows), ..FileRead::default() };
        let mut batches = table.read_file(&file, read).await?;
        while let Some(batch) = batches.try_next().await? {
            for row in 0..batch.num_rows() {
                documents.push(document(&batch, row)?);
            }
        }
    }
    documents.iter().try_for_each(check_digest)?;
    Ok(documents)
}

fn document(batch: &RecordBatch, row: usize) -> Result<StoredDocument> {
    let own = |name: &str| text(batch, name).value(row).to_owned();
    let (id, digest, content) = (own("invoice"), own("digest"), own("document"));
    let invoice = serde_json::from_str(&content).with_context(|| format!("cannot read invoice {id}"))?;
    let numbers = text(batch, "number");
    let number = numbers.is_valid(row).then(|| numbers.value(row).to_owned());
    Ok(StoredDocument { id, number, digest, text: content, invoice })
}

fn text<'b>(batch: &'b RecordBatch, name: &str) -> &'b StringArray {
    batch.column_by_name(name).expect("the column was read").as_string()
}

fn covers(invoice: &Invoice, day: Date) -> bool {
    let date = |text: &str| text.parse::<Date>().ok();
    let (start, end) = (date(&invoice.period.name), date(&invoice.period.end_date));
    start.zip(end).is_some_and(|(start, end)| start <= day && day < end)
}
