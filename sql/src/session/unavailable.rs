//! What a session would have, if what it is made from could be read.
//!
//! Owns failing with the reason as soon as a query uses it. Left out, or made from something else, it would give wrong answers or
//! errors about names that exist.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_err;
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;

/// A table, or a table function.
#[derive(Debug, Clone)]
pub(super) struct Unavailable {
    pub name: String,
    pub schema: SchemaRef,
    /// In a sentence.
    pub reason: String,
}

impl TableFunctionImpl for Unavailable {
    fn call_with_args(&self, _args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl TableProvider for Unavailable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan_err!("{} cannot be read: {}", self.name, self.reason)
    }
}
