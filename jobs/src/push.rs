//! `meterhouse push`: tells Stripe what waits in the outbox.
//!
//! Owns: the command, its settings and what it prints. Does not own: how records are sent (`stripe::driver`) and
//! where they are kept (the book). It may run twice or be stopped anywhere: see `stripe`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::{Exit, TryAgain};
use crate::config::StripeConfig;
use crate::output::{Format, Rows};
use crate::stripe::client::STRIPE_URL;
use crate::stripe::clock::Dice;
use crate::stripe::{
    Client, ClientSettings, Clock as _, Drained, Driver, DriverSettings, Method, Outbox, RecordState,
    StripeRecord, SystemClock,
};

/// Tell Stripe what issued invoices left in the outbox
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse push
  meterhouse push --dry-run requests.json     no key needed
  meterhouse push --retry                     also what Stripe refused, after you have looked into it

Run it as often as you like, every few minutes by a schedule: what Stripe has is recognised and never counted twice. \
A meter event is `sent` when Stripe took it and `confirmed` when its own sums contain it, at the earliest a quarter of an \
hour later. What Stripe refused or what it shows otherwise than we do is listed, and the exit code is 3.

The key comes from METERHOUSE_STRIPE_KEY or from the file that `key_file` in [stripe] names.")]
pub struct PushArgs {
    /// Write the requests to this file as JSON and send nothing
    #[arg(long, value_name = "FILE")]
    pub dry_run: Option<PathBuf>,
    /// Send again what was rejected or needs attention; Stripe must have nothing of it
    #[arg(long, conflicts_with = "dry_run")]
    pub retry: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Runs the command over an outbox.
pub async fn push<O: Outbox>(args: &PushArgs, config: &StripeConfig, outbox: &O) -> Result<Exit> {
    if let Some(file) = &args.dry_run {
        return dry_run(file, outbox).await;
    }
    if args.retry {
        let count = start_over(outbox, SystemClock.now_us()).await?;
        eprintln!("{count} records are sent again");
    }
    let clock = Arc::new(SystemClock);
    let client = client(config, clock.clone())?;
    let seed = clock.now_us().unsigned_abs() ^ u64::from(std::process::id());
    let driver = Driver::new(client, outbox, clock, Dice::new(seed), DriverSettings::default());
    let drained = driver.drain().await?;
    show(&drained).print(args.format)?;
    exit_of(&drained, outbox).await
}

/// A client with the key and address of the settings.
pub fn client(config: &StripeConfig, clock: Arc<SystemClock>) -> Result<Client<SystemClock>> {
    let key = config.key.clone().context(
        "there is no stripe key: set METERHOUSE_STRIPE_KEY, or `key_file` in [stripe] to the path of a file that holds it",
    )?;
    let url = match &config.url {
        Some(url) => url.clone(),
        None => STRIPE_URL.parse().context("stripe's address")?,
    };
    let calls_per_second = u32::try_from(config.calls_per_second).unwrap_or(u32::MAX);
    let settings = ClientSettings { calls_per_second, ..ClientSettings::new(key, url) };
    Ok(Client::new(&settings, clock)?)
}

fn show(drained: &Drained) -> Rows {
    let mut rows = Rows::new(&["state", "records"]);
    for state in RecordState::ALL {
        rows.push(vec![state.name().into(), drained.left.get(&state).copied().unwrap_or_default().into()]);
    }
    rows
}

async fn exit_of<O: Outbox>(drained: &Drained, outbox: &O) -> Result<Exit> {
    let refused = refused(outbox).await?;
    for record in &refused {
        let why = record.last_error.as_deref().unwrap_or("no reason is known");
        let content = &record.content;
        eprintln!(
            "{}: {} of tenant {}, invoice {}: {why} ({})",
            record.state.name(),
            content.kind.name(),
            content.tenant,
            content.invoice_number,
            record.key
        );
    }
    if !refused.is_empty() {
        return Ok(Exit::DoneWithRejects);
    }
    let waiting = drained.left.get(&RecordState::Waiting).copied().unwrap_or_default();
    if waiting == 0 {
        return Ok(Exit::Done);
    }
    let when = drained.next_due_us.and_then(|due_us| Timestamp::from_microsecond(due_us).ok());
    let when = when.map_or_else(String::new, |when| format!(", the next one at {when:.0}"));
    let first =
        outbox.list(Some(RecordState::Waiting)).await?.into_iter().find_map(|record| record.last_error);
    let why = first.map_or_else(String::new, |why| format!("; {why}"));
    Err(anyhow::anyhow!("{waiting} records wait for another attempt{when}{why}").context(TryAgain))
}

async fn refused<O: Outbox>(outbox: &O) -> Result<Vec<StripeRecord>> {
    let mut refused = outbox.list(Some(RecordState::Rejected)).await?;
    refused.extend(outbox.list(Some(RecordState::NeedsAttention)).await?);
    Ok(refused)
}

/// Makes what was refused wait again, and answers with how many that are.
pub async fn start_over<O: Outbox>(outbox: &O, now_us: i64) -> Result<usize> {
    let mut records = refused(outbox).await?;
    for record in &mut records {
        record.start_over(now_us);
    }
    Ok(outbox.store(&records).await?)
}

async fn dry_run<O: Outbox>(file: &Path, outbox: &O) -> Result<Exit> {
    let mut waiting = outbox.list(Some(RecordState::Waiting)).await?;
    waiting.sort_by(|left, right| {
        (&left.group, left.sequence, &left.key).cmp(&(&right.group, right.sequence, &right.key))
    });
    let requests = requests_as_json(&waiting);
    let name = file.display();
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Whoever reads the file while it is written sees the old one.
    let mut written =
        tempfile::NamedTempFile::new_in(folder).with_context(|| format!("cannot write {name}"))?;
    serde_json::to_writer_pretty(&mut written, &requests)?;
    writeln!(written)?;
    written.persist(file).with_context(|| format!("cannot write {name}"))?;
    eprintln!("wrote {} requests to {name}; nothing was sent (--dry-run)", waiting.len());
    Ok(Exit::Done)
}

/// Requests as they would be sent, for people and golden files. Ids that Stripe gives out stand as `{stripe_id}`.
pub fn requests_as_json(records: &[StripeRecord]) -> Value {
    let one = |record: &StripeRecord| {
        let request = record.request();
        let parameters: serde_json::Map<String, Value> =
            request.parameters.into_iter().map(|(name, value)| (name, value.into())).collect();
        let method = match request.method {
            Method::Get => "GET",
            Method::Post => "POST",
        };
        json!({
            "tenant": record.content.tenant,
            "invoice": record.content.invoice_number,
            "kind": record.content.kind.name(),
            "after": record.content.after,
            "stripe_id_of": record.content.refers_to,
            "method": method,
            "path": request.path,
            "parameters": parameters,
            "idempotency_key": request.idempotency_key,
            "stripe_version": request.api_version,
        })
    };
    records.iter().map(one).collect()
}
