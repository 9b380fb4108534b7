//! Keeps one file as its template says, for as long as it is asked to.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use change::Millis;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::file::Target;
use super::pace::{Pace, Step, Wanted};
use super::{Fault, Template, engine};
use crate::discover::{Root, Unknown, World};

/// How the file of one template stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// The file.
    pub target: String,
    /// The template.
    pub source: String,
    /// How it stands.
    pub state: Condition,
    /// Why it is not what it should be, with all causes.
    pub reason: Option<String>,
    /// Since when it is like that.
    pub since: Millis,
    /// Registrations that were left out, and why.
    pub left_out: Vec<String>,
    /// When the file was last replaced by this process.
    pub written: Option<Millis>,
    /// How often it was replaced.
    pub writes: u64,
    /// How often something went wrong with it.
    pub faults: u64,
}

/// How a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// As the template and ZooKeeper say, or about to be.
    Fresh,
    /// The last good one stays: nobody is registered, or ZooKeeper could not be read.
    Kept,
    /// The last good one stays, and a person has to look at it; or its reader was not told of the newest.
    Failed,
}

impl State {
    fn new(template: &Template) -> State {
        State {
            target: template.target.display().to_string(),
            source: template.source.to_string(),
            state: Condition::Kept,
            reason: None,
            since: now(),
            left_out: Vec::new(),
            written: None,
            writes: 0,
            faults: 0,
        }
    }

    /// Notes what came of a try; tells it once to the log.
    fn note(&mut self, came: Result<(), &Fault>) {
        let (state, reason) = match came {
            Ok(()) => (Condition::Fresh, None),
            Err(fault) if fault.is_waiting() => (Condition::Kept, Some(chain(fault))),
            Err(fault) => (Condition::Failed, Some(chain(fault))),
        };
        self.faults += u64::from(state == Condition::Failed);
        if (state, &reason) == (self.state, &self.reason) {
            return;
        }
        let target = self.target.as_str();
        match (state, reason.as_deref()) {
            // So begins every process.
            (Condition::Kept, _) if came == Err(&Fault::Unknown(Unknown::NotRead)) => {}
            (Condition::Fresh, _) => tracing::info!(target_file = target, "the file is as its template says"),
            (Condition::Kept, why) => tracing::warn!(target_file = target, why, "the last good file stays"),
            (Condition::Failed, why) => {
                tracing::error!(target_file = target, why, "the template's file needs a look");
            }
        }
        (self.state, self.reason, self.since) = (state, reason, now());
    }
}

/// Keeps the file of `template` as `worlds` say: asks by `need` for what it looks into, and tells how it stands whenever
/// that changes. Ends when there are no more worlds. May be dropped at any time: a file is replaced whole, and a reload
/// that is owed is noted beside it.
pub(crate) async fn keep(
    template: &Template,
    mut worlds: watch::Receiver<World>,
    tell: impl Fn(&State),
    need: impl Fn(&BTreeSet<Root>),
) {
    let mut keeper = Keeper {
        template,
        target: None,
        pace: Pace::new(template.min_interval, template.retry),
        trouble: None,
        state: State::new(template),
    };
    loop {
        let world = worlds.borrow_and_update().clone();
        let before = keeper.state.clone();
        let rest = keeper.settle(&world, &need).await;
        if keeper.state != before {
            tell(&keeper.state);
        }
        tokio::select! {
            changed = worlds.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(rest) => {}
        }
    }
}

struct Keeper<'a> {
    template: &'a Template,
    /// `None` until it can be had.
    target: Option<Target>,
    pace: Pace,
    /// What went wrong with the file that is wanted, or with telling of it.
    trouble: Option<Fault>,
    state: State,
}

/// How many registrations that were left out are told.
const LEFT_OUT_MAX: usize = 20;

/// More than a write and a reload are never due at once.
const STEPS_MAX: usize = 3;

impl Keeper<'_> {
    /// Does what is to be done now; returns when to look again though nothing changes in ZooKeeper: somebody may touch the
    /// file or its template.
    async fn settle(&mut self, world: &World, need: &impl Fn(&BTreeSet<Root>)) -> Instant {
        let opened = match self.target.take() {
            Some(target) => Ok(target),
            None => Target::open(&self.template.target, self.template.mode),
        };
        let settled = match opened {
            Ok(mut target) => {
                let rendered = self.render(world, need);
                let settled = self.settle_file(&mut target, rendered).await;
                self.target = Some(target);
                settled
            }
            Err(fault) => Err(fault),
        };
        let until = settled.unwrap_or_else(|fault| {
            self.state.note(Err(&fault));
            None
        });
        until.unwrap_or_else(|| Instant::now() + self.template.retry)
    }

    async fn settle_file(
        &mut self,
        target: &mut Target,
        rendered: Result<String, Fault>,
    ) -> Result<Option<Instant>, Fault> {
        for _ in 0..STEPS_MAX {
            let standing = target.read()?;
            let wanted = match &rendered {
                Ok(text) if standing.as_deref() == Some(text.as_bytes()) => Wanted::Same,
                Ok(text) => Wanted::Other(text),
                Err(fault) => Wanted::Nothing { again: !fault.is_waiting() },
            };
            let owed = target.is_owed()?;
            let until = match (self.pace.step(wanted, owed, Instant::now()), wanted) {
                (Step::Write, Wanted::Other(text)) => {
                    self.write(target, text).await?;
                    continue;
                }
                (Step::Reload | Step::Write, _) => {
                    self.reload(target).await?;
                    continue;
                }
                (Step::Until(until), _) => Some(until),
                (Step::Rest, _) => None,
            };
            if wanted == Wanted::Same && !owed {
                self.trouble = None;
            }
            self.state.note(rendered.as_ref().err().or(self.trouble.as_ref()).map_or(Ok(()), Err));
            return Ok(until);
        }
        // Whatever is due still is due at once.
        Ok(Some(Instant::now()))
    }

    /// The template is read anew: whoever mends it need not tell us.
    fn render(&mut self, world: &World, need: &impl Fn(&BTreeSet<Root>)) -> Result<String, Fault> {
        let source = self.template.source.read()?;
        let text = self.template.text(&source);
        need(&engine::check(text)?);
        let rendered = engine::render(text, world)?;
        let (told, more) = rendered.left_out.split_at(rendered.left_out.len().min(LEFT_OUT_MAX));
        let more = (!more.is_empty()).then(|| format!("and {} more", more.len()));
        self.state.left_out = told.iter().cloned().chain(more).collect();
        Ok(rendered.text)
    }

    /// Puts a new text in the place of the old one, if it passes, and tells its reader.
    async fn write(&mut self, target: &mut Target, text: &str) -> Result<(), Fault> {
        match self.put_in_place(target, text).await {
            Ok(()) => {
                self.pace.wrote(Instant::now());
                self.trouble = None;
                self.state.writes += 1;
                self.state.written = Some(now());
                self.reload(target).await
            }
            Err(fault) => {
                target.discard();
                self.pace.refused(text.to_owned(), Instant::now());
                self.trouble = Some(fault);
                Ok(())
            }
        }
    }

    async fn put_in_place(&self, target: &mut Target, text: &str) -> Result<(), Fault> {
        let new = target.write_new(text.as_bytes())?;
        if let Some(validate) = &self.template.validate {
            validate.run(new).await?;
        }
        if self.template.reload.is_some() {
            // First, so that a crash after the renaming does not leave the reader with the old one for good.
            target.set_owed(true)?;
        }
        target.replace()
    }

    async fn reload(&mut self, target: &mut Target) -> Result<(), Fault> {
        let came = match &self.template.reload {
            Some(reload) => reload.run(target.path()).await,
            None => Ok(()),
        };
        self.pace.reloaded(came.is_ok(), Instant::now());
        match came {
            Ok(()) if target.is_owed()? => target.set_owed(false),
            Ok(()) => Ok(()),
            Err(fault) => {
                self.trouble = Some(Fault::Reload(fault));
                Ok(())
            }
        }
    }
}

fn chain(fault: &Fault) -> String {
    let mut text = fault.to_string();
    let mut source = std::error::Error::source(fault);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
