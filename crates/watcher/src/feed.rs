//! The feed's state machine: one state, one pure step. `run` sends the reads, appends the records and keeps the time.

use std::time::{Duration, Instant};

use change::{Millis, Record, Tree, ZnodePath, Zxid};

use crate::seen::Reply;
use crate::stream::{Answer, Counts, Owed, Read, Stream, What};

/// Below the environment's root.
pub(crate) const CANARY: &str = "/workers/watcher/canary";

/// What the feed is told.
#[derive(Debug)]
pub(crate) enum Input {
    /// A znode event; the path stands below the environment's root.
    Event {
        /// With a leading slash.
        path: String,
        /// What happened there.
        kind: Kind,
        /// The transaction, where the server tells it.
        zxid: Option<Zxid>,
    },
    /// The session's connection changed.
    Connection(Connection),
    /// The oldest outstanding read was answered.
    Answer(Answer),
    /// The canary's write was confirmed.
    Beaten(Zxid),
    /// Watch, snapshot and reconciliation are done; the stream goes on after this transaction, and these deletes belong
    /// to what it brings.
    Rebuilt(Zxid, Vec<Owed>),
    /// Time went by.
    Time,
}

/// What happened to a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It was created.
    Created,
    /// It was set.
    Set,
    /// It was deleted.
    Deleted,
}

/// What became of the session's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// It broke; the session may live on.
    Lost,
    /// It stands again, in the same session, with its watches gone.
    Back,
    /// The session is over.
    Over,
}

/// What the feed wants done, in order.
#[derive(Debug, PartialEq)]
pub(crate) enum Output {
    /// Append these records. The feed's tree has them in it already.
    Append(Vec<Record>),
    /// Write the canary.
    Beat,
    /// Watch again, take a snapshot, reconcile; answers to earlier reads are void.
    Rebuild(Why),
    /// Show that the connection is gone.
    Lost,
    /// Look whether the generation is still ours.
    CheckGeneration,
    /// Stop for good, until a person has approved a new generation.
    Freeze(String),
    /// End the term.
    Restart(&'static str),
}

/// Why the feed starts over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The term begins.
    Start,
    /// The connection was lost and is back.
    Reconnect,
    /// The canary's event did not come: the watch is dead.
    SilentCanary,
    /// It is time to look for what the watch may have missed.
    Periodic,
    /// An operator or a worker asked for a resync.
    Requested,
    /// More events wait than may: comparing the trees is cheaper than working them off.
    Overflow,
    /// The queue was full, so nothing was taken in.
    Full,
}

/// The two clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// For waiting.
    pub(crate) monotonic: Instant,
    /// For the record.
    pub(crate) wall: Millis,
}

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) canary_every: Duration,
    pub(crate) canary_within: Duration,
    pub(crate) reconcile_every: Duration,
    pub(crate) broken_max: Duration,
    pub(crate) reads_in_flight: usize,
    pub(crate) batch_max: usize,
    pub(crate) deletes_max: usize,
    pub(crate) events_max: usize,
}

#[derive(Debug)]
enum State {
    /// No stream: the connection is lost, or a rebuild is under way or failed with the connection.
    Broken {
        /// For so long it has been.
        since: Instant,
    },
    /// Events come in.
    Streaming(Box<Streaming>),
}

#[derive(Debug)]
struct Streaming {
    stream: Stream,
    beat: Beat,
    reconcile_at: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Beat {
    /// The next write is due then.
    Due(Instant),
    /// Written; the reply or the event is still to come. The next write is due at `next`.
    Out { heard: bool, confirmed: Option<(Instant, Zxid)>, next: Instant },
    /// Both came: all events up to this transaction are in the stream.
    Mark { next: Instant, zxid: Zxid },
}

/// The feed.
#[derive(Debug)]
pub(crate) struct Feed {
    bounds: Bounds,
    state: State,
    /// All changes up to here came through the stream, as proved by the canary.
    mark: Option<Zxid>,
}

impl Feed {
    /// A feed that has yet to be built.
    pub(crate) fn new(bounds: Bounds, now: Now) -> Feed {
        Feed { bounds, state: State::Broken { since: now.monotonic }, mark: None }
    }

    /// All changes up to this transaction have been through the stream; one that a reconciliation finds below it
    /// was missed silently.
    pub(crate) fn mark(&self) -> Option<Zxid> {
        self.mark
    }

    /// What was counted since the last time.
    pub(crate) fn take_counts(&mut self) -> Counts {
        match &mut self.state {
            State::Streaming(streaming) => streaming.stream.take_counts(),
            State::Broken { .. } => Counts::default(),
        }
    }

    /// When [`Input::Time`] is due at the latest.
    pub(crate) fn wake_at(&self) -> Instant {
        let bounds = &self.bounds;
        match &self.state {
            State::Broken { since } => *since + bounds.broken_max,
            State::Streaming(streaming) => match streaming.beat {
                Beat::Due(at) | Beat::Mark { next: at, .. } => at.min(streaming.reconcile_at),
                Beat::Out { heard: false, confirmed: Some((at, _)), .. } => {
                    (at + bounds.canary_within).min(streaming.reconcile_at)
                }
                Beat::Out { .. } => streaming.reconcile_at,
            },
        }
    }

    /// Takes one input. `known` is changed by exactly the records of the outputs.
    pub(crate) fn step(&mut self, input: Input, known: &mut Tree, now: Now) -> Vec<Output> {
        match (&mut self.state, input) {
            (_, Input::Connection(Connection::Over)) => vec![Output::Restart("the session is over")],
            (_, Input::Connection(Connection::Lost))
            | (State::Streaming(_), Input::Answer(Answer { reply: Reply::Lost, .. })) => {
                if let State::Broken { .. } = self.state {
                    return Vec::new();
                }
                self.state = State::Broken { since: now.monotonic };
                vec![Output::Lost]
            }
            (State::Broken { .. }, Input::Connection(Connection::Back)) => {
                vec![Output::Rebuild(Why::Reconnect)]
            }
            (_, Input::Rebuilt(high, owed)) => {
                self.state = self.streaming(high, owed, now);
                Vec::new()
            }
            (State::Broken { since }, Input::Time) => {
                if now.monotonic >= *since + self.bounds.broken_max {
                    return vec![Output::Restart("the connection did not come back in time")];
                }
                Vec::new()
            }
            (State::Broken { .. }, Input::Event { .. } | Input::Answer(_) | Input::Beaten(_)) => Vec::new(),
            (State::Streaming(_), Input::Connection(Connection::Back)) => self.rebuild(Why::Reconnect, now),
            (State::Streaming(streaming), Input::Event { path, kind, zxid }) => {
                let output = streaming.event(&path, kind, zxid);
                let overflow = streaming.stream.waiting() > self.bounds.events_max;
                match output.or(overflow.then_some(Output::Rebuild(Why::Overflow))) {
                    Some(Output::Rebuild(why)) => self.rebuild(why, now),
                    output => output.into_iter().collect(),
                }
            }
            (State::Streaming(streaming), Input::Answer(answer)) => {
                streaming.stream.answer(answer);
                self.drain(known, now)
            }
            (State::Streaming(streaming), Input::Beaten(zxid)) => {
                streaming.beaten(zxid, now);
                self.drain(known, now)
            }
            (State::Streaming(streaming), Input::Time) => match streaming.time(&self.bounds, now) {
                Some(Output::Rebuild(why)) => self.rebuild(why, now),
                output => output.into_iter().collect(),
            },
        }
    }

    /// Reads that may be sent now. Called after a row of steps, so that reads leave in the order of their events.
    pub(crate) fn reads(&mut self) -> Vec<Read> {
        let State::Streaming(streaming) = &mut self.state else { return Vec::new() };
        std::iter::from_fn(|| streaming.stream.ask()).collect()
    }

    fn streaming(&self, high: Zxid, owed: Vec<Owed>, now: Now) -> State {
        State::Streaming(Box::new(Streaming {
            stream: Stream::new(
                high,
                self.bounds.reads_in_flight,
                self.bounds.batch_max,
                self.bounds.deletes_max,
            )
            .owing(owed),
            beat: Beat::Due(now.monotonic),
            reconcile_at: now.monotonic + self.bounds.reconcile_every,
        }))
    }

    fn rebuild(&mut self, why: Why, now: Now) -> Vec<Output> {
        self.state = State::Broken { since: now.monotonic };
        vec![Output::Rebuild(why)]
    }

    fn drain(&mut self, known: &mut Tree, now: Now) -> Vec<Output> {
        let State::Streaming(streaming) = &mut self.state else { return Vec::new() };
        let records = match streaming.stream.take(known, now.wall) {
            Ok(records) => records,
            Err(behind) => return vec![Output::Freeze(behind.to_string())],
        };
        if let Beat::Mark { next, zxid } = streaming.beat
            && streaming.stream.is_idle()
        {
            self.mark = self.mark.max(Some(zxid));
            streaming.beat = Beat::Due(next);
        }
        if records.is_empty() { Vec::new() } else { vec![Output::Append(records)] }
    }
}

impl Streaming {
    fn event(&mut self, path: &str, kind: Kind, zxid: Option<Zxid>) -> Option<Output> {
        let text = path.strip_prefix('/')?;
        if path == CANARY {
            if let Beat::Out { heard, .. } = &mut self.beat {
                *heard = true;
            }
            self.settle();
            return None;
        }
        if text == "generation" {
            return Some(Output::CheckGeneration);
        }
        if text.starts_with("control/resync/") && kind == Kind::Created {
            return Some(Output::Rebuild(Why::Requested));
        }
        if let Some(name) = text.strip_prefix("edits/").filter(|_| kind == Kind::Created) {
            self.stream.event(What::Edit(name.to_owned()), zxid);
            return None;
        }
        let path: ZnodePath = text.parse().ok()?;
        if path.is_watched() {
            let what = match kind {
                Kind::Created => What::Created(path),
                Kind::Set => What::Set(path),
                Kind::Deleted => What::Deleted(path),
            };
            self.stream.event(what, zxid);
        }
        None
    }

    fn beaten(&mut self, zxid: Zxid, now: Now) {
        if let Beat::Out { confirmed, .. } = &mut self.beat {
            *confirmed = Some((now.monotonic, zxid));
        }
        self.settle();
    }

    fn settle(&mut self) {
        if let Beat::Out { heard: true, confirmed: Some((_, zxid)), next } = self.beat {
            self.beat = Beat::Mark { next, zxid };
        }
    }

    fn time(&mut self, bounds: &Bounds, now: Now) -> Option<Output> {
        if now.monotonic >= self.reconcile_at {
            return Some(Output::Rebuild(Why::Periodic));
        }
        match self.beat {
            Beat::Due(at) | Beat::Mark { next: at, .. } if now.monotonic >= at => {
                let next = now.monotonic + bounds.canary_every;
                self.beat = Beat::Out { heard: false, confirmed: None, next };
                Some(Output::Beat)
            }
            Beat::Out { heard: false, confirmed: Some((at, _)), .. }
                if now.monotonic >= at + bounds.canary_within =>
            {
                Some(Output::Rebuild(Why::SilentCanary))
            }
            Beat::Due(_) | Beat::Mark { .. } | Beat::Out { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
