//! A table of the catalog as a query reads it. Its rows are made when they are first read: most queries read none, and a
//! catalog may name many thousands of tenants.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use rating::catalog::Catalog;

use super::CatalogTable;

#[derive(Debug)]
pub(crate) struct CatalogProvider {
    table: CatalogTable,
    schema: SchemaRef,
    catalog: Arc<Catalog>,
    /// Decides which limits hold.
    now_us: i64,
    rows: OnceLock<MemTable>,
}

impl CatalogProvider {
    pub fn new(table: CatalogTable, catalog: &Arc<Catalog>, now_us: i64) -> Self {
        let schema = table.relation().schema();
        Self { table, schema, catalog: Arc::clone(catalog), now_us, rows: OnceLock::new() }
    }

    fn rows(&self) -> Result<&MemTable> {
        if let Some(rows) = self.rows.get() {
            return Ok(rows);
        }
        let rows = self.table.rows(&self.catalog, self.now_us)?;
        let rows = MemTable::try_new(Arc::clone(&self.schema), vec![vec![rows]])?;
        Ok(self.rows.get_or_init(|| rows))
    }
}

#[async_trait]
impl TableProvider for CatalogProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.rows()?.scan(state, projection, filters, limit).await
    }
}
