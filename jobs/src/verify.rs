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
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rating::catalog::Catalog;
use rating::draft::DemandOptions;
use rating::invoice::{Invoice, Provenance, canonical};
use rating::period::PeriodChoice;
use rating::usage::Usage;

use crate::book::Book;
use crate::catalog::chosen::now_us;
use crate::cli::{Exit, Globals, runtime};
use crate::config::Config;
use crate::issue::{StoredDocument, before, catalogs, stored_documents};
use crate::output::{Format, Rows};
use crate::periods::{MeantPeriods, PeriodArg, PeriodMonth};
use crate::rate::again::PinnedCorrections;
use crate::rate::apart::{self, PeriodCorrection};
use crate::rate::credits::OpeningCredits;
use crate::rate::drafts::{RunInputs, days, month_of_name};
use crate::rate::tenants::{RatedTenants, threads, usage_snapshot};

/// Rate issued invoices again and compare them to the byte
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse verify --period 2026-05
  meterhouse verify --period last
  meterhouse verify 000017
  meterhouse verify --period 2026-05 --offline copy-of-the-bucket

Exit code 4 says that an invoice does not come out the same.")]
pub struct VerifyArgs {
    /// The number or id of one invoice
    #[arg(value_name = "INVOICE", required_unless_present = "period", conflicts_with = "period")]
    invoice: Option<String>,
    /// All issued invoices of a period: a month (2026-05), a day in it (2026-05-15), or `last`, each tenant's own of which
    /// the grace period ended last
    #[arg(long, value_name = "PERIOD")]
    period: Option<PeriodArg>,
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
    let results = runtime()?.block_on(async {
        let (lake, config, book) = match &args.offline {
            Some(folder) => (Lake::open(&folder.to_string_lossy())?, None, None),
            None => {
                let config = globals.load_config()?;
                let book = Book::existing_of(&config).await?;
                (Lake::open(&config.lake)?, Some(config), book)
            }
        };
        let meant = Meant::find(args, config.as_ref(), book.as_ref()).await?;
        let documents = meant.documents(&lake).await?;
        let mut results = match &book {
            Some(book) => meant.gone(book, &documents).await?,
            None => Vec::new(),
        };
        if documents.is_empty() && results.is_empty() {
            bail!("there is no such issued invoice in {}", lake.url());
        }
        results.extend(verify(&lake, book.as_ref(), documents).await?);
        results.sort_by(|left, right| left.number.cmp(&right.number));
        anyhow::Ok(results)
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

/// Which invoices are to be verified.
enum Meant {
    /// By its number or id.
    One(String),
    Period(PeriodChoice),
    /// Of each month those of the tenants whose last one it is.
    Months(Vec<PeriodMonth>),
}

impl Meant {
    async fn find(args: &VerifyArgs, config: Option<&Config>, book: Option<&Book>) -> Result<Self> {
        match (args.period, config) {
            (None, _) => Ok(Self::One(args.invoice.clone().unwrap_or_default())),
            (Some(PeriodArg::Chosen(period)), _) => Ok(Self::Period(period)),
            (Some(PeriodArg::Last), Some(config)) => {
                let ended_by_us = before(now_us(book).await?, config.issuer.grace);
                let months = PeriodArg::Last.months(book, config, None, ended_by_us).await?;
                Ok(Self::Months(months))
            }
            (Some(PeriodArg::Last), None) => bail!(
                "with --offline nobody knows the grace period: name the period by its month or a day in it"
            ),
        }
    }

    /// Those that lie in the lake with their numbers.
    async fn documents(&self, lake: &Lake) -> Result<Vec<StoredDocument>> {
        let mut found = match self {
            Self::One(name) => {
                let mut documents = stored_documents(lake, None, None).await?;
                documents.retain(|document| document.number.as_ref() == Some(name) || document.id == *name);
                documents
            }
            Self::Period(period) => stored_documents(lake, Some(*period), None).await?,
            Self::Months(months) => {
                let mut found = Vec::new();
                for month in months {
                    let meant = MeantPeriods::new(month);
                    for document in stored_documents(lake, Some(month.month), None).await? {
                        if meant.holds(&document.invoice.tenant, &document.invoice.period)? {
                            found.push(document);
                        }
                    }
                }
                found
            }
        };
        found.retain(|document| document.number.is_some());
        Ok(found)
    }

    /// Invoices that the book has issued and the lake does not have as issued ones.
    async fn gone(&self, book: &Book, documents: &[StoredDocument]) -> Result<Vec<Verified>> {
        let lying: BTreeSet<&str> =
            documents.iter().filter_map(|document| document.number.as_deref()).collect();
        let meant: Vec<MeantPeriods<'_>> = match self {
            Self::Months(months) => months.iter().map(MeantPeriods::new).collect(),
            _ => Vec::new(),
        };
        let mut gone = Vec::new();
        for issued in book.documents(None, None).await? {
            let document = &issued.document;
            if lying.contains(document.printed_number.as_str()) {
                continue;
            }
            let is_meant = match self {
                Self::One(name) => document.printed_number == *name,
                Self::Period(PeriodChoice::Month(first)) => {
                    month_of_name(&document.period) == Some(days(*first))
                }
                // By noon in UTC: that may be the day before or after in the tenant's zone, and gone it is all the same.
                Self::Period(PeriodChoice::Day(day)) => document.span.contains(noon_us(*day)?),
                Self::Months(_) => {
                    let name = &document.period;
                    let mut of_month = meant.iter().filter(|meant| month_of_name(name) == meant.first_day());
                    of_month.any(|meant| meant.holds_named(&document.tenant, name))
                }
            };
            if is_meant {
                gone.push(Verified {
                    number: document.printed_number.clone(),
                    tenant: document.tenant.clone(),
                    period: document.period.clone(),
                    difference: Some(
                        "the book has issued it, and it does not lie in the lake under its number: `meterhouse issue` of \
                         the period marks what lies there as a draft"
                            .to_owned(),
                    ),
                });
            }
        }
        Ok(gone)
    }
}

fn noon_us(day: Date) -> Result<i64> {
    Ok(day.at(12, 0, 0, 0).to_zoned(TimeZone::UTC)?.timestamp().as_microsecond())
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
