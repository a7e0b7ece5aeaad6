//! `meterhouse quotas`: who approaches or exceeds which limit.
//!
//! Owns the report. Does not own what a quota is and how it is measured (`rating::quota`), nor refusing anything: the
//! platform does that, where the catalog says `when_reached: refuse`.

use std::sync::Arc;

use ::sql::lake::{Lake, Table};
use ::sql::quantities::{Answers, Narrowed, PeriodScan, Question};
use anyhow::{Result, bail};
use clap::Args;
use rating::catalog::{Catalog, Quota, QuotaWindow, WhenReached};
use rating::exact::{Exact, Rounding};
use rating::period::PeriodChoice;
use rating::quota::{QuotaUse, uses};
use rating::usage::Usage;

use crate::book::Book;
use crate::catalog::chosen::{ChosenCatalog, now_us};
use crate::cli::{Exit, Globals, runtime};
use crate::invoice::steps::number;
use crate::output::{Format, Rows};
use crate::rate::drafts::chain;
use crate::rate::tenants::{threads, usage_snapshot};
use crate::source::SourceArgs;

/// The threshold of quotas for which the catalog names none.
const WARN_AT_PERCENT: i64 = 80;

/// Show who approaches or exceeds which quota
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse quotas --period 2026-05
  meterhouse quotas --period 2026-05 --warn-at 50 --format csv
  meterhouse quotas --period 2026-05 --tenant acme --all

A quota is listed once its usage reaches --warn-at percent of its limit; without it, the lowest `alert_at` that the \
catalog gives it, or 80. Limits are those that hold now, or at the end of a period that is over, with what purchases \
(`items` with `raises`) added to them; what is sold elsewhere is not known here. Of a quota by the hour, the busiest \
clock hour of the period is shown; of one over the lifetime, everything up to the end of the period.

The exit code is 0 however much was used, and 3 if the usage of some tenants cannot be counted.")]
pub struct QuotasArgs {
    /// The period, as a month (2026-05) or a day in it (2026-05-15)
    #[arg(long, value_name = "PERIOD")]
    period: PeriodChoice,
    /// Only this tenant; may be given several times [default: everybody]
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,
    /// List what reached so many percent of its limit [default: the catalog's `alert_at`, or 80]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    warn_at: Option<Exact>,
    /// List all quotas, whatever was used of them
    #[arg(long, conflicts_with = "warn_at")]
    all: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn percent(text: &str) -> Result<Exact, String> {
    let parsed = text.trim_end_matches('%').parse::<Exact>().ok();
    parsed.filter(Exact::is_positive).ok_or_else(|| "expected a percentage above zero, like 80".to_owned())
}

pub fn run(args: &QuotasArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let (catalog, answers, now_us) = runtime()?.block_on(async {
        let book = Book::existing_of(&config).await?;
        let now_us = now_us(book.as_ref()).await?;
        let catalog = ChosenCatalog::for_period(book.as_ref(), &config, args.period, None).await?.catalog;
        if let Some(unknown) = args.tenant.iter().find(|key| catalog.tenant_terms(key).is_none()) {
            bail!("tenant {unknown} is not set up: add it to the catalog's `tenants`, or `other_tenants`");
        }
        let Some(snapshot) = usage_snapshot(&lake, None).await? else {
            return Ok((catalog, Answers::default(), now_us));
        };
        let scan = PeriodScan {
            table: lake.table(Table::UsageEvents),
            snapshot,
            catalog: Arc::clone(&catalog),
            period: args.period,
            question: Question::Quotas { now_us },
            tenants: (!args.tenant.is_empty()).then(|| args.tenant.iter().cloned().collect()),
            narrowed: Narrowed::default(),
            threads: threads(),
        };
        let answers = scan.run_from(&lake, args.source.source()).await?;
        anyhow::Ok((catalog, answers, now_us))
    })?;
    let mut rows = Rows::new(&[
        "tenant",
        "quota",
        "description",
        "window",
        "unit",
        "used",
        "limit",
        "percent",
        "state",
        "when_reached",
    ]);
    for usage in &answers.usages {
        push(&mut rows, args, &catalog, usage, now_us);
    }
    rows.print(args.format)?;
    for failure in &answers.failed {
        eprintln!("error: tenant {}: {}", failure.tenant, chain(&failure.source));
    }
    Ok(if answers.failed.is_empty() { Exit::Done } else { Exit::DoneWithRejects })
}

fn push(rows: &mut Rows, args: &QuotasArgs, catalog: &Catalog, usage: &Usage, now_us: i64) {
    let tenant = &usage.demand.tenant;
    let Some(terms) = catalog.tenant_terms(tenant) else { return };
    for own in uses(catalog, terms, usage, now_us) {
        let warn_at = args.warn_at.clone().unwrap_or_else(|| warn_at(own.quota));
        let is_near = own.has_reached(&warn_at);
        if !(args.all || is_near) {
            continue;
        }
        let percent = own.percent().and_then(|own| own.round_to_decimals(Rounding::Down, 1).ok());
        rows.push(vec![
            tenant.clone().into(),
            own.quota.key.clone().into(),
            own.quota.description.clone().into(),
            window(own.quota).into(),
            own.quota.usage.unit.name.clone().into(),
            number(&own.used).into(),
            own.limit.as_ref().map_or_else(|| "unlimited".to_owned(), number).into(),
            percent.map(|percent| percent.normalize().to_string()).into(),
            state(&own, is_near).into(),
            when_reached(own.quota).into(),
        ]);
    }
}

fn warn_at(quota: &Quota) -> Exact {
    quota
        .alert_at_percent
        .first()
        .map_or_else(|| Exact::from(WARN_AT_PERCENT), |percent| Exact::from(*percent))
}

fn state(own: &QuotaUse<'_>, is_near: bool) -> &'static str {
    if own.is_exceeded() {
        "exceeded"
    } else if own.has_reached(&Exact::from(100_i64)) {
        "reached"
    } else if is_near {
        "near"
    } else {
        "within"
    }
}

fn window(quota: &Quota) -> &'static str {
    match quota.window {
        QuotaWindow::Period => "period",
        QuotaWindow::Hour => "hour",
        QuotaWindow::Lifetime => "lifetime",
    }
}

fn when_reached(quota: &Quota) -> &'static str {
    match quota.when_reached {
        WhenReached::Notify => "notify",
        WhenReached::Refuse => "refuse",
    }
}
