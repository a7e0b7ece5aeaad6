//! Stripe, against a fake one that remembers, fails on demand, and forgets after a day.
//!
//! `pushes` sends a thousand records under every fault, `crash` stops the driver at its await points, `outboxes` is the
//! conformance suite of an outbox: each over the outbox in memory and that of a book on every database (`stores`). `client`
//! tries the transport, `corrections` what is told again, `pool` an outbox with few connections, `mock` sends each kind of
//! request to stripe-mock where that runs.

mod client;
mod corrections;
mod crash;
mod fake;
mod mock;
mod outboxes;
#[allow(dead_code, reason = "shared with the tests of the book, which use more of it")]
#[path = "../book/place.rs"]
mod place;
mod pool;
mod pushes;
mod reconciled;
mod stores;
mod world;
