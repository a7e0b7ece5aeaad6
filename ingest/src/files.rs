//! Reading events from files: one CloudEvent (structured mode) per line, for backfills.
//!
//! A file has no offsets that a broker guards, so a second run stores the same events again; they have
//! the same identity and are taken out when their day is compacted, as any duplicate is.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::batch::{FILE_PREFIX, PartitionName, PartitionState};
use crate::committer::Outcome;
use crate::lines::{Lines, Next};
use crate::pipeline::{IngestError, IngestReport, IngestRun, Pipeline};
use crate::raw_message::{Coordinates, RawMessage};

/// A line longer than this is not read into memory whole; it is a reject, with its beginning kept.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long one waits for a line; batches and stops are looked after in between,
const WAIT: Duration = Duration::from_millis(50);
/// and once in this many lines.
const LINES_PER_LOOK: u32 = 512;

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

    fn open(&self) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Path(path) => Box::new(open(path)?),
            Self::StandardInput => Box::new(std::io::stdin()),
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

/// Where a run was stopped from outside, with more to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedAt {
    pub file: String,
    /// The last line that was taken; 0 if none was.
    pub line: i64,
}

/// What a run did, and whether it came to the end of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesReport {
    pub report: IngestReport,
    pub stopped_at: Option<StoppedAt>,
}

/// Reads files into the lake, one after the other. `progress` is told how many bytes of a file were read.
pub fn ingest_files(
    run: &IngestRun,
    sources: &[FileSource],
    mut progress: impl FnMut(u64),
) -> Result<FilesReport, IngestError> {
    let mut pipeline = Pipeline::start(run)?;
    // What is cut is longer than any message that is accepted.
    let line_bytes_max = LINE_BYTES_MAX.max(run.settings.limits.message_bytes_max.saturating_add(1));
    let mut stopped_at = None;
    let mut read = || {
        for source in sources {
            stopped_at = read_file(&mut pipeline, source, line_bytes_max, &mut progress)?;
            if stopped_at.is_some() {
                break;
            }
        }
        Ok(())
    };
    let result = read();
    let report = pipeline.finish(result)?;
    Ok(FilesReport { report, stopped_at })
}

fn read_file(
    pipeline: &mut Pipeline,
    source: &FileSource,
    line_bytes_max: usize,
    progress: &mut impl FnMut(u64),
) -> Result<Option<StoppedAt>, IngestError> {
    let name = source.name();
    let failed = |source| IngestError::File { name: name.clone(), source };
    let mut lines = Lines::of(source.open().map_err(failed)?, line_bytes_max);
    pipeline.seal()?;
    let partition = PartitionName { topic: name.as_str().into(), partition: 0 };
    let state = PartitionState::starting_at(1);
    pipeline.batcher.assign([(partition, state)]);
    let (mut offset, mut until_look) = (0, LINES_PER_LOOK);
    loop {
        if pipeline.should_stop() && !lines.has_ended().map_err(failed)? {
            return Ok(Some(StoppedAt { file: name, line: offset }));
        }
        match lines.next(WAIT).map_err(failed)? {
            Next::Line(line) => {
                progress(line.bytes_read);
                offset += 1;
                let message = RawMessage {
                    at: Coordinates { topic: &name, partition: 0, offset },
                    stamped_at_us: None,
                    key: None,
                    payload: (!line.bytes.is_empty()).then_some(line.bytes),
                    headers: Vec::new(),
                };
                pipeline.batcher.take(&message, line.arrival_us)?;
                until_look -= 1;
            }
            Next::Nothing => until_look = 0,
            Next::End => return Ok(None),
        }
        if until_look == 0 {
            until_look = LINES_PER_LOOK;
            look_at_outcomes(pipeline)?;
            if pipeline.batcher.is_due() {
                pipeline.seal()?;
            }
        } else if pipeline.batcher.is_full() {
            pipeline.seal()?;
        }
    }
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
