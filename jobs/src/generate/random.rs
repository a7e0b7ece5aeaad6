//! Chance that is the same everywhere: a small generator of our own and integer-only choices.
//!
//! The same seed must give the same bytes on every platform and with every version of every library, and floats
//! or another crate's next release could break that. Nothing here is meant to keep secrets.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Scrambles 64 bits; different inputs have different outputs.
pub(super) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// One number out of several, for what must stay the same whenever it is asked for.
pub(super) fn mix_all(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |sum, part| mix(sum.wrapping_add(GOLDEN) ^ part))
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Below `bound`, which must not be zero. The bias is below one in 2^32 for the bounds that occur here.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// A number whose size is spread like a bell over the powers of two from `low` to `high`: many middling ones,
    /// few very small or very large.
    pub fn around(&mut self, size: Magnitude) -> u64 {
        let coins = u64::from(size.high - size.low).min(63);
        let steps = (self.bits() & ((1 << coins) - 1)).count_ones();
        let floor = 1u64 << (size.low + steps);
        floor + self.below(floor)
    }
}

/// A span of sizes, as powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Magnitude {
    pub low: u32,
    pub high: u32,
}

/// Draws an index by its weight in constant time (Walker's alias method).
#[derive(Debug, Clone)]
pub(super) struct Weighted {
    /// Per index: below which draw it is itself, and which other index it is above.
    columns: Vec<(u64, u32)>,
    total: u64,
}

impl Weighted {
    /// `weights` must hold at least one that is not zero, and their sum times their count must fit 64 bits.
    pub fn new(weights: &[u64]) -> Self {
        let total: u64 = weights.iter().sum();
        let count = weights.len() as u64;
        let mut columns: Vec<(u64, u32)> = (0u32..).zip(weights).map(|(at, _)| (total, at)).collect();
        let mut scaled: Vec<u64> = weights.iter().map(|weight| weight * count).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|at| scaled[*at] < total);
        while let (Some(less), Some(more)) = (small.pop(), large.last().copied()) {
            columns[less] = (scaled[less], more as u32);
            scaled[more] -= total - scaled[less];
            if scaled[more] < total {
                large.pop();
                small.push(more);
            }
        }
        Self { columns, total }
    }

    /// Zipf: the second is half as frequent as the first, the third a third.
    pub fn zipf(count: usize) -> Self {
        Self::new(&(1..=count as u64).map(|rank| ((1 << 32) / rank).max(1)).collect::<Vec<_>>())
    }

    pub fn draw(&self, random: &mut Random) -> usize {
        let at = random.below(self.columns.len() as u64) as usize;
        let (bound, other) = self.columns[at];
        if random.below(self.total) < bound { at } else { other as usize }
    }
}

/// Picks exactly so many of so many, each with the same chance (Knuth's selection sampling).
#[derive(Debug, Clone)]
pub(super) struct Quota {
    left: u64,
    picks_left: u64,
}

impl Quota {
    pub fn new(of: u64, picks: u64) -> Self {
        Self { left: of, picks_left: picks.min(of) }
    }

    /// Whether the next one is picked.
    pub fn draw(&mut self, random: &mut Random) -> bool {
        if self.picks_left == 0 {
            return false;
        }
        let picked = random.below(self.left) < self.picks_left;
        self.left -= 1;
        self.picks_left -= u64::from(picked);
        picked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers: whoever changes these changes every generated file.
    #[test]
    fn the_sequence_never_changes() {
        let mut random = Random::new(1);
        let drawn = [random.bits(), random.below(1000), random.around(Magnitude { low: 4, high: 12 })];
        assert_eq!(drawn, [13_830_413_928_045_401_970, 372, 1000]);
        assert_eq!(mix_all(&[1, 2, 3]), 16_914_669_369_030_367_833);
    }

    #[test]
    fn weights_are_honoured() {
        let mut random = Random::new(7);
        let weighted = Weighted::new(&[1, 0, 3, 6]);
        let mut counts = [0u32; 4];
        for _ in 0..100_000 {
            counts[weighted.draw(&mut random)] += 1;
        }
        assert_eq!(counts[1], 0);
        for (count, expected) in [(counts[0], 10_000), (counts[2], 30_000), (counts[3], 60_000u32)] {
            assert!(count.abs_diff(expected) < 1_000, "{counts:?}");
        }
    }

    #[test]
    fn a_quota_is_met_exactly() {
        let mut random = Random::new(3);
        for (of, picks) in [(1000, 10), (1000, 0), (5, 5), (3, 7)] {
            let mut quota = Quota::new(of, picks);
            let picked = (0..of).filter(|_| quota.draw(&mut random)).count() as u64;
            assert_eq!(picked, picks.min(of));
        }
    }

    #[test]
    fn sizes_stay_in_their_span() {
        let mut random = Random::new(5);
        for _ in 0..10_000 {
            let drawn = random.around(Magnitude { low: 4, high: 12 });
            assert!((1 << 4..1 << 13).contains(&drawn));
        }
    }
}
