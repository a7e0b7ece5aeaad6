//! The beginning of a connection: who is it, and does it know the password?
//!
//! Owns the messages up to the first "ready for query". A wrong name is answered as a wrong password is, message by
//! message. Does not own the arithmetic (`scram`).

use std::sync::Arc;
use std::time::Duration;

use datafusion_postgres::pgwire::api::auth::protocol_negotiation;
use datafusion_postgres::pgwire::api::{ClientInfo as _, PgWireConnectionState, PidSecretKeyGenerator as _};
use datafusion_postgres::pgwire::messages::response::{ReadyForQuery, TransactionStatus};
use datafusion_postgres::pgwire::messages::startup::{
    Authentication, BackendKeyData, ParameterStatus, Startup,
};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use futures::{SinkExt as _, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;

use super::client_settings::{ClientSettings, server_version};
use super::failure::Failure;
use super::scram::{Exchange, MECHANISM, MECHANISM_PLUS, ScramError, Verifier};
use super::server::{Cancel, Server};
use super::socket::Socket;
use super::users::User;

/// Makes guessing slow.
const WRONG_PASSWORD_DELAY: Duration = Duration::from_millis(500);
const FATAL_LOGIN: &str = "28P01";

/// A client that proved who it is.
#[derive(Debug)]
pub struct Login {
    pub user: Arc<User>,
    pub settings: ClientSettings,
    pub cancel: Cancel,
    /// One of the connections that the server may have.
    pub place: OwnedSemaphorePermit,
}

/// Talks to a client until it is known; none if it only came to cancel another's query, or went away.
pub async fn login(socket: &mut Socket, server: &Arc<Server>) -> Result<Option<Login>, Failure> {
    let startup = match next(socket).await? {
        None => return Ok(None),
        Some(PgWireFrontendMessage::CancelRequest(request)) => {
            server.cancel(request.pid, &request.secret_key);
            return Ok(None);
        }
        Some(PgWireFrontendMessage::Startup(startup)) => startup,
        Some(_) => return Err(Failure::fatal("08P01", "expected a startup message")),
    };
    protocol_negotiation(socket, &startup).await?;
    let text = |name: &str| startup.parameters.get(name).cloned();
    let Some(name) = text("user").filter(|name| !name.is_empty()) else {
        return Err(Failure::fatal("28000", "the connection names no user"));
    };
    if server.requires_tls && !socket.is_secure() {
        return Err(Failure::fatal(
            "28000",
            "this server only takes encrypted connections: set sslmode=require",
        ));
    }
    if text("replication").is_some_and(|mode| !["false", "off", "no", "0"].contains(&mode.as_str())) {
        return Err(Failure::fatal("0A000", "there is no replication here"));
    }
    let user = match prove(socket, server, &name).await? {
        Proof::Gone => return Ok(None),
        Proof::Of(user) => user,
        Proof::Wrong(error) => {
            tracing::warn!(user = ?name, peer = %socket.socket_addr(), "a login failed: {error}");
            tokio::time::sleep(WRONG_PASSWORD_DELAY).await;
            let message = format!("password authentication failed for user \"{name}\"");
            return Err(Failure::fatal(FATAL_LOGIN, message));
        }
    };
    let Ok(place) = Arc::clone(&server.connections).try_acquire_owned() else {
        return Err(Failure::fatal("53300", "the server has as many connections as it may have"));
    };
    let settings = first_settings(&startup, server)?;
    let cancel = welcome(socket, server, &settings).await?;
    Ok(Some(Login { user, settings, cancel, place }))
}

enum Proof {
    Of(Arc<User>),
    Wrong(ScramError),
    Gone,
}

async fn prove(socket: &mut Socket, server: &Server, name: &str) -> Result<Proof, Failure> {
    let user = server.users.get(name);
    let verifier = match user {
        Some(user) => user.verifier.clone(),
        None => Verifier::of_nobody(name, &server.secret),
    };
    socket.set_state(PgWireConnectionState::AuthenticationInProgress);
    let end_point = server.end_point.as_deref().filter(|_| socket.is_secure());
    let mut mechanisms = vec![MECHANISM.to_owned()];
    if end_point.is_some() {
        mechanisms.insert(0, MECHANISM_PLUS.to_owned());
    }
    send(socket, Authentication::SASL(mechanisms)).await?;
    let Some(PgWireFrontendMessage::PasswordMessageFamily(first)) = next(socket).await? else {
        return Ok(Proof::Gone);
    };
    let first = first.into_sasl_initial_response()?;
    let message = first.data.as_deref().unwrap_or_default();
    let (exchange, answer) = match Exchange::begin(verifier, &first.auth_method, end_point, message) {
        Ok(begun) => begun,
        Err(error) => return Ok(Proof::Wrong(error)),
    };
    send(socket, Authentication::SASLContinue(answer.into_bytes().into())).await?;
    let Some(PgWireFrontendMessage::PasswordMessageFamily(last)) = next(socket).await? else {
        return Ok(Proof::Gone);
    };
    match (exchange.finish(&last.into_sasl_response()?.data), user) {
        (Ok(answer), Some(user)) => {
            send(socket, Authentication::SASLFinal(answer.into_bytes().into())).await?;
            Ok(Proof::Of(Arc::clone(user)))
        }
        (Ok(_), None) => Ok(Proof::Wrong(ScramError::WrongPassword)),
        (Err(error), _) => Ok(Proof::Wrong(error)),
    }
}

/// Clients send settings along when they connect; those that cannot be set do not keep them out.
fn first_settings(startup: &Startup, server: &Server) -> Result<ClientSettings, Failure> {
    let mut settings = ClientSettings::new(server.statement_timeout);
    for (name, value) in &startup.parameters {
        let name = name.to_ascii_lowercase();
        let told = settings.set(&name, value);
        if name == "client_encoding" {
            told.map_err(|failure| Failure { is_fatal: true, ..failure })?;
        }
    }
    Ok(settings)
}

/// Tells the client that it is in, and how to cancel.
async fn welcome(
    socket: &mut Socket,
    server: &Arc<Server>,
    settings: &ClientSettings,
) -> Result<Cancel, Failure> {
    let (process, key) = server.process_numbers.generate(&socket.codec().client_info);
    let cancel = server.register(process, key.clone());
    socket.set_pid_and_secret_key(process, key.clone());
    socket
        .feed(PgWireBackendMessage::Authentication(Authentication::Ok))
        .await
        .map_err(|error| gone(&error))?;
    let own = [
        ("server_version", server_version()),
        ("server_encoding", "UTF8".to_owned()),
        ("integer_datetimes", "on".to_owned()),
        ("is_superuser", "off".to_owned()),
        ("in_hot_standby", "on".to_owned()),
    ];
    for (name, value) in own.into_iter().chain(settings.told()) {
        let status = ParameterStatus::new(name.to_owned(), value);
        socket.feed(PgWireBackendMessage::ParameterStatus(status)).await.map_err(|error| gone(&error))?;
    }
    let key = BackendKeyData::new(process, key);
    socket.feed(PgWireBackendMessage::BackendKeyData(key)).await.map_err(|error| gone(&error))?;
    let ready = ReadyForQuery::new(TransactionStatus::Idle);
    socket.send(PgWireBackendMessage::ReadyForQuery(ready)).await.map_err(|error| gone(&error))?;
    socket.set_state(PgWireConnectionState::ReadyForQuery);
    socket.get_mut().client_is_known();
    Ok(cancel)
}

async fn next(socket: &mut Socket) -> Result<Option<PgWireFrontendMessage>, Failure> {
    let message = socket.next().await.transpose()?;
    socket.get_mut().message_is_complete();
    Ok(message)
}

async fn send(socket: &mut Socket, message: Authentication) -> Result<(), Failure> {
    socket.send(PgWireBackendMessage::Authentication(message)).await.map_err(|error| gone(&error))
}

fn gone(error: &std::io::Error) -> Failure {
    Failure::fatal("08006", error.to_string())
}
