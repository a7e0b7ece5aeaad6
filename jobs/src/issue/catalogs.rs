//! The catalogs that invoices name, kept in the lake under their hash, so that a copy of the bucket alone can rate again.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use rating::catalog::Catalog;
use sql::lake::Lake;

use super::StoredDocument;
use crate::book::Book;
use crate::cli::parse_catalog;
use crate::config::Config;

fn path(hash: &str) -> Path {
    Path::from(format!("catalogs/{hash}.yaml"))
}

/// The hashes of the catalogs that a document names: its own, and those of the periods that it corrects.
pub fn named(document: &StoredDocument) -> impl Iterator<Item = &str> {
    let adjusted = &document.invoice.inputs.adjusted;
    let own = std::iter::once(&document.invoice.provenance.catalog_hash);
    own.chain(adjusted.iter().map(|period| &period.catalog_hash)).map(String::as_str)
}

/// Sees to it that every catalog which invoices name lies in the lake.
pub async fn keep(
    lake: &Lake,
    book: &Book,
    config: &Config,
    named: impl Iterator<Item = &str>,
) -> Result<()> {
    let hashes: BTreeSet<&str> = named.collect();
    for hash in hashes {
        if load(lake, hash).await?.is_some() {
            continue;
        }
        let content = content(book, config, hash).await?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match lake.store().put_opts(&path(hash), content.into(), options).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error).context("cannot keep the catalog in the lake"),
        }
    }
    Ok(())
}

/// A catalog that a draft names, which may not lie in the lake yet.
pub async fn find(lake: &Lake, book: &Book, config: &Config, hash: &str) -> Result<Catalog> {
    match load(lake, hash).await? {
        Some(catalog) => Ok(catalog),
        None => Ok(Catalog::parse(&content(book, config, hash).await?, &format!("{hash}.yaml"))?),
    }
}

async fn content(book: &Book, config: &Config, hash: &str) -> Result<String> {
    match book.catalog_content(hash).await {
        Ok(content) => Ok(content),
        Err(_) => from_settings(config, hash),
    }
}

fn from_settings(config: &Config, hash: &str) -> Result<String> {
    let shown = config.catalog.display();
    let (catalog, content) = parse_catalog(&config.catalog)?;
    if catalog.hash.to_hex().as_str() != hash {
        bail!(
            "drafts were rated with the catalog {hash}, which is neither in the book nor {shown}: run `meterhouse rate` \
             again, or apply that catalog"
        );
    }
    Ok(content)
}

/// A catalog that an invoice names; none if it does not lie in the lake.
pub async fn load(lake: &Lake, hash: &str) -> Result<Option<Catalog>> {
    let found = match lake.store().get(&path(hash)).await {
        Ok(found) => found.bytes().await.context("cannot read a catalog in the lake")?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error).context("cannot read a catalog in the lake"),
    };
    let content = String::from_utf8(found.to_vec()).context("a catalog in the lake is no text")?;
    let catalog = Catalog::parse(&content, &format!("catalogs/{hash}.yaml"))?;
    if catalog.hash.to_hex().as_str() != hash {
        bail!("catalogs/{hash}.yaml in the lake has another content: its hash is {}", catalog.hash.to_hex());
    }
    Ok(Some(catalog))
}
