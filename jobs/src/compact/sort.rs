//! The order in which rating reads a day's rows: by tenant, meter, time, and among equal times by arrival.
//!
//! Tenants and meters are ranked numbers already, so rows are put by them into their places without being
//! compared; then the few rows of each tenant and meter are sorted by time.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};

use super::CompactError;
use super::identity::RowSet;
use super::rows::{ArrivalColumns, RowId};
use super::whole::WholeRows;

const DAY_US: i64 = 86_400_000_000;

/// The places of a day's rows in the batch, in order.
pub fn sorted_day(whole: &WholeRows, day: i32) -> Result<Vec<u32>, CompactError> {
    let batch = whole.batch();
    let column = |name| batch.column_by_name(name).expect("whole rows have all columns");
    let times = column("time").as_primitive::<TimestampMicrosecondType>().values();
    let place = |place: usize| u32::try_from(place).expect("rows in memory are counted in 32 bits");
    let files = whole.files().iter().filter(|file| file.day == day);
    let rows: Vec<u32> = files.flat_map(|file| file.rows.clone().map(place)).collect();
    let day_us = i64::from(day) * DAY_US;
    let is_outside = |row: &&u32| !(0..DAY_US).contains(&(times[**row as usize] - day_us));
    if let Some(row) = rows.iter().find(is_outside) {
        return Err(CompactError::CannotSort { day, time_us: times[*row as usize] });
    }
    let meters = column("meter").as_dictionary::<Int32Type>();
    let meter_keys = meters.keys();
    // Rows without a meter come first.
    let meter = |row: u32| {
        let row = row as usize;
        if meter_keys.is_valid(row) { meter_keys.value(row) as usize + 1 } else { 0 }
    };
    let tenants = column("tenant").as_dictionary::<Int32Type>();
    let tenant_keys = tenants.keys().values();
    let tenant = |row: u32| tenant_keys[row as usize] as usize;
    let rows = in_buckets(&rows, meters.values().len() + 1, meter);
    let mut rows = in_buckets(&rows, tenants.values().len(), tenant);
    let arrivals = ArrivalColumns::of_whole(batch);
    let mut by_time: Vec<(i64, u32)> = Vec::new();
    for run in
        rows.chunk_by_mut(|left, right| tenant(*left) == tenant(*right) && meter(*left) == meter(*right))
    {
        by_time.clear();
        by_time.extend(run.iter().map(|row| (times[*row as usize], *row)));
        by_time.sort_unstable();
        for same_time in by_time.chunk_by_mut(|left, right| left.0 == right.0) {
            if same_time.len() > 1 {
                // The sort is stable: rows of one event stay as they were.
                same_time.sort_by_key(|(_, row)| arrivals.key(*row as usize));
            }
        }
        run.iter_mut().zip(&by_time).for_each(|(place, (_, row))| *place = *row);
    }
    Ok(rows)
}

/// Leaves lost rows out.
pub fn without(rows: &mut Vec<u32>, lost: &RowSet, whole: &WholeRows) {
    if lost.count() == 0 {
        return;
    }
    let mut is_lost = vec![false; whole.batch().num_rows()];
    for (part, file) in whole.files().iter().enumerate() {
        for row in 0..file.rows.len() {
            is_lost[file.rows.start + row] = lost.contains(RowId::new(part, row));
        }
    }
    rows.retain(|row| !is_lost[*row as usize]);
}

/// Puts rows together by the number of their bucket; those of one bucket stay in their order.
fn in_buckets(rows: &[u32], buckets: usize, bucket: impl Fn(u32) -> usize) -> Vec<u32> {
    let mut places = vec![0_usize; buckets];
    for row in rows {
        places[bucket(*row)] += 1;
    }
    let mut start = 0;
    for place in &mut places {
        start += std::mem::replace(place, start);
    }
    let mut sorted = vec![0; rows.len()];
    for row in rows {
        let place = &mut places[bucket(*row)];
        sorted[*place] = *row;
        *place += 1;
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_bucket_stay_in_their_order() {
        let rows: Vec<u32> = (0..1_000).rev().collect();
        let mut expected = rows.clone();
        expected.sort_by_key(|row| row % 7);
        assert_eq!(in_buckets(&rows, 7, |row| row as usize % 7), expected);
        assert!(in_buckets(&[], 0, |_| 0).is_empty());
    }
}
