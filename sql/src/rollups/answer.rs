//! Answers to demands from roll-ups, and from events where roll-ups cannot tell.
//!
//! Owns the choice between both. A question is put together from its days when every day that lies before the end of the
//! roll-ups answers it; what comes after that end, without any event, follows from what the last day left. Tenants
//! that newer commits touched, and measures that do not follow from days, are folded from their events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rating::usage::{DAY_US, Demand, Usage};

use super::part::answer_plans;
use super::plan::{Answered, Keys, Plan, usage_of};
use super::{DayMarkers, RollUpState, RollUps, Touch, touched};
use crate::quantities::{
    Answers, Asked, QuantitiesError, TenantFailure, TenantProblem, UsageScan, signals_in_order,
};

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
        if wanted < rolled {
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
        let only = scan.tenants.as_ref();
        let RollUpState { first_day, last_day, .. } = self.state;
        let until_day = (scan.until_us - 1).div_euclid(DAY_US).min(last_day.into());
        let mut work = Work::default();
        if until_day >= first_day.into() {
            work.plan(scan, source, &self.markers(until_day as i32, only).await?, &touched);
        }
        if scan.catalog.meters.iter().any(|meter| !signals_in_order(meter)) && until_day < last_day.into() {
            // Whose first event came later may have told then of the time before.
            let later = self.markers(last_day, only).await?;
            let known =
                later.into_iter().filter(|(_, marker)| marker.is_of_known()).map(|(tenant, _)| tenant);
            let is_new =
                |name: &String| !work.plans.contains_key(name) && !work.not_set_up.contains_key(name);
            work.unclear.extend(known.filter(|name| is_new(name) && !touched.contains(name)));
        }
        work.put_together(self, scan).await?;
        self.count_not_set_up(&mut work, until_day).await?;
        let is_asked = |name: &String| only.is_none_or(|tenants| tenants.contains(name));
        let touched = touched.into_iter().filter(is_asked).collect();
        work.finish(scan, source, touched).await
    }

    /// All rows of tenants that are not set up, up to a day.
    async fn count_not_set_up(&self, work: &mut Work, until_day: i64) -> Result<(), QuantitiesError> {
        let names: BTreeSet<String> = work.not_set_up.keys().cloned().collect();
        if names.is_empty() {
            return Ok(());
        }
        for day in self.state.first_day..=until_day as i32 {
            for (tenant, marker) in self.markers(day, Some(&names)).await? {
                *work.not_set_up.entry(tenant).or_default() += marker.usage_rows;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Work {
    keys: Keys,
    /// By tenant.
    plans: BTreeMap<String, Plan>,
    answered: Vec<(String, Answered)>,
    not_set_up: BTreeMap<String, u64>,
    /// Tenants of whom only events tell whether they were there.
    unclear: BTreeSet<String>,
}

impl Work {
    /// Begins with all tenants that were known by the end of a day.
    fn plan(&mut self, scan: &UsageScan, source: Source, known: &DayMarkers, touched: &BTreeSet<String>) {
        let known =
            known.iter().filter(|(tenant, marker)| marker.is_of_known() && !touched.contains(*tenant));
        for (tenant, _) in known {
            match (scan.demand_of)(tenant) {
                Asked::Demand(demand) => {
                    let plan = Plan::new(demand, &scan.catalog, source, &mut self.keys);
                    self.plans.insert(tenant.clone(), plan);
                }
                Asked::NotSetUp => {
                    self.not_set_up.insert(tenant.clone(), 0);
                }
                Asked::Nothing => {}
            }
        }
    }

    /// Answers all plans from roll-ups.
    async fn put_together(&mut self, roll_ups: &RollUps, scan: &UsageScan) -> Result<(), QuantitiesError> {
        let plans = std::mem::take(&mut self.plans);
        self.answered = answer_plans(roll_ups, &scan.catalog, plans, &self.keys, scan.threads).await?;
        Ok(())
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
        let mut unclear = self.unclear;
        for (tenant, answered) in self.answered {
            let (usage, open) = match answered {
                Answered::Questions(demand, found) => usage_of(demand, found),
                Answered::NotSeen => continue,
                Answered::Unclear => {
                    unclear.insert(tenant);
                    continue;
                }
            };
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
            found.answers.failed.extend(touched.into_iter().chain(unclear).map(failure));
        } else if !(left.is_empty() && touched.is_empty() && unclear.is_empty()) {
            let names: BTreeSet<String> = left.keys().chain(&touched).chain(&unclear).cloned().collect();
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
