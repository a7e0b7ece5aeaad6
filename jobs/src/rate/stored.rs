//! The drafts that stand in the lake, and replacing some of them.
//!
//! Owns the two commits of a run: lines first, then the invoices that name them. Both are fenced, so that of two runs at
//! once the slower one is refused. A run that was killed between the two leaves lines with another digest than their
//! invoice, and the next run writes both anew. Only files that hold a row which changes are replaced, and small ones
//! along with them, so that rating single tenants again and again leaves no trail of small files.

use std::collections::{BTreeSet, HashMap};

use ::sql::lake::{DataFile, FileRead, Lake, LakeError, Table, TableHandle};
use anyhow::Result;
use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use deltalake_core::kernel::Action;
use futures::TryStreamExt;
use ingest::commit::{Commit, Committed, MAINTENANCE, TableLog};
use ingest::day_file::{FileKind, FinishedFile};
use ingest::day_files::{DayFiles, removal};
use serde_json::json;

use super::columns::DRAFT;
use super::drafts::DraftFiles;

/// Files with fewer rows are rewritten along with others.
const SMALL_FILE_ROWS: u64 = 512;

/// What is known of the drafts in the months of a run.
#[derive(Debug, Default)]
pub struct StoredDrafts {
    drafts: HashMap<String, StoredDraft>,
    /// By invoice: the digest that its lines carry, and the tenant.
    lines: HashMap<String, (String, String)>,
    invoice_files: Vec<StoredFile>,
    line_files: Vec<StoredFile>,
}

#[derive(Debug)]
struct StoredDraft {
    tenant: String,
    digest: String,
    is_issued: bool,
}

#[derive(Debug)]
struct StoredFile {
    file: DataFile,
    invoices: BTreeSet<String>,
}

/// The versions that a run made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replaced {
    pub invoices: Option<u64>,
    pub lines: Option<u64>,
}

/// A table that is to change, as it was when the run began.
struct Changing<'l> {
    log: TableLog,
    epoch: Option<i64>,
    files: &'l [StoredFile],
}

impl StoredDrafts {
    /// Reads what stands in these months. `versions` pins what `DraftTables::open` saw.
    pub async fn read(lake: &Lake, versions: Option<(u64, u64)>, months: &BTreeSet<i32>) -> Result<Self> {
        let mut stored = Self::default();
        let [invoices, lines] = [Table::Invoices, Table::InvoiceLines].map(|table| lake.table(table));
        for file in files(&invoices, versions.map(|versions| versions.0), months).await? {
            let mut ids = BTreeSet::new();
            let columns = ["invoice", "tenant", "digest", "state"];
            for [id, tenant, digest, state] in texts(&invoices, &file, columns).await? {
                ids.insert(id.clone());
                stored.drafts.insert(id, StoredDraft { tenant, digest, is_issued: state != DRAFT });
            }
            stored.invoice_files.push(StoredFile { file, invoices: ids });
        }
        for file in files(&lines, versions.map(|versions| versions.1), months).await? {
            let mut ids = BTreeSet::new();
            let columns = ["invoice", "invoice_digest", "tenant"];
            for [id, digest, tenant] in texts(&lines, &file, columns).await? {
                ids.insert(id.clone());
                stored.lines.insert(id, (digest, tenant));
            }
            stored.line_files.push(StoredFile { file, invoices: ids });
        }
        Ok(stored)
    }

    /// The names of the periods of which something stands; an id begins with its period.
    pub fn periods(&self) -> BTreeSet<&str> {
        self.drafts.keys().filter_map(|id| id.get(..10)).collect()
    }

    /// What the book has issued is issued, even if a run ended before it could mark the lake's row.
    pub fn note_issued(&mut self, ids: &BTreeSet<String>) {
        for (id, draft) in &mut self.drafts {
            draft.is_issued |= ids.contains(id);
        }
    }

    pub fn is_issued(&self, id: &str) -> bool {
        self.drafts.get(id).is_some_and(|draft| draft.is_issued)
    }

    /// Whether exactly this draft stands there already, its lines included.
    pub fn holds(&self, id: &str, digest: &str, lines: usize) -> bool {
        let has_lines = self.lines.get(id).map(|(own, _)| own.as_str()) == (lines > 0).then_some(digest);
        has_lines && self.drafts.get(id).is_some_and(|draft| draft.digest == digest)
    }

    /// Drafts of which nothing stands after a run; issued invoices are never among them. `is_meant` is asked with the id
    /// and the tenant.
    pub fn gone(
        &self,
        standing: &BTreeSet<String>,
        is_meant: impl Fn(&str, &str) -> bool,
    ) -> BTreeSet<String> {
        let drafts = self.drafts.iter().map(|(id, draft)| (id, &draft.tenant));
        let all = drafts.chain(self.lines.iter().map(|(id, (_, tenant))| (id, tenant)));
        let is_gone = |id: &String, tenant: &String| {
            !standing.contains(id) && !self.is_issued(id) && is_meant(id, tenant)
        };
        all.filter(|(id, tenant)| is_gone(id, tenant)).map(|(id, _)| id.clone()).collect()
    }
}

/// The two tables, opened for a run that may change them.
#[derive(Debug)]
pub struct DraftTables {
    invoices: TableLog,
    lines: TableLog,
    epochs: [Option<i64>; 2],
}

impl DraftTables {
    /// Opens both, making them if need be. What they hold at these versions is what the run compares with.
    pub async fn open(lake: &Lake) -> Result<Self> {
        let mut invoices = TableLog::open(lake.table(Table::Invoices)).await?;
        let mut lines = TableLog::open(lake.table(Table::InvoiceLines)).await?;
        let name = [MAINTENANCE.to_owned()];
        let epochs =
            [invoices.positions(&name).await?[MAINTENANCE], lines.positions(&name).await?[MAINTENANCE]];
        Ok(Self { invoices, lines, epochs })
    }

    pub fn versions(&self) -> (u64, u64) {
        (self.invoices.version(), self.lines.version())
    }

    /// From now on nobody who opened the tables before can change them. Fails if somebody did since this was opened.
    pub async fn hold(self) -> Result<()> {
        let [invoice_epoch, line_epoch] = self.epochs;
        for (mut log, epoch) in [(self.lines, line_epoch), (self.invoices, invoice_epoch)] {
            let note = ("meterhouseJob", json!("issue"));
            log.commit(&Commit::maintenance("WRITE", epoch, Vec::new(), note)).await?;
            log.settle().await;
        }
        Ok(())
    }

    /// Takes out what changed or is gone and puts in the new files.
    pub async fn replace(
        self,
        stored: &StoredDrafts,
        changed: &BTreeSet<String>,
        gone: &BTreeSet<String>,
        files: Vec<DraftFiles>,
    ) -> Result<Replaced> {
        if changed.is_empty() && gone.is_empty() {
            return Ok(Replaced::default());
        }
        let (mut invoice_files, mut line_files) = (Vec::new(), Vec::new());
        for file in files {
            invoice_files.push(file.invoices);
            line_files.extend(file.lines);
        }
        let leaves = |id: &str| changed.contains(id) || gone.contains(id);
        let [invoice_epoch, line_epoch] = self.epochs;
        let lines = Changing { log: self.lines, epoch: line_epoch, files: &stored.line_files };
        let lines = lines.commit(line_files, leaves).await?;
        let invoices = Changing { log: self.invoices, epoch: invoice_epoch, files: &stored.invoice_files };
        let invoices = invoices.commit(invoice_files, leaves).await?;
        Ok(Replaced { invoices: Some(invoices.version), lines: Some(lines.version) })
    }
}

impl Changing<'_> {
    async fn commit(mut self, added: Vec<FinishedFile>, leaves: impl Fn(&str) -> bool) -> Result<Committed> {
        let touched = |file: &&StoredFile| file.invoices.iter().any(|id| leaves(id));
        let months: BTreeSet<i32> = self.files.iter().filter(touched).map(|stored| stored.file.day).collect();
        let is_small = |stored: &&StoredFile| {
            stored.file.rows < SMALL_FILE_ROWS && (months.is_empty() || months.contains(&stored.file.day))
        };
        let replaced: Vec<&StoredFile> =
            self.files.iter().filter(|stored| touched(stored) || is_small(stored)).collect();
        let mut kept = DayFiles::new(self.log.handle(), FileKind::Drafts);
        for stored in &replaced {
            let mut batches = self.log.handle().read_file(&stored.file, FileRead::default()).await?;
            while let Some(batch) = batches.try_next().await? {
                let ids = text_column(&batch, "invoice");
                let stays: BooleanArray =
                    (0..batch.num_rows()).map(|row| Some(!leaves(ids.value(row)))).collect();
                let mut rows = filter_record_batch(&batch, &stays)?;
                rows.remove_column(rows.schema().index_of(self.log.handle().table().partition_column())?);
                kept.write(stored.file.day, &rows).await?;
            }
        }
        let kept = kept.finish().await?;
        self.log.upload(&added).await?;
        let table = self.log.handle().table();
        let removals = replaced.iter().map(|stored| removal(table, &stored.file));
        let adds = added.into_iter().map(|file| file.add).chain(kept.into_iter().map(|file| file.add));
        let operation = if replaced.is_empty() { "WRITE" } else { "UPDATE" };
        let actions = removals.chain(adds.map(Action::Add)).collect();
        let note = ("meterhouseJob", json!("rate"));
        let commit = Commit::maintenance(operation, self.epoch, actions, note);
        let committed = self.log.commit(&commit).await?;
        self.log.settle().await;
        Ok(committed)
    }
}

/// The files of some months; none where the table does not exist yet.
async fn files(handle: &TableHandle, version: Option<u64>, months: &BTreeSet<i32>) -> Result<Vec<DataFile>> {
    match handle.snapshot(version).await {
        Ok(snapshot) => Ok(snapshot.files.into_iter().filter(|file| months.contains(&file.day)).collect()),
        Err(LakeError::Missing(_)) if version.is_none() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Some columns of text of all rows.
async fn texts<const N: usize>(
    handle: &TableHandle,
    file: &DataFile,
    columns: [&str; N],
) -> Result<Vec<[String; N]>> {
    let read = FileRead { columns: Some(&columns), ..FileRead::default() };
    let mut batches = handle.read_file(file, read).await?;
    let mut rows = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        let found = columns.map(|name| text_column(&batch, name));
        rows.extend((0..batch.num_rows()).map(|row| found.map(|column| column.value(row).to_owned())));
    }
    Ok(rows)
}

fn text_column<'b>(batch: &'b arrow::array::RecordBatch, name: &str) -> &'b arrow::array::StringArray {
    use arrow::array::AsArray;
    batch.column_by_name(name).expect("the column was read").as_string()
}
