//! Which znode each document of a bundle goes to.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Bundle, BundleFile};
use crate::Kind;

/// The longest name of a znode, in characters.
const NAME_MAX: usize = 200;

/// Chooses a znode for every document of `bundle`: pairs of its path (`assets/<project>/<folder>/<name>`) and the
/// document's index, in the bundle's order.
///
/// A uuid in `existing` keeps its path there. Others are named after their file, datasets after their database's
/// folder too, with `_` for characters that a name may not have; what is taken already gets the first eight
/// digits of the uuid behind its name. `existing` must hold every asset of the tree, so that no other's znode is
/// taken.
#[must_use]
pub fn znode_names(
    bundle: &Bundle,
    project: &str,
    existing: &BTreeMap<Uuid, String>,
) -> Vec<(String, usize)> {
    let mut taken: BTreeSet<String> = existing.values().cloned().collect();
    let documents = bundle.documents.iter().enumerate();
    documents
        .map(|(index, file)| {
            let kept = existing.get(&file.document.uuid()).cloned();
            let path = kept.unwrap_or_else(|| free_path(file, project, &taken));
            taken.insert(path.clone());
            (path, index)
        })
        .collect()
}

fn free_path(file: &BundleFile, project: &str, taken: &BTreeSet<String>) -> String {
    let (kind, uuid) = (file.document.kind(), file.document.uuid().to_string());
    let path = |name: &str| format!("assets/{project}/{}/{name}", kind.folder());
    let name = plain_name(kind, &file.file);
    let is_usable = name.len() <= NAME_MAX && name != "." && name != "..";
    let plain = Some(path(&name)).filter(|path| is_usable && !taken.contains(path));
    let short = || Some(path(&with_suffix(&name, &uuid[..8]))).filter(|path| !taken.contains(path));
    plain.or_else(short).unwrap_or_else(|| path(&with_suffix(&name, &uuid)))
}

fn with_suffix(name: &str, suffix: &str) -> String {
    let room = NAME_MAX - suffix.len() - 1;
    format!("{}-{suffix}", &name[..name.len().min(room)])
}

/// `datasets/<database>/<stem>.yaml` gives `<database>.<stem>`, everything else `<stem>`; ASCII only.
fn plain_name(kind: Kind, file: &str) -> String {
    let parts: Vec<_> = file.split('/').collect();
    let last = parts.last().copied().unwrap_or(file);
    let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
    let name = match (kind, parts.as_slice()) {
        (Kind::Dataset, [_, database, .., _]) => format!("{database}.{stem}"),
        (Kind::Database | Kind::Dataset | Kind::Chart | Kind::Dashboard, _) => stem.to_owned(),
    };
    let is_plain = |each: char| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '-');
    name.chars().map(|each| if is_plain(each) { each } else { '_' }).collect()
}
