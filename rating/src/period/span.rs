//! Half-open stretches of time, `[start, end)`.

use serde::{Deserialize, Serialize};

use crate::exact::Exact;

/// A period or a part of one, from `start_us` (included) to `end_us` (not included).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    pub start_us: i64,
    pub end_us: i64,
}

impl Span {
    /// Nothing when the end lies before the start.
    pub fn new(start_us: i64, end_us: i64) -> Option<Span> {
        (start_us <= end_us).then_some(Span { start_us, end_us })
    }

    pub fn contains(&self, instant_us: i64) -> bool {
        self.start_us <= instant_us && instant_us < self.end_us
    }

    pub fn is_empty(&self) -> bool {
        self.start_us >= self.end_us
    }

    /// Real elapsed time; wider than `i64` because the whole range of instants is.
    pub fn length_us(&self) -> i128 {
        (i128::from(self.end_us) - i128::from(self.start_us)).max(0)
    }

    /// What both cover, or nothing when they do not overlap.
    pub fn intersection(&self, other: &Span) -> Option<Span> {
        let start_us = self.start_us.max(other.start_us);
        let end_us = self.end_us.min(other.end_us);
        (start_us < end_us).then_some(Span { start_us, end_us })
    }

    /// This span's share of the period's elapsed time: what a flat fee or allowance is prorated by. Only what lies
    /// inside the period counts; an empty period has no shares.
    pub fn share_of(&self, period: &Span) -> Exact {
        let inside_us = self.intersection(period).map_or(0, |inside| inside.length_us());
        Exact::ratio(inside_us, period.length_us()).unwrap_or(Exact::ZERO)
    }

    /// The parts between the given instants, in order. Instants outside, at the edges or given twice change nothing.
    pub fn split_at(&self, instants_us: &[i64]) -> Vec<Span> {
        let mut cuts: Vec<i64> = instants_us
            .iter()
            .copied()
            .filter(|&instant_us| self.start_us < instant_us && instant_us < self.end_us)
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts.push(self.end_us);
        let mut start_us = self.start_us;
        cuts.into_iter()
            .map(|end_us| {
                let part = Span { start_us, end_us };
                start_us = end_us;
                part
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start_us: i64, end_us: i64) -> Span {
        Span { start_us, end_us }
    }

    /// Instants to split at, and the parts between.
    type Row<'a> = (&'a [i64], &'a [(i64, i64)]);

    #[test]
    fn splitting_keeps_every_microsecond_once() {
        let cases: [Row; 4] = [
            (&[], &[(10, 20)]),
            (&[10, 20, 5, 25], &[(10, 20)]),
            (&[15], &[(10, 15), (15, 20)]),
            (&[17, 12, 17], &[(10, 12), (12, 17), (17, 20)]),
        ];
        for (instants, expected) in cases {
            let parts: Vec<(i64, i64)> =
                span(10, 20).split_at(instants).iter().map(|part| (part.start_us, part.end_us)).collect();
            assert_eq!(parts, expected);
        }
    }

    #[test]
    fn shares_are_of_elapsed_time() {
        for (part, whole, expected) in [
            (span(0, 10), span(0, 30), "1/3"),
            (span(-5, 10), span(0, 30), "1/3"),
            (span(0, 30), span(0, 30), "1"),
            (span(40, 50), span(0, 30), "0"),
            (span(5, 5), span(0, 30), "0"),
            (span(0, 0), span(0, 0), "0"),
            (span(i64::MIN, 0), span(i64::MIN, i64::MAX), "9223372036854775808/18446744073709551615"),
        ] {
            assert_eq!(part.share_of(&whole).to_string(), expected, "{part:?} of {whole:?}");
        }
    }
}
