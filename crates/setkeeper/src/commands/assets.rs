//! `push`, `put`, `get`, `ls` and `rm`: every write goes to ZooKeeper, with an edit record, from the state that was
//! looked at.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use asset::{Document, bundle};
use change::{Place, ZnodePath};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use uuid::Uuid;
use zk::{Draft, Found, Session, WrittenPart};

use super::plan::{self, Step};
use super::refuse;
use super::wait::{Results, Waiting};
use super::{author, connect};
use crate::cli::{Get, Ls, Output, Push, Put, Rm, Why};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{self, Printed, table};

/// `setkeeper push`
pub(super) async fn push(config: &Config, output: Output, push: Push) -> Result<Exit, Failure> {
    let bundle =
        bundle::read(&push.bundle).map_err(|faults| refused(&push.bundle.display().to_string(), &faults))?;
    for warning in &bundle.warnings {
        eprintln!("setkeeper: {warning}");
    }
    let session = connect(config).await?;
    let nodes = tree(&session).await?;
    let known = plan::uuids(&nodes);
    let existing: BTreeMap<Uuid, String> =
        known.iter().map(|(uuid, path)| (*uuid, path.to_string())).collect();
    let mut steps = Vec::new();
    for (path, index) in bundle::znode_names(&bundle, &push.project, &existing) {
        let path = parse_path(&path)?;
        let found = nodes.get(&path);
        let (document, warning) = plan::keep_own_keys(&path, found, bundle.documents[index].document.clone());
        if let Some(warning) = warning {
            eprintln!("setkeeper: {warning}");
        }
        steps.extend(plan::put(&path, found, document));
    }
    // In the order in which they need one another, so that few have to wait.
    steps.sort_by_key(|step| step.after.as_ref().map(Document::kind));
    allowed(config, &push.bundle.display().to_string(), &steps)?;
    warn_dangling(&known, &nodes, &steps);
    if push.dry_run {
        let planned = Planned::of(&steps);
        output::print(output, &planned);
        return Ok(if steps.is_empty() { Exit::Done } else { Exit::Found });
    }
    write(config, output, &session, steps, push.why).await
}

/// `setkeeper put`: an asset's document, a setting or an endpoint, refused before ZooKeeper by what would reject it there.
pub(super) async fn put(config: &Config, output: Output, put: Put) -> Result<Exit, Failure> {
    let path = parse_path(&put.path)?;
    let kind = plan::kind_at(&path).map_err(|why| usage(&put.path, &why))?;
    let bytes = read_input(&put.file)?;
    let wanted = match kind {
        Some(kind) => {
            Wanted::Document(asset::parse(kind, &bytes).map_err(|faults| refused(&put.path, &faults))?)
        }
        None => Wanted::Other(plan::other(&path, &bytes).map_err(|faults| refused_for(&put.path, &faults))?),
    };
    let session = connect(config).await?;
    let step = match wanted {
        Wanted::Document(document) => {
            let nodes = tree(&session).await?;
            let known = plan::uuids(&nodes);
            if let Some(other) = known.get(&document.uuid()).filter(|other| **other != path) {
                let why =
                    format!("uuid {} stands at `{other}` already; put it there, or move it", document.uuid());
                return Err(usage(&put.path, &why));
            }
            let step = plan::put(&path, nodes.get(&path), document);
            warn_dangling(&known, &nodes, step.as_slice());
            step
        }
        Wanted::Other(bytes) => {
            let found = session.read(&path).await.map_err(|error| read_failed(&error))?;
            plan::put_bytes(&path, found.as_ref(), bytes)
        }
    };
    let steps: Vec<Step> = step.into_iter().collect();
    allowed(config, &put.path, &steps)?;
    write(config, output, &session, steps, put.why).await
}

/// What `put` was given, read.
#[expect(clippy::large_enum_variant, reason = "there is one")]
enum Wanted {
    Document(Document),
    Other(Vec<u8>),
}

/// `setkeeper get`
pub(super) async fn get(config: &Config, get: Get) -> Result<Exit, Failure> {
    let path = parse_path(&get.path)?;
    let session = connect(config).await?;
    let found =
        session.read(&path).await.map_err(|error| read_failed(&error))?.ok_or_else(|| missing(&path))?;
    if found.bytes.is_empty() && path.place() == Ok(Place::Folder) {
        let what = format!("`{path}` is a folder; `setkeeper ls {path}` lists what stands in it");
        return Err(Failure::new(Exit::Failed, what));
    }
    // What cannot be unpacked is shown as it stands.
    let stored = asset::unpack(&found.bytes).unwrap_or_else(|_| found.bytes.as_slice().into());
    let pretty = serde_json::from_slice::<serde_json::Value>(&stored)
        .ok()
        .and_then(|value| serde_json::to_vec_pretty(&value).ok());
    let mut shown = pretty.unwrap_or_else(|| stored.into_owned());
    shown.push(b'\n');
    output::raw(&shown);
    Ok(Exit::Done)
}

/// `setkeeper ls`
pub(super) async fn ls(config: &Config, output: Output, ls: Ls) -> Result<Exit, Failure> {
    let below = parse_path(ls.path.trim_end_matches('/'))?;
    let session = connect(config).await?;
    let snapshot = session.read_tree(&[below.as_str()]).await.map_err(|error| read_failed(&error))?;
    for path in &snapshot.unreadable {
        eprintln!("setkeeper: `{path}` may not be read with these credentials");
    }
    let listed = |(path, found): (&ZnodePath, &Found)| {
        let document = plan::document_at(path, found);
        Listed {
            path: path.to_string(),
            name: document.as_ref().map(|document| document.name().to_owned()),
            uuid: document.as_ref().map(Document::uuid),
            version: found.version,
            changed: found.mtime.to_string(),
            bytes: found.bytes.len(),
        }
    };
    output::print(output, &Listing(snapshot.nodes.iter().map(listed).collect()));
    Ok(Exit::Done)
}

/// `setkeeper rm`
pub(super) async fn rm(config: &Config, output: Output, rm: Rm) -> Result<Exit, Failure> {
    let session = connect(config).await?;
    let mut steps = Vec::new();
    for path in &rm.paths {
        let path = parse_path(path)?;
        if !path.is_watched() {
            return Err(usage(
                path.as_str(),
                "nothing of setkeeper's stands there; documents stand below assets/",
            ));
        }
        // Whatever else stands there may go, above all what every target rejects.
        let found = session.read(&path).await.map_err(|error| read_failed(&error))?;
        steps.push(plan::delete(&path, &found.ok_or_else(|| missing(&path))?));
    }
    write(config, output, &session, steps, rm.why).await
}

/// Writes the steps as one edit, waits for the outcomes if asked to, and prints what came of it.
pub(super) async fn write(
    config: &Config,
    output: Output,
    session: &Session,
    steps: Vec<Step>,
    why: Why,
) -> Result<Exit, Failure> {
    if steps.is_empty() {
        output::print(output, &Results::unawaited(&[]));
        return Ok(Exit::Done);
    }
    let waiting = if why.wait { Some(Waiting::begin(config).await?) } else { None };
    let edits: Vec<_> = steps.into_iter().map(|step| step.edit).collect();
    let draft = Draft {
        author: author(why.who.author),
        message: why.who.message,
        traceparent: None,
        rollback_of: None,
    };
    let bar = progress();
    let written = session
        .write(&edits, &draft, |part, parts| {
            bar.set_length(u64::from(parts));
            bar.set_position(u64::from(part));
        })
        .await;
    bar.finish_and_clear();
    let written = written.map_err(|error| write_failed(&error))?;
    warn_overwrote(&written);
    let results = match waiting {
        Some(waiting) => waiting.outcomes(config, &written, why.wait_max).await?,
        None => Results::unawaited(&written),
    };
    output::print(output, &results);
    Ok(results.exit())
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("writing part {pos} of {len} {bar:30}");
    let bar = ProgressBar::new(1);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

fn warn_overwrote(written: &[WrittenPart]) {
    for path in written.iter().flat_map(|part| &part.overwrote) {
        eprintln!(
            "setkeeper: `{path}` was deleted and created again by somebody else in the meantime and is now \
             overwritten; look at `setkeeper history {path}`"
        );
    }
}

fn write_failed(error: &zk::WriteError) -> Failure {
    let exit = if matches!(error.advice(), zk::Advice::Restart) { Exit::Unreachable } else { Exit::Failed };
    let failure = Failure::of(exit, error);
    if error.written().is_empty() {
        failure
    } else {
        failure.hint("what was written stays; give the same command again and it writes only what is missing")
    }
}

async fn tree(session: &Session) -> Result<BTreeMap<ZnodePath, Found>, Failure> {
    let roots = ["assets", "settings/endpoints", "endpoints"];
    let snapshot = session.read_tree(&roots).await.map_err(|error| read_failed(&error))?;
    for path in &snapshot.unreadable {
        eprintln!(
            "setkeeper: `{path}` may not be read with these credentials; what stands there is not known"
        );
    }
    Ok(snapshot.nodes)
}

pub(super) fn read_failed(error: &zk::ReadError) -> Failure {
    let exit = if matches!(error.advice(), zk::Advice::Restart) { Exit::Unreachable } else { Exit::Failed };
    Failure::of(exit, error)
}

pub(super) fn parse_path(text: &str) -> Result<ZnodePath, Failure> {
    text.trim_start_matches('/').parse().map_err(|error| Failure::of(Exit::Usage, &error))
}

fn usage(path: &str, why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{path}: {why}"))
}

fn missing(path: &ZnodePath) -> Failure {
    Failure::new(Exit::Failed, format!("nothing stands at `{path}`; `setkeeper ls` lists what does"))
}

/// All faults of what was given, one a line; nothing reached ZooKeeper.
fn refused(what: &str, faults: &[asset::Fault]) -> Failure {
    refused_for(what, &faults.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Refuses what the configuration lets no target apply.
fn allowed(config: &Config, what: &str, steps: &[Step]) -> Result<(), Failure> {
    let targets: Vec<_> = config.targets.iter().map(|target| &target.applier.target).collect();
    let refusals = refuse::refusals(&targets, steps);
    if refusals.is_empty() { Ok(()) } else { Err(refused_for(what, &refusals)) }
}

fn warn_dangling(known: &BTreeMap<Uuid, ZnodePath>, nodes: &BTreeMap<ZnodePath, Found>, steps: &[Step]) {
    for line in refuse::dangling(known, &plan::endpoints(nodes), steps) {
        eprintln!("setkeeper: {line}");
    }
}

fn refused_for(what: &str, faults: &[String]) -> Failure {
    let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
    Failure::new(Exit::Usage, format!("{what} is refused, nothing was written:\n{}", lines.join("\n")))
}

fn read_input(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    read.map_err(|error| Failure::new(Exit::Usage, format!("read {}: {error}", file.display())))
}

/// What `push --dry-run` would do.
#[derive(Debug, Serialize)]
struct Planned {
    changes: Vec<PlannedChange>,
}

#[derive(Debug, Serialize)]
struct PlannedChange {
    path: String,
    op: &'static str,
    fields: Vec<String>,
}

impl Planned {
    fn of(steps: &[Step]) -> Planned {
        let change = |step: &Step| PlannedChange {
            path: step.edit.path.to_string(),
            op: step.verb(),
            fields: match &step.before {
                None => Vec::new(),
                Some(before) => {
                    asset::diff(Some(before), step.after.as_ref()).iter().map(ToString::to_string).collect()
                }
            },
        };
        Planned { changes: steps.iter().map(change).collect() }
    }
}

impl Printed for Planned {
    fn text(&self) -> String {
        if self.changes.is_empty() {
            return "nothing to write: ZooKeeper holds it all already".to_owned();
        }
        let rows = self
            .changes
            .iter()
            .map(|change| vec![change.op.to_owned(), change.path.clone(), change.fields.join("\n")]);
        table(&["op", "path", "fields"], rows)
    }
}

/// What `ls` found.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Listing(Vec<Listed>);

#[derive(Debug, Serialize)]
struct Listed {
    path: String,
    name: Option<String>,
    uuid: Option<Uuid>,
    version: i32,
    changed: String,
    bytes: usize,
}

impl Printed for Listing {
    fn text(&self) -> String {
        let rows = self.0.iter().map(|listed| {
            vec![
                listed.path.clone(),
                listed.name.clone().unwrap_or_default(),
                listed.uuid.map(|uuid| uuid.to_string()).unwrap_or_default(),
                listed.version.to_string(),
                listed.changed.clone(),
                listed.bytes.to_string(),
            ]
        });
        table(&["path", "name", "uuid", "version", "changed", "bytes"], rows)
    }
}
