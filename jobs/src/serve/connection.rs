//! One client's connection after its login: messages in, answers out.
//!
//! Owns the order of the protocol: what may follow what, failed messages and transactions, and that everything that a statement
//! holds is dropped when it ends, is cancelled, takes too long, or its client is gone. Nobody gets here without a login.
//! Does not own what the answers are (`answer`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::results::{FieldInfo, QueryResponse, Tag};
use datafusion_postgres::pgwire::api::stmt::StoredStatement;
use datafusion_postgres::pgwire::error::ErrorInfo;
use datafusion_postgres::pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};
use datafusion_postgres::pgwire::messages::data::{
    FieldDescription, NoData, ParameterDescription, RowDescription,
};
use datafusion_postgres::pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, PortalSuspended,
    TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use datafusion_postgres::pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery, TransactionStatus,
};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use futures::{SinkExt as _, StreamExt as _};
use postgres_types::Type;
use sql::quantities::LeftOut;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{Answer, Open, Prepared, Rows};
use super::client_settings::ClientSettings;
use super::command::Command;
use super::copy::CopyLayout;
use super::failure::Failure;
use super::login::Login;
use super::query;
use super::server::{Cancel, Server, tell_and_close};
use super::sessions::UserSession;
use super::socket::{Socket, Watch};
use super::statement::kept_bytes;
use super::users::User;

const STATEMENTS_MAX: usize = 1_000;
const OPEN_MAX: usize = 100;
/// Of prepared statements, portals and their values together.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A client that reads nothing is let go.
const TELL_TIME: Duration = Duration::from_secs(30);

/// What may take long.
enum Work {
    Simple(String),
    Parse(Parse),
    Execute(Execute),
}

pub struct Connection {
    socket: Socket,
    pub(super) server: Arc<Server>,
    user: Arc<User>,
    pub(super) settings: ClientSettings,
    cancel: Cancel,
    watch: Arc<Watch>,
    pub(super) transaction: TransactionStatus,
    /// Prepared statements by name; none for an empty text.
    pub(super) statements: HashMap<String, Option<Arc<StoredStatement<Prepared>>>>,
    /// Portals and cursors by name; none for an empty text.
    pub(super) open: HashMap<String, Option<Open>>,
    /// Tenants that the rows so far are without, to be told with the end of the rows.
    pub(super) left_out: Arc<LeftOut>,
    /// After an error in the extended protocol everything up to the next Sync is passed over.
    skips_to_sync: bool,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    pub fn new(socket: Socket, server: Arc<Server>, login: Login, watch: Watch) -> Self {
        Self {
            socket,
            server,
            user: login.user,
            settings: login.settings,
            cancel: login.cancel,
            watch: Arc::new(watch),
            transaction: TransactionStatus::Idle,
            statements: HashMap::new(),
            open: HashMap::new(),
            left_out: Arc::default(),
            skips_to_sync: false,
            _place: login.place,
        }
    }

    /// Serves the client until it leaves, or has to.
    pub async fn run(mut self) {
        let mut idle_since = Instant::now();
        let end = loop {
            let next_abandoned = self.stop_abandoned();
            let message = tokio::select! {
                message = self.socket.next() => message,
                () = self.server.stopping.cancelled() => break Some(Failure::stopping()),
                () = at(Some(idle_since + self.server.idle_timeout)) => {
                    break Some(Failure::fatal("57P05", "the connection was idle for too long"));
                }
                () = at(next_abandoned) => continue,
            };
            self.socket.get_mut().message_is_complete();
            let handled = match message {
                None | Some(Ok(PgWireFrontendMessage::Terminate(_))) => break None,
                Some(Ok(message)) => self.handle(message).await,
                Some(Err(error)) => Err(Failure { is_fatal: true, ..Failure::from(error) }),
            };
            // What is not fatal was told already.
            if let Err(failure) = handled
                && failure.is_fatal
            {
                break Some(failure);
            }
            idle_since = Instant::now();
        };
        // What runs and what is held goes first: the client may be slow to read.
        self.open.clear();
        if let Some(failure) = end {
            tell_and_close(&mut self.socket, failure).await;
        }
    }

    /// Stops what nobody has fetched from for as long as a statement may take: it may compute on, and no time limit of a
    /// statement sees it. Answers when that will be so for the next.
    fn stop_abandoned(&mut self) -> Option<Instant> {
        let timeout = self.server.statement_timeout?;
        let mut next = None;
        for open in self.open.values_mut().flatten() {
            if let Rows::Suspended(_, since) = open.rows {
                let end = since + timeout;
                if end <= Instant::now() {
                    open.rows = Rows::Stopped;
                } else {
                    next = Some(next.map_or(end, |next| Ord::min(next, end)));
                }
            }
        }
        next
    }

    /// Refuses to keep more than a connection may.
    pub(super) fn make_room(&self, bytes: usize) -> Result<(), Failure> {
        let opened = self.open.values().flatten().map(|open| &open.portal);
        // Portals keep their statements, whether these still have names or not.
        let statements = self.statements.values().flatten().chain(opened.clone().map(|it| &it.statement));
        let statements: HashMap<_, usize> =
            statements.map(|it| (Arc::as_ptr(it), it.statement.bytes)).collect();
        let values = opened.flat_map(|portal| portal.parameters.iter().flatten()).map(Bytes::len);
        let kept: usize = statements.into_values().chain(values).sum();
        if kept + bytes <= KEPT_BYTES_MAX {
            return Ok(());
        }
        let message = format!(
            "the prepared statements and portals of the connection need more than {} MiB: close some",
            KEPT_BYTES_MAX / 1024 / 1024
        );
        Err(Failure::new("54000", message))
    }

    async fn handle(&mut self, message: PgWireFrontendMessage) -> Result<(), Failure> {
        let done = match message {
            PgWireFrontendMessage::Query(query) => {
                self.skips_to_sync = false;
                let done = self.limited(Work::Simple(query.query)).await;
                if let Err(failure) = done {
                    self.tell(failure).await?;
                }
                return self.ready().await;
            }
            PgWireFrontendMessage::Sync(_) => {
                self.skips_to_sync = false;
                return self.ready().await;
            }
            _ if self.skips_to_sync => return Ok(()),
            PgWireFrontendMessage::Parse(parse) => self.limited(Work::Parse(parse)).await,
            PgWireFrontendMessage::Bind(bind) => self.bind(&bind).await,
            PgWireFrontendMessage::Describe(describe) => self.describe(&describe).await,
            PgWireFrontendMessage::Execute(execute) => self.limited(Work::Execute(execute)).await,
            PgWireFrontendMessage::Close(close) => self.close(&close).await,
            PgWireFrontendMessage::Flush(_) => self.flush().await,
            _ => Err(Failure::fatal("08P01", "the message is not expected here")),
        };
        match done {
            Err(failure) if !failure.is_fatal => {
                self.skips_to_sync = true;
                self.tell(failure).await
            }
            done => done,
        }
    }

    /// Does some work unless it is cancelled, takes too long, or nobody waits for it any more. What the work holds is
    /// dropped with it.
    async fn limited(&mut self, work: Work) -> Result<(), Failure> {
        let (cancel, watch) = (Arc::clone(&self.cancel.notify), Arc::clone(&self.watch));
        let (stopped, timeout) = (self.server.stopped.clone(), self.settings.timeout());
        let in_time = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = self.work(work) => done,
            () = cancel.notified() => Err(Failure::canceled()),
            () = in_time => Err(Failure::timeout()),
            () = watch.gone() => Err(Failure::fatal("08006", "the client is gone")),
            () = stopped.cancelled() => Err(Failure::stopping()),
        }
    }

    async fn work(&mut self, work: Work) -> Result<(), Failure> {
        match work {
            Work::Simple(text) => self.simple(&text).await,
            Work::Parse(parse) => self.parse(parse).await,
            Work::Execute(execute) => self.execute(&execute).await,
        }
    }

    /// Answers a failed message; in a transaction, only its end helps now.
    async fn tell(&mut self, failure: Failure) -> Result<(), Failure> {
        if failure.is_fatal {
            return Err(failure);
        }
        tracing::debug!(user = self.user.name, code = %failure.code, "a statement failed: {failure}");
        if self.transaction == TransactionStatus::Transaction {
            self.transaction = TransactionStatus::Error;
        }
        let response = ErrorResponse::from(ErrorInfo::from(failure));
        let told = self.socket.send(PgWireBackendMessage::ErrorResponse(response));
        match tokio::time::timeout(TELL_TIME, told).await {
            Ok(told) => told.map_err(|error| gone(&error)),
            Err(_) => Err(Failure::fatal("08006", "the client does not read")),
        }
    }

    async fn ready(&mut self) -> Result<(), Failure> {
        if self.transaction == TransactionStatus::Idle {
            self.open.clear();
        }
        self.feed(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(self.transaction))).await?;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.socket.flush().await.map_err(|error| gone(&error))
    }

    pub(super) async fn feed(&mut self, message: PgWireBackendMessage) -> Result<(), Failure> {
        self.socket.feed(message).await.map_err(|error| gone(&error))
    }

    pub(super) async fn session(&mut self) -> Result<Arc<UserSession>, Failure> {
        self.server.sessions.of(&self.user).await.map_err(|error| Failure::internal(&format!("{error:#}")))
    }

    async fn simple(&mut self, text: &str) -> Result<(), Failure> {
        let session = self.session().await?;
        let statements = self.server.statements.read(text, &session.names)?;
        if statements.is_empty() {
            return self.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await;
        }
        // If one of them is not allowed, none runs.
        let commands = statements.into_iter().map(Command::of).collect::<Result<Vec<_>, _>>()?;
        for command in commands {
            let prepared = self.prepare(&session, command).await?;
            match self.answer(&session, &prepared, None).await? {
                Answer::Rows(mut response) => {
                    self.row_description(&response.row_schema()).await?;
                    self.rows(&mut response, 0).await?;
                }
                Answer::Fetch { cursor, rows_max } => self.fetch(cursor, rows_max, true).await?,
                Answer::Copy(rows, layout) => self.copy(rows, &layout).await?,
                Answer::Done(tag) => self.complete(Tag::new(&tag)).await?,
            }
        }
        Ok(())
    }

    async fn parse(&mut self, parse: Parse) -> Result<(), Failure> {
        let name = parse.name.clone().unwrap_or_default();
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Failure::new("42P05", format!("there is a prepared statement \"{name}\" already")));
        }
        if self.statements.len() >= STATEMENTS_MAX {
            return Err(Failure::new("54000", "the connection has too many prepared statements: close some"));
        }
        if name.is_empty() {
            self.statements.remove(&name);
        }
        let session = self.session().await?;
        let mut statements = self.server.statements.read(&parse.query, &session.names)?;
        let bytes = kept_bytes(&parse.query);
        self.make_room(bytes)?;
        let stored = match (statements.pop(), statements.is_empty()) {
            (None, _) => None,
            (Some(statement), true) => {
                let prepared = self.prepare(&session, Command::of(statement)?).await?;
                let prepared = Prepared { bytes, ..prepared };
                let types = parse.type_oids.iter().map(|number| Type::from_oid(*number)).collect();
                Some(Arc::new(StoredStatement::new(name.clone(), prepared, types)))
            }
            (Some(_), false) => {
                return Err(Failure::syntax("a prepared statement holds one statement only"));
            }
        };
        self.statements.insert(name, stored);
        self.feed(PgWireBackendMessage::ParseComplete(ParseComplete::new())).await
    }

    async fn bind(&mut self, bind: &Bind) -> Result<(), Failure> {
        let statement = bind.statement_name.as_deref().unwrap_or_default();
        let name = bind.portal_name.clone().unwrap_or_default();
        if self.open.len() >= OPEN_MAX {
            return Err(Failure::new("54000", "the transaction has too many portals open: close some"));
        }
        if name.is_empty() {
            self.open.remove(&name);
        }
        self.make_room(bind.parameters.iter().flatten().map(Bytes::len).sum())?;
        let opened = match self.statements.get(statement) {
            None => {
                return Err(Failure::new("26000", format!("there is no prepared statement \"{statement}\"")));
            }
            Some(None) => None,
            Some(Some(stored)) => Some(Open::new(Portal::try_new(bind, Arc::clone(stored))?)),
        };
        self.open.insert(name, opened);
        self.feed(PgWireBackendMessage::BindComplete(BindComplete::new())).await
    }

    async fn describe(&mut self, describe: &Describe) -> Result<(), Failure> {
        let name = describe.name.as_deref().unwrap_or_default();
        match describe.target_type {
            TARGET_TYPE_BYTE_STATEMENT => {
                let Some(stored) = self.statements.get(name).cloned() else {
                    return Err(Failure::new("26000", format!("there is no prepared statement \"{name}\"")));
                };
                let (mut types, mut columns) = (Vec::new(), None);
                if let Some(stored) = stored {
                    types = parameter_types(&stored)?;
                    columns = self.columns_of(&stored.statement, &Format::UnifiedText)?;
                }
                let described = ParameterDescription::new(types.iter().map(Type::oid).collect());
                self.feed(PgWireBackendMessage::ParameterDescription(described)).await?;
                self.row_description_or_none(columns).await
            }
            TARGET_TYPE_BYTE_PORTAL => {
                let columns = match self.open.get(name) {
                    None => return Err(Failure::new("34000", format!("there is no portal \"{name}\""))),
                    Some(None) => None,
                    Some(Some(open)) => {
                        self.columns_of(&open.portal.statement.statement, &open.portal.result_column_format)?
                    }
                };
                self.row_description_or_none(columns).await
            }
            _ => Err(Failure::protocol("Describe names neither a statement nor a portal")),
        }
    }

    async fn execute(&mut self, execute: &Execute) -> Result<(), Failure> {
        let name = execute.name.clone().unwrap_or_default();
        let mut open = match self.open.get_mut(&name) {
            None => return Err(Failure::new("34000", format!("there is no portal \"{name}\""))),
            Some(None) => {
                return self.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await;
            }
            // Away while it runs: what is cancelled is gone.
            Some(open) => open.take().expect("just seen"),
        };
        self.open.remove(&name);
        let rows_max = usize::try_from(execute.max_rows).unwrap_or(0);
        let mut response = match std::mem::replace(&mut open.rows, Rows::New).left()? {
            Some(rows) => rows,
            None => {
                let session = self.session().await?;
                let prepared = Arc::clone(&open.portal.statement);
                match self.answer(&session, &prepared.statement, Some(&open.portal)).await? {
                    Answer::Rows(rows) => rows,
                    Answer::Fetch { .. } if rows_max > 0 => {
                        let message = "FETCH itself says how many rows there are to be";
                        return Err(Failure::new("0A000", message));
                    }
                    Answer::Fetch { cursor, rows_max } => return self.fetch(cursor, rows_max, false).await,
                    Answer::Copy(rows, layout) => return self.copy(rows, &layout).await,
                    Answer::Done(tag) => {
                        return self.complete(Tag::new(&tag)).await;
                    }
                }
            }
        };
        if self.rows(&mut response, rows_max).await? {
            open.rows = Rows::Suspended(response, Instant::now());
            self.open.insert(name, Some(open));
        }
        Ok(())
    }

    async fn close(&mut self, close: &Close) -> Result<(), Failure> {
        let name = close.name.as_deref().unwrap_or_default();
        match close.target_type {
            TARGET_TYPE_BYTE_STATEMENT => drop(self.statements.remove(name)),
            _ => drop(self.open.remove(name)),
        }
        self.feed(PgWireBackendMessage::CloseComplete(CloseComplete::new())).await
    }

    /// Sends rows, all of them for 0, and what ends them; answers whether there may be more.
    async fn rows(&mut self, response: &mut QueryResponse, rows_max: usize) -> Result<bool, Failure> {
        let rows_max = (rows_max > 0).then_some(rows_max);
        let (count, are_more) = self.some_rows(response, rows_max).await?;
        if are_more {
            self.feed(PgWireBackendMessage::PortalSuspended(PortalSuspended::new())).await?;
        } else {
            self.complete(Tag::new(response.command_tag()).with_rows(count)).await?;
        }
        Ok(are_more)
    }

    /// Sends the next rows of a cursor as they come; the cursor keeps the others.
    async fn fetch(
        &mut self,
        cursor: String,
        rows_max: Option<usize>,
        says_columns: bool,
    ) -> Result<(), Failure> {
        let (mut open, mut response) = self.take_cursor(&cursor)?;
        if says_columns {
            self.row_description(&response.row_schema()).await?;
        }
        let (count, _) = self.some_rows(&mut response, rows_max).await?;
        open.rows = Rows::Suspended(response, Instant::now());
        self.open.insert(cursor, Some(open));
        self.complete(Tag::new("FETCH").with_rows(count)).await
    }

    /// Sends rows, not more than so many; answers how many there were, and whether there may be more.
    async fn some_rows(
        &mut self,
        response: &mut QueryResponse,
        rows_max: Option<usize>,
    ) -> Result<(usize, bool), Failure> {
        let mut count = 0;
        while rows_max.is_none_or(|most| count < most) {
            let Some(row) = response.data_rows().next().await else { return Ok((count, false)) };
            self.feed(PgWireBackendMessage::DataRow(row?)).await?;
            count += 1;
        }
        Ok((count, true))
    }

    /// Sends all rows as lines of text.
    async fn copy(&mut self, mut response: QueryResponse, layout: &CopyLayout) -> Result<(), Failure> {
        let columns = response.row_schema();
        let count = i16::try_from(columns.len()).unwrap_or(i16::MAX);
        let begun = CopyOutResponse::new(0, count, vec![0; columns.len()]);
        self.feed(PgWireBackendMessage::CopyOutResponse(begun)).await?;
        if let Some(header) = layout.header(columns.iter().map(FieldInfo::name)) {
            self.feed(PgWireBackendMessage::CopyData(CopyData::new(header))).await?;
        }
        let mut rows = 0;
        while let Some(row) = response.data_rows().next().await {
            let line = layout.row(&row?);
            self.feed(PgWireBackendMessage::CopyData(CopyData::new(line))).await?;
            rows += 1;
        }
        self.feed(PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
        self.complete(Tag::new("COPY").with_rows(rows)).await
    }

    async fn complete(&mut self, tag: Tag) -> Result<(), Failure> {
        for one in self.left_out.take() {
            let told = ErrorInfo::new(
                "WARNING".to_owned(),
                "01000".to_owned(),
                format!("{one}; the answer is without it"),
            );
            self.feed(PgWireBackendMessage::NoticeResponse(NoticeResponse::from(told))).await?;
        }
        self.feed(PgWireBackendMessage::CommandComplete(CommandComplete::from(tag))).await
    }

    async fn row_description(&mut self, columns: &[FieldInfo]) -> Result<(), Failure> {
        let fields = columns.iter().map(FieldDescription::from).collect();
        self.feed(PgWireBackendMessage::RowDescription(RowDescription::new(fields))).await
    }

    async fn row_description_or_none(&mut self, columns: Option<Vec<FieldInfo>>) -> Result<(), Failure> {
        match columns {
            Some(columns) => self.row_description(&columns).await,
            None => self.feed(PgWireBackendMessage::NoData(NoData::new())).await,
        }
    }
}

/// As the client wants them, else as the statement uses them.
fn parameter_types(stored: &StoredStatement<Prepared>) -> Result<Vec<Type>, Failure> {
    let used = match &stored.statement.planned {
        Some(planned) => query::parameters(planned)?,
        None => Vec::new(),
    };
    let wanted = |index: usize| stored.parameter_types.get(index).cloned().flatten();
    Ok(used.into_iter().enumerate().map(|(index, it)| wanted(index).unwrap_or(it.wire)).collect())
}

/// Waits for an instant, or for ever.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

fn gone(error: &std::io::Error) -> Failure {
    Failure::fatal("08006", error.to_string())
}
