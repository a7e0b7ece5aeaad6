//! What is asked about each tenant's day: the questions of all periods that the day lies in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use rating::catalog::{Catalog, Tenant};
use rating::draft::DemandOptions;
use rating::period::{MICROSECONDS_PER_HOUR, Period, PeriodError, Span};
use rating::quantity::Measure;
use rating::usage::{Demand, View, Wanted, day_span, parts_of_day, question_key};

use crate::quantities::{Question, demand_of_terms, signals_in_order};
use crate::tenant_terms::TenantTerms;

type PeriodOf = (Option<String>, i64);

/// The questions of a catalog's prices and meters, by tenant and day.
#[derive(Debug)]
pub struct PeriodQuestions {
    terms: TenantTerms,
    /// By the key of a tenant (nothing for those that the catalog does not name) and the start of a period.
    known: Mutex<HashMap<PeriodOf, Arc<Demand>>>,
}

impl PeriodQuestions {
    pub fn new(catalog: &Arc<Catalog>) -> Self {
        Self { terms: TenantTerms::new(catalog), known: Mutex::default() }
    }

    /// The questions about a tenant's day. Nothing is asked about a tenant that is not set up; a day that the tenant's
    /// calendar does not reach is not rolled.
    pub fn of_day(&self, tenant: &str, day: i32) -> Vec<Wanted> {
        let Some((terms, key)) = self.terms_of(tenant) else { return Vec::new() };
        let Ok(demands) = self.demands(terms, key, day) else { return Vec::new() };
        day_questions(self.terms.catalog(), demands.iter().map(AsRef::as_ref), day)
    }

    /// What is asked of a tenant's periods that end after one instant and not after another, one after the other.
    pub fn of_periods(&self, tenant: &str, after_us: i64, until_us: i64) -> Vec<Demand> {
        let Some((terms, key)) = self.terms_of(tenant) else { return Vec::new() };
        let mut demands = Vec::new();
        // A calendar that does not reach so far has no more periods.
        let mut next = terms.cycle.period_containing(after_us, &terms.time_zone).ok();
        while let Some(period) = next.filter(|period| period.span.end_us <= until_us) {
            let demand = self.demand(terms, key, &period);
            demands.push(Demand { tenant: tenant.to_owned(), ..Demand::clone(&demand) });
            next = terms.cycle.period_after(&period, &terms.time_zone).ok();
        }
        demands
    }

    /// What holds for a tenant, and the name of one that the catalog names.
    fn terms_of<'s>(&'s self, tenant: &'s str) -> Option<(&'s Tenant, Option<&'s str>)> {
        match self.terms.named(tenant) {
            Some(terms) => Some((terms, Some(tenant))),
            None => Some((self.terms.catalog().other_tenants.as_ref()?, None)),
        }
    }

    /// What the periods ask that a day lies in.
    fn demands(&self, terms: &Tenant, key: Option<&str>, day: i32) -> Result<Vec<Arc<Demand>>, PeriodError> {
        let whole = day_span(day);
        let mut period = terms.cycle.period_containing(whole.start_us, &terms.time_zone)?;
        let mut demands = Vec::new();
        while period.span.start_us < whole.end_us {
            demands.push(self.demand(terms, key, &period));
            period = terms.cycle.period_after(&period, &terms.time_zone)?;
        }
        Ok(demands)
    }

    fn demand(&self, terms: &Tenant, key: Option<&str>, period: &Period) -> Arc<Demand> {
        let place = (key.map(str::to_owned), period.span.start_us);
        if let Some(known) = self.known.lock().expect("no thread panicked").get(&place) {
            return Arc::clone(known);
        }
        let prices = Question::Prices(DemandOptions { unpriced_usage: true, costs: true });
        let tenant = key.unwrap_or_default();
        let mut demand = demand_of_terms(self.terms.catalog(), terms, period.clone(), tenant, prices);
        let all = demand_of_terms(self.terms.catalog(), terms, period.clone(), tenant, Question::Everything);
        all.wanted.into_iter().for_each(|wanted| demand.ask(wanted));
        let demand = Arc::new(demand);
        self.known.lock().expect("no thread panicked").insert(place, Arc::clone(&demand));
        demand
    }
}

/// The distinct questions of demands about one day, as far as roll-ups can answer them.
pub fn day_questions<'d>(
    catalog: &Catalog,
    demands: impl Iterator<Item = &'d Demand>,
    day: i32,
) -> Vec<Wanted> {
    let mut questions: Vec<Wanted> = Vec::new();
    for wanted in demands.flat_map(|demand| &demand.wanted).filter(|wanted| is_rolled(catalog, wanted)) {
        let spans = parts_of_day(&wanted.spans, day);
        let is_known = questions.iter().any(|known| known.view == wanted.view && known.spans == spans);
        if !spans.is_empty() && !is_known {
            let view = wanted.view.clone();
            questions.push(Wanted { view, spans, measures: BTreeSet::new(), transactions: false });
        }
    }
    questions
}

/// What is asked of every tenant about each hour of a day: each meter over all of its dimensions, and by all of them.
pub fn hour_questions(catalog: &Catalog, day: i32) -> Vec<Wanted> {
    let start_us = day_span(day).start_us;
    let hours = (0..24).map(|hour| Span {
        start_us: start_us + hour * MICROSECONDS_PER_HOUR,
        end_us: start_us + (hour + 1) * MICROSECONDS_PER_HOUR,
    });
    let spans: Vec<Span> = hours.collect();
    let question = |meter: &str, by: Vec<String>| Wanted {
        view: View { meter: meter.to_owned(), only: BTreeMap::new(), by },
        spans: spans.clone(),
        measures: BTreeSet::new(),
        transactions: false,
    };
    let mut questions = Vec::new();
    for meter in catalog.meters.iter().filter(|meter| signals_in_order(meter)) {
        questions.push(question(&meter.key, Vec::new()));
        if !meter.dimensions.is_empty() {
            questions.push(question(&meter.key, meter.dimensions.keys().cloned().collect()));
        }
    }
    questions
}

/// Whether something of a question follows from its days.
pub(super) fn is_rolled(catalog: &Catalog, wanted: &Wanted) -> bool {
    let in_order = catalog.meter(&wanted.view.meter).is_some_and(signals_in_order);
    in_order && wanted.measures.iter().any(|measure| measure.composes())
}

/// Whether all of it does.
pub(super) fn is_answered(catalog: &Catalog, wanted: &Wanted) -> bool {
    is_rolled(catalog, wanted)
        && !wanted.transactions
        && wanted.measures.iter().copied().all(Measure::composes)
}

/// The names of a day's questions, each once, in order.
pub fn question_keys(catalog: &Catalog, questions: &[Wanted], day: i32) -> Vec<String> {
    let key = |wanted: &Wanted| {
        let meter = catalog.meter(&wanted.view.meter)?;
        Some(question_key(&meter.kind.rules(), &wanted.view, &wanted.spans, day))
    };
    let keys: BTreeSet<String> = questions.iter().filter_map(key).collect();
    keys.into_iter().collect()
}

/// Moves when the folds themselves count otherwise than before: what was rolled until then is rolled anew.
const FOLDS: u32 = 3;

/// A number for the rules by which all meters count: what a day leaves to the next follows from them.
pub fn rules_of(catalog: &Catalog) -> i64 {
    let rules = |meter: &rating::catalog::Meter| {
        format!("{} {:?} {}\n", meter.key, meter.kind.rules(), signals_in_order(meter))
    };
    let mut texts: Vec<String> = catalog.meters.iter().map(rules).collect();
    texts.sort();
    texts.push(format!("folds {FOLDS}"));
    // FNV-1a: the same in every process.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    let hash = texts.concat().bytes().fold(0xCBF2_9CE4_8422_2325, step);
    (hash >> 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::instant;

    const CATALOG: &str = "
catalog: t
currency: EUR
meters: { calls: { kind: delta, event_type: call, unit: call } }
plans: { p: { prices: { fee: { description: Fee, flat: 1 } } } }
tenants:
  anchored: { name: A, time_zone: Europe/Berlin, billing: { every_months: 1, anchor: 2026-01-15 }, subscriptions: [] }
other_tenants: { subscriptions: [] }
";

    #[test]
    fn periods_that_have_ended_are_asked_about_in_each_tenants_calendar() {
        let periods = PeriodQuestions::new(&Arc::new(Catalog::parse(CATALOG, "t.yaml").unwrap()));
        let ends = |tenant: &str, after: &str, until: &str| -> Vec<String> {
            let [after_us, until_us] = [after, until].map(|text| instant(text).unwrap());
            let demands = periods.of_periods(tenant, after_us, until_us);
            assert!(demands.iter().all(|demand| demand.tenant == tenant && demand.wanted.len() == 1));
            demands.into_iter().map(|demand| demand.period.end_date).collect()
        };
        let (from, until) = ("2026-02-20T00:00:00Z", "2026-05-01T00:00:00Z");
        assert_eq!(ends("anybody", from, until), ["2026-03-01", "2026-04-01", "2026-05-01"]);
        assert_eq!(ends("anybody", from, "2026-04-30T23:59:59Z"), ["2026-03-01", "2026-04-01"]);
        assert_eq!(ends("anchored", from, until), ["2026-03-15", "2026-04-15"]);
        // Midnight in Berlin is earlier than in UTC; what ends at an instant does not end after it.
        assert_eq!(ends("anchored", "2026-02-14T23:00:00Z", "2026-03-14T23:00:00Z"), ["2026-03-15"]);
        assert_eq!(ends("anchored", "2026-02-14T22:59:59Z", "2026-03-14T22:59:59Z"), ["2026-02-15"]);
    }
}
