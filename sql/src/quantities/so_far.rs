//! Sessions up to an instant inside a period that still goes on.
//!
//! Owns asking for less than a period's spans and giving the answers out as those of the whole spans, so that whoever rates
//! them sees the spans that prices have. Levels hold until something else is said and other usage has its own time, so only
//! sessions, which run on into the future, have to be cut.

use rating::catalog::{Catalog, MeterKind};
use rating::period::Span;
use rating::usage::{Demand, SeriesSpan, Usage, Wanted};

/// The demand with its questions about sessions up to an instant.
pub(super) fn narrow(catalog: &Catalog, demand: Demand, until_us: i64) -> Demand {
    let Demand { tenant, period, wanted } = demand;
    let mut narrowed = Demand { tenant, period, wanted: Vec::new() };
    for mut wanted in wanted {
        if is_cut(catalog, &wanted, until_us) {
            wanted.spans = cut(&wanted.spans, until_us);
        }
        if !wanted.spans.is_empty() {
            narrowed.ask(wanted);
        }
    }
    narrowed
}

/// The answers to a narrowed demand as those to the whole one.
pub(super) fn widen(catalog: &Catalog, usage: &Usage, whole: Demand, until_us: i64) -> Usage {
    let answer = |wanted: &Wanted| {
        if !is_cut(catalog, wanted, until_us) {
            return usage.of(&wanted.view, &wanted.spans).unwrap_or_default().to_vec();
        }
        let found = usage.of(&wanted.view, &cut(&wanted.spans, until_us)).unwrap_or_default();
        let widened = found.iter().filter_map(|series| {
            // Spans are cut at their ends only.
            let span = wanted.spans.iter().find(|span| span.start_us == series.span.start_us)?;
            Some(SeriesSpan { span: *span, ..series.clone() })
        });
        widened.collect()
    };
    let answers = whole.wanted.iter().map(answer).collect();
    Usage { demand: whole, answers, session_oddities: usage.session_oddities.clone() }
}

fn is_cut(catalog: &Catalog, wanted: &Wanted, until_us: i64) -> bool {
    let kind = catalog.meter(&wanted.view.meter).map(|meter| &meter.kind);
    matches!(kind, Some(MeterKind::Session { .. })) && wanted.spans.iter().any(|span| until_us < span.end_us)
}

fn cut(spans: &[Span], until_us: i64) -> Vec<Span> {
    let cut = spans.iter().map(|span| Span { end_us: span.end_us.min(until_us), ..*span });
    cut.filter(|span| span.start_us < span.end_us).collect()
}
