//! Which terms a tenant has when: spans cut at the exact instant of a change, and nowhere else.

use rust_decimal::Decimal;

use super::examples::parsed;
use crate::catalog::{Catalog, Limit, PriceSpan};
use crate::period::Span;
use crate::price::PriceModel;

const CATALOG: &str = "
catalog: c
currency: USD
time_zone: Europe/Berlin
meters:
  calls: { kind: delta, event_type: c, unit: request }
plans:
  basic:
    versions:
      - from: 2025-01-01
        prices:
          fee: { flat: 10 }
          calls: { meter: calls, included: 100, per_unit: 1 }
      - from: 2026-03-10T12:00
        prices:
          fee: { flat: 12 }
          calls: { meter: calls, included: 100, per_unit: 1 }
        quotas:
          calls: { meter: calls, limit: 50 }
  other:
    prices: { fee: { flat: 99 } }
tenants:
  plain: { subscriptions: [{ plan: basic, from: 2025-05-01 }] }
  moved:
    subscriptions:
      - { plan: basic, from: 2025-05-01, until: 2026-03-20 }
      - { plan: other, from: 2026-03-20 }
  pinned: { subscriptions: [{ plan: basic, from: 2025-05-01, prices_as_of: 2025-06-01 }] }
  special:
    subscriptions: [{ plan: basic, from: 2025-05-01 }]
    overrides:
      - { plan: basic, price: calls, per_unit: 0.5, from: 2026-03-05, until: 2026-03-15 }
      - { plan: basic, quota: calls, limit: unlimited }
  elsewhere: { time_zone: America/New_York, subscriptions: [{ plan: basic, from: 2025-05-01 }] }
";

fn instant_us(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("a timestamp").as_microsecond()
}

/// March 2026 in Berlin.
fn march() -> Span {
    Span { start_us: instant_us("2026-02-28T23:00:00Z"), end_us: instant_us("2026-03-31T22:00:00Z") }
}

fn amount(span: &PriceSpan<'_>) -> Decimal {
    match &span.terms.model {
        PriceModel::Flat(flat) => flat.amount,
        PriceModel::PerUnit(price) => price.unit_price.value(),
        other => panic!("unexpected model {other:?}"),
    }
}

fn shown(catalog: &Catalog, tenant: &str) -> Vec<String> {
    let time = |instant_us: i64| {
        let text = jiff::Timestamp::from_microsecond(instant_us).expect("within the calendar").to_string();
        text.trim_end_matches(":00Z").to_owned()
    };
    let tenant = catalog.tenant_terms(tenant).expect("a tenant");
    catalog
        .prices_in_force(tenant, march())
        .iter()
        .map(|span| {
            let (start, end) = (time(span.span.start_us), time(span.span.end_us));
            format!(
                "{start} {end} {}/{} {} line {}",
                span.plan.key,
                span.price.key,
                amount(span),
                span.place().line
            )
        })
        .collect()
}

#[test]
fn spans_are_cut_where_something_changes() {
    let catalog = parsed(CATALOG, "in_force.yaml");
    let cases: [(&str, &[&str]); 5] = [
        (
            "plain",
            &[
                "2026-02-28T23:00 2026-03-10T11:00 basic/fee 10 line 12",
                "2026-03-10T11:00 2026-03-31T22:00 basic/fee 12 line 16",
                // The new version repeats this price, so its line is not cut.
                "2026-02-28T23:00 2026-03-31T22:00 basic/calls 1 line 13",
            ],
        ),
        (
            "moved",
            &[
                "2026-02-28T23:00 2026-03-10T11:00 basic/fee 10 line 12",
                "2026-03-10T11:00 2026-03-19T23:00 basic/fee 12 line 16",
                "2026-02-28T23:00 2026-03-19T23:00 basic/calls 1 line 13",
                "2026-03-19T23:00 2026-03-31T22:00 other/fee 99 line 21",
            ],
        ),
        (
            "pinned",
            &[
                "2026-02-28T23:00 2026-03-31T22:00 basic/fee 10 line 12",
                "2026-02-28T23:00 2026-03-31T22:00 basic/calls 1 line 13",
            ],
        ),
        (
            "special",
            &[
                "2026-02-28T23:00 2026-03-10T11:00 basic/fee 10 line 12",
                "2026-03-10T11:00 2026-03-31T22:00 basic/fee 12 line 16",
                "2026-02-28T23:00 2026-03-04T23:00 basic/calls 1 line 13",
                "2026-03-04T23:00 2026-03-14T23:00 basic/calls 0.5 line 32",
                "2026-03-14T23:00 2026-03-31T22:00 basic/calls 1 line 17",
            ],
        ),
        (
            "elsewhere",
            &[
                // Noon in New York: daylight saving time began there on 8 March.
                "2026-02-28T23:00 2026-03-10T16:00 basic/fee 10 line 12",
                "2026-03-10T16:00 2026-03-31T22:00 basic/fee 12 line 16",
                "2026-02-28T23:00 2026-03-31T22:00 basic/calls 1 line 13",
            ],
        ),
    ];
    for (tenant, expected) in cases {
        assert_eq!(shown(&catalog, tenant), expected, "{tenant}");
    }
}

#[test]
fn the_included_quantity_stays_when_an_override_names_only_the_price() {
    let catalog = parsed(CATALOG, "in_force.yaml");
    let tenant = catalog.tenant_terms("special").expect("a tenant");
    let spans = catalog.prices_in_force(tenant, march());
    let calls: Vec<_> = spans.iter().filter(|span| span.price.key == "calls").collect();
    assert!(calls.iter().all(|span| span.terms.allowance == calls[0].terms.allowance));
    assert!(calls[0].overridden_by.is_none() && calls[1].overridden_by.is_some());
}

#[test]
fn quotas_follow_versions_and_overrides() {
    let catalog = parsed(CATALOG, "in_force.yaml");
    let limits = |tenant: &str, instant: &str| {
        let tenant = catalog.tenant_terms(tenant).expect("a tenant");
        let quotas = catalog.quotas_in_force(tenant, instant_us(instant));
        quotas.into_iter().map(|(_, limit)| limit).collect::<Vec<_>>()
    };
    assert_eq!(limits("plain", "2026-03-10T10:59:59Z"), []);
    assert_eq!(limits("plain", "2026-03-10T11:00:00Z"), [Limit::Of(Decimal::from(50))]);
    assert_eq!(limits("special", "2026-03-10T11:00:00Z"), [Limit::Unlimited]);
    assert_eq!(limits("pinned", "2026-03-10T11:00:00Z"), []);
}
