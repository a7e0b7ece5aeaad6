//! `meterhouse push`: tells Stripe what waits in the outbox.
//!
//! Owns: the command, its settings and what it prints. Does not own: how records are sent (`stripe::driver`) and
//! where they are kept (the book). It may run twice or be stopped anywhere: see `stripe`.

mod book_time;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use crate::book::{Book, BookOutbox};
use crate::cli::{Exit, Globals, TryAgain, runtime};
use crate::config::{Config, StripeConfig};
use crate::output::{Format, Rows};
use crate::run::{RunSpec, with_run};
use crate::stripe::client::STRIPE_URL;
use crate::stripe::clock::Dice;
use crate::stripe::late;
use crate::stripe::{
    Client, ClientSettings, Clock, Drained, Driver, DriverSettings, MemoryOutbox, Method, Outbox,
    RecordState, StripeRecord,
};

use book_time::BookTime;

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

/// What a push left behind.
#[derive(Debug)]
pub struct PushReport {
    pub drained: Drained,
    /// What Stripe does not want, and what it has otherwise than we do.
    pub refused: Vec<StripeRecord>,
    /// Why the first of those that still wait does.
    pub waiting_because: Option<String>,
}

pub fn run(args: &PushArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    runtime()?.block_on(async {
        if let Some(file) = &args.dry_run {
            let book = Book::existing_of(&config).await?;
            let count = match &book {
                Some(book) => write_requests(file, &BookOutbox::new(book)).await?,
                None => write_requests(file, &MemoryOutbox::default()).await?,
            };
            eprintln!("wrote {count} requests to {}; nothing was sent (--dry-run)", file.display());
            return Ok(Exit::Done);
        }
        let book = Book::of(&config).await?;
        let report = push_as_run(&book, &config, args.retry).await?;
        show(&report.drained).print(args.format)?;
        report.exit()
    })
}

/// Pushes within a run of the book.
pub async fn push_as_run(book: &Book, config: &Config, retry: bool) -> Result<PushReport> {
    let clock = Arc::new(BookTime::of(book).await?);
    // Without a key there is no run to speak of.
    let client = client(&config.stripe, clock.clone())?;
    with_run(book, RunSpec::of_job("push", config), async |run| {
        let outbox = BookOutbox::of_run(book, run.fence());
        run.input("stripe", config.stripe.url.as_ref().map_or(STRIPE_URL, Url::as_str));
        for (state, count) in outbox.counts().await? {
            run.input(&format!("outbox_{}", state.name().replace(' ', "_")), count);
        }
        run.count("taken_over", outbox.take_over().await?);
        if retry {
            let count = start_over(&outbox, clock.now_us()).await?;
            eprintln!("{count} records are sent again");
            run.count("retried", count);
        }
        run.count("too_late", warn_of_late_usage(&outbox, clock.now_us()).await?);
        let report = push(client, &outbox, clock).await?;
        run.count("attempts", report.drained.attempts);
        for state in RecordState::ALL {
            let count = report.drained.left.get(&state).copied().unwrap_or_default();
            run.count(&state.name().replace(' ', "_"), count);
        }
        if !report.refused.is_empty() {
            run.has_rejects();
        }
        Ok(report)
    })
    .await
}

/// Says which of what waits Stripe will count and charge to nobody.
async fn warn_of_late_usage<O: Outbox>(outbox: &O, now_us: i64) -> Result<usize> {
    let waiting = outbox.list(Some(RecordState::Waiting)).await?;
    // What its meters do not even take any more goes as an amount.
    let usage = waiting.iter().filter(|record| !record.is_outdated(now_us));
    let Some((count, number)) = late::too_late(usage, |_| Some(now_us)) else { return Ok(0) };
    eprintln!(
        "warning: {count} figures of usage are told later than {} h after their period's end, the first of invoice {number}: \
         Stripe has closed that period's invoice and charges them to nobody; see `grace` in [issuer]",
        late::FINALIZED_AFTER_HOURS_MAX
    );
    Ok(count)
}

/// Tells Stripe what is due in an outbox.
async fn push<C: Clock, O: Outbox>(client: Client<C>, outbox: &O, clock: Arc<C>) -> Result<PushReport> {
    let seed = clock.now_us().unsigned_abs() ^ u64::from(std::process::id());
    let driver = Driver::new(client, outbox, clock, Dice::new(seed), DriverSettings::default());
    let bar = progress_bar();
    let drained = driver.drain_and_tell(&|attempts| bar.inc(attempts)).await;
    bar.finish_and_clear();
    let drained = drained?;
    let waiting_because = outbox.waiting_because().await?;
    Ok(PushReport { drained, refused: refused(outbox).await?, waiting_because })
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {pos} calls to Stripe {elapsed}");
    style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)
}

/// A client with the key and address of the settings.
pub fn client<C: Clock>(config: &StripeConfig, clock: Arc<C>) -> Result<Client<C>> {
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

impl PushReport {
    /// Lists what was refused, and says how a command that pushed ends.
    pub fn exit(&self) -> Result<Exit> {
        for record in &self.refused {
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
        if !self.refused.is_empty() {
            return Ok(Exit::DoneWithRejects);
        }
        let waiting = self.drained.left.get(&RecordState::Waiting).copied().unwrap_or_default();
        if waiting == 0 {
            return Ok(Exit::Done);
        }
        let when = self.drained.next_due_us.and_then(|due_us| Timestamp::from_microsecond(due_us).ok());
        let when = when.map_or_else(String::new, |when| format!(", the next one at {when:.0}"));
        let why = self.waiting_because.as_ref().map_or_else(String::new, |why| format!("; {why}"));
        Err(anyhow::anyhow!("{waiting} records wait for another attempt{when}{why}").context(TryAgain))
    }
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

/// Writes the requests that wait in an outbox to a file as JSON, and answers with how many they are.
pub async fn write_requests<O: Outbox>(file: &Path, outbox: &O) -> Result<usize> {
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
    Ok(waiting.len())
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
