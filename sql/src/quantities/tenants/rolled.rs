//! One day of tenants, opened with what the day before left and closed with what it leaves to the next.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rating::period::Span;
use rating::quantity::Dimensions;
use rating::quantity::session::SessionOddities;
use rating::usage::{CarriedState, Demand, MeterFold, ResumeError, SeriesSpan, Totals, Wanted};

use tokio::sync::mpsc::Sender;

use super::{Asked, MeterRules, MeterState, NONE, OwnFold, TenantFolds, TenantProblem};

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
    /// Whether values are so large that what days come to says nothing about sums on the way there.
    pub is_extreme: bool,
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
        Ok(fold) => Ok(MeterState::Folding(Box::new(OwnFold::new(fold, i64::MAX)))),
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
        let mut in_order: Vec<_> = openings.iter().collect();
        in_order.sort_unstable_by_key(|(tenant, _)| *tenant);
        for (tenant, meters) in in_order {
            let number = self.tenant_number(tenant);
            for meter in meters.keys() {
                let meter = self.meter_number(meter);
                self.begin(number, meter, 0, i64::MAX);
            }
        }
    }

    /// Days of tenants are handed over here, a portion at a time, as soon as no more rows of theirs can come.
    pub fn hand_over_to(&mut self, to: Sender<Portion>, share: usize, end_us: i64) {
        self.passed.handing = Some(Handing { to, share, end_us });
    }

    /// Says that all rows of the tenant before were taken; answers whether there is a portion to hand over.
    pub fn come_to(&mut self, tenant: u32) -> bool {
        self.passed.come_to(tenant);
        self.passed.tenants.len() >= PORTION
    }

    /// The places of tenants in the order of their names, by number.
    pub fn ranks(&self) -> Vec<u32> {
        let mut in_order: Vec<u32> = (0..self.tenants.len() as u32).collect();
        in_order.sort_unstable_by(|left, right| {
            self.tenants[*left as usize].name.cmp(&self.tenants[*right as usize].name)
        });
        let mut ranks = vec![0; in_order.len()];
        for (rank, tenant) in in_order.into_iter().enumerate() {
            ranks[tenant as usize] = rank as u32;
        }
        ranks
    }

    /// Ends the day of all tenants that were passed, if days are handed over at all.
    pub async fn hand_over(&mut self) {
        let Some(handing) = self.passed.handing.clone() else { return };
        let tenants = std::mem::take(&mut self.passed.tenants);
        for portion in tenants.chunks(PORTION) {
            let days = portion.iter().map(|tenant| self.finish_day(*tenant, handing.end_us)).collect();
            // Whoever takes them has given up if nobody does, and says why.
            let _ = handing.to.send((handing.share, days)).await;
        }
    }

    /// Ends the day of all others.
    pub async fn hand_over_rest(&mut self) {
        self.passed.come_to(NONE);
        self.hand_over().await;
        let mut rest: Vec<u32> = (0..self.tenants.len() as u32).collect();
        rest.retain(|tenant| !self.tenants[*tenant as usize].is_finished);
        rest.sort_unstable_by(|left, right| {
            self.tenants[*left as usize].name.cmp(&self.tenants[*right as usize].name)
        });
        self.passed.tenants = rest;
        self.hand_over().await;
    }

    fn finish_day(&mut self, tenant: u32, end_us: i64) -> TenantDay {
        let state = &mut self.tenants[tenant as usize];
        state.is_finished = true;
        let folds = std::mem::take(&mut state.folds);
        let rolled = match (state.problem.take(), std::mem::replace(&mut state.demand, Asked::Nothing)) {
            (Some(problem), _) => Err(problem),
            (None, Asked::Demand(demand)) => finish(demand, folds, &self.meters, end_us),
            (None, Asked::Nothing | Asked::NotSetUp) => Ok(RolledDay::default()),
        };
        TenantDay { tenant: state.name.clone(), rows: state.rows, rolled }
    }
}

/// Days of some tenants of a share.
pub type Portion = (usize, Vec<TenantDay>);

/// Tenants whose days are handed over at once.
const PORTION: usize = 128;

/// Tenants of whom no more rows come, in the order in which they were passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    handing: Option<Handing>,
    current: Option<u32>,
    tenants: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Handing {
    to: Sender<Portion>,
    share: usize,
    end_us: i64,
}

impl Passed {
    #[inline]
    pub fn come_to(&mut self, tenant: u32) {
        if self.current == Some(tenant) || self.handing.is_none() {
            return;
        }
        let before = self.current.replace(tenant).filter(|before| *before != NONE);
        self.tenants.extend(before);
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
        day.is_extreme |= own.fold.is_extreme();
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
