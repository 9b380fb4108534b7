//! Whether registered instances answer: by a TCP connection, or by a GET.
//!
//! An instance that was never seen to answer is [`Health::Unknown`]; it passes with its first good answer and counts
//! as down after so many bad ones in a row.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use asset::{Check, HostPort};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::choose::Health;

/// How checks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The longest that one may take.
    pub timeout: Duration,
    /// How long after its end the next one of the same instance begins.
    pub every: Duration,
    /// Failures in a row after which an instance counts as down.
    pub failures: u32,
    /// Checks at once.
    pub in_flight: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { timeout: Duration::from_secs(2), every: Duration::from_secs(5), failures: 3, in_flight: 32 }
    }
}

/// What is checked: an instance, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    at: HostPort,
    /// The path to GET; `None` for a TCP connection.
    http: Option<String>,
}

impl Target {
    /// That instance, checked so.
    #[must_use]
    pub fn new(at: HostPort, check: &Check) -> Target {
        let http = match check {
            Check::Tcp => None,
            Check::Http(path) => Some(path.clone()),
        };
        Target { at, http }
    }
}

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection.
    #[error("connect to {at}")]
    Connect {
        /// Where.
        at: HostPort,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No answer to a GET.
    #[error("get `{path}` from {at}")]
    Get {
        /// Where.
        at: HostPort,
        /// What.
        path: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// An answer, and no good one.
    #[error("get `{path}` from {at}: the answer is {status}")]
    Status {
        /// Where.
        at: HostPort,
        /// What.
        path: String,
        /// The answer.
        status: StatusCode,
    },
    /// It took too long.
    #[error("hear from {at} within {within:?}")]
    Late {
        /// Where.
        at: HostPort,
        /// How long was waited.
        within: Duration,
    },
}

/// Checks once. Cancel-safe: a dropped call closes its connection.
///
/// # Errors
/// [`ProbeError`] if the instance does not answer as it should, in time.
pub async fn probe(target: &Target, within: Duration) -> Result<(), ProbeError> {
    let asking = async {
        let stream = connect(&target.at).await?;
        match &target.http {
            None => Ok(()),
            Some(path) => get(stream, &target.at, path).await,
        }
    };
    let late = ProbeError::Late { at: target.at.clone(), within };
    tokio::time::timeout(within, asking).await.unwrap_or(Err(late))
}

async fn connect(at: &HostPort) -> Result<TcpStream, ProbeError> {
    let connected = TcpStream::connect(at.to_string()).await;
    connected.map_err(|source| ProbeError::Connect { at: at.clone(), source })
}

/// The headers of the answer are enough; the body is not read.
async fn get(stream: TcpStream, at: &HostPort, path: &str) -> Result<(), ProbeError> {
    let failed = |source| ProbeError::Get { at: at.clone(), path: path.to_owned(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = Request::get(path)
        .header(header::HOST, at.to_string())
        .header(header::USER_AGENT, "setkeeper")
        .header(header::CONNECTION, "close")
        .body(String::new())
        .expect("a path of graphic ASCII, as `asset` reads it, and a host with its port make a request");
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // It ends with the answer, or with the error that the answer then tells.
        _ = &mut connection => answer.await,
    };
    let status = answer.map_err(failed)?.status();
    if status.is_success() {
        return Ok(());
    }
    Err(ProbeError::Status { at: at.clone(), path: path.to_owned(), status })
}

type Running = Pin<Box<dyn Future<Output = (Target, Result<(), ProbeError>)> + Send>>;

/// Checks many instances, each again and again.
pub struct Prober {
    config: Config,
    targets: BTreeMap<Target, State>,
    running: FuturesUnordered<Running>,
}

struct State {
    health: Health,
    failures: u32,
    /// Why the last one failed.
    error: Option<String>,
    /// When the next one begins; `None` while one runs.
    due: Option<Instant>,
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prober").field("targets", &self.targets.len()).finish_non_exhaustive()
    }
}

impl Prober {
    /// Checks nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Prober {
        Prober { config, targets: BTreeMap::new(), running: FuturesUnordered::new() }
    }

    /// Checks these from now on, a new one at once, and forgets the others.
    pub fn set(&mut self, targets: BTreeSet<Target>) {
        self.targets.retain(|target, _| targets.contains(target));
        for target in targets {
            let new =
                || State { health: Health::Unknown, failures: 0, error: None, due: Some(Instant::now()) };
            self.targets.entry(target).or_insert_with(new);
        }
    }

    /// How one is, and why its last check failed.
    #[must_use]
    pub fn health(&self, target: &Target) -> (Health, Option<&str>) {
        match self.targets.get(target) {
            None => (Health::Unknown, None),
            Some(state) => (state.health, state.error.as_deref()),
        }
    }

    /// Checks until one is no longer as it was. Waits for ever where there is nothing to check. Cancel-safe: what
    /// has begun goes on with the next call.
    pub async fn changed(&mut self) {
        loop {
            self.begin(Instant::now());
            let next = self.next_due();
            let sleep_until = next.unwrap_or_else(Instant::now);
            tokio::select! {
                Some((target, outcome)) = self.running.next(), if !self.running.is_empty() => {
                    if self.note(target, outcome) {
                        return;
                    }
                }
                () = tokio::time::sleep_until(sleep_until), if next.is_some() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Begins what is due, the longest overdue first, as far as there is room.
    fn begin(&mut self, now: Instant) {
        let room = self.config.in_flight.saturating_sub(self.running.len());
        let due = self.targets.iter_mut().filter(|(_, state)| state.due.is_some_and(|due| due <= now));
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(_, state)| state.due);
        for (target, state) in due.into_iter().take(room) {
            state.due = None;
            let (target, within) = (target.clone(), self.config.timeout);
            self.running.push(Box::pin(async move {
                let outcome = probe(&target, within).await;
                (target, outcome)
            }));
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let is_room = self.running.len() < self.config.in_flight;
        is_room.then(|| self.targets.values().filter_map(|state| state.due).min()).flatten()
    }

    /// Returns whether that changed how the instance is.
    fn note(&mut self, target: Target, outcome: Result<(), ProbeError>) -> bool {
        // One that is no longer wanted may answer still.
        let Some(state) = self.targets.get_mut(&target) else { return false };
        state.due = Some(Instant::now() + self.config.every);
        let before = state.health;
        match outcome {
            Ok(()) => {
                (state.failures, state.error) = (0, None);
                state.health = Health::Passing;
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                state.error = Some(told(&error));
                if state.failures >= self.config.failures {
                    state.health = Health::Failing;
                }
            }
        }
        before != state.health
    }
}

/// An error with its causes.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    async fn listener() -> (TcpListener, HostPort) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("its address").to_string().parse().expect("a host");
        (listener, at)
    }

    /// Answers each GET with the status of its path: `/503`.
    async fn serve(listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.expect("a request");
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            assert!(text.contains("host: 127.0.0.1:"), "{text}");
            let status = text.split(['/', ' ']).nth(2).expect("a path").to_owned();
            let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 9000\r\n\r\nonly the beginning");
            stream.write_all(answer.as_bytes()).await.expect("an answer");
        }
    }

    async fn get(at: &HostPort, path: &str) -> String {
        let target = Target::new(at.clone(), &Check::Http(path.to_owned()));
        match probe(&target, DEADLINE).await {
            Ok(()) => "good".to_owned(),
            Err(error) => told(&error).replace(&at.to_string(), "HOST"),
        }
    }

    #[tokio::test]
    async fn a_get_is_good_when_its_status_is_a_success() {
        let (listener, at) = listener().await;
        let server = tokio::spawn(serve(listener));
        assert_eq!(get(&at, "/200").await, "good");
        assert_eq!(get(&at, "/204").await, "good");
        assert_eq!(get(&at, "/302").await, "get `/302` from HOST: the answer is 302 Found");
        assert_eq!(get(&at, "/503").await, "get `/503` from HOST: the answer is 503 Service Unavailable");
        server.abort();
    }

    #[tokio::test]
    async fn what_accepts_and_never_answers_passes_by_tcp_and_fails_by_http() {
        let (_listener, at) = listener().await;
        let tcp = Target::new(at.clone(), &Check::Tcp);
        probe(&tcp, DEADLINE).await.expect("it accepts");
        let http = Target::new(at, &Check::Http("/".to_owned()));
        let late = probe(&http, Duration::from_millis(50)).await.expect_err("it never answers");
        assert!(matches!(late, ProbeError::Late { .. }), "{late}");
    }

    async fn until(prober: &mut Prober, target: &Target, wanted: Health) {
        let waiting = async {
            while prober.health(target).0 != wanted {
                prober.changed().await;
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{wanted:?} in time"));
    }

    #[tokio::test]
    async fn an_instance_passes_once_it_answers_and_fails_after_so_many_failures() {
        let (listener, at) = listener().await;
        let target = Target::new(at, &Check::Tcp);
        let config = Config { every: Duration::from_millis(5), failures: 3, ..Config::default() };
        let mut prober = Prober::new(config);
        prober.set(BTreeSet::from([target.clone()]));
        assert_eq!(prober.health(&target), (Health::Unknown, None));
        until(&mut prober, &target, Health::Passing).await;
        drop(listener);
        until(&mut prober, &target, Health::Failing).await;
        assert_eq!(prober.targets[&target].failures, 3, "not the first failure, but the third");
        let (_, why) = prober.health(&target);
        assert!(why.is_some_and(|why| why.contains("Connection refused")), "{why:?}");
        prober.set(BTreeSet::new());
        assert_eq!(prober.health(&target), (Health::Unknown, None));
    }

    #[tokio::test]
    async fn no_more_run_at_once_than_may_and_none_is_forgotten() {
        let mut listeners = Vec::new();
        let mut targets = BTreeSet::new();
        for _ in 0..5 {
            let (listener, at) = listener().await;
            listeners.push(listener);
            targets.insert(Target::new(at, &Check::Tcp));
        }
        let mut prober = Prober::new(Config { in_flight: 2, every: DEADLINE, ..Config::default() });
        prober.set(targets.clone());
        prober.begin(Instant::now());
        assert_eq!(prober.running.len(), 2);
        for target in &targets {
            until(&mut prober, target, Health::Passing).await;
        }
    }
}
