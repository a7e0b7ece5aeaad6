//! Calls to Stripe's API: one connection pool, time-outs, a rate limit. One call is one attempt; who retries is outside.
//!
//! Owns: the transport, and telling apart what surely did not reach Stripe from what may have. Does not own: what
//! an answer means for a record (`judge`) or when to try again (`driver`). It is async-stripe's `StripeClient` too, so that
//! any of that crate's requests can be made through it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use stripe_client_core::{CustomizedStripeRequest, RequestStrategy, StripeClient, StripeClientErr};
use url::Url;

use super::backoff::SECOND_US;
use super::clock::Clock;
use super::rate_limit::RateLimit;
use super::request::{Method, StripeRequest};
use crate::config::Secret;

pub const STRIPE_URL: &str = "https://api.stripe.com";
/// Stripe's own limit for an account in live mode.
pub const CALLS_PER_SECOND: u32 = 1000;
/// A version of the API that has meters; requests that need another name it.
pub const API_VERSION: &str = "2025-09-30.clover";

#[derive(Debug, Clone)]
pub struct ClientSettings {
    pub key: Secret,
    /// Without a path: `/v1/…` is added.
    pub base_url: Url,
    pub calls_per_second: u32,
    pub connect_timeout: Duration,
    /// For the whole call, until the last byte of the answer.
    pub call_timeout: Duration,
    pub connections_max: usize,
}

impl ClientSettings {
    pub fn new(key: Secret, base_url: Url) -> Self {
        Self {
            key,
            base_url,
            calls_per_second: CALLS_PER_SECOND,
            connect_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(80),
            connections_max: 64,
        }
    }
}

/// An answer with any status.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Stripe answered from memory, because it knew the idempotency key.
    pub is_replayed: bool,
    /// Whether Stripe says that the call may be made again.
    pub should_retry: Option<bool>,
    pub retry_after_us: Option<i64>,
    pub body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("stripe was not reached")]
    NotSent(#[source] reqwest::Error),
    #[error("stripe did not answer, and may or may not have done it")]
    Unanswered(#[source] reqwest::Error),
    #[error("stripe refused with status {status}: {text}")]
    Refused { status: u16, text: String },
    #[error("cannot understand stripe's answer: {0}")]
    NotUnderstood(String),
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the stripe key has characters that no key has")]
    Key,
    #[error("cannot set up https")]
    Transport(#[source] reqwest::Error),
    #[error("{0} is no address of an api")]
    Address(Url),
}

#[derive(Debug)]
pub struct Client<C> {
    http: reqwest::Client,
    base_url: String,
    rate_limit: RateLimit,
    clock: Arc<C>,
}

impl<C: Clock> Client<C> {
    pub fn new(settings: &ClientSettings, clock: Arc<C>) -> Result<Self, ClientError> {
        install_tls_provider();
        let mut key = HeaderValue::from_str(&format!("Bearer {}", settings.key.expose().trim()))
            .map_err(|_| ClientError::Key)?;
        key.set_sensitive(true);
        if settings.base_url.cannot_be_a_base() || settings.base_url.host().is_none() {
            return Err(ClientError::Address(settings.base_url.clone()));
        }
        let http = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, key)]))
            .user_agent(concat!("meterhouse/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.call_timeout)
            .pool_max_idle_per_host(settings.connections_max)
            .tcp_nodelay(true)
            // A redirect would carry the key and a payment's data elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(ClientError::Transport)?;
        Ok(Self {
            http,
            base_url: settings.base_url.as_str().trim_end_matches('/').to_owned(),
            rate_limit: RateLimit::per_second(settings.calls_per_second),
            clock,
        })
    }

    pub(super) fn clock(&self) -> &C {
        &self.clock
    }

    /// One attempt of one request.
    pub async fn call(&self, request: &StripeRequest) -> Result<Answer, CallError> {
        self.rate_limit.turn(self.clock.as_ref()).await;
        let parameters = request.encoded();
        let url = format!("{}{}", self.base_url, request.path);
        let mut call = match request.method {
            Method::Get if parameters.is_empty() => self.http.get(url),
            Method::Get => self.http.get(format!("{url}?{parameters}")),
            Method::Post => {
                self.http.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(parameters)
            }
        };
        call = call.header("Stripe-Version", request.api_version.as_deref().unwrap_or(API_VERSION));
        if let Some(key) = &request.idempotency_key {
            call = call.header("Idempotency-Key", idempotency_header(key));
        }
        let response = call.send().await.map_err(|error| match error {
            error if error.is_connect() || error.is_builder() => CallError::NotSent(error.without_url()),
            error => CallError::Unanswered(error.without_url()),
        })?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let body = response.bytes().await.map_err(|error| CallError::Unanswered(error.without_url()))?;
        Ok(Answer {
            status,
            is_replayed: text("idempotent-replayed") == Some("true"),
            should_retry: text("stripe-should-retry").and_then(|value| value.parse().ok()),
            retry_after_us: text("retry-after")
                .and_then(|value| value.parse::<i64>().ok())
                .map(|seconds| seconds.saturating_mul(SECOND_US)),
            body,
        })
    }
}

/// Header values are plain; keys of tenants may not be.
fn idempotency_header(key: &str) -> String {
    let is_plain = key.len() <= 255 && key.chars().all(|c| c.is_ascii_graphic());
    if is_plain { key.to_owned() } else { format!("mh_{}", blake3::hash(key.as_bytes()).to_hex()) }
}

/// Two TLS providers are compiled in, for different libraries, so one must be chosen; the lake's connections use it too.
fn install_tls_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may be faster, and then there is one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

impl StripeClientErr for CallError {
    fn deserialize_err(message: impl Display) -> Self {
        Self::NotUnderstood(message.to_string())
    }
}

impl<C: Clock> StripeClient for Client<C> {
    type Err = CallError;

    async fn execute(&self, request: CustomizedStripeRequest) -> Result<Bytes, CallError> {
        let (built, settings) = request.into_pieces();
        let mut request = StripeRequest::from(built);
        if let Some(RequestStrategy::Idempotent(key)) = settings.request_strategy {
            request.idempotency_key = Some(key.as_str().to_owned());
        }
        let answer = self.call(&request).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        Err(CallError::Refused { status: answer.status, text })
    }
}
