//! Memory of one query among many: it may use so much of its own, and all of them together so much.
//!
//! Owns counting against both limits at once. Does not own spilling: an operator that is refused more memory spills by itself.

use std::fmt;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::RuntimeEnv;

/// The memory of a query. What it holds when it is dropped is given back by its operators, which hold the reservations.
#[derive(Debug)]
pub struct QueryMemory {
    own: FairSpillPool,
    shared: Arc<dyn MemoryPool>,
}

impl QueryMemory {
    /// `shared` must not tell consumers apart, since it learns of none: a greedy pool.
    pub fn new(limit_bytes: usize, shared: Arc<dyn MemoryPool>) -> Self {
        Self { own: FairSpillPool::new(limit_bytes), shared }
    }

    /// The surroundings of a query: those of all queries, but with its own memory.
    pub fn runtime(limit_bytes: usize, of_all: &RuntimeEnv) -> Arc<RuntimeEnv> {
        let memory_pool = Arc::new(Self::new(limit_bytes, Arc::clone(&of_all.memory_pool)));
        Arc::new(RuntimeEnv { memory_pool, ..of_all.clone() })
    }
}

impl fmt::Display for QueryMemory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.own, formatter)
    }
}

impl MemoryPool for QueryMemory {
    fn name(&self) -> &'static str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.shared.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.shared.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.own.try_grow(reservation, additional)?;
        self.shared
            .try_grow(reservation, additional)
            .inspect_err(|_| self.own.shrink(reservation, additional))
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    #[test]
    fn a_query_is_held_to_its_own_limit_and_to_that_of_all() {
        let all: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(150));
        let query = || -> Arc<dyn MemoryPool> { Arc::new(QueryMemory::new(100, Arc::clone(&all))) };
        let (first, second) = (query(), query());
        let (of_first, of_second) =
            (MemoryConsumer::new("first").register(&first), MemoryConsumer::new("second").register(&second));
        assert!(of_first.try_grow(101).is_err());
        of_first.try_grow(90).unwrap();
        assert!(of_second.try_grow(70).is_err(), "90 and 70 are more than 150");
        assert_eq!((first.reserved(), second.reserved(), all.reserved()), (90, 0, 90));
        of_second.try_grow(60).unwrap();
        drop(of_first);
        assert_eq!((first.reserved(), second.reserved(), all.reserved()), (0, 60, 60));
        drop(of_second);
        assert_eq!(all.reserved(), 0);
    }
}
