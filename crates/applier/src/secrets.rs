//! Resolving references to secrets. The values go into the facts and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use asset::SecretRef;
use superset::Secret;

/// Where secrets may come from. A document names its secrets, so what it may name is for the operator to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSources {
    /// Folders below which files may be read. Default `/run/secrets`.
    pub folders: Vec<PathBuf>,
    /// Prefixes of the environment variables that may be read; empty means all but `SETKEEPER…`. Default empty.
    pub variables: Vec<String>,
    /// The largest file that is read, in bytes. Default 64 KiB.
    pub file_max: u64,
}

impl Default for SecretSources {
    fn default() -> Self {
        Self { folders: vec![PathBuf::from("/run/secrets")], variables: Vec::new(), file_max: 64 << 10 }
    }
}

impl SecretSources {
    /// Resolves what can be resolved. What cannot is missing from the result, and its document waits for it.
    pub(crate) fn resolve(&self, references: BTreeSet<SecretRef>) -> BTreeMap<SecretRef, Secret> {
        let resolved = references.into_iter().filter_map(|reference| {
            let text = match &reference {
                SecretRef::Env(name) => self.variable(name),
                SecretRef::File(path, key) => self.file(path, key.as_deref()),
            };
            Some((reference, Secret::new(text?)))
        });
        resolved.collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        let allowed = if self.variables.is_empty() {
            !name.starts_with("SETKEEPER")
        } else {
            self.variables.iter().any(|prefix| name.starts_with(prefix.as_str()))
        };
        if allowed { std::env::var(name).ok() } else { None }
    }

    /// Links are followed before the folder is judged, so that none leads out of it.
    fn file(&self, path: &Path, key: Option<&str>) -> Option<String> {
        let path = path.canonicalize().ok()?;
        let below = |folder: &PathBuf| folder.canonicalize().is_ok_and(|folder| path.starts_with(folder));
        if !self.folders.iter().any(below) || path.metadata().ok()?.len() > self.file_max {
            return None;
        }
        let text = std::fs::read_to_string(&path).ok()?;
        match key {
            // Editors and `echo` end a file with a newline that is no part of the secret.
            None => Some(
                text.strip_suffix('\n').map_or(text.as_str(), |text| text.trim_end_matches('\r')).to_owned(),
            ),
            Some(key) => {
                let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).ok()?;
                object.get(key)?.as_str().map(str::to_owned)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sources: &SecretSources, reference: String, want: Option<&str>) {
        let reference: SecretRef = reference.parse().expect("a reference");
        let found = sources.resolve(BTreeSet::from([reference.clone()]));
        assert_eq!(found.get(&reference), want.map(Secret::new).as_ref(), "{reference}");
    }

    #[test]
    fn a_file_is_read_only_below_an_allowed_folder_and_whatever_links_say() {
        let folder = tempfile::tempdir().expect("a folder");
        let (inside, outside) = (folder.path().join("in"), folder.path().join("out"));
        for each in [&inside, &outside] {
            std::fs::create_dir(each).expect("a folder");
            std::fs::write(each.join("plain"), "s3cret\n").expect("a file");
        }
        std::fs::write(inside.join("keys"), r#"{"a":"one"}"#).expect("a file");
        std::os::unix::fs::symlink(outside.join("plain"), inside.join("link")).expect("a link");
        let sources = SecretSources { folders: vec![inside.clone()], ..SecretSources::default() };
        let file = |folder: &Path, tail: &str| format!("file:{}/{tail}", folder.display());
        check(&sources, file(&inside, "plain"), Some("s3cret"));
        check(&sources, file(&inside, "keys#a"), Some("one"));
        check(&sources, file(&inside, "keys#b"), None);
        check(&sources, file(&inside, "absent"), None);
        check(&sources, file(&inside, "link"), None);
        check(&sources, file(&inside, "../out/plain"), None);
        check(&sources, file(&outside, "plain"), None);
    }

    #[test]
    fn our_own_variables_are_no_secrets_for_documents() {
        check(&SecretSources::default(), "env:SETKEEPER__AUDIT__URL".to_owned(), None);
        check(&SecretSources::default(), "env:PATH".to_owned(), std::env::var("PATH").ok().as_deref());
        let sources = SecretSources { variables: vec!["DB_".to_owned()], ..SecretSources::default() };
        check(&sources, "env:PATH".to_owned(), None);
    }
}
