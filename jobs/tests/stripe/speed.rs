//! How fast the outbox drains: Stripe's own limit is 1,000 calls a second.
//!
//! `cargo test --release --workspace --test stripe -- --ignored --nocapture drains`

use std::sync::Arc;
use std::time::Instant;

use jobs::stripe::clock::Dice;
use jobs::stripe::{Client, ClientSettings, Driver, DriverSettings, MemoryOutbox, Outbox as _, RecordState};

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a benchmark"]
async fn drains_at_stripes_own_limit() {
    for limit in [1000, 100_000] {
        let world = World::with_tenants(300, 1).await;
        // The fake's clock stands still at the issue; the driver's is the real one.
        let outbox = MemoryOutbox::default();
        outbox.insert(&world.records).await.unwrap();
        let settings = ClientSettings { calls_per_second: limit, ..world.fake.settings() };
        let clock = Arc::new(jobs_clock::RealPace::from(world.clock.clone()));
        let client = Client::new(&settings, clock.clone()).unwrap();
        let settings = DriverSettings { patience: std::time::Duration::ZERO, ..DriverSettings::default() };
        let driver = Driver::new(client, &outbox, clock, Dice::new(1), settings);
        let started = Instant::now();
        driver.drain().await.unwrap();
        let seconds = started.elapsed().as_secs_f64();
        let calls = world.fake.state().calls;
        assert!(outbox.list(Some(RecordState::Waiting)).await.unwrap().is_empty());
        println!("limit {limit}/s: {calls} calls in {seconds:.2} s, {:.0} calls/s", calls as f64 / seconds);
    }
}

mod jobs_clock {
    //! The world's instant, moving at the real pace.

    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use jobs::stripe::Clock;

    use crate::fake::HandClock;

    pub struct RealPace {
        start_us: i64,
        started: Instant,
    }

    impl From<Arc<HandClock>> for RealPace {
        fn from(clock: Arc<HandClock>) -> Self {
            Self { start_us: clock.now_us(), started: Instant::now() }
        }
    }

    impl Clock for RealPace {
        fn now_us(&self) -> i64 {
            self.start_us + self.started.elapsed().as_micros() as i64
        }

        async fn sleep(&self, length: Duration) {
            tokio::time::sleep(length).await;
        }
    }
}
