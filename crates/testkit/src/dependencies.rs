//! What `deny.toml` says about dependencies, checked without `cargo-deny`: a bare machine has none.

use std::process::Command;

/// What is wrong with packages, one a line as `cargo tree` prints them: name, version, perhaps where from; licence.
fn problems(rules: &toml::Table, packages: &str) -> Vec<String> {
    let listed = |section: &str, key: &str| rules[section][key].as_array().unwrap().clone();
    let allowed: Vec<spdx::Licensee> =
        listed("licenses", "allow").iter().map(|name| spdx::Licensee::parse(name.as_str().unwrap()).unwrap()).collect();
    let banned: Vec<String> =
        listed("bans", "deny").iter().map(|rule| rule["crate"].as_str().unwrap().to_owned()).collect();
    let mut problems = Vec::new();
    for line in packages.lines() {
        let (package, licence) = line.split_once('\t').unwrap();
        if banned.iter().any(|name| package.split(' ').next() == Some(name)) {
            problems.push(format!("{package} is banned"));
        }
        let is_allowed = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX)
            .is_ok_and(|terms| terms.evaluate(|term| allowed.iter().any(|allowed| allowed.satisfies(term))));
        if !is_allowed {
            problems.push(format!("{package}: the licence {licence:?} is not in the list"));
        }
        if package.contains("://") {
            problems.push(format!("{package} is not from crates.io"));
        }
    }
    problems
}

/// Every dependency has a licence of the list, comes from crates.io and is not banned.
#[test]
fn dependencies_obey_deny_toml() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let rules: toml::Table = std::fs::read_to_string(root.join("deny.toml")).unwrap().parse().unwrap();
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}\t{l}"])
        .args(["--locked", "--color", "never"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    // What it has printed before is marked.
    let mut packages: Vec<&str> =
        tree.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty()).collect();
    packages.sort();
    packages.dedup();
    assert!(packages.iter().any(|package| package.starts_with("hyper v")), "{packages:#?}");
    assert_eq!(problems(&rules, &packages.join("\n")), [""; 0]);
    // The check itself finds what it is for.
    let bad = "openssl-sys v1.0.0 (https://example.com/openssl-sys#0123)\tMIT AND GPL-3.0-only";
    assert_eq!(problems(&rules, bad).len(), 3);
}
