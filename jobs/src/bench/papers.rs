//! Papers per second on some threads, and whether memory grows while they are made.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use clap::Args;

use super::shown;
use super::usage::{Stopwatch, memory_peak_mib, reset_memory_peak};
use crate::output::Rows;
use crate::paper::samples::{of_many_lines, samples};
use crate::paper::{PaperFormat, PaperInvoice, Press, render, write_papers};

#[derive(Debug, Clone, Args)]
pub(super) struct PaperBench {
    /// How many papers, all different
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    papers: usize,
    /// How many threads
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    threads: usize,
    /// Which files of each
    #[arg(long, value_enum, value_delimiter = ',', default_value = "pdf")]
    formats: Vec<PaperFormat>,
    /// Measure nothing: write one paper of each kind into this folder, to look at
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

impl PaperBench {
    pub fn run(&self) -> Result<Rows> {
        match &self.into {
            Some(folder) => write_samples(folder),
            None => self.measure(),
        }
    }

    /// In four quarters, so that a growing memory shows.
    fn measure(&self) -> Result<Rows> {
        let press = Press::default();
        let samples: Vec<PaperInvoice> = samples()?.into_iter().map(|(_, paper)| paper).take(4).collect();
        let mut rows =
            Rows::new(&["papers", "papers_per_s", "cpu_ms_per_paper", "kib_per_paper", "peak_mib"]);
        let quarter = (self.papers / 4).max(1);
        for made in (0..self.papers).step_by(quarter) {
            let until = (made + quarter).min(self.papers);
            reset_memory_peak();
            let watch = Stopwatch::start();
            let bytes = self.make(&press, &samples, made, until)?;
            let (taken, papers) = (watch.taken(), (until - made) as f64);
            rows.push(vec![
                until.into(),
                shown(papers / taken.wall_s, 0),
                shown(taken.cpu_s * 1e3 / papers, 2),
                shown(bytes as f64 / 1024.0 / papers, 1),
                shown(memory_peak_mib(), 0),
            ]);
        }
        Ok(rows)
    }

    /// Makes papers of these numbers and forgets them; answers with their bytes.
    fn make(&self, press: &Press, samples: &[PaperInvoice], from: usize, until: usize) -> Result<usize> {
        let next = AtomicUsize::new(from);
        let work = || -> Result<usize> {
            let mut bytes = 0;
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= until {
                    return Ok(bytes);
                }
                let mut paper = samples[index % samples.len()].clone();
                paper.number = Some(format!("R-{index:07}"));
                paper.buyer.name = format!("Customer {index}");
                let files = render(press, &paper, &self.formats)?.files;
                bytes += files.iter().map(|(_, content)| content.len()).sum::<usize>();
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads.max(1)).map(|_| scope.spawn(work)).collect();
            let results =
                workers.into_iter().map(|worker| worker.join().expect("making papers does not panic"));
            results.sum()
        })
    }
}

fn write_samples(folder: &Path) -> Result<Rows> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let press = Press::default();
    let mut papers = samples()?;
    papers.push(("many-lines".to_owned(), of_many_lines(300, "EUR")?));
    let mut rows = Rows::new(&["paper", "file"]);
    for (name, mut paper) in papers {
        paper.number = paper.number.map(|number| format!("{number}-{name}"));
        let written = write_papers(&press, folder, &paper, &PaperFormat::ALL)?;
        for warning in written.warnings {
            eprintln!("warning: {warning}");
        }
        for file in written.files {
            rows.push(vec![name.clone().into(), file.display().to_string().into()]);
        }
    }
    Ok(rows)
}
