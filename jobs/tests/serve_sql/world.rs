//! A lake of two tenants, and a server over it in a thread of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs::config::{Config, Environment};
use jobs::serve::{Server, Verifier, new_server};
use tempfile::TempDir;

use crate::wire::Client;

pub const PASSWORD: &str = "correct horse";
const CATALOG: &str = "
catalog: test
currency: USD
meters:
  stored: { kind: gauge, event_type: stored, value: $.bytes, resource: $.disk, unit: byte, dimensions: { region: $.region } }
  writes: { kind: delta, event_type: stored, unit: request }
other_tenants: { subscriptions: [] }
";
const OTHERS: &str = "other_tenants: { subscriptions: [] }\n";
const BILLED: &str = "stripe: { mode: invoices, send: draft, days_until_due: 14 }
plans:
  pay: { prices: { base: { flat: 10 }, writes: { meter: writes, included: 2, per_unit: 1 } }, quotas: { writes: { meter: writes, limit: 100 } } }
tenants:
  acme: { name: Acme, stripe: { customer: cus_acme }, subscriptions: [{ plan: pay, from: 2026-01-01 }] }
";
const BILLED_RIVAL: &str = "  rival:
    name: SECRET-name
    stripe: { customer: cus_SECRET98765 }
    subscriptions: [{ plan: pay, from: 2026-02-01 }]
    overrides: [{ plan: pay, price: writes, from: 2026-05-01, per_unit: 98765 }, { plan: pay, quota: writes, limit: 98765, from: 2026-05-01 }]
";

/// A folder with a catalog, settings and a lake.
pub struct World {
    pub folder: TempDir,
}

impl World {
    /// Tenant `acme` with some usage; with `rival` or without, whose every text says SECRET and whose numbers are all 98765….
    pub fn new(with_rival: bool) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(world.path("catalog.yaml"), CATALOG).unwrap();
        world.ingest(&events(with_rival));
        // Another file in the same days, rejects, invoices and roll-ups.
        let mut second = vec![event("acme", "second", "2026-05-03T11:00:00Z", 77, "disk-1", "us")];
        let mut broken = vec![reject("acme", "open")];
        if with_rival {
            second.push(event(
                "rival",
                "SECRET-2",
                "2026-05-03T11:00:00Z",
                987_654_321,
                "SECRET-disk",
                "SECRET-r",
            ));
            broken.push(reject("rival", "SECRET"));
        }
        world.ingest(&second);
        std::fs::write(world.path("broken.ndjson"), broken.join("\n")).unwrap();
        world.run(&["ingest", "--file", "broken.ndjson"], 3);
        world.run(&["rollup"], 0);
        world
    }

    /// The same with plans, of which the tenants' bills are issued and wait for Stripe.
    pub fn billed(with_rival: bool) -> Self {
        let world = Self::new(with_rival);
        let named = if with_rival { BILLED.to_owned() + BILLED_RIVAL } else { BILLED.to_owned() };
        std::fs::write(world.path("catalog.yaml"), CATALOG.replace(OTHERS, "") + &named).unwrap();
        let settings = "[issuer]\nname = \"Us\"\nnumber_prefix = \"R-\"\n";
        std::fs::write(
            world.path("meterhouse.toml"),
            format!("lake = \"lake\"\ncatalog = \"catalog.yaml\"\n{settings}"),
        )
        .unwrap();
        world.run(&["rollup"], 0);
        world.run(&["rate", "--period", "2026-05"], 0);
        world.run(&["issue", "--period", "2026-05", "--grace", "0 s", "--without-papers"], 0);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn ingest(&self, events: &[String]) {
        std::fs::write(self.path("events.ndjson"), events.join("\n")).unwrap();
        self.run(&["ingest", "--file", "events.ndjson"], 0);
    }

    #[track_caller]
    pub fn run(&self, arguments: &[&str], code: i32) -> String {
        let output = self.command(arguments).output().expect("the program starts");
        let messages = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {messages}");
        String::from_utf8(output.stdout).unwrap() + &messages
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("METERHOUSE_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    /// Writes the settings: three users with the same password, and what else a test asks for.
    pub fn write_settings(&self, more: &str) -> PathBuf {
        let verifier = Verifier::of(PASSWORD).write();
        std::fs::write(self.path("password"), format!("{PASSWORD}\n")).unwrap();
        let text = format!(
            "lake = \"lake\"\ncatalog = \"catalog.yaml\"\n[serve_sql]\nrefresh = \"0 s\"\n{more}\n[serve_sql.users]\n\
             anna = {{ verifier = \"{verifier}\", all_tenants = true }}\n\
             acme = {{ password_file = \"password\", tenant = \"acme\" }}\n\
             nobody = {{ verifier = \"{verifier}\", tenant = \"no such tenant\" }}\n"
        );
        let file = self.path("meterhouse.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    pub fn serve(&self, more: &str) -> Served {
        let config = Config::load(Some(&self.write_settings(more)), &Environment::new()).unwrap();
        Served::start(&config)
    }
}

pub fn event(tenant: &str, id: &str, time: &str, bytes: u64, disk: &str, region: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/{id}","type":"stored","subject":"{tenant}","time":"{time}","data":{{"bytes":{bytes},"disk":"{disk}","region":"{region}"}}}}"#
    )
}

fn reject(tenant: &str, note: &str) -> String {
    event(tenant, note, "2026-05-04T00:00:00Z", 1, note, note)
        .replace("\"bytes\":1", "\"bytes\":\"nonsense\"")
}

fn events(with_rival: bool) -> Vec<String> {
    let mut events = Vec::new();
    for day in 1..=6 {
        let time = format!("2026-05-0{day}T10:00:00Z");
        events.push(event("acme", &format!("a{day}"), &time, 1000 + day, "disk-1", "eu"));
        if with_rival {
            let secret = 987_650_000 + day;
            events.push(event(
                "rival",
                &format!("SECRET-{day}"),
                &time,
                secret,
                "SECRET-disk",
                "SECRET-region",
            ));
        }
    }
    events
}

/// A running server; it stops when it is dropped.
pub struct Served {
    pub address: SocketAddr,
    pub server: Arc<Server>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Served {
    fn start(config: &Config) -> Self {
        let runtime = jobs::serve::runtime().unwrap();
        let (address, server) = runtime.block_on(async {
            let server = Arc::new(new_server(config, false).await.unwrap());
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(Arc::clone(&server).run(listener, None));
            (address, server)
        });
        Self { address, server, runtime: Some(runtime) }
    }

    #[track_caller]
    pub fn client(&self, user: &str) -> Client {
        Client::connect(self.address, user, PASSWORD).unwrap()
    }

    /// What all queries hold just now.
    pub fn memory_bytes(&self) -> usize {
        self.server.memory_bytes()
    }

    /// Waits until no query holds anything any more; fails if that does not come.
    #[track_caller]
    pub fn wait_until_free(&self) {
        let start = Instant::now();
        while self.memory_bytes() > 0 {
            let held = self.memory_bytes();
            assert!(start.elapsed() < Duration::from_secs(20), "{held} bytes are still held");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// A program on the PATH, or where a variable says.
pub fn program(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| Path::is_file(path))
}
