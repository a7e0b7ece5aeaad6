//! Who gets in, and when the server does not start.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wire::Client;
use crate::world::{PASSWORD, World, program};

#[test]
fn only_who_knows_the_password_gets_in() {
    let world = World::new(false);
    let served = world.serve("");
    assert!(Client::connect(served.address, "anna", PASSWORD).is_ok());
    let code = |user: &str, password: &str| {
        let (code, message) = Client::connect(served.address, user, password).err().expect("no login");
        assert_eq!(message, format!("password authentication failed for user \"{user}\""));
        code
    };
    assert_eq!(code("anna", "wrong"), "28P01");
    assert_eq!(code("anna", ""), "28P01");
    // A name that does not exist fails in the same way, also with a password that others have.
    assert_eq!(code("stranger", PASSWORD), "28P01");
}

/// Whatever comes before a login, nothing is answered.
#[test]
fn nothing_is_answered_without_a_login() {
    let world = World::new(false);
    let served = world.serve("");
    for early in [b'Q', b'P', b'p', b'E'] {
        let mut client = Client::open(served.address);
        client.startup(&[("user", "anna")]);
        client.send(early, b"SELECT count(*) FROM usage_events\0");
        client.send(b'Q', b"SELECT count(*) FROM usage_events\0");
        let answer = client.answer();
        assert!(answer.rows.is_empty() && answer.tags.is_empty(), "{answer:?}");
        client.send(b'Q', b"SELECT 1\0");
        assert_eq!(client.answer(), crate::wire::Answer::default(), "the connection is closed");
    }
}

#[test]
fn there_are_no_more_connections_than_allowed() {
    let world = World::new(false);
    let served = world.serve("connections = 2");
    let first = served.client("anna");
    let second = served.client("acme");
    assert_eq!(Client::connect(served.address, "anna", PASSWORD).err().unwrap().0, "53300");
    drop(first);
    let start = Instant::now();
    while Client::connect(served.address, "anna", PASSWORD).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "the place is not given back");
    }
    drop(second);
}

#[test]
fn a_server_does_not_start_on_wrong_settings() {
    let world = World::new(false);
    let start = |more: &str, arguments: &[&str]| {
        world.write_settings(more);
        world.run(&[&["serve", "sql"], arguments].concat(), 1)
    };
    std::fs::write(world.path("none.pem"), "no certificate\n").unwrap();
    let expected = [
        ("certificate = \"gone.pem\"\nkey = \"gone.pem\"", "cannot read the certificate"),
        ("certificate = \"none.pem\"\nkey = \"none.pem\"", "no certificate in PEM form"),
        ("certificate = \"none.pem\"", "`certificate` and `key` go together"),
        ("listen = \"0.0.0.0:0\"", "everything would be sent in the clear"),
        ("rows = \"many\"", "`serve_sql.rows`: expected a whole number"),
    ];
    for (more, message) in expected {
        let said = start(more, &[]);
        assert!(said.contains(message), "{more}: {said}");
    }
    std::fs::write(world.path("meterhouse.toml"), "lake = \"lake\"\n").unwrap();
    assert!(world.run(&["serve", "sql"], 1).contains("nobody may log in"));
    for (user, message) in [
        ("password = \"x\", all_tenants = true", "a password does not belong in this file"),
        ("verifier = \"x\", all_tenants = true", "`verifier` is not one of SCRAM-SHA-256"),
        ("password_file = \"password\"", "say whose rows it sees"),
        ("password_file = \"password\", tenant = \"\"", "say whose rows it sees"),
        ("password_file = \"password\", tenant = \"a\", all_tenants = true", "say whose rows it sees"),
        ("tenant = \"a\"", "set one of"),
        ("password_file = \"password\", tennant = \"a\"", "there is no key `tennant`"),
    ] {
        let text = format!("lake = \"lake\"\n[serve_sql.users]\nx = {{ {user} }}\n");
        std::fs::write(world.path("meterhouse.toml"), text).unwrap();
        let said = world.run(&["config", "check"], 1);
        assert!(said.contains(message), "{user}: {said}");
    }
}

/// The program, with its log.
struct Program {
    child: Child,
    log: BufReader<ChildStderr>,
    address: SocketAddr,
}

impl Program {
    fn start(world: &World, more: &str) -> Self {
        world.write_settings(more);
        let mut command = world.command(&["serve", "sql", "--listen", "127.0.0.1:0"]);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("address=") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the program ended");
        }
        let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
        let address = address.trim_matches(|it: char| !it.is_ascii_digit()).parse().unwrap();
        Self { child, log, address }
    }

    /// Tells it to stop and waits; it must not have panicked.
    fn stop(&mut self, meanwhile: impl FnOnce()) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        meanwhile();
        assert!(self.child.wait().unwrap().success());
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        assert!(!rest.contains("panicked"), "{rest}");
    }
}

/// SIGTERM lets a client finish what it began, and ends the others.
#[test]
fn the_program_serves_until_it_is_told_to_stop() {
    let world = World::new(false);
    let mut program = Program::start(&world, "");
    let mut idle = Client::connect(program.address, "anna", PASSWORD).unwrap();
    assert_eq!(idle.simple("SELECT count(*) FROM usage_events").value(), "14");
    let mut busy = Client::connect(program.address, "anna", PASSWORD).unwrap();
    busy.send_simple("SELECT count(*) FROM generate_series(1, 3000000) AS a WHERE a.value % 7 = 0");
    std::thread::sleep(Duration::from_millis(100));
    program.stop(|| {
        assert_eq!(idle.answer().code(), "57P01");
        assert_eq!(busy.answer().value(), "428571");
    });
}

/// With a certificate nothing is said in the clear but a request to cancel; without psql only that is tried.
#[test]
fn with_a_certificate_connections_are_encrypted() {
    let world = World::new(false);
    for name in ["server.crt", "server.key", "other.key"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve_sql/tls").join(name);
        std::fs::copy(file, world.path(name)).unwrap();
    }
    world.write_settings("certificate = \"server.crt\"\nkey = \"other.key\"");
    assert!(world.run(&["serve", "sql"], 1).contains("do not go together"));
    let mut server = Program::start(&world, "certificate = \"server.crt\"\nkey = \"server.key\"");
    let (code, message) = Client::connect(server.address, "anna", PASSWORD).err().unwrap();
    assert!(code == "28000" && message.contains("encrypted"), "{code} {message}");
    // What stands before TLS begins is not taken for what comes after it.
    let mut client = Client::open(server.address);
    client.send_raw(b"\0\0\0\x08\x04\xd2\x16\x2fQ\0\0\0\x0dSELECT 1\0");
    assert_eq!(client.read_raw(), b"S");
    if let Some(psql) = program("METERHOUSE_TEST_PSQL", "psql") {
        let ask = |more: &str| {
            let port = server.address.port();
            let place =
                format!("host=localhost hostaddr=127.0.0.1 port={port} user=anna dbname=meterhouse {more}");
            let mut command = Command::new(&psql);
            command.args(["-X", "-A", "-t", "-d", &place, "-c", "SELECT count(*) FROM usage_events"]);
            command.env("PGPASSWORD", PASSWORD).output().unwrap()
        };
        let root = world.path("server.crt").display().to_string();
        let output = ask(&format!("sslmode=verify-full sslrootcert={root}"));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "14\n", "{output:?}");
        for binding in ["require", "prefer", "disable"] {
            let output = ask(&format!("sslmode=require channel_binding={binding}"));
            assert_eq!(String::from_utf8_lossy(&output.stdout), "14\n", "{binding}: {output:?}");
        }
        assert!(String::from_utf8_lossy(&ask("sslmode=disable").stderr).contains("encrypted"));
    }
    server.stop(|| {});
}

#[test]
fn a_verifier_is_made_of_a_password() {
    let world = World::new(false);
    let mut command = world.command(&["serve", "sql", "--make-verifier"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"geheim\n").unwrap();
    let made = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(made.starts_with("SCRAM-SHA-256$4096:") && !made.contains("geheim"), "{made}");
    assert!(jobs::serve::Verifier::parse(made.trim()).is_some());
}
