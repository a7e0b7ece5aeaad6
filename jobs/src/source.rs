//! `--from`: where the commands that count take their quantities from. The answer is the same wherever it comes from.

use ::sql::rollups::Source;
use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Copy, Args)]
pub struct SourceArgs {
    /// Where quantities come from; they are the same from everywhere
    #[arg(long, value_enum, default_value_t)]
    from: From,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum From {
    /// Roll-ups where they answer exactly, events elsewhere
    #[default]
    Auto,
    /// Roll-ups alone: p95 and sum_of_peaks are left out, and tenants that they do not cover fail
    Rollups,
    Events,
}

impl SourceArgs {
    pub fn source(self) -> Source {
        match self.from {
            From::Auto => Source::Auto,
            From::Rollups => Source::RollUps,
            From::Events => Source::Events,
        }
    }
}
