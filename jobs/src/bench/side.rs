//! One side of a comparison, in a process of its own: neither memory nor warm caches of one side are another's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::usage::{Stopwatch, memory_peak_mib};
use super::{median, shown};
use crate::cli::{Exit, run_line};
use crate::output::Rows;

/// What a side took once.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Measured {
    pub wall_s: f64,
    pub cpu_s: f64,
    /// The most memory that the process held.
    pub memory_mib: f64,
}

impl Measured {
    /// Both together, one after the other.
    pub fn followed_by(&self, later: &Measured) -> Measured {
        Measured {
            wall_s: self.wall_s + later.wall_s,
            cpu_s: self.cpu_s + later.cpu_s,
            memory_mib: self.memory_mib.max(later.memory_mib),
        }
    }
}

/// Another command, measured from within its process.
#[derive(Debug, Clone, Args)]
pub(super) struct MeasuredCommand {
    #[arg(long)]
    figures: PathBuf,
    #[arg(last = true)]
    command: Vec<String>,
}

impl MeasuredCommand {
    pub fn run(&self) -> Result<Exit> {
        let watch = Stopwatch::start();
        let exit = run_line(&self.command)?;
        let taken = watch.taken();
        let memory_mib = memory_peak_mib();
        let measured = Measured { wall_s: taken.wall_s, cpu_s: taken.cpu_s, memory_mib };
        fs::write(&self.figures, serde_json::to_vec(&measured)?)?;
        Ok(exit)
    }
}

/// Runs a command of ours on what lies in a folder: `lake`, and `catalog.yaml` for commands that need one.
pub(super) fn ours(folder: &Path, command: &[&str]) -> Result<Measured> {
    let figures = folder.join("figures.json");
    let mut program = Command::new(std::env::current_exe()?);
    program
        .current_dir(folder)
        .env("METERHOUSE_LAKE", folder.join("lake"))
        .env("METERHOUSE_CATALOG", folder.join("catalog.yaml"))
        .args(["bench", "measured", "--figures"])
        .arg(&figures)
        .arg("--")
        .args(command);
    output_of(&mut program, command.first().copied().unwrap_or_default())?;
    Ok(serde_json::from_slice(&fs::read(&figures)?)?)
}

/// Runs another program, which prints its figures as JSON.
pub(super) fn other(program: &mut Command, name: &str) -> Result<Measured> {
    let output = output_of(program, name)?;
    serde_json::from_slice(&output)
        .with_context(|| format!("{name} printed {:?}", String::from_utf8_lossy(&output)))
}

fn output_of(program: &mut Command, name: &str) -> Result<Vec<u8>> {
    let output = program.output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// All sides, round by round.
#[derive(Debug, Default)]
pub(super) struct Sides(Vec<(String, Vec<Measured>)>);

impl Sides {
    pub fn add(&mut self, side: &str, measured: Measured) {
        match self.0.iter_mut().find(|(known, _)| known == side) {
            Some((_, rounds)) => rounds.push(measured),
            None => self.0.push((side.to_owned(), vec![measured])),
        }
    }

    /// A side's seconds; nothing where it did not run.
    fn seconds(&self, side: &str) -> Option<f64> {
        let (_, rounds) = self.0.iter().find(|(known, _)| known == side)?;
        Some(median(rounds.iter().map(|measured| measured.wall_s).collect()))
    }

    /// Medians of each side, and in the last column how many times its seconds one of them takes.
    pub fn rows(&self, compared: &str, column: &str) -> Rows {
        let compared_s = self.seconds(compared);
        self.rows_with(column, |seconds| compared_s.map(|compared_s| compared_s / seconds))
    }

    /// Medians of each side, and in the last column how many times the seconds of one of them it takes.
    pub fn rows_in_times_of(&self, compared: &str, column: &str) -> Rows {
        let compared_s = self.seconds(compared);
        self.rows_with(column, |seconds| compared_s.map(|compared_s| seconds / compared_s))
    }

    fn rows_with(&self, column: &str, ratio: impl Fn(f64) -> Option<f64>) -> Rows {
        let mut rows = Rows::new(&["side", "seconds", "cpu_seconds", "memory_mib", column]);
        for (side, rounds) in &self.0 {
            let of = |figure: fn(&Measured) -> f64| median(rounds.iter().map(figure).collect());
            let seconds = of(|measured| measured.wall_s);
            rows.push(vec![
                side.as_str().into(),
                shown(seconds, 3),
                shown(of(|measured| measured.cpu_s), 2),
                shown(of(|measured| measured.memory_mib), 0),
                ratio(seconds).map_or(Value::Null, |ratio| format!("{ratio:.3}x").into()),
            ]);
        }
        rows
    }
}
