//! Random prices of each model that has more than one number, against a rational oracle: tiers with blocks and maxima,
//! percentages with everything that counts by transaction, and matrices.

mod oracle;

use std::collections::BTreeMap;

use num_rational::BigRational;
use oracle::price::{self as brute, Weights, milli, to_cents, zero};
use oracle::{config, ratio, rational, whole};
use proptest::prelude::*;
use rating::exact::Exact;
use rating::money::{Currency, UnitPrice};
use rating::price::{
    Allowance, Discount, FlatPrice, GraduatedPrice, MatrixCell, MatrixPrice, PackagePrice, PerUnitPrice,
    PercentagePrice, PeriodSoFar, PoolBalances, PriceError, PriceModel, PriceTerms, PriceTrail,
    RoundingDirection, Tier, Usage, VolumePrice, ZeroUsage,
};
use rating::quantity::{Dimensions, OverTime};
use rust_decimal::Decimal;

fn decimal_of(thousandths: i128) -> Decimal {
    Decimal::try_from_i128_with_scale(thousandths, 3).unwrap()
}

fn exact_of(thousandths: i128) -> Exact {
    Exact::ratio(thousandths, 1_000).unwrap()
}

fn unit_price(thousandths: i128) -> UnitPrice {
    UnitPrice::new(decimal_of(thousandths)).unwrap()
}

/// What a price is applied to; everything else is as it is for a whole period.
fn usage<'a>(quantity: &'a Exact, dimensions: &'a Dimensions) -> Usage<'a> {
    Usage {
        quantity,
        unit: "unit",
        dimensions,
        transactions: None,
        over_time: OverTime::AddsUp,
        span_share: &Exact::ONE,
        so_far: None,
        commitment: None,
    }
}

fn rate(terms: &PriceTerms, usage: &Usage<'_>) -> Result<PriceTrail, PriceError> {
    terms.rate(usage, Currency::from_code("USD").unwrap(), &mut PoolBalances::default())
}

fn tiers() -> impl Strategy<Value = Vec<brute::Tier>> {
    let money = || (0_i128..9_999, 0_i128..90_000);
    let limits = || (prop::option::weighted(0.3, 1_i128..9_000), prop::option::weighted(0.3, 0_i128..90_000));
    let tier = (1_i128..40_000, money(), limits(), 0_i128..50_000);
    (prop::collection::vec(tier, 0..4), money(), limits()).prop_map(|(rows, last_money, last_limits)| {
        let mut bound = 0;
        let own =
            |bound, money: (i128, i128), limits: (Option<i128>, Option<i128>), billed_before| brute::Tier {
                bound,
                unit_price: money.0,
                fee: money.1,
                block: limits.0,
                maximum: limits.1,
                billed_before,
            };
        let mut tiers: Vec<brute::Tier> = Vec::new();
        for (width, money, limits, billed_before) in rows {
            bound += width;
            tiers.push(own(Some(bound), money, limits, billed_before));
        }
        tiers.push(own(None, last_money, last_limits, 0));
        tiers
    })
}

fn as_priced(tiers: &[brute::Tier], is_volume: bool, zero_usage: ZeroUsage) -> PriceModel {
    let own = |tier: &brute::Tier| Tier {
        block_size: tier.block.map(decimal_of),
        maximum: tier.maximum.map(decimal_of),
        ..Tier::new(tier.bound.map(decimal_of), unit_price(tier.unit_price), decimal_of(tier.fee))
    };
    let tiers = tiers.iter().map(own).collect();
    if is_volume {
        PriceModel::Volume(VolumePrice { tiers, zero_usage })
    } else {
        PriceModel::Graduated(GraduatedPrice { tiers, zero_usage })
    }
}

#[derive(Debug, Clone)]
struct Percentage {
    rate: i128,
    fee: i128,
    free_number: Option<u64>,
    free_amount: Option<i128>,
    minimum: Option<i128>,
    maximum: Option<i128>,
    /// Those of earlier spans, and of this one.
    before: Vec<i128>,
    own: Vec<i128>,
}

fn percentage() -> impl Strategy<Value = Percentage> {
    let value = || prop_oneof![6 => 0_i128..900_000, 1 => Just(0), 1 => -90_000_i128..0];
    let transactions = || prop::collection::vec(value(), 0..6);
    let maybe = |most: i128| prop::option::of(0..most);
    (
        (0_i128..20_000, prop_oneof![Just(0), 0_i128..900]),
        (prop::option::of(0_u64..6), maybe(900_000)),
        (maybe(9_000), maybe(20_000)),
        (transactions(), transactions()),
    )
        .prop_map(|((rate, fee), (free_number, free_amount), (minimum, maximum), (before, own))| {
            Percentage { rate, fee, free_number, free_amount, minimum, maximum, before, own }
        })
}

impl Percentage {
    fn price(&self) -> PercentagePrice {
        PercentagePrice {
            fee_per_transaction: decimal_of(self.fee),
            free_transactions: self.free_number,
            free_amount: self.free_amount.map(decimal_of),
            minimum_per_transaction: self.minimum.map(decimal_of),
            maximum_per_transaction: self.maximum.map(decimal_of),
            ..PercentagePrice::rate(decimal_of(self.rate))
        }
    }

    /// What the first so many transactions of the period cost, each looked at with all before it.
    fn cost_of_first(&self, count: usize) -> BigRational {
        let all: Vec<i128> = self.before.iter().chain(&self.own).copied().take(count).collect();
        (0..all.len()).filter_map(|at| self.cost(&all[..=at])).sum()
    }

    /// What the last of some transactions costs; nothing where it is free.
    fn cost(&self, until: &[i128]) -> Option<BigRational> {
        let (last, earlier) = until.split_last()?;
        let paid_for = last - self.free_part(*last, earlier);
        // What is free costs neither fee nor minimum; where nothing is, there is no such part.
        let is_free = paid_for == 0 && self.may_be_free(earlier.len());
        let amount = milli(paid_for) * milli(self.rate) / whole(100) + milli(self.fee);
        let raised = self.minimum.map_or(amount.clone(), |minimum| amount.max(milli(minimum)));
        let within = self.maximum.map_or(raised.clone(), |maximum| raised.min(milli(maximum)));
        (!is_free).then_some(within)
    }

    fn may_be_free(&self, earlier: usize) -> bool {
        let in_number = self.free_number.is_none_or(|number| (earlier as u64) < number);
        in_number && (self.free_number.is_some() || self.free_amount.is_some())
    }

    fn free_part(&self, value: i128, earlier: &[i128]) -> i128 {
        if !self.may_be_free(earlier.len()) {
            return 0;
        }
        let Some(free_amount) = self.free_amount else { return value };
        let mut used = 0;
        for (at, value) in earlier.iter().enumerate() {
            used += if self.may_be_free(at) { (*value).min(free_amount - used) } else { 0 };
        }
        value.min(free_amount - used)
    }
}

/// A cell's price and what it asks for a quantity.
#[derive(Debug, Clone)]
enum Cell {
    PerUnit(i128),
    Flat(i128),
    Package(i128, i128),
    Rate(i128),
}

impl Cell {
    fn model(&self) -> PriceModel {
        match *self {
            Cell::PerUnit(price) => PriceModel::PerUnit(PerUnitPrice { unit_price: unit_price(price) }),
            Cell::Flat(fee) => PriceModel::Flat(FlatPrice { amount: decimal_of(fee), prorated: true }),
            Cell::Package(size, price) => PriceModel::Package(PackagePrice {
                size: decimal_of(size),
                package_price: decimal_of(price),
                rounding: RoundingDirection::Up,
            }),
            Cell::Rate(rate) => PriceModel::Percentage(PercentagePrice::rate(decimal_of(rate))),
        }
    }

    fn amount(&self, quantity: &BigRational) -> BigRational {
        match *self {
            Cell::PerUnit(price) => quantity * milli(price),
            Cell::Flat(fee) => milli(fee),
            Cell::Package(size, price) => (quantity / milli(size)).ceil() * milli(price),
            Cell::Rate(rate) => quantity * milli(rate) / whole(100),
        }
    }
}

fn cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        (0_i128..90_000).prop_map(Cell::PerUnit),
        (0_i128..90_000).prop_map(Cell::Flat),
        (1_i128..9_000, 0_i128..90_000).prop_map(|(size, price)| Cell::Package(size, price)),
        (0_i128..90_000).prop_map(Cell::Rate),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn tiered_lines_equal_the_oracle(
        rows in tiers(),
        (is_volume, owes_first_fee) in any::<(bool, bool)>(),
        (above, below) in (-20_000_i128..200_000, prop_oneof![Just(1_000_i128), 1_i128..2_000]),
        (allowance, percent_off) in (0_i128..30_000, 0_i128..100),
        (part, over_time) in (1_i128..40, prop::sample::select(&[OverTime::AddsUp, OverTime::Weighs, OverTime::IsWeighed][..])),
    ) {
        let zero_usage = if owes_first_fee { ZeroUsage::OwesFirstFlatFee } else { ZeroUsage::OwesNothing };
        let terms = PriceTerms {
            allowance: Some(Allowance::Own { quantity: decimal_of(allowance), prorated: false }),
            discounts: vec![Discount::Percent(Decimal::from(percent_off))],
            ..PriceTerms::of(as_priced(&rows, is_volume, zero_usage))
        };
        let share = ratio(part, 40);
        let weights = Weights {
            weight: if over_time == OverTime::AddsUp { whole(1) } else { share.clone() },
            share: share.clone(),
        };
        let tiers = (1..).zip(&rows).map(|(number, row)| (number, exact_of(row.billed_before)));
        let so_far = PeriodSoFar { tiers: tiers.collect(), ..PeriodSoFar::default() };
        let quantity = Exact::ratio(above, below).unwrap();
        let dimensions = Dimensions::new();
        let span_share = Exact::ratio(part, 40).unwrap();
        let usage = Usage { over_time, span_share: &span_share, so_far: Some(&so_far), ..usage(&quantity, &dimensions) };
        let trail = rate(&terms, &usage).unwrap();

        let used = ratio(above, below) * if over_time == OverTime::Weighs { share } else { whole(1) };
        let billable = if used > zero() { (&used - milli(allowance)).max(zero()) } else { used };
        let model = if is_volume { brute::volume } else { brute::graduated };
        let priced = model(&rows, &billable, owes_first_fee, &weights);
        prop_assert_eq!(rational(&trail.model_amount), priced.clone());
        let off = if priced > zero() { percent_off } else { 0 };
        let discounted = priced * ratio(100 - off, 100);
        prop_assert_eq!(rational(&trail.line_rounding.before), discounted.clone());
        prop_assert_eq!(rational(&Exact::from(trail.amount())), to_cents(&discounted));
    }

    #[test]
    fn percentages_equal_the_oracle(case in percentage()) {
        let price = case.price();
        let values = |values: &[i128]| -> Vec<Exact> { values.iter().copied().map(exact_of).collect() };
        let (own, so_far) =
            (values(&case.own), PeriodSoFar { transactions: values(&case.before), ..PeriodSoFar::default() });
        let quantity: Exact = own.iter().cloned().sum();
        let dimensions = Dimensions::new();
        let usage = Usage { transactions: Some(&own), so_far: Some(&so_far), ..usage(&quantity, &dimensions) };
        let by_transaction = price.needs_transactions();
        let trail = rate(&PriceTerms::of(PriceModel::Percentage(price)), &usage).unwrap();
        let all = case.before.len() + case.own.len();
        let expected = if by_transaction {
            case.cost_of_first(all) - case.cost_of_first(case.before.len())
        } else {
            rational(&quantity) * milli(case.rate) / whole(100)
        };
        prop_assert_eq!(rational(&trail.model_amount), expected.clone());
        prop_assert_eq!(rational(&Exact::from(trail.amount())), to_cents(&expected));
    }

    #[test]
    fn a_matrix_prices_what_its_cell_says(
        cells in prop::collection::btree_map((0_u8..4, 0_u8..3), cell(), 1..8),
        otherwise in prop::option::of(cell()),
        (size, kind) in (0_u8..4, 0_u8..3),
        thousandths in 0_i128..900_000,
        (says_size, says_more) in (prop::bool::weighted(0.9), any::<bool>()),
    ) {
        let name = |number: u8| format!("v{number}");
        let named: BTreeMap<Vec<String>, &Cell> =
            cells.iter().map(|((size, kind), cell)| (vec![name(*size), name(*kind)], cell)).collect();
        let matrix = MatrixPrice {
            dimensions: vec!["size".into(), "kind".into()],
            cells: named
                .iter()
                .map(|(values, cell)| MatrixCell { values: values.clone(), price: cell.model() })
                .collect(),
            otherwise: otherwise.as_ref().map(|cell| Box::new(cell.model())),
        };
        let mut dimensions = Dimensions::from([("kind".to_owned(), name(kind))]);
        if says_size {
            dimensions.insert("size".to_owned(), name(size));
        }
        if says_more {
            dimensions.insert("region".to_owned(), name(0));
        }
        let quantity = exact_of(thousandths);
        let found = rate(&PriceTerms::of(PriceModel::Matrix(matrix)), &usage(&quantity, &dimensions));
        let chosen = cells.get(&(size, kind)).filter(|_| says_size).or(otherwise.as_ref());
        match (chosen, found) {
            (Some(cell), Ok(trail)) => {
                let expected = cell.amount(&milli(thousandths));
                prop_assert_eq!(rational(&Exact::from(trail.amount())), to_cents(&expected));
            }
            (None, Err(error)) => {
                let is_named = matches!(error, PriceError::NoPriceForDimensions { .. });
                prop_assert!(is_named, "{}", error);
            }
            (chosen, found) => prop_assert!(false, "{:?} {:?}", chosen, found),
        }
    }
}
