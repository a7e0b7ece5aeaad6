//! Drafts: which prices a tenant has in a period, what they ask of its usage, and the invoice that the answer makes.
//!
//! Owns the way between the catalog and the line: the question for each price (`Charges::demand`), the lines in the plan's
//! order with their pools (`Charges::rate`), and a warning for everything that was used and is not billed. Does not own
//! how usage is counted (`usage`), how one line is priced (`price`, `line`), and the sums (`invoice`). It keeps DESIGN.md
//! 3.6 (pools are drawn in the plan's order) and 3.8 (each span is a line), and that nothing becomes a silent zero.

mod charge;
mod costs;
mod describe;
mod grants;
mod lines;
mod taxes;
mod unpriced;
mod warnings;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Tenant};
use crate::invoice::credit::Credit;
use crate::invoice::tax::OneRate;
use crate::invoice::{Invoice, InvoiceError, InvoiceKind, InvoiceParts, Provenance, Warning};
use crate::line::{LineError, LineItem, LineKey};
use crate::money::Currency;
use crate::period::Period;
use crate::quantity::Measure;
use crate::usage::{Demand, Usage, View};

use charge::{Charge, PoolSpan};
use taxes::{TaxesOfThen, tax_of};
use unpriced::Unpriced;

pub use grants::granted_credits;

/// The subscription in the key of a line that belongs to none, as a one-off purchase does.
pub const NO_SUBSCRIPTION: &str = "";

/// The id of a tenant's draft of a period: the same in every run, and it names the month in which it is kept.
pub fn draft_id(tenant: &str, period: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(tenant.len() as u64).to_le_bytes()).update(tenant.as_bytes()).update(period.as_bytes());
    format!("{period}-{}", &hasher.finalize().to_hex()[..16])
}

/// The id of any document of a tenant and period; `Invoice::occasion` tells them apart.
pub fn document_id(tenant: &str, period: &str, occasion: &str) -> String {
    if occasion.is_empty() {
        return draft_id(tenant, period);
    }
    let mut hasher = blake3::Hasher::new();
    for part in [tenant, period, occasion] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    format!("{period}-{}", &hasher.finalize().to_hex()[..16])
}

/// Everything that the holder of some terms is charged for in one period.
///
/// Tenants that share their terms and period (`other_tenants`) share this too.
#[derive(Debug, Clone)]
pub struct Charges<'c> {
    catalog: &'c Catalog,
    terms: &'c Tenant,
    period: Period,
    /// Prices of subscriptions in the plans' order, then one-off purchases.
    owed: Vec<Charge<'c>>,
    pools: Vec<PoolSpan<'c>>,
    /// The vendor's own.
    costs: Vec<Charge<'c>>,
    unpriced: Vec<Unpriced<'c>>,
}

/// What a demand asks beyond what prices need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemandOptions {
    /// Usage that no price of the tenant covers, so that a draft can warn of it. `Charges::rate` needs it.
    pub unpriced_usage: bool,
    /// What the vendor pays for, for reports of the margin.
    pub costs: bool,
}

impl Default for DemandOptions {
    fn default() -> DemandOptions {
        DemandOptions { unpriced_usage: true, costs: false }
    }
}

/// What a draft is made from, beside the usage.
#[derive(Debug)]
pub struct DraftInputs<'a> {
    /// Balances that may pay; they are lowered by what they paid.
    pub credits: &'a mut [Credit],
    pub provenance: Provenance,
    /// The catalog's name in `price_source`.
    pub catalog_file: &'a str,
    pub corrected: CorrectedWith<'a>,
}

/// By the name of each earlier period that is corrected: the catalog that it was rated with again. The taxes of a
/// correction are those of the tenant in that catalog, whatever it owes since.
pub type CorrectedWith<'a> = BTreeMap<&'a str, &'a Catalog>;

/// A tenant's lines before they are summed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatedLines {
    pub tenant: String,
    pub lines: Vec<LineItem>,
    pub warnings: Vec<Warning>,
}

/// A tenant has no draft; the others still have theirs.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    #[error("usage of period {found} was given for period {period}")]
    OtherPeriod { period: String, found: String },
    #[error("the usage does not answer what the price of meter {meter} asks")]
    NotAsked { meter: String },
    #[error("meter {meter} has no {measure}")]
    NotMeasured { meter: String, measure: Measure },
    #[error("no plan of the tenant names a currency, and neither does the catalog")]
    NoCurrency,
    #[error(
        "tenant {tenant}, period {period}, price {price}{}: the lines of the period add up to more than 28 digits",
        meter.as_ref().map_or(String::new(), |meter| format!(", meter {meter}"))
    )]
    OutOfRange { tenant: String, period: String, price: String, meter: Option<String> },
    #[error(transparent)]
    Line(#[from] LineError),
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
}

impl<'c> Charges<'c> {
    /// What these terms charge in the period. `terms` are those that `Catalog::tenant_terms` has for the tenant.
    pub fn new(catalog: &'c Catalog, terms: &'c Tenant, period: Period) -> Charges<'c> {
        let costs = charge::of_costs(catalog, period.span);
        let nothing = Charges {
            catalog,
            terms,
            period,
            owed: Vec::new(),
            pools: Vec::new(),
            costs,
            unpriced: Vec::new(),
        };
        let Some(billed) = terms.billed_part(nothing.period.span) else { return nothing };
        let pools = charge::pools(catalog, terms, billed);
        let mut owed = charge::of_subscriptions(catalog, terms, billed, &pools);
        owed.extend(charge::of_items(catalog, billed));
        let unpriced = unpriced::find(catalog, terms, billed, &owed);
        Charges { owed, pools, unpriced, ..nothing }
    }

    pub fn period(&self) -> &Period {
        &self.period
    }

    pub fn terms(&self) -> &'c Tenant {
        self.terms
    }

    /// How a price is measured, as it holds first in the period.
    pub fn measure_of(&self, subscription: &str, price: &str) -> Option<Measure> {
        let is_meant = |charge: &&Charge| charge.subscription == subscription && charge.price == price;
        let span = self.owed.iter().find(is_meant)?.spans.first()?;
        Some(span.price.usage.as_ref()?.measure)
    }

    /// How the usage of a line is looked at; nothing for lines without usage and for those of other periods.
    pub fn view_of(&self, key: &LineKey) -> Option<&View> {
        let is_meant = |charge: &&Charge| {
            charge.subscription == key.subscription
                && charge.price == key.price
                && charge.spans.iter().any(|span| span.span == key.span)
        };
        self.owed.iter().find(is_meant)?.wanted.as_ref().map(|wanted| &wanted.view)
    }

    /// What has to be known of the tenant's usage.
    pub fn demand(&self, tenant: &str, options: DemandOptions) -> Demand {
        let mut demand =
            Demand { tenant: tenant.to_owned(), period: self.period.clone(), wanted: Vec::new() };
        let costs = if options.costs { self.costs.as_slice() } else { &[] };
        let unpriced = if options.unpriced_usage { self.unpriced.as_slice() } else { &[] };
        let priced = self.owed.iter().chain(costs).filter_map(|charge| charge.wanted.as_ref());
        for wanted in priced.chain(unpriced.iter().map(|unpriced| &unpriced.wanted)) {
            demand.ask(wanted.clone());
        }
        demand
    }

    /// The draft, or nothing where there is nothing to charge and nothing to warn of.
    pub fn rate(&self, usage: &Usage, inputs: DraftInputs<'_>) -> Result<Option<Invoice>, DraftError> {
        let rated = self.rate_lines(usage, inputs.catalog_file)?;
        if rated.lines.is_empty() && rated.warnings.is_empty() {
            return Ok(None);
        }
        self.invoice(rated, inputs).map(Some)
    }

    /// The lines, and what has to be warned of.
    pub fn rate_lines(&self, usage: &Usage, catalog_file: &str) -> Result<RatedLines, DraftError> {
        self.check_period(usage)?;
        let (lines, mut warnings) = lines::rate(self, &self.owed, usage, catalog_file, None)?;
        for unpriced in &self.unpriced {
            warnings.extend(unpriced.warnings(usage)?);
        }
        warnings.extend(warnings::of_meters(self.catalog, usage));
        Ok(RatedLines { tenant: usage.demand.tenant.clone(), lines, warnings })
    }

    /// The lines alone. Usage without a price need not have been asked for.
    pub fn rate_prices(&self, usage: &Usage, catalog_file: &str) -> Result<Vec<LineItem>, DraftError> {
        self.check_period(usage)?;
        Ok(lines::rate(self, &self.owed, usage, catalog_file, None)?.0)
    }

    fn check_period(&self, usage: &Usage) -> Result<(), DraftError> {
        let found = &usage.demand.period;
        if *found == self.period {
            return Ok(());
        }
        Err(DraftError::OtherPeriod { period: self.period.name.clone(), found: found.name.clone() })
    }

    /// The invoice of these lines: credits, taxes and sums.
    pub fn invoice(&self, rated: RatedLines, inputs: DraftInputs<'_>) -> Result<Invoice, DraftError> {
        let taxes = TaxesOfThen::new(self.tax(), &rated.tenant, &inputs.corrected);
        let parts = InvoiceParts {
            kind: InvoiceKind::OfPeriod,
            tenant: rated.tenant,
            period: self.period.clone(),
            currency: self.currency()?,
            lines: rated.lines,
            warnings: rated.warnings,
            provenance: inputs.provenance,
        };
        Ok(Invoice::assemble(parts, inputs.credits, &taxes)?)
    }

    /// A document of nothing but corrections, in the currency of these terms. No credit pays for it.
    pub fn corrections(
        &self,
        kind: InvoiceKind,
        tenant: &str,
        lines: Vec<LineItem>,
        provenance: Provenance,
        corrected: &CorrectedWith<'_>,
    ) -> Result<Invoice, DraftError> {
        let taxes = TaxesOfThen::new(self.tax(), tenant, corrected);
        let parts = InvoiceParts {
            kind,
            tenant: tenant.to_owned(),
            period: self.period.clone(),
            currency: self.currency()?,
            lines,
            warnings: Vec::new(),
            provenance,
        };
        Ok(Invoice::assemble(parts, &mut [], &taxes)?)
    }

    /// The lines of all prices of levels as they would be if each were billed by this measure: the answer to whether
    /// storage should be billed by its peak or by its average.
    pub fn rate_levels_by(
        &self,
        measure: Measure,
        usage: &Usage,
        catalog_file: &str,
    ) -> Result<Vec<LineItem>, DraftError> {
        let (mut lines, _) = lines::rate(self, &self.owed, usage, catalog_file, Some(measure))?;
        lines.retain(|line| line.quantity.as_ref().is_some_and(|used| lines::is_level(used.measure)));
        Ok(lines)
    }

    fn tax(&self) -> Option<OneRate> {
        tax_of(self.catalog, self.terms)
    }

    /// All plans that one tenant subscribes to have one currency.
    pub fn currency(&self) -> Result<Currency, DraftError> {
        let plans = self.terms.subscriptions.iter().filter_map(|own| self.catalog.plan(&own.plan));
        plans.map(|plan| plan.currency).next().or(self.catalog.currency).ok_or(DraftError::NoCurrency)
    }
}
