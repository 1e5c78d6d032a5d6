//! The reference page and the sample file, generated from the declarations.

use std::fmt::Write;
use std::path::Path;

use super::{Declaration, SECTIONS, Section};

/// `docs/src/reference/settings.md`.
fn page() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         <!-- Generated from crates/portcullis/src/settings.rs by `just docs-gen`. Do not edit. -->\n\n\
         A setting is looked for in the file `portcullis.toml` in the working directory (or the one that `--config`\n\
         names), then in the environment, then among the flags (`--set KEY=VALUE`); the last one found wins. An\n\
         unknown name is an error; of variables that begin with `AUTHENTIK_`, those that are named below count, and the\n\
         others are ignored with a warning at the start. `portcullis config` prints what is in force, and where it was\n\
         set.\n\n\
         A value `file://PATH` stands for the trimmed content of that file, `env://NAME` for that variable. With\n\
         `?fallback` behind it, the fallback is used when the file or variable cannot be read. Lists are comma\n\
         separated, or TOML arrays. [A sample file](portcullis.toml) holds every setting with its default.\n",
    );
    for section in SECTIONS {
        let title = if section.prefix.is_empty() { "At the top" } else { section.prefix.trim_end_matches('.') };
        let _ = write!(page, "\n## {title}\n\n{}", plain(section.doc));
        for setting in section.settings {
            let _ = write!(page, "\n### `{}`\n\n{}\n{}", setting.key, plain(setting.doc), facts(setting));
        }
    }
    page
}

fn facts(setting: &Declaration) -> String {
    let default = if setting.default.is_empty() { "none".to_owned() } else { format!("`{}`", setting.default) };
    let names = std::iter::once(&"PORTCULLIS_").chain(setting.aliases);
    let names: Vec<_> = names.map(|prefix| format!("`{prefix}{}`", setting.variable())).collect();
    let secret = if setting.secret { "- Secret: never shown, not accepted as a flag\n" } else { "" };
    format!("- Type: {}\n- Default: {default}\n- Environment: {}\n{secret}", (setting.kind)(), names.join(", alias "))
}

/// `docs/src/reference/portcullis.toml`: every setting commented out, with its default.
fn sample() -> String {
    let mut sample = String::from(
        "# Every setting with its default. Generated from crates/portcullis/src/settings.rs; do not edit here:\n\
         # copy it and remove the `#` where you want another value.\n",
    );
    for section in SECTIONS {
        let _ = writeln!(sample, "\n{}", comment(&plain(section.doc)));
        if !section.prefix.is_empty() {
            let _ = writeln!(sample, "[{}]", section.prefix.trim_end_matches('.'));
        }
        for setting in section.settings {
            let _ = write!(
                sample,
                "\n{}\n#{} = {}\n",
                comment(&plain(setting.doc)),
                name(section, setting),
                value(setting)
            );
        }
    }
    sample
}

fn name<'a>(section: &Section, setting: &'a Declaration) -> &'a str {
    setting.key.trim_start_matches(section.prefix)
}

fn value(setting: &Declaration) -> String {
    if setting.default == "true" || setting.default == "false" {
        setting.default.to_owned()
    } else {
        toml::Value::String(setting.default.to_owned()).to_string()
    }
}

/// Doc comments carry one leading space a line.
fn plain(doc: &str) -> String {
    doc.lines().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}

fn comment(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("# {line}").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Compares a generated page with the one in `docs/src/reference/`; rewrites it if `UPDATE_DOCS` is set.
fn up_to_date(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/src/reference/{name} is stale: run `just docs-gen`");
}

/// CO-008: the reference page of the settings is the one that the declarations make.
#[test]
fn co_008_the_settings_page_is_up_to_date() {
    up_to_date("settings.md", &page());
}

/// CO-008: the sample file is the one that the declarations make, and is a valid settings file.
#[test]
fn co_008_the_sample_file_is_up_to_date_and_valid() {
    let sample = sample();
    up_to_date("portcullis.toml", &sample);
    let all: String = sample
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line)))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portcullis.toml");
    std::fs::write(&path, all).unwrap();
    let layers = super::Layers::gather(Some(&path), &std::collections::BTreeMap::new(), &[]).unwrap();
    super::Settings::read(&layers).unwrap();
}

/// PX-316: the reference page of the command line is what `--help` prints.
#[test]
fn px_316_the_command_line_page_is_up_to_date() {
    use clap::CommandFactory;

    let mut page = String::from(
        "# Command line\n\n<!-- Generated from crates/portcullis/src/cli.rs by `just docs-gen`. Do not edit. -->\n\n\
         Exit code 0 is success, 1 is a failure that one line on standard error explains, 2 is a wrong flag.\n",
    );
    let mut command = crate::cli::Cli::command();
    command.build();
    let _ = write!(page, "\n```text\n{}```\n", command.render_long_help());
    for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        let help = sub.render_long_help();
        let _ = write!(page, "\n## `portcullis {}`\n\n```text\n{help}```\n", sub.get_name());
    }
    let page: String = page.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    up_to_date("command-line.md", &page);
}
