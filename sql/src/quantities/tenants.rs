//! The folds of the tenants of one share, and how rows find theirs.
//!
//! Texts are compared only when a row group's dictionary is new or a resource is seen for the first time in a while: a
//! row is otherwise a few numbers.

mod columns;
mod open;
mod rolled;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::Array;
use hashbrown::HashMap;
use rating::catalog::{Meter, MeterKind};
use rating::quantity::MeterKind as FoldKind;
use rating::usage::{Demand, MeterFold, Sample, Usage};
use tokio::task::coop::consume_budget;

use super::answers::{Answers, TenantFailure, TenantProblem};
use super::dictionary::Numbers;
use super::rows::Rows;
use super::shares::TenantShare;
use super::{Asked, DAY_US, QuantitiesError, UsageScan};

pub(super) use columns::Dictionaries;
use columns::Slots;
pub(super) use open::Open;
use rolled::Passed;
pub use rolled::{Openings, Portion, RolledDay, RolledOddities, RolledSeries, TenantCarried, TenantDay};

/// A tenant of another share, or a meter that the catalog does not have.
pub(super) const NONE: u32 = u32::MAX;

/// Whether a session's events carry the time at which its signals happened. Where they may tell of an earlier one,
/// they have to be put in order first.
pub(crate) fn signals_in_order(meter: &Meter) -> bool {
    meter.session.as_ref().is_none_or(|session| {
        session.signal.is_some() && session.started_at.is_none() && session.ended_at.is_none()
    })
}

/// Whether rows of the meter may tell of what happened on an earlier day than that under which they are stored.
pub fn tells_of_earlier_days(meter: &Meter) -> bool {
    matches!(meter.kind, MeterKind::Session { .. }) && !signals_in_order(meter)
}

/// What a session's row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalWord {
    Unknown,
    Start,
    Stop,
    Heartbeat,
    Complete,
}

impl SignalWord {
    pub fn of(word: &str) -> Self {
        match word {
            "start" => Self::Start,
            "stop" => Self::Stop,
            "heartbeat" => Self::Heartbeat,
            "complete" => Self::Complete,
            _ => Self::Unknown,
        }
    }
}

/// A row in numbers, but for its resource and dimensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    pub time_us: i64,
    pub value_nano: Option<i128>,
    pub signal: SignalWord,
    pub signal_time_us: Option<i64>,
}

/// The slot in which a resource stood last.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastSlot {
    owner: u64,
    dimensions: u32,
    slot: u32,
}

impl LastSlot {
    pub const NOWHERE: LastSlot = LastSlot { owner: u64::MAX, dimensions: 0, slot: 0 };
}

#[derive(Debug, Clone)]
struct MeterRules {
    key: String,
    fold: FoldKind,
    in_order: bool,
}

#[derive(Debug)]
struct TenantState {
    name: String,
    demand: Asked,
    /// By meter.
    folds: Vec<MeterState>,
    problem: Option<TenantProblem>,
    /// Whether something was used before the end of the tenant's period.
    is_seen: bool,
    rows: u64,
    /// What it came to was handed over.
    is_finished: bool,
}

#[derive(Debug)]
enum MeterState {
    NotSeen,
    NotAsked,
    Folding(Box<OwnFold>),
}

#[derive(Debug)]
struct OwnFold {
    fold: MeterFold,
    /// Nothing from here on can change an answer.
    until_us: i64,
    /// The slots of rows that name no resource, by the number of their dimensions; the first few of them.
    without_resource: Vec<(u32, u32)>,
}

impl OwnFold {
    fn new(fold: MeterFold, until_us: i64) -> Self {
        Self { fold, until_us, without_resource: Vec::new() }
    }
}

pub(super) struct TenantFolds {
    scan: UsageScan,
    share: TenantShare,
    meters: Vec<MeterRules>,
    meter_numbers: HashMap<String, u32>,
    tenant_numbers: HashMap<Box<str>, u32>,
    tenants: Vec<TenantState>,
    /// Tenants without an answer so far.
    unfinished: Vec<u32>,
    dimension_numbers: Numbers,
    slots: Slots,
    /// Where the folds go on from what an earlier day left.
    openings: Option<Arc<Openings>>,
    /// Whether rows of the current day are counted.
    counts_rows: bool,
    passed: Passed,
}

impl TenantFolds {
    pub fn new(scan: UsageScan, share: TenantShare) -> Self {
        let rules = |meter: &Meter| MeterRules {
            key: meter.key.clone(),
            fold: meter.kind.rules(),
            in_order: !matches!(meter.kind, MeterKind::Session { .. }) || signals_in_order(meter),
        };
        let meters: Vec<MeterRules> = scan.catalog.meters.iter().map(rules).collect();
        let meter_numbers =
            meters.iter().enumerate().map(|(at, meter)| (meter.key.clone(), at as u32)).collect();
        let mut dimension_numbers = Numbers::default();
        // No dimensions at all are number 0.
        dimension_numbers.number("");
        Self {
            scan,
            share,
            meters,
            meter_numbers,
            tenant_numbers: HashMap::new(),
            tenants: Vec::new(),
            unfinished: Vec::new(),
            dimension_numbers,
            slots: Slots::default(),
            openings: None,
            counts_rows: true,
            passed: Passed::default(),
        }
    }

    /// Later days are only read for what they tell of earlier ones.
    pub fn begin_day(&mut self, day: i32) {
        self.counts_rows = i64::from(day) * DAY_US < self.scan.until_us;
    }

    pub fn has_sessions(&self) -> bool {
        self.meters.iter().any(|meter| matches!(meter.fold, FoldKind::Session(_)))
    }

    pub fn meter_count(&self) -> usize {
        self.meters.len()
    }

    pub fn share(&self) -> &TenantShare {
        &self.share
    }

    pub fn tenant_number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.tenant_numbers.get(name) {
            return number;
        }
        let number = if self.share.holds(name) { self.tenants.len() as u32 } else { NONE };
        self.tenant_numbers.insert(name.into(), number);
        if number != NONE {
            let demand = (self.scan.demand_of)(name);
            self.unfinished.push(number);
            let folds = self.meters.iter().map(|_| MeterState::NotSeen).collect();
            let name = name.to_owned();
            self.tenants.push(TenantState {
                name,
                demand,
                folds,
                problem: None,
                is_seen: false,
                rows: 0,
                is_finished: false,
            });
        }
        number
    }

    pub fn meter_number(&self, key: &str) -> u32 {
        self.meter_numbers.get(key).copied().unwrap_or(NONE)
    }

    pub fn dimension_number(&mut self, text: &str) -> u32 {
        self.dimension_numbers.number(text)
    }

    /// Folds rows of a reader's file that lie in the order of tenant, meter and time.
    pub fn take_in_order(
        &mut self,
        rows: &Rows,
        range: Range<usize>,
        dictionaries: &mut Dictionaries,
    ) -> Result<(), QuantitiesError> {
        let mut slots = std::mem::take(&mut self.slots);
        dictionaries.map(self, &mut slots, rows);
        let (tenant_keys, meter_keys) = (rows.tenant.keys().values(), rows.meter.keys().values());
        let no_meters = rows.meter.nulls().filter(|nulls| nulls.null_count() > 0);
        let mut start = range.start;
        while start < range.end {
            let tenant = dictionaries.tenants.numbers[tenant_keys[start] as usize];
            let tenant_end = end_of_run(tenant_keys, start..range.end);
            self.passed.come_to(tenant);
            while start < tenant_end {
                let without_meter = rows.meter.is_null(start);
                let end = match no_meters {
                    None => end_of_run(meter_keys, start..tenant_end),
                    Some(nulls) => {
                        let is_same = |row: &usize| match (without_meter, nulls.is_null(*row)) {
                            (false, false) => meter_keys[*row] == meter_keys[start],
                            (without, is_null) => without == is_null,
                        };
                        (start + 1..tenant_end).find(|row| !is_same(row)).unwrap_or(tenant_end)
                    }
                };
                let meter = if without_meter {
                    NONE
                } else {
                    dictionaries.meters.numbers[meter_keys[start] as usize]
                };
                self.take_run(tenant, meter, rows, start..end, dictionaries, &mut slots)?;
                start = end;
            }
        }
        self.slots = slots;
        Ok(())
    }

    /// Folds rows of one tenant and meter.
    fn take_run(
        &mut self,
        tenant: u32,
        meter: u32,
        rows: &Rows,
        run: Range<usize>,
        dictionaries: &Dictionaries,
        slots: &mut Slots,
    ) -> Result<(), QuantitiesError> {
        let times = rows.time.values();
        let Some(mut own) = self.begin(tenant, meter, run.len() as u64, times[run.start]) else {
            return Ok(());
        };
        if own.takes_signals() {
            return take_signals(&mut own, meter, rows, run, dictionaries, slots);
        }
        let values = rows.value.values();
        let no_values = rows.value.nulls().filter(|nulls| nulls.null_count() > 0);
        let is_missing = |row: &usize| no_values.is_some_and(|nulls| nulls.is_null(*row));
        let mut run = own.in_time(times, run);
        let mut without_value_us = None;
        if own.needs_values()
            && no_values.is_some()
            && let Some(missing) = run.clone().find(is_missing)
        {
            without_value_us = Some(times[missing]);
            run.end = missing;
        }
        slots.find_of_run(&mut own, meter, rows, run.clone(), dictionaries)?;
        let Slots { samples, of_run, .. } = slots;
        samples.clear();
        let sample = |row: usize, slot: u32, nano: i128| Sample { time_us: times[row], slot, nano };
        if own.needs_values() {
            samples.extend(run.zip(&*of_run).map(|(row, slot)| sample(row, *slot, values[row])));
        } else {
            let nano = |row| if is_missing(&row) { 0 } else { values[row] };
            samples.extend(run.zip(&*of_run).map(|(row, slot)| sample(row, *slot, nano(row))));
        }
        own.take_values(samples, without_value_us);
        Ok(())
    }

    /// The fold of a tenant's meter for so many rows, the first of them at an instant; nothing where they do not matter.
    pub fn begin(&mut self, tenant: u32, meter: u32, rows: u64, first_us: i64) -> Option<Open<'_>> {
        if tenant == NONE {
            return None;
        }
        let state = &mut self.tenants[tenant as usize];
        assert!(!state.is_finished, "rows of {} stand apart from each other in a sorted day", state.name);
        if self.counts_rows {
            state.rows += rows;
        }
        let Asked::Demand(demand) = &state.demand else { return None };
        state.is_seen |= first_us < demand.period.span.end_us;
        if meter == NONE || state.problem.is_some() {
            return None;
        }
        let rules = &self.meters[meter as usize];
        let fold = &mut state.folds[meter as usize];
        if matches!(fold, MeterState::NotSeen) {
            *fold = match &self.openings {
                None => start(rules, demand),
                Some(openings) => match rolled::start(rules, demand, openings) {
                    Ok(fold) => fold,
                    Err(error) => {
                        state.problem = Some(error);
                        return None;
                    }
                },
            };
        }
        let MeterState::Folding(own) = fold else { return None };
        let owner = u64::from(tenant) << 32 | u64::from(meter);
        Some(Open { own, rules, owner, tenant: &state.name, problem: &mut state.problem })
    }

    /// About what all of this takes in memory: it grows with tenants, what is asked of them, and resources.
    pub fn size_bytes(&self) -> usize {
        let folds = self.tenants.iter().flat_map(|tenant| &tenant.folds);
        let folding = folds.map(|fold| match fold {
            MeterState::Folding(own) => own.fold.size_bytes(),
            MeterState::NotSeen | MeterState::NotAsked => 0,
        });
        let tenant_bytes = size_of::<TenantState>() + self.meters.len() * size_of::<MeterState>();
        folding.sum::<usize>() + self.tenants.len() * tenant_bytes
    }

    pub fn tenant_count(&self) -> usize {
        self.tenants.len()
    }

    /// Answers for all tenants up to this one, of whom no more rows come.
    pub async fn finish_until(&mut self, last: &str, answers: &mut Answers) {
        let is_over = |at: &u32| *self.tenants[*at as usize].name <= *last;
        let (over, unfinished) = self.unfinished.iter().partition(|at| is_over(at));
        self.unfinished = unfinished;
        self.finish_tenants(over, answers).await;
    }

    /// Answers for all others.
    pub async fn finish(mut self, answers: &mut Answers) {
        let unfinished = std::mem::take(&mut self.unfinished);
        self.finish_tenants(unfinished, answers).await;
    }

    async fn finish_tenants(&mut self, tenants: Vec<u32>, answers: &mut Answers) {
        for tenant in tenants {
            consume_budget().await;
            self.finish_tenant(tenant, answers);
        }
    }

    /// Ends a tenant's spans.
    fn finish_tenant(&mut self, tenant: u32, answers: &mut Answers) {
        let state = &mut self.tenants[tenant as usize];
        state.is_finished = true;
        let (folds, problem) = (std::mem::take(&mut state.folds), state.problem.take());
        let (name, rows) = (state.name.clone(), state.rows);
        let demand = match std::mem::replace(&mut state.demand, Asked::Nothing) {
            Asked::Demand(demand) => demand,
            Asked::Nothing => return,
            Asked::NotSetUp if rows == 0 => return,
            Asked::NotSetUp => {
                answers.not_set_up.insert(name, rows);
                return;
            }
        };
        let usage = match problem {
            Some(problem) => Err(problem),
            None => usage_of(demand, folds, &self.meters),
        };
        match usage {
            // Whoever comes later is no tenant of this period yet, unless its first event tells of it.
            Ok(usage) if !state.is_seen && usage.answers.iter().all(Vec::is_empty) => {}
            Ok(usage) => answers.usages.push(usage),
            Err(source) => answers.failed.push(TenantFailure { tenant: name, source }),
        }
    }
}

/// Where a run of equal keys ends. Looks at many at a time, because most runs are long.
fn end_of_run(keys: &[i32], range: Range<usize>) -> usize {
    const AT_ONCE: usize = 16;
    let (mut end, first) = (range.start, keys[range.start]);
    while let Some(chunk) = keys[end..range.end].first_chunk::<AT_ONCE>() {
        if chunk.iter().fold(0, |difference, key| difference | (key ^ first)) != 0 {
            break;
        }
        end += AT_ONCE;
    }
    end + keys[end..range.end].iter().take_while(|key| **key == first).count()
}

fn start(rules: &MeterRules, demand: &Demand) -> MeterState {
    let wanted: Vec<_> =
        demand.wanted.iter().enumerate().filter(|(_, wanted)| wanted.view.meter == rules.key).collect();
    let until_us = wanted.iter().filter_map(|(_, wanted)| wanted.spans.last()).map(|span| span.end_us).max();
    match until_us {
        Some(until_us) => {
            let fold = MeterFold::new(&rules.fold, &wanted, rules.in_order);
            MeterState::Folding(Box::new(OwnFold::new(fold, until_us)))
        }
        None => MeterState::NotAsked,
    }
}

fn usage_of(demand: Demand, folds: Vec<MeterState>, meters: &[MeterRules]) -> Result<Usage, TenantProblem> {
    let mut usage = Usage::unused(demand);
    let mut oddities = BTreeMap::new();
    for (state, rules) in folds.into_iter().zip(meters) {
        let MeterState::Folding(mut own) = state else { continue };
        let problem = |error| TenantProblem::of_fold(error, &usage.demand.tenant, &rules.key);
        let found = own.fold.finish().map_err(problem)?;
        for (at, answer) in found.answers {
            usage.answers[at] = answer;
        }
        if matches!(rules.fold, FoldKind::Session(_)) {
            oddities.insert(rules.key.clone(), found.session_oddities);
        }
    }
    usage.session_oddities = oddities;
    Ok(usage)
}

/// Folds rows of one tenant's sessions.
fn take_signals(
    own: &mut Open<'_>,
    meter: u32,
    rows: &Rows,
    run: Range<usize>,
    dictionaries: &Dictionaries,
    slots: &mut Slots,
) -> Result<(), QuantitiesError> {
    for row in run {
        let mut figures = Figures {
            time_us: rows.time.value(row),
            value_nano: rows.value.is_valid(row).then(|| rows.value.value(row)),
            signal: SignalWord::Unknown,
            signal_time_us: None,
        };
        if own.is_over(figures.time_us) {
            continue;
        }
        if let Some((signal, time)) = &rows.signals {
            if signal.is_valid(row) {
                figures.signal = dictionaries.signals.numbers[signal.keys().value(row) as usize];
            }
            figures.signal_time_us = time.is_valid(row).then(|| time.value(row));
        }
        let slot = slots.slot(own, meter, rows, row, dictionaries)?;
        own.take(&figures, slot);
        if own.problem.is_some() {
            break;
        }
    }
    Ok(())
}
