//! Invoices as they lie in the lake, drafts and issued ones.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result, bail};
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use futures::TryStreamExt;
use jiff::civil::Date;
use rating::invoice::Invoice;
use rating::period::PeriodChoice;
use sql::lake::{DataFile, FileRead, Lake, LakeError, Table, TableHandle};

use crate::rate::drafts::days;
use crate::threads::of_each;

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
    of_each(&documents, check_digest)?;
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
    let mut documents = Vec::new();
    for file in newest_files(&table).await? {
        if matches!(period, Some(PeriodChoice::Month(first)) if days(first) != file.day) {
            continue;
        }
        let read = FileRead { columns: Some(&COLUMNS), ..FileRead::default() };
        let mut batches = table.read_file(&file, read).await?;
        while let Some(batch) = batches.try_next().await? {
            let own = text(&batch, "tenant");
            let is_asked = |row: &usize| tenants.is_none_or(|tenants| tenants.contains(own.value(*row)));
            let rows: Vec<usize> = (0..batch.num_rows()).filter(is_asked).collect();
            documents.extend(of_each(&rows, |row| document(&batch, *row))?);
        }
    }
    if let Some(PeriodChoice::Day(day)) = period {
        documents.retain(|document| covers(&document.invoice, day));
    }
    Ok(documents)
}

/// What a row says of its document without being read whole.
#[derive(Debug, Clone)]
pub(super) struct IssuedRow {
    /// None as long as it is not marked.
    pub number: Option<String>,
    pub digest: String,
}

/// The rows of some months, by the ids of their documents.
pub(super) async fn issued_rows(lake: &Lake, months: &BTreeSet<i32>) -> Result<HashMap<String, IssuedRow>> {
    let mut rows = HashMap::new();
    if months.is_empty() {
        return Ok(rows);
    }
    let table = lake.table(Table::Invoices);
    for file in newest_files(&table).await?.into_iter().filter(|file| months.contains(&file.day)) {
        let read = FileRead { columns: Some(&["invoice", "number", "digest"]), ..FileRead::default() };
        let mut batches = table.read_file(&file, read).await?;
        while let Some(batch) = batches.try_next().await? {
            let [ids, numbers, digests] = ["invoice", "number", "digest"].map(|name| text(&batch, name));
            rows.extend((0..batch.num_rows()).map(|row| {
                let number = numbers.is_valid(row).then(|| numbers.value(row).to_owned());
                (ids.value(row).to_owned(), IssuedRow { number, digest: digests.value(row).to_owned() })
            }));
        }
    }
    Ok(rows)
}

/// The tenants of documents of a month that are drafts, as far as the lake knows.
pub async fn drafts_left(lake: &Lake, month: i32) -> Result<BTreeSet<String>> {
    let table = lake.table(Table::Invoices);
    let mut tenants = BTreeSet::new();
    for file in newest_files(&table).await?.into_iter().filter(|file| file.day == month) {
        let read = FileRead { columns: Some(&["tenant", "number"]), ..FileRead::default() };
        let mut batches = table.read_file(&file, read).await?;
        while let Some(batch) = batches.try_next().await? {
            let [own, numbers] = ["tenant", "number"].map(|name| text(&batch, name));
            let drafts = (0..batch.num_rows()).filter(|row| numbers.is_null(*row));
            tenants.extend(drafts.map(|row| own.value(row).to_owned()));
        }
    }
    Ok(tenants)
}

/// The files of a table; none where it does not exist yet.
async fn newest_files(table: &TableHandle) -> Result<Vec<DataFile>> {
    match table.snapshot(None).await {
        Ok(snapshot) => Ok(snapshot.files),
        Err(LakeError::Missing(_)) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// The invoices with these digests; only those rows are read whole. Their ids name their months, but digests do not, so the
/// digests of all files are looked at.
pub async fn documents_with(lake: &Lake, digests: &BTreeSet<String>) -> Result<Vec<StoredDocument>> {
    let mut documents = Vec::new();
    if digests.is_empty() {
        return Ok(documents);
    }
    let table = lake.table(Table::Invoices);
    for file in newest_files(&table).await? {
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
    of_each(&documents, check_digest)?;
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
