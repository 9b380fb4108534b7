//! What is known of the nodes, and of what was asked of them together.

use std::collections::{BTreeMap, BTreeSet};

use agent::node::{Health, Until};
use agent::rolling::{self, RequestState, Restart, Stage};
use agent::run::{Drain, View};
use agent::scale::Call;
use serde::Serialize;
use zk::{Found, ReadError, Session};

use super::how_it_stopped;
use crate::output::{Printed, table};

/// The nodes of a service or of all. Printed, it is the list of them.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Node>,
    /// The newest restart of each service, where that one has failed.
    #[serde(skip)]
    stopped: BTreeMap<String, Restart>,
    /// The last call of each service's scale command, where that one has failed and the count is not met.
    #[serde(skip)]
    unscaled: BTreeMap<String, Call>,
}

/// One node, by its agent's report, its registration, its drain and the newest restart.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Node {
    pub(super) service: String,
    pub(super) instance: String,
    /// Whether its agent runs; none is known of a service that something else registers.
    agent: Option<bool>,
    pub(super) registered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) drained: Option<Drain>,
    /// What a restart that failed has left undone; the report tells of one that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    restart: Option<Undone>,
    /// What the agent said last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) report: Option<View>,
}

/// A restart that stopped before a node was through.
#[derive(Debug, Clone, Serialize)]
struct Undone {
    /// Of the request.
    id: String,
    state: UndoneState,
    why: String,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum UndoneState {
    /// The node did not come back.
    Failed,
    /// Another did not.
    NotRestarted,
}

/// Why a node is unhealthy, where its agent does not say it.
const NO_REASON: &str = "no reason known";

impl Node {
    fn key(service: &str, instance: &str) -> (String, String) {
        (service.to_owned(), instance.to_owned())
    }

    fn new(service: &str, instance: &str) -> Node {
        Node {
            service: service.to_owned(),
            instance: instance.to_owned(),
            agent: None,
            registered: false,
            drained: None,
            restart: None,
            report: None,
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.agent == Some(true)
    }

    /// Whether its agent is in the middle of a restart of it.
    fn is_away(&self) -> bool {
        let stage = self.report.as_ref().filter(|_| self.runs()).and_then(|report| report.restarting);
        stage.is_some_and(Stage::is_away)
    }

    /// What a restart that failed has left undone here.
    fn undone(&self, restart: &Restart) -> Option<Undone> {
        let failed = restart.request.failed.as_ref()?;
        restart.missing().find(|node| *node == self.instance)?;
        let own = restart.progress.get(&self.instance).filter(|own| own.state == Stage::Failed);
        let own = own.map(|own| own.why.clone().unwrap_or_default());
        let why = if failed.node == self.instance { Some(failed.why.clone()) } else { own };
        let (state, why) = match why {
            Some(why) => (UndoneState::Failed, why),
            // Where several may be away at once, it may come back still.
            None if self.is_away() => return None,
            None => (UndoneState::NotRestarted, format!("the restart stopped at {}", failed.node)),
        };
        Some(Undone { id: restart.id.clone(), state, why })
    }

    /// The settings that it gets with its next restart.
    fn lacks(&self) -> &BTreeSet<String> {
        const NONE: &BTreeSet<String> = &BTreeSet::new();
        self.report.as_ref().filter(|_| self.runs()).map_or(NONE, |report| &report.lacks)
    }

    /// What a person has to look after. A node that somebody took out, or that restarts, need not be healthy.
    fn trouble(&self) -> Option<String> {
        let Node { service, instance, .. } = self;
        if self.agent == Some(false) {
            return Some(format!(
                "the agent of {service}/{instance} does not run; `setkeeper nodes forget {instance}` if the node is gone \
                 for good"
            ));
        }
        let report = self.report.as_ref().filter(|report| report.health == Health::Unhealthy)?;
        let is_meant_to_be = self.drained.is_some() || self.is_away();
        let why = report.why.as_deref().unwrap_or(NO_REASON);
        (!is_meant_to_be).then(|| format!("{service}/{instance} is unhealthy: {why}"))
    }

    fn state(&self) -> String {
        let mut words = Vec::new();
        if self.agent == Some(false) {
            words.push("its agent is down".to_owned());
        }
        if let Some(report) = self.report.as_ref().filter(|_| self.runs()) {
            match report.health {
                Health::Healthy => words.push("healthy".to_owned()),
                Health::Unknown => words.push("not looked at yet".to_owned()),
                Health::Unhealthy => {
                    words.push(format!("unhealthy: {}", report.why.as_deref().unwrap_or(NO_REASON)));
                }
            }
            if let Some(stage) = report.restarting {
                words.push(format!("restart: {}", stage.name()));
            }
            if report.health == Health::Healthy && report.settings > 0 && report.processes == 0 {
                words.push("no process of its Superset reads the live settings (docs/agent.md)".to_owned());
            }
            words.extend(report.faults.iter().map(|(path, why)| format!("{path}: {why}")));
        }
        if let Some(Undone { state, why, .. }) = &self.restart {
            words.push(match state {
                UndoneState::Failed => format!("restart failed: {why}"),
                UndoneState::NotRestarted => format!("not restarted: {why}"),
            });
        }
        if let Some(drain) = &self.drained {
            let until = match drain.until {
                Until::Undrain => "",
                Until::Restart => " until its restart",
            };
            words.push(format!("drained{until} by {}: {}", drain.by, drain.reason));
        }
        words.join("\n")
    }
}

/// Looks at the nodes of a service, or of all.
pub(crate) async fn look(session: &Session, service: Option<&str>) -> Result<Fleet, ReadError> {
    let roots =
        ["workers", "services", "control/drain", "control/restart", "control/scale", "settings/scale"];
    let tree = session.read_tree(&roots).await?;
    let all = tree.nodes.into_iter().map(|(path, found)| (path.as_str().to_owned(), found)).collect();
    let is_meant = |of: &str| service.is_none_or(|service| service == of);
    let mut nodes = nodes(&all);
    nodes.retain(|node| is_meant(&node.service));
    let control = below("control", &all);
    let mut stopped = stopped(&control);
    stopped.retain(|service, _| is_meant(service));
    for node in &mut nodes {
        node.restart = stopped.get(&node.service).and_then(|restart| node.undone(restart));
    }
    let mut unscaled = unscaled(&control, &below("settings/scale", &all), &nodes);
    unscaled.retain(|service, _| is_meant(service));
    Ok(Fleet { nodes, stopped, unscaled })
}

/// What stands below `folder`, by its path from there.
fn below(folder: &str, all: &BTreeMap<String, Found>) -> BTreeMap<String, Found> {
    let prefix = format!("{folder}/");
    let rest =
        |(path, found): (&String, &Found)| Some((path.strip_prefix(&prefix)?.to_owned(), found.clone()));
    all.iter().filter_map(rest).collect()
}

fn nodes(all: &BTreeMap<String, Found>) -> Vec<Node> {
    let workers = below("workers", all);
    let running: BTreeSet<(String, String)> =
        agent::run::running(&workers).map(|view| (view.service, view.instance)).collect();
    let mut nodes: BTreeMap<(String, String), Node> = BTreeMap::new();
    for (path, found) in &workers {
        if !path.starts_with("agent-") || !path.ends_with("/report") {
            continue;
        }
        let Ok(view) = serde_json::from_slice::<View>(&found.bytes) else { continue };
        let key = Node::key(&view.service, &view.instance);
        let runs = running.contains(&key);
        let node = nodes.entry(key).or_insert_with(|| Node::new(&view.service, &view.instance));
        node.agent = Some(runs);
        node.report = Some(view);
    }
    for path in below("services", all).keys() {
        if let Some((service, instance)) = path.split_once('/') {
            let node = nodes.entry(Node::key(service, instance));
            node.or_insert_with(|| Node::new(service, instance)).registered = true;
        }
    }
    for (path, found) in &below("control/drain", all) {
        if let Some((service, instance)) = path.split_once('/') {
            let node = nodes.entry(Node::key(service, instance));
            node.or_insert_with(|| Node::new(service, instance)).drained = Some(Drain::read(found));
        }
    }
    nodes.into_values().collect()
}

/// The newest restart of each service, where that one has failed.
fn stopped(control: &BTreeMap<String, Found>) -> BTreeMap<String, Restart> {
    let services: BTreeSet<&str> =
        control.keys().filter_map(|path| path.strip_prefix("restart/")?.split('/').next()).collect();
    let newest = services
        .into_iter()
        .filter_map(|service| Some((service.to_owned(), rolling::restarts(service, control).pop()?)));
    newest.filter(|(_, restart)| restart.request.state == RequestState::Failed).collect()
}

/// The last call of each service's scale command, where that one has failed. Once the count is met or nobody asks for
/// one, nothing is left to be called for.
fn unscaled(
    control: &BTreeMap<String, Found>,
    wanted: &BTreeMap<String, Found>,
    nodes: &[Node],
) -> BTreeMap<String, Call> {
    let last = control.iter().filter_map(|(path, found)| {
        Some((path.strip_prefix("scale/")?, serde_json::from_slice::<Call>(&found.bytes).ok()?))
    });
    let is_open = |service: &str| {
        let present = nodes.iter().filter(|node| node.service == service && node.runs()).count();
        let wanted = wanted.get(service).and_then(|found| agent::run::wanted(service, found));
        wanted.is_some_and(|wanted| usize::try_from(wanted) != Ok(present))
    };
    last.filter(|(service, call)| call.failed.is_some() && is_open(service))
        .map(|(service, call)| (service.to_owned(), call))
        .collect()
}

impl Fleet {
    /// What a person has to look after.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let stopped = self.stopped.iter().map(|(service, restart)| {
            format!(
                "the restart {} of {service} {}; mend the node, then `setkeeper nodes restart --service {service}` again",
                restart.id,
                how_it_stopped(restart)
            )
        });
        let unscaled = self.unscaled.iter().map(|(service, call)| {
            format!(
                "the scale command of {service}, called by {} at {} for {} nodes where {} were, failed: {}; it is called \
                 again after agent.scale_retry",
                call.by,
                call.at,
                call.wanted,
                call.present,
                call.failed.as_deref().unwrap_or_default()
            )
        });
        stopped.chain(unscaled).chain(self.nodes.iter().filter_map(Node::trouble)).collect()
    }
}

impl Printed for Fleet {
    fn text(&self) -> String {
        if self.nodes.is_empty() {
            return "no node is known; `setkeeper agent` runs beside each Superset".to_owned();
        }
        rows(&self.nodes)
    }
}

/// The nodes as a table.
pub(crate) fn rows(nodes: &[Node]) -> String {
    let rows = nodes.iter().map(|node| {
        let report = node.report.as_ref();
        vec![
            format!("{}/{}", node.service, node.instance),
            if node.registered { "yes" } else { "no" }.to_owned(),
            node.state(),
            node.lacks().iter().cloned().collect::<Vec<_>>().join("\n"),
            report.and_then(|report| report.version.clone()).unwrap_or_default(),
            report.map(|report| report.since.to_string()).unwrap_or_default(),
        ]
    });
    table(&["node", "registered", "state", "lacks until a restart", "version", "since"], rows)
}
