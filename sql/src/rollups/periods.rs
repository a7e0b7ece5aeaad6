//! What periods came to that have ended: `usage_periods`, put together from the days once and for all who ask.
//!
//! Owns what is kept of a period, and under which name a question is found again: it says how the meter counts, how it is
//! looked at and over which spans, and nothing of the catalog that asked. A period stands only as long as its days are what they
//! were: whoever folds a tenant's day anew takes out the periods that reach to it (`jobs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::TryStreamExt;
use rating::catalog::Catalog;
use rating::period::Span;
use rating::quantity::MeterKind;
use rating::quantity::session::SessionOddities;
use rating::usage::{DAY_US, Demand, SeriesSpan, View, question_key};

use super::batch::TotalsBatch;
use super::part::answer_plans;
use super::plan::{Answered, Keys, Plan};
use super::{RollUps, Source};
use crate::quantities::QuantitiesError;

/// The questions that are answered of a period, by name; with what should not happen to sessions, if anything did.
pub(super) type KnownQuestions = BTreeMap<String, Option<SessionOddities>>;

/// What one tenant's period came to.
#[derive(Debug)]
pub struct PeriodTotals {
    pub tenant: String,
    pub period: Span,
    pub questions: Vec<QuestionTotals>,
}

#[derive(Debug)]
pub struct QuestionTotals {
    pub(super) name: String,
    pub(super) view: View,
    pub(super) series: Vec<SeriesSpan>,
    pub(super) oddities: SessionOddities,
}

/// The UTC day in which a period ends: under which its rows lie.
pub fn last_day_of(period: Span) -> i32 {
    i32::try_from((period.end_us - 1).div_euclid(DAY_US)).unwrap_or(i32::MAX)
}

impl PeriodTotals {
    pub(super) fn known(&self) -> KnownQuestions {
        let oddities =
            |own: &QuestionTotals| Some(own.oddities).filter(|own| *own != SessionOddities::default());
        self.questions.iter().map(|own| (own.name.clone(), oddities(own))).collect()
    }
}

impl RollUps {
    /// What periods came to that lie before the end of the roll-ups, at most one of each tenant; nothing of a tenant that was
    /// not there yet, nor of questions that do not follow from its days.
    pub async fn period_totals(
        &self,
        catalog: &Arc<Catalog>,
        demands: impl IntoIterator<Item = Demand>,
        threads: usize,
    ) -> Result<Vec<PeriodTotals>, QuantitiesError> {
        let mut keys = Keys::default();
        let mut plans = BTreeMap::new();
        for demand in demands {
            let tenant = demand.tenant.clone();
            plans.insert(tenant, Plan::new(demand, catalog, Source::RollUps, &mut keys));
        }
        let answered = answer_plans(self, catalog, plans, &keys, threads).await?;
        let totals = answered.into_iter().filter_map(|(tenant, answered)| {
            let Answered::Questions(demand, found) = answered else { return None };
            let period = demand.period.span;
            let questions = demand.wanted.into_iter().zip(found).filter_map(|(wanted, found)| {
                let found = found?;
                let name = question_name(&found.rules, &wanted.view, &wanted.spans, period);
                Some(QuestionTotals {
                    name,
                    view: wanted.view,
                    series: found.series,
                    oddities: found.oddities,
                })
            });
            Some(PeriodTotals { tenant, period, questions: questions.collect() })
        });
        Ok(totals.collect())
    }

    /// The rows about some tenants' periods that end in the same days; others' may be among them.
    pub(super) async fn rows_of_periods(
        &self,
        last_days: &BTreeSet<i32>,
        tenants: &BTreeSet<String>,
    ) -> Result<Vec<TotalsBatch>, QuantitiesError> {
        let files = self.periods_files.files.iter().filter(|file| last_days.contains(&file.day));
        let files: Vec<_> = files.cloned().collect();
        let batches: Vec<_> = self.periods.read_dictionaries_of(&files, tenants).try_collect().await?;
        TotalsBatch::of_all(&self.periods, &files, &batches)
    }
}

/// Names a question about a whole period, as `question_key` names one about a day.
fn question_name(rules: &MeterKind, view: &View, spans: &[Span], period: Span) -> String {
    question_key(rules, view, spans, last_day_of(period))
}
