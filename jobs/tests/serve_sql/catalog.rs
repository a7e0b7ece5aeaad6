//! Clients browse: the queries of `catalog/*.sql`, which are what psql, DBeaver, Grafana, Metabase and drivers send, are answered on
//! both protocols, and tell of the lake's tables. 'NUMBER' in them is that of usage_events, which a client has asked for before.

use crate::wire::Client;
use crate::world::World;

const FILES: [(&str, &str); 5] = [
    ("psql", include_str!("catalog/psql.sql")),
    ("dbeaver", include_str!("catalog/dbeaver.sql")),
    ("grafana", include_str!("catalog/grafana.sql")),
    ("metabase", include_str!("catalog/metabase.sql")),
    ("drivers", include_str!("catalog/drivers.sql")),
];

#[test]
fn the_queries_of_known_clients_are_answered() {
    let world = World::new(true);
    let served = world.serve("");
    for user in ["anna", "acme"] {
        let mut client = served.client(user);
        let number = names(&mut client, "SELECT oid FROM pg_class WHERE relname = 'usage_events'");
        for (name, text) in FILES {
            for query in text.split("----\n").map(str::trim) {
                let query = &query.replace("'NUMBER'", &format!("'{number}'"));
                let simple = client.simple(query);
                assert_eq!(simple.error, None, "{name}, {user}: {query}");
                let extended = client.extended(query, &[]);
                assert_eq!(extended.error, None, "{name}, {user}: {query}");
                assert_eq!(
                    (extended.columns, extended.rows.len()),
                    (simple.columns, simple.rows.len()),
                    "{query}"
                );
            }
        }
    }
}

/// The columns of a table as Grafana's query builder asks for them.
#[test]
fn grafana_finds_the_columns() {
    let world = World::new(false);
    let served = world.serve("");
    let asked = FILES.iter().find(|(name, _)| *name == "grafana").unwrap().1.split("----\n");
    let query = asked.filter(|query| query.contains("array_length(parse_ident")).last().unwrap();
    let found = names(&mut served.client("acme"), query);
    assert!(found.split(' ').any(|column| column == "tenant"), "{found}");
    assert_eq!(found.split(' ').count(), 20, "{found}");
}

/// What stands behind views is nobody's business.
#[test]
fn grafana_lists_tables_and_views_alone() {
    let world = World::new(false);
    let served = world.serve("");
    let asked = FILES.iter().find(|(name, _)| *name == "grafana").unwrap().1.split("----\n");
    let mut client = served.client("anna");
    for query in asked.filter(|query| query.contains("FROM information_schema.tables")) {
        let found = names(&mut client, query);
        assert!(found.contains("usage_daily") && !found.contains("lake."), "{found}");
        assert_eq!(found.matches("usage_daily").count(), 1, "{found}");
    }
    assert_eq!(names(&mut client, "SELECT schema_name FROM information_schema.schemata"), "public");
    assert_eq!(client.simple("SELECT count(*) > 0 FROM lake.usage_daily").value(), "t");
}

fn names(client: &mut Client, query: &str) -> String {
    let answer = client.simple(query);
    assert_eq!(answer.error, None, "{query}");
    answer.rows.iter().map(|row| row[0].clone().unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

#[test]
fn both_catalogs_show_the_tables() {
    let world = World::new(true);
    let served = world.serve("");
    let mut client = served.client("acme");
    let expected = "allowances charges invoice_lines invoices limits meters plans prices quantities rejected_messages \
                    stripe_records subscriptions tenants usage_carried usage_daily usage_days usage_events usage_hourly usage_periods";
    let of_information =
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
    assert_eq!(names(&mut client, of_information), expected);
    let of_pg = "SELECT relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
                 WHERE nspname = 'public' ORDER BY 1";
    assert_eq!(names(&mut client, of_pg), expected);
    let columns = "SELECT attname FROM pg_attribute WHERE attrelid = 'usage_events'::regclass AND attnum BETWEEN 5 AND 8 ORDER BY attnum";
    assert_eq!(names(&mut client, columns), "tenant event_type meter time");
}

/// A client asks for a table's number, and later for its columns by it: the number must not change with the lake.
#[test]
fn numbers_of_tables_stay() {
    let world = World::new(false);
    let served = world.serve("");
    let mut client = served.client("anna");
    let numbers = "SELECT relname || '=' || oid FROM pg_class WHERE relname LIKE 'usage%' ORDER BY 1";
    let before = names(&mut client, numbers);
    for day in 10..13 {
        world.ingest(&[crate::world::event(
            "acme",
            &format!("n{day}"),
            &format!("2026-05-{day}T00:00:00Z"),
            5,
            "d",
            "eu",
        )]);
        assert_eq!(names(&mut client, numbers), before);
    }
    assert_eq!(client.simple("SELECT count(*) FROM usage_events").value(), "20");
}
