//! Catalogs that were applied.

use rating::catalog::Catalog;

use crate::place::Place;

const REDLINE: &str = include_str!("../../../testdata/catalogs/redline.yaml");
const ONMEMOS: &str = include_str!("../../../testdata/catalogs/onmemos.yaml");

fn parsed(text: &str) -> Catalog {
    Catalog::parse(text, "test.yaml").unwrap()
}

pub async fn versions_are_in_force_from_their_date(place: &Place) {
    let (book, clock) = place.open_with_clock().await;
    assert!(book.catalog_in_force(i64::MAX).await.unwrap().is_none());
    let commented = format!("# the same in other words\n{REDLINE}");
    let mut versions = Vec::new();
    for (name, text, from_us, is_new) in [
        ("the first", REDLINE, 0, true),
        ("the same again", REDLINE, 0, false),
        ("the same, later", REDLINE, 500, false),
        ("a comment is no change", commented.as_str(), 500, false),
        ("another, from later on", ONMEMOS, 1_000, true),
        ("back to the first", REDLINE, 2_000, true),
        ("a mistake put right on the same day", ONMEMOS, 2_000, true),
        ("in between", ONMEMOS, 700, true),
    ] {
        clock.pass_seconds(1);
        let (applied, was_new) = book.apply_catalog(&parsed(text), text, from_us, "jane@host").await.unwrap();
        assert_eq!(was_new, is_new, "{name}");
        if is_new {
            assert_eq!(
                (applied.applied_at_us, applied.effective_from_us),
                (clock.now_us(), from_us),
                "{name}"
            );
            versions.push(applied);
        }
    }
    assert_eq!(book.catalog_history().await.unwrap(), versions);
    assert_eq!(versions.iter().map(|it| it.version).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(versions[0].applied_by, "jane@host");
    for (at_us, wanted) in [
        (-1, None),
        (0, Some(1)),
        (699, Some(1)),
        (700, Some(5)),
        (999, Some(5)),
        (1_000, Some(2)),
        (1_999, Some(2)),
        (2_000, Some(4)),
        (i64::MAX, Some(4)),
    ] {
        let found = book.catalog_in_force(at_us).await.unwrap();
        assert_eq!(found.as_ref().map(|found| found.applied.version), wanted, "at {at_us}");
        if let Some(found) = found {
            assert_eq!(found.catalog.hash.to_hex().to_string(), found.applied.catalog_hash);
            assert!(found.content == REDLINE || found.content == ONMEMOS, "as it was applied first");
        }
    }
}

pub async fn what_was_set_up_can_be_asked(place: &Place) {
    let book = place.open().await;
    let catalog = parsed(REDLINE);
    book.apply_catalog(&catalog, REDLINE, 0, "jane").await.unwrap();
    // Counted by way of an export, which reads every table.
    let folder = place.folder().join("export");
    let manifest = book.export(&folder).await.unwrap();
    let rows = |table: &str| manifest.tables.iter().find(|it| it.table == table).unwrap().rows as usize;
    assert_eq!(rows("book_tenants"), catalog.tenants.len());
    assert!(!catalog.tenants.is_empty());
    let subscriptions: usize = catalog.tenants.iter().map(|tenant| tenant.subscriptions.len()).sum();
    assert_eq!(rows("book_subscriptions"), subscriptions);
}
