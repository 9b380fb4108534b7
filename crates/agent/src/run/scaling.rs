//! Calling the operator's `scale_command`: the effects of [`crate::scale`].

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use asset::{Group, Setting, parse_setting};
use change::Lifetime;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};
use zk::{Found, LockError, Session};

use super::fleet;
use super::view::View;
use super::{Agent, Error, Pending, now};
use crate::health::in_words;
use crate::hook::Command;
use crate::scale::{Call, Counts, Scaler};

/// The hook, and when it is next due.
#[derive(Default)]
pub(super) struct Scaling {
    scaler: Scaler,
    due: Option<Instant>,
    running: Option<Running>,
}

/// A call on its way. The command is called off with it.
struct Running {
    call: Pending<Result<Option<Call>, Error>>,
    off: DropGuard,
}

/// What became of the wait.
pub(super) enum Event {
    /// The counts are to be looked at again.
    Due,
    /// The hook was called, or another node holds the lock.
    Called(Result<Option<Call>, Error>),
}

/// How soon a node looks again after it found another at work.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

impl Scaling {
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        if let Some(running) = &mut self.running {
            return Event::Called((&mut running.call).await);
        }
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
        self.due = None;
        Event::Due
    }

    /// The agent ends: a call that is on its way is called off.
    pub(super) async fn end(&mut self) {
        let Some(Running { call, off }) = self.running.take() else { return };
        drop(off);
        if let Err(error) = call.await {
            warn!(error = %in_words(&error), "what became of the scale command is not told");
        }
    }
}

impl Agent {
    pub(super) fn scaled(&mut self, event: Event) -> Result<(), Error> {
        let Event::Called(called) = event else { return Ok(()) };
        self.scaling.running = None;
        match called? {
            None => self.scaling.due = Some(Instant::now() + BUSY_PAUSE),
            Some(Call { failed: Some(why), .. }) => {
                warn!(%why, retry = ?self.config.scale.retry, "the scale command failed");
            }
            Some(call) => info!(wanted = call.wanted, present = call.present, "the scale command was called"),
        }
        Ok(())
    }

    /// Sees whether the hook is due, and calls it if so.
    pub(super) fn consider_scaling(&mut self) {
        if self.config.scale_command.is_none() || self.scaling.running.is_some() {
            return;
        }
        let service = &self.config.service;
        let at = format!("scale/{service}");
        let (setting, last) = (self.settings.nodes().get(&at), self.control.nodes().get(&at));
        let seen = Seen::new(service, setting, self.workers.nodes(), last);
        let due = self.scaling.scaler.due(now(), seen.counts, seen.last.as_ref(), self.config.scale);
        match (due, seen.counts) {
            (Some(Duration::ZERO), Some(counts)) if self.scaling.due.is_none() => self.call(counts, seen),
            // Somebody else was at work a moment ago.
            (Some(Duration::ZERO), _) => {}
            (due, _) => self.scaling.due = due.map(|due| Instant::now() + due),
        }
    }

    fn call(&mut self, counts: Counts, seen: Seen) {
        let Some(command) = self.config.scale_command.clone() else { return };
        let off = CancellationToken::new();
        let call = Caller {
            session: self.session.clone(),
            service: self.config.service.clone(),
            by: self.config.instance.clone(),
            within: self.config.scale_timeout,
            command,
            counts,
            off: off.clone(),
        };
        self.scaling.due = None;
        self.scaling.running = Some(Running { call: Box::pin(call.call(seen)), off: off.drop_guard() });
    }
}

/// What scaling goes by.
#[derive(PartialEq, Eq)]
struct Seen {
    counts: Option<Counts>,
    /// The nodes of our service whose agent runs.
    nodes: BTreeSet<String>,
    last: Option<Call>,
}

impl Seen {
    fn new(
        service: &str,
        setting: Option<&Found>,
        workers: &BTreeMap<String, Found>,
        last: Option<&Found>,
    ) -> Seen {
        let views = running(workers).filter(|view| view.service == service);
        let nodes: BTreeSet<String> = views.map(|view| view.instance).collect();
        let present = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let counts =
            setting.and_then(|found| wanted(service, found)).map(|wanted| Counts { wanted, present });
        let last = last.and_then(|found| serde_json::from_slice(&found.bytes).ok());
        Seen { counts, nodes, last }
    }

    /// Reads it anew.
    async fn read(session: &Session, service: &str) -> Result<Seen, Error> {
        let (setting, last) = (format!("settings/scale/{service}"), format!("control/scale/{service}"));
        let tree = session.read_tree(&[&setting, &last, "workers"]).await?;
        let found: BTreeMap<&str, &Found> =
            tree.nodes.iter().map(|(path, found)| (path.as_str(), found)).collect();
        let workers = found
            .iter()
            .filter_map(|(path, found)| Some((path.strip_prefix("workers/")?.to_owned(), (*found).clone())));
        let [setting, last] = [setting, last].map(|path| found.get(path.as_str()).copied());
        Ok(Seen::new(service, setting, &workers.collect(), last))
    }
}

/// The count that `settings/scale/<service>` asks for; a setting that is bad, may not be read or goes with a session asks
/// for nothing.
#[must_use]
pub fn wanted(service: &str, found: &Found) -> Option<u32> {
    if found.lifetime != Lifetime::Persistent {
        return None;
    }
    match parse_setting(Group::Scale, service, &found.bytes) {
        Ok(Setting::Scale(scale)) => Some(scale.count),
        Ok(Setting::Flag(_) | Setting::Config(_) | Setting::Follow(_)) | Err(_) => None,
    }
}

/// One call.
struct Caller {
    session: Session,
    service: String,
    by: String,
    within: Duration,
    command: Command,
    counts: Counts,
    off: CancellationToken,
}

impl Caller {
    /// Calls, if all is still as it was `seen` once the lock is ours.
    async fn call(self, seen: Seen) -> Result<Option<Call>, Error> {
        let Counts { wanted, present } = self.counts;
        let reason = format!("scale {} from {present} to {wanted}", self.service);
        let lock = format!("scale.{}", self.service);
        let Some(mut held) = fleet::try_lock(&self.session, &lock, &reason).await? else { return Ok(None) };
        if self.off.is_cancelled() || Seen::read(&self.session, &self.service).await? != seen {
            released(held.release().await);
            return Ok(None);
        }
        // Told before: a node that is lost meanwhile has called all the same.
        self.tell(true, None).await?;
        info!(%reason, "calling the scale command");
        let env = [
            ("SETKEEPER_SERVICE", self.service.clone()),
            ("SETKEEPER_WANTED", wanted.to_string()),
            ("SETKEEPER_PRESENT", present.to_string()),
            ("SETKEEPER_NODES", seen.nodes.iter().cloned().collect::<Vec<_>>().join(",")),
        ];
        let mut running = pin!(self.command.run(&env, self.within, self.off.clone()));
        let ended = tokio::select! {
            ended = &mut running => ended,
            why = held.lost() => {
                self.off.cancel();
                // It has ended by then; how does not matter.
                let _ = running.await;
                Err(format!("the fleet's lock was lost meanwhile: {why}"))
            }
        };
        let call = self.tell(false, ended.err()).await?;
        released(held.release().await);
        Ok(Some(call))
    }

    async fn tell(&self, running: bool, failed: Option<String>) -> Result<Call, Error> {
        let Counts { wanted, present } = self.counts;
        let call = Call { v: 1, at: now(), by: self.by.clone(), wanted, present, running, failed };
        let bytes = serde_json::to_vec(&call).expect("texts and numbers always make JSON");
        self.session.put_mark(&format!("control/scale/{}", self.service), &bytes).await?;
        Ok(call)
    }
}

fn released(released: Result<(), LockError>) {
    if let Err(error) = released {
        warn!(error = %in_words(&error), "the fleet's lock was not released");
    }
}

/// The views of the nodes whose agent runs, of what stands below `workers`.
pub fn running(workers: &BTreeMap<String, Found>) -> impl Iterator<Item = View> + use<'_> {
    let reports = workers.iter().filter_map(|(path, found)| {
        let folder = path.strip_suffix("/report").filter(|folder| folder.starts_with("agent-"))?;
        let view = serde_json::from_slice::<View>(&found.bytes).ok()?;
        Some((folder, view))
    });
    reports
        .filter(|(folder, _)| super::below(workers, folder).any(|name| name != "report"))
        .map(|(_, view)| view)
}
