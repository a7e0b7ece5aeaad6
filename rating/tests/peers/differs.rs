//! Where we differ from peers, and why. The reasons follow from DESIGN.md section 3.

pub const PERIOD_ENDS_ARE_EXCLUSIVE: &str =
    "3.4: periods are half-open, an event at the end belongs to the next";
pub const LEVELS_ARE_CARRIED: &str = "3.5: a level holds until the next sample, also over a period start";
pub const LEVELS_ARE_NOT_INTERPOLATED: &str =
    "3.5: a level holds until the next sample, nothing lies between";
pub const LEVELS_HOLD_UNTIL_THE_NEXT: &str = "3.5: a level holds until its next sample, also after its last";
pub const ZERO_BEFORE_THE_FIRST: &str =
    "3.5: the level is zero before the first sample ever, and that time counts";
pub const AVERAGES_ARE_OVER_THE_PERIOD: &str = "3.5: an average is over the length of the whole period";
pub const COUNTERS_ARE_CARRIED: &str = "3.5: a counter's last value is carried over the period start";
pub const INCREASES_ARE_NOT_EXTRAPOLATED: &str =
    "3.5: an increase is what was counted, nothing is invented at the edges";
pub const INCREASES_BELONG_TO_THE_LATER_SAMPLE: &str =
    "3.5: an increase belongs wholly to the later sample's time";
pub const THE_LEDGER_REFILLS_AND_RESETS: &str =
    "3.6: refills and resets of grants are the ledger's, credits are an input";
pub const CREDITS_PAY_AMOUNTS_NOT_LEVELS: &str =
    "3.6: a credit is used up by an amount, a level uses up nothing";
pub const CREDITS_PAY_WHEN_THEY_CAN: &str =
    "3.6: a credit does not pay later for usage from before it was effective";
pub const BOUNDS_BELONG_TO_THE_LOWER_TIER: &str = "3.7: a tier's bound belongs to the lower tier";
pub const PERCENTAGES_COME_BEFORE_AMOUNTS: &str = "3.6: percentages are taken before fixed amounts";
pub const AMOUNTS_OF_EVENTS_COUNT_WITHOUT_UNITS: &str =
    "3.7: an amount that events carry is billed whatever their units";
pub const A_PRICE_READS_ONE_METER: &str = "3.7: a price reads one meter, no model chooses by several at once";
pub const TIERS_BELONG_TO_ONE_DIMENSION_SET: &str =
    "3.7: quantities are per dimension set, tiers are not shared between sets of different price";
pub const SHARES_GO_BY_LARGEST_REMAINDER_IN_ORDER: &str =
    "shares are split by largest remainder, ties in order";
pub const TIME_IS_ELAPSED_AND_NOT_COUNTED_IN_DAYS: &str =
    "3.8: shares of a period are of elapsed time, not of days";
pub const AN_EMPTY_SPAN_OWES_NOTHING: &str = "3.8: a span of no time has no share of the period";
pub const A_SPAN_LIES_INSIDE_ITS_PERIOD: &str = "3.8: a span is a part of its period and never longer";
pub const MONTHS_HAVE_THEIR_OWN_LENGTH: &str = "3.4: a period has its real length, no month of fixed days";
pub const PERIODS_ARE_MONTHS: &str = "3.4: periods are calendar months or anniversaries";
pub const TIERS_AND_PRICE_SEE_ONE_QUANTITY: &str =
    "3.7: tiers are chosen by the very quantity that is priced";
pub const FEES_OF_TIERS_ARE_PRORATED: &str = "3.8: flat fees are prorated by elapsed time, a tier's too";
pub const ALLOWANCES_COME_BEFORE_ROUNDING: &str = "3.6: the allowance comes before rounding";
pub const QUANTITIES_ROUND_HALVES_AWAY: &str =
    "3.6: a quantity is rounded up, down or to the nearest, and a half goes away from zero";
pub const FEES_ARE_OF_THE_BILLING_PERIOD: &str =
    "3.8: a fee is that of the billing period, and prorated by its share of that";
pub const SHORT_MONTHS_START_ON_THEIR_LAST_DAY: &str =
    "3.4: a month too short for the anchor day starts on its last day";
pub const VOLUME_IS_BILLED_AS_IT_GROWS: &str =
    "3.7: a volume price has an amount at any time of the period, and it is billed with the rest";

pub const VALUES_HAVE_38_DIGITS: &str = "3.3: a value of more than 38 digits is a reject";
pub const UNIT_PRICES_HAVE_12_DECIMALS: &str = "3.6: unit prices have at most 12 decimals";
pub const AMOUNTS_HAVE_28_DIGITS: &str =
    "4: prices, bounds and amounts are decimals of 28 digits; more is an error and is never rounded";
pub const ZONES_HAVE_NAMES: &str = "3.4: a time zone is one of the IANA database, by its name";
pub const TIERS_REACH_ALL_QUANTITIES: &str =
    "3.7: tiers ascend, the last has no bound, and sizes and steps are above zero";
pub const HALVES_GO_AWAY_OR_TO_EVEN: &str =
    "3.6: a half goes away from zero, or to the even neighbour where the catalog says so";
pub const AMOUNTS_ARE_SUMMED_COUNTED_OR_HIGHEST: &str = "3.5: of single amounts there are sum, count and max";

/// What `cannot` unwinds with.
pub struct Cannot(pub &'static str);

/// Ends the case that holds what our types refuse, with its reason; no other case is touched.
pub fn cannot(reason: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(Cannot(reason)))
}

/// The cases of testdata/peers/peers.jsonl that differ, each with its reason.
#[rustfmt::skip]
pub const LISTED: &[(&str, &str)] = &[
    ("flexprice-calendar-days-001", TIME_IS_ELAPSED_AND_NOT_COUNTED_IN_DAYS),
    ("flexprice-calendar-days-003", TIME_IS_ELAPSED_AND_NOT_COUNTED_IN_DAYS),
    ("influx-time-weighted-average-002", LEVELS_ARE_NOT_INTERPOLATED),
    ("killbill-capacity-tiers-001", A_PRICE_READS_ONE_METER),
    ("killbill-capacity-tiers-003", A_PRICE_READS_ONE_METER),
    ("killbill-sum-002", PERIOD_ENDS_ARE_EXCLUSIVE),
    ("lago-dynamic-event-amounts-002", AMOUNTS_OF_EVENTS_COUNT_WITHOUT_UNITS),
    ("lago-flat-fee-daily-006", A_SPAN_LIES_INSIDE_ITS_PERIOD),
    ("lago-graduated-dimensional-sequence-001", TIERS_BELONG_TO_ONE_DIMENSION_SET),
    ("lago-graduated-prorated-001", TIERS_AND_PRICE_SEE_ONE_QUANTITY),
    ("lago-volume-prorated-001", FEES_OF_TIERS_ARE_PRORATED),
    ("openmeter-burn-down-009", THE_LEDGER_REFILLS_AND_RESETS),
    ("openmeter-burn-down-013", CREDITS_PAY_AMOUNTS_NOT_LEVELS),
    ("openmeter-burn-down-016", THE_LEDGER_REFILLS_AND_RESETS),
    ("openmeter-flat-fee-by-time-004", AN_EMPTY_SPAN_OWES_NOTHING),
    ("prometheus-increase-004", INCREASES_ARE_NOT_EXTRAPOLATED),
    ("prometheus-increase-022", INCREASES_BELONG_TO_THE_LATER_SAMPLE),
    ("timescale-increase-002", INCREASES_BELONG_TO_THE_LATER_SAMPLE),
    ("timescale-increase-003", INCREASES_BELONG_TO_THE_LATER_SAMPLE),
    ("timescale-time-weighted-average-008", ZERO_BEFORE_THE_FIRST),
];
