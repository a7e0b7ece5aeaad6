//! Answers as texts.

use arrow::util::pretty::pretty_format_batches;
use sql::session::LakeSession;

pub async fn answer(session: &LakeSession, query: &str) -> String {
    let batches = session.query(query).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

/// The rows of an answer as their cells, joined by a blank.
pub async fn cells(session: &LakeSession, query: &str) -> Vec<String> {
    let text = answer(session, query).await;
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(1);
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ")).collect()
}
