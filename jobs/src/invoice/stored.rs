//! Finding one invoice in the lake, by its id or by tenant and period.

use std::path::Path;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use clap::Args;
use futures::TryStreamExt;
use jiff::civil::Date;
use rating::draft::draft_id;
use rating::invoice::Invoice;
use rating::period::PeriodChoice;
use sql::lake::{DataFile, FileRead, Lake, LakeError, Table, TableHandle};

use crate::cli::read_catalog;
use crate::rate::drafts::days;
use crate::rate::terms_of;

/// Which invoice is meant.
#[derive(Debug, Clone, Args)]
pub struct InvoiceChoice {
    /// The invoice's id, or its number once it is issued
    #[arg(value_name = "ID", required_unless_present = "tenant", conflicts_with = "tenant")]
    pub id: Option<String>,
    /// The tenant whose invoice of --period is meant
    #[arg(long, value_name = "TENANT", requires = "period")]
    pub tenant: Option<String>,
    /// The period, as a month (2026-01) or a day in it (2026-01-15)
    #[arg(long, value_name = "PERIOD", requires = "tenant")]
    pub period: Option<PeriodChoice>,
}

/// An invoice with what stands beside it in the lake.
#[derive(Debug, Clone)]
pub struct StoredInvoice {
    pub id: String,
    /// Nothing while it is a draft.
    pub number: Option<String>,
    pub state: String,
    pub digest: String,
    /// The canonical JSON.
    pub document: String,
    /// With the places of its prices.
    pub invoice: Invoice,
}

pub async fn find(lake: &Lake, catalog: &Path, which: &InvoiceChoice) -> Result<StoredInvoice> {
    let id = match which {
        InvoiceChoice { id: Some(id), .. } => match month(id) {
            Some(_) => id.clone(),
            None => id_of_number(lake, id).await?,
        },
        InvoiceChoice { tenant: Some(tenant), period: Some(choice), .. } => {
            let catalog = read_catalog(catalog)?;
            let terms = terms_of(&catalog, tenant)?;
            let period = choice.period(&terms.cycle, &terms.time_zone)?;
            let period = period.with_context(|| format!("no period of {tenant} starts in {choice}"))?;
            draft_id(tenant, &period.name)
        }
        _ => bail!("name an invoice by its id, or by --tenant and --period"),
    };
    by_id(lake, &id).await
}

/// The invoice with that id, checked against its digest.
pub async fn by_id(lake: &Lake, id: &str) -> Result<StoredInvoice> {
    let Some(month) = month(id) else {
        bail!("`{id}` is no id of an invoice: expected something like 2026-01-01-3f9a5b0c7d21e864");
    };
    let invoices = lake.table(Table::Invoices);
    let row = rows(&invoices, month, id, &["invoice", "number", "state", "digest", "document"]).await?;
    let Some(row) = row.into_iter().next() else {
        bail!("there is no invoice {id}: `meterhouse rate` makes drafts");
    };
    let text = |name: &str| text(&row, name, 0).to_owned();
    let document = text("document");
    let digest = text("digest");
    if rating::invoice::canonical::digest(&document) != digest {
        bail!("invoice {id} does not match its digest {digest}: its row was changed");
    }
    let mut invoice: Invoice =
        serde_json::from_str(&document).with_context(|| format!("cannot read invoice {id}"))?;
    let lines = lake.table(Table::InvoiceLines);
    for batch in rows(&lines, month, id, &["invoice", "line", "price_source"]).await? {
        let numbers = batch.column_by_name("line").expect("the column was read");
        let numbers = numbers.as_primitive::<Int32Type>();
        for row in 0..batch.num_rows() {
            let source = self::text(&batch, "price_source", row);
            if let Some(line) = invoice.lines.get_mut((numbers.value(row) - 1) as usize) {
                line.price_source = Some(source.to_owned()).filter(|source| !source.is_empty());
            }
        }
    }
    let number = Some(text("number")).filter(|number| !number.is_empty());
    Ok(StoredInvoice { id: id.to_owned(), number, state: text("state"), digest, document, invoice })
}

/// The id of the issued invoice with this number.
async fn id_of_number(lake: &Lake, number: &str) -> Result<String> {
    let invoices = lake.table(Table::Invoices);
    for file in newest_files(&invoices).await? {
        let read = FileRead { columns: Some(&["invoice", "number"]), ..FileRead::default() };
        let mut batches = invoices.read_file(&file, read).await?;
        while let Some(batch) = batches.try_next().await? {
            if let Some(row) = (0..batch.num_rows()).find(|row| text(&batch, "number", *row) == number) {
                return Ok(text(&batch, "invoice", row).to_owned());
            }
        }
    }
    bail!(
        "there is no invoice `{number}`: expected the number of an issued invoice, or an id like \
         2026-01-01-3f9a5b0c7d21e864"
    )
}

async fn newest_files(handle: &TableHandle) -> Result<Vec<DataFile>> {
    match handle.snapshot(None).await {
        Ok(snapshot) => Ok(snapshot.files),
        Err(LakeError::Missing(_)) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// The partition that an id names.
fn month(id: &str) -> Option<i32> {
    let day: Date = id.get(..10)?.parse().ok()?;
    Some(days(day.first_of_month()))
}

/// The rows of one invoice; only those are read whole.
async fn rows(handle: &TableHandle, month: i32, id: &str, columns: &[&str]) -> Result<Vec<RecordBatch>> {
    let files = newest_files(handle).await?;
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.day == month) {
        let positions = positions(handle, file, id).await?;
        if positions.is_empty() {
            continue;
        }
        let ranges = positions.iter().map(|position| *position..position + 1).collect();
        let read = FileRead { columns: Some(columns), rows: Some(ranges), ..FileRead::default() };
        let mut batches = handle.read_file(file, read).await?;
        while let Some(batch) = batches.try_next().await? {
            found.push(batch);
        }
    }
    Ok(found)
}

async fn positions(handle: &TableHandle, file: &DataFile, id: &str) -> Result<Vec<usize>> {
    let read = FileRead { columns: Some(&["invoice"]), ..FileRead::default() };
    let mut batches = handle.read_file(file, read).await?;
    let (mut positions, mut before) = (Vec::new(), 0);
    while let Some(batch) = batches.try_next().await? {
        let ids = batch.column(0).as_string::<i32>();
        positions.extend((0..batch.num_rows()).filter(|row| ids.value(*row) == id).map(|row| before + row));
        before += batch.num_rows();
    }
    Ok(positions)
}

/// A text; empty where there is none.
fn text<'b>(batch: &'b RecordBatch, name: &str, row: usize) -> &'b str {
    let column = batch.column_by_name(name).expect("the column was read").as_string::<i32>();
    if column.is_null(row) { "" } else { column.value(row) }
}
