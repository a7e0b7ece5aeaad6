//! The paper as one self-contained HTML page: no script, nothing loaded from elsewhere, light and dark, printable.
//!
//! Every text passes through `escaped`; the markup here holds no text from outside.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Logo;
use super::line_rows::{LineRows, Step};
use super::page::{Fact, Group, Page, PartyText};

const STYLE: &str = include_str!("page.css");

pub(super) fn html(page: &Page, logo: Option<&Logo>) -> String {
    let mut out = Markup { text: String::with_capacity(16 * 1024) };
    out.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    // Whatever a text says, the browser runs and loads nothing.
    out.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; ");
    out.raw("style-src 'unsafe-inline'; img-src data:\">\n");
    out.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
    out.element("title", "", &page.title);
    out.raw("\n<style>\n");
    out.raw(STYLE);
    out.raw("</style>\n</head>\n");
    out.raw(if page.is_draft { "<body class=\"draft\">\n" } else { "<body>\n" });
    out.raw("<main>\n");
    out.header(page, logo);
    out.lines(page);
    out.totals(page);
    out.notes(page);
    out.raw("<footer>");
    out.escaped(&page.provenance);
    out.raw("</footer>\n</main>\n</body>\n</html>\n");
    out.text
}

struct Markup {
    text: String,
}

impl Markup {
    fn raw(&mut self, markup: &'static str) {
        self.text.push_str(markup);
    }

    /// Text as text: no character of it is markup, and none turns the reading direction of what stands beside it.
    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\'' => self.text.push_str("&#39;"),
                other if other.is_control() && other != '\n' => self.text.push(' '),
                other => self.text.push(other),
            }
        }
    }

    /// `classes` is the text of the class attribute; none if empty.
    fn element(&mut self, name: &'static str, classes: &'static str, text: &str) {
        self.raw("<");
        self.raw(name);
        if !classes.is_empty() {
            self.raw(" class=\"");
            self.raw(classes);
            self.raw("\"");
        }
        self.raw(">");
        self.escaped(text);
        self.raw("</");
        self.raw(name);
        self.raw(">");
    }

    fn header(&mut self, page: &Page, logo: Option<&Logo>) {
        if page.is_draft {
            self.raw("<p class=\"banner\" role=\"status\"><strong>Draft.</strong> Not an invoice yet: ");
            self.raw("it may change until it is issued.</p>\n");
        }
        self.raw("<header>\n<section class=\"seller\" aria-label=\"Seller\">");
        if let Some(logo) = logo {
            self.raw("<img alt=\"\" src=\"data:");
            self.raw(logo.media_type);
            self.raw(";base64,");
            self.text.push_str(&STANDARD.encode(&logo.bytes));
            self.raw("\">");
        }
        self.party(&page.seller);
        self.raw("</section>\n");
        self.element("h1", "", page.kind);
        self.raw("\n<section class=\"buyer\" aria-label=\"Bill to\">");
        self.element("h2", "", "Bill to");
        self.party(&page.buyer);
        self.raw("</section>\n");
        self.facts("facts", &page.facts);
        self.raw("</header>\n");
    }

    fn party(&mut self, party: &PartyText) {
        self.raw("<address>");
        self.raw("<strong><bdi>");
        self.escaped(&party.name);
        self.raw("</bdi></strong>");
        for line in &party.lines {
            self.raw("<br><bdi>");
            self.escaped(line);
            self.raw("</bdi>");
        }
        self.raw("</address>");
    }

    fn facts(&mut self, class: &'static str, facts: &[Fact]) {
        self.raw("<dl class=\"");
        self.raw(class);
        self.raw("\">\n");
        for fact in facts {
            self.raw("<div>");
            self.element("dt", "", &fact.label);
            self.raw("<dd><bdi>");
            self.escaped(&fact.value);
            self.raw("</bdi></dd></div>\n");
        }
        self.raw("</dl>\n");
    }

    fn lines(&mut self, page: &Page) {
        self.raw("<table class=\"lines\">\n<caption>Lines of ");
        self.escaped(&page.title);
        self.raw("</caption>\n<thead><tr><th scope=\"col\">Description</th>");
        self.raw("<th scope=\"col\" class=\"figure\">Quantity</th>");
        self.raw("<th scope=\"col\" class=\"figure\">Unit price</th>");
        self.raw("<th scope=\"col\" class=\"figure\">Amount (");
        self.escaped(page.currency);
        self.raw(")</th></tr></thead>\n");
        for group in &page.groups {
            self.group(group);
        }
        self.raw("</table>\n");
    }

    fn group(&mut self, group: &Group) {
        if let Some(title) = &group.title {
            self.raw("<tbody class=\"group\"><tr><th scope=\"rowgroup\" colspan=\"4\"><bdi>");
            self.escaped(title);
            self.raw("</bdi></th></tr></tbody>\n");
        }
        for line in &group.lines {
            self.line(line);
        }
    }

    fn line(&mut self, line: &LineRows) {
        self.raw("<tbody><tr><th scope=\"row\"><bdi>");
        self.escaped(&line.description);
        self.raw("</bdi>");
        for (position, about) in line.about.iter().enumerate() {
            self.raw(if position == 0 { "<br><small>" } else { " · " });
            self.raw("<bdi>");
            self.escaped(about);
            self.raw("</bdi>");
        }
        self.raw(if line.about.is_empty() { "" } else { "</small>" });
        self.raw("</th>");
        self.figures(&line.quantity, &line.unit_price, &line.amount);
        self.raw("</tr>\n");
        for Step { label, quantity, unit_price, amount } in &line.steps {
            self.raw("<tr class=\"step\">");
            self.element("td", "", label);
            self.figures(quantity, unit_price, amount);
            self.raw("</tr>\n");
        }
        self.raw("</tbody>\n");
    }

    fn figures(&mut self, quantity: &str, unit_price: &str, amount: &str) {
        for figure in [quantity, unit_price, amount] {
            self.element("td", "figure", figure);
        }
    }

    fn totals(&mut self, page: &Page) {
        self.raw("<table class=\"totals\">\n<caption>Totals</caption>\n<tbody>\n");
        for row in &page.totals {
            self.raw("<tr><th scope=\"row\">");
            self.escaped(&row.label);
            if let Some(note) = &row.note {
                self.raw(" ");
                self.element("small", "", note);
            }
            self.raw("</th>");
            self.element("td", "figure", &row.amount);
            self.raw("</tr>\n");
        }
        self.raw("<tr class=\"due\"><th scope=\"row\">");
        self.escaped(&page.due.label);
        self.raw("</th><td class=\"figure\">");
        self.element("span", "currency", page.currency);
        self.raw(" ");
        self.escaped(&page.due.value);
        self.raw("</td></tr>\n</tbody>\n</table>\n");
    }

    fn notes(&mut self, page: &Page) {
        if !page.payment.is_empty() {
            self.raw("<section class=\"payment\" aria-label=\"Payment\">\n");
            self.facts("facts", &page.payment);
            self.raw("</section>\n");
        }
        if !page.warnings.is_empty() {
            self.raw("<section class=\"warnings\">\n");
            self.element("h2", "", "To look at before this is issued");
            self.raw("<ul>");
            for warning in &page.warnings {
                self.element("li", "", warning);
            }
            self.raw("</ul>\n</section>\n");
        }
    }
}
