//! `doctor` against what works, what does not answer and what answers wrongly.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use crate::{folder, meterhouse_with, stderr, stdout};

/// Status and finding by check, and the exit code.
fn doctor(folder: &Path, variables: &[(&str, &str)]) -> (BTreeMap<String, (String, String)>, i32) {
    let output = meterhouse_with(folder, &["doctor", "--format", "json"], variables);
    let findings: Vec<serde_json::Value> = serde_json::from_str(&stdout(&output))
        .unwrap_or_else(|error| panic!("{error}: {}{}", stdout(&output), stderr(&output)));
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let findings = findings
        .iter()
        .map(|finding| (text(finding, "check"), (text(finding, "status"), text(finding, "found"))));
    (findings.collect(), output.status.code().unwrap())
}

#[track_caller]
fn assert_found(findings: &BTreeMap<String, (String, String)>, check: &str, status: &str, found: &str) {
    let (actual, text) = findings.get(check).unwrap_or_else(|| panic!("no {check} in {findings:#?}"));
    assert!(actual == status && text.contains(found), "{check}: {actual}, {text}");
}

#[test]
fn doctor_says_what_is_wrong_as_data() {
    let folder = folder();
    std::fs::remove_file(folder.path().join("catalog.yaml")).unwrap();
    let (findings, code) = doctor(folder.path(), &[]);
    let failed: Vec<_> = findings.iter().filter(|(_, (status, _))| status == "FAIL").collect();
    assert_eq!((failed.len(), code), (1, 1), "{findings:#?}");
    assert_found(&findings, "catalog", "FAIL", "catalog.yaml");
    for check in ["stripe", "serve sql", "metrics port"] {
        assert_found(&findings, check, "skipped", "");
    }
}

/// Answers each connection's first request with this, for as long as the test runs.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn doctor_tries_the_key_of_stripe() {
    let folder = folder();
    let body = r#"{"error": {"message": "Invalid API Key provided"}}"#;
    let refusal: &'static str = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .leak();
    let refusing = answering(refusal);
    let taking = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
    // Nobody listens there any more.
    let gone = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    for (address, status, found, code) in [
        (taking.as_str(), "ok", "the key is good (a test key)", 0),
        (&refusing, "FAIL", "status 401: Invalid API Key provided", 1),
        (&gone, "FAIL", "stripe was not reached", 1),
    ] {
        let variables = [("METERHOUSE_STRIPE_KEY", "sk_test_1"), ("METERHOUSE_STRIPE_URL", address)];
        let (findings, exit) = doctor(folder.path(), &variables);
        assert_found(&findings, "stripe", status, found);
        assert_eq!(exit, code, "{findings:#?}");
    }
}

#[test]
fn doctor_tries_what_the_sql_server_needs() {
    let folder = folder();
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve_sql/tls");
    let settings = |lines: &str| {
        let users =
            "[serve_sql.users]\nanna = { password_variable = \"ANNAS_PASSWORD\", all_tenants = true }\n";
        std::fs::write(folder.path().join("meterhouse.toml"), format!("[serve_sql]\n{lines}\n{users}"))
            .unwrap();
    };
    let password = ("ANNAS_PASSWORD", "tell nobody");
    let with_tls = format!(
        "listen = \"127.0.0.1:0\"\ncertificate = \"{0}/server.crt\"\nkey = \"{0}/server.key\"",
        tls.display()
    );
    settings(&with_tls);
    let (findings, code) = doctor(folder.path(), &[password]);
    assert_found(&findings, "serve sql", "ok", "1 users, with TLS");
    assert_eq!(code, 0, "{findings:#?}");
    assert_found(&doctor(folder.path(), &[]).0, "serve sql", "FAIL", "ANNAS_PASSWORD");
    settings(&with_tls.replace("server.crt", "none.crt"));
    assert_found(&doctor(folder.path(), &[password]).0, "serve sql", "FAIL", "cannot read the certificate");
    settings("listen = \"0.0.0.0:0\"");
    assert_found(&doctor(folder.path(), &[password]).0, "serve sql", "FAIL", "in the clear");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    settings(&format!("listen = \"{}\"", taken.local_addr().unwrap()));
    assert_found(&doctor(folder.path(), &[password]).0, "serve sql", "warn", "1 users, without TLS");
}

/// Each service that there is: broker, buckets, databases, Stripe's own mock.
#[test]
fn doctor_reaches_real_services() {
    let folder = folder();
    for (service, variable, check, own) in [
        ("METERHOUSE_TEST_KAFKA", "METERHOUSE_KAFKA_BROKERS", "kafka", &[][..]),
        ("METERHOUSE_TEST_S3", "METERHOUSE_LAKE", "lake", &[]),
        ("METERHOUSE_TEST_GCS", "METERHOUSE_LAKE", "lake", &[]),
        ("METERHOUSE_TEST_POSTGRES", "METERHOUSE_BOOK_URL", "book", &[]),
        ("METERHOUSE_TEST_MYSQL", "METERHOUSE_BOOK_URL", "book", &[]),
        (
            "METERHOUSE_TEST_STRIPE_MOCK",
            "METERHOUSE_STRIPE_URL",
            "stripe",
            &[("METERHOUSE_STRIPE_KEY", "sk_test_1")],
        ),
    ] {
        let Ok(address) = std::env::var(service) else {
            println!("skipped: {service} is not set");
            continue;
        };
        let mut variables = vec![(variable, address.as_str())];
        variables.extend(own);
        assert_found(&doctor(folder.path(), &variables).0, check, "ok", "");
    }
}
