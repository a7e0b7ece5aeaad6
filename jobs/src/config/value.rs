//! The kinds of values that settings take, and how people write them.

use std::net::SocketAddr;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use url::Url;

use crate::rate::apart::CorrectionsBy;

/// A kind of value: what it is called, how it is written, and how its text is read.
#[derive(Debug)]
pub(super) struct Kind<T> {
    pub expected: &'static str,
    pub example: &'static str,
    pub shape: Shape,
    pub parse: fn(&str) -> Option<T>,
}

// Derived, these would ask the same of the values.
impl<T> Copy for Kind<T> {}
impl<T> Clone for Kind<T> {
    fn clone(&self) -> Self {
        *self
    }
}

/// What a value may be in TOML; an environment variable is always text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    /// A number, or text that says one.
    Number,
    /// A list of texts, or one text with commas.
    List,
    /// `true` or `false`.
    YesNo,
}

pub(super) const TEXT: Kind<String> = Kind {
    expected: "text",
    example: "write it in quotes",
    shape: Shape::Text,
    parse: |text| (!text.trim().is_empty()).then(|| text.to_owned()),
};

pub(super) const LIST: Kind<Vec<String>> = Kind {
    expected: "a list of texts",
    example: "write it like [\"one\", \"two\"], in an environment variable like one,two",
    shape: Shape::List,
    parse: list,
};

pub(super) const LINES: Kind<Vec<String>> = Kind {
    expected: "lines of text",
    example: "write it like \"first line\\nsecond line\", or between \"\"\"",
    shape: Shape::Text,
    parse: |text| {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
        Some(lines.collect::<Vec<_>>()).filter(|lines| !lines.is_empty())
    },
};

pub(super) const BROKERS: Kind<Vec<String>> = Kind {
    expected: "a list of brokers",
    example: "write each as host:port, like [\"kafka-1:9092\", \"kafka-2:9092\"]",
    shape: Shape::List,
    parse: |text| list(text).filter(|brokers| brokers.iter().all(|broker| is_host_and_port(broker))),
};

pub(super) const COUNT: Kind<u64> = Kind {
    expected: "a whole number above zero",
    example: "write it like 500000 or 500_000",
    shape: Shape::Number,
    parse: |text| text.replace('_', "").parse().ok().filter(|count| *count > 0),
};

pub(super) const YES_NO: Kind<bool> = Kind {
    expected: "true or false",
    example: "write it without quotes",
    shape: Shape::YesNo,
    parse: |text| text.trim().parse().ok(),
};

pub(super) const PERIODS: Kind<u32> = Kind {
    expected: "a whole number up to 120",
    example: "write it like 3, or 0 for none",
    shape: Shape::Number,
    parse: |text| text.parse().ok().filter(|count| *count <= 120),
};

pub(super) const CORRECTIONS: Kind<CorrectionsBy> = Kind {
    expected: "`next_invoice` or `credit_note`",
    example: "write it like \"credit_note\"",
    shape: Shape::Text,
    parse: |text| match text.trim() {
        "next_invoice" => Some(CorrectionsBy::NextInvoice),
        "credit_note" => Some(CorrectionsBy::CreditNote),
        _ => None,
    },
};

pub(super) const SIZE: Kind<u64> = Kind {
    expected: "a size in bytes",
    example: "write it like \"128 MiB\", \"1 GB\" or 1048576",
    shape: Shape::Number,
    parse: size,
};

pub(super) const DURATION: Kind<SignedDuration> = Kind {
    expected: "a length of time above zero",
    example: "write it like \"5 s\", \"10 min\" or \"35 days\"",
    shape: Shape::Text,
    parse: |text| duration(text).filter(SignedDuration::is_positive),
};

pub(super) const TOLERANCE: Kind<SignedDuration> = Kind {
    expected: "a length of time",
    example: "write it like \"5 min\" or \"0 s\"",
    shape: Shape::Text,
    parse: |text| duration(text).filter(|duration| !duration.is_negative()),
};

/// None stands for unlimited.
pub(super) const WINDOW: Kind<Option<SignedDuration>> = Kind {
    expected: "a length of time or `unlimited`",
    example: "write it like \"35 days\" or \"unlimited\"",
    shape: Shape::Text,
    parse: |text| match text.trim() {
        "unlimited" => Some(None),
        written => duration(written).filter(SignedDuration::is_positive).map(Some),
    },
};

pub(super) const INSTANT: Kind<Timestamp> = Kind {
    expected: "an instant",
    example: "write it like \"2000-01-01T00:00:00Z\"",
    shape: Shape::Text,
    parse: |text| text.parse().ok(),
};

pub(super) const LISTEN: Kind<SocketAddr> = Kind {
    expected: "an address to listen on",
    example: "write it as IP address and port, like \"127.0.0.1:9464\" or \"0.0.0.0:9464\"",
    shape: Shape::Text,
    parse: |text| text.trim().parse().ok(),
};

pub(super) const LAKE: Kind<String> = Kind {
    expected: "the address of a lake",
    example: "write a folder like \"./lake\", or \"s3://bucket/prefix\", or \"gs://bucket/prefix\"",
    shape: Shape::Text,
    parse: lake,
};

pub(super) const TIME_ZONE: Kind<String> = Kind {
    expected: "a time zone",
    example: "write it like \"UTC\" or \"Europe/Berlin\"",
    shape: Shape::Text,
    parse: |text| rating::period::time_zone(text.trim()).ok().map(|_| text.trim().to_owned()),
};

pub(super) const BOOK: Kind<String> = Kind {
    expected: "the address of a database",
    example: "write it like \"sqlite:book.sqlite\", \"postgres://user@host/meterhouse\" or \"mysql://user@host/meterhouse\"",
    shape: Shape::Text,
    parse: book,
};

pub(super) const HTTP: Kind<Url> = Kind {
    expected: "an address that begins with http:// or https://",
    example: "write it like \"http://127.0.0.1:12111\"",
    shape: Shape::Text,
    parse: |text| {
        let url = Url::parse(text.trim()).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.host().is_some()).then_some(url)
    },
};

fn list(text: &str) -> Option<Vec<String>> {
    let items: Vec<_> = text.split(',').map(|item| item.trim().to_owned()).collect();
    items.iter().all(|item| !item.is_empty()).then_some(items)
}

fn is_host_and_port(broker: &str) -> bool {
    let Some((host, port)) = broker.rsplit_once(':') else { return false };
    let is_host = !host.is_empty() && !host.contains(['/', ' ']);
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// A day is 24 hours here: settings measure elapsed time, not calendars.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let span: Span = text.trim().parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

fn size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 9] = [
        ("", 1),
        ("B", 1),
        ("kB", 1000),
        ("MB", 1000 * 1000),
        ("GB", 1000 * 1000 * 1000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.replace('_', "").parse().ok()?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    number.checked_mul(*factor).filter(|bytes| *bytes > 0)
}

fn lake(text: &str) -> Option<String> {
    let text = text.trim();
    // A one-letter scheme is a drive of Windows.
    match Url::parse(text) {
        Ok(url) if url.scheme().len() > 1 => {
            let has_host = url.host_str().is_some_and(|host| !host.is_empty());
            let usable = match url.scheme() {
                "s3" | "s3a" | "gs" => has_host,
                "file" | "memory" => true,
                _ => false,
            };
            usable.then(|| text.to_owned())
        }
        _ if text.contains("://") || text.is_empty() => None,
        _ => Some(text.to_owned()),
    }
}

fn book(text: &str) -> Option<String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once(':')?;
    let usable = match scheme {
        "sqlite" => !rest.trim_start_matches('/').is_empty(),
        "postgres" | "postgresql" | "mysql" | "mariadb" => {
            Url::parse(text).is_ok_and(|url| url.host_str().is_some_and(|host| !host.is_empty()))
        }
        _ => false,
    };
    usable.then(|| text.to_owned())
}

/// The known name nearest to what was written, if it is near enough to be a slip of the hand.
pub(super) fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips_max = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(written, name), name))
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, expected_s) in [
            ("5 s", Some(5)),
            ("5s", Some(5)),
            ("10 min", Some(600)),
            ("2h 30m", Some(9000)),
            ("35 days", Some(35 * 86_400)),
            ("5", None),
            ("5 parsecs", None),
            ("-5 s", None),
            ("0 s", None),
            ("1 month", None),
            ("", None),
        ] {
            assert_eq!((DURATION.parse)(text).map(|it| it.as_secs()), expected_s, "{text}");
        }
        assert_eq!((TOLERANCE.parse)("0 s"), Some(SignedDuration::ZERO));
        assert_eq!((WINDOW.parse)("unlimited"), Some(None));
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, expected) in [
            ("128 MiB", Some(128 << 20)),
            ("1MB", Some(1_000_000)),
            ("1_048_576", Some(1 << 20)),
            ("512 B", Some(512)),
            ("0", None),
            ("1.5 GB", None),
            ("128 mib", None),
            ("99999999999 TiB", None),
            ("MiB", None),
        ] {
            assert_eq!((SIZE.parse)(text), expected, "{text}");
        }
    }

    #[test]
    fn addresses() {
        for (text, usable) in [
            ("./lake", true),
            ("s3://bucket/lake", true),
            ("gs://bucket", true),
            ("file:///srv/lake", true),
            ("s3://", false),
            ("http://bucket", false),
            ("s3//bucket://x", false),
            ("", false),
        ] {
            assert_eq!((LAKE.parse)(text).is_some(), usable, "{text}");
        }
        for (text, usable) in [
            ("sqlite:book.sqlite", true),
            ("sqlite://book.sqlite", true),
            ("postgres://user@host:5432/book", true),
            ("mariadb://host/book", true),
            ("sqlite:", false),
            ("postgres:///book", false),
            ("oracle://host/book", false),
        ] {
            assert_eq!((BOOK.parse)(text).is_some(), usable, "{text}");
        }
        for (text, usable) in
            [("a:1,b:2", true), ("[::1]:9092", true), ("a", false), ("a:0", false), ("http://a:1", false)]
        {
            assert_eq!((BROKERS.parse)(text).is_some(), usable, "{text}");
        }
    }
}
