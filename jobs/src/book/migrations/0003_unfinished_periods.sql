-- Periods in which something is left to do after documents were issued, and finding a document by what stands on its paper.

-- Periods whose issued documents are not all marked in the lake yet or, where that is wanted, have not all of their papers.
create table book_unfinished_periods (
    period code not null,
    with_papers integer not null,
    since_us instant not null,
    primary key (period)
);

create index book_invoices_by_printed_number on book_invoices (printed_number);
