//! Which tenants' days have to be folded: those that commits touched, that are new, or that have new questions.

use std::collections::{BTreeMap, BTreeSet};

use ::sql::lake::{Lake, Table, TableSnapshot};
use ::sql::rollups::{EVERY_DAY, RollUps, Touch, question_keys, rules_of, touched};
use anyhow::Result;

use super::RollUpSettings;

/// What a run has to do.
#[derive(Debug)]
pub struct Due {
    pub days: BTreeMap<i32, Touch>,
    pub first_day: i32,
    pub last_day: i32,
    /// The roll-ups that this run goes on from; nothing where it starts anew.
    pub kept: Option<RollUps>,
    run: i64,
}

impl Due {
    /// Nothing where there are neither events nor roll-ups, or where the roll-ups are up to date.
    pub async fn find(
        lake: &Lake,
        usage: &TableSnapshot,
        before: Option<RollUps>,
        settings: &RollUpSettings,
    ) -> Result<Option<Due>> {
        // An amendment may say what happened on a day of which nothing else is known.
        let days = || usage.files.iter().map(|file| file.day);
        let run = before.as_ref().map_or(0, |before| before.state.run) + 1;
        let (Some(first), Some(last)) = (days().min(), days().max()) else { return Ok(None) };
        let state = before.as_ref().map(|before| before.state);
        let everybody = |from: i32, until: i32| (from..=until).map(|day| (day, Touch::Everybody));
        let anew = || Due {
            days: everybody(first, last).collect(),
            first_day: first,
            last_day: last,
            kept: None,
            run,
        };
        let (Some(kept), Some(state)) = (before, state) else { return Ok(Some(anew())) };
        let is_other = state.rules != rules_of(&settings.catalog) || state.usage_version > usage.version;
        if is_other || settings.from.is_some_and(|from| from <= state.first_day) {
            return Ok(Some(anew()));
        }
        let table = lake.table(Table::UsageEvents);
        let Some(mut due) = touched(&table, state.usage_version, usage.version).await? else {
            return Ok(Some(anew()));
        };
        let last_day = last.max(state.last_day);
        let first = first.min(state.first_day);
        match due.remove(&EVERY_DAY) {
            None => {}
            Some(Touch::Everybody) => return Ok(Some(anew())),
            Some(Touch::Tenants(corrected)) => {
                for day in first..=last_day {
                    if let Touch::Tenants(known) =
                        due.entry(day).or_insert_with(|| Touch::Tenants(BTreeSet::new()))
                    {
                        known.extend(corrected.iter().cloned());
                    }
                }
            }
        }
        due.extend(everybody(settings.from.unwrap_or(i32::MAX), last_day));
        due.extend(everybody(state.last_day + 1, last_day));
        if state.questions != settings.questions {
            add_new_questions(&kept, settings, &mut due).await?;
        }
        due.retain(|day, _| *day <= last_day);
        if due.is_empty() && state.usage_version == usage.version && state.questions == settings.questions {
            return Ok(None);
        }
        // Before the first day so far nobody else had used anything.
        let first_day = due.keys().next().map_or(state.first_day, |day| state.first_day.min(*day));
        Ok(Some(Due { days: due, first_day, last_day, kept: Some(kept), run }))
    }

    /// The number of this run.
    pub fn run(&self) -> i64 {
        self.run
    }

    pub fn first_due(&self) -> Option<i32> {
        self.days.keys().next().copied()
    }

    pub fn is_due(&self, day: i32, tenant: &str) -> bool {
        match self.days.get(&day) {
            None => false,
            Some(Touch::Everybody) => true,
            Some(Touch::Tenants(tenants)) => tenants.contains(tenant),
        }
    }

    /// The roll-ups, if they say what a day opens with.
    pub fn kept_on(&self, day: i32) -> Option<&RollUps> {
        self.kept.as_ref().filter(|kept| day <= kept.state.last_day + 1)
    }
}

/// Tenants' days that do not answer all that is asked now.
async fn add_new_questions(
    kept: &RollUps,
    settings: &RollUpSettings,
    due: &mut BTreeMap<i32, Touch>,
) -> Result<()> {
    for day in kept.state.first_day..=kept.state.last_day {
        if due.get(&day) == Some(&Touch::Everybody) {
            continue;
        }
        let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let known = kept.markers(day, None).await?.into_iter().filter(|(_, marker)| marker.is_of_known());
        for (tenant, marker) in known {
            let rolled = names
                .entry(marker.questions)
                .or_insert_with_key(|text| serde_json::from_str(text).unwrap_or_default());
            let asked = (settings.questions_of)(&tenant, day);
            let keys = question_keys(&settings.catalog, &asked, day);
            if keys.iter().any(|key| !rolled.contains(key))
                && let Touch::Tenants(tenants) =
                    due.entry(day).or_insert_with(|| Touch::Tenants(BTreeSet::new()))
            {
                tenants.insert(tenant);
            }
        }
    }
    Ok(())
}
