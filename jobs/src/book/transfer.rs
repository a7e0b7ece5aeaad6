//! Moving a book from one database to another: a folder of text files in between.
//!
//! Each table is a file of JSON lines, a row each in the order of its primary key; `manifest.json` says how many rows a file
//! has and what they digest to. Owns that nothing is lost or changed on the way: all of it is read at one instant,
//! everything is checked before anything is written, and it is written in one transaction into an empty book.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Order, Query};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, QueryResult, TransactionOptions, TransactionTrait,
    Value as SqlValue,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{BookError, InStep};
use super::migrate::SCHEMA_VERSION;
use super::schema::{self, Dialect, Table};
use super::{Book, Writing};

const MANIFEST: &str = "manifest.json";
const FORMAT: &str = "meterhouse book 1";
/// Made by each book itself.
const OWN_TABLE: &str = "book_schema";
/// Rows that are read or written in a statement.
const ROWS_MAX: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Book(#[from] BookError),
    #[error("cannot write {path}")]
    Write { path: String, source: io::Error },
    #[error("cannot read {path}")]
    Read { path: String, source: io::Error },
    #[error("{path} exists and is left as it is: name another folder")]
    Exists { path: String },
    #[error("{path}:{line}: {problem}")]
    Content { path: String, line: usize, problem: String },
    #[error("{path} is not what was exported: {problem}")]
    Changed { path: String, problem: String },
    #[error("the book at {place} is not empty ({table} has rows): import into a new one")]
    NotEmpty { place: String, table: String },
    #[error(
        "these files have schema {found}, this program writes {known}: import with the program that exported"
    )]
    Schema { found: i64, known: i64 },
}

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: String,
    pub schema_version: i64,
    pub program_version: String,
    /// The database that it was read from.
    pub exported_from: String,
    pub tables: Vec<ExportedTable>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedTable {
    pub table: String,
    pub rows: u64,
    /// BLAKE3 of the file.
    pub digest: String,
}

impl Book {
    /// Writes the whole book into a new folder.
    pub async fn export(&self, folder: &Path) -> Result<Manifest, TransferError> {
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(TransferError::Exists { path: folder.display().to_string() });
            }
            made => made.map_err(write_failed(folder))?,
        }
        let snapshot = self.snapshot().await?;
        let mut tables = Vec::new();
        for table in moved_tables() {
            tables.push(export_table(&snapshot, table, &file_of(folder, table)).await?);
        }
        snapshot.rollback().await.in_step("end the export")?;
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            schema_version: SCHEMA_VERSION,
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            exported_from: self.dialect.name().to_owned(),
            tables,
        };
        // The manifest comes last: without one, a folder is no export.
        let path = folder.join(MANIFEST);
        let text = serde_json::to_string_pretty(&manifest).map_err(io::Error::from);
        let written = text.and_then(|text| std::fs::write(&path, text + "\n"));
        written.map_err(write_failed(&path))?;
        Ok(manifest)
    }

    /// Fills this book, which must be empty, with what was exported.
    pub async fn import(&self, folder: &Path) -> Result<Manifest, TransferError> {
        let manifest = read_manifest(folder)?;
        for exported in &manifest.tables {
            check_file(exported, &folder.join(format!("{}.jsonl", exported.table)))?;
        }
        let writing = self.begin().await?;
        self.refuse_unless_empty(&writing).await?;
        // A new book has an identity already; it becomes the one that is moved here.
        let own = format!("DELETE FROM {}", self.dialect.quoted("book_facts"));
        writing.transaction.execute_unprepared(&own).await.in_step("import")?;
        for table in moved_tables() {
            import_table(&writing, table, &file_of(folder, table)).await?;
        }
        writing.commit().await?;
        Ok(manifest)
    }

    /// A transaction that sees the book as it is now, whatever is written meanwhile.
    async fn snapshot(&self) -> Result<DatabaseTransaction, BookError> {
        let options = match self.dialect {
            // A deferred transaction of SQLite keeps the state that its first read saw.
            Dialect::Sqlite => TransactionOptions::default(),
            _ => TransactionOptions {
                isolation_level: Some(sea_orm::IsolationLevel::RepeatableRead),
                access_mode: Some(sea_orm::AccessMode::ReadOnly),
                ..TransactionOptions::default()
            },
        };
        self.connection.begin_with_options(options).await.in_step("begin the export")
    }

    async fn refuse_unless_empty(&self, writing: &Writing) -> Result<(), TransferError> {
        for table in moved_tables().filter(|table| table.name != "book_facts") {
            let query = Query::select().expr(Expr::value(1)).from(Alias::new(&table.name)).limit(1).take();
            let row = writing.transaction.query_one(&query).await.in_step("look whether it is empty")?;
            if row.is_some() {
                let table = table.name.clone();
                return Err(TransferError::NotEmpty { place: self.place.clone(), table });
            }
        }
        Ok(())
    }
}

fn moved_tables() -> impl Iterator<Item = &'static Table> {
    schema::tables().filter(|table| table.name != OWN_TABLE)
}

fn file_of(folder: &Path, table: &Table) -> PathBuf {
    folder.join(format!("{}.jsonl", table.name))
}

async fn export_table(
    snapshot: &DatabaseTransaction,
    table: &Table,
    path: &Path,
) -> Result<ExportedTable, TransferError> {
    let mut file = BufWriter::new(File::create_new(path).map_err(write_failed(path))?);
    let (mut hasher, mut rows) = (blake3::Hasher::new(), 0);
    let mut after: Option<Vec<SqlValue>> = None;
    loop {
        let query = page(table, after.as_deref());
        let found = snapshot.query_all(&query).await.in_step("read a table")?;
        for row in &found {
            let object = to_json(row, table).in_step("read a row")?;
            let line = Value::Object(object).to_string() + "\n";
            hasher.update(line.as_bytes());
            file.write_all(line.as_bytes()).map_err(write_failed(path))?;
        }
        rows += found.len() as u64;
        match found.last().filter(|_| found.len() == ROWS_MAX) {
            Some(last) => after = Some(key_of(last, table).in_step("read a row")?),
            None => break,
        }
    }
    file.flush().map_err(write_failed(path))?;
    Ok(ExportedTable { table: table.name.clone(), rows, digest: hasher.finalize().to_hex().to_string() })
}

/// The rows after one, in the order of the primary key: bytewise everywhere, so the files are the same from every
/// database.
fn page(table: &Table, after: Option<&[SqlValue]>) -> sea_orm::sea_query::SelectStatement {
    let mut query = Query::select();
    query.columns(table.columns.iter().map(|column| Alias::new(&column.name)));
    query.from(Alias::new(&table.name)).limit(ROWS_MAX as u64);
    for key in &table.primary_key {
        query.order_by(Alias::new(key), Order::Asc);
    }
    if let Some(after) = after {
        // (a, b) > (x, y) written out: a > x or (a = x and b > y).
        let mut is_after = Expr::value(false);
        for (at, key) in table.primary_key.iter().enumerate() {
            let mut part = Expr::col(Alias::new(key)).gt(Expr::value(after[at].clone()));
            for (earlier, value) in table.primary_key[..at].iter().zip(after) {
                part = part.and(Expr::col(Alias::new(earlier)).eq(Expr::value(value.clone())));
            }
            is_after = if at == 0 { part } else { is_after.or(part) };
        }
        query.and_where(is_after);
    }
    query
}

fn key_of(row: &QueryResult, table: &Table) -> Result<Vec<SqlValue>, sea_orm::DbErr> {
    let of = |key: &String| {
        let column = table.columns.iter().find(|column| column.name == *key);
        if column.is_some_and(|column| column.kind.is_number()) {
            row.try_get::<i64>("", key).map(SqlValue::from)
        } else {
            row.try_get::<String>("", key).map(SqlValue::from)
        }
    };
    table.primary_key.iter().map(of).collect()
}

fn to_json(row: &QueryResult, table: &Table) -> Result<Map<String, Value>, sea_orm::DbErr> {
    let cell = |column: &schema::Column| {
        let name = column.name.as_str();
        let value = if column.kind.is_number() {
            row.try_get::<Option<i64>>("", name)?.map_or(Value::Null, Value::from)
        } else {
            row.try_get::<Option<String>>("", name)?.map_or(Value::Null, Value::from)
        };
        Ok((name.to_owned(), value))
    };
    table.columns.iter().map(cell).collect()
}

fn read_manifest(folder: &Path) -> Result<Manifest, TransferError> {
    let path = folder.join(MANIFEST);
    let text = std::fs::read_to_string(&path).map_err(read_failed(&path))?;
    let changed = |problem: String| TransferError::Changed { path: path.display().to_string(), problem };
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| changed(error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(changed(format!("its format is `{}`, expected `{FORMAT}`", manifest.format)));
    }
    if manifest.schema_version != SCHEMA_VERSION {
        return Err(TransferError::Schema { found: manifest.schema_version, known: SCHEMA_VERSION });
    }
    let wanted: Vec<&str> = moved_tables().map(|table| table.name.as_str()).collect();
    let named: Vec<&str> = manifest.tables.iter().map(|table| table.table.as_str()).collect();
    if wanted != named {
        return Err(changed(format!("it names the tables {named:?}, expected {wanted:?}")));
    }
    Ok(manifest)
}

fn check_file(exported: &ExportedTable, path: &Path) -> Result<(), TransferError> {
    let mut hasher = blake3::Hasher::new();
    let mut reader = BufReader::new(File::open(path).map_err(read_failed(path))?);
    let (mut rows, mut line) = (0, Vec::new());
    while reader.read_until(b'\n', &mut line).map_err(read_failed(path))? > 0 {
        hasher.update(&line);
        rows += 1;
        line.clear();
    }
    let digest = hasher.finalize().to_hex().to_string();
    if (rows, digest.as_str()) == (exported.rows, exported.digest.as_str()) {
        return Ok(());
    }
    let problem = if rows == exported.rows {
        "its digest differs".to_owned()
    } else {
        format!("it has {rows} rows, the manifest says {}", exported.rows)
    };
    Err(TransferError::Changed { path: path.display().to_string(), problem })
}

async fn import_table(writing: &Writing, table: &Table, path: &Path) -> Result<(), TransferError> {
    let reader = BufReader::new(File::open(path).map_err(read_failed(path))?);
    // SQLite takes some 30,000 parameters in a statement.
    let rows_max = ROWS_MAX.min(30_000 / table.columns.len());
    let mut rows = Vec::new();
    for (number, line) in (1..).zip(reader.lines()) {
        let line = line.map_err(read_failed(path))?;
        let row = from_json(&line, table).map_err(|problem| {
            let path = path.display().to_string();
            TransferError::Content { path, line: number, problem }
        })?;
        rows.push(row);
        if rows.len() == rows_max {
            insert(writing, table, std::mem::take(&mut rows)).await?;
        }
    }
    Ok(insert(writing, table, rows).await?)
}

async fn insert(writing: &Writing, table: &Table, rows: Vec<Vec<SqlValue>>) -> Result<(), BookError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut insert = Query::insert();
    insert.into_table(Alias::new(&table.name));
    insert.columns(table.columns.iter().map(|column| Alias::new(&column.name)));
    for row in rows {
        insert.values_panic(row.into_iter().map(Expr::value));
    }
    writing.transaction.execute(&insert).await.in_step("import a table")?;
    Ok(())
}

fn from_json(line: &str, table: &Table) -> Result<Vec<SqlValue>, String> {
    let mut object: Map<String, Value> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let mut cell = |column: &schema::Column| {
        let value = object.remove(&column.name).ok_or_else(|| format!("`{}` is missing", column.name))?;
        let is_number = column.kind.is_number();
        match value {
            Value::Null if column.is_nullable && is_number => Ok(SqlValue::from(None::<i64>)),
            Value::Null if column.is_nullable => Ok(SqlValue::from(None::<String>)),
            Value::String(text) if !is_number => Ok(SqlValue::from(text)),
            Value::Number(number) if is_number => match number.as_i64() {
                Some(number) => Ok(SqlValue::from(number)),
                None => Err(format!("`{}` is {number}, which 64 bits do not hold", column.name)),
            },
            other => Err(format!("`{}` cannot be {other}", column.name)),
        }
    };
    let row = table.columns.iter().map(&mut cell).collect::<Result<_, _>>()?;
    match object.keys().next() {
        Some(stranger) => Err(format!("`{stranger}` is no column")),
        None => Ok(row),
    }
}

fn write_failed(path: &Path) -> impl FnOnce(io::Error) -> TransferError + '_ {
    |source| TransferError::Write { path: path.display().to_string(), source }
}

fn read_failed(path: &Path) -> impl FnOnce(io::Error) -> TransferError + '_ {
    |source| TransferError::Read { path: path.display().to_string(), source }
}
