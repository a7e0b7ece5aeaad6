//! Does Stripe know the key, and may it do what `push` and `reconcile` ask?

use std::sync::Arc;

use serde_json::Value;

use super::{Finding, Status, within_time};
use crate::config::{Config, StripeConfig};
use crate::push::client;
use crate::stripe::client::{Answer, CallError};
use crate::stripe::{StripeRequest, SystemClock};

const CHECK: &str = "stripe";

pub(super) async fn examine(config: &Config) -> Finding {
    let Some(key) = &config.stripe.key else {
        return Finding::new(Status::Skipped, CHECK, "no key; `meterhouse push --dry-run` needs none", "");
    };
    let is_test = key.expose().contains("_test_");
    match within_time(CHECK, list_a_meter(&config.stripe)).await {
        Ok(Ok(Ok(answer))) => judge(&answer, is_test),
        Ok(Ok(Err(error))) => {
            let remedy = "check the network, proxies and `url` in [stripe]";
            Finding::fail(CHECK, format!("{:#}", anyhow::Error::new(error)), remedy)
        }
        Ok(Err(error)) => {
            let remedy = "correct METERHOUSE_STRIPE_KEY, or `key_file` and `url` in [stripe]";
            Finding::fail(CHECK, format!("{error:#}"), remedy)
        }
        Err(finding) => finding,
    }
}

/// Reads, and changes nothing.
async fn list_a_meter(config: &StripeConfig) -> anyhow::Result<Result<Answer, CallError>> {
    let client = client(config, Arc::new(SystemClock))?;
    Ok(client.call(&StripeRequest::get("/billing/meters", &[("limit", "1")])).await)
}

fn judge(answer: &Answer, is_test: bool) -> Finding {
    let kind = if is_test { "a test key" } else { "a live key" };
    match answer.status {
        200..300 => Finding::ok(CHECK, format!("the key is good ({kind})")),
        401 => Finding::fail(
            CHECK,
            said(answer),
            "the key is wrong or was revoked: take a new one from Stripe's dashboard",
        ),
        403 => {
            let remedy = "give the restricted key the permissions to read and write meters, invoices and invoice items";
            Finding::fail(CHECK, said(answer), remedy)
        }
        429 | 500.. => {
            let remedy = "Stripe is busy or has trouble; `meterhouse push` repeats, so try again later";
            Finding::new(Status::Warn, CHECK, said(answer), remedy)
        }
        _ => Finding::fail(CHECK, said(answer), "check `url` in [stripe]: this does not answer like Stripe"),
    }
}

/// Stripe's own words, which name a key by its last characters only.
fn said(answer: &Answer) -> String {
    let told: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let message = told.as_ref().and_then(|told| told["error"]["message"].as_str());
    format!("status {}: {}", answer.status, message.unwrap_or("no reason is given"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer { status, is_replayed: false, should_retry: None, retry_after_us: None, body: body.into() }
    }

    #[test]
    fn what_stripe_says_is_told() {
        let wrong = r#"{"error": {"message": "Invalid API Key provided: sk_test_****1234", "type": "invalid_request_error"}}"#;
        for (status, body, expected, found) in [
            (200, "{}", Status::Ok, "the key is good (a test key)"),
            (401, wrong, Status::Fail, "status 401: Invalid API Key provided: sk_test_****1234"),
            (403, "{}", Status::Fail, "status 403: no reason is given"),
            (404, "<html>", Status::Fail, "status 404: no reason is given"),
            (429, "{}", Status::Warn, "status 429: no reason is given"),
            (503, "", Status::Warn, "status 503: no reason is given"),
        ] {
            let finding = judge(&answer(status, body), true);
            assert_eq!((finding.status, finding.found.as_str()), (expected, found), "{status}");
            assert_eq!(finding.remedy.is_empty(), expected == Status::Ok, "{status}");
        }
    }
}
