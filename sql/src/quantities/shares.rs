//! How the tenants are spread over the cores, or over processes.
//!
//! A compacted day is in the order of its tenants, so that each share is a range of names and reads only the row groups
//! that may hold them. Where no day is compacted there is nothing to pass over, and any split will do.
//!
//! Processes are told their shares as rows, so that all of them work by the same split whatever they find in the lake.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::common::internal_datafusion_err;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;

use super::files::{GroupBounds, LakeFile};
use super::{Day, QuantitiesError};
use crate::lake::{DataFile, TableHandle, TableSnapshot, holds_any_between};

/// So many of the largest files are asked where the names lie when tenants are spread over processes.
const FILES_ASKED: usize = 8;

/// A share as a row; null is what does not limit it.
static ROW: LazyLock<SchemaRef> = LazyLock::new(|| {
    let column = |name, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        column("from", DataType::Utf8),
        column("until", DataType::Utf8),
        column("remainder", DataType::UInt64),
        column("divisor", DataType::UInt64),
    ]))
});

/// The tenants of one task; by default all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantShare {
    /// From this name on; the first share starts before all names.
    from: Option<String>,
    /// Up to but without this name; the last share has no end.
    until: Option<String>,
    /// Where no range is known: this remainder of a tenant's hash.
    remainder: Option<(u64, u64)>,
    only: Option<BTreeSet<String>>,
}

impl TenantShare {
    /// Shares of this share; one that is a part already stays whole.
    pub(super) fn split(
        &self,
        days: &[Day],
        count: usize,
        only: Option<&BTreeSet<String>>,
    ) -> Vec<TenantShare> {
        let whole = TenantShare { only: only.cloned(), ..self.clone() };
        if count == 1 || only.is_some_and(|only| only.len() == 1) || *self != TenantShare::default() {
            return vec![whole];
        }
        let sorted_files = days.iter().filter(|day| day.is_sorted).flat_map(|day| &day.files);
        whole.cut(cuts(sorted_files.map(AsRef::as_ref), count), count)
    }

    /// Shares for so many processes, about equal by what the largest compacted files hold.
    pub(super) async fn spread(
        table: &TableHandle,
        snapshot: &TableSnapshot,
        count: usize,
    ) -> Result<Vec<TenantShare>, QuantitiesError> {
        let sorted = snapshot.files.iter().filter(|file| file.is_sorted() && !file.is_correction());
        let mut sorted: Vec<&DataFile> = sorted.collect();
        sorted.sort_by_key(|file| std::cmp::Reverse(file.rows));
        let mut asked = Vec::new();
        for file in sorted.into_iter().take(FILES_ASKED) {
            asked.push(LakeFile::open(table, file.clone()).await?);
        }
        Ok(TenantShare::default().cut(cuts(asked.iter(), count), count))
    }

    fn cut(&self, cuts: Option<Vec<String>>, count: usize) -> Vec<TenantShare> {
        let Some(cuts) = cuts else {
            let remainders = (0..count as u64).map(|own| (own, count as u64));
            return remainders.map(|own| TenantShare { remainder: Some(own), ..self.clone() }).collect();
        };
        let from = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
        let until = cuts.iter().cloned().map(Some).chain(std::iter::once(None));
        from.zip(until).map(|(from, until)| TenantShare { from, until, ..self.clone() }).collect()
    }

    /// A plan with a partition for each share, in which the share is a row.
    pub(super) fn rows(shares: &[TenantShare]) -> Result<Arc<dyn ExecutionPlan>> {
        let partition = |share: &TenantShare| -> Result<Vec<RecordBatch>> {
            let text = |text: &Option<String>| Arc::new(StringArray::from(vec![text.as_deref()])) as ArrayRef;
            let number = |number: Option<u64>| Arc::new(UInt64Array::from(vec![number])) as ArrayRef;
            let (remainder, divisor) = share.remainder.unzip();
            let columns = vec![text(&share.from), text(&share.until), number(remainder), number(divisor)];
            Ok(vec![RecordBatch::try_new(Arc::clone(&ROW), columns)?])
        };
        let partitions = shares.iter().map(partition).collect::<Result<Vec<_>>>()?;
        Ok(MemorySourceConfig::try_new_exec(&partitions, Arc::clone(&ROW), None)?)
    }

    pub(super) fn of_rows(rows: &RecordBatch) -> Result<Vec<TenantShare>> {
        if rows.schema().fields().len() != ROW.fields().len() {
            return Err(internal_datafusion_err!("shares of tenants have other columns"));
        }
        let text = |column: usize, row: usize| {
            let texts = rows.column(column).as_string_opt::<i32>()?;
            texts.is_valid(row).then(|| texts.value(row).to_owned())
        };
        let number = |column: usize, row: usize| {
            let numbers = rows.column(column).as_primitive_opt::<UInt64Type>()?;
            numbers.is_valid(row).then(|| numbers.value(row))
        };
        let share = |row| TenantShare {
            from: text(0, row),
            until: text(1, row),
            remainder: number(2, row).zip(number(3, row)),
            only: None,
        };
        Ok((0..rows.num_rows()).map(share).collect())
    }

    pub(super) fn holds(&self, tenant: &str) -> bool {
        self.from.as_deref().is_none_or(|from| from <= tenant)
            && self.until.as_deref().is_none_or(|until| tenant < until)
            && self.remainder.is_none_or(|(own, of)| hash(tenant) % of == own)
            && self.only.as_ref().is_none_or(|only| only.contains(tenant))
    }

    /// The row groups of a file that may hold one of these tenants.
    pub(super) fn row_groups(&self, file: &LakeFile) -> Vec<usize> {
        let groups = file.row_groups();
        let may_hold = |group: &GroupBounds| match &group.tenants {
            None => true,
            Some((low, high)) => {
                self.from.as_deref().is_none_or(|from| from <= high.as_str())
                    && self.until.as_deref().is_none_or(|until| low.as_str() < until)
                    && self.only.as_ref().is_none_or(|only| holds_any_between(only, low, high))
            }
        };
        (0..groups.len()).filter(|at| may_hold(&groups[*at])).collect()
    }
}

/// Names at which the rows of the files fall into about equal shares; nothing where the files do not say.
fn cuts<'f>(files: impl Iterator<Item = &'f LakeFile>, count: usize) -> Option<Vec<String>> {
    let mut rows_from: BTreeMap<String, u64> = BTreeMap::new();
    for file in files {
        for group in file.row_groups() {
            let (low, high) = group.tenants?;
            // A row group that starts in the middle of the names is half before its end.
            *rows_from.entry(low).or_default() += group.rows / 2;
            *rows_from.entry(high).or_default() += group.rows / 2;
        }
    }
    let all: u64 = rows_from.values().sum();
    let mut cuts = Vec::new();
    let mut passed = 0;
    for (name, rows) in rows_from {
        passed += rows;
        if cuts.len() + 1 < count && passed * count as u64 >= all * (cuts.len() as u64 + 1) {
            cuts.push(name);
        }
    }
    (!cuts.is_empty()).then_some(cuts)
}

/// FNV-1a: the same in every process.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    let hash = text.bytes().fold(0xCBF2_9CE4_8422_2325, step);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::ExecutionPlanProperties;
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn every_tenant_is_in_one_share_and_rows_keep_it() {
        let whole = TenantShare::default();
        let names: Vec<String> = (0..200).map(|number| format!("tenant-{number}")).collect();
        for cuts in [None, Some(vec!["tenant-13".to_owned(), "tenant-7".to_owned()])] {
            let shares = whole.cut(cuts, 3);
            assert_eq!(shares.len(), 3);
            let plan = TenantShare::rows(&shares).unwrap();
            assert_eq!(plan.output_partitioning().partition_count(), 3);
            for (partition, share) in shares.iter().enumerate() {
                let rows = plan.execute(partition, SessionContext::new().task_ctx()).unwrap();
                let rows = datafusion::physical_plan::common::collect(rows).await.unwrap();
                assert_eq!(TenantShare::of_rows(&rows[0]).unwrap(), std::slice::from_ref(share));
            }
            for name in &names {
                assert_eq!(shares.iter().filter(|share| share.holds(name)).count(), 1, "{name}");
            }
        }
    }
}
