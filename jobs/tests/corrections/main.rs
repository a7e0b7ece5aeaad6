//! Issued invoices are corrected by the next one: each cause with numbers worked out by hand, credits that pay once, the
//! catalog that holds for a period, credit notes where no invoice can carry it, and a property over random histories.

mod causes;
mod credit_notes;
mod credits;
mod cycles;
mod last;
mod meanwhile;
mod random;
mod unbilled;
mod unfinished;
mod vacuumed;
mod world;
