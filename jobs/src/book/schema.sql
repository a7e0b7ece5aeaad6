-- The whole book as it is today. A new book is made from this file, an older one by the files in migrations/; a test
-- proves that both end in the same tables on every database.
--
-- Column types are the book's own and are put into each database's words by schema.rs:
--   code     up to 64 characters, compared byte by byte: states, hashes, periods, currencies
--   name     up to 255 characters, compared byte by byte: whatever people or events name
--   text     any length
--   json     any length, one JSON value
--   amount   an exact decimal number, written as text; no database does arithmetic on it
--   integer  64 bits
--   instant  microseconds since 1970, UTC, 64 bits

-- Which migrations this book has been through. `finished_at_us` is null while one is under way.
create table book_schema (
    version integer not null,
    name name not null,
    started_at_us instant not null,
    finished_at_us instant,
    primary key (version)
);

-- Facts about the book itself: its identity.
create table book_facts (
    fact code not null,
    value text not null,
    primary key (fact)
);

-- Catalogs by content: the hash of the canonical form, and the text as it was applied first.
create table book_catalogs (
    catalog_hash code not null,
    name name not null,
    content text not null,
    stored_at_us instant not null,
    primary key (catalog_hash)
);

-- Which catalog holds from when on. The version with the latest `effective_from_us` that is not later than an instant
-- is in force at it; of two with the same, the one applied later.
create table book_catalog_versions (
    version integer not null,
    catalog_hash code not null,
    effective_from_us instant not null,
    applied_at_us instant not null,
    applied_by name not null,
    program_version code not null,
    primary key (version)
);

-- Tenants and subscriptions of each catalog, so that what was set up when can be asked in SQL.
create table book_tenants (
    catalog_hash code not null,
    tenant name not null,
    display_name text not null,
    time_zone code not null,
    billing_cycle text not null,
    tax name,
    attributes json not null,
    primary key (catalog_hash, tenant)
);

create table book_subscriptions (
    catalog_hash code not null,
    tenant name not null,
    subscription name not null,
    plan name not null,
    starts_at_us instant not null,
    ends_at_us instant,
    prices_as_of code,
    primary key (catalog_hash, tenant, subscription)
);

-- Who may write for a job. The token grows with each holder and never goes back.
create table book_leases (
    lease name not null,
    token integer not null,
    holder name,
    run_id code,
    acquired_at_us instant not null,
    expires_at_us instant not null,
    primary key (lease)
);

-- One row for each time a job ran.
create table book_runs (
    run_id code not null,
    job code not null,
    period code not null,
    lease name not null,
    token integer not null,
    holder name not null,
    program_version code not null,
    started_at_us instant not null,
    ended_at_us instant,
    outcome code not null,
    inputs json not null,
    counts json not null,
    error json,
    primary key (run_id)
);

create index book_runs_by_start on book_runs (started_at_us, run_id);
create index book_runs_by_job on book_runs (job, started_at_us);

-- The next number of each issuer; its credit notes count apart, under `ISSUER/credit-notes`. It changes in the transaction that writes the invoice, so a number is either on an
-- invoice or free.
create table book_invoice_sequences (
    issuer code not null,
    next_number integer not null,
    primary key (issuer)
);

-- Every issued document. `occasion` tells apart documents of one kind for one tenant and period; it is empty for the
-- invoice of a period, of which there is one.
create table book_invoices (
    issuer code not null,
    number integer not null,
    printed_number name not null,
    kind code not null,
    tenant name not null,
    period code not null,
    occasion name not null,
    period_start_us instant not null,
    period_end_us instant not null,
    currency code not null,
    total amount not null,
    credited amount not null,
    taxed amount not null,
    due amount not null,
    table_id code not null,
    table_version integer not null,
    catalog_hash code not null,
    book_hash code not null,
    program_version code not null,
    digest code not null,
    corrects_number integer,
    run_id code not null,
    issued_at_us instant not null,
    primary key (issuer, number)
);

create unique index book_invoices_once on book_invoices (tenant, period, kind, occasion);
create index book_invoices_by_period on book_invoices (period, issuer, number);
create index book_invoices_by_printed_number on book_invoices (printed_number);

-- Lines of issued documents. `period` is the one the line's key names: on an adjustment line an earlier one than its
-- document's.
create table book_invoice_lines (
    issuer code not null,
    number integer not null,
    line integer not null,
    tenant name not null,
    period code not null,
    line_key json not null,
    currency code not null,
    amount amount not null,
    cause code,
    primary key (issuer, number, line)
);

create index book_invoice_lines_by_period on book_invoice_lines (tenant, period);

-- Periods whose issued documents are not all marked in the lake yet or, where that is wanted, have not all of their papers.
create table book_unfinished_periods (
    period code not null,
    with_papers integer not null,
    since_us instant not null,
    primary key (period)
);

-- The balance of each tenant and currency, changed together with its entries.
create table book_credit_accounts (
    tenant name not null,
    currency code not null,
    balance amount not null,
    entries integer not null,
    primary key (tenant, currency)
);

-- Every movement of credit. Amounts are signed: grants and purchases are above zero, uses below.
create table book_credit_entries (
    tenant name not null,
    currency code not null,
    position integer not null,
    entry_key name not null,
    kind code not null,
    credit name not null,
    amount amount not null,
    priority integer not null,
    effective_at_us instant not null,
    expires_at_us instant,
    source name not null,
    description text not null,
    issuer code,
    number integer,
    recorded_at_us instant not null,
    primary key (tenant, currency, position)
);

create unique index book_credit_entries_once on book_credit_entries (entry_key);

-- What Stripe must be told. Written with what it tells about, in one transaction. `content` is the whole record; the
-- columns before it are for people and for reconciliation.
create table book_outbox (
    record_key name not null,
    call_group name not null,
    sequence integer not null,
    kind code not null,
    tenant name not null,
    customer name not null,
    meter name,
    period code not null,
    invoice_number name not null,
    currency code not null,
    amount_minor integer,
    usage_value integer,
    content json not null,
    state code not null,
    attempts integer not null,
    generation integer not null,
    first_sent_us instant,
    next_attempt_us instant not null,
    must_look_up integer not null,
    last_error text,
    stripe_id name,
    claim integer not null,
    claimed_until_us instant not null,
    lease_token integer,
    created_at_us instant not null,
    changed_at_us instant not null,
    primary key (record_key)
);

create index book_outbox_by_state on book_outbox (state, next_attempt_us);
create index book_outbox_by_group on book_outbox (call_group, state, sequence, record_key);
create index book_outbox_by_period on book_outbox (period, tenant);

-- How far the scheduler has come with each of its entries.
create table book_schedule (
    entry name not null,
    due_at_us instant not null,
    claimed_by name not null,
    claimed_at_us instant not null,
    -- Null once its run has begun.
    starting_since_us instant,
    primary key (entry)
);
