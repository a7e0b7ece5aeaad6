//! Places where a test may have the process die, to prove that nothing is lost or doubled there.
//!
//! `METERHOUSE_CRASH_AT=name` or `name:3` kills the process the first or third time that it passes the
//! place of that name. Without the variable a place costs one comparison.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

struct CrashPlan {
    name: String,
    passes_left: AtomicU32,
}

/// Dies here, as if by SIGKILL, if the environment says so.
pub fn crash_point(name: &str) {
    static PLAN: OnceLock<Option<CrashPlan>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("METERHOUSE_CRASH_AT").ok()?;
        let (name, passes) = text.split_once(':').unwrap_or((&text, "1"));
        Some(CrashPlan { name: name.to_owned(), passes_left: passes.parse::<u32>().ok()?.into() })
    });
    if let Some(plan) = plan
        && plan.name == name
        && plan.passes_left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        // No destructors and no flushing, as with a killed process.
        std::process::abort();
    }
}
