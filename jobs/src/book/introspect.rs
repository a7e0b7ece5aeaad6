//! What the database says that it holds: for the proof that migrations end in the schema, and for `book check`.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, QueryResult, Statement};

use super::Book;
use super::error::{BookError, InStep};
use super::schema::Dialect;

/// Columns, keys and indexes of each table of the book, a line each, as the database describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub tables: BTreeMap<String, Vec<String>>,
}

impl Book {
    pub async fn shape(&self) -> Result<Shape, BookError> {
        let queries: &[&str] = match self.dialect {
            Dialect::Sqlite => return self.sqlite_shape().await,
            Dialect::Postgres => &[
                "SELECT table_name AS table_name, 'column ' || ordinal_position || ' ' || column_name || ' ' || \
                 data_type || ' ' || COALESCE(character_maximum_length::text, '') || ' ' || is_nullable || ' ' || \
                 COALESCE(collation_name, '') || ' ' || COALESCE(column_default, '') AS line \
                 FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name LIKE 'book\\_%' ORDER BY 1, ordinal_position",
                "SELECT tablename::text AS table_name, indexdef AS line FROM pg_indexes \
                 WHERE schemaname = current_schema() AND tablename LIKE 'book\\_%' ORDER BY 1, indexname",
            ],
            Dialect::MariaDb | Dialect::MySql => &[
                "SELECT table_name AS table_name, CONCAT('column ', ordinal_position, ' ', column_name, ' ', \
                 column_type, ' ', is_nullable, ' ', COALESCE(collation_name, ''), ' ', \
                 COALESCE(column_default, '')) AS line FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND table_name LIKE 'book\\_%' ORDER BY 1, ordinal_position",
                "SELECT table_name AS table_name, CONCAT('index ', index_name, ' ', non_unique, ' ', \
                 GROUP_CONCAT(column_name ORDER BY seq_in_index)) AS line FROM information_schema.statistics \
                 WHERE table_schema = DATABASE() AND table_name LIKE 'book\\_%' \
                 GROUP BY table_name, index_name, non_unique ORDER BY 1, index_name",
                "SELECT table_name AS table_name, CONCAT('engine ', engine, ' ', row_format) AS line \
                 FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_name LIKE 'book\\_%' ORDER BY 1",
            ],
        };
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for query in queries {
            for row in self.rows(query).await? {
                let table: String = row.try_get("", "table_name").in_step("describe its tables")?;
                let line: String = row.try_get("", "line").in_step("describe its tables")?;
                let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
                tables.entry(table).or_default().push(line);
            }
        }
        Ok(Shape { tables })
    }

    /// The names of the columns that a table has.
    pub(super) async fn columns(&self, table: &str) -> Result<Vec<String>, BookError> {
        let step = "describe its tables";
        let query = match self.dialect {
            Dialect::Sqlite => format!("SELECT name AS name FROM pragma_table_info('{table}') ORDER BY cid"),
            Dialect::Postgres => format!(
                "SELECT column_name::text AS name FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name = '{table}' ORDER BY ordinal_position"
            ),
            Dialect::MariaDb | Dialect::MySql => format!(
                "SELECT column_name AS name FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND table_name = '{table}' ORDER BY ordinal_position"
            ),
        };
        let rows = self.rows(&query).await?;
        rows.iter().map(|row| row.try_get("", "name").in_step(step)).collect()
    }

    async fn sqlite_shape(&self) -> Result<Shape, BookError> {
        let step = "describe its tables";
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let names = "SELECT name AS name FROM sqlite_master WHERE type = 'table' AND name LIKE 'book\\_%' ESCAPE '\\' \
                     ORDER BY name";
        for row in self.rows(names).await? {
            let table: String = row.try_get("", "name").in_step(step)?;
            let columns = format!(
                "SELECT 'column ' || cid || ' ' || name || ' ' || type || ' ' || \"notnull\" || ' ' || pk || ' ' || \
                 COALESCE(dflt_value, '') AS line FROM pragma_table_info('{table}') ORDER BY cid"
            );
            let indexes = format!(
                "SELECT 'index ' || list.name || ' ' || list.\"unique\" || ' ' || list.origin || ' ' || info.seqno || ' ' || \
                 info.name || ' ' || info.coll AS line FROM pragma_index_list('{table}') AS list, \
                 pragma_index_xinfo(list.name) AS info WHERE info.key = 1 ORDER BY list.name, info.seqno"
            );
            let strict =
                format!("SELECT 'strict ' || strict AS line FROM pragma_table_list('{table}') ORDER BY 1");
            for query in [columns, indexes, strict] {
                for row in self.rows(&query).await? {
                    let line: String = row.try_get("", "line").in_step(step)?;
                    tables.entry(table.clone()).or_default().push(line);
                }
            }
        }
        Ok(Shape { tables })
    }

    async fn rows(&self, query: &str) -> Result<Vec<QueryResult>, BookError> {
        let statement = Statement::from_string(self.connection.get_database_backend(), query);
        self.connection.query_all_raw(statement).await.in_step("describe its tables")
    }
}
