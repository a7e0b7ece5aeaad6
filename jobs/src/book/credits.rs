//! Credits: every movement an entry, every balance the sum of its entries.
//!
//! Owns the ledger and that no credit is overspent. Does not own the order in which credits pay for lines: that is
//! `rating`'s. An account is a tenant and a currency; its entries count from 1, so "the first 17 entries" is a
//! state that never changes and that an invoice can pin (DESIGN.md 3.10).

use std::collections::{BTreeMap, BTreeSet};

use rating::invoice::credit::Credit;
use rating::money::Amount;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Serialize;

use super::Book;
use super::entity::{credit_account, credit_entry};
use super::error::{BookError, InStep};
use super::invoices::amount;
use super::writing::{Writing, check_code, check_long, check_name};

/// So many tenants are asked for in one statement.
const TENANTS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditKind {
    /// Given for nothing.
    Grant,
    /// Bought with money.
    Purchase,
    /// Paid for a line of an invoice, or for something bought once.
    Use,
    /// What was left when it ended.
    Expiry,
    /// A mistake was put right.
    Correction,
}

impl CreditKind {
    const ALL: [Self; 5] = [Self::Grant, Self::Purchase, Self::Use, Self::Expiry, Self::Correction];

    pub fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Purchase => "purchase",
            Self::Use => "use",
            Self::Expiry => "expiry",
            Self::Correction => "correction",
        }
    }

    fn allows(self, amount: Amount) -> bool {
        match self {
            Self::Grant | Self::Purchase => amount > Amount::ZERO,
            Self::Use | Self::Expiry => amount < Amount::ZERO,
            Self::Correction => !amount.is_zero(),
        }
    }
}

/// A movement to be entered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewCreditEntry {
    /// Makes the same movement recognisable: entered twice, it counts once.
    pub entry_key: String,
    pub tenant: String,
    pub currency: String,
    pub kind: CreditKind,
    /// Which credit it moves: a grant or purchase opens one of this name.
    pub credit: String,
    /// Above zero for what comes in, below for what is used.
    pub amount: Amount,
    pub priority: i64,
    pub effective_at_us: i64,
    pub expires_at_us: Option<i64>,
    /// Where it comes from: a session, a resource, an invoice, a person.
    pub source: String,
    pub description: String,
    /// Issuer and number of the document that used it.
    pub document: Option<(String, i64)>,
}

/// A movement with its place in the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CreditEntry {
    pub position: i64,
    pub recorded_at_us: i64,
    #[serde(flatten)]
    pub entry: NewCreditEntry,
}

/// The entries of a tenant in one currency, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreditAccount {
    pub entries: Vec<CreditEntry>,
}

impl CreditAccount {
    /// The account as it was after so many entries.
    #[must_use]
    pub fn up_to(mut self, position: i64) -> Self {
        self.entries.retain(|known| known.position <= position);
        self
    }

    pub fn balance(&self) -> Amount {
        self.entries.iter().map(|known| known.entry.amount).sum()
    }

    /// What is left of each credit, for rating to draw from. What opened a credit says when it holds and in which order.
    pub fn credits(&self) -> Vec<Credit> {
        let mut credits: Vec<Credit> = Vec::new();
        for CreditEntry { entry, recorded_at_us, .. } in &self.entries {
            match credits.iter_mut().find(|credit| credit.id == entry.credit) {
                Some(credit) => credit.balance += entry.amount,
                None => credits.push(Credit {
                    id: entry.credit.clone(),
                    priority: entry.priority,
                    granted_us: *recorded_at_us,
                    effective_us: entry.effective_at_us,
                    expires_us: entry.expires_at_us,
                    balance: entry.amount,
                }),
            }
        }
        credits
    }

    /// BLAKE3 over all entries: the part of a provenance's book hash that credits make up.
    pub fn digest(&self) -> Result<String, BookError> {
        let text = rating::invoice::canonical::canonical_json(&self.entries);
        Ok(rating::invoice::canonical::digest(&text.map_err(|error| damaged(error.to_string()))?))
    }
}

impl Writing {
    /// The account of one tenant as this transaction sees it, in all currencies.
    pub async fn credit_accounts(
        &self,
        tenant: &str,
    ) -> Result<BTreeMap<(String, String), CreditAccount>, BookError> {
        read_accounts(&self.transaction, std::iter::once(tenant)).await
    }

    /// Enters movements. One that is there already counts once; one that is there with other content is refused, and
    /// so is one that would use more than its credit has left.
    pub async fn enter_credits(&self, entries: &[NewCreditEntry]) -> Result<(), BookError> {
        let step = "enter credits";
        entries.iter().try_for_each(check_entry)?;
        let tenants: BTreeSet<&str> = entries.iter().map(|entry| entry.tenant.as_str()).collect();
        let accounts: BTreeSet<(&str, &str)> =
            entries.iter().map(|entry| (entry.tenant.as_str(), entry.currency.as_str())).collect();
        // The account's row is the lock: entries of one account are written by one transaction at a time. Everybody
        // takes them in the same order.
        for (tenant, currency) in &accounts {
            let empty = credit_account::Model {
                tenant: (*tenant).to_owned(),
                currency: (*currency).to_owned(),
                balance: Amount::ZERO.to_string(),
                entries: 0,
            };
            self.ensure::<_, credit_account::ActiveModel>(empty, step).await?;
            let key = ((*tenant).to_owned(), (*currency).to_owned());
            let query = credit_account::Entity::find_by_id(key).lock_exclusive();
            query.one(&self.transaction).await.in_step(step)?;
        }
        let mut known = read_accounts(&self.transaction, tenants.into_iter()).await?;
        let mut rows = Vec::new();
        for entry in entries {
            let account = known.entry((entry.tenant.clone(), entry.currency.clone())).or_default();
            if let Some(row) = enter(account, entry, self.now_us)? {
                rows.push(row);
            }
        }
        self.insert::<_, credit_entry::ActiveModel>(rows, step).await?;
        for (tenant, currency) in accounts {
            let account = &known[&(tenant.to_owned(), currency.to_owned())];
            let update = credit_account::Entity::update_many()
                .col_expr(credit_account::Column::Balance, Expr::value(account.balance().to_string()))
                .col_expr(credit_account::Column::Entries, Expr::value(account.entries.len() as i64))
                .filter(credit_account::Column::Tenant.eq(tenant))
                .filter(credit_account::Column::Currency.eq(currency));
            update.exec(&self.transaction).await.in_step(step)?;
        }
        Ok(())
    }
}

impl Book {
    /// Every tenant that has an account.
    pub async fn credit_tenants(&self) -> Result<Vec<String>, BookError> {
        let rows = credit_account::Entity::find().all(&self.connection).await.in_step("read credits")?;
        let tenants: BTreeSet<String> = rows.into_iter().map(|row| row.tenant).collect();
        Ok(tenants.into_iter().collect())
    }

    /// The accounts of these tenants by tenant and currency; one without entries is not among them.
    pub async fn credit_accounts(
        &self,
        tenants: &[String],
    ) -> Result<BTreeMap<(String, String), CreditAccount>, BookError> {
        read_accounts(&self.connection, tenants.iter().map(String::as_str)).await
    }
}

/// Adds an entry to an account in memory; none if it is there already.
fn enter(
    account: &mut CreditAccount,
    entry: &NewCreditEntry,
    now_us: i64,
) -> Result<Option<credit_entry::Model>, BookError> {
    if let Some(same) = account.entries.iter().find(|known| known.entry.entry_key == entry.entry_key) {
        if same.entry == *entry {
            return Ok(None);
        }
        let what = format!("credit entry `{}` of {}", entry.entry_key, entry.tenant);
        return Err(BookError::ExistsWithDifferent { what, field: "content" });
    }
    let own = account.entries.iter().filter(|known| known.entry.credit == entry.credit);
    let left: Amount = own.map(|known| known.entry.amount).sum();
    if left + entry.amount < Amount::ZERO {
        return Err(BookError::Overdrawn {
            tenant: entry.tenant.clone(),
            credit: entry.credit.clone(),
            balance: left.to_string(),
            wanted: (-entry.amount).to_string(),
        });
    }
    let position = account.entries.len() as i64 + 1;
    account.entries.push(CreditEntry { position, recorded_at_us: now_us, entry: entry.clone() });
    let (issuer, number) = entry.document.clone().unzip();
    Ok(Some(credit_entry::Model {
        tenant: entry.tenant.clone(),
        currency: entry.currency.clone(),
        position,
        entry_key: entry.entry_key.clone(),
        kind: entry.kind.name().to_owned(),
        credit: entry.credit.clone(),
        amount: entry.amount.to_string(),
        priority: entry.priority,
        effective_at_us: entry.effective_at_us,
        expires_at_us: entry.expires_at_us,
        source: entry.source.clone(),
        description: entry.description.clone(),
        issuer,
        number,
        recorded_at_us: now_us,
    }))
}

fn check_entry(entry: &NewCreditEntry) -> Result<(), BookError> {
    check_name("a credit entry's key", &entry.entry_key)?;
    check_name("a tenant", &entry.tenant)?;
    check_code("a currency", &entry.currency)?;
    check_name("a credit", &entry.credit)?;
    check_name("a credit's source", &entry.source)?;
    check_long("a credit's description", &entry.description)?;
    if entry.kind.allows(entry.amount) {
        return Ok(());
    }
    let what = format!("credit entry `{}`: {} of {}", entry.entry_key, entry.kind.name(), entry.amount);
    Err(BookError::Refused { what, why: "what comes in is above zero, what is used is below" })
}

async fn read_accounts(
    connection: &impl ConnectionTrait,
    tenants: impl Iterator<Item = &str>,
) -> Result<BTreeMap<(String, String), CreditAccount>, BookError> {
    let tenants: Vec<&str> = tenants.collect();
    let mut accounts: BTreeMap<(String, String), CreditAccount> = BTreeMap::new();
    for some in tenants.chunks(TENANTS_MAX) {
        let query = credit_entry::Entity::find()
            .filter(credit_entry::Column::Tenant.is_in(some.iter().copied()))
            .order_by_asc(credit_entry::Column::Tenant)
            .order_by_asc(credit_entry::Column::Currency)
            .order_by_asc(credit_entry::Column::Position);
        for row in query.all(connection).await.in_step("read credits")? {
            let key = (row.tenant.clone(), row.currency.clone());
            accounts.entry(key).or_default().entries.push(from_row(row)?);
        }
    }
    Ok(accounts)
}

fn from_row(row: credit_entry::Model) -> Result<CreditEntry, BookError> {
    let kind = CreditKind::ALL.into_iter().find(|kind| kind.name() == row.kind);
    let entry = NewCreditEntry {
        entry_key: row.entry_key,
        tenant: row.tenant,
        currency: row.currency,
        kind: kind.ok_or_else(|| damaged(format!("a movement of kind `{}`", row.kind)))?,
        credit: row.credit,
        amount: amount("credit_entries", &row.amount)?,
        priority: row.priority,
        effective_at_us: row.effective_at_us,
        expires_at_us: row.expires_at_us,
        source: row.source,
        description: row.description,
        document: row.issuer.zip(row.number),
    };
    Ok(CreditEntry { position: row.position, recorded_at_us: row.recorded_at_us, entry })
}

fn damaged(problem: String) -> BookError {
    BookError::Damaged { table: "credit_entries", problem }
}
