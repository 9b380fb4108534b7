//! `setkeeper nodes`: Superset's nodes, as their agents and the registry tell of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent::node::Until;
use agent::process::Process;
use agent::rolling::{self, Request, RequestState, Restart};
use agent::run::{Drain, boot_id, drain_path, role};
use serde::Serialize;
use tokio::time::Instant;
use ulid::Ulid;
use zk::{Found, Session};

use super::assets::read_failed;
use super::{author, connect};
use crate::cli::{self, Nodes, NodesOf, Output, RestartNodes};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{self, Printed};
use crate::supervisor::now;

mod fleet;

pub(super) use fleet::{Node, look, rows};

/// Requests for a restart that are kept for a look back.
const RESTARTS_KEPT: usize = 20;

/// `setkeeper nodes`
pub(super) async fn nodes(config: &Config, output: Output, nodes: Nodes) -> Result<Exit, Failure> {
    let session = connect(config).await?;
    match nodes {
        Nodes::List(of) => {
            let fleet = look(&session, of.service.as_deref()).await.map_err(|error| read_failed(&error))?;
            output::print(output, &fleet);
            Ok(Exit::Done)
        }
        Nodes::Drain(drain) => self::drain(config, output, &session, drain).await,
        Nodes::Undrain { instance, of } => undrain(config, output, &session, &instance, of).await,
        Nodes::Wait { count, wait, of } => wait_for(config, output, &session, count, wait, of).await,
        Nodes::Restart(restart) if restart.cancel => cancel(config, output, &session, restart).await,
        Nodes::Restart(restart) => self::restart(config, output, &session, restart).await,
        Nodes::Forget { instance } => forget(output, &session, &instance).await,
    }
}

/// A sentence for people, an object for scripts.
#[derive(Serialize)]
struct Said {
    #[serde(flatten)]
    value: serde_json::Value,
    #[serde(skip)]
    text: String,
}

impl Printed for Said {
    fn text(&self) -> String {
        self.text.clone()
    }
}

fn say(output: Output, value: serde_json::Value, text: String) {
    output::print(output, &Said { value, text });
}

fn service(config: &Config, of: NodesOf) -> String {
    of.service.unwrap_or_else(|| config.agent.service.clone())
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::of(Exit::Failed, error)
}

async fn known(session: &Session, service: &str) -> Result<Vec<Node>, Failure> {
    let fleet = look(session, Some(service)).await.map_err(|error| read_failed(&error))?;
    Ok(fleet.nodes)
}

fn unknown(service: &str, instance: &str) -> Failure {
    Failure::new(
        Exit::Usage,
        format!("no node of {service} is called `{instance}`; `setkeeper nodes list` lists them"),
    )
}

async fn drain(
    config: &Config,
    output: Output,
    session: &Session,
    drain: cli::Drain,
) -> Result<Exit, Failure> {
    let service = service(config, drain.of);
    let instance = drain.instance.unwrap_or_else(|| config.agent.instance.clone());
    let nodes = known(session, &service).await?;
    let node = nodes.iter().find(|node| node.instance == instance);
    let said = serde_json::json!({"service": service, "instance": instance});
    match node {
        // Nobody would end such a drain, and the node is not registered by anyone.
        _ if drain.self_node && !node.is_some_and(|node| node.runs() || node.registered) => {
            say(output, said, format!("{service}/{instance} is not registered: its agent does not run"));
            return Ok(Exit::Done);
        }
        None => return Err(unknown(&service, &instance)),
        Some(_) => {}
    }
    let until = if drain.self_node || drain.until_restart { Until::Restart } else { Until::Undrain };
    let json = Drain {
        v: 1,
        by: author(drain.who.author),
        reason: if drain.who.message.is_empty() && drain.self_node {
            "superset stops".to_owned()
        } else {
            drain.who.message
        },
        since: now(),
        until,
        boot: drain.self_node.then(boot_id).flatten(),
        process: drain.self_node.then(main_process).flatten(),
    };
    // Whoever took the node out for longer has the word.
    let stands = node.and_then(|node| node.drained.as_ref()).filter(|stands| stands.until == Until::Undrain);
    let stands = stands.filter(|_| until == Until::Restart);
    if stands.is_none() {
        let bytes = serde_json::to_vec(&json).expect("texts and numbers always make JSON");
        session.put_mark(&drain_path(&service, &instance), &bytes).await.map_err(|error| failed(&error))?;
    }
    if drain.wait {
        let was_in = node.is_some_and(|node| node.registered);
        out(session, &service, &instance, drain.wait_max).await?;
        if was_in {
            tokio::time::sleep(config.agent.drain_grace).await;
        }
    }
    let text = match until {
        _ if stands.is_some() => format!("{service}/{instance} is drained already, until `nodes undrain`"),
        Until::Undrain => {
            format!("{service}/{instance} is drained until `setkeeper nodes undrain {instance}`")
        }
        Until::Restart => format!("{service}/{instance} is drained until its Superset has restarted"),
    };
    say(output, said, text);
    Ok(Exit::Done)
}

/// The Superset that stops, if systemd runs this as its ExecStop.
fn main_process() -> Option<Process> {
    Process::of(std::env::var("MAINPID").ok()?.parse().ok()?)
}

/// Waits until the instance is registered no longer.
async fn out(session: &Session, service: &str, instance: &str, within: Duration) -> Result<(), Failure> {
    let gone = registered(session, service, within, |instances| !instances.contains(instance)).await?;
    if gone {
        return Ok(());
    }
    let what =
        format!("{service}/{instance} is registered still, {} later", humantime::format_duration(within));
    Err(Failure::new(Exit::Failed, what)
        .hint("its agent takes it out: does it run? `setkeeper nodes list` tells"))
}

/// Waits until the registered instances are as wanted; `false` if they are not in time.
async fn registered(
    session: &Session,
    service: &str,
    within: Duration,
    wanted: impl Fn(&BTreeSet<String>) -> bool,
) -> Result<bool, Failure> {
    let deadline = Instant::now() + within;
    let mut follower =
        session.follow(&format!("services/{service}")).await.map_err(|error| read_failed(&error))?;
    loop {
        let instances = follower.nodes().keys().filter(|name| !name.is_empty() && !name.contains('/'));
        if follower.is_connected() && wanted(&instances.cloned().collect()) {
            return Ok(true);
        }
        match tokio::time::timeout_at(deadline, follower.changed()).await {
            Err(_) => return Ok(false),
            Ok(changed) => changed.map_err(|error| read_failed(&error))?,
        }
    }
}

async fn undrain(
    config: &Config,
    output: Output,
    session: &Session,
    instance: &str,
    of: NodesOf,
) -> Result<Exit, Failure> {
    let service = service(config, of);
    let nodes = known(session, &service).await?;
    // One that is drained is known by that alone.
    let node = nodes.into_iter().find(|node| node.instance == instance);
    let drain = node.ok_or_else(|| unknown(&service, instance))?.drained;
    session.remove_mark(&drain_path(&service, instance)).await.map_err(|error| failed(&error))?;
    let text = match &drain {
        Some(drain) => format!(
            "{service}/{instance} is in again once it is healthy; it was drained by {} since {}: {}",
            drain.by, drain.since, drain.reason
        ),
        None => format!("{service}/{instance} was not drained"),
    };
    say(output, serde_json::json!({"service": service, "instance": instance, "ended": drain}), text);
    Ok(Exit::Done)
}

async fn wait_for(
    config: &Config,
    output: Output,
    session: &Session,
    count: usize,
    within: Duration,
    of: NodesOf,
) -> Result<Exit, Failure> {
    let service = service(config, of);
    if registered(session, &service, within, |instances| instances.len() >= count).await? {
        let text = format!("{count} or more nodes of {service} are registered");
        say(output, serde_json::json!({"service": service, "count": count}), text);
        return Ok(Exit::Done);
    }
    let nodes = known(session, &service).await?;
    let there = nodes.iter().filter(|node| node.registered).count();
    let within = humantime::format_duration(within);
    Err(Failure::new(
        Exit::Failed,
        format!("{there} of {count} nodes of {service} are registered after {within}"),
    ))
}

async fn forget(output: Output, session: &Session, instance: &str) -> Result<Exit, Failure> {
    let fleet = look(session, None).await.map_err(|error| read_failed(&error))?;
    let found: Vec<&Node> = fleet.nodes.iter().filter(|node| node.instance == instance).collect();
    if found.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("no node is called `{instance}`; `setkeeper nodes list` lists them"),
        ));
    }
    if found.iter().any(|node| node.runs() || node.registered) {
        let what = format!("`{instance}` is there: its agent runs, or it is registered; stop it first");
        return Err(Failure::new(Exit::Failed, what));
    }
    for node in found {
        let report = format!("workers/{}", role(&node.service, instance));
        for path in [drain_path(&node.service, instance), report] {
            session.remove_mark(&path).await.map_err(|error| failed(&error))?;
        }
    }
    say(output, serde_json::json!({"instance": instance}), format!("`{instance}` is forgotten"));
    Ok(Exit::Done)
}

/// The requests for a service, the oldest first.
async fn requests(session: &Session, service: &str) -> Result<Vec<Restart>, Failure> {
    let root = format!("control/restart/{service}");
    let tree = session.read_tree(&[&root]).await.map_err(|error| read_failed(&error))?;
    let control: BTreeMap<String, Found> = tree
        .nodes
        .into_iter()
        .filter_map(|(path, found)| Some((path.as_str().strip_prefix("control/")?.to_owned(), found)))
        .collect();
    Ok(rolling::restarts(service, &control))
}

fn running(requests: &[Restart]) -> Option<&Restart> {
    requests.iter().find(|restart| restart.request.state == RequestState::Running)
}

async fn cancel(
    config: &Config,
    output: Output,
    session: &Session,
    asked: RestartNodes,
) -> Result<Exit, Failure> {
    let service = service(config, asked.of);
    let requests = requests(session, &service).await?;
    let Some(restart) = running(&requests) else {
        return Err(Failure::new(Exit::Failed, format!("no restart of {service} runs")));
    };
    let request = restart.ended(RequestState::Cancelled, None);
    let bytes = serde_json::to_vec(&request).expect("texts and numbers always make JSON");
    let path = format!("control/restart/{service}/{}", restart.id);
    if !session.replace_mark(&path, &bytes, restart.version).await.map_err(|error| failed(&error))? {
        return Err(Failure::new(
            Exit::Failed,
            "the restart has just ended; look with `setkeeper nodes list`",
        ));
    }
    let away = restart
        .progress
        .iter()
        .filter(|(_, progress)| progress.state.is_away())
        .map(|(node, _)| node.as_str());
    let away = away.collect::<Vec<_>>().join(", ");
    let rest = if away.is_empty() { String::new() } else { format!("; {away} is away and comes back") };
    say(output, serde_json::json!({"id": restart.id}), format!("restart {} is off{rest}", restart.id));
    Ok(Exit::Done)
}

async fn restart(
    config: &Config,
    output: Output,
    session: &Session,
    asked: RestartNodes,
) -> Result<Exit, Failure> {
    let service = service(config, asked.of);
    let earlier = requests(session, &service).await?;
    if let Some(restart) = running(&earlier)
        && !given_up(config, session, &service, restart).await?
    {
        let what = format!(
            "restart {} of {service} runs since {}, asked for by {}: {}",
            restart.id, restart.request.since, restart.request.by, restart.request.reason
        );
        return Err(Failure::new(Exit::Failed, what)
            .hint("wait for its end, or call it off with `setkeeper nodes restart --cancel`"));
    }
    let nodes = known(session, &service).await?;
    let can = |node: &&Node| node.runs() && node.report.as_ref().is_some_and(|report| report.can_restart);
    let able: BTreeSet<String> = nodes.iter().filter(can).map(|node| node.instance.clone()).collect();
    for node in nodes.iter().filter(|node| !able.contains(&node.instance)) {
        let why = if node.runs() {
            "has no agent.restart_command"
        } else {
            "is not restarted: its agent does not run"
        };
        eprintln!("setkeeper: {service}/{} {why}", node.instance);
    }
    if able.is_empty() {
        return Err(Failure::new(Exit::Failed, format!("no node of {service} can be restarted"))
            .hint("run `setkeeper agent` with agent.restart_command beside each Superset"));
    }
    let id = Ulid::generate().to_string();
    let request = Request {
        v: 1,
        by: author(asked.who.author),
        reason: asked.who.message,
        since: now(),
        nodes: able,
        state: RequestState::Running,
        failed: None,
    };
    let bytes = serde_json::to_vec(&request).expect("texts and numbers always make JSON");
    let path = format!("control/restart/{service}/{id}");
    session.put_mark(&path, &bytes).await.map_err(|error| failed(&error))?;
    for old in rolling::outdated(&earlier, RESTARTS_KEPT) {
        let path = format!("control/restart/{service}/{}", old.id);
        session.remove_mark(&path).await.map_err(|error| failed(&error))?;
    }
    if asked.wait {
        return await_restart(output, session, &service, &id, asked.wait_max).await;
    }
    let names = request.nodes.iter().cloned().collect::<Vec<_>>().join(", ");
    say(
        output,
        serde_json::json!({"id": id, "nodes": request.nodes}),
        format!("restart {id} of {names} is asked for"),
    );
    Ok(Exit::Done)
}

/// Ends a request whose agents are gone, so that another may be asked for.
async fn given_up(
    config: &Config,
    session: &Session,
    service: &str,
    restart: &Restart,
) -> Result<bool, Failure> {
    let valid = config.agent.restart_valid;
    let given_up = restart.is_stale(now(), valid)
        && agent::run::give_up(session, service, &restart.id, valid).await.map_err(|error| failed(&error))?;
    if given_up {
        let missing = missing(restart);
        eprintln!("setkeeper: restart {} of {service} has ended: {missing}", restart.id);
    }
    Ok(given_up)
}

/// Shows each node's progress on standard error until the end.
async fn await_restart(
    output: Output,
    session: &Session,
    service: &str,
    id: &str,
    within: Duration,
) -> Result<Exit, Failure> {
    let deadline = Instant::now() + within;
    let mut follower = session.follow("control/restart").await.map_err(|error| read_failed(&error))?;
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let control: BTreeMap<String, Found> =
            follower.nodes().iter().map(|(path, found)| (format!("restart/{path}"), found.clone())).collect();
        let found = rolling::restarts(service, &control).into_iter().find(|restart| restart.id == id);
        let Some(restart) = found else {
            return Err(Failure::new(Exit::Failed, format!("the request {id} was removed")));
        };
        show(&restart, &mut shown);
        match restart.request.state {
            RequestState::Running => {}
            RequestState::Done => {
                let count = restart.request.nodes.len();
                let value = serde_json::json!({"id": id, "nodes": restart.request.nodes});
                say(output, value, format!("all {count} nodes of {service} have restarted"));
                return Ok(Exit::Done);
            }
            RequestState::Failed | RequestState::Cancelled => return Err(stopped(service, &restart)),
        }
        match tokio::time::timeout_at(deadline, follower.changed()).await {
            Ok(changed) => changed.map_err(|error| read_failed(&error))?,
            Err(_) => {
                let within = humantime::format_duration(within);
                let what =
                    format!("the restart of {service} has not ended within {within}: {}", missing(&restart));
                return Err(Failure::new(Exit::Failed, what)
                    .hint("it goes on; `setkeeper nodes list` shows the nodes, `nodes restart --cancel` calls it off"));
            }
        }
    }
}

fn show(restart: &Restart, shown: &mut BTreeMap<String, String>) {
    for (node, progress) in &restart.progress {
        let why = progress.why.as_ref().map(|why| format!(" {why}")).unwrap_or_default();
        let line = format!("{node}: {}{why}", progress.state.name());
        if shown.get(node) != Some(&line) {
            eprintln!("{line}");
            shown.insert(node.clone(), line);
        }
    }
}

fn stopped(service: &str, restart: &Restart) -> Failure {
    let what = format!("the restart of {service} {}", how_it_stopped(restart));
    Failure::new(Exit::Failed, what).hint("mend the node, then run `setkeeper nodes restart` again")
}

fn how_it_stopped(restart: &Restart) -> String {
    let missing = missing(restart);
    match &restart.request.failed {
        Some(failed) => format!("stopped at {}: {}; {missing}", failed.node, failed.why),
        None => format!("was called off; {missing}"),
    }
}

fn missing(restart: &Restart) -> String {
    let rest: Vec<&str> = restart.missing().collect();
    if rest.is_empty() {
        "all nodes have restarted".to_owned()
    } else {
        format!("not restarted: {}", rest.join(", "))
    }
}
