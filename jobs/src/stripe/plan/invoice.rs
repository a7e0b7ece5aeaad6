//! Invoices in Stripe: a draft, an item for each line, credit and tax, and a last step that compares before it closes.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::{Plan, PlanError};
use crate::stripe::record::{RecordContent, RecordKind, StripeRecord, bounded};
use crate::stripe::request::{self, InvoiceHead, ItemParts};

/// Stripe takes 250 items on an invoice.
const ITEMS_MAX: usize = 250;
const METADATA_CHARACTERS_MAX: usize = 500;
/// Stripe cuts what is longer.
const DESCRIPTION_CHARACTERS_MAX: usize = 500;

struct Item {
    amount_minor: i64,
    description: String,
}

impl Plan<'_> {
    /// The invoice with the lines at the given places; nothing if there are none.
    pub(super) fn invoice_records(&self, lines: &[usize]) -> Result<Vec<StripeRecord>, PlanError> {
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        self.check_pdf_link()?;
        let items = shortened(self.items(lines)?, self.issued.number);
        let total: i64 = items.iter().map(|item| item.amount_minor).sum();
        self.check_total(lines, total)?;
        let base = format!("{}/{}", self.customer.customer, self.issued.number);
        let group = format!("{}/invoice/{}", self.customer.customer, self.issued.number);
        let draft = self.draft(&base);
        let draft_key = draft.key();
        let mut records = vec![StripeRecord::new(draft.key(), group.clone(), 0, draft.content)];
        for (index, item) in items.into_iter().enumerate() {
            let key = bounded(&format!("{base}/item/{index}"));
            let content = self.item(&key, item);
            records.push(Self::chained(key, &group, content, &records, &draft_key));
        }
        let key = bounded(&format!("{base}/close"));
        let content = self.close(total);
        records.push(Self::chained(key, &group, content, &records, &draft_key));
        Ok(records)
    }

    fn items(&self, lines: &[usize]) -> Result<Vec<Item>, PlanError> {
        let invoice = self.issued.invoice;
        let mut items = Vec::new();
        for line in lines.iter().map(|&index| &invoice.lines[index]) {
            let amount_minor = self.minor_units(line.amount, &line.key.to_string())?;
            items.push(Item { amount_minor, description: line.description.clone() });
        }
        for used in invoice.credits.iter().filter(|used| lines.contains(&used.line)) {
            let amount_minor = -self.minor_units(used.amount, "a credit")?;
            let paid = &invoice.lines[used.line].description;
            items.push(Item { amount_minor, description: format!("Credit {}: {paid}", used.credit) });
        }
        // One item for each tax and rate, as people expect it on an invoice.
        let mut taxes: BTreeMap<(&str, Decimal), i64> = BTreeMap::new();
        for tax in invoice.taxes.iter().filter(|tax| lines.contains(&tax.line)) {
            let amount_minor = self.minor_units(tax.amount, "a tax")?;
            *taxes.entry((&tax.name, tax.rate_percent)).or_default() += amount_minor;
        }
        items.extend(
            taxes
                .into_iter()
                .map(|((name, _), amount_minor)| Item { amount_minor, description: name.to_owned() }),
        );
        Ok(items)
    }

    /// Where every line goes this way, Stripe's invoice is ours to the cent.
    fn check_total(&self, lines: &[usize], sent: i64) -> Result<(), PlanError> {
        let invoice = self.issued.invoice;
        let due = self.minor_units(invoice.due, "the amount due")?;
        if lines.len() == invoice.lines.len() && sent != due {
            return Err(PlanError::Total { number: self.number(), sent, due });
        }
        Ok(())
    }

    fn check_pdf_link(&self) -> Result<(), PlanError> {
        let characters = self.issued.pdf_link.map_or(0, |link| link.chars().count());
        if characters > METADATA_CHARACTERS_MAX {
            return Err(PlanError::PdfLink { number: self.number(), characters });
        }
        Ok(())
    }

    fn draft(&self, base: &str) -> Draft {
        let key = bounded(&format!("{base}/draft"));
        let request = request::invoice(&InvoiceHead {
            key: &key,
            customer: &self.customer.customer,
            currency: self.currency().code(),
            number: self.issued.number,
            pdf_link: self.issued.pdf_link,
            days_until_due: self.catalog.stripe_invoices.days_until_due,
        });
        let content = self.content(RecordKind::Invoice, request, format!("Invoice {}", self.issued.number));
        Draft { key, content }
    }

    fn item(&self, key: &str, item: Item) -> RecordContent {
        let request = request::invoice_item(&ItemParts {
            key,
            customer: &self.customer.customer,
            currency: self.currency().code(),
            amount_minor: item.amount_minor,
            description: &item.description,
            on_our_invoice: true,
        });
        let content = self.content(RecordKind::InvoiceItem, request, item.description);
        RecordContent { amount_minor: Some(item.amount_minor), ..content }
    }

    fn close(&self, total: i64) -> RecordContent {
        let (kind, request) = if self.catalog.stripe_invoices.finalize {
            // Stripe then sends or charges it.
            (RecordKind::InvoiceFinalize, request::finalize_invoice(true))
        } else {
            (RecordKind::InvoiceCheck, request::read_invoice())
        };
        let content = self.content(kind, request, format!("Invoice {}", self.issued.number));
        RecordContent { amount_minor: Some(total), ..content }
    }

    /// Told after the last record, about the draft.
    fn chained(
        key: String,
        group: &str,
        content: RecordContent,
        before: &[StripeRecord],
        draft_key: &str,
    ) -> StripeRecord {
        let after = before.last().map(|record| record.key.clone());
        let content = RecordContent { after, refers_to: Some(draft_key.to_owned()), ..content };
        StripeRecord::new(key, group.to_owned(), before.len() as i64, content)
    }
}

struct Draft {
    key: String,
    content: RecordContent,
}

impl Draft {
    fn key(&self) -> String {
        self.key.clone()
    }
}

/// At most as many items as Stripe takes: the last one stands for all that are left.
fn shortened(mut items: Vec<Item>, number: &str) -> Vec<Item> {
    if items.len() > ITEMS_MAX {
        let rest = items.split_off(ITEMS_MAX - 1);
        items.push(Item {
            amount_minor: rest.iter().map(|item| item.amount_minor).sum(),
            description: format!("{} further lines of invoice {number}", rest.len()),
        });
    }
    for item in &mut items {
        if item.description.chars().count() > DESCRIPTION_CHARACTERS_MAX {
            item.description =
                item.description.chars().take(DESCRIPTION_CHARACTERS_MAX - 1).chain(['…']).collect();
        }
    }
    items
}
