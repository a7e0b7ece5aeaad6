//! What an issued invoice has to tell Stripe, made ready before it is issued so that both happen in one transaction.
//!
//! Owns reading what the plan needs: the catalogs that invoices name, and the usage by days or hours of prices that are
//! sent so, from the table version that the invoice pins. So the same invoice gives the same records at any time, for
//! `reconcile` too. Does not own what the records are (`stripe::plan`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::sql::lake::{Lake, Table, TableHandle, TableSnapshot};
use ::sql::quantities::{Asked, HELD_BYTES_MAX, READ_BYTES_MAX, TenantShare, UsageScan};
use anyhow::{Context, Result};
use rating::catalog::Catalog;
use rating::invoice::Invoice;
use rating::usage::{Demand, Usage};

use super::retold::{self, ToldUntil};
use super::{StoredDocument, catalogs};
use crate::book::Book;
use crate::config::Config;
use crate::paper::{PaperKind, issued_name};
use crate::rate::tenants::{threads, usage_snapshot};
use crate::stripe::StripeRecord;
use crate::stripe::plan::{IssuedInvoice, OnlyPeriods, PlanError, Retold, UsageInParts, demand, plan_with};

/// The number of an invoice that has none yet, to try whether it can be planned.
const NO_NUMBER: &str = "(draft)";

/// What usage is read from for one invoice: the catalog's hash, the version of usage events, and the period.
type Pins = (String, i64, String);

/// Everything that the plans of some invoices need.
#[derive(Debug)]
pub struct StripePlans {
    catalogs: BTreeMap<String, Arc<Catalog>>,
    /// By draft id, where the invoice alone does not say enough.
    usages: BTreeMap<String, Usage>,
    /// By draft id: what its corrections take back.
    retold: BTreeMap<String, Retold>,
    /// In front of a paper's name; none where nobody could follow the link.
    papers_url: Option<String>,
}

impl StripePlans {
    pub async fn prepare(
        lake: &Lake,
        book: &Book,
        config: &Config,
        documents: impl Iterator<Item = &StoredDocument>,
        told: ToldUntil,
    ) -> Result<Self> {
        let papers_url = papers_url(lake, config);
        let (catalogs, usages, retold) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut plans = Self { catalogs, usages, retold, papers_url };
        let mut demands: BTreeMap<Pins, Vec<(&str, Demand)>> = BTreeMap::new();
        for document in documents {
            let provenance = &document.invoice.provenance;
            let hash = &provenance.catalog_hash;
            if !plans.catalogs.contains_key(hash) {
                let catalog = catalogs::find(lake, book, config, hash).await?;
                plans.catalogs.insert(hash.clone(), Arc::new(catalog));
            }
            if let Some(demand) = demand(&document.invoice, &plans.catalogs[hash]) {
                let period = document.invoice.period.name.clone();
                let pins = (hash.clone(), provenance.table_version, period);
                demands.entry(pins).or_default().push((&document.id, demand));
            }
            if let Some(retold) = retold::find(lake, book, document, &plans.catalogs[hash], told).await? {
                plans.retold.insert(document.id.clone(), retold);
            }
        }
        for ((hash, version, _), demands) in demands {
            // Before the first event there was no version.
            let snapshot = match u64::try_from(version) {
                Ok(version) => usage_snapshot(lake, Some(version)).await?,
                Err(_) => None,
            };
            let (ids, demands): (Vec<&str>, Vec<Demand>) = demands.into_iter().unzip();
            let usages = match snapshot {
                Some(snapshot) => {
                    let table = lake.table(Table::UsageEvents);
                    usage_of(table, snapshot, &plans.catalogs[&hash], demands).await?
                }
                None => demands.into_iter().map(Usage::unused).collect(),
            };
            plans.usages.extend(ids.into_iter().map(str::to_owned).zip(usages));
        }
        Ok(plans)
    }

    /// The invoice's records under this number.
    pub fn records(&self, number: &str, document: &StoredDocument) -> Result<Vec<StripeRecord>, PlanError> {
        let catalog = &self.catalogs[&document.invoice.provenance.catalog_hash];
        let link = self.papers_url.as_ref().map(|url| {
            let period = &document.invoice.period.name;
            format!("{url}{period}/{}.pdf", issued_name(PaperKind::Invoice, number))
        });
        let issued = IssuedInvoice { number, invoice: &document.invoice, pdf_link: link.as_deref() };
        let retold = self.retold.get(&document.id).cloned().unwrap_or_default();
        planned(&issued, catalog, self.usages.get(&document.id), &retold)
    }

    /// The records that the invoice will have, but for its number.
    pub fn try_out(&self, document: &StoredDocument) -> Result<Vec<StripeRecord>, PlanError> {
        self.records(NO_NUMBER, document)
    }
}

/// The records of an invoice without corrections, with its usage in parts where it was asked for.
pub fn records(
    number: &str,
    invoice: &Invoice,
    catalog: &Catalog,
    usage: Option<&Usage>,
    pdf_link: Option<&str>,
) -> Result<Vec<StripeRecord>, PlanError> {
    planned(&IssuedInvoice { number, invoice, pdf_link }, catalog, usage, &Retold::default())
}

fn planned(
    issued: &IssuedInvoice<'_>,
    catalog: &Catalog,
    usage: Option<&Usage>,
    retold: &Retold,
) -> Result<Vec<StripeRecord>, PlanError> {
    match usage {
        Some(usage) => plan_with(issued, catalog, &UsageInParts { catalog, usage }, retold),
        None => plan_with(issued, catalog, &OnlyPeriods, retold),
    }
}

/// Answers the demands of tenants, each of which stands there once, in their order.
pub async fn usage_of(
    table: TableHandle,
    snapshot: Arc<TableSnapshot>,
    catalog: &Arc<Catalog>,
    demands: Vec<Demand>,
) -> Result<Vec<Usage>> {
    let asked: BTreeMap<String, Demand> =
        demands.iter().map(|demand| (demand.tenant.clone(), demand.clone())).collect();
    let tenants: BTreeSet<String> = asked.keys().cloned().collect();
    let scan = UsageScan {
        table,
        snapshot,
        catalog: Arc::clone(catalog),
        demand_of: Arc::new(move |tenant| {
            asked.get(tenant).map_or(Asked::Nothing, |demand| Asked::Demand(demand.clone()))
        }),
        tenants: Some(tenants),
        share: TenantShare::default(),
        until_us: demands.iter().map(|demand| demand.period.span.end_us).max().unwrap_or(i64::MIN),
        threads: threads(),
        memory: None,
        held_bytes_max: HELD_BYTES_MAX,
        read_bytes_max: READ_BYTES_MAX,
    };
    let answers = scan.run().await.context("cannot read usage by days or hours for stripe")?;
    if let Some(failure) = answers.failed.into_iter().next() {
        return Err(failure.into());
    }
    let mut found: BTreeMap<String, Usage> =
        answers.usages.into_iter().map(|usage| (usage.demand.tenant.clone(), usage)).collect();
    Ok(demands
        .into_iter()
        .map(|demand| found.remove(&demand.tenant).unwrap_or_else(|| Usage::unused(demand)))
        .collect())
}

/// Where papers are found from outside: as the settings say, or in the bucket.
fn papers_url(lake: &Lake, config: &Config) -> Option<String> {
    match &config.issuer.papers_url {
        Some(url) => Some(format!("{}/", url.as_str().trim_end_matches('/'))),
        None if matches!(lake.url().scheme(), "s3" | "s3a" | "gs") => Some(format!("{}papers/", lake.url())),
        None => None,
    }
}
