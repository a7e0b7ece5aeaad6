//! Reports: queries with a title, parameters and a hint for a chart, `reports/*.sql` and people's own.
//!
//! Owns reading their headers. Does not own running them. A header is the comment at the top of the file:
//!
//! ```sql
//! -- title: Top tenants by spend
//! -- about: What the tenants with the highest invoices were charged.
//! -- parameter period = last_month: the month in which the periods start
//! -- money: spend
//! -- chart: bar tenant spend
//! SELECT …
//! ```
//!
//! A parameter without `= VALUE` must be given. `this_month` and `last_month` stand for the month at the time of the run,
//! `now` for its instant, and `issuer` for the name of who issues the invoices.
//! Columns of money are shown to people with the digits of the row's currency.
//! A chart is `bar` or `line`, then the column of its labels and the column of its values, and if need be one by which
//! it has several series.

use std::fmt;

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub name: String,
    pub title: String,
    pub about: String,
    pub parameters: Vec<ReportParameter>,
    /// The columns that are amounts of money.
    pub money: Vec<String>,
    pub chart: Option<ChartHint>,
    /// The whole file.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportParameter {
    pub name: String,
    pub default: Option<String>,
    pub meaning: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartHint {
    pub kind: ChartKind,
    pub label: String,
    pub value: String,
    pub series: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChartKind {
    Bar,
    Line,
}

/// A report's header is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadHeader {
    pub report: String,
    /// Counted from 1; 0 for the whole file.
    pub line: usize,
    pub problem: String,
}

impl fmt::Display for BadHeader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "report {}: {}", self.report, self.problem),
            line => write!(out, "report {}, line {line}: {}", self.report, self.problem),
        }
    }
}

impl std::error::Error for BadHeader {}

macro_rules! reports {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../reports/", $name, ".sql")))),+]
    };
}

/// The reports of the program, by name.
const FILES: [(&str, &str); 13] = reports![
    "approaching_limits",
    "data_quality",
    "duplicates",
    "focus",
    "late_and_rejected",
    "margin",
    "overage",
    "peak_against_average",
    "reconciliation",
    "session_cost",
    "spend_by_meter",
    "top_tenants",
    "unbilled",
];

impl Report {
    /// The reports that the program brings along.
    pub fn built_in() -> Vec<Report> {
        let parsed = FILES.iter().map(|(name, text)| Self::parse(name, text));
        parsed.collect::<Result<_, _>>().expect("a test reads them all")
    }

    pub fn parse(name: &str, text: &str) -> Result<Report, BadHeader> {
        let bad = |line: usize, problem: String| BadHeader { report: name.to_owned(), line, problem };
        let (mut title, mut about, mut chart) = (None, String::new(), None);
        let (mut parameters, mut money) = (Vec::new(), Vec::new());
        let header =
            text.lines().enumerate().map_while(|(at, line)| Some((at + 1, line.strip_prefix("--")?.trim())));
        for (line, comment) in header.filter(|(_, comment)| !comment.is_empty()) {
            let Some((key, value)) = comment.split_once(':') else {
                return Err(bad(line, format!("`{comment}` is not `key: value`")));
            };
            let value = value.trim();
            match key.split_once(' ') {
                None if key == "title" => title = Some(value.to_owned()),
                None if key == "about" => {
                    about = if about.is_empty() { value.to_owned() } else { format!("{about} {value}") };
                }
                None if key == "money" => money.extend(value.split_whitespace().map(str::to_owned)),
                None if key == "chart" => {
                    let hint = chart_hint(value).ok_or_else(|| {
                        bad(
                            line,
                            "a chart is `bar` or `line`, a label, a value, and if need be a series"
                                .to_owned(),
                        )
                    })?;
                    chart = Some(hint);
                }
                Some(("parameter", declared)) => {
                    let (name, default) = match declared.split_once('=') {
                        Some((name, default)) => (name.trim(), Some(default.trim().to_owned())),
                        None => (declared.trim(), None),
                    };
                    parameters.push(ReportParameter {
                        name: name.to_owned(),
                        default,
                        meaning: value.to_owned(),
                    });
                }
                _ => {
                    return Err(bad(
                        line,
                        format!("`{key}` is none of title, about, parameter, money and chart"),
                    ));
                }
            }
        }
        let title = title.ok_or_else(|| bad(0, "there is no `-- title:` at its top".to_owned()))?;
        Ok(Report { name: name.to_owned(), title, about, parameters, money, chart, text: text.to_owned() })
    }
}

fn chart_hint(text: &str) -> Option<ChartHint> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [kind, label, value, series @ ..] = words.as_slice() else { return None };
    let kind = match *kind {
        "bar" => ChartKind::Bar,
        "line" => ChartKind::Line,
        _ => return None,
    };
    if series.len() > 1 {
        return None;
    }
    let series = series.first().map(|name| (*name).to_owned());
    Some(ChartHint { kind, label: (*label).to_owned(), value: (*value).to_owned(), series })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_what_is_wrong_with_them() {
        for (text, expected) in [
            ("SELECT 1", "report r: there is no `-- title:` at its top"),
            ("-- title: T\n-- chart: pie a b\nSELECT 1", "report r, line 2: a chart is `bar` or `line`"),
            ("-- title: T\n-- colour: red\n", "report r, line 2: `colour` is none of"),
            ("-- hello\n", "report r, line 1: `hello` is not `key: value`"),
        ] {
            let error = Report::parse("r", text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let text = "-- title: T\n-- parameter top = 10: how many\n-- parameter who: whom\n-- chart: line a b c\nSELECT";
        let report = Report::parse("r", text).unwrap();
        assert_eq!(report.parameters[0].default.as_deref(), Some("10"));
        assert_eq!(report.parameters[1].default, None);
        assert_eq!(report.chart.unwrap().series.as_deref(), Some("c"));
    }

    #[test]
    fn every_built_in_report_is_read() {
        for report in Report::built_in() {
            assert!(!report.about.is_empty(), "{}", report.name);
            assert!(report.parameters.iter().all(|parameter| parameter.default.is_some()), "{}", report.name);
        }
    }
}
