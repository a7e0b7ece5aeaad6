//! The jobs that keep a lake in order and turn it into invoices, one module each.

pub mod compact;
