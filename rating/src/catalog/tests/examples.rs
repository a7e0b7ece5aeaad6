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

#[test]
fn tenants_say_whom_invoices_are_made_out_to() {
    let tenant = |keys: &str| {
        let text = format!(
            "catalog: c\nmeters:\n  calls: {{ kind: delta, event_type: c, unit: request }}\ntenants:\n  a:\n{keys}"
        );
        parsed(&text, "c.yaml").tenants.remove(0)
    };
    let listed = tenant(
        "    address: [1 Main Street, \" 12345 Springfield \"]\n    tax_id: DE811907980\n    email: billing@acme.example\n",
    );
    assert_eq!(listed.address, ["1 Main Street", "12345 Springfield"]);
    assert_eq!(listed.tax_id.as_deref(), Some("DE811907980"));
    assert_eq!(listed.email.as_deref(), Some("billing@acme.example"));
    let written = tenant("    address: |\n      1 Main Street\n\n      北京市\n");
    assert_eq!(written.address, ["1 Main Street", "北京市"]);
    let silent = tenant("    name: Acme\n");
    assert_eq!((silent.address.len(), silent.tax_id, silent.email), (0, None, None));
}
