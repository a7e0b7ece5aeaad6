//! Issued invoices are corrected by the next one: each cause with numbers worked out by hand, credits that pay once, the
//! catalog that holds for a period, and a property over random histories.

mod causes;
mod credits;
mod random;
mod world;
