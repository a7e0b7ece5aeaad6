//! How long to wait before the next attempt.

use super::clock::Dice;

pub(super) const SECOND_US: i64 = 1_000_000;
const FIRST_US: i64 = SECOND_US / 2;
const LONGEST_US: i64 = 15 * 60 * SECOND_US;

/// Doubles with each attempt up to a quarter of an hour; half of it is chance, so that many do not come back at once.
/// What Stripe asks for in Retry-After is the least.
pub(super) fn wait_us(attempts: u32, retry_after_us: Option<i64>, dice: &Dice) -> i64 {
    let longest = FIRST_US.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(LONGEST_US);
    let jitter = dice.below((longest / 2).unsigned_abs()).cast_signed();
    let own = longest / 2 + jitter;
    match retry_after_us {
        Some(least) => least.clamp(0, LONGEST_US) + jitter.min(SECOND_US),
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_at_a_quarter_of_an_hour() {
        let dice = Dice::new(7);
        let mut before = 0;
        for attempts in 1..=40 {
            let wait = wait_us(attempts, None, &dice);
            let longest = (FIRST_US << (attempts - 1).min(20)).min(LONGEST_US);
            assert!((longest / 2..=longest).contains(&wait), "attempt {attempts}: {wait}");
            assert!(wait * 4 > before, "attempt {attempts}: {wait} after {before}");
            before = wait;
        }
    }

    #[test]
    fn retry_after_is_the_least_and_no_endless_wait() {
        let dice = Dice::new(7);
        for _ in 0..100 {
            let wait = wait_us(1, Some(30 * SECOND_US), &dice);
            assert!((30 * SECOND_US..=31 * SECOND_US).contains(&wait));
            assert!(wait_us(9, Some(i64::MAX), &dice) <= LONGEST_US + SECOND_US);
        }
    }
}
