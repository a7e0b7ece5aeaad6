//! Units as people read them: `1 device`, `2 devices`, `3 GB`, `4 core hours`.
//!
//! Papers are in English, as are the catalog's own units; what is not a plain lower-case word stays as it is.

use rating::exact::Exact;

/// The unit's name for so many of it.
pub(super) fn unit(name: &str, quantity: &Exact) -> String {
    let spelled = name.replace('_', " ").replace("gib ", "GiB ").replace("gb ", "GB ");
    let is_word = |word: &str| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let last = spelled.rsplit(' ').next().unwrap_or_default();
    if *quantity == Exact::ONE || !is_word(last) || last.ends_with('s') {
        return spelled;
    }
    let without_y = last.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u']));
    let plural = match without_y {
        Some(stem) => format!("{stem}ies"),
        None if last.ends_with(['x', 'z']) || last.ends_with("ch") || last.ends_with("sh") => {
            format!("{last}es")
        }
        None => format!("{last}s"),
    };
    format!("{}{plural}", &spelled[..spelled.len() - last.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_their_number() {
        for (name, quantity, expected) in [
            ("device", "1", "device"),
            ("device", "2", "devices"),
            ("device", "0", "devices"),
            ("query", "3", "queries"),
            ("day", "3", "days"),
            ("batch", "3", "batches"),
            ("gb_hour", "0.5", "GB hours"),
            ("core_second", "1", "core second"),
            ("GB", "7", "GB"),
            ("GiB", "7", "GiB"),
            ("Stück", "7", "Stück"),
            ("", "7", ""),
        ] {
            assert_eq!(unit(name, &quantity.parse().unwrap()), expected, "{quantity} {name}");
        }
    }
}
