//! `meterhouse report`: queries with a title and parameters, as rows or as a chart.
//!
//! Owns finding reports (the program's and people's own), the values of their parameters, and the command. Does not own
//! what a header says (`sql::report`), drawing (`chart`) nor formats (`crate::sql::writing`).

mod chart;
mod png;
mod svg;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ::sql::report::Report;
use ::sql::session::Parameters;
use anyhow::{Context, Result, bail};
use clap::Args;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use crate::cli::{Exit, Globals, runtime};
use crate::config::Config;
use crate::output::{Format, Rows};
use crate::reporting;
use crate::sql::{AnswerFormat, Destination, SessionArgs, answer, failed, parameter, tell_left_out};

use chart::Chart;

/// Characters of a chart where there is no terminal to fit into.
const CHART_WIDTH: usize = 100;

/// Run a report, or list them
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse report                                    lists the reports with their parameters
  meterhouse report top_tenants --param period=2026-05
  meterhouse report margin --format csv --output margin.csv
  meterhouse report spend_by_meter --chart
  meterhouse report spend_by_meter --chart-output spend.png

Your own reports are files NAME.sql in the folder of the setting `reports`, or of --reports; one with the name of a \
report of the program takes its place. A header of comments says what they need:
  -- title: What people call it
  -- about: What it shows
  -- parameter period = last_month: what it means      (this_month, last_month and now follow the clock; issuer is \
the setting `name` of [issuer])
  -- money: COLUMN COLUMN                              (columns that are amounts)
  -- chart: bar COLUMN_OF_LABELS COLUMN_OF_VALUES      (or line, and a third column for several series)

Exit code 3 says that some tenants cannot be rated and that the answer is without them; the reasons are on stderr.")]
pub struct ReportArgs {
    /// The report [default: list them]
    name: Option<String>,
    /// A value for a parameter; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    param: Vec<(String, String)>,
    /// The folder of your own reports [default: the setting `reports`]
    #[arg(long, value_name = "FOLDER")]
    reports: Option<PathBuf>,
    /// Draw a chart on the terminal instead of printing rows
    #[arg(long, conflicts_with_all = ["format", "output"])]
    chart: bool,
    /// Write the chart to this file, as PNG or SVG by its name
    #[arg(long, value_name = "FILE.png|svg")]
    chart_output: Option<PathBuf>,
    /// Write the rows to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    session: SessionArgs,
    #[arg(long, value_enum, default_value_t)]
    format: AnswerFormat,
}

pub fn run(args: &ReportArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let reports = all(&config, args.reports.as_deref())?;
    let Some(name) = &args.name else {
        list(&reports).print(Format::Table)?;
        return Ok(Exit::Done);
    };
    let report = find(&reports, name)?;
    let draws = args.chart || args.chart_output.is_some();
    if draws && report.chart.is_none() {
        bail!("the report {name} has no chart: add a line like `-- chart: bar LABEL VALUE` to its header");
    }
    let picture = args.chart_output.as_deref().map(Picture::of).transpose()?;
    let defaults = Defaults::of(&config);
    let parameters = values(report, &args.param, &defaults)?;
    runtime()?.block_on(async {
        let session = reporting::open(&config, &args.session.settings()).await?;
        let rows = answer(&session, &report.text, &parameters).await?;
        let destination = Destination::of(args.output.as_deref());
        if !draws {
            destination.write(rows, args.format, &report.text, &report.money).await?;
            return Ok(tell_left_out(&session));
        }
        let chart = Arc::new(Mutex::new(Chart::of(report).context("the report has no chart")?));
        let rows = watched(rows, Arc::clone(&chart));
        if args.chart {
            let drained = rows.try_for_each(|_| std::future::ready(Ok(()))).await;
            drained.map_err(|error| failed(&error, &report.text))?;
        } else {
            destination.write(rows, args.format, &report.text, &report.money).await?;
        }
        let chart = chart.lock().unwrap_or_else(PoisonError::into_inner);
        if args.chart {
            let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
            io::stdout().write_all(chart.text(width.unwrap_or(CHART_WIDTH)).as_bytes())?;
        }
        picture.map_or(Ok(()), |picture| picture.write(&chart))?;
        Ok(tell_left_out(&session))
    })
}

/// A chart as a file.
struct Picture<'p> {
    path: &'p Path,
    is_png: bool,
}

impl<'p> Picture<'p> {
    fn of(path: &'p Path) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let is_png = match extension.to_ascii_lowercase().as_str() {
            "png" => true,
            "svg" => false,
            _ => bail!(
                "a chart is written as PNG or SVG: give a file name that ends in .png or .svg, not {}",
                path.display()
            ),
        };
        Ok(Self { path, is_png })
    }

    fn write(&self, chart: &Chart) -> Result<()> {
        let svg = chart.svg();
        let bytes = if self.is_png { png::of_svg(&svg)? } else { svg.into_bytes() };
        std::fs::write(self.path, bytes).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The same rows, of which a chart takes its points as they pass.
fn watched(rows: SendableRecordBatchStream, chart: Arc<Mutex<Chart>>) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let rows = rows.map(move |batch| {
        let batch = batch?;
        chart.lock().unwrap_or_else(PoisonError::into_inner).add(&batch)?;
        Ok(batch)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// The reports of the program and of a folder, by name; those of the folder come first.
pub(crate) fn all(config: &Config, folder: Option<&Path>) -> Result<Vec<Report>> {
    let mut reports = match (folder, config.reports.is_dir()) {
        (Some(folder), _) => own(folder)?,
        (None, true) => own(&config.reports)?,
        (None, false) => Vec::new(),
    };
    for report in Report::built_in() {
        if reports.iter().all(|own| own.name != report.name) {
            reports.push(report);
        }
    }
    reports.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(reports)
}

fn own(folder: &Path) -> Result<Vec<Report>> {
    let cannot = || format!("cannot read the reports in {}", folder.display());
    let mut reports = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|_| path.extension().is_some_and(|extension| extension == "sql")) {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            reports.push(Report::parse(name, &text)?);
        }
    }
    Ok(reports)
}

pub(crate) fn find<'r>(reports: &'r [Report], name: &str) -> Result<&'r Report> {
    let found = reports.iter().find(|report| report.name == name || report.name == name.replace('-', "_"));
    found.with_context(|| {
        let near = reports.iter().min_by_key(|report| strsim::damerau_levenshtein(&report.name, name));
        let near = near.map_or("", |report| &report.name);
        format!("there is no report {name}; did you mean {near}? `meterhouse report` lists them")
    })
}

fn list(reports: &[Report]) -> Rows {
    let mut rows = Rows::new(&["report", "title", "parameters", "chart"]);
    for report in reports {
        let parameters = report.parameters.iter().map(|parameter| match &parameter.default {
            Some(default) => format!("{}={default}", parameter.name),
            None => format!("{} (needed)", parameter.name),
        });
        let chart = report.chart.as_ref().map(|_| "yes");
        rows.push(vec![
            report.name.clone().into(),
            report.title.clone().into(),
            parameters.collect::<Vec<_>>().join(", ").into(),
            chart.into(),
        ]);
    }
    rows
}

/// What defaults of parameters stand for that are not values themselves.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    now: Zoned,
    issuer: Option<String>,
}

impl Defaults {
    pub fn of(config: &Config) -> Self {
        Self { now: Timestamp::now().to_zoned(TimeZone::UTC), issuer: config.issuer.name.clone() }
    }

    /// The value of a default; nothing if the settings lack it.
    fn value(&self, default: &str) -> Result<Option<String>> {
        let month = |day: &Zoned| format!("{:04}-{:02}", day.year(), day.month());
        Ok(match default {
            "this_month" => Some(month(&self.now)),
            "last_month" => Some(month(&self.now.checked_sub(1.month())?)),
            "now" => Some(self.now.timestamp().to_string()),
            "issuer" => self.issuer.clone(),
            other => Some(other.to_owned()),
        })
    }
}

/// What each parameter of a report is: as given, or its default.
pub(crate) fn values(report: &Report, given: &[(String, String)], defaults: &Defaults) -> Result<Parameters> {
    if let Some((unknown, _)) =
        given.iter().find(|(name, _)| report.parameters.iter().all(|known| known.name != *name))
    {
        let known: Vec<&str> = report.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        bail!("the report {} has no parameter {unknown}; it has {}", report.name, known.join(", "));
    }
    let mut values = Parameters::new();
    for parameter in &report.parameters {
        let own =
            given.iter().rev().find(|(name, _)| *name == parameter.name).map(|(_, value)| value.clone());
        let value = match (own, &parameter.default) {
            (Some(value), _) => Some(value),
            (None, Some(default)) => defaults.value(default)?,
            (None, None) => None,
        };
        let value = value.with_context(|| {
            format!(
                "the report {} needs --param {}=VALUE: {}",
                report.name, parameter.name, parameter.meaning
            )
        })?;
        values.insert(parameter.name.clone(), value);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_values_or_are_asked_for() {
        let text =
            "-- title: T\n-- parameter month = last_month: the month\n-- parameter who: whom\nSELECT 1";
        let report = Report::parse("mine", text).unwrap();
        let now = Defaults { now: "2026-03-31T23:59:59[UTC]".parse().unwrap(), issuer: None };
        let given = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let found = values(&report, &given(&[("who", "acme")]), &now).unwrap();
        assert_eq!((found["month"].as_str(), found["who"].as_str()), ("2026-02", "acme"));
        let found = values(&report, &given(&[("who", "acme"), ("month", "2025-12")]), &now).unwrap();
        assert_eq!(found["month"], "2025-12");
        let missing = values(&report, &[], &now).unwrap_err().to_string();
        assert_eq!(missing, "the report mine needs --param who=VALUE: whom");
        let unknown = values(&report, &given(&[("whom", "acme")]), &now).unwrap_err().to_string();
        assert_eq!(unknown, "the report mine has no parameter whom; it has month, who");

        let text =
            "-- title: T\n-- parameter issuer = issuer: who issues; the setting `name` of [issuer]\nSELECT 1";
        let report = Report::parse("mine", text).unwrap();
        let missing = values(&report, &[], &now).unwrap_err().to_string();
        assert_eq!(
            missing,
            "the report mine needs --param issuer=VALUE: who issues; the setting `name` of [issuer]"
        );
        let named = Defaults { issuer: Some("Northlight".to_owned()), ..now };
        assert_eq!(values(&report, &[], &named).unwrap()["issuer"], "Northlight");
    }
}
