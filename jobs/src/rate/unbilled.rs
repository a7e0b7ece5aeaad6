//! Earlier periods of which a tenant has something to be billed, and no invoice.
//!
//! Owns finding them again in every run, as far as corrections look back, until they are billed: a tenant whose first events
//! all came late, one that was set up after the month was closed, one that failed or was held back then, a month that nobody
//! closed. Does not own billing them: that is `close` of their period, which each message names.
//!
//! Who may lack an invoice is known without counting: whom the catalog names, whose draft was left, whose events came since the
//! month was billed. Only these are rated again. The events of the whole month are looked through only where its last
//! rating did not do for everybody, or where tenants that no catalog names were not set up then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::sql::lake::{Lake, Table, TableSnapshot};
use ::sql::rollups::{Touch, tenants_of};
use anyhow::Result;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use rating::catalog::{Catalog, Tenant};
use rating::draft::RatedLines;
use rating::period::{Period, PeriodChoice, Span};

use super::again::rate_again;
use super::changes::Changes;
use super::drafts::{Problem, ProblemKind, days, month_of_name};
use crate::book::{Book, DocumentKind, IssuedDocument, Outcome};
use crate::catalog::chosen::deciding_instant_us;
use crate::issue::{catalogs, drafts_left};

/// In place of a tenant, where nobody was billed.
pub(super) const EVERYBODY: &str = "(everybody)";
/// Under this name a run of `rate` notes that it looked only at some tenants.
pub const ONLY_TENANTS: &str = "only_tenants";

#[derive(Debug)]
pub struct UnbilledSearch<'s> {
    pub lake: &'s Lake,
    pub book: &'s Book,
    pub snapshot: Option<&'s Arc<TableSnapshot>>,
    /// The run's own period.
    pub choice: PeriodChoice,
    /// So many months before it are looked at.
    pub look_back: u32,
    /// None looks at everybody.
    pub only: Option<&'s BTreeSet<String>>,
    /// Nothing is missing before a period's end is as long ago.
    pub grace: SignedDuration,
    pub threads: usize,
}

/// A month in which periods started, and what is known of who was billed for them.
struct Month<'m> {
    choice: PeriodChoice,
    first: Date,
    span: Span,
    catalog: Arc<Catalog>,
    /// The invoices of its periods; those that only correct are none of these.
    billed: BTreeMap<&'m str, &'m IssuedDocument>,
    /// Periods are missed that ended until then.
    ended_by_us: i64,
}

impl UnbilledSearch<'_> {
    /// `documents` are those of the look-back, `changes` what came since each of them.
    pub async fn find(
        &self,
        catalog: &Arc<Catalog>,
        documents: &[IssuedDocument],
        changes: &mut Changes<'_>,
    ) -> Result<Vec<Problem>> {
        let grace_us = i64::try_from(self.grace.as_micros()).unwrap_or(i64::MAX);
        let ended_by_us = self.book.now_us().await?.saturating_sub(grace_us);
        let (PeriodChoice::Month(day) | PeriodChoice::Day(day)) = self.choice;
        let mut problems = Vec::new();
        let mut catalog = Arc::clone(catalog);
        for back in (1..=self.look_back).rev() {
            let first = day.first_of_month().checked_sub(i64::from(back).months())?;
            let span = Span { start_us: utc_us(first)?, end_us: utc_us(first.checked_add(1.month())?)? };
            if span.end_us > ended_by_us {
                continue;
            }
            let choice = PeriodChoice::Month(first);
            let billed = billed_in(first, documents);
            catalog = self.catalog_of(choice, catalog).await?;
            let month = Month { choice, first, span, catalog: Arc::clone(&catalog), billed, ended_by_us };
            if month.billed.is_empty() && self.only.is_none() {
                problems.extend(self.nobody_billed(&month).await?);
            } else {
                self.look_at(&month, changes, &mut problems).await?;
            }
        }
        Ok(problems)
    }

    /// The catalog of a month. Mostly it is the one that is known already; a large one takes its time to read.
    async fn catalog_of(&self, month: PeriodChoice, known: Arc<Catalog>) -> Result<Arc<Catalog>> {
        let Some(in_force) = self.book.catalog_version_in_force(deciding_instant_us(month)).await? else {
            return Ok(known);
        };
        let hash = in_force.catalog_hash;
        if known.hash.to_hex().as_str() == hash {
            return Ok(known);
        }
        let content = self.book.catalog_content(&hash).await?;
        Ok(Arc::new(Catalog::parse(&content, &format!("the catalog of {month}"))?))
    }

    /// A month that nobody closed is one problem, and not one of each tenant. Before the first invoice ever, nothing is missing:
    /// what the lake holds of that time was billed elsewhere.
    async fn nobody_billed(&self, month: &Month<'_>) -> Result<Option<Problem>> {
        if !self.book.has_billed_before(month.span.start_us).await? {
            return Ok(None);
        }
        let last = days(month.first.last_of_month());
        let is_of_month = |day: i32| (days(month.first)..=last).contains(&day);
        let mut files = self.snapshot.iter().flat_map(|snapshot| &snapshot.files);
        let has_usage = files.any(|file| is_of_month(file.day) && !file.is_correction());
        Ok(has_usage.then(|| Problem {
            tenant: EVERYBODY.to_owned(),
            period: month.choice.to_string(),
            kind: ProblemKind::Unbilled,
            text: format!(
                "there is usage and nobody was billed: `meterhouse close --period {}`",
                month.choice
            ),
        }))
    }

    async fn look_at(
        &self,
        month: &Month<'_>,
        changes: &mut Changes<'_>,
        problems: &mut Vec<Problem>,
    ) -> Result<()> {
        let seen = self.seen(month, changes).await?;
        let named = month.catalog.tenants.iter().filter(|terms| month.may_owe(terms));
        let named = named.map(|terms| terms.key.clone());
        let left = drafts_left(self.lake, days(month.first)).await?;
        let candidates: BTreeSet<String> = named.chain(left).chain(seen).collect();
        let mut by_period: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for tenant in candidates {
            let is_asked = self.only.is_none_or(|only| only.contains(&tenant));
            if !is_asked || month.billed.contains_key(tenant.as_str()) {
                continue;
            }
            let Some(terms) = month.catalog.tenant_terms(&tenant) else {
                let text = "usage is kept until the catalog of that time knows the tenant".to_owned();
                let (period, kind) = (month.choice.to_string(), ProblemKind::NotSetUp);
                problems.push(Problem { tenant, period, kind, text });
                continue;
            };
            if let Some(period) = month.missed(terms, self.choice) {
                by_period.entry(period.name).or_default().insert(tenant);
            }
        }
        for (period, names) in by_period {
            let (lake, threads) = (self.lake, self.threads);
            let rated = rate_again(lake, &month.catalog, self.snapshot, &period, &names, threads).await?;
            for (tenant, rated) in rated {
                let Some(what) = what_is_missing(rated) else { continue };
                let text = format!("{what} on no invoice: {}", close_command(month.choice, &tenant));
                let period = period.clone();
                problems.push(Problem { tenant, period, kind: ProblemKind::Unbilled, text });
            }
        }
        Ok(())
    }

    /// Tenants with usage of the month that may have been overlooked when it was billed.
    async fn seen(&self, month: &Month<'_>, changes: &mut Changes<'_>) -> Result<BTreeSet<String>> {
        let oldest = month.billed.values().map(|issued| issued.document.provenance.table_version).min();
        let mut seen = BTreeSet::new();
        let since = changes.since(oldest.unwrap_or(-1)).await?;
        // A level of an earlier day is carried into the month.
        for (day, touch) in since.days_before(month.span.end_us) {
            match touch {
                Touch::Tenants(tenants) => seen.extend(tenants.iter().cloned()),
                Touch::Everybody => seen.extend(self.tenants_of_days(day..=day).await),
            }
        }
        if self.may_have_overlooked(month).await? {
            let last = days(month.first.last_of_month());
            seen.extend(self.tenants_of_days(days(month.first)..=last).await);
        }
        Ok(seen)
    }

    async fn tenants_of_days(&self, days: std::ops::RangeInclusive<i32>) -> BTreeSet<String> {
        let table = self.lake.table(Table::UsageEvents);
        let mut tenants = BTreeSet::new();
        let files = self.snapshot.iter().flat_map(|snapshot| &snapshot.files);
        for file in files.filter(|file| days.contains(&file.day) && !file.is_correction()) {
            tenants.extend(tenants_of(&table, file.clone()).await.unwrap_or_default());
        }
        tenants
    }

    /// Whether tenants that the catalog does not name could be without invoice although their events were there: some failed
    /// when the month was rated last, or such tenants were not set up then.
    async fn may_have_overlooked(&self, month: &Month<'_>) -> Result<bool> {
        if month.catalog.other_tenants.is_none() {
            return Ok(false);
        }
        let runs = self.book.runs_of_period("rate", &month.choice.to_string()).await?;
        let newest = runs.iter().find(|run| !run.inputs.contains_key(ONLY_TENANTS));
        if newest.is_none_or(|run| run.outcome != Outcome::Done) {
            return Ok(true);
        }
        let pinned = month.billed.values().map(|issued| &issued.document.provenance.catalog_hash);
        let now = month.catalog.hash.to_hex();
        for hash in pinned.filter(|hash| hash.as_str() != now.as_str()).collect::<BTreeSet<_>>() {
            let then = catalogs::load(self.lake, hash).await?;
            if then.is_none_or(|then| then.other_tenants.is_none()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Month<'_> {
    /// Whether a tenant that the catalog names was subscribed to anything in about that time; rating says what it owes.
    fn may_owe(&self, terms: &Tenant) -> bool {
        let Ok(Some(period)) = self.choice.period(&terms.cycle, &terms.time_zone) else { return false };
        terms.subscriptions.iter().any(|own| own.span.intersection(&period.span).is_some())
    }

    /// The tenant's period of this month, if it is over and not the one that is being rated.
    fn missed(&self, terms: &Tenant, rated: PeriodChoice) -> Option<Period> {
        let period = self.choice.period(&terms.cycle, &terms.time_zone).ok()??;
        let now = rated.period(&terms.cycle, &terms.time_zone).ok()?;
        let is_other = now.is_none_or(|now| now.name != period.name);
        (is_other && period.span.end_us <= self.ended_by_us).then_some(period)
    }
}

fn utc_us(day: Date) -> Result<i64> {
    Ok(day.to_zoned(TimeZone::UTC)?.timestamp().as_microsecond())
}

/// By tenant.
fn billed_in(month: Date, documents: &[IssuedDocument]) -> BTreeMap<&str, &IssuedDocument> {
    let is_of_month = |issued: &&IssuedDocument| {
        let document = &issued.document;
        let is_of_period = document.kind == DocumentKind::Invoice && document.occasion.is_empty();
        is_of_period && month_of_name(&document.period) == Some(days(month))
    };
    documents.iter().filter(is_of_month).map(|issued| (issued.document.tenant.as_str(), issued)).collect()
}

/// What a period would put on an invoice; nothing where that would be empty.
fn what_is_missing(rated: Result<RatedLines, String>) -> Option<String> {
    let rated = match rated {
        Ok(rated) => rated,
        Err(why) => return Some(format!("the period cannot be rated ({why}) and is")),
    };
    let owed: Vec<String> = rated
        .lines
        .iter()
        .filter(|line| !line.amount.is_zero())
        .map(|line| format!("{} {} for {}", line.amount, line.currency.code(), line.description))
        .collect();
    match owed.as_slice() {
        [] => {
            let unpriced = rated.warnings.iter().find(|warning| warning.leaves_usage_unbilled());
            unpriced.map(|warning| format!("{warning}; that is"))
        }
        [only] => Some(format!("{only} is")),
        [first, others @ ..] => Some(format!("{first} and {} more lines are", others.len())),
    }
}

/// As it is typed.
pub(super) fn close_command(period: PeriodChoice, tenant: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || "-_.@:/+".contains(character);
    let tenant = if tenant.chars().all(is_plain) && !tenant.is_empty() {
        tenant.to_owned()
    } else {
        format!("'{}'", tenant.replace('\'', r"'\''"))
    };
    format!("`meterhouse close --period {period} --tenant {tenant}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted_into_a_shell() {
        let period: PeriodChoice = "2026-01".parse().unwrap();
        for (tenant, typed) in
            [("acme", "acme"), ("Ärger & Söhne", "'Ärger & Söhne'"), ("o'neill", r"'o'\''neill'"), ("", "''")]
        {
            let wanted = format!("`meterhouse close --period 2026-01 --tenant {typed}`");
            assert_eq!(close_command(period, tenant), wanted);
        }
    }
}
