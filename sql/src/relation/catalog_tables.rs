//! Tables of the catalog: tenants and what they subscribed to, plans with their prices, allowances and limits, meters.
//!
//! Owns their columns and rows. They show the catalog that the session was opened with; a session of one tenant gives
//! them that tenant's part of it.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use rating::catalog::{
    Catalog, Limit, OverrideTarget, Plan, PlanVersion, Price, Quota, QuotaWindow, Tenant, When, WhenReached,
};
use rating::exact::Exact;
use rating::money::Currency;
use rating::period::{Span, TimeZone};
use rating::price::{Allowance, PriceModel, PriceTerms};
use serde_json::json;

use super::cells::{Cell, batch, decimal, instant};
use super::{Relation, RelationKind, Whose, catalog_columns};

/// A table that the catalog fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogTable {
    Tenants,
    Subscriptions,
    Plans,
    Prices,
    Allowances,
    Limits,
    Meters,
}

impl CatalogTable {
    pub const ALL: [Self; 7] = [
        Self::Tenants,
        Self::Subscriptions,
        Self::Plans,
        Self::Prices,
        Self::Allowances,
        Self::Limits,
        Self::Meters,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Subscriptions => "subscriptions",
            Self::Plans => "plans",
            Self::Prices => "prices",
            Self::Allowances => "allowances",
            Self::Limits => "limits",
            Self::Meters => "meters",
        }
    }

    pub fn relation(self) -> Relation {
        let (description, columns) = match self {
            Self::Tenants => ("tenants that the catalog names", catalog_columns::tenants()),
            Self::Subscriptions => {
                ("which plans tenants have, and from when to when", catalog_columns::subscriptions())
            }
            Self::Plans => ("plans with their versions", catalog_columns::plans()),
            Self::Prices => (
                "prices of plans, of what single tenants have instead, and what usage costs the vendor",
                catalog_columns::prices(),
            ),
            Self::Allowances => {
                ("what plans include, and what single tenants have instead", catalog_columns::allowances())
            }
            Self::Limits => (
                "how much tenants may use, as it holds now; what a tenant bought to raise a limit comes to it",
                catalog_columns::limits(),
            ),
            Self::Meters => ("what is counted", catalog_columns::meters()),
        };
        Relation {
            name: self.name().to_owned(),
            kind: RelationKind::Table,
            description: description.to_owned(),
            columns,
        }
    }

    pub fn whose(self) -> Whose {
        match self {
            Self::Tenants | Self::Subscriptions | Self::Limits => Whose::TenantColumn,
            Self::Plans | Self::Prices | Self::Allowances | Self::Meters => Whose::MadeForTenant,
        }
    }

    /// All rows. `now_us` decides which limits hold.
    pub fn rows(self, catalog: &Catalog, now_us: i64) -> Result<RecordBatch, ArrowError> {
        let rows = match self {
            Self::Tenants => catalog.tenants.iter().map(tenant_row).collect(),
            Self::Subscriptions => catalog.tenants.iter().flat_map(subscription_rows).collect(),
            Self::Plans => versions(catalog).map(|version| version.row()).collect(),
            Self::Prices => price_rows(catalog),
            Self::Allowances => allowance_rows(catalog),
            Self::Limits => {
                catalog.tenants.iter().flat_map(|tenant| limit_rows(catalog, tenant, now_us)).collect()
            }
            Self::Meters => catalog.meters.iter().map(meter_row).collect(),
        };
        batch(&self.relation().columns, &rows)
    }
}

fn tenant_row(tenant: &Tenant) -> Vec<Cell> {
    vec![
        tenant.key.as_str().into(),
        tenant.name.as_str().into(),
        tenant.time_zone.iana_name().unwrap_or("UTC").into(),
        tenant.cycle.in_words().into(),
        tenant.tax.clone().into(),
        tenant.email.clone().into(),
        json!(tenant.attributes).to_string().into(),
        Cell::Truth(tenant.stripe.is_some()),
    ]
}

fn subscription_rows(tenant: &Tenant) -> Vec<Vec<Cell>> {
    let row = |own: &rating::catalog::Subscription| {
        let pinned = own.prices_as_of.map(|when| when.instant_us(&tenant.time_zone));
        vec![
            tenant.key.as_str().into(),
            own.key.as_str().into(),
            own.plan.as_str().into(),
            instant(own.span.start_us),
            instant(own.span.end_us),
            pinned.map_or(Cell::Null, Cell::Time),
        ]
    };
    tenant.subscriptions.iter().map(row).collect()
}

/// A plan's version with when it holds.
#[derive(Debug, Clone, Copy)]
struct Version<'c> {
    plan: &'c Plan,
    ordinal: i64,
    span: Span,
    content: &'c PlanVersion,
}

fn versions(catalog: &Catalog) -> impl Iterator<Item = Version<'_>> {
    catalog.plans.iter().flat_map(|plan| {
        plan.versions.iter().enumerate().map(move |(at, version)| {
            let next = plan.versions.get(at + 1).and_then(|next| next.from);
            let end_us = next.map_or(i64::MAX, |when: When| when.instant_us(&TimeZone::UTC));
            let span = Span { start_us: version.start_us(&TimeZone::UTC), end_us };
            Version { plan, ordinal: at as i64 + 1, span, content: version }
        })
    })
}

impl Version<'_> {
    fn start_of_row(&self) -> Vec<Cell> {
        vec![
            self.plan.key.as_str().into(),
            Cell::Whole(self.ordinal),
            instant(self.span.start_us),
            instant(self.span.end_us),
        ]
    }

    fn row(&self) -> Vec<Cell> {
        let mut row = self.start_of_row();
        row.extend([
            self.plan.description.as_str().into(),
            self.plan.currency.code().into(),
            Cell::Whole(self.content.prices.len() as i64),
        ]);
        row
    }
}

/// What a tenant has instead of a plan's price: from when to when, whose, and the terms.
fn own_terms<'c>(
    catalog: &'c Catalog,
    version: Version<'c>,
    price: &'c Price,
) -> impl Iterator<Item = (Span, &'c str, PriceTerms)> {
    catalog.tenants.iter().flat_map(move |tenant| {
        tenant.overrides.iter().filter_map(move |own| match &own.target {
            OverrideTarget::Price { change, .. } if own.is_of_price(&version.plan.key, &price.key) => {
                let span = own.span.intersection(&version.span)?;
                Some((span, tenant.key.as_str(), change.applied_to(&price.terms)))
            }
            _ => None,
        })
    })
}

fn price_rows(catalog: &Catalog) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for version in versions(catalog) {
        let currency = version.plan.currency;
        for price in &version.content.prices {
            let mut add = |span: Span, tenant: Option<&str>, terms: &PriceTerms| {
                let mut row = version.start_of_row();
                (row[2], row[3]) = (instant(span.start_us), instant(span.end_us));
                row.push(tenant.into());
                row.extend(price_cells(price, &terms.model, Some(currency)));
                rows.push(row);
            };
            add(version.span, None, &price.terms);
            for (span, tenant, terms) in own_terms(catalog, version, price) {
                add(span, Some(tenant), &terms);
            }
        }
    }
    for cost in &catalog.costs {
        let mut row = vec![Cell::Null; 5];
        row.extend(price_cells(cost, &cost.terms.model, catalog.currency));
        rows.push(row);
    }
    rows
}

fn price_cells(price: &Price, model: &PriceModel, currency: Option<Currency>) -> Vec<Cell> {
    let usage = price.usage.as_ref();
    let unit = usage.map_or("unit", |usage| usage.unit.name.as_str());
    let words = match (model, price.once, currency) {
        (PriceModel::Flat(flat), true, Some(currency)) => format!("{} {} once", flat.amount, currency.code()),
        (model, _, Some(currency)) => model.in_words(unit, currency),
        (model, _, None) => model.name().to_owned(),
    };
    let unit_price = match model {
        PriceModel::PerUnit(price) => decimal(&Exact::from(price.unit_price.value())),
        _ => Cell::Null,
    };
    let flat = match model {
        PriceModel::Flat(price) => decimal(&Exact::from(price.amount)),
        _ => Cell::Null,
    };
    vec![
        price.key.as_str().into(),
        price.description.as_str().into(),
        usage.map(|usage| usage.meter.as_str()).into(),
        usage.map(|usage| usage.measure.as_str()).into(),
        usage.map(|usage| json!(usage.only).to_string()).into(),
        usage.map(|usage| usage.unit.name.as_str()).into(),
        model.name().into(),
        unit_price,
        flat,
        currency.map(Currency::code).into(),
        words.into(),
    ]
}

fn allowance_rows(catalog: &Catalog) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for version in versions(catalog) {
        for pool in &version.content.pools {
            let mut row = version.start_of_row();
            row.extend([
                Cell::Null,
                Cell::Null,
                pool.name.as_str().into(),
                decimal(&Exact::from(pool.quantity)),
                pool.unit.as_str().into(),
                Cell::Truth(pool.prorated),
            ]);
            rows.push(row);
        }
        for price in &version.content.prices {
            let mut add = |span: Span, tenant: Option<&str>, terms: &PriceTerms| {
                let Some(allowance) = &terms.allowance else { return };
                let mut row = version.start_of_row();
                (row[2], row[3]) = (instant(span.start_us), instant(span.end_us));
                row.extend([tenant.into(), price.key.as_str().into()]);
                row.extend(allowance_cells(allowance, price));
                rows.push(row);
            };
            add(version.span, None, &price.terms);
            for (span, tenant, terms) in own_terms(catalog, version, price) {
                add(span, Some(tenant), &terms);
            }
        }
    }
    rows
}

fn allowance_cells(allowance: &Allowance, price: &Price) -> [Cell; 4] {
    let unit = || price.usage.as_ref().map(|usage| usage.unit.name.as_str()).into();
    match allowance {
        Allowance::Own { quantity, prorated } => {
            [Cell::Null, decimal(&Exact::from(*quantity)), unit(), Cell::Truth(*prorated)]
        }
        Allowance::Pool { pool } => [pool.as_str().into(), Cell::Null, unit(), Cell::Null],
    }
}

fn limit_rows(catalog: &Catalog, tenant: &Tenant, now_us: i64) -> Vec<Vec<Cell>> {
    let row = |(quota, limit): (&Quota, Limit)| {
        let usage = &quota.usage;
        let measured = Exact::from(i128::try_from(usage.measured_unit.size).unwrap_or(i128::MAX));
        let unit = Exact::from(i128::try_from(usage.unit.size).unwrap_or(i128::MAX));
        let percents: Vec<String> = quota.alert_at_percent.iter().map(ToString::to_string).collect();
        vec![
            tenant.key.as_str().into(),
            quota.key.as_str().into(),
            quota.description.as_str().into(),
            usage.meter.as_str().into(),
            usage.measure.as_str().into(),
            json!(usage.only).to_string().into(),
            match limit {
                Limit::Unlimited => Cell::Null,
                Limit::Of(quantity) => decimal(&Exact::from(quantity)),
            },
            usage.unit.name.as_str().into(),
            unit.checked_div(&measured).map_or(Cell::Null, |size| decimal(&size)),
            match quota.window {
                QuotaWindow::Period => "period",
                QuotaWindow::Hour => "hour",
                QuotaWindow::Lifetime => "lifetime",
            }
            .into(),
            format!("[{}]", percents.join(",")).into(),
            match quota.when_reached {
                WhenReached::Notify => "notify",
                WhenReached::Refuse => "refuse",
            }
            .into(),
        ]
    };
    catalog.quotas_in_force(tenant, now_us).into_iter().map(row).collect()
}

fn meter_row(meter: &rating::catalog::Meter) -> Vec<Cell> {
    let dimensions: Vec<&String> = meter.dimensions.keys().collect();
    vec![
        meter.key.as_str().into(),
        meter.description.as_str().into(),
        meter.kind.rules().name().as_str().into(),
        meter.event_type.as_str().into(),
        meter.unit.name.as_str().into(),
        json!(dimensions).to_string().into(),
    ]
}
