//! Invoice numbers and the index of what was issued.
//!
//! Owns that numbers have no gaps, each issuer's invoices and credit notes in a series of their own, that a period is billed
//! once, and what corrections start from. Does not own the invoices themselves, which lie beside the lake; the index pins
//! all that is needed to make each again to the byte (DESIGN.md 3.9, 3.10). Nothing here is ever changed or removed: a
//! correction is a further document.

use std::collections::{BTreeMap, BTreeSet};

use rating::invoice::Provenance;
use rating::line::LineKey;
use rating::money::Amount;
use rating::period::Span;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::Book;
use super::entity::{invoice, invoice_line, invoice_sequence};
use super::error::{BookError, InStep};
use super::writing::{Writing, check_code, check_long, check_name};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DocumentKind {
    Invoice,
    /// Takes back a part of an issued invoice.
    CreditNote,
}

impl DocumentKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Invoice => "invoice",
            Self::CreditNote => "credit_note",
        }
    }
}

/// What tells a document apart from the others of its period.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentName {
    pub tenant: String,
    pub occasion: String,
}

/// A document that is issued in this transaction, with a number from `next_numbers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDocument {
    /// With its series: see `Book::series`.
    pub issuer: String,
    pub number: i64,
    /// The number as it stands on the paper.
    pub printed_number: String,
    pub kind: DocumentKind,
    pub tenant: String,
    pub period: String,
    /// Tells apart the documents of one tenant and period; empty for the invoice of a period.
    pub occasion: String,
    pub span: Span,
    pub currency: String,
    pub total: Amount,
    pub credited: Amount,
    pub taxed: Amount,
    pub due: Amount,
    pub provenance: Provenance,
    /// BLAKE3 of the canonical text.
    pub digest: String,
    /// The number, among the issuer's invoices, that a credit note takes back from.
    pub corrects_number: Option<i64>,
    pub run_id: String,
    pub lines: Vec<IssuedLine>,
}

/// A line of an issued document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedLine {
    pub key: LineKey,
    pub amount: Amount,
    /// Why an adjustment was made: `late_event`, `amended_event`, `catalog_change`, or several of them with `+` in between.
    /// None for a line of its own period.
    pub cause: Option<String>,
}

/// A document as the index keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedDocument {
    pub issued_at_us: i64,
    pub document: NewDocument,
}

/// What stands on an issued document, and its digest, without what else the index keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrintedDocument {
    pub name: DocumentName,
    pub is_credit_note: bool,
    pub printed_number: String,
    pub digest: String,
    pub issued_at_us: i64,
}

impl Writing {
    /// The first of so many numbers in a row. They are taken in this transaction: rolled back, they are free again, and
    /// nobody else gets a number of this issuer until it ends.
    pub async fn next_numbers(&self, issuer: &str, count: i64) -> Result<i64, BookError> {
        let step = "take invoice numbers";
        check_code("an issuer", issuer)?;
        if count < 1 {
            let what = format!("taking {count} numbers");
            return Err(BookError::Refused { what, why: "at least one must be taken" });
        }
        let first = invoice_sequence::Model { issuer: issuer.to_owned(), next_number: 1 };
        self.ensure::<_, invoice_sequence::ActiveModel>(first, step).await?;
        let query = invoice_sequence::Entity::find_by_id(issuer.to_owned()).lock_exclusive();
        let row = query.one(&self.transaction).await.in_step(step)?.ok_or_else(|| BookError::Damaged {
            table: "invoice_sequences",
            problem: format!("issuer `{issuer}` was inserted and is not there"),
        })?;
        let update = invoice_sequence::Entity::update_many()
            .col_expr(invoice_sequence::Column::NextNumber, Expr::value(row.next_number + count))
            .filter(invoice_sequence::Column::Issuer.eq(issuer));
        update.exec(&self.transaction).await.in_step(step)?;
        Ok(row.next_number)
    }

    /// Writes documents and their lines. Refused if one of them was issued before, or does not add up.
    pub async fn record_issued(&self, documents: &[NewDocument]) -> Result<(), BookError> {
        for document in documents {
            check_document(document)?;
        }
        self.refuse_issued_before(documents).await?;
        self.refuse_numbers_in_use(documents).await?;
        let rows = documents.iter().map(|document| row_of(document, self.now_us)).collect();
        self.insert::<_, invoice::ActiveModel>(rows, "record issued documents").await?;
        let lines = documents.iter().flat_map(line_rows).collect::<Result<Vec<_>, _>>()?;
        self.insert::<_, invoice_line::ActiveModel>(lines, "record the lines of issued documents").await
    }

    /// Digests of the documents that billed something of a tenant's period so far, in ascending order.
    pub async fn documents_billing(&self, tenant: &str, period: &str) -> Result<Vec<String>, BookError> {
        let step = "look for what was billed of a period";
        let lines = invoice_line::Entity::find()
            .filter(invoice_line::Column::Tenant.eq(tenant))
            .filter(invoice_line::Column::Period.eq(period));
        let lines = lines.all(&self.transaction).await.in_step(step)?;
        let numbers: BTreeSet<(String, i64)> =
            lines.into_iter().map(|line| (line.issuer, line.number)).collect();
        let documents = invoice::Entity::find().filter(invoice::Column::Tenant.eq(tenant));
        let documents = documents.all(&self.transaction).await.in_step(step)?;
        let mut digests: Vec<String> = documents
            .into_iter()
            .filter(|row| numbers.contains(&(row.issuer.clone(), row.number)))
            .map(|row| row.digest)
            .collect();
        digests.sort_unstable();
        Ok(digests)
    }

    /// Another series with the same prefix would print its numbers again, and people and Stripe know documents by them.
    async fn refuse_numbers_in_use(&self, documents: &[NewDocument]) -> Result<(), BookError> {
        let mut printed = BTreeMap::new();
        for document in documents {
            if let Some(other) = printed.insert(&document.printed_number, &document.issuer) {
                let (printed, issuer) = (document.printed_number.clone(), other.clone());
                return Err(BookError::NumberInUse { printed, issuer });
            }
        }
        for some in documents.chunks(10_000) {
            let printed = some.iter().map(|document| document.printed_number.as_str());
            let query = invoice::Entity::find().filter(invoice::Column::PrintedNumber.is_in(printed));
            if let Some(row) = query.one(&self.transaction).await.in_step("look for numbers in use")? {
                return Err(BookError::NumberInUse { printed: row.printed_number, issuer: row.issuer });
            }
        }
        Ok(())
    }

    async fn refuse_issued_before(&self, documents: &[NewDocument]) -> Result<(), BookError> {
        let mut tenants_by_period: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for document in documents {
            tenants_by_period.entry(&document.period).or_default().push(&document.tenant);
        }
        for (period, tenants) in tenants_by_period {
            for some in tenants.chunks(10_000) {
                let query = invoice::Entity::find()
                    .filter(invoice::Column::Period.eq(period))
                    .filter(invoice::Column::Tenant.is_in(some.iter().copied()));
                let rows = query.all(&self.transaction).await.in_step("look for earlier documents")?;
                for row in rows {
                    let same = |new: &&NewDocument| {
                        new.tenant == row.tenant
                            && new.period == row.period
                            && new.kind.name() == row.kind
                            && new.occasion == row.occasion
                    };
                    if documents.iter().any(|new| same(&new)) {
                        return Err(BookError::IssuedBefore {
                            kind: row.kind,
                            tenant: row.tenant,
                            period: row.period,
                            issuer: row.issuer,
                            number: row.number,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

impl Book {
    /// Issued documents by issuer and number, without their lines.
    pub async fn documents(
        &self,
        period: Option<&str>,
        tenant: Option<&str>,
    ) -> Result<Vec<IssuedDocument>, BookError> {
        let mut condition = Condition::all();
        if let Some(period) = period {
            condition = condition.add(invoice::Column::Period.eq(period));
        }
        if let Some(tenant) = tenant {
            condition = condition.add(invoice::Column::Tenant.eq(tenant));
        }
        let query = invoice::Entity::find()
            .filter(condition)
            .order_by_asc(invoice::Column::Issuer)
            .order_by_asc(invoice::Column::Number);
        let rows = query.all(&self.connection).await.in_step("read issued documents")?;
        rows.into_iter().map(|row| from_row(row, Vec::new())).collect()
    }

    /// Documents of periods that start at an instant or later, by issuer and number, without their lines.
    pub async fn documents_since(&self, start_us: i64) -> Result<Vec<IssuedDocument>, BookError> {
        let query = invoice::Entity::find()
            .filter(invoice::Column::PeriodStartUs.gte(start_us))
            .order_by_asc(invoice::Column::Issuer)
            .order_by_asc(invoice::Column::Number);
        let rows = query.all(&self.connection).await.in_step("read issued documents")?;
        rows.into_iter().map(|row| from_row(row, Vec::new())).collect()
    }

    /// A document by its printed number, or by its number if only one issuer has it; with its lines.
    pub async fn document(&self, number: &str) -> Result<Option<IssuedDocument>, BookError> {
        let step = "read an issued document";
        let printed = invoice::Entity::find().filter(invoice::Column::PrintedNumber.eq(number));
        let mut rows = printed.all(&self.connection).await.in_step(step)?;
        if rows.is_empty()
            && let Ok(plain) = number.parse::<i64>()
        {
            let by_number = invoice::Entity::find().filter(invoice::Column::Number.eq(plain));
            rows = by_number.all(&self.connection).await.in_step(step)?;
        }
        let row = match rows.len() {
            0 => return Ok(None),
            1 => rows.remove(0),
            _ => {
                let what = format!("number {number}");
                return Err(BookError::Refused { what, why: "several issuers have it" });
            }
        };
        let lines = invoice_line::Entity::find()
            .filter(invoice_line::Column::Issuer.eq(&row.issuer))
            .filter(invoice_line::Column::Number.eq(row.number))
            .order_by_asc(invoice_line::Column::Line);
        let lines = lines.all(&self.connection).await.in_step(step)?;
        let lines = lines.into_iter().map(from_line_row).collect::<Result<_, _>>()?;
        from_row(row, lines).map(Some)
    }

    /// What was issued in a period.
    pub async fn documents_named(&self, period: &str) -> Result<BTreeSet<DocumentName>, BookError> {
        let query = invoice::Entity::find()
            .select_only()
            .column(invoice::Column::Tenant)
            .column(invoice::Column::Occasion)
            .filter(invoice::Column::Period.eq(period));
        let names: Vec<(String, String)> =
            query.into_tuple().all(&self.connection).await.in_step("read what was issued")?;
        Ok(names.into_iter().map(|(tenant, occasion)| DocumentName { tenant, occasion }).collect())
    }

    /// The same with what stands on each document.
    pub async fn documents_printed(&self, period: &str) -> Result<Vec<PrintedDocument>, BookError> {
        use invoice::Column as C;
        let query = invoice::Entity::find()
            .select_only()
            .columns([C::Tenant, C::Occasion, C::Kind, C::PrintedNumber, C::Digest, C::IssuedAtUs])
            .filter(C::Period.eq(period))
            .order_by_asc(C::Issuer)
            .order_by_asc(C::Number);
        let rows: Vec<(String, String, String, String, String, i64)> =
            query.into_tuple().all(&self.connection).await.in_step("read what was issued")?;
        let printed = |(tenant, occasion, kind, printed_number, digest, issued_at_us)| PrintedDocument {
            name: DocumentName { tenant, occasion },
            is_credit_note: kind == DocumentKind::CreditNote.name(),
            printed_number,
            digest,
            issued_at_us,
        };
        Ok(rows.into_iter().map(printed).collect())
    }

    /// Under what the numbers of an issuer's documents are counted: credit notes apart from invoices.
    pub fn series(issuer: &str, kind: DocumentKind) -> String {
        match kind {
            DocumentKind::Invoice => issuer.to_owned(),
            DocumentKind::CreditNote => format!("{issuer}/credit-notes"),
        }
    }

    /// Every line that was ever issued for a tenant's period, adjustments on later documents included: what a new
    /// adjustment starts from.
    pub async fn lines_issued(&self, tenant: &str, period: &str) -> Result<Vec<IssuedLine>, BookError> {
        let query = invoice_line::Entity::find()
            .filter(invoice_line::Column::Tenant.eq(tenant))
            .filter(invoice_line::Column::Period.eq(period))
            .order_by_asc(invoice_line::Column::Issuer)
            .order_by_asc(invoice_line::Column::Number)
            .order_by_asc(invoice_line::Column::Line);
        let rows = query.all(&self.connection).await.in_step("read issued lines")?;
        rows.into_iter().map(from_line_row).collect()
    }
}

/// The identities of an invoice, once more before it becomes immutable.
fn check_document(document: &NewDocument) -> Result<(), BookError> {
    check_code("an issuer", &document.issuer)?;
    check_name("a printed number", &document.printed_number)?;
    check_name("a tenant", &document.tenant)?;
    check_code("a period", &document.period)?;
    check_name("an occasion", &document.occasion)?;
    for code in [&document.provenance.table_id, &document.provenance.program_version, &document.digest] {
        check_code("an invoice's provenance", code)?;
    }
    let lines = document.lines.iter().try_fold(Amount::ZERO, |sum, line| sum.checked_add(line.amount));
    let broken = if lines != Some(document.total) {
        Some("its lines do not sum to its total")
    } else if document.total - document.credited + document.taxed != document.due {
        Some("its total, credits and taxes do not sum to what is due")
    } else if document.lines.iter().any(|line| line.key.tenant != document.tenant) {
        Some("one of its lines belongs to another tenant")
    } else {
        None
    };
    match broken {
        None => Ok(()),
        Some(why) => {
            let what = format!("number {} of {}", document.number, document.tenant);
            Err(BookError::Refused { what, why })
        }
    }
}

fn row_of(document: &NewDocument, issued_at_us: i64) -> invoice::Model {
    let provenance = &document.provenance;
    invoice::Model {
        issuer: document.issuer.clone(),
        number: document.number,
        printed_number: document.printed_number.clone(),
        kind: document.kind.name().to_owned(),
        tenant: document.tenant.clone(),
        period: document.period.clone(),
        occasion: document.occasion.clone(),
        period_start_us: document.span.start_us,
        period_end_us: document.span.end_us,
        currency: document.currency.clone(),
        total: document.total.to_string(),
        credited: document.credited.to_string(),
        taxed: document.taxed.to_string(),
        due: document.due.to_string(),
        table_id: provenance.table_id.clone(),
        table_version: provenance.table_version,
        catalog_hash: provenance.catalog_hash.clone(),
        book_hash: provenance.book_hash.clone(),
        program_version: provenance.program_version.clone(),
        digest: document.digest.clone(),
        corrects_number: document.corrects_number,
        run_id: document.run_id.clone(),
        issued_at_us,
    }
}

fn line_rows(document: &NewDocument) -> impl Iterator<Item = Result<invoice_line::Model, BookError>> {
    (1..).zip(&document.lines).map(|(line, issued)| {
        check_long("a line's key", &issued.key.to_string())?;
        check_code("a cause", issued.cause.as_deref().unwrap_or_default())?;
        Ok(invoice_line::Model {
            issuer: document.issuer.clone(),
            number: document.number,
            line,
            tenant: issued.key.tenant.clone(),
            period: issued.key.period.clone(),
            line_key: serde_json::to_string(&issued.key).map_err(|error| damaged(error.to_string()))?,
            currency: document.currency.clone(),
            amount: issued.amount.to_string(),
            cause: issued.cause.clone(),
        })
    })
}

fn from_row(row: invoice::Model, lines: Vec<IssuedLine>) -> Result<IssuedDocument, BookError> {
    let kind = [DocumentKind::Invoice, DocumentKind::CreditNote].into_iter().find(|it| it.name() == row.kind);
    let kind = kind.ok_or_else(|| damaged(format!("a document of kind `{}`", row.kind)))?;
    let provenance = Provenance {
        table_id: row.table_id,
        table_version: row.table_version,
        catalog_hash: row.catalog_hash,
        book_hash: row.book_hash,
        program_version: row.program_version,
    };
    let document = NewDocument {
        issuer: row.issuer,
        number: row.number,
        printed_number: row.printed_number,
        kind,
        tenant: row.tenant,
        period: row.period,
        occasion: row.occasion,
        span: Span { start_us: row.period_start_us, end_us: row.period_end_us },
        currency: row.currency,
        total: amount("invoices", &row.total)?,
        credited: amount("invoices", &row.credited)?,
        taxed: amount("invoices", &row.taxed)?,
        due: amount("invoices", &row.due)?,
        provenance,
        digest: row.digest,
        corrects_number: row.corrects_number,
        run_id: row.run_id,
        lines,
    };
    Ok(IssuedDocument { issued_at_us: row.issued_at_us, document })
}

fn from_line_row(row: invoice_line::Model) -> Result<IssuedLine, BookError> {
    let key = serde_json::from_str(&row.line_key).map_err(|error| damaged(error.to_string()))?;
    Ok(IssuedLine { key, amount: amount("invoice_lines", &row.amount)?, cause: row.cause })
}

/// Reads an amount back: every digit, or not at all.
pub(super) fn amount(table: &'static str, text: &str) -> Result<Amount, BookError> {
    Amount::from_str_exact(text)
        .map_err(|_| BookError::Damaged { table, problem: format!("`{text}` is no amount") })
}

fn damaged(problem: String) -> BookError {
    BookError::Damaged { table: "invoices", problem }
}
