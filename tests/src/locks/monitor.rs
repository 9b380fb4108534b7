//! The checker: never two in the room. Whoever holds the lock enters and leaves before it releases, so that two who meet
//! here both hold it.

use std::sync::{Mutex, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Monitor(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    inside: Vec<String>,
    turns: u32,
    met: Vec<String>,
    last: Option<zk::Token>,
}

impl Monitor {
    pub(super) fn enter(&self, name: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.inside.is_empty() {
            let met = format!("{name} meets {}", seen.inside.join(", "));
            seen.met.push(met);
        }
        seen.inside.push(name.to_owned());
        seen.turns += 1;
    }

    /// With the fence, where there is one: it only grows.
    pub(super) fn enter_with(&self, name: &str, token: zk::Token) {
        self.enter(name);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.last >= Some(token) {
            let met = format!("{name} comes with {token} after {:?}", seen.last);
            seen.met.push(met);
        }
        seen.last = Some(token);
    }

    /// Somebody leaves; who does not matter as long as there is only one.
    pub(super) fn leave(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).inside.pop();
    }

    pub(super) fn turns(&self) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).turns
    }

    /// Every time that two held the lock.
    pub(super) fn met(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).met.clone()
    }
}
