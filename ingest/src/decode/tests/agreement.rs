//! The decoder and its oracle say the same about random events: accepted or not, why, and every reading.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use rating::catalog::{Catalog, ExcessDigits};

use super::generated::{Choices, message};
use super::oracle::{Oracle, Outcome, billionths, rfc3339};
use super::{
    ARRIVAL_US, DOCUMENTS, DecodeLimits, Decoder, Message, ONMEMOS, REDLINE, TENANT_IN_DATA, WORKSHOP,
    ZEMFYRE, catalog,
};
use crate::decimal::{DecimalError, parse_decimal};
use crate::rejected::RejectReason;
use crate::timestamp::parse_time;

fn decisions() -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(any::<u16>(), 0..160)
}

fn catalogs() -> Vec<Catalog> {
    [WORKSHOP, REDLINE, ONMEMOS, ZEMFYRE, DOCUMENTS, TENANT_IN_DATA].map(catalog).to_vec()
}

/// The message that these decisions make, and the catalog that it is made for.
fn made<'c>(catalogs: &'c [Catalog], decisions: &[u16]) -> (&'c Catalog, Message, DecodeLimits) {
    let (which, rest) = decisions.split_first().map_or((0, decisions), |(first, rest)| (*first, rest));
    // Half of all messages go to the catalog that says the most.
    let catalog = catalogs.get(usize::from(which) % 10).unwrap_or(&catalogs[0]);
    let (message, limits) = message(catalog, &mut Choices(rest.iter()));
    (catalog, message, limits)
}

fn decoded(catalog: &Catalog, message: &Message, limits: DecodeLimits) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    Decoder::new(catalog, limits).decode(&message.raw(), ARRIVAL_US, &mut |decoded| {
        outcomes.push(Outcome::of(&decoded, catalog));
    });
    outcomes
}

#[test]
fn the_decoder_agrees_with_its_oracle() {
    let catalogs = catalogs();
    proptest!(Config::with_cases(6_000), |(decisions in decisions())| {
        let (catalog, message, limits) = made(&catalogs, &decisions);
        let oracle = Oracle { catalog, limits, arrival_us: ARRIVAL_US };
        prop_assert_eq!(
            decoded(catalog, &message, limits),
            oracle.decode(&message.raw()),
            "catalog {}, payload {:?}, headers {:?}",
            catalog.name,
            message.payload.as_deref().map(String::from_utf8_lossy),
            message.headers
        );
    });
}

/// A comparison proves little if all it compares is refused for the same reason.
#[test]
fn the_random_messages_reach_every_reason() {
    const SAMPLES: usize = 6_000;
    let catalogs = catalogs();
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..SAMPLES {
        let decisions = decisions().new_tree(&mut runner).expect("decisions are never refused").current();
        let (catalog, message, limits) = made(&catalogs, &decisions);
        for outcome in decoded(catalog, &message, limits) {
            *seen.entry(kind_of(&outcome)).or_default() += 1;
        }
    }
    for reason in [
        RejectReason::TooLarge,
        RejectReason::InvalidUtf8,
        RejectReason::InvalidJson,
        RejectReason::UnsupportedContent,
        RejectReason::NotACloudEvent,
        RejectReason::AttributeMissing,
        RejectReason::AttributeInvalid,
        RejectReason::TenantMissing,
        RejectReason::TimeMissing,
        RejectReason::TimeInvalid,
        RejectReason::TimeInFuture,
        RejectReason::TimeTooOld,
        RejectReason::DataNotAnObject,
        RejectReason::DuplicateKey,
        RejectReason::ValueMissing,
        RejectReason::ValueNotANumber,
        RejectReason::ValueOutOfRange,
        RejectReason::ValueTooPrecise,
        RejectReason::ResourceMissing,
        RejectReason::DimensionInvalid,
        RejectReason::SessionInvalid,
    ] {
        assert!(seen.get(reason.name()).is_some_and(|count| *count >= 3), "{reason:?}: {seen:?}");
    }
    for (kind, least) in
        [("metered", SAMPLES / 4), ("unmetered", SAMPLES / 50), ("session", SAMPLES / 50), ("tombstone", 10)]
    {
        assert!(seen.get(kind).is_some_and(|count| *count >= least), "{kind}: {seen:?}");
    }
}

fn kind_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Tombstone => "tombstone",
        Outcome::Rejected { reason, .. } => reason.name(),
        Outcome::Event(event) if event.readings.is_empty() => "unmetered",
        Outcome::Event(event) if event.readings.iter().any(|reading| reading.signal.is_some()) => "session",
        Outcome::Event(_) => "metered",
    }
}

proptest! {
    #[test]
    fn decimals_agree_with_the_oracle(
        text in "-?[0-9]{1,45}(\\.[0-9]{1,45})?([eE][-+]?[0-9]{1,3})?|[-+0-9.eE]{0,12}",
        round in any::<bool>(),
    ) {
        let excess = if round { ExcessDigits::Round } else { ExcessDigits::Reject };
        let fast = parse_decimal(&text, round).map_err(|error| match error {
            DecimalError::NotANumber => RejectReason::ValueNotANumber,
            DecimalError::OutOfRange => RejectReason::ValueOutOfRange,
            DecimalError::TooManyDecimals => RejectReason::ValueTooPrecise,
        });
        prop_assert_eq!(fast, billionths(&text, excess));
    }

    #[test]
    fn times_agree_with_the_oracle(
        text in "[0-9]{4}-(0[0-9]|1[0-3])-[0-3][0-9][Tt _][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,11})?(Z|z|[-+][0-2][0-9]:[0-6][0-9]|)",
    ) {
        prop_assert_eq!(parse_time(&text), rfc3339(&text));
    }

    #[test]
    fn damaged_times_agree_with_the_oracle(
        time in "20[0-9]{2}-0[1-9]-[0-2][0-9]T[01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[-+]0[0-9]:[0-5]0)",
        at in any::<prop::sample::Index>(),
        instead in "\\PC|[-+:.TZz 0-9]|",
    ) {
        let at = at.index(time.len());
        let text = format!("{}{instead}{}", &time[..at], &time[at + 1..]);
        prop_assert_eq!(parse_time(&text), rfc3339(&text));
    }
}
