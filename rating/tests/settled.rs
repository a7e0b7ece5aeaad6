//! What credits pay of an invoice and what taxes add to it, minor unit by minor unit.

mod oracle;

use oracle::price::to_minor;
use oracle::{config, ratio};
use proptest::prelude::*;
use rating::invoice::credit::Credit;
use rating::invoice::tax::TaxRule;
use rating::invoice::{Invoice, InvoiceKind, InvoiceParts, Provenance};
use rating::line::{LineItem, LineKey, LineRequest};
use rating::money::{Amount, Currency};
use rating::period::{Period, Span};
use rating::price::{FlatPrice, PoolBalances, PriceModel, PriceTerms};
use rating::quantity::Dimensions;
use rust_decimal::Decimal;

const END_US: i64 = 1_000;

#[derive(Debug, Clone)]
struct Case {
    currency: (&'static str, u32),
    /// In minor units, in the order of the invoice.
    lines: Vec<i128>,
    credits: Vec<Balance>,
    /// In thousandths of a percent; each line has the first so many of them.
    taxes: Vec<i128>,
    taxed_by: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Balance {
    id: String,
    priority: i64,
    granted_us: i64,
    effective_us: i64,
    expires_us: Option<i64>,
    units: i128,
}

fn balance() -> impl Strategy<Value = Balance> {
    let times = (0_i64..4, 990_i64..1_004, prop::option::of(995_i64..1_005));
    ("[a-z]{6}", -1_i64..3, times, 0_i128..150).prop_map(|(id, priority, times, units)| Balance {
        id,
        priority,
        granted_us: times.0,
        effective_us: times.1,
        expires_us: times.2,
        units,
    })
}

fn case() -> impl Strategy<Value = Case> {
    let line = prop_oneof![4 => 0_i128..120, 1 => -60_i128..0];
    (
        prop::sample::select(&[("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)][..]),
        prop::collection::vec(line, 0..6),
        prop::collection::vec(balance(), 0..5),
        prop::collection::vec(0_i128..30_000, 0..3),
        prop::collection::vec(0_usize..3, 6),
    )
        .prop_map(|(currency, lines, credits, taxes, taxed_by)| Case {
            currency,
            lines,
            credits,
            taxes,
            taxed_by,
        })
}

/// Each line, one minor unit after the other, is paid by the credit that is first then; never more than is owed in all.
fn paid_by_brute_force(case: &Case) -> Vec<(usize, String, i128)> {
    let mut credits = case.credits.clone();
    let last_us = END_US - 1;
    credits.retain(|own| own.effective_us <= last_us && own.expires_us.is_none_or(|end_us| last_us < end_us));
    let mut owed = case.lines.iter().sum::<i128>().max(0);
    let mut paid: Vec<(usize, String, i128)> = Vec::new();
    for (line, units) in case.lines.iter().enumerate() {
        for _ in 0..(*units).min(owed) {
            let left = credits.iter_mut().filter(|own| own.units > 0);
            let never = i64::MAX;
            let first = left.min_by_key(|own| {
                (own.priority, own.expires_us.unwrap_or(never), own.granted_us, own.id.clone())
            });
            let Some(first) = first else { return paid };
            first.units -= 1;
            owed -= 1;
            match paid.last_mut().filter(|last| (last.0, last.1.as_str()) == (line, first.id.as_str())) {
                Some(last) => last.2 += 1,
                None => paid.push((line, first.id.clone(), 1)),
            }
        }
    }
    paid
}

struct Taxes<'a>(&'a Case);

impl TaxRule for Taxes<'_> {
    fn rates(&self, line: &LineItem) -> Vec<(String, Decimal)> {
        let at: usize = line.key.price.parse().unwrap();
        let taxes = self.0.taxes.iter().take(self.0.taxed_by[at]);
        taxes
            .map(|rate| (format!("tax {rate}"), Decimal::try_from_i128_with_scale(*rate, 3).unwrap()))
            .collect()
    }
}

fn amount(units: i128, digits: u32) -> Amount {
    Decimal::try_from_i128_with_scale(units, digits).unwrap()
}

fn line(at: usize, units: i128, case: &Case, period: &Period) -> LineItem {
    let (currency, digits) = case.currency;
    let flat = FlatPrice { amount: amount(units, digits), prorated: true };
    let request = LineRequest {
        key: LineKey {
            tenant: "acme".into(),
            period: period.name.clone(),
            subscription: "main".into(),
            price: at.to_string(),
            dimensions: Dimensions::new(),
            span: period.span,
        },
        description: String::new(),
        price_source: None,
        terms: &PriceTerms::of(PriceModel::Flat(flat)),
        currency: Currency::from_code(currency).unwrap(),
        period: period.span,
        quantity: None,
        transactions: None,
        so_far: None,
        commitment: None,
    };
    LineItem::rate(request, &mut PoolBalances::default()).unwrap()
}

fn assemble(case: &Case) -> (Invoice, Vec<Credit>) {
    let period = Period {
        span: Span { start_us: 0, end_us: END_US },
        name: "1970-01-01".to_owned(),
        end_date: "1970-01-02".to_owned(),
    };
    let lines = case.lines.iter().enumerate().map(|(at, units)| line(at, *units, case, &period)).collect();
    let mut credits: Vec<Credit> = case
        .credits
        .iter()
        .map(|own| Credit {
            id: own.id.clone(),
            priority: own.priority,
            granted_us: own.granted_us,
            effective_us: own.effective_us,
            expires_us: own.expires_us,
            balance: amount(own.units, case.currency.1),
        })
        .collect();
    let parts = InvoiceParts {
        kind: InvoiceKind::OfPeriod,
        tenant: "acme".into(),
        period,
        currency: Currency::from_code(case.currency.0).unwrap(),
        lines,
        warnings: Vec::new(),
        provenance: Provenance::default(),
    };
    (Invoice::assemble(parts, &mut credits, &Taxes(case)).unwrap(), credits)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn credits_and_taxes_equal_brute_force(case in case()) {
        let digits = case.currency.1;
        let (invoice, credits) = assemble(&case);
        let paid = paid_by_brute_force(&case);
        let found: Vec<_> =
            invoice.credits.iter().map(|used| (used.line, used.credit.clone(), used.amount)).collect();
        let expected: Vec<_> =
            paid.iter().map(|(line, credit, units)| (*line, credit.clone(), amount(*units, digits))).collect();
        prop_assert_eq!(found, expected);
        for credit in &credits {
            let spent: i128 = paid.iter().filter(|own| own.1 == credit.id).map(|own| own.2).sum();
            let granted: i128 = case.credits.iter().filter(|own| own.id == credit.id).map(|own| own.units).sum();
            prop_assert_eq!(credit.balance, amount(granted - spent, digits));
        }
        let scale = 10_i128.pow(digits);
        let mut due = ratio(case.lines.iter().sum::<i128>() - paid.iter().map(|own| own.2).sum::<i128>(), scale);
        let mut taxes = invoice.taxes.iter();
        for (at, units) in case.lines.iter().enumerate() {
            let by_credits: i128 = paid.iter().filter(|own| own.0 == at).map(|own| own.2).sum();
            for rate in case.taxes.iter().take(case.taxed_by[at]) {
                let taxable = ratio(units - by_credits, scale);
                let tax = to_minor(&(taxable * ratio(*rate, 100_000)), digits, false);
                let found = taxes.next().unwrap();
                prop_assert_eq!(found.line, at);
                prop_assert_eq!(oracle::rational(&found.amount.into()), tax.clone());
                due += tax;
            }
        }
        prop_assert!(taxes.next().is_none());
        prop_assert_eq!(oracle::rational(&invoice.due.into()), due);
    }
}
