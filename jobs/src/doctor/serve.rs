//! Would `meterhouse serve sql` start: users and their passwords, certificate and key, address?

use super::{Finding, Status, can_listen};
use crate::config::ServeSqlConfig;
use crate::serve::try_settings;

const CHECK: &str = "serve sql";

pub(super) async fn examine(settings: &ServeSqlConfig) -> Finding {
    if settings.users.is_empty() {
        return Finding::new(Status::Skipped, CHECK, "no users in [serve_sql.users]", "");
    }
    if let Err(error) = try_settings(settings) {
        let remedy = "correct it in [serve_sql]; `meterhouse serve sql` does not start like this";
        return Finding::fail(CHECK, format!("{error:#}"), remedy);
    }
    let mut finding = can_listen(CHECK, settings.listen, "serve sql", "[serve_sql] listen").await;
    let encryption = if settings.certificate.is_some() { "with TLS" } else { "without TLS" };
    finding.found = format!("{}; {} users, {encryption}", finding.found, settings.users.len());
    finding
}
