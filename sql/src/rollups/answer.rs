//! Answers to demands from roll-ups, and from events where roll-ups cannot tell.
//!
//! Owns the choice between both. A question is put together from its days when every day that lies before the end of the
//! roll-ups answers it; what comes after that end, without any event, follows from what the last day left. Tenants
//! that newer commits touched, and measures that do not follow from days, are folded from their events.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rating::catalog::Catalog;
use rating::usage::{DAY_US, Demand, Usage, day_span};

use super::columns::DailyBatch;
use super::days::note;
use super::plan::{Keys, Plan};
use super::questions::rules_of;
use super::{DayMarkers, Marker, RollUps, Touch, touched};
use crate::quantities::{Answers, Asked, Openings, QuantitiesError, TenantFailure, TenantProblem, UsageScan};

/// Where quantities come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    Events,
    /// No event is read: tenants that roll-ups do not cover have no answer, and measures that do not follow from days
    /// are left out.
    RollUps,
    /// Roll-ups where they answer exactly, events elsewhere.
    #[default]
    Auto,
}

/// Answers, and how many tenants needed what.
#[derive(Debug, Default)]
pub struct AnswersFrom {
    pub answers: Answers,
    /// Tenants of whom all was put together from roll-ups.
    pub rolled_tenants: usize,
    /// Tenants of whom events were read.
    pub event_tenants: usize,
}

impl AnswersFrom {
    fn events(answers: Answers) -> Self {
        let event_tenants = answers.usages.len() + answers.failed.len();
        Self { answers, rolled_tenants: 0, event_tenants }
    }
}

impl RollUps {
    /// Answers what a pass over the events would, `roll_ups` being those of its lake.
    pub async fn answer(
        roll_ups: Option<&Self>,
        scan: &UsageScan,
        source: Source,
    ) -> Result<AnswersFrom, QuantitiesError> {
        if source == Source::Events {
            return Ok(AnswersFrom::events(scan.run().await?));
        }
        let covering = match roll_ups {
            Some(roll_ups) => roll_ups.touched_for(scan).await?.map(|touched| (roll_ups, touched)),
            None => None,
        };
        match covering {
            Some((roll_ups, touched)) => roll_ups.answer_covered(scan, source, touched).await,
            None if source == Source::Auto => Ok(AnswersFrom::events(scan.run().await?)),
            None => Err(QuantitiesError::NotRolled { version: scan.snapshot.version }),
        }
    }

    /// The tenants that commits touched between the roll-ups and the scan's version; nothing where the roll-ups say
    /// nothing about it.
    async fn touched_for(&self, scan: &UsageScan) -> Result<Option<BTreeSet<String>>, QuantitiesError> {
        let (rolled, wanted) = (self.state.usage_version, scan.snapshot.version);
        if wanted < rolled || rules_of(&scan.catalog) != self.state.rules {
            return Ok(None);
        }
        let Some(days) = touched(&scan.table, rolled, wanted).await? else { return Ok(None) };
        let mut tenants = BTreeSet::new();
        for touch in days.into_values() {
            match touch {
                Touch::Tenants(touched) => tenants.extend(touched),
                Touch::Everybody => return Ok(None),
            }
        }
        Ok(Some(tenants))
    }

    async fn answer_covered(
        &self,
        scan: &UsageScan,
        source: Source,
        touched: BTreeSet<String>,
    ) -> Result<AnswersFrom, QuantitiesError> {
        let is_asked = |name: &String| scan.tenants.as_ref().is_none_or(|tenants| tenants.contains(name));
        let carried = self.carried_into(self.state.last_day + 1).await?;
        let mut work = Work { keys: Keys::default(), plans: HashMap::new(), not_set_up: BTreeMap::new() };
        let known = carried.states.keys().filter(|name| is_asked(name) && !touched.contains(*name));
        for tenant in known {
            match (scan.demand_of)(tenant) {
                Asked::Demand(demand) => {
                    let plan = Plan::new(demand, &scan.catalog, source, &mut work.keys);
                    work.plans.insert(tenant.clone(), plan);
                }
                Asked::NotSetUp => {
                    work.not_set_up.insert(tenant.clone(), 0);
                }
                Asked::Nothing => {}
            }
        }
        if let Some((first, last)) = self.days_of(&work) {
            for day in first..=last {
                work.add_day(day, &self.rows(day).await?);
            }
        }
        let end_us = day_span(self.state.last_day).end_us;
        if work.plans.values().any(|plan| plan.reaches_after(end_us)) {
            let states = carried.openings().map_err(QuantitiesError::Carried)?;
            work.add_rest(end_us, &states.0, &scan.catalog);
        }
        let touched = touched.into_iter().filter(is_asked).collect();
        work.finish(scan, source, touched).await
    }

    /// The rolled days that questions reach into; tenants that are not set up are counted in them.
    fn days_of(&self, work: &Work) -> Option<(i32, i32)> {
        let spans = || work.plans.values().flat_map(Plan::rolled_spans);
        let first = spans().map(|span| span.start_us).min()?.div_euclid(DAY_US);
        let last = (spans().map(|span| span.end_us).max()? - 1).div_euclid(DAY_US);
        let first = first.max(self.state.first_day.into());
        let last = last.min(self.state.last_day.into());
        (first <= last).then_some((first as i32, last as i32))
    }
}

struct Work {
    keys: Keys,
    plans: HashMap<String, Plan>,
    not_set_up: BTreeMap<String, u64>,
}

impl Work {
    fn add_day(&mut self, day: i32, batches: &[DailyBatch]) {
        let markers = markers(batches);
        let mut questions: HashMap<&str, HashSet<String>> = HashMap::new();
        for (tenant, marker) in &markers {
            if let Some(rows) = self.not_set_up.get_mut(tenant) {
                *rows += marker.usage_rows;
            }
            let Some(plan) = self.plans.get_mut(tenant) else { continue };
            let known = questions
                .entry(&marker.questions)
                .or_insert_with(|| serde_json::from_str(&marker.questions).unwrap_or_default());
            plan.check_day(day, known, &mut self.keys);
        }
        for batch in batches {
            for row in (0..batch.len()).filter(|row| batch.questions(*row).is_none()) {
                let tenant = batch.tenant(row);
                let Some(plan) = self.plans.get_mut(tenant) else { continue };
                if markers.get(tenant).is_some_and(|marker| marker.generation == batch.generation(row)) {
                    plan.add_row(day, batch, row, &self.keys);
                }
            }
        }
    }

    /// What comes after the last rolled day: no event of these tenants.
    fn add_rest(&mut self, from_us: i64, openings: &Openings, catalog: &Catalog) {
        for (tenant, plan) in &mut self.plans {
            match openings.get(tenant) {
                Some(opening) => plan.add_rest(from_us, opening, catalog),
                None => plan.give_up(),
            }
        }
    }

    async fn finish(
        self,
        scan: &UsageScan,
        source: Source,
        touched: BTreeSet<String>,
    ) -> Result<AnswersFrom, QuantitiesError> {
        let mut found = AnswersFrom::default();
        found.answers.not_set_up = self.not_set_up;
        let mut left: HashMap<String, Demand> = HashMap::new();
        let mut begun: HashMap<String, (Usage, Vec<usize>)> = HashMap::new();
        for (tenant, plan) in self.plans {
            let (usage, open) = plan.finish();
            if open.is_empty() {
                found.answers.usages.push(usage);
                found.rolled_tenants += 1;
            } else if source == Source::RollUps {
                found.answers.failed.push(TenantFailure { tenant, source: TenantProblem::NotRolled });
            } else {
                let wanted = open.iter().map(|at| usage.demand.wanted[*at].clone()).collect();
                left.insert(tenant.clone(), Demand { wanted, ..usage.demand.clone() });
                begun.insert(tenant, (usage, open));
            }
        }
        if source == Source::RollUps {
            let failure = |tenant| TenantFailure { tenant, source: TenantProblem::NotRolled };
            found.answers.failed.extend(touched.into_iter().map(failure));
        } else if !(left.is_empty() && touched.is_empty()) {
            let names: BTreeSet<String> = left.keys().chain(&touched).cloned().collect();
            found.event_tenants = names.len();
            let answers = from_events(scan, names, left).await?;
            merge(&mut found.answers, answers, begun);
        }
        found.answers.sort();
        Ok(found)
    }
}

/// Answers some tenants' questions from events: those that are left of their demand, or all of it.
async fn from_events(
    scan: &UsageScan,
    names: BTreeSet<String>,
    left: HashMap<String, Demand>,
) -> Result<Answers, QuantitiesError> {
    let demand_of = Arc::clone(&scan.demand_of);
    let of_events = UsageScan {
        demand_of: Arc::new(move |tenant: &str| match left.get(tenant) {
            Some(demand) => Asked::Demand(demand.clone()),
            None => demand_of(tenant),
        }),
        tenants: Some(names),
        ..scan.clone()
    };
    of_events.run().await
}

fn merge(answers: &mut Answers, events: Answers, mut begun: HashMap<String, (Usage, Vec<usize>)>) {
    for failure in &events.failed {
        begun.remove(&failure.tenant);
    }
    for usage in events.usages {
        match begun.remove(&usage.demand.tenant) {
            None => answers.usages.push(usage),
            Some((mut whole, open)) => {
                for (at, answer) in open.into_iter().zip(usage.answers) {
                    whole.answers[at] = answer;
                }
                for (meter, oddities) in usage.session_oddities {
                    let known = whole.session_oddities.entry(meter).or_default();
                    *known = known.most(&oddities);
                }
                answers.usages.push(whole);
            }
        }
    }
    // A tenant without any event that could matter has no answer of its own from events.
    answers.usages.extend(begun.into_values().map(|(usage, _)| usage));
    answers.failed.extend(events.failed);
    for (tenant, rows) in events.not_set_up {
        *answers.not_set_up.entry(tenant).or_default() += rows;
    }
}

fn markers(batches: &[DailyBatch]) -> DayMarkers {
    let mut markers = DayMarkers::new();
    for batch in batches {
        for row in 0..batch.len() {
            if let Some(questions) = batch.questions(row) {
                let (generation, usage_rows) = (batch.generation(row), batch.usage_rows(row));
                let marker = Marker { generation, questions: questions.to_owned(), usage_rows };
                note(&mut markers, batch.tenant(row), marker);
            }
        }
    }
    markers
}
