//! The book's tables: read from `schema.sql`, and written in the words of each database.
//!
//! Owns the column types and what they become. Keys are compared byte by byte everywhere: MariaDB's and MySQL's
//! usual collations take `Acme`, `acme` and `acme ` for the same tenant. Does not own moving from one schema
//! to the next: that is `migrate`.

use std::fmt::Write as _;
use std::sync::LazyLock;

/// The longest text that a `name` holds.
pub const NAME_CHARS_MAX: usize = 255;
/// The longest text that a `code` holds.
pub const CODE_CHARS_MAX: usize = 64;
/// An amount is a `Decimal`: at most 29 digits, a sign and a point.
const AMOUNT_CHARS_MAX: usize = 40;

/// The databases that a book may live in. MySQL and MariaDB name their exact collation differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
    MariaDb,
    MySql,
}

impl Dialect {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        }
    }

    pub(super) fn is_mysql(self) -> bool {
        matches!(self, Self::MariaDb | Self::MySql)
    }

    pub(super) fn quoted(self, name: &str) -> String {
        if self.is_mysql() { format!("`{name}`") } else { format!("\"{name}\"") }
    }

    fn text_suffix(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " COLLATE \"C\"",
            // The `_bin` collations of old take trailing spaces for nothing.
            Self::MariaDb => " CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
            Self::MySql => " CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Code,
    Name,
    Text,
    Json,
    Amount,
    Integer,
    Instant,
}

impl ColumnType {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "code" => Self::Code,
            "name" => Self::Name,
            "text" => Self::Text,
            "json" => Self::Json,
            "amount" => Self::Amount,
            "integer" => Self::Integer,
            "instant" => Self::Instant,
            _ => return None,
        })
    }

    pub fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Instant)
    }

    fn chars_max(self) -> Option<usize> {
        match self {
            Self::Code => Some(CODE_CHARS_MAX),
            Self::Name => Some(NAME_CHARS_MAX),
            Self::Amount => Some(AMOUNT_CHARS_MAX),
            _ => None,
        }
    }

    fn in_words_of(self, dialect: Dialect) -> String {
        if self.is_number() {
            return if dialect == Dialect::Sqlite { "INTEGER" } else { "BIGINT" }.to_owned();
        }
        let plain = match (dialect, self.chars_max()) {
            (Dialect::Sqlite, _) | (Dialect::Postgres, None) => "TEXT".to_owned(),
            (Dialect::MariaDb | Dialect::MySql, None) => "LONGTEXT".to_owned(),
            (_, Some(length)) => format!("VARCHAR({length})"),
        };
        plain + dialect.text_suffix()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnType,
    pub is_nullable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    pub primary_key: Vec<String>,
}

/// One statement of a schema or migration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    CreateTable(Table),
    CreateIndex { name: String, table: String, columns: Vec<String>, is_unique: bool },
    AddColumn { table: String, column: Column },
}

pub(super) static SCHEMA: LazyLock<Vec<Statement>> =
    LazyLock::new(|| parse(include_str!("schema.sql")).expect("schema.sql is well formed"));

/// Every table of the book in the order of `schema.sql`.
pub fn tables() -> impl Iterator<Item = &'static Table> {
    SCHEMA.iter().filter_map(|statement| match statement {
        Statement::CreateTable(table) => Some(table),
        _ => None,
    })
}

/// Reads the few statements that the book's files are made of.
pub(super) fn parse(text: &str) -> Result<Vec<Statement>, String> {
    let without_comments: String =
        text.lines().map(|line| line.split("--").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let statements = without_comments.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    statements.map(|statement| parse_statement(statement).ok_or_else(|| statement.to_owned())).collect()
}

fn parse_statement(text: &str) -> Option<Statement> {
    if let Some(rest) = text.strip_prefix("create table ") {
        return parse_table(rest);
    }
    if let Some(rest) = text.strip_prefix("alter table ") {
        let (table, column) = rest.split_once(" add column ")?;
        return Some(Statement::AddColumn { table: identifier(table)?, column: parse_column(column)? });
    }
    let (is_unique, rest) = match text.strip_prefix("create unique index ") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("create index ")?),
    };
    let (name, rest) = rest.split_once(" on ")?;
    let (table, columns) = rest.split_once('(')?;
    Some(Statement::CreateIndex {
        name: identifier(name)?,
        table: identifier(table)?,
        columns: identifiers(columns.strip_suffix(')')?)?,
        is_unique,
    })
}

fn parse_table(text: &str) -> Option<Statement> {
    let (name, body) = text.split_once('(')?;
    let body = body.strip_suffix(')')?;
    let (columns, key) = body.split_once("primary key")?;
    let columns = columns.trim().strip_suffix(',')?;
    let key = key.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(Statement::CreateTable(Table {
        name: identifier(name)?,
        columns: columns.split(',').map(parse_column).collect::<Option<_>>()?,
        primary_key: identifiers(key)?,
    }))
}

fn parse_column(text: &str) -> Option<Column> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [name, kind, rest @ ..] = words.as_slice() else {
        return None;
    };
    let is_nullable = match rest {
        [] => true,
        ["not", "null"] => false,
        _ => return None,
    };
    Some(Column { name: identifier(name)?, kind: ColumnType::from_word(kind)?, is_nullable })
}

fn identifiers(text: &str) -> Option<Vec<String>> {
    text.split(',').map(identifier).collect()
}

fn identifier(text: &str) -> Option<String> {
    let text = text.trim();
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    is_plain.then(|| text.to_owned())
}

impl Statement {
    /// The statement as this database wants it.
    pub(super) fn in_words_of(&self, dialect: Dialect) -> String {
        let quote = |name: &String| dialect.quoted(name);
        let list = |names: &[String]| names.iter().map(quote).collect::<Vec<_>>().join(", ");
        match self {
            Self::CreateTable(table) => {
                let mut text = format!("CREATE TABLE {} (\n", quote(&table.name));
                for column in &table.columns {
                    writeln!(text, "    {},", column.in_words_of(dialect)).expect("writing to a string");
                }
                write!(text, "    PRIMARY KEY ({})\n)", list(&table.primary_key))
                    .expect("writing to a string");
                text.push_str(match dialect {
                    // SQLite would otherwise take any text for a number and any number for a text.
                    Dialect::Sqlite => " STRICT",
                    Dialect::Postgres => "",
                    // Long keys need the large index prefix of this row format.
                    Dialect::MariaDb | Dialect::MySql => " ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
                });
                text
            }
            Self::CreateIndex { name, table, columns, is_unique } => {
                let unique = if *is_unique { "UNIQUE " } else { "" };
                format!("CREATE {unique}INDEX {} ON {} ({})", quote(name), quote(table), list(columns))
            }
            Self::AddColumn { table, column } => {
                format!("ALTER TABLE {} ADD COLUMN {}", quote(table), column.in_words_of(dialect))
            }
        }
    }
}

impl Column {
    fn in_words_of(&self, dialect: Dialect) -> String {
        let null = if self.is_nullable { "" } else { " NOT NULL" };
        format!("{} {}{null}", dialect.quoted(&self.name), self.kind.in_words_of(dialect))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_put_into_each_databases_words() {
        let text = "-- a comment\ncreate table book_x (\n  tenant name not null, at_us instant,\n  primary key (tenant, at_us)\n);\n\
                    create unique index x_once on book_x (at_us, tenant);alter table book_x add column due amount;";
        let statements = parse(text).unwrap();
        let written = |dialect| {
            statements.iter().map(|statement| statement.in_words_of(dialect)).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            written(Dialect::Sqlite),
            "CREATE TABLE \"book_x\" (\n    \"tenant\" TEXT NOT NULL,\n    \"at_us\" INTEGER,\n    \
             PRIMARY KEY (\"tenant\", \"at_us\")\n) STRICT\n\
             CREATE UNIQUE INDEX \"x_once\" ON \"book_x\" (\"at_us\", \"tenant\")\n\
             ALTER TABLE \"book_x\" ADD COLUMN \"due\" TEXT"
        );
        let postgres = written(Dialect::Postgres);
        assert!(postgres.contains("\"tenant\" VARCHAR(255) COLLATE \"C\" NOT NULL"), "{postgres}");
        let mariadb = written(Dialect::MariaDb);
        assert!(mariadb.contains("`due` VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"));
        assert!(mariadb.contains("`at_us` BIGINT,"), "{mariadb}");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "create table x (a integer)",
            "create table x (a float, primary key (a))",
            "create table x (a integer null, primary key (a))",
            "drop table x",
            "create table \"x\" (a integer, primary key (a))",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    /// InnoDB's indexes hold 3,072 bytes, and a character takes up to four.
    #[test]
    fn every_key_fits_into_an_index_of_mysql() {
        let tables: Vec<&Table> = tables().collect();
        let bytes = |table: &str, columns: &[String]| -> usize {
            let table = tables.iter().find(|known| known.name == table).unwrap();
            let width = |name: &String| {
                let column = table.columns.iter().find(|column| column.name == *name).unwrap();
                match column.kind {
                    ColumnType::Integer | ColumnType::Instant => 8,
                    kind => kind.chars_max().expect("keys have a length") * 4,
                }
            };
            columns.iter().map(width).sum()
        };
        for statement in SCHEMA.iter() {
            let (name, width) = match statement {
                Statement::CreateTable(table) => (&table.name, bytes(&table.name, &table.primary_key)),
                Statement::CreateIndex { name, table, columns, .. } => (name, bytes(table, columns)),
                Statement::AddColumn { .. } => continue,
            };
            assert!(width <= 3072, "{name}: {width} bytes");
        }
    }
}
