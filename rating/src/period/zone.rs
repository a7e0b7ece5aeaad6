//! IANA time zones from the database compiled into the program.
//!
//! The machine's own database is deliberately not asked: an invoice names the program version that made it, and the
//! same program must find the same midnight on every machine (DESIGN.md 3.10).

use std::sync::LazyLock;

pub use jiff::tz::TimeZone;
use jiff::tz::TimeZoneDatabase;

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The name is not in the time zone database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone {name:?}: expected an IANA name such as Europe/Berlin")]
pub struct UnknownTimeZone {
    pub name: String,
}

/// The zone of that IANA name.
pub fn time_zone(name: &str) -> Result<TimeZone, UnknownTimeZone> {
    DATABASE.get(name).map_err(|_| UnknownTimeZone { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_found_without_the_machines_database() {
        for name in ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"] {
            assert!(time_zone(name).is_ok(), "{name}");
        }
        assert!(time_zone("Europe/Atlantis").is_err());
        assert!(time_zone("").is_err());
    }
}
