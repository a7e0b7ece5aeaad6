//! Charges as a table: what the usage of a period costs, by the catalog of the session.
//!
//! Owns the rows: every line that an invoice would have, what levels would cost by their peak and by their average, what
//! the usage costs the vendor, and how far the tenant's limits are used up. Does not own the arithmetic (`rating::draft`).
//! Nothing here looks at invoices; a period that goes on is rated as if its levels stayed as they are.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use rating::catalog::{Catalog, Limit, Quota, QuotaWindow, Tenant};
use rating::draft::Charges;
use rating::exact::Exact;
use rating::line::LineItem;
use rating::period::Span;
use rating::quantity::Measure;
use rating::quota;
use rating::usage::Usage;
use serde_json::json;

use super::left_out::LeftOutTenant;
use crate::relation::cells::{Cell, batch, decimal, instant};
use crate::relation::{DECIMAL, RelationColumn, TEXT, column, optional, schema_of, time};

const BATCH_ROWS: usize = 8 * 1024;

pub(super) static CHARGES: LazyLock<SchemaRef> = LazyLock::new(|| schema_of(&columns()));

/// The columns with what they mean.
pub(crate) fn columns() -> Vec<RelationColumn> {
    vec![
        column("tenant", TEXT, "whose usage it is"),
        column("period", TEXT, "the local day on which the period starts"),
        column("period_start", time(), "when the period starts"),
        column("period_end", time(), "when it ends; not included"),
        column(
            "kind",
            TEXT,
            "charge: as an invoice has it; by_peak, by_average: what a level would cost if billed so; cost: what it costs \
             the vendor; limit: how much of a limit is used",
        ),
        optional("plan", TEXT, "the plan; null for one-off purchases, costs and limits"),
        column("subscription", TEXT, "the subscription; empty for one-off purchases, costs and limits"),
        column("price", TEXT, "the price, cost or limit"),
        column("description", TEXT, "what people read"),
        optional("meter", TEXT, "what is counted; null for fees"),
        optional("measure", TEXT, "how it is measured"),
        column("dimensions", TEXT, "the values that it is about, as a JSON object"),
        column("span_start", time(), "from when it counts"),
        column("span_end", time(), "until when; not included"),
        optional(
            "quantity",
            DECIMAL,
            "how much was used, in the unit of the price or limit, before anything is included",
        ),
        optional(
            "billable",
            DECIMAL,
            "what the price was applied to; for a limit, how much it allows with what was bought to raise it (null: unlimited)",
        ),
        optional("unit", TEXT, "in what both count"),
        optional("currency", TEXT, "ISO 4217 code; null for limits"),
        optional("amount", DECIMAL, "what it costs; null for limits"),
    ]
}

pub(super) fn batches(
    usages: &[Usage],
    catalog: &Catalog,
    projection: Option<&[usize]>,
    left_out: &mut Vec<LeftOutTenant>,
) -> Result<Vec<RecordBatch>> {
    let columns = columns();
    let mut rows = Vec::new();
    for usage in usages {
        let tenant = &usage.demand.tenant;
        if let Some(terms) = catalog.tenant_terms(tenant) {
            match rows_of(catalog, terms, usage) {
                Ok(of_tenant) => rows.extend(of_tenant),
                Err(error) => {
                    left_out.push(LeftOutTenant { tenant: tenant.clone(), reason: error.to_string() });
                }
            }
        }
    }
    let project = |rows: &[Vec<Cell>]| -> Result<RecordBatch> {
        let whole = batch(&columns, rows)?;
        Ok(match projection {
            Some(columns) => whole.project(columns)?,
            None => whole,
        })
    };
    rows.chunks(BATCH_ROWS).map(project).collect()
}

fn rows_of(
    catalog: &Catalog,
    terms: &Tenant,
    usage: &Usage,
) -> Result<Vec<Vec<Cell>>, rating::draft::DraftError> {
    let charges = Charges::new(catalog, terms, usage.demand.period.clone());
    let mut rows = Vec::new();
    let mut add = |kind: &str, lines: &[LineItem]| {
        rows.extend(lines.iter().map(|line| line_row(kind, terms, usage, line)));
    };
    add("charge", &charges.rate_lines(usage, "")?.lines);
    add("by_peak", &charges.rate_levels_by(Measure::Peak, usage, "")?);
    add("by_average", &charges.rate_levels_by(Measure::Average, usage, "")?);
    add("cost", &charges.rate_costs(usage, "")?);
    rows.extend(
        limits(catalog, terms, usage.demand.period.span)
            .into_iter()
            .map(|(quota, limit)| limit_row(catalog, quota, limit, usage)),
    );
    Ok(rows)
}

fn line_row(kind: &str, terms: &Tenant, usage: &Usage, line: &LineItem) -> Vec<Cell> {
    let trail = &line.trail;
    let is_metered = line.quantity.is_some();
    let metered = |cell: Cell| if is_metered { cell } else { Cell::Null };
    let own = terms.subscriptions.iter().find(|own| own.key == line.key.subscription);
    let quantity = line.quantity.as_ref();
    let mut row = start_of_row(usage, kind);
    row.extend([
        own.filter(|_| kind != "cost").map(|own| own.plan.as_str()).into(),
        line.key.subscription.as_str().into(),
        line.key.price.as_str().into(),
        line.description.as_str().into(),
        quantity.map(|quantity| quantity.meter.as_str()).into(),
        quantity.map(|quantity| quantity.measure.as_str()).into(),
        json!(line.key.dimensions).to_string().into(),
        instant(line.key.span.start_us),
        instant(line.key.span.end_us),
        metered(decimal(&trail.conversion.converted)),
        metered(decimal(&trail.billable)),
        metered(trail.conversion.unit.as_str().into()),
        line.currency.code().into(),
        decimal(&Exact::from(line.amount)),
    ]);
    row
}

fn start_of_row(usage: &Usage, kind: &str) -> Vec<Cell> {
    let period = &usage.demand.period;
    vec![
        usage.demand.tenant.as_str().into(),
        period.name.as_str().into(),
        instant(period.span.start_us),
        instant(period.span.end_us),
        kind.into(),
    ]
}

/// The limits of a whole period that hold at its end. Those of an hour and of a lifetime are not about the period.
pub(super) fn limits<'c>(catalog: &'c Catalog, terms: &'c Tenant, period: Span) -> Vec<(&'c Quota, Limit)> {
    let mut limits = catalog.quotas_in_force(terms, period.end_us.saturating_sub(1));
    limits.retain(|(quota, _)| quota.window == QuotaWindow::Period);
    limits
}

fn limit_row(catalog: &Catalog, quota: &Quota, limit: Limit, usage: &Usage) -> Vec<Cell> {
    let period = usage.demand.period.span;
    let of_quota = quota::use_of(catalog, quota, limit, usage);
    let mut row = start_of_row(usage, "limit");
    row.extend([
        Cell::Null,
        "".into(),
        quota.key.as_str().into(),
        quota.description.as_str().into(),
        quota.usage.meter.as_str().into(),
        quota.usage.measure.as_str().into(),
        json!(quota.usage.only).to_string().into(),
        instant(period.start_us),
        instant(period.end_us),
        decimal(&of_quota.used),
        of_quota.limit.as_ref().map_or(Cell::Null, decimal),
        quota.usage.unit.name.as_str().into(),
        Cell::Null,
        Cell::Null,
    ]);
    row
}
