//! One tenant's demand, and how far it is put together from roll-ups.

use std::collections::{BTreeMap, HashMap, HashSet};

use rating::catalog::{Catalog, MeterKind};
use rating::period::Span;
use rating::quantity::rollup::RollupError;
use rating::quantity::session::SessionOddities;
use rating::quantity::{Dimensions, KindName, MeterKind as FoldKind};
use rating::usage::{
    CarriedState, DAY_US, Demand, MeterFold, SeriesSpan, SpanInParts, Usage, View, Wanted, day_span,
    question_key,
};

use super::Source;
use super::columns::{DailyBatch, view_text};
use super::questions::{is_answered, is_rolled};
use crate::quantities::TenantCarried;

/// Numbers for views and names of questions, shared by all tenants.
#[derive(Debug, Default)]
pub(super) struct Keys {
    views: HashMap<View, u32>,
    /// By the text that rows carry.
    view_texts: HashMap<String, u32>,
    /// By view and the parts of the day, as they lie in it.
    names: HashMap<(u32, Vec<(i64, i64)>), String>,
}

impl Keys {
    fn view(&mut self, view: &View) -> u32 {
        if let Some(&number) = self.views.get(view) {
            return number;
        }
        let number = self.views.len() as u32;
        self.views.insert(view.clone(), number);
        self.view_texts.insert(view_text(view), number);
        number
    }

    fn name(&mut self, number: u32, kind: &FoldKind, view: &View, parts: &[Span], day: i32) -> &str {
        let start_us = day_span(day).start_us;
        let offsets = parts.iter().map(|part| (part.start_us - start_us, part.end_us - start_us)).collect();
        self.names.entry((number, offsets)).or_insert_with(|| question_key(kind, view, parts, day))
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    demand: Demand,
    /// By question; nothing where it has to be answered from events.
    rolled: Vec<Option<Rolled>>,
    /// The first of the days that were looked at by the end of which the tenant was known.
    known_from: Option<i32>,
}

/// What roll-ups say of a tenant's demand.
#[derive(Debug)]
pub(super) enum Answered {
    /// The answers so far, and the questions that are open.
    Usage(Usage, Vec<usize>),
    /// The tenant came after its period.
    NotSeen,
    /// It cannot be told whether it was there before its period ended.
    Unclear,
}

/// A question in the making.
#[derive(Debug)]
struct Rolled {
    rules: FoldKind,
    kind: KindName,
    view: u32,
    /// By the text of the dimensions: a total for each span.
    series: Vec<(Box<str>, Vec<SpanInParts>)>,
    oddities: SessionOddities,
}

impl Plan {
    pub fn new(demand: Demand, catalog: &Catalog, source: Source, keys: &mut Keys) -> Self {
        let rolled = demand.wanted.iter().map(|wanted| {
            let from_days = match source {
                Source::RollUps => is_rolled(catalog, wanted),
                Source::Auto | Source::Events => is_answered(catalog, wanted),
            };
            let meter = catalog.meter(&wanted.view.meter).filter(|_| from_days)?;
            let rules = meter.kind.rules();
            Some(Rolled {
                kind: rules.name(),
                rules,
                view: keys.view(&wanted.view),
                series: Vec::new(),
                oddities: SessionOddities::default(),
            })
        });
        let rolled = rolled.collect();
        Self { demand, rolled, known_from: None }
    }

    pub fn rolled_spans(&self) -> impl Iterator<Item = &Span> {
        let questions = self.demand.wanted.iter().zip(&self.rolled);
        questions.filter(|(_, rolled)| rolled.is_some()).flat_map(|(wanted, _)| &wanted.spans)
    }

    pub fn reaches_after(&self, at_us: i64) -> bool {
        self.rolled_spans().any(|span| span.end_us > at_us)
    }

    /// The last day that lies in the tenant's period, if only in part.
    pub fn last_day(&self) -> i64 {
        (self.demand.period.span.end_us - 1).div_euclid(DAY_US)
    }

    /// Everything has to come from events.
    pub fn give_up(&mut self) {
        self.rolled.iter_mut().for_each(|rolled| *rolled = None);
    }

    /// Leaves to the events what a day does not answer. Days come in their order.
    pub fn check_day(&mut self, day: i32, known: &HashSet<String>, keys: &mut Keys) {
        self.known_from = self.known_from.or(Some(day));
        for (wanted, place) in self.demand.wanted.iter().zip(&mut self.rolled) {
            let Some(rolled) = place else { continue };
            let parts = rating::usage::parts_of_day(&wanted.spans, day);
            if !parts.is_empty()
                && !known.contains(keys.name(rolled.view, &rolled.rules, &wanted.view, &parts, day))
            {
                *place = None;
            }
        }
    }

    /// Adds a row of a day to the questions that it answers.
    pub fn add_row(&mut self, day: i32, batch: &DailyBatch, row: usize, keys: &Keys) {
        let Some(&view) = keys.view_texts.get(batch.view(row)) else { return };
        let (part, whole) = (batch.span(row), day_span(day));
        for (wanted, place) in self.demand.wanted.iter().zip(&mut self.rolled) {
            let Some(rolled) = place.as_mut().filter(|rolled| rolled.view == view) else { continue };
            let is_part = |span: &Span| span.intersection(&whole) == Some(part);
            let Some(at) = wanted.spans.iter().position(is_part) else { continue };
            let added = match batch.dimensions(row) {
                None => {
                    rolled.oddities = rolled.oddities.together_with(&batch.oddities(row));
                    Ok(())
                }
                Some(dimensions) => {
                    let totals = batch.totals(row, rolled.kind);
                    let seen = batch.resources(row);
                    let span = rolled.span(dimensions, wanted, at);
                    span.add(part, totals, seen.iter().map(String::as_str))
                }
            };
            // What does not fit together is counted anew from events, which says what is wrong with it.
            if added.is_err() {
                *place = None;
            }
        }
    }

    /// Adds what follows from the last day's end alone.
    pub fn add_rest(&mut self, from_us: i64, carried: &TenantCarried, catalog: &Catalog) {
        for (wanted, place) in self.demand.wanted.iter().zip(&mut self.rolled) {
            let Some(rolled) = place else { continue };
            let is_session = catalog
                .meter(&wanted.view.meter)
                .is_some_and(|meter| matches!(meter.kind, MeterKind::Session { .. }));
            let nothing = CarriedState::default();
            let opening = carried.get(&wanted.view.meter).unwrap_or(&nothing);
            if opening.is_empty() && !is_session {
                continue;
            }
            if rolled.add_rest(from_us, wanted, opening).is_none() {
                *place = None;
            }
        }
    }

    pub fn finish(self) -> Answered {
        let end_us = self.demand.period.span.end_us;
        match self.known_from {
            Some(day) if day_span(day).end_us <= end_us => {}
            Some(day) if day_span(day).start_us < end_us => return Answered::Unclear,
            _ => return Answered::NotSeen,
        }
        let mut usage = Usage::unused(self.demand);
        let mut open = Vec::new();
        for (at, rolled) in self.rolled.into_iter().enumerate() {
            let wanted = &usage.demand.wanted[at];
            let answer =
                rolled.and_then(|rolled| Some((rolled.oddities, rolled.kind, rolled.finish(wanted)?)));
            match answer {
                None => open.push(at),
                Some((oddities, kind, answer)) => {
                    if kind == KindName::Session {
                        let meter = wanted.view.meter.clone();
                        let known = usage.session_oddities.entry(meter).or_default();
                        *known = known.most(&oddities);
                    }
                    usage.answers[at] = answer;
                }
            }
        }
        Answered::Usage(usage, open)
    }
}

impl Rolled {
    fn span(&mut self, dimensions: &str, wanted: &Wanted, at: usize) -> &mut SpanInParts {
        let known = self.series.iter().position(|(known, _)| &**known == dimensions);
        let place = known.unwrap_or_else(|| {
            let spans = wanted.spans.iter().map(|span| SpanInParts::new(self.kind, *span)).collect();
            self.series.push((dimensions.into(), spans));
            self.series.len() - 1
        });
        &mut self.series[place].1[at]
    }

    /// Nothing where it does not fit together.
    fn add_rest(&mut self, from_us: i64, wanted: &Wanted, opening: &CarriedState) -> Option<()> {
        let rest = Span { start_us: from_us, end_us: i64::MAX };
        let spans: Vec<(usize, Span)> = wanted
            .spans
            .iter()
            .enumerate()
            .filter_map(|(at, span)| Some((at, span.intersection(&rest)?)))
            .collect();
        let asked = Wanted {
            view: wanted.view.clone(),
            spans: spans.iter().map(|(_, span)| *span).collect(),
            measures: std::collections::BTreeSet::new(),
            transactions: false,
        };
        let questions = [(0, &asked)];
        let mut fold = MeterFold::new(&self.rules, &questions, true).resume(&self.rules, opening).ok()?;
        let found = fold.finish().ok()?;
        for (_, own) in found.oddities.iter().flat_map(|(_, spans)| spans) {
            self.oddities = self.oddities.together_with(own);
        }
        for series in found.answers.into_iter().flat_map(|(_, answer)| answer) {
            let (at, part) = *spans.iter().find(|(_, span)| *span == series.span)?;
            let dimensions = serde_json::to_string(&series.dimensions).ok()?;
            self.span(&dimensions, wanted, at).add(part, series.totals, []).ok()?;
        }
        Some(())
    }

    fn finish(self, wanted: &Wanted) -> Option<Vec<SeriesSpan>> {
        let mut answers: BTreeMap<Dimensions, Vec<SeriesSpan>> = BTreeMap::new();
        for (text, spans) in self.series {
            let dimensions: Dimensions = serde_json::from_str(&text).ok()?;
            let totals: Result<Vec<_>, RollupError> = spans.into_iter().map(SpanInParts::finish).collect();
            let own = answers.entry(dimensions.clone()).or_default();
            for (span, totals) in wanted.spans.iter().zip(totals.ok()?) {
                if !totals.is_empty() {
                    own.push(SeriesSpan { dimensions: dimensions.clone(), span: *span, totals });
                }
            }
        }
        Some(answers.into_values().flatten().collect())
    }
}
