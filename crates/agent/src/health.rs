//! One look at Superset's `/health`.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::node::Probe;

/// As much of an answer as holds its status: `HTTP/1.1 200`.
const ANSWER_BYTES: u64 = 12;

/// Where Superset tells how it is: plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthUrl {
    host: String,
    port: u16,
    path: String,
}

/// Why a text is no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no plain HTTP address; write one like http://127.0.0.1:8088/health")]
pub struct BadHealthUrl(String);

impl std::str::FromStr for HealthUrl {
    type Err = BadHealthUrl;

    fn from_str(text: &str) -> Result<HealthUrl, BadHealthUrl> {
        let refuse = || BadHealthUrl(text.to_owned());
        let rest = text.strip_prefix("http://").ok_or_else(refuse)?;
        if rest.bytes().any(|byte| byte <= b' ' || byte == 0x7f) || rest.contains(['@', '#']) {
            return Err(refuse());
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().map_err(|_| refuse())?),
            _ => (authority, 80),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if bare.is_empty() || port == 0 || (bare.contains(':') && bare == host) {
            return Err(refuse());
        }
        Ok(HealthUrl { host: bare.to_owned(), port, path: path.to_owned() })
    }
}

impl HealthUrl {
    /// The port that Superset listens on there.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks, and waits for at most `within`.
    pub async fn probe(&self, within: Duration) -> Probe {
        match tokio::time::timeout(within, self.ask()).await {
            Err(_) => Probe::Sick(format!("{self} did not answer within {within:?}")),
            Ok(Ok(200..300)) => Probe::Up,
            Ok(Ok(status)) => Probe::Sick(format!("{self} answered {status}")),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Probe::Gone(format!("nothing listens at {self}"))
            }
            Ok(Err(error)) => Probe::Sick(format!("{self}: {error}")),
        }
    }

    async fn ask(&self) -> io::Result<u16> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: setkeeper-agent\r\nConnection: close\r\n\r\n",
            self.path,
            self.authority(),
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
        status(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl std::fmt::Display for HealthUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    let rest = text.strip_prefix("HTTP/1.")?.get(1..)?;
    rest.strip_prefix(' ')?.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn check(text: &str, wanted: Option<&str>) {
        let read = text.parse::<HealthUrl>().ok().map(|url| url.to_string());
        assert_eq!(read.as_deref(), wanted, "{text}");
    }

    #[test]
    fn a_place_is_plain_http() {
        check("http://127.0.0.1:8088/health", Some("http://127.0.0.1:8088/health"));
        check("http://superset", Some("http://superset:80/"));
        check("http://[::1]:8088/health?a=b", Some("http://[::1]:8088/health?a=b"));
        for bad in [
            "",
            "https://h/health",
            "http://",
            "http://h:0/",
            "http://h:x/",
            "http://a@h/",
            "http://h/a b",
            "http://::1/",
        ] {
            check(bad, None);
        }
    }

    /// A server that answers once with this text, or never if there is none; returns what the look gives.
    async fn look(answer: Option<&'static str>) -> Probe {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/health", listener.local_addr().expect("an address"));
        let url: HealthUrl = url.parse().expect("a place");
        let serving = async {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.expect("a request");
            assert!(request[..read].starts_with(b"GET /health HTTP/1.1\r\n"));
            match answer {
                Some(text) => stream.write_all(text.as_bytes()).await.expect("a listener"),
                None => std::future::pending().await,
            }
        };
        let within = if answer.is_some() { Duration::from_secs(20) } else { Duration::from_millis(50) };
        let (probe, ()) = tokio::join!(url.probe(within), async {
            let _ = tokio::time::timeout(within * 2, serving).await;
        });
        probe
    }

    #[tokio::test]
    async fn an_answer_of_the_two_hundreds_is_health_and_all_else_is_not() {
        assert_eq!(look(Some("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")).await, Probe::Up);
        for bad in ["HTTP/1.1 503 no\r\n\r\n", "HTTP/1.0 302 Found\r\n\r\n", "SSH-2.0-OpenSSH\r\n", ""] {
            assert!(matches!(look(Some(bad)).await, Probe::Sick(_)), "{bad}");
        }
        assert!(matches!(look(None).await, Probe::Sick(why) if why.contains("did not answer")));
    }

    #[tokio::test]
    async fn nobody_there_is_told_apart_from_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/health", listener.local_addr().expect("an address"));
        drop(listener);
        let url: HealthUrl = url.parse().expect("a place");
        assert!(matches!(url.probe(Duration::from_secs(20)).await, Probe::Gone(_)));
    }
}
