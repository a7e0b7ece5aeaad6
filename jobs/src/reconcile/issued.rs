//! Issued invoices as the book has them and as they lie in the lake, with what the lake's have to tell Stripe; and which of
//! them are meant.

use std::collections::BTreeMap;

use ::sql::lake::Lake;
use anyhow::Result;
use jiff::civil::Date;
use rating::draft::document_id;
use rating::money::Currency;
use rating::period::PeriodChoice;

use super::{IssuedSides, SideOfInvoice};
use crate::book::{Book, IssuedDocument};
use crate::catalog::chosen::now_us;
use crate::config::Config;
use crate::issue::outbox::StripePlans;
use crate::issue::retold::ToldUntil;
use crate::issue::{StoredDocument, before, documents_as_they_lie};
use crate::periods::{MeantPeriods, PeriodArg, PeriodMonth};
use crate::rate::drafts::month_of_name;

/// Whose invoices are compared.
pub(super) enum Meant {
    All,
    Period(PeriodChoice),
    /// Of each month those of the tenants whose last one it is.
    Months(Vec<PeriodMonth>),
}

impl Meant {
    pub(super) async fn find(period: Option<PeriodArg>, config: &Config, book: &Book) -> Result<Self> {
        Ok(match period {
            None => Self::All,
            Some(PeriodArg::Chosen(period)) => Self::Period(period),
            Some(PeriodArg::Last) => {
                let ended_by_us = before(now_us(Some(book)).await?, config.issuer.grace);
                Self::Months(PeriodArg::Last.months(Some(book), config, None, ended_by_us).await?)
            }
        })
    }

    async fn documents(&self, lake: &Lake) -> Result<Vec<StoredDocument>> {
        let months = match self {
            Self::All => return documents_as_they_lie(lake, None, None).await,
            Self::Period(period) => return documents_as_they_lie(lake, Some(*period), None).await,
            Self::Months(months) => months,
        };
        let mut found = Vec::new();
        for month in months {
            let meant = MeantPeriods::new(month);
            for document in documents_as_they_lie(lake, Some(month.month), None).await? {
                if meant.holds(&document.invoice.tenant, &document.invoice.period)? {
                    found.push(document);
                }
            }
        }
        Ok(found)
    }

    /// Whether a tenant's period of this name is meant, as far as the name tells.
    pub(super) fn names(&self) -> impl Fn(&str, &str) -> bool {
        let months = match self {
            Self::Months(months) => months.as_slice(),
            _ => &[],
        };
        let months: Vec<MeantPeriods<'_>> = months.iter().map(MeantPeriods::new).collect();
        move |tenant, name| match self {
            Self::All => true,
            Self::Period(period) => is_named(*period, name),
            Self::Months(_) => {
                let mut of_month = months.iter().filter(|meant| month_of_name(name) == meant.first_day());
                of_month.any(|meant| meant.holds_named(tenant, name))
            }
        }
    }
}

/// The invoices that are meant, in the order of their numbers.
pub(super) async fn invoices(
    lake: &Lake,
    book: &Book,
    config: &Config,
    meant: &Meant,
) -> Result<Vec<IssuedSides>> {
    let mut stored: BTreeMap<String, StoredDocument> = BTreeMap::new();
    for document in meant.documents(lake).await? {
        stored.insert(document.id.clone(), document);
    }
    let is_named = meant.names();
    let mut issued = book.documents(None, None).await?;
    let key = |index: &IssuedDocument| {
        let of = &index.document;
        document_id(&of.tenant, &of.period, &of.occasion)
    };
    issued.retain(|index| {
        // What the lake has lost is known by the name of its period.
        is_named(&index.document.tenant, &index.document.period) || stored.contains_key(&key(index))
    });
    let documents = issued.iter().filter_map(|index| stored.get(&key(index)));
    let plans = StripePlans::prepare(lake, book, config, documents, ToldUntil::Issued).await?;
    issued.iter().map(|index| sides(index, stored.get(&key(index)), &plans)).collect()
}

fn is_named(period: PeriodChoice, name: &str) -> bool {
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
