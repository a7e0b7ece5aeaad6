//! One request to Stripe's API as it is stored, sent and shown, whoever built it.
//!
//! Owns: the builders for everything that the product sends, on top of async-stripe's own request types, so that the
//! names of parameters are Stripe's. Parameters are kept in the order of their names: the same record is the same text.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use stripe_billing::billing_meter_event::CreateBillingMeterEvent;
use stripe_billing::billing_meter_event_adjustment::{
    CreateBillingMeterEventAdjustment, CreateBillingMeterEventAdjustmentCancel,
};
use stripe_billing::invoice::{
    CreateInvoice, CreateInvoicePendingInvoiceItemsBehavior, FinalizeInvoiceInvoice,
};
use stripe_billing::invoice_item::CreateInvoiceItem;
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest as _};
use url::form_urlencoded;

/// Where the id of an object stands that Stripe has not given out yet: the record that creates it is named beside it.
pub const STRIPE_ID: &str = "{stripe_id}";
/// The metadata by which we find again what we created.
pub const KEY_METADATA: &str = "meterhouse_key";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Post,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeRequest {
    pub method: Method,
    /// Below the API's address, like `/v1/invoices`.
    pub path: String,
    /// Of a GET the query, of a POST the form.
    pub parameters: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The version of Stripe's API; none is that of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
}

impl StripeRequest {
    pub fn get(path: impl Into<String>, parameters: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            method: Method::Get,
            path: format!("/v1{}", path.into()),
            parameters: parameters.iter().map(owned).collect(),
            idempotency_key: None,
            api_version: None,
        }
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.parameters.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => *old = value.into(),
            None => self.parameters.push((name.to_owned(), value.into())),
        }
        self.parameters.sort();
    }

    /// With the id that Stripe gave to the object it speaks of.
    #[must_use]
    pub fn about(mut self, stripe_id: &str) -> Self {
        self.path = self.path.replace(STRIPE_ID, stripe_id);
        for (_, value) in &mut self.parameters {
            if value == STRIPE_ID {
                stripe_id.clone_into(value);
            }
        }
        self
    }

    /// Whether an id is still missing in it.
    pub fn names_stripe_id(&self) -> bool {
        self.path.contains(STRIPE_ID) || self.parameters.iter().any(|(_, value)| value == STRIPE_ID)
    }

    pub fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.parameters).finish()
    }
}

impl From<RequestBuilder> for StripeRequest {
    fn from(built: RequestBuilder) -> Self {
        let (method, text) = match built.method {
            StripeMethod::Get => (Method::Get, built.query),
            StripeMethod::Post | StripeMethod::Delete => (Method::Post, built.body),
        };
        let mut parameters: Vec<(String, String)> =
            form_urlencoded::parse(text.unwrap_or_default().as_bytes()).into_owned().collect();
        parameters.sort();
        Self {
            method,
            path: format!("/v1{}", built.path),
            parameters,
            idempotency_key: None,
            api_version: None,
        }
    }
}

pub(super) fn meter_event(
    event_name: &str,
    customer: &str,
    value: i64,
    at_s: i64,
    identifier: &str,
) -> StripeRequest {
    let payload = HashMap::from([
        ("stripe_customer_id".to_owned(), customer.to_owned()),
        ("value".to_owned(), value.to_string()),
    ]);
    CreateBillingMeterEvent::new(event_name, payload).identifier(identifier).timestamp(at_s).build().into()
}

pub(super) fn meter_event_cancel(event_name: &str, identifier: &str) -> StripeRequest {
    let cancel = CreateBillingMeterEventAdjustmentCancel { identifier: Some(identifier.to_owned()) };
    let kind = stripe_billing::BillingMeterEventAdjustmentType::Cancel;
    CreateBillingMeterEventAdjustment::new(event_name, kind).cancel(cancel).build().into()
}

/// async-stripe speaks only of today's API, which has no usage records: they are written by hand.
pub(super) fn usage_record(
    subscription_item: &str,
    value: i64,
    at_s: i64,
    action: &str,
    api_version: &str,
) -> StripeRequest {
    let parameters =
        [("action", action.to_owned()), ("quantity", value.to_string()), ("timestamp", at_s.to_string())];
    StripeRequest {
        method: Method::Post,
        path: format!("/v1/subscription_items/{subscription_item}/usage_records"),
        parameters: parameters.map(|(name, value)| (name.to_owned(), value)).into(),
        idempotency_key: None,
        api_version: Some(api_version.to_owned()),
    }
}

/// What an invoice in Stripe says about ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct InvoiceHead<'a> {
    pub key: &'a str,
    pub customer: &'a str,
    pub currency: &'a str,
    pub number: &'a str,
    pub pdf_link: Option<&'a str>,
    pub days_until_due: Option<u32>,
}

pub(super) fn invoice(head: &InvoiceHead<'_>) -> StripeRequest {
    let mut metadata = HashMap::from([
        (KEY_METADATA.to_owned(), head.key.to_owned()),
        ("meterhouse_number".to_owned(), head.number.to_owned()),
    ]);
    metadata.extend(head.pdf_link.map(|link| ("meterhouse_pdf".to_owned(), link.to_owned())));
    let collection = match head.days_until_due {
        Some(_) => stripe_shared::InvoiceCollectionMethod::SendInvoice,
        None => stripe_shared::InvoiceCollectionMethod::ChargeAutomatically,
    };
    // Only what we add belongs to it, and nobody but us moves it on.
    let mut invoice = CreateInvoice::new()
        .customer(head.customer)
        .auto_advance(false)
        .collection_method(collection)
        .description(format!("Invoice {}", head.number))
        .pending_invoice_items_behavior(CreateInvoicePendingInvoiceItemsBehavior::Exclude)
        .metadata(metadata);
    if let Some(days) = head.days_until_due {
        invoice = invoice.days_until_due(days);
    }
    in_currency(invoice.build().into(), head.currency)
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ItemParts<'a> {
    pub key: &'a str,
    pub customer: &'a str,
    pub currency: &'a str,
    pub amount_minor: i64,
    pub description: &'a str,
    /// On the invoice whose id is yet to come; otherwise on the customer's next one.
    pub on_our_invoice: bool,
}

pub(super) fn invoice_item(parts: &ItemParts<'_>) -> StripeRequest {
    let metadata = HashMap::from([(KEY_METADATA.to_owned(), parts.key.to_owned())]);
    // Discounts of the customer in Stripe would change an amount that is final.
    let mut item = CreateInvoiceItem::new()
        .customer(parts.customer)
        .amount(parts.amount_minor)
        .description(parts.description)
        .discountable(false)
        .metadata(metadata);
    if parts.on_our_invoice {
        item = item.invoice(STRIPE_ID);
    }
    in_currency(item.build().into(), parts.currency)
}

pub(super) fn finalize_invoice(auto_advance: bool) -> StripeRequest {
    FinalizeInvoiceInvoice::new(STRIPE_ID).auto_advance(auto_advance).build().into()
}

pub(super) fn read_invoice() -> StripeRequest {
    StripeRequest::get(format!("/invoices/{STRIPE_ID}"), &[])
}

/// As text: async-stripe's list of currencies may lack one, and no other must take its place.
fn in_currency(mut request: StripeRequest, code: &str) -> StripeRequest {
    request.set("currency", code.to_ascii_lowercase());
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_event_is_the_same_text() {
        let event = || meter_event("storage", "cus_1", 12, 1_700_000_000, "id-1").encoded();
        let expected = "event_name=storage&identifier=id-1&payload%5Bstripe_customer_id%5D=cus_1\
                        &payload%5Bvalue%5D=12&timestamp=1700000000";
        for _ in 0..20 {
            assert_eq!(event(), expected);
        }
    }

    #[test]
    fn ids_are_filled_in_where_they_were_missing() {
        let item = ItemParts {
            key: "k",
            customer: "cus_1",
            currency: "EUR",
            amount_minor: -5,
            description: "Storage & more",
            on_our_invoice: true,
        };
        let request = invoice_item(&item).about("in_7");
        assert_eq!(request.parameter("invoice"), Some("in_7"));
        assert_eq!(request.parameter("amount"), Some("-5"));
        assert_eq!(request.parameter("currency"), Some("eur"));
        assert_eq!(request.parameter("description"), Some("Storage & more"));
        assert_eq!(request.parameter("metadata[meterhouse_key]"), Some("k"));
        assert_eq!(finalize_invoice(true).about("in_7").path, "/v1/invoices/in_7/finalize");
        assert_eq!(read_invoice().about("in_7").path, "/v1/invoices/in_7");
    }
}
