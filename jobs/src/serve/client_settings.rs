//! What a client may set for its connection, and what it is told of settings.
//!
//! Owns the allow-list of settings: those that change how answers are written, and a shorter time limit. Does not own
//! the server's own settings (`config`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use datafusion_postgres::pgwire::types::format::FormatOptions;

use super::failure::Failure;

/// What the server says it is. Clients choose their catalog queries by the number in front.
pub fn server_version() -> String {
    format!("16.6 (Meterhouse {})", env!("CARGO_PKG_VERSION"))
}

/// Settings that are told, with their first values; those that are told to the client at once when they change are marked.
const KNOWN: [(&str, &str, bool); 24] = [
    ("application_name", "", true),
    ("bytea_output", "hex", false),
    ("client_encoding", "UTF8", true),
    ("client_min_messages", "notice", false),
    ("datestyle", "ISO, MDY", true),
    ("default_transaction_isolation", "read committed", false),
    ("default_transaction_read_only", "on", true),
    ("escape_string_warning", "on", false),
    ("extra_float_digits", "1", false),
    ("geqo", "off", false),
    ("idle_in_transaction_session_timeout", "0", false),
    ("integer_datetimes", "on", false),
    ("intervalstyle", "postgres", true),
    ("jit", "off", false),
    ("lock_timeout", "0", false),
    ("max_identifier_length", "63", false),
    ("row_security", "on", false),
    ("search_path", "\"$user\", public", false),
    ("server_encoding", "UTF8", false),
    ("standard_conforming_strings", "on", true),
    ("statement_timeout", "0", false),
    ("synchronize_seqscans", "on", false),
    ("timezone", "UTC", true),
    ("transaction_isolation", "read committed", false),
];

/// The settings of one connection.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    values: BTreeMap<&'static str, String>,
    timeout: Option<Duration>,
    timeout_max: Option<Duration>,
}

impl ClientSettings {
    pub fn new(timeout_max: Option<Duration>) -> Self {
        let values = KNOWN.iter().map(|(name, value, _)| (*name, (*value).to_owned())).collect();
        Self { values, timeout: None, timeout_max }
    }

    /// How long a statement may take: as the server says, or less.
    pub fn timeout(&self) -> Option<Duration> {
        match (self.timeout, self.timeout_max) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (asked, most) => asked.or(most),
        }
    }

    /// How values are written.
    pub fn format(&self) -> Arc<FormatOptions> {
        let values: HashMap<String, String> =
            self.values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Arc::new(FormatOptions::from_client_metadata(&values))
    }

    /// Sets one; answers with what is to be told to the client at once.
    pub fn set(&mut self, name: &str, value: &str) -> Result<Option<(&'static str, String)>, Failure> {
        let Some((name, first, is_told)) = KNOWN.iter().find(|(known, ..)| *known == name) else {
            return Err(Failure::refused(format!("the setting {name} cannot be set here")));
        };
        let value = if value.eq_ignore_ascii_case("default") { first } else { value };
        let wrong = || Failure::new("22023", format!("{name} cannot be set to \"{value}\" here"));
        let is_harmless = match *name {
            "client_encoding" => ["utf8", "utf-8", "unicode"].contains(&value.to_ascii_lowercase().as_str()),
            "default_transaction_read_only" | "standard_conforming_strings" | "row_security" => is_on(value),
            "server_encoding" | "integer_datetimes" | "max_identifier_length" => value == *first,
            "intervalstyle" => ["postgres", "postgres_verbose", "sql_standard", "iso_8601"].contains(&value),
            "bytea_output" => ["hex", "escape"].contains(&value),
            "extra_float_digits" => value.parse().is_ok_and(|digits: i8| (-15..=3).contains(&digits)),
            "datestyle" => value.len() <= 32 && value.to_ascii_lowercase().starts_with("iso"),
            "timezone" => jiff::tz::TimeZone::get(value).is_ok() || value.eq_ignore_ascii_case("utc"),
            "statement_timeout" => {
                self.timeout = Some(duration(value).ok_or_else(wrong)?).filter(|it| !it.is_zero());
                true
            }
            _ => value.len() <= 256,
        };
        if !is_harmless {
            return Err(wrong());
        }
        // Times are always written in UTC, with their offset, so a client is not told otherwise.
        let value = if *name == "timezone" { "UTC" } else { value };
        self.values.insert(name, value.to_owned());
        Ok(is_told.then(|| (shown_name(name), value.to_owned())))
    }

    pub fn reset(&mut self, name: Option<&str>) -> Result<(), Failure> {
        match name {
            None => *self = Self::new(self.timeout_max),
            Some(name) => drop(self.set(name, "default")?),
        }
        Ok(())
    }

    /// Name and value of a setting.
    pub fn show(&self, name: &str) -> Result<(String, String), Failure> {
        let name = match name {
            "time zone" => "timezone",
            "transaction isolation level" => "transaction_isolation",
            other => other,
        };
        if name == "server_version" {
            return Ok((name.to_owned(), server_version()));
        }
        if name == "server_version_num" {
            return Ok((name.to_owned(), "160006".to_owned()));
        }
        if name == "statement_timeout" {
            let shown = self.timeout().map_or_else(|| "0".to_owned(), |it| format!("{}ms", it.as_millis()));
            return Ok((name.to_owned(), shown));
        }
        match self.values.get_key_value(name) {
            Some((name, value)) => Ok((shown_name(name).to_owned(), value.clone())),
            None => Err(Failure::new("42704", format!("there is no setting \"{name}\""))),
        }
    }

    /// What is told when a connection begins.
    pub fn told(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let told = KNOWN.iter().filter(|(.., is_told)| *is_told);
        told.map(|(name, ..)| (shown_name(name), self.values[name].clone()))
    }
}

fn shown_name(name: &'static str) -> &'static str {
    match name {
        "datestyle" => "DateStyle",
        "intervalstyle" => "IntervalStyle",
        "timezone" => "TimeZone",
        other => other,
    }
}

fn is_on(value: &str) -> bool {
    ["on", "true", "yes", "1"].contains(&value.to_ascii_lowercase().as_str())
}

/// A duration as PostgreSQL writes it: milliseconds, or a number with a unit.
fn duration(value: &str) -> Option<Duration> {
    let value = value.trim();
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_only_shorten_its_time() {
        let mut settings = ClientSettings::new(Some(Duration::from_mins(1)));
        let mut timeout = |value: &str| {
            settings.set("statement_timeout", value).map(|_| settings.timeout().unwrap().as_millis())
        };
        assert_eq!(timeout("0"), Ok(60_000));
        assert_eq!(timeout("500"), Ok(500));
        assert_eq!(timeout("2 s"), Ok(2_000));
        assert_eq!(timeout("3min"), Ok(60_000));
        assert_eq!(timeout("default"), Ok(60_000));
        assert!(timeout("soon").is_err() && timeout("-1").is_err());
    }

    #[test]
    fn what_is_not_named_cannot_be_set() {
        let mut settings = ClientSettings::new(None);
        for (name, value) in [
            ("datafusion.execution.batch_size", "1"),
            ("session_authorization", "root"),
            ("default_transaction_read_only", "off"),
            ("client_encoding", "LATIN1"),
            ("standard_conforming_strings", "off"),
            ("extra_float_digits", "99"),
            ("timezone", "../../etc/passwd"),
        ] {
            assert!(settings.set(name, value).is_err(), "{name}");
        }
        assert_eq!(
            settings.set("application_name", "psql"),
            Ok(Some(("application_name", "psql".to_owned())))
        );
        assert_eq!(settings.show("application_name").unwrap().1, "psql");
        settings.reset(None).unwrap();
        assert_eq!(settings.show("application_name").unwrap().1, "");
        assert!(settings.show("datafusion.execution.batch_size").is_err());
    }
}
