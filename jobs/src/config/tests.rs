//! What the settings may say, and what one is told when they say something else.

use std::path::PathBuf;

use super::*;

fn environment_of(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::read(Some(PathBuf::from("meterhouse.toml")), "meterhouse.toml", text, &environment_of(variables))
}

fn mistakes(text: &str, variables: &[(&str, &str)]) -> String {
    read(text, variables).expect_err("there are mistakes").to_string()
}

#[test]
fn without_a_file_the_defaults_hold() {
    let config = read("", &[]).unwrap();
    assert_eq!(config.lake, "./lake");
    assert_eq!(config.catalog, PathBuf::from("catalog.yaml"));
    assert!(config.kafka.brokers.is_empty());
    assert_eq!(config.kafka.topics, ["usage"]);
    // The defaults that are shown are those of the pipeline.
    let pipeline = ::ingest::settings::IngestSettings::default();
    let shown = crate::ingest::ingest_settings(&config.ingest);
    assert_eq!(format!("{shown:?}"), format!("{pipeline:?}"));
    assert_eq!(config.identity.window.unwrap().as_hours(), 35 * 24);
    assert_eq!(config.stripe.key, None);
    assert!(config.settings.iter().all(|setting| setting.origin == Origin::Default));
}

#[test]
fn environment_wins_over_file_and_file_over_default() {
    let text = "lake = \"s3://usage/lake\"\n[ingest]\nflush_age = \"9 s\"\nflush_rows = 7_000\n\
                [kafka]\nbrokers = [\"a:1\", \"b:2\"]\n[kafka.properties]\n\"socket.timeout.ms\" = 9000\n";
    let variables = [
        ("METERHOUSE_INGEST_FLUSH_AGE", "2 s"),
        ("METERHOUSE_IDENTITY_WINDOW", "unlimited"),
        ("METERHOUSE_METRICS_LISTEN", "127.0.0.1:9464"),
        ("METERHOUSE_STRIPE_KEY", "sk_test_1"),
        ("METERHOUSE_KAFKA_TOPICS", "one, two"),
        ("METERHOUSE_KAFKA_PROPERTIES_SASL_PASSWORD", "geheim"),
        ("METERHOUSE_CATALOG", ""),
    ];
    let config = read(text, &variables).unwrap();
    let shown: Vec<String> = config
        .settings
        .iter()
        .filter(|setting| setting.origin != Origin::Default)
        .map(|it| format!("{} = {} from {}", it.name, it.value.as_deref().unwrap_or("-"), it.origin))
        .collect();
    let expected = "\
lake = s3://usage/lake from meterhouse.toml:1
kafka.brokers = a:1,b:2 from meterhouse.toml:6
kafka.topics = one, two from METERHOUSE_KAFKA_TOPICS
kafka.properties.sasl.password = (hidden) from METERHOUSE_KAFKA_PROPERTIES_SASL_PASSWORD
kafka.properties.socket.timeout.ms = 9000 from meterhouse.toml:8
ingest.flush_rows = 7000 from meterhouse.toml:4
ingest.flush_age = 2 s from METERHOUSE_INGEST_FLUSH_AGE
identity.window = unlimited from METERHOUSE_IDENTITY_WINDOW
metrics.listen = 127.0.0.1:9464 from METERHOUSE_METRICS_LISTEN
stripe.key = (hidden) from METERHOUSE_STRIPE_KEY";
    assert_eq!(shown.join("\n"), expected);
    assert_eq!(config.kafka.topics, ["one", "two"]);
    assert_eq!(config.identity.window, None);
    assert_eq!(config.stripe.key.as_ref().unwrap().expose(), "sk_test_1");
    assert_eq!(config.kafka.client_config().get("sasl.password"), Some("geheim"));
    assert!(!format!("{config:?}").contains("geheim"));
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = "\
lake = \"ftp://host/lake\"
brokers = [\"a:1\"]

[kafka]
brokers = [\"kafka-1\"]
topic = [\"usage\"]

[kafka.properties]
\"sasl.password\" = \"geheim\"
\"group.id\" = \"mine\"
\"no.such.thing\" = true

[ingest]
flush_age = \"5 parsecs\"
flush_rows = 0
file_size = 128.5
earliest_time = 2000-01-01

[identiy]
window = \"35 days\"

[book]
url = \"postgres://meterhouse:geheim@host/book\"

[stripe]
key = \"sk_live_geheim\"
";
    let found = mistakes(text, &[("METERHOUSE_METRICS_LISTEN", "9464")]);
    let expected = include_str!("tests/mistakes.txt");
    assert_eq!(found.trim(), expected.trim(), "found:\n{found}");
    assert!(!found.contains("geheim"));
}

#[test]
fn mistakes_of_form() {
    for (name, text, expected) in [
        (
            "a section that is none",
            "kafka = \"a:1\"\n",
            "error: `kafka` is a section, found text\n --> meterhouse.toml:1:9\n",
        ),
        (
            "a list where text belongs",
            "lake = [\"a\"]\n",
            "`lake`: expected the address of a lake, found a list",
        ),
        (
            "a number where text belongs",
            "[ingest]\nflush_age = 5\n",
            "expected a length of time above zero, found a number",
        ),
        ("a key of another section", "[ingest]\nbrokers = \"a:1\"\n", "`brokers` belongs in [kafka]"),
        ("two syntax errors", "lake = ./lake\n[kafka\n", "2 mistakes in the settings"),
        ("a key twice", "lake = \"a\"\nlake = \"b\"\n", "this is not TOML: duplicate key"),
        (
            "a missing secret file",
            "[stripe]\nkey_file = \"/nonexistent/key\"\n",
            "`stripe.key_file`: cannot read /nonexistent/key",
        ),
    ] {
        let found = mistakes(text, &[]);
        assert!(found.contains(expected), "{name}:\n{found}");
    }
}

#[test]
fn secrets_come_from_files_too() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("key", "sk_test_2\n");
    write("book", "mysql://me:geheim@host/book\n");
    write("password", "geheim");
    write(
        "meterhouse.toml",
        "lake = \"data\"\n[stripe]\nkey_file = \"key\"\n[book]\nurl_file = \"book\"\n\
         [kafka.properties]\n\"sasl.password\" = { file = \"password\" }\n",
    );
    let config = Config::load(Some(&folder.path().join("meterhouse.toml")), &Environment::new()).unwrap();
    assert_eq!(config.stripe.key.unwrap().expose(), "sk_test_2");
    assert_eq!(config.book.url.unwrap().expose(), "mysql://me:geheim@host/book");
    assert_eq!(config.kafka.properties["sasl.password"].expose(), "geheim");
    assert_eq!(PathBuf::from(config.lake), folder.path().join("data"));
}

/// Tables with names of the user's own are overridden as a whole.
#[test]
fn tables_come_from_the_environment_too() {
    let file = "[schedule.jobs]\nrollup = \"0 1 * * *\"\n\
                [serve_sql.users]\nben = { password_variable = \"BENS\", all_tenants = true }\n";
    let users = "{ anna = { password_file = \"annas\", tenant = \"acme\" } }";
    let jobs = "{ \"close --period last\" = \"0 4 * * *\", compact = \"0 3 * * *\" }";
    let variables = [("METERHOUSE_SERVE_SQL_USERS", users), ("METERHOUSE_SCHEDULE_JOBS", jobs)];
    let config = read(file, &variables).unwrap();
    let entry = |command: &str, due: &str| (command.to_owned(), due.to_owned());
    assert_eq!(
        config.schedule.entries,
        [entry("close --period last", "0 4 * * *"), entry("compact", "0 3 * * *")]
    );
    let [anna] = &config.serve_sql.users[..] else { panic!("{:?}", config.serve_sql.users) };
    assert_eq!((anna.name.as_str(), anna.tenant.as_deref()), ("anna", Some("acme")));
    // From the current folder, since it does not stand in the file.
    assert_eq!(anna.password, PasswordSource::File(PathBuf::from("annas")));
    let origin = &config.setting("schedule.jobs.compact").unwrap().origin;
    assert_eq!(*origin, Origin::Environment("METERHOUSE_SCHEDULE_JOBS".to_owned()));

    for wrong in ["compact", "[1]", "{ compact = ", "{ compact = { a = 1 } }", "{ compact = \"never\" }"] {
        let mistakes = read("", &[("METERHOUSE_SCHEDULE_JOBS", wrong)]).unwrap_err().mistakes;
        assert_eq!(mistakes.len(), 1, "{wrong}");
        assert_eq!(mistakes[0].origin, Origin::Environment("METERHOUSE_SCHEDULE_JOBS".to_owned()), "{wrong}");
    }
}

#[test]
fn variables_that_set_nothing_are_pointed_out() {
    let variables = [
        ("METERHOUSE_KAFKA_BROKER", "a:1"),
        ("METERHOUSE_TEST_KAFKA", "a:1"),
        ("METERHOUSE_LOG", "debug"),
        ("PATH", "/bin"),
    ];
    assert_eq!(
        read("", &variables).unwrap().warnings,
        [
            "the environment variable METERHOUSE_KAFKA_BROKER sets nothing: did you mean METERHOUSE_KAFKA_BROKERS?"
        ]
    );
}

/// The template's commented lines are what the settings really are.
#[test]
fn the_template_is_true() {
    assert!(read(TEMPLATE, &[]).is_ok());
    let uncommented: String = TEMPLATE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            // Lines for which a secret must exist, in a file or in place of the dots, are only checked for their key.
            Some(setting) if setting.contains("/run/secrets") || setting.contains('…') => String::new(),
            Some(setting) if setting.contains(" = ") => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let written = read(&uncommented, &[]).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let defaults = read("", &[]).unwrap();
    for default in &defaults.settings {
        let key = default.name.rsplit('.').next().unwrap();
        if default.name != "stripe.key" {
            assert!(TEMPLATE.contains(&format!("\n# {key} = ")), "{} is missing", default.name);
        }
        if default.value.is_some() {
            assert_eq!(written.setting(&default.name).unwrap().value, default.value, "{}", default.name);
        }
    }
}

#[test]
fn the_catalog_is_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("meterhouse.toml");
    std::fs::write(&file, "catalog = \"meters.yaml\"\n").unwrap();
    let (_, problems) = find_mistakes(Some(&file), &Environment::new());
    assert!(problems[0].contains("`catalog`: cannot read"), "{problems:?}");
    assert!(
        problems[0].contains("1 | catalog = \"meters.yaml\"\n  |           ^^^^^^^^^^^^^\n"),
        "{problems:?}"
    );

    std::fs::write(folder.path().join("meters.yaml"), "catalog: mine\nmetres: {}\n").unwrap();
    let (_, problems) = find_mistakes(Some(&file), &Environment::new());
    assert!(problems[0].contains("did you mean `meters`?"), "{problems:?}");
}

#[test]
fn init_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("meterhouse.toml");
    assert_eq!(init(&file).unwrap(), Exit::Done);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), TEMPLATE);
    assert!(init(&file).unwrap_err().to_string().contains("exists and is left as it is"));
}

#[test]
fn the_issuer_is_read_line_by_line() {
    let text = "[issuer]\nname = \"Northlight\"\naddress = \"\"\"\n 12, Main Street \n\n20457 Hamburg\n\"\"\"\npayment_days = 14\n\
                logo = \"logo.svg\"\n";
    let config = read(text, &[("METERHOUSE_ISSUER_BANK", "IBAN DE02\nBIC X")]).unwrap();
    assert_eq!(config.issuer.address, ["12, Main Street", "20457 Hamburg"]);
    assert_eq!(config.issuer.bank, ["IBAN DE02", "BIC X"]);
    assert_eq!(
        config.setting("issuer.address").unwrap().value.as_deref(),
        Some("12, Main Street / 20457 Hamburg")
    );
    let due = config.issuer.due_date(jiff::civil::date(2026, 2, 20));
    assert_eq!(due, Some(jiff::civil::date(2026, 3, 6)));
    let error = config.issuer.seller().unwrap_err().to_string();
    assert!(error.contains("cannot read the logo") && error.contains("logo.svg"), "{error}");
    assert!(config.issuer.press().is_ok());
    assert!(mistakes("[issuer]\naddress = \"\"\n", &[]).contains("expected lines of text"));
}
