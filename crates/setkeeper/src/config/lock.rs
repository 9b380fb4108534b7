//! `[lock]`: how commands run under a lock of the fleet.

use std::time::Duration;

use serde::Deserialize;

use super::mean::Reading;

/// As written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLock {
    style: Option<String>,
    session_timeout: Option<String>,
    grace: Option<String>,
    pause_within: Option<String>,
}

/// How commands run under a lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lock {
    /// Whose clients can contend, unless the command line says otherwise.
    pub(crate) style: zk::Style,
    /// How long a holder may be silent before the lock is another's. A third of it, less a margin, is what a command
    /// has to end in.
    pub(crate) session_timeout: Duration,
    /// How long a command may take to end after TERM before it gets KILL.
    pub(crate) grace: Duration,
    /// How long `--pause-applier` waits for the appliers to stand still.
    pub(crate) pause_within: Duration,
}

impl Reading<'_> {
    pub(super) fn lock(&mut self, raw: &RawLock) -> Lock {
        let mut lock = Lock {
            style: zk::Style::default(),
            session_timeout: Duration::from_secs(20),
            grace: Duration::from_secs(5),
            pause_within: Duration::from_secs(60),
        };
        if let Some(style) = &raw.style {
            match style.parse() {
                Ok(style) => lock.style = style,
                Err(error) => self.fault("lock.style", &format!("{error}")),
            }
        }
        self.durations([
            ("lock.session_timeout", &raw.session_timeout, &mut lock.session_timeout),
            ("lock.grace", &raw.grace, &mut lock.grace),
            ("lock.pause_within", &raw.pause_within, &mut lock.pause_within),
        ]);
        lock
    }
}
