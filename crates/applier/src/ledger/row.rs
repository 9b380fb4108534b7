//! The ledger's rows as values, and back.

use super::*;

pub(super) const STREAM_COLUMNS: &[&str] = &[
    "target_name",
    "target_id",
    "position",
    "effective",
    "watcher_generation",
    "watcher_czxid",
    "sequence",
    "resync",
];

pub(super) const ASSET_COLUMNS: &[&str] = &[
    "path",
    "applied_change",
    "applied_path",
    "applied_kind",
    "applied_uuid",
    "applied_document",
    "applied_digest",
    "pending_change",
    "pending_at",
    "pending_offset",
    "pending_want",
    "pending_kind",
    "pending_uuid",
    "pending_document",
    "pending_state",
    "seen",
    "tombstone_change",
    "tombstone_at",
    "tombstone_offset",
    "tombstone_kind",
];

pub(super) const REFERENCE_COLUMNS: &[&str] = &["path", "part", "strength", "kind", "target"];

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => text.as_deref(),
        _ => None,
    }
}

pub(super) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::BigInt(value) => *value,
        Value::Int(value) => value.map(i64::from),
        _ => None,
    }
}

fn of_text(text: Option<impl Into<String>>) -> Value {
    Value::String(text.map(Into::into))
}

fn of_int(value: Option<i64>) -> Value {
    Value::BigInt(value)
}

/// Generations count restores of an ensemble; none has 2⁶³ of them.
fn of_count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn of_fence(fence: Fence) -> (i64, i64) {
    (of_count(fence.generation), fence.czxid)
}

/// One row, column by column, with the column's name for messages.
struct Cells<'r> {
    table: &'static str,
    names: &'static [&'static str],
    row: &'r Row,
}

impl Cells<'_> {
    fn cell(&self, name: &'static str) -> Option<&Value> {
        let index = self.names.iter().position(|its| *its == name)?;
        self.row.get(index).filter(|value| !sql::is_null(value))
    }

    fn strange(&self, column: &'static str) -> LedgerError {
        LedgerError::Strange { table: self.table, column }
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, LedgerError> {
        let Some(value) = self.cell(name) else { return Ok(None) };
        text(value).map(Some).ok_or_else(|| self.strange(name))
    }

    fn int(&self, name: &'static str) -> Result<Option<i64>, LedgerError> {
        let Some(value) = self.cell(name) else { return Ok(None) };
        int(value).map(Some).ok_or_else(|| self.strange(name))
    }

    fn parsed<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, LedgerError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| self.strange(name))
    }

    fn needed<T>(&self, name: &'static str, value: Result<Option<T>, LedgerError>) -> Result<T, LedgerError> {
        value?.ok_or_else(|| self.strange(name))
    }

    fn asset(&self, kind: &'static str, uuid: &'static str) -> Result<Option<(Kind, Uuid)>, LedgerError> {
        let kind = self.parsed(kind, kind_of)?;
        Ok(kind.zip(self.parsed(uuid, |text| text.parse().ok())?))
    }
}

fn kind_of(text: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.to_string() == text)
}

fn path_of(text: &str) -> Option<ZnodePath> {
    text.parse().ok()
}

/// A change's id without its path: `3:77.4`, and `3:77.-` for a delete.
fn of_change(id: &ChangeId) -> String {
    let version = id.version.map_or_else(|| "-".to_owned(), |version| version.to_string());
    format!("{}:{}.{version}", id.generation, id.czxid)
}

fn change_of(path: &ZnodePath, text: &str) -> Option<ChangeId> {
    let (generation, rest) = text.split_once(':')?;
    let (czxid, version) = rest.split_once('.')?;
    let version = if version == "-" { None } else { Some(version.parse().ok()?) };
    Some(ChangeId {
        generation: generation.parse().ok()?,
        path: path.clone(),
        czxid: czxid.parse().ok()?,
        version,
    })
}

pub(super) fn stream(row: &Row) -> Result<Stream, LedgerError> {
    let cells = Cells { table: STREAM, names: STREAM_COLUMNS, row };
    let generation = cells.int("watcher_generation")?.and_then(|value| u64::try_from(value).ok());
    let watcher = generation.zip(cells.int("watcher_czxid")?);
    let sequence = cells.needed("sequence", cells.int("sequence"))?;
    Ok(Stream {
        name: cells.needed("target_name", cells.text("target_name"))?.to_owned(),
        id: cells.needed("target_id", cells.parsed("target_id", |text| text.parse().ok()))?,
        position: cells.parsed("position", |text| text.parse().ok())?,
        effective: Millis(cells.needed("effective", cells.int("effective"))?),
        watcher: watcher.map(|(generation, czxid)| Fence { generation, czxid }),
        sequence: u64::try_from(sequence).map_err(|_| cells.strange("sequence"))?,
        resync: cells.parsed("resync", |text| text.parse().ok())?,
    })
}

pub(super) fn of_stream(stream: &Stream) -> Vec<(&'static str, Value)> {
    let watcher = stream.watcher.map(of_fence);
    vec![
        ("position", of_text(stream.position.map(|position| position.to_string()))),
        ("effective", of_int(Some(stream.effective.0))),
        ("watcher_generation", of_int(watcher.map(|(generation, _)| generation))),
        ("watcher_czxid", of_int(watcher.map(|(_, czxid)| czxid))),
        ("sequence", of_int(Some(of_count(stream.sequence)))),
        ("resync", of_text(stream.resync.map(|id| id.to_string()))),
    ]
}

pub(super) fn entry(row: &Row) -> Result<(ZnodePath, Entry), LedgerError> {
    let cells = Cells { table: ASSET, names: ASSET_COLUMNS, row };
    let path = cells.needed("path", cells.parsed("path", path_of))?;
    let seen = cells.parsed("seen", |text| text.parse().ok())?;
    let applied = applied(&cells, &path)?;
    let pending = pending(&cells, &path)?;
    let tombstone = tombstone(&cells, &path)?;
    Ok((path, Entry { applied, pending, seen, tombstone }))
}

fn applied(cells: &Cells<'_>, path: &ZnodePath) -> Result<Option<Applied>, LedgerError> {
    let from = cells.parsed("applied_path", path_of)?;
    let from = from.as_ref().unwrap_or(path);
    let Some(id) = cells.parsed("applied_change", |text| change_of(from, text))? else { return Ok(None) };
    Ok(Some(Applied {
        id,
        asset: cells.asset("applied_kind", "applied_uuid")?,
        document: cells.text("applied_document")?.map(Arc::from),
        digest: cells.text("applied_digest")?.unwrap_or_default().to_owned(),
        edges: Vec::new(),
    }))
}

fn pending(cells: &Cells<'_>, path: &ZnodePath) -> Result<Option<Pending>, LedgerError> {
    let Some(id) = cells.parsed("pending_change", |text| change_of(path, text))? else { return Ok(None) };
    let want = match cells.needed("pending_want", cells.text("pending_want"))? {
        "delete" => Want::Delete,
        "nonsense" => Want::Nonsense,
        "put" => Want::Put {
            asset: cells.needed("pending_uuid", cells.asset("pending_kind", "pending_uuid"))?,
            document: Arc::from(cells.needed("pending_document", cells.text("pending_document"))?),
            edges: Vec::new(),
        },
        _ => return Err(cells.strange("pending_want")),
    };
    Ok(Some(Pending {
        id,
        at: Millis(cells.needed("pending_at", cells.int("pending_at"))?),
        offset: cells.needed("pending_offset", cells.int("pending_offset"))?,
        want,
        state: cells.needed(
            "pending_state",
            cells.parsed("pending_state", |text| serde_json::from_str::<State>(text).ok()),
        )?,
    }))
}

fn tombstone(cells: &Cells<'_>, path: &ZnodePath) -> Result<Option<Tombstone>, LedgerError> {
    let Some(id) = cells.parsed("tombstone_change", |text| change_of(path, text))? else { return Ok(None) };
    Ok(Some(Tombstone {
        id,
        at: Millis(cells.needed("tombstone_at", cells.int("tombstone_at"))?),
        offset: cells.needed("tombstone_offset", cells.int("tombstone_offset"))?,
        kind: cells.parsed("tombstone_kind", kind_of)?,
    }))
}

/// In the order of [`ASSET_COLUMNS`].
pub(super) fn of_entry(path: &ZnodePath, entry: &Entry) -> Vec<Value> {
    let mut values = vec![of_text(Some(path.as_str()))];
    let applied = entry.applied.as_ref();
    let asset = applied.and_then(|its| its.asset);
    values.extend([
        of_text(applied.map(|its| of_change(&its.id))),
        of_text(applied.filter(|its| its.id.path != *path).map(|its| its.id.path.as_str())),
        of_text(asset.map(|(kind, _)| kind.to_string())),
        of_text(asset.map(|(_, uuid)| uuid.to_string())),
        of_text(applied.and_then(|its| its.document.as_deref())),
        of_text(applied.map(|its| its.digest.as_str())),
    ]);
    let pending = entry.pending.as_ref();
    let (want, asset, document) = match pending.map(|its| &its.want) {
        None => (None, None, None),
        Some(Want::Delete) => (Some("delete"), None, None),
        Some(Want::Nonsense) => (Some("nonsense"), None, None),
        Some(Want::Put { asset, document, .. }) => (Some("put"), Some(*asset), Some(&**document)),
    };
    let state = pending.and_then(|its| serde_json::to_string(&its.state).ok());
    values.extend([
        of_text(pending.map(|its| of_change(&its.id))),
        of_int(pending.map(|its| its.at.0)),
        of_int(pending.map(|its| its.offset)),
        of_text(want),
        of_text(asset.map(|(kind, _)| kind.to_string())),
        of_text(asset.map(|(_, uuid)| uuid.to_string())),
        of_text(document),
        of_text(state),
        of_text(entry.seen.map(|id| id.to_string())),
    ]);
    let tombstone = entry.tombstone.as_ref();
    values.extend([
        of_text(tombstone.map(|its| of_change(&its.id))),
        of_int(tombstone.map(|its| its.at.0)),
        of_int(tombstone.map(|its| its.offset)),
        of_text(tombstone.and_then(|its| its.kind).map(|kind| kind.to_string())),
    ]);
    values
}

pub(super) fn edge(row: &Row) -> Result<(ZnodePath, &'static str, Edge), LedgerError> {
    let cells = Cells { table: REFERENCE, names: REFERENCE_COLUMNS, row };
    let part = |text: &str| ["applied", "pending"].into_iter().find(|part| *part == text);
    let path = cells.needed("path", cells.parsed("path", path_of))?;
    let part = cells.needed("part", cells.parsed("part", part))?;
    let target = cells.needed("target", cells.text("target"))?;
    match cells.text("kind")? {
        Some("secret") => return Ok((path, part, Edge::Secret(target.to_owned()))),
        Some("endpoint") => return Ok((path, part, Edge::Endpoint(target.to_owned()))),
        Some(_) | None => {}
    }
    let strength = |text: &str| match text {
        "hard" => Some(Strength::Hard),
        "soft" => Some(Strength::Soft),
        _ => None,
    };
    let edge = Edge::Asset {
        strength: cells.needed("strength", cells.parsed("strength", strength))?,
        kind: cells.needed("kind", cells.parsed("kind", kind_of))?,
        uuid: target.parse().map_err(|_| cells.strange("target"))?,
    };
    Ok((path, part, edge))
}

/// In the order of [`REFERENCE_COLUMNS`].
pub(super) fn of_edges(path: &ZnodePath, entry: &Entry) -> Vec<Vec<Value>> {
    let applied = entry.applied.iter().flat_map(|its| &its.edges).map(|edge| ("applied", edge));
    let wanted = entry.pending.iter().flat_map(|its| match &its.want {
        Want::Put { edges, .. } => edges.as_slice(),
        Want::Nonsense | Want::Delete => &[],
    });
    let wanted = wanted.map(|edge| ("pending", edge));
    let row = |(part, edge): (&str, &Edge)| {
        let (strength, kind, target) = match edge {
            Edge::Secret(reference) => ("hard", "secret".to_owned(), reference.clone()),
            Edge::Endpoint(name) => ("hard", "endpoint".to_owned(), name.clone()),
            Edge::Asset { strength, kind, uuid } => {
                let strength = match strength {
                    Strength::Hard => "hard",
                    Strength::Soft => "soft",
                };
                (strength, kind.to_string(), uuid.to_string())
            }
        };
        [path.as_str(), part, strength, &kind, &target].map(|text| of_text(Some(text))).to_vec()
    };
    applied.chain(wanted).map(row).collect()
}
