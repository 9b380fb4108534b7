//! The locks of the fleet, as the agent takes them.

use std::num::NonZeroU32;

use zk::{Held, Holder, LockError, Mode, Session, Style};

use super::now;

/// Waits for one of `count` places in the lock `name`. Cancel-safe.
pub(super) async fn lock(
    session: &Session,
    name: &str,
    count: NonZeroU32,
    reason: &str,
) -> Result<Held, LockError> {
    session.lock(name, Style::Curator, Mode::Counted(count), &holder(reason)).await
}

/// Takes the lock `name` alone, if it is free.
pub(super) async fn try_lock(session: &Session, name: &str, reason: &str) -> Result<Option<Held>, LockError> {
    session.try_lock(name, Style::Curator, Mode::Exclusive, &holder(reason)).await
}

fn holder(reason: &str) -> Holder {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Holder {
        v: 1,
        host: host.trim().to_owned(),
        pid: std::process::id(),
        reason: reason.to_owned(),
        since: now(),
        count: None,
    }
}
