//! Usage within a period, for prices that are sent by the day or hour: what has to be asked of the lake, and the answer as
//! weights. Pure, like the plan.
//!
//! Days are those of the tenant's calendar. Hours are those of UTC, so that a zone half an hour off cuts none of them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use rating::catalog::{Catalog, StripeGranularity, StripeSending, Tenant};
use rating::draft::Charges;
use rating::exact::Exact;
use rating::invoice::Invoice;
use rating::line::LineItem;
use rating::period::{MICROSECONDS_PER_HOUR, Period, Span, TimeZone};
use rating::usage::{Demand, Usage, View, Wanted};

use super::{UsageBySpan, sending};

/// What must be known of a tenant's usage before its invoice can be planned; nothing if the invoice says it all.
pub fn demand(invoice: &Invoice, catalog: &Catalog) -> Option<Demand> {
    demand_of_lines(&invoice.tenant, &invoice.period, &invoice.lines, catalog)
}

/// The same of lines that may be on no invoice.
pub fn demand_of_lines(
    tenant: &str,
    period: &Period,
    lines: &[LineItem],
    catalog: &Catalog,
) -> Option<Demand> {
    let mut demand = Demand { tenant: tenant.to_owned(), period: period.clone(), wanted: Vec::new() };
    let tenant = catalog.tenant_terms(tenant)?;
    tenant.stripe.as_ref()?;
    let mut charges = None;
    for line in lines {
        let Some(granularity) = granularity(line, catalog, tenant) else { continue };
        let charges = charges.get_or_insert_with(|| Charges::new(catalog, tenant, period.clone()));
        let Some((view, quantity)) = charges.view_of(&line.key).zip(line.quantity.as_ref()) else { continue };
        demand.ask(Wanted {
            view: view.clone(),
            spans: parts(line.key.span, granularity, &tenant.time_zone),
            measures: BTreeSet::from([quantity.measure]),
            transactions: false,
        });
    }
    (!demand.wanted.is_empty()).then_some(demand)
}

/// In what steps a line's usage is sent, if in steps at all.
fn granularity(line: &LineItem, catalog: &Catalog, tenant: &Tenant) -> Option<StripeGranularity> {
    let usage = match sending(line, catalog, tenant).ok()?? {
        StripeSending::MeterEvents { usage, .. } | StripeSending::UsageRecords { usage, .. } => usage,
        StripeSending::Invoices => return None,
    };
    Some(usage.granularity).filter(|granularity| *granularity != StripeGranularity::Period)
}

/// The answer to `demand`.
#[derive(Debug, Clone, Copy)]
pub struct UsageInParts<'u> {
    pub catalog: &'u Catalog,
    pub usage: &'u Usage,
}

impl UsageBySpan for UsageInParts<'_> {
    fn by_span(&self, line: &LineItem, granularity: StripeGranularity) -> Option<Vec<(Span, Exact)>> {
        let tenant = self.catalog.tenant_terms(&line.key.tenant)?;
        let charges = Charges::new(self.catalog, tenant, self.usage.demand.period.clone());
        let view: &View = charges.view_of(&line.key)?;
        let measure = line.quantity.as_ref()?.measure;
        let parts = parts(line.key.span, granularity, &tenant.time_zone);
        let series = self.usage.of(view, &parts)?;
        let weight = |part: &Span| {
            let own = series.iter().find(|own| own.span == *part && own.dimensions == line.key.dimensions);
            own.and_then(|own| self.usage.quantity(view, own, measure, "")).map(|quantity| quantity.value)
        };
        // A part in which nothing happened has no series.
        Some(parts.iter().map(|part| (*part, weight(part).unwrap_or(Exact::ZERO))).collect())
    }
}

/// A span cut at the starts of days or hours.
pub(super) fn parts(span: Span, granularity: StripeGranularity, zone: &TimeZone) -> Vec<Span> {
    match granularity {
        StripeGranularity::Period => vec![span],
        StripeGranularity::Day => span.split_at(&midnights(span, zone)),
        StripeGranularity::Hour => {
            let first = span.start_us.div_euclid(MICROSECONDS_PER_HOUR) + 1;
            let hours = first..=span.end_us.div_euclid(MICROSECONDS_PER_HOUR);
            span.split_at(&hours.map(|hour| hour * MICROSECONDS_PER_HOUR).collect::<Vec<_>>())
        }
    }
}

fn midnights(span: Span, zone: &TimeZone) -> Vec<i64> {
    let Ok(start) = Timestamp::from_microsecond(span.start_us) else { return Vec::new() };
    let mut midnights = Vec::new();
    let mut day: Date = zone.to_datetime(start).date();
    while let Ok(next) = day.tomorrow() {
        let Ok(midnight) = next.to_zoned(zone.clone()) else { break };
        let midnight_us = midnight.timestamp().as_microsecond();
        if midnight_us >= span.end_us {
            break;
        }
        midnights.push(midnight_us);
        day = next;
    }
    midnights
}

#[cfg(test)]
mod tests {
    use rating::period::{BillingCycle, time_zone};

    use super::*;

    /// March 2026: Berlin's clocks go forward on the 29th, Kathmandu's hours begin a quarter past ours.
    #[test]
    fn days_are_the_tenants_and_hours_are_whole() {
        for (zone, days, longest_hours, shortest_hours) in
            [("Europe/Berlin", 31, 24, 23), ("Asia/Kathmandu", 31, 24, 24), ("America/New_York", 31, 24, 23)]
        {
            let zone = time_zone(zone).unwrap();
            let march = BillingCycle::CALENDAR_MONTH.period_containing(1_773_500_000_000_000, &zone).unwrap();
            let parts = parts(march.span, StripeGranularity::Day, &zone);
            assert_eq!((parts[0].start_us, parts[days - 1].end_us), (march.span.start_us, march.span.end_us));
            let mut hours: Vec<i128> =
                parts.iter().map(|part| part.length_us() / i128::from(MICROSECONDS_PER_HOUR)).collect();
            hours.sort_unstable();
            assert_eq!((hours.len(), hours[0], hours[days - 1]), (days, shortest_hours, longest_hours));
        }
        let zone = time_zone("Asia/Kathmandu").unwrap();
        let day = Span { start_us: 65_700_000_000, end_us: 65_700_000_000 + 24 * MICROSECONDS_PER_HOUR };
        let hours = parts(day, StripeGranularity::Hour, &zone);
        assert_eq!(hours.len(), 25);
        assert!(hours[1..24].iter().all(|hour| hour.length_us() == i128::from(MICROSECONDS_PER_HOUR)));
        assert_eq!(hours[0].length_us() + hours[24].length_us(), i128::from(MICROSECONDS_PER_HOUR));
    }
}
