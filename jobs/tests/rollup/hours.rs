//! `usage_hourly` against events: every row of it is what a fold over the events says of that hour.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use rating::period::{Period, Span};
use rating::usage::{DAY_US, Demand, Wanted};
use sql::lake::Table;
use sql::quantities::{Asked, UsageScan};
use sql::rollups::{HourlyRows, RollUps, hour_questions};

use crate::Case;

impl Case {
    pub async fn check_hours(&self, what: &str) {
        let roll_ups = RollUps::open(&self.world.lake).await.unwrap().unwrap();
        let days = roll_ups.state.first_day..=roll_ups.state.last_day;
        let mut wanted: Vec<Wanted> = Vec::new();
        for day in days.clone() {
            for question in hour_questions(&self.catalog, day) {
                match wanted.iter_mut().find(|known| known.view == question.view) {
                    Some(known) => known.spans.extend(question.spans),
                    None => wanted.push(question),
                }
            }
        }
        let span =
            Span { start_us: i64::from(*days.start()) * DAY_US, end_us: i64::from(*days.end() + 1) * DAY_US };
        let scan = UsageScan {
            demand_of: Arc::new(move |tenant: &str| {
                let period = Period { span, name: String::new(), end_date: String::new() };
                Asked::Demand(Demand { tenant: tenant.to_owned(), period, wanted: wanted.clone() })
            }),
            until_us: span.end_us,
            ..self.scan().await
        };
        let mut expected = HourlyRows::default();
        for usage in scan.run().await.unwrap().usages {
            for (question, series) in usage.demand.wanted.iter().zip(&usage.answers) {
                for own in series {
                    let dimensions = (!question.view.by.is_empty()).then_some(&own.dimensions);
                    let (tenant, meter) = (&usage.demand.tenant, &question.view.meter);
                    expected.push(tenant, meter, dimensions, own.span, &own.totals).unwrap();
                }
            }
        }
        let table = self.world.lake.table(Table::UsageHourly);
        let schema = Table::UsageHourly.file_schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let files = table.snapshot(None).await.unwrap().files;
        let found: Vec<RecordBatch> = table.read_batches(&files, Some(&names)).try_collect().await.unwrap();
        let (found, expected) = (lines(&found), lines(&[expected.finish().unwrap()]));
        let differ = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert_eq!(differ, None, "{what}: in the table, and from events");
        assert_eq!(found.len(), expected.len(), "{what}");
        assert!(found.len() > 20, "{what}: only {} hours", found.len());
    }
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut text = Vec::new();
    let mut writer = arrow::csv::WriterBuilder::new().with_header(false).build(&mut text);
    for batch in batches {
        writer.write(batch).unwrap();
    }
    drop(writer);
    let mut lines: Vec<String> = String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
