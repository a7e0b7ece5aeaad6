//! One row for each line, for spreadsheets and accounting programs (RFC 4180).
//!
//! Text from elsewhere cannot become a formula: a cell that begins like one gets a quote in front. Figures are written
//! by us, stay plain numbers with a point, and are never grouped.

use jiff::Timestamp;
use rating::exact::{Exact, Rounding};
use rating::line::LineItem;
use rating::money::Amount;

use super::input::{PaperInvoice, PaperKind};

const COLUMNS: [&str; 23] = [
    "document",
    "number",
    "issue_date",
    "tenant",
    "period",
    "line_key",
    "subscription",
    "price",
    "description",
    "dimensions",
    "span_start",
    "span_end",
    "quantity",
    "unit",
    "included",
    "billable_quantity",
    "list_amount",
    "amount_before_rounding",
    "currency",
    "amount",
    "credited",
    "taxed",
    "corrects",
];

/// A ratio without end is cut here; the JSON file has it whole.
const DECIMALS_MAX: u32 = 12;

pub(super) fn csv(paper: &PaperInvoice) -> String {
    let mut text = COLUMNS.join(",");
    text.push_str("\r\n");
    for (index, line) in paper.invoice.lines.iter().enumerate() {
        text.push_str(&row(paper, index, line).join(","));
        text.push_str("\r\n");
    }
    text
}

fn row(paper: &PaperInvoice, index: usize, line: &LineItem) -> Vec<String> {
    let document = match (paper.kind, paper.number.is_some()) {
        (PaperKind::Invoice, true) => "invoice",
        (PaperKind::CreditNote, true) => "credit_note",
        (_, false) => "draft",
    };
    let (invoice, trail) = (&paper.invoice, &line.trail);
    let dimensions: Vec<String> =
        line.key.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let corrects: Vec<&str> = paper
        .corrections
        .iter()
        .filter(|correction| correction.line == index)
        .map(|correction| correction.number.as_str())
        .collect();
    let is_measured = line.quantity.is_some();
    let measured = |quantity: &Exact| if is_measured { number(quantity) } else { String::new() };
    let drawn = trail.allowance.as_ref().map(|allowance| &allowance.drawn);
    let credited = invoice.credits.iter().filter(|used| used.line == index).map(|used| used.amount);
    let taxed = invoice.taxes.iter().filter(|tax| tax.line == index).map(|tax| tax.amount);
    let digits = line.currency.minor_digits();
    vec![
        document.to_owned(),
        text(paper.number.as_deref().unwrap_or_default()),
        paper.issue_date.map(|date| date.to_string()).unwrap_or_default(),
        text(&invoice.tenant),
        invoice.period.name.clone(),
        text(&line.key.to_string()),
        text(&line.key.subscription),
        text(&line.key.price),
        text(&line.description),
        text(&dimensions.join(" ")),
        instant(line.key.span.start_us),
        instant(line.key.span.end_us),
        measured(&trail.conversion.converted),
        if is_measured { text(&trail.conversion.unit) } else { String::new() },
        drawn.map(number).unwrap_or_default(),
        measured(&trail.billable),
        number(&trail.model_amount),
        number(&trail.line_rounding.before),
        line.currency.code().to_owned(),
        money(line.amount, digits),
        money(credited.sum(), digits),
        money(taxed.sum(), digits),
        text(&corrects.join(" ")),
    ]
}

fn money(amount: Amount, minor_digits: u32) -> String {
    let amount = Exact::from(amount).round_to_decimals(Rounding::HalfEven, minor_digits);
    amount.map(|amount| amount.to_string()).unwrap_or_default()
}

/// All decimals that there are, up to twelve; a whole number of any length stays whole.
fn number(number: &Exact) -> String {
    let step = Exact::ratio(1, 10_i128.pow(DECIMALS_MAX)).unwrap_or_default();
    number.round_to_step(Rounding::HalfEven, &step).to_string()
}

fn instant(instant_us: i64) -> String {
    Timestamp::from_microsecond(instant_us).map_or_else(|_| instant_us.to_string(), |time| time.to_string())
}

/// A text cell, harmless to spreadsheets and quoted where it must be.
fn text(cell: &str) -> String {
    const STARTS_A_FORMULA: [char; 11] =
        ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
    let visible = cell.trim_start_matches([' ', '\u{a0}', '\u{feff}', '\u{200b}']);
    let guard =
        if cell.starts_with(STARTS_A_FORMULA) || visible.starts_with(STARTS_A_FORMULA) { "'" } else { "" };
    let guarded = format!("{guard}{cell}");
    // A semicolon separates columns where the comma is the decimal mark.
    if guarded.contains([',', '"', '\r', '\n', ';', '\t']) {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cannot_become_formulas() {
        for (cell, expected) in [
            ("Acme", "Acme"),
            ("=1+2", "'=1+2"),
            ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
            ("+49 30", "'+49 30"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("  =1", "'  =1"),
            ("＝1", "'＝1"),
            ("a\nb", "\"a\nb\""),
            ("a;b", "\"a;b\""),
            ("'=1", "'=1"),
            ("", ""),
        ] {
            assert_eq!(text(cell), expected, "{cell:?}");
        }
    }

    #[test]
    fn figures_stay_figures() {
        for (written, expected) in
            [("-12.50", "-12.5"), ("1/3", "0.333333333333"), ("1000000", "1000000"), ("0", "0")]
        {
            assert_eq!(number(&written.parse().unwrap()), expected);
        }
        assert_eq!(money("-3".parse().unwrap(), 3), "-3.000");
    }
}
