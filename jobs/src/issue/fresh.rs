//! Whether a draft still says what is right at the moment in which it is to be issued.
//!
//! A draft that corrects earlier periods, or is paid by credits, was made from what the book said then. If another document
//! billed the same correction since, or the credits moved, the draft is passed over and has to be rated again: that
//! is what keeps a correction from being billed twice, and a credit from paying twice. Looked at inside the transaction that
//! issues.

use rating::invoice::InvoiceInputs;

use super::StoredDocument;
use crate::book::{CreditKind, NewCreditEntry, Writing};
use crate::rate::credits::{OpeningCredits, entry_key};

/// Splits off the drafts that are out of date.
pub(super) async fn split<'d>(
    writing: &Writing,
    documents: &'d [StoredDocument],
) -> anyhow::Result<(Vec<&'d StoredDocument>, Vec<&'d StoredDocument>)> {
    let (mut fresh, mut stale) = (Vec::new(), Vec::new());
    for document in documents {
        let side = if is_fresh(writing, document).await? { &mut fresh } else { &mut stale };
        side.push(document);
    }
    Ok((fresh, stale))
}

async fn is_fresh(writing: &Writing, document: &StoredDocument) -> anyhow::Result<bool> {
    let invoice = &document.invoice;
    let InvoiceInputs { adjusted, credit_entries, .. } = &invoice.inputs;
    for period in adjusted {
        if writing.documents_billing(&invoice.tenant, &period.period).await? != period.documents {
            return Ok(false);
        }
    }
    if *credit_entries == 0 {
        return Ok(true);
    }
    let accounts = writing.credit_accounts(&invoice.tenant).await?;
    let account = accounts.get(&(invoice.tenant.clone(), invoice.currency.code().to_owned()));
    let now = account.map(OpeningCredits::of).transpose()?.unwrap_or_default();
    Ok(now.entries == *credit_entries && now.hash == invoice.provenance.book_hash)
}

/// What an invoice takes out of the ledger: an entry for each credit that it used.
pub(super) fn used_credits(document: &StoredDocument, issuer: &str, number: i64) -> Vec<NewCreditEntry> {
    let invoice = &document.invoice;
    let mut entries: Vec<NewCreditEntry> = Vec::new();
    for used in &invoice.credits {
        let known = entries.iter_mut().find(|entry| entry.credit == used.credit);
        if let Some(entry) = known {
            entry.amount -= used.amount;
            continue;
        }
        let Some(credit) = invoice.inputs.credits.iter().find(|credit| credit.id == used.credit) else {
            continue;
        };
        entries.push(NewCreditEntry {
            entry_key: entry_key("use", &[issuer, &number.to_string(), &used.credit]),
            tenant: invoice.tenant.clone(),
            currency: invoice.currency.code().to_owned(),
            kind: CreditKind::Use,
            credit: used.credit.clone(),
            amount: -used.amount,
            priority: credit.priority,
            effective_at_us: credit.effective_us,
            expires_at_us: credit.expires_us,
            source: "invoice".to_owned(),
            description: format!("used by the invoice of {}", invoice.period.name),
            document: Some((issuer.to_owned(), number)),
        });
    }
    entries
}
