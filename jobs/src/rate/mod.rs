//! `meterhouse rate`: drafts of a period's invoices, from what the lake holds at one version.
//!
//! Owns the run: who is rated (`tenants`), rating on all cores (`drafts`), the rows (`columns`) and replacing what stands
//! in the lake (`stored`), what issued invoices are corrected by and why (`corrections`, `again`, `causes`) and on which document (`apart`),
//! the credits that may pay (`credits`), and what a run tells (`report`). Does not own the arithmetic (`rating`) nor counting (`sql::quantities`). A run
//! compares what should be with what is: it writes only drafts that differ, and the same inputs change nothing (DESIGN.md
//! 3.9, 3.10).

pub mod again;
pub mod apart;
mod causes;
mod changes;
pub mod columns;
pub mod corrections;
pub mod credits;
pub mod drafts;
pub mod neighbours;
mod report;
mod resent;
pub mod stored;
pub mod tenants;
mod unbilled;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use ::sql::lake::{Lake, TableSnapshot};
use ::sql::quantities::Answers;
use ::sql::rollups::Source;
use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::SignedDuration;
use rating::catalog::Catalog;
use rating::draft::{DemandOptions, document_id};
use rating::invoice::Provenance;
use rating::period::{PeriodChoice, PeriodFilter};

use crate::book::{Book, Fence};
use crate::catalog::chosen::now_us;
use crate::cli::{Exit, Globals, runtime, try_again_if_overtaken};
use crate::config::Config;
use crate::output::Format;
use crate::periods::{NOTHING_ENDED, PeriodArg, PeriodMonth};
use crate::run::{DRAFTS, RunSpec, with_run};
use crate::source::SourceArgs;

pub use report::RateBar;

use apart::CorrectionsBy;
use corrections::CorrectionSearch;
use drafts::{Problem, ProblemKind, Rated, RunInputs, chain, month};
use neighbours::{Overlaps, gaps};
use stored::{DraftTables, Replaced, StoredDrafts};
use tenants::{RatedTenants, threads, usage_snapshot};
use unbilled::UnbilledSearch;

/// Rate a period: write drafts of its invoices
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse rate --period 2026-01
  meterhouse rate --period 2026-01 --tenant acme --tenant globex
  meterhouse rate --period last                of each tenant the period that ended last
  meterhouse rate --period 2026-01-15 --dry-run
  meterhouse rate --period 2026-01 --as-of 1204
  meterhouse rate --period 2026-01 --dry-run --catalog next.yaml

The catalog is the one that `meterhouse catalog apply` made hold at the end of the month (UTC); the settings' file as long \
as none was applied. Issued invoices of the `correct_periods` periods before (3 by default) are looked at, too: where \
late, voided or amended events or an applied catalog changed them, the difference stands on this draft, or as a draft of \
a credit note beside it: where `corrections` in [issuer] says so, where the tenant owes nothing else, or where the invoice \
would come to less than nothing. Earlier periods of which somebody has something to be billed and no invoice are \
listed, with the command that bills them. \
A month means, for each tenant, the period that starts in that month of its own calendar; a day means the period that \
it lies in, and `last` the one that ended last. These may start in different months, each of which is rated with its \
own catalog, the oldest first. Drafts go to the tables invoices and invoice_lines, where those of the same tenant and period are \
replaced; a run that changes nothing writes nothing. Tenants that fail are listed, and the others are rated (exit code \
3). `meterhouse invoice show` prints a draft, `meterhouse explain` walks a line back.")]
pub struct RateArgs {
    /// The period, as a month (2026-01), a day in it (2026-01-15), or `last`: each tenant's own that ended last
    #[arg(long, value_name = "PERIOD")]
    period: PeriodArg,
    /// Rate only this tenant; may be given several times [default: everybody]
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,
    /// Read usage_events as it was at this version [default: the newest]
    #[arg(long, value_name = "VERSION")]
    as_of: Option<u64>,
    /// Only say what would be written
    #[arg(long)]
    dry_run: bool,
    /// Rate with this catalog instead of the one in force; for drafts only
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    /// How the table of warnings is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A run from the command line or a schedule.
#[derive(Debug, Clone)]
pub struct RateRequest {
    /// The month in which the rated periods start.
    pub period: PeriodChoice,
    /// Which of them are rated.
    pub filter: PeriodFilter,
    /// Whether it also corrects who has left and tells what was never billed: of several months only the newest does.
    pub is_newest: bool,
    /// None rates everybody.
    pub tenants: Option<BTreeSet<String>>,
    pub as_of: Option<u64>,
    pub dry_run: bool,
    pub source: Source,
    pub threads: usize,
    /// Knows which invoices are no drafts any more, if there is one.
    pub book: Option<Book>,
    /// What this run shows when it writes to the book; without it nothing is written there.
    pub fence: Option<Fence>,
    /// The catalog's name in `price_source`.
    pub catalog_file: String,
    /// So many earlier periods are corrected, where they were issued and have changed since.
    pub look_back: u32,
    /// So long after their end, earlier periods without an invoice are told.
    pub grace: SignedDuration,
    pub corrections_by: CorrectionsBy,
}

/// What a run did.
#[derive(Debug)]
pub struct RateReport {
    /// In the order of tenants; those of tenants that failed first.
    pub rated: Rated,
    pub gone: BTreeSet<String>,
    pub replaced: Replaced,
    /// Lines that correct issued invoices.
    pub corrections: usize,
    /// The version of usage_events that was read; none where there is none yet.
    pub usage_version: Option<u64>,
    /// Whether all tenants were rated that the catalog does not name.
    pub has_all_others: bool,
}

impl RateRequest {
    /// For everybody's periods of a month, read from roll-ups where they answer.
    pub fn of_month(month: &PeriodMonth, config: &Config, book: Option<Book>) -> Self {
        Self {
            period: month.month,
            filter: month.filter,
            is_newest: month.is_newest,
            tenants: None,
            as_of: None,
            dry_run: false,
            source: Source::Auto,
            threads: threads(),
            book,
            fence: None,
            catalog_file: month.chosen.file.clone(),
            look_back: config.issuer.correct_periods,
            grace: config.issuer.grace,
            corrections_by: config.issuer.corrections,
        }
    }
}

pub fn run(args: &RateArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let reports = runtime()?.block_on(rate_months(args, &config, &lake));
    let reports = reports.map_err(try_again_if_overtaken)?;
    if reports.is_empty() {
        eprintln!("{NOTHING_ENDED}");
    }
    let mut problems = RateReport::no_rows();
    for (request, report) in &reports {
        report.summarize(request);
        report.push_rows(&mut problems, |_| true);
    }
    if !(problems.is_empty() && args.format == Format::Table) {
        problems.print(args.format)?;
    }
    let has_failed = reports.iter().any(|(_, report)| report.has_failed());
    Ok(if has_failed { Exit::DoneWithRejects } else { Exit::Done })
}

/// Rates the months that the command means, the oldest first.
async fn rate_months(
    args: &RateArgs,
    config: &Config,
    lake: &Lake,
) -> Result<Vec<(RateRequest, RateReport)>> {
    let book = if args.dry_run { Book::existing_of(config).await? } else { Some(Book::of(config).await?) };
    let named = args.catalog.as_deref();
    let now_us = now_us(book.as_ref()).await?;
    let mut reports = Vec::new();
    for month in args.period.months(book.as_ref(), config, named, now_us).await? {
        eprintln!("{}", month.chosen.told);
        let request = RateRequest {
            tenants: (!args.tenant.is_empty()).then(|| args.tenant.iter().cloned().collect()),
            as_of: args.as_of,
            dry_run: args.dry_run,
            source: args.source.source(),
            ..RateRequest::of_month(&month, config, book.clone())
        };
        let catalog = &month.chosen.catalog;
        let bar = RateBar::new();
        let report = match &book {
            Some(book) if !request.dry_run => {
                rate_as_run(book, lake, config, catalog, &request, &|done| bar.show(done)).await?
            }
            _ => rate(lake, catalog, &request, &|done| bar.show(done)).await?,
        };
        reports.push((request, report));
    }
    Ok(reports)
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The usage of so many tenants is known.
    Tenants(u64),
    /// So many more of them are rated.
    Rated(u64),
}

/// Rates within a run of the book.
pub async fn rate_as_run(
    book: &Book,
    lake: &Lake,
    config: &Config,
    catalog: &Arc<Catalog>,
    request: &RateRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<RateReport> {
    let period = request.period.to_string();
    with_run(book, RunSpec::of_job("rate", config).with_period(&period).with_lease(DRAFTS), async |run| {
        let request = RateRequest { fence: Some(run.fence().clone()), ..request.clone() };
        let report = rate(lake, catalog, &request, progress).await?;
        if let Some(version) = report.usage_version {
            run.input("usage_events", version);
        }
        run.input("catalog", catalog.hash.to_hex());
        if !report.has_all_others {
            run.input(unbilled::ONLY_TENANTS, request.tenants.as_ref().map_or(0, BTreeSet::len));
        }
        run.count("drafts", report.rated.standing.len());
        run.count("changed", report.rated.changed.len());
        run.count("problems", report.rated.problems.len());
        run.count("corrections", report.corrections);
        if report.has_failed() {
            run.has_rejects();
        }
        Ok(report)
    })
    .await
}

/// Rates a period and replaces its drafts.
pub async fn rate(
    lake: &Lake,
    catalog: &Arc<Catalog>,
    request: &RateRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<RateReport> {
    let only = request.tenants.as_ref();
    if let Some(unknown) = only.and_then(|only| only.iter().find(|key| catalog.tenant_terms(key).is_none())) {
        bail!("tenant {unknown} is not set up: add it to the catalog's `tenants`, or `other_tenants`");
    }
    let meant = (request.period, request.filter, request.is_newest);
    let tenants = RatedTenants::of_month(catalog, meant, only)?;
    let snapshot = usage_snapshot(lake, request.as_of).await?;
    let options = DemandOptions::default();
    let (source, threads) = (request.source, request.threads);
    let found = tenants.usage_from(source, lake, catalog, snapshot.as_ref(), options, threads).await?;
    progress(Progress::Tenants(found.usages.len() as u64));
    let inputs = inputs(lake, catalog, request, &tenants, &found, snapshot.as_ref()).await?;
    let corrected = inputs.corrections.values();
    let corrections =
        corrected.clone().flat_map(|own| &own.corrections).map(|correction| correction.lines.len()).sum();
    let rated_periods = tenants.all_charges().map(rating::draft::Charges::period);
    let months: BTreeSet<i32> = rated_periods.chain(corrected.map(|own| &own.period)).map(month).collect();
    let tables = if request.dry_run { None } else { Some(DraftTables::open(lake).await?) };
    let mut stored = StoredDrafts::read(lake, tables.as_ref().map(DraftTables::versions), &months).await?;
    if let Some(book) = &request.book {
        stored.note_issued(&issued(book, &stored.periods()).await?);
    }
    let mut rated = tokio::task::block_in_place(|| {
        let rated = |count| progress(Progress::Rated(count));
        drafts::rate_all(&tenants, &found.usages, &inputs, &stored, request.threads, &rated)
    })?;
    rated.problems.extend(inputs.unbilled_before.iter().cloned());
    if let Some(snapshot) = &snapshot {
        let periods = tenants.all_charges().map(rating::draft::Charges::period);
        rated.problems.extend(resent::warning(lake, snapshot, request.period, periods).await?);
    }
    add_problems(&mut rated, &tenants, &found, request);
    let gone = gone(&stored, &rated, &tenants, &found, &inputs, request);
    let files = std::mem::take(&mut rated.files);
    let replaced = match tables {
        Some(tables) => tables.replace(&stored, &rated.changed, &gone, files).await?,
        None => Replaced::default(),
    };
    let usage_version = snapshot.map(|snapshot| snapshot.version);
    let has_all_others = tenants.has_all_others();
    Ok(RateReport { rated, gone, replaced, corrections, usage_version, has_all_others })
}

/// What the book adds to the usage: corrections of what was issued, and credits.
async fn inputs(
    lake: &Lake,
    catalog: &Arc<Catalog>,
    request: &RateRequest,
    tenants: &RatedTenants<'_>,
    found: &Answers,
    snapshot: Option<&Arc<TableSnapshot>>,
) -> Result<RunInputs> {
    let mut inputs = RunInputs {
        provenance: provenance(catalog, snapshot.map(Arc::as_ref)),
        catalog_file: request.catalog_file.clone(),
        corrections_by: request.corrections_by,
        ..RunInputs::default()
    };
    let Some(book) = &request.book else { return Ok(inputs) };
    let demands = || found.usages.iter().map(|usage| &usage.demand);
    let periods = || demands().map(|demand| (demand.tenant.as_str(), &demand.period));
    inputs.overlaps = Overlaps::of(book, periods()).await?;
    if request.look_back > 0 {
        let search = CorrectionSearch {
            lake,
            book,
            snapshot,
            choice: request.period,
            look_back: request.look_back,
            threads: request.threads,
        };
        let failed = found.failed.iter().map(|failure| failure.tenant.as_str()).collect();
        let earlier = search.find(catalog, tenants, periods(), &failed).await;
        let mut earlier = earlier.context("cannot correct what was issued")?;
        if request.is_newest {
            let unbilled = UnbilledSearch {
                lake,
                book,
                snapshot,
                choice: request.period,
                look_back: request.look_back,
                only: request.tenants.as_ref(),
                grace: request.grace,
                threads: request.threads,
            };
            let unbilled = unbilled.find(catalog, &earlier.documents, &mut earlier.changes).await;
            inputs.unbilled_before = unbilled.context("cannot look for what was never billed")?;
            inputs.unbilled_before.append(&mut earlier.too_old);
        }
        inputs.unbilled_before.extend(gaps(&earlier.documents, tenants, periods()));
        inputs.corrections = earlier.corrections;
    }
    let names = demands().map(|demand| demand.tenant.as_str());
    inputs.credits = credits::open(book, request.fence.as_ref(), catalog, tenants, names).await?;
    Ok(inputs)
}

/// Ids of the documents of these periods that the book has issued, whether or not the lake knows it already. An older
/// catalog, with other billing cycles, may have named them.
async fn issued(book: &Book, periods: &BTreeSet<&str>) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for period in periods {
        let names = book.documents_named(period).await?;
        ids.extend(names.iter().map(|name| document_id(&name.tenant, period, &name.occasion)));
    }
    Ok(ids)
}

/// What a draft names as its origin.
pub fn provenance(catalog: &Catalog, snapshot: Option<&TableSnapshot>) -> Provenance {
    Provenance {
        table_id: snapshot.map(|snapshot| snapshot.table_id.clone()).unwrap_or_default(),
        table_version: snapshot.map_or(-1, |snapshot| snapshot.version.cast_signed()),
        catalog_hash: catalog.hash.to_hex().to_string(),
        book_hash: String::new(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn add_problems(rated: &mut Rated, tenants: &RatedTenants<'_>, found: &Answers, request: &RateRequest) {
    for failure in &found.failed {
        let charges = tenants.charges(&failure.tenant);
        rated.problems.push(Problem {
            tenant: failure.tenant.clone(),
            period: charges.map(|charges| charges.period().name.clone()).unwrap_or_default(),
            kind: ProblemKind::Failed,
            text: chain(&failure.source),
        });
    }
    for (tenant, rows) in &found.not_set_up {
        rated.problems.push(Problem {
            tenant: tenant.clone(),
            period: request.period.to_string(),
            kind: ProblemKind::NotSetUp,
            text: format!("{rows} rows of usage are kept until the catalog knows the tenant"),
        });
    }
    rated.problems.sort_by(|left, right| {
        (left.kind, &left.tenant, &left.period).cmp(&(right.kind, &right.tenant, &right.period))
    });
}

/// Drafts that must not stay: of tenants that this run looked at and that have none now. A month of everybody is
/// responsible for the whole month.
fn gone(
    stored: &StoredDrafts,
    rated: &Rated,
    tenants: &RatedTenants<'_>,
    found: &Answers,
    inputs: &RunInputs,
    request: &RateRequest,
) -> BTreeSet<String> {
    let is_all = request.tenants.is_none() && request.filter == PeriodFilter::All;
    if is_all && matches!(request.period, PeriodChoice::Month(_)) {
        return stored.gone(&rated.standing, |_, _| true);
    }
    let looked_at = found
        .usages
        .iter()
        .map(|usage| usage.demand.tenant.as_str())
        .chain(found.failed.iter().map(|failure| failure.tenant.as_str()))
        .chain(request.tenants.iter().flatten().map(String::as_str));
    let charged =
        looked_at.filter_map(|tenant| Some((tenant, tenants.charges(tenant)?.period().name.as_str())));
    let left = inputs.corrections.iter().map(|(tenant, own)| (tenant.as_str(), own.period.name.as_str()));
    let meant: BTreeSet<(&str, &str)> = charged.chain(left).collect();
    // Who is not in the catalog any more has drafts of no period that is meant.
    let has_left = |tenant: &str| tenants.may_have_left(tenant) && tenants.charges(tenant).is_none();
    // An id begins with its period.
    stored.gone(&rated.standing, |id, tenant| {
        has_left(tenant) || id.get(..10).is_some_and(|period| meant.contains(&(tenant, period)))
    })
}

/// What people pass where a catalog or tenant is needed.
pub fn terms_of<'c>(catalog: &'c Catalog, tenant: &str) -> Result<&'c rating::catalog::Tenant> {
    catalog.tenant_terms(tenant).with_context(|| format!("tenant {tenant} is not set up in the catalog"))
}
