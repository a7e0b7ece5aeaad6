//! What a user of one tenant must not be able to do or learn: every statement of `denied.txt`, on both protocols.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::wire::{Answer, Client};
use crate::world::{Served, World};

const CORPUS: &str = include_str!("denied.txt");
/// Shorter than what asks the server to wait, on a busy machine too.
const PROMPTLY: Duration = Duration::from_millis(4_500);
/// What the settings of [`crate::world`] let another tenant's texts and numbers look like.
const SECRETS: [&str; 3] = ["SECRET-", "98765", "passwd:"];

fn parts() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut parts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut part = "";
    for line in CORPUS
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("# ") && *line != "#")
    {
        match line.strip_prefix("== ") {
            Some(name) => part = name,
            None => parts.entry(part).or_default().push(line),
        }
    }
    parts
}

/// Each line once for each thing that its placeholder stands for.
fn expanded(lines: &[&str], parts: &BTreeMap<&str, Vec<&'static str>>) -> Vec<String> {
    let placeholders = [("{table}", "tables"), ("{function}", "functions"), ("{setting}", "settings")];
    let mut statements: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    for (placeholder, part) in placeholders {
        let expand = |line: String| -> Vec<String> {
            if !line.contains(placeholder) {
                return vec![line];
            }
            parts[part].iter().map(|value| line.replace(placeholder, value)).collect()
        };
        statements = statements.into_iter().flat_map(expand).collect();
    }
    statements
}

fn refused() -> Vec<String> {
    let parts = parts();
    expanded(&parts["refused"], &parts)
}

fn blind() -> Vec<String> {
    let parts = parts();
    let mut statements = expanded(&parts["blind"], &parts);
    for escape in expanded(&parts["escapes"], &parts) {
        statements.extend(parts["wrapped"].iter().map(|wrapped| wrapped.replace("{escape}", &escape)));
    }
    statements
}

/// The escapes over what is made for a tenant, and over tables as they were.
fn blind_beyond_tables() -> Vec<String> {
    let parts = parts();
    let asked = parts["asked"].iter();
    let escapes =
        asked.flat_map(|table| parts["escapes"].iter().map(|escape| escape.replace("{table}", table)));
    escapes.flat_map(|escape| [format!("SELECT count(*) AS n FROM ({escape}) AS w"), escape]).collect()
}

/// Of what a client may not do or set, or misspells or leaves out, not of what takes too long, is too large or breaks.
fn is_refusal(code: &str) -> bool {
    code.starts_with("42") || ["08P01", "0A000", "22023"].contains(&code)
}

#[track_caller]
fn assert_no_secret(statement: &str, answer: &Answer) {
    let said = format!("{answer:?}");
    for secret in SECRETS {
        // What the statement itself says may come back in an error.
        assert!(!said.contains(secret) || statement.contains(secret), "{statement}\n  says {said}");
    }
}

/// Both protocols, each on a connection of its own.
struct Both {
    simple: Client,
    extended: Client,
}

impl Both {
    fn of(served: &Served) -> Self {
        Self { simple: served.client("acme"), extended: served.client("acme") }
    }

    fn ask(&mut self, statement: &str) -> [Answer; 2] {
        let answers = [self.simple.simple(statement), self.extended.extended(statement, &[])];
        // Some begin a transaction.
        self.simple.simple("ROLLBACK");
        self.extended.simple("ROLLBACK");
        answers
    }
}

#[test]
fn what_is_not_reading_is_refused() {
    let world = World::new(true);
    let served = world.serve("");
    let mut both = Both::of(&served);
    let statements = refused();
    println!("{} statements are refused", statements.len());
    assert!(statements.len() >= 500, "{}", statements.len());
    for statement in statements {
        let began = Instant::now();
        let answers = both.ask(&statement);
        assert!(began.elapsed() < PROMPTLY, "{statement}\n  took {:?}", began.elapsed());
        for answer in answers {
            assert!(answer.error.is_some(), "{statement}\n  was not refused: {answer:?}");
            assert!(is_refusal(answer.code()), "{statement}\n  fails otherwise: {answer:?}");
            assert!(answer.rows.is_empty(), "{statement}\n  answered {answer:?}");
            assert_no_secret(&statement, &answer);
        }
    }
    served.wait_until_free();
    assert_eq!(both.simple.simple("SELECT count(*) FROM usage_events").value(), "14", "nothing is gone");
}

/// Whatever is asked, the answer is that of a lake in which the other tenant does not exist.
#[test]
fn no_answer_depends_on_another_tenant() {
    let worlds = [true, false].map(World::new);
    same_answers(&worlds, blind());
}

/// The same of invoices, prices, Stripe records and all else that a tenant with a plan has.
#[test]
fn no_bill_depends_on_another_tenant() {
    let worlds = [true, false].map(World::billed);
    let served = worlds[0].serve("");
    let mut client = served.client("acme");
    for table in parts()["asked"].iter().chain(&["invoices", "invoice_lines"]) {
        let count = client.simple(&format!("SELECT count(*) FROM {table}"));
        assert!(count.value() != "0" || *table == "usage_periods", "{table} is empty");
    }
    let of_all = served.client("anna").simple("SELECT DISTINCT tenant FROM invoice_lines");
    assert_eq!(of_all.rows.len(), 2, "the other tenant has a bill");
    let mut statements = blind_beyond_tables();
    statements.extend(blind().into_iter().filter(|statement| statement.contains("invoice")));
    same_answers(&worlds, statements);
}

fn same_answers(worlds: &[World; 2], statements: Vec<String>) {
    let [with, without] = worlds.each_ref().map(|world| world.serve(""));
    let (mut with, mut without) = (Both::of(&with), Both::of(&without));
    println!("{} statements are blind", statements.len());
    for statement in statements {
        let answers = with.ask(&statement);
        for answer in &answers {
            assert_no_secret(&statement, answer);
        }
        let expected = without.ask(&statement);
        for (answer, expected) in answers.into_iter().zip(expected) {
            assert_eq!(comparable(answer), comparable(expected), "{statement}");
        }
    }
}

/// What differs between any two lakes.
const VOLATILE: [&str; 15] = [
    "arrival",
    "rejected_at",
    "batch_index",
    "offset",
    "topic",
    "made_at",
    "invoice",
    "invoice_digest",
    "digest",
    "document",
    "table_id",
    "table_version",
    "catalog_hash",
    "book_hash",
    "record",
];

/// Rows in any order, and errors without the number under which the log has them. The time of arrival differs.
fn comparable(mut answer: Answer) -> Answer {
    answer.rows.sort();
    let volatile: Vec<usize> = answer
        .columns
        .iter()
        .enumerate()
        .filter(|(_, name)| VOLATILE.contains(&name.as_str()))
        .map(|(index, _)| index)
        .collect();
    for row in &mut answer.rows {
        for index in &volatile {
            row[*index] = None;
        }
    }
    if let Some((_, message)) = &mut answer.error {
        // Which of its own rows failed first is chance.
        let parts = message.split('\'').step_by(2).collect::<Vec<_>>().join("'…'");
        parts.split("at number").next().unwrap_or_default().clone_into(message);
    }
    answer
}

/// The filter is not in the text: a user of a tenant that does not exist sees nothing, one of all tenants sees all.
#[test]
fn each_user_sees_its_tenants() {
    let world = World::new(true);
    let served = world.serve("");
    let count =
        |user: &str| served.client(user).simple("SELECT count(*) FROM usage_events").value().to_owned();
    assert_eq!(["acme", "anna", "nobody"].map(count), ["14", "28", "0"]);
    let tenants = |user: &str| {
        let answer =
            served.client(user).simple("SELECT DISTINCT tenant FROM quantities('2026-05') ORDER BY 1");
        answer.rows.into_iter().map(|row| row[0].clone().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(["acme", "anna", "nobody"].map(tenants), ["acme", "acme rival", ""]);
    // A user of all tenants may look at plans.
    assert!(!served.client("anna").simple("EXPLAIN SELECT * FROM usage_events").rows.is_empty());
}
