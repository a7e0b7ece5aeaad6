//! Billing periods in a tenant's time zone, the spans they split into, and shares of elapsed time.
//!
//! Owns where a period starts and ends (DESIGN.md 3.4) and how it splits at the exact instant of a change (3.8).
//! Does not know what is billed in it. Instants are microseconds since 1970-01-01T00:00:00Z, and lengths are
//! real elapsed time, so a month with a daylight-saving change is an hour longer or shorter.

mod choice;
mod cycle;
mod span;
mod zone;

pub use choice::{PeriodChoice, PeriodFilter, UnknownPeriod};
pub use cycle::{BillingCycle, Period, PeriodError};
pub use span::Span;
pub use zone::{TimeZone, UnknownTimeZone, time_zone};

pub const MICROSECONDS_PER_SECOND: i64 = 1_000_000;
pub const MICROSECONDS_PER_HOUR: i64 = 3_600 * MICROSECONDS_PER_SECOND;
