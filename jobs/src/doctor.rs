//! `meterhouse doctor`: tries everything that must work, and says what is wrong and what to do.
//!
//! Owns the checks and their bounds in time. It changes nothing that it does not undo: the probe objects that it
//! writes into the lake are deleted again.

mod book;
mod kafka;
mod lake;
mod machine;
mod serve;
mod stripe;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use rating::catalog::Catalog;

use crate::cli::{Exit, Globals, runtime};
use crate::config::{Config, ConfigErrors};
use crate::output::{Format, Rows};
use crate::stripe::late;

/// No check takes longer.
const CHECK_TIME_MAX: Duration = Duration::from_secs(5);

/// Try the lake, Kafka, the catalog, the book, Stripe, what listens, and this machine, and say what is wrong
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meterhouse doctor
  METERHOUSE_LAKE=s3://usage/lake meterhouse doctor --format json

Each check takes at most 5 seconds. The exit code is 1 if any check fails; warnings do not count. \
It writes, reads and deletes a probe object under _meterhouse_probe/ in the lake.")]
pub struct DoctorArgs {
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    Warn,
    Fail,
    /// There is nothing to try.
    Skipped,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Skipped => "skipped",
        }
    }
}

/// What one check found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub check: String,
    pub status: Status,
    pub found: String,
    pub remedy: String,
}

impl Finding {
    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), status: Status::Ok, found: found.into(), remedy: String::new() }
    }

    fn new(
        status: Status,
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check: check.into(), status, found: found.into(), remedy: remedy.into() }
    }

    fn fail(check: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Status::Fail, check, found, remedy)
    }
}

pub fn run(args: &DoctorArgs, globals: &Globals) -> Result<Exit> {
    let findings = match globals.load_config() {
        Ok(config) => runtime()?.block_on(examine(config)),
        Err(error) => vec![settings_failed(&error)],
    };
    show(&findings).print(args.format)?;
    let failures = findings.iter().filter(|finding| finding.status == Status::Fail).count();
    Ok(if failures > 0 { Exit::Error } else { Exit::Done })
}

fn settings_failed(error: &anyhow::Error) -> Finding {
    let found = match error.downcast_ref::<ConfigErrors>() {
        Some(errors) => {
            format!("{} mistakes; the first: {}", errors.mistakes.len(), errors.mistakes[0].message)
        }
        None => format!("{error:#}"),
    };
    Finding::fail("settings", found, "run `meterhouse config check`, which shows each with its place")
}

/// Runs the checks side by side, so that the whole takes hardly longer than the slowest.
async fn examine(config: Config) -> Vec<Finding> {
    let mut findings = vec![settings(&config), catalog(&config)];
    let blocking = |check: fn(&Config) -> Vec<Finding>| {
        let config = config.clone();
        tokio::task::spawn_blocking(move || check(&config))
    };
    let (lake, kafka, machine, book, stripe) = tokio::join!(
        lake::examine(&config),
        blocking(kafka::examine),
        blocking(machine::examine),
        book::examine(&config),
        stripe::examine(&config)
    );
    findings.extend(lake);
    findings.extend(kafka.unwrap_or_else(|error| vec![Finding::fail("kafka", error.to_string(), "")]));
    findings.extend(machine.unwrap_or_else(|error| vec![Finding::fail("machine", error.to_string(), "")]));
    findings.extend(book);
    findings.push(stripe);
    findings.push(serve::examine(&config.serve_sql).await);
    findings.push(metrics(&config).await);
    findings
}

fn settings(config: &Config) -> Finding {
    let file = match &config.file {
        Some(file) => file.display().to_string(),
        None => "no file; the environment and the defaults".to_owned(),
    };
    if config.warnings.is_empty() {
        return Finding::ok("settings", file);
    }
    let found = config.warnings.join("; ");
    Finding::new(Status::Warn, "settings", found, "remove the variable, or correct its name")
}

fn catalog(config: &Config) -> Finding {
    let name = config.catalog.display().to_string();
    let text = match std::fs::read_to_string(&config.catalog) {
        Ok(text) => text,
        Err(error) => {
            let remedy = "set `catalog` to the YAML file that defines your meters";
            return Finding::fail("catalog", format!("cannot read {name}: {error}"), remedy);
        }
    };
    match Catalog::parse(&text, &name) {
        Ok(catalog) => match late::warning(&catalog, config.issuer.grace) {
            Some(warning) => {
                let remedy = "see `grace` in [issuer], and Stripe's billing settings";
                Finding::new(Status::Warn, "catalog", warning, remedy)
            }
            None => Finding::ok("catalog", format!("`{}`: {} meters", catalog.name, catalog.meters.len())),
        },
        Err(errors) => {
            let found =
                format!("{} mistakes; the first: {}", errors.mistakes.len(), errors.mistakes[0].message);
            Finding::fail("catalog", found, "run `meterhouse config check`, which shows each with its place")
        }
    }
}

async fn metrics(config: &Config) -> Finding {
    match config.metrics.listen {
        Some(address) => can_listen("metrics port", address, "ingest", "[metrics] listen").await,
        None => Finding::new(Status::Skipped, "metrics port", "not configured", ""),
    }
}

/// Whether a port is free for the command that is to listen there.
async fn can_listen(check: &str, address: SocketAddr, command: &str, setting: &str) -> Finding {
    match within_time(check, tokio::net::TcpListener::bind(address)).await {
        Ok(Ok(_)) => Finding::ok(check, format!("{address} is free")),
        Ok(Err(error)) => Finding::new(
            Status::Warn,
            check,
            format!("{address}: {error}"),
            format!("harmless if `meterhouse {command}` is running; else free the port or change {setting}"),
        ),
        Err(finding) => finding,
    }
}

/// A check that hangs has failed.
async fn within_time<T>(check: &str, work: impl Future<Output = T>) -> Result<T, Finding> {
    tokio::time::timeout(CHECK_TIME_MAX, work).await.map_err(|_| {
        let found = format!("no answer within {} s", CHECK_TIME_MAX.as_secs());
        Finding::fail(check, found, "check the address, the network and firewalls in between")
    })
}

fn show(findings: &[Finding]) -> Rows {
    let mut rows = Rows::new(&["check", "status", "found", "what to do"]);
    for Finding { check, status, found, remedy } in findings {
        let remedy = if remedy.is_empty() { serde_json::Value::Null } else { remedy.clone().into() };
        rows.push(vec![check.clone().into(), status.name().into(), found.clone().into(), remedy]);
    }
    rows
}

/// Bytes for people: enough digits to judge by.
fn gib(bytes: u64) -> String {
    format!("{}.{} GiB", bytes >> 30, ((bytes & ((1 << 30) - 1)) * 10) >> 30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn config(variables: &[(&str, String)]) -> Config {
        let environment: Environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        Config::load(Some(file.path()), &environment).unwrap()
    }

    fn status_of(findings: &[Finding], check: &str) -> Status {
        let found = findings.iter().find(|finding| finding.check == check);
        found.unwrap_or_else(|| panic!("no check {check} in {findings:?}")).status
    }

    #[test]
    fn a_healthy_local_set_up_has_no_failures_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let lake = folder.path().join("lake");
        let catalog = folder.path().join("catalog.yaml");
        std::fs::write(&catalog, include_str!("../../testdata/catalogs/redline.yaml")).unwrap();
        let config = config(&[
            ("METERHOUSE_LAKE", lake.display().to_string()),
            ("METERHOUSE_CATALOG", catalog.display().to_string()),
        ]);
        let findings = runtime().unwrap().block_on(examine(config));
        assert!(findings.iter().all(|finding| finding.status != Status::Fail), "{findings:#?}");
        assert_eq!(status_of(&findings, "lake"), Status::Ok);
        assert_eq!(status_of(&findings, "kafka"), Status::Skipped);
        assert!(!lake.exists(), "the lake's folder was not there before");
    }

    #[test]
    fn what_is_wrong_is_named_within_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "in the way").unwrap();
        let config = config(&[
            ("METERHOUSE_LAKE", file.join("lake").display().to_string()),
            ("METERHOUSE_CATALOG", folder.path().join("none.yaml").display().to_string()),
            // The discard port: nothing listens there.
            ("METERHOUSE_KAFKA_BROKERS", "127.0.0.1:9".to_owned()),
        ]);
        let started = std::time::Instant::now();
        let findings = runtime().unwrap().block_on(examine(config));
        for check in ["lake", "catalog", "kafka"] {
            assert_eq!(status_of(&findings, check), Status::Fail, "{check}");
        }
        assert!(started.elapsed() < 2 * CHECK_TIME_MAX, "took {:?}", started.elapsed());
    }

    #[test]
    fn kafka_topics_are_looked_at_one_by_one() {
        let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
        cluster.create_topic("usage", 3, 1).unwrap();
        let config = config(&[
            ("METERHOUSE_KAFKA_BROKERS", cluster.bootstrap_servers()),
            ("METERHOUSE_KAFKA_TOPICS", "usage".to_owned()),
        ]);
        let findings = kafka::examine(&config);
        assert_eq!(status_of(&findings, "kafka"), Status::Ok, "{findings:#?}");
        assert_eq!(status_of(&findings, "topic usage"), Status::Ok, "{findings:#?}");
        assert!(findings[1].found.starts_with("3 partitions, 0 messages"), "{findings:#?}");
    }

    #[test]
    fn a_topic_of_many_partitions_far_away_is_healthy() {
        let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
        cluster.create_topic("usage", 256, 1).unwrap();
        // Each request takes so long that 256 of them would take 13 seconds.
        cluster.broker_round_trip_time(1, Duration::from_millis(50)).unwrap();
        let config = config(&[
            ("METERHOUSE_KAFKA_BROKERS", cluster.bootstrap_servers()),
            ("METERHOUSE_KAFKA_TOPICS", "usage".to_owned()),
        ]);
        let findings = kafka::examine(&config);
        assert_eq!(status_of(&findings, "topic usage"), Status::Ok, "{findings:#?}");
        assert!(findings[1].found.starts_with("256 partitions, 0 messages"), "{findings:#?}");
    }

    #[test]
    fn sizes_for_people() {
        assert_eq!(gib(3 << 29), "1.5 GiB");
        assert_eq!(gib(1 << 20), "0.0 GiB");
    }
}
