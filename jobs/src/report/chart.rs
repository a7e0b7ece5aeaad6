//! Charts of a report's rows: bars and lines, on a terminal and as SVG.
//!
//! Owns drawing. Values become floats here and nowhere else: a chart shows proportions, and beside each bar stands the
//! exact text of its value.

use std::fmt::Write;

use ::sql::report::{ChartHint, ChartKind, Report};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;

/// More than these are not drawn, and the chart says so.
const POINTS_MAX: usize = 200;
const LABEL_WIDTH_MAX: usize = 32;
const PLOT_HEIGHT: usize = 12;
const MARKS: [char; 6] = ['o', '+', 'x', '*', '#', '@'];
const COLOURS: [&str; 6] = ["#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2"];

#[derive(Debug, Clone)]
pub struct Chart {
    title: String,
    hint: ChartHint,
    points: Vec<Point>,
    left_out: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Point {
    label: String,
    series: String,
    value: f64,
    /// The value as the report has it.
    text: String,
}

impl Chart {
    /// An empty chart; none for a report without a hint.
    pub fn of(report: &Report) -> Option<Self> {
        let hint = report.chart.clone()?;
        Some(Self { title: report.title.clone(), hint, points: Vec::new(), left_out: 0 })
    }

    /// Takes the points of some rows. Rows without a value have none.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let column = |name: &str| -> Result<&ArrayRef> {
            batch
                .column_by_name(name)
                .ok_or_else(|| exec_datafusion_err!("the chart's column {name} is not in the report"))
        };
        let options = FormatOptions::default();
        let labels = ArrayFormatter::try_new(column(&self.hint.label)?, &options)?;
        let values_column = column(&self.hint.value)?;
        let values = ArrayFormatter::try_new(values_column, &options)?;
        let series = self.hint.series.as_deref().map(column).transpose()?;
        let series = series.map(|column| ArrayFormatter::try_new(column, &options)).transpose()?;
        for row in 0..batch.num_rows() {
            let text = values.value(row).try_to_string()?;
            let Ok(value) = text.parse::<f64>() else { continue };
            if self.points.len() == POINTS_MAX {
                self.left_out += 1;
                continue;
            }
            let series = series.as_ref().map(|series| series.value(row).try_to_string()).transpose()?;
            let label = labels.value(row).try_to_string()?;
            self.points.push(Point { label, series: series.unwrap_or_default(), value, text: shown(&text) });
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

    fn labels(&self) -> Vec<String> {
        distinct(self.points.iter().map(|point| &point.label))
    }

    fn series(&self) -> Vec<String> {
        distinct(self.points.iter().map(|point| &point.series))
    }

    /// The lowest and highest value, zero among them, and never the same.
    fn bounds(&self) -> (f64, f64) {
        let values = self.points.iter().map(|point| point.value);
        let low = values.clone().fold(0.0, f64::min);
        let high = values.fold(0.0, f64::max);
        if high > low { (low, high) } else { (low, low + 1.0) }
    }

    /// The chart as SVG.
    pub fn svg(&self) -> String {
        match self.hint.kind {
            ChartKind::Bar => self.svg_bars(),
            ChartKind::Line => self.svg_lines(),
        }
    }

    fn svg_bars(&self) -> String {
        let height = 60 + self.points.len() * 24;
        let mut svg = svg_start(&self.title, 900, height);
        let (low, high) = self.bounds();
        let x = |value: f64| 220.0 + (value - low) / (high - low) * 520.0;
        for (row, point) in self.points.iter().enumerate() {
            let (y, middle) = (44 + row * 24, 58 + row * 24);
            let (from, to) = (x(point.value.min(0.0)), x(point.value.max(0.0)));
            let colour = COLOURS[place(&self.series(), &point.series) as usize % COLOURS.len()];
            let _ = writeln!(
                svg,
                "<text x=\"210\" y=\"{middle}\" text-anchor=\"end\">{}</text>\n<rect x=\"{from:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"18\" fill=\"{colour}\"/>\n<text x=\"{:.1}\" y=\"{middle}\">{}</text>",
                escaped(&point.whole_label()),
                to - from,
                to + 6.0,
                escaped(&point.text),
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn svg_lines(&self) -> String {
        let (labels, series) = (self.labels(), self.series());
        let height = 380 + series.len() * 18;
        let mut svg = svg_start(&self.title, 900, height);
        let (low, high) = self.bounds();
        let x = |label: &str| 90.0 + place(&labels, label) * 780.0 / (labels.len().max(2) - 1) as f64;
        let y = |value: f64| 330.0 - (value - low) / (high - low) * 280.0;
        for (value, text) in [(low, format!("{low:.2}")), (high, format!("{high:.2}"))] {
            let at = y(value);
            let _ = writeln!(
                svg,
                "<line x1=\"90\" y1=\"{at:.1}\" x2=\"870\" y2=\"{at:.1}\" stroke=\"#ccc\"/>\n<text x=\"84\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                at + 4.0
            );
        }
        for label in [labels.first(), labels.last()].into_iter().flatten() {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"352\" text-anchor=\"middle\">{}</text>",
                x(label),
                escaped(label)
            );
        }
        for (at, name) in series.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let points: Vec<String> = self
                .points
                .iter()
                .filter(|point| point.series == *name)
                .map(|point| format!("{:.1},{:.1}", x(&point.label), y(point.value)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n<text x=\"90\" y=\"{}\" fill=\"{colour}\">{}</text>",
                points.join(" "),
                372 + at * 18,
                escaped(name)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

impl Point {
    fn whole_label(&self) -> String {
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

fn place(texts: &[String], text: &str) -> f64 {
    texts.iter().position(|known| known == text).unwrap_or_default() as f64
}

/// A number without the zeros at its end.
fn shown(text: &str) -> String {
    match text.split_once('.') {
        Some((whole, decimals)) if decimals.trim_end_matches('0').is_empty() => whole.to_owned(),
        Some(_) => text.trim_end_matches('0').to_owned(),
        None => text.to_owned(),
    }
}

fn svg_start(title: &str, width: usize, height: usize) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"20\" y=\"26\" font-size=\"17\">{}</text>\n",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, StringArray};

    use super::*;

    fn chart(kind: &str, rows: &[(&str, &str, i128)]) -> Chart {
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
        let svg = chart.svg();
        assert!(svg.contains("Spend &amp; more") && svg.ends_with("</svg>\n"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 5);
    }

    #[test]
    fn lines_go_from_the_first_label_to_the_last() {
        let chart = chart("line", &[("01", "a", 0), ("02", "a", 100), ("01", "b", 200), ("02", "b", 50)]);
        let text = chart.text(40);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows[2], "2.00 │+");
        assert!(rows[13].starts_with("0.00 │o"), "{text}");
        assert!(text.contains("o a\n") && text.contains("+ b\n"), "{text}");
        assert_eq!(chart.svg().matches("<polyline").count(), 2);
    }

    #[test]
    fn an_empty_chart_says_so() {
        assert_eq!(chart("bar", &[]).text(80), "Spend & more\n\nno rows\n");
        assert!(chart("line", &[]).svg().contains("</svg>"));
    }
}
