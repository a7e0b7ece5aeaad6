//! Prices: each model's named cases, and the order of steps. Random ones are in `terms.rs` and `models.rs`.

mod oracle;

use oracle::{config, ratio, rational};
use proptest::prelude::*;
use rating::exact::Exact;
use rating::money::{Currency, MoneyRounding, UnitPrice};
use rating::price::{
    Allowance, Commitment, CommittedUsage, Discount, FlatPrice, GraduatedPrice, MatrixCell, MatrixPrice,
    PackagePrice, PerUnitPrice, PercentagePrice, PeriodSoFar, Pool, PoolBalances, PriceError, PriceModel,
    PriceTerms, PriceTrail, QuantityRounding, RoundingDirection, Tier, UnitConversion, Usage, VolumePrice,
    ZeroUsage,
};
use rating::quantity::{Dimensions, OverTime};
use rust_decimal::Decimal;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn exact(text: &str) -> Exact {
    text.parse().unwrap()
}

fn unit_price(text: &str) -> UnitPrice {
    UnitPrice::new(decimal(text)).unwrap()
}

fn per_unit(price: &str) -> PriceModel {
    PriceModel::PerUnit(PerUnitPrice { unit_price: unit_price(price) })
}

fn tiers(rows: &[(&str, &str, &str)]) -> Vec<Tier> {
    let bound = |text: &str| (!text.is_empty()).then(|| decimal(text));
    rows.iter().map(|row| Tier::new(bound(row.0), unit_price(row.1), decimal(row.2))).collect()
}

fn usd() -> Currency {
    Currency::from_code("USD").unwrap()
}

/// Rates a quantity for a share of the period, with dimensions and pools.
fn rate_with(
    terms: &PriceTerms,
    quantity: &str,
    share: &str,
    dimensions: &[(&str, &str)],
    pools: &mut PoolBalances,
) -> Result<PriceTrail, PriceError> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let dimensions: Dimensions = dimensions.iter().map(own).collect();
    let usage = Usage {
        quantity: &exact(quantity),
        unit: "byte",
        dimensions: &dimensions,
        transactions: None,
        over_time: OverTime::AddsUp,
        span_share: &exact(share),
        so_far: None,
        commitment: None,
    };
    terms.rate(&usage, usd(), pools)
}

fn rate(terms: &PriceTerms, quantity: &str) -> PriceTrail {
    rate_with(terms, quantity, "1", &[], &mut PoolBalances::default()).unwrap()
}

type Priced<'a> = (&'a str, &'a PriceModel, &'a str, &'a str);

/// Each row: name, model, quantity, and the model's amount before rounding.
fn assert_amounts(rows: &[Priced]) {
    for (name, model, quantity, amount) in rows {
        let trail = rate(&PriceTerms::of((*model).clone()), quantity);
        assert_eq!(trail.model_amount.to_string(), *amount, "{name}");
    }
}

#[test]
#[rustfmt::skip]
fn untiered_models_have_their_price() {
    let package = |rounding| {
        let (size, package_price) = (decimal("10"), decimal("15"));
        PriceModel::Package(PackagePrice { size, package_price, rounding })
    };
    let percent = |rate: &str| PriceModel::Percentage(PercentagePrice::rate(decimal(rate)));
    let flat = PriceModel::Flat(FlatPrice { amount: decimal("29"), prorated: true });
    assert_amounts(&[
        ("flat at any usage", &flat, "0", "29"),
        ("per unit", &per_unit("5.12345"), "10", "51.2345"),
        ("per unit of a third", &per_unit("0.000000000001"), "1/3", "1/3000000000000"),
        ("per unit, correction", &per_unit("2"), "-3", "-6"),
        ("28 digits", &per_unit("1234567890123456.123456789012"), "3", "3703703670370368.370370367036"),
        ("package, none", &package(RoundingDirection::Up), "0", "0"),
        ("package, started", &package(RoundingDirection::Up), "0.001", "15"),
        ("package, exact", &package(RoundingDirection::Up), "10", "15"),
        ("package, one more", &package(RoundingDirection::Up), "10.001", "30"),
        ("package, whole ones only", &package(RoundingDirection::Down), "19", "15"),
        ("percentage", &percent("2.9"), "4", "0.116"),
        ("percentage of a correction", &percent("50"), "-4", "-2"),
    ]);
}

#[test]
#[rustfmt::skip]
fn tiered_models_have_their_price() {
    let rows = [("5", "0", "100"), ("10", "0", "50"), ("15", "10", "0"), ("", "5", "0")];
    let graduated = |zero_usage| PriceModel::Graduated(GraduatedPrice { tiers: tiers(&rows), zero_usage });
    let volume = |zero_usage| PriceModel::Volume(VolumePrice { tiers: tiers(&rows), zero_usage });
    let owes = ZeroUsage::OwesFirstFlatFee;
    assert_amounts(&[
        ("graduated, zero", &graduated(owes), "0", "100"),
        ("graduated, zero owes nothing", &graduated(ZeroUsage::OwesNothing), "0", "0"),
        ("graduated, bound is in the lower tier", &graduated(owes), "5", "100"),
        ("graduated, just above the bound", &graduated(owes), "5.001", "150"),
        ("graduated, all tiers", &graduated(owes), "16", "205"),
        ("graduated, correction", &graduated(owes), "-1", "0"),
        ("volume, zero", &volume(owes), "0", "100"),
        ("volume, zero owes nothing", &volume(ZeroUsage::OwesNothing), "0", "0"),
        ("volume, bound is in the lower tier", &volume(owes), "5", "100"),
        ("volume, just above the bound", &volume(owes), "5.001", "50"),
        ("volume, upper tier is cheaper", &volume(owes), "16", "80"),
        ("volume, third tier", &volume(owes), "15", "150"),
    ]);
}

#[test]
fn blocks_and_maxima_of_tiers() {
    let mut blocks = tiers(&[("1000", "1", "0"), ("101000", "1", "0"), ("", "0.5", "0")]);
    for (tier, size) in blocks.iter_mut().zip(["100", "1000", "1000"]) {
        tier.block_size = Some(decimal(size));
    }
    let mut capped = tiers(&[("10", "1", "2"), ("", "1", "0")]);
    capped[0].maximum = Some(decimal("5"));
    let zero_usage = ZeroUsage::OwesNothing;
    let volume = PriceModel::Volume(VolumePrice { tiers: blocks.clone(), zero_usage });
    let graduated = PriceModel::Graduated(GraduatedPrice { tiers: blocks, zero_usage });
    let capped = PriceModel::Graduated(GraduatedPrice { tiers: capped, zero_usage });
    for (model, quantity, amount) in [
        (&volume, "101000", "101"),
        (&volume, "101001", "51"),
        (&graduated, "1001", "11"),
        (&graduated, "99", "1"),
        (&capped, "2", "4"),
        (&capped, "4", "5"),
        (&capped, "13", "8"),
    ] {
        assert_eq!(
            rate(&PriceTerms::of(model.clone()), quantity).model_amount.to_string(),
            amount,
            "{quantity}"
        );
    }
}

fn session_matrix(otherwise: Option<Box<PriceModel>>) -> PriceTerms {
    let cell = |values: [&str; 2], price: &str| MatrixCell {
        values: values.map(str::to_owned).to_vec(),
        price: per_unit(price),
    };
    PriceTerms::of(PriceModel::Matrix(MatrixPrice {
        dimensions: vec!["type".into(), "size".into()],
        cells: vec![cell(["free", "small"], "0.05"), cell(["pro", "gpu"], "0.125")],
        otherwise,
    }))
}

#[test]
fn a_matrix_finds_its_cell_and_never_guesses() {
    let pools = &mut PoolBalances::default();
    let gpu = [("size", "gpu"), ("type", "pro"), ("region", "eu")];
    let trail = rate_with(&session_matrix(None), "8", "1", &gpu, pools).unwrap();
    assert_eq!(trail.amount().to_string(), "1.00");
    let missing = [("type", "pro"), ("size", "huge")];
    let error = rate_with(&session_matrix(None), "8", "1", &missing, pools).unwrap_err();
    assert_eq!(error.to_string(), "no price for type, size = pro, huge");
    let fallback = session_matrix(Some(Box::new(per_unit("2"))));
    assert_eq!(rate_with(&fallback, "8", "1", &missing, pools).unwrap().amount().to_string(), "16.00");
    assert!(rate_with(&session_matrix(None), "8", "1", &[("type", "pro")], pools).is_err());
}

#[test]
fn steps_apply_in_the_order_of_the_law() {
    let gib = UnitConversion::divide_by(decimal("1073741824"), "GiB");
    let up = QuantityRounding::ToStep { direction: RoundingDirection::Up, step: Decimal::ONE };
    let terms = PriceTerms {
        conversion: gib,
        allowance: Some(Allowance::Own { quantity: decimal("5"), prorated: true }),
        quantity_rounding: up,
        commitment: Some(Commitment {
            committed: CommittedUsage::Amount(decimal("1")),
            true_up: true,
            overage_factor: Decimal::TWO,
            prorated: true,
        }),
        discounts: vec![
            Discount::MaximumSpend(decimal("1.20")),
            Discount::Amount(decimal("0.05")),
            Discount::Percent(decimal("10")),
        ],
        ..PriceTerms::of(per_unit("0.20"))
    };
    // 9.2 GiB for half the period: 2.5 free, 6.7 rounded up to 7, 1.40; committed 0.50, beyond it 0.90 doubled: 2.30;
    // less 10 % 2.07, less half of 0.05 2.045, capped at 1.20.
    let bytes = (exact("9.2") * exact("1073741824")).to_string();
    let trail = rate_with(&terms, &bytes, "1/2", &[], &mut PoolBalances::default()).unwrap();
    assert_eq!(trail.conversion.converted, exact("9.2"));
    assert_eq!(trail.allowance.as_ref().unwrap().drawn, exact("2.5"));
    assert_eq!(trail.rounding.as_ref().unwrap().before, exact("6.7"));
    assert_eq!(trail.billable, exact("7"));
    assert_eq!(trail.model_amount, exact("1.4"));
    let commitment = trail.commitment.as_ref().unwrap();
    assert_eq!((&commitment.within, &commitment.overage), (&exact("0.5"), &exact("1.8")));
    let taken: Vec<String> = trail.discounts.iter().map(|step| step.taken.to_string()).collect();
    assert_eq!(taken, ["0.23", "0.025", "0.845"]);
    assert_eq!(trail.amount().to_string(), "1.20");
    // Nothing used: the commitment is trued up, and the discounts come off it.
    let unused = rate_with(&terms, "0", "1", &[], &mut PoolBalances::default()).unwrap();
    assert_eq!(unused.commitment.as_ref().unwrap().true_up, exact("1"));
    assert_eq!(unused.amount().to_string(), "0.85");
}

/// What a level's price costs in each of the spans of these shares.
fn level_amounts(terms: &PriceTerms, quantity: &str, shares: &[&str]) -> Vec<String> {
    let rated = |share: &&str| {
        let usage = Usage {
            quantity: &exact(quantity),
            unit: "byte",
            dimensions: &Dimensions::new(),
            transactions: None,
            over_time: OverTime::Weighs,
            span_share: &exact(share),
            so_far: None,
            commitment: None,
        };
        let trail = terms.rate(&usage, usd(), &mut PoolBalances::default()).unwrap();
        trail.model_amount.to_string()
    };
    shares.iter().map(rated).collect()
}

#[test]
fn a_levels_tiers_packages_and_steps_speak_of_the_level() {
    let tiered = tiers(&[("100", "2", "0"), ("", "1", "0")]);
    let zero_usage = ZeroUsage::OwesFirstFlatFee;
    let volume = PriceTerms::of(PriceModel::Volume(VolumePrice { tiers: tiered.clone(), zero_usage }));
    // 150 at 1 are 150 for the period, so 75 for half of it.
    assert_eq!(level_amounts(&volume, "150", &["1", "1/2"]), ["150", "75"]);
    let free = tiers(&[("10", "0", "0"), ("", "2", "0")]);
    let graduated = PriceTerms::of(PriceModel::Graduated(GraduatedPrice { tiers: free, zero_usage }));
    // Two of the twelve cost 2 each.
    assert_eq!(level_amounts(&graduated, "12", &["1", "1/2"]), ["4", "2"]);
    let up = QuantityRounding::ToStep { direction: RoundingDirection::Up, step: Decimal::ONE };
    let rounded = PriceTerms { quantity_rounding: up, ..PriceTerms::of(per_unit("1")) };
    assert_eq!(level_amounts(&rounded, "3", &["1", "10/31", "21/31"]), ["3", "30/31", "63/31"]);
    assert_eq!(level_amounts(&rounded, "2.5", &["1", "10/31", "21/31"]), ["3", "30/31", "63/31"]);
    let (size, package_price) = (decimal("10"), decimal("15"));
    let package = PackagePrice { size, package_price, rounding: RoundingDirection::Up };
    let packages = PriceTerms::of(PriceModel::Package(package));
    assert_eq!(level_amounts(&packages, "12", &["1", "1/3", "2/3"]), ["30", "10", "20"]);
    let mut capped = tiered;
    capped[0].maximum = Some(decimal("50"));
    capped[0].block_size = Some(decimal("10"));
    let mut capped = PriceTerms::of(PriceModel::Graduated(GraduatedPrice { tiers: capped, zero_usage }));
    // 25 are three blocks at 2, and all of it is weighed.
    assert_eq!(level_amounts(&capped, "25", &["1", "1/2"]), ["6", "3"]);
    // 10 blocks and 50 units.
    assert_eq!(level_amounts(&capped, "150", &["1", "1/4"]), ["70", "17.5"]);
    // The first tier at 15 instead of 20 for a period.
    if let PriceModel::Graduated(price) = &mut capped.model {
        price.tiers[0].maximum = Some(decimal("15"));
    }
    assert_eq!(level_amounts(&capped, "150", &["1", "1/4"]), ["65", "16.25"]);
}

#[test]
fn what_is_not_prorated_counts_once_over_the_spans_of_a_period() {
    let spans = |terms: &PriceTerms, quantities: &[&str]| {
        let mut so_far = PeriodSoFar::default();
        let mut amounts = Vec::new();
        for quantity in quantities {
            let single = [exact(quantity)];
            let usage = Usage {
                quantity: &exact(quantity),
                unit: "byte",
                dimensions: &Dimensions::new(),
                transactions: Some(&single),
                over_time: OverTime::AddsUp,
                span_share: &exact("1/2"),
                so_far: Some(&so_far),
                commitment: None,
            };
            let trail = terms.rate(&usage, usd(), &mut PoolBalances::default()).unwrap();
            amounts.push(trail.amount().to_string());
            so_far = so_far.with(terms, &trail, &single).unwrap();
        }
        amounts
    };
    let included = PriceTerms {
        conversion: UnitConversion::divide_by(decimal("1000"), "kB"),
        allowance: Some(Allowance::Own { quantity: decimal("10"), prorated: false }),
        ..PriceTerms::of(per_unit("1"))
    };
    assert_eq!(spans(&included, &["4000", "10000", "3000"]), ["0.00", "4.00", "3.00"]);
    let mut capped = tiers(&[("10", "1", "0"), ("", "2", "0")]);
    capped[0].maximum = Some(decimal("5"));
    let zero_usage = ZeroUsage::OwesNothing;
    let capped = PriceTerms::of(PriceModel::Graduated(GraduatedPrice { tiers: capped, zero_usage }));
    // 3, then 2 that are left of the tier's 5, then 1 unit of the second tier.
    assert_eq!(spans(&capped, &["3", "4", "11"]), ["3.00", "2.00", "2.00"]);
    let percentage = |price: PercentagePrice| PriceTerms::of(PriceModel::Percentage(price));
    let ten = PercentagePrice::rate(Decimal::TEN);
    let free_two = percentage(PercentagePrice { free_transactions: Some(2), ..ten.clone() });
    assert_eq!(spans(&free_two, &["100", "50", "30"]), ["0.00", "0.00", "3.00"]);
    let free_amount = percentage(PercentagePrice { free_amount: Some(decimal("120")), ..ten });
    assert_eq!(spans(&free_amount, &["100", "50", "30"]), ["0.00", "3.00", "3.00"]);
}

#[test]
fn a_committed_quantity_is_prorated_once() {
    let rows = tiers(&[("", "1", "10")]);
    let model =
        PriceModel::Graduated(GraduatedPrice { tiers: rows, zero_usage: ZeroUsage::OwesFirstFlatFee });
    let terms = PriceTerms {
        commitment: Some(Commitment {
            committed: CommittedUsage::Quantity(decimal("100")),
            true_up: true,
            overage_factor: Decimal::ONE,
            prorated: true,
        }),
        ..PriceTerms::of(model)
    };
    // 100 at 1 and the fee of 10 are 110 for the period.
    let half = rate_with(&terms, "0", "1/2", &[], &mut PoolBalances::default()).unwrap();
    assert_eq!(half.amount().to_string(), "55.00");
    assert_eq!(half.commitment.unwrap().within.to_string(), "5");
    assert_eq!(rate(&terms, "0").amount().to_string(), "110.00");
}

#[test]
fn an_amount_off_is_for_a_whole_period() {
    let fee = |prorated| PriceTerms {
        discounts: vec![Discount::Amount(decimal("5"))],
        ..PriceTerms::of(PriceModel::Flat(FlatPrice { amount: decimal("31"), prorated }))
    };
    let two_days =
        |terms: &PriceTerms| rate_with(terms, "1", "2/31", &[], &mut PoolBalances::default()).unwrap();
    // 2.00 less 10/31 = 0.3226; a fee that is owed whole has the whole discount.
    let prorated = two_days(&fee(true));
    assert_eq!(prorated.amount().to_string(), "1.68");
    assert_eq!(prorated.discounts[0].share, Some(exact("2/31")));
    assert_eq!(two_days(&fee(false)).amount().to_string(), "26.00");
}

#[test]
fn a_tampered_trail_is_noticed() {
    let mut trail = rate(&PriceTerms::of(per_unit("0.5")), "3");
    assert_eq!(trail.check(), Ok(()));
    trail.line_rounding.amount = decimal("1.51");
    assert!(matches!(trail.check(), Err(PriceError::BrokenIdentity { .. })));
    let mut trail = rate(&PriceTerms::of(per_unit("0.5")), "3");
    trail.parts[0].amount = exact("1.4");
    assert_eq!(trail.check(), Err(PriceError::BrokenIdentity { what: "parts of the model" }));
}

#[test]
fn pools_are_drawn_in_the_order_of_the_plan() {
    let pool = Pool { name: "traffic".into(), quantity: decimal("10"), unit: "GB".into(), prorated: true };
    let terms = |unit: &str| PriceTerms {
        conversion: UnitConversion::divide_by(decimal("1000000000"), unit),
        allowance: Some(Allowance::Pool { pool: "traffic".into() }),
        ..PriceTerms::of(per_unit("1"))
    };
    let pools = &mut PoolBalances::open(&[pool], &exact("1/2"));
    // 5 GB for half the period: the first price draws 3, the second finds 2, the third nothing.
    for (bytes, drawn, amount) in
        [("3000000000", "3", "0.00"), ("4000000000", "2", "2.00"), ("1", "0", "0.00")]
    {
        let trail = rate_with(&terms("GB"), bytes, "1/2", &[], pools).unwrap();
        assert_eq!(trail.allowance.as_ref().unwrap().drawn.to_string(), drawn);
        assert_eq!(trail.amount().to_string(), amount);
    }
    let differs = rate_with(&terms("GiB"), "1", "1", &[], pools).unwrap_err();
    assert_eq!(differs.to_string(), "pool \"traffic\" is in \"GB\", the quantity in \"GiB\"");
    let unknown = rate_with(&terms("GB"), "1", "1", &[], &mut PoolBalances::default()).unwrap_err();
    assert_eq!(unknown, PriceError::UnknownPool { pool: "traffic".into() });
}

#[test]
fn impossible_prices_are_errors_and_never_zero() {
    let graduated = |rows: &[(&str, &str, &str)]| {
        let zero_usage = ZeroUsage::default();
        PriceTerms::of(PriceModel::Graduated(GraduatedPrice { tiers: tiers(rows), zero_usage }))
    };
    let up = RoundingDirection::Up;
    let no_size = PackagePrice { size: Decimal::ZERO, package_price: Decimal::ONE, rounding: up };
    let no_step = QuantityRounding::ToStep { direction: up, step: Decimal::ZERO };
    let no_unit = UnitConversion::divide_by(Decimal::ZERO, "GB");
    for terms in [
        graduated(&[]),
        graduated(&[("5", "1", "0"), ("5", "1", "0"), ("", "1", "0")]),
        graduated(&[("5", "1", "0")]),
        graduated(&[("", "1", "0"), ("", "1", "0")]),
        PriceTerms::of(PriceModel::Package(no_size)),
        PriceTerms { quantity_rounding: no_step, ..PriceTerms::of(per_unit("1")) },
        PriceTerms { conversion: no_unit, ..PriceTerms::of(per_unit("1")) },
    ] {
        let error = rate_with(&terms, "7", "1", &[], &mut PoolBalances::default()).unwrap_err();
        assert!(matches!(error, PriceError::ImpossibleModel { .. }), "{error}");
    }
    let huge = rate_with(
        &PriceTerms::of(per_unit("79228162514264337593543950335")),
        "2",
        "1",
        &[],
        &mut PoolBalances::default(),
    );
    assert!(matches!(huge, Err(PriceError::OutOfRange(_))));
}

/// A decimal counts minor units in 96 bits.
#[test]
fn the_largest_amount_of_every_currency_fits_and_one_more_unit_does_not() {
    let most: i128 = (1 << 96) - 1;
    for (currency, digits) in [("JPY", 0), ("USD", 2), ("KWD", 3), ("CLF", 4)] {
        let rated = |units: i128, beyond: &str| {
            let quantity = &exact(beyond) + &Exact::ratio(units, 10_i128.pow(digits)).unwrap();
            let usage = Usage {
                quantity: &quantity,
                unit: "byte",
                dimensions: &Dimensions::new(),
                transactions: None,
                over_time: OverTime::AddsUp,
                span_share: &Exact::ONE,
                so_far: None,
                commitment: None,
            };
            let currency = Currency::from_code(currency).unwrap();
            let trail = PriceTerms::of(per_unit("1")).rate(&usage, currency, &mut PoolBalances::default());
            trail.map(|trail| trail.amount())
        };
        for sign in [1, -1] {
            let largest = Decimal::try_from_i128_with_scale(sign * most, digits).unwrap();
            assert_eq!(rated(sign * most, "0"), Ok(largest), "{currency}");
            // What rounds down to it fits, and what rounds up from it does not.
            let tiny = if sign > 0 { "0.000049" } else { "-0.000049" };
            assert_eq!(rated(sign * most, tiny), Ok(largest), "{currency}");
            assert!(matches!(rated(sign * (most + 1), "0"), Err(PriceError::OutOfRange(_))), "{currency}");
            let half = format!("{}1/{}", if sign > 0 { "" } else { "-" }, 2 * 10_i128.pow(digits));
            assert!(matches!(rated(sign * most, &half), Err(PriceError::OutOfRange(_))), "{currency}");
        }
    }
}

#[test]
fn a_gigabyte_month_costs_its_price_in_every_month() {
    let terms = PriceTerms {
        conversion: UnitConversion::divide_by(decimal("1000000000"), "GB"),
        ..PriceTerms::of(per_unit("0.10"))
    };
    assert_eq!(rate(&terms, "1000000000").amount().to_string(), "0.10");
    // A peak held in spans of 1/3 and 2/3 of the period adds up to the same.
    for (share, amount) in [("1/3", "1/30"), ("2/3", "1/15")] {
        let usage = Usage {
            quantity: &exact("1000000000"),
            unit: "byte",
            dimensions: &Dimensions::new(),
            transactions: None,
            over_time: OverTime::Weighs,
            span_share: &exact(share),
            so_far: None,
            commitment: None,
        };
        let trail = terms.rate(&usage, usd(), &mut PoolBalances::default()).unwrap();
        assert_eq!(trail.model_amount, exact(amount));
    }
}

#[test]
fn lines_round_to_the_minor_unit() {
    // currency, rule, amount, line
    for (currency, rule, amount, line) in [
        ("USD", MoneyRounding::HalfAwayFromZero, "0.005", "0.01"),
        ("USD", MoneyRounding::HalfAwayFromZero, "-0.005", "-0.01"),
        ("USD", MoneyRounding::HalfEven, "0.005", "0.00"),
        ("USD", MoneyRounding::HalfEven, "0.015", "0.02"),
        ("JPY", MoneyRounding::HalfAwayFromZero, "1499.5", "1500"),
        ("KWD", MoneyRounding::HalfAwayFromZero, "1.0005", "1.001"),
        ("CLF", MoneyRounding::HalfEven, "1.00005", "1.0000"),
    ] {
        let currency = Currency::from_code(currency).unwrap();
        assert_eq!(currency.round(&exact(amount), rule).unwrap().to_string(), line, "{currency} {amount}");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn exact_numbers_equal_rationals(
        a in any::<i128>(), b in 1_i128.., c in any::<i128>(), d in 1_i128..,
    ) {
        let (x, y) = (Exact::ratio(a, b).unwrap(), Exact::ratio(c, d).unwrap());
        let (p, q) = (ratio(a, b), ratio(c, d));
        prop_assert_eq!(rational(&(&x + &y)), &p + &q);
        prop_assert_eq!(rational(&(&x - &y)), &p - &q);
        prop_assert_eq!(rational(&(&x * &y)), &p * &q);
        prop_assert_eq!(x.cmp(&y), p.cmp(&q));
        prop_assert_eq!(x.checked_div(&y).map(|z| rational(&z)), (c != 0).then(|| &p / &q));
        prop_assert_eq!(x.to_string().parse::<Exact>().unwrap(), x.clone());
        prop_assert_eq!(rational(&x.round(rating::exact::Rounding::Down)), p.floor());
        prop_assert_eq!(rational(&x.round(rating::exact::Rounding::Up)), p.ceil());
    }
}
