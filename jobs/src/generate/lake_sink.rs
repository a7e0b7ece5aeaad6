//! Generated messages straight into the lake, by the same path as a file's lines.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use ingest::batch::{FILE_PREFIX, PartitionName, PartitionState};
use ingest::committer::Outcome;
use ingest::metrics::Metrics;
use ingest::pipeline::{IngestReport, IngestRun, Pipeline, now_us};
use ingest::raw_message::{Coordinates, Headers, RawMessage};
use ingest::settings::IngestSettings;
use rating::catalog::Catalog;
use sql::lake::Lake;

use super::sink::Sink;

/// Messages between two looks at the clock.
const MESSAGES_PER_LOOK: i64 = 512;

/// Decodes, encodes and commits what it is given.
#[derive(Debug)]
pub struct IntoLake {
    /// None once finished.
    pipeline: Option<Pipeline>,
    topic: String,
    next: i64,
    arrival_us: i64,
    pub report: IngestReport,
}

impl IntoLake {
    /// `name` stands as the origin of the rows, as a file's name would.
    pub fn open(
        lake: Lake,
        catalog: Catalog,
        settings: IngestSettings,
        name: &str,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<Self> {
        let run = IngestRun {
            lake,
            catalog,
            settings,
            metrics: Arc::new(Metrics::default()),
            runtime: runtime.handle().clone(),
            stop: Arc::new(AtomicBool::new(false)),
        };
        let mut pipeline = Pipeline::start(&run)?;
        let topic = format!("{FILE_PREFIX}{name}");
        let partition = PartitionName { topic: topic.as_str().into(), partition: 0 };
        let state = PartitionState::starting_at(1);
        pipeline.batcher.assign([(partition, state)]);
        let report = IngestReport::default();
        Ok(Self { pipeline: Some(pipeline), topic, next: 1, arrival_us: now_us(), report })
    }
}

impl Sink for IntoLake {
    fn put(&mut self, key: &str, payload: &[u8]) -> Result<()> {
        let stopped = |_| anyhow::anyhow!("the encoding thread stopped");
        let pipeline = self.pipeline.as_mut().context("the sink is finished")?;
        if self.next % MESSAGES_PER_LOOK == 0 {
            self.arrival_us = now_us();
            if pipeline.batcher.is_due() {
                pipeline.seal().map_err(stopped)?;
            }
            while let Ok(outcome) = pipeline.outcomes.try_recv() {
                match outcome {
                    Outcome::Committed { version, counts, .. } => pipeline.note_commit(version, counts),
                    Outcome::Fenced(error) | Outcome::Failed(error) => return Err(error.into()),
                }
            }
        }
        let message = RawMessage {
            at: Coordinates { topic: &self.topic, partition: 0, offset: self.next },
            stamped_at_us: None,
            key: Some(key.as_bytes()),
            payload: Some(payload),
            headers: Headers::new(),
        };
        self.next += 1;
        pipeline.batcher.take(&message, self.arrival_us).map_err(stopped)?;
        if pipeline.batcher.is_full() {
            pipeline.seal().map_err(stopped)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(pipeline) = self.pipeline.take() {
            self.report = pipeline.finish(Ok(()))?;
        }
        Ok(())
    }
}
