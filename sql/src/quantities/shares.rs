//! How the tenants are spread over the cores.
//!
//! A compacted day is in the order of its tenants, so that each share is a range of names and reads only the row groups
//! that may hold them. Where no day is compacted there is nothing to pass over, and any split will do.

use std::collections::{BTreeMap, BTreeSet};

use super::Day;
use super::files::{GroupBounds, LakeFile};
use crate::lake::holds_any_between;

/// The tenants of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TenantShare {
    /// From this name on; the first share starts before all names.
    from: Option<String>,
    /// Up to but without this name; the last share has no end.
    until: Option<String>,
    /// Where no range is known: this remainder of a tenant's hash.
    remainder: Option<(u64, u64)>,
    only: Option<BTreeSet<String>>,
}

impl TenantShare {
    pub fn split(days: &[Day], count: usize, only: Option<&BTreeSet<String>>) -> Vec<TenantShare> {
        let whole = TenantShare { from: None, until: None, remainder: None, only: only.cloned() };
        if count == 1 || only.is_some_and(|only| only.len() == 1) {
            return vec![whole];
        }
        let sorted_files = days.iter().filter(|day| day.is_sorted).flat_map(|day| &day.files);
        let Some(cuts) = cuts(sorted_files.map(AsRef::as_ref), count) else {
            let remainders = (0..count as u64).map(|own| (own, count as u64));
            return remainders.map(|own| TenantShare { remainder: Some(own), ..whole.clone() }).collect();
        };
        let from = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
        let until = cuts.iter().cloned().map(Some).chain(std::iter::once(None));
        from.zip(until).map(|(from, until)| TenantShare { from, until, ..whole.clone() }).collect()
    }

    pub fn holds(&self, tenant: &str) -> bool {
        self.from.as_deref().is_none_or(|from| from <= tenant)
            && self.until.as_deref().is_none_or(|until| tenant < until)
            && self.remainder.is_none_or(|(own, of)| hash(tenant) % of == own)
            && self.only.as_ref().is_none_or(|only| only.contains(tenant))
    }

    /// The row groups of a file that may hold one of these tenants.
    pub fn row_groups(&self, file: &LakeFile) -> Vec<usize> {
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
