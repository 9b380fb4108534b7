//! The roles that a process can play, and how each one's worker is built for a term.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use change::{Fence, Generation};
use tokio_util::sync::CancellationToken;
use zk::{Reporter, Session};

use crate::config::{Config, Target};
use crate::health::Doing;
use crate::supervisor::{Shared, TermError, holder};

/// One role. A role is active in one process of the fleet at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// ZooKeeper → topic `changes`.
    Watcher,
    /// Topic `changes` → the metadata database of the target of this name.
    Applier(String),
    /// Both topics → the audit database.
    Auditor,
    /// Registrations → whoever asks over HTTP; in every process, not elected.
    Discovery,
    /// The same, and the files of the configured templates.
    Templates,
    /// Beside one Superset node; the role of that node, [`agent::run::role`].
    Agent(String),
    /// Registries of other services → `endpoints` in ZooKeeper.
    Endpoints,
}

/// A worker at work.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result<(), TermError>> + Send + 'a>>;

/// What a term gives a worker.
pub(crate) struct Term {
    pub(crate) session: Session,
    pub(crate) fence: Fence,
    pub(crate) generation: Generation,
    /// What others can read of the worker.
    pub(crate) reporter: Reporter,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Watcher => f.write_str("watcher"),
            Role::Applier(target) => write!(f, "applier-{target}"),
            Role::Auditor => f.write_str("auditor"),
            Role::Discovery => f.write_str("discovery"),
            Role::Templates => f.write_str("templates"),
            Role::Agent(node) => f.write_str(node),
            Role::Endpoints => f.write_str(agent::endpoints::ROLE),
        }
    }
}

impl Role {
    /// The folder below `workers` where the role is elected; `None` of one that every process plays for itself.
    pub(crate) fn election(&self) -> Option<String> {
        match self {
            Role::Watcher | Role::Applier(_) | Role::Auditor | Role::Agent(_) | Role::Endpoints => {
                Some(self.to_string())
            }
            Role::Discovery | Role::Templates => None,
        }
    }

    /// Whether `setkeeper pause` stops it. The watcher and the auditor go on: what happens meanwhile is recorded.
    pub(crate) fn obeys_pause(&self) -> bool {
        matches!(self, Role::Applier(_))
    }

    /// Builds the worker and runs it until `stop` or its own end. The role counts as running once what it needs has
    /// answered.
    pub(crate) fn run<'a>(&'a self, shared: &'a Shared, term: Term, stop: CancellationToken) -> Running<'a> {
        match self {
            Role::Watcher => Box::pin(watcher_term(shared, term, stop)),
            Role::Applier(target) => Box::pin(applier_term(shared, target, term, stop)),
            Role::Auditor => Box::pin(auditor_term(shared, term, stop)),
            Role::Endpoints => Box::pin(endpoints_term(shared, term, stop)),
            Role::Discovery | Role::Templates => Box::pin(self.run_alone(shared, term.session, stop)),
            Role::Agent(_) => Box::pin(agent_term(self, shared, term, stop)),
        }
    }
}

impl Role {
    /// Runs the worker of a role that is not elected until `stop` or its own end.
    pub(crate) async fn run_alone(
        &self,
        shared: &Shared,
        session: Session,
        stop: CancellationToken,
    ) -> Result<(), TermError> {
        let config = agent::discover::Config {
            templates: if *self == Role::Templates { shared.config.templates.clone() } else { Vec::new() },
            name: report_name(),
            holder: holder(),
            report_every: Duration::from_secs(1),
        };
        let worker = agent::discover::Discovery::new(config, session, shared.metrics.board());
        shared.health.set(&self.to_string(), Doing::Running);
        let failed =
            |error: agent::discover::Error| TermError::new(&error, error.advice() == zk::Advice::Stop);
        worker.run(stop).await.map(|agent::discover::Stopped::Asked| ()).map_err(failed)
    }
}

/// What this process calls its report: a name that ZooKeeper and people can read, and that no other process has.
fn report_name() -> String {
    let name = holder().replace(" pid ", "-");
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' }).collect()
}

/// What the watcher's lock znode says while it is frozen.
const FROZEN: &str = "frozen";

/// Why a watcher is frozen, as its lock znode tells.
pub(crate) fn frozen(watcher: &zk::Candidate) -> Option<&str> {
    let worker = watcher.worker.as_ref().filter(|worker| worker.doing == FROZEN)?;
    Some(worker.detail["reason"].as_str().unwrap_or("it does not say why"))
}

/// A failure that may pass by itself.
fn passing(error: &dyn std::error::Error) -> TermError {
    TermError::new(error, false)
}

async fn queue(shared: &Shared) -> Result<queue::Queue, TermError> {
    queue::Queue::embedded(&shared.config.queue).await.map_err(|error| passing(&error))
}

async fn watcher_term(shared: &Shared, term: Term, stop: CancellationToken) -> Result<(), TermError> {
    let queue = queue(shared).await?;
    let Config { watcher: config, env, .. } = &*shared.config;
    let worker = watcher::Watcher::new(config.clone(), term.session, queue, term.fence, term.generation, env)
        .reporting(shared.metrics.watcher());
    let failed = |error: watcher::Error| TermError::new(&error, error.advice() == watcher::Advice::Stop);
    shared.health.set(&Role::Watcher.to_string(), Doing::Running);
    let stats = worker.stats();
    let ended = tokio::select! {
        ended = worker.run(stop) => ended,
        never = tell_of_a_freeze(&stats, &term.reporter) => match never {},
    };
    ended.map(|watcher::Stopped::Asked| ()).map_err(failed)
}

/// Lets the lock znode say that the watcher is frozen: beside the log it cannot say so where its fence is too low.
async fn tell_of_a_freeze(stats: &watcher::Stats, reporter: &Reporter) -> std::convert::Infallible {
    let mut states = stats.state.subscribe();
    // The last term's verdict is not this one's.
    states.mark_unchanged();
    while states.changed().await.is_ok() {
        let state = states.borrow_and_update().clone();
        if state.state == watcher::Phase::Frozen {
            reporter.doing(FROZEN);
            reporter.detail(serde_json::json!({ "reason": state.reason }));
        }
    }
    std::future::pending().await
}

async fn applier_term(
    shared: &Shared,
    target: &str,
    term: Term,
    stop: CancellationToken,
) -> Result<(), TermError> {
    let found = shared.config.targets.iter().find(|each| each.name == target);
    let target = found.expect("roles are made from the configured targets");
    let worker = open_applier(shared, target, term.fence).await?;
    shared.metrics.follow_applier(&target.name, worker.stats());
    shared.health.set(&Role::Applier(target.name.clone()).to_string(), Doing::Running);
    match worker.run(stop).await {
        Ok(applier::Stopped::Asked) => Ok(()),
        Err(error) if error.advice() == applier::Advice::Resync => {
            // What was lost comes again with the resync, so it has to be asked for before the position is given up.
            term.session.request_resync(&error.to_string()).await.map_err(|error| passing(&error))?;
            let mut worker = open_applier(shared, target, term.fence).await?;
            worker.skip(&error).await.map_err(|error| passing(&error))?;
            Err(passing(&error))
        }
        Err(error) => Err(TermError::new(&error, error.advice() == applier::Advice::Stop)),
    }
}

async fn open_applier(shared: &Shared, target: &Target, fence: Fence) -> Result<applier::Applier, TermError> {
    let queue = queue(shared).await?;
    let database = target.database.connect().await.map_err(|error| passing(&error))?;
    let opened = applier::Applier::open(target.applier.clone(), database, queue, fence).await;
    opened
        .map_err(applier::Error::from)
        .map_err(|error| TermError::new(&error, error.advice() == applier::Advice::Stop))
}

async fn auditor_term(shared: &Shared, term: Term, stop: CancellationToken) -> Result<(), TermError> {
    let Config { audit, env, .. } = &*shared.config;
    let queue = queue(shared).await?;
    let database = audit.database.connect().await.map_err(|error| passing(&error))?;
    let failed = |error: auditor::Error| TermError::new(&error, error.advice() == auditor::Advice::Stop);
    let stats = shared.metrics.auditor();
    let opened =
        auditor::Auditor::open(audit.auditor.clone(), database, queue, term.fence, env, Arc::clone(&stats))
            .await;
    let auditor = opened.map_err(failed)?;
    shared.health.set(&Role::Auditor.to_string(), Doing::Running);
    let running = auditor.run(stop);
    tokio::select! {
        ended = running => ended.map(|auditor::Stopped::Asked| ()).map_err(failed),
        error = ask_for_resyncs(&term.session, &stats) => Err(passing(&error)),
    }
}

async fn agent_term(
    role: &Role,
    shared: &Shared,
    term: Term,
    stop: CancellationToken,
) -> Result<(), TermError> {
    let failed = |error: agent::run::Error| TermError::new(&error, error.advice() == zk::Advice::Stop);
    let opened = agent::run::Agent::open(shared.config.agent.clone(), term.session, shared.metrics.agent());
    let worker = opened.await.map_err(failed)?;
    shared.health.set(&role.to_string(), Doing::Running);
    worker.run(stop).await.map(|agent::run::Stopped::Asked| ()).map_err(failed)
}

async fn endpoints_term(shared: &Shared, term: Term, stop: CancellationToken) -> Result<(), TermError> {
    let Config { zookeeper, endpoints, .. } = &*shared.config;
    let worker = agent::endpoints::Endpoints::new(term.session, zookeeper.clone(), endpoints.clone())
        .reporting(shared.metrics.endpoints());
    shared.health.set(&Role::Endpoints.to_string(), Doing::Running);
    let failed = |error: agent::endpoints::Error| TermError::new(&error, error.advice() == zk::Advice::Stop);
    worker.run(stop).await.map(|agent::endpoints::Stopped::Asked| ()).map_err(failed)
}

/// How often the auditor is looked at for a log that left something untold.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Asks the watcher for a resync whenever the auditor begins to need one.
async fn ask_for_resyncs(session: &Session, stats: &auditor::Stats) -> zk::ControlError {
    let mut asked = false;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let needed = stats.snapshot().resync_needed;
        if needed
            && !asked
            && let Err(error) = session.request_resync("the log left the auditor something untold").await
        {
            return error;
        }
        asked = needed;
    }
}
