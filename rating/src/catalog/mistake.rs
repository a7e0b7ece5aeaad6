//! Mistakes in a catalog file: where each stands, what was found, what was expected.
//!
//! Owns: places, the list of mistakes, and how they are shown to people. Does not own: finding them. It keeps
//! the rule that `catalog check` names every mistake at once, with line and column.

use std::fmt;

use saphyr_parser::{Marker, Span};

/// Where something stands in the catalog file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    /// How many characters of the line belong to it; at least 1.
    pub width: usize,
}

impl Place {
    pub const START: Self = Self { line: 1, column: 1, width: 1 };

    pub(super) fn of_marker(marker: &Marker) -> Self {
        Self { line: marker.line().max(1), column: marker.col() + 1, width: 1 }
    }

    pub(super) fn of_span(span: Span) -> Self {
        let width = if span.end.line() == span.start.line() {
            span.end.col().saturating_sub(span.start.col())
        } else {
            1
        };
        Self { width: width.max(1), ..Self::of_marker(&span.start) }
    }

    pub(super) fn first_character(self) -> Self {
        Self { width: 1, ..self }
    }
}

/// One mistake: enough to repair it without opening the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub place: Place,
    pub message: String,
    pub hint: Option<String>,
    /// The line of the file that the place is in.
    pub source_line: String,
}

impl Mistake {
    pub(super) fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds "did you mean …" if one of the known names is close to what was written.
    pub(super) fn did_you_mean<'a>(
        &mut self,
        written: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> &mut Self {
        let hint = closest(written, known).map(|name| format!("did you mean `{name}`?"));
        if hint.is_some() {
            self.hint = hint;
        }
        self
    }
}

/// The known name nearest to what was written, if it is near enough to be a slip of the hand.
pub(super) fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips_max = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(written, name), name))
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, name)| name)
}

/// Collects mistakes while a catalog is read.
#[derive(Debug)]
pub(super) struct Mistakes<'t> {
    lines: Vec<&'t str>,
    list: Vec<Mistake>,
}

impl<'t> Mistakes<'t> {
    pub fn new(text: &'t str) -> Self {
        // A lone carriage return ends a line in YAML, and so counts in its places.
        let lines = text.split("\r\n").flat_map(|part| part.split(['\n', '\r'])).collect();
        Self { lines, list: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn count(&self) -> usize {
        self.list.len()
    }

    pub fn report(&mut self, place: Place, message: impl Into<String>) -> &mut Mistake {
        let source_line = self.lines.get(place.line - 1).copied().unwrap_or_default().to_owned();
        self.list.push(Mistake { place, message: message.into(), hint: None, source_line });
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    /// Says more about the mistake that was reported last.
    pub fn hint_last(&mut self, hint: &str) {
        if let Some(last) = self.list.last_mut() {
            last.hint = Some(hint.to_owned());
        }
    }

    /// The mistakes in the order of the file.
    pub fn into_errors(mut self, file_name: &str) -> CatalogErrors {
        self.list.sort_by_key(|mistake| mistake.place);
        // An override is checked against each version of its plan, and may be told the same by several.
        self.list.dedup();
        CatalogErrors { file_name: file_name.to_owned(), mistakes: self.list }
    }
}

/// Every mistake of one catalog file, in the order of its lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CatalogErrors {
    pub file_name: String,
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for CatalogErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.mistakes {
            show(&self.file_name, mistake, out)?;
            writeln!(out)?;
        }
        match self.mistakes.len() {
            1 => write!(out, "1 mistake in {}", self.file_name),
            count => write!(out, "{count} mistakes in {}", self.file_name),
        }
    }
}

fn show(file_name: &str, mistake: &Mistake, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Place { line, column, width } = mistake.place;
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    writeln!(out, "error: {}", mistake.message)?;
    writeln!(out, "{margin}--> {file_name}:{line}:{column}")?;
    writeln!(out, "{margin} |")?;
    writeln!(out, "{number} | {}", mistake.source_line.trim_end())?;
    // Tabs stay tabs under the line, so that the caret stands where the terminal puts the text.
    let indent: String =
        mistake.source_line.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let missing = (column - 1).saturating_sub(indent.chars().count());
    writeln!(out, "{margin} | {indent}{}{}", " ".repeat(missing), "^".repeat(width))?;
    if let Some(hint) = &mistake.hint {
        writeln!(out, "{margin} = {hint}")?;
    }
    Ok(())
}
