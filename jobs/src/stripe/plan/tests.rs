use rating::catalog::Catalog;
use rating::exact::Exact;
use rating::invoice::tax::{OneRate, Untaxed};
use rating::invoice::{Adjustment, Cause, Invoice, InvoiceKind, InvoiceParts, Provenance};
use rating::line::{LineItem, LineKey, LineRequest};
use rating::money::Currency;
use rating::period::{BillingCycle, Period, TimeZone};
use rating::price::PoolBalances;
use rating::quantity::{Dimensions, Quantity, Samples};

use super::*;
use crate::stripe::RecordState;

const ZEMFYRE: &str = include_str!("../../../../testdata/catalogs/zemfyre.yaml");
const REDLINE: &str = include_str!("../../../../testdata/catalogs/redline.yaml");
const DOCUMENTS: &str = include_str!("../../../../testdata/catalogs/documents.yaml");
const GB: i128 = 1_000_000_000;

fn may(zone: &TimeZone) -> Period {
    BillingCycle::CALENDAR_MONTH.period_containing(1_779_000_000_000_000, zone).unwrap()
}

/// A tenant's invoice of May with the same quantity, in what each measure counts, for every price with usage.
fn invoice(catalog: &Catalog, tenant: &str, quantity: i128) -> Invoice {
    let terms = catalog.tenant_terms(tenant).unwrap();
    let period = may(&terms.time_zone);
    let currency = catalog.currency.unwrap();
    let mut pools = None;
    let lines = catalog.prices_in_force(terms, period.span).into_iter().map(|priced| {
        let quantity = priced.price.usage.as_ref().map(|usage| Quantity {
            tenant: tenant.to_owned(),
            meter: usage.meter.clone(),
            dimensions: Dimensions::new(),
            measure: usage.measure,
            span: period.span,
            unit: usage.measured_unit.name.clone(),
            value: Exact::ratio(quantity, 1).unwrap(),
            samples: Samples { count: 1, first_us: Some(1), last_us: Some(1) },
            carried_in: Exact::ZERO,
        });
        let key = LineKey {
            tenant: tenant.to_owned(),
            period: period.name.clone(),
            subscription: priced.subscription.key.clone(),
            price: priced.price.key.clone(),
            dimensions: Dimensions::new(),
            span: priced.span,
        };
        let request = LineRequest {
            key,
            description: priced.price.description.clone(),
            price_source: None,
            terms: &priced.terms,
            currency,
            period: period.span,
            quantity,
            transactions: None,
            so_far: None,
            commitment: None,
        };
        let pools = pools.get_or_insert_with(|| PoolBalances::open(&priced.version.pools, &Exact::ONE));
        LineItem::rate(request, pools).unwrap()
    });
    let parts = InvoiceParts {
        kind: InvoiceKind::OfPeriod,
        tenant: tenant.to_owned(),
        currency,
        lines: lines.collect(),
        period,
        warnings: Vec::new(),
        provenance: Provenance {
            table_id: "table".into(),
            table_version: 1,
            catalog_hash: catalog.hash.to_string(),
            book_hash: "book".into(),
            program_version: "1".into(),
        },
    };
    Invoice::assemble(parts, &mut [], &Untaxed).unwrap()
}

/// Every day of the line's span with the same weight.
struct EvenDays;

impl UsageBySpan for EvenDays {
    fn by_span(&self, line: &LineItem, _: StripeGranularity) -> Option<Vec<(Span, Exact)>> {
        let cuts: Vec<i64> = (1..31).map(|day| line.key.span.start_us + day * 86_400_000_000).collect();
        Some(line.key.span.split_at(&cuts).into_iter().map(|day| (day, Exact::ONE)).collect())
    }
}

fn planned(text: &str, tenant: &str, quantity: i128) -> Vec<StripeRecord> {
    let catalog = Catalog::parse(text, "catalog.yaml").unwrap();
    let invoice = invoice(&catalog, tenant, quantity);
    let issued = IssuedInvoice { number: "R-7", invoice: &invoice, pdf_link: Some("https://pdf.example/7") };
    let records = plan(&issued, &catalog, &EvenDays).unwrap();
    assert_eq!(
        records,
        plan(&issued, &catalog, &EvenDays).unwrap(),
        "the same invoice gives the same records"
    );
    let mut keys: Vec<&str> = records.iter().map(|record| record.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), records.len(), "each key once");
    assert!(records.iter().all(|record| record.state == RecordState::Waiting && record.key.len() <= 100));
    records
}

#[test]
fn redline_sets_whole_gb_on_the_subscription_item() {
    let records = planned(REDLINE, "licence-7d793037", 6 * GB + 1);
    assert_eq!(records.len(), 1);
    let request = &records[0].content.request;
    assert_eq!(request.path, "/v1/subscription_items/si_okafor_storage/usage_records");
    assert_eq!(request.api_version.as_deref(), Some("2025-02-24.acacia"));
    // 1 GB is free, and a started GB is a whole one. May ends at midnight in New York.
    let parameters: Vec<&str> = request.parameters.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(parameters, ["set", "6", "1780286399"]);
    // At least $200 a month, which Stripe's own price cannot know: ours says what it costs.
    assert_eq!(records[0].content.amount_minor, Some(20_000));
}

#[test]
fn zemfyre_sends_each_metric_its_own_way() {
    let records = planned(ZEMFYRE, "instance-harbor", 40 * (1 << 30));
    let of = |meter: &str| -> Vec<&StripeRecord> {
        records.iter().filter(|record| record.content.meter.as_deref() == Some(meter)).collect()
    };
    // Day by day, added up to whole GiB above the allowance, which MQTT empties.
    let http = of("zemfyre_http_gb");
    assert!(http.iter().all(|record| record.content.kind == RecordKind::MeterEvent));
    let sum: i64 = http.iter().map(|record| record.content.usage.as_ref().unwrap().value).sum();
    let paid: i64 = http.iter().map(|record| record.content.amount_minor.unwrap()).sum();
    assert_eq!((http.len(), sum % 10), (31, 0));
    assert_eq!(paid, sum * 15);
    let storage = of("zemfyre_storage_gb");
    assert_eq!(storage.len(), 1);
    let usage = storage[0].content.usage.as_ref().unwrap();
    assert_eq!((usage.value, usage.is_set), (35, true));
    assert_eq!(storage[0].content.request.parameter("payload[value]"), Some("35"));
    assert_eq!(storage[0].identifier(), Some(storage[0].key.as_str()));
    // The base fee and the calls are lines of an invoice, which is finalized in the end.
    let kinds: Vec<RecordKind> = records
        .iter()
        .filter(|record| record.content.usage.is_none())
        .map(|record| record.content.kind)
        .collect();
    let item = RecordKind::InvoiceItem;
    assert_eq!(kinds, [RecordKind::Invoice, item, item, RecordKind::InvoiceFinalize]);
}

#[test]
fn documents_become_a_draft_that_equals_the_invoice() {
    let records = planned(DOCUMENTS, "user-anna", 9 * GB);
    let last = records.last().unwrap();
    assert_eq!(last.content.kind, RecordKind::InvoiceCheck);
    assert_eq!(last.content.amount_minor, Some(60));
    let draft = &records[0].content.request;
    assert_eq!(draft.parameter("auto_advance"), Some("false"));
    assert_eq!(draft.parameter("days_until_due"), Some("14"));
    assert_eq!(draft.parameter("metadata[meterhouse_number]"), Some("R-7"));
    assert_eq!(draft.parameter("metadata[meterhouse_pdf]"), Some("https://pdf.example/7"));
    // Each step waits for the one before, and speaks of the draft.
    for pair in records.windows(2) {
        assert_eq!(pair[1].content.after.as_ref(), Some(&pair[0].key));
        assert_eq!(pair[1].content.refers_to.as_ref(), Some(&records[0].key));
        assert!(pair[1].sequence > pair[0].sequence);
    }
}

#[test]
fn who_is_no_customer_is_not_told() {
    assert_eq!(planned(DOCUMENTS, "somebody", 9 * GB), []);
    assert_eq!(planned(REDLINE, "somebody", 0), []);
}

#[test]
fn usage_by_day_needs_its_days() {
    let catalog = Catalog::parse(ZEMFYRE, "catalog.yaml").unwrap();
    let invoice = invoice(&catalog, "instance-harbor", 40 * (1 << 30));
    let issued = IssuedInvoice { number: "R-7", invoice: &invoice, pdf_link: None };
    let error = plan(&issued, &catalog, &OnlyPeriods).unwrap_err();
    assert!(matches!(error, PlanError::NoSpans { granularity: "day", .. }), "{error}");
    let link = "x".repeat(501);
    let issued = IssuedInvoice { pdf_link: Some(&link), ..issued };
    let error = plan(&issued, &catalog, &EvenDays).unwrap_err();
    assert!(matches!(error, PlanError::PdfLink { characters: 501, .. }), "{error}");
}

#[test]
fn currencies_without_cents_are_not_multiplied() {
    let yen = DOCUMENTS.replace("currency: EUR", "currency: JPY").replace("per_unit: 0.15", "per_unit: 15");
    let records = planned(&yen, "user-anna", 9 * GB);
    assert_eq!(records.last().unwrap().content.amount_minor, Some(60));
    assert_eq!(Currency::from_code("JPY").unwrap().minor_digits(), 0);
}

/// Our taxes go along where Stripe's own invoice had them; on usage that Stripe prices it has rates of its own.
#[test]
fn a_credit_note_is_an_amount_on_the_customers_next_invoice() {
    for (text, tenant, price, amount_minor) in
        [(DOCUMENTS, "user-anna", "storage", -36), (ZEMFYRE, "instance-harbor", "storage", -30)]
    {
        let catalog = Catalog::parse(text, "catalog.yaml").unwrap();
        let may = invoice(&catalog, tenant, 9 * GB);
        let old = may.lines.iter().find(|line| line.key.price == price).unwrap();
        let difference = Amount::new(-30, 2);
        let adjustment =
            Adjustment { key: old.key.clone(), old: old.amount, new: old.amount + difference, difference };
        let line = adjustment.line("Storage", old.currency, "R-7", Cause::AmendedEvent).unwrap();
        let terms = catalog.tenant_terms(tenant).unwrap();
        let parts = InvoiceParts {
            kind: InvoiceKind::CreditNote,
            tenant: tenant.to_owned(),
            currency: old.currency,
            lines: vec![line],
            period: terms.cycle.period_after(&may.period, &terms.time_zone).unwrap(),
            warnings: Vec::new(),
            provenance: may.provenance.clone(),
        };
        let tax = OneRate { name: "VAT 19 %".into(), rate_percent: 19.into() };
        let note = Invoice::assemble(parts, &mut [], &tax).unwrap();
        let issued = IssuedInvoice { number: "CN-1", invoice: &note, pdf_link: None };
        let records = plan(&issued, &catalog, &OnlyPeriods).unwrap();
        assert_eq!(records.len(), 1, "{tenant}");
        let content = &records[0].content;
        assert_eq!(
            (content.kind, content.amount_minor),
            (RecordKind::InvoiceItem, Some(amount_minor)),
            "{tenant}"
        );
        assert_eq!(content.request.parameter("invoice"), None, "{tenant}");
    }
}
