//! Every way usage gets into the lake.
