//! Invoices and their lines as rows of the lake: Arrow builders, filled straight from the invoice.

use std::sync::Arc;

use ::sql::lake::{Table, VALUE_PRECISION, VALUE_SCALE};
use arrow::array::{
    ArrayRef, Decimal128Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;
use rating::exact::{Exact, Rounding};
use rating::invoice::Invoice;
use rating::line::LineItem;
use rating::money::Amount;

/// The state of an invoice that every run computes anew.
pub const DRAFT: &str = "draft";

/// An invoice with the texts that are made of it once.
#[derive(Debug)]
pub struct Draft {
    pub id: String,
    pub digest: String,
    pub document: String,
    pub invoice: Invoice,
}

/// Builders by the name of their column, so that a schema which changes is noticed at once.
#[derive(Debug)]
struct Columns {
    table: Table,
    builders: Vec<(&'static str, Builder)>,
    /// The next column of the row that is being written.
    at: usize,
}

#[derive(Debug)]
enum Builder {
    Text(StringBuilder),
    Integer(Int32Builder),
    Long(Int64Builder),
    Time(TimestampMicrosecondBuilder),
    Value(Decimal128Builder),
}

impl Columns {
    fn new(table: Table) -> Self {
        let stored = table.columns().iter().filter(|column| column.name != table.partition_column());
        let columns = stored.map(|column| {
            let builder = match column.kind.arrow_type() {
                DataType::Utf8 => Builder::Text(StringBuilder::new()),
                DataType::Int32 => Builder::Integer(Int32Builder::new()),
                DataType::Int64 => Builder::Long(Int64Builder::new()),
                DataType::Timestamp(..) => {
                    Builder::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC"))
                }
                DataType::Decimal128(..) => Builder::Value(
                    Decimal128Builder::new()
                        .with_data_type(DataType::Decimal128(VALUE_PRECISION, VALUE_SCALE)),
                ),
                other => unreachable!("no column of an invoice is {other}"),
            };
            (column.name, builder)
        });
        Self { table, builders: columns.collect(), at: 0 }
    }

    /// Columns are written in the order of the schema; naming each keeps that honest.
    fn next(&mut self, name: &str) -> &mut Builder {
        let (expected, builder) = &mut self.builders[self.at];
        assert_eq!(*expected, name, "columns are written in the table's order");
        self.at += 1;
        builder
    }

    fn text(&mut self, name: &str, text: &str) {
        self.optional_text(name, Some(text));
    }

    fn optional_text(&mut self, name: &str, text: Option<&str>) {
        match self.next(name) {
            Builder::Text(builder) => builder.append_option(text),
            other => unreachable!("{name} is {other:?}"),
        }
    }

    fn integer(&mut self, name: &str, number: usize) {
        match self.next(name) {
            Builder::Integer(builder) => builder.append_value(i32::try_from(number).unwrap_or(i32::MAX)),
            other => unreachable!("{name} is {other:?}"),
        }
    }

    fn long(&mut self, name: &str, number: Option<i64>) {
        match self.next(name) {
            Builder::Long(builder) => builder.append_option(number),
            other => unreachable!("{name} is {other:?}"),
        }
    }

    fn time(&mut self, name: &str, instant_us: i64) {
        match self.next(name) {
            Builder::Time(builder) => builder.append_value(instant_us),
            other => unreachable!("{name} is {other:?}"),
        }
    }

    fn value(&mut self, name: &str, value: Option<Amount>) {
        match self.next(name) {
            Builder::Value(builder) => builder.append_option(value.and_then(nano)),
            other => unreachable!("{name} is {other:?}"),
        }
    }

    fn end_row(&mut self) {
        assert_eq!(self.at, self.builders.len(), "a row has all columns");
        self.at = 0;
    }

    fn finish(&mut self) -> RecordBatch {
        let arrays = self.builders.iter_mut().map(|(_, builder)| -> ArrayRef {
            match builder {
                Builder::Text(builder) => Arc::new(builder.finish()),
                Builder::Integer(builder) => Arc::new(builder.finish()),
                Builder::Long(builder) => Arc::new(builder.finish()),
                Builder::Time(builder) => Arc::new(builder.finish()),
                Builder::Value(builder) => Arc::new(builder.finish()),
            }
        });
        RecordBatch::try_new(self.table.file_schema(), arrays.collect())
            .expect("builders stand in the schema's order")
    }
}

/// A decimal in billionths; nothing if it has more decimals than a value.
fn nano(value: Amount) -> Option<i128> {
    let value = value.normalize();
    let missing = (VALUE_SCALE as u32).checked_sub(value.scale())?;
    value.mantissa().checked_mul(10_i128.checked_pow(missing)?)
}

/// An exact number for people and queries; its text is kept beside it.
fn rounded(value: &Exact) -> Option<Amount> {
    value.round_to_decimals(Rounding::HalfEven, VALUE_SCALE as u32).ok()
}

/// Rows of both tables in the making.
#[derive(Debug)]
pub struct DraftColumns {
    invoices: Columns,
    lines: Columns,
    pub rows: usize,
}

impl Default for DraftColumns {
    fn default() -> Self {
        Self { invoices: Columns::new(Table::Invoices), lines: Columns::new(Table::InvoiceLines), rows: 0 }
    }
}

impl DraftColumns {
    pub fn push(&mut self, draft: &Draft) {
        self.rows += 1;
        self.push_invoice(draft);
        for (at, line) in draft.invoice.lines.iter().enumerate() {
            self.push_line(draft, at + 1, line);
        }
    }

    /// The rows so far of `invoices` and `invoice_lines`; the builders are empty again.
    pub fn finish(&mut self) -> (RecordBatch, RecordBatch) {
        self.rows = 0;
        (self.invoices.finish(), self.lines.finish())
    }

    fn push_invoice(&mut self, draft: &Draft) {
        let (invoice, to) = (&draft.invoice, &mut self.invoices);
        to.text("invoice", &draft.id);
        to.text("kind", invoice.kind.name());
        to.text("state", DRAFT);
        to.optional_text("number", None);
        to.text("tenant", &invoice.tenant);
        to.text("period", &invoice.period.name);
        to.text("period_end", &invoice.period.end_date);
        to.time("period_start_time", invoice.period.span.start_us);
        to.time("period_end_time", invoice.period.span.end_us);
        to.text("currency", invoice.currency.code());
        to.integer("lines", invoice.lines.len());
        to.value("total", Some(invoice.total));
        to.value("credited", Some(invoice.credited));
        to.value("taxed", Some(invoice.taxed));
        to.value("due", Some(invoice.due));
        to.integer("warnings", invoice.warnings.len());
        let provenance = &invoice.provenance;
        to.text("table_id", &provenance.table_id);
        to.long("table_version", Some(provenance.table_version));
        to.text("catalog_hash", &provenance.catalog_hash);
        to.text("book_hash", &provenance.book_hash);
        to.text("program_version", &provenance.program_version);
        to.text("digest", &draft.digest);
        to.text("document", &draft.document);
        to.end_row();
    }

    fn push_line(&mut self, draft: &Draft, number: usize, line: &LineItem) {
        let to = &mut self.lines;
        to.text("invoice", &draft.id);
        to.text("invoice_digest", &draft.digest);
        to.integer("line", number);
        to.text("line_key", &line.key.to_string());
        to.text("tenant", &line.key.tenant);
        to.text("period", &line.key.period);
        to.text("subscription", &line.key.subscription);
        to.text("price", &line.key.price);
        to.text("price_source", line.price_source.as_deref().unwrap_or_default());
        to.text("description", &line.description);
        to.time("span_start", line.key.span.start_us);
        to.time("span_end", line.key.span.end_us);
        let used = line.quantity.as_ref();
        let dimensions = used
            .filter(|used| !used.dimensions.is_empty())
            .map(|used| serde_json::to_string(&used.dimensions).expect("a map of texts is JSON"));
        to.optional_text("meter", used.map(|used| used.meter.as_str()));
        to.optional_text("measure", used.map(|used| used.measure.as_str()));
        to.optional_text("dimensions", dimensions.as_deref());
        to.optional_text("unit", used.map(|used| used.unit.as_str()));
        to.value("quantity", used.and_then(|used| rounded(&used.value)));
        to.optional_text("quantity_exact", used.map(|used| used.value.to_string()).as_deref());
        to.long("samples", used.map(|used| used.samples.count.cast_signed()));
        let trail = &line.trail;
        to.optional_text("billable_unit", used.map(|_| trail.conversion.unit.as_str()));
        to.value("billable", used.and_then(|_| rounded(&trail.billable)));
        to.optional_text("billable_exact", used.map(|_| trail.billable.to_string()).as_deref());
        to.text("currency", line.currency.code());
        to.value("amount", Some(line.amount));
        to.end_row();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_digits_or_are_left_out() {
        for (text, expected) in [
            ("0.000000001", Some(1)),
            ("-12.50", Some(-12_500_000_000)),
            ("1.0000000000", Some(1_000_000_000)),
            ("0.0000000001", None),
            ("79228162514264337593543950335", Some(79_228_162_514_264_337_593_543_950_335_000_000_000)),
        ] {
            assert_eq!(nano(text.parse().unwrap()), expected, "{text}");
        }
        let third: Exact = "1/3".parse().unwrap();
        assert_eq!(rounded(&third).unwrap().to_string(), "0.333333333");
        let huge: Exact = "79228162514264337593543950336".parse().unwrap();
        assert_eq!(rounded(&huge), None);
    }

    #[test]
    fn empty_builders_make_empty_batches_of_the_right_schema() {
        let (invoices, lines) = DraftColumns::default().finish();
        assert_eq!((invoices.num_rows(), lines.num_rows()), (0, 0));
    }
}
