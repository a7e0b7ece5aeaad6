//! What this process used up: processor time and memory, by the kernel's own account.

use std::fs;
use std::time::Instant;

/// Measures from its making on.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    started: Instant,
    cpu_s: f64,
}

/// What something took.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub wall_s: f64,
    pub cpu_s: f64,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { started: Instant::now(), cpu_s: cpu_s() }
    }

    pub fn taken(&self) -> Taken {
        Taken { wall_s: self.started.elapsed().as_secs_f64(), cpu_s: cpu_s() - self.cpu_s }
    }
}

/// Seconds of processor time of this process so far, all threads together.
fn cpu_s() -> f64 {
    let status = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in brackets, which may hold spaces.
    let fields: Vec<&str> = status.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
    // Fields 14 and 15 of the whole line, in hundredths of a second.
    (ticks(11) + ticks(12)) / 100.0
}

/// The most memory that this process held since the last reset, in MiB.
pub fn memory_peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Begins to measure the peak of memory anew.
pub fn reset_memory_peak() {
    // Without the permission the peak since the start is shown, which is never too small.
    let _ = fs::write("/proc/self/clear_refs", "5");
}
