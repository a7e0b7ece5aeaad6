//! A line that corrects an issued invoice: what was billed, what the period comes to now, and why.
//!
//! The corrected period is rated again, from the events and the catalog that the invoice pins, so that the line as it
//! is now can be walked back like any other.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result};
use rating::catalog::Catalog;
use rating::invoice::Corrects;
use rating::line::LineItem;
use sql::lake::Lake;

use super::{Sources, arithmetic, facts, rules};
use crate::invoice::{StoredInvoice, steps};
use crate::rate::again::rate_again;
use crate::rate::tenants::{threads, usage_snapshot};

/// The corrected line as it is now.
#[derive(Debug)]
pub struct Corrected {
    pub catalog: Catalog,
    /// None if nothing of it is left.
    pub line: Option<LineItem>,
}

impl Corrected {
    pub async fn find(
        lake: &Lake,
        sources: &Sources<'_>,
        stored: &StoredInvoice,
        line: &LineItem,
    ) -> Result<Self> {
        let invoice = &stored.invoice;
        let adjusted = invoice.inputs.adjusted.iter().find(|adjusted| adjusted.period == line.key.period);
        let adjusted =
            adjusted.with_context(|| format!("the invoice does not pin period {}", line.key.period))?;
        let catalog = Arc::new(sources.catalog(&adjusted.catalog_hash).await?);
        let snapshot = match u64::try_from(invoice.provenance.table_version) {
            Ok(version) => usage_snapshot(lake, Some(version)).await?,
            Err(_) => None,
        };
        let names = BTreeSet::from([invoice.tenant.clone()]);
        let period = &line.key.period;
        let mut again = rate_again(lake, &catalog, snapshot.as_ref(), period, &names, threads()).await?;
        let rated = again.remove(&invoice.tenant).context("the tenant has no terms in that catalog")?;
        let lines = rated.map_err(anyhow::Error::msg)?.lines;
        let line = lines.into_iter().find(|own| own.key == line.key);
        Ok(Self { catalog: Arc::unwrap_or_clone(catalog), line })
    }

    pub fn explanation(
        &self,
        stored: &StoredInvoice,
        number: usize,
        line: &LineItem,
        corrects: &Corrects,
    ) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "Line {number} of invoice {}: {}", stored.id, line.description);
        let _ = writeln!(text, "{}\n", line.key);
        let said = |name: &str, text: String| (name.to_owned(), text);
        let correction = [
            said("corrects", format!("invoice {} of {}", corrects.number, line.key.period)),
            said("because of", corrects.cause.text()),
            said("billed so far", format!("{} {}", corrects.old, line.currency)),
            said("comes to now", format!("{} {}", corrects.new, line.currency)),
            said("difference", format!("{} {}", line.amount, line.currency)),
        ];
        text.push_str(&steps::aligned(&correction, "  "));
        match &self.line {
            Some(now) => {
                let _ = writeln!(text, "\nAs it is now");
                text.push_str(&facts(stored, now, &rules(&self.catalog, stored, now)));
                text.push_str(&arithmetic(now));
            }
            None => {
                let _ = writeln!(text, "\nNothing of it is left");
            }
        }
        text
    }
}
