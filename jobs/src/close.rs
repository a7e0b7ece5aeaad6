//! `meterhouse close`: everything that ends a period, in its order: compact, rollup, rate, issue.
//!
//! Owns the order and nothing else: each step is the job of that name, compares what should be with what is, and is
//! recorded as a run of its own. So a close that stopped anywhere is simply run again and goes on where it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::sql::lake::{Lake, LakeError};
use ::sql::rollups::Source;
use anyhow::{Context, Result};
use clap::Args;
use jiff::SignedDuration;
use rating::catalog::Catalog;
use rating::period::PeriodChoice;

use crate::book::Book;
use crate::cli::{Exit, Globals, read_catalog, runtime, try_again_if_overtaken};
use crate::compact::{CompactError, CompactSettings, compact_as_run, settings_of};
use crate::config::Config;
use crate::issue::{IssueReport, IssueRequest, issue_as_run};
use crate::output::{Format, Rows};
use crate::rate::{RateReport, RateRequest, catalog_file, rate_as_run};
use crate::rollup::{RollUpSettings, roll_up_as_run};

/// Close a period: compact, roll up, rate and issue, going on where an earlier attempt stopped
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse close --period 2026-05
  meterhouse close --period 2026-05 --grace \"0 s\" --tenant acme

Each step is the command of its name and is listed by `meterhouse runs`. Tenants that cannot be rated are listed while \
the others get their invoices (exit code 3); close the period again once the reason is gone.")]
pub struct CloseArgs {
    /// The period, as a month (2026-05) or a day in it (2026-05-15)
    #[arg(long, value_name = "PERIOD")]
    period: PeriodChoice,
    /// Only this tenant; may be given several times [default: everybody]
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,
    /// How long to wait after a period's end [default: `grace` in [issuer]]
    #[arg(long, value_name = "DURATION", value_parser = crate::issue::grace)]
    grace: Option<SignedDuration>,
    /// Do not write papers
    #[arg(long)]
    without_papers: bool,
    /// How the table of warnings and failures is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What is to be closed.
#[derive(Debug, Clone)]
pub struct CloseRequest {
    pub period: PeriodChoice,
    pub tenants: Option<BTreeSet<String>>,
    pub grace: SignedDuration,
    pub with_papers: bool,
}

/// What the steps did.
#[derive(Debug)]
pub struct CloseReport {
    pub rated: RateReport,
    pub issued: IssueReport,
}

pub fn run(args: &CloseArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let catalog = Arc::new(read_catalog(&config.catalog)?);
    let request = CloseRequest {
        period: args.period,
        tenants: (!args.tenant.is_empty()).then(|| args.tenant.iter().cloned().collect()),
        grace: args.grace.unwrap_or(config.issuer.grace),
        with_papers: !args.without_papers,
    };
    let report = runtime()?.block_on(async {
        let book = Book::of(&config).await?;
        close(&book, &lake, &config, &catalog, &request).await
    });
    let report = report.map_err(try_again_if_overtaken)?;
    let problems: Rows = report.rated.rows();
    if !problems.is_empty() {
        problems.print(args.format)?;
    }
    let IssueReport { issued, waiting, issued_before, papers, .. } = &report.issued;
    eprintln!(
        "{}: {} invoices issued, {issued_before} before, {waiting} wait for the end of the grace period, {papers} papers",
        request.period,
        issued.len()
    );
    Ok(if report.rated.has_failed() { Exit::DoneWithRejects } else { Exit::Done })
}

/// Runs the steps in their order.
pub async fn close(
    book: &Book,
    lake: &Lake,
    config: &Config,
    catalog: &Arc<Catalog>,
    request: &CloseRequest,
) -> Result<CloseReport> {
    let settings: CompactSettings = settings_of(config);
    match compact_as_run(book, lake, config, settings).await {
        Ok(_) => {}
        // Before the first event there is nothing to compact, but fees are due.
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error).context("the period is not closed: compaction failed"),
    }
    let rolling = RollUpSettings::of_catalog(Arc::clone(catalog), crate::rate::tenants::threads());
    match roll_up_as_run(book, lake, config, &rolling).await {
        Ok(_) => {}
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error).context("the period is not closed: rolling up failed"),
    }
    let rating = RateRequest {
        period: request.period,
        tenants: request.tenants.clone(),
        as_of: None,
        dry_run: false,
        source: Source::Auto,
        threads: crate::rate::tenants::threads(),
        book: Some(book.clone()),
        catalog_file: catalog_file(&config.catalog),
    };
    let rated = rate_as_run(book, lake, config, catalog, &rating, &|_| ())
        .await
        .context("the period is not closed: rating failed")?;
    let issuing = IssueRequest {
        period: request.period,
        tenants: request.tenants.clone(),
        grace: request.grace,
        with_papers: request.with_papers,
        dry_run: false,
    };
    let issued = issue_as_run(book, lake, config, &issuing)
        .await
        .context("the period is not closed: issuing failed; what was issued stays, run it again")?;
    Ok(CloseReport { rated, issued })
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref::<LakeError>(), Some(LakeError::Missing(_)))
            || matches!(cause.downcast_ref::<CompactError>(), Some(CompactError::Lake(LakeError::Missing(_))))
    })
}
