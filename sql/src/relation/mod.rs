//! What a query can name: every table, view and table function, with what its columns mean.
//!
//! Owns the descriptions, and the tables that do not lie in the lake: those of the catalog (`catalog_tables`) and of
//! the book (`book_tables`). Does not own the lake's tables (`lake::schema`) nor registering any of it (`session`).
//!
//! A table that is added to `lake::Table` appears by itself. Whatever is added anywhere says whose rows it holds
//! ([`Whose`]): a session of one tenant shows nothing of a relation that forgot to.

mod book_tables;
mod catalog_columns;
mod catalog_provider;
mod catalog_tables;
pub(crate) mod cells;
mod one_tenant;
mod readme;
pub(crate) mod usage_days;
mod views;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

use crate::lake::{self, Table};

pub(crate) use book_tables::BookProvider;
pub use book_tables::{BookRows, BookSource, BookTable, ReadError};
pub(crate) use catalog_provider::CatalogProvider;
pub use catalog_tables::CatalogTable;
pub(crate) use one_tenant::catalog_of_one_tenant;
pub use readme::{markdown, type_name};
pub(crate) use views::{VIEWS, View};

/// The column by which rows belong to a tenant, in every relation that has one.
pub const TENANT: &str = "tenant";

/// A table, view or table function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub name: String,
    pub kind: RelationKind,
    pub description: String,
    pub columns: Vec<RelationColumn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    View,
    /// Stands in FROM with arguments.
    Function,
}

impl RelationKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
            Self::Function => "table function",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
    pub meaning: String,
}

/// Whose rows a relation holds, and so what a session of one tenant sees of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Each row names its tenant: only the rows of that one.
    TenantColumn,
    /// It is made from what that tenant may know.
    MadeForTenant,
    /// The vendor's own: a session of one tenant does not have it.
    Vendor,
}

impl Relation {
    pub fn of_lake_table(table: Table) -> Self {
        let columns = table.columns().iter().map(RelationColumn::of_lake).collect();
        Self {
            name: table.name().to_owned(),
            kind: RelationKind::Table,
            description: table.description().to_owned(),
            columns,
        }
    }

    pub fn schema(&self) -> SchemaRef {
        schema_of(&self.columns)
    }

    pub fn whose(&self) -> Whose {
        let has_tenant = self.columns.iter().any(|column| column.name == TENANT);
        if has_tenant { Whose::TenantColumn } else { Whose::Vendor }
    }
}

impl RelationColumn {
    fn of_lake(column: &lake::Column) -> Self {
        Self {
            name: column.name.to_owned(),
            data_type: column.kind.arrow_type(),
            nullable: column.nullable,
            meaning: column.meaning.to_owned(),
        }
    }
}

pub(crate) fn schema_of(columns: &[RelationColumn]) -> SchemaRef {
    let field = |column: &RelationColumn| Field::new(&column.name, column.data_type.clone(), column.nullable);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// A column that is never null.
pub(crate) fn column(name: &str, data_type: DataType, meaning: &str) -> RelationColumn {
    RelationColumn { name: name.to_owned(), data_type, nullable: false, meaning: meaning.to_owned() }
}

pub(crate) fn optional(name: &str, data_type: DataType, meaning: &str) -> RelationColumn {
    RelationColumn { nullable: true, ..column(name, data_type, meaning) }
}

pub(crate) const TEXT: DataType = DataType::Utf8;
pub(crate) const WHOLE: DataType = DataType::Int64;
/// As many decimals as a unit price may have.
pub(crate) const DECIMAL: DataType = DataType::Decimal128(38, 12);

pub(crate) fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}
