//! What `diff` says, sentence by sentence.

use super::examples::{DOCUMENTS, ONMEMOS, REDLINE, ZEMFYRE, parsed};
use crate::catalog::diff;

/// The sentences about an example in which some texts were replaced.
fn changed(example: &str, replacements: &[(&str, &str)]) -> Vec<String> {
    let mut text = example.to_owned();
    for (before, after) in replacements {
        assert!(text.contains(before), "the example has no {before:?}");
        text = text.replacen(before, after, 1);
    }
    diff(&parsed(example, "old.yaml"), &parsed(&text, "new.yaml"))
}

#[test]
fn equal_catalogs_have_no_differences() {
    for example in [REDLINE, ONMEMOS, ZEMFYRE, DOCUMENTS] {
        assert_eq!(changed(example, &[]), Vec::<String>::new());
        assert_eq!(
            changed(example, &[("meters:", "# a comment moves every line\nmeters:")]),
            Vec::<String>::new()
        );
    }
}

/// An example, what is replaced in it, and the sentences that this gives.
struct Case {
    example: &'static str,
    before: &'static str,
    after: &'static str,
    sentences: &'static [&'static str],
}

#[rustfmt::skip] // A sentence stays in one line, as it is read.
const CASES: &[Case] = &[
    Case {
        example: ZEMFYRE,
        before: "zemfyre_mqtt_gb, granularity: day }",
        after: "zemfyre_mqtt_gb, granularity: hour, scale: 3 }",
        sentences: &[
            "Plan `starter`, price `mqtt_traffic`, sent to Stripe: as meter events `zemfyre_mqtt_gb`, the billable quantity per hour, added up, with 3 decimals instead of as meter events `zemfyre_mqtt_gb`, the billable quantity per day, added up, with 0 decimals, for `instance-harbor` and every tenant without an entry.",
        ],
    },
    Case {
        example: DOCUMENTS,
        before: "send: draft, days_until_due: 14",
        after: "send: finalized",
        sentences: &["Invoices in Stripe: finalized, charged at once instead of drafts, due after 14 days."],
    },
    Case {
        example: REDLINE,
        before: "si_okafor_storage",
        after: "si_okafor_archive",
        sentences: &[
            "Tenant `licence-7d793037`, Stripe: cus_okafor, si_okafor_archive for `storage` instead of cus_okafor, si_okafor_storage for `storage`.",
        ],
    },
    Case {
        example: ZEMFYRE,
        before: "measure: average\n        unit: GiB\n        included: 5\n",
        after: "measure: peak\n        unit: GiB\n        included: 6\n",
        sentences: &[
            "Plan `starter`, price `storage`, usage: the peak of `storage_bytes` in GiB instead of the average of `storage_bytes` in GiB, for `instance-harbor` and every tenant without an entry.",
            "Plan `starter`, price `storage`: 6 GiB included instead of 5 GiB included, for `instance-harbor` and every tenant without an entry.",
        ],
    },
    Case {
        example: ZEMFYRE,
        before: "per_unit: 0.20",
        after: "per_unit: 0.25",
        sentences: &[
            "Plan `starter`, price `storage`: 0.25 USD per GiB instead of 0.2 USD per GiB, for `instance-harbor` and every tenant without an entry.",
        ],
    },
    Case {
        example: ZEMFYRE,
        before: "flat: 0",
        after: "flat: 10",
        sentences: &[
            "Plan `enterprise`, price `base_fee`: 10 USD per period instead of 0 USD per period, for nobody yet (not `instance-citadel`, who overrides it).",
        ],
    },
    Case {
        example: ZEMFYRE,
        before: "quantity: 10, unit: GiB",
        after: "quantity: 20, unit: GiB",
        sentences: &[
            "Plan `starter`, pool `traffic`: 20 GiB instead of 10 GiB, for `instance-harbor` and every tenant without an entry.",
        ],
    },
    Case {
        example: ZEMFYRE,
        before: "package: { size: 1000, price: 0.50 }",
        after: "graduated: [{ up_to: 1000, per_unit: 0.1, flat: 1 }, { per_unit: 0.01 }]",
        sentences: &[
            "Plan `starter`, price `api_calls`: by graduated tiers (up to 1000: 0.1 USD per request plus 1 USD; beyond: 0.01 USD per request) instead of 0.5 USD for each started package of 1000 request, for `instance-harbor` and every tenant without an entry.",
        ],
    },
    Case {
        example: ZEMFYRE,
        before: "expires_after: 3h",
        after: "expires_after: 90m",
        sentences: &[
            "Meter `mqtt_connections`, kind: gauge, expires after 1h 30m instead of gauge, expires after 3h, for everybody.",
        ],
    },
    Case {
        example: ZEMFYRE,
        before: "billing: { anchor: 2026-01-15 }",
        after: "billing: { every_months: 3, anchor: 2026-01-15 }",
        sentences: &[
            "Tenant `instance-orchard`, billing: every 3 months from day 15 of month 1 instead of monthly from day 15.",
        ],
    },
    Case {
        example: ZEMFYRE,
        before: "- { plan: starter, from: 2026-01-01 }",
        after: "- { plan: professional, from: 2026-01-01 }",
        sentences: &[
            "Tenant `instance-harbor` no longer subscribes to `starter`.",
            "Tenant `instance-harbor` subscribes to `professional` from 2026-01-01.",
        ],
    },
    Case {
        example: ONMEMOS,
        before: "gpu: 0.125",
        after: "gpu: 0.13",
        sentences: &[
            "Plan `pay_as_you_go`, price `sessions`, pro x gpu: 0.13 USD per hour instead of 0.125 USD per hour, for `user-17`, `user-42` and every tenant without an entry.",
        ],
    },
    Case {
        example: ONMEMOS,
        before: "per_unit: 5.00",
        after: "per_unit: 6",
        sentences: &[
            "Item `space_ml_ready`: 6 USD per space instead of 5 USD per space, for everybody who buys it.",
        ],
    },
    Case {
        example: ONMEMOS,
        before: "amount: 5",
        after: "amount: 7",
        sentences: &[
            "Credit grant `welcome`: 7 USD for user_type free with priority 10 instead of 5 USD for user_type free with priority 10.",
        ],
    },
    Case {
        example: ONMEMOS,
        before: "limit: 5000",
        after: "limit: 6000",
        sentences: &[
            "Tenant `user-42`, own quota `api_rate` of `pay_as_you_go`: a limit of 6000 request instead of a limit of 5000 request.",
        ],
    },
    Case {
        example: REDLINE,
        before: "per_unit: 0.05",
        after: "per_unit: 0.06",
        sentences: &[
            "Tenant `licence-7d793037`, own price `storage` of `enterprise`: 0.06 USD per GB and a commitment of 200 USD per period from 2026-02-01 until 2027-02-01 instead of 0.05 USD per GB and a commitment of 200 USD per period from 2026-02-01 until 2027-02-01.",
        ],
    },
    Case {
        example: REDLINE,
        before: "per_unit: 0.023",
        after: "per_unit: 0.021",
        sentences: &[
            "The vendor's cost `stored`: 0.021 USD per GB instead of 0.023 USD per GB, in margins only.",
        ],
    },
    Case {
        example: REDLINE,
        before: "included: 1\n",
        after: "included: 2\n",
        sentences: &[
            "Plan `standard`, price `storage`: 2 GB included instead of 1 GB included, for `licence-5d41402a`.",
        ],
    },
    Case {
        example: REDLINE,
        before: "round: up",
        after: "round: nearest",
        sentences: &[
            "Plan `standard`, price `storage`: a quantity rounded to multiples of 1 GB instead of a quantity rounded up to multiples of 1 GB, for `licence-5d41402a`.",
        ],
    },
    Case {
        example: DOCUMENTS,
        before: "percent: 19",
        after: "percent: 20",
        sentences: &[
            "Tax `vat`: 20 % shown as \"VAT 19 %\" instead of 19 % shown as \"VAT 19 %\", for 1 tenant and every tenant without an entry.",
        ],
    },
    Case {
        example: DOCUMENTS,
        before: "keep_days: 180",
        after: "keep_days: 90",
        sentences: &[
            "Plan `business`, retention `trash`: archived after 90 days instead of archived after 180 days, for `user-bruno`.",
        ],
    },
    Case {
        example: DOCUMENTS,
        before: "from: 2026-07-01",
        after: "from: 2026-08-01",
        sentences: &[
            "Plan `basic`: the version from 2026-07-01 is gone, for `user-anna` and every tenant without an entry.",
            "Plan `basic` from 2026-08-01 on: a new version, for `user-anna` and every tenant without an entry.",
            "Plan `basic` from 2026-08-01 on, price `storage`: 0.12 EUR per GB instead of 0.15 EUR per GB, for `user-anna` and every tenant without an entry.",
        ],
    },
    Case {
        example: DOCUMENTS,
        before: "name: Bruno & Co\n",
        after: "name: Bruno & Co\n    address: [Via Roma 1, Milano]\n    tax_id: IT123\n    email: bruno@example.com\n",
        sentences: &[
            "Tenant `user-bruno`, address: \"Via Roma 1, Milano\" instead of none.",
            "Tenant `user-bruno`, tax id: IT123 instead of none.",
            "Tenant `user-bruno`, e-mail: bruno@example.com instead of none.",
        ],
    },
    Case {
        example: DOCUMENTS,
        before: "discounts: [{ percent: 10 }]",
        after: "discounts: [{ percent: 15 }]",
        sentences: &[
            "Tenant `user-bruno`, own price `storage` of `business`: 15 % off from 2026-01-01 until 2027-01-01 instead of 10 % off from 2026-01-01 until 2027-01-01.",
        ],
    },
];

#[test]
fn each_change_is_told_in_sentences() {
    for case in CASES {
        assert_eq!(changed(case.example, &[(case.before, case.after)]), case.sentences);
    }
}
