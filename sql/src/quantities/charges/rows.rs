//! Rows of some tenants, rated from their usage.

use std::borrow::Cow;
use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use datafusion::error::Result;
use rating::catalog::{Catalog, Limit, Quota, Tenant};
use rating::draft::{Charges, DraftError};
use rating::exact::Exact;
use rating::line::LineItem;
use rating::money::Amount;
use rating::period::Span;
use rating::quantity::Measure;
use rating::quota;
use rating::usage::Usage;

use super::columns::Columns;
use super::{ChargeKind, ChargeKinds, limits};
use crate::quantities::left_out::LeftOutTenant;
use crate::tenant_terms::TenantTerms;

/// A row, of which columns take what they show.
pub(super) struct ChargeRow<'r> {
    pub usage: &'r Usage,
    pub kind: ChargeKind,
    pub plan: Option<&'r str>,
    pub subscription: &'r str,
    pub price: &'r str,
    pub description: &'r str,
    pub meter: Option<&'r str>,
    pub measure: Option<Measure>,
    pub dimensions: Dimensions<'r>,
    pub span: Span,
    pub quantity: Option<Cow<'r, Exact>>,
    pub billable: Option<Cow<'r, Exact>>,
    pub unit: Option<&'r str>,
    pub currency: Option<&'r str>,
    pub amount: Option<Amount>,
}

/// What a row is about.
#[derive(Clone, Copy)]
pub(super) enum Dimensions<'r> {
    Of(&'r rating::quantity::Dimensions),
    /// Each of the names with the values that count.
    Only(&'r BTreeMap<String, Vec<String>>),
}

/// The rows of some tenants, in their order; of a tenant that cannot be rated there are none.
pub(in crate::quantities) fn batch(
    usages: &[Usage],
    terms: &TenantTerms,
    kinds: ChargeKinds,
    projection: Option<&[usize]>,
    left_out: &mut Vec<LeftOutTenant>,
) -> Result<RecordBatch> {
    let catalog: &Catalog = terms.catalog();
    let mut columns = Columns::new(projection)?;
    let mut known: Option<Charges<'_>> = None;
    for usage in usages {
        let tenant = &usage.demand.tenant;
        let Some(terms) = terms.of(tenant) else { continue };
        // Tenants that the catalog does not name follow each other with the same terms.
        let is_same = |charges: &Charges<'_>| {
            std::ptr::eq(charges.terms(), terms) && *charges.period() == usage.demand.period
        };
        if !known.as_ref().is_some_and(is_same) {
            known = Some(Charges::new(catalog, terms, usage.demand.period.clone()));
        }
        let Some(charges) = &known else { continue };
        let lines = match lines_of(charges, usage, kinds) {
            Ok(lines) => lines,
            Err(error) => {
                left_out.push(LeftOutTenant { tenant: tenant.clone(), reason: error.to_string() });
                continue;
            }
        };
        for (kind, line) in &lines {
            columns.push(&line_row(*kind, charges.terms(), usage, line));
        }
        if kinds.have(ChargeKind::Limit) {
            for (quota, limit) in limits(catalog, terms, usage.demand.period.span) {
                push_limit(&mut columns, catalog, quota, limit, usage);
            }
        }
    }
    Ok(columns.finish()?)
}

fn lines_of(
    charges: &Charges<'_>,
    usage: &Usage,
    kinds: ChargeKinds,
) -> Result<Vec<(ChargeKind, LineItem)>, DraftError> {
    let mut found = Vec::new();
    let mut add = |kind: ChargeKind, lines: &dyn Fn() -> Result<Vec<LineItem>, DraftError>| {
        if kinds.have(kind) {
            found.extend(lines()?.into_iter().map(|line| (kind, line)));
        }
        Ok::<(), DraftError>(())
    };
    add(ChargeKind::Charge, &|| charges.rate_prices(usage, ""))?;
    add(ChargeKind::ByPeak, &|| charges.rate_levels_by(Measure::Peak, usage, ""))?;
    add(ChargeKind::ByAverage, &|| charges.rate_levels_by(Measure::Average, usage, ""))?;
    add(ChargeKind::Cost, &|| charges.rate_costs(usage, ""))?;
    Ok(found)
}

fn line_row<'r>(kind: ChargeKind, terms: &'r Tenant, usage: &'r Usage, line: &'r LineItem) -> ChargeRow<'r> {
    let own = terms.subscriptions.iter().find(|own| own.key == line.key.subscription);
    let quantity = line.quantity.as_ref();
    let trail = &line.trail;
    ChargeRow {
        usage,
        kind,
        plan: own.filter(|_| kind != ChargeKind::Cost).map(|own| own.plan.as_str()),
        subscription: &line.key.subscription,
        price: &line.key.price,
        description: &line.description,
        meter: quantity.map(|quantity| quantity.meter.as_str()),
        measure: quantity.map(|quantity| quantity.measure),
        dimensions: Dimensions::Of(&line.key.dimensions),
        span: line.key.span,
        quantity: quantity.map(|_| Cow::Borrowed(&trail.conversion.converted)),
        billable: quantity.map(|_| Cow::Borrowed(&trail.billable)),
        unit: quantity.map(|_| trail.conversion.unit.as_str()),
        currency: Some(line.currency.code()),
        amount: Some(line.amount),
    }
}

fn push_limit(columns: &mut Columns, catalog: &Catalog, quota: &Quota, limit: Limit, usage: &Usage) {
    let period = usage.demand.period.span;
    let of_quota = quota::use_of(catalog, quota, limit, usage);
    columns.push(&ChargeRow {
        usage,
        kind: ChargeKind::Limit,
        plan: None,
        subscription: "",
        price: &quota.key,
        description: &quota.description,
        meter: Some(&quota.usage.meter),
        measure: Some(quota.usage.measure),
        dimensions: Dimensions::Only(&quota.usage.only),
        span: period,
        quantity: Some(Cow::Owned(of_quota.used)),
        billable: of_quota.limit.map(Cow::Owned),
        unit: Some(&quota.usage.unit.name),
        currency: None,
        amount: None,
    });
}
