//! Values that name where the value is: `file://PATH?fallback` and `env://NAME?fallback` (PX-004).

use super::layers::Environment;

/// Replaces a reference by what it refers to; any other text is itself.
///
/// A file's content is trimmed. What is found is taken as it is, even if it looks like a reference.
///
/// # Errors
/// Why it cannot be read, unless there is a fallback (perhaps an empty one).
pub(super) fn resolve(text: &str, environment: &Environment) -> Result<String, String> {
    let (reference, fallback) = match text.split_once('?') {
        Some((reference, fallback)) => (reference, Some(fallback)),
        None => (text, None),
    };
    let found = if let Some(path) = reference.strip_prefix("file://") {
        std::fs::read_to_string(path)
            .map(|content| content.trim().to_owned())
            .map_err(|error| format!("{path}: {error}"))
    } else if let Some(name) = reference.strip_prefix("env://") {
        environment.get(name).cloned().ok_or_else(|| format!("the environment has no {name}"))
    } else {
        return Ok(text.to_owned());
    };
    found.or_else(|problem| fallback.map(str::to_owned).ok_or(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-004: a value may name a file or a variable, with a fallback for when it cannot be read.
    #[test]
    fn px_004_values_may_name_a_file_or_a_variable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "  from the file\n").unwrap();
        let environment = Environment::from([("NAME".to_owned(), " kept as is ".to_owned())]);
        let resolve = |text: &str| resolve(text, &environment);

        assert_eq!(resolve(&format!("file://{}", path.display())).unwrap(), "from the file");
        assert_eq!(resolve(&format!("file://{}?unused", path.display())).unwrap(), "from the file");
        assert_eq!(resolve("file:///nowhere/at/all?spare").unwrap(), "spare");
        assert_eq!(resolve("file:///nowhere/at/all?").unwrap(), "");
        assert!(resolve("file:///nowhere/at/all").unwrap_err().starts_with("/nowhere/at/all: "));
        assert_eq!(resolve("env://NAME").unwrap(), " kept as is ");
        assert_eq!(resolve("env://ABSENT?a?b").unwrap(), "a?b");
        assert_eq!(resolve("env://ABSENT").unwrap_err(), "the environment has no ABSENT");
        assert_eq!(resolve("https://id.example/?x").unwrap(), "https://id.example/?x");
    }
}
