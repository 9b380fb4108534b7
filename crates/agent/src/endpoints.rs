//! The elected worker that follows registries and writes what endpoints have chosen: settings and registries in,
//! `endpoints/<name>` out, each with a version check and an edit record that says why.
//!
//! # Guarantees
//! - What cannot be read is not an absence: an ensemble that is away, a registry that may not be read or is not there,
//!   a setting with a fault leave what stands as it is, and are told.
//! - Nothing is polled: a znode that goes is acted on when its event comes, `settle` later.
//! - A setting that goes ends the following; what was chosen stays.
//! - Somebody else's write of `endpoints/<name>` is never overwritten unseen: it is read, and decided on anew.
//!
//! # Assumptions
//! - One runs at a time. Two would do no harm beyond deciding twice, for the version check lets one of them win.
//!
//! # What survives a crash
//! `endpoints/<name>` itself, with the time of its last change. That one was lost for a while is not: the next worker
//! waits `settle` anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use change::{Millis, ZnodePath};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use zk::{ControlError, Draft, Follower, PartFault, ReadError, Session, VersionedEdit, WriteError, WriteOp};

use crate::check::{self, Prober, told};
use crate::choose::{Change, Health};

mod endpoint;
mod report;
mod sources;

use endpoint::{Endpoint, Known, Now};
pub use report::{Report, Told, ToldDropped, ToldInstance};
use sources::{Bounds, Sources};

/// The name of the role, for its election and its report.
pub const ROLE: &str = "endpoints";
const AUTHOR: &str = "setkeeper endpoints";
const SETTINGS: &str = "settings/endpoints";
const CHOSEN: &str = "endpoints";

/// How the worker works.
#[derive(Debug, Clone)]
pub struct Config {
    /// How instances are checked.
    pub check: check::Config,
    /// The most znodes of one registry that are looked at.
    pub instances_max: usize,
    /// The most endpoints that are followed.
    pub endpoints_max: usize,
    /// The most other ensembles that are followed.
    pub ensembles_max: usize,
    /// How long after a failure an ensemble, a registry or a refused write is tried again.
    pub retry: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            check: check::Config::default(),
            instances_max: 1_000,
            endpoints_max: 200,
            ensembles_max: 10,
            retry: Duration::from_secs(5),
        }
    }
}

/// What the worker shows of itself. One may serve several terms, one after the other.
#[derive(Debug, Default)]
pub struct Stats {
    /// Endpoints whose setting is followed.
    pub endpoints: AtomicU64,
    /// Endpoints that a person should look at.
    pub troubled: AtomicU64,
    /// Registries that are followed.
    pub registries: AtomicU64,
    /// Registries that are not known as they are now.
    pub registries_away: AtomicU64,
    /// Registered instances.
    pub instances: AtomicU64,
    /// Registered instances that fail their check.
    pub failing: AtomicU64,
    /// Changes of `endpoints/<name>` that were written.
    pub changes: AtomicU64,
    /// Changes that somebody else came in the way of.
    pub conflicts: AtomicU64,
}

impl Stats {
    /// Sets what is true of the present.
    fn show(&self, [endpoints, troubled, registries, away, instances, failing]: [u64; 6]) {
        for (stat, value) in [
            (&self.endpoints, endpoints),
            (&self.troubled, troubled),
            (&self.registries, registries),
            (&self.registries_away, away),
            (&self.instances, instances),
            (&self.failing, failing),
        ] {
            stat.store(value, Ordering::Relaxed);
        }
    }
}

/// How the work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was asked to.
    Asked,
}

/// Why the work cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment cannot be read.
    #[error("follow the endpoints")]
    Read(#[from] ReadError),
    /// What was chosen may have been written or not.
    #[error("write `endpoints/{name}`")]
    Write {
        /// The endpoint.
        name: String,
        /// Why.
        #[source]
        source: WriteError,
    },
    /// The report cannot be written.
    #[error("report on the endpoints")]
    Report(#[from] ControlError),
}

impl Error {
    /// What the caller may do.
    #[must_use]
    pub fn advice(&self) -> zk::Advice {
        match self {
            Error::Read(error) => error.advice(),
            // What happened is read anew by the next term.
            Error::Write { .. } => zk::Advice::Restart,
            Error::Report(error) => error.advice(),
        }
    }
}

/// The worker, for one term.
pub struct Endpoints {
    session: Session,
    zookeeper: zk::Config,
    config: Config,
    stats: Arc<Stats>,
}

impl std::fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoints").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Endpoints {
    /// A worker on `session`; other ensembles are reached with the timeouts and bounds of `zookeeper`.
    #[must_use]
    pub fn new(session: Session, zookeeper: zk::Config, config: Config) -> Endpoints {
        Endpoints { session, zookeeper, config, stats: Arc::default() }
    }

    /// Counts into `stats` instead of into its own.
    #[must_use]
    pub fn reporting(mut self, stats: Arc<Stats>) -> Endpoints {
        self.stats = stats;
        self
    }

    /// Works until it is asked to stop or cannot go on.
    ///
    /// # Errors
    /// [`Error`], never tried again in here.
    pub async fn run(self, stop: CancellationToken) -> Result<Stopped, Error> {
        let begin = async {
            let settings = self.session.follow(SETTINGS).await?;
            let chosen = self.session.follow(CHOSEN).await?;
            Ok::<_, ReadError>((settings, chosen))
        };
        let (settings, chosen) = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Stopped::Asked),
            begun = begin => begun?,
        };
        let bounds = Bounds {
            instances_max: self.config.instances_max,
            ensembles_max: self.config.ensembles_max,
            retry: self.config.retry,
        };
        let mut term = Term {
            sources: Sources::new(self.session.clone(), self.zookeeper.clone(), bounds),
            prober: Prober::new(self.config.check),
            session: self.session,
            report_bytes_max: self.zookeeper.request_bytes_max,
            config: self.config,
            stats: Shown(self.stats),
            settings,
            chosen,
            endpoints: BTreeMap::new(),
            problems: Vec::new(),
            reported: None,
        };
        loop {
            // What has begun to be written is finished.
            let wake_at = term.decide().await?;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Stopped::Asked),
                changed = term.sources.changed() => changed?,
                changed = term.settings.changed() => changed?,
                changed = term.chosen.changed() => changed?,
                () = term.prober.changed() => {}
                () = tokio::time::sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
            }
        }
    }
}

/// Takes back what a term showed of the present, once it is past.
struct Shown(Arc<Stats>);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.show([0; 6]);
    }
}

/// A term at work.
struct Term {
    session: Session,
    config: Config,
    report_bytes_max: usize,
    stats: Shown,
    settings: Follower,
    chosen: Follower,
    sources: Sources,
    prober: Prober,
    endpoints: BTreeMap<String, Endpoint>,
    /// What belongs to no endpoint.
    problems: Vec<String>,
    reported: Option<Vec<u8>>,
}

impl Term {
    /// Looks at everything as it is now, writes what is due, and tells of it. Returns when to look again.
    async fn decide(&mut self) -> Result<Option<Instant>, Error> {
        self.read_settings();
        self.read_chosen().await?;
        let names: Vec<String> = self.endpoints.keys().cloned().collect();
        for name in names {
            self.decide_one(&name).await?;
        }
        self.tell().await?;
        let wakes = self.endpoints.values().filter_map(|endpoint| endpoint.wake_at);
        Ok(wakes.min().map(Instant::from_std))
    }

    /// Takes over the settings: what they follow is followed, and checked, from now on.
    fn read_settings(&mut self) {
        let found: BTreeMap<&String, _> = self
            .settings
            .nodes()
            .iter()
            .filter(|(path, _)| is_child(path))
            .take(self.config.endpoints_max)
            .collect();
        self.endpoints.retain(|name, _| found.contains_key(name));
        for (name, found) in found {
            let endpoint = self.endpoints.entry(name.clone()).or_insert_with(|| Endpoint::new(name));
            endpoint.read_setting(found);
        }
        self.problems = self.general_problems();
        let wanted = self.endpoints.values().filter_map(Endpoint::key).collect();
        self.sources.set(&wanted);
        let mut targets = BTreeSet::new();
        for endpoint in self.endpoints.values() {
            if let Some(key) = endpoint.key() {
                targets.extend(endpoint.targets(self.sources.view(&key)));
            }
        }
        self.prober.set(targets);
    }

    fn general_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let count = self.settings.nodes().keys().filter(|path| is_child(path)).count();
        if count > self.config.endpoints_max {
            problems.push(format!(
                "{count} endpoints are set and only the first {} are followed (endpoints.endpoints_max)",
                self.config.endpoints_max
            ));
        }
        for (folder, follower) in [(SETTINGS, &self.settings), (CHOSEN, &self.chosen)] {
            let unreadable = follower.unreadable().iter().map(|path| match path.as_str() {
                "" => format!("`{folder}` may not be read; give the worker READ on it"),
                path => format!("`{folder}/{path}` may not be read; give the worker READ on it"),
            });
            problems.extend(unreadable);
        }
        problems
    }

    /// Takes over what others have made of `endpoints`. The view can be behind our own writes, so it only tells where
    /// to look.
    async fn read_chosen(&mut self) -> Result<(), Error> {
        if !self.chosen.is_connected() {
            return Ok(());
        }
        let nodes = self.chosen.nodes();
        let other = |(name, endpoint): &(&String, &Endpoint)| !endpoint.known.is(nodes.get(*name));
        let names: Vec<String> = self.endpoints.iter().filter(other).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.read_one(&name).await?;
        }
        Ok(())
    }

    async fn read_one(&mut self, name: &str) -> Result<(), Error> {
        let Some(path) = place(name) else { return Ok(()) };
        let found = match self.session.read(&path).await {
            Ok(found) => found,
            // Told of by `general_problems`; what was known of it stays.
            Err(ReadError::Forbidden { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if let Some(endpoint) = self.endpoints.get_mut(name) {
            endpoint.stands(Known::of(name, found.as_ref()), now());
        }
        Ok(())
    }

    async fn decide_one(&mut self, name: &str) -> Result<(), Error> {
        // Without a connection nothing of ours can be known or written.
        if !self.chosen.is_connected() || self.chosen.unreadable().contains(name) {
            return Ok(());
        }
        let Some(endpoint) = self.endpoints.get_mut(name) else { return Ok(()) };
        let Some(key) = endpoint.key() else { return Ok(()) };
        let view = self.sources.view(&key);
        let Some(change) = endpoint.look(view, &self.prober, now()) else { return Ok(()) };
        self.write(name, &change).await?;
        // What comes next is judged by what stands now.
        if let Some(endpoint) = self.endpoints.get_mut(name)
            && endpoint.look(self.sources.view(&key), &self.prober, now()).is_some()
        {
            // Somebody else came in the way: the same again, soon, by the registry as it is then.
            endpoint.wake_at = Some(now().clock);
        }
        Ok(())
    }

    async fn write(&mut self, name: &str, change: &Change) -> Result<(), Error> {
        let Some(endpoint) = self.endpoints.get_mut(name) else { return Ok(()) };
        let (Some(path), Some(chosen)) = (place(name), endpoint.chosen(change)) else { return Ok(()) };
        let bytes = serde_json::to_vec(&chosen.to_json()).expect("an object of texts always makes JSON");
        let edit =
            VersionedEdit { path, op: WriteOp::Put { bytes }, expect: endpoint.known.expect(), group: None };
        let draft = Draft { author: AUTHOR.to_owned(), message: change.to_string(), ..Draft::default() };
        let written = self.session.write(&[edit], &draft, |_, _| {}).await;
        let Err(source) = written else {
            info!(endpoint = name, "{change}");
            self.stats.0.changes.fetch_add(1, Ordering::Relaxed);
            return self.read_one(name).await;
        };
        match source.fault() {
            Some(PartFault::Conflict(_)) => {
                info!(endpoint = name, "somebody else has written it; deciding anew");
                self.stats.0.conflicts.fetch_add(1, Ordering::Relaxed);
                self.read_one(name).await
            }
            Some(PartFault::Refused { .. } | PartFault::Read(ReadError::Forbidden { .. })) | None => {
                let why = told(&source);
                warn!(endpoint = name, %why, "the change is refused");
                endpoint.refused = Some((why, now().clock + self.config.retry));
                Ok(())
            }
            Some(_) => Err(Error::Write { name: name.to_owned(), source }),
        }
    }

    /// Writes the report, if it is another than the last one.
    async fn tell(&mut self) -> Result<(), Error> {
        let report = self.report();
        let bytes = report.to_bytes(self.report_bytes_max / 2);
        if self.reported.as_ref() == Some(&bytes) || !self.chosen.is_connected() {
            return Ok(());
        }
        self.session.report(ROLE, &bytes).await?;
        self.reported = Some(bytes);
        Ok(())
    }

    fn report(&self) -> Report {
        let mut report = Report { v: 1, endpoints: BTreeMap::new(), problems: self.problems.clone() };
        let (mut instances, mut failing, mut troubled) = (0, 0, 0);
        for (name, endpoint) in &self.endpoints {
            let key = endpoint.key();
            let view = key.as_ref().map_or(&sources::NOTHING, |key| self.sources.view(key));
            let candidates = endpoint.candidates(view, &self.prober);
            let of = |health| candidates.iter().filter(|(candidate, _)| candidate.health == health).count();
            instances += candidates.len() as u64;
            failing += of(Health::Failing) as u64;
            let problems = endpoint.problems(view);
            troubled += u64::from(!problems.is_empty());
            let instance = |(candidate, why): &(crate::choose::Candidate, Option<String>)| ToldInstance {
                at: candidate.at.to_string(),
                node: candidate.node.clone(),
                health: report::health(candidate.health).to_owned(),
                why: why.clone(),
            };
            let dropped: Vec<ToldDropped> =
                view.registered.faults.iter().chain(&view.registered.left_out).map(Into::into).collect();
            let follow = endpoint.follow.as_ref();
            let told = Told {
                registry: follow.map(|follow| report::registry(follow.registry)),
                connect: follow.and_then(|follow| follow.connect.clone()),
                path: follow.map(|follow| follow.path.clone()),
                choose: follow.map(|follow| report::choose(follow.choose)),
                chosen: report::hosts(&endpoint.known.hosts),
                since: endpoint.known.since,
                registered: candidates.len(),
                healthy: of(Health::Passing),
                instances: Told::shown(&candidates, instance),
                dropped: Told::shown(&dropped, Clone::clone),
                problems,
            };
            report.endpoints.insert(name.clone(), told);
        }
        let (registries, away) = self.sources.counts();
        let endpoints = self.endpoints.len() as u64;
        self.stats.0.show([endpoints, troubled, registries as u64, away as u64, instances, failing]);
        report
    }
}

fn is_child(path: &str) -> bool {
    !path.is_empty() && !path.contains('/')
}

fn place(name: &str) -> Option<ZnodePath> {
    format!("{CHOSEN}/{name}").parse().ok()
}

fn now() -> Now {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let wall = Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    Now { clock: Instant::now().into_std(), wall }
}
