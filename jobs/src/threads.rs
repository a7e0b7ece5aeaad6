//! Work of the processor that several threads share. What waits (for the store, for the book) is none of this module's.

use std::num::NonZeroUsize;
use std::sync::Mutex;

/// Rows or documents that a thread takes at once.
const PORTION: usize = 64;

/// As many as the machine has cores for us.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Does the tasks on several threads, each of which takes the next one when it is done with its last. The
/// results come in the order of the tasks. Large tasks should come first, so that no thread is left with
/// one at the end.
pub fn on_threads<T: Send, R: Send, E: Send>(
    threads: usize,
    tasks: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let tasks = Mutex::new(tasks.enumerate());
    let next = || tasks.lock().expect("making a task does not panic").next();
    let run = || {
        let mut done = Vec::new();
        while let Some((at, task)) = next() {
            done.push((at, work(task)?));
        }
        Ok::<_, E>(done)
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut done = run()?;
        for other in others {
            done.extend(other.join().expect("a task does not panic")?);
        }
        Ok::<_, E>(done)
    })?;
    done.sort_unstable_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// Makes something of each of many small things on all cores, in their order.
pub fn of_each<T: Sync, R: Send, E: Send>(
    things: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    if things.len() <= PORTION {
        return things.iter().map(work).collect();
    }
    let portions = things.chunks(PORTION);
    let made = blocking(|| {
        on_threads(threads(), portions, |portion| portion.iter().map(&work).collect::<Result<Vec<R>, E>>())
    })?;
    Ok(made.into_iter().flatten().collect())
}

/// Runs work that takes long without holding up other tasks, where the runtime can.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Does two things at once.
pub fn both<A, B: Send>(
    threads: usize,
    here: impl FnOnce() -> A,
    there: impl FnOnce() -> B + Send,
) -> (A, B) {
    if threads < 2 {
        return (here(), there());
    }
    std::thread::scope(|scope| {
        let there = scope.spawn(there);
        let here = here();
        (here, there.join().expect("the other half does not panic"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_tasks() {
        for threads in [0, 1, 2, 7] {
            let squares = on_threads(threads, 0..100_u64, |task| Ok::<_, ()>(task * task)).unwrap();
            assert_eq!(squares, (0..100).map(|task| task * task).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_of_any_thread_comes_out() {
        let failing = |task| match task {
            57 => Err("57"),
            task => Ok(task),
        };
        for threads in [1, 2, 7] {
            assert_eq!(on_threads(threads, 0..100, failing), Err("57"));
        }
    }

    #[test]
    fn what_is_made_of_each_stands_in_their_order() {
        for count in [0, 1, PORTION, PORTION + 1, 7 * PORTION - 1, 7 * PORTION] {
            let things: Vec<usize> = (0..count).collect();
            let made = of_each(&things, |thing| Ok::<_, ()>(thing * 3)).unwrap();
            assert!(made.into_iter().eq((0..count).map(|thing| thing * 3)), "{count}");
        }
        assert_eq!(of_each(&[1; 1000], |_| Err::<(), _>("no")), Err("no"));
    }
}
