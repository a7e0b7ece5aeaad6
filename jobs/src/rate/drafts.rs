//! Drafts of many tenants at once: rated, compared with what stands in the lake, and encoded, on all cores.
//!
//! A tenant that fails is set aside with its reason. Only drafts that differ from the stored ones are encoded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::sql::lake::Table;
use anyhow::{Context, Result};
use ingest::day_file::{DayFileWriter, FileKind, FinishedFile};
use jiff::civil::Date;
use rating::draft::{Charges, DraftError, DraftInputs, RatedLines, document_id, draft_id};
use rating::invoice::{Invoice, InvoiceInputs, InvoiceKind, Provenance, Warning};
use rating::line::LineItem;
use rating::money::{Amount, Currency};
use rating::period::Period;
use rating::usage::Usage;

use super::apart::{self, CorrectionsBy, PeriodCorrection, Split, adjusted, corrected_with, split};
use super::columns::{Draft, DraftColumns};
use super::corrections::TenantCorrections;
use super::credits::OpeningCredits;
use super::neighbours::Overlaps;
use super::stored::StoredDrafts;
use super::tenants::RatedTenants;

/// Tenants that a thread takes at once.
const PORTION: usize = 256;
/// A file ends at about this size or with so many drafts, so that rating a few tenants anew rewrites little.
const FILE_BYTES: usize = 32 * 1024 * 1024;
const FILE_DRAFTS: usize = 2 * 1024;

/// What the drafts of a run are made from, beside the usage.
#[derive(Debug, Clone, Default)]
pub struct RunInputs {
    pub provenance: Provenance,
    /// The catalog's name in `price_source`.
    pub catalog_file: String,
    /// By tenant.
    pub corrections: BTreeMap<String, TenantCorrections>,
    pub corrections_by: CorrectionsBy,
    pub credits: BTreeMap<String, OpeningCredits>,
    pub overlaps: Overlaps,
    /// Earlier periods that are on no invoice.
    pub unbilled_before: Vec<Problem>,
}

impl RunInputs {
    /// A tenant's invoice with the corrections that it carries; nothing where there is nothing to charge, to correct and
    /// to warn of.
    pub fn invoice(
        &self,
        charges: &Charges<'_>,
        mut rated: RatedLines,
        carried: &[&PeriodCorrection],
    ) -> Result<Option<Invoice>, DraftError> {
        let tenant = rated.tenant.clone();
        let mut inputs = InvoiceInputs { adjusted: adjusted(carried), ..InvoiceInputs::default() };
        rated.lines.extend(carried.iter().flat_map(|correction| correction.lines.iter().cloned()));
        if rated.lines.is_empty() && rated.warnings.is_empty() {
            return Ok(None);
        }
        let mut provenance = self.provenance.clone();
        if let Some(opening) = self.credits.get(&tenant) {
            inputs.credits.clone_from(&opening.credits);
            inputs.credit_entries = opening.entries;
            provenance.book_hash.clone_from(&opening.hash);
        }
        let mut credits = inputs.credits.clone();
        let parts = DraftInputs {
            credits: &mut credits,
            provenance,
            catalog_file: &self.catalog_file,
            corrected: corrected_with(carried),
        };
        let mut invoice = charges.invoice(rated, parts)?;
        invoice.inputs = inputs;
        Ok(Some(invoice))
    }
}

/// Something that the reader of a run must know of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub tenant: String,
    pub period: String,
    pub kind: ProblemKind,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// The tenant has no draft.
    Failed,
    /// Its usage is kept until the catalog knows it.
    NotSetUp,
    /// The invoice is no draft any more and was left as it is.
    Issued,
    /// The draft stands, but something was used and is not billed.
    Unbilled,
    Warning,
}

impl ProblemKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::NotSetUp => "not set up",
            Self::Issued => "issued already",
            Self::Unbilled => "not billed",
            Self::Warning => "warning",
        }
    }
}

/// Sums over the drafts of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    pub drafts: usize,
    pub total: Amount,
    pub due: Amount,
}

/// What rating found, and the files that would change the lake.
#[derive(Debug, Default)]
pub struct Rated {
    pub lines: usize,
    /// Drafts of them, among the drafts.
    pub credit_notes: usize,
    pub sums: BTreeMap<Currency, Sums>,
    /// How many drafts there are, by the instant at which their period ends.
    pub drafts_by_end: BTreeMap<i64, usize>,
    pub problems: Vec<Problem>,
    /// Ids of all drafts that stand after this run.
    pub standing: BTreeSet<String>,
    /// Ids whose rows are new or differ.
    pub changed: BTreeSet<String>,
    pub files: Vec<DraftFiles>,
}

/// A file of each table with the same drafts, not stored yet.
#[derive(Debug)]
pub struct DraftFiles {
    pub invoices: FinishedFile,
    /// None if no draft has a line.
    pub lines: Option<FinishedFile>,
}

/// Rates each usage. `progress` is told how many tenants were done since.
pub fn rate_all(
    tenants: &RatedTenants<'_>,
    usages: &[Usage],
    inputs: &RunInputs,
    stored: &StoredDrafts,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Rated> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Rated::default());
    let work = || -> Result<()> {
        let mut worker = Worker { inputs, stored, rated: Rated::default(), open: BTreeMap::new() };
        loop {
            let from = next.fetch_add(PORTION, Ordering::Relaxed);
            let Some(portion) = usages.get(from..usages.len().min(from + PORTION)) else { break };
            if portion.is_empty() {
                break;
            }
            for usage in portion {
                worker.rate(tenants, usage)?;
            }
            progress(portion.len() as u64);
        }
        let rated = worker.finish()?;
        all.lock().expect("no thread panicked").add(rated);
        Ok(())
    };
    std::thread::scope(|scope| {
        let spawned: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        spawned.into_iter().try_for_each(|thread| thread.join().expect("rating does not panic"))
    })?;
    let mut rated = all.into_inner().expect("no thread panicked");
    let mut worker = Worker { inputs, stored, rated: Rated::default(), open: BTreeMap::new() };
    let known: BTreeSet<&str> = usages.iter().map(|usage| usage.demand.tenant.as_str()).collect();
    for (tenant, found) in inputs.corrections.iter().filter(|(tenant, _)| !known.contains(tenant.as_str())) {
        worker.rate_left(tenant, &found.period)?;
    }
    rated.add(worker.finish()?);
    rated.problems.sort();
    Ok(rated)
}

struct Worker<'w> {
    inputs: &'w RunInputs,
    stored: &'w StoredDrafts,
    rated: Rated,
    /// By month.
    open: BTreeMap<i32, OpenFiles>,
}

struct OpenFiles {
    columns: DraftColumns,
    invoices: DayFileWriter,
    lines: DayFileWriter,
}

impl<'w> Worker<'w> {
    fn rate(&mut self, tenants: &RatedTenants<'_>, usage: &Usage) -> Result<()> {
        let tenant = &usage.demand.tenant;
        let period = &usage.demand.period;
        let Some(charges) = tenants.charges(tenant) else { return Ok(()) };
        let id = draft_id(tenant, &period.name);
        if self.stored.is_issued(&id) {
            self.rated.standing.insert(id);
            self.problem(tenant, period, ProblemKind::Issued, "it stays as it is".to_owned());
            return Ok(());
        }
        match self.documents(charges, usage) {
            Ok(documents) => documents.into_iter().try_for_each(|document| self.keep(document)),
            Err(why) => {
                self.problem(tenant, period, ProblemKind::Failed, why);
                Ok(())
            }
        }
    }

    /// The tenant's invoice, and credit notes beside it. All of them fail or none, with the reason.
    fn documents(&mut self, charges: &Charges<'_>, usage: &Usage) -> Result<Vec<Invoice>, String> {
        let in_words = |error: DraftError| chain(&error);
        let (tenant, period) = (&usage.demand.tenant, &usage.demand.period);
        let rated = charges.rate_lines(usage, &self.inputs.catalog_file).map_err(in_words)?;
        if let Some(why) = self.inputs.overlaps.of_lines(tenant, &rated.lines) {
            return Err(why);
        }
        let Split { carried, credited } = self.split(tenant, period, &rated.lines);
        let invoice = self.inputs.invoice(charges, rated, &carried).map_err(in_words)?;
        let mut documents: Vec<Invoice> = invoice.into_iter().collect();
        for correction in credited {
            documents.extend(self.credit_note(tenant, period, correction).map_err(in_words)?);
        }
        Ok(documents)
    }

    /// Corrections of a tenant that is not rated any more.
    fn rate_left(&mut self, tenant: &str, period: &Period) -> Result<()> {
        let Split { carried, credited } = self.split(tenant, period, &[]);
        let mut made: Vec<Result<Option<Invoice>, DraftError>> =
            credited.iter().map(|correction| self.credit_note(tenant, period, correction)).collect();
        let provenance = &self.inputs.provenance;
        made.push(apart::document(InvoiceKind::Corrections, tenant, period, &carried, provenance));
        for document in made {
            match document {
                Ok(Some(document)) => self.keep(document)?,
                Ok(None) => {}
                Err(error) => self.problem(tenant, period, ProblemKind::Failed, chain(&error)),
            }
        }
        Ok(())
    }

    /// Where the tenant's corrections go; what cannot be corrected is told.
    fn split(&mut self, tenant: &str, period: &Period, own: &[LineItem]) -> Split<'w> {
        let inputs: &'w RunInputs = self.inputs;
        let Some(found) = inputs.corrections.get(tenant) else { return Split::default() };
        for problem in &found.problems {
            self.problem(tenant, period, ProblemKind::Unbilled, problem.clone());
        }
        split(&found.corrections, inputs.corrections_by, own)
    }

    fn credit_note(
        &self,
        tenant: &str,
        period: &Period,
        correction: &PeriodCorrection,
    ) -> Result<Option<Invoice>, DraftError> {
        apart::document(InvoiceKind::CreditNote, tenant, period, &[correction], &self.inputs.provenance)
    }

    /// A document that stands after the run; written if it differs from what is stored.
    fn keep(&mut self, invoice: Invoice) -> Result<()> {
        let (tenant, period) = (invoice.tenant.clone(), invoice.period.clone());
        let id = document_id(&tenant, &period.name, invoice.occasion());
        if self.stored.is_issued(&id) {
            self.rated.standing.insert(id);
            let text =
                "a correction was issued in this period already; what changed since goes to the next one";
            self.problem(&tenant, &period, ProblemKind::Issued, text.to_owned());
            return Ok(());
        }
        for warning in &invoice.warnings {
            self.problem(&tenant, &period, kind_of(warning), warning.to_string());
        }
        let document = invoice.canonical_json().with_context(|| format!("tenant {tenant}"))?;
        let digest = rating::invoice::canonical::digest(&document);
        self.rated.lines += invoice.lines.len();
        self.rated.credit_notes += usize::from(invoice.kind == InvoiceKind::CreditNote);
        let sums = self.rated.sums.entry(invoice.currency).or_default();
        sums.drafts += 1;
        *self.rated.drafts_by_end.entry(period.span.end_us).or_default() += 1;
        sums.total = sums.total.saturating_add(invoice.total);
        sums.due = sums.due.saturating_add(invoice.due);
        let is_stored = self.stored.holds(&id, &digest, invoice.lines.len());
        self.rated.standing.insert(id.clone());
        if !is_stored {
            self.rated.changed.insert(id.clone());
            self.write(month(&period), &Draft { id, digest, document, invoice })?;
        }
        Ok(())
    }

    fn problem(&mut self, tenant: &str, period: &Period, kind: ProblemKind, text: String) {
        let (tenant, period) = (tenant.to_owned(), period.name.clone());
        self.rated.problems.push(Problem { tenant, period, kind, text });
    }

    fn write(&mut self, month: i32, draft: &Draft) -> Result<()> {
        let open = match self.open.entry(month) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(OpenFiles {
                columns: DraftColumns::default(),
                invoices: DayFileWriter::new(Table::Invoices, month, FileKind::Drafts)?,
                lines: DayFileWriter::new(Table::InvoiceLines, month, FileKind::Drafts)?,
            }),
        };
        open.columns.push(draft);
        if open.columns.rows < PORTION {
            return Ok(());
        }
        open.flush()?;
        if (open.invoices.bytes() >= FILE_BYTES || open.invoices.rows() >= FILE_DRAFTS)
            && let Some(full) = self.open.remove(&month)
        {
            self.rated.files.push(full.finish()?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Rated> {
        for (_, mut open) in std::mem::take(&mut self.open) {
            open.flush()?;
            self.rated.files.push(open.finish()?);
        }
        Ok(self.rated)
    }
}

impl OpenFiles {
    fn flush(&mut self) -> Result<()> {
        let (invoices, lines) = self.columns.finish();
        self.invoices.write(&invoices)?;
        self.lines.write(&lines)?;
        Ok(())
    }

    fn finish(self) -> Result<DraftFiles> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let lines = (self.lines.rows() > 0).then(|| self.lines.finish(now_ms)).transpose()?;
        Ok(DraftFiles { invoices: self.invoices.finish(now_ms)?, lines })
    }
}

impl Rated {
    fn add(&mut self, other: Rated) {
        self.lines += other.lines;
        self.credit_notes += other.credit_notes;
        for (currency, own) in other.sums {
            let sums = self.sums.entry(currency).or_default();
            sums.drafts += own.drafts;
            sums.total = sums.total.saturating_add(own.total);
            sums.due = sums.due.saturating_add(own.due);
        }
        for (end_us, count) in other.drafts_by_end {
            *self.drafts_by_end.entry(end_us).or_default() += count;
        }
        self.problems.extend(other.problems);
        self.standing.extend(other.standing);
        self.changed.extend(other.changed);
        self.files.extend(other.files);
    }
}

/// The partition of a period: the first day of the local month in which it starts, in days since 1970-01-01.
pub fn month(period: &Period) -> i32 {
    let start: Date = period.name.parse().expect("a period's name is its first day");
    days(start.first_of_month())
}

/// The same of a period's name; none where it is none.
pub fn month_of_name(period: &str) -> Option<i32> {
    Some(days(period.parse::<Date>().ok()?.first_of_month()))
}

pub fn days(date: Date) -> i32 {
    date.since(Date::constant(1970, 1, 1)).map_or(0, |span| span.get_days())
}

fn kind_of(warning: &Warning) -> ProblemKind {
    if warning.leaves_usage_unbilled() { ProblemKind::Unbilled } else { ProblemKind::Warning }
}

/// An error with all of its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let own = error.to_string();
        if !text.ends_with(&own) {
            text = format!("{text}: {own}");
        }
        cause = error.source();
    }
    text
}
