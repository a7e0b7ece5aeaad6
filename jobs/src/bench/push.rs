//! The outbox of a SQLite book drained into a Stripe of our own on loopback, at the rate that Stripe allows.
//!
//! The Stripe takes meter events and remembers their identifiers; it costs this process what a real one costs others.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use clap::Args;

use super::shown;
use super::usage::Stopwatch;
use crate::book::Book;
use crate::cli::runtime;
use crate::config::{Config, Environment};
use crate::generate::count;
use crate::output::Rows;
use crate::push::push_as_run;
use crate::stripe::record::{RecordContent, SentUsage};
use crate::stripe::{Method, RecordKind, RecordState, StripeRecord, StripeRequest};

#[derive(Debug, Clone, Args)]
pub(super) struct PushBench {
    /// How many meter events wait in the outbox, each of another customer
    #[arg(long, value_name = "COUNT", default_value = "20e3", value_parser = count)]
    records: u64,
    /// The limit that is kept
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    calls_per_second: u64,
}

/// Identifiers that were told, and how often.
type Told = Arc<Mutex<(BTreeSet<String>, u64)>>;

impl PushBench {
    pub fn run(&self) -> Result<Rows> {
        runtime()?.block_on(self.measure())
    }

    async fn measure(&self) -> Result<Rows> {
        let folder = tempfile::tempdir()?;
        let told = Told::default();
        let config = self.settings(folder.path(), serve(Arc::clone(&told)).await?)?;
        let book = Book::of(&config).await?;
        let writing = book.begin().await?;
        let records: Vec<StripeRecord> = (0..self.records).map(record).collect();
        writing.put_into_outbox(&records).await?;
        writing.commit().await?;

        let stopwatch = Stopwatch::start();
        let report = push_as_run(&book, &config, false).await?;
        let taken = stopwatch.taken();
        let sent = report.drained.left.get(&RecordState::Sent).copied().unwrap_or_default();
        anyhow::ensure!(sent == self.records, "{sent} of {} records were sent", self.records);
        let (distinct, calls) = {
            let told = told.lock().expect("nobody panics while holding it");
            (told.0.len() as u64, told.1)
        };
        anyhow::ensure!(distinct == self.records, "stripe has {distinct} of {} events", self.records);
        let mut rows = Rows::new(&["records", "limit_per_s", "calls", "wall_s", "cpu_s", "calls_per_s"]);
        rows.push(vec![
            self.records.into(),
            self.calls_per_second.into(),
            calls.into(),
            shown(taken.wall_s, 2),
            shown(taken.cpu_s, 2),
            shown(calls as f64 / taken.wall_s, 0),
        ]);
        book.close().await?;
        Ok(rows)
    }

    fn settings(&self, folder: &std::path::Path, stripe: SocketAddr) -> Result<Config> {
        let environment = Environment::from([
            ("METERHOUSE_BOOK_URL".to_owned(), format!("sqlite:{}", folder.join("book.sqlite").display())),
            ("METERHOUSE_STRIPE_KEY".to_owned(), "sk_test_bench".to_owned()),
            ("METERHOUSE_STRIPE_URL".to_owned(), format!("http://{stripe}")),
            ("METERHOUSE_STRIPE_CALLS_PER_SECOND".to_owned(), self.calls_per_second.to_string()),
        ]);
        let none = folder.join("meterhouse.toml");
        std::fs::write(&none, "")?;
        Ok(Config::load(Some(&none), &environment)?)
    }
}

async fn serve(told: Told) -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("cannot listen on loopback")?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/v1/billing/meter_events", post(take)).with_state(told);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn take(State(told): State<Told>, form: String) -> String {
    let identifier = url::form_urlencoded::parse(form.as_bytes())
        .find_map(|(name, value)| (name == "identifier").then(|| value.into_owned()))
        .unwrap_or_default();
    let answer = format!(r#"{{"object":"billing.meter_event","identifier":"{identifier}"}}"#);
    let mut told = told.lock().expect("nobody panics while holding it");
    told.0.insert(identifier);
    told.1 += 1;
    answer
}

fn record(number: u64) -> StripeRecord {
    let (customer, key) = (format!("cus_{number}"), format!("cus_{number}/calls/2026-05-01"));
    let at_s = jiff::Timestamp::now().as_second() - 3600;
    let parameters = [
        ("event_name", "calls".to_owned()),
        ("identifier", key.clone()),
        ("payload[stripe_customer_id]", customer.clone()),
        ("payload[value]", "12".to_owned()),
        ("timestamp", at_s.to_string()),
    ];
    let content = RecordContent {
        kind: RecordKind::MeterEvent,
        tenant: format!("tenant-{number}"),
        customer: customer.clone(),
        meter: Some("calls".to_owned()),
        period: "2026-05-01".to_owned(),
        invoice_number: format!("{number:06}"),
        description: "Calls".to_owned(),
        usage: Some(SentUsage { value: 12, at_s, is_set: false }),
        amount_minor: Some(300),
        currency: "USD".to_owned(),
        after: None,
        refers_to: None,
        request: StripeRequest {
            method: Method::Post,
            path: "/v1/billing/meter_events".to_owned(),
            parameters: parameters.map(|(name, value)| (name.to_owned(), value)).into(),
            idempotency_key: None,
            api_version: None,
        },
    };
    StripeRecord::new(key, format!("{customer}/calls"), at_s, content)
}
