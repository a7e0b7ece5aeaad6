//! Where a setting comes from, and how a mistake in it is shown.
//!
//! Mistakes look like those of the catalog, so that both files are repaired the same way. A secret is never
//! shown, not even inside the line that is wrong.

use std::fmt;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// Lines and columns count from 1, columns in characters.
    File {
        name: String,
        line: usize,
        column: usize,
        width: usize,
        source_line: String,
    },
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { name, line, .. } => write!(out, "{name}:{line}"),
            Self::Environment(name) => out.write_str(name),
        }
    }
}

impl Origin {
    /// The place of a range of bytes of a file's text.
    pub(super) fn in_file(name: &str, text: &str, span: std::ops::Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let end = text.floor_char_boundary(span.end.min(text.len())).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let source_line = text[line_start..].lines().next().unwrap_or_default();
        // What runs over several lines is underlined to the end of its first.
        let end = end.min(line_start + source_line.len()).max(start);
        Self::File {
            name: name.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            width: text[start..end].chars().count().max(1),
            source_line: source_line.to_owned(),
        }
    }

    /// The same place with the value blotted out.
    #[must_use]
    pub(super) fn without_value(self) -> Self {
        match self {
            Self::File { name, line, column, width, source_line } => {
                let before: String = source_line.chars().take(column - 1).collect();
                let after: String = source_line.chars().skip(column - 1 + width).collect();
                // Its length is nobody's business either.
                let source_line = format!("{before}********{after}");
                Self::File { name, line, column, width: 8, source_line }
            }
            other => other,
        }
    }
}

/// One mistake: enough to repair it without opening the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub origin: Origin,
    pub message: String,
    pub hint: Option<String>,
}

impl Mistake {
    pub(super) fn new(origin: Origin, message: impl Into<String>) -> Self {
        Self { origin, message: message.into(), hint: None }
    }

    #[must_use]
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "error: {}", self.message)?;
        let mut margin = String::new();
        match &self.origin {
            Origin::Default => {}
            Origin::Environment(name) => writeln!(out, "--> environment variable {name}")?,
            Origin::File { name, line, column, width, source_line } => {
                let number = line.to_string();
                margin = " ".repeat(number.len());
                writeln!(out, "{margin}--> {name}:{line}:{column}")?;
                writeln!(out, "{margin} |")?;
                writeln!(out, "{number} | {}", source_line.trim_end())?;
                // Tabs stay tabs under the line, so that the caret stands where the terminal puts the text.
                let before = source_line.chars().take(column - 1);
                let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                writeln!(out, "{margin} | {indent}{}", "^".repeat(*width))?;
            }
        }
        if let Some(hint) = &self.hint {
            writeln!(out, "{margin} = {hint}")?;
        }
        Ok(())
    }
}

/// Every mistake in the settings; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.mistakes {
            writeln!(out, "{mistake}")?;
        }
        match self.mistakes.len() {
            1 => write!(out, "1 mistake in the settings"),
            count => write!(out, "{count} mistakes in the settings"),
        }
    }
}

/// A text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(hidden)")
    }
}
