//! The book on every database that it may live in: one suite, run on each.
//!
//! SQLite always; PostgreSQL and MariaDB where METERHOUSE_TEST_POSTGRES and METERHOUSE_TEST_MYSQL name a server
//! (`deploy/services up postgres mariadb`). Each case gets a database of its own.

mod catalogs;
mod credits;
mod frame;
mod invoices;
mod leases;
mod moving;
mod outbox;
mod place;
mod program;
mod schemas;

use place::{Kind, run};

/// Each case on each database.
macro_rules! conformance {
    ($($module:ident { $($case:ident,)* })*) => {
        conformance!(@on sqlite Sqlite $($module { $($case,)* })*);
        conformance!(@on postgres Postgres $($module { $($case,)* })*);
        conformance!(@on mariadb MariaDb $($module { $($case,)* })*);
    };
    (@on $name:ident $kind:ident $($module:ident { $($case:ident,)* })*) => {
        mod $name {
            $(mod $module {
                $(#[test]
                fn $case() {
                    crate::run(crate::Kind::$kind, |place| Box::pin(crate::$module::$case(place)));
                })*
            })*
        }
    };
}

conformance! {
    schemas {
        migrations_end_in_the_schema,
        a_new_book_is_made_once,
        a_newer_book_is_refused,
        the_database_tells_the_time,
        what_is_broken_is_found,
    }
    leases {
        a_lease_has_one_holder,
        a_holder_that_wakes_late_cannot_write,
        a_lease_is_not_taken_from_under_a_transaction,
        runs_are_remembered,
        a_run_that_never_ended_is_marked,
        an_occurrence_is_claimed_once,
        an_occurrence_that_was_not_begun_is_taken_over_once,
    }
    invoices {
        numbers_have_no_gaps,
        a_period_is_billed_once,
        a_printed_number_stands_on_one_document,
        what_is_left_to_do_is_known_until_it_is_done,
        documents_come_back_as_they_were,
        what_does_not_add_up_is_refused,
        adjustments_count_to_the_period_they_correct,
        names_are_compared_byte_by_byte,
        names_may_be_long,
    }
    credits {
        movements_make_the_balance,
        no_credit_is_overspent,
        credits_are_spent_once_by_many,
        a_holder_that_wakes_late_grants_nothing,
    }
    outbox {
        a_record_is_written_once,
        of_a_group_one_is_sent_at_a_time,
        an_overtaken_sender_stores_nothing,
        a_record_is_handed_out_once,
        it_agrees_with_the_outbox_in_memory,
    }
    frame {
        a_run_tells_what_it_did,
        a_failed_run_keeps_its_whole_error_chain,
        two_runs_do_not_meet,
        a_run_that_lost_its_lease_is_stopped,
        a_long_run_keeps_its_lease,
    }
    catalogs {
        versions_are_in_force_from_their_date,
        what_was_set_up_can_be_asked,
    }
}
