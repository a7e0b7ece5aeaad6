//! `meterhouse export`: a table, view or report as a file, on this machine or in a bucket.
//!
//! Owns which rows a period means for each of them, and getting a complete file to its place: what was written in part is
//! never seen under the name. Does not own formats (`crate::sql::writing`).

use std::path::{Path, PathBuf};

use ::sql::lake::Lake;
use ::sql::relation::Relation;
use ::sql::session::Parameters;
use anyhow::{Context, Result, bail};
use arrow::datatypes::DataType;
use clap::{Args, ValueEnum};
use jiff::ToSpan;
use jiff::civil::Date;
use object_store::path::Path as StorePath;
use object_store::{ObjectStoreExt, WriteMultipart};
use rating::period::PeriodChoice;
use tokio::io::AsyncReadExt;

use crate::cli::{Exit, Globals, runtime};
use crate::report;
use crate::reporting;
use crate::sql::{AnswerFormat, Destination, SessionArgs, answer, parameter, tell_left_out};

/// Uploaded in parts of this size.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// Tables that are computed for a period, in which a query names it as an argument.
const COMPUTED: [&str; 2] = ["quantities", "charges"];

/// Write a table, view or report to a file or a bucket
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse export invoice_lines --period 2026-05 --format csv --to lines.csv
  meterhouse export usage_events --period 2026-05-01 --format parquet --to s3://bucket/usage/2026-05-01.parquet
  meterhouse export charges --period 2026-05 --format ndjson --to charges.ndjson
  meterhouse export top_tenants --period 2026-05 --param top=100 --format csv --to top.csv
  meterhouse export focus --period 2026-05 --format parquet --to focus.parquet        FOCUS 1.2, for FinOps tools

A month or a day as the period means: for invoices, quantities and charges, what starts then, by the tenant's calendar; \
for events and roll-ups, what happened in it, in UTC. In CSV a text that a spreadsheet would take for a formula has a \
quote before it. A bucket's credentials come from the usual variables of its provider.

Exit code 3 says that some tenants cannot be rated and that the file is without them; the reasons are on stderr.")]
pub struct ExportArgs {
    /// A table, view or report
    name: String,
    /// A month like 2026-05, or a day [default: everything]
    #[arg(long, value_name = "PERIOD")]
    period: Option<PeriodChoice>,
    #[arg(long, value_enum)]
    format: ExportFormat,
    /// A file, or an s3:// or gs:// address
    #[arg(long, value_name = "PATH|URL")]
    to: String,
    /// A value for a parameter of a report; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    param: Vec<(String, String)>,
    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    Parquet,
    Csv,
    Ndjson,
}

impl From<ExportFormat> for AnswerFormat {
    fn from(format: ExportFormat) -> Self {
        match format {
            ExportFormat::Parquet => Self::Parquet,
            ExportFormat::Csv => Self::Csv,
            ExportFormat::Ndjson => Self::Ndjson,
        }
    }
}

pub fn run(args: &ExportArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let reports = report::all(&config, None)?;
    runtime()?.block_on(async {
        let session = reporting::open(&config, &args.session.settings()).await?;
        let relation = session.relations.iter().find(|relation| relation.name == args.name);
        let (query, parameters) = match relation {
            Some(relation) => of_relation(relation, args)?,
            None => {
                let report = report::find(&reports, &args.name).with_context(|| {
                    format!(
                        "there is no table, view or report {}; `meterhouse sql` with \\d lists tables",
                        args.name
                    )
                })?;
                let mut given = args.param.clone();
                given.extend(args.period.map(|period| ("period".to_owned(), period.to_string())));
                (report.text.clone(), report::values(report, &given, &report::Defaults::of(&config))?)
            }
        };
        let rows = answer(&session, &query, &parameters).await?;
        let place = Place::of(&args.to)?;
        let destination = Destination::of(Some(place.file()));
        destination.write(rows, args.format.into(), &query, &[]).await?;
        place.finish().await?;
        Ok(tell_left_out(&session))
    })
}

/// The rows of a table or view in a period. Names come from the catalog of relations, and values are parameters.
fn of_relation(relation: &Relation, args: &ExportArgs) -> Result<(String, Parameters)> {
    if let Some((name, _)) = args.param.first() {
        bail!("parameters like {name} belong to reports, and {} is a table", relation.name);
    }
    let name = &relation.name;
    let Some(period) = args.period else { return Ok((format!("SELECT * FROM {name}"), Parameters::new())) };
    let of_name = |column: &str| relation.columns.iter().find(|known| known.name == column);
    let one = |value: String| Parameters::from([("period".to_owned(), value)]);
    if COMPUTED.contains(&name.as_str()) {
        return Ok((format!("SELECT * FROM {name}($period)"), one(period.to_string())));
    }
    if of_name("period").is_some() {
        let length = period.to_string().len();
        let query = format!("SELECT * FROM {name} WHERE left(period, {length}) = $period");
        return Ok((query, one(period.to_string())));
    }
    let columns = ["time", "hour", "usage_day", "rejected_day", "started"];
    let Some(column) = columns.into_iter().find_map(of_name) else {
        bail!("{name} has no periods: leave --period out");
    };
    let (first, next) = days(period)?;
    let (from, until, cast) = match column.data_type {
        DataType::Date32 => (first.to_string(), next.to_string(), "DATE"),
        _ => (format!("{first}T00:00:00Z"), format!("{next}T00:00:00Z"), "TIMESTAMP WITH TIME ZONE"),
    };
    let column = &column.name;
    let query = format!(
        "SELECT * FROM {name} WHERE {column} >= CAST($from AS {cast}) AND {column} < CAST($until AS {cast})"
    );
    Ok((query, Parameters::from([("from".to_owned(), from), ("until".to_owned(), until)])))
}

/// The first day of a period in UTC, and the first after it.
fn days(period: PeriodChoice) -> Result<(Date, Date)> {
    Ok(match period {
        PeriodChoice::Month(first) => (first, first.checked_add(1.month())?),
        PeriodChoice::Day(day) => (day, day.tomorrow()?),
    })
}

/// Where an export ends up.
enum Place {
    File(PathBuf),
    /// It is made on this machine first, because its length is not known before.
    Bucket {
        address: String,
        part: tempfile::TempPath,
    },
}

impl Place {
    fn of(to: &str) -> Result<Self> {
        if !to.contains("://") {
            return Ok(Self::File(PathBuf::from(to)));
        }
        let part = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
        Ok(Self::Bucket { address: to.to_owned(), part: part.into_temp_path() })
    }

    fn file(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Bucket { part, .. } => part,
        }
    }

    async fn finish(self) -> Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Bucket { address, part } => {
                upload(&part, &address).await.with_context(|| format!("cannot write {address}"))
            }
        }
    }
}

async fn upload(file: &Path, address: &str) -> Result<()> {
    let (folder, name) =
        address.rsplit_once('/').filter(|(_, name)| !name.is_empty()).context("it names no file")?;
    let folder = Lake::open(folder)?;
    let store = folder.store();
    let mut upload =
        WriteMultipart::new_with_chunk_size(store.put_multipart(&StorePath::from(name)).await?, PART_BYTES);
    let mut file = tokio::fs::File::open(file).await?;
    let mut buffer = vec![0; PART_BYTES];
    loop {
        let read = file.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        upload.wait_for_capacity(4).await?;
        upload.write(&buffer[..read]);
    }
    upload.finish().await?;
    Ok(())
}
