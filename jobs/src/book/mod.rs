//! The book: the small transactional database for what a lake cannot do.
//!
//! Owns job runs and leases, invoice numbers and the index of issued invoices, credits, the Stripe outbox, and which
//! catalog was applied when. Does not own usage, quantities and invoices themselves: those lie in the lake.
//! It speaks in domain words; that SQLite, PostgreSQL, MariaDB or MySQL is below shows nowhere above this module.
//! Keeps DESIGN.md 3.9 (numbers without gaps, issued once) and 3.10 (what an invoice was made from).
//!
//! Everything that changes goes through [`Writing`], one transaction, which for a job begins by looking whether its
//! lease is still its own.

mod address;
mod billed;
mod catalogs;
mod check;
mod clock;
pub mod command;
mod credits;
mod entity;
mod error;
mod introspect;
mod invoices;
mod lease;
mod migrate;
mod outbox;
mod runs;
mod schedule;
mod schema;
mod transfer;
mod unfinished;
mod writing;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use sea_orm::sqlx::error::DatabaseError;
use sea_orm::sqlx::sqlite::SqliteError;
use sea_orm::sqlx::{Connection, Executor, MySqlConnection, PgConnection};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbErr,
    IsolationLevel, RuntimeErr, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};

pub use address::BookAddress;
pub use billed::BilledPeriod;
pub use catalogs::{AppliedCatalog, CatalogInForce};
pub use check::Finding;
pub use clock::Clock;
pub use credits::{CreditAccount, CreditEntry, CreditKind, NewCreditEntry};
pub use error::BookError;
pub use introspect::Shape;
pub use invoices::{DocumentKind, DocumentName, IssuedDocument, IssuedLine, NewDocument, PrintedDocument};
pub use lease::{Fence, Lease};
pub use migrate::Making;
pub use outbox::BookOutbox;
pub use runs::{Outcome, Run};
pub use schedule::Occurrence;
pub use schema::Dialect;
pub use transfer::{Manifest, TransferError};
pub use writing::Writing;

use address::Place;
use error::InStep;

use crate::config::Config;

const CONNECTIONS_MAX: u32 = 8;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a writer waits for another before it gives up.
const LOCK_TIME_MAX: Duration = Duration::from_mins(1);
/// Between two tries where SQLite itself does not wait.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// An open book.
#[derive(Debug, Clone)]
pub struct Book {
    connection: DatabaseConnection,
    dialect: Dialect,
    clock: Clock,
    /// For messages: the address without its password.
    place: String,
}

impl Book {
    /// Opens the book of these settings, and makes it or brings it up to date if need be.
    pub async fn of(config: &Config) -> Result<Self, BookError> {
        Self::open(&address(config)?).await
    }

    /// The same for what only looks: none if there is no book yet.
    pub async fn existing_of(config: &Config) -> Result<Option<Self>, BookError> {
        let address = address(config)?;
        match Self::look(&address).await?.schema {
            None | Some(0) => Ok(None),
            Some(_) => Self::open(&address).await.map(Some),
        }
    }

    pub async fn open(address: &BookAddress) -> Result<Self, BookError> {
        Self::open_made(address, Making::FromSchema).await
    }

    /// Opens a book and says how a new one is to be made.
    pub async fn open_made(address: &BookAddress, making: Making) -> Result<Self, BookError> {
        let book = Self::connect(address).await?;
        migrate::bring_up_to_date(&book, making).await?;
        Ok(book)
    }

    /// What is there, for `doctor`: makes and changes nothing.
    pub async fn look(address: &BookAddress) -> Result<BookLook, BookError> {
        if let Place::Sqlite(path) = address.place()
            && !path.exists()
        {
            return Ok(BookLook { dialect: Dialect::Sqlite, schema: None, now_us: None });
        }
        let book = Self::connect(address).await?;
        let schema = migrate::version(&book, &book.connection).await?;
        let look = BookLook { dialect: book.dialect, schema, now_us: Some(book.now_us().await?) };
        book.close().await?;
        Ok(look)
    }

    async fn connect(address: &BookAddress) -> Result<Self, BookError> {
        let place = address.to_string();
        let failed = |source| BookError::Open { place: place.clone(), source };
        probe(address).await.map_err(failed)?;
        let options = connect_options(address)?;
        let connection = connect_unlocked(options).await.map_err(failed)?;
        let dialect = dialect(address, &connection).await.map_err(failed)?;
        Ok(Self { connection, dialect, clock: Clock::default(), place })
    }

    /// The same book with a clock that is set by hand.
    #[must_use]
    pub fn with_clock(self, now_us: Arc<AtomicI64>) -> Self {
        Self { clock: Clock::Set(now_us), ..self }
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The address without its password.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The book's time, in microseconds since 1970.
    pub async fn now_us(&self) -> Result<i64, BookError> {
        self.clock.now_us(&self.connection, self.dialect).await
    }

    /// Closes every connection; what is open is rolled back.
    pub async fn close(self) -> Result<(), BookError> {
        self.connection.close().await.in_step("close its connections")
    }

    async fn begin_transaction(&self) -> Result<DatabaseTransaction, BookError> {
        let options = match self.dialect {
            // A transaction that begins to write only later may find that another was faster, and fail.
            Dialect::Sqlite => TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            },
            // Each statement sees what was committed while it waited for a lock. The others are connected so.
            Dialect::MariaDb | Dialect::MySql => TransactionOptions::default(),
            Dialect::Postgres => TransactionOptions {
                isolation_level: Some(IsolationLevel::ReadCommitted),
                ..TransactionOptions::default()
            },
        };
        self.connection.begin_with_options(options).await.in_step("begin a transaction")
    }
}

/// A book as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookLook {
    pub dialect: Dialect,
    /// None if there is no book yet.
    pub schema: Option<i64>,
    /// The database's clock, if there is a database.
    pub now_us: Option<i64>,
}

impl BookLook {
    /// The schema that this program has.
    pub const SCHEMA: i64 = migrate::SCHEMA_VERSION;
}

/// The address of these settings; for a local lake without one, a file beside it.
pub fn address(config: &Config) -> Result<BookAddress, BookError> {
    if let Some(url) = &config.book.url {
        return BookAddress::parse(url.expose());
    }
    let folder = sql::lake::Lake::open(&config.lake).ok().and_then(|lake| lake.folder());
    folder.map(|folder| BookAddress::beside(&folder)).ok_or_else(|| {
        let message = format!(
            "the lake {} is no local folder, so the book needs an address: set METERHOUSE_BOOK_URL, or `url` in [book]",
            config.lake
        );
        BookError::Address(message)
    })
}

/// Connects once. A pool would try again and again, and in the end only say that the time was up.
async fn probe(address: &BookAddress) -> Result<(), DbErr> {
    let connected = async {
        match address.place() {
            Place::Sqlite(_) => {}
            Place::Postgres(url) => PgConnection::connect(url).await?.close().await?,
            Place::MySql(url) => MySqlConnection::connect(url).await?.close().await?,
        }
        Ok::<_, sea_orm::sqlx::Error>(())
    };
    match tokio::time::timeout(CONNECT_TIME_MAX, connected).await {
        Ok(connected) => connected.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))),
        Err(_) => {
            let text = format!("no answer within {} s", CONNECT_TIME_MAX.as_secs());
            Err(DbErr::Conn(RuntimeErr::Internal(text)))
        }
    }
}

/// While two programs give a new SQLite file its write-ahead log, SQLite answers "locked" to one of them at once,
/// though it waits for any other lock; so the waiting is here.
async fn connect_unlocked(options: ConnectOptions) -> Result<DatabaseConnection, DbErr> {
    let deadline = tokio::time::Instant::now() + LOCK_TIME_MAX;
    loop {
        match Database::connect(options.clone()).await {
            Err(error) if is_locked(&error) && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            ended => return ended,
        }
    }
}

/// `SQLITE_BUSY`, whatever its extended code says in the upper bits.
fn is_locked(error: &DbErr) -> bool {
    const SQLITE_BUSY: u32 = 5;
    let DbErr::Conn(RuntimeErr::SqlxError(error)) = error else { return false };
    let error = error.as_database_error().and_then(<dyn DatabaseError>::try_downcast_ref::<SqliteError>);
    let code = error.and_then(DatabaseError::code).and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == SQLITE_BUSY)
}

fn connect_options(address: &BookAddress) -> Result<ConnectOptions, BookError> {
    let url = match address.place() {
        // The path goes to the driver as it is, whatever characters it has.
        Place::Sqlite(_) => "sqlite::memory:",
        Place::Postgres(url) | Place::MySql(url) => url,
    };
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(CONNECTIONS_MAX)
        .connect_timeout(CONNECT_TIME_MAX)
        .acquire_timeout(LOCK_TIME_MAX)
        .sqlx_logging(false);
    match address.place() {
        Place::Sqlite(path) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder {
                std::fs::create_dir_all(folder).map_err(|error| {
                    BookError::Address(format!("cannot make the book's folder {}: {error}", folder.display()))
                })?;
            }
            let path = path.clone();
            options.map_sqlx_sqlite_opts(move |sqlite| {
                sqlite
                    .filename(&path)
                    .in_memory(false)
                    .shared_cache(false)
                    .create_if_missing(true)
                    .busy_timeout(LOCK_TIME_MAX)
                    // Readers do not wait for writers. What is committed is on the disk, not only on its way.
                    .pragma("journal_mode", "WAL")
                    .pragma("synchronous", "FULL")
            });
        }
        Place::Postgres(_) => {
            options.set_application_name("meterhouse");
        }
        Place::MySql(_) => {
            options.map_sqlx_mysql_pool_opts(|pool| {
                pool.after_connect(|connection, _| {
                    Box::pin(async move {
                        // Without this some servers shorten a text that is too long and say nothing.
                        connection
                            .execute("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'")
                            .await?;
                        // Not at the beginning of each transaction: there it is an error on a connection of which
                        // somebody has given up just while it began another.
                        connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                        Ok(())
                    })
                })
            });
        }
    }
    Ok(options)
}

async fn dialect(address: &BookAddress, connection: &DatabaseConnection) -> Result<Dialect, DbErr> {
    Ok(match address.place() {
        Place::Sqlite(_) => Dialect::Sqlite,
        Place::Postgres(_) => Dialect::Postgres,
        Place::MySql(_) => {
            let statement =
                Statement::from_string(connection.get_database_backend(), "SELECT VERSION() AS version");
            let row = connection.query_one_raw(statement).await?;
            let version: String = row.map(|row| row.try_get("", "version")).transpose()?.unwrap_or_default();
            if version.to_ascii_lowercase().contains("mariadb") { Dialect::MariaDb } else { Dialect::MySql }
        }
    })
}
