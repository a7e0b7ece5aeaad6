//! One series: what a tenant used of a meter with one set of dimension values, cut at the edges of its spans.

use super::Sample;
use super::look::{Edge, Place};
use crate::period::Span;
use crate::quantity::cumulative::{CumulativeFold, CumulativeState};
use crate::quantity::delta::DeltaFold;
use crate::quantity::gauge::{GaugeExtras, GaugeFold, GaugeSample, GaugeState, ResourceLevel};
use crate::quantity::unique::UniqueFold;
use crate::quantity::{FoldError, Measure, MeterKind};
use crate::usage::{DeltaTotals, Totals, Wanted};

#[derive(Debug)]
pub(super) struct Series {
    resources: u32,
    /// The edge that ends the current stretch; after the last nothing matters.
    next_edge: usize,
    fold: Fold,
    done: Vec<(Span, Totals)>,
}

#[derive(Debug)]
enum Fold {
    /// A gauge before its first span: nothing is measured, only the last levels are kept.
    GaugeBefore {
        expires_after_us: Option<i64>,
        extras: GaugeExtras,
        levels: Vec<ResourceLevel>,
    },
    Gauge(Box<GaugeFold>),
    Delta {
        fold: DeltaFold,
        transactions_nano: Option<Vec<i128>>,
    },
    Cumulative(CumulativeFold),
    Unique(UniqueFold),
}

impl Series {
    pub fn new(kind: &MeterKind, wanted: &Wanted) -> Series {
        let fold = match kind {
            MeterKind::Gauge { expires_after_us } => Fold::GaugeBefore {
                expires_after_us: *expires_after_us,
                extras: GaugeExtras {
                    p95: wanted.measures.contains(&Measure::P95),
                    sum_of_peaks: wanted.measures.contains(&Measure::SumOfPeaks),
                },
                levels: Vec::new(),
            },
            MeterKind::Cumulative => {
                Fold::Cumulative(CumulativeFold::new(i64::MIN, &CumulativeState::default()))
            }
            MeterKind::Unique => Fold::Unique(UniqueFold::new(i64::MIN)),
            MeterKind::Delta | MeterKind::Session(_) => Fold::Delta {
                fold: DeltaFold::new(i64::MIN),
                transactions_nano: wanted.transactions.then(Vec::new),
            },
        };
        Series { resources: 0, next_edge: 0, fold, done: Vec::new() }
    }

    pub fn next_resource(&mut self) -> u32 {
        self.resources += 1;
        self.resources - 1
    }

    /// Takes the samples that have a place here, in their order.
    pub fn samples(
        &mut self,
        edges: &[Edge],
        samples: &[Sample],
        places: &[Place],
    ) -> Result<(), (usize, FoldError)> {
        let mut at = 0;
        while let Some(next) = samples.get(at) {
            self.cross_until(edges, next.time_us).map_err(|error| (at, error))?;
            let Some(edge) = edges.get(self.next_edge) else { break };
            let is_after = |sample: &Sample| sample.time_us >= edge.at_us;
            let end = samples[at..].iter().position(is_after).map_or(samples.len(), |until| at + until);
            let counts = edge.ends.is_some();
            let own = (at..end).zip(&samples[at..end]).filter_map(|(at, sample)| {
                places[sample.slot as usize].map(|(_, resource)| (at, sample, resource))
            });
            if let Fold::Gauge(fold) = &mut self.fold {
                fold.samples(own.map(|(at, sample, resource)| {
                    let Sample { time_us, nano, .. } = *sample;
                    (at, GaugeSample { time_us, resource, level_nano: nano })
                }))?;
            } else {
                for (at, sample, resource) in own {
                    self.take(sample, resource, counts).map_err(|error| (at, error))?;
                }
            }
            at = end;
        }
        Ok(())
    }

    #[inline]
    pub fn sample(&mut self, edges: &[Edge], sample: &Sample, resource: u32) -> Result<(), FoldError> {
        self.cross_until(edges, sample.time_us)?;
        match edges.get(self.next_edge) {
            Some(edge) => self.take(sample, resource, edge.ends.is_some()),
            // After the last span nothing matters.
            None => Ok(()),
        }
    }

    #[inline]
    fn take(&mut self, sample: &Sample, resource: u32, counts: bool) -> Result<(), FoldError> {
        let Sample { time_us, nano, .. } = *sample;
        match &mut self.fold {
            Fold::Gauge(fold) => fold.sample(time_us, resource, nano),
            Fold::GaugeBefore { levels, .. } => {
                let index = resource as usize;
                if index >= levels.len() {
                    let unknown = |resource| ResourceLevel { resource, level_nano: 0, since_us: i64::MIN };
                    levels.extend((levels.len() as u32..=resource).map(unknown));
                }
                levels[index] = ResourceLevel { resource, level_nano: nano, since_us: time_us };
                Ok(())
            }
            Fold::Cumulative(fold) => fold.sample(time_us, resource, nano).map(|_| ()),
            // Nothing of these is carried from outside a span, so nothing outside needs to be folded.
            _ if !counts => Ok(()),
            Fold::Unique(fold) => fold.seen(time_us, resource),
            Fold::Delta { fold, transactions_nano } => {
                if let Some(transactions) = transactions_nano {
                    transactions.push(nano);
                }
                fold.event(time_us, nano)
            }
        }
    }

    #[inline]
    fn cross_until(&mut self, edges: &[Edge], time_us: i64) -> Result<(), FoldError> {
        while let Some(edge) = edges.get(self.next_edge)
            && edge.at_us <= time_us
        {
            self.cross(edges, *edge)?;
        }
        Ok(())
    }

    pub fn finish(mut self, edges: &[Edge]) -> Result<Vec<(Span, Totals)>, FoldError> {
        while let Some(edge) = edges.get(self.next_edge) {
            self.cross(edges, *edge)?;
        }
        Ok(self.done)
    }

    fn cross(&mut self, edges: &[Edge], edge: Edge) -> Result<(), FoldError> {
        self.next_edge += 1;
        let next_us = edges.get(self.next_edge).map(|next| next.at_us);
        let totals = match &mut self.fold {
            Fold::GaugeBefore { expires_after_us, extras, levels } => {
                levels.retain(|level| level.since_us != i64::MIN);
                let opening = GaugeState { levels: std::mem::take(levels) };
                let mut fold = GaugeFold::new(*expires_after_us, *extras, edge.at_us, &opening)?;
                if let Some(next_us) = next_us {
                    fold.expect_end(next_us);
                }
                self.fold = Fold::Gauge(Box::new(fold));
                return Ok(());
            }
            Fold::Gauge(fold) => {
                let totals = fold.finish_span(edge.at_us)?;
                if let Some(next_us) = next_us {
                    fold.expect_end(next_us);
                }
                Totals::Gauge(totals)
            }
            Fold::Cumulative(fold) => Totals::Cumulative(fold.cut(edge.at_us)?),
            Fold::Unique(fold) => Totals::Unique(fold.finish_span(edge.at_us)?),
            Fold::Delta { fold, transactions_nano } => Totals::Delta(DeltaTotals {
                rollup: fold.cut(edge.at_us)?,
                transactions_nano: transactions_nano.as_mut().map(std::mem::take),
            }),
        };
        if let Some(span) = edge.ends {
            self.done.push((span, totals));
        }
        Ok(())
    }
}
