//! One question about a meter of values: its series by dimension values, and where they are cut.

use std::collections::{BTreeMap, HashMap};

use super::Sample;
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

/// The series that a slot feeds and its number there; nothing where the view does not take it.
pub(super) type Place = Option<(u32, u32)>;

#[derive(Debug)]
pub(super) struct Look {
    at: usize,
    view: View,
    kind: MeterKind,
    wanted: Wanted,
    edges: Vec<Edge>,
    /// By slot.
    places: Vec<Place>,
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

    /// Takes some samples in their order; an error comes with the place of the sample that could not be taken.
    pub fn values(&mut self, samples: &[Sample]) -> Result<(), (usize, FoldError)> {
        // Most questions have a single series, which then takes all of them without asking again and again.
        if let [series] = self.series.as_mut_slice() {
            return series.samples(&self.edges, samples, &self.places);
        }
        for (at, sample) in samples.iter().enumerate() {
            if let Some((series, resource)) = self.places[sample.slot as usize] {
                let series = &mut self.series[series as usize];
                series.sample(&self.edges, sample, resource).map_err(|error| (at, error))?;
            }
        }
        Ok(())
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
