//! What follows once documents are issued: their rows in the lake are marked, and their papers written.
//!
//! Owns doing that for every period of which the book says that something is left, whichever period is being issued, and for
//! the requested one, whose papers may have gone since. A document that lies in the lake as another than the one that was
//! issued is told and left as it is, and its period stays unfinished. Does not own how rows are marked (`mark`) nor
//! what a paper is (`papers`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ::sql::lake::Lake;
use anyhow::Result;
use ingest::crash_point::crash_point;
use rating::draft::document_id;

use super::drafts::{IssuedRow, issued_rows};
use super::{IssueReport, IssueRequest, StoredDocument, bar, documents_with, mark, papers};
use crate::book::{Book, PrintedDocument};
use crate::config::Config;
use crate::rate::drafts::month_of_name;
use crate::run::RunContext;

/// A period to be looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Left {
    /// The book says that something is left to do.
    is_unfinished: bool,
    wants_papers: bool,
}

/// A document with what the book says is printed on it.
pub(super) type Issued = (PrintedDocument, StoredDocument);

/// `requested` are the periods that the request means, `issued` what this run has just issued.
pub(super) async fn finish(
    run: &RunContext,
    lake: &Lake,
    config: &Config,
    request: &IssueRequest,
    (requested, issued): (&BTreeSet<String>, Vec<StoredDocument>),
    report: &mut IssueReport,
) -> Result<()> {
    let mut periods: BTreeMap<String, Left> =
        requested.iter().map(|period| (period.clone(), Left::default())).collect();
    for (period, wants_papers) in run.book().unfinished_periods().await? {
        periods.insert(period, Left { is_unfinished: true, wants_papers });
    }
    let months = periods.keys().filter_map(|period| month_of_name(period)).collect();
    let mut rows = issued_rows(lake, &months).await?;
    let mut numbers = BTreeMap::new();
    let mut to_print: BTreeMap<String, Vec<PrintedDocument>> = BTreeMap::new();
    let mut finished = BTreeSet::new();
    for (period, left) in &periods {
        let damaged_before = report.damaged.len();
        let sound = sound_documents(run.book(), request, (period, *left), &mut rows, report).await?;
        let prints = request.with_papers && (left.wants_papers || requested.contains(period));
        if left.is_unfinished && damaged_before == report.damaged.len() && (prints || !left.wants_papers) {
            finished.insert(period.clone());
        }
        for (id, row, printed) in sound {
            if row.number.as_deref() != Some(&printed.printed_number) {
                numbers.insert(id, printed.printed_number.clone());
            }
            if prints {
                to_print.entry(period.clone()).or_default().push(printed);
            }
        }
    }
    mark::as_issued(lake, &numbers, &months).await?;
    crash_point("after_mark");
    let missing = papers::missing(lake, to_print).await?;
    let to_print = with_content(lake, missing, issued).await?;
    let bar = bar("papers of {pos}/{len} documents", to_print.len());
    let written = papers::write(lake, run.book(), config, &to_print, &|| bar.inc(1)).await;
    bar.finish_and_clear();
    let written = written?;
    report.papers = written.written;
    report.warnings.extend(written.warnings);
    if !finished.is_empty() {
        let writing = run.begin().await?;
        writing.note_finished(&finished).await?;
        writing.commit().await?;
    }
    Ok(())
}

/// The documents of a period that lie in the lake as they were issued, with their ids and rows. Of a period with something left
/// to do all of them are looked at, else those of the requested tenants.
async fn sound_documents(
    book: &Book,
    request: &IssueRequest,
    (period, left): (&str, Left),
    rows: &mut HashMap<String, IssuedRow>,
    report: &mut IssueReport,
) -> Result<Vec<(String, IssuedRow, PrintedDocument)>> {
    let mut sound = Vec::new();
    for printed in book.documents_printed(period).await? {
        let tenant = &printed.name.tenant;
        let is_requested = request.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant));
        if !left.is_unfinished && !is_requested {
            continue;
        }
        let id = document_id(tenant, period, &printed.name.occasion);
        let found = match rows.remove(&id) {
            Some(row) if row.digest == printed.digest => {
                sound.push((id, row, printed));
                continue;
            }
            Some(row) => format!("the lake holds {}: its row was changed", row.digest),
            None => "it is not in the lake".to_owned(),
        };
        report.damaged.push(format!(
            "invoice {} of tenant {tenant} was issued with the digest {}, but {found}",
            printed.printed_number, printed.digest
        ));
    }
    Ok(sound)
}

/// The documents themselves: what was just issued is at hand, what an earlier run left is read.
async fn with_content(
    lake: &Lake,
    printed: Vec<PrintedDocument>,
    issued: Vec<StoredDocument>,
) -> Result<Vec<Issued>> {
    if printed.is_empty() {
        return Ok(Vec::new());
    }
    let mut content: HashMap<String, StoredDocument> =
        issued.into_iter().map(|document| (document.digest.clone(), document)).collect();
    let unknown = printed.iter().map(|printed| &printed.digest);
    let unknown = unknown.filter(|digest| !content.contains_key(*digest)).cloned().collect();
    for document in documents_with(lake, &unknown).await? {
        content.insert(document.digest.clone(), document);
    }
    let found = |printed: PrintedDocument| Some((content.remove(&printed.digest)?, printed));
    Ok(printed.into_iter().filter_map(found).map(|(document, printed)| (printed, document)).collect())
}
