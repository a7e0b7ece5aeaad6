//! The columns of the catalog's tables, with what they mean.

use arrow::datatypes::DataType;

use super::{DECIMAL, RelationColumn, TEXT, WHOLE, column, optional, time};

pub(super) fn tenants() -> Vec<RelationColumn> {
    vec![
        column("tenant", TEXT, "as events name it"),
        column("name", TEXT, "as people read it"),
        column("time_zone", TEXT, "the tenant's calendar"),
        column("billing", TEXT, "how its periods run"),
        optional("tax", TEXT, "the tax of its invoices"),
        optional("email", TEXT, "where its invoices go"),
        column("attributes", TEXT, "facts about the tenant, as a JSON object"),
        column("is_billed_in_stripe", DataType::Boolean, "whether it is a customer in Stripe"),
    ]
}

pub(super) fn subscriptions() -> Vec<RelationColumn> {
    vec![
        column("tenant", TEXT, "who subscribed"),
        column("subscription", TEXT, "unique among the tenant's"),
        column("plan", TEXT, "the plan"),
        optional("starts", time(), "from when"),
        optional("ends", time(), "until when; null where it is open"),
        optional("prices_as_of", time(), "keeps the plan's version that held then"),
    ]
}

fn version_columns() -> Vec<RelationColumn> {
    vec![
        column("plan", TEXT, "the plan"),
        column("version", WHOLE, "the plan's version, from 1"),
        optional("starts", time(), "from when it holds, for a tenant in UTC; null since ever"),
        optional("ends", time(), "until when; null where it is open"),
    ]
}

pub(super) fn plans() -> Vec<RelationColumn> {
    let mut columns = version_columns();
    columns.extend([
        column("description", TEXT, "as people read it"),
        column("currency", TEXT, "ISO 4217 code"),
        column("prices", WHOLE, "how many prices it has"),
    ]);
    columns
}

pub(super) fn prices() -> Vec<RelationColumn> {
    let mut columns = version_columns();
    columns[0] = optional("plan", TEXT, "the plan; null for what usage costs the vendor");
    columns[1] = optional("version", WHOLE, "the plan's version, from 1");
    columns.extend([
        optional("tenant", TEXT, "whose own price it is; null for everybody's"),
        column("price", TEXT, "the price's name"),
        column("description", TEXT, "as the invoice shows it"),
        optional("meter", TEXT, "what is counted; null for fees"),
        optional("measure", TEXT, "how it is measured"),
        optional("only", TEXT, "which usage it is about, as a JSON object of dimensions and their values"),
        optional("unit", TEXT, "in what the price counts"),
        column("model", TEXT, "flat, per_unit, package, graduated, volume, matrix or percentage"),
        optional("unit_price", DECIMAL, "of a unit, where the price is per unit"),
        optional("flat", DECIMAL, "the amount, where it is flat"),
        optional("currency", TEXT, "ISO 4217 code"),
        column("charge", TEXT, "what is charged, in words"),
    ]);
    columns
}

pub(super) fn allowances() -> Vec<RelationColumn> {
    let mut columns = version_columns();
    columns.extend([
        optional("tenant", TEXT, "whose own allowance it is; null for everybody's"),
        optional("price", TEXT, "the price that it belongs to; null for a pool"),
        optional("pool", TEXT, "the pool, or the pool that the price draws from"),
        optional("quantity", DECIMAL, "how much is included; null for a price that draws from a pool"),
        optional("unit", TEXT, "in what it counts"),
        optional("is_prorated", DataType::Boolean, "whether a part of a period gets a part of it"),
    ]);
    columns
}

pub(super) fn limits() -> Vec<RelationColumn> {
    vec![
        column("tenant", TEXT, "whose limit it is"),
        column("quota", TEXT, "its name"),
        column("description", TEXT, "as people read it"),
        column("meter", TEXT, "what is counted"),
        column("measure", TEXT, "how it is measured"),
        column("only", TEXT, "which usage it is about, as a JSON object of dimensions and their values"),
        optional("quantity", DECIMAL, "the limit; null for unlimited"),
        column("unit", TEXT, "in what it counts"),
        column("unit_size", DECIMAL, "how many of what the measure counts in one of that unit is"),
        column("window", TEXT, "over what time: period, hour or lifetime"),
        column("alert_at_percent", TEXT, "when the tenant is told, as a JSON list"),
        column("when_reached", TEXT, "notify or refuse"),
    ]
}

pub(super) fn meters() -> Vec<RelationColumn> {
    vec![
        column("meter", TEXT, "its name"),
        column("description", TEXT, "as people read it"),
        column("kind", TEXT, "gauge, delta, cumulative, session or unique"),
        column("event_type", TEXT, "the events that feed it"),
        column("unit", TEXT, "in what it counts"),
        column("dimensions", TEXT, "the names of its dimensions as a JSON list"),
    ]
}
