//! Invoices: named cases of lines, credits, taxes, corrections and the canonical text.

use rating::exact::Exact;
use rating::invoice::credit::{Credit, draw};
use rating::invoice::tax::{OneRate, Untaxed};
use rating::invoice::{
    Adjustment, Cause, Invoice, InvoiceError, InvoiceKind, InvoiceParts, Provenance, Warning, adjustments,
};
use rating::line::{LineItem, LineKey, LineRequest};
use rating::money::{Amount, Currency, UnitPrice};
use rating::period::{BillingCycle, Period, time_zone};
use rating::price::{
    FlatPrice, MatrixPrice, PerUnitPrice, PoolBalances, PriceModel, PriceTerms, UnitConversion,
};
use rating::quantity::{Dimensions, Measure, Quantity, Samples};
use rust_decimal::Decimal;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn february() -> Period {
    let zone = time_zone("Europe/Berlin").unwrap();
    BillingCycle::CALENDAR_MONTH.period_containing(1_771_000_000_000_000, &zone).unwrap()
}

fn key(price: &str) -> LineKey {
    LineKey {
        tenant: "acme".into(),
        period: february().name,
        subscription: "main".into(),
        price: price.into(),
        dimensions: Dimensions::new(),
        span: february().span,
    }
}

fn stored(value: &str) -> Quantity {
    Quantity {
        tenant: "acme".into(),
        meter: "storage".into(),
        dimensions: Dimensions::new(),
        measure: Measure::Average,
        span: february().span,
        unit: "byte".into(),
        value: value.parse().unwrap(),
        samples: Samples { count: 3, first_us: Some(1), last_us: Some(9) },
        carried_in: Exact::ZERO,
    }
}

fn request<'a>(price: &str, terms: &'a PriceTerms, quantity: Option<Quantity>) -> LineRequest<'a> {
    LineRequest {
        key: key(price),
        description: format!("the {price}"),
        price_source: Some("plans.yaml:12".into()),
        terms,
        currency: Currency::from_code("EUR").unwrap(),
        period: february().span,
        quantity,
        transactions: None,
        so_far: None,
        commitment: None,
    }
}

fn flat(price: &str, amount: &str) -> LineItem {
    let terms = PriceTerms::of(PriceModel::Flat(FlatPrice { amount: decimal(amount), prorated: true }));
    LineItem::rate(request(price, &terms, None), &mut PoolBalances::default()).unwrap()
}

fn storage(gigabytes: &str) -> LineItem {
    let unit_price = UnitPrice::new(decimal("0.10")).unwrap();
    let terms = PriceTerms {
        conversion: UnitConversion::divide_by(decimal("1000000000"), "GB"),
        ..PriceTerms::of(PriceModel::PerUnit(PerUnitPrice { unit_price }))
    };
    let bytes = gigabytes.parse::<Exact>().unwrap() * Exact::from(1_000_000_000_i64);
    let request = request("storage", &terms, Some(stored(&bytes.to_string())));
    LineItem::rate(request, &mut PoolBalances::default()).unwrap()
}

fn parts(lines: Vec<LineItem>) -> InvoiceParts {
    InvoiceParts {
        kind: InvoiceKind::OfPeriod,
        tenant: "acme".into(),
        period: february(),
        currency: Currency::from_code("EUR").unwrap(),
        lines,
        warnings: Vec::new(),
        provenance: Provenance { table_id: "t".into(), table_version: 7, ..Provenance::default() },
    }
}

fn credit(id: &str, priority: i64, expires_us: Option<i64>, granted_us: i64, balance: &str) -> Credit {
    Credit { id: id.into(), priority, granted_us, effective_us: 0, expires_us, balance: decimal(balance) }
}

fn vat() -> OneRate {
    OneRate { name: "VAT".into(), rate_percent: decimal("19") }
}

#[test]
fn the_total_is_the_sum_of_rounded_lines() {
    let lines = vec![flat("c", "10.333333"), flat("a", "10.333333"), flat("b", "10.333333")];
    let invoice = Invoice::assemble(parts(lines), &mut [], &Untaxed).unwrap();
    assert_eq!(invoice.total.to_string(), "30.99");
    assert_eq!(invoice.due.to_string(), "30.99");
    let order: Vec<&str> = invoice.lines.iter().map(|line| line.key.price.as_str()).collect();
    assert_eq!(order, ["a", "b", "c"]);
}

#[test]
fn credits_pay_before_taxes() {
    let credits = &mut [credit("late", 1, None, 0, "50"), credit("soon", 1, Some(i64::MAX), 0, "5.50")];
    let invoice =
        Invoice::assemble(parts(vec![flat("base", "29"), storage("123.456")]), credits, &vat()).unwrap();
    // 29.00 + 12.35 = 41.35, all paid by credits: 5.50 of what expires, 35.85 of what does not.
    assert_eq!(invoice.total.to_string(), "41.35");
    assert_eq!(invoice.credited.to_string(), "41.35");
    assert_eq!(invoice.due.to_string(), "0.00");
    let paid: Vec<_> = invoice
        .credits
        .iter()
        .map(|used| (used.credit.as_str(), used.line, used.amount.to_string()))
        .collect();
    assert_eq!(paid, [("soon", 0, "5.50".into()), ("late", 0, "23.50".into()), ("late", 1, "12.35".into())]);
    assert_eq!(credits.iter().map(|credit| credit.balance).sum::<Amount>(), decimal("14.15"));

    let credits = &mut [credit("some", 1, None, 0, "9")];
    let invoice = Invoice::assemble(parts(vec![flat("base", "29")]), credits, &vat()).unwrap();
    assert_eq!((invoice.taxed.to_string(), invoice.due.to_string()), ("3.80".into(), "23.80".into()));
}

#[test]
fn credits_are_drawn_by_priority_expiry_and_grant() {
    let mut credits = vec![
        credit("never", 1, None, 1, "10"),
        credit("second-priority", 2, Some(50), 1, "10"),
        credit("later", 1, Some(90), 1, "10"),
        credit("b", 1, Some(80), 7, "10"),
        credit("a", 1, Some(80), 7, "10"),
        credit("granted-first", 1, Some(80), 2, "10"),
        credit("expired", 0, Some(10), 1, "10"),
        Credit { effective_us: 11, ..credit("not-yet", 0, None, 1, "10") },
    ];
    let drawn: Vec<String> = draw(&mut credits, decimal("100"), 10).into_iter().map(|part| part.0).collect();
    assert_eq!(drawn, ["granted-first", "a", "b", "later", "never", "second-priority"]);
}

#[test]
fn a_line_below_zero_lowers_what_credits_pay() {
    let credits = &mut [credit("big", 1, None, 0, "500")];
    let invoice =
        Invoice::assemble(parts(vec![flat("base", "100"), flat("correction", "-20")]), credits, &vat())
            .unwrap();
    assert_eq!(invoice.credited.to_string(), "80.00");
    assert_eq!(invoice.due.to_string(), "0.00");
    let refund = Invoice::assemble(parts(vec![flat("correction", "-20")]), credits, &Untaxed).unwrap();
    assert_eq!((refund.credited.to_string(), refund.due.to_string()), ("0.00".into(), "-20.00".into()));
}

#[test]
fn unsound_invoices_are_refused() {
    let foreign = LineItem { key: LineKey { tenant: "other".into(), ..key("x") }, ..flat("x", "1") };
    let error = Invoice::assemble(parts(vec![foreign]), &mut [], &Untaxed).unwrap_err();
    assert!(matches!(error, InvoiceError::ForeignLine { .. }), "{error}");
    let twice =
        Invoice::assemble(parts(vec![flat("x", "1"), flat("x", "2")]), &mut [], &Untaxed).unwrap_err();
    assert_eq!(
        twice.to_string(),
        format!("tenant acme, period 2026-02-01: line {} is there twice", key("x"))
    );
    let currency = Currency::from_code("JPY").unwrap();
    let error = Invoice::assemble(parts(vec![LineItem { currency, ..flat("x", "1") }]), &mut [], &Untaxed);
    assert!(matches!(error, Err(InvoiceError::CurrencyDiffers { .. })));
    let mut invoice = Invoice::assemble(parts(vec![flat("x", "1")]), &mut [], &Untaxed).unwrap();
    invoice.total = decimal("1.01");
    assert!(matches!(invoice.check(), Err(InvoiceError::BrokenIdentity { what: "total of the lines", .. })));
    let mut invoice = Invoice::assemble(parts(vec![flat("x", "1")]), &mut [], &Untaxed).unwrap();
    invoice.lines[0].amount = decimal("2.00");
    assert!(matches!(invoice.check(), Err(InvoiceError::BrokenIdentity { what: "a line's amount", .. })));
}

#[test]
fn sums_one_above_the_largest_are_refused_and_name_a_line() {
    let most = "792281625142643375935439503.35";
    let fits = Invoice::assemble(parts(vec![flat("base", most)]), &mut [], &Untaxed).unwrap();
    assert_eq!(fits.due.to_string(), most);
    let back = Invoice::assemble(parts(vec![flat("base", &format!("-{most}"))]), &mut [], &Untaxed).unwrap();
    assert_eq!(back.due.to_string(), format!("-{most}"));
    let error = Invoice::assemble(parts(vec![flat("base", most), flat("more", "0.01")]), &mut [], &Untaxed);
    let named = |what: &str, line: LineKey| {
        format!("tenant acme, period 2026-02-01: {what} is out of range; see line {line}")
    };
    assert_eq!(error.unwrap_err().to_string(), named("total of the lines", key("base")));
    let taxed = Invoice::assemble(parts(vec![flat("base", most)]), &mut [], &vat());
    assert_eq!(taxed.unwrap_err().to_string(), named("amount due", key("base")));
    let ten_times = OneRate { rate_percent: decimal("1000"), ..vat() };
    let taxed = Invoice::assemble(parts(vec![flat("base", most)]), &mut [], &ten_times);
    assert_eq!(taxed.unwrap_err().to_string(), named("a tax", key("base")));
    // Of a line with usage the meter is named, too.
    let lines = vec![storage("7922816251426433759354395033.5"), flat("more", "0.01")];
    let error = Invoice::assemble(parts(lines), &mut [], &Untaxed).unwrap_err();
    assert_eq!(error.to_string(), format!("{}, meter storage", named("total of the lines", key("storage"))));
}

#[test]
fn the_digest_is_of_the_canonical_text() {
    let lines = || vec![flat("base", "29"), storage("4/3")];
    let invoice = Invoice::assemble(parts(lines()), &mut [], &vat()).unwrap();
    let mut turned = lines();
    turned.reverse();
    let again = Invoice::assemble(parts(turned), &mut [], &vat()).unwrap();
    assert_eq!(invoice.canonical_json().unwrap(), again.canonical_json().unwrap());
    assert_eq!(invoice.digest().unwrap(), again.digest().unwrap());
    let text = invoice.canonical_json().unwrap();
    assert!(text.contains(r#""value":"4000000000/3""#), "{text}");
    // All but the places of the prices, which a comment in the catalog may move.
    let mut read: Invoice = serde_json::from_str(&text).unwrap();
    for (line, original) in read.lines.iter_mut().zip(&invoice.lines) {
        assert_eq!(line.price_source, None);
        line.price_source.clone_from(&original.price_source);
    }
    assert_eq!(read, invoice);
    let other = Invoice::assemble(parts(vec![flat("base", "29.01")]), &mut [], &vat()).unwrap();
    assert_ne!(other.digest().unwrap(), invoice.digest().unwrap());
}

#[test]
fn corrections_are_matched_by_key() {
    let issued = [flat("base", "29"), flat("gone", "3"), storage("10")];
    let recomputed = [flat("base", "29"), storage("12"), flat("new", "1")];
    let found = adjustments(&issued, &recomputed).unwrap();
    let shown: Vec<String> = found
        .iter()
        .map(|each| format!("{}: {} -> {} = {}", each.key.price, each.old, each.new, each.difference))
        .collect();
    assert_eq!(
        shown,
        ["gone: 3.00 -> 0.00 = -3.00", "new: 0.00 -> 1.00 = 1.00", "storage: 1.00 -> 1.20 = 0.20"]
    );
}

#[test]
fn a_missing_cell_is_a_warning_and_names_everything() {
    let model = MatrixPrice { dimensions: vec!["size".into()], cells: Vec::new(), otherwise: None };
    let terms = PriceTerms::of(PriceModel::Matrix(model));
    let request = request("sessions", &terms, Some(stored("3600")));
    let error = LineItem::rate(request, &mut PoolBalances::default()).unwrap_err();
    assert_eq!(error.to_string(), "tenant acme, period 2026-02-01, price sessions, meter storage: no amount");
    let warning = error.as_warning(&stored("3600")).unwrap();
    assert_eq!(warning.to_string(), "price sessions has no cell for 3600");
    assert!(warning.leaves_usage_unbilled());
    assert!(matches!(storage("-1").warnings().as_slice(), [Warning::NegativeQuantity { .. }]));
}

/// A credit note of two invoices, one that charges, or one with a line of its own is none.
#[test]
fn a_credit_note_takes_back_of_one_invoice() {
    let made = |changes: &[(&str, &str, &str)]| {
        let line = |(price, amount, number): &(&str, &str, &str)| {
            let (old, new) = (decimal("10.00"), decimal("10.00") + decimal(amount));
            let key = LineKey { period: "2026-01-01".into(), ..key(price) };
            let adjustment = Adjustment { key, old, new, difference: decimal(amount) };
            let currency = Currency::from_code("EUR").unwrap();
            adjustment.line("Storage", currency, number, Cause::AmendedEvent).unwrap()
        };
        let lines = changes.iter().map(line).collect();
        Invoice::assemble(InvoiceParts { kind: InvoiceKind::CreditNote, ..parts(lines) }, &mut [], &vat())
    };
    let note = made(&[("a", "-1.00", "7"), ("b", "0.50", "7")]).unwrap();
    let sums = [note.total, note.taxed, note.due].map(|amount| amount.to_string());
    // 19 % of 0.50 is 0.095.
    assert_eq!(sums, ["-0.50", "-0.09", "-0.59"]);
    assert_eq!(note.occasion(), "2026-01-01");
    assert!(note.canonical_json().unwrap().starts_with(r#"{"credited":"0.00""#));
    for wrong in [&[("a", "1.00", "7")][..], &[("a", "-1.00", "7"), ("b", "-1.00", "8")]] {
        let error = made(wrong).unwrap_err();
        assert!(matches!(error, InvoiceError::BrokenIdentity { what: "a credit note", .. }), "{error}");
    }
    let own = InvoiceParts { kind: InvoiceKind::CreditNote, ..parts(vec![flat("a", "-1")]) };
    let error = Invoice::assemble(own, &mut [], &Untaxed).unwrap_err();
    assert!(matches!(error, InvoiceError::ForeignLine { .. }), "{error}");
}
