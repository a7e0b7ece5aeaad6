//! A lake with a month of usage that ended the day before yesterday, prepared once; rounds that each close a copy of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use jobs::config::Config;

use crate::fake::{Fake, HandClock, KEY};
use crate::place::{Kind, Place};
use crate::process::Process;

const HOUR_S: i64 = 3600;
/// How long a dead job blocks the next.
const LEASE: &str = "150 ms";

/// Who pays how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Meter events, and the base fee as an invoice.
    Metered,
    /// The same with an event for each day.
    Daily,
    /// Usage records that are set.
    Recorded,
    /// Everything as an invoice.
    Invoiced,
    /// Not through Stripe.
    Plain,
}

impl Plan {
    pub fn of(tenant: usize) -> Self {
        match tenant % 4 {
            0 if tenant < 24 && tenant.is_multiple_of(8) => Self::Daily,
            0 => Self::Metered,
            1 => Self::Recorded,
            2 => Self::Invoiced,
            _ => Self::Plain,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Metered => "metered",
            Self::Daily => "daily",
            Self::Recorded => "recorded",
            Self::Invoiced => "invoiced",
            Self::Plain => "plain",
        }
    }

    pub fn base_cents(self) -> i64 {
        match self {
            Self::Recorded => 0,
            Self::Invoiced => 9900,
            _ => 2900,
        }
    }
}

/// What a call costs.
pub const CALL_CENTS: i64 = 25;

const CATALOG: &str = "
catalog: closing
currency: EUR
stripe: { mode: meter_events, send: finalized, days_until_due: 14 }
meters:
  calls: { kind: delta, event_type: called, value: $.n, unit: call }
plans:
  metered:
    prices:
      base: { description: Base, flat: 29 }
      calls: { description: Calls, meter: calls, per_unit: 0.25 }
  daily:
    prices:
      base: { description: Base, flat: 29 }
      calls: { description: Calls, meter: calls, per_unit: 0.25, stripe: { event_name: daily_calls, granularity: day } }
  recorded:
    stripe: { mode: usage_records, action: set }
    prices:
      calls: { description: Calls, meter: calls, per_unit: 0.25 }
  invoiced:
    stripe: { mode: invoices }
    prices:
      base: { description: Base, flat: 99 }
      calls: { description: Calls, meter: calls, per_unit: 0.25 }
  plain:
    stripe: { mode: none }
    prices:
      base: { description: Base, flat: 29 }
      calls: { description: Calls, meter: calls, per_unit: 0.25 }
tenants:
";

/// What was sent, by a count of our own.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// Calls of each tenant within the period, and in how many events on how many days.
    pub calls: Vec<i64>,
    pub events: Vec<u64>,
    pub days: Vec<usize>,
    /// Events of the tenants outside the period, and of somebody whom nobody knows.
    pub deferred: u64,
    pub conflicts: u64,
    pub poison: u64,
    /// Events that were taken back, and that got another content.
    pub voided: u64,
    pub amended: u64,
}

impl Sent {
    pub fn due_cents(&self, tenant: usize) -> i64 {
        Plan::of(tenant).base_cents() + CALL_CENTS * self.calls[tenant]
    }
}

/// A folder with catalog and lake, as ingest left it.
pub struct Template {
    folder: tempfile::TempDir,
    pub tenants: usize,
    pub sent: Sent,
    pub period_start: Date,
    /// The day on which the next period starts.
    pub period_end: Date,
}

impl Template {
    pub fn new(tenants: usize) -> Self {
        let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let period_end = today.checked_sub(1.day()).unwrap();
        let period_start = period_end.checked_sub(1.month()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Whoever builds meanwhile must not put another program in its place.
        let (built, ours) = (env!("CARGO_BIN_EXE_meterhouse"), folder.path().join("meterhouse"));
        std::fs::hard_link(built, &ours).or_else(|_| std::fs::copy(built, &ours).map(drop)).unwrap();
        std::fs::write(folder.path().join("catalog.yaml"), catalog(tenants, period_end)).unwrap();
        let mut template = Self { folder, tenants, sent: Sent::default(), period_start, period_end };
        let events = template.make_events();
        for (at, some) in events.chunks(events.len().div_ceil(3)).enumerate() {
            let name = format!("events-{at}.ndjson");
            std::fs::write(template.folder.path().join(&name), some.join("\n")).unwrap();
            let mut command = template.command(template.folder.path());
            let output = command.args(["ingest", "--file", &name]).output().unwrap();
            let messages = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(0 | 3)), "{messages}");
        }
        template
    }

    pub fn catalog(&self) -> String {
        catalog(self.tenants, self.period_end)
    }

    pub fn start_s(date: Date) -> i64 {
        date.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second()
    }

    /// Every tenant's events; some twice, some contradicted, some of other periods, some that nobody can read.
    fn make_events(&mut self) -> Vec<String> {
        let (start_s, end_s) = (Self::start_s(self.period_start), Self::start_s(self.period_end));
        let mut events = Vec::new();
        for tenant in 0..self.tenants {
            let name = format!("t{tenant}");
            let count = 3 + tenant as i64 % 5;
            let (mut calls, mut days) = (0, BTreeSet::new());
            for number in 0..count {
                let n = 1 + (tenant as i64 * 7 + number * 13) % 50;
                let at_s = start_s + number * (end_s - start_s) / count + HOUR_S * (tenant as i64 % 20);
                let counted = self.corrected(tenant, number, n, at_s, &mut events);
                calls += counted.unwrap_or_default();
                if counted.is_some() {
                    days.insert(at_s / (24 * HOUR_S));
                }
                events.push(event(&format!("{name}-{number}"), &name, at_s, n));
                if (tenant as i64 + number) % 7 == 0 {
                    events.push(event(&format!("{name}-{number}"), &name, at_s, n));
                }
                if (tenant as i64 + number) % 31 == 0 {
                    // Arrives last, so the one above counts.
                    self.sent.conflicts += 1;
                    events.push(event(&format!("{name}-{number}"), &name, at_s, n + 1000));
                }
            }
            events.push(event(&format!("{name}-before"), &name, start_s - HOUR_S, 777));
            events.push(event(&format!("{name}-after"), &name, end_s, 888));
            self.sent.deferred += 2;
            self.sent.calls.push(calls);
            self.sent.events.push(count.unsigned_abs() - u64::from(is_voided(tenant)));
            self.sent.days.push(days.len());
        }
        for number in 0..5 {
            events.push(event(&format!("stranger-{number}"), "stranger", start_s + number, 5));
            events.push(format!("no event {number}"));
            (self.sent.deferred, self.sent.poison) = (self.sent.deferred + 1, self.sent.poison + 1);
        }
        events
    }

    /// Takes one event of some tenants back and gives one of others another content, before the event itself is sent. Answers
    /// with what counts of it.
    fn corrected(
        &mut self,
        tenant: usize,
        number: i64,
        n: i64,
        at_s: i64,
        events: &mut Vec<String>,
    ) -> Option<i64> {
        let name = format!("t{tenant}");
        let named = format!(r#""source":"/s","id":"{name}-{number}""#);
        if number == 1 && is_voided(tenant) {
            self.sent.voided += 1;
            events.push(correction("void", &name, at_s, &named));
            return None;
        }
        if number == 2 && is_amended(tenant) {
            self.sent.amended += 1;
            let data = format!(r#"{named},"type":"called","data":{{"n":{}}}"#, n + 5);
            events.push(correction("amend", &name, at_s, &data));
            return Some(n + 5);
        }
        Some(n)
    }

    /// Compacts the lake, once for all rounds.
    pub fn compact(&self) {
        let output = self.command(self.folder.path()).arg("compact").output().unwrap();
        let messages = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "contradicted events are rejected: {messages}");
    }

    /// A copy of everything, with a book and a Stripe of its own.
    pub fn round<'t>(&'t self, runtime: &'t tokio::runtime::Runtime, kind: Kind) -> Round<'t> {
        let place = runtime.block_on(Place::new(kind));
        copy(&self.folder.path().join("lake"), &place.folder().join("lake"));
        let clock = HandClock::at(Timestamp::now().as_microsecond());
        let fake = runtime.block_on(Fake::start(clock, 1));
        {
            let mut state = fake.state();
            state.customers = (0..self.tenants).map(|tenant| format!("cus_{tenant}")).collect();
            state.meters = ["calls", "daily_calls"].map(|name| (name.to_owned(), false)).into();
            // Stripe's billing periods go on where ours have ended the day before yesterday.
            state.billing = (self.period_end.checked_sub(15.days()).unwrap().day().min(28), 1);
            state.last_items = (0..self.tenants).map(|tenant| format!("si_{tenant}")).collect();
        }
        Round { template: self, runtime, place: Some(place), fake }
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(self.folder.path().join("meterhouse"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("METERHOUSE_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(folder)
            .env("METERHOUSE_LAKE", folder.join("lake"))
            .env("METERHOUSE_CATALOG", self.folder.path().join("catalog.yaml"))
            .env("METERHOUSE_ISSUER_NAME", "Closing Ltd")
            .env("METERHOUSE_BOOK_LEASE", LEASE);
        command
    }
}

pub fn event(id: &str, tenant: &str, at_s: i64, n: i64) -> String {
    let time = Timestamp::from_second(at_s).unwrap();
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"called","subject":"{tenant}","time":"{time}","data":{{"n":{n}}}}}"#
    )
}

/// An event that takes back or amends the one that its data name.
fn correction(kind: &str, tenant: &str, at_s: i64, data: &str) -> String {
    let time = Timestamp::from_second(at_s).unwrap();
    format!(
        r#"{{"specversion":"1.0","id":"{tenant}-{kind}","source":"/s","type":"meterhouse.{kind}","subject":"{tenant}","time":"{time}","data":{{{data}}}}}"#
    )
}

/// Tenants one of whose events is taken back; of none that another event contradicts.
fn is_voided(tenant: usize) -> bool {
    tenant % 6 == 2 && !(tenant + 1).is_multiple_of(31)
}

/// Tenants one of whose events gets another content.
fn is_amended(tenant: usize) -> bool {
    tenant % 6 == 3 && !(tenant + 2).is_multiple_of(31)
}

fn catalog(tenants: usize, anchor: Date) -> String {
    let mut text = CATALOG.to_owned();
    for tenant in 0..tenants {
        let plan = Plan::of(tenant);
        let stripe = match plan {
            Plan::Plain => String::new(),
            Plan::Recorded => {
                format!(
                    "stripe: {{ customer: cus_{tenant}, subscription_items: {{ calls: si_{tenant} }} }}, "
                )
            }
            _ => format!("stripe: {{ customer: cus_{tenant} }}, "),
        };
        let plan = plan.name();
        writeln!(
            text,
            "  t{tenant}: {{ {stripe}billing: {{ anchor: {anchor} }}, subscriptions: [{{ plan: {plan}, from: 2020-01-01 }}] }}"
        )
        .unwrap();
    }
    text
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // Files of a lake never change.
            std::fs::hard_link(entry.path(), target).unwrap();
        }
    }
}

/// One period to be closed, in a lake, a book and a Stripe of its own.
pub struct Round<'t> {
    pub template: &'t Template,
    pub runtime: &'t tokio::runtime::Runtime,
    /// None only while it is dropped.
    place: Option<Place>,
    pub fake: Fake,
}

impl Round<'_> {
    pub fn place(&self) -> &Place {
        self.place.as_ref().unwrap()
    }

    pub fn folder(&self) -> &Path {
        self.place().folder()
    }

    pub fn period(&self) -> String {
        self.template.period_end.checked_sub(1.day()).unwrap().to_string()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.template.command(self.folder());
        command
            .args(arguments)
            .env("METERHOUSE_BOOK_URL", &self.place().url)
            .env("METERHOUSE_STRIPE_KEY", KEY)
            .env("METERHOUSE_STRIPE_URL", format!("http://{}", self.fake.address))
            .env("METERHOUSE_STRIPE_CALLS_PER_SECOND", "100000");
        command
    }

    /// The settings of this round's commands.
    pub fn config(&self) -> Config {
        let command = self.command(&[]);
        let set = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned())));
        let none = self.folder().join("meterhouse.toml");
        std::fs::write(&none, "").unwrap();
        Config::load(Some(&none), &set.collect()).unwrap()
    }

    pub fn start(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        let log = self.folder().join("processes.log");
        let file = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Process::new(command.spawn().expect("the program starts"), &log)
    }

    /// `close`, the push included; papers only where they are wanted, because they take long.
    pub fn close(&self, with_papers: bool, environment: &[(&str, &str)]) -> Process {
        let period = self.period();
        let mut arguments = vec!["close", "--period", &period, "--grace", "0 s", "--push"];
        if !with_papers {
            arguments.push("--without-papers");
        }
        self.start(&arguments, environment)
    }

    /// Closes until it is done: whoever died a moment ago may still hold a lease.
    pub fn finish(&self, with_papers: bool) {
        for _ in 0..100 {
            let mut process = self.close(with_papers, &[]);
            match process.end().code() {
                Some(0) => return,
                Some(75) => std::thread::sleep(std::time::Duration::from_millis(50)),
                code => panic!("exit code {code:?}:\n{}", process.log_end()),
            }
        }
        panic!("the period is never closed");
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.runtime.block_on(place.drop());
        }
    }
}
