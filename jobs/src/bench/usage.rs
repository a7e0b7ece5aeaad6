//! What this process used up: processor time and memory, by the kernel's own account.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    cpu_s_of(&fs::read_to_string("/proc/self/stat").unwrap_or_default())
}

/// Seconds of processor time in the status line of a process or a thread.
fn cpu_s_of(status: &str) -> f64 {
    // The second field is the name in brackets, which may hold spaces.
    let fields: Vec<&str> = status.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
    // Fields 14 and 15 of the whole line, in hundredths of a second.
    (ticks(11) + ticks(12)) / 100.0
}

/// The thread that notes the times of the others, which takes longer the longer others make them wait.
pub const NOTING: &str = "note times";
/// How often the threads' times are noted.
const NOTE_INTERVAL: Duration = Duration::from_millis(20);

/// Notes the processor time of each thread while it runs; the kernel forgets it when a thread ends.
#[derive(Debug)]
pub struct ThreadTimes {
    ended: Arc<AtomicBool>,
    noting: JoinHandle<HashMap<String, (String, f64)>>,
}

impl ThreadTimes {
    pub fn start() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let noting = {
            let ended = Arc::clone(&ended);
            let note = move || {
                let mut times = HashMap::new();
                note_times(&mut times);
                while !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(NOTE_INTERVAL);
                    note_times(&mut times);
                }
                times
            };
            let noting = std::thread::Builder::new().name(NOTING.to_owned()).spawn(note);
            noting.expect("the system can start a thread")
        };
        Self { ended, noting }
    }

    /// The name of each thread that there was, and the seconds of processor time that it took.
    pub fn finish(self) -> Vec<(String, f64)> {
        self.ended.store(true, Ordering::Relaxed);
        self.noting.join().map(|times| times.into_values().collect()).unwrap_or_default()
    }
}

fn note_times(times: &mut HashMap<String, (String, f64)>) {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return };
    for thread in threads.flatten() {
        // A thread may end between the two.
        let Ok(status) = fs::read_to_string(thread.path().join("stat")) else { continue };
        let name = status.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map(|(name, _)| name);
        let Some(name) = name.map(str::to_owned) else { continue };
        times.insert(thread.file_name().to_string_lossy().into_owned(), (name, cpu_s_of(&status)));
    }
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
