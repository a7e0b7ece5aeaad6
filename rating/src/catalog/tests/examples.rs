//! The four catalogs that ship as worked examples.

use crate::catalog::{Catalog, MeterKind, Path};

pub(super) const REDLINE: &str = include_str!("../../../../testdata/catalogs/redline.yaml");
pub(super) const ONMEMOS: &str = include_str!("../../../../testdata/catalogs/onmemos.yaml");
pub(super) const ZEMFYRE: &str = include_str!("../../../../testdata/catalogs/zemfyre.yaml");
pub(super) const DOCUMENTS: &str = include_str!("../../../../testdata/catalogs/documents.yaml");

pub(super) fn parsed(text: &str, file_name: &str) -> Catalog {
    Catalog::parse(text, file_name).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn the_four_catalogs_have_no_mistakes() {
    for (name, text) in
        [("redline", REDLINE), ("onmemos", ONMEMOS), ("zemfyre", ZEMFYRE), ("documents", DOCUMENTS)]
    {
        let catalog = parsed(text, name);
        assert_eq!(catalog.name, name);
        assert_eq!(catalog.tenant, Path::Attribute("subject".to_owned()));
        assert!(
            catalog.meters.iter().all(|meter| !meter.description.is_empty()),
            "{name}: a meter without description"
        );
    }
}

#[test]
fn each_kind_of_meter_occurs() {
    let kinds: std::collections::BTreeSet<_> = [REDLINE, ONMEMOS, ZEMFYRE, DOCUMENTS]
        .into_iter()
        .flat_map(|text| parsed(text, "example").meters)
        .map(|meter| meter.kind.name())
        .collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["cumulative", "delta", "gauge", "session", "unique"]);
    let onmemos = parsed(ONMEMOS, "onmemos.yaml");
    let sessions = onmemos.meter("session_time").expect("a session meter");
    assert!(matches!(sessions.kind, MeterKind::Session { .. }));
    assert_eq!(sessions.dimensions.keys().collect::<Vec<_>>(), ["size", "user_type"]);
}
