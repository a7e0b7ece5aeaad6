//! The outboxes that a test runs over: the one in memory, and that of a book on each database.
//!
//! SQLite always; PostgreSQL and MariaDB where METERHOUSE_TEST_POSTGRES and METERHOUSE_TEST_MYSQL name a server. A call
//! of a book costs a transaction, so of the longest tests books run a share (`one_in`); METERHOUSE_OUTBOXES=full runs all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jobs::book::{Book, BookOutbox};
use jobs::stripe::outbox::Claim;
use jobs::stripe::{MemoryOutbox, Outbox, OutboxError, RecordState, StripeRecord};

use crate::place::{Kind, Place};

/// How long a push has its lease; nobody renews it here.
const LEASE: Duration = Duration::from_hours(1);

/// A test for each kind of outbox.
macro_rules! over_each_outbox {
    ($($runtime:ident { $($case:ident,)* })*) => {
        over_each_outbox!(@in in_memory, None, $($runtime { $($case)* })*);
        over_each_outbox!(@in sqlite, Some(crate::place::Kind::Sqlite), $($runtime { $($case)* })*);
        over_each_outbox!(@in postgres, Some(crate::place::Kind::Postgres), $($runtime { $($case)* })*);
        over_each_outbox!(@in mariadb, Some(crate::place::Kind::MariaDb), $($runtime { $($case)* })*);
    };
    (@in $name:ident, $kind:expr, $($runtime:ident { $($case:ident)* })*) => {
        mod $name {
            $($(#[test]
            fn $case() {
                crate::stores::run($kind, &crate::stores::$runtime(), super::$case);
            })*)*
        }
    };
}
pub(crate) use over_each_outbox;

pub fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub fn two_threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs a case over an outbox in a book of this kind, or in memory.
pub fn run(kind: Option<Kind>, runtime: &tokio::runtime::Runtime, case: impl AsyncFnOnce(&Store)) {
    if kind.is_some_and(|kind| !kind.is_available()) {
        return;
    }
    runtime.block_on(async {
        let store = Store::new(kind).await;
        case(&store).await;
        store.drop().await;
    });
}

/// Where the outboxes of a test lie.
pub struct Store {
    memory: Mutex<Arc<MemoryOutbox>>,
    book: Option<(Place, Arc<AtomicI64>)>,
}

impl Store {
    async fn new(kind: Option<Kind>) -> Self {
        let book = match kind {
            Some(kind) => Some((Place::new(kind).await, Arc::new(AtomicI64::new(1_780_000_000_000_000)))),
            None => None,
        };
        Self { memory: Mutex::default(), book }
    }

    async fn drop(self) {
        if let Some((place, _)) = self.book {
            place.drop().await;
        }
    }

    /// Of how many cases one is tried: all of them in memory, where nothing costs a transaction.
    pub fn one_in(&self) -> u64 {
        match self.book.as_ref().map(|(place, _)| place.kind) {
            _ if std::env::var("METERHOUSE_OUTBOXES").is_ok_and(|wanted| wanted == "full") => 1,
            None => 1,
            Some(Kind::Sqlite) => 16,
            Some(_) => 96,
        }
    }

    pub fn is_in_memory(&self) -> bool {
        self.book.is_none()
    }

    /// One that holds these records and no others.
    pub async fn filled(&self, records: &[StripeRecord]) -> Opened {
        *self.memory.lock().unwrap() = Arc::default();
        if let Some((place, _)) = &self.book {
            place.open().await.close().await.unwrap();
            place.sql("DELETE FROM book_outbox").await;
        }
        let opened = self.open().await;
        opened.insert(records).await.unwrap();
        opened
    }

    /// As the next run of the job sees it, after the lease of the one before is over.
    pub async fn open(&self) -> Opened {
        let Some((place, now_us)) = &self.book else {
            return Opened::Memory(Arc::clone(&self.memory.lock().unwrap()));
        };
        now_us.fetch_add(2 * LEASE.as_micros() as i64, Ordering::SeqCst);
        let book = place.open().await.with_clock(Arc::clone(now_us));
        let fence = book.acquire_lease("push", "a test", LEASE).await.unwrap();
        let outbox = BookOutbox::of_run(&book, &fence);
        outbox.take_over().await.unwrap();
        Opened::Book(outbox, book)
    }

    /// As a person sees it who has no lease.
    pub async fn look(&self) -> Opened {
        match &self.book {
            None => Opened::Memory(Arc::clone(&self.memory.lock().unwrap())),
            Some((place, _)) => {
                let book = place.open().await;
                Opened::Book(BookOutbox::new(&book), book)
            }
        }
    }
}

/// An outbox of either kind.
#[derive(Debug, Clone)]
pub enum Opened {
    Memory(Arc<MemoryOutbox>),
    Book(BookOutbox, Book),
}

impl Opened {
    /// What a process that is gone leaves: no connection.
    pub async fn close(self) {
        if let Self::Book(outbox, book) = self {
            drop(outbox);
            book.close().await.unwrap();
        }
    }
}

macro_rules! of_either {
    ($self:ident, $outbox:ident => $call:expr) => {
        match $self {
            Self::Memory($outbox) => $call.await,
            Self::Book($outbox, _) => $call.await,
        }
    };
}

impl Outbox for Opened {
    async fn insert(&self, records: &[StripeRecord]) -> Result<usize, OutboxError> {
        of_either!(self, outbox => outbox.insert(records))
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<StripeRecord>, OutboxError> {
        of_either!(self, outbox => outbox.claim(claim))
    }

    async fn store(&self, records: &[StripeRecord]) -> Result<usize, OutboxError> {
        of_either!(self, outbox => outbox.store(records))
    }

    async fn find(&self, key: &str) -> Result<Option<StripeRecord>, OutboxError> {
        of_either!(self, outbox => outbox.find(key))
    }

    async fn group(&self, group: &str) -> Result<Vec<StripeRecord>, OutboxError> {
        of_either!(self, outbox => outbox.group(group))
    }

    async fn list(&self, state: Option<RecordState>) -> Result<Vec<StripeRecord>, OutboxError> {
        of_either!(self, outbox => outbox.list(state))
    }

    async fn counts(&self) -> Result<BTreeMap<RecordState, u64>, OutboxError> {
        of_either!(self, outbox => outbox.counts())
    }

    async fn waiting_because(&self) -> Result<Option<String>, OutboxError> {
        of_either!(self, outbox => outbox.waiting_because())
    }

    async fn next_due_us(&self) -> Result<Option<i64>, OutboxError> {
        of_either!(self, outbox => outbox.next_due_us())
    }
}
