//! One question about a meter of values: its series by dimension values, and where they are cut.

use std::collections::{BTreeMap, HashMap};

use super::series::Series;
use crate::period::Span;
use crate::quantity::{Dimensions, FoldError, MeterKind};
use crate::usage::{SeriesSpan, View, Wanted};

/// An instant at which all series are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub at_us: i64,
    /// The span that ends here; nothing where only the stretch before a span ends.
    pub ends: Option<Span>,
}

/// The cuts of a question's spans, in order.
pub(super) fn edges(spans: &[Span]) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::with_capacity(spans.len() + 1);
    for span in spans {
        if edges.last().is_none_or(|edge| edge.at_us < span.start_us) {
            edges.push(Edge { at_us: span.start_us, ends: None });
        }
        edges.push(Edge { at_us: span.end_us, ends: Some(*span) });
    }
    edges
}

#[derive(Debug)]
pub(super) struct Look {
    at: usize,
    view: View,
    kind: MeterKind,
    wanted: Wanted,
    edges: Vec<Edge>,
    /// By slot: the series that it feeds and its number there; nothing where the view does not take it.
    places: Vec<Option<(u32, u32)>>,
    series: Vec<Series>,
    groups: BTreeMap<Dimensions, u32>,
    /// A resource that is seen with several dimensions which the view adds up is one resource to count.
    distinct: HashMap<(u32, u32), u32>,
}

impl Look {
    pub fn new(kind: &MeterKind, at: usize, wanted: &Wanted) -> Look {
        Look {
            at,
            view: wanted.view.clone(),
            kind: kind.clone(),
            wanted: wanted.clone(),
            edges: edges(&wanted.spans),
            places: Vec::new(),
            series: Vec::new(),
            groups: BTreeMap::new(),
            distinct: HashMap::new(),
        }
    }

    /// Slots are added in their order, without gaps.
    pub fn add_slot(&mut self, resource: u32, dimensions: &Dimensions) {
        if !self.view.takes(dimensions) {
            self.places.push(None);
            return;
        }
        let next = self.series.len() as u32;
        let group = *self.groups.entry(self.view.group(dimensions)).or_insert(next);
        if group == next {
            self.series.push(Series::new(&self.kind, &self.wanted));
        }
        let series = &mut self.series[group as usize];
        let number = match self.kind {
            MeterKind::Unique => {
                *self.distinct.entry((group, resource)).or_insert_with(|| series.next_resource())
            }
            _ => series.next_resource(),
        };
        self.places.push(Some((group, number)));
    }

    #[inline]
    pub fn event(&mut self, time_us: i64, slot: u32, value_nano: i128) -> Result<(), FoldError> {
        let Some((series, resource)) = self.places[slot as usize] else {
            return Ok(());
        };
        self.series[series as usize].event(&self.edges, time_us, resource, value_nano)
    }

    pub fn series_count(&self) -> usize {
        self.series.len()
    }

    pub fn finish(self) -> Result<(usize, Vec<SeriesSpan>), FoldError> {
        let mut answers = Vec::new();
        let mut series: Vec<Option<Series>> = self.series.into_iter().map(Some).collect();
        for (dimensions, at) in self.groups {
            let Some(series) = series[at as usize].take() else { continue };
            for (span, totals) in series.finish(&self.edges)? {
                if !totals.is_empty() {
                    answers.push(SeriesSpan { dimensions: dimensions.clone(), span, totals });
                }
            }
        }
        Ok((self.at, answers))
    }
}
