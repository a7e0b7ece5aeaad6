//! Priced lines: what one price costs one tenant in one span (DESIGN.md 3.6 to 3.9).
//!
//! Owns the line and its stable key, by which a recomputed line finds the issued one. Does not decide which lines an
//! invoice has: the subscription's plan does.

mod key;

use serde::{Deserialize, Serialize};

use crate::exact::Exact;
use crate::invoice::{Corrects, Warning};
use crate::money::{Amount, Currency};
use crate::period::Span;
use crate::price::{CommittedInPeriod, PeriodSoFar, PoolBalances, PriceError, PriceTerms, PriceTrail, Usage};
use crate::quantity::{Dimensions, OverTime, Quantity};

pub use key::LineKey;

/// One line of an invoice, with everything that explains its amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineItem {
    pub key: LineKey,
    /// What people read.
    pub description: String,
    /// What was measured; nothing for base fees and one-off charges.
    pub quantity: Option<Quantity>,
    /// Where the price stands in the catalog, for `explain`: file and line. It is no part of the invoice's text: a
    /// comment may move a price, and the same catalog under another name must give the same bytes.
    #[serde(skip)]
    pub price_source: Option<String>,
    pub currency: Currency,
    pub trail: PriceTrail,
    /// Rounded to the currency's minor unit.
    pub amount: Amount,
    /// On an adjustment line only: it bills the difference to what an earlier invoice said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrects: Option<Corrects>,
}

/// What a line is rated from.
#[derive(Debug, Clone)]
pub struct LineRequest<'a> {
    pub key: LineKey,
    pub description: String,
    pub price_source: Option<String>,
    pub terms: &'a PriceTerms,
    pub currency: Currency,
    /// The whole billing period, of which the key's span may be a part.
    pub period: Span,
    /// Nothing for base fees and one-off charges: they are charged once.
    pub quantity: Option<Quantity>,
    pub transactions: Option<&'a [Exact]>,
    /// What earlier lines of the same price and period used up, and the commitment that they share.
    pub so_far: Option<&'a PeriodSoFar>,
    pub commitment: Option<&'a CommittedInPeriod>,
}

/// A line has no amount; names the tenant, meter and period that it failed for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant {tenant}, period {period}, price {price}{}: no amount", meter_of(meter.as_deref()))]
pub struct LineError {
    pub tenant: String,
    pub period: String,
    pub price: String,
    pub meter: Option<String>,
    #[source]
    pub source: Box<PriceError>,
}

fn meter_of(meter: Option<&str>) -> String {
    meter.map_or(String::new(), |meter| format!(", meter {meter}"))
}

impl LineItem {
    /// Rates one line; the pools are those of its plan and span, and lines are rated in the plan's order.
    pub fn rate(request: LineRequest<'_>, pools: &mut PoolBalances) -> Result<LineItem, LineError> {
        let once = Exact::ONE;
        let none = Dimensions::new();
        let quantity = request.quantity.as_ref();
        let usage = Usage {
            quantity: quantity.map_or(&once, |quantity| &quantity.value),
            unit: quantity.map_or("", |quantity| &quantity.unit),
            dimensions: quantity.map_or(&none, |quantity| &quantity.dimensions),
            transactions: request.transactions,
            over_time: quantity.map_or(OverTime::AddsUp, |quantity| quantity.measure.over_time()),
            span_share: &request.key.span.share_of(&request.period),
            so_far: request.so_far,
            commitment: request.commitment,
        };
        match request.terms.rate(&usage, request.currency, pools) {
            Ok(trail) => Ok(LineItem {
                amount: trail.amount(),
                key: request.key,
                description: request.description,
                quantity: request.quantity,
                price_source: request.price_source,
                currency: request.currency,
                trail,
                corrects: None,
            }),
            Err(source) => Err(LineError {
                meter: quantity.map(|quantity| quantity.meter.clone()),
                tenant: request.key.tenant,
                period: request.key.period,
                price: request.key.price,
                source: Box::new(source),
            }),
        }
    }
}

impl LineItem {
    /// What the line's reader should know about its quantity.
    pub fn warnings(&self) -> Vec<Warning> {
        let quantity = self.trail.billable.clone();
        let paid_back = Warning::NegativeQuantity { price: self.key.price.clone(), quantity };
        if self.trail.billable.is_negative() { vec![paid_back] } else { Vec::new() }
    }
}

impl LineError {
    /// The warning to put on the draft instead of the line, when the rest of the invoice still stands: a value that the
    /// price does not name. Anything else fails the tenant.
    pub fn as_warning(&self, quantity: &Quantity) -> Option<Warning> {
        match *self.source {
            PriceError::NoPriceForDimensions { .. } => Some(Warning::NoPriceForDimensions {
                price: self.price.clone(),
                dimensions: quantity.dimensions.clone(),
                quantity: quantity.value.clone(),
            }),
            _ => None,
        }
    }
}
