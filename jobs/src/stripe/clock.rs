//! Time and chance as arguments: the driver reads no clock and rolls no dice of its own.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

/// What time it is, and how to wait.
pub trait Clock: Send + Sync {
    fn now_us(&self) -> i64;
    fn sleep(&self, length: Duration) -> impl Future<Output = ()> + Send;
}

#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        Timestamp::now().as_microsecond()
    }

    async fn sleep(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }
}

/// Random numbers for jitter (SplitMix64); not for secrets.
#[derive(Debug)]
pub struct Dice(Mutex<u64>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// Below `bound`; zero if that is zero.
    pub fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.lock().expect("nobody panics while holding it");
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(bits ^ (bits >> 31)) * u128::from(bound)) >> 64) as u64
    }
}
