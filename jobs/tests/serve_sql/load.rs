//! Many clients at once: no error, and memory within its limit.
//!
//! For three seconds, or for as many as METERHOUSE_TEST_LOAD_SECONDS says.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::world::World;

const CLIENTS: usize = 64;
const MEMORY_BYTES: usize = 256 * 1024 * 1024;
/// By so much the process may grow after a quarter of the time, whatever it is.
const GROWTH_BYTES: usize = 256 * 1024 * 1024;

/// What the process holds, server and clients together; nothing where there is no `/proc`.
fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().trim_end_matches(" kB");
    Some(kib.parse::<usize>().ok()? * 1024)
}

#[test]
fn sixty_four_clients_at_once() {
    let seconds =
        std::env::var("METERHOUSE_TEST_LOAD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let world = World::billed(true);
    let served = world.serve("memory = \"256 MiB\"\nquery_memory = \"64 MiB\"");
    let whole = Duration::from_secs(seconds);
    let (warm, end) = (Instant::now() + whole / 4, Instant::now() + whole);
    let (queries, most_bytes) = (AtomicU64::new(0), AtomicUsize::new(0));
    let mut resident = [None; 2];
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
                    let charged = client.extended("SELECT count(*) FROM charges($1) WHERE kind = 'charge'", &[Some("2026-05")]);
                    assert_eq!(charged.value(), if user == "acme" { "2" } else { "4" });
                    client.simple("BEGIN");
                    client.simple("DECLARE c CURSOR FOR SELECT value FROM generate_series(1, 100000)");
                    assert_eq!(client.simple("FETCH 100 FROM c").rows.len(), 100);
                    assert_eq!(client.simple("COMMIT").error, None);
                    most_bytes.fetch_max(served.memory_bytes(), Ordering::Relaxed);
                    queries.fetch_add(4, Ordering::Relaxed);
                    if Instant::now() > end {
                        break;
                    }
                }
            });
        }
        for (resident, at) in resident.iter_mut().zip([warm, end]) {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            *resident = resident_bytes();
        }
    });
    let (queries, most_bytes) = (queries.into_inner(), most_bytes.into_inner());
    println!("{queries} queries by {CLIENTS} clients in {seconds} s, at most {most_bytes} bytes of queries");
    if let [Some(warm), Some(end)] = resident {
        println!("the process held {} MiB after a quarter and {} MiB in the end", warm >> 20, end >> 20);
        assert!(end <= warm + GROWTH_BYTES);
    }
    assert!(queries >= 4 * CLIENTS as u64 && most_bytes <= MEMORY_BYTES);
    served.wait_until_free();
}
