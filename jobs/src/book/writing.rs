//! One transaction on the book.
//!
//! Owns beginning, the look at the lease, and the end. What can be written stands with its subject: numbers and documents
//! in `invoices`, credits in `credits`, Stripe records in `outbox`, catalogs in `catalogs`. Dropped without
//! `commit`, a transaction leaves nothing behind, numbers included.

use std::fmt::Write as _;

use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseTransaction, EntityName, EntityTrait, IdenStatic,
    IntoActiveModel, Iterable, QuerySelect, Statement,
};

use super::Book;
use super::entity::lease;
use super::error::{BookError, InStep};
use super::lease::Fence;
use super::schema::{CODE_CHARS_MAX, Dialect, NAME_CHARS_MAX};

/// SQLite takes 32,766 parameters in a statement, the others 65,535.
const PARAMETERS_MAX: usize = 30_000;

/// Whether other transactions of the same job may be open at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    WithOthers,
    Alone,
}

/// An open transaction. Everything in it happens at one instant, or not at all.
#[derive(Debug)]
pub struct Writing {
    pub(super) transaction: DatabaseTransaction,
    pub(super) dialect: Dialect,
    pub(super) now_us: i64,
}

impl Book {
    /// A transaction for a person's command, which holds no lease.
    pub async fn begin(&self) -> Result<Writing, BookError> {
        let transaction = self.begin_transaction().await?;
        let now_us = self.clock.now_us(&transaction, self.dialect).await?;
        Ok(Writing { transaction, dialect: self.dialect, now_us })
    }

    /// A transaction for a job. Refused if the lease has had a newer holder since, or was given back; and as long as
    /// this transaction is open, nobody else can take the lease over.
    pub async fn begin_as(&self, fence: &Fence) -> Result<Writing, BookError> {
        let writing = self.begin().await?;
        writing.check(fence, Sharing::WithOthers).await?;
        Ok(writing)
    }
}

impl Writing {
    /// The instant of everything in this transaction.
    pub fn now_us(&self) -> i64 {
        self.now_us
    }

    pub async fn commit(self) -> Result<(), BookError> {
        self.transaction.commit().await.in_step("commit")
    }

    pub async fn roll_back(self) -> Result<(), BookError> {
        self.transaction.rollback().await.in_step("roll back")
    }

    pub(super) async fn check(&self, fence: &Fence, sharing: Sharing) -> Result<(), BookError> {
        let query = lease::Entity::find_by_id(fence.lease.clone());
        // MariaDB spells a shared lock in its own way, so there all transactions of a job wait for each other.
        let query = match (sharing, self.dialect) {
            (Sharing::WithOthers, Dialect::Postgres) => query.lock_shared(),
            _ => query.lock_exclusive(),
        };
        let row = query.one(&self.transaction).await.in_step("look at a lease")?;
        match row {
            Some(row) if row.token == fence.token && row.holder.is_some() => Ok(()),
            row => {
                let newest = row.map_or(0, |row| row.token);
                Err(BookError::Fenced { lease: fence.lease.clone(), token: fence.token, newest })
            }
        }
    }

    /// Inserts rows, several in a statement. None of them must exist.
    pub(super) async fn insert<M, A>(&self, rows: Vec<M>, step: &'static str) -> Result<(), BookError>
    where
        M: IntoActiveModel<A>,
        A: ActiveModelTrait + Send,
    {
        // Written here and not by the query builder, which takes longer over a statement than the database does. Equal texts
        // are prepared once.
        let columns: Vec<_> = <A::Entity as EntityTrait>::Column::iter().collect();
        let names: Vec<&str> = columns.iter().map(IdenStatic::as_str).collect();
        let table = A::Entity::default();
        let mut rows = rows.into_iter().map(IntoActiveModel::into_active_model).peekable();
        while rows.peek().is_some() {
            let mut values = Vec::new();
            let mut count = 0;
            for mut row in rows.by_ref().take(PARAMETERS_MAX / columns.len()) {
                let own = columns.iter().map(|column| row.take(*column).into_value());
                values.extend(own.map(|value| value.expect("a whole row is inserted")));
                count += 1;
            }
            let text = insertion(self.dialect, table.table_name(), &names, count);
            let backend = self.transaction.get_database_backend();
            let statement = Statement::from_sql_and_values(backend, text, values);
            self.transaction.execute_raw(statement).await.in_step(step)?;
        }
        Ok(())
    }

    /// Inserts a row unless its key is taken, and has it locked then in either case. Whoever is in the middle of
    /// inserting the same is waited for.
    ///
    /// It does not say which of both it was: MySQL's answer is the same.
    pub(super) async fn ensure<M, A>(&self, row: M, step: &'static str) -> Result<(), BookError>
    where
        M: IntoActiveModel<A>,
        A: ActiveModelTrait + Send,
    {
        let insert = A::Entity::insert(row.into_active_model()).on_conflict_do_nothing();
        insert.exec_without_returning(&self.transaction).await.in_step(step)?;
        Ok(())
    }
}

/// A statement that inserts so many rows.
fn insertion(dialect: Dialect, table: &str, columns: &[&str], rows: usize) -> String {
    let quoted: Vec<String> = columns.iter().map(|name| dialect.quoted(name)).collect();
    let mut text = format!("INSERT INTO {} ({}) VALUES ", dialect.quoted(table), quoted.join(", "));
    for value in 0..rows * columns.len() {
        text.push_str(match value % columns.len() {
            0 if value == 0 => "(",
            0 => "), (",
            _ => ", ",
        });
        match dialect {
            Dialect::Postgres => write!(text, "${}", value + 1).expect("writing to a string"),
            Dialect::Sqlite | Dialect::MariaDb | Dialect::MySql => text.push('?'),
        }
    }
    text.push(')');
    text
}

/// Refuses a text that one of the databases would cut off or refuse, so that a book can always move to another.
pub(super) fn check_name(what: &'static str, value: &str) -> Result<(), BookError> {
    check_text(what, value, NAME_CHARS_MAX)
}

pub(super) fn check_code(what: &'static str, value: &str) -> Result<(), BookError> {
    check_text(what, value, CODE_CHARS_MAX)
}

/// A text of any length.
pub(super) fn check_long(what: &'static str, value: &str) -> Result<(), BookError> {
    check_text(what, value, usize::MAX)
}

fn check_text(what: &'static str, value: &str, length_max: usize) -> Result<(), BookError> {
    if value.contains('\0') {
        let what = format!("{what} `{}`", value.escape_debug());
        return Err(BookError::Refused { what, why: "PostgreSQL keeps no zero characters" });
    }
    let length = value.chars().count();
    if length <= length_max {
        return Ok(());
    }
    Err(BookError::TooLong { what, value: value.to_owned(), length, length_max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_inserted_in_each_databases_words() {
        let text = |dialect, rows| insertion(dialect, "book_x", &["tenant", "key"], rows);
        assert_eq!(text(Dialect::Sqlite, 1), r#"INSERT INTO "book_x" ("tenant", "key") VALUES (?, ?)"#);
        assert_eq!(text(Dialect::MySql, 2), "INSERT INTO `book_x` (`tenant`, `key`) VALUES (?, ?), (?, ?)");
        let postgres = r#"INSERT INTO "book_x" ("tenant", "key") VALUES ($1, $2), ($3, $4)"#;
        assert_eq!(text(Dialect::Postgres, 2), postgres);
    }
}
