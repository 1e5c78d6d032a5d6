//! The page of requirements, made from the doc comments of tests.
//!
//! A test that proves requirements says so in the first sentence of its doc comment: `/// PX-096: …` or
//! `/// PX-096, OA-288: …`. The page lists each id with that sentence and the test.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// One requirement as one test proves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// `PX-096`.
    pub id: String,
    /// The first sentence, after the ids.
    pub sentence: String,
    /// File, relative to the repository, and name of the test.
    pub test: (String, String),
}

/// The claims of all tests below `root`, in order; and what is wrong with tests that are named by an id.
///
/// # Errors
/// When a directory or file cannot be read.
pub fn claims(root: &Path) -> std::io::Result<(Vec<Claim>, Vec<String>)> {
    let mut files = Vec::new();
    for directory in ["crates", "tests"] {
        rust_files(&root.join(directory), &mut files)?;
    }
    files.sort();
    let (mut claims, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        in_source(&name, &std::fs::read_to_string(&file)?, &mut claims, &mut problems);
    }
    claims.sort();
    Ok((claims, problems))
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Finds tests in one file: a doc comment, attributes of which one is a test's, `fn`.
fn in_source(file: &str, source: &str, claims: &mut Vec<Claim>, problems: &mut Vec<String>) {
    let (mut doc, mut is_test) = (String::new(), false);
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc.push_str(text.strip_prefix(' ').unwrap_or(text));
            doc.push('\n');
        } else if line.starts_with("#[") || line.starts_with("//") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            let name = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('(')).map(|(name, _)| name);
            if let Some(name) = name.filter(|_| is_test) {
                of_test(file, name, &doc, claims, problems);
            }
            doc.clear();
            is_test = false;
        }
    }
}

fn of_test(file: &str, name: &str, doc: &str, claims: &mut Vec<Claim>, problems: &mut Vec<String>) {
    let paragraph = doc.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let Some((ids, rest)) = paragraph.split_once(": ").filter(|(ids, _)| ids.split(", ").all(is_id)) else {
        if id_of_name(name).is_some() {
            problems.push(format!("{file}: {name} does not say what it shows"));
        }
        return;
    };
    if id_of_name(name).is_none_or(|id| !ids.split(", ").any(|named| named == id)) {
        problems.push(format!("{file}: {name} is not named after {ids}"));
    }
    let sentence = rest.split_once(". ").map_or(rest, |(sentence, _)| sentence).trim().trim_end_matches('.');
    claims.extend(ids.split(", ").map(|id| Claim {
        id: id.to_owned(),
        sentence: sentence.to_owned(),
        test: (file.to_owned(), name.to_owned()),
    }));
}

fn is_id(text: &str) -> bool {
    let Some((family, number)) = text.split_once('-') else { return false };
    matches!(family, "PX" | "OA" | "CO") && number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// `PX-096` of `px_096_…`.
fn id_of_name(name: &str) -> Option<String> {
    let mut words = name.split('_');
    let id = format!("{}-{}", words.next()?.to_ascii_uppercase(), words.next()?);
    is_id(&id).then_some(id)
}

/// The page `docs/src/reference/requirements.md`.
#[must_use]
pub fn page(claims: &[Claim]) -> String {
    let mut page = String::from(
        "# Requirements\n\n\
         <!-- Generated from the doc comments of the tests by `just docs-gen`. Do not edit. -->\n\n\
         What Portcullis promises, and the test that shows it. `PX` is about the proxy, `OA` about OAuth2 and\n\
         OpenID Connect, `CO` about the directory, the API and everything else. `./test px_096` runs the tests of\n\
         one id.\n",
    );
    let mut families: BTreeMap<&str, Vec<&Claim>> = BTreeMap::new();
    for claim in claims {
        families.entry(claim.id.split('-').next().unwrap_or_default()).or_default().push(claim);
    }
    for (family, claims) in families {
        let _ = write!(page, "\n## {family}\n\n| Id | What holds | Shown by |\n| --- | --- | --- |\n");
        for Claim { id, sentence, test: (file, name) } in claims {
            let sentence = sentence.replace('|', "\\|").replace('<', "\\<");
            let _ = writeln!(page, "| {id} | {sentence} | `{name}` in `{file}` |");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_from_doc_comments_of_tests() {
        // `@` stands for `#`: this file is read for claims as well.
        let source = "
            /// PX-001, CO-002: one sentence that
            /// goes on. And another.
            ///
            /// More.
            @[tokio::test(flavor = \"multi_thread\")]
            async fn px_001_works() {}
            /// CO-003: not a test.
            fn co_003_helper() {}
            /// Says nothing.
            @[test]
            fn oa_004_is_silent() {}
        ";
        let (mut claims, mut problems) = (Vec::new(), Vec::new());
        in_source("f.rs", &source.replace('@', "#"), &mut claims, &mut problems);
        let found: Vec<_> = claims.iter().map(|claim| (claim.id.as_str(), claim.sentence.as_str())).collect();
        let sentence = "one sentence that goes on";
        assert_eq!(found, [("PX-001", sentence), ("CO-002", sentence)]);
        assert_eq!(problems, ["f.rs: oa_004_is_silent does not say what it shows"]);
        assert!(page(&claims).contains("| PX-001 | one sentence that goes on | `px_001_works` in `f.rs` |"));
    }

    /// CO-001: every test that is named after a requirement says in its first sentence what holds, by ids of one form, and the
    /// page lists them all.
    #[test]
    fn co_001_the_requirements_page_is_up_to_date() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (claims, problems) = claims(&root).unwrap();
        assert_eq!(problems, Vec::<String>::new());
        let page = page(&claims);
        let path = root.join("docs/src/reference/requirements.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &page).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == page, "docs/src/reference/requirements.md is stale: run `just docs-gen`");
    }
}
