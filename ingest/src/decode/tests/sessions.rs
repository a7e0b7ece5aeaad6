//! Sessions in all their forms (DESIGN.md 3.5): told by signals, or whole in one event.

use super::{ReadingCase, WORKSHOP, catalog, check_readings};

const SIGNALLED: [ReadingCase; 14] = [
    ("start", "signalled", r#"{"id":"s","status":"on"}"#, &["signalled | - | s | - | start | -"]),
    (
        "start at another time than the event's",
        "signalled",
        r#"{"id":"s","status":"on","began":"2026-05-01T12:30:00.5+02:00","size":"gpu"}"#,
        &[r#"signalled | - | s | {"size":"gpu"} | start | 2026-05-01T10:30:00.5Z"#],
    ),
    (
        "a start does not take the end",
        "signalled",
        r#"{"id":"s","status":"on","ended":"2026-05-01T10:30:00Z"}"#,
        &["signalled | - | s | - | start | -"],
    ),
    ("a number as signal", "signalled", r#"{"id":7,"status":1}"#, &["signalled | - | 7 | - | start | -"]),
    (
        "stop at another time",
        "signalled",
        r#"{"id":"s","status":"off","began":"2026-05-01T09:00:00Z","ended":"2026-05-01T10:30:00Z"}"#,
        &["signalled | - | s | - | stop | 2026-05-01T10:30:00Z"],
    ),
    ("stop", "signalled", r#"{"id":"s","status":"off"}"#, &["signalled | - | s | - | stop | -"]),
    (
        "a heartbeat's time is the event's",
        "signalled",
        r#"{"id":"s","status":"beat","began":"2026-05-01T09:00:00Z"}"#,
        &["signalled | - | s | - | heartbeat | -"],
    ),
    (
        "an unknown signal",
        "signalled",
        r#"{"id":"s","status":"ON"}"#,
        &["session_invalid: meter signalled finds the signal `ON`, which it does not know"],
    ),
    ("no signal", "signalled", r#"{"id":"s"}"#, &["session_invalid: meter signalled finds no signal"]),
    (
        "a null signal",
        "signalled",
        r#"{"id":"s","status":null}"#,
        &["session_invalid: meter signalled finds no signal"],
    ),
    ("no signal is skipped", "signalled_or_not", r#"{"id":"s"}"#, &[]),
    (
        "a list is no missing signal",
        "signalled_or_not",
        r#"{"id":"s","status":["on"]}"#,
        &["session_invalid: meter signalled_or_not finds an object or array as its signal"],
    ),
    ("no session", "signalled", r#"{"status":"on"}"#, &["resource_missing: meter signalled has no resource"]),
    (
        "a time that is none",
        "signalled",
        r#"{"id":"s","status":"on","began":"noon"}"#,
        &["session_invalid: meter signalled finds the time `noon`, expected RFC 3339"],
    ),
];

/// The events' own time is 11:00:00.
const WHOLE: [ReadingCase; 22] = [
    (
        "start and duration",
        "whole",
        r#"{"id":"s","began":"2026-05-01T10:00:00Z","seconds":12.25}"#,
        &["whole | 12250000000 | s | - | complete | 2026-05-01T10:00:00Z"],
    ),
    (
        "start and end",
        "whole",
        r#"{"id":"s","began":"2026-05-01T10:00:00.000001Z","ended":"2026-05-01T10:00:02Z"}"#,
        &["whole | 1999999000 | s | - | complete | 2026-05-01T10:00:00.000001Z"],
    ),
    (
        "start alone: it ends with the event",
        "whole",
        r#"{"id":"s","began":"2026-05-01T10:59:00Z"}"#,
        &["whole | 60000000000 | s | - | complete | 2026-05-01T10:59:00Z"],
    ),
    (
        "duration and end",
        "whole",
        r#"{"id":"s","ended":"2026-05-01T10:30:00Z","seconds":"90"}"#,
        &["whole | 90000000000 | s | - | complete | 2026-05-01T10:28:30Z"],
    ),
    (
        "duration alone: it ends with the event",
        "whole",
        r#"{"id":"s","seconds":3600}"#,
        &["whole | 3600000000000 | s | - | complete | 2026-05-01T10:00:00Z"],
    ),
    (
        "the duration is exact, its start is cut to the microsecond",
        "whole",
        r#"{"id":"s","seconds":0.000001999}"#,
        &["whole | 1999 | s | - | complete | 2026-05-01T10:59:59.999999Z"],
    ),
    (
        "all three: start and duration count",
        "whole",
        r#"{"id":"s","began":"2026-05-01T10:00:00Z","ended":"2026-05-01T10:00:09Z","seconds":8}"#,
        &["whole | 8000000000 | s | - | complete | 2026-05-01T10:00:00Z"],
    ),
    (
        "nothing lasts no time",
        "whole",
        r#"{"id":"s","began":"2026-05-01T10:00:00Z","ended":"2026-05-01T10:00:00Z"}"#,
        &["whole | 0 | s | - | complete | 2026-05-01T10:00:00Z"],
    ),
    (
        "only an end",
        "whole",
        r#"{"id":"s","ended":"2026-05-01T10:00:00Z"}"#,
        &["session_invalid: meter whole finds neither a start nor a duration"],
    ),
    (
        "an end before the start",
        "whole",
        r#"{"id":"s","began":"2026-05-01T10:00:00Z","ended":"2026-05-01T09:59:59.999999Z"}"#,
        &["session_invalid: meter whole finds a session that ends before it starts"],
    ),
    (
        "a start after the event",
        "whole",
        r#"{"id":"s","began":"2026-05-01T11:00:01Z"}"#,
        &["session_invalid: meter whole finds a session that ends before it starts"],
    ),
    (
        "a negative duration",
        "whole",
        r#"{"id":"s","seconds":-1}"#,
        &["session_invalid: meter whole finds a session that ends before it starts"],
    ),
    (
        "a negative duration beside a start",
        "whole",
        r#"{"id":"s","began":"2026-05-01T10:00:00Z","seconds":-0.000000001}"#,
        &["session_invalid: meter whole finds a session that ends before it starts"],
    ),
    (
        "a duration past all time",
        "whole",
        r#"{"id":"s","seconds":1e28}"#,
        &["value_out_of_range: meter whole finds a session longer than time itself"],
    ),
    (
        "the same beside a start",
        "whole",
        r#"{"id":"s","began":"2026-05-01T10:00:00Z","seconds":1e28}"#,
        &["value_out_of_range: meter whole finds a session longer than time itself"],
    ),
    (
        "a duration that is none",
        "whole",
        r#"{"id":"s","began":"2026-05-01T10:00:00Z","seconds":"12,5"}"#,
        &["value_not_a_number: meter whole finds the value `12,5`, which is not a number"],
    ),
    (
        "an object as duration is not a missing one",
        "whole",
        r#"{"id":"s","began":"2026-05-01T10:00:00Z","seconds":{"value":5}}"#,
        &["value_not_a_number: meter whole finds an object or array as its duration"],
    ),
    (
        "a list as end is not a missing one",
        "whole",
        r#"{"id":"s","began":"2026-05-01T10:00:00Z","ended":[1]}"#,
        &["session_invalid: meter whole finds an object or array as a time"],
    ),
    (
        "more decimals than a billionth",
        "whole",
        r#"{"id":"s","seconds":0.30000000000000004}"#,
        &[
            "value_too_precise: meter whole finds the value `0.30000000000000004`, which has more than 9 decimals (see excess_digits)",
        ],
    ),
    (
        "rounded where the meter says so",
        "whole_or_not",
        r#"{"id":"s","seconds":0.30000000000000004}"#,
        &["whole_or_not | 300000000 | s | - | complete | 2026-05-01T10:59:59.7Z"],
    ),
    ("nothing said is skipped where the meter says so", "whole_or_not", r#"{"id":"s"}"#, &[]),
    (
        "since",
        "since",
        r#"{"id":"s","began":"2026-04-30T11:00:00Z"}"#,
        &["since | 86400000000000 | s | - | complete | 2026-04-30T11:00:00Z"],
    ),
];

/// A session's own times keep to the same bounds as the event's.
const BOUNDS: [ReadingCase; 10] = [
    (
        "a start as far ahead as an event may be",
        "signalled",
        r#"{"id":"s","status":"on","began":"2026-05-01T12:05:00Z"}"#,
        &["signalled | - | s | - | start | 2026-05-01T12:05:00Z"],
    ),
    (
        "a start further ahead",
        "signalled",
        r#"{"id":"s","status":"on","began":"9999-12-31T23:59:59Z"}"#,
        &["time_in_future: 251624663999 s ahead of our clock"],
    ),
    (
        "a stop further ahead",
        "signalled",
        r#"{"id":"s","status":"off","ended":"2026-05-01T12:05:00.000001Z"}"#,
        &["time_in_future: 300 s ahead of our clock"],
    ),
    (
        "a start before time was kept",
        "signalled",
        r#"{"id":"s","status":"on","began":"0000-01-01T00:00:00Z"}"#,
        &["time_too_old: before the earliest time that is accepted"],
    ),
    (
        "a duration that reaches before it",
        "whole",
        r#"{"id":"s","seconds":1e9}"#,
        &["time_too_old: before the earliest time that is accepted"],
    ),
    (
        "an end as far ahead as an event may be",
        "whole",
        r#"{"id":"s","began":"2026-05-01T12:00:00Z","ended":"2026-05-01T12:05:00Z"}"#,
        &["whole | 300000000000 | s | - | complete | 2026-05-01T12:00:00Z"],
    ),
    (
        "an end further ahead",
        "whole",
        r#"{"id":"s","began":"2026-05-01T12:00:00Z","ended":"2026-05-01T12:05:00.000001Z"}"#,
        &["time_in_future: 300 s ahead of our clock"],
    ),
    (
        "an end that stands for no end",
        "whole",
        r#"{"id":"s","began":"2026-05-01T10:00:00Z","ended":"9999-12-31T23:59:59Z"}"#,
        &["time_in_future: 251624663999 s ahead of our clock"],
    ),
    (
        "milliseconds taken for seconds",
        "whole",
        r#"{"id":"s","began":"2026-05-01T11:00:00Z","seconds":3600000}"#,
        &["time_in_future: 3596400 s ahead of our clock"],
    ),
    (
        "a time that does not count is not looked at",
        "signalled",
        r#"{"id":"s","status":"beat","began":"9999-12-31T23:59:59Z"}"#,
        &["signalled | - | s | - | heartbeat | -"],
    ),
];

#[test]
fn sessions_told_by_signals() {
    check_readings(&catalog(WORKSHOP), &SIGNALLED);
}

#[test]
fn sessions_told_whole() {
    check_readings(&catalog(WORKSHOP), &WHOLE);
}

#[test]
fn sessions_keep_to_the_bounds_of_time() {
    check_readings(&catalog(WORKSHOP), &BOUNDS);
}
