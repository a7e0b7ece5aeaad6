//! The scanner takes what `serde_json` takes, up to its depth, and reads from it the same.
#![no_main]

use std::collections::BTreeMap;

use ingest_fuzz::json::{JsonError, Kind, Scanner, Value, push_json_string};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fn scan(text: &str) -> Result<Value<'_>, JsonError> {
    let mut scanner = Scanner::new(text);
    let value = scanner.value()?;
    scanner.finish()?;
    Ok(value)
}

fuzz_target!(|text: &str| {
    match (scan(text), serde_json::from_str::<&RawValue>(text)) {
        (Ok(value), Ok(raw)) => check(value, raw),
        (Err(_), Err(_)) => {}
        (Err(error), Ok(_)) => assert_eq!(error.problem, "nested too deep"),
        (Ok(value), Err(error)) => panic!("{value:?} though {error}"),
    }
    let mut written = String::new();
    push_json_string(&mut written, text);
    assert_eq!(scan(&written).unwrap().scalar().unwrap().unwrap(), text);
    assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
});

/// A value and all values in it are the same in both readings.
fn check(value: Value<'_>, raw: &RawValue) {
    assert_eq!(value.text, raw.get());
    match value.kind {
        Kind::String => {
            let content = value.scalar().unwrap().ok().map(|content| content.into_owned());
            assert_eq!(content, serde_json::from_str(raw.get()).ok());
        }
        Kind::Array => {
            let raws: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap();
            let mut values = Vec::new();
            let walked = Scanner::new(value.text).array::<JsonError>(|scanner| {
                values.push(scanner.value()?);
                Ok(())
            });
            assert_eq!((walked, values.len()), (Ok(()), raws.len()));
            values.into_iter().zip(raws).for_each(|(value, raw)| check(value, raw));
        }
        Kind::Object => {
            let mut values = BTreeMap::new();
            let walked = Scanner::new(value.text).object::<JsonError>(|key, scanner| {
                values.insert(key.scalar().unwrap()?.into_owned(), scanner.value()?);
                Ok(())
            });
            // Half a surrogate pair in a key is grammar but no text.
            let raws = serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get());
            assert_eq!(walked.is_ok(), raws.is_ok());
            let Ok(raws) = raws else { return };
            assert!(values.keys().eq(raws.keys()));
            values.into_values().zip(raws.into_values()).for_each(|(value, raw)| check(value, raw));
        }
        Kind::Number | Kind::Boolean => assert_eq!(value.scalar().unwrap().unwrap(), raw.get()),
        Kind::Null => assert_eq!(raw.get(), "null"),
    }
}
