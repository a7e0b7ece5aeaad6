//! `[issuer]`: who issues the invoices, as their papers show it.
//!
//! Owns the settings and making a seller and a press of them. Does not own how papers look (`paper`).

use std::path::PathBuf;

use jiff::civil::Date;
use jiff::{SignedDuration, ToSpan as _};
use url::Url;

use super::diagnostic::Mistake;
use super::reader::Reader;
use super::value;
use crate::paper::{FontError, Logo, LogoError, Party, Press, Seller};
use crate::rate::apart::CorrectionsBy;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// Whose numbers these are: each issuer counts for itself.
    pub key: String,
    /// Stands before every number.
    pub number_prefix: String,
    /// Stands before every number of a credit note; these are counted apart.
    pub credit_note_prefix: String,
    /// How long after a period's end its drafts become invoices.
    pub grace: SignedDuration,
    /// So many periods before the one that is rated are corrected; 0 for none.
    pub correct_periods: u32,
    /// How the customer gets back what an issued invoice said too much.
    pub corrections: CorrectionsBy,
    /// Without a name nothing can be issued.
    pub name: Option<String>,
    pub address: Vec<String>,
    pub tax_id: Option<String>,
    pub email: Option<String>,
    /// Where to pay, line by line.
    pub bank: Vec<String>,
    pub payment_terms: Option<String>,
    /// Days from the day of issue until payment is due.
    pub payment_days: Option<u64>,
    /// A PNG, JPEG or SVG file.
    pub logo: Option<PathBuf>,
    /// A folder of further fonts, for scripts that the bundled ones lack.
    pub fonts: Option<PathBuf>,
    /// Where the lake's papers are served to customers.
    pub papers_url: Option<Url>,
}

impl IssuerConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> IssuerConfig {
        let number_prefix = reader.optional("issuer", "number_prefix", value::TEXT).unwrap_or_default();
        let credit_note_prefix = reader.setting("issuer", "credit_note_prefix", value::TEXT, "CN-");
        if credit_note_prefix == number_prefix {
            let message =
                "`issuer.credit_note_prefix`: invoices have the same, so numbers would mean two things";
            let hint = "choose another one: credit notes are counted apart from invoices";
            reader.report(Mistake::new(reader.last_origin(), message).hint(hint));
        }
        IssuerConfig {
            key: reader.setting("issuer", "key", value::TEXT, "main"),
            number_prefix,
            credit_note_prefix,
            grace: reader.setting("issuer", "grace", value::TOLERANCE, "72 h"),
            correct_periods: reader.setting("issuer", "correct_periods", value::PERIODS, "3"),
            corrections: reader.setting("issuer", "corrections", value::CORRECTIONS, "next_invoice"),
            name: reader.optional("issuer", "name", value::TEXT),
            address: read_lines(reader, "address"),
            tax_id: reader.optional("issuer", "tax_id", value::TEXT),
            email: reader.optional("issuer", "email", value::TEXT),
            bank: read_lines(reader, "bank"),
            payment_terms: reader.optional("issuer", "payment_terms", value::TEXT),
            payment_days: reader.optional("issuer", "payment_days", value::COUNT),
            logo: read_path(reader, "logo"),
            fonts: read_path(reader, "fonts"),
            papers_url: reader.optional("issuer", "papers_url", value::HTTP),
        }
    }

    /// The seller of the papers; reads the logo.
    pub fn seller(&self) -> Result<Seller, LogoError> {
        Ok(Seller {
            party: Party {
                name: self.name.clone().unwrap_or_default(),
                address: self.address.clone(),
                tax_id: self.tax_id.clone(),
                email: self.email.clone(),
            },
            bank: self.bank.clone(),
            logo: self.logo.as_deref().map(Logo::read).transpose()?,
        })
    }

    /// What sets the papers; reads the fonts. Make one and keep it.
    pub fn press(&self) -> Result<Press, FontError> {
        match &self.fonts {
            Some(folder) => Press::with_fonts_of(folder),
            None => Ok(Press::default()),
        }
    }

    /// When an invoice of that day is due; nothing without `payment_days`.
    pub fn due_date(&self, issue_date: Date) -> Option<Date> {
        let days = i64::try_from(self.payment_days?).ok()?;
        issue_date.checked_add(days.days()).ok()
    }
}

fn read_lines(reader: &mut Reader<'_>, key: &'static str) -> Vec<String> {
    let lines = reader.optional("issuer", key, value::LINES);
    if let (Some(lines), Some(setting)) = (&lines, reader.settings.last_mut()) {
        setting.value = Some(lines.join(" / "));
    }
    lines.unwrap_or_default()
}

fn read_path(reader: &mut Reader<'_>, key: &'static str) -> Option<PathBuf> {
    let path = reader.optional("issuer", key, value::TEXT)?;
    Some(reader.resolve(&path, &reader.last_origin()))
}
