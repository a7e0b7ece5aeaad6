//! A catalog is read, or every mistake in it is named with a place and can be shown; never a crash.
#![no_main]

use ingest_fuzz::decode::{DecodeLimits, Decoder};
use libfuzzer_sys::fuzz_target;
use rating::catalog::{Catalog, Path};

fuzz_target!(|text: &str| {
    let catalog = match Catalog::parse(text, "fuzz.yaml") {
        Ok(catalog) => catalog,
        Err(errors) => {
            assert!(!errors.mistakes.is_empty());
            let shown = errors.to_string();
            assert!(errors.mistakes.iter().all(|mistake| shown.contains(&mistake.message)));
            for mistake in &errors.mistakes {
                assert!(mistake.place.line >= 1 && mistake.place.column >= 1, "{mistake:?}");
                // What is missing at the end is missed behind the last line.
                assert!(mistake.place.line <= text.split(['\n', '\r']).count() + 1, "{mistake:?}");
                assert!(mistake.place.column <= text.len() + 2, "{mistake:?}");
            }
            return;
        }
    };
    assert_eq!(Catalog::parse(text, "fuzz.yaml").as_ref(), Ok(&catalog));
    let paths = catalog.meters.iter().flat_map(|meter| meter.value.iter().chain(meter.dimensions.values()));
    for path in paths.chain([&catalog.tenant]) {
        assert_eq!(Path::from_written(&path.to_string()).as_ref(), Ok(path));
    }
    let _ = Decoder::new(&catalog, DecodeLimits::default());
});
