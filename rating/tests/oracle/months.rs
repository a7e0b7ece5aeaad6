//! Months whose length the clock or the calendar makes odd, written down by hand.

#[derive(Debug, Clone, Copy)]
pub struct Month {
    pub zone: &'static str,
    pub name: &'static str,
    pub start: &'static str,
    pub end: &'static str,
    pub half_hours: i64,
    /// When the clock is changed, or the leap day begins.
    pub turn: &'static str,
}

const fn month(
    zone: &'static str,
    name: &'static str,
    (start, end): (&'static str, &'static str),
    half_hours: i64,
    turn: &'static str,
) -> Month {
    Month { zone, name, start, end, half_hours, turn }
}

#[rustfmt::skip]
pub const MONTHS: [Month; 9] = [
    month("America/New_York", "2026-03", ("2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z"), 2 * 743, "2026-03-08T07:00:00Z"),
    month("America/New_York", "2026-11", ("2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"), 2 * 721, "2026-11-01T06:00:00Z"),
    month("Europe/Berlin", "2026-03", ("2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"), 2 * 743, "2026-03-29T01:00:00Z"),
    month("Europe/Berlin", "2026-10", ("2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"), 2 * 745, "2026-10-25T01:00:00Z"),
    // Half an hour back, and forward.
    month("Australia/Lord_Howe", "2026-04", ("2026-03-31T13:00:00Z", "2026-04-30T13:30:00Z"), 2 * 720 + 1, "2026-04-04T15:00:00Z"),
    month("Australia/Lord_Howe", "2026-10", ("2026-09-30T13:30:00Z", "2026-10-31T13:00:00Z"), 2 * 743 + 1, "2026-10-03T15:30:00Z"),
    // 5:45 h from Greenwich.
    month("Asia/Kathmandu", "2028-02", ("2028-01-31T18:15:00Z", "2028-02-29T18:15:00Z"), 2 * 696, "2028-02-28T18:15:00Z"),
    month("Europe/Berlin", "2028-02", ("2028-01-31T23:00:00Z", "2028-02-29T23:00:00Z"), 2 * 696, "2028-02-28T23:00:00Z"),
    month("UTC", "2026-02", ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"), 2 * 672, "2026-02-15T00:00:00Z"),
];
