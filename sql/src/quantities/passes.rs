//! How the rows of a day with newly arrived files are taken up, a part at a time, where they are too many to be held at once.
//!
//! Folds need each tenant's rows in the order of time and nothing else, so a day is cut into stretches of time, each of
//! which has few enough rows. Where a single second has more, it is read once for each of several parts of the tenants; only
//! one tenant's rows of one second are held together whatever they are.

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use futures::TryStreamExt;
use tokio::task::coop::consume_budget;

use super::QuantitiesError;
use super::files::{GroupBounds, LakeFile};

const SECOND_US: i64 = 1_000_000;
const DAY_SECONDS: usize = 24 * 60 * 60;

/// A part of a day's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    from_us: i64,
    until_us: i64,
    /// The remainder of the tenants' numbers, and what they are divided by.
    part: (u32, u32),
}

impl Pass {
    const ALL: Pass = Pass { from_us: i64::MIN, until_us: i64::MAX, part: (0, 1) };

    pub fn takes(&self, time_us: i64, tenant: u32) -> bool {
        self.from_us <= time_us && time_us < self.until_us && tenant % self.part.1 == self.part.0
    }

    pub fn may_take(&self, group: &GroupBounds) -> bool {
        group.times_us.is_none_or(|(first, last)| self.from_us <= last && first < self.until_us)
    }
}

/// The passes over a day's files, each of so many rows at most if that can be.
pub(super) async fn of_day(
    day: i32,
    files: &[impl AsRef<LakeFile>],
    rows_max: u64,
) -> Result<Vec<Pass>, QuantitiesError> {
    let rows: u64 = files.iter().map(|file| file.as_ref().file.rows).sum();
    if rows <= rows_max {
        return Ok(vec![Pass::ALL]);
    }
    let day_start_us = i64::from(day) * super::DAY_US;
    let mut by_second = vec![0_u64; DAY_SECONDS];
    for file in files {
        let file = file.as_ref();
        let mut batches = file.read(&["time"], file.all_row_groups())?;
        while let Some(batch) = batches.try_next().await? {
            let times = file.column(&batch, "time")?;
            for time_us in times.as_primitive::<TimestampMicrosecondType>().values() {
                let second = (time_us - day_start_us).div_euclid(SECOND_US);
                by_second[second.clamp(0, DAY_SECONDS as i64 - 1) as usize] += 1;
            }
            consume_budget().await;
        }
    }
    Ok(cut(&by_second, day_start_us, rows_max.max(1)))
}

fn cut(by_second: &[u64], start_us: i64, rows_max: u64) -> Vec<Pass> {
    let at = |second: usize| start_us + second as i64 * SECOND_US;
    let mut passes = Vec::new();
    let (mut from, mut rows) = (0, 0);
    let mut close = |from: usize, until: usize, rows: u64| {
        let parts = u32::try_from(rows.div_ceil(rows_max)).unwrap_or(u32::MAX);
        let pass = |part| Pass { from_us: at(from), until_us: at(until), part: (part, parts) };
        passes.extend((0..parts).map(pass));
    };
    for (second, count) in by_second.iter().enumerate() {
        if rows + count > rows_max {
            close(from, second, rows);
            (from, rows) = (second, 0);
        }
        rows += count;
    }
    close(from, by_second.len(), rows);
    // A day's rows lie within it; nothing is left out even if a file says otherwise.
    if let (Some(first), Some(last)) = (passes.first().copied(), passes.last().copied()) {
        passes
            .iter_mut()
            .filter(|pass| pass.from_us == first.from_us)
            .for_each(|pass| pass.from_us = i64::MIN);
        passes
            .iter_mut()
            .filter(|pass| pass.until_us == last.until_us)
            .for_each(|pass| pass.until_us = i64::MAX);
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_taken_once_and_few_at_a_time() {
        for (by_second, rows_max, expected) in [
            (vec![3, 2, 0, 4, 1], 5, 2),
            (vec![3, 2, 0, 4, 1], 100, 1),
            (vec![0, 0, 12, 0, 1], 5, 4),
            (vec![12], 5, 3),
            (vec![5, 5], 5, 2),
        ] {
            let passes = cut(&by_second, 7, rows_max);
            assert_eq!(passes.len(), expected, "{by_second:?}: {passes:?}");
            for (second, _) in by_second.iter().enumerate() {
                for tenant in 0..10 {
                    let time_us = 7 + second as i64 * SECOND_US + 5;
                    let taken = passes.iter().filter(|pass| pass.takes(time_us, tenant)).count();
                    assert_eq!(taken, 1, "{by_second:?}: second {second}, tenant {tenant}");
                }
            }
            for edge_us in [i64::MIN, i64::MAX - 1] {
                assert_eq!(passes.iter().filter(|pass| pass.takes(edge_us, 3)).count(), 1, "{by_second:?}");
            }
        }
    }
}
