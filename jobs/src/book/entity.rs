//! Each table of the book as SeaORM sees it.
//!
//! These types stay inside the book. A test keeps them equal to `schema.sql`, which alone says what a column means.

macro_rules! table {
    ($module:ident, $name:literal { $($(#[$attribute:meta])* $field:ident: $kind:ty,)* }) => {
        pub mod $module {
            use sea_orm::entity::prelude::*;

            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = $name)]
            pub struct Model {
                $($(#[$attribute])* pub $field: $kind,)*
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}
        }
    };
}

table!(fact, "book_facts" {
    #[sea_orm(primary_key, auto_increment = false)]
    fact: String,
    value: String,
});

table!(catalog, "book_catalogs" {
    #[sea_orm(primary_key, auto_increment = false)]
    catalog_hash: String,
    name: String,
    content: String,
    stored_at_us: i64,
});

table!(catalog_version, "book_catalog_versions" {
    #[sea_orm(primary_key, auto_increment = false)]
    version: i64,
    catalog_hash: String,
    effective_from_us: i64,
    applied_at_us: i64,
    applied_by: String,
    program_version: String,
});

table!(tenant, "book_tenants" {
    #[sea_orm(primary_key, auto_increment = false)]
    catalog_hash: String,
    #[sea_orm(primary_key, auto_increment = false)]
    tenant: String,
    display_name: String,
    time_zone: String,
    billing_cycle: String,
    tax: Option<String>,
    attributes: String,
});

table!(subscription, "book_subscriptions" {
    #[sea_orm(primary_key, auto_increment = false)]
    catalog_hash: String,
    #[sea_orm(primary_key, auto_increment = false)]
    tenant: String,
    #[sea_orm(primary_key, auto_increment = false)]
    subscription: String,
    plan: String,
    starts_at_us: i64,
    ends_at_us: Option<i64>,
    prices_as_of: Option<String>,
});

table!(lease, "book_leases" {
    #[sea_orm(primary_key, auto_increment = false)]
    lease: String,
    token: i64,
    holder: Option<String>,
    run_id: Option<String>,
    acquired_at_us: i64,
    expires_at_us: i64,
});

table!(run, "book_runs" {
    #[sea_orm(primary_key, auto_increment = false)]
    run_id: String,
    job: String,
    period: String,
    lease: String,
    token: i64,
    holder: String,
    program_version: String,
    started_at_us: i64,
    ended_at_us: Option<i64>,
    outcome: String,
    inputs: String,
    counts: String,
    error: Option<String>,
});

table!(invoice_sequence, "book_invoice_sequences" {
    #[sea_orm(primary_key, auto_increment = false)]
    issuer: String,
    next_number: i64,
});

table!(invoice, "book_invoices" {
    #[sea_orm(primary_key, auto_increment = false)]
    issuer: String,
    #[sea_orm(primary_key, auto_increment = false)]
    number: i64,
    printed_number: String,
    kind: String,
    tenant: String,
    period: String,
    occasion: String,
    period_start_us: i64,
    period_end_us: i64,
    currency: String,
    total: String,
    credited: String,
    taxed: String,
    due: String,
    table_id: String,
    table_version: i64,
    catalog_hash: String,
    book_hash: String,
    program_version: String,
    digest: String,
    corrects_number: Option<i64>,
    run_id: String,
    issued_at_us: i64,
});

table!(invoice_line, "book_invoice_lines" {
    #[sea_orm(primary_key, auto_increment = false)]
    issuer: String,
    #[sea_orm(primary_key, auto_increment = false)]
    number: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    line: i64,
    tenant: String,
    period: String,
    line_key: String,
    currency: String,
    amount: String,
    cause: Option<String>,
});

table!(unfinished_period, "book_unfinished_periods" {
    #[sea_orm(primary_key, auto_increment = false)]
    period: String,
    with_papers: i64,
    since_us: i64,
});

table!(credit_account, "book_credit_accounts" {
    #[sea_orm(primary_key, auto_increment = false)]
    tenant: String,
    #[sea_orm(primary_key, auto_increment = false)]
    currency: String,
    balance: String,
    entries: i64,
});

table!(credit_entry, "book_credit_entries" {
    #[sea_orm(primary_key, auto_increment = false)]
    tenant: String,
    #[sea_orm(primary_key, auto_increment = false)]
    currency: String,
    #[sea_orm(primary_key, auto_increment = false)]
    position: i64,
    entry_key: String,
    kind: String,
    credit: String,
    amount: String,
    priority: i64,
    effective_at_us: i64,
    expires_at_us: Option<i64>,
    source: String,
    description: String,
    issuer: Option<String>,
    number: Option<i64>,
    recorded_at_us: i64,
});

table!(outbox, "book_outbox" {
    #[sea_orm(primary_key, auto_increment = false)]
    record_key: String,
    call_group: String,
    sequence: i64,
    kind: String,
    tenant: String,
    customer: String,
    meter: Option<String>,
    period: String,
    invoice_number: String,
    currency: String,
    amount_minor: Option<i64>,
    usage_value: Option<i64>,
    content: String,
    state: String,
    attempts: i64,
    generation: i64,
    first_sent_us: Option<i64>,
    next_attempt_us: i64,
    must_look_up: i64,
    last_error: Option<String>,
    stripe_id: Option<String>,
    claim: i64,
    claimed_until_us: i64,
    lease_token: Option<i64>,
    created_at_us: i64,
    changed_at_us: i64,
});

table!(schedule_entry, "book_schedule" {
    #[sea_orm(primary_key, auto_increment = false)]
    entry: String,
    due_at_us: i64,
    claimed_by: String,
    claimed_at_us: i64,
    starting_since_us: Option<i64>,
});

#[cfg(test)]
mod tests {
    use sea_orm::{EntityName, EntityTrait, IdenStatic, Iterable, PrimaryKeyToColumn};

    use crate::book::schema;

    fn compare<E>(compared: &mut Vec<String>)
    where
        E: EntityTrait + EntityName,
        E::PrimaryKey: PrimaryKeyToColumn<Column = E::Column>,
    {
        let name = E::default().table_name().to_owned();
        let table = schema::tables().find(|table| table.name == name).expect("the table is in schema.sql");
        let wanted: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let found: Vec<&str> = E::Column::iter().map(|column| column.as_str()).collect();
        assert_eq!(found, wanted, "{name}");
        let key: Vec<&str> = E::PrimaryKey::iter().map(|key| key.into_column().as_str()).collect();
        let mut wanted: Vec<&str> = table.primary_key.iter().map(String::as_str).collect();
        wanted.sort_by_key(|name| found.iter().position(|column| column == name));
        assert_eq!(key, wanted, "{name}");
        compared.push(name);
    }

    #[test]
    fn entities_are_what_the_schema_says() {
        let mut compared = Vec::new();
        compare::<super::fact::Entity>(&mut compared);
        compare::<super::catalog::Entity>(&mut compared);
        compare::<super::catalog_version::Entity>(&mut compared);
        compare::<super::tenant::Entity>(&mut compared);
        compare::<super::subscription::Entity>(&mut compared);
        compare::<super::lease::Entity>(&mut compared);
        compare::<super::run::Entity>(&mut compared);
        compare::<super::invoice_sequence::Entity>(&mut compared);
        compare::<super::invoice::Entity>(&mut compared);
        compare::<super::invoice_line::Entity>(&mut compared);
        compare::<super::unfinished_period::Entity>(&mut compared);
        compare::<super::credit_account::Entity>(&mut compared);
        compare::<super::credit_entry::Entity>(&mut compared);
        compare::<super::outbox::Entity>(&mut compared);
        compare::<super::schedule_entry::Entity>(&mut compared);
        // The schema's own table is written in SQL.
        let tables = schema::tables().map(|table| &table.name).filter(|name| *name != "book_schema");
        assert!(tables.eq(&compared), "{compared:?}");
    }
}
