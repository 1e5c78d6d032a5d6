//! What the tags `!Env` and `!File` may read (CO-729, CO-823).

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Most bytes of a file that a tag reads.
const LONGEST: u64 = 1 << 20;

/// Which variables may be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// Those that are named for blueprints: `PORTCULLIS_BLUEPRINT_…`. For text that came through the API.
    #[default]
    ForBlueprints,
    /// All but our own settings, of which those for blueprints and for the first start may be read. For files.
    AllButOurs,
}

impl Names {
    /// Whether a variable of this name may be read.
    pub fn allow(self, name: &str) -> bool {
        match self {
            Self::ForBlueprints => name.starts_with("PORTCULLIS_BLUEPRINT_"),
            Self::AllButOurs => {
                let ours = name.starts_with("PORTCULLIS_") || name.starts_with("AUTHENTIK_");
                !ours || name.contains("_BLUEPRINT_") || name.contains("_BOOTSTRAP_") || name == FIRST_BRAND
            }
        }
    }
}

/// Whether a blueprint that brings the first brand makes it the default: no secret, and asked for by name.
const FIRST_BRAND: &str = "AUTHENTIK_DEFAULT_BRAND_ENABLED";

/// What blueprints may read of the machine. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// The watched folder, if there is one.
    pub folder: Option<PathBuf>,
    /// Further folders whose files may be read.
    pub folders: Vec<PathBuf>,
    variables: BTreeMap<String, String>,
}

impl Reach {
    /// The reach of files on disk: the watched folder, secrets of the machine, and variables of the environment. Those
    /// that no blueprint may read are not kept.
    pub fn new(folder: Option<PathBuf>, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables = environment.into_iter().filter(|(name, _)| Names::AllButOurs.allow(name)).collect();
        Self { folder, folders: vec![PathBuf::from("/run/secrets")], variables }
    }

    /// A variable, if it is set.
    ///
    /// # Errors
    /// When it may not be read.
    pub fn variable(&self, names: Names, name: &str) -> Result<Option<String>, String> {
        if !names.allow(name) {
            return Err(format!("The variable '{name}' may not be read by blueprints."));
        }
        Ok(self.variables.get(name).cloned())
    }

    /// The text of a file, if there is one. Links are followed first, and then it must be in one of the folders.
    ///
    /// # Errors
    /// When it may not be read.
    pub fn file(&self, names: Names, path: &str) -> Result<Option<String>, String> {
        let refused = || format!("The file '{path}' may not be read by blueprints.");
        if names == Names::ForBlueprints {
            return Err(refused());
        }
        let asked = Path::new(path);
        if !asked.is_absolute() || asked.components().any(|part| part == Component::ParentDir) {
            return Err(refused());
        }
        let within = |found: &Path| {
            let mut folders = self.folder.iter().chain(&self.folders);
            folders.any(|folder| folder.canonicalize().is_ok_and(|folder| found.starts_with(folder)))
        };
        match asked.canonicalize() {
            Ok(found) if within(&found) => {
                let is_short = found.metadata().is_ok_and(|of| of.is_file() && of.len() <= LONGEST);
                if !is_short {
                    return Err(refused());
                }
                Ok(std::fs::read_to_string(found).ok())
            }
            Ok(_) => Err(refused()),
            // What is not there is refused all the same where it may not be looked for.
            Err(_) => {
                let named = self.folder.iter().chain(&self.folders).any(|folder| asked.starts_with(folder));
                if named { Ok(None) } else { Err(refused()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-729, CO-823: our own settings are nobody's to read; text from the API sees what is named for it and no file.
    #[test]
    fn co_729_names_and_folders_are_confined() {
        let folder = tempfile::tempdir().expect("a folder");
        let other = tempfile::tempdir().expect("a folder");
        let at = |folder: &tempfile::TempDir, name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at(&folder, "inside"), "yes\n").expect("writes");
        std::fs::write(at(&other, "outside"), "no").expect("writes");
        std::os::unix::fs::symlink(at(&other, "outside"), at(&folder, "link")).expect("links");
        let beside = folder
            .path()
            .with_file_name(format!("{}-more", folder.path().file_name().expect("a name").to_str().expect("text")));
        let environment = [
            ("HOME", "/root"),
            ("PORTCULLIS_SECRET_KEY", "s"),
            ("AUTHENTIK_POSTGRESQL__PASSWORD", "s"),
            ("PORTCULLIS_BLUEPRINT_DOMAIN", "d"),
            ("AUTHENTIK_BOOTSTRAP_EMAIL", "e"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let reach = Reach::new(Some(folder.path().to_owned()), environment);
        for (name, of_files, of_api) in [
            ("HOME", Some("/root"), None),
            ("PORTCULLIS_BLUEPRINT_DOMAIN", Some("d"), Some("d")),
            ("AUTHENTIK_BOOTSTRAP_EMAIL", Some("e"), None),
            ("PORTCULLIS_SECRET_KEY", None, None),
            ("AUTHENTIK_POSTGRESQL__PASSWORD", None, None),
        ] {
            assert_eq!(reach.variable(Names::AllButOurs, name).ok().flatten().as_deref(), of_files, "{name}");
            assert_eq!(reach.variable(Names::ForBlueprints, name).ok().flatten().as_deref(), of_api, "{name}");
        }
        assert_eq!(reach.variable(Names::AllButOurs, "NOT_SET"), Ok(None));
        assert!(reach.variable(Names::AllButOurs, "PORTCULLIS_SECRET_KEY").is_err());
        assert_eq!(reach.file(Names::AllButOurs, &at(&folder, "inside")), Ok(Some("yes\n".to_owned())));
        assert_eq!(reach.file(Names::AllButOurs, &at(&folder, "missing")), Ok(None));
        let above = format!("{}/../etc/passwd", folder.path().display());
        let neighbour = beside.join("x").display().to_string();
        for path in ["/etc/passwd", "inside", &at(&other, "outside"), &at(&folder, "link"), &above, &neighbour] {
            assert!(reach.file(Names::AllButOurs, path).is_err(), "{path}");
        }
        assert!(reach.file(Names::ForBlueprints, &at(&folder, "inside")).is_err());
    }
}
