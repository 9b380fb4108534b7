//! One look at Superset's `/health`.

use std::fmt;
use std::io::ErrorKind;
use std::str::FromStr;
use std::time::Duration;

use asset::{Check, HostPort};

use crate::check::{self, ProbeError};
use crate::node::Probe;

/// Where Superset tells how it is: plain HTTP, for it is asked on its own machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthUrl {
    at: HostPort,
    path: String,
}

/// Why a text is no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no plain HTTP address with a port; write one like http://127.0.0.1:8088/health")]
pub struct BadHealthUrl(String);

impl FromStr for HealthUrl {
    type Err = BadHealthUrl;

    fn from_str(text: &str) -> Result<HealthUrl, BadHealthUrl> {
        let refuse = || BadHealthUrl(text.escape_default().to_string());
        let rest = text.strip_prefix("http://").ok_or_else(refuse)?;
        let (at, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        if path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
            return Err(refuse());
        }
        Ok(HealthUrl { at: at.parse().map_err(|_| refuse())?, path: path.to_owned() })
    }
}

impl fmt::Display for HealthUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.at, self.path)
    }
}

impl HealthUrl {
    /// The port that Superset listens on there.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.at.port()
    }

    /// Asks, and waits for at most `within`. Cancel-safe.
    pub async fn probe(&self, within: Duration) -> Probe {
        let target = check::Target::new(self.at.clone(), &Check::Http(self.path.clone()));
        match check::probe(&target, within).await {
            Ok(()) => Probe::Up,
            Err(ProbeError::Connect { source, .. }) if source.kind() == ErrorKind::ConnectionRefused => {
                Probe::Gone(format!("nothing listens at {}", self.at))
            }
            Err(error) => Probe::Sick(in_words(&error)),
        }
    }
}

/// An error with its causes.
pub(crate) fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_place_is_plain_http_with_a_port() {
        for good in ["http://127.0.0.1:8088/health", "http://superset:80/", "http://[::1]:8088/health?a=b"] {
            assert_eq!(good.parse::<HealthUrl>().expect(good).to_string(), good);
        }
        assert_eq!("http://h:80".parse::<HealthUrl>().expect("a place").to_string(), "http://h:80/");
        for bad in
            ["", "https://h:1/", "http://", "http://h/", "http://h:0/", "http://a@h:1/", "http://h:1/a b"]
        {
            assert!(bad.parse::<HealthUrl>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_told_apart_from_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/health", listener.local_addr().expect("an address"));
        let url: HealthUrl = url.parse().expect("a place");
        let silent = url.probe(Duration::from_millis(50)).await;
        assert!(matches!(&silent, Probe::Sick(why) if why.contains("50ms")), "{silent:?}");
        drop(listener);
        let gone = url.probe(Duration::from_secs(20)).await;
        assert!(matches!(&gone, Probe::Gone(_)), "{gone:?}");
    }
}
