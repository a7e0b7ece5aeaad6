//! Compaction and vacuum, proved on small lakes whose every arrival is known.

mod cases;
mod concurrency;
mod crashes;
mod lake;
mod large_days;
mod oracle;
mod read_back;
mod resent;
mod storage;
mod unanswered;
mod vacuum;
