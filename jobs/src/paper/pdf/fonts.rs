//! The fonts of the PDF, and what happens to characters that none of them has.
//!
//! A font shows a character that it lacks as an empty box, and nobody notices. Here each text is looked through
//! first: what no font has is replaced by a visible mark, the paper says so, and the caller is told which characters.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use typst::foundations::Bytes;
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;

use super::super::page::Page;

/// Stands for a character that no font has.
pub(super) const MARK: char = '\u{25a1}';
/// A word longer than this may be broken anywhere, for it could be wider than its column.
const UNBROKEN_MAX: usize = 40;

#[derive(Debug)]
pub(super) struct Fonts {
    pub book: LazyHash<FontBook>,
    pub fonts: Vec<Font>,
}

#[derive(Debug, thiserror::Error)]
pub enum FontError {
    #[error("cannot read the fonts of {path}")]
    Unreadable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not a font that a PDF can carry (.ttf, .otf, .ttc)")]
    NotAFont { path: String },
    #[error("the folder {path} holds no font (.ttf, .otf, .ttc)")]
    NoFonts { path: String },
}

impl Fonts {
    pub fn bundled() -> Fonts {
        // The mathematical ones have symbols and no text.
        let fonts = typst_assets::fonts().flat_map(|bytes| Font::iter(Bytes::new(bytes)));
        Fonts::of(fonts.filter(|font| !font.info().family.contains("Math")).collect())
    }

    /// Further fonts come after the bundled ones: they only help out.
    pub fn bundled_and(folder: &Path) -> Result<Fonts, FontError> {
        let unreadable = |path: &Path| {
            let path = path.display().to_string();
            move |source| FontError::Unreadable { path, source }
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
            paths.push(entry.map_err(unreadable(folder))?.path());
        }
        let is_font = |path: &&Path| {
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            ["ttf", "otf", "ttc", "otc"].contains(&extension.to_ascii_lowercase().as_str())
        };
        paths.sort();
        let mut fonts = Fonts::bundled().fonts;
        let bundled = fonts.len();
        for path in paths.iter().map(std::path::PathBuf::as_path).filter(is_font) {
            let bytes = Bytes::new(std::fs::read(path).map_err(unreadable(path))?);
            let before = fonts.len();
            fonts.extend(Font::iter(bytes));
            if fonts.len() == before {
                return Err(FontError::NotAFont { path: path.display().to_string() });
            }
        }
        if fonts.len() == bundled {
            return Err(FontError::NoFonts { path: folder.display().to_string() });
        }
        Ok(Fonts::of(fonts))
    }

    fn of(fonts: Vec<Font>) -> Fonts {
        Fonts { book: LazyHash::new(FontBook::from_fonts(&fonts)), fonts }
    }

    pub fn has(&self, character: char) -> bool {
        let mut infos = self.fonts.iter().map(Font::info);
        infos.any(|info| info.coverage.contains(u32::from(character)))
    }

    /// The page's texts as JSON, with nothing in them that the fonts cannot show, and the characters that were.
    pub fn texts_of(&self, page: &Page) -> (String, Vec<char>) {
        let mut texts = serde_json::to_value(page).unwrap_or_default();
        let mut missing = BTreeSet::new();
        self.make_showable(&mut texts, &mut missing);
        if !missing.is_empty() {
            texts["missing_characters"] = Value::String(MARK.to_string());
        }
        (texts.to_string(), missing.into_iter().collect())
    }

    fn make_showable(&self, value: &mut Value, missing: &mut BTreeSet<char>) {
        match value {
            Value::String(text) => {
                if let Some(shown) = self.showable(text, missing) {
                    *text = shown;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.make_showable(value, missing)),
            Value::Object(fields) => {
                fields.values_mut().for_each(|value| self.make_showable(value, missing));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Nothing if the text can stay as it is.
    fn showable(&self, text: &str, missing: &mut BTreeSet<char>) -> Option<String> {
        let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte) || byte == b'\n');
        let longest = text.split([' ', '\n']).map(str::len).max().unwrap_or(0);
        if is_plain && longest <= UNBROKEN_MAX {
            return None;
        }
        let mut shown = String::with_capacity(text.len() + 8);
        let mut unbroken = 0;
        for character in text.chars() {
            let is_space = character.is_whitespace();
            unbroken = if is_space { 0 } else { unbroken + 1 };
            if unbroken > UNBROKEN_MAX {
                shown.push('\u{200b}');
                unbroken = 1;
            }
            if character == '\n' || self.has(character) {
                shown.push(character);
            } else if is_space || character.is_control() {
                shown.push(' ');
            } else if !is_invisible(character) {
                missing.insert(character);
                shown.push(MARK);
            }
        }
        Some(shown)
    }
}

/// Joiners, variation selectors, marks of direction and the like: they have no shape of their own.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_font_has_is_marked_and_reported() {
        let fonts = Fonts::bundled();
        assert!(fonts.has(MARK), "the mark itself can be shown");
        for (text, shown, missing) in [
            ("Müller & Søn Łódź", None, ""),
            ("Компания Ελληνικά", None, ""),
            ("北京", Some("□□"), "京北"),
            ("a😀b", Some("a□b"), "😀"),
            ("a\u{7}b\tc", Some("a b c"), ""),
        ] {
            let mut found = BTreeSet::new();
            let result = fonts.showable(text, &mut found);
            assert_eq!(result.as_deref().unwrap_or(text), shown.unwrap_or(text));
            assert_eq!(found.into_iter().collect::<String>(), missing, "{text}");
        }
    }

    #[test]
    fn long_words_may_be_broken() {
        let shown = Fonts::bundled().showable(&"x".repeat(100), &mut BTreeSet::new()).unwrap();
        let parts: Vec<usize> = shown.split('\u{200b}').map(str::len).collect();
        assert_eq!(parts, [40, 40, 20]);
    }

    #[test]
    fn fonts_come_from_a_folder_too() {
        let folder = tempfile::tempdir().unwrap();
        let error = |folder: &Path| Fonts::bundled_and(folder).unwrap_err().to_string();
        assert!(error(folder.path()).contains("holds no font"));
        let font = typst_assets::fonts().next().unwrap();
        std::fs::write(folder.path().join("a.OTF"), font).unwrap();
        std::fs::write(folder.path().join("LICENSE.txt"), "free").unwrap();
        let fonts = Fonts::bundled_and(folder.path()).unwrap();
        assert_eq!(fonts.fonts.len(), Fonts::bundled().fonts.len() + 1);
        std::fs::write(folder.path().join("b.ttf"), "no font").unwrap();
        assert!(error(folder.path()).contains("b.ttf is not a font"));
        assert!(error(&folder.path().join("missing")).contains("cannot read the fonts"));
    }
}
