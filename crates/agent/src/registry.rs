//! What other services register in ZooKeeper: znodes in, instances out. Pure.
//!
//! Each registry has its own module, which reads one znode. A znode that cannot be read is a fault of its own and
//! never hides the others; one that says by itself that it takes no clients is left out, which is no fault.

use std::net::Ipv6Addr;

use asset::{HostPort, Registry};

mod curator;
mod hiveserver2;
mod hostport;
mod kyuubi;
mod serverset;

/// A znode directly below a registry's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name, without its path.
    pub node: &'a str,
    /// The transaction that created it: the order of registration, which a sequence in the name would only repeat.
    pub czxid: i64,
    /// Its data.
    pub bytes: &'a [u8],
}

/// Something that clients can connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Where.
    pub at: HostPort,
    /// The znode's name.
    pub node: String,
    /// The transaction that created the znode.
    pub czxid: i64,
    /// It says now what cannot be understood, and this is what it said before: nobody has said that it is gone.
    pub stale: bool,
}

/// A znode that gave no instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The znode's name.
    pub node: String,
    /// Why, for a person.
    pub reason: String,
}

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}", self.node.escape_debug(), self.reason)
    }
}

/// All that a registry says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// Those that take clients, in the order of registration. Each host and port is there once.
    pub instances: Vec<Instance>,
    /// Those that take none now, by their own word.
    pub left_out: Vec<Dropped>,
    /// Those that could not be understood.
    pub faults: Vec<Dropped>,
}

/// What one znode says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Here(HostPort),
    NotNow(String),
}

impl Registered {
    /// Keeps what was known before of znodes that are there still, in the same life by `czxid_of`, and cannot be
    /// understood any more.
    pub fn keep(&mut self, before: &Registered, czxid_of: impl Fn(&str) -> Option<i64>) {
        for was in &before.instances {
            let same = czxid_of(&was.node) == Some(was.czxid);
            let is_known = self.instances.iter().any(|instance| instance.at == was.at);
            if !same || is_known {
                continue;
            }
            if let Some(fault) = self.faults.iter_mut().find(|fault| fault.node == was.node) {
                fault.reason.push_str("; what it said before counts");
                self.instances.push(Instance { stale: true, ..was.clone() });
            }
        }
        self.instances.sort_by(|a, b| (a.czxid, &a.node).cmp(&(b.czxid, &b.node)));
    }
}

/// Reads the znodes of a registry, at most `max` of them, the longest registered first.
#[must_use]
pub fn read<'a>(registry: Registry, entries: impl IntoIterator<Item = Entry<'a>>, max: usize) -> Registered {
    let mut entries: Vec<Entry<'_>> = entries.into_iter().collect();
    entries.sort_unstable_by_key(|entry| (entry.czxid, entry.node));
    let mut registered = Registered::default();
    for entry in &entries[..entries.len().min(max)] {
        let node = entry.node.to_owned();
        match parse(registry, entry) {
            // A server that came back before its old session expired stands there twice for a while.
            Ok(Said::Here(at)) if registered.instances.iter().any(|instance| instance.at == at) => {
                let reason = format!("{at} is registered twice; the older znode counts");
                registered.left_out.push(Dropped { node, reason });
            }
            Ok(Said::Here(at)) => {
                registered.instances.push(Instance { at, node, czxid: entry.czxid, stale: false });
            }
            Ok(Said::NotNow(reason)) => registered.left_out.push(Dropped { node, reason }),
            Err(reason) => registered.faults.push(Dropped { node, reason }),
        }
    }
    for entry in entries.iter().skip(max) {
        let reason = format!("more than {max} are registered (endpoints.instances_max); it is not looked at");
        registered.faults.push(Dropped { node: entry.node.to_owned(), reason });
    }
    registered
}

fn parse(registry: Registry, entry: &Entry<'_>) -> Result<Said, String> {
    let node = unprotected(entry.node);
    match registry {
        Registry::HiveServer2 => hiveserver2::parse(node),
        Registry::Kyuubi => kyuubi::parse(node),
        Registry::Curator => curator::parse(entry.bytes),
        Registry::Serverset => serverset::parse(entry.bytes),
        Registry::HostPort => hostport::parse(node, entry.bytes),
    }
}

/// A name without what Curator's protection puts before it, `_c_<uuid>-`.
fn unprotected(node: &str) -> &str {
    let rest = node.strip_prefix("_c_").and_then(|rest| rest.split_at_checked(36));
    match rest {
        Some((uuid, rest)) if uuid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') => {
            rest.strip_prefix('-').unwrap_or(node)
        }
        _ => node,
    }
}

/// A host and a port that stand apart. Brackets around an IPv6 address are ours to add.
fn host_port(host: &str, port: i64) -> Result<HostPort, String> {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => text(&format!("[{address}]:{port}")),
        Err(_) => text(&format!("{host}:{port}")),
    }
}

fn text(text: &str) -> Result<HostPort, String> {
    let at: HostPort =
        text.parse().map_err(|_| format!("`{}` is not a host with its port", shortened(text)))?;
    if matches!(at.host(), "0.0.0.0" | "[::]") {
        return Err(format!(
            "`{at}` is what a server binds to, not where a client finds it; let it register its own name"
        ));
    }
    Ok(at)
}

/// So much of a stranger's text as a message can bear.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    let shown: String = text.chars().take(SHOWN).collect();
    let more = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    format!("{}{more}", shown.escape_debug())
}

fn json<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("its data is no {what}: {error}"))
}

#[cfg(test)]
mod tests;
