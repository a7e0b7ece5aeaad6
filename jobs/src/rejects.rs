//! `meterhouse rejects`: what could not be counted, and why.

use ::ingest::rejected::RejectReason;
use ::ingest::rejects::{RejectFilter, RejectQuery, RejectSummary, rejects};
use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sql::lake::Lake;

use crate::cli::{Exit, Globals, runtime};
use crate::output::{Format, Rows};

const PREVIEW_CHARACTERS: usize = 160;

/// Show what was rejected: counts by reason, or samples
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse rejects
  meterhouse rejects --samples 3 --reason value_missing
  meterhouse rejects --topic usage --since 2026-05-01 --format json

Fix the catalog or the settings, then `meterhouse replay` counts what decodes now.")]
pub struct RejectsArgs {
    #[command(flatten)]
    filter: RejectFilterArgs,
    /// Show this many rejects of each reason, the newest, in place of counts
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    samples: usize,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Which rejects are meant.
#[derive(Debug, Clone, Args)]
pub struct RejectFilterArgs {
    /// Only those rejected for this reason; may be given several times
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: Vec<RejectReason>,
    /// Only those of this topic, or `file:NAME` for a file
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Only those that arrived at this time or later (2026-05-01 or 2026-05-01T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<Timestamp>,
    /// Only those that arrived before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
}

impl RejectFilterArgs {
    pub fn filter(&self) -> RejectFilter {
        RejectFilter {
            reasons: self.reason.clone(),
            topic: self.topic.clone(),
            since_us: self.since.map(Timestamp::as_microsecond),
            until_us: self.until.map(Timestamp::as_microsecond),
        }
    }
}

fn reason(name: &str) -> Result<RejectReason, String> {
    RejectReason::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = RejectReason::ALL.iter().map(|reason| reason.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// A time, or a day's start in UTC.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse::<Timestamp>().or_else(|_| {
        let start = text.parse::<Date>().and_then(|date| date.to_zoned(TimeZone::UTC));
        start
            .map(|start| start.timestamp())
            .map_err(|_| "expected a date or a time with its offset".to_owned())
    })
}

pub fn run(args: &RejectsArgs, globals: &Globals) -> Result<Exit> {
    let lake = Lake::open(&globals.load_config()?.lake)?;
    let query = RejectQuery {
        filter: args.filter.filter(),
        samples: args.samples,
        preview_characters: PREVIEW_CHARACTERS,
    };
    let summaries = runtime()?.block_on(rejects(&lake, &query))?;
    let rows = if args.samples == 0 { counts(&summaries) } else { samples(&summaries) };
    if summaries.is_empty() {
        eprintln!("nothing was rejected");
    }
    rows.print(args.format)?;
    Ok(Exit::Done)
}

fn counts(summaries: &[RejectSummary]) -> Rows {
    let mut rows = Rows::new(&["reason", "rejects", "first_arrival", "last_arrival"]);
    for summary in summaries {
        rows.push(vec![
            summary.reason.clone().into(),
            summary.count.into(),
            time(summary.first_arrival_us).into(),
            time(summary.last_arrival_us).into(),
        ]);
    }
    rows
}

fn samples(summaries: &[RejectSummary]) -> Rows {
    let mut rows = Rows::new(&[
        "reason",
        "topic",
        "partition",
        "offset",
        "batch_index",
        "arrival",
        "tenant",
        "id",
        "detail",
        "bytes",
        "payload",
    ]);
    for (summary, sample) in summaries.iter().flat_map(|it| it.samples.iter().map(move |sample| (it, sample)))
    {
        rows.push(vec![
            summary.reason.clone().into(),
            sample.topic.clone().into(),
            sample.partition.into(),
            sample.offset.into(),
            sample.batch_index.into(),
            time(sample.arrival_us).into(),
            sample.tenant.clone().into(),
            sample.id.clone().into(),
            sample.detail.clone().into(),
            sample.payload_bytes.into(),
            sample.preview.clone().into(),
        ]);
    }
    rows
}

fn time(us: i64) -> String {
    Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_reasons_as_people_write_them() {
        assert_eq!(instant("2026-05-01").unwrap().to_string(), "2026-05-01T00:00:00Z");
        assert_eq!(instant("2026-05-01T12:00:00+02:00").unwrap().to_string(), "2026-05-01T10:00:00Z");
        assert!(instant("yesterday").is_err());
        assert_eq!(reason("conflict"), Ok(RejectReason::Conflict));
        assert!(reason("bad").unwrap_err().contains("value_missing"));
    }
}
