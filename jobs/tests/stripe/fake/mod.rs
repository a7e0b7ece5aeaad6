//! A Stripe of our own, with a memory: what it was told, what it answered to which key, and faults on demand.

pub mod faults;
mod server;
mod state;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jobs::config::Secret;
use jobs::stripe::{Client, ClientSettings, Clock};

pub use faults::{Fault, Faults};
pub use state::{Item, State};

pub const KEY: &str = "sk_test_of_the_fake";

/// A clock that moves only when somebody sleeps, shared by the fake and those who call it.
#[derive(Debug)]
pub struct HandClock(AtomicI64);

impl HandClock {
    pub fn at(now_us: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now_us)))
    }

    pub fn advance(&self, length: Duration) {
        self.0.fetch_add(length.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    async fn sleep(&self, length: Duration) {
        // Sleepers that overlap do not add up.
        let until_us = self.now_us() + length.as_micros() as i64;
        tokio::task::yield_now().await;
        self.0.fetch_max(until_us, Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub struct Fake {
    pub state: Arc<Mutex<State>>,
    pub clock: Arc<HandClock>,
    pub address: std::net::SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl Fake {
    pub async fn start(clock: Arc<HandClock>, seed: u64) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::new(seed)));
        let server = tokio::spawn(server::serve(listener, state.clone(), clock.clone()));
        Self { state, clock, address, server }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn settings(&self) -> ClientSettings {
        let url = format!("http://{}", self.address).parse().unwrap();
        ClientSettings {
            call_timeout: Duration::from_secs(20),
            calls_per_second: 100_000,
            ..ClientSettings::new(Secret::new(KEY), url)
        }
    }

    pub fn client(&self) -> Client<HandClock> {
        Client::new(&self.settings(), self.clock.clone()).unwrap()
    }

    /// Until nobody is connected any more: no call of a driver that is gone is under way.
    pub async fn quiet(&self) {
        while self.state().open > 0 {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}
