//! What a run of `rate` tells people: its warnings and failures, its sums, and on a terminal how far it is.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::drafts::{Problem, ProblemKind};
use super::{Progress, RateReport, RateRequest};
use crate::output::Rows;

impl RateReport {
    pub fn has_failed(&self) -> bool {
        self.rated.problems.iter().any(|problem| problem.kind == ProblemKind::Failed)
    }

    /// A table of warnings and failures without any.
    pub fn no_rows() -> Rows {
        Rows::new(&["tenant", "period", "outcome", "detail"])
    }

    /// Adds the warnings and failures that are wanted, the worst first.
    pub fn push_rows(&self, rows: &mut Rows, is_wanted: impl Fn(&Problem) -> bool) {
        for problem in self.rated.problems.iter().filter(|problem| is_wanted(problem)) {
            rows.push(vec![
                problem.tenant.clone().into(),
                problem.period.clone().into(),
                problem.kind.name().into(),
                problem.text.clone().into(),
            ]);
        }
    }

    pub(super) fn summarize(&self, request: &RateRequest) {
        let rated = &self.rated;
        let version = self.usage_version.map_or_else(|| "none yet".to_owned(), |version| version.to_string());
        eprintln!(
            "{}: {} drafts with {} lines, from version {version} of usage_events",
            request.period,
            rated.sums.values().map(|sums| sums.drafts).sum::<usize>(),
            rated.lines
        );
        for (currency, sums) in &rated.sums {
            eprintln!("{currency}: {} drafts, total {}, due {}", sums.drafts, sums.total, sums.due);
        }
        if self.corrections > 0 {
            eprintln!("{} lines correct invoices that were issued before", self.corrections);
        }
        if rated.credit_notes > 0 {
            eprintln!("{} of the drafts are credit notes", rated.credit_notes);
        }
        let (changed, gone) = (rated.changed.len(), self.gone.len());
        match (request.dry_run, self.replaced.invoices) {
            (true, _) => eprintln!("{changed} drafts would change, {gone} would go (--dry-run)"),
            (false, Some(version)) => {
                eprintln!("{changed} drafts changed, {gone} gone: version {version} of invoices");
            }
            (false, None) => eprintln!("nothing changed"),
        }
        if rated.problems.is_empty() {
            eprintln!("no warnings");
        }
    }
}

/// Shows on a terminal how far rating has come, until it is dropped.
#[derive(Debug)]
pub struct RateBar(ProgressBar);

impl RateBar {
    #[expect(clippy::new_without_default, reason = "it is shown as soon as it is there")]
    pub fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{spinner} rating {pos}/{len} tenants {wide_bar} {elapsed}");
        let bar = ProgressBar::new_spinner();
        Self(style.map(|style| bar.clone().with_style(style)).unwrap_or(bar))
    }

    pub fn show(&self, done: Progress) {
        match done {
            Progress::Tenants(count) => self.0.set_length(count),
            Progress::Rated(count) => self.0.inc(count),
        }
    }
}

impl Drop for RateBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
