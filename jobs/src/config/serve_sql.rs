//! `[serve_sql]`: the SQL server for PostgreSQL's clients, and who may use it.
//!
//! Owns the settings and their checks. A password never stands in the settings file: a verifier does, from which nobody can
//! log in, or the name of a file or variable that holds the password, which is read when the server starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::SignedDuration;

use super::diagnostic::{Mistake, Origin};
use super::reader::{Reader, Setting, variable_of};
use super::value;
use crate::serve::Verifier;

const USER_EXAMPLE: &str = "write it like anna = { verifier = \"SCRAM-SHA-256$…\", tenant = \"acme\" }; `meterhouse serve sql --make-verifier` makes \
                            one of a password";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeSqlConfig {
    pub listen: SocketAddr,
    /// PEM files; both or none.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub connections: u64,
    /// The memory of all queries, and of one.
    pub memory: u64,
    pub query_memory: u64,
    /// None is unlimited.
    pub statement_timeout: Option<SignedDuration>,
    pub rows: u64,
    pub idle_timeout: SignedDuration,
    /// How old a query's view of the lake may be.
    pub refresh: SignedDuration,
    pub users: Vec<SqlUserConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlUserConfig {
    pub name: String,
    pub password: PasswordSource,
    /// The only tenant whose rows the user sees; none for all.
    pub tenant: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    Verifier(Verifier),
    File(PathBuf),
    /// Of the environment.
    Variable(String),
}

impl ServeSqlConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let section = "serve_sql";
        let config = Self {
            listen: reader.setting(section, "listen", value::LISTEN, "127.0.0.1:5433"),
            certificate: read_path(reader, "certificate"),
            key: read_path(reader, "key"),
            connections: reader.setting(section, "connections", value::COUNT, "64"),
            memory: reader.setting(section, "memory", value::SIZE, "2 GiB"),
            query_memory: reader.setting(section, "query_memory", value::SIZE, "512 MiB"),
            statement_timeout: reader.setting(section, "statement_timeout", value::WINDOW, "5 min"),
            rows: reader.setting(section, "rows", value::COUNT, "10000000"),
            idle_timeout: reader.setting(section, "idle_timeout", value::DURATION, "8 h"),
            refresh: reader.setting(section, "refresh", value::TOLERANCE, "1 s"),
            users: read_users(reader),
        };
        if config.certificate.is_some() != config.key.is_some() {
            let message = "`serve_sql`: `certificate` and `key` go together; one of them is not set";
            reader.report(Mistake::new(Origin::Default, message).hint("set both to the paths of PEM files"));
        }
        config
    }
}

fn read_path(reader: &mut Reader<'_>, key: &'static str) -> Option<PathBuf> {
    let path = reader.optional("serve_sql", key, value::TEXT)?;
    Some(reader.resolve(&path, &reader.last_origin()))
}

fn read_users(reader: &mut Reader<'_>) -> Vec<SqlUserConfig> {
    let mut users = Vec::new();
    for (name, keys, origin) in reader.tables("serve_sql", "users") {
        match read_user(reader, &name, &keys) {
            Ok(user) => {
                let tenant =
                    user.tenant.as_ref().map_or("all tenants".to_owned(), |it| format!("tenant {it}"));
                let name = format!("serve_sql.users.{name}");
                reader.settings.push(Setting {
                    name,
                    value: Some(tenant),
                    origin,
                    variable: variable_of("serve_sql", "users"),
                });
                users.push(user);
            }
            Err(problem) => {
                let message = format!("`serve_sql.users`: `{name}`: {problem}");
                reader.report(Mistake::new(origin.without_value(), message).hint(USER_EXAMPLE));
            }
        }
    }
    users
}

fn read_user(
    reader: &Reader<'_>,
    name: &str,
    keys: &BTreeMap<String, (String, Origin)>,
) -> Result<SqlUserConfig, String> {
    const KNOWN: [&str; 5] = ["verifier", "password_file", "password_variable", "tenant", "all_tenants"];
    if keys.contains_key("password") {
        return Err("a password does not belong in this file".to_owned());
    }
    if let Some(unknown) = keys.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(format!("there is no key `{unknown}`; expected `{}`", KNOWN.join("`, `")));
    }
    let key = |key: &str| keys.get(key).map(|(text, origin)| (text.as_str(), origin));
    let password = match (key("verifier"), key("password_file"), key("password_variable")) {
        (Some((text, _)), None, None) => PasswordSource::Verifier(
            Verifier::parse(text).ok_or("`verifier` is not one of SCRAM-SHA-256 with 4096 rounds or more")?,
        ),
        (None, Some((path, origin)), None) => PasswordSource::File(reader.resolve(path, origin)),
        (None, None, Some((variable, _))) => PasswordSource::Variable(variable.to_owned()),
        _ => return Err("set one of `verifier`, `password_file` and `password_variable`".to_owned()),
    };
    let tenant = match (key("tenant"), key("all_tenants")) {
        (Some((tenant, _)), None) if !tenant.is_empty() => Some(tenant.to_owned()),
        (None, Some(("true", _))) => None,
        // Nobody sees everything by a slip.
        _ => return Err("say whose rows it sees: either `tenant = \"…\"` or `all_tenants = true`".to_owned()),
    };
    Ok(SqlUserConfig { name: name.to_owned(), password, tenant })
}
