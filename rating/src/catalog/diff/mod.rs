//! What changes from one catalog to another, in words, and for whom.
//!
//! Owns: comparing two catalogs part by part. Does not own: amounts (`simulate` re-rates usage for those). Where
//! the file's layout, comments or places changed and nothing else, there is no sentence.

mod meters;
mod plans;
mod sold;
mod tenants;

use super::{Catalog, describe, stripe};

/// One sentence for each change, in the order of the catalog's parts.
pub fn diff(old: &Catalog, new: &Catalog) -> Vec<String> {
    let mut sentences = Vec::new();
    general(old, new, &mut sentences);
    meters::compare(old, new, &mut sentences);
    plans::compare(old, new, &mut sentences);
    sold::compare(old, new, &mut sentences);
    tenants::compare(old, new, &mut sentences);
    sentences
}

fn general(old: &Catalog, new: &Catalog, sentences: &mut Vec<String>) {
    if old.name != new.name {
        sentences.push(format!("The catalog is called `{}` instead of `{}`.", new.name, old.name));
    }
    if old.tenant != new.tenant {
        sentences.push(format!("Events name their tenant at `{}` instead of `{}`.", new.tenant, old.tenant));
    }
    if old.currency != new.currency {
        let shown = |catalog: &Catalog| catalog.currency.map_or("none", crate::money::Currency::code);
        sentences.push(format!("The catalog's currency is {} instead of {}.", shown(new), shown(old)));
    }
    let [before, after] = [old, new].map(|catalog| stripe::describe_invoices(catalog.stripe_invoices));
    say_if_changed("Invoices in Stripe", &before, &after, "", sentences);
    if old.line_rounding != new.line_rounding {
        let [before, after] = [old, new].map(|catalog| describe::line_rounding(catalog.line_rounding));
        sentences.push(format!("Lines are rounded {after} instead of {before}, for everybody."));
    }
}

/// The entries of two lists by their keys: those that went, and those of the new list with their predecessor.
struct Matched<'o, 'n, T> {
    removed: Vec<&'o T>,
    kept_or_added: Vec<(Option<&'o T>, &'n T)>,
}

fn matched<'o, 'n, T, K: PartialEq>(old: &'o [T], new: &'n [T], key: impl Fn(&T) -> K) -> Matched<'o, 'n, T> {
    let find = |list: &'o [T], wanted: K| list.iter().find(|entry| key(entry) == wanted);
    Matched {
        removed: old.iter().filter(|entry| !new.iter().any(|other| key(other) == key(entry))).collect(),
        kept_or_added: new.iter().map(|entry| (find(old, key(entry)), entry)).collect(),
    }
}

/// Says `subject has after instead of before` where the two differ.
fn say_if_changed(subject: &str, before: &str, after: &str, whom: &str, sentences: &mut Vec<String>) {
    if before != after {
        sentences.push(format!("{subject}: {after} instead of {before}{whom}."));
    }
}
