//! Making a new book, and bringing an older one up to date.
//!
//! Owns the order of the migrations and that only one process runs them at a time. PostgreSQL and SQLite change a schema
//! inside a transaction, so there a migration happens whole or not at all. MySQL and MariaDB commit each change at
//! once: there the migration's row is written first, and whoever finds it unfinished goes through it again, past
//! what is there already.

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, RuntimeErr, Set, Statement as SqlStatement,
};

use super::Book;
use super::entity::fact;
use super::error::{BookError, InStep, mysql_number};
use super::schema::{self, Dialect, Statement};

/// Every migration ever, in order. The number is the place in the list, from 1.
pub(super) const MIGRATIONS: [(&str, &str); 4] = [
    ("the book", include_str!("migrations/0001_the_book.sql")),
    ("causes and schedule", include_str!("migrations/0002_causes_and_schedule.sql")),
    ("unfinished periods", include_str!("migrations/0003_unfinished_periods.sql")),
    ("starting occurrences", include_str!("migrations/0004_starting_occurrences.sql")),
];

pub(super) const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// The fact that names a book. Its row also serves as the lock for what must happen one at a time.
pub(super) const BOOK_ID: &str = "book_id";

const LOCK_SECONDS_MAX: u32 = 60;
/// An arbitrary number that no other program is likely to lock.
const LOCK_NUMBER: i64 = 0x6d65_7465_7262_6f6f;
/// Table, column or index exists already.
const EXISTS_ALREADY: [u16; 3] = [1050, 1060, 1061];

/// What one asks of a book that may be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Making {
    /// A new book is made from the whole schema: what everybody does.
    FromSchema,
    /// A new book goes through every migration: for the test that proves both equal.
    FromMigrations,
}

pub(super) async fn bring_up_to_date(book: &Book, making: Making) -> Result<(), BookError> {
    if version(book, &book.connection).await? == Some(SCHEMA_VERSION) {
        return Ok(());
    }
    let transaction = book.begin_transaction().await?;
    lock(book, &transaction).await?;
    let mut result = migrate(book, &transaction, making).await;
    if result.is_ok() {
        result = give_it_an_id(&transaction).await;
    }
    if book.dialect.is_mysql() {
        // Its lock belongs to the connection, which goes back to the pool.
        let sql = format!("SELECT RELEASE_LOCK({})", mysql_lock_name());
        transaction.execute_unprepared(&sql).await.in_step("release the lock on its schema")?;
    }
    result?;
    transaction.commit().await.in_step("keep its new schema")
}

async fn lock(book: &Book, transaction: &DatabaseTransaction) -> Result<(), BookError> {
    let sql = match book.dialect {
        // It was taken when the transaction began.
        Dialect::Sqlite => return Ok(()),
        Dialect::Postgres => format!("SELECT pg_advisory_xact_lock({LOCK_NUMBER})"),
        Dialect::MariaDb | Dialect::MySql => {
            format!("SELECT GET_LOCK({}, {LOCK_SECONDS_MAX})", mysql_lock_name())
        }
    };
    transaction.execute_unprepared(&sql).await.in_step("lock its schema")?;
    Ok(())
}

/// Such locks are the server's, so the database's name is part of it.
fn mysql_lock_name() -> &'static str {
    "CONCAT('meterhouse/', MD5(DATABASE()))"
}

async fn migrate(book: &Book, transaction: &DatabaseTransaction, making: Making) -> Result<(), BookError> {
    let found = version(book, transaction).await?;
    match found {
        Some(SCHEMA_VERSION) => Ok(()),
        Some(found) if found > SCHEMA_VERSION => {
            let place = book.place.clone();
            Err(BookError::Newer { place, found, known: SCHEMA_VERSION })
        }
        Some(found) if found > 0 => run_after(book, transaction, found, false).await,
        found if making == Making::FromMigrations => run_after(book, transaction, 0, found.is_some()).await,
        found => {
            apply(book, transaction, &schema::SCHEMA, found.is_some()).await?;
            for (version, (name, _)) in (1..).zip(MIGRATIONS) {
                record(book, transaction, version, name, true).await?;
            }
            Ok(())
        }
    }
}

async fn give_it_an_id(transaction: &DatabaseTransaction) -> Result<(), BookError> {
    let step = "give the book its identity";
    let known = fact::Entity::find_by_id(BOOK_ID.to_owned()).one(transaction).await.in_step(step)?;
    if known.is_none() {
        let id =
            fact::ActiveModel { fact: Set(BOOK_ID.to_owned()), value: Set(uuid::Uuid::new_v4().to_string()) };
        fact::Entity::insert(id).exec_without_returning(transaction).await.in_step(step)?;
    }
    Ok(())
}

async fn run_after(
    book: &Book,
    transaction: &DatabaseTransaction,
    found: i64,
    is_begun: bool,
) -> Result<(), BookError> {
    for (version, (name, text)) in (1..).zip(MIGRATIONS) {
        if version <= found {
            continue;
        }
        let statements = schema::parse(text).map_err(|statement| BookError::Damaged {
            table: "migrations",
            problem: format!("`{name}` has a statement that is none: {statement}"),
        })?;
        // The first migration makes the table in which it is recorded.
        let is_resumed = match version {
            1 => is_begun,
            _ => !record(book, transaction, version, name, false).await?,
        };
        apply(book, transaction, &statements, is_resumed).await?;
        if version == 1 {
            record(book, transaction, version, name, false).await?;
        }
        finish(book, transaction, version).await?;
        tracing::info!(version, name, "the book's schema was brought up to date");
    }
    Ok(())
}

async fn apply(
    book: &Book,
    transaction: &DatabaseTransaction,
    statements: &[Statement],
    is_resumed: bool,
) -> Result<(), BookError> {
    for statement in statements {
        let sql = statement.in_words_of(book.dialect);
        match transaction.execute_unprepared(&sql).await {
            Err(error) if is_resumed && exists_already(&error) => {}
            done => {
                done.in_step("change its schema")?;
            }
        }
    }
    Ok(())
}

fn exists_already(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    mysql_number(error).is_some_and(|number| EXISTS_ALREADY.contains(&number))
}

/// Writes the migration's row; false if it is there, because an earlier attempt did not come to its end.
async fn record(
    book: &Book,
    transaction: &DatabaseTransaction,
    version: i64,
    name: &str,
    is_finished: bool,
) -> Result<bool, BookError> {
    let backend = transaction.get_database_backend();
    let known = SqlStatement::from_string(
        backend,
        format!("SELECT version FROM book_schema WHERE version = {version}"),
    );
    let known = transaction.query_one_raw(known).await.in_step("read its schema's version")?;
    if known.is_some() {
        return Ok(false);
    }
    let now_us = book.clock.now_us(transaction, book.dialect).await?;
    let finished = if is_finished { now_us.to_string() } else { "NULL".to_owned() };
    let sql = format!(
        "INSERT INTO book_schema (version, name, started_at_us, finished_at_us) \
         VALUES ({version}, '{name}', {now_us}, {finished})"
    );
    transaction.execute_unprepared(&sql).await.in_step("record a migration")?;
    Ok(true)
}

async fn finish(book: &Book, transaction: &DatabaseTransaction, version: i64) -> Result<(), BookError> {
    let now_us = book.clock.now_us(transaction, book.dialect).await?;
    let sql = format!("UPDATE book_schema SET finished_at_us = {now_us} WHERE version = {version}");
    transaction.execute_unprepared(&sql).await.in_step("record a migration")?;
    Ok(())
}

/// The last finished migration; zero if not even the first came to its end, none if there is no book yet.
pub(super) async fn version(
    book: &Book,
    connection: &impl ConnectionTrait,
) -> Result<Option<i64>, BookError> {
    let backend = connection.get_database_backend();
    let table = match book.dialect {
        Dialect::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'book_schema'",
        Dialect::Postgres => {
            "SELECT table_name FROM information_schema.tables \
             WHERE table_schema = current_schema() AND table_name = 'book_schema'"
        }
        Dialect::MariaDb | Dialect::MySql => {
            "SELECT table_name FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name = 'book_schema'"
        }
    };
    let step = "read its schema's version";
    let table = SqlStatement::from_string(backend, table);
    if connection.query_one_raw(table).await.in_step(step)?.is_none() {
        return Ok(None);
    }
    let newest = "SELECT MAX(version) AS version FROM book_schema WHERE finished_at_us IS NOT NULL";
    let row = connection.query_one_raw(SqlStatement::from_string(backend, newest)).await.in_step(step)?;
    match row {
        Some(row) => Ok(Some(row.try_get::<Option<i64>>("", "version").in_step(step)?.unwrap_or(0))),
        None => Ok(Some(0)),
    }
}
