//! The transport: what it tells apart, what it keeps to itself, and how fast it may be.

use std::time::Duration;

use jobs::config::Secret;
use jobs::stripe::client::CallError;
use jobs::stripe::{Client, ClientSettings, Clock, StripeRequest};

use crate::fake::{Fake, Fault, Faults, HandClock};

fn question() -> StripeRequest {
    StripeRequest::get("/billing/meters", &[])
}

async fn started() -> Fake {
    Fake::start(HandClock::at(crate::world::ISSUED_US), 1).await
}

#[tokio::test]
async fn faults_of_the_transport_are_told_apart() {
    let fake = started().await;
    let settings = ClientSettings { call_timeout: Duration::from_millis(50), ..fake.settings() };
    let client = Client::new(&settings, fake.clock.clone()).unwrap();
    for fault in [Fault::SilentBefore, Fault::ResetBefore, Fault::CutAfter] {
        fake.state().faults = Faults::only(fault, 1000);
        let error = client.call(&question()).await.unwrap_err();
        assert!(matches!(error, CallError::Unanswered(_)), "{fault:?}: {error}");
    }
    fake.state().faults = Faults::only(Fault::TooMany, 1000);
    let answer = client.call(&question()).await.unwrap();
    assert_eq!((answer.status, answer.retry_after_us), (429, Some(2_000_000)));
    let nobody = ClientSettings { base_url: "http://127.0.0.1:1".parse().unwrap(), ..settings };
    let error = Client::new(&nobody, fake.clock.clone()).unwrap().call(&question()).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(_)), "{error}");
}

#[tokio::test]
async fn errors_and_debug_text_never_show_the_key() {
    let fake = started().await;
    let secret = "sk_live_very_secret";
    let settings = ClientSettings { key: Secret::new(secret), ..fake.settings() };
    let client = Client::new(&settings, fake.clock.clone()).unwrap();
    assert!(!format!("{settings:?} {client:?}").contains("very_secret"));
    let answer = client.call(&question()).await.unwrap();
    assert_eq!(answer.status, 401);
    assert!(
        Client::new(&ClientSettings { key: Secret::new("a\nb"), ..settings }, fake.clock.clone()).is_err()
    );
}

#[tokio::test]
async fn each_request_names_its_version_and_connections_are_reused() {
    let fake = started().await;
    let client = fake.client();
    for version in [None, Some("2025-02-24.acacia".to_owned())] {
        for _ in 0..20 {
            let request = StripeRequest { api_version: version.clone(), ..question() };
            assert_eq!(client.call(&request).await.unwrap().status, 200);
        }
    }
    let state = fake.state();
    assert_eq!(state.connections, 1);
    let versions: Vec<&str> = state.api_versions.iter().map(String::as_str).collect();
    assert_eq!(versions, ["2025-02-24.acacia", jobs::stripe::client::API_VERSION]);
}

#[tokio::test]
async fn the_rate_limit_holds_for_all_calls_together() {
    let fake = started().await;
    let settings = ClientSettings { calls_per_second: 50, ..fake.settings() };
    let client = Client::new(&settings, fake.clock.clone()).unwrap();
    let start_us = fake.clock.now_us();
    futures::future::join_all((0..200).map(|_| async { client.call(&question()).await.unwrap() })).await;
    let took_us = fake.clock.now_us() - start_us;
    // A burst of a twentieth of a second is free.
    assert!(took_us >= 200 * 20_000 - 100_000, "{took_us} us");
}
