//! The paper as PDF, set by typst as a library.
//!
//! Owns the press: fonts, template and standard library are read once and shared by all threads; a paper only brings
//! its texts, as a virtual JSON file, and its logo. No text from outside is ever read as markup. The document's date
//! and identity come from the paper, so the same paper gives the same bytes.

mod fonts;
mod world;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use typst::World;
use typst::diag::SourceDiagnostic;
use typst::foundations::{Bytes, Datetime, Smart};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, Timestamp};

use super::input::{PaperError, PaperInvoice};
use super::page::Page;

pub use fonts::FontError;
use fonts::Fonts;
use world::{Desk, Template};

/// Typst remembers what it set. What all papers share is asked for by each of them; what nobody asked for during as
/// many evictions as this is one paper's own and is forgotten, or memory would grow with every paper.
const UNUSED_EVICTIONS_MAX: usize = 2;
/// Papers between two evictions: each walks through all that is remembered.
const PAPERS_PER_EVICTION: usize = 32;

/// Sets papers. Make one and share it.
#[derive(Debug)]
pub struct Press {
    fonts: Fonts,
    template: Template,
    papers: AtomicUsize,
}

/// A PDF, and what its fonts could not show.
#[derive(Debug)]
pub(super) struct Pdf {
    pub bytes: Vec<u8>,
    pub missing_characters: Vec<char>,
}

impl Default for Press {
    fn default() -> Press {
        Press::with(Fonts::bundled())
    }
}

impl Press {
    /// With further fonts from a folder: for names in scripts that the bundled fonts lack.
    pub fn with_fonts_of(folder: &Path) -> Result<Press, FontError> {
        Ok(Press::with(Fonts::bundled_and(folder)?))
    }

    fn with(fonts: Fonts) -> Press {
        let template = Template::new();
        Press { fonts, template, papers: AtomicUsize::new(0) }
    }

    pub(super) fn pdf(&self, paper: &PaperInvoice, page: &Page, digest: &str) -> Result<Pdf, PaperError> {
        let set = self.set(paper, page)?;
        let options = PdfOptions {
            ident: Smart::Custom(digest.to_owned()),
            creator: Smart::Custom(Some("Meterhouse".to_owned())),
            timestamp: date_of(paper).map(Timestamp::new_utc),
            ..PdfOptions::default()
        };
        let bytes = typst_pdf::pdf(&set.document, &options);
        self.forget_now_and_then();
        let bytes = bytes.map_err(|errors| not_typeset(paper, &errors))?;
        Ok(Pdf { bytes, missing_characters: set.missing_characters })
    }

    /// The pages before they become a PDF.
    pub(super) fn set(&self, paper: &PaperInvoice, page: &Page) -> Result<Set, PaperError> {
        let (texts, missing_characters) = self.fonts.texts_of(page);
        let logo = paper.seller.logo.clone();
        let desk =
            Desk { template: &self.template, fonts: &self.fonts, texts: Bytes::from_string(texts), logo };
        let world: &dyn World = &desk;
        let compiled = typst::compile::<PagedDocument>(world);
        let document = compiled.output.map_err(|errors| not_typeset(paper, &errors))?;
        Ok(Set { document, missing_characters })
    }

    fn forget_now_and_then(&self) {
        let papers = self.papers.fetch_add(1, Ordering::Relaxed);
        if papers % PAPERS_PER_EVICTION == PAPERS_PER_EVICTION - 1 {
            typst::comemo::evict(UNUSED_EVICTIONS_MAX);
        }
    }
}

pub(super) struct Set {
    pub document: PagedDocument,
    pub missing_characters: Vec<char>,
}

/// A draft has no date of its own: the day after its period is one that never moves.
fn date_of(paper: &PaperInvoice) -> Option<Datetime> {
    let end_date = || paper.invoice.period.end_date.parse().ok();
    let date: jiff::civil::Date = paper.issue_date.or_else(end_date)?;
    let (month, day) = (date.month().cast_unsigned(), date.day().cast_unsigned());
    Datetime::from_ymd_hms(i32::from(date.year()), month, day, 0, 0, 0)
}

fn not_typeset(paper: &PaperInvoice, errors: &[SourceDiagnostic]) -> PaperError {
    let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
    PaperError::NotTypeset {
        tenant: paper.invoice.tenant.clone(),
        period: paper.invoice.period.name.clone(),
        message: messages.join("; "),
    }
}
