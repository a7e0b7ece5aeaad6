//! How a book is made, and that it stays whole.

use jobs::book::{Book, Making};

use crate::place::{Kind, Place, run, runtime};

pub async fn migrations_end_in_the_schema(place: &Place) {
    let made = Book::open_made(&place.address(), Making::FromSchema).await.unwrap();
    let other = Place::new(place.kind).await;
    let migrated = Book::open_made(&other.address(), Making::FromMigrations).await.unwrap();
    let (made, migrated) = (made.shape().await.unwrap(), migrated.shape().await.unwrap());
    assert_eq!(made.tables.len(), 16, "{:?}", made.tables.keys());
    for (table, lines) in &made.tables {
        assert!(lines.len() > 2, "{table}: {lines:?}");
        assert_eq!(Some(lines), migrated.tables.get(table), "{table}");
    }
    assert_eq!(made, migrated);
    other.drop().await;
}

pub async fn a_new_book_is_made_once(place: &Place) {
    let address = place.address();
    let opened: Vec<_> = (0..6)
        .map(|_| {
            tokio::spawn({
                let address = address.clone();
                async move { Book::open(&address).await.unwrap().shape().await.unwrap() }
            })
        })
        .collect();
    let mut shapes = Vec::new();
    for shape in opened {
        shapes.push(shape.await.unwrap());
    }
    assert!(shapes.iter().all(|shape| *shape == shapes[0]));
    let findings = place.open().await.check().await.unwrap();
    assert!(findings.iter().all(|finding| finding.broken.is_empty()), "{findings:?}");
    assert_eq!(findings.len(), 6);
}

pub async fn a_newer_book_is_refused(place: &Place) {
    place.open().await.close().await.unwrap();
    place.sql("INSERT INTO book_schema VALUES (99, 'of the future', 1, 2)").await;
    let message = Book::open(&place.address()).await.unwrap_err().to_string();
    assert!(message.contains("has schema 99") && message.contains("use a newer program"), "{message}");
    assert!(!message.contains("meterhouse-secret"), "{message}");
}

pub async fn the_database_tells_the_time(place: &Place) {
    let book = place.open().await;
    let ours_us = jiff::Timestamp::now().as_microsecond();
    let (first_us, second_us) = (book.now_us().await.unwrap(), book.now_us().await.unwrap());
    // A day of difference would be a time zone that got in.
    assert!((first_us - ours_us).abs() < 60_000_000, "{first_us} {ours_us}");
    assert!(second_us >= first_us);
}

pub async fn what_is_broken_is_found(place: &Place) {
    let book = crate::moving::filled(place).await;
    let findings = book.check().await.unwrap();
    assert!(findings.iter().all(|finding| finding.broken.is_empty()), "{findings:?}");
    assert!(findings.iter().all(|finding| finding.checked > 0), "{findings:?}");
    for (statement, rule, told) in [
        ("UPDATE book_credit_accounts SET balance = '0.01'", "credits", "entries sum to"),
        ("UPDATE book_invoices SET due = '1' WHERE number = 2", "documents add up", "is not 1"),
        ("DELETE FROM book_invoices WHERE number = 2", "invoice numbers", "number 2 of"),
        ("DELETE FROM book_invoices WHERE number = 1", "Stripe records", "was not issued"),
        ("UPDATE book_catalogs SET content = 'catalog: other'", "catalogs", "cannot be read"),
        ("ALTER TABLE book_runs DROP COLUMN counts", "tables", "book_runs has the columns"),
    ] {
        place.sql(statement).await;
        let findings = book.check().await.unwrap();
        let finding = findings.iter().find(|finding| finding.rule.starts_with(rule)).unwrap();
        let found = finding.broken.iter().any(|broken| broken.contains(told));
        assert!(found, "{statement}: {findings:#?}");
    }
}

/// MariaDB keeps each change of a schema at once, so a migration may have happened by half.
#[test]
fn an_interrupted_migration_is_gone_through_again() {
    if !Kind::MariaDb.is_available() {
        return;
    }
    runtime().block_on(async {
        for (name, statements) in [
            (
                "the last",
                &[
                    "UPDATE book_schema SET finished_at_us = NULL WHERE version = 4",
                    "ALTER TABLE book_schedule DROP COLUMN starting_since_us",
                ][..],
            ),
            ("the first", &["DELETE FROM book_schema", "DROP TABLE book_outbox", "DROP TABLE book_schedule"]),
        ] {
            let place = Place::new(Kind::MariaDb).await;
            let whole = place.open().await.shape().await.unwrap();
            for statement in statements {
                place.sql(statement).await;
            }
            assert_eq!(place.open().await.shape().await.unwrap(), whole, "{name}");
            place.drop().await;
        }
    });
}

#[test]
fn a_password_is_in_no_message() {
    runtime().block_on(async {
        // The discard port: nothing listens there.
        let address = "postgres://me:geheim@127.0.0.1:9/book?password=geheim".parse::<String>().unwrap();
        let address = jobs::book::BookAddress::parse(&address).unwrap();
        let error = Book::open(&address).await.unwrap_err();
        let message = format!("{:#}", anyhow::Error::new(error));
        assert!(message.contains("refused"), "{message}");
        assert!(message.contains("cannot open the book at postgres://me@127.0.0.1:9/book"), "{message}");
        assert!(!message.contains("geheim"), "{message}");
    });
}

#[test]
fn a_path_of_any_characters_names_a_book() {
    run(Kind::Sqlite, |place| {
        Box::pin(async move {
            let path = place.folder().join("a b%20c/ü?x/book #1.sqlite");
            Book::open(&jobs::book::BookAddress::file(&path)).await.unwrap();
            assert!(path.exists());
        })
    });
}
