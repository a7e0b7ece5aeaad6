//! `meterhouse close`: everything that ends a period, in its order: compact, rollup, rate, issue, and push and reconcile if
//! Stripe is to be told.
//!
//! Owns the order and nothing else: each step is the job of that name, compares what should be with what is, and is
//! recorded as a run of its own beside that of the close (`steps`). So a close that stopped anywhere is simply run again and
//! goes on where it was. What each step would do is `foresee`.

mod foresee;
mod steps;

use std::collections::BTreeSet;

use ::sql::lake::Lake;
use anyhow::{Result, bail};
use clap::Args;
use jiff::SignedDuration;
use rating::period::PeriodChoice;

use crate::book::Book;
use crate::catalog::chosen::now_us;
use crate::cli::{Exit, Globals, runtime, try_again_if_overtaken};
use crate::config::Config;
use crate::issue::{IssueReport, before};
use crate::output::Format;
use crate::periods::{NOTHING_ENDED, PeriodArg, PeriodMonth};
use crate::push::PushReport;
use crate::rate::RateReport;
use crate::rate::drafts::ProblemKind;
use crate::reconcile::Reconciled;
use crate::run::{RunContext, RunSpec, with_run_of_steps};

/// Close a period: compact, roll up, rate, issue, push and reconcile, going on where an earlier attempt stopped
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse close --period 2026-05 --dry-run
  meterhouse close --period 2026-05
  meterhouse close --period last --push          every day, by a schedule
  meterhouse close --period 2026-05 --grace \"0 s\" --tenant acme

`last` means, for each tenant, the period of its own billing cycle of which the grace period ended last. Run every day, it \
closes each tenant's period once that is due, and nothing twice; a period that nobody closed before the tenant's next one \
ended is told as `not billed`, with the command that closes it.

Stripe is told only if you say so, with --push or `push_on_close` in [stripe]; until then what it must be told waits in \
the outbox for `meterhouse push`. Then lake, book and Stripe are compared, too; usage that Stripe has not counted yet is \
left to the next close (exit code 4 if figures differ). Each step is the command of its name and is listed by `meterhouse \
runs`. Tenants that cannot be rated are listed while the others get their invoices (exit code 3); close the period again \
once the reason is gone.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct CloseArgs {
    /// The period, as a month (2026-05), a day in it (2026-05-15), or `last`: each tenant's own of which the grace period
    /// ended last
    #[arg(long, value_name = "PERIOD")]
    period: PeriodArg,
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
    /// Only say what each step would do
    #[arg(long)]
    dry_run: bool,
    /// How tables are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What is to be closed.
#[derive(Debug, Clone)]
pub struct CloseRequest {
    pub period: PeriodArg,
    pub tenants: Option<BTreeSet<String>>,
    pub grace: SignedDuration,
    pub with_papers: bool,
    pub with_push: bool,
}

/// What the steps did.
#[derive(Debug, Default)]
pub struct CloseReport {
    /// The oldest first; none where no period had ended.
    pub months: Vec<MonthClosed>,
    /// None if Stripe was not to be told.
    pub pushed: Option<PushReport>,
    /// For each month, if Stripe was told.
    pub reconciled: Vec<Reconciled>,
}

/// The periods of a month, closed.
#[derive(Debug)]
pub struct MonthClosed {
    pub month: PeriodChoice,
    pub rated: RateReport,
    pub issued: IssueReport,
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
    if args.dry_run {
        return runtime()?.block_on(show_plan(&lake, &config, &request, args.format));
    }
    if request.with_push && config.stripe.key.is_none() {
        bail!(
            "stripe is to be told in the end and there is no key: set METERHOUSE_STRIPE_KEY, or `key_file` in [stripe]"
        );
    }
    let report = runtime()?.block_on(async {
        let book = Book::of(&config).await?;
        close_as_run(&book, &lake, &config, &request, &|month| eprintln!("{}", month.chosen.told)).await
    });
    report.map_err(try_again_if_overtaken)?.show(&request, args.format)
}

async fn show_plan(lake: &Lake, config: &Config, request: &CloseRequest, format: Format) -> Result<Exit> {
    let book = Book::existing_of(config).await?;
    let months = months(book.as_ref(), config, request).await?;
    for month in &months {
        eprintln!("{}", month.chosen.told);
    }
    let (rows, rated) = foresee::foresee(book.as_ref(), lake, config, request, &months).await?;
    rows.print(format)?;
    for problem in rated.iter().flat_map(|report| &report.rated.problems) {
        if problem.kind != ProblemKind::Issued {
            eprintln!("{} {}: {}: {}", problem.tenant, problem.period, problem.kind.name(), problem.text);
        }
    }
    if months.is_empty() {
        eprintln!("{NOTHING_ENDED}");
    }
    eprintln!("nothing was changed (--dry-run)");
    let has_failed = rated.iter().any(RateReport::has_failed);
    Ok(if has_failed { Exit::DoneWithRejects } else { Exit::Done })
}

/// The months that are to be closed. What ended last did so a grace period ago: then it is due.
async fn months(book: Option<&Book>, config: &Config, request: &CloseRequest) -> Result<Vec<PeriodMonth>> {
    let ended_by_us = before(now_us(book).await?, request.grace);
    request.period.months(book, config, None, ended_by_us).await
}

/// Runs the steps in their order, within a run of the book. `tell` hears of each month before anything is done.
pub async fn close_as_run(
    book: &Book,
    lake: &Lake,
    config: &Config,
    request: &CloseRequest,
    tell: &(dyn Fn(&PeriodMonth) + Sync),
) -> Result<CloseReport> {
    let period = request.period.to_string();
    let spec = RunSpec::of_job("close", config).with_period(&period);
    with_run_of_steps(book, spec, async |run| {
        let months = months(Some(book), config, request).await?;
        for month in &months {
            tell(month);
            run.input(&format!("catalog {}", month.month), month.chosen.catalog.hash.to_hex());
        }
        let report = steps::close(run, lake, config, request, &months).await?;
        report.note(run);
        Ok(report)
    })
    .await
}

impl CloseReport {
    fn note(&self, run: &RunContext) {
        let issued = || self.months.iter().map(|closed| &closed.issued);
        run.count("months", self.months.len());
        run.count("issued", issued().map(|issued| issued.issued.len()).sum::<usize>());
        run.count("waiting", issued().map(|issued| issued.waiting).sum::<usize>());
        run.count("differences", self.reconciled.iter().map(|found| found.differences.len()).sum::<usize>());
        let refused = self.pushed.as_ref().is_some_and(|pushed| !pushed.refused.is_empty());
        if !self.is_whole() || refused || self.has_mismatch() {
            run.has_rejects();
        }
    }

    /// Whether every tenant that is due has its invoice.
    fn is_whole(&self) -> bool {
        self.months.iter().all(|closed| !closed.rated.has_failed() && closed.issued.is_whole())
    }

    fn has_mismatch(&self) -> bool {
        self.reconciled.iter().any(Reconciled::has_mismatch)
    }

    /// Prints what came of it, and says how the command ends.
    fn show(&self, request: &CloseRequest, format: Format) -> Result<Exit> {
        let mut problems = RateReport::no_rows();
        for closed in &self.months {
            // What `last` means was mostly closed on an earlier day.
            closed.rated.push_rows(&mut problems, |problem| {
                request.period != PeriodArg::Last || problem.kind != ProblemKind::Issued
            });
        }
        if !problems.is_empty() {
            problems.print(format)?;
        }
        if self.months.is_empty() {
            eprintln!("{NOTHING_ENDED}");
        }
        for closed in &self.months {
            closed.say();
        }
        for found in &self.reconciled {
            if found.differences.is_empty() {
                found.say();
            } else {
                found.print(format)?;
            }
        }
        // What Stripe has otherwise than we do matters more than what it was not told.
        let pushed = self.pushed.as_ref().map_or(Ok(Exit::Done), PushReport::exit);
        if self.has_mismatch() {
            return Ok(Exit::ReconciliationMismatch);
        }
        let pushed = pushed?;
        Ok(if self.is_whole() { pushed } else { Exit::DoneWithRejects })
    }
}

impl MonthClosed {
    fn say(&self) {
        let IssueReport { waiting, issued_before, papers, stale, .. } = &self.issued;
        eprintln!(
            "{}: {} issued, {issued_before} before, {waiting} wait for the end of the grace period, {papers} papers",
            self.month,
            self.issued.counted()
        );
        self.issued.say_what_stripe_is_told(false);
        if !stale.is_empty() {
            eprintln!("{} drafts were out of date when they were to be issued: close again", stale.len());
        }
    }
}
