//! What is ours: the book against the lake, invoices against the outbox, and what the outbox has not told yet.

use std::collections::{BTreeMap, BTreeSet};

use super::{Difference, IssuedSides};
use crate::stripe::{RecordKind, StripeRecord};

/// How a difference begins that is only that Stripe was not told.
pub(super) const UNTOLD: &str = "outbox: ";

/// Compares issued invoices with each other's sides and with the outbox.
pub fn compare_ours(invoices: &[IssuedSides], records: &[StripeRecord]) -> Vec<Difference> {
    let mut differences = Vec::new();
    let held: BTreeMap<&str, &StripeRecord> =
        records.iter().map(|record| (record.key.as_str(), record)).collect();
    for invoice in invoices {
        compare_lake(invoice, &mut differences);
        for planned in &invoice.records {
            compare_planned(planned, held.get(planned.key.as_str()).copied(), &mut differences);
        }
    }
    let numbers: BTreeSet<&str> = invoices.iter().map(|invoice| invoice.number.as_str()).collect();
    for record in records {
        if !numbers.contains(record.content.invoice_number.as_str()) {
            let theirs = record.key.clone();
            differences.push(of(record, "invoices and outbox: record without an invoice", "none", &theirs));
        }
        if !record.is_told() {
            let why = record.last_error.clone().unwrap_or_else(|| record.state.name().to_owned());
            let what = format!("{UNTOLD}{} is {}", record.content.kind.name(), record.state.name());
            differences.push(of(record, &what, &record.key.clone(), &why));
        }
    }
    differences
}

fn compare_lake(invoice: &IssuedSides, differences: &mut Vec<Difference>) {
    let mut differ = |what: &str, ours: String, theirs: String| {
        differences.push(Difference {
            tenant: invoice.tenant.clone(),
            period: invoice.period.clone(),
            invoice: invoice.number.clone(),
            what: what.to_owned(),
            ours,
            theirs,
        });
    };
    let money = |amount: rating::money::Amount| format!("{amount} {}", invoice.currency);
    let Some(lake) = &invoice.lake else {
        return differ("book and lake: invoice", money(invoice.book.due), "none".to_owned());
    };
    if lake.due != invoice.book.due {
        differ("book and lake: amount due", money(invoice.book.due), money(lake.due));
    } else if lake.digest != invoice.book.digest {
        differ("book and lake: content", invoice.book.digest.clone(), lake.digest.clone());
    }
}

fn compare_planned(planned: &StripeRecord, held: Option<&StripeRecord>, differences: &mut Vec<Difference>) {
    let Some(held) = held else {
        differences.push(of(planned, "invoices and outbox: record is missing", &planned.key.clone(), "none"));
        return;
    };
    let (ours, theirs) = (&planned.content, &held.content);
    if ours.amount_minor != theirs.amount_minor {
        let shown = |amount: Option<i64>| amount.map_or("none".to_owned(), |amount| amount.to_string());
        let (ours, theirs) = (shown(ours.amount_minor), shown(theirs.amount_minor));
        differences.push(of(planned, "invoices and outbox: amount in smallest units", &ours, &theirs));
    }
    // Usage that became too old for Stripe's meters is an invoice item now.
    let became_item = theirs.kind == RecordKind::InvoiceItem && ours.kind != theirs.kind;
    if !became_item && ours.usage != theirs.usage {
        let shown = |record: &StripeRecord| {
            record.content.usage.as_ref().map_or("none".to_owned(), |usage| usage.value.to_string())
        };
        differences.push(of(planned, "invoices and outbox: usage", &shown(planned), &shown(held)));
    }
}

pub(super) fn of(record: &StripeRecord, what: &str, ours: &str, theirs: &str) -> Difference {
    let content = &record.content;
    Difference {
        tenant: content.tenant.clone(),
        period: content.period.clone(),
        invoice: content.invoice_number.clone(),
        what: what.to_owned(),
        ours: ours.to_owned(),
        theirs: theirs.to_owned(),
    }
}
