-- Why an adjustment line was written, and what the scheduler needs to catch up.

alter table book_invoice_lines add column cause code;

-- How far the scheduler has come with each of its entries.
create table book_schedule (
    entry name not null,
    due_at_us instant not null,
    claimed_by name not null,
    claimed_at_us instant not null,
    primary key (entry)
);
