//! `status`: where everything stands.

use std::collections::BTreeMap;

use auditor::Audit;
use change::Topic;
use queue::{Position, Queue, ReadError};
use serde::Serialize;

use super::discover::{self, FileStatus};
use super::endpoints;
use super::existing_queue;
use super::nodes::{self, Node};
use crate::cli::Output;
use crate::config::Config;
use crate::exit::{Exit, Failure, chain};
use crate::output::{self, Printed, table};
use crate::role::{self, Role};

/// `setkeeper status`
pub(super) async fn status(config: &Config, output: Output) -> Result<Exit, Failure> {
    let mut status = Status::default();
    status.ensemble(config).await;
    let queue = match existing_queue(config).await {
        Ok(Some(queue)) => Some(queue),
        // A machine without a target runs no worker that makes one.
        Ok(None) if config.targets.is_empty() => None,
        Ok(None) => {
            let path = config.queue.path.display();
            status.troubles.push(format!(
                "the queue `{path}` is not there: no worker has run on this machine with this configuration"
            ));
            None
        }
        Err(error) => {
            status.trouble(&error);
            None
        }
    };
    status.watcher(config, queue.as_ref()).await;
    for target in &config.targets {
        status.target(config, target, queue.as_ref()).await;
    }
    status.auditor(config, queue.as_ref()).await;
    let exit = match (&*status.troubles, status.unreachable) {
        ([], _) => Exit::Done,
        (_, true) => Exit::Unreachable,
        (_, false) => Exit::Found,
    };
    output::print(output, &status);
    Ok(exit)
}

/// Where everything stands. What could not be asked is a trouble, and the rest is told all the same.
#[derive(Debug, Default, Serialize)]
struct Status {
    generation: Option<change::Generation>,
    paused: Option<zk::Pause>,
    stages: Vec<Stage>,
    /// The elected workers, by role.
    #[serde(skip)]
    elected: Option<BTreeMap<String, zk::Candidate>>,
    nodes: Vec<Node>,
    pending: Vec<Pending>,
    audit: Option<AuditStatus>,
    files: Vec<FileStatus>,
    endpoints: endpoints::List,
    troubles: Vec<String>,
    /// Whether one of the troubles is a server that cannot be reached.
    #[serde(skip)]
    unreachable: bool,
}

#[derive(Debug, Serialize)]
struct Stage {
    stage: String,
    /// What the elected worker of its role does, and where; `None` if there is none, or ZooKeeper was not asked.
    worker: Option<String>,
    state: String,
    position: Option<i64>,
    lag_records: Option<u64>,
    lag_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Pending {
    target: String,
    state: &'static str,
    path: String,
    change: String,
    since: String,
    place: Option<String>,
    reason: String,
}

#[derive(Debug, Serialize)]
struct AuditStatus {
    changes: u64,
    outcomes: u64,
    live: u64,
    effective: String,
    head: String,
}

impl Status {
    fn trouble(&mut self, error: &dyn std::error::Error) {
        self.troubles.push(chain(error).join(": "));
    }

    fn unreachable(&mut self, error: &dyn std::error::Error) {
        self.trouble(error);
        self.unreachable = true;
    }

    async fn ensemble(&mut self, config: &Config) {
        let session = match zk::Session::connect(&config.zookeeper).await {
            Ok(session) => session,
            Err(error) => return self.unreachable(&error),
        };
        match session.generation().await {
            Ok(Some(generation)) => self.generation = Some(generation),
            Ok(None) => self.trouble(&zk::ReadError::NotInitialised { root: session.root().to_owned() }),
            Err(error) => self.trouble(&error),
        }
        if self.generation.is_some() {
            match session.paused().await {
                Ok(paused) => self.paused = paused,
                Err(error) => self.trouble(&error),
            }
            match session.elected("").await {
                Ok(elected) => {
                    self.elected = Some(elected.into_iter().map(|each| (each.role.clone(), each)).collect());
                }
                Err(error) => self.trouble(&error),
            }
            self.orphaned_pause(&session).await;
            self.files(&session).await;
            match nodes::look(&session, None).await {
                Ok(fleet) => {
                    self.troubles.extend(fleet.troubles());
                    self.nodes = fleet.nodes;
                }
                Err(error) => self.trouble(&error),
            }
            self.endpoints(&session).await;
        }
    }

    /// What the elected worker of a role does, and where. That there is none is a trouble.
    fn worker(&mut self, role: &Role) -> Option<String> {
        match self.elected.as_ref()?.get(&role.election()?).map(|candidate| &candidate.worker) {
            Some(Some(worker)) => Some(format!("{} on {}", worker.doing, worker.holder)),
            Some(None) => Some("elected, and does not say what it does".to_owned()),
            None => {
                self.troubles.push(format!("no {role} is elected: is `setkeeper run` running?"));
                None
            }
        }
    }

    /// Why the watcher is frozen, as its lock znode tells.
    fn frozen(&self) -> Option<String> {
        role::frozen(self.elected.as_ref()?.get(&Role::Watcher.election()?)?).map(str::to_owned)
    }

    /// Tells of a pause whose lock nobody holds any more: its holder died, and nobody else ends it.
    async fn orphaned_pause(&mut self, session: &zk::Session) {
        let Some((key, by)) =
            self.paused.as_ref().and_then(|pause| Some((pause.lock.clone()?, pause.by.clone())))
        else {
            return;
        };
        match session.is_queued(&key).await {
            Ok(true) => {}
            Ok(false) => self.troubles.push(format!(
                "the appliers stay paused: {by} paused them and is gone, and the lock {key} with it; look at what its \
                 command left, then `setkeeper resume`"
            )),
            Err(error) => self.trouble(&error),
        }
    }

    /// The files of templates, on all machines.
    async fn files(&mut self, session: &zk::Session) {
        match discover::files(session).await {
            Ok(files) => self.files = files,
            Err(error) => return self.trouble(&error),
        }
        for failed in self.files.iter().filter(|file| file.has_failed()) {
            let why = failed.file.reason.as_deref().unwrap_or_default();
            self.troubles.push(format!("the file {} kept by {}: {why}", failed.file.target, failed.holder));
        }
    }

    /// What databases follow.
    async fn endpoints(&mut self, session: &zk::Session) {
        match endpoints::list(session).await {
            Ok(list) => self.endpoints = list,
            Err(error) => return self.trouble(&error),
        }
        self.troubles.extend(self.endpoints.problems.iter().cloned());
        for endpoint in &self.endpoints.endpoints {
            let problems = endpoint.problems.iter();
            self.troubles.extend(problems.map(|problem| format!("endpoint {}: {problem}", endpoint.name)));
        }
    }

    async fn watcher(&mut self, config: &Config, queue: Option<&Queue>) {
        let Some(queue) = queue else { return };
        let saved = match watcher::saved(queue, &config.env).await {
            Ok(saved) => saved,
            Err(error) => return self.trouble(&error),
        };
        if let (Some(recorded), Some(found)) = (saved.generation, self.generation)
            && recorded != found
            && recorded.n >= found.n
        {
            self.troubles.push(format!(
                "ZooKeeper is in generation {found}, on record is {recorded}: the ensemble was restored or replaced and \
                 the watcher freezes; look at it, then `setkeeper approve generation`"
            ));
        }
        if let Some(reason) = self.frozen() {
            self.troubles.push(format!(
                "the watcher is frozen: {reason}; look at it, then `setkeeper approve generation`"
            ));
        }
        let state = match saved.frozen.or(saved.state) {
            None => "has never run".to_owned(),
            Some(watcher::State { state, reason, since, .. }) => {
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                format!("{} since {since}{why}", format!("{state:?}").to_lowercase())
            }
        };
        let position = match queue.end(&Topic::Changes.name(&config.env)).await {
            Ok(end) => Some(end.offset),
            Err(error) => return self.trouble(&error),
        };
        let worker = self.worker(&Role::Watcher);
        self.stages.push(Stage {
            stage: "watcher".to_owned(),
            worker,
            state,
            position,
            lag_records: None,
            lag_ms: None,
        });
    }

    async fn target(&mut self, config: &Config, target: &crate::config::Target, queue: Option<&Queue>) {
        let database = match target.database.connect().await {
            Ok(database) => database,
            Err(error) => return self.unreachable(&error),
        };
        let status = match applier::status(&database, target.ledger_schema()).await {
            Ok(status) => status,
            Err(error) => return self.trouble(&error),
        };
        let counts = format!(
            "{} applied, {} held, {} rejected",
            status.applied,
            status.held.len(),
            status.rejected.len()
        );
        let resync = status.resync.map(|id| format!(", resync {id} open")).unwrap_or_default();
        let role = Role::Applier(target.name.clone());
        self.stage(config, &role, counts + &resync, status.position, queue).await;
        for (state, items) in [("held", status.held), ("rejected", status.rejected)] {
            self.pending.extend(items.into_iter().map(|item| Pending {
                target: target.name.clone(),
                state,
                path: item.id.path.to_string(),
                change: item.id.to_string(),
                since: item.at.to_string(),
                place: item.place,
                reason: item.reason,
            }));
        }
    }

    async fn auditor(&mut self, config: &Config, queue: Option<&Queue>) {
        let status = match config.audit.database.connect_existing().await {
            Ok(database) => Audit::new(database).status().await,
            Err(sql::ConnectError::Missing { .. }) if config.targets.is_empty() => return,
            Err(error) => return self.trouble(&error),
        };
        let status = match status {
            Ok(status) => status,
            Err(error) => return self.trouble(&error),
        };
        let counts = &status.counts;
        let gap = status.resync_needed.map(|why| format!(", waits for a resync: {why}")).unwrap_or_default();
        let state = format!("{} changes, {} outcomes{gap}", counts.changes, counts.outcomes);
        self.stage(config, &Role::Auditor, state, status.changes, queue).await;
        self.audit = Some(AuditStatus {
            changes: counts.changes,
            outcomes: counts.outcomes,
            live: counts.live,
            effective: status.effective.to_string(),
            head: status.head.to_string(),
        });
    }

    async fn stage(
        &mut self,
        config: &Config,
        role: &Role,
        state: String,
        position: Option<Position>,
        queue: Option<&Queue>,
    ) {
        let mut told = Stage {
            stage: role.to_string().replacen('-', " ", 1),
            worker: self.worker(role),
            state,
            position: position.map(|p| p.offset),
            lag_records: None,
            lag_ms: None,
        };
        if let (Some(queue), Some(position)) = (queue, position) {
            match queue.lag(&Topic::Changes.name(&config.env), &position).await {
                Ok(lag) => {
                    told.lag_records = Some(lag.records);
                    told.lag_ms =
                        lag.oldest.map(|oldest| (crate::supervisor::now().0 - oldest / 1000).max(0));
                }
                Err(ReadError::Lost { reason, .. }) => {
                    told.state.push_str(&format!("; its position is lost ({reason}): it resynchronises"));
                }
                Err(error) => self.trouble(&error),
            }
        }
        self.stages.push(told);
    }
}

impl Printed for Status {
    fn text(&self) -> String {
        let mut parts = Vec::new();
        if let Some(generation) = self.generation {
            parts.push(format!("generation {generation}"));
        }
        if let Some(pause) = &self.paused {
            parts.push(format!("PAUSED by {} since {}: {}", pause.by, pause.since, pause.reason));
        }
        let number = |value: Option<String>| value.unwrap_or_default();
        let nobody = if self.elected.is_some() { "NOBODY" } else { "unknown" };
        let stages = self.stages.iter().map(|stage| {
            vec![
                stage.stage.clone(),
                stage.worker.clone().unwrap_or_else(|| nobody.to_owned()),
                number(stage.position.map(|n| n.to_string())),
                number(stage.lag_records.map(|n| n.to_string())),
                number(stage.lag_ms.map(|n| n.to_string())),
                stage.state.clone(),
            ]
        });
        parts.push(table(&["stage", "worker", "position", "lag", "lag ms", "state"], stages));
        if !self.pending.is_empty() {
            let rows = self.pending.iter().map(|pending| {
                let place = pending.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
                vec![
                    pending.state.to_owned(),
                    pending.target.clone(),
                    pending.path.clone(),
                    pending.since.clone(),
                    format!("{place}{}", pending.reason),
                ]
            });
            parts.push(table(&["pending", "target", "path", "since", "why"], rows));
        }
        if !self.files.is_empty() {
            parts.push(FileStatus::table(&self.files));
        }
        if !self.nodes.is_empty() {
            parts.push(nodes::rows(&self.nodes));
        }
        if !self.endpoints.endpoints.is_empty() {
            parts.push(self.endpoints.table());
        }
        if let Some(audit) = &self.audit {
            parts.push(format!("audit: {} live paths, head {}", audit.live, audit.head));
        }
        parts.extend(self.troubles.iter().map(|trouble| format!("TROUBLE: {trouble}")));
        parts.join("\n")
    }
}
