//! The real prices of the four systems, from the catalog's text to an amount.

use rust_decimal::Decimal;

use super::examples::{DOCUMENTS, ONMEMOS, REDLINE, ZEMFYRE, parsed};
use crate::catalog::{Catalog, Price};
use crate::exact::Exact;
use crate::money::Currency;
use crate::price::{PoolBalances, Usage};
use crate::quantity::{Dimensions, OverTime};

const GB: i128 = 1_000_000_000;
const GIB: i128 = 1 << 30;

/// The amount for a quantity in what the measure counts.
fn charged(price: &Price, quantity: i128, dimensions: &[(&str, &str)], currency: Currency) -> String {
    let dimensions: Dimensions =
        dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let whole = Exact::ratio(1, 1).expect("one");
    let usage = Usage {
        quantity: &Exact::ratio(quantity, 1).expect("a quantity"),
        unit: price.usage.as_ref().map_or("", |usage| usage.measured_unit.name.as_str()),
        dimensions: &dimensions,
        transactions: None,
        over_time: OverTime::AddsUp,
        span_share: &whole,
        so_far: None,
        commitment: None,
    };
    let trail = price.terms.rate(&usage, currency, &mut PoolBalances::default()).expect("a rated usage");
    trail.amount().normalize().to_string()
}

fn plan_price<'c>(catalog: &'c Catalog, plan: &str, price: &str) -> &'c Price {
    let plan = catalog.plan(plan).expect("the plan");
    plan.versions[0].price(price).expect("the price")
}

/// Plan, price, quantity, dimensions, amount.
type Case = (&'static str, &'static str, i128, &'static [(&'static str, &'static str)], &'static str);

fn assert_charged(text: &str, cases: &[Case]) {
    let catalog = parsed(text, "example.yaml");
    for (plan, price, quantity, dimensions, amount) in cases {
        let currency = catalog.plan(plan).expect("the plan").currency;
        let price = plan_price(&catalog, plan, price);
        let charged = charged(price, *quantity, dimensions, currency);
        assert_eq!(charged, *amount, "{plan} {} {quantity} {dimensions:?}", price.key);
    }
}

#[test]
fn redline_charges_whole_gb_above_the_first() {
    assert_charged(
        REDLINE,
        &[
            ("standard", "storage", GB, &[], "0"),
            ("standard", "storage", 6 * GB, &[], "0.5"),
            ("standard", "storage", 6 * GB + 1, &[], "0.6"),
            ("professional", "storage", 101 * GB, &[], "8"),
            ("professional", "own_bucket", 500 * GB, &[], "0"),
            ("free", "storage", GB, &[], "0"),
        ],
    );
}

#[test]
fn onmemos_charges_by_user_type_and_size() {
    const HOURS: i128 = 1000 * 3600;
    const PRICES: [(&str, [&str; 4]); 4] = [
        ("free", ["50", "75", "100", "250"]),
        ("pro", ["25", "37.5", "50", "125"]),
        ("enterprise", ["10", "15", "20", "50"]),
        ("admin", ["0", "0", "0", "0"]),
    ];
    let onmemos = parsed(ONMEMOS, "onmemos.yaml");
    let sessions = plan_price(&onmemos, "pay_as_you_go", "sessions");
    for (user_type, amounts) in PRICES {
        for (size, amount) in ["small", "medium", "large", "gpu"].into_iter().zip(amounts) {
            let dimensions = [("size", size), ("user_type", user_type)];
            let charged = charged(sessions, HOURS, &dimensions, onmemos.currency.expect("a currency"));
            assert_eq!(charged, amount, "{user_type} {size}");
        }
    }
    assert_charged(
        ONMEMOS,
        &[
            ("pay_as_you_go", "storage", 100 * GB, &[("storage_type", "gcs_bucket")], "2"),
            ("pay_as_you_go", "storage", 100 * GB, &[("storage_type", "filestore_pvc")], "17"),
            ("pay_as_you_go", "storage", 50 * GB, &[("storage_type", "space_volume")], "0"),
        ],
    );
}

#[test]
fn zemfyre_charges_whole_units_above_the_plan() {
    assert_charged(
        ZEMFYRE,
        &[
            ("starter", "base_fee", 0, &[], "29"),
            ("professional", "base_fee", 0, &[], "99"),
            ("starter", "devices", 10, &[], "0"),
            ("starter", "devices", 13, &[], "6"),
            ("professional", "devices", 51, &[], "2"),
            ("starter", "storage", 5 * GIB + 1, &[], "0.2"),
            ("professional", "storage", 60 * GIB, &[], "2"),
            ("starter", "api_calls", 1000, &[], "0.5"),
            ("starter", "api_calls", 1001, &[], "1"),
            ("enterprise", "api_calls", 1_000_000, &[], "0"),
        ],
    );
}

#[test]
fn documents_charge_above_the_included_gb() {
    assert_charged(
        DOCUMENTS,
        &[
            ("basic", "storage", 15 * GB, &[], "1.5"),
            // 100 GB are included, 400 cost 0.09 and 10 cost 0.07.
            ("business", "storage", 510 * GB, &[], "36.7"),
        ],
    );
}

#[test]
fn traffic_draws_from_one_pool_and_each_kind_has_its_own_overage() {
    let zemfyre = parsed(ZEMFYRE, "zemfyre.yaml");
    for (plan, pool_gib) in [("starter", 10), ("professional", 100)] {
        let version = &zemfyre.plan(plan).expect("the plan").versions[0];
        assert_eq!(version.pools[0].quantity, Decimal::from(pool_gib));
        for (price, per_gib) in [("mqtt_traffic", "0.10"), ("http_traffic", "0.15")] {
            let mut price = version.price(price).expect("the price").clone();
            price.terms.allowance = None; // The pool is used up.
            let per_gib: Decimal = per_gib.parse().expect("a price");
            let expected = (per_gib * Decimal::from(3)).normalize().to_string();
            let currency = zemfyre.currency.expect("a currency");
            assert_eq!(charged(&price, 2 * GIB + 1, &[], currency), expected, "{plan} {}", price.key);
        }
    }
}

#[test]
fn items_and_costs_have_the_real_prices() {
    let onmemos = parsed(ONMEMOS, "onmemos.yaml");
    let usd = onmemos.currency.expect("a currency");
    for (item, amount, gb) in [
        ("space_ml_ready", "5", 50),
        ("space_data_science", "3", 30),
        ("space_web_development", "2", 20),
        ("space_research", "4", 40),
    ] {
        let item = onmemos.item(item).expect("the item");
        assert_eq!(charged(item.price.as_ref().expect("a price"), 1, &[], usd), amount);
        let raise = item.raises.as_ref().expect("a raise");
        assert_eq!((raise.quota.as_str(), raise.by), ("space_storage", Some(Decimal::from(gb))));
    }
    assert_eq!(onmemos.credits.minimum_purchase, Some(Decimal::TEN));
    assert_eq!(onmemos.credits.grants[0].amount, Decimal::from(5));

    let redline = parsed(REDLINE, "redline.yaml");
    for (cost, quantity, amount) in
        [("stored", 1000 * GB, "23"), ("requests", 1_000_000, "5"), ("egress", 100 * GB, "9")]
    {
        let cost = redline.costs.iter().find(|known| known.key == cost).expect("the cost");
        assert_eq!(charged(cost, quantity, &[], usd), amount, "{}", cost.key);
    }
}

#[test]
fn every_price_knows_its_line() {
    for text in [REDLINE, ONMEMOS, ZEMFYRE, DOCUMENTS] {
        let catalog = parsed(text, "example.yaml");
        let lines: Vec<&str> = text.lines().collect();
        for price in catalog.plans.iter().flat_map(|plan| &plan.versions).flat_map(|version| &version.prices)
        {
            let line = lines[price.place.line - 1];
            let names_model =
                ["flat", "per_unit", "package", "up_to", "by:"].iter().any(|key| line.contains(key));
            assert!(names_model, "{}: line {} is {line:?}", price.key, price.place.line);
            for cell in &price.source.cells {
                let at = &lines[cell.line - 1][cell.column - 1..];
                assert!(at.starts_with(|c: char| c.is_ascii_digit()), "{}: {at:?}", price.key);
            }
        }
    }
}
