//! How each role is doing, for `/readyz`, `/metrics` and the logs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// What one role is doing now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Doing {
    /// Connecting or building the worker.
    Starting,
    /// Connected; another process is the active one.
    Standby,
    /// Active.
    Running,
    /// Stopped by `setkeeper pause`.
    Paused {
        /// Who and why.
        reason: String,
    },
    /// The last term ended with this; the next begins after a pause.
    Failed {
        /// The error and its causes.
        error: String,
    },
}

impl Doing {
    /// Whether the role does its duty or stands ready to.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self, Doing::Standby | Doing::Running | Doing::Paused { .. })
    }
}

/// All roles of this process. Cheap to clone; the lock is held for a look or a set, never across an await.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    roles: Arc<Mutex<BTreeMap<String, Role>>>,
}

/// One role: what it is doing, and how often its terms began and failed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Role {
    #[serde(flatten)]
    pub(crate) doing: Doing,
    pub(crate) terms: u64,
    pub(crate) failures: u64,
}

impl Health {
    /// Notes what `role` does from now on.
    pub(crate) fn set(&self, role: &str, doing: Doing) {
        let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        let entry =
            roles.entry(role.to_owned()).or_insert(Role { doing: Doing::Starting, terms: 0, failures: 0 });
        match &doing {
            Doing::Running if entry.doing != Doing::Running => entry.terms += 1,
            Doing::Failed { .. } => entry.failures += 1,
            _ => {}
        }
        entry.doing = doing;
    }

    /// How every role is doing.
    pub(crate) fn all(&self) -> BTreeMap<String, Role> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether `role` is active here.
    pub(crate) fn is_running(&self, role: &impl ToString) -> bool {
        self.all().get(&role.to_string()).is_some_and(|role| role.doing == Doing::Running)
    }

    /// Whether every role is ready.
    pub(crate) fn is_ready(&self) -> bool {
        let roles = self.all();
        !roles.is_empty() && roles.values().all(|role| role.doing.is_ready())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_all_its_roles_are() {
        let health = Health::default();
        assert!(!health.is_ready());
        health.set("watcher", Doing::Running);
        health.set("auditor", Doing::Failed { error: "no".to_owned() });
        assert!(!health.is_ready());
        health.set("auditor", Doing::Standby);
        assert!(health.is_ready());
    }

    #[test]
    fn terms_and_failures_are_counted() {
        let health = Health::default();
        for doing in [Doing::Running, Doing::Failed { error: String::new() }, Doing::Running] {
            health.set("watcher", doing);
        }
        let role = health.all().remove("watcher").expect("the role");
        assert_eq!((role.terms, role.failures), (2, 1));
    }
}
