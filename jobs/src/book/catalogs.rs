//! Catalogs that were applied: by content, and from when on each holds.
//!
//! Owns the history and the answer to which catalog is in force at an instant. Does not own what a catalog says, nor
//! dates within it: plans have versions of their own. A catalog that was applied is never changed or removed,
//! because invoices name it by its hash (DESIGN.md 3.10).

use rating::catalog::{Catalog, CatalogErrors, Tenant};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::Book;
use super::entity::{catalog, catalog_version, fact, subscription, tenant};
use super::error::{BookError, InStep};
use super::migrate::BOOK_ID;
use super::writing::{Writing, check_code, check_long, check_name};

/// One version of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedCatalog {
    /// Counts from 1.
    pub version: i64,
    pub catalog_hash: String,
    pub effective_from_us: i64,
    pub applied_at_us: i64,
    pub applied_by: String,
    pub program_version: String,
}

/// The catalog that holds at an instant.
#[derive(Debug, Clone)]
pub struct CatalogInForce {
    pub applied: AppliedCatalog,
    pub catalog: Catalog,
    /// As it was applied, comments included.
    pub content: String,
}

/// A text that an earlier program took for a catalog and this one does not.
#[derive(Debug, thiserror::Error)]
#[error("catalog version {version}, as it was applied, is none for this program\n{source}")]
pub struct NoCatalogAnyMore {
    version: i64,
    source: CatalogErrors,
}

impl Book {
    /// Stores a catalog and lets it hold from an instant on. If the same is in force there already, nothing is written
    /// and `false` comes back with that version.
    pub async fn apply_catalog(
        &self,
        new: &Catalog,
        content: &str,
        effective_from_us: i64,
        applied_by: &str,
    ) -> Result<(AppliedCatalog, bool), BookError> {
        let step = "apply a catalog";
        check_name("who applies", applied_by)?;
        let writing = self.begin().await?;
        // One at a time, so that version numbers have no gaps and each is compared with the one before it.
        let lock = fact::Entity::find_by_id(BOOK_ID.to_owned()).lock_exclusive();
        lock.one(&writing.transaction).await.in_step(step)?;
        let catalog_hash = new.hash.to_hex().to_string();
        let in_force = version_in_force(&writing.transaction, effective_from_us).await?;
        if let Some(same) = in_force.filter(|version| version.catalog_hash == catalog_hash) {
            return Ok((applied(same), false));
        }
        writing.store_catalog(new, &catalog_hash, content).await?;
        let query = catalog_version::Entity::find().order_by_desc(catalog_version::Column::Version);
        let newest = query.one(&writing.transaction).await.in_step(step)?;
        let row = catalog_version::Model {
            version: newest.map_or(1, |row| row.version + 1),
            catalog_hash,
            effective_from_us,
            applied_at_us: writing.now_us,
            applied_by: applied_by.to_owned(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        writing.insert::<_, catalog_version::ActiveModel>(vec![row.clone()], step).await?;
        writing.commit().await?;
        Ok((applied(row), true))
    }

    /// Every version in the order in which they were applied.
    pub async fn catalog_history(&self) -> Result<Vec<AppliedCatalog>, BookError> {
        let query = catalog_version::Entity::find().order_by_asc(catalog_version::Column::Version);
        let rows = query.all(&self.connection).await.in_step("read the catalog's history")?;
        Ok(rows.into_iter().map(applied).collect())
    }

    /// The catalog that holds at an instant; none if the first holds only later.
    pub async fn catalog_in_force(&self, at_us: i64) -> anyhow::Result<Option<CatalogInForce>> {
        let Some(version) = version_in_force(&self.connection, at_us).await? else {
            return Ok(None);
        };
        let content = self.catalog_content(&version.catalog_hash).await?;
        let name = format!("catalog version {}", version.version);
        let catalog = Catalog::parse(&content, &name)
            .map_err(|source| NoCatalogAnyMore { version: version.version, source })?;
        Ok(Some(CatalogInForce { applied: applied(version), catalog, content }))
    }

    /// Which version holds at an instant, without its content.
    pub async fn catalog_version_in_force(&self, at_us: i64) -> Result<Option<AppliedCatalog>, BookError> {
        Ok(version_in_force(&self.connection, at_us).await?.map(applied))
    }

    /// The text of a catalog by its hash.
    pub async fn catalog_content(&self, catalog_hash: &str) -> Result<String, BookError> {
        let row = catalog::Entity::find_by_id(catalog_hash.to_owned()).one(&self.connection).await;
        let row = row.in_step("read a catalog")?;
        row.map(|row| row.content).ok_or_else(|| BookError::Damaged {
            table: "catalogs",
            problem: format!("catalog {catalog_hash} is named and not there"),
        })
    }
}

impl Writing {
    async fn store_catalog(&self, new: &Catalog, catalog_hash: &str, content: &str) -> Result<(), BookError> {
        let step = "store a catalog";
        check_name("a catalog's name", &new.name)?;
        check_long("a catalog", content)?;
        let row = catalog::Model {
            catalog_hash: catalog_hash.to_owned(),
            name: new.name.clone(),
            content: content.to_owned(),
            stored_at_us: self.now_us,
        };
        let known = catalog::Entity::find_by_id(catalog_hash.to_owned()).one(&self.transaction).await;
        if known.in_step(step)?.is_some() {
            return Ok(());
        }
        self.insert::<_, catalog::ActiveModel>(vec![row], step).await?;
        let tenants: Vec<_> =
            new.tenants.iter().map(|known| tenant_row(known, catalog_hash)).collect::<Result<_, _>>()?;
        self.insert::<_, tenant::ActiveModel>(tenants, step).await?;
        let subscriptions = new.tenants.iter().flat_map(|known| subscription_rows(known, catalog_hash));
        let subscriptions = subscriptions.collect::<Result<Vec<_>, _>>()?;
        self.insert::<_, subscription::ActiveModel>(subscriptions, step).await
    }
}

fn tenant_row(known: &Tenant, catalog_hash: &str) -> Result<tenant::Model, BookError> {
    check_name("a tenant", &known.key)?;
    if let Some(tax) = &known.tax {
        check_name("a tax", tax)?;
    }
    Ok(tenant::Model {
        catalog_hash: catalog_hash.to_owned(),
        tenant: known.key.clone(),
        display_name: known.name.clone(),
        time_zone: known.time_zone.iana_name().unwrap_or("UTC").to_owned(),
        billing_cycle: known.cycle.in_words(),
        tax: known.tax.clone(),
        attributes: serde_json::to_string(&known.attributes).unwrap_or_default(),
    })
}

fn subscription_rows<'c>(
    known: &'c Tenant,
    catalog_hash: &'c str,
) -> impl Iterator<Item = Result<subscription::Model, BookError>> + 'c {
    known.subscriptions.iter().map(move |own| {
        check_name("a subscription", &own.key)?;
        check_name("a plan", &own.plan)?;
        let prices_as_of = own.prices_as_of.map(|when| when.to_string());
        if let Some(when) = &prices_as_of {
            check_code("a date", when)?;
        }
        Ok(subscription::Model {
            catalog_hash: catalog_hash.to_owned(),
            tenant: known.key.clone(),
            subscription: own.key.clone(),
            plan: own.plan.clone(),
            starts_at_us: own.span.start_us,
            ends_at_us: own.until.is_some().then_some(own.span.end_us),
            prices_as_of,
        })
    })
}

async fn version_in_force(
    connection: &impl ConnectionTrait,
    at_us: i64,
) -> Result<Option<catalog_version::Model>, BookError> {
    let query = catalog_version::Entity::find()
        .filter(catalog_version::Column::EffectiveFromUs.lte(at_us))
        .order_by_desc(catalog_version::Column::EffectiveFromUs)
        .order_by_desc(catalog_version::Column::Version);
    query.one(connection).await.in_step("look for the catalog in force")
}

fn applied(row: catalog_version::Model) -> AppliedCatalog {
    AppliedCatalog {
        version: row.version,
        catalog_hash: row.catalog_hash,
        effective_from_us: row.effective_from_us,
        applied_at_us: row.applied_at_us,
        applied_by: row.applied_by,
        program_version: row.program_version,
    }
}
