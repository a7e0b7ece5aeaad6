//! Which time and which versions of the lake issued invoices stand for, without the documents themselves.

use std::collections::{BTreeMap, BTreeSet};

use rating::period::Span;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use super::Book;
use super::entity::invoice;
use super::error::{BookError, InStep};
use super::invoices::DocumentKind;

/// The invoice of a tenant's period, as far as it says which time it billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledPeriod {
    pub tenant: String,
    pub period: String,
    pub span: Span,
    pub printed_number: String,
}

impl Book {
    /// Invoices of periods that share some time with a span; what only corrects others is none.
    pub async fn periods_billed(&self, within: Span) -> Result<Vec<BilledPeriod>, BookError> {
        use invoice::Column as C;
        let query = invoice::Entity::find()
            .select_only()
            .columns([C::Tenant, C::Period, C::PrintedNumber, C::PeriodStartUs, C::PeriodEndUs])
            .filter(C::PeriodStartUs.lt(within.end_us))
            .filter(C::PeriodEndUs.gt(within.start_us))
            .filter(C::Kind.eq(DocumentKind::Invoice.name()))
            .filter(C::Occasion.eq(""));
        let rows: Vec<(String, String, String, i64, i64)> =
            query.into_tuple().all(&self.connection).await.in_step("read what was issued")?;
        let billed = |(tenant, period, printed_number, start_us, end_us)| BilledPeriod {
            tenant,
            period,
            span: Span { start_us, end_us },
            printed_number,
        };
        Ok(rows.into_iter().map(billed).collect())
    }

    /// Whether anything was issued of a period that starts before an instant.
    pub async fn has_billed_before(&self, start_us: i64) -> Result<bool, BookError> {
        let query = invoice::Entity::find().filter(invoice::Column::PeriodStartUs.lt(start_us));
        Ok(query.one(&self.connection).await.in_step("read issued documents")?.is_some())
    }

    /// The table versions that issued documents were made from, by table: they must stay readable for ever.
    pub async fn versions_pinned(&self) -> Result<BTreeMap<String, BTreeSet<u64>>, BookError> {
        let query = invoice::Entity::find()
            .select_only()
            .column(invoice::Column::TableId)
            .column(invoice::Column::TableVersion)
            .distinct();
        let rows: Vec<(String, i64)> =
            query.into_tuple().all(&self.connection).await.in_step("read which versions are pinned")?;
        let mut pinned: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for (table_id, version) in rows {
            // An invoice from before the first event pins nothing.
            if let Ok(version) = u64::try_from(version) {
                pinned.entry(table_id).or_default().insert(version);
            }
        }
        Ok(pinned)
    }
}
