//! A token bucket: so many calls a second, with a short burst.

use std::sync::Mutex;
use std::time::Duration;

use super::backoff::SECOND_US;
use super::clock::Clock;

/// Calls that may come at once after a pause, as a share of a second's worth.
const BURST_SHARE: i64 = 20;

#[derive(Debug)]
#[allow(clippy::struct_field_names)] // The unit is part of each name.
pub(super) struct RateLimit {
    call_length_us: i64,
    burst_length_us: i64,
    /// When the next call is due if calls came evenly; lags behind now by at most the burst.
    due_us: Mutex<i64>,
}

impl RateLimit {
    pub fn per_second(calls: u32) -> Self {
        let call_length_us = SECOND_US / i64::from(calls.max(1));
        Self {
            call_length_us,
            burst_length_us: (SECOND_US / BURST_SHARE).max(call_length_us),
            due_us: Mutex::new(i64::MIN),
        }
    }

    /// Returns when the call may be made; calls get their turn in the order in which they ask.
    pub async fn turn(&self, clock: &impl Clock) {
        let now_us = clock.now_us();
        let mine_us = {
            let mut due_us = self.due_us.lock().expect("nobody panics while holding it");
            let mine_us = (*due_us).max(now_us - self.burst_length_us);
            *due_us = mine_us + self.call_length_us;
            mine_us
        };
        if let Ok(wait_us @ 1..) = u64::try_from(mine_us - now_us) {
            clock.sleep(Duration::from_micros(wait_us)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now_us(&self) -> i64 {
            self.0.load(Ordering::SeqCst)
        }

        async fn sleep(&self, length: Duration) {
            self.0.fetch_add(length.as_micros() as i64, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn calls_come_no_faster_than_the_limit() {
        for (calls, limit) in [(10_000_i64, 1000_u32), (500, 25), (10, 1)] {
            let clock = Hand(AtomicI64::new(1_700_000_000_000_000));
            let bucket = RateLimit::per_second(limit);
            let start_us = clock.now_us();
            for _ in 0..calls {
                bucket.turn(&clock).await;
            }
            let least_us =
                (calls * SECOND_US / i64::from(limit)) - bucket.burst_length_us - bucket.call_length_us;
            let took_us = clock.now_us() - start_us;
            assert!(took_us >= least_us, "{calls} calls at {limit}/s took {took_us} us");
            assert!(
                took_us <= calls * SECOND_US / i64::from(limit),
                "{calls} calls at {limit}/s waited {took_us} us"
            );
        }
    }
}
