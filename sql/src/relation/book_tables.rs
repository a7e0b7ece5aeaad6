//! Tables of the book: runs of jobs, and what Stripe was told.
//!
//! Owns their columns, and reading them while a query runs. Does not own the book: whoever opens a session brings it as a
//! [`BookSource`], because this crate knows no database. Without one the tables are empty.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::TryStreamExt;
use futures::stream::BoxStream;

use super::{Relation, RelationKind, TEXT, WHOLE, Whose, column, optional, time};

/// A table that the book fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookTable {
    Runs,
    StripeRecords,
}

pub type ReadError = Box<dyn std::error::Error + Send + Sync>;
pub type BookRows = BoxStream<'static, Result<RecordBatch, ReadError>>;

/// Where the rows of the book's tables come from.
pub trait BookSource: Debug + Send + Sync {
    /// The rows of a table as batches of its schema, a piece at a time, read anew each time. A table whose rows have tenants
    /// has only those of the tenant, if one is named.
    fn rows(&self, table: BookTable, tenant: Option<&str>) -> BookRows;
}

impl BookTable {
    pub const ALL: [Self; 2] = [Self::Runs, Self::StripeRecords];

    pub fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::StripeRecords => "stripe_records",
        }
    }

    pub fn whose(self) -> Whose {
        match self {
            Self::Runs => Whose::Vendor,
            Self::StripeRecords => Whose::TenantColumn,
        }
    }

    pub fn schema(self) -> SchemaRef {
        self.relation().schema()
    }

    pub fn relation(self) -> Relation {
        let (description, columns) = match self {
            Self::Runs => ("one row for each time a job ran, from the book", runs()),
            Self::StripeRecords => {
                ("what Stripe is told, one row per request, from the book", stripe_records())
            }
        };
        Relation {
            name: self.name().to_owned(),
            kind: RelationKind::Table,
            description: description.to_owned(),
            columns,
        }
    }
}

fn runs() -> Vec<super::RelationColumn> {
    vec![
        column("run", TEXT, "the run's id"),
        column("job", TEXT, "the job, as its subcommand is called"),
        optional("period", TEXT, "the period that it was about; null for jobs that are about none"),
        column("holder", TEXT, "the machine and process that ran it"),
        column("program_version", TEXT, "version of the program"),
        column("started", time(), "when it began"),
        optional("ended", time(), "when it ended; null while it runs"),
        column(
            "outcome",
            TEXT,
            "running, done, done_with_rejects, failed, interrupted, overtaken (lost its lease) or abandoned (its process died)",
        ),
        column("inputs", TEXT, "what it worked on, as a JSON object"),
        column("counts", TEXT, "how much of what it did, as a JSON object"),
        optional("error", TEXT, "the error with its causes, outermost first"),
    ]
}

fn stripe_records() -> Vec<super::RelationColumn> {
    vec![
        column("record", TEXT, "the record's key"),
        column("tenant", TEXT, "whom it is about"),
        column("customer", TEXT, "the customer in Stripe"),
        column("kind", TEXT, "what Stripe is told: usage, an invoice item, an invoice and so on"),
        optional("meter", TEXT, "the meter, for usage"),
        column("period", TEXT, "the local day on which the period starts"),
        column("invoice_number", TEXT, "the number of the invoice it belongs to"),
        column("currency", TEXT, "ISO 4217 code"),
        optional("amount_minor", WHOLE, "the amount in the currency's smallest unit"),
        optional("usage_value", WHOLE, "the usage that was sent"),
        column("state", TEXT, "how far it has come"),
        column("attempts", WHOLE, "how often it was sent"),
        optional("first_sent", time(), "when it was sent for the first time"),
        optional("last_error", TEXT, "what the last attempt failed with"),
        optional("stripe_id", TEXT, "the id that Stripe gave it"),
    ]
}

/// The table over its source; without a source it has no rows.
#[derive(Debug)]
pub(crate) struct BookProvider {
    table: BookTable,
    schema: SchemaRef,
    source: Option<Arc<dyn BookSource>>,
    tenant: Option<String>,
}

impl BookProvider {
    /// Of one tenant, or of all.
    pub fn table(
        table: BookTable,
        source: Option<Arc<dyn BookSource>>,
        tenant: Option<&str>,
    ) -> Result<Arc<dyn TableProvider>> {
        let schema = table.schema();
        let rows = Self { table, schema: Arc::clone(&schema), source, tenant: tenant.map(str::to_owned) };
        Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(rows)])?))
    }
}

impl PartitionStream for BookProvider {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows: BookRows = match &self.source {
            Some(source) => source.rows(self.table, self.tenant.as_deref()),
            None => Box::pin(futures::stream::empty()),
        };
        let rows = rows.map_err(DataFusionError::External);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}
