//! Random events from a seed.

use crate::{DAY_US, Event, FIRST_DAY};

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A week of events in the order in which they arrived.
    pub fn events(&mut self) -> Vec<Event> {
        let count = 20 + self.below(300);
        // Few instants make many ties.
        let grid_us = if self.chance(50) { 1 } else { 1_800_000_000 };
        let mut events: Vec<Event> = Vec::new();
        for offset in 0..count as i64 {
            if !events.is_empty() && self.chance(6) {
                let mut again = events[self.below(events.len() as u64) as usize].clone();
                // A file that is read again gives its lines the same places.
                if again.arrival_us == offset / 4 || self.chance(50) {
                    again.offset = offset;
                }
                again.arrival_us = offset / 4;
                if self.chance(40) {
                    again.value = again.value.map(|value| value + 1);
                }
                if self.chance(20) {
                    again.tenant = format!("t{}", self.below(5));
                }
                events.push(again);
                continue;
            }
            let event = self.event(offset, grid_us);
            events.push(event);
        }
        events
    }

    fn event(&mut self, offset: i64, grid_us: i64) -> Event {
        let meters = ["stored", "briefly", "calls", "counted", "runs", "beats", "jobs", "seen"];
        let meter = meters[self.below(8) as usize];
        let since_us = self.below(7 * DAY_US as u64) as i64 / grid_us * grid_us;
        let time_us = i64::from(FIRST_DAY) * DAY_US + since_us;
        let value = match meter {
            "calls" => Some(i128::from(self.below(50)) * 500_000_000 - 2_000_000_000),
            "stored" | "briefly" | "counted" => Some(i128::from(self.below(1_000)) * 1_000_000_001),
            "jobs" => Some(i128::from(self.below(2 * DAY_US as u64)) * 1_000),
            _ => None,
        };
        let (signal, signal_time_us) = match meter {
            "runs" | "beats" => {
                (Some(["start", "start", "stop", "stop", "heartbeat"][self.below(5) as usize]), None)
            }
            "jobs" => (Some("complete"), Some(time_us - self.below(3 * DAY_US as u64) as i64)),
            _ => (None, None),
        };
        // A complete session is one event, so each has a resource of its own.
        let resource = match meter {
            "jobs" => Some(format!("job {offset}")),
            "calls" => None,
            _ => (!self.chance(10)).then(|| format!("d{}", self.below(4))),
        };
        let dimensions = (!self.chance(15)).then(|| (self.below(3) as u8, self.below(2) as u8));
        let mut identity = [0; 16];
        identity[..8].copy_from_slice(&self.next().to_le_bytes());
        identity[8..].copy_from_slice(&offset.to_le_bytes());
        Event {
            identity,
            tenant: format!("t{}", self.below(5)),
            meter: (!self.chance(3)).then_some(meter),
            time_us,
            value,
            resource,
            dimensions,
            names: ["class", "region"],
            signal,
            signal_time_us,
            arrival_us: offset / 4,
            offset,
        }
    }
}
