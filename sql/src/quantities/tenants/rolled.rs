//! One day of tenants, opened with what the day before left and closed with what it leaves to the next.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rating::period::Span;
use rating::quantity::Dimensions;
use rating::quantity::session::SessionOddities;
use rating::usage::{CarriedState, Demand, MeterFold, ResumeError, SeriesSpan, Totals, Wanted};

use super::{Asked, MeterRules, MeterState, OwnFold, TenantFolds, TenantProblem, TenantState};

/// By meter: what a tenant's day opens with. Meters that carry nothing may be left out.
pub type TenantCarried = BTreeMap<String, CarriedState>;

/// By tenant; every tenant that is known stands here, whatever it carries.
pub type Openings = HashMap<String, TenantCarried>;

/// What one day of one tenant came to.
#[derive(Debug, Clone)]
pub struct TenantDay {
    pub tenant: String,
    /// How many rows of usage the day has.
    pub rows: u64,
    pub rolled: Result<RolledDay, TenantProblem>,
}

#[derive(Debug, Clone, Default)]
pub struct RolledDay {
    /// What was asked, in the order of the places that the rest refers to.
    pub wanted: Vec<Wanted>,
    pub series: Vec<RolledSeries>,
    pub oddities: Vec<RolledOddities>,
    /// What the next day opens with.
    pub carried: TenantCarried,
}

/// The totals of one series in one part of the day.
#[derive(Debug, Clone)]
pub struct RolledSeries {
    /// The place of the question.
    pub question: usize,
    pub dimensions: Dimensions,
    pub span: Span,
    pub totals: Totals,
    /// For meters that count resources: those that were seen, in ascending order.
    pub seen: Vec<String>,
}

/// What should not happen to sessions, in one part of the day.
#[derive(Debug, Clone)]
pub struct RolledOddities {
    pub question: usize,
    pub span: Span,
    pub oddities: SessionOddities,
}

/// A fold that goes on from an opening. Sessions whose signals may tell of another day cannot be folded day by day.
pub(super) fn start(
    rules: &MeterRules,
    demand: &Demand,
    openings: &Openings,
) -> Result<MeterState, TenantProblem> {
    if !rules.in_order {
        return Ok(MeterState::NotAsked);
    }
    let asked = |(_, wanted): &(usize, &Wanted)| wanted.view.meter == rules.key;
    let wanted: Vec<_> = demand.wanted.iter().enumerate().filter(asked).collect();
    let nothing = CarriedState::default();
    let opening = openings.get(&demand.tenant).and_then(|meters| meters.get(&rules.key)).unwrap_or(&nothing);
    let fold = MeterFold::new(&rules.fold, &wanted, true).resume(&rules.fold, opening);
    match fold {
        Ok(fold) => Ok(MeterState::Folding(Box::new(OwnFold { fold, until_us: i64::MAX }))),
        Err(ResumeError::Fold(error)) => Err(TenantProblem::of_fold(error, &demand.tenant, &rules.key)),
        Err(ResumeError::Dimensions(source)) => {
            let meter = rules.key.clone();
            Err(TenantProblem::Carried { meter, source })
        }
    }
}

impl TenantFolds {
    /// Goes on from what an earlier day left; tenants without any event take part too.
    pub fn open(&mut self, openings: &Arc<Openings>) {
        self.openings = Some(Arc::clone(openings));
        for (tenant, meters) in openings.iter() {
            let number = self.tenant_number(tenant);
            for meter in meters.keys() {
                let meter = self.meter_number(meter);
                self.begin(number, meter, 0);
            }
        }
    }

    /// Ends the day.
    pub fn finish_day(self, end_us: i64) -> Vec<TenantDay> {
        let meters = self.meters;
        let finish = |tenant: TenantState| {
            let TenantState { name, demand, folds, problem, rows } = tenant;
            let rolled = match (problem, demand) {
                (Some(problem), _) => Err(problem),
                (None, Asked::Demand(demand)) => finish(demand, folds, &meters, end_us),
                (None, Asked::Nothing | Asked::NotSetUp) => Ok(RolledDay::default()),
            };
            TenantDay { tenant: name, rows, rolled }
        };
        self.tenants.into_iter().map(finish).collect()
    }
}

fn finish(
    demand: Demand,
    folds: Vec<MeterState>,
    meters: &[MeterRules],
    end_us: i64,
) -> Result<RolledDay, TenantProblem> {
    let mut day = RolledDay::default();
    for (state, rules) in folds.into_iter().zip(meters) {
        let MeterState::Folding(mut own) = state else { continue };
        let problem = |error| TenantProblem::of_fold(error, &demand.tenant, &rules.key);
        let carried = own.fold.carried(end_us).map_err(problem)?;
        if !carried.is_empty() {
            day.carried.insert(rules.key.clone(), carried);
        }
        let found = own.fold.finish().map_err(problem)?;
        for (question, answer) in found.answers {
            let view = &demand.wanted[question].view;
            day.series.extend(answer.into_iter().map(|series| {
                let seen = own.fold.resources_seen(view, &series.dimensions, &series.span);
                let seen = seen.into_iter().map(str::to_owned).collect();
                let SeriesSpan { dimensions, span, totals } = series;
                RolledSeries { question, dimensions, span, totals, seen }
            }));
        }
        for (question, spans) in found.oddities {
            day.oddities.extend(spans.into_iter().map(|(span, oddities)| RolledOddities {
                question,
                span,
                oddities,
            }));
        }
    }
    day.wanted = demand.wanted;
    Ok(day)
}
