//! The lake as SQL sees it.
