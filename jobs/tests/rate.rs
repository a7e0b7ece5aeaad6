//! Rating as people meet it: drafts that replace each other, tenants that fail alone, lines that are walked back to
//! their events, and other prices for the same usage.

use std::path::Path;
use std::process::{Command, Output};

const CATALOG: &str = "
catalog: shop
currency: EUR
meters:
  stored: { kind: gauge, event_type: stored, value: $.gb, resource: $.disk, unit: GB }
  calls: { kind: delta, event_type: called, value: $.n, dimensions: { region: $.region }, unit: request }
plans:
  basic:
    prices:
      base: { description: Basic plan, flat: 10 }
      calls: { description: Calls, meter: calls, only: { region: [eu, us] }, split_by: region, package: { size: 100, price: 0.5 } }
      storage:
        description: Storage
        meter: stored
        measure: average
        included: 1
        graduated: [
          { up_to: 10, per_unit: 0.2 },
          { per_unit: 0.1 },
        ]
  large: { prices: { storage: { meter: stored, measure: average, per_unit: 9223372036854775807 } } }
taxes: { vat: { description: VAT, percent: 20 } }
tenants:
  acme: { tax: vat, subscriptions: [{ plan: basic, from: 2026-01-01 }] }
  globex: { time_zone: Asia/Kathmandu, subscriptions: [{ plan: basic, from: 2026-01-01 }] }
  huge: { subscriptions: [{ plan: large, from: 2026-01-01 }] }
";

fn meterhouse(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("METERHOUSE_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(arguments).env("METERHOUSE_LAKE", folder.join("lake"));
    command.output().expect("the program starts")
}

#[track_caller]
fn run(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let output = meterhouse(folder, arguments);
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {messages}");
    (String::from_utf8(output.stdout).unwrap(), messages)
}

fn event(id: u32, kind: &str, tenant: &str, time: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"{kind}","subject":"{tenant}","time":"{time}","data":{data}}}"#
    )
}

fn ingest(folder: &Path, name: &str, events: &[String]) {
    std::fs::write(folder.join(name), events.join("\n")).unwrap();
    run(folder, &["ingest", "--file", name], 0);
}

/// A lake with a month of four tenants.
fn lake() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("catalog.yaml"), CATALOG).unwrap();
    let stored = |id, tenant, time, gb: &str| {
        event(id, "stored", tenant, time, &format!(r#"{{"gb":{gb},"disk":"a"}}"#))
    };
    let called = |id, tenant, time, n: u32, region: &str| {
        event(id, "called", tenant, time, &format!(r#"{{"n":{n},"region":"{region}"}}"#))
    };
    ingest(
        folder.path(),
        "first.ndjson",
        &[
            stored(1, "acme", "2025-12-20T00:00:00Z", "4"),
            stored(2, "acme", "2026-01-16T12:00:00Z", "16"),
            stored(3, "acme", "2026-02-01T00:00:00Z", "999"),
            called(4, "acme", "2026-01-05T00:00:00Z", 150, "eu"),
            called(4, "acme", "2026-01-05T00:00:00Z", 150, "eu"),
            called(5, "acme", "2026-01-06T00:00:00Z", 51, "eu"),
            called(6, "acme", "2026-01-07T00:00:00Z", 7, "moon"),
            stored(7, "huge", "2026-01-02T00:00:00Z", "99999999999999999999"),
            stored(8, "stranger", "2026-01-02T00:00:00Z", "1"),
        ],
    );
    folder
}

fn csv(folder: &Path, query: &str) -> String {
    run(folder, &["sql", "--format", "csv", query], 0).0
}

const DRAFTS: &str =
    "SELECT tenant, period, lines, total, taxed, due, warnings, state FROM invoices ORDER BY 1, 2";

#[test]
fn a_month_is_rated_and_rated_again() {
    let folder = lake();
    let folder = folder.path();
    let (foreseen, _) = run(folder, &["rate", "--period", "2026-01", "--dry-run", "--format", "csv"], 3);
    assert_eq!(csv(folder, "SELECT count(*) AS n FROM invoices"), "n\n0\n");
    let (problems, messages) = run(folder, &["rate", "--period", "2026-01", "--format", "csv"], 3);
    assert_eq!(problems, foreseen);
    let expected = "tenant,period,outcome,detail
huge,2026-01-01,failed,\"tenant huge, period 2026-01-01, price storage, meter stored: no amount: amount is out of range: ";
    assert!(problems.starts_with(expected), "{problems}");
    assert!(problems.contains(
        "stranger,2026-01,not set up,1 rows of usage are kept until the catalog knows the tenant\n"
    ));
    assert!(
        problems.ends_with("acme,2026-01-01,not billed,no price for 7 of calls region=moon\n"),
        "{problems}"
    );
    assert!(
        messages.contains("2 drafts with 5 lines") && messages.contains("2 drafts changed, 0 gone"),
        "{messages}"
    );
    // Storage: 4 for half the month and 16 for the other, 10 on average: 9 of them at 0.2. Calls: 201 are 3 packages.
    let drafts = "tenant,period,lines,total,taxed,due,warnings,state
acme,2026-01-01,3,13.300000000,2.660000000,15.960000000,1,draft
globex,2026-01-01,2,10.000000000,0.000000000,10.000000000,0,draft
";
    assert_eq!(csv(folder, DRAFTS), drafts);
    let lines =
        "SELECT line, price, dimensions, quantity, billable_exact, amount, price_source FROM invoice_lines
                 WHERE tenant = 'acme' ORDER BY line";
    assert_eq!(
        csv(folder, lines),
        "line,price,dimensions,quantity,billable_exact,amount,price_source
1,base,,,,10.000000000,catalog.yaml:10
2,calls,\"{\"\"region\"\":\"\"eu\"\"}\",201.000000000,201,1.500000000,catalog.yaml:11
3,storage,,10.000000000,9,1.800000000,catalog.yaml:17
"
    );

    // The same again changes nothing and commits nothing.
    let (again, messages) = run(folder, &["rate", "--period", "2026-01", "--format", "csv"], 3);
    assert_eq!(again, problems);
    assert!(messages.contains("nothing changed"), "{messages}");
    let version =
        |table: &str| std::fs::read_dir(folder.join("lake").join(table).join("_delta_log")).unwrap().count();
    assert_eq!((version("invoices"), version("invoice_lines")), (2, 2));

    // A late event changes the drafts, and of one tenant alone if only that is asked for.
    let late = event(9, "called", "globex", "2026-01-31T17:00:00Z", r#"{"n":1,"region":"us"}"#);
    ingest(folder, "late.ndjson", &[late]);
    let (_, messages) = run(folder, &["rate", "--period", "2026-01-20", "--tenant", "globex"], 0);
    assert!(messages.contains("1 drafts changed, 0 gone"), "{messages}");
    let changed = drafts.replace(
        "globex,2026-01-01,2,10.000000000,0.000000000,10.0",
        "globex,2026-01-01,3,10.500000000,0.000000000,10.5",
    );
    assert_eq!(csv(folder, DRAFTS), changed);
    let versions = "SELECT tenant, table_version FROM invoices ORDER BY 1";
    assert_eq!(csv(folder, versions), "tenant,table_version\nacme,1\nglobex,2\n");
    // At the earlier version of the lake everything is as it was.
    run(folder, &["rate", "--period", "2026-01", "--as-of", "1"], 3);
    assert_eq!(csv(folder, DRAFTS), drafts);
    assert_eq!(csv(folder, "SELECT count(*) AS n FROM invoice_lines"), "n\n5\n");
}

#[test]
fn drafts_of_tenants_that_are_gone_go() {
    let folder = lake();
    let folder = folder.path();
    run(folder, &["rate", "--period", "2026-01"], 3);
    run(folder, &["rate", "--period", "2026-02"], 3);
    let without = CATALOG.lines().filter(|line| !line.contains("globex")).collect::<Vec<_>>().join("\n");
    std::fs::write(folder.join("catalog.yaml"), &without).unwrap();
    // Rating one tenant leaves the others alone.
    run(folder, &["rate", "--period", "2026-01", "--tenant", "acme"], 0);
    let tenants = "SELECT tenant, period FROM invoices ORDER BY 1, 2";
    let all = "tenant,period\nacme,2026-01-01\nacme,2026-02-01\nglobex,2026-01-01\nglobex,2026-02-01\n";
    assert_eq!(csv(folder, tenants), all);
    let (_, messages) = run(folder, &["rate", "--period", "2026-01"], 3);
    assert!(messages.contains("0 drafts changed, 1 gone"), "{messages}");
    assert_eq!(csv(folder, tenants), "tenant,period\nacme,2026-01-01\nacme,2026-02-01\nglobex,2026-02-01\n");
    assert_eq!(
        csv(folder, "SELECT DISTINCT tenant FROM invoice_lines WHERE period = '2026-01-01'"),
        "tenant\nacme\n"
    );
    let (_, messages) = run(folder, &["rate", "--period", "2026-01", "--tenant", "globex"], 1);
    assert!(messages.contains("tenant globex is not set up"), "{messages}");
}

#[test]
fn a_run_that_was_killed_between_its_two_commits_is_made_good() {
    let folder = lake();
    let folder = folder.path();
    run(folder, &["rate", "--period", "2026-01"], 3);
    let before = csv(folder, "SELECT tenant, digest FROM invoices ORDER BY 1");
    let late = event(9, "called", "acme", "2026-01-31T17:00:00Z", r#"{"n":900,"region":"us"}"#);
    ingest(folder, "late.ndjson", &[late]);
    run(folder, &["rate", "--period", "2026-01"], 3);
    let after = csv(folder, "SELECT tenant, digest FROM invoices ORDER BY 1");
    assert_ne!(after, before);
    // The lines are committed first: without the second commit they belong to no invoice.
    std::fs::remove_file(folder.join("lake/invoices/_delta_log/00000000000000000002.json")).unwrap();
    assert_eq!(csv(folder, "SELECT tenant, digest FROM invoices ORDER BY 1"), before);
    let orphans = "SELECT count(*) AS n FROM invoice_lines l LEFT JOIN invoices i ON i.invoice = l.invoice
                   AND i.digest = l.invoice_digest WHERE i.invoice IS NULL";
    assert_eq!(csv(folder, orphans), "n\n6\n");
    // Even if the run now asks for what the invoices already say.
    run(folder, &["rate", "--period", "2026-01", "--as-of", "1"], 3);
    assert_eq!(csv(folder, orphans), "n\n0\n");
    assert_eq!(csv(folder, "SELECT tenant, digest FROM invoices ORDER BY 1"), before);
    run(folder, &["rate", "--period", "2026-01"], 3);
    assert_eq!(csv(folder, orphans), "n\n0\n");
    assert_eq!(csv(folder, "SELECT tenant, digest FROM invoices ORDER BY 1"), after);
    let (_, messages) = run(folder, &["rate", "--period", "2026-01"], 3);
    assert!(messages.contains("nothing changed"), "{messages}");
}

#[test]
fn an_issued_invoice_stays_as_it_is() {
    let folder = lake();
    let folder = folder.path();
    run(folder, &["rate", "--period", "2026-01"], 3);
    let before = csv(folder, "SELECT tenant, digest FROM invoices ORDER BY 1");
    // Whoever issues invoices rewrites the row's state.
    let issued = tokio_run(async {
        use sql::lake::{Lake, Table};
        let lake = Lake::open(folder.join("lake").to_str().unwrap()).unwrap();
        rewrite_states(&lake.table(Table::Invoices)).await
    });
    assert_eq!(issued, 2);
    let late = event(9, "called", "acme", "2026-01-31T17:00:00Z", r#"{"n":900,"region":"us"}"#);
    ingest(folder, "late.ndjson", &[late]);
    let (rows, messages) = run(folder, &["rate", "--period", "2026-01", "--format", "csv"], 3);
    assert!(messages.contains("nothing changed"), "{messages}");
    assert!(rows.contains("acme,2026-01-01,issued already,it stays as it is\n"), "{rows}");
    assert_eq!(csv(folder, "SELECT tenant, digest FROM invoices ORDER BY 1"), before);
}

fn tokio_run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
}

/// Marks every draft as issued; answers with how many there were.
async fn rewrite_states(table: &sql::lake::TableHandle) -> usize {
    use arrow::array::{ArrayRef, StringArray};
    use deltalake_core::kernel::Action;
    use futures::TryStreamExt;
    use ingest::commit::{Commit, TableLog};
    use ingest::day_file::{DayFileWriter, FileKind};
    let mut log = TableLog::open(table.clone()).await.unwrap();
    let (mut actions, mut rows) = (Vec::new(), 0);
    for file in table.snapshot(None).await.unwrap().files {
        let batches: Vec<_> =
            table.read_batches(std::slice::from_ref(&file), None).try_collect().await.unwrap();
        let mut writer = DayFileWriter::new(table.table(), file.day, FileKind::Drafts).unwrap();
        for batch in batches {
            rows += batch.num_rows();
            let schema = table.table().file_schema();
            let columns = schema.fields().iter().map(|field| -> ArrayRef {
                match field.name().as_str() {
                    "state" => std::sync::Arc::new(StringArray::from(vec!["issued"; batch.num_rows()])),
                    name => batch.column_by_name(name).unwrap().clone(),
                }
            });
            let batch = arrow::array::RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
            writer.write(&batch).unwrap();
        }
        let new = writer.finish(0).unwrap();
        log.upload(std::slice::from_ref(&new)).await.unwrap();
        actions.extend([ingest::day_files::removal(table.table(), &file), Action::Add(new.add)]);
    }
    log.commit(&Commit { operation: "UPDATE", actions, ..Commit::default() }).await.unwrap();
    rows
}

#[test]
fn of_two_runs_at_once_none_loses_a_draft() {
    let folder = lake();
    let folder = folder.path();
    let runs: Vec<_> = (0..4)
        .map(|at| {
            let folder = folder.to_owned();
            let tenant = ["acme", "globex"][at % 2];
            std::thread::spawn(move || {
                loop {
                    let output = meterhouse(&folder, &["rate", "--period", "2026-01", "--tenant", tenant]);
                    match output.status.code() {
                        Some(0) => break,
                        // Another run committed first.
                        Some(75) => {}
                        code => panic!("{code:?}: {}", String::from_utf8_lossy(&output.stderr)),
                    }
                }
            })
        })
        .collect();
    for run in runs {
        run.join().unwrap();
    }
    assert_eq!(
        csv(folder, "SELECT tenant, lines, due FROM invoices ORDER BY 1"),
        "tenant,lines,due\nacme,3,15.960000000\nglobex,2,10.000000000\n"
    );
    assert_eq!(csv(folder, "SELECT count(*) AS n FROM invoice_lines"), "n\n5\n");
}

/// Of two levels from before the period one has run out by then: it carried nothing in, and is not listed.
#[test]
fn a_level_that_has_expired_is_not_said_to_be_carried_in() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let catalog =
        CATALOG.replace("resource: $.disk, unit: GB", "resource: $.disk, expires_after: 48h, unit: GB");
    std::fs::write(folder.join("catalog.yaml"), catalog).unwrap();
    let stored =
        |id, time, disk: &str| event(id, "stored", "acme", time, &format!(r#"{{"gb":4,"disk":"{disk}"}}"#));
    ingest(
        folder,
        "first.ndjson",
        &[stored(1, "2026-01-29T12:00:00Z", "old"), stored(2, "2026-01-31T12:00:00Z", "new")],
    );
    run(folder, &["rate", "--period", "2026-02"], 0);
    let of_acme = ["--tenant", "acme", "--period", "2026-02"];
    let (events, _) = run(folder, &[&["explain"], &of_acme[..], &["storage", "--format", "csv"]].concat(), 0);
    let listed: Vec<&str> = events.lines().skip(1).collect();
    assert_eq!(listed, ["2026-01-31T12:00:00Z,true,new,,,4,/s,2,file:first.ndjson,0,2,0"]);
}

#[test]
fn an_invoice_is_shown_and_its_lines_explained() {
    let folder = lake();
    let folder = folder.path();
    run(folder, &["rate", "--period", "2026-01"], 3);
    let of_acme = ["--tenant", "acme", "--period", "2026-01"];
    let (json, _) = run(folder, &[&["invoice", "show"], &of_acme[..], &["--format", "json"]].concat(), 0);
    let digest = csv(folder, "SELECT digest FROM invoices WHERE tenant = 'acme'");
    assert_eq!(format!("digest\n{}\n", blake3::hash(json.trim_end().as_bytes()).to_hex()), digest);

    let id = csv(folder, "SELECT invoice FROM invoices WHERE tenant = 'acme'");
    let id = id.lines().nth(1).unwrap();
    let (text, _) = run(folder, &["invoice", "show", id], 0);
    let shown: Vec<&str> = text.lines().take(15).collect();
    assert_eq!(
        shown,
        [
            format!("Invoice {id} (draft)").as_str(),
            "Tenant  acme",
            "Period  2026-01-01 until 2026-02-01, in EUR",
            "",
            "                      used  included  billed  amount",
            "────────────────────────────────────────────────────",
            "1  Basic plan                                  10.00",
            "2  Calls: eu   201 request               201    1.50",
            "3  Storage           10 GB         1       9    1.80",
            "────────────────────────────────────────────────────",
            "   Total                                       13.30",
            "   VAT (20 %)                                   2.66",
            "   Due                                         15.96",
            "",
            "Warnings",
        ]
    );
    let (text, _) = run(folder, &["explain", id, "3", "--events"], 0);
    for part in [
        format!("Line 3 of invoice {id}: Storage\n").as_str(),
        "  price       storage of subscription basic, catalog.yaml:17\n",
        "  rules       tier 1 in line 18\n",
        "  carried in  4 GB\n",
        "  allowance         - 1 of 1 included\n",
        "  tier 1, up to 10  9 × 0.2 = 1.8\n",
        "  amount            1.8 rounded to 1.80 EUR\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let explained =
        |line: &str| run(folder, &[&["explain"], &of_acme[..], &[line, "--format", "csv"]].concat(), 0);
    assert_eq!(
        explained("storage").0,
        "time,carried,resource,dimensions,signal,value,source,id,topic,partition,offset,batch_index
2025-12-20T00:00:00Z,true,a,,,4,/s,1,file:first.ndjson,0,1,0
2026-01-16T12:00:00Z,false,a,,,16,/s,2,file:first.ndjson,0,2,0
"
    );
    let (calls, messages) = explained("2");
    assert_eq!(
        calls,
        "time,carried,resource,dimensions,signal,value,source,id,topic,partition,offset,batch_index
2026-01-05T00:00:00Z,false,,region=eu,,150,/s,4,file:first.ndjson,0,4,0
2026-01-06T00:00:00Z,false,,region=eu,,51,/s,5,file:first.ndjson,0,6,0
"
    );
    assert!(messages.contains("1 rows of events that came twice"), "{messages}");
    for (arguments, message) in [
        (&["invoice", "show", "nonsense"][..], "there is no invoice `nonsense`"),
        (&["invoice", "show", "2026-01-01-0000000000000000"], "there is no invoice"),
        (&["explain", id, "7"], "has no line 7"),
        (&["explain", id], "and then the line"),
    ] {
        let (_, messages) = run(folder, arguments, 1);
        assert!(messages.contains(message), "{messages}");
    }
    // Another catalog than that of the invoice would name other events.
    std::fs::write(folder.join("catalog.yaml"), CATALOG.replace("flat: 10", "flat: 11")).unwrap();
    let (_, messages) = run(folder, &["explain", id, "3", "--events"], 1);
    assert!(messages.contains("the invoice was made with catalog"), "{messages}");
}

#[test]
fn quantities_are_priced_tier_by_tier() {
    let folder = lake();
    let arguments = [
        "catalog",
        "price",
        "--plan",
        "basic",
        "--price",
        "storage",
        "--quantity",
        "12.5",
        "--format",
        "csv",
    ];
    let (steps, _) = run(folder.path(), &arguments, 0);
    assert_eq!(
        steps,
        "step,arithmetic
metered,12.5 GB
allowance,- 1 of 1 included
\"tier 1, up to 10\",10 × 0.2 = 2
tier 2 and up,1.5 × 0.1 = 0.15
price,2.15
amount,2.15 rounded to 2.15 EUR
"
    );
    let (_, messages) =
        run(folder.path(), &["catalog", "price", "--plan", "basic", "--price", "x", "--quantity", "1"], 1);
    assert!(messages.contains("it has base, calls, storage"), "{messages}");
}

#[test]
fn another_catalog_is_simulated() {
    let folder = lake();
    let folder = folder.path();
    let next = CATALOG.replace("flat: 10", "flat: 12").replace("per_unit: 0.2 }", "per_unit: 0.3 }");
    std::fs::write(folder.join("next.yaml"), next.replace("9223372036854775807", "0")).unwrap();
    let simulate = [
        "simulate",
        "--catalog",
        "next.yaml",
        "--period",
        "2026-01..2026-02",
        "--tenant",
        "acme",
        "--tenant",
        "globex",
    ];
    let (rows, messages) = run(folder, &[&simulate[..], &["--format", "csv"]].concat(), 0);
    // February: 999 GB, of which 998 are billed.
    assert_eq!(
        rows,
        "tenant,plan,meter,currency,now,new,difference
acme,basic,,EUR,20.00,24.00,4.00
acme,basic,stored,EUR,102.60,104.50,1.90
globex,basic,,EUR,20.00,24.00,4.00
"
    );
    assert!(
        messages.contains("EUR: 144.10 now, 154.00 under the other catalog, difference 9.90"),
        "{messages}"
    );
    let (rows, _) = run(folder, &[&simulate[..], &["--format", "csv", "--by", "plan"]].concat(), 0);
    assert_eq!(rows, "plan,currency,now,new,difference\nbasic,EUR,144.10,154.00,9.90\n");
    let (rows, _) = run(
        folder,
        &["simulate", "--period", "2026-01", "--tenant", "acme", "--show", "measures", "--format", "csv"],
        0,
    );
    assert_eq!(
        rows,
        "tenant,period,plan,price,values,meter,billed_by,currency,by_peak,by_average,difference
acme,2026-01-01,basic,storage,,stored,average,EUR,2.50,1.80,0.70
"
    );
    // Nothing was written.
    assert_eq!(csv(folder, "SELECT count(*) AS n FROM invoices"), "n\n0\n");
}
