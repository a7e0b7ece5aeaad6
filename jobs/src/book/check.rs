//! Does the book hold together?
//!
//! Looks at every rule that the book keeps when it is written, from the outside: what a person or another program changed
//! by hand, or a restored backup lost, shows here. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use rating::catalog::Catalog;
use rating::money::Amount;
use sea_orm::{EntityTrait, QueryOrder};

use super::Book;
use super::entity::{
    catalog, catalog_version, credit_account, credit_entry, invoice, invoice_line, invoice_sequence, outbox,
};
use super::error::{BookError, InStep};
use super::invoices::amount;
use super::schema;

/// One rule and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub rule: &'static str,
    /// How much was looked at.
    pub checked: usize,
    /// What breaks the rule, each in a sentence.
    pub broken: Vec<String>,
}

impl Book {
    pub async fn check(&self) -> Result<Vec<Finding>, BookError> {
        let tables = self.check_tables().await?;
        if !tables.broken.is_empty() {
            // What is not there cannot be read either.
            return Ok(vec![tables]);
        }
        let step = "check it";
        let documents = invoice::Entity::find().all(&self.connection).await.in_step(step)?;
        let mut findings = vec![tables, self.check_catalogs().await?, self.check_numbers(&documents).await?];
        findings.push(self.check_sums(&documents).await?);
        findings.push(self.check_credits().await?);
        findings.push(self.check_outbox(&documents).await?);
        Ok(findings)
    }

    async fn check_tables(&self) -> Result<Finding, BookError> {
        let (mut broken, mut checked) = (Vec::new(), 0);
        for table in schema::tables() {
            checked += 1;
            let wanted: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            let found = self.columns(&table.name).await?;
            if wanted != found {
                broken.push(format!("{} has the columns {found:?}, expected {wanted:?}", table.name));
            }
        }
        Ok(Finding { rule: "tables are as the program made them", checked, broken })
    }

    async fn check_catalogs(&self) -> Result<Finding, BookError> {
        let step = "check its catalogs";
        let catalogs = catalog::Entity::find().all(&self.connection).await.in_step(step)?;
        let versions = catalog_version::Entity::find().order_by_asc(catalog_version::Column::Version);
        let versions = versions.all(&self.connection).await.in_step(step)?;
        let mut broken = Vec::new();
        for row in &catalogs {
            match Catalog::parse(&row.content, "catalog") {
                Ok(parsed) if parsed.hash.to_hex().as_str() == row.catalog_hash => {}
                Ok(_) => broken.push(format!("catalog {} has other content than its hash", row.catalog_hash)),
                Err(_) => broken.push(format!("catalog {} cannot be read any more", row.catalog_hash)),
            }
        }
        for (wanted, row) in (1..).zip(&versions) {
            if row.version != wanted {
                broken.push(format!("catalog version {wanted} is missing"));
                break;
            }
            if !catalogs.iter().any(|catalog| catalog.catalog_hash == row.catalog_hash) {
                broken.push(format!(
                    "version {} names catalog {}, which is not there",
                    row.version, row.catalog_hash
                ));
            }
        }
        Ok(Finding { rule: "catalogs are what their hashes say", checked: catalogs.len(), broken })
    }

    async fn check_numbers(&self, documents: &[invoice::Model]) -> Result<Finding, BookError> {
        let sequences = invoice_sequence::Entity::find().all(&self.connection).await;
        let sequences = sequences.in_step("check its numbers")?;
        let mut numbers: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for document in documents {
            numbers.entry(&document.issuer).or_default().push(document.number);
        }
        let mut broken = Vec::new();
        for sequence in &sequences {
            let mut own = numbers.remove(sequence.issuer.as_str()).unwrap_or_default();
            own.sort_unstable();
            let issuer = &sequence.issuer;
            let missing = (1..).zip(&own).find(|(wanted, found)| wanted != *found).map(|(wanted, _)| wanted);
            if let Some(missing) = missing {
                broken.push(format!("number {missing} of {issuer} is missing"));
            } else if sequence.next_number != own.len() as i64 + 1 {
                let (next, count) = (sequence.next_number, own.len());
                broken.push(format!("{issuer} has {count} documents, and {next} comes next"));
            }
        }
        broken.extend(numbers.keys().map(|issuer| format!("{issuer} has documents and no sequence")));
        Ok(Finding { rule: "invoice numbers have no gaps", checked: documents.len(), broken })
    }

    async fn check_sums(&self, documents: &[invoice::Model]) -> Result<Finding, BookError> {
        let lines = invoice_line::Entity::find().all(&self.connection).await.in_step("check its sums")?;
        let mut sums: BTreeMap<(String, i64), Amount> = BTreeMap::new();
        for line in lines {
            let sum = sums.entry((line.issuer, line.number)).or_default();
            *sum += amount("invoice_lines", &line.amount)?;
        }
        let mut broken = Vec::new();
        for document in documents {
            let of = |text: &str| amount("invoices", text);
            let (total, credited) = (of(&document.total)?, of(&document.credited)?);
            let (taxed, due) = (of(&document.taxed)?, of(&document.due)?);
            let lines = sums.remove(&(document.issuer.clone(), document.number)).unwrap_or_default();
            let name = &document.printed_number;
            if lines != total {
                broken.push(format!("{name}: its lines sum to {lines}, its total is {total}"));
            }
            if total - credited + taxed != due {
                broken.push(format!("{name}: {total} - {credited} + {taxed} is not {due}"));
            }
        }
        broken.extend(
            sums.keys().map(|(issuer, number)| format!("lines of {issuer} {number} have no document")),
        );
        Ok(Finding { rule: "documents add up", checked: documents.len(), broken })
    }

    async fn check_credits(&self) -> Result<Finding, BookError> {
        let step = "check its credits";
        let accounts = credit_account::Entity::find().all(&self.connection).await.in_step(step)?;
        let entries = credit_entry::Entity::find().all(&self.connection).await.in_step(step)?;
        let mut sums: BTreeMap<(String, String), (Amount, i64)> = BTreeMap::new();
        let mut left: BTreeMap<(String, String, String), Amount> = BTreeMap::new();
        for entry in &entries {
            let moved = amount("credit_entries", &entry.amount)?;
            let (sum, count) = sums.entry((entry.tenant.clone(), entry.currency.clone())).or_default();
            *sum += moved;
            *count += 1;
            let key = (entry.tenant.clone(), entry.currency.clone(), entry.credit.clone());
            *left.entry(key).or_default() += moved;
        }
        let mut broken = Vec::new();
        for account in &accounts {
            let (tenant, currency) = (&account.tenant, &account.currency);
            let (sum, count) = sums.remove(&(tenant.clone(), currency.clone())).unwrap_or_default();
            let balance = amount("credit_accounts", &account.balance)?;
            if (balance, account.entries) != (sum, count) {
                let told = format!("{balance} {currency} after {} entries", account.entries);
                broken.push(format!("{tenant} has {told}; its {count} entries sum to {sum}"));
            }
        }
        broken.extend(
            sums.keys().map(|(tenant, currency)| format!("{tenant} has {currency} entries and no account")),
        );
        let overdrawn = left.iter().filter(|(_, left)| **left < Amount::ZERO);
        broken.extend(
            overdrawn.map(|((tenant, _, credit), left)| format!("credit {credit} of {tenant} is at {left}")),
        );
        Ok(Finding { rule: "credits are the sum of their entries", checked: entries.len(), broken })
    }

    async fn check_outbox(&self, documents: &[invoice::Model]) -> Result<Finding, BookError> {
        let records = outbox::Entity::find().all(&self.connection).await.in_step("check its outbox")?;
        let known: BTreeSet<&str> =
            documents.iter().map(|document| document.printed_number.as_str()).collect();
        let mut broken = Vec::new();
        for record in &records {
            if !known.contains(record.invoice_number.as_str()) {
                let (key, number) = (&record.record_key, &record.invoice_number);
                broken.push(format!("{key} is about {number}, which was not issued"));
            }
        }
        Ok(Finding { rule: "Stripe records belong to issued documents", checked: records.len(), broken })
    }
}
