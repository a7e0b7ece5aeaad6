//! The papers of issued documents, in the lake under `papers/PERIOD/`; those that lie there already are not made again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use ingest::crash_point::crash_point;
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions};
use rating::catalog::Catalog;
use rating::invoice::InvoiceKind;
use rating::line::LineItem;
use sql::lake::Lake;

use super::finish::Issued;
use super::{StoredDocument, catalogs, utc_date};
use crate::book::{Book, PrintedDocument};
use crate::config::Config;
use crate::paper::{Correction, PaperFormat, PaperInvoice, PaperKind, Party, Seller, issued_name, render};

#[derive(Debug, Default)]
pub struct PapersWritten {
    pub written: usize,
    pub warnings: Vec<String>,
}

/// The documents of each period of which not all papers lie in the lake.
pub(super) async fn missing(
    lake: &Lake,
    issued: BTreeMap<String, Vec<PrintedDocument>>,
) -> Result<Vec<PrintedDocument>> {
    let mut missing = Vec::new();
    for (period, documents) in issued {
        let folder = folder(&period);
        let listed = lake.store().list(Some(&folder)).map_ok(|object| object.location);
        let lying: BTreeSet<Path> = listed.try_collect().await?;
        missing.extend(documents.into_iter().filter(|printed| {
            let kind = if printed.is_credit_note { PaperKind::CreditNote } else { PaperKind::Invoice };
            let name = issued_name(kind, &printed.printed_number);
            let is_there = |format: &PaperFormat| {
                lying.contains(&folder.clone().join(format!("{name}.{}", format.extension())))
            };
            !PaperFormat::ALL.iter().all(is_there)
        }));
    }
    Ok(missing)
}

fn folder(period: &str) -> Path {
    Path::from(format!("papers/{period}"))
}

/// Writes the papers of these documents that do not lie there yet: one that does was made with the issuer's address of then.
/// `progress` is told after each document.
pub(super) async fn write(
    lake: &Lake,
    book: &Book,
    config: &Config,
    issued: &[Issued],
    progress: &(dyn Fn() + Sync),
) -> Result<PapersWritten> {
    let mut report = PapersWritten::default();
    if issued.is_empty() {
        return Ok(report);
    }
    let (press, seller) = (config.issuer.press()?, config.issuer.seller()?);
    let mut catalogs: BTreeMap<String, Catalog> = BTreeMap::new();
    for (printed, document) in issued {
        let hash = &document.invoice.provenance.catalog_hash;
        if !catalogs.contains_key(hash) {
            let catalog = catalogs::load(lake, hash).await?;
            let missing = || format!("the catalog {hash} is not in the lake; the book is {}", book.place());
            catalogs.insert(hash.clone(), catalog.with_context(missing)?);
        }
        let folder = folder(&document.invoice.period.name);
        let paper = paper(printed, document, &catalogs[hash], config, &seller)?;
        let made = tokio::task::block_in_place(|| render(&press, &paper, &PaperFormat::ALL))?;
        for (name, bytes) in made.files {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match lake.store().put_opts(&folder.clone().join(name), bytes.into(), options).await {
                Ok(_) => report.written += 1,
                Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(error).context("cannot store a paper"),
            }
            crash_point("after_paper");
        }
        progress();
        report.warnings.extend(made.warnings);
    }
    Ok(report)
}

fn paper(
    printed: &PrintedDocument,
    document: &StoredDocument,
    catalog: &Catalog,
    config: &Config,
    seller: &Seller,
) -> Result<PaperInvoice> {
    let tenant = &document.invoice.tenant;
    let terms = catalog
        .tenant_terms(tenant)
        .with_context(|| format!("tenant {tenant} is not in the catalog that its invoice names"))?;
    let issue_date = utc_date(printed.issued_at_us)?;
    let mut buyer = Party::of_tenant(terms);
    if catalog.tenants.iter().all(|terms| terms.key != *tenant) {
        buyer.name.clone_from(tenant);
    }
    Ok(PaperInvoice {
        kind: kind(document),
        number: Some(printed.printed_number.clone()),
        issue_date: Some(issue_date),
        due_date: config.issuer.due_date(issue_date).filter(|_| kind(document) == PaperKind::Invoice),
        payment_terms: config.issuer.payment_terms.clone(),
        time_zone: terms.time_zone.clone(),
        seller: seller.clone(),
        buyer,
        invoice: document.invoice.clone(),
        corrections: corrections(document),
    })
}

fn kind(document: &StoredDocument) -> PaperKind {
    match document.invoice.kind {
        InvoiceKind::OfPeriod | InvoiceKind::Corrections => PaperKind::Invoice,
        InvoiceKind::CreditNote => PaperKind::CreditNote,
    }
}

fn corrections(document: &StoredDocument) -> Vec<Correction> {
    let lines = document.invoice.lines.iter().enumerate();
    let correction = |(line, item): (usize, &LineItem)| {
        let corrects = item.corrects.as_ref()?;
        Some(Correction {
            line,
            number: corrects.number.clone(),
            old: corrects.old,
            new: corrects.new,
            cause: corrects.cause.text(),
        })
    };
    lines.filter_map(correction).collect()
}
