//! The files of a paper: which there are, what they are called, and writing them into a folder.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rating::invoice::canonical;

use super::input::{PaperError, PaperInvoice, PaperKind};
use super::page;
use super::pdf::Press;
use super::{csv, html};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PaperFormat {
    Pdf,
    Html,
    Csv,
    /// The canonical JSON, whose digest the papers name.
    Json,
}

/// The files of a paper, not yet anywhere.
#[derive(Debug)]
pub struct Papers {
    /// Name and content, in the order of the formats.
    pub files: Vec<(String, Vec<u8>)>,
    /// What the issuer should know; empty most of the time.
    pub warnings: Vec<String>,
}

/// The files of a paper in their folder.
#[derive(Debug)]
pub struct WrittenPapers {
    pub files: Vec<PathBuf>,
    pub warnings: Vec<String>,
}

impl PaperFormat {
    pub const ALL: [PaperFormat; 4] =
        [PaperFormat::Pdf, PaperFormat::Html, PaperFormat::Csv, PaperFormat::Json];

    pub fn extension(self) -> &'static str {
        match self {
            PaperFormat::Pdf => "pdf",
            PaperFormat::Html => "html",
            PaperFormat::Csv => "csv",
            PaperFormat::Json => "json",
        }
    }
}

/// Makes the files of a paper. The same paper and fonts give the same bytes.
pub fn render(press: &Press, paper: &PaperInvoice, formats: &[PaperFormat]) -> Result<Papers, PaperError> {
    paper.check()?;
    let canonical = paper.invoice.canonical_json().map_err(|source| PaperError::NotCanonical {
        tenant: paper.invoice.tenant.clone(),
        period: paper.invoice.period.name.clone(),
        source,
    })?;
    let digest = canonical::digest(&canonical);
    let page = page::page(paper, &digest);
    let name = file_name(paper);
    let mut papers = Papers { files: Vec::new(), warnings: Vec::new() };
    for format in formats {
        let bytes = match format {
            PaperFormat::Pdf => {
                let pdf = press.pdf(paper, &page, &digest)?;
                papers.warnings.extend(missing_warning(paper, &pdf.missing_characters));
                pdf.bytes
            }
            PaperFormat::Html => html::html(&page, paper.seller.logo.as_ref()).into_bytes(),
            PaperFormat::Csv => csv::csv(paper).into_bytes(),
            PaperFormat::Json => canonical.clone().into_bytes(),
        };
        papers.files.push((format!("{name}.{}", format.extension()), bytes));
    }
    Ok(papers)
}

/// Writes the files of a paper into a folder that exists. Each appears whole or not at all; one that is there already
/// is replaced.
pub fn write_papers(
    press: &Press,
    folder: &Path,
    paper: &PaperInvoice,
    formats: &[PaperFormat],
) -> Result<WrittenPapers, PaperError> {
    let papers = render(press, paper, formats)?;
    let mut files = Vec::new();
    for (name, bytes) in papers.files {
        let path = folder.join(name);
        write_whole(folder, &path, &bytes)
            .map_err(|source| PaperError::NotWritten { path: path.display().to_string(), source })?;
        files.push(path);
    }
    Ok(WrittenPapers { files, warnings: papers.warnings })
}

fn write_whole(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut builder = tempfile::Builder::new();
    // As any new file: whoever may read the folder's files may read this one.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

fn missing_warning(paper: &PaperInvoice, missing: &[char]) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    let shown: String = missing.iter().take(20).collect();
    let more = missing.len().saturating_sub(20);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let tenant = &paper.invoice.tenant;
    Some(format!(
        "tenant {tenant}: no font has {shown}{more}; the PDF marks them: name a folder of fonts that do as `issuer.fonts`"
    ))
}

/// The number, or what a draft is of. No two papers share a name, and none leaves its folder: whatever is not a plain
/// letter, digit, dot or hyphen is written by its bytes.
fn file_name(paper: &PaperInvoice) -> String {
    match &paper.number {
        Some(number) => issued_name(paper.kind, number),
        None => {
            let (tenant, period) = (plain(&paper.invoice.tenant), plain(&paper.invoice.period.name));
            format!("draft-{}_{tenant}_{period}", kind_name(paper.kind))
        }
    }
}

/// What the files of an issued paper are called, without their extensions.
pub fn issued_name(kind: PaperKind, number: &str) -> String {
    format!("{}_{}", kind_name(kind), plain(number))
}

fn kind_name(kind: PaperKind) -> &'static str {
    match kind {
        PaperKind::Invoice => "invoice",
        PaperKind::CreditNote => "credit-note",
    }
}

/// File systems take 255 bytes of name; what is longer keeps its beginning and is told apart by its hash.
const NAME_BYTES_MAX: usize = 96;

fn plain(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.') {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02x}").expect("writing to a string");
        }
    }
    if name.len() > NAME_BYTES_MAX {
        name.truncate(NAME_BYTES_MAX);
        name.push_str(&blake3::hash(text.as_bytes()).to_hex()[..16]);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder_and_differ() {
        assert_eq!(plain("R-2026-0007"), "R-2026-0007");
        assert_eq!(plain("../../etc/passwd"), "..%2f..%2fetc%2fpasswd");
        assert_eq!(plain("a_b"), "a%5fb");
        assert_eq!(plain("a\0b"), "a%00b");
        let long = |last: char| plain(&format!("{}{last}", "ü".repeat(300)));
        assert_ne!(long('a'), long('b'));
        assert!(long('a').len() < 120);
    }
}
