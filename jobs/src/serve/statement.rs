//! From a client's text to statements that this engine plans.
//!
//! Owns the choice between two ways of reading. What asks PostgreSQL's catalog goes through the rewriting of the catalog crate, made for
//! the queries that known clients send. What asks the lake does not: that rewriting makes a correlated subquery in a
//! SELECT list null and takes the first of many rows, which would be wrong amounts.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Statement, Visit, Visitor, visit_expressions, visit_relations,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::datafusion_pg_catalog::sql::rules::{
    CurrentUserVariableToSessionUserFunctionCall, FixVersionColumnName, RewriteArrayAnyAllOperation,
    RewritePgCatalogOperator, SqlStatementRewriteRule, StripCallableQualifier, StripCollate,
};

use super::catalog_gaps;
use super::failure::Failure;

/// Longer texts are refused: parsing and planning cannot be interrupted.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Parsing, planning and forgetting a statement recurse as deep as it is nested, and a chain like `1 + 1 + …` nests with each link.
const LINKS_MAX: usize = 2_000;
/// Joins of many tables have schemas of all their columns, at each step anew. WITH queries that use each other can double with each.
const RELATIONS_MAX: usize = 500;

/// Reads statements.
pub struct Statements {
    for_catalog: PostgresCompatibilityParser,
    /// Rewriting that changes no meaning.
    for_lake: Vec<Arc<dyn SqlStatementRewriteRule>>,
}

impl fmt::Debug for Statements {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Statements").finish_non_exhaustive()
    }
}

impl Default for Statements {
    fn default() -> Self {
        Self {
            for_catalog: PostgresCompatibilityParser::new(),
            for_lake: vec![
                Arc::new(RewriteArrayAnyAllOperation),
                Arc::new(StripCallableQualifier),
                Arc::new(CurrentUserVariableToSessionUserFunctionCall),
                Arc::new(StripCollate),
                Arc::new(RewritePgCatalogOperator),
                Arc::new(FixVersionColumnName),
            ],
        }
    }
}

impl Statements {
    /// The statements of a text; `lake` has the names of the lake's tables and table functions.
    pub fn read(&self, text: &str, lake: &BTreeSet<String>) -> Result<Vec<Statement>, Failure> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Failure::new("54000", "the text is longer than 1 MiB"));
        }
        refuse_long_chains(text)?;
        let statements = match Parser::parse_sql(&PostgreSqlDialect {}, text) {
            Ok(statements) => statements,
            // Some catalog queries only parse once they are rewritten.
            Err(error) => {
                return match self.for_catalog.parse(text) {
                    Ok(rewritten) if !rewritten.iter().any(|it| names_one_of(it, lake)) => {
                        Ok(rewritten.into_iter().map(catalog_gaps::fill).collect())
                    }
                    _ => Err(Failure::syntax(error.to_string())),
                };
            }
        };
        let is_one = statements.len() == 1;
        let mut read = Vec::with_capacity(statements.len());
        for mut statement in statements {
            refuse_many_relations(&statement)?;
            if asks_catalog(&statement) && !names_one_of(&statement, lake) {
                // Known queries are told by their exact text.
                let is_as_written = is_one && !catalog_gaps::name_search_path(&mut statement);
                let text = if is_as_written { text.to_owned() } else { statement.to_string() };
                let rewritten =
                    self.for_catalog.parse(&text).map_err(|error| Failure::syntax(error.to_string()))?;
                read.extend(rewritten.into_iter().map(catalog_gaps::fill));
            } else {
                read.push(self.for_lake.iter().fold(statement, |statement, rule| rule.rewrite(statement)));
            }
        }
        Ok(read)
    }
}

/// About what a statement of this text holds once it is parsed and planned: mostly its words, each of which becomes a node of a
/// tree or two.
pub fn kept_bytes(text: &str) -> usize {
    const WORD_BYTES: usize = 512;
    let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    let words = text.as_bytes().windows(2).filter(|pair| is_inside(&pair[1]) && !is_inside(&pair[0])).count();
    4 * text.len() + WORD_BYTES * words
}

fn refuse_long_chains(text: &str) -> Result<(), Failure> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize();
    let tokens = tokens.map_err(|error| Failure::syntax(error.to_string()))?;
    let links = tokens.iter().filter(|token| match token {
        Token::Word(word) => !matches!(word.keyword, Keyword::NoKeyword | Keyword::NULL | Keyword::AS),
        Token::Whitespace(_)
        | Token::Comma
        | Token::Period
        | Token::SemiColon
        | Token::LParen
        | Token::RParen
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Placeholder(_) => false,
        _ => true,
    });
    match links.count() {
        0..=LINKS_MAX => Ok(()),
        _ => Err(too_complex("it has too many operators and keywords")),
    }
}

fn refuse_many_relations(statement: &Statement) -> Result<(), Failure> {
    let mut named = NamedQueries::default();
    let _ = statement.visit(&mut named);
    if named.relations_in(statement) > RELATIONS_MAX {
        return Err(too_complex("it names too many tables, or WITH queries that use each other too often"));
    }
    Ok(())
}

/// How many relations each WITH query comes to when those that it uses are put in their places.
#[derive(Default)]
struct NamedQueries(HashMap<String, usize>);

impl NamedQueries {
    fn relations_in(&self, part: &impl Visit) -> usize {
        let mut count = 0_usize;
        let _: ControlFlow<()> = visit_relations(part, |name| {
            count = count.saturating_add(self.0.get(&plain(&name.to_string())).copied().unwrap_or(1));
            ControlFlow::Continue(())
        });
        count
    }
}

/// A name however it is written.
fn plain(name: &str) -> String {
    name.replace('"', "").to_lowercase()
}

impl Visitor for NamedQueries {
    type Break = ();

    /// Queries within come before those around them.
    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for named in query.with.iter().flat_map(|with| &with.cte_tables) {
            let count = self.relations_in(&named.query);
            let known = self.0.entry(plain(&named.alias.name.to_string())).or_insert(1);
            *known = count.max(*known);
        }
        ControlFlow::Continue(())
    }
}

pub(super) fn too_complex(why: &str) -> Failure {
    Failure::new("54001", format!("the statement is too complex: {why}"))
}

fn names_one_of(statement: &Statement, names: &BTreeSet<String>) -> bool {
    any_relation(statement, |name| {
        name.0.last().and_then(|part| part.as_ident()).is_some_and(|ident| {
            names.contains(&ident.value) || names.contains(&ident.value.to_ascii_lowercase())
        })
    })
}

/// Whether a statement reads PostgreSQL's catalog, or casts to a type that stands for a name in it.
fn asks_catalog(statement: &Statement) -> bool {
    let of_catalog = |name: &ObjectName| {
        let name = name.to_string().to_ascii_lowercase();
        name.starts_with("pg_") || name.contains(".pg_") || name.starts_with("information_schema")
    };
    let casts = visit_expressions(statement, |expression| match expression {
        Expr::Cast { data_type, .. } if is_of_catalog(&data_type.to_string()) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    casts.is_break() || any_relation(statement, of_catalog)
}

fn is_of_catalog(data_type: &str) -> bool {
    let data_type = data_type.to_ascii_lowercase();
    data_type.starts_with("reg") || data_type.starts_with("pg_catalog.") || data_type == "oid"
}

fn any_relation(statement: &Statement, is_it: impl Fn(&ObjectName) -> bool) -> bool {
    let visited = visit_relations(statement, |name| {
        if is_it(name) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    visited.is_break()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let lake = BTreeSet::from(["usage_events".to_owned(), "quantities".to_owned()]);
        let statements = Statements::default().read(text, &lake).unwrap();
        statements.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_query_of_the_lake_keeps_its_meaning() {
        for text in [
            "SELECT a.tenant, (SELECT sum(b.value) FROM usage_events AS b WHERE b.tenant = a.tenant) FROM usage_events AS a",
            "SELECT (SELECT value FROM usage_events) FROM pg_catalog.pg_class",
            "SELECT (SELECT max(value) FROM quantities('2026-01') AS q WHERE q.tenant = a.tenant) FROM usage_events AS a",
        ] {
            assert_eq!(read(text), text);
        }
    }

    #[test]
    fn a_query_of_the_catalog_is_rewritten() {
        assert_eq!(read("SELECT relname FROM pg_class"), "SELECT relname FROM pg_catalog.pg_class");
        assert!(read("SELECT 'usage_events'::regclass").contains("pg_class"));
        assert_eq!(read("SELECT 1; ABORT"), "SELECT 1; ROLLBACK");
        assert_eq!(read("SELECT pg_catalog.version()"), "SELECT version() AS version");
    }
}
