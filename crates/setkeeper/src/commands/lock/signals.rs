//! The signals that a lock's holder gets.

use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::exit::{Exit, Failure};
use crate::output::say;

/// Passed on to the command.
const FORWARDED: [Signal; 6] =
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// Every signal that is not left to the system, from when this is made.
pub(super) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    pub(super) fn install() -> Result<Signals, Failure> {
        let all = FORWARDED.into_iter().chain([Signal::TSTP]);
        let install = |kind: Signal| {
            let stream = unix::signal(SignalKind::from_raw(kind.as_raw()));
            stream.map(|stream| (kind, stream)).map_err(|error| Failure::of(Exit::Failed, &error))
        };
        all.map(install).collect::<Result<_, _>>().map(Signals)
    }

    /// The next one that the command is to get. Cancel-safe.
    pub(super) async fn next(&mut self) -> Signal {
        loop {
            let signal = self.any().await;
            if signal != Signal::TSTP {
                return signal;
            }
            say("setkeeper: not suspended: whoever holds a lock has to keep its session alive");
        }
    }

    /// The next one that asks for an end. Cancel-safe.
    pub(super) async fn end(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if is_end(signal) {
                return signal;
            }
        }
    }

    async fn any(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (kind, stream) in &mut self.0 {
                if let Poll::Ready(Some(())) = stream.poll_recv(context) {
                    return Poll::Ready(*kind);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Whether a signal asks for an end.
pub(super) fn is_end(signal: Signal) -> bool {
    signal != Signal::USR1 && signal != Signal::USR2
}

/// `SIGTERM`
pub(super) fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::INT => "SIGINT",
        Signal::TERM => "SIGTERM",
        Signal::HUP => "SIGHUP",
        Signal::QUIT => "SIGQUIT",
        _ => "a signal",
    }
}
