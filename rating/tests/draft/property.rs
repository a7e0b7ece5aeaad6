//! Random terms and events through folds and drafts, against brute force over rationals: pools, proration, overrides,
//! changes of plan at any microsecond of months with a clock change or a leap day, tiers with fees, and what is left without a price.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use num_rational::BigRational;
use proptest::prelude::*;
use rating::invoice::Warning;

use crate::oracle::months::{MONTHS, Month};
use crate::oracle::price::{to_cents, zero};
use crate::oracle::{config, ratio, rational};
use crate::world::{World, instant_us};

const REGIONS: [&str; 3] = ["eu", "us", "asia"];

#[derive(Debug, Clone)]
struct Case {
    month: &'static Month,
    /// Its start and end.
    span_us: (i64, i64),
    /// Edges in millionths of the month; the second subscription follows the first with a gap or without.
    first_until: i64,
    second_from: i64,
    override_from: i64,
    override_until: i64,
    /// Amounts and quantities in thousandths.
    fee: i128,
    pool: i128,
    /// Whether the pool is granted by the time that a subscription has in the period.
    pool_prorated: bool,
    eu: i128,
    us: i128,
    us_override: i128,
    included: i128,
    tiers: [(i128, i128); 2],
    bound: i128,
    peak: bool,
    deal: Deal,
    calls: Vec<(i64, usize, i128)>,
    samples: Vec<(i64, u8, i128)>,
}

/// A price with what counts once in a period: a commitment, an allowance that is not prorated; and an amount off.
#[derive(Debug, Clone)]
struct Deal {
    committed: i128,
    prorated: bool,
    doubled: bool,
    included: i128,
    off: i128,
}

impl Case {
    fn at_us(&self, millionths: i64) -> i64 {
        let (start_us, end_us) = self.span_us;
        start_us + ((end_us - start_us) / 1_000_000) * millionths
    }
}

fn case() -> impl Strategy<Value = Case> {
    let edge = 0..1_000_000_i64;
    let edges = (edge.clone(), 0..400_000_i64, edge.clone(), 1..400_000_i64);
    let money = || 0..90_000_i128;
    let prices = (money(), 0..40_000_i128, money(), money(), money());
    let disk = (0..9_000_i128, [(money(), money()), (money(), money())], 1..20_000_i128, any::<bool>());
    let deal = (1..200_000_i128, any::<bool>(), any::<bool>(), 0..20_000_i128, 1..9_000_i128);
    let deal = deal.prop_map(|(committed, prorated, doubled, included, off)| Deal {
        committed,
        prorated,
        doubled,
        included,
        off,
    });
    let calls = proptest::collection::vec((-200_000..1_200_000_i64, 0..3_usize, -2_000..30_000_i128), 0..12);
    let samples = proptest::collection::vec((-500_000..1_100_000_i64, 0..3_u8, 0..20_000_i128), 0..10);
    let month = (proptest::sample::select(MONTHS.iter().collect::<Vec<_>>()), any::<bool>());
    (month, edges, prices, (disk, deal), calls, samples).prop_map(
        |((month, pool_prorated), edges, prices, (disk, deal), calls, samples)| Case {
            month,
            span_us: (instant_us(month.start), instant_us(month.end)),
            pool_prorated,
            first_until: edges.0,
            second_from: edges.0 + edges.1,
            override_from: edges.2,
            override_until: edges.2 + edges.3,
            fee: prices.0,
            pool: prices.1,
            eu: prices.2,
            us: prices.3,
            us_override: prices.4,
            included: disk.0,
            tiers: disk.1,
            bound: disk.2,
            peak: disk.3,
            deal,
            calls,
            samples,
        },
    )
}

fn milli(value: i128) -> String {
    format!("{}{}.{:03}", if value < 0 { "-" } else { "" }, value.abs() / 1_000, value.abs() % 1_000)
}

fn time(at_us: i64) -> String {
    jiff::Timestamp::from_microsecond(at_us).unwrap().to_string()
}

fn catalog(case: &Case) -> String {
    let Case { fee, pool, pool_prorated, eu, us, us_override, included, tiers, bound, .. } = case;
    let zone = case.month.zone;
    let [fee, pool, eu, us, us_override, included, bound] =
        [fee, pool, eu, us, us_override, included, bound].map(|value| milli(*value));
    let tiers: Vec<String> = tiers
        .iter()
        .map(|(price, fee)| format!("per_unit: {}, flat: {}", milli(*price), milli(*fee)))
        .collect();
    let Deal { committed, prorated, doubled, included: given, off } = &case.deal;
    let [committed, given, off] = [committed, given, off].map(|value| milli(*value));
    let factor = if *doubled { 2 } else { 1 };
    let measure = if case.peak { "peak" } else { "average" };
    let subscribed = |id: &str, from: &str, until: i64| {
        format!("{{ id: {id}, plan: basic, from: {from}, until: \"{}\" }}", time(case.at_us(until)))
    };
    let second_from = format!("\"{}\"", time(case.at_us(case.second_from)));
    format!(
        "
catalog: random
currency: USD
time_zone: {zone}
meters:
  calls: {{ kind: delta, event_type: c, value: $.v, dimensions: {{ region: $.r }}, unit: request }}
  disk: {{ kind: gauge, event_type: d, value: $.v, resource: $.d, unit: GB }}
plans:
  basic:
    pools: {{ shared: {{ quantity: {pool}, unit: request, prorate: {pool_prorated} }} }}
    prices:
      fee: {{ flat: {fee} }}
      us: {{ meter: calls, only: {{ region: us }}, included: {{ pool: shared }}, per_unit: {us} }}
      eu: {{ meter: calls, only: {{ region: eu }}, included: {{ pool: shared }}, per_unit: {eu} }}
      deal:
        meter: calls
        only: {{ region: us }}
        included: {{ quantity: {given}, prorate: false }}
        per_unit: {us}
        commitment: {{ amount: {committed}, prorate: {prorated}, overage_factor: {factor} }}
        discounts: [{{ amount: {off} }}]
      disk:
        meter: disk
        measure: {measure}
        included: {included}
        graduated: [{{ up_to: {bound}, {} }}, {{ {} }}]
tenants:
  acme:
    subscriptions:
      - {}
      - {}
    overrides:
      - {{ plan: basic, price: us, per_unit: {us_override}, from: \"{}\", until: \"{}\" }}
      - {{ plan: basic, price: deal, per_unit: {us_override}, from: \"{}\", until: \"{}\" }}
",
        tiers[0],
        tiers[1],
        subscribed("one", "2025-01-01", case.first_until),
        subscribed("two", &second_from, 2_000_000),
        time(case.at_us(case.override_from)),
        time(case.at_us(case.override_until)),
        time(case.at_us(case.override_from)),
        time(case.at_us(case.override_until)),
    )
}

fn events(case: &Case) -> String {
    let mut lines = String::new();
    for (at, region, value) in &case.calls {
        let region = REGIONS[*region];
        writeln!(lines, "{} calls - {{\"region\":\"{region}\"}} {}", time(case.at_us(*at)), milli(*value))
            .unwrap();
    }
    for (at, disk, value) in &case.samples {
        writeln!(lines, "{} disk d{disk} - {}", time(case.at_us(*at)), milli(*value)).unwrap();
    }
    lines
}

/// The slow and obvious second opinion. All instants in microseconds, all numbers as rationals.
struct Oracle<'a> {
    case: &'a Case,
    month: (i64, i64),
}

impl Oracle<'_> {
    fn share(&self, from: i64, until: i64) -> BigRational {
        ratio((until - from).into(), (self.month.1 - self.month.0).into())
    }

    fn calls(&self, region: usize, from: i64, until: i64) -> BigRational {
        let mut sum = zero();
        for (at, own, value) in &self.case.calls {
            if *own == region && from <= self.case.at_us(*at) && self.case.at_us(*at) < until {
                sum += ratio(*value, 1_000);
            }
        }
        sum
    }

    /// The sum over the disks between two neighbouring instants.
    fn level(&self, at: i64) -> BigRational {
        let mut sum = zero();
        for disk in 0..3 {
            let mut latest: Option<(i64, i128)> = None;
            for (sample, own, value) in &self.case.samples {
                let sample = self.case.at_us(*sample);
                if *own == disk && sample <= at && latest.is_none_or(|(before, _)| before <= sample) {
                    latest = Some((sample, *value));
                }
            }
            sum += ratio(latest.map_or(0, |(_, value)| value), 1_000);
        }
        sum
    }

    fn disk(&self, from: i64, until: i64) -> BigRational {
        let mut instants: Vec<i64> = self.case.samples.iter().map(|(at, ..)| self.case.at_us(*at)).collect();
        instants.extend([from, until]);
        instants.retain(|at| from <= *at && *at <= until);
        instants.sort_unstable();
        instants.dedup();
        let stretches = instants.windows(2);
        if self.case.peak {
            let peak = stretches.map(|pair| self.level(pair[0])).max().unwrap_or_else(zero);
            return peak * self.share(from, until);
        }
        stretches.map(|pair| self.level(pair[0]) * self.share(pair[0], pair[1])).sum()
    }

    /// The tiers speak of the level, of which the quantity is the share of the period's time.
    fn tiered(&self, quantity: &BigRational, share: &BigRational) -> BigRational {
        let [(low, low_fee), (high, high_fee)] =
            self.case.tiers.map(|(price, fee)| (ratio(price, 1_000), ratio(fee, 1_000)));
        let bound = ratio(self.case.bound, 1_000) * share;
        if *quantity <= bound {
            return quantity * low + low_fee * share;
        }
        &bound * low + (quantity - &bound) * high + (low_fee + high_fee) * share
    }

    /// The spans of the deal within one subscription; the override begins at one of the cuts.
    fn deal(&self, from: i64, until: i64, cuts: &[i64], overridden: Option<i64>) -> Vec<BigRational> {
        let Deal { committed, prorated, doubled, included, off } = self.case.deal;
        let [committed, mut free, off] = [committed, included, off].map(|value| ratio(value, 1_000));
        let mut left = if prorated { committed * self.share(from, until) } else { committed };
        let mut amounts = Vec::new();
        for pair in cuts.windows(2).filter(|pair| pair[0] < pair[1]) {
            let price = if overridden == Some(pair[0]) { self.case.us_override } else { self.case.us };
            let used = self.calls(1, pair[0], pair[1]);
            let drawn = used.clone().min(free.clone()).max(zero());
            free -= &drawn;
            let priced = (used - drawn) * ratio(price, 1_000);
            let within = priced.clone().min(left.clone());
            left -= &within;
            let beyond = (priced - &within) * ratio(if doubled { 2 } else { 1 }, 1);
            let short = if pair[1] == until { left.clone() } else { zero() };
            let amount = within + beyond + short;
            let off = (&off * self.share(pair[0], pair[1])).min(amount.clone()).max(zero());
            amounts.push(amount - off);
        }
        amounts
    }

    /// Every line's amount, by price, in the order of time.
    fn amounts(&self) -> BTreeMap<&'static str, Vec<BigRational>> {
        let case = self.case;
        let mut amounts: BTreeMap<&'static str, Vec<BigRational>> = BTreeMap::new();
        let first = (self.month.0, case.at_us(case.first_until));
        let second = (case.at_us(case.second_from), self.month.1);
        for (from, until) in [first, second] {
            if from >= until {
                continue;
            }
            let share = self.share(from, until);
            let mut add =
                |price, amount: BigRational| amounts.entry(price).or_default().push(to_cents(&amount));
            add("fee", ratio(case.fee, 1_000) * &share);
            let mut pool =
                ratio(case.pool, 1_000) * if case.pool_prorated { share.clone() } else { ratio(1, 1) };
            let mut beyond_pool = |used: BigRational| {
                let drawn = used.clone().min(pool.clone()).max(zero());
                pool -= &drawn;
                used - drawn
            };
            let (low, high) = (
                case.at_us(case.override_from).clamp(from, until),
                case.at_us(case.override_until).clamp(from, until),
            );
            let changes = case.us != case.us_override && low < high;
            let cuts = if changes { vec![from, low, high, until] } else { vec![from, until] };
            for pair in cuts.windows(2).filter(|pair| pair[0] < pair[1]) {
                let price = if changes && pair[0] == low { case.us_override } else { case.us };
                let used = beyond_pool(self.calls(1, pair[0], pair[1]));
                add("us", used * ratio(price, 1_000));
            }
            for amount in self.deal(from, until, &cuts, if changes { Some(low) } else { None }) {
                add("deal", amount);
            }
            let used = beyond_pool(self.calls(0, from, until));
            add("eu", used * ratio(case.eu, 1_000));
            let held = self.disk(from, until);
            let included = ratio(case.included, 1_000) * &share;
            let billable = (&held - included).max(zero());
            add("disk", self.tiered(&billable, &share));
        }
        amounts
    }

    /// What is used without a price: (calls in other regions, calls and disks outside of subscriptions).
    fn left_over(&self) -> [BigRational; 3] {
        let (until, from) = (
            self.case.at_us(self.case.first_until),
            self.case.at_us(self.case.second_from).min(self.month.1),
        );
        let outside: BigRational = (0..3).map(|region| self.calls(region, until, from)).sum();
        let asia = self.calls(2, self.month.0, until) + self.calls(2, from, self.month.1);
        let disk = match (until < from, self.case.peak) {
            (false, _) => zero(),
            (true, false) => self.disk(until, from),
            (true, true) => self.disk(until, from) / self.share(until, from),
        };
        [asia, outside, disk]
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn drafts_are_what_brute_force_says(case in case()) {
        // The catalog refuses an override that lies in the gap.
        prop_assume!(case.override_from < case.first_until || case.override_until > case.second_from);
        let world = World::new(&catalog(&case), &events(&case));
        let draft = world.rate("acme", case.month.name);
        let oracle = Oracle { case: &case, month: case.span_us };
        let mut lines: BTreeMap<&str, Vec<(i64, BigRational)>> = BTreeMap::new();
        for line in &draft.lines {
            let amount = rational(&line.amount.into());
            lines.entry(line.key.price.as_str()).or_default().push((line.key.span.start_us, amount));
        }
        let amounts: BTreeMap<&str, Vec<BigRational>> = lines
            .into_iter()
            .map(|(price, mut lines)| {
                lines.sort_by_key(|(start_us, _)| *start_us);
                (price, lines.into_iter().map(|(_, amount)| amount).collect())
            })
            .collect();
        prop_assert_eq!(&amounts, &oracle.amounts());
        prop_assert_eq!(rational(&draft.total.into()), amounts.values().flatten().sum::<BigRational>());

        let mut left_over = [zero(), zero(), zero()];
        for warning in &draft.warnings {
            match warning {
                Warning::UsageWithoutPrice { meter, dimensions, quantity } => {
                    prop_assert_eq!((meter.as_str(), dimensions["region"].as_str()), ("calls", "asia"));
                    left_over[0] = rational(quantity);
                }
                Warning::UsageWithoutSubscription { meter, quantity } if meter == "calls" => {
                    left_over[1] = rational(quantity);
                }
                Warning::UsageWithoutSubscription { quantity, .. } => left_over[2] = rational(quantity),
                Warning::NegativeQuantity { quantity, .. } => prop_assert!(quantity.is_negative()),
                other => prop_assert!(false, "{}", other),
            }
        }
        prop_assert_eq!(left_over, oracle.left_over());
    }
}
