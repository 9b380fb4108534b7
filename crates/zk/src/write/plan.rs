//! Which edits go into which part. Pure.

use std::collections::{BTreeMap, BTreeSet};

use change::{Edit, EditChange, EditOp, Place, sha256_hex};

use super::{Draft, Expect, VersionedEdit, WriteError, WriteOp};

/// What bounds a part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The largest request.
    pub(super) request_bytes: usize,
    /// How long the root is that stands before every path on the wire.
    pub(super) root_bytes: usize,
    /// How long the ACL of a created znode is on the wire.
    pub(super) acl_bytes: usize,
}

/// A part, by the positions of its edits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) edits: Vec<usize>,
    /// An upper bound of its request's length.
    pub(super) bytes: usize,
}

/// jute: request header 8, and the multi's end 9.
const REQUEST: usize = 8 + 9;
/// jute: an operation's header 9, the lengths of path and data 4 each, version or flags 4, time to live 8.
const OPERATION: usize = 9 + 4 + 4 + 4 + 8;
/// The length of a ULID.
const ID: usize = 26;

/// Parts the edits so that each part fits into one request, in the order given; edits of one group stay together,
/// where the first of them stands.
///
/// # Errors
/// [`WriteError::Twice`], [`WriteError::Place`], [`WriteError::TooLarge`].
pub(super) fn plan(edits: &[VersionedEdit], draft: &Draft, limits: Limits) -> Result<Vec<Part>, WriteError> {
    let mut seen = BTreeSet::new();
    for edit in edits {
        if !seen.insert(&edit.path) {
            return Err(WriteError::Twice(edit.path.clone()));
        }
        check_place(edit)?;
    }
    let base = base_bytes(draft, limits);
    let too_large = |paths: Vec<_>, bytes| WriteError::TooLarge { paths, bytes, max: limits.request_bytes };
    if base > limits.request_bytes {
        return Err(too_large(Vec::new(), base));
    }
    let mut parts: Vec<Part> = Vec::new();
    for unit in units(edits) {
        let bytes: usize = unit.iter().map(|&at| edit_bytes(&edits[at], limits)).sum();
        if base + bytes > limits.request_bytes {
            let paths = unit.iter().map(|&at| edits[at].path.clone()).collect();
            return Err(too_large(paths, base + bytes));
        }
        match parts.last_mut() {
            Some(part) if part.bytes + bytes <= limits.request_bytes => {
                part.edits.extend(unit);
                part.bytes += bytes;
            }
            _ => parts.push(Part { edits: unit, bytes: base + bytes }),
        }
    }
    Ok(parts)
}

/// Documents go where documents belong; what stands at a wrong place can be deleted.
fn check_place(edit: &VersionedEdit) -> Result<(), WriteError> {
    let refuse = |why: String| Err(WriteError::Place { path: edit.path.clone(), why });
    if !edit.path.is_watched() {
        return refuse(
            "only what is below assets, settings, endpoints and control/approvals is written as an edit"
                .into(),
        );
    }
    match (&edit.op, edit.path.place()) {
        (WriteOp::Delete, _) if edit.expect == Expect::Absent => {
            refuse("what is absent cannot be deleted".into())
        }
        (WriteOp::Delete, _) => Ok(()),
        (WriteOp::Put { .. }, Err(bad)) => refuse(bad.to_string()),
        (WriteOp::Put { .. }, Ok(Place::Folder)) => {
            refuse("that is a folder; a document stands deeper".into())
        }
        (
            WriteOp::Put { .. },
            Ok(Place::Asset { .. } | Place::Setting { .. } | Place::Endpoint { .. } | Place::Approval { .. }),
        ) => Ok(()),
    }
}

/// Edits that have to stay together, in order.
fn units(edits: &[VersionedEdit]) -> Vec<Vec<usize>> {
    let mut units: Vec<Vec<usize>> = Vec::new();
    let mut groups = BTreeMap::new();
    for (at, edit) in edits.iter().enumerate() {
        match edit.group {
            None => units.push(vec![at]),
            Some(group) => {
                let unit = *groups.entry(group).or_insert_with(|| {
                    units.push(Vec::new());
                    units.len() - 1
                });
                units[unit].push(at);
            }
        }
    }
    units
}

/// What every part has: the edit record without its changes, `head`, the check of the generation.
fn base_bytes(draft: &Draft, limits: Limits) -> usize {
    let record = record(draft, &"0".repeat(ID), &"0".repeat(ID), (u32::MAX, u32::MAX), Vec::new());
    let create =
        OPERATION + limits.root_bytes + "/edits/".len() + ID + to_json(&record).len() + limits.acl_bytes;
    let head = OPERATION + limits.root_bytes + "/head".len() + ID;
    let check = OPERATION + limits.root_bytes + "/generation".len();
    REQUEST + create + head + check
}

/// What an edit adds: its operation, and its line in the edit record.
fn edit_bytes(edit: &VersionedEdit, limits: Limits) -> usize {
    let data = match &edit.op {
        WriteOp::Put { bytes } => bytes.len(),
        WriteOp::Delete => 0,
    };
    let acl = if edit.expect == Expect::Absent { limits.acl_bytes } else { 0 };
    let line = change_json_bytes(edit);
    OPERATION + limits.root_bytes + 1 + edit.path.as_str().len() + data + acl + line + 1
}

/// The digest is always 64 characters, so it need not be known here.
fn change_json_bytes(edit: &VersionedEdit) -> usize {
    let sha256 = (edit.op.kind() == EditOp::Put).then(|| "0".repeat(64));
    let change = EditChange { path: edit.path.clone(), op: edit.op.kind(), sha256 };
    serde_json::to_vec(&change).map_or(0, |json| json.len())
}

/// The edit record of a part.
pub(super) fn record(draft: &Draft, id: &str, of: &str, part: (u32, u32), changes: Vec<EditChange>) -> Edit {
    Edit {
        v: 1,
        id: id.to_owned(),
        of: of.to_owned(),
        part: part.0,
        parts: part.1,
        author: draft.author.clone(),
        message: draft.message.clone(),
        traceparent: draft.traceparent.clone(),
        rollback_of: draft.rollback_of.clone(),
        changes,
    }
}

/// What the edit record says of an edit.
pub(super) fn line(edit: &VersionedEdit) -> EditChange {
    let sha256 = match &edit.op {
        WriteOp::Put { bytes } => Some(sha256_hex(bytes)),
        WriteOp::Delete => None,
    };
    EditChange { path: edit.path.clone(), op: edit.op.kind(), sha256 }
}

pub(super) fn to_json(edit: &Edit) -> Vec<u8> {
    serde_json::to_vec(edit).expect("texts and numbers always make JSON")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect as Golden, expect};

    use super::*;

    /// `path 300`: create with 300 bytes; `path -`: delete; `path 300 g1`: in group 1.
    fn edit(line: &str) -> VersionedEdit {
        let words: Vec<&str> = line.split(' ').collect();
        let op = match words[1] {
            "-" => WriteOp::Delete,
            bytes => WriteOp::Put { bytes: vec![b'x'; bytes.parse().unwrap()] },
        };
        let expect = if op == WriteOp::Delete { Expect::Is { czxid: 7, version: 0 } } else { Expect::Absent };
        VersionedEdit {
            path: words[0].parse().unwrap(),
            op,
            expect,
            group: words.get(2).map(|group| group[1..].parse().unwrap()),
        }
    }

    fn check(lines: &[&str], want: &Golden) {
        let edits: Vec<VersionedEdit> = lines.iter().map(|line| edit(line)).collect();
        let limits = Limits { request_bytes: 2_000, root_bytes: 15, acl_bytes: 27 };
        let shown = match plan(&edits, &Draft::default(), limits) {
            Err(error) => error.to_string(),
            Ok(parts) => {
                let show = |part: &Part| format!("{:?} {}", part.edits, part.bytes);
                parts.iter().map(show).collect::<Vec<_>>().join("; ")
            }
        };
        want.assert_eq(&shown);
    }

    #[test]
    fn edits_fill_parts_in_the_order_given() {
        check(&[], &expect![""]);
        check(&["assets/m/charts/a 300", "assets/m/charts/b 300"], &expect!["[0, 1] 1411"]);
        check(
            &["assets/m/charts/a 900", "assets/m/charts/b 900", "assets/m/charts/c -"],
            &expect!["[0] 1506; [1, 2] 1611"],
        );
    }

    #[test]
    fn a_group_stays_in_one_part_where_its_first_edit_stands() {
        check(
            &["assets/m/charts/a 600 g1", "assets/m/charts/b 600", "assets/m/charts/c - g1"],
            &expect!["[0, 2] 1311; [1] 1206"],
        );
    }

    #[test]
    fn what_cannot_be_parted_and_does_not_fit_is_refused_before_anything_is_sent() {
        check(
            &["assets/m/charts/a 2000"],
            &expect![
                "write `assets/m/charts/a`: that takes a request of 2606 bytes and 2000 are allowed (zookeeper.request_bytes_max, below the server's jute.maxbuffer); make the document smaller, for example by gzip"
            ],
        );
        check(
            &["assets/m/charts/a 900 g1", "assets/m/charts/b 900 g1"],
            &expect![
                "write `assets/m/charts/a`, `assets/m/charts/b`: that takes a request of 2611 bytes and 2000 are allowed (zookeeper.request_bytes_max, below the server's jute.maxbuffer); make the document smaller, for example by gzip"
            ],
        );
    }

    #[test]
    fn a_path_stands_in_an_edit_once_and_where_documents_belong() {
        check(
            &["assets/m/charts/a 1", "assets/m/charts/a -"],
            &expect!["write the edit: `assets/m/charts/a` stands in it twice; keep one"],
        );
        check(
            &["head 1"],
            &expect![
                "write `head`: only what is below assets, settings, endpoints and control/approvals is written as an edit"
            ],
        );
        check(
            &["assets/m/charts 1"],
            &expect!["write `assets/m/charts`: that is a folder; a document stands deeper"],
        );
        check(
            &["assets/m/charts/a$b 1"],
            &expect![
                "write `assets/m/charts/a$b`: name `a$b` is not allowed; use 1 to 200 of A-Z a-z 0-9 . _ -"
            ],
        );
        check(&["assets/m/charts/a$b -"], &expect!["[0] 510"]);
    }
}
