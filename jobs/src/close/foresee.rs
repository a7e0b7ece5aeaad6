//! `meterhouse close --dry-run`: what each step would do, from what stands now. Writes nothing, neither in the lake nor in
//! the book.

use std::sync::Arc;

use ::sql::lake::Lake;
use anyhow::Result;

use super::CloseRequest;
use super::steps::{is_missing, issuing, rating};
use crate::book::Book;
use crate::catalog::chosen::now_us;
use crate::compact::{CompactSettings, compact, settings_of};
use crate::config::Config;
use crate::issue::{IssueReport, IssueRequest, before, foresee as foresee_issue};
use crate::output::Rows;
use crate::periods::PeriodMonth;
use crate::rate::{RateBar, RateReport, RateRequest, rate};
use crate::rollup::{RollUpSettings, roll_up};
use crate::stripe::RecordState;
use crate::threads::threads;

const NO_EVENTS: &str = "nothing: there are no events yet";

/// A row for each step, and the warnings of rating.
pub(super) async fn foresee(
    book: Option<&Book>,
    lake: &Lake,
    config: &Config,
    request: &CloseRequest,
    months: &[PeriodMonth],
) -> Result<(Rows, Vec<RateReport>)> {
    let mut rows = Rows::new(&["step", "period", "would"]);
    let mut reports = Vec::new();
    let Some(newest) = months.last() else { return Ok((rows, reports)) };
    let mut step = |step: &str, period: String, would: String| {
        rows.push([step.to_owned(), period, would].map(Into::into).into());
    };
    step("compact", String::new(), compacting(lake, config).await?);
    step("rollup", String::new(), rolling(lake, newest).await?);
    for month in months {
        let bar = RateBar::new();
        let rating = RateRequest { dry_run: true, ..rating(request, month, config, book.cloned()) };
        let rated = rate(lake, &month.chosen.catalog, &rating, &|done| bar.show(done)).await?;
        drop(bar);
        let drafts = rated.rated.drafts_by_end.values().sum::<usize>();
        let (changed, gone) = (rated.rated.changed.len(), rated.gone.len());
        let would =
            format!("make {drafts} drafts, of which {changed} differ from what lies there; {gone} would go");
        step("rate", month.month.to_string(), would);
        step(
            "issue",
            month.month.to_string(),
            issuing_in_words(book, lake, config, request, month, &rated).await?,
        );
        reports.push(rated);
    }
    if request.with_push {
        let waiting = match book {
            Some(book) => book.outbox_counts().await?.get(&RecordState::Waiting).copied().unwrap_or_default(),
            None => 0,
        };
        let would = format!("tell Stripe the {waiting} records that wait, and those of the new invoices");
        step("push", String::new(), would);
        for month in months {
            step("reconcile", month.month.to_string(), "compare lake, book and Stripe".to_owned());
        }
    }
    Ok((rows, reports))
}

async fn compacting(lake: &Lake, config: &Config) -> Result<String> {
    let settings = CompactSettings { dry_run: true, ..settings_of(config) };
    match compact(lake, settings, |_| {}).await.map_err(anyhow::Error::from) {
        Ok(report) => Ok(format!(
            "sort {} days and take out {} duplicates of {} rows",
            report.days, report.duplicate_rows, report.rows_before
        )),
        Err(error) if is_missing(&error) => Ok(NO_EVENTS.to_owned()),
        Err(error) => Err(error),
    }
}

async fn rolling(lake: &Lake, newest: &PeriodMonth) -> Result<String> {
    let catalog = Arc::clone(&newest.chosen.catalog);
    let settings = RollUpSettings { dry_run: true, ..RollUpSettings::of_catalog(catalog, threads()) };
    match roll_up(lake, &settings, |_| {}).await {
        Ok(report) => Ok(format!("fold {} days anew", report.days)),
        Err(error) if is_missing(&error) => Ok(NO_EVENTS.to_owned()),
        Err(error) => Err(error),
    }
}

/// The drafts are those that rating would make; what holds a draft back is known of those that lie in the lake.
async fn issuing_in_words(
    book: Option<&Book>,
    lake: &Lake,
    config: &Config,
    request: &CloseRequest,
    month: &PeriodMonth,
    rated: &RateReport,
) -> Result<String> {
    let ended_by_us = before(now_us(book).await?, request.grace);
    let due: usize = rated.rated.drafts_by_end.range(..=ended_by_us).map(|(_, count)| count).sum();
    let waiting = rated.rated.drafts_by_end.values().sum::<usize>() - due;
    let foreseen = match book {
        Some(book) => {
            let issuing = IssueRequest { dry_run: true, ..issuing(request, month) };
            foresee_issue(book, lake, config, &issuing).await?
        }
        None => IssueReport::default(),
    };
    let (before, held_back) = (foreseen.issued_before, foreseen.held_back.len());
    Ok(format!(
        "number {due} drafts; {before} are issued already, {waiting} wait for the end of the grace period, {held_back} cannot \
         be told to Stripe"
    ))
}
