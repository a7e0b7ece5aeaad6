//! What each command answers.
//!
//! Owns transactions as far as there are any (nothing is written, so nothing is undone), cursors, and the settings of a
//! connection. Each query sees the lake's newest version, within a transaction too.

use std::sync::Arc;
use std::time::Instant;

use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse};
use datafusion_postgres::pgwire::api::stmt::StoredStatement;
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::response::TransactionStatus;
use datafusion_postgres::pgwire::messages::startup::ParameterStatus;
use postgres_types::Type;

use super::command::Command;
use super::connection::Connection;
use super::copy::CopyLayout;
use super::failure::Failure;
use super::query::{self, Planned};
use super::sessions::UserSession;
use super::statement::kept_bytes;

/// A statement that was read, found allowed and, if it is a query, planned.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub command: Arc<Command>,
    pub planned: Option<Arc<Planned>>,
    /// About what it holds in memory.
    pub bytes: usize,
}

/// A portal or a cursor.
#[derive(Debug)]
pub struct Open {
    pub portal: Portal<Prepared>,
    pub rows: Rows,
}

/// How far the rows of a portal or a cursor have come.
#[derive(Debug)]
pub enum Rows {
    /// A portal that was not executed yet.
    New,
    /// A cursor that nothing was fetched from yet, so it computes nothing.
    Declared(QueryResponse),
    /// What was asked for was sent, and more may come; since then nobody waits for it.
    Suspended(QueryResponse, Instant),
    /// Nobody waited for it any more.
    Stopped,
}

impl Rows {
    /// What is left; nothing of a portal that has not begun.
    pub fn left(self) -> Result<Option<QueryResponse>, Failure> {
        match self {
            Self::New => Ok(None),
            Self::Declared(rows) | Self::Suspended(rows, _) => Ok(Some(rows)),
            Self::Stopped => Err(Failure::new(
                "57014",
                "nothing was fetched for longer than a statement may take, so the query was stopped",
            )),
        }
    }
}

impl Open {
    pub fn new(portal: Portal<Prepared>) -> Self {
        Self { portal, rows: Rows::New }
    }
}

pub enum Answer {
    Rows(QueryResponse),
    /// So many rows of a cursor, or all that are left.
    Fetch {
        cursor: String,
        rows_max: Option<usize>,
    },
    /// Rows whose values are texts, and how they are written.
    Copy(QueryResponse, CopyLayout),
    Done(String),
}

impl Answer {
    fn done(tag: &str) -> Self {
        Self::Done(tag.to_owned())
    }
}

impl Connection {
    /// Plans what has to be planned. In a failed transaction nothing but its end is taken.
    pub(super) async fn prepare(
        &mut self,
        session: &UserSession,
        command: Command,
    ) -> Result<Prepared, Failure> {
        let ends = matches!(command, Command::Commit | Command::Rollback | Command::RollbackToSavepoint);
        if self.transaction == TransactionStatus::Error && !ends {
            let message = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Failure::new("25P02", message));
        }
        let planned = match &command {
            Command::Query(statement)
            | Command::Copy { query: statement, .. }
            | Command::Declare { query: statement, .. } => {
                Some(Arc::new(query::plan(session, statement).await?))
            }
            _ => None,
        };
        Ok(Prepared { command: Arc::new(command), planned, bytes: 0 })
    }

    pub(super) async fn answer(
        &mut self,
        session: &UserSession,
        prepared: &Prepared,
        portal: Option<&Portal<Prepared>>,
    ) -> Result<Answer, Failure> {
        match prepared.command.as_ref() {
            Command::Query(statement) => {
                let planned = prepared.planned.as_deref();
                Ok(Answer::Rows(self.query(session, statement, planned, portal).await?))
            }
            Command::Copy { query, layout } => {
                let rows = self.query(session, query, prepared.planned.as_deref(), None).await?;
                Ok(Answer::Copy(rows, layout.clone()))
            }
            Command::Begin => {
                if self.transaction == TransactionStatus::Idle {
                    self.transaction = TransactionStatus::Transaction;
                }
                Ok(Answer::done("BEGIN"))
            }
            Command::Commit => Ok(Answer::done(self.end_transaction("COMMIT"))),
            Command::Rollback => Ok(Answer::done(self.end_transaction("ROLLBACK"))),
            Command::Savepoint(tag) => Ok(Answer::done(tag)),
            Command::RollbackToSavepoint if self.transaction == TransactionStatus::Idle => {
                Err(Failure::new("25P01", "ROLLBACK TO SAVEPOINT can only be used in transaction blocks"))
            }
            Command::RollbackToSavepoint => {
                self.transaction = TransactionStatus::Transaction;
                Ok(Answer::done("ROLLBACK"))
            }
            Command::Set { name, value } => {
                if let Some((name, value)) = self.settings.set(name, value)? {
                    let status = ParameterStatus::new(name.to_owned(), value);
                    self.feed(PgWireBackendMessage::ParameterStatus(status)).await?;
                }
                Ok(Answer::done("SET"))
            }
            Command::SetNothing => Ok(Answer::done("SET")),
            Command::Reset(name) => {
                self.settings.reset(name.as_deref())?;
                Ok(Answer::done("RESET"))
            }
            Command::Show(name) => {
                let (name, value) = self.settings.show(name)?;
                Ok(Answer::Rows(one_text(&name, &value)?))
            }
            Command::Declare { cursor, query } => {
                self.declare(session, cursor, query, prepared, portal).await
            }
            Command::Fetch { cursor, rows } => {
                refuse_binary(portal)?;
                Ok(Answer::Fetch { cursor: cursor.clone(), rows_max: *rows })
            }
            Command::Close(cursor) => {
                match cursor {
                    Some(cursor) => drop(self.open.remove(cursor)),
                    None => self.open.clear(),
                }
                Ok(Answer::done("CLOSE CURSOR"))
            }
            Command::Deallocate(name) => {
                match name {
                    Some(name) => drop(self.statements.remove(name)),
                    None => self.statements.clear(),
                }
                Ok(Answer::done("DEALLOCATE"))
            }
            Command::DiscardAll => {
                self.statements.clear();
                self.open.clear();
                self.settings.reset(None)?;
                Ok(Answer::done("DISCARD ALL"))
            }
        }
    }

    fn end_transaction(&mut self, tag: &'static str) -> &'static str {
        let is_failed = self.transaction == TransactionStatus::Error;
        self.transaction = TransactionStatus::Idle;
        self.open.clear();
        if is_failed { "ROLLBACK" } else { tag }
    }

    async fn query(
        &mut self,
        session: &UserSession,
        statement: &Statement,
        planned: Option<&Planned>,
        portal: Option<&Portal<Prepared>>,
    ) -> Result<QueryResponse, Failure> {
        let newer;
        let planned = match planned {
            Some(planned) if planned.opening == session.opening => planned,
            _ => {
                newer = query::plan(session, statement).await?;
                &newer
            }
        };
        let plan = match portal {
            Some(portal) => query::bind(session, statement, planned, portal).await?,
            None if query::parameters(planned)?.is_empty() => planned.plan.clone(),
            None => return Err(Failure::new("42P02", "a query without bound values cannot have parameters")),
        };
        let format = portal.map_or(&Format::UnifiedText, |portal| &portal.result_column_format);
        let limits = self.server.limits;
        let rows = query::batch_rows(&plan, session.state.config().batch_size())?;
        let state = session.for_query(limits.memory_bytes, rows, &self.left_out);
        query::run(&self.server.query_threads, state, plan, format, self.settings.format(), limits.rows)
    }

    async fn declare(
        &mut self,
        session: &UserSession,
        cursor: &str,
        statement: &Statement,
        prepared: &Prepared,
        portal: Option<&Portal<Prepared>>,
    ) -> Result<Answer, Failure> {
        if self.transaction == TransactionStatus::Idle {
            return Err(Failure::new("25P01", "DECLARE CURSOR can only be used in transaction blocks"));
        }
        if self.open.contains_key(cursor) {
            return Err(Failure::new("42P03", format!("there is a cursor \"{cursor}\" already")));
        }
        if portal.is_some_and(|portal| portal.parameter_len() > 0) {
            return Err(Failure::new("0A000", "a cursor's query cannot have parameters"));
        }
        let bytes = kept_bytes(&statement.to_string());
        self.make_room(bytes)?;
        let rows = self.query(session, statement, prepared.planned.as_deref(), None).await?;
        let query = Prepared {
            command: Arc::new(Command::Query(Box::new(statement.clone()))),
            planned: prepared.planned.clone(),
            bytes,
        };
        let stored = Arc::new(StoredStatement::new(cursor.to_owned(), query, Vec::new()));
        let portal = Portal::new_cursor(cursor.to_owned(), stored);
        let open = Open { portal, rows: Rows::Declared(rows) };
        self.open.insert(cursor.to_owned(), Some(open));
        Ok(Answer::done("DECLARE CURSOR"))
    }

    /// A cursor and the rows that are left of it, away while they are sent: what fails or is cancelled is gone.
    pub(super) fn take_cursor(&mut self, cursor: &str) -> Result<(Open, QueryResponse), Failure> {
        if let Some(Some(Open { rows: Rows::New, .. })) = self.open.get(cursor) {
            return Err(Failure::new("34000", format!("\"{cursor}\" is no cursor")));
        }
        let Some(Some(mut open)) = self.open.remove(cursor) else { return Err(no_cursor(cursor)) };
        let rows = std::mem::replace(&mut open.rows, Rows::Stopped).left()?;
        Ok((open, rows.ok_or_else(|| no_cursor(cursor))?))
    }

    /// The columns of what a statement answers; none if it answers with no rows.
    pub(super) fn columns_of(
        &self,
        prepared: &Prepared,
        format: &Format,
    ) -> Result<Option<Vec<FieldInfo>>, Failure> {
        match (prepared.command.as_ref(), &prepared.planned) {
            (Command::Query(_), Some(planned)) => Ok(Some(query::columns(&planned.plan, format)?)),
            (Command::Show(name), _) => Ok(Some(vec![text_field(&self.settings.show(name)?.0)])),
            (Command::Fetch { cursor, .. }, _) => match self.open.get(cursor) {
                Some(Some(Open { rows: Rows::Declared(rows) | Rows::Suspended(rows, _), .. })) => {
                    Ok(Some(rows.row_schema().to_vec()))
                }
                _ => Err(no_cursor(cursor)),
            },
            _ => Ok(None),
        }
    }
}

fn no_cursor(name: &str) -> Failure {
    Failure::new("34000", format!("there is no cursor \"{name}\""))
}

fn refuse_binary(portal: Option<&Portal<Prepared>>) -> Result<(), Failure> {
    let is_text = match portal.map(|portal| &portal.result_column_format) {
        None | Some(Format::UnifiedText) => true,
        Some(Format::UnifiedBinary) => false,
        Some(Format::Individual(codes)) => codes.iter().all(|code| *code == 0),
    };
    if is_text { Ok(()) } else { Err(Failure::new("0A000", "a cursor's rows come as text")) }
}

fn text_field(name: &str) -> FieldInfo {
    FieldInfo::new(name.to_owned(), None, None, Type::TEXT, FieldFormat::Text)
}

fn one_text(name: &str, value: &str) -> Result<QueryResponse, Failure> {
    let fields = Arc::new(vec![text_field(name)]);
    let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
    encoder.encode_field(&Some(value))?;
    let row = encoder.take_row();
    let mut response = QueryResponse::new(fields, futures::stream::iter([Ok(row)]));
    response.set_command_tag("SHOW");
    Ok(response)
}
