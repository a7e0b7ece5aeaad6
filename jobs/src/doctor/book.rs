//! Can the book be reached, and is it one that this program can work with?

use jiff::Timestamp;

use super::{Finding, Status, within_time};
use crate::book::{Book, BookLook, address};
use crate::config::Config;

/// The book's own clock decides about leases; one that is far off makes times in the history hard to read.
const CLOCK_SKEW_MAX_US: i64 = 60_000_000;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let address = match address(config) {
        Ok(address) => address,
        Err(error) => {
            let remedy = "set METERHOUSE_BOOK_URL, or `url` in [book]; ingest and SQL work without a book";
            return vec![Finding::new(Status::Warn, "book", error.to_string(), remedy)];
        }
    };
    let look = match within_time("book", Box::pin(Book::look(&address))).await {
        Ok(Ok(look)) => look,
        Ok(Err(error)) => {
            let found = format!("{:#}", anyhow::Error::new(error));
            let remedy = "check [book] url or METERHOUSE_BOOK_URL, the database's user, password and database, and \
                          the network in between";
            return vec![Finding::fail("book", found, remedy)];
        }
        Err(finding) => return vec![finding],
    };
    let place = format!("{address} ({})", look.dialect.name());
    let mut findings = vec![match look.schema {
        None => Finding::ok("book", format!("{place}: none yet, the first job makes it")),
        Some(BookLook::SCHEMA) => Finding::ok("book", format!("{place}: schema {}", BookLook::SCHEMA)),
        Some(older) if older < BookLook::SCHEMA => Finding::ok(
            "book",
            format!("{place}: schema {older}, the next job brings it to {}", BookLook::SCHEMA),
        ),
        Some(newer) => {
            let found = format!("{place}: schema {newer}, this program knows {}", BookLook::SCHEMA);
            Finding::fail("book", found, "use a newer program: a later one has worked on this book")
        }
    }];
    findings.extend(look.now_us.and_then(clock));
    findings
}

fn clock(now_us: i64) -> Option<Finding> {
    let skew_us = Timestamp::now().as_microsecond() - now_us;
    if skew_us.abs() <= CLOCK_SKEW_MAX_US {
        return None;
    }
    let direction = if skew_us > 0 { "ahead of" } else { "behind" };
    let found = format!("{} s {direction} the book's", skew_us.abs() / 1_000_000);
    let remedy =
        "synchronise this machine's clock or the database's (NTP); leases are safe, histories are misleading";
    Some(Finding::new(Status::Warn, "book's clock", found, remedy))
}
