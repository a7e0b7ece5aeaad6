//! The demo's second half: the month is closed, and what comes of it is shown and verified.

use anyhow::{Context, Result};
use jiff::SignedDuration;
use rating::period::PeriodChoice;

use super::System;
use crate::book::{Book, BookOutbox};
use crate::close::{CloseRequest, close_as_run};
use crate::config::{Config, environment};
use crate::issue::stored_documents;
use crate::output::{Format, Rows};
use crate::periods::PeriodArg;
use crate::push::write_requests;
use crate::verify::verify;

/// The month of the demo's events.
const PERIOD: &str = "2026-05";

/// Says whether every invoice was the same when it was rated again.
pub(super) fn close_and_show(runtime: &tokio::runtime::Runtime, system: &System) -> Result<bool> {
    let settings = system.folder.join("meterhouse.toml");
    let config = Config::load(Some(&settings), &environment())?;
    let period: PeriodChoice = PERIOD.parse()?;
    let request = CloseRequest {
        period: PeriodArg::Chosen(period),
        tenants: None,
        grace: SignedDuration::ZERO,
        with_papers: true,
        // The demo tells nobody, even where there is a key.
        with_push: false,
    };
    let requests_file = system.folder.join("stripe_requests.json");
    let (report, documents, verified, requests) = runtime.block_on(async {
        let book = Book::of(&config).await?;
        let report = close_as_run(&book, &system.lake, &config, &request, &|_| ())
            .await
            .with_context(|| format!("cannot close the month of {}", system.name))?;
        let mut documents = stored_documents(&system.lake, Some(period), None).await?;
        documents.retain(|document| document.number.is_some());
        documents.sort_by(|left, right| left.number.cmp(&right.number));
        let verified = verify(&system.lake, Some(&book), documents.clone()).await?;
        let requests = write_requests(&requests_file, &BookOutbox::new(&book)).await?;
        anyhow::Ok((report, documents, verified, requests))
    })?;
    let closed = || report.months.iter().map(|closed| &closed.issued);
    let new: usize = closed().map(|issued| issued.issued.len()).sum();
    let before: usize = closed().map(|issued| issued.issued_before).sum();
    println!("\n{}: {new} invoices issued, {before} were there before\n", system.name);
    let mut rows = Rows::new(&["number", "tenant", "period", "lines", "total", "due", "rated again"]);
    let is_verified = verified.iter().all(|verified| verified.difference.is_none());
    // Both stand in the order of their numbers.
    for (document, verified) in documents.iter().zip(verified) {
        let invoice = &document.invoice;
        rows.push(vec![
            document.number.clone().into(),
            invoice.tenant.clone().into(),
            invoice.period.name.clone().into(),
            invoice.lines.len().into(),
            format!("{} {}", invoice.total, invoice.currency.code()).into(),
            invoice.due.to_string().into(),
            verified.difference.unwrap_or_else(|| "the same to the byte".to_owned()).into(),
        ]);
    }
    rows.print(Format::Table)?;
    println!("PDF, HTML, CSV and JSON of each: {}", system.folder.join("lake/papers").display());
    match requests {
        0 => println!("Stripe is told nothing: the catalog bills this system without it"),
        count => println!("{count} requests to Stripe, not sent: {}", requests_file.display()),
    }
    Ok(is_verified)
}
