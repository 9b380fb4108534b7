//! Electing the active worker of a role, and what a worker tells of itself.

use std::sync::{Arc, Mutex, PoisonError};

use change::{Millis, Zxid};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;
use zookeeper_client::Error as ZkError;

use crate::config::is_name;
use crate::held::{Held, Note};
use crate::lock::queue::Mode;
use crate::lock::{Contender, LockError};
use crate::session::Session;

/// What a worker says of itself; the data of its election's znode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Format, 1.
    pub v: u32,
    /// Host and pid.
    pub holder: String,
    /// `standby`, `running`, `paused` or `failed`.
    pub doing: String,
    /// The transaction that wrote the pause which it stands still for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Zxid>,
    /// Whatever else the role tells.
    #[serde(default)]
    pub detail: Value,
}

/// One that stands for a role.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The role, the name of its folder below `workers`.
    pub role: String,
    /// The znode, absolute.
    pub key: String,
    /// Whether it is the elected one.
    pub elected: bool,
    /// When it began to stand, by the leader's clock.
    pub since: Millis,
    /// When it last said something, by the leader's clock.
    pub reported: Millis,
    /// What it says of itself; `None` if that is not understood.
    pub worker: Option<Worker>,
}

/// Tells others what the elected worker does, by its election's znode. Cheap to clone; written by whoever awaits
/// [`Held::lost`].
#[derive(Debug, Clone)]
pub struct Reporter {
    worker: Arc<Mutex<Worker>>,
    note: Note,
}

impl Reporter {
    /// What it does from now on.
    pub fn doing(&self, doing: &str) {
        self.change(|worker| {
            doing.clone_into(&mut worker.doing);
            worker.pause = None;
        });
    }

    /// That it stands still, for the pause that this transaction wrote.
    pub fn paused(&self, written: Zxid) {
        self.change(|worker| {
            "paused".clone_into(&mut worker.doing);
            worker.pause = Some(written);
        });
    }

    /// What else it tells from now on.
    pub fn detail(&self, detail: Value) {
        self.change(|worker| worker.detail = detail);
    }

    fn change(&self, change: impl FnOnce(&mut Worker)) {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut worker);
        self.note.set(to_json(&worker));
    }
}

fn to_json(worker: &Worker) -> Vec<u8> {
    serde_json::to_vec(worker).expect("texts and JSON always make JSON")
}

impl Session {
    /// Stands for `role` and waits until it is ours; `holder` (host and pid) is what others can read of us.
    ///
    /// The lock znodes are named as Curator's `LeaderLatch` names them, `workers/<role>/_c_<uuid>-latch-<sequence>`.
    /// Cancel-safe: a dropped call withdraws.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn elect(&self, role: &str, holder: &str) -> Result<(Held, Reporter), LockError> {
        if !is_name(role) {
            return Err(LockError::Name(role.escape_default().to_string()));
        }
        self.must_stand().await?;
        let worker = Worker {
            v: 1,
            holder: holder.to_owned(),
            doing: "standby".to_owned(),
            pause: None,
            detail: Value::Null,
        };
        let prefix = format!("_c_{}-latch-", Uuid::new_v4());
        let contender = Contender::join(self, &format!("/workers/{role}"), prefix, &to_json(&worker)).await?;
        contender.wait(Mode::Exclusive).await?;
        let held = self.hold(contender).await?;
        let note = held.note();
        Ok((held, Reporter { worker: Arc::new(Mutex::new(worker)), note }))
    }

    /// Whoever stands for `role`, the elected one first.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn candidates(&self, role: &str) -> Result<Vec<Candidate>, LockError> {
        if !is_name(role) {
            return Err(LockError::Name(role.escape_default().to_string()));
        }
        let queued = self.queued(&format!("/workers/{role}")).await?;
        Ok(queued
            .into_iter()
            .map(|each| Candidate {
                role: role.to_owned(),
                elected: each.holds,
                since: each.since,
                reported: each.noted,
                worker: serde_json::from_slice(&each.data).ok(),
                key: each.key,
            })
            .collect())
    }

    /// The elected worker of every role whose name begins with `prefix`, by role. A role that nobody stands for is left
    /// out.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn elected(&self, prefix: &str) -> Result<Vec<Candidate>, LockError> {
        self.sync().await?;
        self.must_stand().await?;
        let mut roles = match self.again(|| self.client().list_children("/workers")).await {
            Ok(roles) => roles,
            Err(ZkError::NoNode) => Vec::new(),
            Err(source) => return Err(self.lock_error("/workers", source)),
        };
        roles.retain(|role| role.starts_with(prefix) && is_name(role));
        roles.sort_unstable();
        let mut elected = Vec::new();
        for role in roles {
            elected.extend(self.candidates(&role).await?.into_iter().find(|each| each.elected));
        }
        Ok(elected)
    }
}
