//! An invoice as plain text.

use std::fmt::Write as _;

use rating::exact::{Exact, Rounding};
use rating::invoice::InvoiceKind;
use rating::line::LineItem;

use super::stored::StoredInvoice;

/// The whole invoice, as wide as its longest line needs.
pub fn invoice(stored: &StoredInvoice) -> String {
    let invoice = &stored.invoice;
    let mut text = String::new();
    let period = &invoice.period;
    let provenance = &invoice.provenance;
    let mut say = |line: String| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    let kind = if invoice.kind == InvoiceKind::CreditNote { "Credit note" } else { "Invoice" };
    match &stored.number {
        Some(number) => say(format!("{kind} {number} ({}), id {}", stored.state, stored.id)),
        None => say(format!("{kind} {} ({})", stored.id, stored.state)),
    }
    say(format!("Tenant  {}", invoice.tenant));
    say(format!("Period  {} until {}, in {}", period.name, period.end_date, invoice.currency));
    say(String::new());
    let mut rows = vec![["", "", "used", "included", "billed", "amount"].map(str::to_owned).to_vec()];
    rows.extend(invoice.lines.iter().enumerate().map(|(at, line)| line_cells(at + 1, line)));
    let sum = |name: &str, amount: &dyn std::fmt::Display| {
        vec![String::new(), name.to_owned(), String::new(), String::new(), String::new(), amount.to_string()]
    };
    let lines = rows.len();
    rows.push(sum("Total", &invoice.total));
    if !invoice.credited.is_zero() {
        rows.push(sum("Credits", &-invoice.credited));
    }
    for (name, rate, amount) in taxes(stored) {
        rows.push(sum(&format!("{name} ({rate} %)"), &amount));
    }
    rows.push(sum("Due", &invoice.due));
    for line in table(&rows, lines) {
        say(line);
    }
    if !invoice.warnings.is_empty() {
        say(String::new());
        say("Warnings".to_owned());
        for warning in &invoice.warnings {
            say(format!("- {warning}"));
        }
    }
    say(String::new());
    say(format!(
        "From version {} of usage_events {}, catalog {}, meterhouse {}",
        provenance.table_version,
        provenance.table_id,
        provenance.catalog_hash.get(..16).unwrap_or(&provenance.catalog_hash),
        provenance.program_version
    ));
    say(format!("Digest {}", stored.digest));
    text
}

/// One row per tax, over all lines.
fn taxes(stored: &StoredInvoice) -> Vec<(String, String, String)> {
    let mut sums: Vec<(String, String, Exact)> = Vec::new();
    for tax in &stored.invoice.taxes {
        let rate = tax.rate_percent.normalize().to_string();
        match sums.iter_mut().find(|(name, known, _)| *name == tax.name && *known == rate) {
            Some((.., sum)) => *sum += &Exact::from(tax.amount),
            None => sums.push((tax.name.clone(), rate, Exact::from(tax.amount))),
        }
    }
    let digits = stored.invoice.currency.minor_digits();
    let shown = |sum: Exact| {
        sum.round_to_decimals(Rounding::HalfEven, digits)
            .map_or_else(|_| sum.to_string(), |sum| sum.to_string())
    };
    sums.into_iter().map(|(name, rate, sum)| (name, rate, shown(sum))).collect()
}

fn line_cells(number: usize, line: &LineItem) -> Vec<String> {
    let trail = &line.trail;
    let (mut used, mut included, mut billed) = (String::new(), String::new(), String::new());
    if line.quantity.is_some() {
        let unit = &trail.conversion.unit;
        used = format!("{} {unit}", short(&trail.conversion.converted));
        included = trail.allowance.as_ref().map(|drawn| short(&drawn.drawn)).unwrap_or_default();
        billed = short(&trail.billable);
    }
    let description = match &line.corrects {
        None => line.description.clone(),
        Some(corrects) => format!(
            "{} (was {}, is now {}: {})",
            line.description,
            corrects.old,
            corrects.new,
            corrects.cause.text()
        ),
    };
    vec![number.to_string(), description, used, included, billed, line.amount.to_string()]
}

/// Three decimals are enough on paper; `explain` has them all.
fn short(value: &Exact) -> String {
    value
        .round_to_decimals(Rounding::HalfEven, 3)
        .map_or_else(|_| value.to_string(), |rounded| rounded.normalize().to_string())
}

/// Aligned columns, numbers to the right, with a rule below the header and below the lines.
fn table(rows: &[Vec<String>], lines: usize) -> Vec<String> {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let rule = "─".repeat(widths.iter().sum::<usize>() + 2 * 5);
    let mut text = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        if number == 1 || (number == lines && lines > 1) {
            text.push(rule.clone());
        }
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[at] - cell.chars().count());
            let gap = if at == 0 { "" } else { "  " };
            // Writing to a string cannot fail.
            let _ = match at {
                1 => write!(line, "{gap}{cell}{padding}"),
                _ => write!(line, "{gap}{padding}{cell}"),
            };
        }
        text.push(line);
    }
    text
}
