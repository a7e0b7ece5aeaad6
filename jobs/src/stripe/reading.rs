//! Questions to Stripe, which change nothing there: lists, sums, ids.

use std::collections::HashMap;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::Value;
use tokio::sync::Mutex;

use super::backoff;
use super::client::{Answer, CallError, Client};
use super::clock::{Clock, Dice};
use super::request::StripeRequest;

const PAGE_SIZE: &str = "100";
const PAGES_MAX: usize = 10_000;
/// A question asks nothing of Stripe but an answer, so who has no outbox that comes back to it asks again at once.
const PATIENT_ATTEMPTS: u32 = 6;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("stripe answered with status {}: {}", .0.status, String::from_utf8_lossy(&.0.body))]
    Answered(Answer),
    #[error(transparent)]
    Failed(#[from] CallError),
    #[error("stripe's list of {0} does not end")]
    Endless(String),
}

/// A client that only asks.
#[derive(Debug)]
pub struct Reading<C> {
    client: Client<C>,
    attempts_max: u32,
    dice: Dice,
    /// Ids of meters by their event names, as far as asked for.
    meters: Mutex<HashMap<String, String>>,
}

/// What a subscription item used in one of Stripe's billing periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemUsage {
    pub start_s: i64,
    pub end_s: i64,
    pub total: Decimal,
}

impl<C: Clock> Reading<C> {
    /// Asks once: who asks comes back himself.
    pub fn new(client: Client<C>) -> Self {
        Self { client, attempts_max: 1, dice: Dice::new(0), meters: Mutex::default() }
    }

    /// Asks again what failed and may work a moment later.
    pub fn patient(client: Client<C>, dice: Dice) -> Self {
        Self { attempts_max: PATIENT_ATTEMPTS, dice, ..Self::new(client) }
    }

    pub(super) fn client(&self) -> &Client<C> {
        &self.client
    }

    pub async fn read(&self, request: &StripeRequest) -> Result<Value, ReadError> {
        let mut attempts = 1;
        loop {
            let error = match self.read_once(request).await {
                Err(error) if attempts < self.attempts_max && error.passes() => error,
                done => return done,
            };
            let wait_us = backoff::wait_us(attempts, error.retry_after_us(), &self.dice);
            self.client.clock().sleep(Duration::from_micros(wait_us.unsigned_abs())).await;
            attempts += 1;
        }
    }

    async fn read_once(&self, request: &StripeRequest) -> Result<Value, ReadError> {
        let answer = self.client.call(request).await?;
        if !(200..300).contains(&answer.status) {
            return Err(ReadError::Answered(answer));
        }
        let parsed = serde_json::from_slice(&answer.body);
        parsed.map_err(|error| CallError::NotUnderstood(error.to_string()).into())
    }

    /// All objects of a list, page by page, until one of them is what is looked for.
    pub async fn list(
        &self,
        mut request: StripeRequest,
        mut until: impl FnMut(&Value) -> bool + Send,
    ) -> Result<Vec<Value>, ReadError> {
        request.set("limit", PAGE_SIZE);
        let mut all = Vec::new();
        for _ in 0..PAGES_MAX {
            let mut page = self.read(&request).await?;
            let listed = match page["data"].take() {
                Value::Array(listed) => listed,
                _ => Vec::new(),
            };
            let is_found = listed.iter().any(&mut until);
            let last = listed.last().and_then(|object| object["id"].as_str()).map(str::to_owned);
            all.extend(listed);
            match last {
                Some(last) if page["has_more"] == true && !is_found => request.set("starting_after", last),
                _ => return Ok(all),
            }
        }
        Err(ReadError::Endless(request.path))
    }

    /// The id of the active meter that events of this name feed.
    pub async fn meter_id(&self, event_name: &str) -> Result<Option<String>, ReadError> {
        let mut meters = self.meters.lock().await;
        if let Some(id) = meters.get(event_name) {
            return Ok(Some(id.clone()));
        }
        let request = StripeRequest::get("/billing/meters", &[("status", "active")]);
        for meter in self.list(request, |_| false).await? {
            if let (Some(name), Some(id)) = (meter["event_name"].as_str(), meter["id"].as_str()) {
                meters.insert(name.to_owned(), id.to_owned());
            }
        }
        Ok(meters.get(event_name).cloned())
    }

    /// Stripe's own figure of a customer's events in a window of whole minutes; none if it is no number.
    pub async fn counted(
        &self,
        meter: &str,
        customer: &str,
        (start_s, end_s): (i64, i64),
    ) -> Result<Option<Decimal>, ReadError> {
        let (start, end) = (start_s.to_string(), end_s.to_string());
        let parameters = [("customer", customer), ("start_time", &start), ("end_time", &end)];
        let request = StripeRequest::get(format!("/billing/meters/{meter}/event_summaries"), &parameters);
        let mut sum = Some(Decimal::ZERO);
        for summary in self.list(request, |_| false).await? {
            let value = number(&summary["aggregated_value"]);
            sum = sum.zip(value).and_then(|(sum, value)| sum.checked_add(value));
        }
        Ok(sum)
    }

    /// A subscription item's usage by billing period. A period without usage has no entry.
    pub async fn item_usage(
        &self,
        item: &str,
        api_version: Option<&str>,
    ) -> Result<Vec<ItemUsage>, ReadError> {
        let path = format!("/subscription_items/{item}/usage_record_summaries");
        let mut request = StripeRequest::get(path, &[]);
        request.api_version = api_version.map(str::to_owned);
        let listed = self.list(request, |_| false).await?;
        let usage = |summary: &Value| {
            let start_s = summary["period"]["start"].as_i64().unwrap_or(i64::MIN);
            let end_s = summary["period"]["end"].as_i64().unwrap_or(i64::MAX);
            Some(ItemUsage { start_s, end_s, total: number(&summary["total_usage"])? })
        };
        Ok(listed.iter().filter_map(usage).collect())
    }

    /// A customer's invoices or invoice items since an instant.
    pub async fn created_since(
        &self,
        path: &str,
        customer: &str,
        since_s: i64,
        until: impl FnMut(&Value) -> bool + Send,
    ) -> Result<Vec<Value>, ReadError> {
        let since = since_s.max(0).to_string();
        let request = StripeRequest::get(path, &[("customer", customer), ("created[gte]", &since)]);
        self.list(request, until).await
    }
}

impl ReadError {
    /// Whether the same question may be answered a moment later.
    fn passes(&self) -> bool {
        match self {
            Self::Answered(answer) => matches!(answer.status, 409 | 429 | 500..),
            Self::Failed(error) => !matches!(error, CallError::Refused { .. }),
            Self::Endless(_) => false,
        }
    }

    fn retry_after_us(&self) -> Option<i64> {
        match self {
            Self::Answered(answer) => answer.retry_after_us,
            _ => None,
        }
    }
}

/// Numbers of Stripe's JSON by their text: no float in between.
fn number(value: &Value) -> Option<Decimal> {
    let text = value.as_number()?.to_string();
    text.parse().ok().or_else(|| Decimal::from_scientific(&text).ok())
}
