//! Corrections of issued invoices: what an earlier period comes to now, less what was billed of it (DESIGN.md 3.9).
//!
//! Owns which earlier periods of a tenant are rated again, and that their difference is billed once. A period is rated
//! again if an event of the tenant arrived since that could count in it (`changes`), if one was voided or amended, or if
//! a catalog was applied since, with a date of its own, that holds for it. What was billed so far is the sum over all issued
//! documents with lines of the period; the invoice names them, and `issue` refuses a draft that does not know all of
//! them. A corrected invoice keeps its catalog, unless the correction is one of the catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::sql::lake::{Lake, TableSnapshot};
use anyhow::Result;
use jiff::ToSpan as _;
use jiff::civil::Date;
use rating::catalog::{Catalog, Tenant};
use rating::invoice::{AdjustedPeriod, Causes};
use rating::line::{LineItem, LineKey};
use rating::period::{Period, PeriodChoice, Span};

use super::again::{difference, lines_of, rate_again};
use super::apart::PeriodCorrection;
use super::causes::{BilledLast, Steps};
use super::changes::Changes;
use super::drafts::{Problem, ProblemKind};
use super::neighbours::Overlaps;
use super::tenants::RatedTenants;
use crate::book::{Book, DocumentKind, IssuedDocument};
use crate::catalog::chosen::deciding_instant_us;
use crate::issue::{StoredDocument, catalogs, documents_with};

/// What of a tenant is corrected, each issued period by itself.
#[derive(Debug, Clone)]
pub struct TenantCorrections {
    /// The period in which that is billed.
    pub period: Period,
    /// In the order of the corrected periods.
    pub corrections: Vec<PeriodCorrection>,
    /// Periods that cannot be corrected, with the reason.
    pub problems: Vec<String>,
}

/// An issued period that may have to be corrected.
#[derive(Debug, Clone)]
struct Suspect {
    tenant: String,
    /// The period's name and the number of its invoice.
    period: String,
    span: Span,
    number: String,
    /// Of the catalog that holds for it now.
    catalog_hash: String,
}

/// What is known of the periods before the one that is rated.
#[derive(Debug)]
pub struct Earlier<'s> {
    /// By tenant.
    pub corrections: BTreeMap<String, TenantCorrections>,
    /// Every document that was issued of them.
    pub documents: Vec<IssuedDocument>,
    pub changes: Changes<'s>,
    /// Usage that came for periods which are not corrected any more.
    pub too_old: Vec<Problem>,
}

/// The period in which a tenant's corrections are billed, and how far back they reach.
#[derive(Debug, Clone)]
struct Window {
    period: Period,
    from_us: i64,
}

/// What a run looks for corrections with.
#[derive(Debug)]
pub struct CorrectionSearch<'s> {
    pub lake: &'s Lake,
    pub book: &'s Book,
    pub snapshot: Option<&'s Arc<TableSnapshot>>,
    /// The run's own period.
    pub choice: PeriodChoice,
    /// So many periods before the one that is rated are looked at.
    pub look_back: u32,
    pub threads: usize,
}

impl<'s> CorrectionSearch<'s> {
    /// Corrections of tenants, each in its own period: of those that are rated, and of those that were billed before and
    /// are not any more. `passed_over` are looked at in no case. Also what else was read of the earlier periods.
    pub async fn find(
        &self,
        catalog: &Arc<Catalog>,
        tenants: &RatedTenants<'_>,
        rated: impl Iterator<Item = (&str, &Period)>,
        passed_over: &BTreeSet<&str>,
    ) -> Result<Earlier<'s>> {
        let mut windows: BTreeMap<String, Window> = BTreeMap::new();
        for (tenant, period) in rated {
            let Some(charges) = tenants.charges(tenant) else { continue };
            windows.insert(tenant.to_owned(), self.window(charges.terms(), period.clone()));
        }
        let from_us = windows.values().map(|window| window.from_us).fold(self.earliest_us()?, i64::min);
        let documents = self.book.documents_since(from_us).await?;
        let is_left = |tenant: &str| tenants.may_have_left(tenant) && !passed_over.contains(tenant);
        for (tenant, window) in self.left(&windows, &documents, is_left).await? {
            windows.insert(tenant, window);
        }
        let newest_us = windows.values().map(|window| window.period.span.start_us).max().unwrap_or(i64::MIN);
        let spans = documents.iter().map(|issued| issued.document.span);
        let ends = spans.filter(|span| span.start_us < newest_us).map(|span| span.end_us);
        let until_us = ends.max().unwrap_or(i64::MIN);
        let mut changes = Changes::new(self.lake, self.snapshot.map(Arc::as_ref), catalog, until_us);
        let suspects = self.suspects(&mut changes, &windows, &documents).await?;
        let too_old = self.too_old(&mut changes, &windows, &documents).await?;
        let corrections = if suspects.is_empty() {
            BTreeMap::new()
        } else {
            self.correct(suspects, &mut changes, &windows, &documents).await?
        };
        Ok(Earlier { corrections, documents, changes, too_old })
    }

    fn window(&self, terms: &Tenant, period: Period) -> Window {
        let mut oldest = period.clone();
        for _ in 0..self.look_back {
            let Ok(before) = terms.cycle.period_before(&oldest, &terms.time_zone) else { break };
            oldest = before;
        }
        Window { period, from_us: oldest.span.start_us }
    }

    /// From when on documents matter at least, whoever is rated: so many months, and one for calendars.
    fn earliest_us(&self) -> Result<i64> {
        let (PeriodChoice::Month(day) | PeriodChoice::Day(day)) = self.choice;
        let from = day.checked_sub(i64::from(self.look_back + 1).months())?;
        Ok(from.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp().as_microsecond())
    }

    /// Tenants with documents that are billed nothing else now. Their calendar is that of the catalog that billed them last.
    async fn left(
        &self,
        windows: &BTreeMap<String, Window>,
        documents: &[IssuedDocument],
        is_left: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, Window)>> {
        let mut newest: BTreeMap<&str, &IssuedDocument> = BTreeMap::new();
        for issued in documents {
            let tenant = issued.document.tenant.as_str();
            if windows.contains_key(tenant) || !is_left(tenant) {
                continue;
            }
            let known = newest.entry(tenant).or_insert(issued);
            if issued.document.span.start_us > known.document.span.start_us {
                *known = issued;
            }
        }
        let mut catalogs: BTreeMap<&str, Catalog> = BTreeMap::new();
        let mut left = Vec::new();
        for (tenant, issued) in newest {
            let hash = issued.document.provenance.catalog_hash.as_str();
            if !catalogs.contains_key(hash) {
                catalogs.insert(hash, self.catalog(hash).await?);
            }
            let Some(terms) = catalogs[hash].tenant_terms(tenant) else { continue };
            if let Some(period) = self.choice.period(&terms.cycle, &terms.time_zone)? {
                left.push((tenant.to_owned(), self.window(terms, period)));
            }
        }
        Ok(left)
    }

    async fn suspects(
        &self,
        changes: &mut Changes<'_>,
        windows: &BTreeMap<String, Window>,
        documents: &[IssuedDocument],
    ) -> Result<Vec<Suspect>> {
        let mut in_force: BTreeMap<String, Option<InForce>> = BTreeMap::new();
        let mut suspects = Vec::new();
        for IssuedDocument { document, issued_at_us } in documents {
            let Some(window) = windows.get(document.tenant.as_str()) else { continue };
            let is_earlier = (window.from_us..window.period.span.start_us).contains(&document.span.start_us);
            // What corrects others is no period's invoice.
            let is_of_period = document.kind == DocumentKind::Invoice && document.occasion.is_empty();
            if !is_of_period || !is_earlier {
                continue;
            }
            if !in_force.contains_key(&document.period) {
                let found = self.in_force(&document.period).await?;
                in_force.insert(document.period.clone(), found);
            }
            let pinned = &document.provenance.catalog_hash;
            // One that was taken back again may have been billed meanwhile, by a correction.
            let new_catalog = in_force[&document.period]
                .as_ref()
                .filter(|found| found.catalog_hash != *pinned || found.newest_applied_at_us > *issued_at_us);
            let since = changes.since(document.provenance.table_version).await?;
            let has_changed = since.is_amended(&document.tenant)
                || since.may_count(&document.tenant, document.span)
                || new_catalog.is_some();
            if !has_changed {
                continue;
            }
            suspects.push(Suspect {
                tenant: document.tenant.clone(),
                period: document.period.clone(),
                span: document.span,
                number: document.printed_number.clone(),
                catalog_hash: new_catalog.map_or(pinned, |found| &found.catalog_hash).clone(),
            });
        }
        Ok(suspects)
    }

    /// Usage that came since a tenant's newest invoice for days that were billed and are corrected no more.
    async fn too_old(
        &self,
        changes: &mut Changes<'_>,
        windows: &BTreeMap<String, Window>,
        documents: &[IssuedDocument],
    ) -> Result<Vec<Problem>> {
        let mut newest: BTreeMap<&str, &IssuedDocument> = BTreeMap::new();
        for issued in documents.iter().filter(|issued| windows.contains_key(&issued.document.tenant)) {
            let known = newest.entry(&issued.document.tenant).or_insert(issued);
            let version = |issued: &IssuedDocument| issued.document.provenance.table_version;
            if version(issued) > version(known) {
                *known = issued;
            }
        }
        let mut problems = Vec::new();
        for (tenant, issued) in newest {
            let since = changes.since(issued.document.provenance.table_version).await?;
            let days: Vec<i32> = since.days_of(tenant, windows[tenant].from_us).collect();
            if days.is_empty() {
                continue;
            }
            // What is older than the first invoice was billed elsewhere.
            let billed = self.book.documents(None, Some(tenant)).await?;
            let first_us = billed.iter().map(|issued| issued.document.span.start_us).min();
            let is_billed = |day: &i32| first_us.is_some_and(|first_us| first_day(first_us) <= *day);
            problems.extend(told_too_old(tenant, &days.into_iter().filter(is_billed).collect::<Vec<_>>()));
        }
        Ok(problems)
    }

    /// The catalog that was applied for a period. What holds from always on was there before any invoice and changes none.
    async fn in_force(&self, period: &str) -> Result<Option<InForce>> {
        let at_us = deciding_instant_us(period.parse()?);
        let found = self.book.catalog_version_in_force(at_us).await?;
        let Some(found) = found.filter(|applied| applied.effective_from_us > 0) else { return Ok(None) };
        let history = self.book.catalog_history().await?;
        let could_hold = history.iter().filter(|applied| (1..=at_us).contains(&applied.effective_from_us));
        let newest_applied_at_us = could_hold.map(|applied| applied.applied_at_us).max();
        Ok(Some(InForce {
            catalog_hash: found.catalog_hash,
            newest_applied_at_us: newest_applied_at_us.unwrap_or(found.applied_at_us),
        }))
    }

    async fn correct(
        &self,
        suspects: Vec<Suspect>,
        changes: &mut Changes<'_>,
        windows: &BTreeMap<String, Window>,
        documents: &[IssuedDocument],
    ) -> Result<BTreeMap<String, TenantCorrections>> {
        let (stored, missing) = self.billing_documents(&suspects, documents).await?;
        let named = suspects.iter().map(|own| (own.tenant.as_str(), own.period.as_str(), own.span));
        let overlaps = Overlaps::of_named(self.book, named).await?;
        let mut groups: BTreeMap<(String, String), Vec<Suspect>> = BTreeMap::new();
        for suspect in suspects {
            groups.entry((suspect.period.clone(), suspect.catalog_hash.clone())).or_default().push(suspect);
        }
        let mut found: BTreeMap<String, TenantCorrections> = BTreeMap::new();
        for ((period, hash), suspects) in groups {
            let names: BTreeSet<String> = suspects.iter().map(|suspect| suspect.tenant.clone()).collect();
            let catalog = Arc::new(self.catalog(&hash).await?);
            let mut again =
                rate_again(self.lake, &catalog, self.snapshot, &period, &names, self.threads).await?;
            let mut unclear: BTreeMap<BilledLast, BTreeSet<String>> = BTreeMap::new();
            for suspect in suspects {
                let own = found.entry(suspect.tenant.clone()).or_insert_with(|| TenantCorrections {
                    period: windows[&suspect.tenant].period.clone(),
                    corrections: Vec::new(),
                    problems: Vec::new(),
                });
                if let Some(number) = missing.get(&suspect.tenant) {
                    own.cannot(&suspect, &format!("{number} is not in the lake as it was issued"));
                    continue;
                }
                let billed = stored.get(suspect.tenant.as_str()).map_or(&[][..], Vec::as_slice);
                let billing: Vec<&StoredDocument> =
                    billed.iter().filter(|document| !lines_of(document, &period).is_empty()).collect();
                let meant = (suspect.tenant.as_str(), period.as_str(), suspect.span);
                let last = BilledLast::find(changes, meant, &hash, &billing).await?;
                let added = match again.remove(&suspect.tenant) {
                    Some(Ok(rated)) => {
                        match newly_billed_twice(&overlaps, &suspect, &rated.lines, &billing) {
                            Some(why) => Err(why),
                            None => own.add(&suspect, &last.possible(), &catalog, &rated.lines, &billing),
                        }
                    }
                    Some(Err(why)) => Err(why),
                    None => Err("the tenant is not set up in the catalog any more".to_owned()),
                };
                match added {
                    Ok(true) if !last.is_clear() => {
                        unclear.entry(last).or_default().insert(suspect.tenant);
                    }
                    Ok(_) => {}
                    Err(why) => own.cannot(&suspect, &why),
                }
            }
            self.tell_causes(unclear, &catalog, &mut found).await?;
        }
        for own in found.values_mut() {
            own.corrections.sort_by(|left, right| left.adjusted.period.cmp(&right.adjusted.period));
        }
        Ok(found)
    }

    /// Of each corrected line of these tenants, which of the possible causes changed it.
    async fn tell_causes(
        &self,
        unclear: BTreeMap<BilledLast, BTreeSet<String>>,
        now: &Arc<Catalog>,
        found: &mut BTreeMap<String, TenantCorrections>,
    ) -> Result<()> {
        for (last, names) in unclear {
            let then = Arc::new(self.catalog(last.catalog_hash()).await?);
            let steps = last.steps(self.lake, (&then, now), self.snapshot, &names, self.threads).await?;
            for name in &names {
                if let Some(own) = found.get_mut(name) {
                    own.tell_causes(&last.period, &steps);
                }
            }
        }
        Ok(())
    }

    /// By tenant: the issued documents that may have billed something of the suspects' periods, and the number of one that
    /// should be in the lake and is not.
    async fn billing_documents(
        &self,
        suspects: &[Suspect],
        documents: &[IssuedDocument],
    ) -> Result<(BTreeMap<String, Vec<StoredDocument>>, BTreeMap<String, String>)> {
        let mut from: BTreeMap<&str, i64> = BTreeMap::new();
        for suspect in suspects {
            let start_us = from.entry(&suspect.tenant).or_insert(suspect.span.start_us);
            *start_us = suspect.span.start_us.min(*start_us);
        }
        let is_meant = |document: &&IssuedDocument| {
            let own = &document.document;
            from.get(own.tenant.as_str()).is_some_and(|start_us| own.span.start_us >= *start_us)
        };
        let meant = || documents.iter().filter(is_meant).map(|issued| &issued.document);
        let mut digests: BTreeSet<String> = meant().map(|document| document.digest.clone()).collect();
        let mut by_tenant: BTreeMap<String, Vec<StoredDocument>> = BTreeMap::new();
        for document in documents_with(self.lake, &digests).await? {
            digests.remove(&document.digest);
            by_tenant.entry(document.invoice.tenant.clone()).or_default().push(document);
        }
        let missing = meant().filter(|document| digests.contains(&document.digest));
        let missing = missing.map(|document| (document.tenant.clone(), document.printed_number.clone()));
        Ok((by_tenant, missing.collect()))
    }

    async fn catalog(&self, hash: &str) -> Result<Catalog> {
        if let Some(catalog) = catalogs::load(self.lake, hash).await? {
            return Ok(catalog);
        }
        let content = self.book.catalog_content(hash).await?;
        Ok(Catalog::parse(&content, &format!("catalog {hash}"))?)
    }
}

/// Why a period must not come to these lines: some that it was not billed by share time with another invoice, as when a
/// catalog is applied that no longer says from when on the first period of a changed cycle is billed.
fn newly_billed_twice(
    overlaps: &Overlaps,
    suspect: &Suspect,
    again: &[LineItem],
    billing: &[&StoredDocument],
) -> Option<String> {
    let billed: BTreeSet<&LineKey> = billing
        .iter()
        .flat_map(|document| lines_of(document, &suspect.period))
        .map(|line| &line.key)
        .collect();
    overlaps.of_lines(&suspect.tenant, again.iter().filter(|line| !billed.contains(&line.key)))
}

fn first_day(start_us: i64) -> i32 {
    start_us.div_euclid(86_400_000_000) as i32
}

/// A warning for the months of these days.
fn told_too_old(tenant: &str, days: &[i32]) -> Vec<Problem> {
    let mut months: BTreeMap<String, usize> = BTreeMap::new();
    for day in days {
        let date = Date::constant(1970, 1, 1).saturating_add(day.days());
        *months.entry(PeriodChoice::Month(date.first_of_month()).to_string()).or_default() += 1;
    }
    let told = |(period, days): (String, usize)| Problem {
        tenant: tenant.to_owned(),
        period,
        kind: ProblemKind::Unbilled,
        text: format!(
            "usage came late for {days} days that are older than the periods which are corrected (`correct_periods` in \
             [issuer]): it changes no invoice. Rate once with a higher `correct_periods`, or bill it by hand"
        ),
    };
    months.into_iter().map(told).collect()
}

/// The version of the catalog that holds for a period.
#[derive(Debug)]
struct InForce {
    catalog_hash: String,
    /// When a version was last applied that holds for the period, or did so for a while.
    newest_applied_at_us: i64,
}

impl TenantCorrections {
    /// Adds what a period is corrected by, if it is; each line with all causes that are possible.
    fn add(
        &mut self,
        suspect: &Suspect,
        possible: &Causes,
        catalog: &Arc<Catalog>,
        again: &[LineItem],
        billing: &[&StoredDocument],
    ) -> Result<bool, String> {
        let causes = |_: &LineKey| possible.clone();
        let lines = difference(&suspect.period, &suspect.number, billing, again, &causes)?;
        if lines.is_empty() {
            return Ok(false);
        }
        let mut documents: Vec<String> = billing.iter().map(|document| document.digest.clone()).collect();
        documents.sort_unstable();
        let adjusted = AdjustedPeriod {
            period: suspect.period.clone(),
            catalog_hash: suspect.catalog_hash.clone(),
            documents,
        };
        self.corrections.push(PeriodCorrection { lines, adjusted, catalog: Arc::clone(catalog) });
        Ok(true)
    }

    fn cannot(&mut self, suspect: &Suspect, why: &str) {
        let Suspect { number, period, .. } = suspect;
        self.problems.push(format!("invoice {number} of {period} is not corrected: {why}"));
    }

    /// Leaves each line of a period the causes that changed it.
    fn tell_causes(&mut self, period: &str, steps: &Steps) {
        let corrections = self.corrections.iter_mut().filter(|own| own.adjusted.period == period);
        for line in corrections.flat_map(|correction| &mut correction.lines) {
            if let Some(corrects) = &mut line.corrects
                && let Some(causes) = steps.causes(&line.key, corrects)
            {
                corrects.cause = causes;
            }
        }
    }
}
