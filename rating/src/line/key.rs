//! The stable key of a line: equal for the same thing in every rating run (DESIGN.md 3.9).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::period::Span;
use crate::quantity::Dimensions;

/// Says what a line is about, and nothing of what it costs. Lines are ordered by it within an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LineKey {
    pub tenant: String,
    /// The period's name: the local date on which it starts.
    pub period: String,
    pub subscription: String,
    pub price: String,
    pub dimensions: Dimensions,
    pub span: Span,
}

impl fmt::Display for LineKey {
    /// One line of text that no two keys share: separators inside names are escaped.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in [&self.tenant, &self.period, &self.subscription, &self.price] {
            write_escaped(out, name)?;
            out.write_str("/")?;
        }
        for (position, (name, value)) in self.dimensions.iter().enumerate() {
            out.write_str(if position == 0 { "" } else { "," })?;
            write_escaped(out, name)?;
            out.write_str("=")?;
            write_escaped(out, value)?;
        }
        write!(out, "/{}..{}", self.span.start_us, self.span.end_us)
    }
}

fn write_escaped(out: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    for character in name.chars() {
        if matches!(character, '/' | '=' | ',' | '%') || character.is_control() {
            write!(out, "%{:02x}", u32::from(character))?;
        } else {
            write!(out, "{character}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant: &str, price: &str, dimensions: &[(&str, &str)]) -> String {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        LineKey {
            tenant: tenant.to_owned(),
            period: "2026-02-01".to_owned(),
            subscription: "main".to_owned(),
            price: price.to_owned(),
            dimensions: dimensions.iter().map(own).collect(),
            span: Span { start_us: 0, end_us: 9 },
        }
        .to_string()
    }

    #[test]
    fn keys_differ_where_their_parts_differ() {
        assert_eq!(
            key("acme", "storage", &[("size", "gpu"), ("kind", "pro")]),
            "acme/2026-02-01/main/storage/kind=pro,size=gpu/0..9"
        );
        assert_ne!(key("a/b", "c", &[]), key("a", "b/c", &[]));
        assert_ne!(key("a", "p", &[("x", "1,y=2")]), key("a", "p", &[("x", "1"), ("y", "2")]));
        assert_ne!(key("a%2f", "p", &[]), key("a/", "p", &[]));
    }
}
