//! One tenant's demand, and how far it is put together from roll-ups.

use std::collections::{BTreeMap, HashMap, HashSet};

use rating::catalog::{Catalog, MeterKind};
use rating::period::Span;
use rating::quantity::rollup::RollupError;
use rating::quantity::session::SessionOddities;
use rating::quantity::{Dimensions, KindName, MeterKind as FoldKind};
use rating::usage::{
    CarriedState, Demand, MeterFold, SeriesSpan, SpanInParts, Totals, Usage, View, Wanted, day_span,
    question_key,
};

use super::Source;
use super::batch::TotalsBatch;
use super::columns::view_text;
use super::periods::{KnownQuestions, last_day_of};
use super::questions::{is_answered, is_rolled};
use crate::quantities::TenantCarried;

/// Numbers for views and names of questions, shared by many tenants.
#[derive(Debug, Clone, Default)]
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

    /// The number of a row's view; nothing where nobody asks for it.
    pub fn view_of_text(&self, text: &str) -> Option<u32> {
        self.view_texts.get(text).copied()
    }

    fn name(&mut self, number: u32, kind: &FoldKind, view: &View, parts: &[Span], day: i32) -> &str {
        let start_us = day_span(day).start_us;
        let offsets = parts.iter().map(|part| (part.start_us - start_us, part.end_us - start_us)).collect();
        self.names.entry((number, offsets)).or_insert_with(|| question_key(kind, view, parts, day))
    }
}

/// The questions that a tenant's day answers; most tenants have the same.
#[derive(Debug, Default)]
pub(super) struct DayAnswers {
    names: HashSet<String>,
    /// By view and the only part of the day that is asked for: what was found out about it.
    of_parts: hashbrown::HashMap<(u32, i64, i64), bool>,
}

impl DayAnswers {
    /// As the day's row has them.
    pub fn of_text(text: &str) -> Self {
        Self { names: serde_json::from_str(text).unwrap_or_default(), ..Self::default() }
    }

    /// Whether what is asked about the day is among them, if anything is.
    fn hold(&mut self, rolled: &Rolled, wanted: &Wanted, day: i32, keys: &mut Keys) -> bool {
        let Self { names, of_parts } = self;
        let mut is_named = |parts: &[Span]| {
            parts.is_empty()
                || names.contains(keys.name(rolled.view, &rolled.rules, &wanted.view, parts, day))
        };
        match wanted.spans.as_slice() {
            [span] => match span.intersection(&day_span(day)) {
                None => true,
                Some(part) => *of_parts
                    .entry((rolled.view, part.start_us, part.end_us))
                    .or_insert_with(|| is_named(&[part])),
            },
            spans => is_named(&rating::usage::parts_of_day(spans, day)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    demand: Demand,
    /// By question; nothing where it has to be answered from events.
    rolled: Vec<Option<Rolled>>,
    /// The first of the days that were looked at by the end of which the tenant was known.
    known_from: Option<i32>,
    /// Whether the period was put together before, and the tenant known in it.
    is_taken_up: bool,
}

/// What roll-ups say of a tenant's demand.
#[derive(Debug)]
pub(super) enum Answered {
    /// The demand, and what was found about each of its questions; nothing where one is open.
    Questions(Demand, Vec<Option<QuestionFound>>),
    /// The tenant came after its period.
    NotSeen,
    /// It cannot be told whether it was there before its period ended.
    Unclear,
}

#[derive(Debug)]
pub(super) struct QuestionFound {
    pub rules: FoldKind,
    pub series: Vec<SeriesSpan>,
    pub oddities: SessionOddities,
}

/// A question in the making.
#[derive(Debug)]
struct Rolled {
    rules: FoldKind,
    kind: KindName,
    view: u32,
    series: Vec<SeriesInParts>,
    /// Instead of what days add: what the whole period came to.
    whole: Option<Vec<SeriesSpan>>,
    oddities: SessionOddities,
}

/// One series in the making.
#[derive(Debug)]
struct SeriesInParts {
    /// As text.
    dimensions: Box<str>,
    spans: Vec<SpanInParts>,
    /// The span and the resources of the part that was added last: mostly the next one's are the same.
    last_seen: (usize, Box<str>),
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
                whole: None,
                oddities: SessionOddities::default(),
            })
        });
        let rolled = rolled.collect();
        Self { demand, rolled, known_from: None, is_taken_up: false }
    }

    pub fn period(&self) -> Span {
        self.demand.period.span
    }

    /// Takes up what a period came to, if it is this one.
    pub fn take_up(&mut self, period: Span, known: &KnownQuestions, keys: &mut Keys) {
        if self.period() != period {
            return;
        }
        self.is_taken_up = true;
        for (wanted, place) in self.demand.wanted.iter().zip(&mut self.rolled) {
            let Some(rolled) = place else { continue };
            let name =
                keys.name(rolled.view, &rolled.rules, &wanted.view, &wanted.spans, last_day_of(period));
            if let Some(oddities) = known.get(name) {
                rolled.oddities = oddities.unwrap_or_default();
                rolled.whole = Some(Vec::new());
            }
        }
    }

    /// Adds a row of a period about a view to the questions that were taken up.
    pub fn add_whole(&mut self, view: u32, dimensions: &Dimensions, batch: &TotalsBatch, row: usize) {
        let span = batch.span(row);
        for (wanted, place) in self.demand.wanted.iter().zip(&mut self.rolled) {
            let Some(rolled) = place.as_mut().filter(|rolled| rolled.view == view) else { continue };
            if let Some(whole) = &mut rolled.whole
                && wanted.spans.contains(&span)
            {
                let totals = batch.totals(row, rolled.kind);
                whole.push(SeriesSpan { dimensions: dimensions.clone(), span, totals });
            }
        }
    }

    /// Whether days have to be read: for questions, or to find out whether the tenant was there.
    pub fn is_open(&self) -> bool {
        !self.is_taken_up || self.open_spans().next().is_some()
    }

    /// What days have to tell about.
    pub fn open_spans(&self) -> impl Iterator<Item = &Span> {
        let questions = self.demand.wanted.iter().zip(&self.rolled);
        let is_open = |rolled: &Option<Rolled>| rolled.as_ref().is_some_and(Rolled::is_open);
        questions.filter(move |(_, rolled)| is_open(rolled)).flat_map(|(wanted, _)| &wanted.spans)
    }

    fn open_questions(&mut self) -> impl Iterator<Item = (&Wanted, &mut Option<Rolled>)> {
        let questions = self.demand.wanted.iter().zip(&mut self.rolled);
        questions.filter(|(_, place)| place.as_ref().is_some_and(Rolled::is_open))
    }

    pub fn reaches_after(&self, at_us: i64) -> bool {
        self.open_spans().any(|span| span.end_us > at_us)
    }

    /// What is open has to come from events.
    pub fn give_up(&mut self) {
        self.open_questions().for_each(|(_, rolled)| *rolled = None);
    }

    /// Leaves to the events what a day does not answer. Days come in their order.
    pub fn check_day(&mut self, day: i32, known: &mut DayAnswers, keys: &mut Keys) {
        self.known_from = self.known_from.or(Some(day));
        for (wanted, place) in self.open_questions() {
            if place.as_ref().is_some_and(|rolled| !known.hold(rolled, wanted, day, keys)) {
                *place = None;
            }
        }
    }

    /// Adds a row of a day about a view to the questions that it answers.
    pub fn add_row(&mut self, day: i32, view: u32, batch: &TotalsBatch, row: usize) {
        let (part, whole) = (batch.span(row), day_span(day));
        for (wanted, place) in self.open_questions() {
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
                    rolled.series(dimensions, wanted).add(at, part, totals, batch.resources(row))
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
        for (wanted, place) in self.open_questions() {
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
            _ if self.is_taken_up => {}
            Some(day) if day_span(day).end_us <= end_us => {}
            Some(day) if day_span(day).start_us < end_us => return Answered::Unclear,
            _ => return Answered::NotSeen,
        }
        let questions = self.demand.wanted.iter().zip(self.rolled);
        let found = questions.map(|(wanted, rolled)| rolled?.finish(wanted)).collect();
        Answered::Questions(self.demand, found)
    }
}

/// A demand's usage as far as it was found, and the places of the questions that are open.
pub(super) fn usage_of(demand: Demand, found: Vec<Option<QuestionFound>>) -> (Usage, Vec<usize>) {
    let mut usage = Usage::unused(demand);
    let mut open = Vec::new();
    for (at, found) in found.into_iter().enumerate() {
        let Some(QuestionFound { rules, series, oddities }) = found else {
            open.push(at);
            continue;
        };
        if rules.name() == KindName::Session {
            let meter = usage.demand.wanted[at].view.meter.clone();
            let known = usage.session_oddities.entry(meter).or_default();
            *known = known.most(&oddities);
        }
        usage.answers[at] = series;
    }
    (usage, open)
}

impl SeriesInParts {
    /// Adds a part of a span, with the resources that it saw, as text.
    fn add(&mut self, at: usize, part: Span, totals: Totals, seen: Option<&str>) -> Result<(), RollupError> {
        let new = seen.filter(|seen| (self.last_seen.0, &*self.last_seen.1) != (at, *seen));
        let names: Vec<String> = new.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        if let Some(text) = new {
            self.last_seen = (at, text.into());
        }
        self.spans[at].add(part, totals, names.iter().map(String::as_str))
    }
}

impl Rolled {
    fn is_open(&self) -> bool {
        self.whole.is_none()
    }

    fn series(&mut self, dimensions: &str, wanted: &Wanted) -> &mut SeriesInParts {
        let known = self.series.iter().position(|known| &*known.dimensions == dimensions);
        let place = known.unwrap_or_else(|| {
            let spans = wanted.spans.iter().map(|span| SpanInParts::new(self.kind, *span)).collect();
            let dimensions = dimensions.into();
            self.series.push(SeriesInParts { dimensions, spans, last_seen: (usize::MAX, "".into()) });
            self.series.len() - 1
        });
        &mut self.series[place]
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
            self.series(&dimensions, wanted).add(at, part, series.totals, None).ok()?;
        }
        Some(())
    }

    /// Nothing where days do not fit together.
    fn finish(self, wanted: &Wanted) -> Option<QuestionFound> {
        let series = match self.whole {
            Some(mut whole) => {
                let place = |span: Span| wanted.spans.iter().position(|own| *own == span);
                whole.sort_by(|left, right| {
                    left.dimensions
                        .cmp(&right.dimensions)
                        .then_with(|| place(left.span).cmp(&place(right.span)))
                });
                whole
            }
            None => put_together(self.series, wanted)?,
        };
        Some(QuestionFound { rules: self.rules, series, oddities: self.oddities })
    }
}

fn put_together(parts: Vec<SeriesInParts>, wanted: &Wanted) -> Option<Vec<SeriesSpan>> {
    let mut answers: BTreeMap<Dimensions, Vec<SeriesSpan>> = BTreeMap::new();
    for SeriesInParts { dimensions, spans, .. } in parts {
        let dimensions: Dimensions = serde_json::from_str(&dimensions).ok()?;
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
