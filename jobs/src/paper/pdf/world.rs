//! What the page setter may see: the template, one paper's texts, its logo, the fonts, and no clock and no disk.

use typst::diag::{FileError, FileResult};
use typst::foundations::{Bytes, Datetime, Duration};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt, World};

use super::super::Logo;
use super::fonts::Fonts;

const TEMPLATE: &str = include_str!("invoice.typ");
/// Reads the texts. It is apart from the template so that the template is evaluated once and not for each paper.
const MAIN: &str = "#import \"invoice.typ\": paper\n#paper(json(\"texts.json\"))\n";

/// What all papers share.
#[derive(Debug)]
pub(super) struct Template {
    library: LazyHash<Library>,
    main: Source,
    layout: Source,
    texts: FileId,
    logos: [(&'static str, FileId); 3],
}

/// One paper being set.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub template: &'a Template,
    pub fonts: &'a Fonts,
    pub texts: Bytes,
    pub logo: Option<Logo>,
}

impl Template {
    pub fn new() -> Template {
        let logos = ["logo.png", "logo.jpg", "logo.svg"].map(|name| (name, file(name)));
        Template {
            library: LazyHash::new(Library::default()),
            main: Source::new(file("main.typ"), MAIN.to_owned()),
            layout: Source::new(file("invoice.typ"), TEMPLATE.to_owned()),
            texts: file("texts.json"),
            logos,
        }
    }
}

fn file(name: &str) -> FileId {
    let path = VirtualPath::new(name).expect("our own names are paths");
    RootedPath::new(VirtualRoot::Project, path).intern()
}

impl World for Desk<'_> {
    fn library(&self) -> &LazyHash<Library> {
        &self.template.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.fonts.book
    }

    fn main(&self) -> FileId {
        self.template.main.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        let sources = [&self.template.main, &self.template.layout];
        let found = sources.into_iter().find(|source| source.id() == id);
        found.cloned().ok_or(FileError::AccessDenied)
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        if id == self.template.texts {
            return Ok(self.texts.clone());
        }
        let logo = self.logo.as_ref().filter(|logo| {
            let mut known = self.template.logos.iter();
            known.any(|(name, known)| *known == id && *name == logo.file_name())
        });
        logo.map(|logo| Bytes::new(logo.bytes.clone())).ok_or(FileError::AccessDenied)
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.fonts.fonts.get(index).cloned()
    }

    /// Papers are dated by the book.
    fn today(&self, _: Option<Duration>) -> Option<Datetime> {
        None
    }
}
