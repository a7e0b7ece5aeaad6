//! The steps of a close in their order, each the job of that name.

use std::sync::Arc;

use ::sql::lake::{Lake, LakeError};
use anyhow::{Context, Result};

use super::{CloseReport, CloseRequest, MonthClosed};
use crate::book::Book;
use crate::compact::{CompactError, compact_as_run, settings_of};
use crate::config::Config;
use crate::issue::{IssueRequest, issue_as_run};
use crate::output::Format;
use crate::periods::{PeriodArg, PeriodMonth};
use crate::push::push_as_run;
use crate::rate::{RateBar, RateRequest, rate_as_run};
use crate::reconcile::{ReconcileArgs, reconcile_as_run};
use crate::rollup::{RollUpSettings, roll_up_as_run};
use crate::run::RunContext;
use crate::threads::threads;

/// Closes these months, the oldest first; what concerns all of them is done once.
pub(super) async fn close(
    run: &RunContext,
    lake: &Lake,
    config: &Config,
    request: &CloseRequest,
    months: &[PeriodMonth],
) -> Result<CloseReport> {
    let book = run.book();
    let mut report = CloseReport::default();
    let Some(newest) = months.last() else { return Ok(report) };
    run.check()?;
    match compact_as_run(book, lake, config, settings_of(config)).await {
        Ok(_) => {}
        // Before the first event there is nothing to compact, but fees are due.
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error).context("the period is not closed: compaction failed"),
    }
    run.check()?;
    // Of several catalogs the newest says what is kept; what another asks beyond that is read from events.
    let rolling = RollUpSettings::of_catalog(Arc::clone(&newest.chosen.catalog), threads());
    match roll_up_as_run(book, lake, config, &rolling).await {
        Ok(_) => {}
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error).context("the period is not closed: rolling up failed"),
    }
    for month in months {
        report.months.push(close_month(run, lake, config, request, month).await?);
    }
    if request.with_push {
        run.check()?;
        let push = push_as_run(book, config, false).await;
        let pushed = push.context("the period is closed, but Stripe was not told all of it; run it again")?;
        report.pushed = Some(pushed);
        for month in months {
            run.check()?;
            report.reconciled.push(reconcile(book, lake, config, month).await?);
        }
    }
    Ok(report)
}

async fn close_month(
    run: &RunContext,
    lake: &Lake,
    config: &Config,
    request: &CloseRequest,
    month: &PeriodMonth,
) -> Result<MonthClosed> {
    let book = run.book();
    run.check()?;
    let bar = RateBar::new();
    let rating = rating(request, month, config, Some(book.clone()));
    let rated = rate_as_run(book, lake, config, &month.chosen.catalog, &rating, &|done| bar.show(done)).await;
    drop(bar);
    let rated = rated.context("the period is not closed: rating failed")?;
    run.check()?;
    let issued = issue_as_run(book, lake, config, &issuing(request, month))
        .await
        .context("the period is not closed: issuing failed; what was issued stays, run it again")?;
    Ok(MonthClosed { month: month.month, rated, issued })
}

pub(super) fn rating(
    request: &CloseRequest,
    month: &PeriodMonth,
    config: &Config,
    book: Option<Book>,
) -> RateRequest {
    RateRequest {
        tenants: request.tenants.clone(),
        grace: request.grace,
        ..RateRequest::of_month(month, config, book)
    }
}

pub(super) fn issuing(request: &CloseRequest, month: &PeriodMonth) -> IssueRequest {
    IssueRequest {
        period: month.month,
        meant: Some(month.clone()),
        tenants: request.tenants.clone(),
        grace: request.grace,
        with_papers: request.with_papers,
        dry_run: false,
    }
}

/// What was just pushed is not in Stripe's sums yet; a later close, or `reconcile`, compares it.
async fn reconcile(
    book: &Book,
    lake: &Lake,
    config: &Config,
    month: &PeriodMonth,
) -> Result<crate::reconcile::Reconciled> {
    let compared = ReconcileArgs {
        period: Some(PeriodArg::Chosen(month.month)),
        offline: false,
        settled: true,
        dry_run: false,
        format: Format::default(),
    };
    let found = reconcile_as_run(book, lake, config, &compared).await;
    found.context("the period is closed and Stripe was told, but they could not be compared; run it again")
}

/// Whether something failed only because there are no events yet.
pub(super) fn is_missing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref::<LakeError>(), Some(LakeError::Missing(_)))
            || matches!(cause.downcast_ref::<CompactError>(), Some(CompactError::Lake(LakeError::Missing(_))))
    })
}
