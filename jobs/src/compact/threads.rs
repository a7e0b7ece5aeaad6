//! Work that several threads share.

use std::sync::Mutex;

use super::CompactError;

/// Does the tasks on several threads, each of which takes the next one when it is done with its last. The
/// results come in the order of the tasks. Large tasks should come first, so that no thread is left with
/// one at the end.
pub fn on_threads<T: Send, R: Send>(
    threads: usize,
    tasks: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> Result<R, CompactError> + Sync,
) -> Result<Vec<R>, CompactError> {
    let tasks = Mutex::new(tasks.enumerate());
    let next = || tasks.lock().expect("making a task does not panic").next();
    let run = || {
        let mut done = Vec::new();
        while let Some((at, task)) = next() {
            done.push((at, work(task)?));
        }
        Ok::<_, CompactError>(done)
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut done = run()?;
        for other in others {
            done.extend(other.join().expect("a task does not panic")?);
        }
        Ok::<_, CompactError>(done)
    })?;
    done.sort_unstable_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
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
            let squares = on_threads(threads, 0..100_u64, |task| Ok(task * task)).unwrap();
            assert_eq!(squares, (0..100).map(|task| task * task).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_of_any_thread_comes_out() {
        let failing = |task| match task {
            57 => Err(CompactError::Columns { path: "57".to_owned() }),
            task => Ok(task),
        };
        for threads in [1, 2, 7] {
            assert!(on_threads(threads, 0..100, failing).is_err());
        }
    }
}
