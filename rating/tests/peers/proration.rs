//! Shares of periods, and where periods start.

use jiff::civil::Date;
use rating::exact::{Exact, Rounding};
use rating::invoice::credit::{Credit, draw};
use rating::period::{BillingCycle, Period, Span, TimeZone};
use rating::price::{FlatPrice, PoolBalances, PriceModel, PriceTerms, Usage};
use rating::quantity::{Dimensions, OverTime};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::aggregation::{fold_levels, key_levels};
use super::case::{
    Case, Found, Unit, decimal, instant_us, is_midnight, items, maybe_decimal, number, refused, rounded,
    same_offset, span, text, tiers, upper_tier_owns_a, zero_usage, zone_of,
};
use super::differs;
use super::pricing::{graduated, rate, usd, volume};
use super::rounding::currency_of;

pub fn run(case: &Case) -> Option<Found> {
    let input = case.input();
    match case.model() {
        "billing_period_containing" => billing_period_containing(input),
        "billing_cycles_in_advance" => billing_cycles_in_advance(input),
        "leading_factor" => leading_factor(input),
        "trailing_factor" => trailing_factor(input),
        "factor_days" => factor_days(input),
        "calendar_days" => calendar_days(input),
        "flat_fee_by_time" => flat_fee_by_time(input),
        "flat_fee_daily" => flat_fee_daily(input),
        "plan_change" => plan_change(input),
        "plan_change_inclusive" => plan_change_inclusive(input),
        "credit_cap" => credit_cap(input),
        "sum_prorated" | "unique_count_prorated" => level_prorated(case.model(), input),
        "graduated_prorated" => graduated_prorated(input),
        "volume_prorated" => volume_prorated(input),
        _ => None,
    }
}

fn date(value: &Value) -> Option<Date> {
    value.as_str()?.get(..10)?.parse().ok()
}

fn cycle(first: Date, day: u8, period: &Value) -> Option<BillingCycle> {
    let length = period.as_str().unwrap_or("P1M").strip_prefix('P')?;
    let months = match (length.strip_suffix('M'), length.strip_suffix('Y')) {
        (Some(months), _) => months.parse().ok()?,
        (_, Some(years)) => years.parse::<u8>().ok()?.checked_mul(12)?,
        _ => return None,
    };
    BillingCycle::from_anchor(months, first).map(|cycle| BillingCycle { anchor_day: day, ..cycle })
}

/// A flat price of one span of a period, as a line would have it.
fn flat_fee(amount: Decimal, part: &Span, period: &Span, input: &Value) -> Decimal {
    let terms = PriceTerms::of(PriceModel::Flat(FlatPrice { amount, prorated: true }));
    let usage = Usage {
        quantity: &Exact::ONE,
        unit: "",
        dimensions: &Dimensions::new(),
        transactions: None,
        over_time: OverTime::AddsUp,
        span_share: &part.share_of(period),
        so_far: None,
        commitment: None,
    };
    let currency = currency_of(input).unwrap_or_else(usd);
    terms.rate(&usage, currency, &mut PoolBalances::default()).unwrap_or_else(refused).amount()
}

fn billing_period_containing(input: &Value) -> Option<Found> {
    let zone = zone_of(input);
    let (start, target) = (date(&input["start"])?, instant_us(&input["target"], &zone));
    let day = u8::try_from(input["anchor_day"].as_u64()?).ok()?;
    let Some(cycle) = cycle(start, day, &input["period"]) else {
        return Found::unless(Value::Null, Some(differs::PERIODS_ARE_MONTHS));
    };
    let start_us = instant_us(&input["start"], &zone);
    let mut period = cycle.period_containing(start_us, &zone).unwrap();
    let mut elapsed_cycles = 0;
    while period.span.end_us <= target {
        period = cycle.period_after(&period, &zone).unwrap();
        elapsed_cycles += 1;
    }
    let from = if period.span.start_us < start_us { start.to_string() } else { period.name };
    Found::exactly(json!({"from": from, "to": period.end_date, "elapsed_cycles": text(&elapsed_cycles)}))
}

/// The periods from one that contains the start to the one that contains the target, or the end.
fn periods(cycle: BillingCycle, start_us: i64, last_us: i64, zone: &TimeZone) -> Vec<Period> {
    let mut periods = vec![cycle.period_containing(start_us, zone).unwrap()];
    while periods[periods.len() - 1].span.end_us <= last_us {
        let next = cycle.period_after(&periods[periods.len() - 1], zone).unwrap();
        periods.push(next);
    }
    periods
}

fn billing_cycles_in_advance(input: &Value) -> Option<Found> {
    let zone = zone_of(input);
    let (start_us, target_us) = (instant_us(&input["start"], &zone), instant_us(&input["target"], &zone));
    let end_us = if input["end"].is_null() { i64::MAX } else { instant_us(&input["end"], &zone) };
    let cycle = BillingCycle::anniversary(u8::try_from(input["cycle_day"].as_u64()?).ok()?);
    let mut cycles = Exact::ZERO;
    for period in periods(cycle, start_us, target_us, &zone) {
        let billed = Span { start_us: start_us.max(period.span.start_us), end_us };
        if billed.start_us <= target_us {
            cycles += &rounded(&billed.share_of(&period.span), input)?;
        }
    }
    // A stub beside a boundary that its month is too short for is a share of another period there.
    let day = input["cycle_day"].as_u64();
    let is_clamped = |boundary: &str| boundary.get(8..).and_then(|text| text.parse().ok()) != day;
    let is_cut = |period: &Period| {
        let billed =
            Span { start_us: start_us.max(period.span.start_us), end_us: end_us.min(period.span.end_us) };
        billed != period.span && (is_clamped(&period.name) || is_clamped(&period.end_date))
    };
    let cut = periods(cycle, start_us, target_us, &zone).iter().any(is_cut);
    Found::unless(
        json!({"cycles": text(&cycles)}),
        cut.then_some(differs::SHORT_MONTHS_START_ON_THEIR_LAST_DAY),
    )
}

fn leading_factor(input: &Value) -> Option<Found> {
    let zone = zone_of(input);
    let next = date(&input["next_cycle_date"])?;
    let end_us = instant_us(&input["next_cycle_date"], &zone);
    let Some(cycle) = cycle(next, next.day().unsigned_abs(), &input["period"]) else {
        return Found::unless(Value::Null, Some(differs::PERIODS_ARE_MONTHS));
    };
    let period = cycle.period_containing(end_us - 1, &zone).unwrap();
    let part = Span { start_us: instant_us(&input["start"], &zone), end_us };
    let fixed = input["fixed_month_days"].as_u64().is_some_and(|days| days > 0);
    Found::unless(
        json!({"factor": text(&rounded(&part.share_of(&period.span), input)?)}),
        fixed.then_some(differs::MONTHS_HAVE_THEIR_OWN_LENGTH),
    )
}

/// The part of a cycle that follows its last start, as far as the end.
fn trailing_factor(input: &Value) -> Option<Found> {
    let zone = zone_of(input);
    let last = date(&input["last_cycle_date"])?;
    let start_us = instant_us(&input["last_cycle_date"], &zone);
    let Some(cycle) = cycle(last, last.day().unsigned_abs(), &input["period"]) else {
        return Found::unless(Value::Null, Some(differs::PERIODS_ARE_MONTHS));
    };
    date(&input["end"])?;
    let period = cycle.period_containing(start_us, &zone).unwrap();
    let part = Span { start_us, end_us: instant_us(&input["end"], &zone) };
    let fixed = input["fixed_month_days"].as_u64().is_some_and(|days| days > 0);
    let beyond = part.end_us > period.span.end_us;
    Found::unless(
        json!({"factor": text(&rounded(&part.share_of(&period.span), input)?)}),
        beyond
            .then_some(differs::A_SPAN_LIES_INSIDE_ITS_PERIOD)
            .or(fixed.then_some(differs::MONTHS_HAVE_THEIR_OWN_LENGTH)),
    )
}

fn factor_days(input: &Value) -> Option<Found> {
    let share = span(&input["partial"], input).share_of(&span(&input["full"], input));
    Found::exactly(json!({"factor": text(&share)}))
}

fn calendar_days(input: &Value) -> Option<Found> {
    let length = Exact::from(span(input, input).length_us());
    let days = length.checked_div(&Exact::from(86_400_000_000_i64))?;
    Found::unless(json!({"days": text(&days)}), Some(differs::TIME_IS_ELAPSED_AND_NOT_COUNTED_IN_DAYS))
}

fn flat_fee_by_time(input: &Value) -> Option<Found> {
    let (part, period) = (span(&input["service_period"], input), span(&input["full_period"], input));
    let amount = flat_fee(decimal(&input["amount"]), &part, &period, input);
    let differs = if part.is_empty() {
        Some(differs::AN_EMPTY_SPAN_OWES_NOTHING)
    } else {
        (part.length_us() > period.length_us()).then_some(differs::A_SPAN_LIES_INSIDE_ITS_PERIOD)
    };
    Found::unless(json!({"amount": text(&amount)}), differs)
}

fn flat_fee_daily(input: &Value) -> Option<Found> {
    let zone = zone_of(input);
    let (mut part, period) = (span(&input["billed"], input), span(&input["full_period"], input));
    let whole = part;
    if !input["trial"].is_null() {
        let trial_us = instant_us(&input["trial"]["started_at"], &zone);
        let timestamp = jiff::Timestamp::from_microsecond(trial_us).unwrap();
        let days = jiff::Span::new().days(input["trial"]["days"].as_i64().unwrap());
        let over = timestamp.to_zoned(zone.clone()).checked_add(days).unwrap();
        part.start_us = part.start_us.max(over.timestamp().as_microsecond()).min(part.end_us);
    }
    let exact = &number(&input["amount_minor"]) * &part.share_of(&period);
    let amount = exact.round_to_decimals(Rounding::HalfAwayFromZero, 0).unwrap();
    let on_days = [part.start_us, part.end_us, period.start_us, period.end_us]
        .iter()
        .all(|&instant_us| is_midnight(instant_us, &zone));
    let differs = if whole.start_us < period.start_us || whole.end_us > period.end_us {
        Some(differs::A_SPAN_LIES_INSIDE_ITS_PERIOD)
    } else {
        let even = on_days && same_offset(&period, &zone) && same_offset(&part, &zone);
        (!even).then_some(differs::TIME_IS_ELAPSED_AND_NOT_COUNTED_IN_DAYS)
    };
    let values = json!({
        "amount_minor": text(&amount),
        // Peers write sixteen digits of a float.
        "precise_amount_minor": text(&exact.round_to_decimals(Rounding::HalfAwayFromZero, 16).unwrap()),
    });
    Found::unless(values, differs)
}

fn plan_change(input: &Value) -> Option<Found> {
    let period = span(&input["period"], input);
    let change_us = instant_us(&input["change_date"], &zone_of(input));
    let rest = Span { start_us: change_us.clamp(period.start_us, period.end_us), ..period };
    let mut amounts = Vec::new();
    let mut of_other_periods = false;
    for item in items(&input["items"]).iter().filter(|_| !rest.is_empty()) {
        let cadence =
            item["cadence"].as_str().unwrap_or("monthly").replace(['_', '-', ' '], "").to_lowercase();
        // A one-off charge is not prorated.
        let is_once = matches!(cadence.as_str(), "onetime" | "oneoff" | "once");
        of_other_periods |= !is_once && !matches!(cadence.as_str(), "month" | "monthly");
        let share = if is_once { Exact::ONE } else { rest.share_of(&period) };
        let exact = &number(&item["amount_minor"]) * &share;
        let amount = exact.round_to_decimals(Rounding::HalfAwayFromZero, 0).unwrap();
        amounts.push(if item["type"] == "credit" { -amount } else { amount });
    }
    let net: Decimal = amounts.iter().sum();
    let amounts: Vec<Value> = amounts.iter().map(text).collect();
    Found::unless(
        json!({"line_amounts_minor": amounts, "net_minor": text(&net)}),
        of_other_periods.then_some(differs::FEES_ARE_OF_THE_BILLING_PERIOD),
    )
}

/// A balance of what was paid and not given back yet; more than it cannot be drawn.
fn capped(credit: Decimal, paid: Option<Decimal>) -> Decimal {
    let Some(paid) = paid else { return credit };
    let balance = Credit {
        id: String::new(),
        priority: 0,
        granted_us: 0,
        effective_us: 0,
        expires_us: None,
        balance: paid.max(Decimal::ZERO),
    };
    draw(&mut [balance], credit, 0).iter().map(|part| part.1).sum()
}

fn plan_change_inclusive(input: &Value) -> Option<Found> {
    let period = span(&input["period"], input);
    let change_us = instant_us(&input["change_date"], &zone_of(input));
    let rest = Span { start_us: change_us.clamp(period.start_us, period.end_us), ..period };
    let side = |side: &Value| {
        let whole = |name: &str| maybe_decimal(&side[name]).unwrap_or_default();
        flat_fee(whole("unit") * whole("quantity"), &rest, &period, input)
    };
    let credit = capped(side(&input["old"]), maybe_decimal(&input["amount_paid"]));
    let charge = side(&input["new"]);
    let values = json!({
        "credit": text(&-credit),
        "charge": text(&charge),
        "net": text(&(charge - credit)),
    });
    Found::exactly(values)
}

fn credit_cap(input: &Value) -> Option<Found> {
    let left = decimal(&input["paid"]) - decimal(&input["already_credited"]);
    Found::exactly(json!({"credit": text(&capped(decimal(&input["potential"]), Some(left)))}))
}

/// Units that stay until they are taken away: the average of their level over the period.
fn level_prorated(model: &str, input: &Value) -> Option<Found> {
    let zone = zone_of(input);
    let period = span(&input["period"], input);
    let unit = Unit::of(
        items(&input["events"]).iter().map(|event| &event["value"]).filter(|value| !value.is_null()),
    );
    let is_sum = model == "sum_prorated";
    let levels = if is_sum {
        let mut level = 0;
        let mut events: Vec<&Value> = items(&input["events"]).iter().collect();
        events.sort_by_key(|event| instant_us(&event["time"], &zone));
        let running = |event: &Value| {
            level += unit.nano(&event["value"]);
            (instant_us(&event["time"], &zone), 0, level)
        };
        events.into_iter().map(running).collect()
    } else {
        key_levels(input)
    };
    let days = i64::try_from(number(&input["period_days"]).to_i128()?).ok()?;
    let whole = Span { start_us: 0, end_us: days * 86_400_000_000 };
    let average = fold_levels(&levels, period).rollup.average(&whole);
    let mut value = if is_sum { unit.whole(&average) } else { average };
    let rules = if input["rounds"].is_null() {
        std::slice::from_ref(&input["round"])
    } else {
        items(&input["rounds"])
    };
    for rule in rules {
        value = rounded(&value, rule)?;
    }
    // Units that come at midnight weigh the same either way; any others are weighed by whole days there.
    let inside = |level: &&(i64, u32, i128)| period.contains(level.0);
    let removed = items(&input["events"]).iter().any(|event| event["operation"] == "remove");
    let by_days = removed
        || !same_offset(&period, &zone)
        || levels.iter().filter(inside).any(|level| !is_midnight(level.0, &zone));
    Found::unless(
        json!({"value": text(&value)}),
        by_days.then_some(differs::TIME_IS_ELAPSED_AND_NOT_COUNTED_IN_DAYS),
    )
}

fn graduated_prorated(input: &Value) -> Option<Found> {
    let units: Exact = items(&input["events"]).iter().map(|event| number(&event["prorated_units"])).sum();
    let terms = PriceTerms::of(graduated(tiers(&input["tiers"]), zero_usage(input)));
    let trail = rate(&terms, &units, usd(), &mut PoolBalances::default());
    Found::unless(
        json!({"amount": text(&rounded(&trail.model_amount, &input["round"])?)}),
        Some(differs::TIERS_AND_PRICE_SEE_ONE_QUANTITY),
    )
}

fn volume_prorated(input: &Value) -> Option<Found> {
    let terms = PriceTerms::of(volume(tiers(&input["tiers"]), zero_usage(input)));
    let (level, billed) = (number(&input["tier_quantity"]), number(&input["billed_quantity"]));
    let share = billed.checked_div(&level).unwrap_or(Exact::ONE);
    let usage = Usage {
        quantity: &level,
        unit: "unit",
        dimensions: &Dimensions::new(),
        transactions: None,
        over_time: OverTime::Weighs,
        span_share: &share,
        so_far: None,
        commitment: None,
    };
    let trail = terms.rate(&usage, usd(), &mut PoolBalances::default()).unwrap_or_else(refused);
    let has_fees = tiers(&input["tiers"]).iter().any(|tier| !tier.flat_fee.is_zero());
    let differs = if upper_tier_owns_a(&[level], input, input) {
        Some(differs::BOUNDS_BELONG_TO_THE_LOWER_TIER)
    } else {
        (has_fees && share != Exact::ONE).then_some(differs::FEES_OF_TIERS_ARE_PRORATED)
    };
    Found::unless(json!({"amount": text(&trail.model_amount)}), differs)
}
