//! This machine: its clock and its memory.

use jiff::civil::date;
use jiff::tz::TimeZone;

use super::{Finding, Status, gib};
use crate::config::Config;

const MEMORY_BYTES_MIN: u64 = 256 << 20;
/// What the jobs are built to get by with.
const MEMORY_BYTES_ADVISED: u64 = 2 << 30;

pub(super) fn examine(_: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(date_is_wrong(jiff::Timestamp::now()));
    findings.push(memory());
    findings
}

/// A machine without a clock battery starts in 1970; nothing of this program is older than 2025.
fn date_is_wrong(now: jiff::Timestamp) -> Option<Finding> {
    let first = date(2025, 1, 1).to_zoned(TimeZone::UTC).expect("a valid date").timestamp();
    let last = date(2100, 1, 1).to_zoned(TimeZone::UTC).expect("a valid date").timestamp();
    (now < first || now > last).then(|| {
        let found = format!("the clock says {now}");
        Finding::fail(
            "clock",
            found,
            "set the clock (NTP): every event would seem to be in the future or too old",
        )
    })
}

fn memory() -> Finding {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let available = match system.cgroup_limits() {
        Some(limits) => system.available_memory().min(limits.free_memory),
        None => system.available_memory(),
    };
    let found = format!("{} available of {}", gib(available), gib(system.total_memory()));
    let remedy = "give the process more memory, or stop others";
    match available {
        available if available < MEMORY_BYTES_MIN => Finding::fail("memory", found, remedy),
        available if available < MEMORY_BYTES_ADVISED => Finding::new(Status::Warn, "memory", found, remedy),
        _ => Finding::ok("memory", found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_dates_are_told() {
        for (now, wrong) in
            [("1970-01-01T00:10:00Z", true), ("2026-05-01T00:00:00Z", false), ("2101-01-01T00:00:00Z", true)]
        {
            assert_eq!(date_is_wrong(now.parse().unwrap()).is_some(), wrong, "{now}");
        }
    }
}
