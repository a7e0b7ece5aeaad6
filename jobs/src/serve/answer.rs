//! What each command answers.
//!
//! Owns transactions as far as there are any (nothing is written, so nothing is undone), cursors, and the settings of a
//! connection. Each query sees the lake's newest version, within a transaction too.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse};
use datafusion_postgres::pgwire::api::stmt::StoredStatement;
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::response::TransactionStatus;
use datafusion_postgres::pgwire::messages::startup::ParameterStatus;
use futures::StreamExt as _;
use postgres_types::Type;

use super::command::Command;
use super::connection::Connection;
use super::copy::CopyLayout;
use super::failure::Failure;
use super::query::{self, Planned};
use super::sessions::UserSession;

/// What is fetched of a cursor is collected before it is sent.
const FETCHED_MAX: usize = 100_000;

/// A statement that was read, found allowed and, if it is a query, planned.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub command: Arc<Command>,
    pub planned: Option<Arc<Planned>>,
}

/// A portal or a cursor.
#[derive(Debug)]
pub struct Open {
    pub portal: Portal<Prepared>,
    /// None before the first row was asked for.
    pub rows: Option<QueryResponse>,
}

impl Open {
    pub fn new(portal: Portal<Prepared>) -> Self {
        Self { portal, rows: None }
    }
}

pub enum Answer {
    Rows(QueryResponse),
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
        Ok(Prepared { command: Arc::new(command), planned })
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
            Command::Fetch { cursor, rows } => Ok(Answer::Rows(self.fetch(cursor, *rows, portal).await?)),
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
        let plan = match planned {
            Some(planned) if planned.opening == session.opening => &planned.plan,
            _ => {
                newer = query::plan(session, statement).await?;
                &newer.plan
            }
        };
        let plan = match portal {
            Some(portal) => query::bind(plan, portal)?,
            None if query::parameters(plan)?.is_empty() => plan.clone(),
            None => return Err(Failure::new("42P02", "a query without bound values cannot have parameters")),
        };
        let format = portal.map_or(&Format::UnifiedText, |portal| &portal.result_column_format);
        let limits = self.server.limits;
        let state = session.for_query(limits.memory_bytes, &self.left_out);
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
        let rows = self.query(session, statement, prepared.planned.as_deref(), None).await?;
        let query = Prepared {
            command: Arc::new(Command::Query(Box::new(statement.clone()))),
            planned: prepared.planned.clone(),
        };
        let stored = Arc::new(StoredStatement::new(cursor.to_owned(), query, Vec::new()));
        let open = Open { portal: Portal::new_cursor(cursor.to_owned(), stored), rows: Some(rows) };
        self.open.insert(cursor.to_owned(), Some(open));
        Ok(Answer::done("DECLARE CURSOR"))
    }

    /// The next rows of a cursor; the cursor keeps the others.
    async fn fetch(
        &mut self,
        cursor: &str,
        rows_max: Option<usize>,
        portal: Option<&Portal<Prepared>>,
    ) -> Result<QueryResponse, Failure> {
        let is_text = match portal.map(|portal| &portal.result_column_format) {
            None | Some(Format::UnifiedText) => true,
            Some(Format::UnifiedBinary) => false,
            Some(Format::Individual(codes)) => codes.iter().all(|code| *code == 0),
        };
        if !is_text {
            return Err(Failure::new("0A000", "a cursor's rows come as text"));
        }
        let Some(Some(open)) = self.open.get_mut(cursor) else {
            return Err(Failure::new("34000", format!("there is no cursor \"{cursor}\"")));
        };
        let Some(mut rows) = open.rows.take() else {
            return Err(Failure::new("34000", format!("\"{cursor}\" is no cursor")));
        };
        let fields = rows.row_schema();
        let mut fetched = Vec::new();
        while rows_max.is_none_or(|most| fetched.len() < most) {
            if fetched.len() == FETCHED_MAX {
                return Err(Failure::new("54000", format!("FETCH takes at most {FETCHED_MAX} rows at once")));
            }
            match rows.data_rows().next().await {
                Some(row) => fetched.push(Ok(row?)),
                None => break,
            }
        }
        open.rows = Some(rows);
        let mut response = QueryResponse::new(fields, futures::stream::iter(fetched));
        response.set_command_tag("FETCH");
        Ok(response)
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
                Some(Some(Open { rows: Some(rows), .. })) => Ok(Some(rows.row_schema().to_vec())),
                _ => Err(Failure::new("34000", format!("there is no cursor \"{cursor}\""))),
            },
            _ => Ok(None),
        }
    }
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
