//! Stripe, against a fake one that remembers, fails on demand, and forgets after a day.
//!
//! `pushes` sends a thousand records under every fault, `crash` stops the driver at its await points, `client` tries the
//! transport, `corrections` what is told again, `outboxes` is the conformance suite of an outbox, `pool` one with few
//! connections, `mock` sends each kind of request to stripe-mock where that runs.

mod client;
mod corrections;
mod crash;
mod fake;
mod mock;
mod outboxes;
mod pool;
mod pushes;
mod reconciled;
mod world;
