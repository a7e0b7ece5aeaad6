//! Days that do not fit into memory are compacted in several rounds, and come out as if they did.

use jobs::compact::CompactSettings;
use sql::lake::Table;

use crate::lake::{Event, TestLake, event};

const MEMORY_BYTES: usize = 200_000;

/// Some thousand events on two days, in two batches; one in seven comes again, some contradict.
fn events(tenant: impl Fn(i64) -> i64) -> Vec<Event> {
    let event = |offset: i64| {
        let original = if offset % 7 == 3 && offset > 700 { offset - 693 } else { offset };
        let event = event(offset, &original.to_string())
            .tenant(&tenant(original).to_string())
            .at_second(original * 7_919 % 86_400)
            .on(i32::from(original % 3 == 0 && offset == original))
            .meters([[0, 1].as_slice(), &[2], &[]][(original % 3) as usize])
            .untimed();
        if offset % 10 == 0 { event.data(&format!("{{\"v\":{offset}}}")) } else { event }
    };
    (1..=4_000).map(event).collect()
}

fn compacted(events: &[Event], memory_bytes: usize) -> TestLake {
    let lake = TestLake::in_memory();
    for batch in events.chunks(2_500) {
        lake.ingest(batch);
        let settings = CompactSettings { memory_bytes, ..CompactSettings::default() };
        lake.compact_with(settings).unwrap();
    }
    lake.assert_sorted();
    lake
}

#[test]
fn rounds_and_memory_come_to_the_same() {
    for (name, tenant) in [("many tenants", (|id| id % 97) as fn(i64) -> i64), ("a single one", |_| 1)] {
        let events = events(tenant);
        let whole = compacted(&events, 1 << 30);
        let in_rounds = compacted(&events, MEMORY_BYTES);
        assert_eq!(in_rounds.rows_at(None), whole.rows_at(None), "{name}");
        assert_eq!(in_rounds.conflicts(), whole.conflicts(), "{name}");
        assert!(whole.conflicts().len() > 5, "{name}: {:?}", whole.conflicts());
        let files = |lake: &TestLake| lake.snapshot(Table::UsageEvents, None).files;
        assert_eq!(files(&whole).len(), 2, "{name}");
        let rows: Vec<u64> = files(&in_rounds).iter().map(|file| file.rows).collect();
        assert!(rows.len() > 8, "{name}: every day in several stretches: {rows:?}");
        assert!(rows.iter().all(|rows| *rows < 1_000), "{name}: stretches are about alike: {rows:?}");
    }
}

/// One tenant's events are many times as large as all others, which are more.
#[test]
fn stretches_take_alike_where_rows_do_not() {
    let event = |offset: i64| {
        let event = event(offset, &offset.to_string()).at_second(offset * 7_919 % 86_400);
        if offset % 4 == 0 {
            event.data(&format!("{{\"v\":\"{}\"}}", "x".repeat(4_000)))
        } else {
            event.tenant(&format!("other{}", offset % 5))
        }
    };
    let events: Vec<Event> = (1..=2_000).map(event).collect();
    let lake = compacted(&events, MEMORY_BYTES);
    assert_eq!(lake.events_left(&events).len(), 2_000);
    for file in lake.snapshot(Table::UsageEvents, None).files {
        let rows = lake.rows_of(&file);
        let bytes: usize = rows.iter().map(|row| 250 + row.data.as_ref().map_or(0, String::len)).sum();
        // A quarter more than the budget for what a sample does not know.
        assert!(bytes < MEMORY_BYTES * 5 / 4, "{} rows take {bytes} bytes", rows.len());
    }
}
