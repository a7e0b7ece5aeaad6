//! Reads settings one key at a time: the environment first, then the file, then the default.
//!
//! Owns the order of the three, the record of where each value came from, and the rule that an unknown key is
//! never ignored. Does not own which settings there are: that is `settings`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::diagnostic::{ConfigErrors, Mistake, Origin, Secret};
use super::value::{Kind, Shape, closest};

/// Environment variables by name.
pub type Environment = BTreeMap<String, String>;

const PREFIX: &str = "METERHOUSE_";
/// Variables that are read elsewhere.
const OTHER_VARIABLES: [&str; 3] = ["METERHOUSE_CONFIG", "METERHOUSE_LOG", "METERHOUSE_LOG_FORMAT"];

/// One effective setting, as `config check` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `ingest.flush_age`; a key outside of any section is just its name.
    pub name: String,
    /// As written; hidden if it is a secret, none if the setting has no value.
    pub value: Option<String>,
    pub origin: Origin,
    /// The environment variable that overrides it.
    pub variable: String,
}

/// The texts of a table with where each stands.
pub type TextsByKey = BTreeMap<String, (String, Origin)>;

#[derive(Debug)]
pub(super) struct Reader<'t> {
    file_name: String,
    text: &'t str,
    folder: PathBuf,
    root: DeTable<'t>,
    environment: &'t Environment,
    /// Section and key of every setting that was asked for.
    asked: Vec<(&'static str, &'static str)>,
    pub mistakes: Vec<Mistake>,
    pub settings: Vec<Setting>,
}

/// A value in the file: its text, or what stands there in place of one.
struct Written {
    text: Result<String, &'static str>,
    origin: Origin,
}

pub(super) fn variable_of(section: &str, key: &str) -> String {
    let name = if section.is_empty() { key.to_owned() } else { format!("{section}_{key}") };
    format!("{PREFIX}{}", name.to_ascii_uppercase())
}

pub(super) fn name_of(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

impl<'t> Reader<'t> {
    /// `file_name` names the file in messages; `text` is its content, empty if there is none.
    pub fn new(file_name: &str, text: &'t str, environment: &'t Environment) -> Self {
        let (document, errors) = DeTable::parse_recoverable(text);
        let folder = Path::new(file_name).parent().map(Path::to_path_buf).unwrap_or_default();
        let mut reader = Self {
            file_name: file_name.to_owned(),
            text,
            folder,
            root: document.into_inner(),
            environment,
            asked: Vec::new(),
            mistakes: Vec::new(),
            settings: Vec::new(),
        };
        let mut lines_with_errors = Vec::new();
        for error in &errors {
            let origin = reader.place(error.span().unwrap_or(0..0));
            let Origin::File { line, .. } = origin else { continue };
            // The parser stumbles over the rest of a wrong value again and again; one message per line will do.
            if !lines_with_errors.contains(&line) {
                lines_with_errors.push(line);
                let message = format!("this is not TOML: {}", error.message());
                let hint = "nothing else in this file was checked; text belongs in quotes";
                reader.mistakes.push(Mistake::new(origin, message).hint(hint));
            }
        }
        // What the parser made up to get past an error would only lead to mistakes that nobody made.
        if !errors.is_empty() {
            reader.root = DeTable::new();
        }
        reader
    }

    fn place(&self, span: std::ops::Range<usize>) -> Origin {
        Origin::in_file(&self.file_name, self.text, span)
    }

    pub fn report(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// A setting that always has a value.
    pub fn setting<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        kind: Kind<T>,
        default: &'static str,
    ) -> T {
        self.read(section, key, kind, Some(default)).unwrap_or_else(|| {
            // A mistake has been reported, so the value is never used.
            (kind.parse)(default).expect("defaults are valid")
        })
    }

    /// A setting that may be absent.
    pub fn optional<T>(&mut self, section: &'static str, key: &'static str, kind: Kind<T>) -> Option<T> {
        self.read(section, key, kind, None)
    }

    fn read<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        kind: Kind<T>,
        default: Option<&'static str>,
    ) -> Option<T> {
        self.asked.push((section, key));
        let variable = variable_of(section, key);
        let name = name_of(section, key);
        // A wrong value in the file is told even where the environment overrides it.
        let in_file = self.written(section, key, kind.shape).map(|written| {
            let value = self.parse(&name, kind, &written);
            (value, written.text.unwrap_or_default(), written.origin)
        });
        let in_environment = self.variable(&variable).map(|text| {
            let written = Written { text: Ok(text), origin: Origin::Environment(variable.clone()) };
            (self.parse(&name, kind, &written), written.text.unwrap_or_default(), written.origin)
        });
        let default =
            || default.map(|text| ((kind.parse)(text), text.to_owned(), Origin::Default)).into_iter();
        let found = in_environment.into_iter().chain(in_file).chain(default()).next();
        let (value, text, origin) = match found {
            Some((value, text, origin)) => (value, Some(text), origin),
            None => (None, None, Origin::Default),
        };
        self.settings.push(Setting { name, value: text, origin, variable });
        value
    }

    fn parse<T>(&mut self, name: &str, kind: Kind<T>, written: &Written) -> Option<T> {
        let found = match &written.text {
            Ok(text) => match (kind.parse)(text) {
                Some(value) => return Some(value),
                None => format!("`{text}`"),
            },
            Err(what) => (*what).to_owned(),
        };
        let message = format!("`{name}`: expected {}, found {found}", kind.expected);
        self.report(Mistake::new(written.origin.clone(), message).hint(kind.example));
        None
    }

    /// A variable's text; an empty one counts as not set.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.environment.get(name).filter(|text| !text.is_empty()).cloned()
    }

    pub fn variables(&self) -> &'t Environment {
        self.environment
    }

    fn written(&self, section: &str, key: &str, shape: Shape) -> Option<Written> {
        let table = if section.is_empty() { &self.root } else { self.table(section)? };
        let value = table.get(key)?;
        let origin = self.place(value.span());
        Some(Written { text: text_of(value.get_ref(), shape), origin })
    }

    fn table(&self, section: &str) -> Option<&DeTable<'t>> {
        self.root.get(section).and_then(|value| value.get_ref().as_table())
    }

    /// A setting whose value is a secret: it may stand in the environment or in a file of its own, whose
    /// path is the setting `file_key`, but never in the settings file.
    pub fn secret(
        &mut self,
        section: &'static str,
        key: &'static str,
        file_key: &'static str,
    ) -> Option<Secret> {
        self.asked.push((section, key));
        let (name, variable) = (name_of(section, key), variable_of(section, key));
        if let Some(written) = self.written(section, key, Shape::Text) {
            let message = format!("`{name}`: a secret does not belong in this file");
            let hint = format!(
                "remove it; set {variable}, or `{file_key}` to the path of a file that holds nothing else"
            );
            self.report(Mistake::new(written.origin.without_value(), message).hint(hint));
        }
        let in_environment = self.variable(&variable);
        let value = in_environment.is_some().then(|| "(hidden)".to_owned());
        let origin = value.as_ref().map_or(Origin::Default, |_| Origin::Environment(variable.clone()));
        self.settings.push(Setting { name, value, origin, variable });
        let in_file = self.optional(section, file_key, super::value::TEXT).and_then(|path| {
            let origin = self.settings.last().expect("just pushed").origin.clone();
            self.secret_file(&name_of(section, file_key), &path, origin)
        });
        in_environment.map(Secret::new).or(in_file)
    }

    /// The content of a file that holds a secret, without the line's end.
    pub fn secret_file(&mut self, name: &str, path: &str, origin: Origin) -> Option<Secret> {
        let path = self.resolve(path, &origin);
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
            Err(error) => {
                let message = format!("`{name}`: cannot read {}: {error}", path.display());
                self.report(
                    Mistake::new(origin, message).hint("the file must hold the secret and nothing else"),
                );
                None
            }
        }
    }

    /// Relative paths in the file are meant from its folder, others from the current one.
    pub fn resolve(&self, path: &str, origin: &Origin) -> PathBuf {
        match origin {
            Origin::File { .. } => self.folder.join(path),
            _ => PathBuf::from(path),
        }
    }

    /// The origin of the setting read last.
    pub fn last_origin(&self) -> Origin {
        self.settings.last().map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// A table inside a section: what the environment says in its place, as an inline table of TOML, or what stands in the file.
    fn entries(&mut self, section: &'static str, key: &'static str) -> Option<Entries<'t>> {
        self.asked.push((section, key));
        let name = name_of(section, key);
        let variable = variable_of(section, key);
        let environment = self.environment;
        if let Some(text) = environment.get(&variable).filter(|text| !text.is_empty()) {
            let table = DeValue::parse(text).ok().and_then(|value| match value.into_inner() {
                DeValue::Table(table) => Some(table),
                _ => None,
            });
            if table.is_none() {
                let message = format!("`{name}`: expected a table in one line");
                let hint = format!("write {variable}='{{ \"one\" = …, \"another\" = … }}'");
                self.report(Mistake::new(Origin::Environment(variable.clone()), message).hint(hint));
            }
            return Some(Entries { table: table?, variable: Some(variable) });
        }
        let value = self.table(section)?.get(key)?.clone();
        let span = value.span();
        let table = match value.into_inner() {
            DeValue::Table(table) => table,
            other => {
                let message = format!("`{name}`: expected a table, found {}", describe(&other));
                let hint = format!("write it as a section [{name}] with a line for each entry");
                self.report(Mistake::new(self.place(span), message).hint(hint));
                return None;
            }
        };
        Some(Entries { table, variable: None })
    }

    fn place_in(&self, entries: &Entries<'t>, span: std::ops::Range<usize>) -> Origin {
        entries.variable.clone().map_or_else(|| self.place(span), Origin::Environment)
    }

    /// The texts of a table inside a section. A value may also be `{ file = "path" }`; then the file's content
    /// is a secret.
    pub fn texts(&mut self, section: &'static str, key: &'static str) -> Vec<(String, Text, Origin)> {
        let name = name_of(section, key);
        let Some(entries) = self.entries(section, key) else { return Vec::new() };
        let (mut texts, mut mistakes) = (Vec::new(), Vec::new());
        for (entry, value) in &entries.table {
            let origin = self.place_in(&entries, value.span());
            let file = value.get_ref().as_table().filter(|table| table.len() == 1);
            let file = file.and_then(|table| table.get("file")).and_then(|path| path.get_ref().as_str());
            match (file, scalar(value.get_ref())) {
                (Some(path), _) => texts.push((entry.to_string(), Text::File(path.to_owned()), origin)),
                (None, Ok(text)) => texts.push((entry.to_string(), Text::Plain(text), origin)),
                (None, Err(what)) => {
                    let message = format!("`{name}`: `{entry}`: expected text, found {what}");
                    mistakes.push(Mistake::new(origin, message));
                }
            }
        }
        self.mistakes.extend(mistakes);
        texts
    }

    /// The tables of a table inside a section, each with its texts by key.
    pub fn tables(&mut self, section: &'static str, key: &'static str) -> Vec<(String, TextsByKey, Origin)> {
        let name = name_of(section, key);
        let Some(entries) = self.entries(section, key) else { return Vec::new() };
        let (mut tables, mut mistakes) = (Vec::new(), Vec::new());
        let mut wrong = |origin, place: &str, expected: &str, found: &DeValue<'_>| {
            let message = format!("`{place}`: expected {expected}, found {}", describe(found));
            mistakes.push(Mistake::new(origin, message));
        };
        for (entry, value) in &entries.table {
            let origin = self.place_in(&entries, value.span());
            let place = format!("{name}.{}", entry.get_ref());
            let Some(keys) = value.get_ref().as_table() else {
                wrong(origin, &place, "a table", value.get_ref());
                continue;
            };
            let mut texts = BTreeMap::new();
            for (key, value) in keys {
                let origin = self.place_in(&entries, value.span());
                match scalar(value.get_ref()) {
                    Ok(text) => drop(texts.insert(key.get_ref().to_string(), (text, origin))),
                    Err(_) => wrong(origin, &format!("{place}.{}", key.get_ref()), "text", value.get_ref()),
                }
            }
            tables.push((entry.get_ref().to_string(), texts, origin));
        }
        self.mistakes.extend(mistakes);
        tables
    }

    /// Reports what nobody asked for; returns the settings, and warnings about variables that look like ours.
    pub fn close(mut self) -> Result<(Vec<Setting>, Vec<String>), ConfigErrors> {
        let unknown: Vec<Mistake> =
            self.root.iter().flat_map(|(key, value)| self.unknown(key, value)).collect();
        self.mistakes.extend(unknown);
        if self.mistakes.is_empty() {
            let warnings = self.unknown_variables();
            return Ok((self.settings, warnings));
        }
        self.mistakes.sort_by_key(|mistake| match &mistake.origin {
            Origin::File { line, column, .. } => (0, *line, *column),
            Origin::Environment(_) => (1, 0, 0),
            Origin::Default => (2, 0, 0),
        });
        Err(ConfigErrors { mistakes: self.mistakes })
    }

    fn unknown(
        &self,
        key: &toml::Spanned<std::borrow::Cow<'t, str>>,
        value: &toml::Spanned<DeValue<'t>>,
    ) -> Vec<Mistake> {
        let name: &str = key.get_ref();
        if self.asked.contains(&("", name)) {
            return Vec::new();
        }
        let keys_of = |section: &str| -> Vec<&'static str> {
            self.asked.iter().filter(|(of, _)| *of == section).map(|(_, key)| *key).collect()
        };
        if name.is_empty() || keys_of(name).is_empty() {
            let sections =
                self.asked.iter().map(|(section, _)| *section).filter(|section| !section.is_empty());
            let known: Vec<_> = sections.chain(keys_of("")).collect();
            return vec![self.unknown_key("", name, key.span(), &known)];
        }
        let Some(table) = value.get_ref().as_table() else {
            let message = format!("`{name}` is a section, found {}", describe(value.get_ref()));
            let mistake = Mistake::new(self.place(value.span()), message);
            return vec![mistake.hint(format!("write [{name}] on a line of its own and its keys below"))];
        };
        let known = keys_of(name);
        let strangers = table.iter().filter(|(key, _)| !known.contains(&&**key.get_ref()));
        strangers.map(|(key, _)| self.unknown_key(name, key.get_ref(), key.span(), &known)).collect()
    }

    fn unknown_key(&self, section: &str, key: &str, span: std::ops::Range<usize>, known: &[&str]) -> Mistake {
        let place = if section.is_empty() { "no key or section" } else { "no key" };
        let within =
            if section.is_empty() { "the settings have".to_owned() } else { format!("[{section}] has") };
        let elsewhere = self.asked.iter().find(|(of, name)| *name == key && *of != section);
        let hint = match (closest(key, known.iter().copied()), elsewhere) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some((other, _))) => format!("`{key}` belongs in [{other}]"),
            (None, None) => {
                let mut known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
                known.dedup();
                format!("expected one of {}", known.join(", "))
            }
        };
        Mistake::new(self.place(span), format!("{within} {place} `{key}`")).hint(hint)
    }

    fn unknown_variables(&self) -> Vec<String> {
        let known: Vec<String> = self.asked.iter().map(|(section, key)| variable_of(section, key)).collect();
        let ours = self.environment.keys().filter(|name| name.starts_with(PREFIX));
        let unknown = ours.filter(|name| {
            !known.contains(name)
                && !OTHER_VARIABLES.contains(&name.as_str())
                && !name.starts_with("METERHOUSE_TEST_")
                && !name.starts_with(super::kafka_properties::VARIABLE_PREFIX)
        });
        unknown
            .map(|name| match closest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("the environment variable {name} sets nothing: did you mean {near}?"),
                None => format!("the environment variable {name} sets nothing"),
            })
            .collect()
    }
}

/// A text in the settings, or the path of the file that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    Plain(String),
    File(String),
}

/// A table with names of the user's own.
struct Entries<'t> {
    table: DeTable<'t>,
    /// Where it comes from, if not from the file.
    variable: Option<String>,
}

/// Text, a number, true or false as text, or what stands there instead.
fn scalar(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        other => text_of(other, Shape::Number),
    }
}

/// The text of a value of this shape, or what stands there instead.
fn text_of(value: &DeValue<'_>, shape: Shape) -> Result<String, &'static str> {
    match (value, shape) {
        (DeValue::String(text), _) => Ok(text.to_string()),
        (DeValue::Integer(number), Shape::Number) => Ok(number.to_string()),
        (DeValue::Boolean(answer), Shape::YesNo) => Ok(answer.to_string()),
        (DeValue::Array(items), Shape::List) => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            texts.map(|texts| texts.join(",")).ok_or("a list of other things")
        }
        (other, _) => Err(describe(other)),
    }
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with decimals",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date that is not in quotes",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
