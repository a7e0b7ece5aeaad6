//! The four example catalogs: what a tenant's prices ask of its usage.

use rating::catalog::Catalog;
use rating::draft::{Charges, DemandOptions};
use rating::period::PeriodChoice;

use crate::world::World;

/// Each question as `meter only by: measures, spans`.
fn asked(file: &str, tenant: &str, month: &str, options: DemandOptions) -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/catalogs");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let catalog = Catalog::parse(&text, file).unwrap_or_else(|error| panic!("{error}"));
    let terms = catalog.tenant_terms(tenant).unwrap();
    let choice: PeriodChoice = month.parse().unwrap();
    let period = choice.period(&terms.cycle, &terms.time_zone).unwrap().unwrap();
    let demand = Charges::new(&catalog, terms, period).demand(tenant, options);
    let shown = demand.wanted.iter().map(|wanted| {
        let only: Vec<String> =
            wanted.view.only.iter().map(|(name, values)| format!(" {name}={}", values.join("|"))).collect();
        let by = wanted.view.by.join(",");
        let measures: Vec<&str> = wanted.measures.iter().map(|measure| measure.as_str()).collect();
        let (only, measures, spans) = (only.concat(), measures.join(","), wanted.spans.len());
        format!("{}{only} by [{by}]: {measures} in {spans}", wanted.view.meter)
    });
    shown.collect()
}

/// A broker that reports a petabyte and is back at ten bytes an hour later: billed as it is told, and told.
#[test]
fn a_counter_that_jumps_is_warned_of_in_the_worked_catalog() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/catalogs");
    let text = std::fs::read_to_string(folder.join("zemfyre.yaml")).unwrap();
    let used = |values: [&str; 3]| {
        let lines: Vec<String> = (1..)
            .zip(values)
            .map(|(hour, value)| format!("2026-03-05T0{hour}:00:00Z mqtt_bytes broker-1 - {value}"))
            .collect();
        World::new(&text, &lines.join("\n"))
    };
    let usual = used(["10", "3000000000", "5000000000"]);
    assert!(usual.warnings("instance-harbor", "2026-03").is_empty());
    let jumped = used(["10", "1000000000000000", "10"]);
    assert_eq!(
        jumped.warnings("instance-harbor", "2026-03"),
        ["counter mqtt_bytes grew by 999999999999990 at once, more than 9000000000000"]
    );
}

#[test]
fn each_price_asks_its_question_and_gaps_ask_theirs() {
    let all = DemandOptions::default();
    assert_eq!(
        asked("zemfyre.yaml", "instance-harbor", "2026-03", all),
        [
            "devices_active by []: unique_resources in 1",
            "mqtt_bytes by []: increase in 1",
            "http_bytes by []: sum in 1",
            "storage_bytes by []: average in 1",
            "api_calls by []: sum in 1",
        ]
    );
    assert_eq!(
        asked("onmemos.yaml", "user-17", "2026-03", all),
        [
            "session_time by [size,user_type]: session_time in 1",
            "storage_bytes by [storage_type]: average in 1",
            "spaces_bought template=ml_ready by []: sum in 1",
            "spaces_bought template=data_science by []: sum in 1",
            "spaces_bought template=web_development by []: sum in 1",
            "spaces_bought template=research by []: sum in 1",
            // A template that no item sells would be usage without a price.
            "spaces_bought by [template]: sum in 1",
        ]
    );
    assert_eq!(
        asked("documents.yaml", "user-anna", "2026-07", all),
        ["storage_bytes by []: average in 1", "storage_bought by []: sum in 1"]
    );
    let with_costs = DemandOptions { unpriced_usage: true, costs: true };
    assert_eq!(
        asked("redline.yaml", "licence-5d41402a", "2026-03", with_costs),
        [
            // Two plans with the same filters, each over its part of the month.
            "storage_bytes ownership=vendor by []: average in 1",
            "storage_bytes ownership=tenant by []: average in 1",
            "storage_bytes ownership=vendor by []: average in 1",
            "storage_bytes ownership=tenant by []: average in 1",
            "storage_bytes ownership=vendor by []: average in 1",
            "storage_requests ownership=vendor by []: sum in 1",
            "egress_bytes ownership=vendor by []: sum in 1",
            "storage_bytes by [ownership]: average in 1",
        ]
    );
}

#[test]
fn prices_alone_ask_less() {
    let prices = DemandOptions { unpriced_usage: false, costs: false };
    assert_eq!(
        asked("redline.yaml", "anybody", "2026-03", prices),
        [
            "storage_bytes ownership=vendor by []: average in 1",
            "storage_bytes ownership=tenant by []: average in 1"
        ]
    );
    // A new version of the plan in the middle of the tenants' own month would cut it; on the first it does not.
    assert_eq!(
        asked("documents.yaml", "user-bruno", "2026-07", prices),
        ["storage_bytes by []: average in 1", "storage_bought by []: sum in 1"]
    );
}
