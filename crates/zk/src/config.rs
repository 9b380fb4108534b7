//! How to reach an ensemble, and the bounds of what is asked of it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use zookeeper_client as zk;

/// How to reach an ensemble, and the bounds of what is asked of it.
#[derive(Debug, Clone)]
pub struct Config {
    /// `host:port`, several by comma, each optionally with `tcp://` or `tcp+tls://`; a chroot may end it.
    pub connect: String,
    /// Where every environment stands.
    pub root: ZkRoot,
    /// The environment's name, one path part.
    pub env: String,
    /// Asked for; the server may grant another ([`crate::Session::timeout`]).
    pub session_timeout: Duration,
    /// The longest that connecting may take.
    pub connect_timeout: Duration,
    /// Credentials added to every connection.
    pub auth: Vec<Auth>,
    /// SASL DIGEST-MD5.
    pub sasl: Option<Sasl>,
    /// Certificates for `tcp+tls://`.
    pub tls: Option<Tls>,
    /// Rights on the znodes that are created.
    pub acl: Acls,
    /// The largest request sent, in bytes. ZooKeeper drops the connection of a larger one than its own limit
    /// (`jute.maxbuffer`, 1 MiB) without an answer.
    pub request_bytes_max: usize,
    /// Requests of one operation on the wire at once.
    pub reads_in_flight: usize,
    /// Edit records removed in one call.
    pub prune_max: usize,
    /// How often a read that lost its connection, or a part that lost a race, is tried in all.
    pub attempts: u32,
    /// Bounds of what [`crate::Follower`] keeps.
    pub follow: FollowConfig,
}

/// Bounds of one followed subtree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowConfig {
    /// How often everything is read again, for what no event tells of (rights that changed).
    pub crawl_every: Duration,
    /// How long changes are gathered at most, while more of them come, before they are told of.
    pub gather: Duration,
    /// The most znodes that are kept.
    pub nodes_max: usize,
    /// The most bytes that are kept.
    pub bytes_max: usize,
}

impl Default for FollowConfig {
    fn default() -> Self {
        FollowConfig {
            crawl_every: Duration::from_secs(60),
            gather: Duration::from_millis(20),
            nodes_max: 50_000,
            bytes_max: 64 << 20,
        }
    }
}

impl Config {
    /// The defaults, for an ensemble without authentication.
    #[must_use]
    pub fn new(connect: impl Into<String>, env: impl Into<String>) -> Config {
        Config {
            connect: connect.into(),
            root: ZkRoot::default(),
            env: env.into(),
            session_timeout: Duration::from_secs(6),
            connect_timeout: Duration::from_secs(15),
            auth: Vec::new(),
            sasl: None,
            tls: None,
            acl: Acls::Open,
            request_bytes_max: 1_000_000,
            reads_in_flight: 64,
            prune_max: 500,
            attempts: 10,
            follow: FollowConfig::default(),
        }
    }

    /// Whether the environment's name is one.
    ///
    /// # Errors
    /// [`BadConfig::Env`].
    pub fn check(&self) -> Result<(), BadConfig> {
        if is_name(&self.env) { Ok(()) } else { Err(BadConfig::Env(self.env.escape_default().to_string())) }
    }
}

/// An absolute znode path: `/superset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZkRoot(String);

impl ZkRoot {
    /// The text, with a leading and without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ZkRoot {
    fn default() -> Self {
        ZkRoot("/superset".to_owned())
    }
}

impl fmt::Display for ZkRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text of the configuration is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadConfig {
    /// Not an absolute path of usable names.
    #[error("znode path `{0}` is no root; write it absolute, for example `/superset`")]
    Root(String),
    /// Not one path part.
    #[error("environment `{0}` is not a name; use 1 to 200 of A-Z a-z 0-9 . _ -")]
    Env(String),
    /// Not an ACL entry.
    #[error("acl entry `{0}` is not of the form scheme:id:rights, for example `digest:user:hash=:cdrwa`")]
    Acl(String),
}

impl FromStr for ZkRoot {
    type Err = BadConfig;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || BadConfig::Root(text.escape_default().to_string());
        let inner = text.strip_prefix('/').ok_or_else(refuse)?;
        if inner.split('/').all(is_name) { Ok(ZkRoot(text.to_owned())) } else { Err(refuse()) }
    }
}

/// Whether a text can be one part of a path of ours.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=200).contains(&text.len())
        && !matches!(text, "." | "..")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being printed.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Credentials of one scheme. ZooKeeper accepts a wrong digest password without a word and then refuses reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// `digest`, mostly.
    pub scheme: String,
    /// `user:password` for `digest`.
    pub secret: Secret,
}

impl Auth {
    /// The scheme `digest` with `user:password`.
    #[must_use]
    pub fn digest(user_and_password: impl Into<String>) -> Auth {
        Auth { scheme: "digest".to_owned(), secret: Secret::new(user_and_password) }
    }
}

/// SASL DIGEST-MD5 credentials; a wrong password ends the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    /// Who.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// Certificates, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that the servers' certificates are checked against.
    pub ca: PathBuf,
    /// Our own certificate and its key, if the servers ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Rights on the znodes that are created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acls {
    /// Anyone may do anything.
    Open,
    /// Whoever has the credentials of this configuration may do anything, others nothing.
    Creator,
    /// As listed.
    List(Vec<AclEntry>),
}

/// One right, as `zkCli.sh` writes it: `digest:user:hash=:cdrwa`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclEntry {
    scheme: String,
    id: String,
    rights: String,
}

impl FromStr for AclEntry {
    type Err = BadConfig;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || BadConfig::Acl(text.to_owned());
        let (scheme, rest) = text.split_once(':').ok_or_else(refuse)?;
        let (id, rights) = rest.rsplit_once(':').ok_or_else(refuse)?;
        let known = |right: char| "crwda".contains(right);
        if scheme.is_empty() || rights.is_empty() || !rights.chars().all(known) {
            return Err(refuse());
        }
        Ok(AclEntry { scheme: scheme.to_owned(), id: id.to_owned(), rights: rights.to_owned() })
    }
}

impl Acls {
    /// In the client's terms.
    pub(crate) fn entries(&self) -> Vec<zk::Acl> {
        match self {
            Acls::Open => zk::Acls::anyone_all().to_vec(),
            Acls::Creator => zk::Acls::creator_all().to_vec(),
            Acls::List(entries) => entries.iter().flat_map(AclEntry::expand).collect(),
        }
    }
}

impl AclEntry {
    /// One entry a right: the client cannot join rights, and ZooKeeper adds up the entries of one id.
    fn expand(&self) -> Vec<zk::Acl> {
        let right = |right| match right {
            'c' => zk::Permission::CREATE,
            'r' => zk::Permission::READ,
            'w' => zk::Permission::WRITE,
            'd' => zk::Permission::DELETE,
            _ => zk::Permission::ADMIN,
        };
        let entry = |permission| zk::Acl::new(permission, zk::AuthId::new(&self.scheme, &self.id));
        if "crwda".chars().all(|each| self.rights.contains(each)) {
            return vec![entry(zk::Permission::ALL)];
        }
        self.rights.chars().map(|each| entry(right(each))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_absolute_and_made_of_names() {
        for good in ["/superset", "/data/superset"] {
            assert_eq!(good.parse::<ZkRoot>().expect("a root").as_str(), good);
        }
        for bad in ["", "/", "superset", "/superset/", "/a//b", "/a/../b", "/a b"] {
            assert_eq!(bad.parse::<ZkRoot>(), Err(BadConfig::Root(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn an_acl_entry_is_read_as_zk_cli_writes_it() {
        let entry: AclEntry = "digest:ops:9EHL0R8uq1F8:cdrwa".parse().expect("an entry");
        assert_eq!(
            Acls::List(vec![entry]).entries(),
            vec![zk::Acl::new(zk::Permission::ALL, zk::AuthId::new("digest", "ops:9EHL0R8uq1F8"))]
        );
        let entry: AclEntry = "world:anyone:rc".parse().expect("an entry");
        assert_eq!(entry.expand().len(), 2);
        for bad in ["", "world", "world:anyone", "world:anyone:x", ":anyone:r"] {
            assert!(bad.parse::<AclEntry>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let auth = Auth::digest("ops:hunter2");
        assert!(!format!("{auth:?}").contains("hunter2"));
    }
}
