//! The worker beside one Superset node: follows `settings`, `control`, `services` and `workers`, looks at Superset, and
//! does what [`Node::step`], [`rolling::task`] and [`Scaler::due`](crate::scale::Scaler::due) say.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use change::Millis;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use zk::{ControlError, Follower, LockError, ReadError, RegisterError, Registration, Session};

use crate::health::{HealthUrl, in_words};
use crate::hook::Command;
use crate::instance::ServiceInstance;
use crate::live::{FileError, LiveFile, Note, Settings};
use crate::node::{Effect, Input, Node, Probe, Until};
use crate::process::Process;
use crate::scale;

mod fleet;
mod restart;
mod scaling;
mod view;

use restart::Turn;
pub use restart::give_up;
use scaling::Scaling;
pub use scaling::{running, wanted};
pub use view::{Drain, View, boot_id, drain_path, role};

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How one node is looked after.
#[derive(Debug, Clone)]
pub struct Config {
    /// The service that the node belongs to.
    pub service: String,
    /// The node's name in it.
    pub instance: String,
    /// Where clients reach the node.
    pub address: String,
    /// And at which port.
    pub port: u16,
    /// The node's share of requests.
    pub weight: u32,
    /// The version to register, if the node does not tell itself.
    pub version: Option<String>,
    /// What is registered beside, for whoever reads it.
    pub payload: Map<String, Value>,
    /// Where Superset tells how it is.
    pub health_url: HealthUrl,
    /// How often it is asked.
    pub health_every: Duration,
    /// How long it may take to answer.
    pub health_timeout: Duration,
    /// Failures in a row that make a node unhealthy.
    pub failures: u32,
    /// The file that `setkeeper_live.py` reads; none is kept without it.
    pub live_file: Option<PathBuf>,
    /// How long clients are given to turn away from a node that is out.
    pub drain_grace: Duration,
    /// Restarts Superset, and returns once the old one has ended. Without it a rolling restart leaves the node out.
    pub restart_command: Option<Command>,
    /// How long that may take.
    pub restart_timeout: Duration,
    /// How long after it Superset may take to become healthy, and how long a node waits for others to be back.
    pub healthy_within: Duration,
    /// How many nodes of the service may be away at once; the same on every node.
    pub max_unavailable: NonZeroU32,
    /// How old a request for a restart may be when a node begins with it.
    pub restart_valid: Duration,
    /// Makes nodes come or go.
    pub scale_command: Option<Command>,
    /// How long that may take.
    pub scale_timeout: Duration,
    /// How long a difference must stand, and the pause after a call.
    pub scale: scale::Bounds,
}

/// How the worker ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was asked to; the node is registered no longer.
    Asked,
}

/// Why the worker ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is followed cannot be.
    #[error("follow the environment")]
    Follow(#[from] ReadError),
    /// The node cannot be registered, or not be withdrawn.
    #[error("keep the node's registration")]
    Register(#[from] RegisterError),
    /// The node's own znodes cannot be written.
    #[error("tell of the node")]
    Tell(#[from] ControlError),
    /// A fleet lock cannot be had.
    #[error("take a lock of the fleet")]
    Lock(#[from] LockError),
}

impl Error {
    /// Whether trying again can help.
    #[must_use]
    pub fn advice(&self) -> zk::Advice {
        match self {
            Error::Follow(error) => error.advice(),
            Error::Register(error) => error.advice(),
            Error::Tell(error) => error.advice(),
            Error::Lock(error) => error.advice(),
        }
    }
}

/// The worker, for one term.
pub struct Agent {
    config: Config,
    session: Session,
    settings: Follower,
    control: Follower,
    services: Follower,
    workers: Follower,
    node: Node,
    live: Option<Live>,
    registration: Option<Registration>,
    /// The version that the registration tells.
    registered_version: Option<String>,
    probing: Option<Pending<Probe>>,
    looks: Interval,
    turn: Turn,
    scaling: Scaling,
    drain: Option<Drained>,
    /// The life and version of the drain that we removed last: what is followed may show it for a moment longer.
    ended_drain: Option<(i64, i32)>,
    report: watch::Sender<Option<View>>,
    /// The view that others have of the node, as it was last written.
    told: Option<View>,
}

/// The drain that the node obeys.
struct Drained {
    /// Its life and version.
    at: (i64, i32),
    /// The Superset that it waits for the end of.
    process: Option<Process>,
    /// That one had ended already when the look at Superset began that is under way.
    ended: bool,
}

/// The live settings and their file.
struct Live {
    file: LiveFile,
    settings: Settings,
    fault: Option<String>,
    /// What Superset's processes said at the last look.
    notes: Vec<Note>,
    version: Option<String>,
}

/// What the worker waits for.
enum Event {
    Stop,
    Settings,
    Control,
    Services,
    Workers,
    Look,
    Probed(Probe),
    Unregistered,
    Turn(restart::Event),
    Scale(scaling::Event),
}

/// How soon one write of the live file may follow another: file systems tell times apart by some milliseconds, and the
/// reader tells files apart by time, size and inode.
const WRITE_PAUSE: Duration = Duration::from_millis(20);

/// How often Superset is looked at, at least, while a drain waits for its restart: between the old one's end and the new
/// one's start nobody listens for a second or less.
const RESTART_LOOK: Duration = Duration::from_millis(200);

impl Agent {
    /// Begins a term: reads what stands, and writes the live file, before anything is registered.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(
        config: Config,
        session: Session,
        report: watch::Sender<Option<View>>,
    ) -> Result<Agent, Error> {
        let (settings, control, services, workers) = tokio::try_join!(
            session.follow("settings"),
            session.follow("control"),
            session.follow("services"),
            session.follow("workers"),
        )?;
        let mut looks = interval(config.health_every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut turn, mut node) = (Turn::default(), Node::default());
        if let Some(command) = config.restart_command.clone().filter(Command::is_running) {
            // An earlier term has left it, without its lock: whatever is seen of Superset now is soon over.
            turn = Turn::alone(command);
            node = node.step(config.failures, Input::RestartBegins).0;
        }
        let mut agent = Agent {
            live: config.live_file.clone().map(Live::open),
            turn,
            scaling: Scaling::default(),
            node,
            registration: None,
            registered_version: None,
            drain: None,
            ended_drain: None,
            probing: None,
            told: None,
            config,
            session,
            settings,
            control,
            services,
            workers,
            looks,
            report,
        };
        agent.write_settings().await;
        agent.look_at_drain().await?;
        agent.tell().await?;
        Ok(agent)
    }

    /// Works until `stop`; then the node is withdrawn.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(mut self, stop: CancellationToken) -> Result<Stopped, Error> {
        loop {
            match self.next(&stop).await? {
                Event::Stop => return self.end().await,
                Event::Settings => self.write_settings().await,
                Event::Control => self.look_at_drain().await?,
                Event::Services | Event::Workers => {}
                Event::Look => self.look(),
                Event::Probed(probe) => self.probed(probe).await?,
                Event::Unregistered => {
                    warn!("somebody removed the registration");
                    self.registration = None;
                    self.step(Input::Unregistered).await?;
                }
                Event::Turn(event) => self.turned(event).await?,
                Event::Scale(event) => self.scaled(event)?,
            }
            self.consider_restart().await?;
            self.consider_scaling();
            self.tell().await?;
        }
    }

    /// Cancel-safe.
    async fn next(&mut self, stop: &CancellationToken) -> Result<Event, Error> {
        let probing = async {
            match &mut self.probing {
                Some(probing) => probing.await,
                None => std::future::pending().await,
            }
        };
        let gone = async {
            match &self.registration {
                Some(registration) => registration.gone().await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => Event::Stop,
            changed = self.settings.changed() => changed.map(|()| Event::Settings)?,
            changed = self.control.changed() => changed.map(|()| Event::Control)?,
            probe = probing => Event::Probed(probe),
            _ = gone => Event::Unregistered,
            event = self.turn.next() => Event::Turn(event),
            event = self.scaling.next() => Event::Scale(event),
            changed = self.services.changed() => changed.map(|()| Event::Services)?,
            changed = self.workers.changed() => changed.map(|()| Event::Workers)?,
            _ = self.looks.tick() => Event::Look,
        };
        Ok(event)
    }

    fn look(&mut self) {
        if let Some(live) = &mut self.live {
            live.look(&self.config);
        }
        if self.probing.is_none() {
            // Before Superset is asked: whoever answers is not the one that has ended.
            if let Some(drain) = &mut self.drain {
                drain.ended = drain.process.as_ref().is_some_and(|process| !process.runs());
            }
            let (url, within) = (self.config.health_url.clone(), self.config.health_timeout);
            self.probing = Some(Box::pin(async move { url.probe(within).await }));
        }
        if self.node.drained() == Some(Until::Restart) {
            self.looks.reset_after(RESTART_LOOK.min(self.config.health_every));
        }
    }

    async fn probed(&mut self, probe: Probe) -> Result<(), Error> {
        self.probing = None;
        let is_up = probe == Probe::Up;
        let before = self.node.health();
        self.step(Input::Probed(probe)).await?;
        if let Some(drain) = self.drain.as_mut().filter(|drain| drain.ended) {
            (drain.process, drain.ended) = (None, false);
            self.step(Input::Ended).await?;
        }
        if self.node.health() != before {
            let why = self.node.why().unwrap_or_default();
            info!(health = ?self.node.health(), why, "superset's health changed");
        }
        if is_up {
            self.came_back().await?;
            self.renew().await?;
        }
        Ok(())
    }

    /// Superset may have been upgraded without having been away for long.
    async fn renew(&mut self) -> Result<(), Error> {
        let version = self.version();
        if version == self.registered_version {
            return Ok(());
        }
        let json = self.instance().to_json();
        if let Some(registration) = &mut self.registration {
            match registration.update(&json).await {
                Ok(()) => self.registered_version = version,
                // That it is gone is an event of its own.
                Err(RegisterError::Gone { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Steps the node and does what comes of it.
    async fn step(&mut self, input: Input) -> Result<(), Error> {
        let (node, effects) = std::mem::take(&mut self.node).step(self.config.failures, input);
        self.node = node;
        for effect in effects {
            match effect {
                Effect::Register => {
                    let json = self.instance().to_json();
                    let (service, instance) = (&self.config.service, &self.config.instance);
                    self.registration = Some(self.session.register(service, instance, &json).await?);
                    self.registered_version = self.version();
                    info!("registered");
                }
                Effect::Withdraw => {
                    if let Some(registration) = self.registration.take() {
                        registration.withdraw().await?;
                        info!("withdrawn");
                    }
                }
                Effect::Undrain => {
                    let Some(drain) = self.drain.take() else { continue };
                    self.ended_drain = Some(drain.at);
                    let path = drain_path(&self.config.service, &self.config.instance);
                    if self.session.remove_mark_at(&path, drain.at).await? {
                        info!("the drain is over: superset has restarted");
                    }
                }
            }
        }
        Ok(())
    }

    fn instance(&self) -> ServiceInstance {
        let Config { service, instance, address, port, weight, payload, .. } = &self.config;
        let mut all = Map::new();
        all.insert("version".to_owned(), json!(self.version()));
        all.insert("weight".to_owned(), json!(weight));
        all.extend(payload.clone());
        ServiceInstance {
            payload: Some(Value::Object(all)),
            ..ServiceInstance::new(service, instance, address, *port, now())
        }
    }

    fn version(&self) -> Option<String> {
        let learnt = self.live.as_ref().and_then(|live| live.version.clone());
        learnt.or_else(|| self.config.version.clone())
    }

    /// Where the node's drain stands, below `control`.
    fn drained_at(&self) -> String {
        format!("drain/{}/{}", self.config.service, self.config.instance)
    }

    async fn look_at_drain(&mut self) -> Result<(), Error> {
        let path = self.drained_at();
        // What may not be read is not gone: a node that was drained stays so.
        if self.control.unreadable().iter().any(|root| root.is_empty() || path.starts_with(root.as_str())) {
            return Ok(());
        }
        let found = self.control.nodes().get(&path);
        let at = |found: &zk::Found| (found.czxid, found.version);
        let found = found.filter(|found| Some(at(found)) != self.ended_drain);
        if found.map(at) == self.drain.as_ref().map(|drain| drain.at) {
            return Ok(());
        }
        let Some((at, drain)) = found.map(|found| (at(found), Drain::read(found))) else {
            self.drain = None;
            return self.step(Input::Drain(None)).await;
        };
        info!(by = %drain.by, reason = %drain.reason, "drained");
        let other_boot = drain.boot.is_some() && drain.boot != view::boot_id();
        let process = drain.process.filter(|_| !other_boot);
        let watched = process.is_some();
        self.drain = Some(Drained { at, process, ended: false });
        self.step(Input::Drain(Some(drain.until))).await?;
        if other_boot {
            self.step(Input::Ended).await?;
        } else if watched {
            self.step(Input::Watched).await?;
        }
        if drain.until == Until::Restart {
            self.looks.reset_immediately();
        }
        Ok(())
    }

    async fn write_settings(&mut self) {
        let Some(live) = &mut self.live else { return };
        let changed = live.settings.fold(self.settings.nodes(), self.settings.unreadable());
        if changed && live.write(&self.config) {
            // No change is lost by this: it waits in the follower.
            tokio::time::sleep(WRITE_PAUSE).await;
        }
    }

    /// Writes the node's view for others, if it is another one.
    async fn tell(&mut self) -> Result<(), Error> {
        let view = self.view(self.told.as_ref());
        if self.told.as_ref() == Some(&view) {
            return Ok(());
        }
        self.report.send_replace(Some(view.clone()));
        let bytes = serde_json::to_vec(&view).expect("texts, numbers and lists always make JSON");
        let at = format!("workers/{}/report", role(&self.config.service, &self.config.instance));
        self.session.put_mark(&at, &bytes).await?;
        self.told = Some(view);
        Ok(())
    }

    async fn end(mut self) -> Result<Stopped, Error> {
        self.give_up_restart().await?;
        self.step(Input::Stop).await?;
        self.tell().await?;
        self.scaling.end().await;
        Ok(Stopped::Asked)
    }

    /// The registered instances of our service.
    fn registered(&self) -> impl Iterator<Item = &str> {
        below(self.services.nodes(), &self.config.service)
    }
}

impl Live {
    fn open(path: PathBuf) -> Live {
        let file = LiveFile::new(path);
        // The last good settings outlive the agent in the file itself.
        let settings = match file.read() {
            Ok(Some(bytes)) => Settings::read_back(&bytes).unwrap_or_default(),
            Ok(None) => Settings::default(),
            Err(error) => {
                warn!(error = %in_words(&error), "the live file cannot be read");
                Settings::default()
            }
        };
        let mut live = Live { file, settings, fault: None, notes: Vec::new(), version: None };
        live.learn();
        live
    }

    /// Writes the file if it is not so already; returns whether it wrote.
    fn write(&mut self, config: &Config) -> bool {
        for (path, why) in self.settings.faults() {
            warn!(%path, %why, "a setting is not taken over; its last good value stands");
        }
        let written = self.try_write();
        let fault = written.as_ref().err().map(|error| in_words(error));
        if fault != self.fault
            && let Some(fault) = &fault
        {
            warn!(error = %fault, service = %config.service, "the live settings are not written");
        }
        self.fault = fault;
        written.unwrap_or(false)
    }

    fn try_write(&self) -> Result<bool, FileError> {
        let bytes = self.settings.render();
        if self.file.read()?.as_deref() == Some(&bytes[..]) {
            return Ok(false);
        }
        self.file.write(&bytes)?;
        info!(file = %self.file.path().display(), "wrote the live settings");
        Ok(true)
    }

    /// Sees what Superset's processes say, and tries again what could not be written.
    fn look(&mut self, config: &Config) {
        self.learn();
        if self.fault.is_some() || !self.file.path().exists() {
            self.write(config);
        }
    }

    fn learn(&mut self) {
        self.notes = self.file.notes();
        // The newest process has the highest pid, mostly.
        let newest = self.notes.iter().rev().find_map(|note| note.version.clone());
        self.version = newest.or(self.version.take());
    }
}

/// The names right below `folder`.
fn below<'a>(
    nodes: &'a BTreeMap<String, zk::Found>,
    folder: &str,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let prefix = format!("{folder}/");
    let names = nodes.range(prefix.clone()..).map(|(path, _)| path.as_str());
    names.map_while(move |path| path.strip_prefix(&prefix)).filter(|name| !name.contains('/'))
}

/// The wall clock.
fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
