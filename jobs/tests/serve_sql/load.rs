//! Many clients at once: no error, and memory within its limit.
//!
//! For three seconds, or for as many as METERHOUSE_TEST_LOAD_SECONDS says.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::world::World;

const CLIENTS: usize = 64;
const MEMORY_BYTES: usize = 256 * 1024 * 1024;

#[test]
fn sixty_four_clients_at_once() {
    let seconds =
        std::env::var("METERHOUSE_TEST_LOAD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let world = World::new(true);
    let served = world.serve("memory = \"256 MiB\"\nquery_memory = \"64 MiB\"");
    let end = Instant::now() + Duration::from_secs(seconds);
    let (queries, most_bytes) = (AtomicU64::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (served, queries, most_bytes) = (&served, &queries, &most_bytes);
            scope.spawn(move || {
                let (user, count) = if number % 2 == 0 { ("acme", "14") } else { ("anna", "28") };
                let mut client = served.client(user);
                loop {
                    let sum = "SELECT count(*) FROM usage_events AS a WHERE meter IN (SELECT meter FROM usage_events)";
                    assert_eq!(client.simple(sum).value(), count);
                    let grouped = client.extended("SELECT tenant, count(*) FROM usage_events WHERE value > $1::numeric GROUP BY 1", &[Some("0")]);
                    assert_eq!((grouped.error, grouped.rows.len()), (None, if user == "acme" { 1 } else { 2 }));
                    most_bytes.fetch_max(served.memory_bytes(), Ordering::Relaxed);
                    queries.fetch_add(2, Ordering::Relaxed);
                    if Instant::now() > end {
                        break;
                    }
                }
            });
        }
    });
    let (queries, most_bytes) = (queries.into_inner(), most_bytes.into_inner());
    println!("{queries} queries by {CLIENTS} clients in {seconds} s, at most {most_bytes} bytes");
    assert!(queries >= 2 * CLIENTS as u64 && most_bytes <= MEMORY_BYTES);
    served.wait_until_free();
}
