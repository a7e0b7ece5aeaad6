//! `meterhouse runs`: what ran when, and how it ended.

use anyhow::{Result, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::book::{Book, Run};
use crate::cli::{Exit, Globals, runtime};
use crate::output::{Format, Rows};

/// List the runs of jobs, the newest first
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse runs
  meterhouse runs --job compact --limit 5
  meterhouse runs 3f2a                     one run with everything: inputs, counts, the whole error chain
  meterhouse runs --errors --format json

A run that is `abandoned` never told its end: its process was killed, or its machine went away. One that was \
`overtaken` lost its lease to another and wrote nothing from then on.")]
pub struct RunsArgs {
    /// The start of a run's id: shows that run with everything
    run: Option<String>,
    /// Only runs of this job
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: u64,
    /// Show whole error chains
    #[arg(long)]
    errors: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &RunsArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let runs = runtime()?.block_on(async {
        let book = Book::of(&config).await?;
        match &args.run {
            Some(start) => book.runs_named(start).await,
            None => book.runs(args.job.as_deref(), args.limit).await,
        }
    })?;
    match &args.run {
        None => table(&runs, args.errors).print(args.format)?,
        Some(start) => match runs.as_slice() {
            [] => bail!("no run has an id that begins with `{start}`"),
            [run] => details(run).print(args.format)?,
            several => {
                bail!("{} runs have an id that begins with `{start}`: write more of it", several.len())
            }
        },
    }
    Ok(Exit::Done)
}

fn table(runs: &[Run], with_chains: bool) -> Rows {
    let mut rows =
        Rows::new(&["run", "job", "period", "started", "seconds", "outcome", "counts", "holder", "error"]);
    for run in runs {
        let error = match run.error.as_slice() {
            [] => Value::Null,
            chain if with_chains => chain.join(": ").into(),
            [first, ..] => first.clone().into(),
        };
        rows.push(vec![
            run.run_id.get(..8).unwrap_or(&run.run_id).into(),
            run.job.clone().into(),
            run.period.clone().into(),
            instant(run.started_at_us).into(),
            seconds(run),
            run.outcome.name().into(),
            pairs(&run.counts).into(),
            run.holder.clone().into(),
            error,
        ]);
    }
    rows
}

fn details(run: &Run) -> Rows {
    let mut rows = Rows::new(&["what", "value"]);
    let mut add = |what: &str, value: Value| rows.push(vec![what.into(), value]);
    add("run", run.run_id.clone().into());
    add("job", run.job.clone().into());
    add("period", run.period.clone().into());
    add("outcome", run.outcome.name().into());
    add("started", instant(run.started_at_us).into());
    add("ended", run.ended_at_us.map(instant).into());
    add("holder", run.holder.clone().into());
    add("lease", format!("{} (token {})", run.fence.lease, run.fence.token).into());
    add("program", run.program_version.clone().into());
    for (name, value) in &run.inputs {
        add(&format!("input {name}"), value.clone().into());
    }
    for (name, count) in &run.counts {
        add(&format!("count {name}"), (*count).into());
    }
    for (at, cause) in run.error.iter().enumerate() {
        add(if at == 0 { "error" } else { "caused by" }, cause.clone().into());
    }
    rows
}

fn pairs(counts: &std::collections::BTreeMap<String, i64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// An instant for people, whole seconds.
pub fn instant(at_us: i64) -> String {
    match Timestamp::from_second(at_us.div_euclid(1_000_000)) {
        Ok(at) => at.to_string(),
        Err(_) => format!("{at_us} us"),
    }
}

/// How long it took, as exact text so that no digit is made up.
fn seconds(run: &Run) -> Value {
    let Some(ended_at_us) = run.ended_at_us else {
        return Value::Null;
    };
    let tenths = (ended_at_us - run.started_at_us) / 100_000;
    format!("{}.{}", tenths / 10, (tenths % 10).abs()).into()
}
