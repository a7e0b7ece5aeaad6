//! Whole months in tenants' zones: periods against a day-by-day search, shares that add up, and the law that one unit
//! held all period costs exactly the price.

mod oracle;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use oracle::config;
use proptest::prelude::*;
use rating::exact::Exact;
use rating::money::{Currency, UnitPrice};
use rating::period::{BillingCycle, Span, time_zone};
use rating::price::{PerUnitPrice, PoolBalances, PriceModel, PriceTerms, UnitConversion, Usage};
use rating::quantity::gauge::{GaugeExtras, GaugeFold, GaugeState, ResourceLevel};
use rating::quantity::{Dimensions, Measure, Measured};
use rust_decimal::Decimal;

const ZONES: [&str; 9] = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Chatham",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Pacific/Apia",
];

/// The first instant of a local day, or of the next one if the zone skipped it: the zone is asked for the date of one
/// hour after the other, and then of that hour's minutes.
fn first_instant_us(date: Date, zone: &jiff::tz::TimeZone) -> i64 {
    let days_before = date.checked_sub(2.days()).unwrap().at(12, 0, 0, 0);
    let mut minute = days_before.to_zoned(zone.clone()).unwrap().timestamp();
    for step in [1.hour(), 1.minute()] {
        while zone.to_datetime(minute).date() < date {
            minute = minute.checked_add(step).unwrap();
        }
        minute = minute.checked_sub(step).unwrap();
    }
    minute = minute.checked_add(1.minute()).unwrap();
    minute.as_microsecond()
}

/// Whether a period starts on that day: the anchor day, or the last day of a month that is too short for it.
fn starts_on(date: Date, cycle: BillingCycle) -> bool {
    let months = 12 * i32::from(date.year()) + i32::from(date.month()) - 1 - i32::from(cycle.phase);
    let last = date.days_in_month();
    months % i32::from(cycle.months) == 0 && date.day() == last.min(i8::try_from(cycle.anchor_day).unwrap())
}

/// The period by walking from day to day.
fn period_of(instant: Timestamp, cycle: BillingCycle, zone: &jiff::tz::TimeZone) -> Span {
    let mut first = zone.to_datetime(instant).date();
    while !starts_on(first, cycle) {
        first = first.yesterday().unwrap();
    }
    let mut next = first.tomorrow().unwrap();
    while !starts_on(next, cycle) {
        next = next.tomorrow().unwrap();
    }
    Span { start_us: first_instant_us(first, zone), end_us: first_instant_us(next, zone) }
}

fn cycle() -> impl Strategy<Value = BillingCycle> {
    let months = prop_oneof![4 => Just(1_u8), 1 => Just(3), 1 => Just(12), 2 => 1_u8..30];
    (months, 0_u8..30, prop_oneof![1_u8..32, 28_u8..32])
        .prop_map(|(months, phase, anchor_day)| BillingCycle { months, phase: phase % months, anchor_day })
}

/// What one gigabyte held since ever costs in a span at 0.10 a month, before rounding.
fn price_of_a_gigabyte(measure: Measure, span: Span, period: Span) -> Exact {
    let level = ResourceLevel { resource: 0, level_nano: 10_i128.pow(18), since_us: span.start_us - 7 };
    let opening = GaugeState { levels: vec![level] };
    let extras = GaugeExtras { p95: true, sum_of_peaks: true };
    let mut fold = GaugeFold::new(None, extras, span.start_us, &opening).unwrap();
    let totals = fold.finish_span(span.end_us).unwrap();
    let unit_price = UnitPrice::new("0.10".parse().unwrap()).unwrap();
    let terms = PriceTerms {
        conversion: UnitConversion::divide_by(Decimal::from(1_000_000_000), "GB"),
        ..PriceTerms::of(PriceModel::PerUnit(PerUnitPrice { unit_price }))
    };
    let usage = Usage {
        quantity: &totals.measure(measure, &period).unwrap(),
        unit: "byte",
        dimensions: &Dimensions::new(),
        transactions: None,
        over_time: measure.over_time(),
        span_share: &span.share_of(&period),
        so_far: None,
        commitment: None,
    };
    let currency = Currency::from_code("USD").unwrap();
    terms.rate(&usage, currency, &mut PoolBalances::default()).unwrap().model_amount
}

#[test]
fn a_gigabyte_month_costs_the_same_in_every_month_and_zone() {
    for zone in ZONES {
        let zone = time_zone(zone).unwrap();
        let start: Timestamp = "2023-12-15T12:00:00Z".parse().unwrap();
        let mut period =
            BillingCycle::CALENDAR_MONTH.period_containing(start.as_microsecond(), &zone).unwrap();
        for _ in 0..26 {
            for measure in [Measure::Average, Measure::Peak, Measure::P95, Measure::Last, Measure::Min] {
                let amount = price_of_a_gigabyte(measure, period.span, period.span);
                assert_eq!(amount.to_string(), "0.1", "{measure} of {}", period.name);
            }
            period = BillingCycle::CALENDAR_MONTH.period_after(&period, &zone).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn periods_equal_a_search_by_days(
        zone in prop::sample::select(&ZONES[..]),
        cycle in cycle(),
        second in 1_300_000_000_i64..1_900_000_000,
        to_the_edge in prop_oneof![Just(None), (-1_i64..2).prop_map(Some)],
    ) {
        let zone = time_zone(zone).unwrap();
        let mut instant_us = second * 1_000_000;
        if let Some(beside_us) = to_the_edge {
            instant_us = cycle.period_containing(instant_us, &zone).unwrap().span.start_us + beside_us;
        }
        let instant = Timestamp::from_microsecond(instant_us).unwrap();
        let found = cycle.period_containing(instant_us, &zone).unwrap();
        prop_assert!(found.span.contains(instant_us));
        prop_assert_eq!(found.span, period_of(instant, cycle, &zone));
    }

    #[test]
    fn spans_of_a_period_add_up_to_it(
        zone in prop::sample::select(&ZONES[..]),
        second in 1_300_000_000_i64..1_900_000_000,
        cuts in prop::collection::vec(-100_000_000_000_i64..3_000_000_000_000, 0..6),
    ) {
        let zone = time_zone(zone).unwrap();
        let period = BillingCycle::CALENDAR_MONTH.period_containing(second * 1_000_000, &zone).unwrap().span;
        let cuts: Vec<i64> = cuts.iter().map(|after_us| period.start_us + after_us).collect();
        let spans = period.split_at(&cuts);
        prop_assert_eq!(spans.iter().map(|span| span.share_of(&period)).sum::<Exact>(), Exact::ONE);
        for measure in [Measure::Average, Measure::Peak] {
            let parts = spans.iter().map(|&span| price_of_a_gigabyte(measure, span, period));
            prop_assert_eq!(parts.sum::<Exact>().to_string(), "0.1");
        }
    }
}
