//! Invoice numbers and the index of what was issued.

use std::collections::BTreeSet;

use jobs::book::{Book, BookError, DocumentKind, IssuedLine, NewDocument};
use rating::invoice::Provenance;
use rating::line::LineKey;
use rating::money::Amount;
use rating::period::Span;

use crate::place::Place;

const SEED: u64 = 20_260_521;

pub fn amount(text: &str) -> Amount {
    Amount::from_str_exact(text).unwrap()
}

pub fn key(tenant: &str, period: &str, price: &str) -> LineKey {
    LineKey {
        tenant: tenant.to_owned(),
        period: period.to_owned(),
        subscription: "main".to_owned(),
        price: price.to_owned(),
        dimensions: [("size".to_owned(), "größe/1".to_owned())].into_iter().collect(),
        span: Span { start_us: 1, end_us: 2 },
    }
}

pub fn line(tenant: &str, period: &str, price: &str, value: &str) -> IssuedLine {
    IssuedLine { key: key(tenant, period, price), amount: amount(value), cause: None }
}

pub fn document(number: i64, tenant: &str, period: &str, lines: Vec<IssuedLine>) -> NewDocument {
    let total = lines.iter().map(|line| line.amount).sum();
    NewDocument {
        issuer: "vendor".to_owned(),
        number,
        printed_number: format!("V-{number:06}"),
        kind: DocumentKind::Invoice,
        tenant: tenant.to_owned(),
        period: period.to_owned(),
        occasion: String::new(),
        span: Span { start_us: 0, end_us: 9 },
        currency: "USD".to_owned(),
        total,
        credited: Amount::ZERO,
        taxed: Amount::ZERO,
        due: total,
        provenance: Provenance {
            table_id: "0b5e".to_owned(),
            table_version: 12 + number % 2,
            catalog_hash: "c".repeat(64),
            book_hash: "b".repeat(64),
            program_version: "0.1.0".to_owned(),
        },
        digest: "d".repeat(64),
        corrects_number: None,
        run_id: "run".to_owned(),
        lines,
    }
}

/// Issues one document in a transaction of its own.
pub async fn issue(book: &Book, tenant: &str, period: &str, lines: Vec<IssuedLine>) -> NewDocument {
    let writing = book.begin().await.unwrap();
    let number = writing.next_numbers("vendor", 1).await.unwrap();
    let document = document(number, tenant, period, lines);
    writing.record_issued(std::slice::from_ref(&document)).await.unwrap();
    writing.commit().await.unwrap();
    document
}

pub async fn numbers_have_no_gaps(place: &Place) {
    println!("seed {SEED}");
    // Each with connections of its own, as processes have.
    let writers: Vec<_> = (0..6_u64)
        .map(|writer| {
            let address = place.address();
            tokio::spawn(async move {
                let book = Book::open(&address).await.unwrap();
                let mut random = SEED.wrapping_mul(writer + 1);
                let mut issued = Vec::new();
                for round in 0..12 {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let count = 1 + (random >> 33) as i64 % 3;
                    let writing = book.begin().await.unwrap();
                    let first = writing.next_numbers("vendor", count).await.unwrap();
                    let documents: Vec<_> = (first..first + count)
                        .map(|number| {
                            document(number, &format!("{writer}-{round}-{number}"), "2026-05-01", vec![])
                        })
                        .collect();
                    writing.record_issued(&documents).await.unwrap();
                    match (random >> 40) % 4 {
                        0 => writing.roll_back().await.unwrap(),
                        // As when a process dies.
                        1 => drop(writing),
                        _ => {
                            writing.commit().await.unwrap();
                            issued.extend(documents.iter().map(|document| document.number));
                        }
                    }
                }
                issued
            })
        })
        .collect();
    let mut issued = Vec::new();
    for writer in writers {
        issued.extend(writer.await.unwrap());
    }
    issued.sort_unstable();
    assert!(issued.len() > 20 && issued.len() < 6 * 12 * 3, "{}", issued.len());
    assert_eq!(issued, (1..=issued.len() as i64).collect::<Vec<_>>());
    let book = place.open().await;
    let kept: Vec<i64> =
        book.documents(None, None).await.unwrap().iter().map(|it| it.document.number).collect();
    assert_eq!(kept, issued);
    let findings = book.check().await.unwrap();
    assert!(findings.iter().all(|finding| finding.broken.is_empty()), "{findings:?}");
    // Another issuer counts for itself.
    let writing = book.begin().await.unwrap();
    assert_eq!(writing.next_numbers("other", 5).await.unwrap(), 1);
    assert_eq!(writing.next_numbers("other", 1).await.unwrap(), 6);
    assert!(writing.next_numbers("other", 0).await.is_err());
}

pub async fn a_period_is_billed_once(place: &Place) {
    let book = place.open().await;
    let first = issue(&book, "acme", "2026-05-01", vec![line("acme", "2026-05-01", "storage", "1.50")]).await;
    let writing = book.begin().await.unwrap();
    let number = writing.next_numbers("vendor", 1).await.unwrap();
    let again = document(number, "acme", "2026-05-01", vec![]);
    let refused = writing.record_issued(std::slice::from_ref(&again)).await.unwrap_err();
    assert_eq!(refused.to_string(), "invoice of acme for 2026-05-01 was issued before as number 1 of vendor");
    drop(writing);
    let note = |number, occasion: &str| NewDocument {
        kind: DocumentKind::CreditNote,
        occasion: occasion.to_owned(),
        corrects_number: Some(1),
        ..document(number, "acme", "2026-05-01", vec![line("acme", "2026-05-01", "storage", "-0.50")])
    };
    for (occasion, is_issued) in [("version 12", true), ("version 13", true), ("version 12", false)] {
        let writing = book.begin().await.unwrap();
        let number = writing.next_numbers("vendor", 1).await.unwrap();
        let issued = writing.record_issued(&[note(number, occasion)]).await;
        assert_eq!(issued.is_ok(), is_issued, "{occasion}");
        if is_issued {
            writing.commit().await.unwrap();
        }
    }
    assert_eq!(book.documents(Some("2026-05-01"), Some("acme")).await.unwrap().len(), 3);
    assert_eq!(book.documents(Some("2026-06-01"), None).await.unwrap().len(), 0);
    let names = book.documents_named("2026-05-01").await.unwrap();
    let occasions: Vec<&str> = names.iter().map(|name| name.occasion.as_str()).collect();
    assert_eq!(occasions, ["", "version 12", "version 13"]);
    assert_eq!(book.document("V-000001").await.unwrap().unwrap().document, first);
    // Two in the same transaction are as bad.
    let writing = book.begin().await.unwrap();
    let number = writing.next_numbers("vendor", 2).await.unwrap();
    let twice =
        [document(number, "b", "2026-05-01", vec![]), document(number + 1, "b", "2026-05-01", vec![])];
    assert!(writing.record_issued(&twice).await.is_err());
}

pub async fn a_printed_number_stands_on_one_document(place: &Place) {
    let book = place.open().await;
    let first = issue(&book, "acme", "2026-05-01", vec![]).await;
    let of_series = |issuer: &str, number: i64, tenant: &str| NewDocument {
        issuer: issuer.to_owned(),
        ..document(number, tenant, "2026-05-01", vec![])
    };
    // Another series counts from one again, so with the same prefix it prints the same numbers.
    let writing = book.begin().await.unwrap();
    let number = writing.next_numbers("next year", 1).await.unwrap();
    assert_eq!(number, first.number);
    let refused = writing.record_issued(&[of_series("next year", number, "globex")]).await.unwrap_err();
    assert!(matches!(&refused, BookError::NumberInUse { issuer, .. } if issuer == "vendor"), "{refused}");
    let told = refused.to_string();
    assert!(told.contains("V-000001") && told.contains("number_prefix"), "{told}");
    drop(writing);
    // Invoices and credit notes with one prefix, both in the same transaction.
    let writing = book.begin().await.unwrap();
    let both = [of_series("new", 7, "globex"), of_series("new/credit-notes", 7, "initech")];
    let refused = writing.record_issued(&both).await.unwrap_err();
    assert!(matches!(refused, BookError::NumberInUse { .. }), "{refused}");
    drop(writing);
    let other = NewDocument { printed_number: "W-000001".to_owned(), ..of_series("next year", 1, "globex") };
    let writing = book.begin().await.unwrap();
    writing.record_issued(std::slice::from_ref(&other)).await.unwrap();
    writing.commit().await.unwrap();
    assert_eq!(book.document("W-000001").await.unwrap().unwrap().document, other);
}

pub async fn what_is_left_to_do_is_known_until_it_is_done(place: &Place) {
    let book = place.open().await;
    let [may, june] = ["2026-05-01", "2026-06-01"];
    let left = async || Vec::from_iter(book.unfinished_periods().await.unwrap());
    assert_eq!(left().await, []);
    for (period, with_papers) in [(may, false), (june, true), (may, true), (june, false)] {
        let writing = book.begin().await.unwrap();
        writing.note_unfinished(&BTreeSet::from([period]), with_papers).await.unwrap();
        writing.commit().await.unwrap();
    }
    // Papers that were wanted once are still wanted.
    assert_eq!(left().await, [(may.to_owned(), true), (june.to_owned(), true)]);
    let writing = book.begin().await.unwrap();
    writing.note_unfinished(&BTreeSet::from(["2026-07-01"]), false).await.unwrap();
    writing.roll_back().await.unwrap();
    let writing = book.begin().await.unwrap();
    writing.note_finished(&BTreeSet::from([may.to_owned(), "2026-04-01".to_owned()])).await.unwrap();
    writing.commit().await.unwrap();
    assert_eq!(left().await, [(june.to_owned(), true)]);
}

pub async fn documents_come_back_as_they_were(place: &Place) {
    let book = place.open().await;
    let largest = "79228162514264337593543950335";
    let mut wanted = document(
        1,
        "Ärger & Söhne 'GmbH' \\ 🦀\n",
        "2026-05-01",
        vec![
            line("Ärger & Söhne 'GmbH' \\ 🦀\n", "2026-05-01", "a", "0.000000000001"),
            line("Ärger & Söhne 'GmbH' \\ 🦀\n", "2026-05-01", "b", "-0.000000000001"),
            line("Ärger & Söhne 'GmbH' \\ 🦀\n", "2026-05-01", "c", "10.00"),
        ],
    );
    wanted.credited = amount("2.50");
    wanted.taxed = amount("1.43");
    wanted.due = wanted.total - wanted.credited + wanted.taxed;
    let huge = document(2, "huge", "2026-05-01", vec![line("huge", "2026-05-01", "a", largest)]);
    let writing = book.begin().await.unwrap();
    assert_eq!(writing.next_numbers("vendor", 2).await.unwrap(), 1);
    writing.record_issued(&[wanted.clone(), huge.clone()]).await.unwrap();
    let issued_at_us = writing.now_us();
    writing.commit().await.unwrap();
    for wanted in [wanted, huge] {
        let found = book.document(&wanted.printed_number).await.unwrap().unwrap();
        assert_eq!(found.issued_at_us, issued_at_us);
        // Digits after the point are part of it: 10.00 is not 10.
        assert_eq!(format!("{:?}", found.document), format!("{wanted:?}"));
        assert_eq!(book.document(&wanted.number.to_string()).await.unwrap().unwrap().document, wanted);
    }
    assert_eq!(book.document("none").await.unwrap(), None);
    let pinned = book.versions_pinned().await.unwrap();
    assert_eq!(pinned["0b5e"].iter().copied().collect::<Vec<_>>(), [12, 13]);
}

pub async fn what_does_not_add_up_is_refused(place: &Place) {
    let book = place.open().await;
    let lines = || vec![line("acme", "p", "a", "1.00"), line("acme", "p", "b", "2.00")];
    let sound = document(1, "acme", "p", lines());
    for (name, broken) in [
        ("total", NewDocument { total: amount("3.01"), ..sound.clone() }),
        ("due", NewDocument { due: amount("2.99"), ..sound.clone() }),
        ("tax", NewDocument { taxed: amount("0.01"), ..sound.clone() }),
        ("another's line", document(1, "other", "p", lines())),
        ("a long number", NewDocument { printed_number: "9".repeat(256), ..sound.clone() }),
        ("a zero character", document(1, "a\0b", "p", vec![])),
    ] {
        let writing = book.begin().await.unwrap();
        assert!(writing.record_issued(&[broken]).await.is_err(), "{name}");
    }
    assert_eq!(book.documents(None, None).await.unwrap(), []);
}

pub async fn adjustments_count_to_the_period_they_correct(place: &Place) {
    let book = place.open().await;
    issue(&book, "acme", "2026-05-01", vec![line("acme", "2026-05-01", "storage", "5.00")]).await;
    let adjustment =
        IssuedLine { cause: Some("late_event".to_owned()), ..line("acme", "2026-05-01", "storage", "0.25") };
    let next = vec![line("acme", "2026-06-01", "storage", "7.00"), adjustment.clone()];
    issue(&book, "acme", "2026-06-01", next).await;
    issue(&book, "other", "2026-05-01", vec![line("other", "2026-05-01", "storage", "9.00")]).await;
    let may = book.lines_issued("acme", "2026-05-01").await.unwrap();
    assert_eq!(may, [line("acme", "2026-05-01", "storage", "5.00"), adjustment]);
    assert_eq!(book.lines_issued("acme", "2026-06-01").await.unwrap().len(), 1);
    assert_eq!(book.lines_issued("acme", "2026-07-01").await.unwrap(), []);
}

pub async fn names_are_compared_byte_by_byte(place: &Place) {
    let book = place.open().await;
    // To the usual collations of one database or another, most of these are the same.
    let tenants = [
        "acme",
        "Acme",
        "ACME",
        "acme ",
        " acme",
        "äcme",
        "a\u{308}cme",
        "acmé",
        "ａcme",
        "acme\u{200b}",
        "ß",
        "ss",
        "",
    ];
    for tenant in tenants {
        issue(&book, tenant, "p", vec![line(tenant, "p", "x", "1")]).await;
    }
    for tenant in tenants {
        let found = book.documents(None, Some(tenant)).await.unwrap();
        assert_eq!(found.len(), 1, "{tenant:?}");
        assert_eq!(
            book.lines_issued(tenant, "p").await.unwrap(),
            [line(tenant, "p", "x", "1")],
            "{tenant:?}"
        );
    }
    let mut sorted = tenants.map(str::to_owned).to_vec();
    sorted.sort();
    let names = book.documents_named("p").await.unwrap();
    assert_eq!(names.into_iter().map(|name| name.tenant).collect::<Vec<_>>(), sorted);
    // Leases are sorted by the database.
    for tenant in tenants {
        book.acquire_lease(tenant, "x", std::time::Duration::ZERO).await.unwrap();
    }
    let leases: Vec<String> = book.leases().await.unwrap().into_iter().map(|lease| lease.lease).collect();
    assert_eq!(leases, sorted);
}

pub async fn names_may_be_long(place: &Place) {
    let book = place.open().await;
    // Four bytes a character: 1,020 bytes, of which two differ only in the last.
    let tenants = [format!("{}🦀", "🦞".repeat(254)), format!("{}🦐", "🦞".repeat(254))];
    for tenant in &tenants {
        let lines = vec![line(tenant, "p", &"lang/".repeat(2000), "1")];
        let issued = issue(&book, tenant, "p", lines.clone()).await;
        assert_eq!(book.document(&issued.printed_number).await.unwrap().unwrap().document.lines, lines);
    }
    let writing = book.begin().await.unwrap();
    let refused = writing.record_issued(&[document(9, &"x".repeat(256), "p", vec![])]).await.unwrap_err();
    assert!(matches!(refused, BookError::TooLong { length: 256, length_max: 255, .. }), "{refused}");
}
