//! Calling the operator's `scale_command`: the effects of [`crate::scale`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use asset::{Group, Setting, parse_setting};
use tokio::time::Instant;
use tracing::{info, warn};
use zk::{Found, LockError};

use super::fleet;
use super::view::View;
use super::{Agent, Error, Pending, now};
use crate::health::in_words;
use crate::scale::{Call, Counts, Scaler};

/// The hook, and when it is next due.
#[derive(Default)]
pub(super) struct Scaling {
    scaler: Scaler,
    due: Option<Instant>,
    running: Option<Pending<Result<Option<Call>, Error>>>,
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
            return Event::Called(running.await);
        }
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
        self.due = None;
        Event::Due
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
        let nodes = self.nodes();
        let counts = self.wanted().map(|wanted| {
            let present = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
            Counts { wanted, present }
        });
        let last = self.control.nodes().get(&format!("scale/{}", self.config.service));
        let last = last.and_then(|found| serde_json::from_slice::<Call>(&found.bytes).ok());
        let due = self.scaling.scaler.due(now(), counts, last.as_ref(), self.config.scale);
        match (due, counts) {
            (Some(Duration::ZERO), Some(counts)) if self.scaling.due.is_none() => self.call(counts, &nodes),
            // Somebody else was at work a moment ago.
            (Some(Duration::ZERO), _) => {}
            (due, _) => self.scaling.due = due.map(|due| Instant::now() + due),
        }
    }

    /// The count that is asked for; a setting that is bad or may not be read asks for nothing.
    fn wanted(&self) -> Option<u32> {
        let name = &self.config.service;
        let found = self.settings.nodes().get(&format!("scale/{name}"))?;
        match parse_setting(Group::Scale, name, &found.bytes) {
            Ok(Setting::Scale(scale)) => Some(scale.count),
            Ok(Setting::Flag(_) | Setting::Config(_) | Setting::Follow(_)) | Err(_) => None,
        }
    }

    /// The nodes of our service whose agent runs.
    fn nodes(&self) -> BTreeSet<String> {
        running(self.workers.nodes())
            .filter(|view| view.service == self.config.service)
            .map(|view| view.instance)
            .collect()
    }

    fn call(&mut self, counts: Counts, nodes: &BTreeSet<String>) {
        let Some(command) = self.config.scale_command.clone() else { return };
        let service = self.config.service.clone();
        let env = vec![
            ("SETKEEPER_SERVICE", service.clone()),
            ("SETKEEPER_WANTED", counts.wanted.to_string()),
            ("SETKEEPER_PRESENT", counts.present.to_string()),
            ("SETKEEPER_NODES", nodes.iter().cloned().collect::<Vec<_>>().join(",")),
        ];
        let (session, within, by) =
            (self.session.clone(), self.config.scale_timeout, self.config.instance.clone());
        self.scaling.due = None;
        self.scaling.running = Some(Box::pin(async move {
            let reason = format!("scale {service} from {} to {}", counts.present, counts.wanted);
            let Some(mut held) = fleet::try_lock(&session, &format!("scale.{service}"), &reason).await?
            else {
                return Ok(None);
            };
            info!(%reason, "calling the scale command");
            let ended = tokio::select! {
                ended = command.run(&env, within) => ended,
                why = held.lost() => Err(format!("the fleet's lock was lost meanwhile: {why}")),
            };
            let Counts { wanted, present } = counts;
            let call = Call { v: 1, at: now(), by, wanted, present, failed: ended.err() };
            let bytes = serde_json::to_vec(&call).expect("texts and numbers always make JSON");
            session.put_mark(&format!("control/scale/{service}"), &bytes).await?;
            released(held.release().await);
            Ok(Some(call))
        }));
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
