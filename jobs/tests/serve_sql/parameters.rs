//! Values that clients bind, and decimals on both ways.

use crate::wire::Client;
use crate::world::World;

/// Parse with the number of the value's type, Bind, Execute.
fn asked_with(client: &mut Client, query: &str, kind: u32, format: i16, value: &[u8]) -> crate::wire::Answer {
    let mut body = [b"\0", query.as_bytes(), b"\0"].concat();
    body.extend(1_i16.to_be_bytes());
    body.extend(kind.to_be_bytes());
    client.send(b'P', &body);
    let mut body = b"\0\0".to_vec();
    body.extend([1_i16.to_be_bytes(), format.to_be_bytes(), 1_i16.to_be_bytes()].concat());
    body.extend((value.len() as i32).to_be_bytes());
    body.extend(value);
    body.extend([0, 0]);
    client.send(b'B', &body);
    client.send(b'E', &[0, 0, 0, 0, 0]);
    client.send(b'S', b"");
    client.answer()
}

const NUMERIC: u32 = 1700;

/// Count of groups, weight, sign, scale and groups.
fn numeric(parts: &[i16]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.to_be_bytes()).collect()
}

#[test]
fn decimals_that_are_sent_keep_every_digit() {
    let world = World::new(false);
    let served = world.serve("");
    let mut client = served.client("acme");
    let above = "SELECT count(*) FROM (VALUES (CAST('999999999999999999999' AS DECIMAL(38, 9))), \
                 (CAST('1000000000000000000001' AS DECIMAL(38, 9)))) AS t(v) WHERE v > $1";
    // 10^21: as text, and in binary as 10 * 10,000^5.
    assert_eq!(client.extended(above, &[Some("1000000000000000000000")]).value(), "1");
    assert_eq!(client.extended(above, &[Some("1e21")]).value(), "1");
    let binary = numeric(&[1, 5, 0, 0, 10]);
    assert_eq!(asked_with(&mut client, above, NUMERIC, 1, &binary).value(), "1");
    assert_eq!(asked_with(&mut client, above, NUMERIC, 0, b"1000000000000000000000").value(), "1");
    // More decimals than the column has are not rounded to it.
    let below_one = "SELECT count(*) FROM (VALUES (CAST('1' AS DECIMAL(20, 9)))) AS t(v) WHERE v > $1";
    assert_eq!(client.extended(below_one, &[Some("0.9999999999")]).value(), "1");
    assert_eq!(
        asked_with(&mut client, below_one, NUMERIC, 1, &numeric(&[3, -1, 0, 10, 9999, 9999, 9900])).value(),
        "1"
    );
    // 2^96 is where the wire library's own decimals end.
    for value in ["79228162514264337593543950336", "-12345678901234567890123456789.123456789", "0.000000001"]
    {
        assert_eq!(
            client
                .extended(
                    "SELECT CAST($1 AS DECIMAL(38, 9)) = CAST($2 AS DECIMAL(38, 9))",
                    &[Some(value), Some(value)]
                )
                .value(),
            "t",
            "{value}"
        );
        let read = client.extended("SELECT CAST(CAST($1 AS DECIMAL(38, 9)) AS TEXT)", &[Some(value)]);
        assert_eq!(read.value().trim_end_matches('0').trim_end_matches('.'), value);
    }
    assert_eq!(client.extended(above, &[Some("1e40")]).code(), "22003");
    assert_eq!(client.extended(above, &[Some("much")]).code(), "22P02");
    // Python sends whole numbers beyond 64 bits so.
    let whole = "SELECT count(*) FROM generate_series(1, 3) AS g WHERE value < $1";
    assert_eq!(asked_with(&mut client, whole, NUMERIC, 0, b"100000000000000000000").value(), "3");
    assert_eq!(asked_with(&mut client, whole, NUMERIC, 0, b"3").value(), "2");
}

#[test]
fn lists_of_decimals_have_all_their_digits() {
    let world = World::new(false);
    let served = world.serve("");
    let mut client = served.client("acme");
    let large = "CAST('-12345678901234567890123456789.123456789' AS DECIMAL(38, 9))";
    let query = format!("SELECT array_agg(v) FROM (VALUES ({large}), (NULL)) AS t(v)");
    for answer in [client.simple(&query), client.extended(&query, &[])] {
        let mut items: Vec<&str> = answer.value().trim_matches(['{', '}']).split(',').collect();
        items.sort_unstable();
        assert_eq!(items, ["-12345678901234567890123456789.123456789", "NULL"]);
    }
    let nested = format!("SELECT named_struct('a', make_array({large}))");
    assert_eq!(client.simple(&nested).code(), "0A000");
    let none = "SELECT array_agg(v) FROM (VALUES (CAST(1 AS DECIMAL(38, 9)))) AS t(v) WHERE v > 2";
    assert_eq!(client.simple(none).rows[0][0], None);
}

#[test]
fn table_functions_take_parameters() {
    let world = World::new(true);
    let served = world.serve("");
    let mut client = served.client("acme");
    let written = "SELECT meter, measure, value FROM quantities('2026-05') ORDER BY 1, 2, 3";
    let expected = client.simple(written);
    assert!(expected.rows.len() > 2, "{expected:?}");
    let asked = "SELECT meter, measure, value FROM quantities($1) WHERE value > $2 ORDER BY 1, 2, 3";
    assert_eq!(client.extended(asked, &[Some("2026-05"), Some("-1")]).rows, expected.rows);
    // One statement with other values.
    client.parse("prepared", "SELECT count(*) FROM quantities($1)");
    client.send(b'D', b"Sprepared\0");
    for (portal, period) in [("a", "2026-05"), ("b", "2026-05-01")] {
        client.bind(portal, "prepared", &[Some(period)]);
        client.send(b'E', &[portal.as_bytes(), &[0, 0, 0, 0, 0]].concat());
    }
    client.send(b'S', b"");
    let answer = client.answer();
    assert_eq!(answer.rows.len(), 2, "{answer:?}");
    assert!(
        answer.rows.iter().all(|row| row[0].as_deref() == Some(&*expected.rows.len().to_string())),
        "{answer:?}"
    );
    let events = "SELECT count(*) FROM usage_events_at($1)";
    assert_eq!(client.extended(events, &[Some("2000-01-01T00:00:00Z")]).value(), "0");
    let first = client.simple("SELECT count(*) FROM usage_events_at(0)");
    assert_eq!(client.extended(events, &[Some("0")]).rows, first.rows);
    assert_eq!(
        client.extended("SELECT sum(value) FROM generate_series($1, $2)", &[Some("1"), Some("4")]).value(),
        "10"
    );
    // A value is nothing but a value, and is checked as if it were written.
    for (value, code) in [("2026-05') OR ('1", "42000"), ("may", "42000"), ("2026", "42000")] {
        assert_eq!(client.extended("SELECT * FROM quantities($1)", &[Some(value)]).code(), code, "{value}");
    }
    assert_eq!(client.extended("SELECT * FROM quantities($1)", &[None]).code(), "22004");
    assert_eq!(client.simple("SELECT * FROM quantities($1)").code(), "42P02");
    assert_eq!(client.simple("SELECT 1").value(), "1");
}
