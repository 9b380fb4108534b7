//! Places where a test lets the process die, and ways in which a test lets the watcher be wrong.

use uuid::Uuid;

/// Where the process aborts. For kill tests only; the binary reads it from `SETKEEPER_FAIL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailPoint {
    /// Before records are appended to `changes`.
    BeforeAppend,
    /// After they were, and before anything else is done about it.
    AfterAppend,
    /// Before the known tree's checkpoint is saved.
    BeforeTreeSaved,
    /// After it was.
    AfterTreeSaved,
    /// Between saving the canary's next nonce and writing it.
    BeforeCanary,
    /// Between writing the canary and saving that it was written.
    AfterCanary,
}

impl std::str::FromStr for FailPoint {
    type Err = UnknownFailPoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "before-append" => FailPoint::BeforeAppend,
            "after-append" => FailPoint::AfterAppend,
            "before-tree-saved" => FailPoint::BeforeTreeSaved,
            "after-tree-saved" => FailPoint::AfterTreeSaved,
            "before-canary" => FailPoint::BeforeCanary,
            "after-canary" => FailPoint::AfterCanary,
            _ => return Err(UnknownFailPoint(text.to_owned())),
        })
    }
}

/// A text that names no [`FailPoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fail point of the watcher; use `after-append` or another of its names")]
pub struct UnknownFailPoint(String);

/// A fail point and how often it strikes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fail {
    /// Where.
    pub point: FailPoint,
    /// From 0 (never) to 1 (every time).
    pub probability: f64,
}

impl Fail {
    /// Aborts the process if this is the point and chance will have it.
    pub(crate) fn strike(fail: Option<Fail>, here: FailPoint) {
        let Some(fail) = fail.filter(|fail| fail.point == here) else { return };
        let chance = f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
        if chance <= fail.probability && fail.probability > 0.0 {
            std::process::abort();
        }
    }
}

/// A way to be wrong, to show that a history checker finds it. Only in builds with the feature `broken`.
#[cfg(feature = "broken")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Whatever cannot be read counts as deleted, and no ensemble is a stranger.
    NoNodeIsDelete,
}
