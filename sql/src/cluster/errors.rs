//! What an error of the cluster says.
//!
//! Ballista passes a task's error on as the debug text of its own types, wrapped several times. Of it people need the
//! innermost words.

/// What went before a task's own error.
const BEFORE: [&str; 2] = ["runtime execution error: ", "IO error: "];

/// The innermost words of such a text, or the whole text where it is another.
pub(super) fn in_words(text: &str) -> String {
    let own = BEFORE.iter().find_map(|before| Some(text.rsplit_once(before)?.1));
    own.and_then(innermost).unwrap_or_else(|| text.trim().to_owned())
}

/// Of `DataFusionError(Context("more", Execution("words")))` the words, and of `ArrowError(DivideByZero)` the name.
fn innermost(debug: &str) -> Option<String> {
    let mut rest = debug.trim_start();
    loop {
        if rest.starts_with('"') {
            return quoted(rest).map(|(words, _)| words);
        }
        let end = rest.find(|character: char| !character.is_alphanumeric()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        match after.strip_prefix('(') {
            _ if name.is_empty() => return None,
            Some(inner) if name == "Context" => {
                let (_, inner) = quoted(inner)?;
                rest = inner.trim_start_matches([',', ' ']);
            }
            Some(inner) => rest = inner,
            // A name alone, and no value with fields.
            None if after.trim_start().starts_with('{') => return None,
            None => return Some(spaced(name)),
        }
    }
}

/// The text within quotes at the beginning, and what comes after it.
fn quoted(debug: &str) -> Option<(String, &str)> {
    let mut words = String::new();
    let mut rest = debug.strip_prefix('"')?.chars();
    loop {
        match rest.next()? {
            '"' => return Some((words, rest.as_str())),
            '\\' => match rest.next()? {
                'n' => words.push('\n'),
                'r' => words.push('\r'),
                't' => words.push('\t'),
                '0' => words.push('\0'),
                'u' => {
                    let code: String = rest.by_ref().skip(1).take_while(|digit| *digit != '}').collect();
                    words.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
                }
                other => words.push(other),
            },
            other => words.push(other),
        }
    }
}

/// `DivideByZero` as `divide by zero`.
fn spaced(name: &str) -> String {
    let mut words = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(character.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use arrow::error::ArrowError;
    use ballista_core::error::BallistaError;
    use ballista_core::serde::protobuf::FailedTask;
    use datafusion::error::DataFusionError;

    use super::*;

    /// As it comes back from a cluster.
    fn told(error: DataFusionError) -> String {
        let failed = FailedTask::from(BallistaError::from(error));
        in_words(&format!("Job 8 failed: Job failed due to stage 2 failed: {}\n", failed.error))
    }

    #[test]
    fn the_innermost_words_are_told() {
        let divided = || DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None);
        assert_eq!(told(divided()), "divide by zero");
        assert_eq!(told(divided().context("in \"a\", b")), "divide by zero");
        let words = "price(): there is no \"plan\" \\ `x`\n\tfor 'y' \u{7f}";
        let failed = || DataFusionError::Execution(words.to_owned());
        assert_eq!(told(failed()), words);
        assert_eq!(told(failed().context("while it ran")), words);
        assert_eq!(told(DataFusionError::External(words.into())), words);
        let overflow = ArrowError::ArithmeticOverflow("1 + 1".to_owned());
        assert_eq!(told(DataFusionError::ArrowError(Box::new(overflow), None)), "1 + 1");
        assert_eq!(in_words("nobody is there"), "nobody is there");
        let with_fields = "Task failed due to runtime execution error: General { text: \"x\" }";
        assert_eq!(in_words(with_fields), with_fields);
    }
}
