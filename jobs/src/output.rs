//! What jobs print: tables on stdout as text, JSON or CSV.
//!
//! Owns the formats, so that every job's `--format` means the same. Messages for people go to stderr and are
//! not this module's concern.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::ContentArrangement;
use serde_json::{Map, Value};

/// A line below the header and nothing else, so that rows can be copied and searched.
const PRESET: &str = "     ──            ";

/// How a table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// One JSON array with an object per row.
    Json,
    /// RFC 4180, with a header line.
    Csv,
}

/// Rows to print. Cells are JSON values, so that numbers stay numbers where the format knows them.
#[derive(Debug, Clone)]
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Rows {
    pub fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|column| (*column).to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row, which must have one cell per column.
    pub fn push(&mut self, cells: Vec<Value>) {
        assert_eq!(cells.len(), self.columns.len(), "a row has one cell per column");
        self.rows.push(cells);
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Table => self.write_table(out),
            Format::Json => self.write_json(out),
            Format::Csv => self.write_csv(out),
        }
    }

    /// Prints to stdout.
    pub fn print(&self, format: Format) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.write(format, &mut out)?;
        out.flush()
    }

    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = comfy_table::Table::new();
        table.load_preset(PRESET).set_header(&self.columns);
        // Cells are only broken to fit a terminal: what a script reads stays on its line.
        if let Some((terminal_size::Width(width), _)) = terminal_size::terminal_size_of(io::stdout()) {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        for row in &self.rows {
            table.add_row(row.iter().map(text));
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            let is_number = self.rows.iter().all(|row| row[index].is_number() || row[index].is_null());
            if is_number && !self.rows.is_empty() {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
        }
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let object = |row: &Vec<Value>| -> Map<String, Value> {
            self.columns.iter().cloned().zip(row.iter().cloned()).collect()
        };
        let objects: Vec<_> = self.rows.iter().map(object).collect();
        serde_json::to_writer_pretty(&mut *out, &objects)?;
        writeln!(out)
    }

    fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let header: Vec<_> = self.columns.iter().map(|column| csv_cell(column)).collect();
        writeln!(out, "{}", header.join(","))?;
        for row in &self.rows {
            let cells: Vec<_> = row.iter().map(|cell| csv_cell(&text(cell))).collect();
            writeln!(out, "{}", cells.join(","))?;
        }
        Ok(())
    }
}

fn text(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_shows_the_same_rows() {
        let mut rows = Rows::new(&["meter", "events"]);
        rows.push(vec!["storage, hot".into(), 12.into()]);
        rows.push(vec![Value::Null, 7.into()]);
        let written = |format| {
            let mut out = Vec::new();
            rows.write(format, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(Format::Csv), "meter,events\n\"storage, hot\",12\n,7\n");
        let json: Value = serde_json::from_str(&written(Format::Json)).unwrap();
        assert_eq!(json[0]["meter"], "storage, hot");
        assert_eq!(json[1]["events"], 7);
        let table = written(Format::Table);
        assert!(table.contains("\n storage, hot       12\n"), "{table}");
    }
}
