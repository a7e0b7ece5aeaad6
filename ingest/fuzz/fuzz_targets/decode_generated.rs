//! Events that are made from the catalogs' meters and then damaged, as the fuzzer decides.
#![no_main]

use ingest_fuzz::generated::{Choices, message};
use ingest_fuzz::{CATALOGS, check_message_within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((catalog, rest)) = bytes.split_first() else { return };
    let decisions: Vec<u16> =
        rest.chunks(2).map(|pair| u16::from_le_bytes([pair[0], *pair.get(1).unwrap_or(&0)])).collect();
    let number = usize::from(*catalog) % CATALOGS.len();
    let (message, limits) = message(&CATALOGS[number], &mut Choices(decisions.iter()));
    check_message_within(number, limits, &message);
});
