//! `--period last`, and periods of one day that start in different months: each tenant has its own.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::json;

use crate::world::{World, event};

const SHOP: &str = "
catalog: shop
currency: EUR
meters:
  calls: { kind: delta, event_type: called, value: $.n, unit: request }
plans:
  basic:
    prices:
      base: { description: Basic plan, flat: 10 }
      calls: { description: Calls, meter: calls, per_unit: 1 }
tenants:
";

fn tenant(name: &str, anchor: Date) -> String {
    format!(
        "  {name}: {{ billing: {{ anchor: {anchor} }}, subscriptions: [{{ plan: basic, from: 2020-01-01 }}] }}\n"
    )
}

fn days_ago(days: i64) -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date().checked_sub(days.days()).unwrap()
}

/// Where the period starts that ends on this day.
fn start(end: Date) -> Date {
    end.checked_sub(1.month()).unwrap()
}

fn called(id: &str, tenant: &str, day: Date, n: u32) -> serde_json::Value {
    event(id, "called", tenant, &format!("{day}T12:00:00Z"), json!({ "n": n }))
}

/// Periods of three tenants that ended 20 days, 5 days and 1 day ago; a call in each, one before and one after.
fn world() -> (World, [Date; 3]) {
    let ends = [days_ago(20), days_ago(5), days_ago(1)];
    let names = ["early", "late", "young"];
    let tenants: String = names.iter().zip(ends).map(|(name, end)| tenant(name, end)).collect();
    let mut world = World::new(&format!("{SHOP}{tenants}"));
    let mut events = Vec::new();
    for (name, end) in names.iter().zip(ends) {
        events.push(called(&format!("{name}-in"), name, end.yesterday().unwrap(), 5));
        events.push(called(&format!("{name}-before"), name, start(end).yesterday().unwrap(), 70));
        events.push(called(&format!("{name}-after"), name, end, 900));
    }
    world.ingest(&events);
    (world, ends)
}

const ISSUED: &str = "SELECT tenant, period, total FROM invoices WHERE number IS NOT NULL ORDER BY 1, 2";
const LAST: [&str; 4] = ["close", "--period", "last", "--without-papers"];

#[test]
fn a_daily_close_closes_what_is_due_and_nothing_twice() {
    let (world, [early, late, young]) = world();
    // The youngest period is in its grace period, so the one before is the last that is due.
    let before = start(young);
    let row = |tenant: &str, end: Date, total: u32| format!("{tenant},{},{total}.000000000\n", start(end));
    let closed = [row("early", early, 15), row("late", late, 15), row("young", before, 80)].concat();
    world.run(&LAST, 0);
    assert_eq!(world.csv(ISSUED), format!("tenant,period,total\n{closed}"));
    // The next day's run has nothing to do, and no list of what it left alone.
    let (problems, _) = world.run(&LAST, 0);
    assert!(!problems.contains("issued already"), "{problems}");
    assert_eq!(world.csv(ISSUED), format!("tenant,period,total\n{closed}"));
    world.run(&["verify", "--period", "last"], 0);
    // Once the grace period is over the youngest follows, and only that.
    world.run(&[&LAST[..], &["--grace", "0 s"]].concat(), 0);
    let rows = format!("tenant,period,total\n{closed}{}", row("young", young, 15));
    assert_eq!(world.csv(ISSUED), rows);
    world.run(&["book", "check"], 0);
    let (runs, _) = world.run(&["runs", "--job", "close", "--format", "json"], 0);
    let runs: Vec<serde_json::Value> = serde_json::from_str(&runs).unwrap();
    assert_eq!(runs.len(), 3, "{runs:?}");
    assert!(runs.iter().all(|run| run["period"] == "last"), "{runs:?}");
}

#[test]
fn each_job_takes_the_tenants_own_last_period() {
    let (world, ends) = world();
    let (counted, _) = world.run(&["quantities", "--period", "last", "--format", "json"], 0);
    let counted: Vec<serde_json::Value> = serde_json::from_str(&counted).unwrap();
    let mut sums: Vec<(&str, &str)> = counted
        .iter()
        .filter(|row| row["measure"] == "sum")
        .map(|row| (row["tenant"].as_str().unwrap(), row["exact_value"].as_str().unwrap()))
        .collect();
    sums.sort_unstable();
    sums.dedup();
    assert_eq!(sums, [("early", "5"), ("late", "5"), ("young", "5")]);
    world.run(&["rate", "--period", "last"], 0);
    let drafts = "SELECT tenant, period, total FROM invoices ORDER BY 1, 2";
    let row = |(tenant, end): (&str, Date)| format!("{tenant},{},15.000000000\n", start(end));
    let rows: String = ["early", "late", "young"].into_iter().zip(ends).map(row).collect();
    assert_eq!(world.csv(drafts), format!("tenant,period,total\n{rows}"));
    let (_, told) = world.run(&["issue", "--period", "last", "--without-papers"], 0);
    assert!(!told.contains("drafts wait"), "{told}");
    assert_eq!(world.csv(ISSUED).lines().count(), 3, "the youngest is not due");
    let (_, told) = world.run(&["rate", "--period", "lst"], 2);
    assert!(told.contains("`last`"), "{told}");
}

/// The sum over all rows of a step of the number that is their word at a place.
fn number(steps: &[serde_json::Value], step: &str, place: usize) -> u32 {
    let rows = steps.iter().filter(|row| row["step"] == step);
    let words = rows.map(|row| row["would"].as_str().unwrap().split(' ').nth(place).unwrap());
    words.map(|word| word.parse::<u32>().unwrap()).sum()
}

#[test]
fn a_dry_run_says_what_each_step_would_do_and_writes_nothing() {
    let (world, _) = world();
    let files = || {
        let mut files = Vec::new();
        let mut folders = vec![world.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    };
    let before = files();
    let (steps, told) = world.run(&[&LAST[..], &["--dry-run", "--push", "--format", "json"]].concat(), 0);
    assert!(told.contains("nothing was changed"), "{told}");
    assert_eq!(files(), before);
    let steps: Vec<serde_json::Value> = serde_json::from_str(&steps).unwrap();
    assert_eq!((number(&steps, "rate", 1), number(&steps, "issue", 1)), (3, 3), "{steps:?}");
    for step in ["compact", "rollup", "push", "reconcile"] {
        assert!(steps.iter().any(|row| row["step"] == step), "{step}: {steps:?}");
    }
    world.run(&LAST, 0);
    let (steps, _) = world.run(&[&LAST[..], &["--dry-run", "--format", "json"]].concat(), 0);
    let steps: Vec<serde_json::Value> = serde_json::from_str(&steps).unwrap();
    // "number 0 drafts; 1 are issued already" of each month.
    assert_eq!((number(&steps, "issue", 1), number(&steps, "issue", 3)), (0, 3), "{steps:?}");
    let (runs, _) = world.run(&["runs", "--job", "close", "--format", "csv"], 0);
    assert_eq!(runs.lines().count(), 2, "a dry run is no run: {runs}");
}

#[test]
fn the_catalog_of_a_days_period_is_that_of_the_month_in_which_it_starts() {
    let anchor = "2025-12-15".parse().unwrap();
    let catalog = format!("{SHOP}{}", tenant("acme", anchor));
    let world = World::new(&catalog);
    world.run(&["catalog", "apply"], 0);
    std::fs::write(world.path().join("dearer.yaml"), catalog.replace("flat: 10", "flat: 11")).unwrap();
    world.run(&["catalog", "apply", "dearer.yaml", "--effective-from", "2026-02-01"], 0);
    for (day, period, total) in
        [("2026-02-10", "2026-01-15", "10.000000000"), ("2026-02-20", "2026-02-15", "11.000000000")]
    {
        world.run(&["rate", "--period", day], 0);
        world.run(&["issue", "--period", day, "--grace", "0 s", "--without-papers"], 0);
        world.run(&["close", "--period", day, "--grace", "0 s", "--without-papers"], 0);
        let own =
            format!("SELECT total, number IS NOT NULL AS issued FROM invoices WHERE period = '{period}'");
        assert_eq!(world.csv(&own), format!("total,issued\n{total},true\n"));
    }
    world.run(&["verify", "--period", "2026-02-20"], 0);
    assert_eq!(world.csv("SELECT count(*) AS n FROM invoices"), "n\n2\n");
}

#[test]
fn before_the_first_catalog_holds_there_is_nothing_to_close() {
    let (world, _) = world();
    world.run(&["catalog", "apply", "--effective-from", "2100-01-01"], 0);
    let (_, told) = world.run(&LAST, 0);
    assert!(told.contains("no period of any tenant has ended yet"), "{told}");
    assert_eq!(world.csv("SELECT count(*) AS n FROM invoices"), "n\n0\n");
}

/// An invoice that was issued and lies in the lake no more is told, though nothing of it can be rated again.
#[test]
fn an_issued_invoice_that_is_gone_from_the_lake_does_not_verify() {
    let (world, _) = world();
    world.run(&LAST, 0);
    std::fs::rename(world.path().join("lake/invoices"), world.path().join("gone")).unwrap();
    for (arguments, count) in [(&["verify", "--period", "last"][..], 3), (&["verify", "000001"], 1)] {
        let (found, told) = world.run(&[arguments, &["--format", "csv"]].concat(), 4);
        assert_eq!(found.matches("it does not lie in the lake").count(), count, "{found}{told}");
    }
}

#[test]
fn papers_that_lie_there_are_never_written_over() {
    let (world, [early, ..]) = world();
    world.run(&LAST[..3], 0);
    let folder = world.path().join("lake/papers").join(start(early).to_string());
    let mut papers: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    papers.sort();
    assert_eq!(papers.len(), 4, "{papers:?}");
    for paper in &papers[1..] {
        std::fs::write(paper, "as it was printed").unwrap();
    }
    std::fs::remove_file(&papers[0]).unwrap();
    let (_, told) = world.run(&LAST[..3], 0);
    assert!(told.contains("1 papers"), "{told}");
    assert!(papers[0].exists());
    for paper in &papers[1..] {
        assert_eq!(std::fs::read_to_string(paper).unwrap(), "as it was printed", "{}", paper.display());
    }
}

#[test]
fn what_jobs_worked_on_is_in_their_runs() {
    let (world, _) = world();
    world.run(&LAST, 0);
    world.run(&["vacuum"], 0);
    world.run(&["reconcile", "--offline"], 0);
    for (job, input) in [
        ("compact", "input usage_events"),
        ("rollup", "input usage_events"),
        ("rate", "input catalog"),
        ("issue", "input invoices"),
        ("issue", "input catalogs"),
        ("vacuum", "input usage_events"),
        ("vacuum", "input invoices"),
        ("reconcile", "input invoices"),
        ("close", "input catalog "),
    ] {
        let (runs, _) = world.run(&["runs", "--job", job, "--format", "csv"], 0);
        let told = runs.lines().skip(1).map(|run| {
            let id = run.split(',').next().unwrap();
            world.run(&["runs", id], 0).0
        });
        assert!(told.into_iter().any(|told| told.contains(input)), "{job}: {input}\n{runs}");
    }
}
