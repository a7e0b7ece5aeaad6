//! A group of days that fits into memory: every file is read once, and all of it is at hand at once.

use super::conflict::{ConflictRejects, judge};
use super::filter::DayFilter;
use super::identity::{Identities, RowSet, lost_rows};
use super::sort::{DecodedDays, sort_days};
use super::{Attempt, CompactError, Compactor, Group, NewDays, blocking, rows};

impl Compactor {
    pub(super) async fn rewrite_in_memory(&mut self, group: &Group<'_>) -> Result<Attempt, CompactError> {
        let table = self.usage.handle().clone();
        let threads = self.settings.threads;
        let sources = rows::fetch(&table, &group.inputs).await?;
        let (identities, decoded) = blocking(|| {
            std::thread::scope(|scope| {
                let identities = scope.spawn(|| Identities::read(&sources));
                let decoded = DecodedDays::decode(&sources, threads);
                (identities.join().expect("reading identities does not panic"), decoded)
            })
        });
        let (identities, decoded) = (identities?, decoded?);
        drop(sources);
        let elsewhere = self.filters.elsewhere(&identities.new_identities(), &group.others).await?;
        let resolution = identities.resolve(&elsewhere, self.window());
        if !resolution.days_with_later.is_empty() {
            return Ok(Attempt::Needs(resolution.days_with_later));
        }
        let verdicts = judge(&decoded, &resolution.lost, &group.others, &table).await?;
        let mut rejects = ConflictRejects::default();
        self.record(&mut rejects, &verdicts).await?;
        let mut lost = RowSet::default();
        lost.add(lost_rows(&resolution.lost));
        let (files, filters) = blocking(|| {
            std::thread::scope(|scope| {
                let filters = scope.spawn(|| {
                    let filter =
                        |day: &i32| (*day, DayFilter::build(&identities.prefixes_of_day(*day, &lost)));
                    group.days.iter().map(filter).collect::<Vec<_>>()
                });
                let files = sort_days(&decoded, &lost, &self.settings);
                (files, filters.join().expect("building a filter does not panic"))
            })
        });
        Ok(Attempt::Done(Box::new(NewDays {
            files: self.upload(files?).await?,
            filters,
            rejects: rejects.finish()?,
            lost_rows: lost.count(),
            conflict_rows: verdicts.conflict_rows,
        })))
    }
}
