//! Files for people, made from a rated invoice: PDF, HTML, CSV and JSON (DESIGN.md 3.9).
//!
//! Owns how an invoice looks. `PaperInvoice` is what goes in; `page` turns it into texts once, which PDF and HTML both
//! show, so the two cannot differ. Does not own the invoice's numbers (`rating`), its number or its dates (the book),
//! nor when files are written (`issue`). Reads no clock: the same input gives the same bytes.

mod amount_text;
mod csv;
mod date_text;
mod html;
mod input;
mod line_rows;
mod logo;
mod page;
mod pdf;
pub mod samples;
#[cfg(test)]
mod tests;
mod unit_text;
mod write;

pub use input::{Correction, PaperError, PaperInvoice, PaperKind, Party, Seller};
pub use logo::{Logo, LogoError};
pub use pdf::{FontError, Press};
pub use write::{PaperFormat, Papers, WrittenPapers, issued_name, render, write_papers};
