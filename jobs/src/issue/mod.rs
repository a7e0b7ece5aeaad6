//! `meterhouse issue`: after the grace period, drafts become invoices with numbers (DESIGN.md 3.9).
//!
//! Owns the order in which that happens, so that it can stop anywhere: the catalog that a draft names is kept beside the
//! lake; numbers, the index, the lines and what Stripe must be told are written in one transaction of the book, which is
//! what makes an invoice or a credit note (`portion`); then the lake's row is marked and the papers are written (`finish`). Each
//! run also does what an earlier one left undone, of whatever period. It does not own rating: a draft is issued as it lies in the lake, byte for
//! byte.

mod apart;
pub mod catalogs;
mod drafts;
mod finish;
mod fresh;
mod mark;
pub mod outbox;
mod papers;
mod portion;
pub mod retold;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::IsTerminal as _;

use ::sql::lake::Lake;
use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ingest::crash_point::crash_point;
use jiff::{SignedDuration, Timestamp};
use rating::period::{PeriodChoice, PeriodFilter};

use crate::book::{Book, DocumentKind, DocumentName, NewDocument};
use crate::catalog::chosen::{deciding_instant_us, now_us};
use crate::cli::{Exit, Globals, runtime, try_again_if_overtaken};
use crate::config::Config;
use crate::output::{Format, Rows};
use crate::periods::{MeantPeriods, NOTHING_ENDED, PeriodArg, PeriodMonth};
use crate::rate::drafts::{chain, month as month_of};
use crate::rate::stored::{DraftTables, StoredDrafts};
use crate::run::{DRAFTS, RunContext, RunSpec, with_run};
use crate::threads::of_each;

use outbox::StripePlans;
use portion::Numbering;
use retold::ToldUntil;

pub use drafts::{StoredDocument, documents_as_they_lie, documents_with, drafts_left, stored_documents};

/// Issue the drafts of a period: number them for good
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse issue --period 2026-05 --dry-run
  meterhouse issue --period 2026-05
  meterhouse issue --period last
  meterhouse issue --period 2026-05 --grace \"0 s\" --tenant acme

Drafts are issued as `meterhouse rate` left them, once the grace period after their end is over (`issuer.grace`). Numbers \
have no gaps. What Stripe must be told, as the catalog's `stripe` keys say, goes into the outbox in the same \
transaction, and `meterhouse push` sends it. Credit notes, which take back what an earlier invoice said too much, have \
numbers of their own (`credit_note_prefix`). An issued invoice never changes; run again, the command issues what is left and finishes what an \
interrupted run began. PDF, HTML, CSV and JSON of each document go to `papers` in the lake.")]
pub struct IssueArgs {
    /// The period, as a month (2026-05), a day in it (2026-05-15), or `last`: each tenant's own of which the grace period
    /// ended last
    #[arg(long, value_name = "PERIOD")]
    period: PeriodArg,
    /// Only this tenant; may be given several times [default: everybody]
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,
    /// How long to wait after a period's end [default: `grace` in [issuer]]
    #[arg(long, value_name = "DURATION", value_parser = grace)]
    grace: Option<SignedDuration>,
    /// Do not write papers
    #[arg(long)]
    without_papers: bool,
    /// Only say what would be issued
    #[arg(long)]
    dry_run: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn grace(text: &str) -> Result<SignedDuration, String> {
    let found = crate::config::duration(text).filter(|duration| !duration.is_negative());
    found.ok_or_else(|| "expected a length of time like 72 h or 0 s".to_owned())
}

/// An issue run from the command line, from `close` or a schedule.
#[derive(Debug, Clone)]
pub struct IssueRequest {
    pub period: PeriodChoice,
    /// Which of the periods are meant; none means all.
    pub meant: Option<PeriodMonth>,
    /// None issues everybody's.
    pub tenants: Option<BTreeSet<String>>,
    pub grace: SignedDuration,
    pub with_papers: bool,
    pub dry_run: bool,
}

/// What a run did, or would do.
#[derive(Debug, Default)]
pub struct IssueReport {
    /// Newly issued, in the order of their numbers.
    pub issued: Vec<NewDocument>,
    /// Tenants whose drafts are out of date: the catalog, what they correct, or the credits that pay, changed since.
    pub stale: Vec<String>,
    /// Drafts whose grace period is not over.
    pub waiting: usize,
    /// Invoices of the period that were issued before.
    pub issued_before: usize,
    /// Records for Stripe by their kind.
    pub for_stripe: BTreeMap<&'static str, usize>,
    /// Drafts that stay drafts because Stripe cannot be told of them.
    pub held_back: Vec<HeldBack>,
    pub papers: usize,
    pub warnings: Vec<String>,
    /// Issued documents that are not in the lake as they were issued.
    pub damaged: Vec<String>,
}

/// A draft that was not issued, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    pub tenant: String,
    pub period: String,
    pub why: String,
}

pub fn run(args: &IssueArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let reports = runtime()?.block_on(issue_months(args, &config, &lake));
    let reports = reports.map_err(try_again_if_overtaken)?;
    if reports.is_empty() {
        eprintln!("{NOTHING_ENDED}");
    }
    print(&reports, args.format)?;
    let is_whole = reports.iter().all(|(_, report)| report.is_whole());
    Ok(if is_whole { Exit::Done } else { Exit::DoneWithRejects })
}

/// Issues what the command means; of `last` one month after the other.
async fn issue_months(
    args: &IssueArgs,
    config: &Config,
    lake: &Lake,
) -> Result<Vec<(IssueRequest, IssueReport)>> {
    let book = if args.dry_run { Book::existing_of(config).await? } else { Some(Book::of(config).await?) };
    let request = |period, meant| IssueRequest {
        period,
        meant,
        tenants: (!args.tenant.is_empty()).then(|| args.tenant.iter().cloned().collect()),
        grace: args.grace.unwrap_or(config.issuer.grace),
        with_papers: !args.without_papers,
        dry_run: args.dry_run,
    };
    let requests: Vec<IssueRequest> = match args.period {
        // Which catalog holds is asked of each draft by itself.
        PeriodArg::Chosen(period) => vec![request(period, None)],
        PeriodArg::Last => {
            let grace = args.grace.unwrap_or(config.issuer.grace);
            let ended_by_us = before(now_us(book.as_ref()).await?, grace);
            let months = args.period.months(book.as_ref(), config, None, ended_by_us).await?;
            months.into_iter().map(|month| request(month.month, Some(month))).collect()
        }
    };
    let mut reports = Vec::new();
    for request in requests {
        let report = match &book {
            Some(book) if args.dry_run => foresee(book, lake, config, &request).await?,
            Some(book) => issue_as_run(book, lake, config, &request).await?,
            // Without a book nothing was rated.
            None => IssueReport::default(),
        };
        reports.push((request, report));
    }
    Ok(reports)
}

/// So long before an instant.
pub fn before(at_us: i64, length: SignedDuration) -> i64 {
    at_us.saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX))
}

/// Issues within a run of the book.
pub async fn issue_as_run(
    book: &Book,
    lake: &Lake,
    config: &Config,
    request: &IssueRequest,
) -> Result<IssueReport> {
    let period = request.period.to_string();
    with_run(book, RunSpec::of_job("issue", config).with_period(&period).with_lease(DRAFTS), async |run| {
        let report = issue(run, lake, config, request).await?;
        run.count("issued", report.issued.len());
        run.count("waiting", report.waiting);
        run.count("stale", report.stale.len());
        run.count("papers", report.papers);
        run.count("for_stripe", report.for_stripe.values().sum::<usize>());
        run.count("held_back", report.held_back.len());
        if !report.is_whole() {
            run.has_rejects();
        }
        Ok(report)
    })
    .await
}

/// What would be issued now. Writes nothing, not even that it ran.
pub async fn foresee(
    book: &Book,
    lake: &Lake,
    config: &Config,
    request: &IssueRequest,
) -> Result<IssueReport> {
    let mut report = IssueReport::default();
    check_issuer(config, request, &mut report)?;
    let Prepared { due, .. } = prepare(book, lake, config, request, None, &mut report).await?;
    let numbering = Numbering::prepare(&config.issuer, book, "", &due).await?;
    report.issued = due.iter().map(|document| numbering.document(document, 0)).collect();
    Ok(report)
}

async fn issue(
    run: &RunContext,
    lake: &Lake,
    config: &Config,
    request: &IssueRequest,
) -> Result<IssueReport> {
    let mut report = IssueReport::default();
    check_issuer(config, request, &mut report)?;
    // Opened before the drafts are read: whoever changes them in between is found out by `hold`.
    let tables = DraftTables::open(lake).await?;
    run.input("invoices", tables.versions().0);
    let book = run.book();
    let Prepared { due, plans, requested } =
        prepare(book, lake, config, request, Some(tables), &mut report).await?;
    let catalogs: BTreeSet<&str> = due.iter().flat_map(catalogs::named).collect();
    if !catalogs.is_empty() {
        run.input("catalogs", catalogs.iter().copied().collect::<Vec<_>>().join(" "));
    }
    let numbering = Numbering::prepare(&config.issuer, book, run.run_id(), &due).await?;
    catalogs::keep(lake, book, config, catalogs.into_iter()).await?;
    crash_point("after_catalogs");
    let bar = bar("issuing {pos}/{len} documents", due.len());
    for portion in portion::portions(&due) {
        portion::issue(run, &numbering, &plans, portion, request.with_papers, &mut report).await?;
        bar.inc(portion.len() as u64);
    }
    bar.finish_and_clear();
    finish::finish(run, lake, config, request, (&requested, due), &mut report).await?;
    Ok(report)
}

/// Drafts that can be issued now, and what is to be known for that.
struct Prepared {
    due: Vec<StoredDocument>,
    plans: StripePlans,
    /// The periods that the request means.
    requested: BTreeSet<String>,
}

/// Finds the drafts that are due; those that stay behind are noted in the report. With tables at hand, nobody who opened them
/// before can change the drafts from then on.
async fn prepare(
    book: &Book,
    lake: &Lake,
    config: &Config,
    request: &IssueRequest,
    tables: Option<DraftTables>,
    report: &mut IssueReport,
) -> Result<Prepared> {
    let mut documents = stored_documents(lake, Some(request.period), request.tenants.as_ref()).await?;
    if let Some(month) = request.meant.as_ref().filter(|month| month.filter != PeriodFilter::All) {
        let meant = MeantPeriods::new(month);
        let mut kept = Vec::with_capacity(documents.len());
        for document in documents {
            if meant.holds(&document.invoice.tenant, &document.invoice.period)? {
                kept.push(document);
            }
        }
        documents = kept;
    }
    let requested = documents.iter().map(|document| document.invoice.period.name.clone()).collect();
    let (mut due, mut billed) = (Vec::new(), BTreeMap::<String, BTreeSet<DocumentName>>::new());
    let now_us = book.now_us().await?;
    for document in documents {
        let period = &document.invoice.period;
        if !billed.contains_key(&period.name) {
            billed.insert(period.name.clone(), book.documents_named(&period.name).await?);
        }
        if billed[&period.name].contains(&name_of(&document)) {
            report.issued_before += 1;
        } else if period.span.end_us > before(now_us, request.grace) {
            report.waiting += 1;
        } else {
            due.push(document);
        }
    }
    let order = |document: &StoredDocument| {
        let invoice = &document.invoice;
        (invoice.tenant.clone(), invoice.period.name.clone(), invoice.occasion().to_owned())
    };
    due.sort_by_cached_key(order);
    if let Some(tables) = tables.filter(|_| !due.is_empty()) {
        tables.hold().await?;
    }
    let due = standing(lake, book, due, report).await?;
    let due = apart::apart_in_time(book, due, report).await?;
    let plans = StripePlans::prepare(lake, book, config, due.iter(), ToldUntil::Now(now_us)).await?;
    let due = plannable(due, &plans, report);
    Ok(Prepared { due, plans, requested })
}

/// How far something has come, on a terminal.
fn bar(template: &str, length: usize) -> ProgressBar {
    if length == 0 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length as u64);
    let style = ProgressStyle::with_template(&format!("{template} {{wide_bar}} {{elapsed}}"));
    style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)
}

/// Papers say who issues them. A dry run, which writes none, only tells what is missing.
fn check_issuer(config: &Config, request: &IssueRequest, report: &mut IssueReport) -> Result<()> {
    let name = "who issues the invoices is not set: name the seller as `name` in [issuer] of the settings";
    let address = "the seller has no address on the papers: set `address` in [issuer] of the settings";
    match (config.issuer.name.is_some(), request.dry_run) {
        (false, false) => bail!(name),
        (false, true) => report.warnings.push(format!("{name}; nothing can be issued before")),
        (true, _) => {}
    }
    if config.issuer.address.is_empty() && request.dry_run {
        report.warnings.push(address.to_owned());
    }
    Ok(())
}

/// Drafts as they should be: with their own lines beside them, and made with the catalog that holds for their period. The
/// others have to be rated again.
async fn standing(
    lake: &Lake,
    book: &Book,
    due: Vec<StoredDocument>,
    report: &mut IssueReport,
) -> Result<Vec<StoredDocument>> {
    let months: BTreeSet<i32> = due.iter().map(|document| month_of(&document.invoice.period)).collect();
    let stored = StoredDrafts::read(lake, None, &months).await?;
    let mut in_force: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut kept = Vec::with_capacity(due.len());
    for document in due {
        let invoice = &document.invoice;
        let period = &invoice.period.name;
        if !in_force.contains_key(period) {
            let at_us = deciding_instant_us(period.parse()?);
            let found = book.catalog_version_in_force(at_us).await?;
            in_force.insert(period.clone(), found.map(|applied| applied.catalog_hash));
        }
        // A document of corrections alone keeps the catalog of what it corrects.
        let is_by_other_catalog = invoice.kind.is_of_period()
            && in_force[period].as_ref().is_some_and(|hash| *hash != invoice.provenance.catalog_hash);
        if is_by_other_catalog || !stored.holds(&document.id, &document.digest, invoice.lines.len()) {
            report.stale.push(invoice.tenant.clone());
        } else {
            kept.push(document);
        }
    }
    Ok(kept)
}

/// What the book calls a document, once it is issued.
fn name_of(document: &StoredDocument) -> DocumentName {
    DocumentName { tenant: document.invoice.tenant.clone(), occasion: document.invoice.occasion().to_owned() }
}

/// Drafts of which Stripe can be told; the others stay drafts, each with its reason.
fn plannable(due: Vec<StoredDocument>, plans: &StripePlans, report: &mut IssueReport) -> Vec<StoredDocument> {
    let mut kept = Vec::with_capacity(due.len());
    let planned = of_each(&due, |document| Ok::<_, Infallible>(plans.try_out(document)));
    let planned = planned.unwrap_or_else(|never| match never {});
    for (document, planned) in due.into_iter().zip(planned) {
        match planned {
            Ok(records) => {
                for record in &records {
                    *report.for_stripe.entry(record.content.kind.name()).or_default() += 1;
                }
                kept.push(document);
            }
            Err(error) => report.held_back.push(HeldBack {
                tenant: document.invoice.tenant.clone(),
                period: document.invoice.period.name.clone(),
                why: chain(&error),
            }),
        }
    }
    kept
}

impl IssueReport {
    /// The newly issued documents in words.
    pub fn counted(&self) -> String {
        let notes = self.issued.iter().filter(|issued| issued.kind == DocumentKind::CreditNote).count();
        let invoices = self.issued.len() - notes;
        if notes == 0 {
            format!("{invoices} invoices")
        } else {
            format!("{invoices} invoices and {notes} credit notes")
        }
    }

    /// Whether no draft had to stay a draft that was due.
    pub fn is_whole(&self) -> bool {
        self.held_back.is_empty() && self.stale.is_empty() && self.damaged.is_empty()
    }

    /// On stderr: what went into the outbox, and which drafts stay.
    pub fn say_what_stripe_is_told(&self, dry_run: bool) {
        if !self.for_stripe.is_empty() {
            let kinds: Vec<String> =
                self.for_stripe.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            let kinds = kinds.join(", ");
            if dry_run {
                eprintln!("for stripe there would be: {kinds}");
            } else {
                eprintln!("in the outbox for stripe: {kinds}; `meterhouse push` sends them");
            }
        }
        for damaged in &self.damaged {
            eprintln!("error: {damaged}");
        }
        for HeldBack { tenant, period, why } in &self.held_back {
            eprintln!("tenant {tenant}, period {period}: stays a draft: {why}");
        }
    }

    /// On stderr: what came of a request.
    fn say(&self, request: &IssueRequest) {
        let count = self.issued.len();
        if request.dry_run {
            eprintln!("{} would be issued (--dry-run)", self.counted());
        } else {
            eprintln!("{} issued, {} papers written", self.counted(), self.papers);
        }
        self.say_what_stripe_is_told(request.dry_run);
        if self.issued_before > 0 {
            eprintln!("{} were issued before", self.issued_before);
        }
        if self.waiting > 0 {
            eprintln!("{} drafts wait until the grace period after their end is over", self.waiting);
        }
        if !self.stale.is_empty() {
            eprintln!(
                "{} drafts are out of date and were not issued, because the catalog, what they correct or the credits that pay \
                 changed since ({}): run `meterhouse rate` again",
                self.stale.len(),
                self.stale.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ")
            );
        }
        if count + self.issued_before + self.waiting + self.stale.len() == 0 {
            eprintln!("there are no drafts of {}: `meterhouse rate` makes them", request.period);
        }
        for warning in &self.warnings {
            eprintln!("warning: {warning}");
        }
    }
}

/// Every document in one table, and what came of each request on stderr.
fn print(reports: &[(IssueRequest, IssueReport)], format: Format) -> Result<()> {
    let mut rows = Rows::new(&["number", "tenant", "period", "currency", "total", "due"]);
    for (request, report) in reports {
        for document in &report.issued {
            let number = if request.dry_run { "-" } else { &document.printed_number };
            rows.push(vec![
                number.into(),
                document.tenant.clone().into(),
                document.period.clone().into(),
                document.currency.clone().into(),
                document.total.to_string().into(),
                document.due.to_string().into(),
            ]);
        }
    }
    rows.print(format)?;
    for (request, report) in reports {
        report.say(request);
    }
    Ok(())
}

/// The local date of an instant, in UTC: the day on which papers say they were issued.
fn utc_date(at_us: i64) -> Result<jiff::civil::Date> {
    let timestamp = Timestamp::from_microsecond(at_us).context("the book's time is outside the calendar")?;
    Ok(timestamp.to_zoned(jiff::tz::TimeZone::UTC).date())
}
