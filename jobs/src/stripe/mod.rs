//! Stripe: what it is told about issued invoices, and how it is told each thing once.
//!
//! The way: `plan` turns an issued invoice into `StripeRecord`s, pure and deterministic; they are put into the
//! `Outbox` in the transaction that issues the invoice; `driver` drains it through `client`; `judge` says what an answer
//! makes of a record, and `look_up` asks Stripe where only Stripe can know. Does not own: the database behind the
//! outbox (the book), and comparing everything with everything (`reconcile`).
//!
//! The rule it keeps is DESIGN.md's first: nothing lost, nothing billed twice. Three things guard it together.
//! Stripe's idempotency keys hold for 24 hours, so within 23 the same request is simply sent again. An identifier or a
//! key in the metadata is on everything we create, so after 25 hours Stripe is asked whether the thing is there. And
//! when a record was first sent is stored before it is sent.

pub mod amount;
mod backoff;
pub mod client;
pub mod clock;
pub mod driver;
mod judge;
pub mod late;
mod look_up;
pub mod outbox;
pub mod plan;
mod rate_limit;
pub mod reading;
pub mod record;
pub mod request;

pub use client::{Client, ClientSettings};
pub use clock::{Clock, SystemClock};
pub use driver::{Drained, Driver, DriverSettings};
pub use outbox::{MemoryOutbox, Outbox, OutboxError};
pub use reading::{ReadError, Reading};
pub use record::{RecordKind, RecordState, SentUsage, StripeRecord};
pub use request::{Method, StripeRequest};
