//! Settings that are handed to librdkafka as they are, like `security.protocol`.
//!
//! They stand in `[kafka.properties]`, or in the environment as METERHOUSE_KAFKA_PROPERTIES_<NAME> with each
//! dot as an underscore; with `_FILE` at the end the variable names a file that holds the value. Passwords and
//! keys are secrets and may not stand in the settings file.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::diagnostic::{Mistake, Origin, Secret};
use super::reader::{Reader, Setting, Text};

pub(super) const VARIABLE_PREFIX: &str = "METERHOUSE_KAFKA_PROPERTIES_";

/// Properties that Meterhouse sets itself, and what to do instead.
const RESERVED: [(&str, &str); 8] = [
    ("bootstrap.servers", "set `brokers` in [kafka]"),
    ("metadata.broker.list", "set `brokers` in [kafka]"),
    ("group.id", "set `group` in [kafka]"),
    ("enable.auto.commit", "positions are kept in the lake, in the same commit as the rows"),
    ("enable.auto.offset.store", "positions are kept in the lake, in the same commit as the rows"),
    ("enable.partition.eof", "Meterhouse needs it to know when it has caught up"),
    ("isolation.level", "only committed messages are ever read"),
    ("auto.offset.reset", "a missing position stops ingest until somebody decides; it is never skipped"),
];

/// Words in the name of a property whose value is a secret.
const SECRET_WORDS: [&str; 4] = ["password", "secret", "key.pem", "sasl.oauthbearer.config"];

fn is_secret(property: &str) -> bool {
    SECRET_WORDS.iter().any(|word| property.contains(word))
}

pub(super) fn read(reader: &mut Reader<'_>) -> BTreeMap<String, Secret> {
    let mut properties = BTreeMap::new();
    let mut shown: BTreeMap<String, Setting> = BTreeMap::new();
    for (property, text, origin) in reader.texts("kafka", "properties") {
        let is_file = matches!(text, Text::File(_));
        if is_secret(&property) && !is_file {
            let variable = variable_of(&property);
            let message = format!("`kafka.properties`: `{property}`: a secret does not belong in this file");
            let hint =
                format!("set {variable}, or write {{ file = \"path\" }} here and the secret into that file");
            reader.report(Mistake::new(origin.without_value(), message).hint(hint));
            continue;
        }
        add(reader, property, text, origin, &mut properties, &mut shown);
    }
    let in_environment = reader.variables().iter().filter(|(name, text)| {
        name.starts_with(VARIABLE_PREFIX) && name.len() > VARIABLE_PREFIX.len() && !text.is_empty()
    });
    for (name, text) in in_environment {
        let written = &name[VARIABLE_PREFIX.len()..];
        let (property, text) = match written.strip_suffix("_FILE") {
            Some(property) => (property, Text::File(text.clone())),
            None => (written, Text::Plain(text.clone())),
        };
        let property = property.to_ascii_lowercase().replace('_', ".");
        let origin = Origin::Environment(name.clone());
        add(reader, property, text, origin, &mut properties, &mut shown);
    }
    reader.settings.extend(shown.into_values());
    properties
}

fn add(
    reader: &mut Reader<'_>,
    property: String,
    text: Text,
    origin: Origin,
    properties: &mut BTreeMap<String, Secret>,
    shown: &mut BTreeMap<String, Setting>,
) {
    let name = format!("kafka.properties.{property}");
    let hidden = is_secret(&property) || matches!(text, Text::File(_));
    let value = match text {
        Text::Plain(text) => Some(Secret::new(text)),
        Text::File(path) => reader.secret_file(&name, &path, origin.clone()),
    };
    let Some(value) = value else { return };
    if let Some(mistake) = check(&property, &value, &origin) {
        reader.report(mistake);
        return;
    }
    let text = if hidden { "(hidden)".to_owned() } else { value.expose().to_owned() };
    let variable = variable_of(&property);
    shown.insert(property.clone(), Setting { name, value: Some(text), origin, variable });
    properties.insert(property, value);
}

fn variable_of(property: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", property.to_ascii_uppercase().replace('.', "_"))
}

/// Asks librdkafka itself whether it knows the property and takes the value.
fn check(property: &str, value: &Secret, origin: &Origin) -> Option<Mistake> {
    if let Some((_, instead)) = RESERVED.iter().find(|(name, _)| *name == property) {
        let message = format!("`kafka.properties`: `{property}` cannot be set here");
        return Some(Mistake::new(origin.clone(), message).hint(*instead));
    }
    let mut config = ClientConfig::new();
    config.set(property, value.expose());
    let Err(KafkaError::ClientConfig(_, problem, ..)) = config.create_native_config() else { return None };
    let message = format!("`kafka.properties`: librdkafka refuses `{property}`");
    let mistake = Mistake::new(origin.clone(), message);
    // Its explanation repeats the value.
    Some(if is_secret(property) { mistake } else { mistake.hint(problem) })
}
