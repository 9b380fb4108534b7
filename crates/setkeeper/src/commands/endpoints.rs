//! `endpoints`: what databases follow, and what was chosen for them.

use std::collections::BTreeMap;

use agent::endpoints::{ROLE, Report, Told};
use asset::{Chosen, Follow, Group, Setting, parse_chosen, parse_setting};
use change::{Millis, Place};
use serde::Serialize;
use zk::{Found, Session};

use super::{connect, serve};
use crate::cli::{self, Output};
use crate::config::Config;
use crate::exit::{Exit, Failure, chain};
use crate::output::{self, Printed, table};

/// `setkeeper endpoints`
pub(super) async fn endpoints(
    config: Config,
    output: Output,
    given: cli::Endpoints,
) -> Result<Exit, Failure> {
    match given {
        cli::Endpoints::Run => serve::run(config, serve::Roles::Endpoints).await,
        cli::Endpoints::List => {
            let session = connect(&config).await?;
            let list = list(&session).await.map_err(|error| Failure::of(Exit::Failed, &error))?;
            output::print(output, &list);
            Ok(Exit::Done)
        }
    }
}

/// Every endpoint, and who follows their registries.
#[derive(Debug, Default, Serialize)]
pub(super) struct List {
    /// Host and pid of the worker; `None` if none runs.
    worker: Option<String>,
    pub(super) endpoints: Vec<Endpoint>,
    /// What belongs to no endpoint.
    pub(super) problems: Vec<String>,
}

/// One endpoint, as ZooKeeper has it and the worker tells of it.
#[derive(Debug, Serialize)]
pub(super) struct Endpoint {
    pub(super) name: String,
    registry: Option<String>,
    connect: Option<String>,
    path: Option<String>,
    choose: Option<&'static str>,
    chosen: Vec<String>,
    since: Option<Millis>,
    /// How many instances take clients; unknown while no worker tells.
    registered: Option<usize>,
    /// How many of them pass their check.
    healthy: Option<usize>,
    instances: Vec<agent::endpoints::ToldInstance>,
    dropped: Vec<agent::endpoints::ToldDropped>,
    pub(super) problems: Vec<String>,
}

/// Reads all of it.
///
/// # Errors
/// [`zk::ReadError`].
pub(super) async fn list(session: &Session) -> Result<List, zk::ReadError> {
    let tree = session.read_tree(&["settings/endpoints", "endpoints"]).await?;
    let mut list = List::default();
    let mut places: BTreeMap<&str, (Option<&Found>, Option<&Found>)> = BTreeMap::new();
    for (path, found) in &tree.nodes {
        match path.place() {
            Ok(Place::Setting { name, .. }) => places.entry(name).or_default().0 = Some(found),
            Ok(Place::Endpoint { name }) => places.entry(name).or_default().1 = Some(found),
            _ => list.problems.push(format!("`{path}` is at no place of an endpoint; delete it")),
        }
    }
    list.problems.extend(tree.unreadable.iter().map(|path| format!("`{path}` may not be read")));
    let report = report(session, &mut list).await?;
    for (name, (setting, chosen)) in places {
        let told = report.as_ref().and_then(|report| report.endpoints.get(name));
        list.endpoints.push(endpoint(name, setting, chosen, told));
    }
    if list.worker.is_none() && list.endpoints.iter().any(|endpoint| endpoint.registry.is_some()) {
        list.problems.push(
            "no worker follows the registries now: start `setkeeper run` or `setkeeper endpoints run`; what was chosen \
             stays"
                .to_owned(),
        );
    }
    Ok(list)
}

/// What the elected worker tells. It goes with the worker's session, so that it is never of a worker that is gone.
async fn report(session: &Session, list: &mut List) -> Result<Option<Report>, zk::ReadError> {
    match session.candidates(ROLE).await {
        Ok(candidates) => {
            let elected = candidates.into_iter().find(|candidate| candidate.elected);
            list.worker = elected.map(|elected| {
                elected
                    .worker
                    .map_or_else(|| "a worker of another version".to_owned(), |worker| worker.holder)
            });
        }
        Err(error) => list.problems.push(chain(&error).join(": ")),
    }
    let Some(found) = session.reported(ROLE).await? else { return Ok(None) };
    match Report::parse(&found.bytes) {
        Ok(report) => {
            list.problems.extend(report.problems.iter().cloned());
            Ok(Some(report))
        }
        Err(error) => {
            list.problems.push(format!("the worker's report is not understood: {error}"));
            Ok(None)
        }
    }
}

fn endpoint(name: &str, setting: Option<&Found>, chosen: Option<&Found>, told: Option<&Told>) -> Endpoint {
    let mut problems = told.map(|told| told.problems.clone()).unwrap_or_default();
    let follow = setting.and_then(|found| match read_setting(name, found) {
        Ok(follow) => Some(follow),
        Err(fault) => {
            if told.is_none() {
                problems.push(format!("its setting cannot be read: {fault}"));
            }
            None
        }
    });
    let standing = chosen.and_then(|found| match read_chosen(name, found) {
        Ok(chosen) => Some(chosen),
        Err(fault) => {
            if told.is_none() {
                problems.push(format!("what stands at endpoints/{name} cannot be read: {fault}"));
            }
            None
        }
    });
    if told.is_none() && setting.is_some() && chosen.is_none() {
        problems.push("nothing is chosen yet".to_owned());
    }
    let hosts = standing.iter().flat_map(|chosen| &chosen.chosen).map(ToString::to_string);
    let follow_text = |of: fn(&Follow) -> String| follow.as_ref().map(of);
    Endpoint {
        name: name.to_owned(),
        registry: follow_text(|follow| follow.registry.as_str().to_owned())
            .or_else(|| told.and_then(|told| told.registry.clone())),
        connect: follow.as_ref().and_then(|follow| follow.connect.clone()),
        path: follow_text(|follow| follow.path.clone()).or_else(|| told.and_then(|told| told.path.clone())),
        choose: follow.as_ref().map(|follow| follow.choose.as_str()),
        chosen: hosts.collect(),
        since: chosen.map(|found| found.mtime),
        registered: told.map(|told| told.registered),
        healthy: told.map(|told| told.healthy),
        instances: told.map(|told| told.instances.clone()).unwrap_or_default(),
        dropped: told.map(|told| told.dropped.clone()).unwrap_or_default(),
        problems,
    }
}

fn read_setting(name: &str, found: &Found) -> Result<Follow, String> {
    match parse_setting(Group::Endpoints, name, &found.bytes) {
        Ok(Setting::Follow(follow)) => Ok(follow),
        Ok(_) => Err("it is no endpoint's setting".to_owned()),
        Err(faults) => Err(joined(&faults)),
    }
}

fn read_chosen(name: &str, found: &Found) -> Result<Chosen, String> {
    parse_chosen(name, &found.bytes).map_err(|faults| joined(&faults))
}

fn joined(faults: &[asset::Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl List {
    /// The table of them.
    pub(super) fn table(&self) -> String {
        let number = |count: Option<usize>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
        let row = |endpoint: &Endpoint| {
            let registry = endpoint.registry.clone().unwrap_or_else(|| "not followed".to_owned());
            let place = [endpoint.connect.clone(), endpoint.path.clone()].into_iter().flatten();
            vec![
                endpoint.name.clone(),
                registry,
                place.collect::<Vec<_>>().join(" "),
                endpoint.chosen.join("\n"),
                endpoint.since.map(|since| since.to_string()).unwrap_or_default(),
                number(endpoint.registered),
                number(endpoint.healthy),
                endpoint.problems.join("\n"),
            ]
        };
        let header = ["endpoint", "registry", "path", "chosen", "since", "registered", "healthy", "problem"];
        table(&header, self.endpoints.iter().map(row))
    }
}

impl Printed for List {
    fn text(&self) -> String {
        let mut parts = Vec::new();
        match &self.endpoints[..] {
            [] => parts.push("no endpoint is set; see docs/endpoints.md".to_owned()),
            _ => parts.push(self.table()),
        }
        if let Some(worker) = &self.worker {
            parts.push(format!("followed by {worker}"));
        }
        parts.extend(self.problems.iter().map(|problem| format!("TROUBLE: {problem}")));
        parts.join("\n")
    }
}
