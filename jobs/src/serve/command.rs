//! What a statement asks for, of the few things that may be asked.
//!
//! Owns the allow-list of statements: each kind that is not named here is refused, on both protocols alike. Does not own
//! what a query may contain (`allowed`) and which settings may be set (`client_settings`).

use datafusion::sql::sqlparser::ast::{
    CloseCursor, Declare, DeclareType, DiscardObject, Expr, FetchDirection, Reset, Set, Statement,
    TransactionAccessMode, TransactionMode, Value, ValueWithSpan,
};

use super::copy::{self, CopyLayout};
use super::failure::Failure;

/// A statement that is allowed.
#[derive(Debug, Clone)]
pub enum Command {
    /// Anything that is planned: queries, and what describes tables.
    Query(Box<Statement>),
    /// A query whose rows are written as text or CSV.
    Copy {
        query: Box<Statement>,
        layout: CopyLayout,
    },
    Begin,
    Commit,
    Rollback,
    /// There is nothing to go back to, since nothing changes.
    Savepoint(&'static str),
    RollbackToSavepoint,
    Set {
        name: String,
        value: String,
    },
    /// Asks for what is the case anyway.
    SetNothing,
    Reset(Option<String>),
    Show(String),
    Declare {
        cursor: String,
        query: Box<Statement>,
    },
    /// None for all rows that are left.
    Fetch {
        cursor: String,
        rows: Option<usize>,
    },
    /// None for all.
    Close(Option<String>),
    /// None for all.
    Deallocate(Option<String>),
    DiscardAll,
}

impl Command {
    pub fn of(statement: Statement) -> Result<Self, Failure> {
        match statement {
            Statement::Query(_)
            | Statement::Explain { .. }
            | Statement::ExplainTable { .. }
            | Statement::ShowTables { .. }
            | Statement::ShowColumns { .. } => Ok(Self::Query(Box::new(statement))),
            Statement::Copy { .. } => {
                let (query, layout) = copy::read(statement)?;
                Ok(Self::Copy { query: Box::new(query), layout })
            }
            Statement::StartTransaction { modes, statements, exception: None, .. }
                if statements.is_empty() && reads(&modes) =>
            {
                Ok(Self::Begin)
            }
            Statement::Commit { chain: false, .. } => Ok(Self::Commit),
            Statement::Rollback { chain: false, savepoint: None } => Ok(Self::Rollback),
            Statement::Rollback { chain: false, savepoint: Some(_) } => Ok(Self::RollbackToSavepoint),
            Statement::Savepoint { .. } => Ok(Self::Savepoint("SAVEPOINT")),
            Statement::ReleaseSavepoint { .. } => Ok(Self::Savepoint("RELEASE")),
            Statement::Set(set) => set_of(set),
            Statement::Reset(reset) => Ok(Self::Reset(match reset.reset {
                Reset::ALL => None,
                Reset::ConfigurationParameter(name) => Some(name.to_string().to_ascii_lowercase()),
            })),
            Statement::ShowVariable { variable } => {
                let words: Vec<_> = variable.iter().map(|word| word.value.to_ascii_lowercase()).collect();
                Ok(Self::Show(words.join(" ")))
            }
            Statement::Declare { stmts } => declare_of(stmts),
            Statement::Fetch { name, direction, into: None, .. } => fetch_of(name.value, &direction),
            Statement::Close { cursor: CloseCursor::All } => Ok(Self::Close(None)),
            Statement::Close { cursor: CloseCursor::Specific { name } } => Ok(Self::Close(Some(name.value))),
            Statement::Deallocate { name, .. } => {
                let is_all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
                Ok(Self::Deallocate((!is_all).then_some(name.value)))
            }
            Statement::Discard { object_type: DiscardObject::ALL } => Ok(Self::DiscardAll),
            other => {
                Err(Failure::refused(format!("{} is not possible: this server only reads", verb(&other))))
            }
        }
    }
}

/// The words that people know a statement by; never its content.
fn verb(statement: &Statement) -> String {
    let text = statement.to_string();
    let words = text.split_whitespace().take_while(|word| word.bytes().all(|byte| byte.is_ascii_uppercase()));
    let words: Vec<_> = words.take(2).collect();
    if words.is_empty() { "this".to_owned() } else { words.join(" ") }
}

fn reads(modes: &[TransactionMode]) -> bool {
    !modes.contains(&TransactionMode::AccessMode(TransactionAccessMode::ReadWrite))
}

fn set_of(set: Set) -> Result<Command, Failure> {
    match set {
        Set::SingleAssignment { scope: None, hivevar: false, variable, values } => {
            let values: Vec<_> = values.iter().map(text_of).collect::<Result<_, _>>()?;
            Ok(Command::Set { name: variable.to_string().to_ascii_lowercase(), value: values.join(", ") })
        }
        Set::SetTimeZone { local: false, value } => {
            Ok(Command::Set { name: "timezone".to_owned(), value: text_of(&value)? })
        }
        Set::SetNames { charset_name, collation_name: None } => {
            Ok(Command::Set { name: "client_encoding".to_owned(), value: charset_name.value })
        }
        Set::SetTransaction { modes, snapshot: None, .. } if reads(&modes) => Ok(Command::SetNothing),
        other => {
            let name = other.to_string().split_whitespace().nth(1).unwrap_or_default().to_owned();
            Err(Failure::refused(format!("SET {name} is not possible here")))
        }
    }
}

/// The value of a setting: a constant, a word or a number, perhaps with a sign.
fn text_of(value: &Expr) -> Result<String, Failure> {
    match value {
        Expr::Value(ValueWithSpan { value: Value::Placeholder(_), .. }) => {
            Err(Failure::refused("a setting takes a constant"))
        }
        Expr::Value(value) => Ok(match value.clone().into_string() {
            Some(text) => text,
            None => value.to_string(),
        }),
        Expr::Identifier(word) => Ok(word.value.clone()),
        Expr::UnaryOp { .. } if value.to_string().len() < 20 => Ok(value.to_string()),
        _ => Err(Failure::refused("a setting takes a constant")),
    }
}

fn declare_of(declared: Vec<Declare>) -> Result<Command, Failure> {
    match <[Declare; 1]>::try_from(declared) {
        Ok(
            [
                Declare {
                    names,
                    declare_type: Some(DeclareType::Cursor),
                    binary,
                    hold,
                    for_query: Some(query),
                    ..
                },
            ],
        ) if names.len() == 1 && binary != Some(true) && hold != Some(true) => {
            let cursor = names[0].value.clone();
            Ok(Command::Declare { cursor, query: Box::new(Statement::Query(query)) })
        }
        _ => Err(Failure::refused("DECLARE takes one cursor FOR a query, neither BINARY nor WITH HOLD")),
    }
}

fn fetch_of(cursor: String, direction: &FetchDirection) -> Result<Command, Failure> {
    let rows = match direction {
        FetchDirection::Next | FetchDirection::Forward { limit: None } => Some(1),
        FetchDirection::All | FetchDirection::ForwardAll => None,
        FetchDirection::Count { limit } | FetchDirection::Forward { limit: Some(limit) } => {
            Some(limit.to_string().parse().map_err(|_| Failure::refused("FETCH takes a count of rows"))?)
        }
        _ => return Err(Failure::refused("a cursor only goes forward")),
    };
    Ok(Command::Fetch { cursor, rows })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn command(text: &str) -> Result<Command, Failure> {
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, text).unwrap();
        Command::of(statements.pop().unwrap())
    }

    #[test]
    fn what_reads_is_a_command_and_nothing_else_is() {
        for text in [
            "SELECT 1",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "VALUES (1)",
            "EXPLAIN SELECT 1",
            "BEGIN",
            "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
            "COMMIT",
            "ROLLBACK TO SAVEPOINT a",
            "SET TIME ZONE 'Europe/Berlin'",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET extra_float_digits = -3",
            "SHOW server_version",
            "FETCH FORWARD 10 FROM a",
            "COPY a TO STDOUT",
            "COPY (SELECT 1) TO STDOUT WITH (FORMAT csv)",
            "DISCARD ALL",
            "DEALLOCATE ALL",
        ] {
            assert!(command(text).is_ok(), "{text}: {:?}", command(text));
        }
        for text in [
            "INSERT INTO a VALUES (1)",
            "BEGIN READ WRITE",
            "COPY a FROM STDIN",
            "COPY a TO '/tmp/a'",
            "COPY (DELETE FROM a RETURNING b) TO '/tmp/a'",
            "CREATE TABLE a (b int)",
            "DROP TABLE a",
            "PREPARE a AS SELECT 1",
            "EXECUTE a",
            "SET ROLE root",
            "SET LOCAL search_path = x",
            "SET SESSION AUTHORIZATION x",
            "SET statement_timeout = (SELECT 1)",
            "FETCH BACKWARD 1 FROM a",
            "LISTEN a",
            "CALL a()",
            "DISCARD PLANS",
        ] {
            assert!(command(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refusal_names_the_verb_and_not_the_content() {
        let refused = command("INSERT INTO secret VALUES (1)").unwrap_err().to_string();
        assert_eq!(refused, "INSERT INTO is not possible: this server only reads");
    }

    #[test]
    fn settings_are_read_as_written() {
        let set = |text: &str| match command(text).unwrap() {
            Command::Set { name, value } => format!("{name}={value}"),
            other => panic!("{other:?}"),
        };
        assert_eq!(set("SET DateStyle TO ISO, MDY"), "datestyle=ISO, MDY");
        assert_eq!(set("SET client_encoding = 'UTF8'"), "client_encoding=UTF8");
        assert_eq!(set("SET NAMES 'utf8'"), "client_encoding=utf8");
        assert_eq!(set("SET extra_float_digits = 3"), "extra_float_digits=3");
    }
}
