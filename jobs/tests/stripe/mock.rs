//! Every kind of request that the product makes is accepted by stripe-mock, which checks them against Stripe's OpenAPI.
//!
//! Needs METERHOUSE_TEST_STRIPE_MOCK, and for usage records METERHOUSE_TEST_STRIPE_MOCK_OLD; see `deploy/README.md`.

use std::collections::BTreeSet;
use std::sync::Arc;

use jobs::config::Secret;
use jobs::stripe::plan::{Correction, IssuedInvoice, correct, plan};
use jobs::stripe::{
    Client, ClientSettings, Method, Reading, RecordKind, RecordState, StripeRecord, StripeRequest,
    SystemClock,
};
use rating::catalog::Catalog;

use crate::world::{Days, catalog, invoice};

/// The address of a stand-in; nothing, with a word about it, where it does not run.
fn address(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok();
    if address.is_none() {
        eprintln!("skipped: {variable} is not set");
    }
    address
}

fn client(address: &str) -> Client<SystemClock> {
    let settings = ClientSettings::new(Secret::new("sk_test_123"), address.parse().unwrap());
    Client::new(&settings, Arc::new(SystemClock)).unwrap()
}

/// Records of each kind, in both ways of closing an invoice and of collecting it.
fn records() -> Vec<StripeRecord> {
    let mut records = planned(&catalog(3));
    let text = include_str!("../../../testdata/catalogs/documents.yaml");
    let documents = Catalog::parse(text, "documents.yaml").unwrap();
    assert!(!documents.stripe_invoices.finalize);
    let mut drafts = catalog(3);
    drafts.stripe_invoices = rating::catalog::StripeInvoices { finalize: false, days_until_due: None };
    records.extend(planned(&drafts));
    let mut told =
        records.iter().find(|record| record.content.kind == RecordKind::MeterEvent).unwrap().clone();
    told.state = RecordState::Sent;
    told.first_sent_us = Some(0);
    let new_value = told.content.usage.as_ref().unwrap().value + 1;
    let correction = Correction { told: &told, new_value, new_amount_minor: 5, invoice_number: "C-1" };
    records.extend(correct(&correction));
    let mut aged = told;
    aged.become_invoice_item("too old");
    records.push(aged);
    records
}

fn planned(catalog: &Catalog) -> Vec<StripeRecord> {
    let dice = jobs::stripe::clock::Dice::new(1);
    let mut records = Vec::new();
    for tenant in ["t0", "t1", "t2"] {
        let invoice = invoice(catalog, tenant, &dice);
        let link = Some("https://billing.example/1.pdf");
        let issued = IssuedInvoice { number: tenant, invoice: &invoice, pdf_link: link };
        records.extend(plan(&issued, catalog, &Days).unwrap());
    }
    records
}

#[tokio::test]
async fn stripe_mock_accepts_every_request_that_changes_something() {
    let Some(new) = address("METERHOUSE_TEST_STRIPE_MOCK") else { return };
    let (new, old) = (client(&new), address("METERHOUSE_TEST_STRIPE_MOCK_OLD").map(|old| client(&old)));
    let mut kinds = BTreeSet::new();
    for record in records() {
        let is_old = record.content.kind == RecordKind::UsageRecord;
        let Some(client) = (if is_old { old.as_ref() } else { Some(&new) }) else { continue };
        let request = record.request().about("in_1");
        let answer = client.call(&request).await.unwrap();
        let body = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{}: {request:?}: {body}", record.key);
        kinds.insert(record.content.kind);
    }
    let missing = usize::from(old.is_none());
    assert_eq!(kinds.len(), 7 - missing, "{kinds:?}");
}

#[tokio::test]
async fn stripe_mock_accepts_every_question() {
    let Some(new) = address("METERHOUSE_TEST_STRIPE_MOCK") else { return };
    let reading = Reading::new(client(&new));
    reading.meter_id("storage_mb").await.unwrap();
    reading.counted("mtr_1", "cus_1", (1_777_000_020, 1_777_000_080)).await.unwrap();
    reading.created_since("/invoices", "cus_1", 1_777_000_000, |_| true).await.unwrap();
    reading.created_since("/invoiceitems", "cus_1", 1_777_000_000, |_| true).await.unwrap();
    reading.read(&StripeRequest::get("/invoices/in_1", &[])).await.unwrap();
    if let Some(old) = address("METERHOUSE_TEST_STRIPE_MOCK_OLD") {
        Reading::new(client(&old)).item_usage("si_1", Some("2025-02-24.acacia")).await.unwrap();
    }
}

/// The stand-in does refuse what is wrong: otherwise its acceptance would say nothing.
#[tokio::test]
async fn stripe_mock_refuses_what_stripe_does_not_know() {
    let Some(new) = address("METERHOUSE_TEST_STRIPE_MOCK") else { return };
    let client = client(&new);
    let wrong = [
        ("/v1/billing/meter_events", vec![("event_name", "x")]),
        ("/v1/invoiceitems", vec![("customer", "cus_1"), ("colour", "red")]),
        ("/v1/subscription_items/si_1/usage_records", vec![("quantity", "1")]),
    ];
    for (path, parameters) in wrong {
        let mut request = StripeRequest::get("", &parameters);
        request.method = Method::Post;
        path.clone_into(&mut request.path);
        let answer = client.call(&request).await.unwrap();
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
    }
}

/// async-stripe's own requests go through the same client.
#[tokio::test]
async fn async_stripe_takes_the_client() {
    use stripe_billing::billing_meter_event::CreateBillingMeterEvent;

    let Some(new) = address("METERHOUSE_TEST_STRIPE_MOCK") else { return };
    let payload = [("stripe_customer_id", "cus_1"), ("value", "3")];
    let payload: std::collections::HashMap<String, String> =
        payload.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let created = CreateBillingMeterEvent::new("storage_mb", payload).send(&client(&new)).await.unwrap();
    assert!(!created.identifier.is_empty());
}
