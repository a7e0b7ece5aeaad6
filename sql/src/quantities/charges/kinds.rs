//! The kinds of rows, and which of them a query wants.

use std::collections::BTreeSet;

/// What a row tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargeKind {
    /// A line as an invoice has it.
    Charge,
    ByPeak,
    ByAverage,
    Cost,
    Limit,
}

impl ChargeKind {
    const ALL: [ChargeKind; 5] = [Self::Charge, Self::ByPeak, Self::ByAverage, Self::Cost, Self::Limit];

    pub fn name(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::ByPeak => "by_peak",
            Self::ByAverage => "by_average",
            Self::Cost => "cost",
            Self::Limit => "limit",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Some of the kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargeKinds(u8);

impl ChargeKinds {
    pub const ALL: ChargeKinds = ChargeKinds((1 << ChargeKind::ALL.len()) - 1);

    /// Those with these names; other names are of no rows.
    pub fn named(names: &BTreeSet<String>) -> Self {
        let meant = ChargeKind::ALL.into_iter().filter(|kind| names.contains(kind.name()));
        Self(meant.fold(0, |kinds, kind| kinds | kind.bit()))
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        ChargeKind::ALL.into_iter().filter(move |kind| self.have(*kind)).map(ChargeKind::name)
    }

    pub fn have(self, kind: ChargeKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether any is made from prices.
    pub(super) fn need_prices(self) -> bool {
        self.0 & !ChargeKind::Limit.bit() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_their_names() {
        let named = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            ChargeKinds::named(&names)
        };
        assert_eq!(named(&["charge", "by_peak", "by_average", "cost", "limit"]), ChargeKinds::ALL);
        let some = named(&["limit", "cost", "costs"]);
        assert_eq!(some.names().collect::<Vec<_>>(), ["cost", "limit"]);
        assert!(some.need_prices() && !some.have(ChargeKind::Charge));
        assert!(!named(&["limit"]).need_prices() && !named(&[]).need_prices());
    }
}
