//! Reading a case, and comparing what we found with what is expected.

use rating::exact::{Exact, Rounding};
use rating::money::{MoneyRounding, UnitPrice};
use rating::period::{Span, TimeZone, time_zone};
use rating::price::{PriceError, QuantityRounding, RoundingDirection, Tier, UnitConversion, ZeroUsage};
use rust_decimal::Decimal;
use serde_json::Value;

use super::differs::{self, cannot};

/// One line of the file.
pub struct Case {
    whole: Value,
}

/// What the real code answers.
pub struct Found {
    pub values: Value,
    /// Why the answer may differ from the peer's, if the input is one on which we do.
    pub differs: Option<&'static str>,
}

impl Found {
    pub fn exactly(values: Value) -> Option<Found> {
        Some(Found { values, differs: None })
    }

    pub fn unless(values: Value, differs: Option<&'static str>) -> Option<Found> {
        Some(Found { values, differs })
    }
}

impl Case {
    pub fn new(whole: Value) -> Case {
        Case { whole }
    }

    pub fn id(&self) -> &str {
        self.whole["id"].as_str().unwrap_or("without id")
    }

    pub fn kind(&self) -> &str {
        self.whole["kind"].as_str().unwrap_or("")
    }

    pub fn model(&self) -> &str {
        self.whole["model"].as_str().unwrap_or("")
    }

    pub fn input(&self) -> &Value {
        &self.whole["input"]
    }

    /// The sound value where the peer's own is wrong.
    pub fn expected(&self) -> &Value {
        self.whole.get("corrected_expected").unwrap_or(&self.whole["expected"])
    }

    pub fn tolerance(&self) -> Exact {
        self.input().get("tolerance").map_or(Exact::ZERO, number)
    }
}

/// Whether each expected value was found; what was found beyond them does not matter.
pub fn matches(expected: &Value, found: &Value, tolerance: &Exact) -> bool {
    match (expected, found) {
        (Value::Object(fields), Value::Object(_)) => fields.iter().all(|(name, field)| {
            // A peer that computed this one in floats.
            let float_noise = Exact::ratio(1, 1_000_000_000).unwrap();
            let tolerance = if name.starts_with("precise_") { &float_noise } else { tolerance };
            found.get(name).is_some_and(|found| match name.as_str() {
                "groups" => same_groups(items(field), items(found), tolerance),
                _ => matches(field, found, tolerance),
            })
        }),
        (Value::Array(items), Value::Array(others)) => {
            items.len() == others.len()
                && items.iter().zip(others).all(|(item, other)| matches(item, other, tolerance))
        }
        (Value::String(text), Value::String(other)) => {
            match (text.parse::<Exact>(), other.parse::<Exact>()) {
                (Ok(expected), Ok(found)) => (&expected - &found).abs() <= *tolerance,
                _ => text == other,
            }
        }
        _ => expected == found,
    }
}

/// Groups come in no particular order.
fn same_groups(expected: &[Value], found: &[Value], tolerance: &Exact) -> bool {
    let has = |group: &Value| found.iter().any(|found| matches(group, found, tolerance));
    expected.len() == found.len() && expected.iter().all(has)
}

/// A decimal string or a number, with an exponent if need be.
pub fn number(value: &Value) -> Exact {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let lower = text.trim().trim_start_matches('+').to_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let mantissa: Exact = mantissa.parse().unwrap_or_else(|error| panic!("{error}"));
    let exponent: i32 = exponent.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"));
    let power = power_of_ten(exponent.unsigned_abs());
    if exponent < 0 { mantissa.checked_div(&power).unwrap() } else { mantissa * power }
}

fn power_of_ten(exponent: u32) -> Exact {
    (0..exponent.min(1_000)).fold(Exact::ONE, |power, _| power * Exact::from(10_i64))
}

/// The same, or nothing when it is absent or null.
pub fn maybe_number(value: &Value) -> Option<Exact> {
    (!value.is_null()).then(|| number(value))
}

pub fn decimal(value: &Value) -> Decimal {
    as_decimal(&number(value))
}

pub fn maybe_decimal(value: &Value) -> Option<Decimal> {
    maybe_number(value).map(|number| as_decimal(&number))
}

fn as_decimal(number: &Exact) -> Decimal {
    number.to_decimal().unwrap_or_else(|_| cannot(differs::AMOUNTS_HAVE_28_DIGITS))
}

pub fn unit_price(number: &Exact) -> UnitPrice {
    UnitPrice::new(as_decimal(number)).unwrap_or_else(|_| cannot(differs::UNIT_PRICES_HAVE_12_DECIMALS))
}

pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub fn numbers(value: &Value) -> Vec<Exact> {
    items(value).iter().map(number).collect()
}

/// A unit so small that all values of a case have at most nine decimals of it, as a meter of such values would have.
pub struct Unit {
    per_whole: Exact,
}

impl Unit {
    pub fn of<'v>(values: impl IntoIterator<Item = &'v Value>) -> Unit {
        let mut per_whole = Exact::ONE;
        for value in values {
            let nano = number(value) * Exact::from(1_000_000_000_i64) * per_whole.clone();
            let more: Exact = nano.denominator().parse().unwrap();
            per_whole = per_whole * more;
        }
        Unit { per_whole }
    }

    /// The nano units of a value.
    pub fn nano(&self, value: &Value) -> i128 {
        let nano = number(value) * Exact::from(1_000_000_000_i64) * self.per_whole.clone();
        nano.to_i128().unwrap_or_else(|| cannot(differs::VALUES_HAVE_38_DIGITS))
    }

    /// A quantity of it in the case's own unit.
    pub fn whole(&self, quantity: &Exact) -> Exact {
        quantity.checked_div(&self.per_whole).unwrap()
    }
}

pub fn text(value: &impl ToString) -> Value {
    Value::String(value.to_string())
}

pub fn zone_of(input: &Value) -> TimeZone {
    let name = input["timezone"].as_str().unwrap_or("UTC");
    time_zone(name).unwrap_or_else(|_| cannot(differs::ZONES_HAVE_NAMES))
}

/// A timestamp, or a date (its first instant) or a local time in the zone.
pub fn instant_us(value: &Value, zone: &TimeZone) -> i64 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is not a time"));
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return timestamp.as_microsecond();
    }
    let local: jiff::civil::DateTime = text.parse().unwrap_or_else(|_| panic!("{text:?} is not a time"));
    local.to_zoned(zone.clone()).unwrap().timestamp().as_microsecond()
}

/// `from` and `to`; dates that include their last day end a day later.
pub fn span(value: &Value, input: &Value) -> Span {
    let zone = zone_of(input);
    let last_day_counts = input["period_end"] == "inclusive" && is_date(&value["to"]);
    let end_us = if last_day_counts {
        let last: jiff::civil::Date = value["to"].as_str().unwrap().parse().unwrap();
        instant_us(&text(&last.tomorrow().unwrap()), &zone)
    } else {
        instant_us(&value["to"], &zone)
    };
    Span { start_us: instant_us(&value["from"], &zone), end_us }
}

fn is_date(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 10)
}

pub fn is_midnight(instant_us: i64, zone: &TimeZone) -> bool {
    let timestamp = jiff::Timestamp::from_microsecond(instant_us).unwrap();
    zone.to_datetime(timestamp).time() == jiff::civil::Time::midnight()
}

/// Whether both instants have the same offset from UTC, so that days between them have 24 hours.
pub fn same_offset(span: &Span, zone: &TimeZone) -> bool {
    let offset = |instant_us| zone.to_offset(jiff::Timestamp::from_microsecond(instant_us).unwrap());
    offset(span.start_us) == offset(span.end_us)
}

/// Nothing for a word that nobody knows, here and below: the case is unknown then.
pub fn exact_rounding(mode: &Value) -> Option<Rounding> {
    match mode.as_str().unwrap_or("half_up") {
        "up" | "ceiling" | "ceil" => Some(Rounding::Up),
        "down" | "floor" => Some(Rounding::Down),
        "half_even" | "bankers" => Some(Rounding::HalfEven),
        "half_up" | "half_away_from_zero" | "round" | "nearest" => Some(Rounding::HalfAwayFromZero),
        "half_down" | "half_towards_zero" | "half_odd" | "truncate" | "towards_zero" | "away_from_zero" => {
            cannot(differs::HALVES_GO_AWAY_OR_TO_EVEN)
        }
        _ => None,
    }
}

pub fn money_rounding(mode: &Value) -> Option<MoneyRounding> {
    Some(match exact_rounding(mode)? {
        Rounding::HalfEven => MoneyRounding::HalfEven,
        _ => MoneyRounding::HalfAwayFromZero,
    })
}

pub fn direction(mode: &Value) -> Option<RoundingDirection> {
    Some(match exact_rounding(mode)? {
        Rounding::Up => RoundingDirection::Up,
        Rounding::Down => RoundingDirection::Down,
        _ => RoundingDirection::Nearest,
    })
}

/// A reason where a quantity is rounded half to even, which no price does.
pub fn unless_half_even(mode: &Value) -> Option<&'static str> {
    (exact_rounding(mode) == Some(Rounding::HalfEven)).then_some(differs::QUANTITIES_ROUND_HALVES_AWAY)
}

/// Rounds as `{scale, mode}` says; without it nothing is rounded.
pub fn rounded(value: &Exact, rule: &Value) -> Option<Exact> {
    if rule.is_null() {
        return Some(value.clone());
    }
    let scale = u32::try_from(rule["scale"].as_u64()?).ok()?;
    let rounded = value.round_to_decimals(exact_rounding(&rule["mode"])?, scale);
    Some(rounded.unwrap_or_else(|_| cannot(differs::AMOUNTS_HAVE_28_DIGITS)).into())
}

pub fn whole_units(mode: &Value) -> Option<QuantityRounding> {
    Some(match mode.as_str() {
        None | Some("none") => QuantityRounding::None,
        Some(_) => QuantityRounding::ToStep { direction: direction(mode)?, step: Decimal::ONE },
    })
}

pub fn conversion(input: &Value) -> Option<UnitConversion> {
    let factor = decimal(&input["factor"]);
    match input["operation"].as_str() {
        Some("divide") => Some(UnitConversion::divide_by(factor, "converted")),
        Some("multiply") => Some(UnitConversion::multiply_by(factor, "converted")),
        _ => None,
    }
}

/// Whether one of the quantities lies on a bound that the peer gives to the upper tier.
pub fn upper_tier_owns_a(quantities: &[Exact], price: &Value, input: &Value) -> bool {
    let on_a_bound = |tier: &Tier| tier.up_to.is_some_and(|up_to| quantities.contains(&up_to.into()));
    let is_upper = price["tier_bounds"] == "[from,to)" || input["tier_bounds"] == "[from,to)";
    is_upper && tiers(&price["tiers"]).iter().any(on_a_bound)
}

/// Tiers with `to`, `flat`, `cap` and a price per unit, or a rate in percent of it.
pub fn tiers(value: &Value) -> Vec<Tier> {
    let tier = |row: &Value| {
        let rate = maybe_number(&row["rate_percent"]).unwrap_or_default() * Exact::ratio(1, 100).unwrap();
        let unit_price = unit_price(&maybe_number(&row["unit"]).unwrap_or(rate));
        let flat = maybe_decimal(&row["flat"]).unwrap_or_default();
        Tier { maximum: maybe_decimal(&row["cap"]), ..Tier::new(maybe_decimal(&row["to"]), unit_price, flat) }
    };
    let mut tiers: Vec<Tier> = items(value).iter().map(tier).collect();
    // What is beyond it is another matter: see `bound_of_the_last`.
    if let Some(last) = tiers.last_mut() {
        last.up_to = None;
    }
    tiers
}

/// Where the peer's last tier ends, if it does; ours never does.
pub fn bound_of_the_last(tiers: &Value) -> Option<Exact> {
    items(tiers).last().and_then(|row| maybe_number(&row["to"]))
}

/// What a price refuses, as the reason why its case differs.
pub fn refused<T>(error: PriceError) -> T {
    match error {
        PriceError::OutOfRange(_) => cannot(differs::AMOUNTS_HAVE_28_DIGITS),
        PriceError::ImpossibleModel { .. } => cannot(differs::TIERS_REACH_ALL_QUANTITIES),
        other => panic!("{other}"),
    }
}

pub fn zero_usage(input: &Value) -> ZeroUsage {
    match input["zero_quantity"].as_str() {
        Some("none") => ZeroUsage::OwesNothing,
        _ => ZeroUsage::OwesFirstFlatFee,
    }
}
