//! Splitting an amount so that the parts are whole minor units and add up to it exactly.

use super::Amount;
use crate::exact::{Exact, NotADecimal, Rounding};

/// Shares of an amount by weight, in steps of the last of `decimals` digits. Each gets its exact share rounded towards
/// zero; the steps that are left go to the largest remainders, the earlier one first when they are equal. Weights below
/// zero count as none; without any weight nothing is shared.
pub fn allocate(amount: Amount, weights: &[Exact], decimals: u32) -> Result<Vec<Amount>, NotADecimal> {
    let step = Exact::ratio(1, 10_i128.pow(decimals.min(28))).unwrap_or_default();
    let weights: Vec<Exact> = weights.iter().map(|weight| weight.max(&Exact::ZERO).clone()).collect();
    let total_weight: Exact = weights.iter().cloned().sum();
    let exact = Exact::from(amount);
    let sign = if exact.is_negative() { -Exact::ONE } else { Exact::ONE };
    let steps = exact.abs().checked_div(&step).unwrap_or_default().round(Rounding::HalfAwayFromZero);
    let shares: Vec<Exact> = weights
        .iter()
        .map(|weight| (&steps * weight).checked_div(&total_weight).unwrap_or_default())
        .collect();
    let mut whole: Vec<Exact> = shares.iter().map(|share| share.round(Rounding::Down)).collect();
    let given: Exact = whole.iter().cloned().sum();
    let left = (&steps - &given).to_i128().filter(|_| total_weight.is_positive()).unwrap_or(0);
    let mut by_remainder: Vec<usize> = (0..shares.len()).collect();
    by_remainder.sort_by_key(|&index| std::cmp::Reverse(&shares[index] - &whole[index]));
    for &index in by_remainder.iter().take(usize::try_from(left).unwrap_or(0)) {
        whole[index] += &Exact::ONE;
    }
    let part = |steps: Exact| (&(&steps * &step) * &sign).round_to_decimals(Rounding::HalfEven, decimals);
    whole.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_amount() {
        // amount, weights, parts
        let cases: [(&str, &[i64], &[&str]); 6] = [
            ("0.05", &[1, 1, 1], &["0.02", "0.02", "0.01"]),
            ("0.01", &[100, 1], &["0.01", "0.00"]),
            ("1.00", &[333, 333, 334], &["0.33", "0.33", "0.34"]),
            ("-0.05", &[1, 1], &["-0.03", "-0.02"]),
            ("0.07", &[0, 5], &["0.00", "0.07"]),
            ("1.00", &[0, -1], &["0.00", "0.00"]),
        ];
        for (amount, weights, expected) in cases {
            let weights: Vec<Exact> = weights.iter().map(|&weight| Exact::from(weight)).collect();
            let parts = allocate(amount.parse().unwrap(), &weights, 2).unwrap();
            let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
            assert_eq!(parts, expected, "{amount}");
        }
    }
}
