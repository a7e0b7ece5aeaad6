//! Answers as files: each format, batch by batch, so that a large answer needs no memory.
//!
//! Owns the formats of answers, and that a file is complete or not there. Does not own reports for people on a terminal
//! (`output`), which it uses for tables: one of those starts anew after some rows, so its columns are as wide as the
//! widest of these.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, LineDelimited, NullableEncoder, WriterBuilder};
use arrow::json::{Encoder, EncoderFactory, EncoderOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::ValueEnum;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Number, Value};

use super::cells::Cells;
use crate::output::{Format, Rows};

/// A table for people starts anew after this many rows, so that it can be printed before all are known.
const TABLE_ROWS: usize = 1_000;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum AnswerFormat {
    /// Aligned columns for people.
    #[default]
    Table,
    /// RFC 4180, with a header line.
    Csv,
    /// One JSON array with an object per row; decimals are texts.
    Json,
    /// A JSON object per line; decimals are texts.
    Ndjson,
    /// Parquet, compressed with zstd.
    Parquet,
    /// A table in Markdown.
    Markdown,
}

impl From<Format> for AnswerFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Table => Self::Table,
            Format::Json => Self::Json,
            Format::Csv => Self::Csv,
        }
    }
}

/// Where an answer goes.
#[derive(Debug, Clone)]
pub(crate) enum Destination {
    Stdout,
    File(PathBuf),
}

impl Destination {
    pub fn of(path: Option<&Path>) -> Self {
        path.map_or(Self::Stdout, |path| Self::File(path.to_owned()))
    }

    /// Writes the whole answer. A file appears under its name once it is complete.
    pub async fn write(
        &self,
        answer: SendableRecordBatchStream,
        format: AnswerFormat,
        query: &str,
        money: &[String],
    ) -> Result<()> {
        match self {
            Self::Stdout => {
                let out = io::stdout();
                if format == AnswerFormat::Parquet && out.is_terminal() {
                    bail!(
                        "Parquet is nothing for a terminal: name a file with --output, or redirect the output"
                    );
                }
                let mut out = BufWriter::new(out);
                write(answer, format, query, money, &mut out).await?;
                out.flush()?;
            }
            Self::File(path) => {
                let cannot = || format!("cannot write {}", path.display());
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let part =
                    tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(cannot)?;
                let mut out = BufWriter::new(part);
                write(answer, format, query, money, &mut out).await?;
                let part = out.into_inner().map_err(io::IntoInnerError::into_error).with_context(cannot)?;
                persist(part, path).with_context(cannot)?;
            }
        }
        Ok(())
    }
}

/// Gives a complete file its name, and the rights that files have; temporary ones are their owner's alone.
fn persist(part: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    part.as_file().sync_all()?;
    let kept = part.persist(path).map_err(|error| error.error)?;
    kept.set_permissions(std::fs::Permissions::from_mode(0o644))
}

/// Writes an answer in a format; `money` are its columns of amounts, beside those that are known by their names.
pub(crate) async fn write(
    answer: SendableRecordBatchStream,
    format: AnswerFormat,
    query: &str,
    money: &[String],
    out: &mut (dyn Write + Send),
) -> Result<()> {
    let schema = answer.schema();
    match format {
        AnswerFormat::Table => to(&mut TableSink::new(&schema, money, out), answer, query).await,
        AnswerFormat::Markdown => to(&mut MarkdownSink::new(&schema, money, out)?, answer, query).await,
        AnswerFormat::Csv => to(&mut CsvSink::new(&schema, out)?, answer, query).await,
        AnswerFormat::Json => {
            to(&mut JsonSink { writer: json().build::<_, JsonArray>(out) }, answer, query).await
        }
        AnswerFormat::Ndjson => {
            to(&mut JsonSink { writer: json().build::<_, LineDelimited>(out) }, answer, query).await
        }
        AnswerFormat::Parquet => {
            let properties = WriterProperties::builder().set_compression(Compression::ZSTD(
                parquet::basic::ZstdLevel::try_new(1).unwrap_or_default(),
            ));
            let writer = ArrowWriter::try_new(out, schema, Some(properties.build()))?;
            to(&mut ParquetSink { writer: Some(writer) }, answer, query).await
        }
    }
}

/// What takes batches.
trait Sink {
    fn batch(&mut self, batch: &RecordBatch) -> Result<()>;

    fn finish(&mut self) -> Result<()>;
}

async fn to(sink: &mut dyn SendSink, mut answer: SendableRecordBatchStream, query: &str) -> Result<()> {
    while let Some(batch) = answer.try_next().await.map_err(|error| super::failed(&error, query))? {
        sink.batch(&batch)?;
    }
    sink.finish()
}

trait SendSink: Sink + Send {}

impl<S: Sink + Send> SendSink for S {}

fn json() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(DecimalsAsTexts))
}

/// Decimals as texts, since most readers of JSON make a float of a number: of 38 digits 16 would be left.
#[derive(Debug)]
struct DecimalsAsTexts;

impl EncoderFactory for DecimalsAsTexts {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        if !array.data_type().is_decimal() {
            return Ok(None);
        }
        let decimals = ArrayFormatter::try_new(array, &PLAIN)?;
        Ok(Some(NullableEncoder::new(Box::new(Quoted(decimals)), array.nulls().cloned())))
    }
}

static PLAIN: FormatOptions<'static> = FormatOptions::new();

struct Quoted<'a>(ArrayFormatter<'a>);

impl Encoder for Quoted<'_> {
    fn encode(&mut self, at: usize, out: &mut Vec<u8>) {
        out.extend(format!("\"{}\"", self.0.value(at)).into_bytes());
    }
}

struct JsonSink<W: Write, F: arrow::json::writer::JsonFormat> {
    writer: arrow::json::Writer<W, F>,
}

impl<W: Write, F: arrow::json::writer::JsonFormat> Sink for JsonSink<W, F> {
    fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.writer.write(batch)?)
    }

    fn finish(&mut self) -> Result<()> {
        self.writer.finish()?;
        Ok(self.writer.get_mut().flush()?)
    }
}

struct ParquetSink<W: Write + Send> {
    writer: Option<ArrowWriter<W>>,
}

impl<W: Write + Send> Sink for ParquetSink<W> {
    fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        if let Some(writer) = &mut self.writer {
            writer.write(batch)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            writer.close()?;
        }
        Ok(())
    }
}

/// CSV that a spreadsheet does not take for formulas.
struct CsvSink<W: Write> {
    writer: arrow::csv::Writer<W>,
}

impl<W: Write> CsvSink<W> {
    fn new(schema: &SchemaRef, out: W) -> Result<Self> {
        let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
        // The header stands there even if no row follows.
        writer.write(&RecordBatch::new_empty(Arc::clone(schema)))?;
        Ok(Self { writer })
    }
}

impl<W: Write> Sink for CsvSink<W> {
    fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.writer.write(&without_formulas(batch)?)?)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Spreadsheets run texts that begin like a formula. A quote before them keeps them texts; numbers stay as they are.
fn without_formulas(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| -> Result<ArrayRef> {
        let is_text = matches!(column.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        if !is_text {
            return Ok(Arc::clone(column));
        }
        let texts = cast(column, &DataType::Utf8)?;
        let texts: &StringArray = texts.as_string();
        if !texts.iter().flatten().any(is_formula) {
            return Ok(Arc::clone(column));
        }
        let safe = texts.iter().map(|text| text.map(safe_text));
        Ok(cast(&safe.collect::<StringArray>(), column.data_type())?)
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect::<Result<_>>()?)?)
}

fn safe_text(text: &str) -> Cow<'_, str> {
    if is_formula(text) { format!("'{text}").into() } else { text.into() }
}

/// What is a plain number is no formula.
fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) && text.parse::<rust_decimal::Decimal>().is_err()
}

struct TableSink<'m, W: Write> {
    schema: SchemaRef,
    money: &'m [String],
    rows: Rows,
    is_first: bool,
    out: W,
}

impl<'m, W: Write> TableSink<'m, W> {
    fn new(schema: &SchemaRef, money: &'m [String], out: W) -> Self {
        Self { schema: Arc::clone(schema), money, rows: table_of(schema), is_first: true, out }
    }
}

impl<W: Write> Sink for TableSink<'_, W> {
    fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let cells = Cells::of(batch, self.money)?;
        for row in 0..batch.num_rows() {
            let row = batch.columns().iter().enumerate().map(|(at, column)| {
                if column.is_null(row) {
                    return Ok(Value::Null);
                }
                let text = cells.text(at, row)?;
                let number = column.data_type().is_numeric().then(|| text.parse::<Number>().ok()).flatten();
                Ok(number.map_or(Value::String(text), Value::Number))
            });
            self.rows.push(row.collect::<Result<_>>()?);
            if self.rows.len() == TABLE_ROWS {
                self.rows.write(Format::Table, &mut self.out)?;
                (self.rows, self.is_first) = (table_of(&self.schema), false);
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.is_first || !self.rows.is_empty() {
            self.rows.write(Format::Table, &mut self.out)?;
        }
        Ok(())
    }
}

fn table_of(schema: &SchemaRef) -> Rows {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    Rows::new(&names)
}

struct MarkdownSink<'m, W: Write> {
    money: &'m [String],
    out: W,
}

impl<'m, W: Write> MarkdownSink<'m, W> {
    fn new(schema: &SchemaRef, money: &'m [String], mut out: W) -> Result<Self> {
        let names: Vec<String> = schema.fields().iter().map(|field| markdown_cell(field.name())).collect();
        let lines =
            schema.fields().iter().map(|field| if field.data_type().is_numeric() { "--:" } else { "---" });
        writeln!(out, "| {} |", names.join(" | "))?;
        writeln!(out, "|{}|", lines.collect::<Vec<_>>().join("|"))?;
        Ok(Self { money, out })
    }
}

impl<W: Write> Sink for MarkdownSink<'_, W> {
    fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let cells = Cells::of(batch, self.money)?;
        for row in 0..batch.num_rows() {
            let texts = (0..batch.num_columns()).map(|at| Ok(markdown_cell(&cells.text(at, row)?)));
            writeln!(self.out, "| {} |", texts.collect::<Result<Vec<_>>>()?.join(" | "))?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn markdown_cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn decimals_are_texts_in_json() {
        use arrow::array::{Decimal128Array, Int64Array};
        use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

        let values = Decimal128Array::from(vec![Some(i128::MAX / 2), None, Some(-5)]);
        let values = values.with_precision_and_scale(38, 12).unwrap();
        let columns: [(&str, ArrayRef); 2] =
            [("value", Arc::new(values)), ("samples", Arc::new(Int64Array::from(vec![7, 8, 9])))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        for (format, expected) in [
            (
                AnswerFormat::Ndjson,
                "{\"value\":\"85070591730234615865843651.857942052863\",\"samples\":7}\n\
                 {\"value\":null,\"samples\":8}\n{\"value\":\"-0.000000000005\",\"samples\":9}\n",
            ),
            (
                AnswerFormat::Json,
                "[{\"value\":\"85070591730234615865843651.857942052863\",\"samples\":7},\
                 {\"value\":null,\"samples\":8},{\"value\":\"-0.000000000005\",\"samples\":9}]",
            ),
        ] {
            let stream = futures::stream::iter([Ok(batch.clone())]);
            let answer = Box::pin(RecordBatchStreamAdapter::new(batch.schema(), stream));
            let mut out = Vec::new();
            write(answer, format, "", &[], &mut out).await.unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{format:?}");
        }
    }

    #[test]
    fn no_cell_is_a_formula() {
        for (text, expected) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("+1+1", "'+1+1"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("-12.5", "-12.5"),
            ("+7", "+7"),
            ("acme", "acme"),
            ("", ""),
        ] {
            assert_eq!(safe_text(text), expected, "{text:?}");
        }
        assert_eq!(markdown_cell("a|b\nc"), "a\\|b c");
    }
}
