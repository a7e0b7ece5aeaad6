//! `information_schema`: DataFusion's, and two tables of comments.
//!
//! Owns `column_comments` and `table_comments`, made from the relations of the session. The session's own
//! `information_schema` stays off, because a schema of that name could not stand beside it.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use datafusion::catalog::information_schema::{INFORMATION_SCHEMA_TABLES, InformationSchemaProvider};
use datafusion::catalog::{CatalogProviderList, MemTable, SchemaProvider, TableFunction, TableProvider};
use datafusion::error::Result;

use crate::relation::{Relation, type_name};

const COLUMN_COMMENTS: &str = "column_comments";
const TABLE_COMMENTS: &str = "table_comments";
/// DataFusion's.
const DF_SETTINGS: &str = "df_settings";

/// The schema.
pub(super) struct Information {
    /// What it lists, in which it does not stand itself.
    pub listed: Arc<dyn CatalogProviderList>,
    pub functions: std::collections::HashMap<String, Arc<TableFunction>>,
    pub relations: Vec<Relation>,
    /// They name folders of this machine and its limits, which are none of a tenant's business.
    pub hides_settings: bool,
}

impl std::fmt::Debug for Information {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Information")
            .field("relations", &self.relations.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        let own = [COLUMN_COMMENTS, TABLE_COMMENTS];
        let is_shown = |name: &&&str| !self.hides_settings || **name != DF_SETTINGS;
        INFORMATION_SCHEMA_TABLES.iter().filter(is_shown).chain(&own).map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let comments = match name {
            COLUMN_COMMENTS => column_comments(&self.relations)?,
            TABLE_COMMENTS => table_comments(&self.relations)?,
            DF_SETTINGS if self.hides_settings => return Ok(None),
            _ => {
                let information = InformationSchemaProvider::new(Arc::clone(&self.listed))
                    .with_table_functions(self.functions.clone());
                return information.table(name).await;
            }
        };
        Ok(Some(Arc::new(MemTable::try_new(comments.schema(), vec![vec![comments]])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}

fn column_comments(relations: &[Relation]) -> Result<RecordBatch> {
    let rows = || {
        relations
            .iter()
            .flat_map(|of| of.columns.iter().enumerate().map(move |(at, column)| (of, at, column)))
    };
    let texts = |values: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    Ok(RecordBatch::try_from_iter([
        ("table_name", texts(rows().map(|(of, _, _)| of.name.clone()).collect())),
        ("column_name", texts(rows().map(|(_, _, column)| column.name.clone()).collect())),
        (
            "ordinal_position",
            Arc::new(rows().map(|(_, at, _)| Some(at as i64 + 1)).collect::<Int64Array>()) as ArrayRef,
        ),
        ("data_type", texts(rows().map(|(_, _, column)| type_name(&column.data_type)).collect())),
        (
            "is_nullable",
            Arc::new(rows().map(|(_, _, column)| Some(column.nullable)).collect::<BooleanArray>()),
        ),
        ("comment", texts(rows().map(|(_, _, column)| column.meaning.clone()).collect())),
    ])?)
}

fn table_comments(relations: &[Relation]) -> Result<RecordBatch> {
    let texts = |of: &dyn Fn(&Relation) -> String| -> ArrayRef {
        Arc::new(StringArray::from(relations.iter().map(of).collect::<Vec<_>>()))
    };
    Ok(RecordBatch::try_from_iter([
        ("table_name", texts(&|relation| relation.name.clone())),
        ("kind", texts(&|relation| relation.kind.name().to_owned())),
        ("comment", texts(&|relation| relation.description.clone())),
    ])?)
}
