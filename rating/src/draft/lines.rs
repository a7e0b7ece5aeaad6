//! The lines of a draft: one for each price, set of dimension values and span, rated in the plan's order so that pools are
//! drawn in it.
//!
//! Owns which lines stand without usage. A price that adds up all of its usage stands in every span, at zero if need
//! be: the reader sees what is included, and a late event finds its line. A price with a line for each value has lines for
//! the values that were used; if there were none, a single line stands where something is owed nevertheless (a tier's
//! flat fee, a commitment). One-off purchases and costs stand only where there are some.

use std::collections::BTreeMap;

use crate::catalog::PricedUsage;
use crate::exact::Exact;
use crate::invoice::Warning;
use crate::line::{LineItem, LineKey, LineRequest};
use crate::price::{CommittedInPeriod, PeriodSoFar, PoolBalances, PriceModel};
use crate::quantity::{Dimensions, KindName, Measure, Quantity, Samples};
use crate::usage::{SeriesSpan, Totals, Usage, View};

use super::charge::{Charge, ChargeSpan};
use super::{Charges, DraftError, describe};

pub(super) fn rate(
    charges: &Charges<'_>,
    which: &[Charge<'_>],
    usage: &Usage,
    catalog_file: &str,
    levels_by: Option<Measure>,
) -> Result<(Vec<LineItem>, Vec<Warning>), DraftError> {
    let open = |held: &super::PoolSpan<'_>| {
        PoolBalances::open(std::slice::from_ref(held.pool), &held.span.share_of(&charges.period.span))
    };
    let mut rating = Rating {
        charges,
        which,
        usage,
        catalog_file,
        levels_by,
        pools: charges.pools.iter().map(open).collect(),
        so_far: BTreeMap::new(),
        lines: Vec::new(),
        warnings: Vec::new(),
    };
    for charge in which {
        match &charge.wanted {
            None => charge.spans.iter().try_for_each(|span| rating.fixed(charge, span))?,
            Some(wanted) => {
                let answers = usage
                    .of(&wanted.view, &wanted.spans)
                    .ok_or_else(|| DraftError::NotAsked { meter: wanted.view.meter.clone() })?;
                for span in &charge.spans {
                    rating.metered(charge, &wanted.view, span, answers)?;
                }
            }
        }
    }
    Ok((rating.lines, rating.warnings))
}

/// Subscription, price and dimensions of lines that share what is counted once in a period.
type SharedBy<'r> = (&'r str, &'r str, Dimensions);

struct Rating<'r, 'c> {
    charges: &'r Charges<'c>,
    which: &'r [Charge<'c>],
    usage: &'r Usage,
    catalog_file: &'r str,
    /// Instead of the measure that prices of levels name.
    levels_by: Option<Measure>,
    /// In the order of `Charges::pools`.
    pools: Vec<PoolBalances>,
    /// What prices with several spans did earlier in the period.
    so_far: BTreeMap<SharedBy<'r>, PeriodSoFar>,
    lines: Vec<LineItem>,
    warnings: Vec<Warning>,
}

impl<'r> Rating<'r, '_> {
    fn fixed(&mut self, charge: &'r Charge<'_>, span: &'r ChargeSpan<'_>) -> Result<(), DraftError> {
        let line = self.line(charge, span, None, None)?;
        self.lines.extend(line);
        Ok(())
    }

    fn metered(
        &mut self,
        charge: &'r Charge<'_>,
        view: &View,
        span: &'r ChargeSpan<'_>,
        answers: &[SeriesSpan],
    ) -> Result<(), DraftError> {
        let mut used = false;
        for series in answers.iter().filter(|series| series.span == span.span) {
            used = true;
            let quantity = self.quantity(view, span, series)?;
            let transactions = transactions(&series.totals);
            let line = self.line(charge, span, Some(quantity), transactions.as_deref())?;
            self.lines.extend(line);
        }
        if used || !charge.stands_without_usage {
            return Ok(());
        }
        let adds_up_all = view.by.is_empty();
        // Which cell would owe something is known only once there is usage.
        if !adds_up_all && matches!(span.terms.model, PriceModel::Matrix(_)) {
            return Ok(());
        }
        let line = self.line(charge, span, Some(self.nothing(view, span)), Some(&[]))?;
        self.lines.extend(line.filter(|line| adds_up_all || !line.amount.is_zero()));
        Ok(())
    }

    fn quantity(
        &self,
        view: &View,
        span: &ChargeSpan<'_>,
        series: &SeriesSpan,
    ) -> Result<Quantity, DraftError> {
        let Some(priced) = &span.price.usage else {
            return Err(DraftError::NotAsked { meter: view.meter.clone() });
        };
        let measure = self.measure(priced);
        let quantity = self.usage.quantity(view, series, measure, &priced.measured_unit.name);
        quantity.ok_or_else(|| DraftError::NotMeasured { meter: view.meter.clone(), measure })
    }

    fn measure(&self, priced: &PricedUsage) -> Measure {
        self.levels_by.filter(|_| is_level(priced.measure)).unwrap_or(priced.measure)
    }

    /// A quantity of zero for a line that stands without usage.
    fn nothing(&self, view: &View, span: &ChargeSpan<'_>) -> Quantity {
        let priced = span.price.usage.as_ref();
        Quantity {
            tenant: self.usage.demand.tenant.clone(),
            meter: view.meter.clone(),
            dimensions: Dimensions::new(),
            measure: priced.map_or(Measure::Sum, |priced| self.measure(priced)),
            span: span.span,
            unit: priced.map_or(String::new(), |priced| priced.measured_unit.name.clone()),
            value: Exact::ZERO,
            samples: Samples::default(),
            carried_in: Exact::ZERO,
        }
    }

    /// One line, or a warning and nothing where the price names no amount for these dimension values.
    fn line(
        &mut self,
        charge: &'r Charge<'_>,
        span: &'r ChargeSpan<'_>,
        quantity: Option<Quantity>,
        transactions: Option<&[Exact]>,
    ) -> Result<Option<LineItem>, DraftError> {
        let dimensions = quantity.as_ref().map(|used| used.dimensions.clone()).unwrap_or_default();
        let key = LineKey {
            tenant: self.usage.demand.tenant.clone(),
            period: self.charges.period.name.clone(),
            subscription: charge.subscription.to_owned(),
            price: charge.price.to_owned(),
            dimensions,
            span: span.span,
        };
        let shared_by =
            charge.has_several_spans.then(|| (charge.subscription, charge.price, key.dimensions.clone()));
        let so_far = shared_by.as_ref().map(|shared_by| self.so_far.remove(shared_by).unwrap_or_default());
        let commitment = self.committed(charge, span, &key.dimensions);
        let request = LineRequest {
            description: describe::line(self.charges, span, &key.dimensions),
            price_source: Some(format!("{}:{}", self.catalog_file, span.place.line)),
            key,
            terms: &span.terms,
            currency: span.currency.ok_or(DraftError::NoCurrency)?,
            period: self.charges.period.span,
            quantity,
            transactions,
            so_far: so_far.as_ref(),
            commitment: commitment.as_ref(),
        };
        // Kept for the warning, and so that usage without a price draws nothing from a pool.
        let asked = self.warnable(span, request.quantity.as_ref());
        let mut no_pools = PoolBalances::default();
        let pools = span.pool.and_then(|at| self.pools.get_mut(at)).unwrap_or(&mut no_pools);
        match LineItem::rate(request, pools) {
            Ok(line) => {
                if let Some((shared_by, so_far)) = shared_by.zip(so_far) {
                    let sum = so_far.with(&span.terms, &line.trail, transactions.unwrap_or(&[]));
                    self.so_far.insert(shared_by, sum.ok_or_else(|| out_of_range(&line))?);
                }
                self.warnings.extend(line.warnings());
                Ok(Some(line))
            }
            Err(error) => {
                let Some((quantity, full)) = asked else { return Err(error.into()) };
                let Some(warning) = error.as_warning(&quantity) else { return Err(error.into()) };
                if let (Some(at), Some(full)) = (span.pool, full) {
                    self.pools[at] = full;
                }
                self.so_far.extend(shared_by.zip(so_far));
                if !quantity.value.is_zero() {
                    self.warnings.push(warning);
                }
                Ok(None)
            }
        }
    }

    /// The commitment of a price with several spans: it is one promise over all of them.
    fn committed(
        &self,
        charge: &Charge<'_>,
        span: &ChargeSpan<'_>,
        dimensions: &Dimensions,
    ) -> Option<CommittedInPeriod> {
        if span.terms.commitment.is_none() || !charge.has_several_spans {
            return None;
        }
        let own = self.which.iter().filter(|other| other.is_of_price(charge)).flat_map(|other| &other.spans);
        let mut of_period = CommittedInPeriod { prorated: Exact::ZERO, whole: None, is_last: false };
        for other in own {
            let Some(commitment) = &other.terms.commitment else { continue };
            of_period.is_last = other.span == span.span;
            let share = other.span.share_of(&self.charges.period.span);
            // Where it has no amount, its own line says so.
            let Ok(Some(amount)) = other.terms.committed(dimensions, &share) else { continue };
            if commitment.prorated {
                of_period.prorated += &amount;
            } else {
                of_period.whole = Some(amount);
            }
        }
        Some(of_period)
    }

    /// What is needed should a matrix have no cell for the quantity.
    fn warnable(
        &self,
        span: &ChargeSpan<'_>,
        quantity: Option<&Quantity>,
    ) -> Option<(Quantity, Option<PoolBalances>)> {
        let is_matrix = matches!(&span.terms.model, PriceModel::Matrix(matrix) if matrix.otherwise.is_none());
        let quantity = quantity.filter(|_| is_matrix)?.clone();
        Some((quantity, span.pool.and_then(|at| self.pools.get(at)).cloned()))
    }
}

/// Whether the measure is a level, for which peak and average are other choices in the same unit.
pub(super) fn is_level(measure: Measure) -> bool {
    measure.kind() == KindName::Gauge && measure != Measure::UnitHours
}

fn out_of_range(line: &LineItem) -> DraftError {
    DraftError::OutOfRange {
        tenant: line.key.tenant.clone(),
        period: line.key.period.clone(),
        price: line.key.price.clone(),
        meter: line.quantity.as_ref().map(|quantity| quantity.meter.clone()),
    }
}

fn transactions(totals: &Totals) -> Option<Vec<Exact>> {
    match totals {
        Totals::Delta(totals) => {
            let nano = totals.transactions_nano.as_ref()?;
            Some(nano.iter().map(|nano| Exact::from_nano(*nano)).collect())
        }
        _ => None,
    }
}
