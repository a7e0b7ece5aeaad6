//! A fresh database for each case, dropped afterwards.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jobs::book::{Book, BookAddress};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    MariaDb,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::MariaDb];

    fn server(self) -> Option<String> {
        let variable = match self {
            Self::Sqlite => return None,
            Self::Postgres => "METERHOUSE_TEST_POSTGRES",
            Self::MariaDb => "METERHOUSE_TEST_MYSQL",
        };
        let server = std::env::var(variable).ok().filter(|url| !url.is_empty());
        if server.is_none() {
            eprintln!("skipped: {variable} is not set");
        }
        server
    }

    pub fn is_available(self) -> bool {
        self == Self::Sqlite || self.server().is_some()
    }
}

pub struct Place {
    pub kind: Kind,
    /// As a driver wants it.
    pub url: String,
    folder: tempfile::TempDir,
    /// Connected to the server, not to the case's database.
    server: Option<(DatabaseConnection, String)>,
}

impl Place {
    pub async fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let Some(server_url) = kind.server() else {
            let url = format!("sqlite:{}", folder.path().join("book.sqlite").display());
            return Self { kind, url, folder, server: None };
        };
        let server = Database::connect(&server_url).await.expect("the test server answers");
        let name = format!("book_test_{}", uuid::Uuid::new_v4().simple());
        server.execute_unprepared(&format!("CREATE DATABASE {name}")).await.expect("a database can be made");
        let (address, _) = server_url.rsplit_once('/').expect("the address names a database");
        Self { kind, url: format!("{address}/{name}"), folder, server: Some((server, name)) }
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn address(&self) -> BookAddress {
        BookAddress::parse(&self.url).unwrap()
    }

    /// Another process's view of the same book: connections of its own.
    pub async fn open(&self) -> Book {
        Book::open(&self.address()).await.unwrap()
    }

    /// A book whose time is set by the test.
    pub async fn open_with_clock(&self) -> (Book, TestClock) {
        let clock = TestClock(Arc::new(AtomicI64::new(1_780_000_000_000_000)));
        (self.open().await.with_clock(Arc::clone(&clock.0)), clock)
    }

    /// The tables as SQL sees them, for what only a person with a database client would do.
    pub async fn sql(&self, statement: &str) {
        let connection = Database::connect(&self.url).await.unwrap();
        connection.execute_unprepared(statement).await.unwrap();
        connection.close().await.unwrap();
    }

    pub async fn drop(self) {
        if let Some((server, name)) = self.server {
            let force = if self.kind == Kind::Postgres { " WITH (FORCE)" } else { "" };
            server.execute_unprepared(&format!("DROP DATABASE {name}{force}")).await.unwrap();
            server.close().await.unwrap();
        }
    }
}

#[derive(Debug, Clone)]
pub struct TestClock(pub Arc<AtomicI64>);

impl TestClock {
    pub fn pass_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    pub fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

pub fn run<F>(kind: Kind, case: F)
where
    F: for<'a> FnOnce(&'a Place) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
{
    if !kind.is_available() {
        return;
    }
    runtime().block_on(async {
        let place = Place::new(kind).await;
        case(&place).await;
        place.drop().await;
    });
}
