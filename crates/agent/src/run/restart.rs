//! Our turn in a rolling restart: the effects of [`crate::rolling`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use zk::{ControlError, Found, Held, LockError, Lost, Session};

use super::fleet;
use super::{Agent, Config, Error, Pending, now};
use crate::health::in_words;
use crate::hook::Command;
use crate::node::Input;
use crate::rolling::{
    Failed, Fleet, Patience, Progress, Request, RequestState, Restart, Stage, Task, restarts, task,
};

/// How long a node whose turn has come waits for others to be registered before it lets another have its turn: that may
/// be the very one that has to be restarted to come back.
const YIELD_AFTER: Duration = Duration::from_secs(2);

/// Where this node is.
#[derive(Default)]
pub(super) struct Turn {
    state: State,
    /// How long it waits, once its turn has come.
    patience: Patience,
    /// The progress that was written last, and of which request: what is followed may be older.
    told: Option<(String, Progress)>,
}

#[derive(Default)]
enum State {
    /// Nothing is asked of it.
    #[default]
    Idle,
    /// In the lock's queue.
    Queued { id: String, locking: Pending<Result<Box<Held>, LockError>> },
    /// It let another have its turn.
    Yielded { id: String, until: Instant },
    /// It holds the lock, and waits for others to be back.
    Holding { id: String, held: Box<Held>, until: Instant },
    /// Out of the registry, while clients turn away.
    Draining { id: String, held: Box<Held>, until: Instant },
    /// The command runs.
    Restarting { id: String, held: Box<Held>, running: Pending<Result<(), String>> },
    /// The command is done; Superset starts.
    Starting { id: String, held: Box<Held>, until: Instant },
    /// The command runs, but the lock was lost: the restart has failed, and the node stays out until the command ends.
    Alone { running: Pending<Result<(), String>> },
}

/// What became of the wait.
pub(super) enum Event {
    Locked(Result<Box<Held>, LockError>),
    /// The time of this state is up.
    Time,
    Ended(Result<(), String>),
    /// The lock is no longer ours.
    Lost(Lost),
}

impl Turn {
    /// The turn of a node whose command runs since an earlier term.
    pub(super) fn alone(command: Command) -> Turn {
        let running: Pending<_> = Box::pin(async move {
            command.ended().await;
            Ok(())
        });
        Turn { state: State::Alone { running }, ..Turn::default() }
    }

    /// Where the node is, for others.
    pub(super) fn stage(&self) -> Option<Stage> {
        match &self.state {
            State::Idle => None,
            State::Queued { .. } | State::Yielded { .. } | State::Holding { .. } => Some(Stage::Waiting),
            State::Draining { .. } => Some(Stage::Draining),
            State::Restarting { .. } | State::Alone { .. } => Some(Stage::Restarting),
            State::Starting { .. } => Some(Stage::Starting),
        }
    }

    fn id(&self) -> Option<&str> {
        match &self.state {
            State::Idle | State::Alone { .. } => None,
            State::Queued { id, .. }
            | State::Yielded { id, .. }
            | State::Holding { id, .. }
            | State::Draining { id, .. }
            | State::Restarting { id, .. }
            | State::Starting { id, .. } => Some(id),
        }
    }

    /// Nothing is asked of the node any more.
    fn over(&mut self) {
        self.state = State::Idle;
        self.patience = Patience::default();
    }

    fn is_away(&self) -> bool {
        self.stage().is_some_and(Stage::is_away)
    }

    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        match &mut self.state {
            State::Idle => std::future::pending().await,
            State::Queued { locking, .. } => Event::Locked(locking.await),
            State::Yielded { until, .. } => {
                tokio::time::sleep_until(*until).await;
                Event::Time
            }
            State::Holding { held, until, .. }
            | State::Draining { held, until, .. }
            | State::Starting { held, until, .. } => tokio::select! {
                why = held.lost() => Event::Lost(why),
                () = tokio::time::sleep_until(*until) => Event::Time,
            },
            State::Alone { running } => Event::Ended(running.await),
            State::Restarting { held, running, .. } => tokio::select! {
                ended = running => Event::Ended(ended),
                why = held.lost() => Event::Lost(why),
            },
        }
    }
}

impl Agent {
    /// Sees whether a restart is asked for, or one that we wait for is off, or may begin.
    pub(super) async fn consider_restart(&mut self) -> Result<(), Error> {
        if matches!(self.turn.state, State::Alone { .. }) {
            return Ok(());
        }
        let mut asked = restarts(&self.config.service, self.control.nodes());
        if let Some((id, progress)) = &self.turn.told
            && let Some(restart) = asked.iter_mut().find(|restart| restart.id == *id)
        {
            restart.progress.insert(self.config.instance.clone(), progress.clone());
        }
        if let Some(id) = self.turn.id().filter(|_| !self.turn.is_away()) {
            let runs = |restart: &&Restart| restart.request.state == RequestState::Running;
            let Some(restart) = asked.iter().filter(runs).find(|restart| restart.id == id) else {
                info!(id, "the restart is off");
                self.turn.over();
                return Ok(());
            };
            if matches!(self.turn.state, State::Holding { .. }) {
                return self.leave_if_possible(restart.clone()).await;
            }
            return Ok(());
        }
        if self.turn.id().is_some() {
            return Ok(());
        }
        match task(&self.config.instance, &asked, now(), self.config.restart_valid) {
            Task::None => Ok(()),
            Task::OwnUp(restart) => {
                let why = "its agent was lost while it restarted the node; look at the node";
                self.fail(&restart.id.clone(), why.to_owned()).await
            }
            Task::GiveUp(restart) => {
                let valid = self.config.restart_valid;
                give_up(&self.session, &self.config.service, &restart.id, valid).await?;
                Ok(())
            }
            Task::Queue(restart) => {
                let restart = restart.clone();
                if self.config.restart_command.is_none() {
                    let why = "it has no agent.restart_command";
                    return self.fail(&restart.id, why.to_owned()).await;
                }
                info!(id = %restart.id, by = %restart.request.by, reason = %restart.request.reason, "a restart is asked for");
                self.progress(&restart.id, Stage::Waiting, Some("for its turn".to_owned()), None).await?;
                self.turn.patience = Patience::default();
                self.queue(restart.id);
                Ok(())
            }
        }
    }

    fn queue(&mut self, id: String) {
        let session = self.session.clone();
        let name = format!("restart.{}", self.config.service);
        let (count, reason) =
            (self.config.max_unavailable, format!("restart {id} of {}", self.config.instance));
        let locking: Pending<_> =
            Box::pin(async move { fleet::lock(&session, &name, count, &reason).await.map(Box::new) });
        self.turn.state = State::Queued { id, locking };
    }

    pub(super) async fn turned(&mut self, event: Event) -> Result<(), Error> {
        let state = std::mem::take(&mut self.turn.state);
        match (state, event) {
            (State::Queued { id, .. }, Event::Locked(held)) => self.locked(id, held?).await,
            (State::Yielded { id, .. }, _) => {
                self.queue(id);
                Ok(())
            }
            (State::Holding { id, held, .. }, Event::Time) => self.yield_turn(id, held).await,
            (State::Holding { id, .. }, Event::Lost(why)) => {
                warn!(%why, "the lock is lost; queueing again");
                self.queue(id);
                Ok(())
            }
            (State::Draining { id, held, .. }, Event::Time) => self.restart(id, held).await,
            (State::Restarting { id, held, .. }, Event::Ended(Ok(()))) => {
                self.progress(&id, Stage::Starting, None, Some(held.path())).await?;
                self.look_anew();
                let until = Instant::now() + self.config.healthy_within;
                self.turn.state = State::Starting { id, held, until };
                Ok(())
            }
            (State::Restarting { id, running, .. }, Event::Lost(why)) => {
                self.turn.state = State::Alone { running };
                self.failed(&id, format!("the lock was lost meanwhile: {why}")).await
            }
            (State::Alone { .. }, Event::Ended(_)) => self.alone_ended().await,
            (State::Restarting { id, held, .. }, Event::Ended(Err(why))) => {
                self.fail(&id, why).await?;
                release(held).await;
                Ok(())
            }
            (State::Starting { id, held, .. }, Event::Time) => {
                let why = self.node.why().unwrap_or("it was not looked at").to_owned();
                let within = self.config.healthy_within;
                self.fail(&id, format!("not healthy within {within:?} of its restart: {why}")).await?;
                release(held).await;
                Ok(())
            }
            (State::Draining { id, .. } | State::Starting { id, .. }, Event::Lost(why)) => {
                self.fail(&id, format!("the lock was lost meanwhile: {why}")).await
            }
            (state, _) => {
                self.turn.state = state;
                Ok(())
            }
        }
    }

    /// The lock is ours: what was decided while we waited must be seen, whichever server we are connected to.
    async fn locked(&mut self, id: String, held: Box<Held>) -> Result<(), Error> {
        let Some(restart) = read(&self.session, &self.config.service, &id).await? else {
            release(held).await;
            return Ok(());
        };
        if restart.request.state != RequestState::Running {
            info!(id, "the restart is off");
            release(held).await;
            return Ok(());
        }
        for (node, progress) in restart.progress.iter().filter(|(node, _)| **node != self.config.instance) {
            if progress.state.is_away() && !is_held(&self.session, progress.lock.as_deref()).await? {
                let why = "its agent was lost while it restarted the node; look at the node".to_owned();
                warn!(id, %node, "a node was lost on the way; nobody restarts after it");
                end(&self.session, &self.config.service, &id, RequestState::Failed, Some((node, why)))
                    .await?;
                release(held).await;
                return Ok(());
            }
        }
        self.turn.patience.turn(restart.done(), Instant::now().into_std());
        self.turn.state = State::Holding { id, held, until: Instant::now() + YIELD_AFTER };
        self.leave_if_possible(restart).await
    }

    async fn leave_if_possible(&mut self, restart: Restart) -> Result<(), Error> {
        let drained = super::below(self.control.nodes(), &format!("drain/{}", self.config.service));
        let others = self.registered().filter(|node| *node != self.config.instance);
        let own = self.node.is_registered().then_some(self.config.instance.as_str());
        let fleet = Fleet {
            registered: others.chain(own).map(str::to_owned).collect(),
            drained: drained.map(str::to_owned).collect(),
            nodes: restart.request.nodes,
        };
        match fleet.may_leave(&self.config.instance, self.config.max_unavailable.get()) {
            Ok(()) => self.leave_if_still_possible().await,
            Err(why) if self.turn.patience.is_over(self.config.healthy_within, Instant::now().into_std()) => {
                let State::Holding { id, held, .. } = std::mem::take(&mut self.turn.state) else {
                    return Ok(());
                };
                self.fail(&id, why).await?;
                release(held).await;
                Ok(())
            }
            Err(why) => self.note_waiting(&why).await,
        }
    }

    /// Decides alone and on what stands now: what is followed may be older than the last node's leave.
    async fn leave_if_still_possible(&mut self) -> Result<(), Error> {
        let Some(id) = self.turn.id().map(str::to_owned) else { return Ok(()) };
        let Config { service, instance, max_unavailable, .. } = &self.config;
        let reason = format!("{instance} leaves for restart {id}");
        let deciding = fleet::try_lock(&self.session, &format!("restart.{service}.leave"), &reason).await?;
        // Another node decides; the next look tries again.
        let Some(deciding) = deciding.map(Box::new) else { return Ok(()) };
        let fleet = read_fleet(&self.session, service, &id).await?;
        let decided = match fleet.may_leave(instance, max_unavailable.get()) {
            Ok(()) => self.leave().await,
            Err(why) => self.note_waiting(&why).await,
        };
        release(deciding).await;
        decided
    }

    async fn note_waiting(&mut self, why: &str) -> Result<(), Error> {
        let Some(id) = self.turn.id().map(str::to_owned) else { return Ok(()) };
        if self.turn.told.as_ref().is_some_and(|(_, told)| told.why.as_deref() == Some(why)) {
            return Ok(());
        }
        self.progress(&id, Stage::Waiting, Some(why.to_owned()), None).await
    }

    async fn yield_turn(&mut self, id: String, held: Box<Held>) -> Result<(), Error> {
        release(held).await;
        self.turn.state = State::Yielded { id, until: Instant::now() + YIELD_AFTER / 2 };
        Ok(())
    }

    async fn leave(&mut self) -> Result<(), Error> {
        let State::Holding { id, held, .. } = std::mem::take(&mut self.turn.state) else { return Ok(()) };
        let was_in = self.node.is_registered();
        self.progress(&id, Stage::Draining, None, Some(held.path())).await?;
        self.step(Input::RestartBegins).await?;
        let grace = if was_in { self.config.drain_grace } else { Duration::ZERO };
        info!(id, ?grace, "the node is out; its clients turn away");
        self.turn.state = State::Draining { id, held, until: Instant::now() + grace };
        Ok(())
    }

    async fn restart(&mut self, id: String, held: Box<Held>) -> Result<(), Error> {
        let Some(command) = self.config.restart_command.clone() else { return Ok(()) };
        self.progress(&id, Stage::Restarting, None, Some(held.path())).await?;
        info!(id, "restarting superset");
        let env = vec![
            ("SETKEEPER_SERVICE", self.config.service.clone()),
            ("SETKEEPER_INSTANCE", self.config.instance.clone()),
        ];
        let within = self.config.restart_timeout;
        // Nobody calls it off: half a restart is worse than none.
        let off = CancellationToken::new();
        let running: Pending<_> = Box::pin(async move { command.run(&env, within, off).await });
        self.turn.state = State::Restarting { id, held, running };
        Ok(())
    }

    /// Superset answered.
    pub(super) async fn came_back(&mut self) -> Result<(), Error> {
        let (id, held) = match std::mem::take(&mut self.turn.state) {
            State::Starting { id, held, .. } => (id, held),
            state => {
                self.turn.state = state;
                return Ok(());
            }
        };
        self.step(Input::Restarted).await?;
        self.progress(&id, Stage::Done, None, None).await?;
        info!(id, "superset is back");
        if let Some(restart) = read(&self.session, &self.config.service, &id).await?
            && restart.is_through()
        {
            end(&self.session, &self.config.service, &id, RequestState::Done, None).await?;
        }
        self.turn.over();
        release(held).await;
        Ok(())
    }

    /// Ends the request for everybody.
    async fn fail(&mut self, id: &str, why: String) -> Result<(), Error> {
        self.turn.over();
        self.failed(id, why).await?;
        self.look_anew();
        self.step(Input::RestartFailed).await
    }

    /// The same, while the node stays out.
    async fn failed(&mut self, id: &str, why: String) -> Result<(), Error> {
        warn!(id, %why, "the restart has failed; no other node begins");
        self.progress(id, Stage::Failed, Some(why.clone()), None).await?;
        let failed = Some((self.config.instance.as_str(), why));
        end(&self.session, &self.config.service, id, RequestState::Failed, failed).await
    }

    /// Only a look that begins now tells of the Superset that a restart has left.
    fn look_anew(&mut self) {
        self.probing = None;
        self.looks.reset_immediately();
    }

    /// A command whose restart has failed already is over.
    async fn alone_ended(&mut self) -> Result<(), Error> {
        self.turn.over();
        self.look_anew();
        self.step(Input::RestartFailed).await
    }

    /// The agent ends: a restart that has begun is nobody's any more.
    pub(super) async fn give_up_restart(&mut self) -> Result<(), Error> {
        let away = self.turn.is_away();
        let id = self.turn.id().filter(|_| away).map(str::to_owned);
        match id {
            Some(id) => self.fail(&id, "its agent was stopped while it restarted the node".to_owned()).await,
            None => {
                self.turn.over();
                Ok(())
            }
        }
    }

    async fn progress(
        &mut self,
        id: &str,
        state: Stage,
        why: Option<String>,
        lock: Option<&str>,
    ) -> Result<(), Error> {
        let progress = Progress { v: 1, state, why, since: now(), lock: lock.map(str::to_owned) };
        let bytes = serde_json::to_vec(&progress).expect("texts and numbers always make JSON");
        let path = format!("control/restart/{}/{id}/{}", self.config.service, self.config.instance);
        self.session.put_mark(&path, &bytes).await?;
        self.turn.told = Some((id.to_owned(), progress));
        Ok(())
    }
}

async fn release(held: Box<Held>) {
    if let Err(error) = held.release().await {
        // It goes with the session.
        warn!(error = %in_words(&error), "the fleet's lock was not released");
    }
}

/// Ends a request that nothing has happened to for longer than `valid`, naming who was waited for. `false` says that it
/// is none such, or that a node is away for it still.
///
/// # Errors
/// [`Error`].
pub async fn give_up(session: &Session, service: &str, id: &str, valid: Duration) -> Result<bool, Error> {
    let Some(restart) = read(session, service, id).await? else { return Ok(false) };
    if !restart.is_stale(now(), valid) {
        return Ok(false);
    }
    for progress in restart.progress.values().filter(|progress| progress.state.is_away()) {
        if is_held(session, progress.lock.as_deref()).await? {
            return Ok(false);
        }
    }
    let missing: Vec<&str> = restart.missing().collect();
    let Some(first) = missing.first() else {
        // The last one was lost before it could say so.
        end(session, service, id, RequestState::Done, None).await?;
        return Ok(true);
    };
    let why = format!("nothing has happened for {valid:?}; agents that are gone: {}", missing.join(", "));
    warn!(id, %why, "the restart is given up");
    end(session, service, id, RequestState::Failed, Some((first, why))).await?;
    Ok(true)
}

/// Whether the lock of a node that is away is its own still.
async fn is_held(session: &Session, lock: Option<&str>) -> Result<bool, Error> {
    let Some(lock) = lock else { return Ok(false) };
    let path = lock.trim_start_matches('/').parse().map_err(zk::ReadError::from)?;
    Ok(session.read(&path).await?.is_some())
}

/// A request as it stands now.
async fn read(session: &Session, service: &str, id: &str) -> Result<Option<Restart>, Error> {
    let root = format!("control/restart/{service}/{id}");
    let tree = session.read_tree(&[&root]).await?;
    let nodes = tree.nodes.into_iter();
    let nodes =
        nodes.filter_map(|(path, found)| Some((path.as_str().strip_prefix("control/")?.to_owned(), found)));
    Ok(restarts(service, &nodes.collect()).pop())
}

/// The fleet as it stands now; a node that is on its way out does not count as registered.
async fn read_fleet(session: &Session, service: &str, id: &str) -> Result<Fleet, Error> {
    let roots = ["services", "control/drain", "control/restart"].map(|folder| format!("{folder}/{service}"));
    let tree = session.read_tree(&roots.each_ref().map(String::as_str)).await?;
    let nodes = tree.nodes.into_iter().map(|(path, found)| (path.as_str().to_owned(), found));
    let nodes: BTreeMap<String, Found> = nodes.collect();
    let [mut registered, drained] =
        [&roots[0], &roots[1]].map(|root| super::below(&nodes, root).map(str::to_owned).collect());
    let control = nodes
        .iter()
        .filter_map(|(path, found)| Some((path.strip_prefix("control/")?.to_owned(), found.clone())));
    let mut fleet = Fleet { drained, ..Fleet::default() };
    for restart in restarts(service, &control.collect()) {
        let away = restart.progress.iter().filter(|(_, progress)| progress.state.is_away());
        if restart.request.state == RequestState::Running {
            away.for_each(|(node, _)| {
                BTreeSet::remove(&mut registered, node);
            });
        }
        if restart.id == id {
            fleet.nodes = restart.request.nodes;
        }
    }
    Ok(Fleet { registered, ..fleet })
}

/// How often a request that others write too is tried to be ended.
const END_ATTEMPTS: u32 = 10;

/// Ends a request that runs still. The first to end it has the word.
async fn end(
    session: &Session,
    service: &str,
    id: &str,
    state: RequestState,
    failed: Option<(&str, String)>,
) -> Result<(), Error> {
    let failed = failed.map(|(node, why)| Failed { node: node.to_owned(), why });
    for _ in 0..END_ATTEMPTS {
        let Some(restart) = read(session, service, id).await? else { return Ok(()) };
        if restart.request.state != RequestState::Running {
            return Ok(());
        }
        if write(session, service, &restart, &restart.ended(state, failed.clone())).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Replaces a request, if it is still the one that was read.
async fn write(
    session: &Session,
    service: &str,
    restart: &Restart,
    request: &Request,
) -> Result<bool, ControlError> {
    let bytes = serde_json::to_vec(request).expect("texts and numbers always make JSON");
    let path = format!("control/restart/{service}/{}", restart.id);
    session.replace_mark(&path, &bytes, restart.version).await
}
