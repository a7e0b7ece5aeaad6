//! The listener: takes connections, as many as it may, and lets them go when it is to stop.
//!
//! Owns what all connections share. Does not own what goes on in one (`connection`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datafusion_postgres::pgwire::api::RandomPidSecretKeyGenerator;
use datafusion_postgres::pgwire::error::ErrorInfo;
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::response::ErrorResponse;
use datafusion_postgres::pgwire::messages::startup::SecretKey;
use datafusion_postgres::pgwire::tokio::TlsAcceptor;
use futures::SinkExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::failure::Failure;
use super::login::login;
use super::query::QueryLimits;
use super::running::QueryThreads;
use super::sessions::Sessions;
use super::socket::{self, Socket, Watch};
use super::statement::Statements;
use super::users::User;

/// A client has this long to log in.
const LOGIN_TIME: Duration = Duration::from_secs(30);
/// So many more than the limit may be logging in or cancelling.
const HANDSHAKES: usize = 32;
/// Queries that run when the server is to stop may go on for so long.
const STOP_TIME: Duration = Duration::from_secs(10);
/// A client that reads nothing does not learn why it is disconnected.
const TELL_TIME: Duration = Duration::from_secs(5);

/// What all connections share.
#[derive(Debug)]
pub struct Server {
    pub(super) sessions: Sessions,
    pub(super) users: BTreeMap<String, Arc<User>>,
    pub(super) statements: Statements,
    pub(super) query_threads: QueryThreads,
    pub(super) limits: QueryLimits,
    pub(super) statement_timeout: Option<Duration>,
    pub(super) idle_timeout: Duration,
    pub(super) requires_tls: bool,
    /// What logins can be bound to.
    pub(super) end_point: Option<Vec<u8>>,
    /// Makes the answers for users that do not exist.
    pub(super) secret: String,
    pub(super) process_numbers: RandomPidSecretKeyGenerator,
    pub(super) connections: Arc<Semaphore>,
    pub(super) cancels: Mutex<HashMap<i32, (SecretKey, Arc<Notify>)>>,
    /// Idle connections end.
    pub stopping: CancellationToken,
    /// All connections end.
    pub(super) stopped: CancellationToken,
}

/// By this a running statement is cancelled; it is forgotten with the connection.
#[derive(Debug)]
pub struct Cancel {
    process: i32,
    pub notify: Arc<Notify>,
    server: Arc<Server>,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.server.cancels.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.process);
    }
}

impl Server {
    /// What all queries hold just now.
    pub fn memory_bytes(&self) -> usize {
        self.sessions.memory().reserved()
    }

    pub(super) fn register(self: &Arc<Self>, process: i32, key: SecretKey) -> Cancel {
        let notify = Arc::new(Notify::new());
        let mut cancels = self.cancels.lock().unwrap_or_else(PoisonError::into_inner);
        cancels.insert(process, (key, Arc::clone(&notify)));
        Cancel { process, notify, server: Arc::clone(self) }
    }

    /// Cancels what a connection runs just now, if the key is right. The asker learns nothing.
    pub(super) fn cancel(&self, process: i32, key: &SecretKey) {
        let cancels = self.cancels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, notify)) = cancels.get(&process).filter(|(expected, _)| expected.eq_value(key)) {
            notify.notify_waiters();
        }
    }

    /// Serves until it is told to stop, and then lets running queries finish for a while.
    pub async fn run(self: Arc<Self>, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let sockets = Arc::new(Semaphore::new(self.connections.available_permits() + HANDSHAKES));
        let mut open = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = self.stopping.cancelled() => break,
                Some(_) = open.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match (accepted, Arc::clone(&sockets).try_acquire_owned()) {
                (Ok((stream, _)), Ok(permit)) => {
                    let (server, tls) = (Arc::clone(&self), tls.clone());
                    open.spawn(async move {
                        server.serve(stream, tls).await;
                        drop(permit);
                    });
                }
                (Ok((_, peer)), Err(_)) => {
                    tracing::warn!(%peer, "a connection was refused: there are too many");
                }
                (Err(error), _) => {
                    // Out of file handles, say: wait until some are free.
                    tracing::warn!("cannot take a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        let all = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIME, all).await.is_err() {
            self.stopped.cancel();
            let rest = async { while open.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(TELL_TIME, rest).await;
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let Ok((stream, watch)) = Watch::over(stream) else { return };
        let Ok(Ok(Some(mut socket))) = tokio::time::timeout(LOGIN_TIME, socket::open(stream, tls)).await
        else {
            return;
        };
        let login = tokio::select! {
            login = tokio::time::timeout(LOGIN_TIME, login(&mut socket, &self)) => login,
            () = self.stopping.cancelled() => Ok(Err(Failure::stopping())),
        };
        let login = match login {
            Ok(Ok(Some(login))) => login,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(failure)) => return tell_and_close(&mut socket, failure).await,
        };
        Connection::new(socket, self, login, watch).run().await;
    }
}

/// The last message on a connection.
pub async fn tell_and_close(socket: &mut Socket, failure: Failure) {
    let response = ErrorResponse::from(ErrorInfo::from(Failure { is_fatal: true, ..failure }));
    let told = async {
        let _ = socket.send(PgWireBackendMessage::ErrorResponse(response)).await;
        let _ = socket.close().await;
    };
    let _ = tokio::time::timeout(TELL_TIME, told).await;
}
