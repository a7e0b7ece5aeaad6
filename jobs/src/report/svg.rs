//! Charts as SVG.
//!
//! Owns places, colours and axes of the picture. Widths of texts are estimated: who shows the SVG brings the font.

use std::fmt::Write;

use ::sql::report::ChartKind;

use super::chart::{Chart, Point, place};

const WIDTH: f64 = 900.0;
const MARGIN: f64 = 24.0;
const COLOURS: [&str; 6] = ["#2f6fb5", "#c8553d", "#3f8f5f", "#b98a1f", "#7a5ba6", "#3d8f9e"];
const INK: &str = "#1f2933";
const PALE: &str = "#6b7785";
const GRID: &str = "#e3e7eb";
/// Of one letter, at the size of the chart's texts.
const LETTER_WIDTH: f64 = 6.6;
const LABEL_LETTERS_MAX: usize = 34;
const BAR_HEIGHT: f64 = 18.0;
const ROW_HEIGHT: f64 = 26.0;
const TOP: f64 = 60.0;
const PLOT_HEIGHT: f64 = 280.0;
const TICKS: f64 = 5.0;
/// Between labels that stand beside each other.
const LABEL_GAP: f64 = 24.0;
/// Dots would hide a line of more points.
const DOTS_MAX: usize = 40;
const MIDNIGHT: &str = "T00:00:00Z";

impl Chart {
    /// The chart as SVG.
    pub fn svg(&self) -> String {
        let (height, body) = match (self.points.is_empty(), self.hint.kind) {
            (true, _) => (TOP + ROW_HEIGHT, text(MARGIN, TOP, "start", PALE, "no rows")),
            (false, ChartKind::Bar) => self.svg_bars(),
            (false, ChartKind::Line) => self.svg_lines(),
        };
        let (note, height) = match self.left_out {
            0 => (String::new(), height),
            rows => {
                let note = format!("{rows} more rows are not shown");
                (text(MARGIN, height, "start", PALE, &note), height + ROW_HEIGHT)
            }
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
             font-family=\"sans-serif\" font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{MARGIN}\" y=\"34\" font-size=\"19\" fill=\"{INK}\">{}</text>\n{body}{note}</svg>\n",
            escaped(&self.title)
        )
    }

    fn svg_bars(&self) -> (f64, String) {
        let labels: Vec<String> = self.points.iter().map(|point| shortened(&point.whole_label())).collect();
        let width_of =
            |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default() as f64 * LETTER_WIDTH;
        let label_width = width_of(&mut labels.iter().map(|label| label.chars().count()));
        let value_width = width_of(&mut self.points.iter().map(|point| point.text.chars().count()));
        let (low, high) = self.bounds();
        // Values of negative bars stand at their left.
        let left = MARGIN + label_width + 12.0 + if low < 0.0 { value_width + 6.0 } else { 0.0 };
        let right = WIDTH - MARGIN - value_width - 6.0;
        let x = |value: f64| left + (value - low) / (high - low) * (right - left);
        let series = self.series();
        let bottom = TOP + self.points.len() as f64 * ROW_HEIGHT;
        let mut svg = line(x(0.0), TOP - 6.0, x(0.0), bottom, PALE);
        for (row, (point, label)) in self.points.iter().zip(&labels).enumerate() {
            let top = TOP + row as f64 * ROW_HEIGHT;
            let middle = top + BAR_HEIGHT - 4.0;
            svg += &text(MARGIN + label_width, middle, "end", INK, label);
            svg +=
                &bar(x(point.value.min(0.0)), x(point.value.max(0.0)), top, colour(&series, &point.series));
            let (at, anchor) = if point.value < 0.0 {
                (x(point.value) - 6.0, "end")
            } else {
                (x(point.value) + 6.0, "start")
            };
            svg += &text(at, middle, anchor, PALE, &point.text);
        }
        (bottom + MARGIN, svg)
    }

    fn svg_lines(&self) -> (f64, String) {
        let (labels, series) = (self.labels(), self.series());
        let ticks = ticks(self.bounds());
        let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
        let texts: Vec<String> = ticks.iter().map(|tick| tick_text(*tick, high - low)).collect();
        let axis_letters = texts.iter().map(|text| text.chars().count()).max().unwrap_or_default();
        let left = MARGIN + axis_letters as f64 * LETTER_WIDTH + 10.0;
        let right = WIDTH - MARGIN - 20.0;
        let y = |value: f64| TOP + (high - value) / (high - low) * PLOT_HEIGHT;
        let x = |label: &str| match labels.len() {
            1 => f64::midpoint(left, right),
            count => left + place(&labels, label) / (count - 1) as f64 * (right - left),
        };
        let mut svg = String::new();
        for (tick, shown) in ticks.iter().zip(&texts) {
            svg += &line(left, y(*tick), right, y(*tick), if *tick == 0.0 { PALE } else { GRID });
            svg += &text(left - 8.0, y(*tick) + 4.5, "end", PALE, shown);
        }
        for label in fitting(&labels, right - left) {
            svg += &text(
                x(label),
                TOP + PLOT_HEIGHT + 24.0,
                "middle",
                PALE,
                &shortened(without_midnight(label)),
            );
        }
        let has_dots = labels.len() <= DOTS_MAX;
        for name in &series {
            let points: Vec<&Point> = self.points.iter().filter(|point| point.series == *name).collect();
            let places: Vec<(f64, f64)> =
                points.iter().map(|point| (x(&point.label), y(point.value))).collect();
            svg += &polyline(&places, colour(&series, name), has_dots);
        }
        let bottom = TOP + PLOT_HEIGHT + 48.0;
        let named: Vec<&String> = series.iter().filter(|name| !name.is_empty()).collect();
        for (at, name) in named.iter().enumerate() {
            let (column, row) = (at % 4, at / 4);
            let (at, base) = (left + column as f64 * (right - left) / 4.0, bottom + row as f64 * 22.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{at:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{}\"/>",
                base - 10.5,
                colour(&series, name)
            );
            svg += &text(at + 18.0, base, "start", INK, &shortened(name));
        }
        (bottom + named.len().div_ceil(4) as f64 * 22.0, svg)
    }
}

fn colour(series: &[String], name: &str) -> &'static str {
    COLOURS[place(series, name) as usize % COLOURS.len()]
}

/// Even steps of 1, 2 or 5 with zeros that hold all values.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last.max(first + 1)).map(|at| at as f64 * step).collect()
}

/// With as many decimals as the steps need, and large numbers in thousands and more.
fn tick_text(value: f64, range: f64) -> String {
    let (divisor, unit) = match range {
        range if range >= 1e13 => (1e12, " T"),
        range if range >= 1e10 => (1e9, " G"),
        range if range >= 1e7 => (1e6, " M"),
        range if range >= 1e4 => (1e3, " k"),
        _ => (1.0, ""),
    };
    let scaled = range / divisor;
    let decimals = if scaled >= 5.0 { 0 } else { (1.0 - scaled.log10().floor()).clamp(1.0, 9.0) as usize };
    format!("{:.decimals$}{}", value / divisor, if value == 0.0 { "" } else { unit })
}

/// As many labels as stand beside each other, at even distances from the first.
fn fitting(labels: &[String], width: f64) -> impl Iterator<Item = &String> {
    let letters = labels
        .iter()
        .map(|label| shortened(without_midnight(label)).chars().count())
        .max()
        .unwrap_or_default();
    let room = (width / (letters as f64 * LETTER_WIDTH + LABEL_GAP)) as usize;
    labels.iter().step_by(labels.len().div_ceil(room.max(1)))
}

/// A day need not say that it begins at midnight.
fn without_midnight(label: &str) -> &str {
    label.strip_suffix(MIDNIGHT).unwrap_or(label)
}

fn shortened(label: &str) -> String {
    if label.chars().count() <= LABEL_LETTERS_MAX {
        return label.to_owned();
    }
    label.chars().take(LABEL_LETTERS_MAX - 1).chain(['…']).collect()
}

fn text(x: f64, y: f64, anchor: &str, colour: &str, text: &str) -> String {
    let text = escaped(text);
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>\n")
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64, colour: &str) -> String {
    format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>\n")
}

fn bar(from: f64, to: f64, top: f64, colour: &str) -> String {
    let width = (to - from).max(1.0);
    format!(
        "<rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\" fill=\"{colour}\"/>\n"
    )
}

fn polyline(places: &[(f64, f64)], colour: &str, has_dots: bool) -> String {
    let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let mut svg = format!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>\n",
        points.join(" ")
    );
    if has_dots {
        for (x, y) in places {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::chart::tests::chart;
    use super::*;

    #[test]
    fn there_is_a_bar_for_each_row_and_a_line_for_each_series() {
        let bars =
            chart("bar", &[("acme", "", 2_000), ("b", "", 1_050), ("c", "", -500), ("d", "", 0)]).svg();
        assert!(bars.contains("Spend &amp; more") && bars.ends_with("</svg>\n"), "{bars}");
        assert_eq!(bars.matches("rx=\"2\"").count(), 4);
        let lines =
            chart("line", &[("01", "a", 0), ("02", "a", 100), ("01", "b", 200), ("02", "b", 50)]).svg();
        assert_eq!(lines.matches("<polyline").count(), 2);
        assert!(chart("line", &[]).svg().contains("no rows"));
        assert!(chart("line", &[("01", "", 5)]).svg().contains("<circle"));
    }

    #[test]
    fn ticks_are_round_numbers_around_all_values() {
        for (bounds, expected) in [
            ((0.0, 100.0), vec![0.0, 20.0, 40.0, 60.0, 80.0, 100.0]),
            ((0.0, 7.3), vec![0.0, 2.0, 4.0, 6.0, 8.0]),
            ((-3.0, 1.0), vec![-3.0, -2.0, -1.0, 0.0, 1.0]),
            ((0.0, 1.0), vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        ] {
            let found = ticks(bounds);
            let is_near = found.iter().zip(&expected).all(|(left, right)| (left - right).abs() < 1e-9);
            assert!(is_near && found.len() == expected.len(), "{bounds:?}: {found:?}");
        }
        let days: Vec<String> = (10..40).map(|day| format!("2026-05-{day}{MIDNIGHT}")).collect();
        assert_eq!(fitting(&days, 800.0).count(), 8);
        assert_eq!(fitting(&days[..3], 100.0).count(), 1);
        let texts = |range: f64, values: &[f64]| {
            values.iter().map(|value| tick_text(*value, range)).collect::<Vec<_>>()
        };
        assert_eq!(texts(1.0, &[0.0, 0.2, 1.0]), ["0.0", "0.2", "1.0"]);
        assert_eq!(texts(80.0, &[0.0, 20.0]), ["0", "20"]);
        assert_eq!(texts(2.5e6, &[0.0, 5e5]), ["0", "500 k"]);
    }
}
