//! Where the book is: one URL, and how it is shown without its password.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use super::error::BookError;

/// The name of the file beside a local lake.
const FILE_NAME: &str = "book.sqlite";

/// The address of a book. It may carry a password, so only `Display` is for people.
#[derive(Clone, PartialEq, Eq)]
pub struct BookAddress {
    place: Place,
    shown: String,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Place {
    Sqlite(PathBuf),
    /// With the scheme that the driver knows.
    Postgres(String),
    MySql(String),
}

impl BookAddress {
    pub fn parse(text: &str) -> Result<Self, BookError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        if scheme == "sqlite" {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let path = path.split('?').next().unwrap_or_default();
            if !path.is_empty() {
                return Ok(Self::file(Path::new(path)));
            }
        }
        let with_host =
            Url::parse(text).ok().filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
        let place = match scheme {
            "postgres" | "postgresql" => Place::Postgres(text.to_owned()),
            "mysql" | "mariadb" => Place::MySql(format!("mysql:{rest}")),
            _ => return Err(wrong()),
        };
        let url = with_host.ok_or_else(wrong)?;
        if url.path().trim_matches('/').is_empty() {
            let host = url.host_str().unwrap_or_default();
            let message = format!("the book's address names no database: write {scheme}://{host}/meterhouse");
            return Err(BookError::Address(message));
        }
        Ok(Self { place, shown: shown(url) })
    }

    /// A book in a file of SQLite.
    pub fn file(path: &Path) -> Self {
        Self { place: Place::Sqlite(path.to_owned()), shown: format!("sqlite:{}", path.display()) }
    }

    /// The book beside a lake that is a local folder.
    pub fn beside(lake_folder: &Path) -> Self {
        Self::file(&lake_folder.with_file_name(FILE_NAME))
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }
}

fn wrong() -> BookError {
    let message = "the book's address is none: write sqlite:book.sqlite, postgres://user@host/database or \
                   mysql://user@host/database";
    BookError::Address(message.to_owned())
}

/// Without the password; drivers also take one among the parameters, so none of those is shown.
fn shown(mut url: Url) -> String {
    if url.password().is_some() && url.set_password(None).is_err() {
        return format!("{}://(hidden)", url.scheme());
    }
    url.set_query(None);
    url.to_string()
}

impl fmt::Display for BookAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown)
    }
}

impl fmt::Debug for BookAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "BookAddress({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_secrets() {
        for (text, shown) in [
            ("sqlite:book.sqlite", "sqlite:book.sqlite"),
            ("sqlite://book.sqlite?mode=rwc", "sqlite:book.sqlite"),
            ("sqlite:///srv/a b/book.sqlite", "sqlite:/srv/a b/book.sqlite"),
            ("postgres://me:geheim@host:5432/book?password=geheim", "postgres://me@host:5432/book"),
            ("mariadb://me:geheim@host/book", "mariadb://me@host/book"),
        ] {
            let address = BookAddress::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("geheim"));
        }
        for text in ["", "sqlite:", "book.sqlite", "oracle://host/book", "postgres:///book", "mysql://host"] {
            assert!(BookAddress::parse(text).is_err(), "{text}");
        }
        let beside = BookAddress::beside(Path::new("/srv/usage/lake"));
        assert_eq!(beside.to_string(), "sqlite:/srv/usage/book.sqlite");
    }
}
