//! Reading events from files: one CloudEvent (structured mode) per line, for backfills.
//!
//! A file has no offsets that a broker guards, so a second run stores the same events again; they have
//! the same identity and are taken out when their day is compacted, as any duplicate is.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::batch::{FILE_PREFIX, PartitionName, PartitionState};
use crate::committer::Outcome;
use crate::pipeline::{IngestError, IngestReport, IngestRun, Pipeline, now_us};
use crate::raw_message::{Coordinates, Headers, RawMessage};

/// A line longer than this is not read into memory whole; it is a reject, with its beginning kept.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const BUFFER_BYTES: usize = 1024 * 1024;

/// Where lines come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    Path(PathBuf),
    StandardInput,
}

impl FileSource {
    fn name(&self) -> String {
        match self {
            Self::Path(path) => {
                format!("{FILE_PREFIX}{}", path.file_name().unwrap_or_default().to_string_lossy())
            }
            Self::StandardInput => format!("{FILE_PREFIX}-"),
        }
    }

    fn open(&self) -> std::io::Result<Box<dyn BufRead>> {
        Ok(match self {
            Self::Path(path) => Box::new(BufReader::with_capacity(BUFFER_BYTES, open(path)?)),
            Self::StandardInput => Box::new(BufReader::with_capacity(BUFFER_BYTES, std::io::stdin())),
        })
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a folder"));
    }
    Ok(file)
}

/// Reads files into the lake, one after the other. `progress` is told how many bytes of a file were read.
pub fn ingest_files(
    run: &IngestRun,
    sources: &[FileSource],
    mut progress: impl FnMut(u64),
) -> Result<IngestReport, IngestError> {
    let mut pipeline = Pipeline::start(run)?;
    let result = sources.iter().try_for_each(|source| read_file(&mut pipeline, source, &mut progress));
    pipeline.finish(result)
}

fn read_file(
    pipeline: &mut Pipeline,
    source: &FileSource,
    progress: &mut impl FnMut(u64),
) -> Result<(), IngestError> {
    let name = source.name();
    let failed = |source| IngestError::File { name: name.clone(), source };
    let mut reader = source.open().map_err(failed)?;
    pipeline.seal()?;
    let partition = PartitionName { topic: name.as_str().into(), partition: 0 };
    let state = PartitionState::starting_at(1);
    pipeline.batcher.assign([(partition, state)]);
    let mut line = Vec::new();
    let mut arrival_us = now_us();
    for number in 1.. {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 || pipeline.should_stop() {
            break;
        }
        progress(read as u64);
        if number % 512 == 0 {
            arrival_us = now_us();
            look_at_outcomes(pipeline)?;
            if pipeline.batcher.is_due() {
                pipeline.seal()?;
            }
        }
        let payload = line.trim_ascii();
        let message = RawMessage {
            at: Coordinates { topic: &name, partition: 0, offset: number },
            stamped_at_us: None,
            key: None,
            payload: (!payload.is_empty()).then_some(payload),
            headers: Headers::new(),
        };
        pipeline.batcher.take(&message, arrival_us)?;
        if pipeline.batcher.is_full() {
            pipeline.seal()?;
        }
    }
    Ok(())
}

fn look_at_outcomes(pipeline: &mut Pipeline) -> Result<(), IngestError> {
    while let Ok(outcome) = pipeline.outcomes.try_recv() {
        match outcome {
            Outcome::Committed { version, counts, .. } => pipeline.note_commit(version, counts),
            Outcome::Fenced(error) | Outcome::Failed(error) => return Err(error.into()),
        }
    }
    Ok(())
}
