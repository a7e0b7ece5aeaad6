//! `meterhouse verify`: rates issued invoices again from what they pin, and compares to the byte (DESIGN.md 3.10).
//!
//! It needs the lake alone: the invoice's row names the version of usage events and the catalog, and both lie there. With
//! a book, its index and its credits must agree too. `--offline` reads a copied bucket and asks nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ::sql::lake::Lake;
use anyhow::{Context, Result, bail};
use clap::Args;
use rating::catalog::Catalog;
use rating::draft::DemandOptions;
use rating::invoice::{Invoice, Provenance, canonical};
use rating::period::PeriodChoice;
use rating::usage::Usage;

use crate::book::Book;
use crate::cli::{Exit, Globals, runtime};
use crate::issue::{StoredDocument, catalogs, stored_documents};
use crate::output::{Format, Rows};
use crate::rate::again::PinnedCorrections;
use crate::rate::apart::{self, PeriodCorrection};
use crate::rate::credits::OpeningCredits;
use crate::rate::drafts::RunInputs;
use crate::rate::tenants::{RatedTenants, threads, usage_snapshot};

/// Rate issued invoices again and compare them to the byte
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse verify --period 2026-05
  meterhouse verify 000017
  meterhouse verify --period 2026-05 --offline copy-of-the-bucket

Exit code 4 says that an invoice does not come out the same.")]
pub struct VerifyArgs {
    /// The number or id of one invoice
    #[arg(value_name = "INVOICE", required_unless_present = "period", conflicts_with = "period")]
    invoice: Option<String>,
    /// All issued invoices of a period
    #[arg(long, value_name = "PERIOD")]
    period: Option<PeriodChoice>,
    /// The lake to read, without book or settings
    #[arg(long, value_name = "FOLDER")]
    offline: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// One invoice's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub number: String,
    pub tenant: String,
    pub period: String,
    /// What is not as it should be; none when all is well.
    pub difference: Option<String>,
}

pub fn run(args: &VerifyArgs, globals: &Globals) -> Result<Exit> {
    let runtime = runtime()?;
    let (lake, book) = match &args.offline {
        Some(folder) => (Lake::open(&folder.to_string_lossy())?, None),
        None => {
            let config = globals.load_config()?;
            (Lake::open(&config.lake)?, runtime.block_on(Book::existing_of(&config))?)
        }
    };
    let results = runtime.block_on(async {
        let mut documents = stored_documents(&lake, args.period, None).await?;
        documents.retain(|document| {
            let wanted = args.invoice.as_deref();
            document.number.is_some()
                && wanted.is_none_or(|name| document.number.as_deref() == Some(name) || document.id == name)
        });
        if documents.is_empty() {
            bail!("there is no such issued invoice in {}", lake.url());
        }
        verify(&lake, book.as_ref(), documents).await
    })?;
    let mut rows = Rows::new(&["number", "tenant", "period", "result"]);
    for result in &results {
        let outcome = result.difference.clone().unwrap_or_else(|| "the same to the byte".to_owned());
        rows.push(vec![
            result.number.clone().into(),
            result.tenant.clone().into(),
            result.period.clone().into(),
            outcome.into(),
        ]);
    }
    rows.print(args.format)?;
    let wrong = results.iter().filter(|result| result.difference.is_some()).count();
    eprintln!("{} invoices rated again, {wrong} differ", results.len());
    Ok(if wrong == 0 { Exit::Done } else { Exit::ReconciliationMismatch })
}

/// Rates documents again, those that pin the same together.
pub async fn verify(
    lake: &Lake,
    book: Option<&Book>,
    documents: Vec<StoredDocument>,
) -> Result<Vec<Verified>> {
    let mut groups: BTreeMap<(String, i64, String), Vec<StoredDocument>> = BTreeMap::new();
    for document in documents {
        let provenance = &document.invoice.provenance;
        let pins =
            (provenance.catalog_hash.clone(), provenance.table_version, document.invoice.period.name.clone());
        groups.entry(pins).or_default().push(document);
    }
    let mut results = Vec::new();
    for ((catalog_hash, version, period), documents) in groups {
        let catalog = catalogs::load(lake, &catalog_hash).await?;
        let catalog = catalog.with_context(|| format!("the catalog {catalog_hash} is not in the lake"))?;
        results.extend(verify_group(lake, &Arc::new(catalog), version, &period, &documents).await?);
        if let Some(book) = book {
            compare_with_book(book, &period, &documents, &mut results).await?;
        }
    }
    results.sort_by(|left, right| left.number.cmp(&right.number));
    Ok(results)
}

async fn verify_group(
    lake: &Lake,
    catalog: &Arc<Catalog>,
    version: i64,
    period: &str,
    documents: &[StoredDocument],
) -> Result<Vec<Verified>> {
    let choice: PeriodChoice = period.parse()?;
    let only: BTreeSet<String> = documents.iter().map(|document| document.invoice.tenant.clone()).collect();
    let tenants = RatedTenants::new(catalog, choice, Some(&only))?;
    // Before the first event there was no version.
    let snapshot = match u64::try_from(version) {
        Ok(version) => usage_snapshot(lake, Some(version)).await?,
        Err(_) => None,
    };
    let options = DemandOptions::default();
    let answers = tenants.usage(lake, catalog, snapshot.as_ref(), options, threads()).await?;
    let usages: BTreeMap<&str, &Usage> =
        answers.usages.iter().map(|usage| (usage.demand.tenant.as_str(), usage)).collect();
    let pinned = PinnedCorrections::read(lake, documents, snapshot.as_ref(), threads()).await?;
    let verified = documents.iter().map(|document| {
        let usage = usages.get(document.invoice.tenant.as_str()).copied();
        let again = pinned.of(document).and_then(|made| again(document, &made, &tenants, usage));
        let difference = match again {
            Ok(again) => difference(document, again.as_ref())?,
            Err(error) => Some(format!("{error:#}")),
        };
        Ok(result(document, difference))
    });
    verified.collect()
}

/// A document made again; none where nothing is charged any more.
fn again(
    document: &StoredDocument,
    corrections: &[PeriodCorrection],
    tenants: &RatedTenants<'_>,
    usage: Option<&Usage>,
) -> Result<Option<Invoice>> {
    let issued = &document.invoice;
    let corrections: Vec<&PeriodCorrection> = corrections.iter().collect();
    if !issued.kind.is_of_period() {
        let (tenant, period, provenance) = (&issued.tenant, &issued.period, &issued.provenance);
        return Ok(apart::document(issued.kind, tenant, period, &corrections, provenance)?);
    }
    let charged = usage.zip(tenants.charges(&issued.tenant));
    let (usage, charges) = charged.context("the tenant has no usage or no terms any more")?;
    Ok(inputs(issued).invoice(charges, charges.rate_lines(usage, "")?, &corrections)?)
}

fn difference(document: &StoredDocument, again: Option<&Invoice>) -> Result<Option<String>> {
    let Some(again) = again else { return Ok(Some("nothing to charge any more".to_owned())) };
    let digest = canonical::digest(&again.canonical_json()?);
    let (now, then) = (again.total, document.invoice.total);
    Ok((digest != document.digest).then(|| format!("total {now} instead of {then}, digest {digest}")))
}

fn result(document: &StoredDocument, difference: Option<String>) -> Verified {
    Verified {
        number: document.number.clone().unwrap_or_default(),
        tenant: document.invoice.tenant.clone(),
        period: document.invoice.period.name.clone(),
        difference,
    }
}

/// What an invoice was made from beside its usage and corrections.
fn inputs(issued: &Invoice) -> RunInputs {
    let mut inputs = RunInputs {
        provenance: Provenance { book_hash: String::new(), ..issued.provenance.clone() },
        ..RunInputs::default()
    };
    let opening = OpeningCredits::of_invoice(issued);
    if opening != OpeningCredits::default() {
        inputs.credits.insert(issued.tenant.clone(), opening);
    }
    inputs
}

/// The book's index must name the same digests.
async fn compare_with_book(
    book: &Book,
    period: &str,
    documents: &[StoredDocument],
    results: &mut [Verified],
) -> Result<()> {
    let index = book.documents(Some(period), None).await?;
    let by_number: BTreeMap<&str, &str> = index
        .iter()
        .map(|issued| (issued.document.printed_number.as_str(), issued.document.digest.as_str()))
        .collect();
    for document in documents {
        let number = document.number.as_deref().unwrap_or_default();
        let result = results.iter_mut().find(|result| result.number == number);
        let Some(result) = result.filter(|result| result.difference.is_none()) else { continue };
        result.difference = match by_number.get(number) {
            Some(digest) if *digest == document.digest => None,
            Some(digest) => Some(format!("the book says digest {digest}")),
            None => Some("the book does not know it".to_owned()),
        };
        if result.difference.is_none() {
            result.difference = credits_differ(book, document).await?;
        }
    }
    Ok(())
}

/// The first entries of the tenant's account must still be those that the invoice was made with.
async fn credits_differ(book: &Book, document: &StoredDocument) -> Result<Option<String>> {
    let invoice = &document.invoice;
    let opening = OpeningCredits::of_invoice(invoice);
    if opening.entries == 0 {
        return Ok(None);
    }
    let mut accounts = book.credit_accounts(std::slice::from_ref(&invoice.tenant)).await?;
    let account = accounts.remove(&(invoice.tenant.clone(), invoice.currency.code().to_owned()));
    let then = OpeningCredits::of(&account.unwrap_or_default().up_to(opening.entries))?;
    Ok((then != opening).then(|| "the book's credits of then are others than those that paid".to_owned()))
}
