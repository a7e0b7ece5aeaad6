//! Issued invoices as the book has them and as they lie in the lake, with what the lake's have to tell Stripe.

use std::collections::BTreeMap;

use ::sql::lake::Lake;
use anyhow::Result;
use jiff::civil::Date;
use rating::draft::document_id;
use rating::money::Currency;
use rating::period::PeriodChoice;

use super::{IssuedSides, SideOfInvoice};
use crate::book::{Book, IssuedDocument};
use crate::config::Config;
use crate::issue::outbox::StripePlans;
use crate::issue::retold::ToldUntil;
use crate::issue::{StoredDocument, documents_as_they_lie};

/// The invoices of one period or of all, in the order of their numbers.
pub(super) async fn invoices(
    lake: &Lake,
    book: &Book,
    config: &Config,
    period: Option<PeriodChoice>,
) -> Result<Vec<IssuedSides>> {
    let mut stored: BTreeMap<String, StoredDocument> = BTreeMap::new();
    for document in documents_as_they_lie(lake, period, None).await? {
        stored.insert(document.id.clone(), document);
    }
    let mut issued = book.documents(None, None).await?;
    let key = |index: &IssuedDocument| {
        let of = &index.document;
        document_id(&of.tenant, &of.period, &of.occasion)
    };
    issued.retain(|index| {
        // What the lake has lost is known by the name of its period.
        let is_named = period.is_none_or(|period| is_named(period, &index.document.period));
        is_named || stored.contains_key(&key(index))
    });
    let documents = issued.iter().filter_map(|index| stored.get(&key(index)));
    let plans = StripePlans::prepare(lake, book, config, documents, ToldUntil::Issued).await?;
    issued.iter().map(|index| sides(index, stored.get(&key(index)), &plans)).collect()
}

/// Whether a choice means a period of this name, as far as the name tells.
pub(super) fn is_named(period: PeriodChoice, name: &str) -> bool {
    let Ok(start) = name.parse::<Date>() else { return false };
    match period {
        PeriodChoice::Month(first) => start.first_of_month() == first,
        PeriodChoice::Day(day) => start == day,
    }
}

fn sides(
    index: &IssuedDocument,
    stored: Option<&StoredDocument>,
    plans: &StripePlans,
) -> Result<IssuedSides> {
    let document = &index.document;
    let lake = stored.map(|stored| SideOfInvoice {
        due: stored.invoice.due,
        digest: rating::invoice::canonical::digest(&stored.text),
    });
    let records = match stored {
        Some(stored) => plans.records(&document.printed_number, stored)?,
        None => Vec::new(),
    };
    Ok(IssuedSides {
        number: document.printed_number.clone(),
        tenant: document.tenant.clone(),
        period: document.period.clone(),
        currency: Currency::from_code(&document.currency)?,
        book: SideOfInvoice { due: document.due, digest: document.digest.clone() },
        lake,
        records,
    })
}
