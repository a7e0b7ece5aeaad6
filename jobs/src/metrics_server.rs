//! Serves metrics to Prometheus.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use ingest::metrics::Metrics;

/// Starts to listen; fails at once if the address cannot be had.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> Result<SocketAddr> {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot serve metrics on {address}"))?;
    let address = listener.local_addr()?;
    let text = move || async move { ([(CONTENT_TYPE, OPEN_METRICS)], metrics.text()) };
    let router = Router::new().route("/metrics", get(text)).route("/healthz", get(|| async { "ok\n" }));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(%error, "metrics are no longer served");
        }
    });
    tracing::info!(%address, "metrics are served at /metrics");
    Ok(address)
}
