//! Plans of some tenants, put together from periods that were put together before and from the days of the roll-ups.
//!
//! Texts are looked up once for each row group's dictionary; rows find their plan and question by number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use datafusion::common::runtime::SpawnedTask;
use hashbrown::HashMap;
use rating::catalog::Catalog;
use rating::period::Span;
use rating::quantity::Dimensions;
use rating::usage::{DAY_US, day_span};

use super::batch::{TextColumn, TotalsBatch};
use super::days::VANISHED;
use super::periods::{KnownQuestions, last_day_of};
use super::plan::{Answered, DayAnswers, Keys, Plan};
use super::questions::rules_of;
use super::{CarriedDay, RollUps};
use crate::quantities::{QuantitiesError, is_same_dictionary};

/// Answers plans, parts of the tenants at once.
pub(super) async fn answer_plans(
    roll_ups: &RollUps,
    catalog: &Arc<Catalog>,
    plans: BTreeMap<String, Plan>,
    keys: &Keys,
    threads: usize,
) -> Result<Vec<(String, Answered)>, QuantitiesError> {
    let part_size = plans.len().div_ceil(threads.max(1)).max(1);
    let mut plans = plans.into_iter();
    let mut tasks = Vec::new();
    while plans.len() > 0 {
        let part = Part::new(plans.by_ref().take(part_size), keys.clone());
        let (roll_ups, catalog) = (roll_ups.clone(), Arc::clone(catalog));
        // Ends when nobody waits for it any more.
        tasks.push(SpawnedTask::spawn(async move { part.answer(&roll_ups, &catalog).await }));
    }
    let mut answered = Vec::new();
    for task in tasks {
        answered.extend(task.await.map_err(QuantitiesError::Stopped)??);
    }
    Ok(answered)
}

struct Part {
    plans: Vec<Plan>,
    /// Their tenants.
    tenants: Vec<String>,
    places: HashMap<String, usize>,
    keys: Keys,
}

/// What is there of a tenant's day.
#[derive(Debug, Clone, Copy)]
struct Newest {
    generation: i64,
    /// The number of what the day answers; nothing where the tenant is not known any more.
    answers: Option<usize>,
}

impl Part {
    fn new(plans: impl Iterator<Item = (String, Plan)>, keys: Keys) -> Self {
        let (tenants, plans): (Vec<String>, Vec<Plan>) = plans.unzip();
        let places = tenants.iter().cloned().zip(0..).collect();
        Self { plans, tenants, places, keys }
    }

    /// Reads what is there of whole periods, the days for what they leave open, and what follows from the end of the
    /// roll-ups.
    async fn answer(
        mut self,
        roll_ups: &RollUps,
        catalog: &Catalog,
    ) -> Result<Vec<(String, Answered)>, QuantitiesError> {
        self.take_up_periods(roll_ups).await?;
        let open = self.tenants.iter().zip(&self.plans).filter(|(_, plan)| plan.is_open());
        let open: BTreeSet<String> = open.map(|(tenant, _)| tenant.clone()).collect();
        if let Some((first, last)) = self.days(roll_ups.state.first_day, roll_ups.state.last_day) {
            for day in first..=last {
                self.add_day(day, &roll_ups.rows_of_day(day, &open).await?);
                tokio::task::coop::consume_budget().await;
            }
        }
        self.add_rest(roll_ups, catalog).await?;
        let answered = self.plans.into_iter().map(Plan::finish);
        Ok(self.tenants.into_iter().zip(answered).collect())
    }

    async fn take_up_periods(&mut self, roll_ups: &RollUps) -> Result<(), QuantitiesError> {
        let tenants: BTreeSet<String> = self.tenants.iter().cloned().collect();
        let last_days = self.plans.iter().map(|plan| last_day_of(plan.period())).collect();
        let batches = roll_ups.rows_of_periods(&last_days, &tenants).await?;
        let places = mapped(&batches, TextColumn::Tenant, |tenant| self.places.get(tenant).copied());
        let known = mapped(&batches, TextColumn::Questions, |text| {
            serde_json::from_str::<KnownQuestions>(text).unwrap_or_default()
        });
        let plan_of = |batch: &TotalsBatch, places: &[Option<usize>], row: usize| {
            batch.key(TextColumn::Tenant, row).and_then(|key| places[key])
        };
        for ((batch, places), known) in batches.iter().zip(&places).zip(&known) {
            for row in 0..batch.len() {
                if let Some(key) = batch.key(TextColumn::Questions, row)
                    && let Some(place) = plan_of(batch, places, row)
                {
                    self.plans[place].take_up(batch.span(row), &known[key], &mut self.keys);
                }
            }
        }
        let views = mapped(&batches, TextColumn::View, |view| self.keys.view_of_text(view));
        let dimensions = mapped(&batches, TextColumn::Dimensions, |text| {
            serde_json::from_str::<Dimensions>(text).unwrap_or_default()
        });
        for (((batch, places), views), dimensions) in batches.iter().zip(&places).zip(&views).zip(&dimensions)
        {
            for row in 0..batch.len() {
                let view = batch.key(TextColumn::View, row).and_then(|key| views[key]);
                let dimensions = batch.key(TextColumn::Dimensions, row).map(|key| &dimensions[key]);
                if let (Some(view), Some(dimensions)) = (view, dimensions)
                    && let Some(place) = plan_of(batch, places, row)
                {
                    self.plans[place].add_whole(view, dimensions, batch, row);
                }
            }
        }
        Ok(())
    }

    /// The rolled days that open questions reach into, and those that tell who was there when periods end.
    fn days(&self, first_day: i32, last_day: i32) -> Option<(i32, i32)> {
        let open = || self.plans.iter().filter(|plan| plan.is_open());
        let spans = || open().flat_map(Plan::open_spans);
        let ends = || open().map(|plan| last_day_of(plan.period()).min(last_day));
        let first_of = |span: &Span| span.start_us.div_euclid(DAY_US);
        let first = spans().map(first_of).chain(ends().map(|day| i64::from(day) - 1)).min()?;
        let last = spans().map(|span| last_day_of(*span)).chain(ends()).max()?;
        let (first, last) = (first.max(first_day.into()) as i32, last.min(last_day));
        (first <= last).then_some((first, last))
    }

    fn add_day(&mut self, day: i32, batches: &[TotalsBatch]) {
        let places = mapped(batches, TextColumn::Tenant, |tenant| self.places.get(tenant).copied());
        let views = mapped(batches, TextColumn::View, |view| self.keys.view_of_text(view));
        let newest = self.check_day(day, batches, &places);
        for ((batch, places), views) in batches.iter().zip(&places).zip(&views) {
            for row in 0..batch.len() {
                let place = batch.key(TextColumn::Tenant, row).and_then(|key| places[key]);
                let view = batch.key(TextColumn::View, row).and_then(|key| views[key]);
                let (Some(place), Some(view)) = (place, view) else { continue };
                if newest[place].is_some_and(|newest| newest.generation == batch.generation(row)) {
                    self.plans[place].add_row(day, view, batch, row);
                }
            }
        }
    }

    /// Finds for each plan the run whose rows count, and takes out questions that it does not answer.
    fn check_day(
        &mut self,
        day: i32,
        batches: &[TotalsBatch],
        places: &[Arc<[Option<usize>]>],
    ) -> Vec<Option<Newest>> {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut answers: Vec<DayAnswers> = Vec::new();
        let sets = mapped(batches, TextColumn::Questions, |text| {
            (text != VANISHED).then(|| {
                *numbers.entry_ref(text).or_insert_with(|| {
                    answers.push(DayAnswers::of_text(text));
                    answers.len() - 1
                })
            })
        });
        let mut newest: Vec<Option<Newest>> = vec![None; self.plans.len()];
        for ((batch, places), sets) in batches.iter().zip(places).zip(&sets) {
            for row in 0..batch.len() {
                let Some(set) = batch.key(TextColumn::Questions, row) else { continue };
                let Some(place) = batch.key(TextColumn::Tenant, row).and_then(|key| places[key]) else {
                    continue;
                };
                let generation = batch.generation(row);
                if newest[place].is_none_or(|known| known.generation < generation) {
                    newest[place] = Some(Newest { generation, answers: sets[set] });
                }
            }
        }
        for (plan, newest) in self.plans.iter_mut().zip(&newest) {
            if let Some(set) = newest.and_then(|newest| newest.answers) {
                plan.check_day(day, &mut answers[set], &mut self.keys);
            }
        }
        newest
    }

    /// What comes after the last rolled day: no event of these tenants.
    async fn add_rest(&mut self, roll_ups: &RollUps, catalog: &Catalog) -> Result<(), QuantitiesError> {
        let last_day = roll_ups.state.last_day;
        let end_us = day_span(last_day).end_us;
        let plans = self.tenants.iter().zip(&self.plans);
        let after: BTreeSet<String> =
            plans.filter(|(_, plan)| plan.reaches_after(end_us)).map(|(tenant, _)| tenant.clone()).collect();
        if after.is_empty() {
            return Ok(());
        }
        // What the last day left was left by the rules of then.
        let is_same = rules_of(catalog) == roll_ups.state.rules;
        let states = if is_same {
            roll_ups.carried_into(last_day + 1, Some(&after)).await?
        } else {
            CarriedDay::default()
        };
        let openings = states.openings().map_err(QuantitiesError::Carried)?.0;
        for tenant in &after {
            let plan = &mut self.plans[self.places[tenant]];
            match openings.get(tenant) {
                Some(opening) => plan.add_rest(end_us, opening, catalog),
                None => plan.give_up(),
            }
        }
        Ok(())
    }
}

/// For each batch what the texts of one of its columns stand for. Batches of one row group have the same.
fn mapped<T>(
    batches: &[TotalsBatch],
    column: TextColumn,
    mut number_of: impl FnMut(&str) -> T,
) -> Vec<Arc<[T]>> {
    let mut all: Vec<Arc<[T]>> = Vec::with_capacity(batches.len());
    for (at, batch) in batches.iter().enumerate() {
        let dictionary = batch.dictionary(column);
        let before = at
            .checked_sub(1)
            .filter(|before| is_same_dictionary(batches[*before].dictionary(column), dictionary));
        let numbers = match before {
            Some(before) => Arc::clone(&all[before]),
            None => {
                let texts = dictionary.as_string::<i32>();
                (0..texts.len()).map(|at| number_of(texts.value(at))).collect()
            }
        };
        all.push(numbers);
    }
    all
}
