//! `meterhouse close`: everything that ends a period, in its order: compact, rollup, rate, issue, and push if that is
//! wanted.
//!
//! Owns the order and nothing else: each step is the job of that name, compares what should be with what is, and is
//! recorded as a run of its own. So a close that stopped anywhere is simply run again and goes on where it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::sql::lake::{Lake, LakeError};
use ::sql::rollups::Source;
use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::SignedDuration;
use rating::period::PeriodChoice;

use crate::book::Book;
use crate::catalog::chosen::ChosenCatalog;
use crate::cli::{Exit, Globals, runtime, try_again_if_overtaken};
use crate::compact::{CompactError, CompactSettings, compact_as_run, settings_of};
use crate::config::Config;
use crate::issue::{IssueReport, IssueRequest, issue_as_run};
use crate::output::{Format, Rows};
use crate::push::{PushReport, push_as_run};
use crate::rate::{RateReport, RateRequest, rate_as_run};
use crate::rollup::{RollUpSettings, roll_up_as_run};

/// Close a period: compact, roll up, rate, issue and push, going on where an earlier attempt stopped
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse close --period 2026-05
  meterhouse close --period 2026-05 --push
  meterhouse close --period 2026-05 --grace \"0 s\" --tenant acme

Stripe is told only if you say so, with --push or `push_on_close` in [stripe]; until then what it must be told waits in \
the outbox for `meterhouse push`. Each step is the command of its name and is listed by `meterhouse runs`. Tenants that \
cannot be rated are listed while the others get their invoices (exit code 3); close the period again once the reason is \
gone.")]
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
    /// Tell Stripe in the end, what earlier periods left in the outbox included [default: `push_on_close` in [stripe]]
    #[arg(long, conflicts_with = "without_push")]
    push: bool,
    /// Do not tell Stripe, whatever the settings say
    #[arg(long)]
    without_push: bool,
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
    pub with_push: bool,
}

/// What the steps did.
#[derive(Debug)]
pub struct CloseReport {
    pub rated: RateReport,
    pub issued: IssueReport,
    /// None if Stripe was not to be told.
    pub pushed: Option<PushReport>,
}

pub fn run(args: &CloseArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let request = CloseRequest {
        period: args.period,
        tenants: (!args.tenant.is_empty()).then(|| args.tenant.iter().cloned().collect()),
        grace: args.grace.unwrap_or(config.issuer.grace),
        with_papers: !args.without_papers,
        with_push: args.push || (config.stripe.push_on_close && !args.without_push),
    };
    if request.with_push && config.stripe.key.is_none() {
        bail!(
            "stripe is to be told in the end and there is no key: set METERHOUSE_STRIPE_KEY, or `key_file` in [stripe]"
        );
    }
    let report = runtime()?.block_on(async {
        let book = Book::of(&config).await?;
        let chosen = ChosenCatalog::for_period(Some(&book), &config, request.period, None).await?;
        eprintln!("{}", chosen.told);
        close(&book, &lake, &config, &chosen, &request).await
    });
    let report = report.map_err(try_again_if_overtaken)?;
    let problems: Rows = report.rated.rows();
    if !problems.is_empty() {
        problems.print(args.format)?;
    }
    let IssueReport { waiting, issued_before, papers, .. } = &report.issued;
    eprintln!(
        "{}: {} issued, {issued_before} before, {waiting} wait for the end of the grace period, {papers} papers",
        request.period,
        report.issued.counted()
    );
    report.issued.say_what_stripe_is_told(false);
    if !report.issued.stale.is_empty() {
        eprintln!(
            "{} drafts were out of date when they were to be issued: close again",
            report.issued.stale.len()
        );
    }
    let pushed = report.pushed.as_ref().map_or(Ok(Exit::Done), PushReport::exit)?;
    let is_whole = !report.rated.has_failed() && report.issued.is_whole();
    Ok(if is_whole { pushed } else { Exit::DoneWithRejects })
}

/// Runs the steps in their order.
pub async fn close(
    book: &Book,
    lake: &Lake,
    config: &Config,
    chosen: &ChosenCatalog,
    request: &CloseRequest,
) -> Result<CloseReport> {
    let settings: CompactSettings = settings_of(config);
    match compact_as_run(book, lake, config, settings).await {
        Ok(_) => {}
        // Before the first event there is nothing to compact, but fees are due.
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error).context("the period is not closed: compaction failed"),
    }
    let rolling = RollUpSettings::of_catalog(Arc::clone(&chosen.catalog), crate::rate::tenants::threads());
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
        catalog_file: chosen.file.clone(),
        look_back: config.issuer.correct_periods,
        grace: request.grace,
        corrections_by: config.issuer.corrections,
    };
    let rated = rate_as_run(book, lake, config, &chosen.catalog, &rating, &|_| ())
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
    let mut pushed = None;
    if request.with_push {
        let push = push_as_run(book, config, false).await;
        pushed = Some(push.context("the period is closed, but Stripe was not told all of it; run it again")?);
    }
    Ok(CloseReport { rated, issued, pushed })
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref::<LakeError>(), Some(LakeError::Missing(_)))
            || matches!(cause.downcast_ref::<CompactError>(), Some(CompactError::Lake(LakeError::Missing(_))))
    })
}
