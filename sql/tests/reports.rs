//! Every report is planned and runs, also over an empty lake; and parameters and errors as people meet them.

use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use rating::catalog::Catalog;
use sql::lake::Lake;
use sql::report::Report;
use sql::session::{LakeSession, Parameters, SessionSettings, Sources, open_session_over};

async fn session(tenant: Option<&str>) -> LakeSession {
    let text = include_str!("../../testdata/catalogs/redline.yaml");
    let catalog = Arc::new(Catalog::parse(text, "redline.yaml").unwrap());
    let sources = Sources { catalog: Some(catalog), ..Sources::default() };
    let settings = SessionSettings { tenant: tenant.map(str::to_owned), ..SessionSettings::default() };
    let lake = Lake::open("memory:///reports").unwrap();
    lake.table(sql::lake::Table::UsageEvents).create_if_missing().await.unwrap();
    open_session_over(&lake, &settings, &sources).await.unwrap()
}

fn parameters(report: &Report) -> Parameters {
    let value = |default: &str| match default {
        "this_month" | "last_month" => "2026-03".to_owned(),
        "now" => "2026-03-16T00:00:00Z".to_owned(),
        other => other.to_owned(),
    };
    let default = |parameter: &sql::report::ReportParameter| value(parameter.default.as_deref().unwrap());
    report.parameters.iter().map(|parameter| (parameter.name.clone(), default(parameter))).collect()
}

#[tokio::test]
async fn every_report_runs_over_an_empty_lake_for_all_and_for_one_tenant() {
    for tenant in [None, Some("licence-7d793037")] {
        let session = session(tenant).await;
        for report in Report::built_in() {
            let frame = session.query_with(&report.text, &parameters(&report)).await;
            let frame = frame.unwrap_or_else(|error| panic!("{}: {error}", report.name));
            let schema = frame.schema().clone();
            let rows = frame.collect().await.unwrap_or_else(|error| panic!("{}: {error}", report.name));
            if let Some(chart) = &report.chart {
                for column in
                    [Some(&chart.label), Some(&chart.value), chart.series.as_ref()].into_iter().flatten()
                {
                    assert!(schema.has_column_with_unqualified_name(column), "{}: {column}", report.name);
                }
            }
            let text = pretty_format_batches(&rows).unwrap().to_string();
            assert!(tenant.is_none() || !text.contains("licence-5d41402a"), "{}: {text}", report.name);
        }
    }
}

/// The commitment of the enterprise tenant, and nobody uses anything.
#[tokio::test]
async fn fees_without_usage_are_in_the_margin() {
    let session = session(None).await;
    let margin = Report::built_in().into_iter().find(|report| report.name == "margin").unwrap();
    let frame = session.query_with(&margin.text, &parameters(&margin)).await.unwrap();
    let text = pretty_format_batches(&frame.collect().await.unwrap()).unwrap().to_string();
    let row = text.lines().find(|line| line.contains("licence-7d793037")).expect("it owes its commitment");
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    assert_eq!(cells[2..6], ["USD", "200.000000000000", "0.000000000000", "200.000000000000"]);
}

#[tokio::test]
async fn parameters_are_values_and_never_text() {
    let session = session(None).await;
    let given = |pairs: &[(&str, &str)]| -> Parameters {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let count = |query: &'static str, parameters: Parameters| {
        let session = session.clone();
        async move {
            match session.query_with(query, &parameters).await {
                Ok(frame) => match frame.collect().await {
                    Ok(rows) => {
                        rows.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>().to_string()
                    }
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            }
        }
    };
    let by_name = "SELECT tenant FROM tenants WHERE name = $name";
    assert_eq!(count(by_name, given(&[("name", "Okafor Data")])).await, "1");
    assert_eq!(count(by_name, given(&[("name", "x' OR 'a' = 'a")])).await, "0");
    let of_period = "SELECT * FROM quantities($period) WHERE tenant = 'x'";
    assert_eq!(count(of_period, given(&[("period", "2026-03")])).await, "0");
    let spliced =
        count(of_period, given(&[("period", "2026-03') UNION SELECT * FROM quantities('2026-04")])).await;
    assert!(spliced.contains("is no period"), "{spliced}");
    for (query, parameters, expected) in [
        (by_name, given(&[]), "parameter $name has no value: give one with --param name=VALUE"),
        (by_name, given(&[("name", "a"), ("nme", "b")]), "the query has no parameter $nme"),
        ("SELECT 1 WHERE 2 > $x + 0", given(&[("x", "many")]), "parameter $x: `many` is no Int64"),
        ("DROP TABLE tenants", given(&[]), "DROP is refused: the lake can only be queried here"),
        ("SET a = 1", given(&[]), "SET is refused"),
        ("COPY tenants TO '/tmp/x.csv'", given(&[]), "COPY is refused"),
        ("INSERT INTO tenants VALUES (1)", given(&[]), "INSERT is refused"),
        (
            "SELECT tenant\nFROM tenants\nWHERE nme = 'x'",
            given(&[]),
            "in line 3, column 7:\n  WHERE nme = 'x'\n        ^",
        ),
        ("SELECT tenant FRM tenants WHERE", given(&[]), "in line 1, column"),
        (
            "SELECT * FROM tenant",
            given(&[]),
            "in line 1, column 15:\n  SELECT * FROM tenant\n                ^",
        ),
    ] {
        let found = count(query, parameters).await;
        assert!(found.contains(expected), "{query}: {found}");
    }
}
