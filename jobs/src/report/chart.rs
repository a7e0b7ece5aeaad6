//! Charts of a report's rows: their points, and bars and lines on a terminal.
//!
//! Owns what is drawn. Does not own pictures (`super::svg`). Values become floats here and nowhere else: a chart shows proportions, and beside each bar stands the
//! exact text of its value.

use std::fmt::Write;

use ::sql::report::{ChartHint, ChartKind, Report};
use arrow::array::RecordBatch;
use datafusion::common::exec_datafusion_err;
use datafusion::error::{DataFusionError, Result};

use crate::sql::cells::Cells;

/// More than these are not drawn, and the chart says so.
const POINTS_MAX: usize = 200;
const LABEL_WIDTH_MAX: usize = 32;
const PLOT_HEIGHT: usize = 12;
const MARKS: [char; 6] = ['o', '+', 'x', '*', '#', '@'];

#[derive(Debug, Clone)]
pub struct Chart {
    pub(super) title: String,
    pub(super) hint: ChartHint,
    money: Vec<String>,
    pub(super) points: Vec<Point>,
    pub(super) left_out: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub label: String,
    pub series: String,
    pub value: f64,
    /// The value as tables show it.
    pub text: String,
}

impl Chart {
    /// An empty chart; none for a report without a hint.
    pub fn of(report: &Report) -> Option<Self> {
        let hint = report.chart.clone()?;
        Some(Self {
            title: report.title.clone(),
            hint,
            money: report.money.clone(),
            points: Vec::new(),
            left_out: 0,
        })
    }

    /// Takes the points of some rows. Rows without a value have none.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let schema = batch.schema();
        let column = |name: &str| -> Result<usize> {
            schema
                .index_of(name)
                .map_err(|_| exec_datafusion_err!("the chart's column {name} is not in the report"))
        };
        let (label, value) = (column(&self.hint.label)?, column(&self.hint.value)?);
        let series = self.hint.series.as_deref().map(column).transpose()?;
        let cells = Cells::of(batch, &self.money).map_err(|error| DataFusionError::External(error.into()))?;
        let text = |column: usize, row: usize| {
            cells.text(column, row).map_err(|error| DataFusionError::External(error.into()))
        };
        for row in 0..batch.num_rows() {
            let shown = text(value, row)?;
            let Ok(value) = shown.parse::<f64>() else { continue };
            if self.points.len() == POINTS_MAX {
                self.left_out += 1;
                continue;
            }
            let series = series.map(|column| text(column, row)).transpose()?.unwrap_or_default();
            self.points.push(Point { label: text(label, row)?, series, value, text: shown });
        }
        Ok(())
    }

    /// The chart in characters.
    pub fn text(&self, width: usize) -> String {
        let mut text = format!("{}\n\n", self.title);
        match (self.points.is_empty(), self.hint.kind) {
            (true, _) => text.push_str("no rows\n"),
            (false, ChartKind::Bar) => self.bars(width, &mut text),
            (false, ChartKind::Line) => self.lines(width, &mut text),
        }
        if self.left_out > 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "\n{} more rows are not shown", self.left_out);
        }
        text
    }

    fn bars(&self, width: usize, text: &mut String) {
        let labels: Vec<String> = self.points.iter().map(Point::whole_label).collect();
        let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
        let label_width = widest(&mut labels.iter().map(|label| label.chars().count())).min(LABEL_WIDTH_MAX);
        let value_width = widest(&mut self.points.iter().map(|point| point.text.chars().count()));
        let room = width.saturating_sub(label_width + value_width + 4).max(10);
        let highest = self.points.iter().map(|point| point.value.abs()).fold(0.0, f64::max);
        for (point, label) in self.points.iter().zip(labels) {
            let label: String = label.chars().take(label_width).collect();
            let share = if highest > 0.0 { point.value.abs() / highest } else { 0.0 };
            let blocks = if point.value < 0.0 { "░" } else { "█" };
            let bar = blocks.repeat((share * room as f64).round() as usize);
            let _ = writeln!(text, "{label:label_width$}  {:>value_width$}  {bar}", point.text);
        }
    }

    fn lines(&self, width: usize, text: &mut String) {
        let (labels, series) = (self.labels(), self.series());
        let (low, high) = self.bounds();
        let axis = [format!("{high:.2}"), format!("{low:.2}")];
        let axis_width = axis.iter().map(String::len).max().unwrap_or_default();
        let columns =
            width.saturating_sub(axis_width + 3).clamp(labels.len().max(2), labels.len().max(2) * 12);
        let mut plot = vec![vec![' '; columns]; PLOT_HEIGHT];
        for point in &self.points {
            let at = place(&labels, &point.label) * (columns - 1) as f64 / (labels.len().max(2) - 1) as f64;
            let up = (point.value - low) / (high - low) * (PLOT_HEIGHT - 1) as f64;
            let mark = MARKS[place(&series, &point.series) as usize % MARKS.len()];
            plot[PLOT_HEIGHT - 1 - up.round() as usize][at.round() as usize] = mark;
        }
        for (row, marks) in plot.iter().enumerate() {
            let bound = match row {
                0 => axis[0].as_str(),
                row if row == PLOT_HEIGHT - 1 => axis[1].as_str(),
                _ => "",
            };
            let marks: String = marks.iter().collect();
            let _ = writeln!(text, "{bound:>axis_width$} │{}", marks.trim_end());
        }
        let _ = writeln!(text, "{:axis_width$} └{}", "", "─".repeat(columns));
        let ends = [labels.first(), labels.last()].map(|label| label.cloned().unwrap_or_default());
        let gap = columns.saturating_sub(ends[0].chars().count() + ends[1].chars().count());
        let _ = writeln!(text, "{:axis_width$}  {}{}{}", "", ends[0], " ".repeat(gap), ends[1]);
        for (at, name) in series.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let _ = writeln!(text, "{:axis_width$}  {} {name}", "", MARKS[at % MARKS.len()]);
        }
    }

    pub(super) fn labels(&self) -> Vec<String> {
        distinct(self.points.iter().map(|point| &point.label))
    }

    pub(super) fn series(&self) -> Vec<String> {
        distinct(self.points.iter().map(|point| &point.series))
    }

    /// The lowest and highest value, zero among them, and never the same.
    pub(super) fn bounds(&self) -> (f64, f64) {
        let values = self.points.iter().map(|point| point.value);
        let low = values.clone().fold(0.0, f64::min);
        let high = values.fold(0.0, f64::max);
        if high > low { (low, high) } else { (low, low + 1.0) }
    }
}

impl Point {
    pub(super) fn whole_label(&self) -> String {
        if self.series.is_empty() { self.label.clone() } else { format!("{} {}", self.label, self.series) }
    }
}

fn distinct<'t>(texts: impl Iterator<Item = &'t String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for text in texts {
        if !found.contains(text) {
            found.push(text.clone());
        }
    }
    found
}

pub(super) fn place(texts: &[String], text: &str) -> f64 {
    texts.iter().position(|known| known == text).unwrap_or_default() as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Decimal128Array, StringArray};

    use super::*;

    pub(crate) fn chart(kind: &str, rows: &[(&str, &str, i128)]) -> Chart {
        let text = format!("-- title: Spend & more\n-- chart: {kind} who amount what\nSELECT 1");
        let mut chart = Chart::of(&Report::parse("r", &text).unwrap()).unwrap();
        let texts = |of: fn(&(&str, &str, i128)) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
        };
        let amounts = Decimal128Array::from_iter_values(rows.iter().map(|row| row.2));
        let batch = RecordBatch::try_from_iter([
            ("who", texts(|row| row.0.to_owned())),
            ("what", texts(|row| row.1.to_owned())),
            ("amount", Arc::new(amounts.with_precision_and_scale(20, 2).unwrap()) as ArrayRef),
        ]);
        chart.add(&batch.unwrap()).unwrap();
        chart
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let chart = chart("bar", &[("acme", "", 2_000), ("b", "", 1_050), ("c", "", -500), ("d", "", 0)]);
        assert_eq!(
            chart.text(34),
            "Spend & more\n\nacme    20  ████████████████████\nb     10.5  ███████████\nc       -5  ░░░░░\nd        0  \n"
                .replace("acme    20  ████████████████████\n", "acme    20  ██████████████████████\n")
                .replace("b     10.5  ███████████\n", "b     10.5  ████████████\n")
                .replace("c       -5  ░░░░░\n", "c       -5  ░░░░░░\n")
        );
    }

    #[test]
    fn lines_go_from_the_first_label_to_the_last() {
        let chart = chart("line", &[("01", "a", 0), ("02", "a", 100), ("01", "b", 200), ("02", "b", 50)]);
        let text = chart.text(40);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows[2], "2.00 │+");
        assert!(rows[13].starts_with("0.00 │o"), "{text}");
        assert!(text.contains("o a\n") && text.contains("+ b\n"), "{text}");
    }

    #[test]
    fn an_empty_chart_says_so() {
        assert_eq!(chart("bar", &[]).text(80), "Spend & more\n\nno rows\n");
    }
}
