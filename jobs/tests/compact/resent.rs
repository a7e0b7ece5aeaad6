//! Before compaction an event that was sent twice without a time counts twice: `rate` says so.

use std::process::Command;

use crate::lake::{TestLake, event};

const CATALOG: &str = "
catalog: test
currency: USD
meters:
  cpu: { kind: delta, event_type: sample, value: $.v, unit: core }
plans:
  basic: { prices: { cpu: { meter: cpu, per_unit: 1 } } }
tenants:
  acme: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }
";

/// What a run warns of, without the header.
fn warned(lake: &TestLake) -> Vec<String> {
    let folder = lake.folder.path();
    std::fs::write(folder.join("catalog.yaml"), CATALOG).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("METERHOUSE_"))
    {
        command.env_remove(name);
    }
    let rate = ["rate", "--period", "2026-05", "--dry-run", "--format", "csv"];
    let output =
        command.current_dir(folder).env("METERHOUSE_LAKE", folder.join("lake")).args(rate).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn rating_warns_of_events_without_time_until_they_are_compacted() {
    let lake = TestLake::new();
    lake.ingest(&[event(1_000, "a"), event(1_001, "b").on(1)]);
    assert_eq!(warned(&lake), [""; 0]);
    // The same event twice, each time with the time of its arrival; in June as well, which is not rated.
    lake.ingest(&[event(1_002, "c").untimed(), event(1_003, "c").untimed().at_second(70)]);
    lake.ingest(&[event(1_004, "d").untimed().on(40)]);
    let told = warned(&lake);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("(everybody),2026-05,warning,"), "{told:?}");
    assert!(told[0].contains("1 days from 2026-05-01 on are not compacted"), "{told:?}");
    lake.compact();
    assert_eq!(warned(&lake), [""; 0]);
}
