//! A running sum that stays in one `i128` while it fits and becomes an exact number of any size when it does not.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::exact::Exact;

/// The sum of products of levels and durations: nano units times microseconds.
#[derive(Debug, Clone, Default)]
pub struct WideSum {
    narrow: i128,
    overflowed: Option<Box<Exact>>,
}

impl WideSum {
    #[inline]
    pub fn add_product(&mut self, level_nano: i128, duration_us: i128) {
        // Below 600 trillion units and four years no product can overflow; nothing else is usual.
        let is_usual = level_nano.unsigned_abs() < 1 << 79 && duration_us.unsigned_abs() < 1 << 47;
        let product = if is_usual {
            Some(level_nano.wrapping_mul(duration_us))
        } else {
            level_nano.checked_mul(duration_us)
        };
        let sum = product.and_then(|product| self.narrow.checked_add(product));
        match sum {
            Some(sum) => self.narrow = sum,
            None => self.add_wide(&(Exact::from(level_nano) * Exact::from(duration_us))),
        }
    }

    pub fn add(&mut self, other: &WideSum) {
        match self.narrow.checked_add(other.narrow) {
            Some(sum) => self.narrow = sum,
            None => self.add_wide(&Exact::from(other.narrow)),
        }
        if let Some(more) = &other.overflowed {
            self.add_wide(more);
        }
    }

    pub fn value(&self) -> Exact {
        let narrow = Exact::from(self.narrow);
        self.overflowed.as_ref().map_or(narrow.clone(), |wide| &narrow + wide)
    }

    /// The value when 128 bits hold it: what a table column can store.
    pub fn to_i128(&self) -> Option<i128> {
        match &self.overflowed {
            None => Some(self.narrow),
            Some(_) => self.value().to_i128(),
        }
    }

    #[cold]
    fn add_wide(&mut self, value: &Exact) {
        *self.overflowed.get_or_insert_default().as_mut() += value;
    }
}

impl From<i128> for WideSum {
    fn from(narrow: i128) -> WideSum {
        WideSum { narrow, overflowed: None }
    }
}

impl PartialEq for WideSum {
    fn eq(&self, other: &WideSum) -> bool {
        self.value() == other.value()
    }
}

impl Eq for WideSum {}

impl Serialize for WideSum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for WideSum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WideSum, D::Error> {
        let value = Exact::deserialize(deserializer)?;
        Ok(match value.to_i128() {
            Some(narrow) => WideSum::from(narrow),
            None => WideSum { narrow: 0, overflowed: Some(Box::new(value)) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_beyond_128_bits_are_kept() {
        let mut sum = WideSum::default();
        for _ in 0..3 {
            sum.add_product(i128::MAX, 1_000_000);
        }
        sum.add_product(i128::MAX, -3_000_000);
        sum.add_product(7, 6);
        assert_eq!(sum.to_i128(), Some(42));
        assert_eq!(sum, WideSum::from(42));
    }
}
