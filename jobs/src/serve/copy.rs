//! `COPY … TO STDOUT`: the rows of a query as text or CSV, written by PostgreSQL's rules.
//!
//! Owns what such a statement may say and how a row is written. Its query is planned, checked and limited as any other.
//! Nothing else is copied: neither from nor to files, programs or tables.

use bytes::{Buf as _, Bytes, BytesMut};
use datafusion::sql::sqlparser::ast::{
    CopyLegacyCsvOption, CopyLegacyOption, CopyOption, CopySource, CopyTarget, Statement,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion_postgres::pgwire::messages::data::DataRow;

use super::failure::Failure;

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyLayout {
    is_csv: bool,
    has_header: bool,
    delimiter: char,
    /// What stands for null.
    null: String,
    /// Of CSV.
    quote: char,
    escape: char,
}

/// The query of a COPY statement, and how its rows are written.
pub fn read(statement: Statement) -> Result<(Statement, CopyLayout), Failure> {
    let Statement::Copy { source, to: true, target: CopyTarget::Stdout, options, legacy_options, .. } =
        statement
    else {
        return Err(Failure::refused("COPY is only possible TO STDOUT: this server only reads"));
    };
    let layout = CopyLayout::of(options, legacy_options)?;
    let query = match source {
        CopySource::Query(query) => Statement::Query(query),
        CopySource::Table { table_name, columns } => {
            let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
            let columns = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
            let text = format!("SELECT {columns} FROM {table_name}");
            let parsed = Parser::parse_sql(&PostgreSqlDialect {}, &text);
            let query = parsed.map_err(|error| Failure::syntax(error.to_string()))?.pop();
            query.ok_or_else(|| Failure::syntax("COPY names no table"))?
        }
    };
    Ok((query, layout))
}

impl CopyLayout {
    fn of(options: Vec<CopyOption>, legacy: Vec<CopyLegacyOption>) -> Result<Self, Failure> {
        let is_csv = options.iter().any(
            |option| matches!(option, CopyOption::Format(name) if name.value.eq_ignore_ascii_case("csv")),
        ) || legacy.iter().any(|option| matches!(option, CopyLegacyOption::Csv(_)));
        let mut layout = Self {
            is_csv,
            has_header: false,
            delimiter: if is_csv { ',' } else { '\t' },
            null: if is_csv { String::new() } else { "\\N".to_owned() },
            quote: '"',
            escape: '"',
        };
        let mut escape = None;
        for option in options {
            match option {
                CopyOption::Format(name)
                    if ["csv", "text"].iter().any(|known| name.value.eq_ignore_ascii_case(known)) => {}
                CopyOption::Header(has_header) => layout.has_header = has_header,
                CopyOption::Delimiter(delimiter) => layout.delimiter = delimiter,
                CopyOption::Null(null) => layout.null = null,
                CopyOption::Quote(quote) if is_csv => layout.quote = quote,
                CopyOption::Escape(character) if is_csv => escape = Some(character),
                CopyOption::Encoding(name) if is_utf8(&name) => {}
                other => return Err(cannot(&other)),
            }
        }
        for option in legacy {
            match option {
                CopyLegacyOption::Csv(options) => {
                    for option in options {
                        match option {
                            CopyLegacyCsvOption::Header => layout.has_header = true,
                            CopyLegacyCsvOption::Quote(quote) => layout.quote = quote,
                            CopyLegacyCsvOption::Escape(character) => escape = Some(character),
                            other => return Err(cannot(&other)),
                        }
                    }
                }
                CopyLegacyOption::Delimiter(delimiter) => layout.delimiter = delimiter,
                CopyLegacyOption::Null(null) => layout.null = null,
                CopyLegacyOption::Header => layout.has_header = true,
                other => return Err(cannot(&other)),
            }
        }
        layout.escape = escape.unwrap_or(layout.quote);
        let characters = [layout.delimiter, layout.quote, layout.escape];
        if characters.iter().any(|character| !character.is_ascii() || "\r\n".contains(*character)) {
            return Err(Failure::new(
                "0A000",
                "COPY takes single ASCII characters as delimiter, quote and escape",
            ));
        }
        Ok(layout)
    }

    /// The names of the columns, if they come first.
    pub fn header<'n>(&self, names: impl Iterator<Item = &'n str>) -> Option<Bytes> {
        self.has_header.then(|| self.line(names.map(|name| Some(name.as_bytes()))))
    }

    /// A row whose values are texts.
    pub fn row(&self, row: &DataRow) -> Bytes {
        let mut data = &row.data[..];
        let values = std::iter::from_fn(|| {
            if data.remaining() < 4 {
                return None;
            }
            let length = usize::try_from(data.get_i32()).ok();
            // A length below zero is a null.
            Some(length.map(|length| {
                let (value, rest) = data.split_at(length.min(data.len()));
                data = rest;
                value
            }))
        });
        self.line(values)
    }

    fn line<'v>(&self, values: impl Iterator<Item = Option<&'v [u8]>>) -> Bytes {
        let mut line = BytesMut::new();
        for (at, value) in values.enumerate() {
            if at > 0 {
                line.extend([self.delimiter as u8]);
            }
            match value {
                None => line.extend(self.null.as_bytes()),
                Some(value) if self.is_csv => self.write_csv(value, &mut line),
                Some(value) => self.write_text(value, &mut line),
            }
        }
        line.extend(b"\n");
        line.freeze()
    }

    fn write_csv(&self, value: &[u8], line: &mut BytesMut) {
        let special = [self.delimiter as u8, self.quote as u8, b'\r', b'\n'];
        let is_plain = value != self.null.as_bytes()
            && value != b"\\."
            && !value.iter().any(|byte| special.contains(byte));
        if is_plain {
            return line.extend(value);
        }
        let quote = self.quote as u8;
        line.extend([quote]);
        for byte in value {
            if *byte == quote || *byte == self.escape as u8 {
                line.extend([self.escape as u8]);
            }
            line.extend([*byte]);
        }
        line.extend([quote]);
    }

    fn write_text(&self, value: &[u8], line: &mut BytesMut) {
        for byte in value {
            let letter = match byte {
                b'\\' => b'\\',
                0x08 => b'b',
                0x0C => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x0B => b'v',
                byte if *byte == self.delimiter as u8 => *byte,
                plain => {
                    line.extend([*plain]);
                    continue;
                }
            };
            line.extend([b'\\', letter]);
        }
    }
}

fn is_utf8(name: &str) -> bool {
    ["utf8", "utf-8"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn cannot(option: &impl std::fmt::Display) -> Failure {
    Failure::new("0A000", format!("COPY does not know {option} here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<(String, CopyLayout), Failure> {
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, text).unwrap();
        read(statements.pop().unwrap()).map(|(query, layout)| (query.to_string(), layout))
    }

    fn written(text: &str, values: &[Option<&str>]) -> String {
        let (_, layout) = read_text(text).unwrap();
        let mut row = DataRow::default();
        for value in values {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
            row.data.extend(length.to_be_bytes());
            row.data.extend(value.unwrap_or_default().as_bytes());
        }
        let header = layout.header(["a", "b c"].into_iter()).unwrap_or_default();
        String::from_utf8([header, layout.row(&row)].concat()).unwrap()
    }

    #[test]
    fn rows_are_written_as_postgresql_writes_them() {
        let values = [Some("a\tb\\"), None, Some(""), Some("x, \"y\"\n")];
        for (text, expected) in [
            ("COPY t TO STDOUT", "a\\tb\\\\\t\\N\t\tx, \"y\"\\n\n"),
            ("COPY t TO STDOUT (FORMAT csv)", "a\tb\\,,\"\",\"x, \"\"y\"\"\n\"\n"),
            (
                "COPY t TO STDOUT WITH (FORMAT csv, HEADER, DELIMITER ';', NULL '-', QUOTE '''', ESCAPE '\\')",
                "a;b c\na\tb\\;-;;'x, \"y\"\n'\n",
            ),
            ("COPY t TO STDOUT CSV HEADER", "a,b c\na\tb\\,,\"\",\"x, \"\"y\"\"\n\"\n"),
            ("COPY t TO STDOUT (DELIMITER '|', NULL '')", "a\\tb\\\\|||x, \"y\"\\n\n"),
        ] {
            assert_eq!(written(text, &values), expected, "{text}");
        }
    }

    #[test]
    fn only_what_a_query_says_is_copied_and_only_to_the_client() {
        assert_eq!(
            read_text("COPY public.\"T\" (a, \"B\") TO STDOUT").unwrap().0,
            "SELECT a, \"B\" FROM public.\"T\""
        );
        assert_eq!(read_text("COPY (SELECT 1) TO STDOUT").unwrap().0, "SELECT 1");
        for text in [
            "COPY t FROM STDIN",
            "COPY t TO '/tmp/x'",
            "COPY t TO PROGRAM 'id'",
            "COPY t FROM '/etc/passwd'",
            "COPY t TO STDOUT (FORMAT binary)",
            "COPY t TO STDOUT (FORMAT csv, FORCE_QUOTE (a))",
            "COPY t TO STDOUT BINARY",
        ] {
            assert!(read_text(text).is_err(), "{text}");
        }
    }
}
