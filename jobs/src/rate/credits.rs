//! The credits that may pay for a draft: each tenant's balances in the book, and grants of the catalog that are new.
//!
//! Owns bringing the catalog's grants into the ledger, each once, and what a draft pins of an account. Does not own the
//! order in which credits pay (`rating::invoice::credit`), nor taking what was used out of the ledger: `issue` does
//! that in the transaction that makes the invoice.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rating::catalog::Catalog;
use rating::draft::granted_credits;
use rating::invoice::credit::Credit;
use rating::invoice::{Invoice, InvoiceInputs};

use super::tenants::RatedTenants;
use crate::book::{Book, CreditAccount, CreditKind, Fence, NewCreditEntry};

/// A tenant's credits before an invoice draws from them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpeningCredits {
    pub credits: Vec<Credit>,
    /// So many entries of the account make them up, and this is the hash of these entries.
    pub entries: i64,
    pub hash: String,
}

impl OpeningCredits {
    pub fn of(account: &CreditAccount) -> Result<Self> {
        Ok(Self {
            credits: account.credits(),
            entries: account.entries.len() as i64,
            hash: account.digest().context("cannot hash a credit account")?,
        })
    }

    /// What an invoice says it was made with.
    pub fn of_invoice(invoice: &Invoice) -> Self {
        let InvoiceInputs { credits, credit_entries, .. } = &invoice.inputs;
        let hash = invoice.provenance.book_hash.clone();
        Self { credits: credits.clone(), entries: *credit_entries, hash }
    }
}

/// The credits of these tenants, by tenant; who has none is not among them. A run that may write, and shows its fence, enters
/// first what the catalog grants.
pub async fn open<'t>(
    book: &Book,
    fence: Option<&Fence>,
    catalog: &Catalog,
    tenants: &RatedTenants<'_>,
    names: impl Iterator<Item = &'t str>,
) -> Result<BTreeMap<String, OpeningCredits>> {
    let names: Vec<String> = names.map(str::to_owned).collect();
    let mut accounts = book.credit_accounts(&names).await?;
    let grants = new_grants(catalog, tenants, &names, &accounts);
    if let Some(fence) = fence.filter(|_| !grants.is_empty()) {
        let writing = book.begin_as(fence).await?;
        writing.enter_credits(&grants).await.context("cannot enter what the catalog grants")?;
        writing.commit().await?;
        accounts = book.credit_accounts(&names).await?;
    }
    let mut open = BTreeMap::new();
    for ((tenant, currency), account) in accounts {
        let billed_in = tenants.charges(&tenant).and_then(|charges| charges.currency().ok());
        if billed_in.is_some_and(|billed_in| billed_in.code() == currency) && !account.entries.is_empty() {
            open.insert(tenant, OpeningCredits::of(&account)?);
        }
    }
    Ok(open)
}

/// A grant is known by its name: a catalog that changes its amount later gives nobody more or less.
fn new_grants(
    catalog: &Catalog,
    tenants: &RatedTenants<'_>,
    names: &[String],
    accounts: &BTreeMap<(String, String), CreditAccount>,
) -> Vec<NewCreditEntry> {
    let mut grants = Vec::new();
    if catalog.credits.grants.is_empty() {
        return grants;
    }
    for tenant in names {
        let Some(charges) = tenants.charges(tenant) else { continue };
        let Ok(currency) = charges.currency() else { continue };
        let account = accounts.get(&(tenant.clone(), currency.code().to_owned()));
        for credit in granted_credits(catalog, charges.terms()) {
            let is_known = account
                .is_some_and(|account| account.entries.iter().any(|known| known.entry.credit == credit.id));
            if is_known || credit.balance <= rating::money::Amount::ZERO {
                continue;
            }
            grants.push(NewCreditEntry {
                entry_key: entry_key("catalog-grant", &[tenant, currency.code(), &credit.id]),
                tenant: tenant.clone(),
                currency: currency.code().to_owned(),
                kind: CreditKind::Grant,
                credit: credit.id,
                amount: credit.balance,
                priority: credit.priority,
                effective_at_us: credit.effective_us,
                expires_at_us: credit.expires_us,
                source: "catalog".to_owned(),
                description: "granted by the catalog".to_owned(),
                document: None,
            });
        }
    }
    grants
}

/// A key of bounded length that no other parts have.
pub fn entry_key(kind: &str, parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    format!("{kind}/{}", &hasher.finalize().to_hex()[..32])
}
