//! A session below one environment's root.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zookeeper_client::{Acl, Client, Connector, Error as ZkError, SaslOptions, SessionState, TlsOptions};

use crate::config::{BadConfig, Config, Tls};

/// A session whose paths start at `/superset/<env>`. Clones share it; it ends when the last one is dropped.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    client: Client,
    config: Config,
    acls: Vec<Acl>,
    base: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:?} at {})", self.0.client.session_id(), self.root())
    }
}

/// What the caller of a failed operation may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Build everything anew, with a new session, after a pause.
    Restart,
    /// A person must act first.
    Stop,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// The server gave it up, ephemeral znodes and locks with it.
    #[error("the zookeeper session expired")]
    Expired,
    /// The credentials were refused.
    #[error("zookeeper refused the credentials; look at zookeeper.auth, sasl_user and sasl_password")]
    AuthFailed,
    /// It was closed from here.
    #[error("the zookeeper session was closed")]
    Closed,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configuration cannot be used.
    #[error("connect to zookeeper")]
    Config(#[from] BadConfig),
    /// The connect string cannot be used.
    #[error(
        "read the connect string `{hosts}`; write host:port, several by comma, for example \
         `zk1:2181,zk2:2181,zk3:2181`"
    )]
    Hosts {
        /// The connect string.
        hosts: String,
        /// What is wrong with it.
        #[source]
        source: ZkError,
    },
    /// TLS without an authority to check the servers by: the client does not use the system's.
    #[error(
        "connect to `{hosts}` by TLS: no CA file is given; name the PEM file of the authority at zookeeper.tls_ca"
    )]
    NoCa {
        /// The connect string.
        hosts: String,
    },
    /// A certificate file cannot be used.
    #[error("read the PEM file `{path}` for TLS to zookeeper")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No server answered in time.
    #[error(
        "reach any of `{hosts}` within {within:?}; check that a server runs there (`echo srvr | nc HOST PORT`), and, \
         for tcp+tls://, that the CA file fits its certificate"
    )]
    Unreachable {
        /// The connect string.
        hosts: String,
        /// How long was tried.
        within: Duration,
    },
    /// The credentials were refused.
    #[error("log in at `{hosts}`; look at zookeeper.auth, sasl_user and sasl_password")]
    Denied {
        /// The connect string.
        hosts: String,
    },
    /// Anything else.
    #[error("connect to `{hosts}`")]
    Zookeeper {
        /// The connect string.
        hosts: String,
        /// What the client said.
        #[source]
        source: ZkError,
    },
}

impl ConnectError {
    /// Whether trying again can help.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            ConnectError::Unreachable { .. } | ConnectError::Zookeeper { .. } => Advice::Restart,
            ConnectError::Config(_)
            | ConnectError::Hosts { .. }
            | ConnectError::NoCa { .. }
            | ConnectError::Pem { .. }
            | ConnectError::Denied { .. } => Advice::Stop,
        }
    }
}

impl Session {
    /// Connects, for at most `connect_timeout`. The environment's root need not exist.
    ///
    /// # Errors
    /// [`ConnectError`], which names the hosts and how to mend it.
    pub async fn connect(config: &Config) -> Result<Session, ConnectError> {
        config.check()?;
        let mut connector = Client::connector();
        for auth in &config.auth {
            connector = connector.with_auth(&auth.scheme, auth.secret.reveal().as_bytes());
        }
        if let Some(sasl) = &config.sasl {
            let (user, password) = (sasl.user.clone(), sasl.password.reveal().to_owned());
            connector = connector.with_sasl(SaslOptions::digest_md5(user, password));
        }
        let client = open(connector, &config.connect, config, config.tls.as_ref()).await?;
        let base = if client.path() == "/" { String::new() } else { client.path().to_owned() };
        let root = format!("{base}{}/{}", config.root, config.env);
        let client = client.chroot(root.clone()).map_err(|_| BadConfig::Root(root))?;
        Ok(Session(Arc::new(Inner { client, config: config.clone(), acls: config.acl.entries(), base })))
    }

    /// The client below the environment's root: its paths are `/assets/main/charts/x`.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// The environment's root, absolute.
    #[must_use]
    pub fn root(&self) -> &str {
        self.0.client.path()
    }

    /// The session timeout that the server granted.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.0.client.session_timeout()
    }

    /// Resolves once the session has ended for good. A lost connection is not an end. Cancel-safe.
    pub fn closed(&self) -> impl Future<Output = SessionEnd> + Send + 'static {
        let mut states = self.0.client.state_watcher();
        let mut state = self.0.client.state();
        async move {
            loop {
                match state {
                    SessionState::Expired => return SessionEnd::Expired,
                    SessionState::AuthFailed => return SessionEnd::AuthFailed,
                    SessionState::Closed => return SessionEnd::Closed,
                    SessionState::Disconnected
                    | SessionState::SyncConnected
                    | SessionState::ConnectedReadOnly => state = states.changed().await,
                }
            }
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// The rights that znodes are created with.
    #[must_use]
    pub fn acls(&self) -> zookeeper_client::Acls<'_> {
        zookeeper_client::Acls::new(&self.0.acls)
    }

    /// The same session with paths from where the connect string's own chroot ends.
    pub(crate) fn above(&self) -> Client {
        let base = if self.0.base.is_empty() { "/" } else { &self.0.base };
        self.0.client.clone().chroot(base.to_owned()).expect("the client itself began with this path")
    }

    /// Sends again what only a lost connection has failed, `attempts` times in all; for requests that change
    /// nothing. While there is no connection the client holds requests back, so this does not spin.
    pub(crate) async fn again<T, F>(&self, request: impl Fn() -> F) -> Result<T, ZkError>
    where
        F: Future<Output = Result<T, ZkError>>,
    {
        let mut left = self.0.config.attempts;
        loop {
            match request().await {
                Err(error) if left > 1 && is_lost(&error) => left -= 1,
                answer => return answer,
            }
        }
    }
}

/// Whether the session is beyond use.
pub(crate) fn is_over(error: &ZkError) -> bool {
    matches!(error, ZkError::SessionExpired | ZkError::AuthFailed | ZkError::ClientClosed | ZkError::NoHosts)
}

/// Whether the connection broke while an answer was awaited: what was asked may have happened. The client says
/// `ConnectionLoss` only of an orderly end; a reset, or a server that fell silent, comes as `Custom`.
pub(crate) fn is_lost(error: &ZkError) -> bool {
    matches!(
        error,
        ZkError::ConnectionLoss
            | ZkError::Custom(_)
            | ZkError::Timeout
            | ZkError::UnexpectedError(_)
            | ZkError::UnmarshalError { .. }
    )
}

/// A session with `hosts`, without anything of ours to log in by.
pub(crate) async fn connect_elsewhere(hosts: &str, config: &Config) -> Result<Client, ConnectError> {
    let tls = config.tls.as_ref().map(|tls| Tls { ca: tls.ca.clone(), identity: None });
    open(Client::connector(), hosts, config, tls.as_ref()).await
}

async fn open(
    connector: Connector,
    hosts: &str,
    config: &Config,
    tls: Option<&Tls>,
) -> Result<Client, ConnectError> {
    let mut connector = connector.with_session_timeout(config.session_timeout);
    match tls {
        Some(tls) => connector = connector.with_tls(tls_options(tls)?),
        None if hosts.contains("tcp+tls://") => {
            return Err(ConnectError::NoCa { hosts: hosts.to_owned() });
        }
        None => {}
    }
    let unreachable = || {
        let within = config.connect_timeout.min(config.session_timeout);
        ConnectError::Unreachable { hosts: hosts.to_owned(), within }
    };
    match tokio::time::timeout(config.connect_timeout, connector.connect(hosts)).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(ZkError::NoHosts | ZkError::Timeout | ZkError::ConnectionLoss)) | Err(_) => Err(unreachable()),
        Ok(Err(ZkError::AuthFailed)) => Err(ConnectError::Denied { hosts: hosts.to_owned() }),
        Ok(Err(source @ ZkError::BadArguments(_))) => {
            Err(ConnectError::Hosts { hosts: hosts.to_owned(), source })
        }
        Ok(Err(source)) => Err(ConnectError::Zookeeper { hosts: hosts.to_owned(), source }),
    }
}

fn tls_options(tls: &Tls) -> Result<TlsOptions, ConnectError> {
    let options = TlsOptions::new().with_pem_ca(&pem(&tls.ca)?).map_err(|source| bad_pem(&tls.ca, source))?;
    let Some((certificate, key)) = &tls.identity else { return Ok(options) };
    let with_identity = options.with_pem_identity(&pem(certificate)?, &pem(key)?);
    with_identity.map_err(|source| bad_pem(certificate, source))
}

fn pem(path: &Path) -> Result<String, ConnectError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConnectError::Pem { path: path.to_owned(), source: source.into() })
}

fn bad_pem(path: &Path, source: ZkError) -> ConnectError {
    ConnectError::Pem { path: path.to_owned(), source: source.into() }
}
