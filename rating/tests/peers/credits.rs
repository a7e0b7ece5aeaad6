//! Credits: who is drawn first, when, and what is left.

use rating::exact::{Exact, Rounding};
use rating::invoice::credit::{Credit, draw, pay_lines};
use rating::money::Amount;
use rating::period::Span;
use rating::price::{Allowance, PerUnitPrice, PoolBalances, PriceModel, PriceTerms, QuantityRounding};
use serde_json::{Map, Value, json};

use super::case::{
    Case, Found, conversion, decimal, instant_us, items, maybe_decimal, number, span, text, whole_units,
    zone_of,
};
use super::differs;
use super::pricing::{rate, usd};

pub fn run(case: &Case) -> Option<Found> {
    let input = case.input();
    match case.model() {
        "apply_to_lines" => apply_to_lines(input),
        "burn_down" => burn_down(input),
        "converted_balance" => converted_balance(input),
        "grant_active" => grant_active(input),
        "grant_order" => grant_order(input),
        "grant_proration" => grant_proration(input),
        _ => None,
    }
}

fn time_us(value: &Value) -> Option<i64> {
    (!value.is_null()).then(|| instant_us(value, &zone_of(&Value::Null)))
}

fn grant(input: &Value) -> Credit {
    let ends = [time_us(&input["expires_at"]), time_us(&input["voided_at"]), time_us(&input["deleted_at"])];
    Credit {
        id: input["id"].as_str().unwrap_or("").to_owned(),
        priority: input["priority"].as_i64().unwrap_or(0),
        granted_us: time_us(&input["created_at"]).unwrap_or(0),
        effective_us: time_us(&input["effective_at"]).unwrap_or(i64::MIN),
        expires_us: ends.into_iter().flatten().min(),
        balance: maybe_decimal(&input["starting_balance"]).unwrap_or_default(),
    }
}

fn apply_to_lines(input: &Value) -> Option<Found> {
    let lines: Vec<Amount> = items(&input["line_amounts"]).iter().map(decimal).collect();
    let mut credits: Vec<Credit> = items(&input["credits"])
        .iter()
        .enumerate()
        .map(|(index, balance)| Credit {
            id: format!("{index:06}"),
            balance: decimal(balance),
            ..grant(&Value::Null)
        })
        .collect();
    let mut applied = vec![vec![Amount::ZERO; credits.len()]; lines.len()];
    for used in pay_lines(&lines, &mut credits, 0) {
        applied[used.line][used.credit.parse::<usize>().unwrap()] += used.amount;
    }
    let totals: Vec<Value> =
        lines.iter().zip(&applied).map(|(line, paid)| text(&(line - paid.iter().sum::<Amount>()))).collect();
    let applied: Vec<Vec<Value>> = applied.iter().map(|paid| paid.iter().map(text).collect()).collect();
    Found::exactly(json!({"applied": applied, "line_totals": totals}))
}

/// Usage drawn from grants as it happens. Refills, resets and carried overage are the ledger's, which is not here.
fn burn_down(input: &Value) -> Option<Found> {
    let (start_us, until_us) = (time_us(&input["start"])?, time_us(&input["until"])?);
    let mut credits: Vec<Credit> = items(&input["grants"]).iter().map(grant).collect();
    for (credit, input) in credits.iter_mut().zip(items(&input["grants"])) {
        let begins_inside = start_us < credit.effective_us && credit.effective_us <= until_us;
        if begins_inside {
            credit.balance = decimal(&input["amount"]);
        }
    }
    let mut usage: Vec<(i64, Amount)> = items(&input["usage"])
        .iter()
        .map(|event| (time_us(&event["time"]).unwrap(), decimal(&event["value"])))
        .filter(|event| start_us <= event.0 && event.0 < until_us)
        .collect();
    usage.sort_by_key(|event| event.0);
    let usage_total: Amount = usage.iter().map(|event| event.1).sum();
    let mut overage = Amount::ZERO;
    let mut overage_carried = false;
    for (time_us, amount) in usage {
        let paid: Amount = draw(&mut credits, amount, time_us).iter().map(|part| part.1).sum();
        overage += amount - paid;
        overage_carried |= overage > Amount::ZERO
            && credits.iter().any(|credit| time_us < credit.effective_us && credit.effective_us <= until_us);
    }
    let balance = |credit: &Credit| {
        let left = if credit.is_active(until_us) { credit.balance } else { Amount::ZERO };
        (credit.id.clone(), text(&left))
    };
    let balances: Map<String, Value> = credits.iter().map(balance).collect();
    let has = |name: &str| items(&input["grants"]).iter().any(|grant| !grant[name].is_null());
    let starts_short = maybe_decimal(&input["starting_overage"]).is_some_and(|overage| !overage.is_zero());
    let differs = if has("recurrence") || !items(&input["resets"]).is_empty() {
        Some(differs::THE_LEDGER_REFILLS_AND_RESETS)
    } else if input["meter_aggregation"] != "sum" {
        Some(differs::CREDITS_PAY_AMOUNTS_NOT_LEVELS)
    } else {
        (starts_short || overage_carried).then_some(differs::CREDITS_PAY_WHEN_THEY_CAN)
    };
    let left = credits.iter().filter(|credit| credit.is_active(until_us)).map(|credit| credit.balance);
    let values = json!({
        "balances": balances,
        "balance_total": text(&left.sum::<Amount>()),
        "overage": text(&overage),
        "usage_total": text(&usage_total),
    });
    Found::unless(values, differs)
}

fn converted_balance(input: &Value) -> Option<Found> {
    let terms = PriceTerms {
        conversion: conversion(input)?,
        allowance: Some(Allowance::Own { quantity: decimal(&input["grant_amount"]), prorated: false }),
        quantity_rounding: whole_units(&input["rounding"])?,
        ..PriceTerms::of(PriceModel::PerUnit(PerUnitPrice { unit_price: rating::money::UnitPrice::ZERO }))
    };
    let trail = rate(&terms, &number(&input["raw_usage"]), usd(), &mut PoolBalances::default());
    let allowance = trail.allowance.as_ref()?;
    let rounds = terms.quantity_rounding != QuantityRounding::None;
    let values = json!({
        "usage": text(&trail.conversion.converted),
        "balance": text(&(&allowance.available - &allowance.drawn)),
        "overage": text(&trail.billable),
    });
    Found::unless(values, rounds.then_some(differs::ALLOWANCES_COME_BEFORE_ROUNDING))
}

fn grant_active(input: &Value) -> Option<Found> {
    Found::exactly(json!({"active": grant(input).is_active(time_us(&input["at"])?)}))
}

fn grant_order(input: &Value) -> Option<Found> {
    let mut credits: Vec<Credit> = items(&input["grants"]).iter().map(grant).collect();
    // The case states its resolution: the grants expire at whole seconds, minutes and so on.
    let resolution_us = match input["expiry_resolution"].as_str() {
        Some("second") => 1_000_000,
        Some("minute") => 60_000_000,
        Some("hour") => 3_600_000_000,
        Some("day") => 86_400_000_000,
        _ => 1,
    };
    for credit in &mut credits {
        credit.expires_us = credit.expires_us.map(|us| us.div_euclid(resolution_us) * resolution_us);
    }
    credits.sort_by(Credit::drawing_order);
    let order: Vec<&str> = credits.iter().map(|credit| credit.id.as_str()).collect();
    Found::exactly(json!({"order": order}))
}

fn grant_proration(input: &Value) -> Option<Found> {
    let period = span(&input["period"], input);
    let at_us = time_us(&input["at"])?.clamp(period.start_us, period.end_us);
    let share = Span { start_us: at_us, ..period }.share_of(&period);
    let scale = u32::try_from(input["scale"].as_u64()?).ok()?;
    let exact: Exact = &number(&input["credits"]) * &share;
    let credits = exact.round_to_decimals(Rounding::HalfAwayFromZero, scale).unwrap();
    let by_days = input["strategy"] != "second";
    Found::unless(
        json!({"credits": text(&credits)}),
        by_days.then_some(differs::TIME_IS_ELAPSED_AND_NOT_COUNTED_IN_DAYS),
    )
}
