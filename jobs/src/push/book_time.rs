//! The book's time, as this machine can tell it between two looks at the book's clock.
//!
//! When a record was first sent decides, on whichever machine, whether it may be sent again; so all of them have to go by
//! one clock. Owns setting this machine's by it, at the start and every few seconds; how far ours is off makes no difference.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::book::Book;
use crate::stripe::Clock;

/// This machine's clock may be set or sleep meanwhile.
const SET_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct BookTime {
    /// How far the book's clock is before this machine's.
    ahead_us: Arc<AtomicI64>,
    setter: JoinHandle<()>,
}

impl BookTime {
    pub async fn of(book: &Book) -> Result<Self> {
        let ahead_us = Arc::new(AtomicI64::new(ahead_us_of(book).await?));
        let setter = tokio::spawn(set_again_and_again(book.clone(), Arc::clone(&ahead_us)));
        Ok(Self { ahead_us, setter })
    }
}

async fn set_again_and_again(book: Book, ahead_us: Arc<AtomicI64>) {
    loop {
        tokio::time::sleep(SET_EVERY).await;
        // Where the book cannot be asked, nothing can be stored either.
        if let Ok(now) = ahead_us_of(&book).await {
            ahead_us.store(now, Ordering::Relaxed);
        }
    }
}

async fn ahead_us_of(book: &Book) -> Result<i64> {
    let asked_us = Timestamp::now().as_microsecond();
    let book_us = book.now_us().await?;
    // It was read somewhere between question and answer.
    let answered_us = Timestamp::now().as_microsecond();
    Ok(book_us - asked_us - (answered_us - asked_us) / 2)
}

impl Clock for BookTime {
    fn now_us(&self) -> i64 {
        Timestamp::now().as_microsecond() + self.ahead_us.load(Ordering::Relaxed)
    }

    async fn sleep(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }
}

impl Drop for BookTime {
    fn drop(&mut self) {
        self.setter.abort();
    }
}
