//! What goes to Stripe: how each price's usage is sent, how invoices are, and who the tenant is there.
//!
//! Owns: reading these keys and refusing those without effect. Does not own: requests and sending (`jobs`). A price
//! takes what it leaves unsaid from its plan, and the plan from the catalog; where nobody names a mode, nothing is sent.

use std::collections::BTreeMap;

use super::fields::{self, Fields};
use super::mistake::{Mistakes, Place};
use super::number;
use super::plan::Plan;
use super::price::PricedUsage;
use super::quota;
use super::tenant::Subscription;
use super::yaml::Node;
use crate::price::PriceModel;

/// Stripe keeps 15 significant digits; what is left of the point needs room beside these.
const SCALE_MAX: u64 = 9;
const NAME_CHARACTERS_MAX: usize = 100;
/// The first version of Stripe's API without usage records.
const METERS_ONLY_FROM: &str = "2025-03-31";
const USAGE_RECORDS_VERSION: &str = "2025-02-24.acacia";

/// How a price reaches Stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StripeSending {
    /// Usage as events of a meter, which Stripe prices.
    MeterEvents { event_name: String, usage: StripeUsage },
    /// Usage of a subscription item, for accounts pinned to an API that still knows it; Stripe prices it.
    UsageRecords { api_version: String, usage: StripeUsage },
    /// The priced line as an invoice item.
    Invoices,
}

/// How a quantity becomes whole numbers for Stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StripeUsage {
    pub granularity: StripeGranularity,
    pub action: StripeAction,
    pub quantity: StripeQuantity,
    /// Sent is the quantity times ten to this power, as a whole number.
    pub scale: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StripeGranularity {
    Hour,
    Day,
    Period,
}

/// What Stripe does with several figures of one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StripeAction {
    /// The last one counts.
    Set,
    /// They are added up.
    Increment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StripeQuantity {
    /// What is left to bill after unit, allowance and rounding.
    Billable,
    /// What was measured, in the unit of the price; Stripe's own price then holds the allowance.
    Measured,
}

/// How the invoices of tenants reach Stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StripeInvoices {
    /// Finalized by us; otherwise they stay drafts for somebody to look at.
    pub finalize: bool,
    /// Days to pay after the invoice was sent; none charges the customer's default payment method.
    pub days_until_due: Option<u32>,
}

/// Who a tenant is in Stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeCustomer {
    pub place: Place,
    pub customer: String,
    /// The subscription item of each price that is sent as usage records.
    pub subscription_items: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    None,
    MeterEvents,
    UsageRecords,
    Invoices,
}

const MODES: [(&str, Mode); 4] = [
    ("meter_events", Mode::MeterEvents),
    ("usage_records", Mode::UsageRecords),
    ("invoices", Mode::Invoices),
    ("none", Mode::None),
];

/// What one level says; the level below may say something else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct StripeSettings {
    mode: Option<Mode>,
    event_name: Option<String>,
    api_version: Option<String>,
    granularity: Option<StripeGranularity>,
    action: Option<StripeAction>,
    quantity: Option<StripeQuantity>,
    scale: Option<u32>,
}

impl StripeSettings {
    fn below(self, above: &Self) -> Self {
        Self {
            mode: self.mode.or(above.mode),
            event_name: self.event_name,
            api_version: self.api_version.or_else(|| above.api_version.clone()),
            granularity: self.granularity.or(above.granularity),
            action: self.action.or(above.action),
            quantity: self.quantity.or(above.quantity),
            scale: self.scale.or(above.scale),
        }
    }

    fn usage(&self) -> StripeUsage {
        StripeUsage {
            granularity: self.granularity.unwrap_or(StripeGranularity::Period),
            action: self.action.unwrap_or(StripeAction::Increment),
            quantity: self.quantity.unwrap_or(StripeQuantity::Billable),
            scale: self.scale.unwrap_or(0),
        }
    }
}

/// Reads `stripe` at the top of the catalog: what holds for all prices, and for invoices.
pub(super) fn read_top(node: &Node, mistakes: &mut Mistakes) -> Option<(StripeSettings, StripeInvoices)> {
    let mut fields = Fields::open(node, "`stripe`", node.place, mistakes)?;
    let mut settings = read_settings(&mut fields, mistakes);
    refuse_event_name(&mut settings, node, mistakes);
    let words = [("draft", false), ("finalized", true)];
    let finalize = fields
        .optional("send")
        .and_then(|node| fields::word(node, "`send`", &words, mistakes))
        .unwrap_or_default();
    let days_until_due = fields
        .optional("days_until_due")
        .and_then(|node| quota::read_days(node, "`days_until_due`", mistakes));
    fields.close(mistakes);
    Some((settings, StripeInvoices { finalize, days_until_due }))
}

/// Reads `stripe` of a plan; what it leaves unsaid comes from the catalog.
pub(super) fn read_plan(
    fields: &mut Fields<'_>,
    above: Option<&StripeSettings>,
    mistakes: &mut Mistakes,
) -> Option<StripeSettings> {
    let above = above?;
    let Some(node) = fields.optional("stripe") else {
        return Some(above.clone());
    };
    let mut own = read_mapping(node, mistakes).unwrap_or_default();
    refuse_event_name(&mut own, node, mistakes);
    Some(own.below(above))
}

/// Above a price an event's name would hold for several.
fn refuse_event_name(settings: &mut StripeSettings, node: &Node, mistakes: &mut Mistakes) {
    if let Some(name) = settings.event_name.take() {
        mistakes
            .report(node.place, format!("`event_name`: all prices below would be sent as `{name}`"))
            .hint("name the event at the price");
    }
}

/// Reads `stripe` of a price and decides how the price is sent.
pub(super) fn read_price(
    fields: &mut Fields<'_>,
    above: Option<&StripeSettings>,
    usage: Option<&PricedUsage>,
    mistakes: &mut Mistakes,
) -> Option<StripeSending> {
    let above = above?;
    let node = fields.optional("stripe");
    let own = node.and_then(|node| read_mapping(node, mistakes)).unwrap_or_default();
    let place = node.map_or(fields.place, |node| node.place);
    let sends_usage = |mode| matches!(mode, Some(Mode::MeterEvents | Mode::UsageRecords));
    let is_own_usage = sends_usage(own.mode);
    check_keys(&own, own.mode.or(above.mode), place, &fields.what, mistakes);
    let settings = own.below(above);
    if sends_usage(settings.mode) && usage.is_none() {
        if is_own_usage && fields.optional("meter").is_none() {
            mistakes
                .report(place, format!("{} has no `meter`, so there is no usage to send", fields.what))
                .hint("send its line by `mode: invoices`, or nothing by `mode: none`");
        }
        return Some(StripeSending::Invoices);
    }
    Some(match settings.mode? {
        Mode::None => return None,
        Mode::Invoices => StripeSending::Invoices,
        Mode::MeterEvents => StripeSending::MeterEvents {
            usage: settings.usage(),
            event_name: settings.event_name.or_else(|| usage.map(|usage| usage.meter.clone()))?,
        },
        Mode::UsageRecords => StripeSending::UsageRecords {
            usage: settings.usage(),
            api_version: settings.api_version.unwrap_or_else(|| USAGE_RECORDS_VERSION.to_owned()),
        },
    })
}

/// A price with a line for each of several values sends a figure for each. Of figures that are set Stripe keeps one.
pub(super) fn check_figures(
    sent: Option<&StripeSending>,
    usage: Option<&PricedUsage>,
    model: Option<&PriceModel>,
    fields: &Fields<'_>,
    mistakes: &mut Mistakes,
) {
    let Some(StripeSending::MeterEvents { usage: how, .. } | StripeSending::UsageRecords { usage: how, .. }) =
        sent
    else {
        return;
    };
    let splits = match (model, usage) {
        (Some(PriceModel::Matrix(_)), _) => "`matrix`",
        (_, Some(usage)) if !usage.split_by.is_empty() => "`split_by`",
        _ => return,
    };
    if how.action == StripeAction::Set {
        let what = &fields.what;
        let text = format!(
            "{what}: each value of its {splits} would set the same figure in Stripe, which keeps one"
        );
        mistakes
            .report(fields.place, text)
            .hint("write `stripe: { action: increment }`, or a price with `only` for each value");
    }
}

fn read_mapping(node: &Node, mistakes: &mut Mistakes) -> Option<StripeSettings> {
    let mut fields = Fields::open(node, "`stripe`", node.place, mistakes)?;
    let settings = read_settings(&mut fields, mistakes);
    fields.close(mistakes);
    Some(settings)
}

fn read_settings(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> StripeSettings {
    let granularities = [
        ("hour", StripeGranularity::Hour),
        ("day", StripeGranularity::Day),
        ("period", StripeGranularity::Period),
    ];
    let actions = [("set", StripeAction::Set), ("increment", StripeAction::Increment)];
    let quantities = [("billable", StripeQuantity::Billable), ("measured", StripeQuantity::Measured)];
    StripeSettings {
        mode: fields.optional("mode").and_then(|node| fields::word(node, "`mode`", &MODES, mistakes)),
        event_name: fields.optional("event_name").and_then(|node| read_event_name(node, mistakes)),
        api_version: fields.optional("api_version").and_then(|node| read_version(node, mistakes)),
        granularity: fields
            .optional("granularity")
            .and_then(|node| fields::word(node, "`granularity`", &granularities, mistakes)),
        action: fields.optional("action").and_then(|node| fields::word(node, "`action`", &actions, mistakes)),
        quantity: fields
            .optional("quantity")
            .and_then(|node| fields::word(node, "`quantity`", &quantities, mistakes)),
        scale: fields.optional("scale").and_then(|node| read_scale(node, mistakes)),
    }
}

fn read_event_name(node: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let name = fields::text(node, "`event_name`", mistakes)?;
    if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX {
        mistakes.report(node.place, "`event_name`: Stripe takes 1 to 100 characters");
        return None;
    }
    Some(name.to_owned())
}

fn read_version(node: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let version = fields::text(node, "`api_version`", mistakes)?;
    let day = version.get(..10).and_then(|day| day.parse::<jiff::civil::Date>().ok());
    if day.is_none() {
        mistakes
            .report(node.place, format!("`api_version`: `{version}` is no version of Stripe's API"))
            .hint("write it as Stripe's dashboard shows it, like `2025-02-24.acacia` or `2022-11-15`");
        return None;
    }
    if version >= METERS_ONLY_FROM {
        mistakes
            .report(node.place, format!("`api_version`: {version} has no usage records any more"))
            .hint("they ended with 2025-03-31; accounts beyond it use `mode: meter_events`");
        return None;
    }
    Some(version.to_owned())
}

fn read_scale(node: &Node, mistakes: &mut Mistakes) -> Option<u32> {
    let scale = number::whole(node, "`scale`", mistakes)?;
    if scale > SCALE_MAX {
        mistakes
            .report(node.place, format!("`scale`: expected 0 to {SCALE_MAX}, found `{scale}`"))
            .hint("3 sends thousandths: 1.5 GB as 1500");
        return None;
    }
    u32::try_from(scale).ok()
}

/// A key that the mode does not look at has no effect, and somebody believes that it has.
fn check_keys(own: &StripeSettings, mode: Option<Mode>, place: Place, what: &str, mistakes: &mut Mistakes) {
    let is_usage = matches!(mode, Some(Mode::MeterEvents | Mode::UsageRecords));
    for (is_written, key, has_effect, needs) in [
        (own.event_name.is_some(), "event_name", mode == Some(Mode::MeterEvents), "`meter_events`"),
        (own.api_version.is_some(), "api_version", mode == Some(Mode::UsageRecords), "`usage_records`"),
        (own.granularity.is_some(), "granularity", is_usage, "`meter_events` or `usage_records`"),
        (own.action.is_some(), "action", is_usage, "`meter_events` or `usage_records`"),
        (own.quantity.is_some(), "quantity", is_usage, "`meter_events` or `usage_records`"),
        (own.scale.is_some(), "scale", is_usage, "`meter_events` or `usage_records`"),
    ] {
        if is_written && !has_effect {
            mistakes
                .report(place, format!("{what}: `{key}` of `stripe` has no effect"))
                .hint(format!("it belongs to the mode {needs}"));
        }
    }
}

/// Reads `stripe` of a tenant.
pub(super) fn read_tenant(
    node: &Node,
    tenant: &str,
    subscriptions: &[Subscription],
    plans: &[Plan],
    mistakes: &mut Mistakes,
) -> Option<StripeCustomer> {
    let mut fields = Fields::open(node, "`stripe`", node.place, mistakes)?;
    let customer = fields.required("customer", mistakes).and_then(|node| read_id(node, "cus_", mistakes));
    let items = fields.optional("subscription_items");
    fields.close(mistakes);
    let plans = || plans.iter().filter(|plan| subscriptions.iter().any(|held| held.plan == plan.key));
    let recorded: Vec<&str> = plans()
        .flat_map(|plan| &plan.versions)
        .flat_map(|version| &version.prices)
        .filter(|price| matches!(price.stripe, Some(StripeSending::UsageRecords { .. })))
        .map(|price| price.key.as_str())
        .collect();
    let mut subscription_items = BTreeMap::new();
    for entry in items.map(|node| quota::entries(node, "`subscription_items`", mistakes)).unwrap_or_default()
    {
        if !recorded.contains(&entry.key.as_str()) {
            mistakes
                .report(
                    entry.key_place,
                    format!("{tenant} has no price `{}` that is sent as usage records", entry.key),
                )
                .did_you_mean(&entry.key, recorded.iter().copied());
        }
        if let Some(id) = read_id(&entry.value, "si_", mistakes) {
            subscription_items.insert(entry.key.clone(), id);
        }
    }
    if let Some(missing) = recorded.iter().find(|key| !subscription_items.contains_key(**key)) {
        mistakes
            .report(node.place, format!("{tenant}: the price `{missing}` needs its subscription item"))
            .hint(format!("add `subscription_items: {{ {missing}: si_... }}`"));
    }
    Some(StripeCustomer { place: node.place, customer: customer?, subscription_items })
}

fn read_id(node: &Node, prefix: &str, mistakes: &mut Mistakes) -> Option<String> {
    let id = fields::text(node, "an id of Stripe", mistakes)?;
    let rest = id.strip_prefix(prefix).unwrap_or_default();
    if rest.is_empty() || !rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        mistakes.report(
            node.place,
            format!("expected an id of Stripe that begins with `{prefix}`, found `{id}`"),
        );
        return None;
    }
    Some(id.to_owned())
}

/// Two prices that feed one meter would be added up in Stripe, whatever each of them costs here.
pub(super) fn check_event_names(prices: &[super::Price], mistakes: &mut Mistakes) {
    let name_of = |price: &super::Price| match &price.stripe {
        Some(StripeSending::MeterEvents { event_name, .. }) => Some(event_name.clone()),
        _ => None,
    };
    for (at, price) in prices.iter().enumerate() {
        let Some(name) = name_of(price) else { continue };
        let rival = prices[..at].iter().find(|other| name_of(other).as_ref() == Some(&name));
        if let Some(rival) = rival {
            mistakes
                .report(
                    price.place,
                    format!("prices `{}` and `{}` would both be sent as `{name}`", rival.key, price.key),
                )
                .hint(
                    "Stripe adds up what comes under one name: give each its `stripe: { event_name: ... }`",
                );
        }
    }
}

/// How a price is sent, in words.
pub(super) fn describe(sending: Option<&StripeSending>) -> String {
    let usage = |usage: &StripeUsage| {
        let per = match usage.granularity {
            StripeGranularity::Hour => "per hour",
            StripeGranularity::Day => "per day",
            StripeGranularity::Period => "per period",
        };
        let action = match usage.action {
            StripeAction::Set => "set",
            StripeAction::Increment => "added up",
        };
        let quantity = match usage.quantity {
            StripeQuantity::Billable => "billable",
            StripeQuantity::Measured => "measured",
        };
        format!("the {quantity} quantity {per}, {action}, with {} decimals", usage.scale)
    };
    match sending {
        None => "not sent".to_owned(),
        Some(StripeSending::Invoices) => "as an invoice item".to_owned(),
        Some(StripeSending::MeterEvents { event_name, usage: sent }) => {
            format!("as meter events `{event_name}`, {}", usage(sent))
        }
        Some(StripeSending::UsageRecords { api_version, usage: sent }) => {
            format!("as usage records of API {api_version}, {}", usage(sent))
        }
    }
}

pub(super) fn describe_invoices(invoices: StripeInvoices) -> String {
    let sent = if invoices.finalize { "finalized" } else { "drafts" };
    match invoices.days_until_due {
        None => format!("{sent}, charged at once"),
        Some(days) => format!("{sent}, due after {days} days"),
    }
}
