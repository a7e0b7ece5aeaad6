//! The shell: queries one after the other, with history, completion, and a few commands of its own.
//!
//! Owns the terminal. Does not own answering (`super::answer`) nor printing (`super::writing`). The tables stay at the
//! versions of the moment at which the shell was started.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::Instant;

use ::sql::functions::FUNCTIONS;
use ::sql::relation::{Relation, RelationKind, type_name};
use ::sql::session::{LakeSession, Parameters};
use anyhow::{Context as _, Result};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use tokio::runtime::Runtime;

use super::writing::{self, AnswerFormat};
use crate::output::{Format, Rows};

const HISTORY: &str = ".meterhouse_sql_history";

const HELP: &str = "\
A query ends with a semicolon and may go over several lines. Tab completes tables, columns, functions and words.
  \\d            tables and views
  \\d NAME       the columns of one, and what they mean
  \\df           functions
  \\timing       says after each query how long it took, or stops saying it
  \\format NAME  table, csv, json, ndjson or markdown
  \\?            this
  \\q            ends; so does Ctrl-D. Ctrl-C stops a query.";

const KEYWORDS: [&str; 40] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "JOIN",
    "LEFT JOIN",
    "FULL JOIN",
    "CROSS JOIN",
    "ON",
    "USING",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "IS NULL",
    "IS NOT NULL",
    "AS",
    "DISTINCT",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "UNION ALL",
    "WITH",
    "CAST",
    "DESC",
    "ASC",
    "NULLS LAST",
    "FILTER",
    "OVER",
    "EXPLAIN",
    "DESCRIBE",
    "SHOW TABLES",
];

pub(super) fn run(runtime: &Runtime, session: &LakeSession, format: AnswerFormat) -> Result<()> {
    let config = Config::builder().completion_type(CompletionType::List).auto_add_history(true).build();
    let mut editor: Editor<Words, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Words::of(session)));
    let history = std::env::home_dir().map(|home| home.join(HISTORY));
    if let Some(path) = &history {
        // There is none before the first time.
        let _ = editor.load_history(path);
    }
    eprintln!("Meterhouse {}: \\? helps, \\d lists the tables, \\q ends", env!("CARGO_PKG_VERSION"));
    let mut shell = Shell { runtime, session, format, tells_time: false };
    loop {
        match editor.readline("meterhouse=> ") {
            Ok(input) if input.trim() == "\\q" => break,
            Ok(input) => {
                if let Err(error) = shell.answer(input.trim()) {
                    eprintln!("error: {error:#}");
                }
            }
            // Ctrl-C throws the line away.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error).context("cannot read from the terminal"),
        }
    }
    keep_history(&mut editor, history);
    Ok(())
}

fn keep_history(editor: &mut Editor<Words, FileHistory>, path: Option<PathBuf>) {
    if let Some(path) = path
        && let Err(error) = editor.save_history(&path)
    {
        tracing::warn!("the history could not be kept in {}: {error}", path.display());
    }
}

struct Shell<'s> {
    runtime: &'s Runtime,
    session: &'s LakeSession,
    format: AnswerFormat,
    tells_time: bool,
}

impl Shell<'_> {
    fn answer(&mut self, input: &str) -> Result<()> {
        let mut words = input.split_whitespace();
        match words.next() {
            None => Ok(()),
            Some("\\?") => Ok(writeln!(io::stdout(), "{HELP}")?),
            Some("\\d") => Ok(describe(&self.session.relations, words.next())?.print(Format::Table)?),
            Some("\\df") => Ok(functions().print(Format::Table)?),
            Some("\\timing") => {
                self.tells_time = !self.tells_time;
                eprintln!("timing is {}", if self.tells_time { "on" } else { "off" });
                Ok(())
            }
            Some("\\format") => self.set_format(words.next().unwrap_or_default()),
            Some(command) if command.starts_with('\\') => {
                anyhow::bail!("there is no command {command}; \\? lists them")
            }
            Some(_) => self.query(input.trim_end_matches(';')),
        }
    }

    fn set_format(&mut self, name: &str) -> Result<()> {
        let format = <AnswerFormat as clap::ValueEnum>::from_str(name, true);
        match format {
            Ok(AnswerFormat::Parquet) | Err(_) => {
                anyhow::bail!("expected table, csv, json, ndjson or markdown, found `{name}`")
            }
            Ok(format) => {
                self.format = format;
                Ok(())
            }
        }
    }

    fn query(&self, query: &str) -> Result<()> {
        let started = Instant::now();
        let (session, format, text) = (self.session.clone(), self.format, query.to_owned());
        // A task of its own, so that Ctrl-C is heard while a step of the query takes long.
        let mut work = self.runtime.spawn(async move {
            let answer = super::answer(&session, &text, &Parameters::new()).await?;
            let mut out = BufWriter::new(io::stdout());
            writing::write(answer, format, &text, &[], &mut out).await?;
            anyhow::Ok(out.flush()?)
        });
        let answered = self.runtime.block_on(async {
            tokio::select! {
                answered = &mut work => answered.context("the query broke off")?,
                _ = tokio::signal::ctrl_c() => {
                    work.abort();
                    Err(anyhow::anyhow!("stopped"))
                }
            }
        });
        super::tell_left_out(self.session);
        if self.tells_time {
            eprintln!("{:.3} s", started.elapsed().as_secs_f64());
        }
        answered
    }
}

/// All relations, or the columns of one.
fn describe(relations: &[Relation], name: Option<&str>) -> Result<Rows> {
    let Some(name) = name.map(|name| name.trim_end_matches(';')) else {
        let mut rows = Rows::new(&["name", "kind", "meaning"]);
        for relation in relations {
            let (name, meaning) = (relation.name.clone(), relation.description.clone());
            rows.push(vec![name.into(), relation.kind.name().into(), meaning.into()]);
        }
        return Ok(rows);
    };
    let found = relations.iter().find(|relation| relation.name.eq_ignore_ascii_case(name));
    let relation = found.with_context(|| format!("there is no table or view {name}; \\d lists them"))?;
    let mut rows = Rows::new(&["column", "type", "null", "meaning"]);
    for column in &relation.columns {
        let null = if column.nullable { "may be" } else { "" };
        let meaning = column.meaning.clone();
        rows.push(vec![
            column.name.clone().into(),
            type_name(&column.data_type).into(),
            null.into(),
            meaning.into(),
        ]);
    }
    Ok(rows)
}

fn functions() -> Rows {
    let mut rows = Rows::new(&["function", "meaning"]);
    for function in FUNCTIONS {
        rows.push(vec![function.call.into(), function.meaning.into()]);
    }
    rows
}

/// The words that can be completed.
struct Words {
    /// With whether the case of their letters matters.
    words: Vec<String>,
}

impl Words {
    fn of(session: &LakeSession) -> Self {
        let mut words: Vec<String> = KEYWORDS.iter().map(|word| (*word).to_owned()).collect();
        for relation in &*session.relations {
            words.push(relation.name.clone());
            if relation.kind != RelationKind::Function {
                words.extend(relation.columns.iter().map(|column| column.name.clone()));
            }
        }
        let names = FUNCTIONS.iter().filter_map(|function| function.call.split_once('('));
        words.extend(names.map(|(name, _)| format!("{name}(")));
        words.sort();
        words.dedup();
        Self { words }
    }

    /// The words that begin like what stands before the cursor, and where that begins.
    fn beginning_with(&self, line: &str) -> (usize, Vec<String>) {
        let is_part = |character: char| character.is_alphanumeric() || character == '_';
        let start = line.rfind(|character| !is_part(character)).map_or(0, |at| at + 1);
        let typed = &line[start..];
        if typed.is_empty() {
            return (start, Vec::new());
        }
        let begins = |word: &&String| {
            word.get(..typed.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(typed))
        };
        (start, self.words.iter().filter(begins).cloned().collect())
    }
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, words) = self.beginning_with(&line[..at]);
        let pairs = words.into_iter().map(|word| Pair { display: word.clone(), replacement: word });
        Ok((start, pairs.collect()))
    }
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let is_whole = is_whole(context.input());
        Ok(if is_whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

/// Whether a line is a command of the shell, or a query that ends.
fn is_whole(input: &str) -> bool {
    let input = input.trim();
    if input.is_empty() || input.starts_with('\\') {
        return true;
    }
    // A quote that is doubled inside a text leaves it open and opens it again.
    let is_open = input.chars().filter(|character| *character == '\'').count() % 2 == 1;
    input.ends_with(';') && !is_open
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Borrowed(hint)
    }
}

impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_ends_with_a_semicolon_outside_of_texts() {
        for (input, expected) in [
            ("", true),
            ("\\d usage_events", true),
            ("SELECT 1", false),
            ("SELECT 1;", true),
            ("SELECT 1;  \n", true),
            ("SELECT ';", false),
            ("SELECT 'it''s';", true),
        ] {
            assert_eq!(is_whole(input), expected, "{input:?}");
        }
    }

    #[test]
    fn words_are_completed_from_where_they_begin() {
        let words = ["SELECT", "tenant", "tenants", "usage_events", "to_gib("].map(str::to_owned).to_vec();
        let words = Words { words };
        assert_eq!(words.beginning_with("SELECT ten"), (7, vec!["tenant".to_owned(), "tenants".to_owned()]));
        assert_eq!(words.beginning_with("sel"), (0, vec!["SELECT".to_owned()]));
        assert_eq!(words.beginning_with("SELECT count(usage_"), (13, vec!["usage_events".to_owned()]));
        assert_eq!(words.beginning_with("SELECT "), (7, Vec::new()));
        assert_eq!(words.beginning_with("SELECT ü"), (7, Vec::new()));
    }
}
