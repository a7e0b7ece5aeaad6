//! Moving a book between databases of every kind, in every direction.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jobs::book::{Book, BookOutbox, CreditKind, Outcome, TransferError};
use jobs::stripe::Outbox;
use jobs::stripe::outbox::Claim;
use rating::catalog::Catalog;

use crate::place::{Kind, Place, run, runtime};
use crate::{credits, invoices, outbox};

const REDLINE: &str = include_str!("../../../testdata/catalogs/redline.yaml");

/// A book with something in every table, odd things among it.
pub async fn filled(place: &Place) -> Book {
    let book = place.open().await;
    let catalog = Catalog::parse(REDLINE, "redline.yaml").unwrap();
    book.apply_catalog(&catalog, REDLINE, 0, "jane \"the\" applier\\").await.unwrap();
    let mut run =
        book.start_run("close", "2026-05-01", "close", "host:1", Duration::from_mins(1)).await.unwrap();
    run.counts.insert("invoices".to_owned(), i64::MIN);
    run.error = vec!["a\nb\t\u{1}".to_owned()];
    run.outcome = Outcome::Failed;
    book.end_run(&run).await.unwrap();
    book.claim_occurrence("close --period last", 17, "host:1").await.unwrap();
    // More rows than are read at a time, with keys whose order differs from one collation to the other.
    let writing = book.begin().await.unwrap();
    let first = writing.next_numbers("vendor", 1100).await.unwrap();
    let names = ["acme", "Acme", "ACME ", "äcme", "🦀", "a-b", "a_b", "a b"];
    let documents: Vec<_> = (first..first + 1100)
        .map(|number| {
            let tenant = format!("{}{number}", names[number as usize % names.len()]);
            let lines = vec![
                invoices::line(&tenant, "2026-05-01", "x", "0.10"),
                invoices::line(&tenant, "2026-05-01", "y", "-0.010"),
            ];
            invoices::document(number, &tenant, "2026-05-01", lines)
        })
        .collect();
    writing.record_issued(&documents).await.unwrap();
    writing.note_unfinished(&std::collections::BTreeSet::from(["2026-05-01"]), true).await.unwrap();
    let records: Vec<_> = (0..24)
        .map(|at| {
            let key = format!("{}/{at}", names[at % names.len()]);
            outbox::record(&key, &format!("group {}", at % 3), at as i64)
        })
        .collect();
    writing.put_into_outbox(&records).await.unwrap();
    writing
        .enter_credits(&[credits::entry("g1", "acme", CreditKind::Grant, "welcome", "5.00")])
        .await
        .unwrap();
    writing
        .enter_credits(&[credits::entry("u1", "acme", CreditKind::Use, "welcome", "-1.2500")])
        .await
        .unwrap();
    writing.commit().await.unwrap();
    let fence = book.acquire_lease("push", "host:1", Duration::from_mins(1)).await.unwrap();
    let sender = BookOutbox::of_run(&book, &fence);
    let mut claimed = sender.claim(Claim { now_us: 1000, until_us: i64::MAX, limit: 2 }).await.unwrap();
    claimed[0].last_error = Some("line\r\n\"two\"".to_owned());
    claimed[0].stripe_id = Some("mtr_1".to_owned());
    assert_eq!(sender.store(&claimed[..1]).await.unwrap(), 1);
    book
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn a_book_moves_from_each_kind_to_each_without_loss() {
    runtime().block_on(async {
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.is_available()).collect();
        for from in kinds.iter().copied() {
            let source = Place::new(from).await;
            let book = filled(&source).await;
            let exported = source.folder().join("exported");
            let manifest = book.export(&exported).await.unwrap();
            assert!(manifest.tables.iter().all(|table| table.rows > 0), "{manifest:?}");
            for to in kinds.iter().copied() {
                let target = Place::new(to).await;
                let moved = target.open().await;
                assert_eq!(moved.import(&exported).await.unwrap(), manifest, "{from:?} to {to:?}");
                let again = source.folder().join(format!("{to:?}"));
                let back = moved.export(&again).await.unwrap();
                assert_eq!(back.tables, manifest.tables, "{from:?} to {to:?}");
                let (mut wanted, mut found) = (files(&exported), files(&again));
                wanted.remove("manifest.json");
                found.remove("manifest.json");
                assert!(wanted == found, "{from:?} to {to:?}");
                let findings = moved.check().await.unwrap();
                assert!(findings.iter().all(|finding| finding.broken.is_empty()), "{findings:?}");
                goes_on_where_it_was(&moved).await;
                target.drop().await;
            }
            source.drop().await;
        }
    });
}

/// Numbers and tokens count on, and what was handed out is still known.
async fn goes_on_where_it_was(book: &Book) {
    let writing = book.begin().await.unwrap();
    assert_eq!(writing.next_numbers("vendor", 1).await.unwrap(), 1101);
    writing.roll_back().await.unwrap();
    let run = book.start_run("close", "", "close", "host:2", Duration::ZERO).await.unwrap();
    assert_eq!(run.fence.token, 2);
    assert!(!book.claim_occurrence("close --period last", 17, "host:2").await.unwrap());
}

#[test]
fn only_what_was_exported_is_imported_and_only_into_an_empty_book() {
    run(Kind::Sqlite, |place| {
        Box::pin(async move {
            let book = filled(place).await;
            let folder = place.folder().join("exported");
            book.export(&folder).await.unwrap();
            assert!(matches!(book.export(&folder).await, Err(TransferError::Exists { .. })));
            let full = book.import(&folder).await.unwrap_err().to_string();
            assert!(full.contains("is not empty"), "{full}");

            let target = Place::new(Kind::Sqlite).await;
            let new = target.open().await;
            let whole = files(&folder);
            for (name, file, from, to, told) in [
                (
                    "a changed amount",
                    "book_invoice_lines.jsonl",
                    "\"0.10\"",
                    "\"0.20\"",
                    "its digest differs",
                ),
                ("a missing row", "book_outbox.jsonl", "\n", "", "rows, the manifest says"),
                (
                    "another format",
                    "manifest.json",
                    "meterhouse book 1",
                    "meterhouse book 9",
                    "its format is",
                ),
                (
                    "another schema",
                    "manifest.json",
                    "\"schema_version\": 4",
                    "\"schema_version\": 1",
                    "schema 1",
                ),
                ("a table too many", "manifest.json", "book_facts", "book_fact", "it names the tables"),
            ] {
                let path = folder.join(file);
                std::fs::write(&path, whole[file].replacen(from, to, 1)).unwrap();
                let refused = new.import(&folder).await.unwrap_err().to_string();
                assert!(refused.contains(told), "{name}: {refused}");
                std::fs::write(&path, &whole[file]).unwrap();
            }
            // A file and manifest that were both changed by hand are still read with care, and nothing stays of them.
            for (name, from, to, told) in [
                ("a number as text", "\"number\":1,", "\"number\":\"1\",", ":1: `number` cannot be \"1\""),
                ("a missing column", "\"number\":1,", "", "`number` is missing"),
                ("a stranger", "\"number\":1,", "\"number\":1,\"nimber\":1,", "`nimber` is no column"),
                ("a null", "\"number\":1,", "\"number\":null,", "cannot be null"),
            ] {
                let changed = whole["book_invoices.jsonl"].replacen(from, to, 1);
                let digest = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
                let manifest =
                    whole["manifest.json"].replace(&digest(&whole["book_invoices.jsonl"]), &digest(&changed));
                std::fs::write(folder.join("book_invoices.jsonl"), changed).unwrap();
                std::fs::write(folder.join("manifest.json"), manifest).unwrap();
                let refused = new.import(&folder).await.unwrap_err().to_string();
                assert!(refused.contains(told), "{name}: {refused}");
            }
            for (file, text) in &whole {
                std::fs::write(folder.join(file), text).unwrap();
            }
            new.import(&folder).await.unwrap();
        })
    });
}
