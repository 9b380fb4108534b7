//! `endpoints/<name>`: what a database that follows a service connects to now.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde_json::Value;

use crate::fault::{Fault, FaultKind, Faults};
use crate::fields::{Builder, Fields};
use crate::setting::follow;
use crate::setting::{check_v, is_name};
use crate::{Object, Registry, parse};

/// The most hosts that one endpoint may have chosen, and the most znodes that it may name as their source.
pub const CHOSEN_MAX: usize = 100;

/// The longest name of a host that there can be.
const HOST_BYTES_MAX: usize = 253;

/// What stands at `endpoints/<name>`.
///
/// Its text goes into the place of `{endpoint}` in a URI, so it is nothing but hosts with ports: no scheme, no
/// user, no path and no parameter can come in with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The endpoint's name, which is the znode's.
    pub endpoint: String,
    /// Where to connect to, at least one, in the order in which they stand in the URI. Each is there once.
    pub chosen: Vec<HostPort>,
    /// Where that was found; `None` of one that a person wrote.
    pub from: Option<Source>,
}

/// Where a chosen endpoint was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How the registry writes its znodes.
    pub registry: Registry,
    /// The other ensemble, if it is another one.
    pub connect: Option<String>,
    /// The registry's znode.
    pub path: String,
    /// The names of the znodes of what was chosen.
    pub nodes: Vec<String>,
}

impl Chosen {
    /// Returns what stands in the place of `{endpoint}` in a URI: the hosts, joined by commas.
    #[must_use]
    pub fn in_uri(&self) -> String {
        let hosts: Vec<String> = self.chosen.iter().map(HostPort::to_string).collect();
        hosts.join(",")
    }

    /// Returns the canonical object, which is also what is written into ZooKeeper.
    #[must_use]
    pub fn to_json(&self) -> Object {
        let hosts: Vec<Value> = self.chosen.iter().map(|each| each.to_string().into()).collect();
        let mut object = Builder::default();
        object.put("v", 1).put("endpoint", self.endpoint.as_str()).put("chosen", hosts);
        if let Some(from) = &self.from {
            object.put("from", from.to_json());
        }
        object.into_object()
    }
}

impl Source {
    fn to_json(&self) -> Object {
        let mut object = Builder::default();
        object
            .put("registry", self.registry.as_str())
            .put("connect", self.connect.clone())
            .put("path", self.path.as_str())
            .put("nodes", self.nodes.clone());
        object.into_object()
    }
}

/// Reads the bytes of `endpoints/<name>`: JSON, or gzip of it.
///
/// # Errors
/// Returns every fault that was found, as [`crate::parse`] does.
pub fn parse_chosen(name: &str, bytes: &[u8]) -> Result<Chosen, Vec<Fault>> {
    let (value, mut faults) = parse::read(bytes).map_err(|fault| vec![fault])?;
    let mut fields = Fields::new(String::new(), value, &mut faults);
    check_v(&mut fields);
    let endpoint = fields.required_name("endpoint");
    if !endpoint.is_empty() && endpoint != name {
        let message = "not the znode's own name; write that";
        fields.fault("endpoint", FaultKind::BadValue, message);
    }
    let chosen = Chosen { endpoint, chosen: hosts(&mut fields), from: source(&mut fields) };
    fields.finish("an endpoint");
    check_name(name, &mut faults);
    if faults.is_empty() { Ok(chosen) } else { Err(faults.into_vec()) }
}

fn check_name(name: &str, faults: &mut Faults) {
    if !is_name(name) {
        let message = "the name of an endpoint is 1 to 200 of A-Z a-z 0-9 . _ -; give the znode such a name";
        faults.push(Fault::new("", FaultKind::BadValue, message));
    }
}

fn hosts(fields: &mut Fields<'_>) -> Vec<HostPort> {
    let Some(value) = fields.required("chosen") else { return Vec::new() };
    let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    fields.put_back("chosen", value);
    let texts = fields.texts_with_paths("chosen");
    if is_empty {
        let message = "no host; name at least one like `host:10000`, or delete the znode";
        fields.fault("chosen", FaultKind::BadValue, message);
    }
    check_count("chosen", texts.len(), fields);
    let mut hosts: Vec<HostPort> = Vec::with_capacity(texts.len());
    for (path, text) in texts {
        match text.parse::<HostPort>() {
            Ok(host) if hosts.contains(&host) => {
                fields.fault_at(path, FaultKind::BadValue, "stands twice in the list; remove one");
            }
            Ok(host) => hosts.push(host),
            Err(fault) => fields.fault_at(path, FaultKind::BadValue, fault.to_string()),
        }
    }
    hosts
}

fn source(fields: &mut Fields<'_>) -> Option<Source> {
    let value = fields.take_some("from")?;
    let path = fields.path_of("from");
    let mut from = Fields::new(path, value, fields.faults());
    let registry = follow::registry(&mut from);
    let source = Source {
        registry: registry.unwrap_or(Registry::HostPort),
        connect: follow::connect(&mut from),
        path: follow::znode(&mut from),
        nodes: nodes(&mut from),
    };
    from.finish("`from` of an endpoint");
    Some(source)
}

fn nodes(fields: &mut Fields<'_>) -> Vec<String> {
    let nodes = fields.texts_with_paths("nodes");
    check_count("nodes", nodes.len(), fields);
    let is_name =
        |node: &str| !node.is_empty() && !node.contains(|each: char| each == '/' || each.is_control());
    for (path, _) in nodes.iter().filter(|(_, node)| !is_name(node)) {
        let message = "not the name of a znode; write it without its path";
        fields.fault_at(path.clone(), FaultKind::BadValue, message);
    }
    nodes.into_iter().map(|(_, node)| node).collect()
}

fn check_count(key: &str, count: usize, fields: &mut Fields<'_>) {
    if count > CHOSEN_MAX {
        fields.fault(key, FaultKind::TooLarge, format!("more than {CHOSEN_MAX}; name fewer"));
    }
}

/// One host with its port, `hive1.example:10000` or `[2001:db8::1]:10000`.
///
/// Parsing is the only door. A host is a name of the DNS (underscores too), an IPv4 address or an IPv6 address in
/// brackets: nothing that means something in a URI.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// Why a text is no [`HostPort`]. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a host with its port; write it like `host:10000` or `[2001:db8::1]:10000`, and nothing else")]
pub struct HostPortFault;

impl HostPort {
    /// The host: of an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = HostPortFault;

    fn from_str(text: &str) -> Result<HostPort, HostPortFault> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortFault)?;
        let is_plain =
            !port.is_empty() && !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|_| is_plain).ok_or(HostPortFault)?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            None => host_name(host).ok_or(HostPortFault)?,
            Some(address) => {
                let address: Ipv6Addr =
                    address.and_then(|address| address.parse().ok()).ok_or(HostPortFault)?;
                format!("[{address}]")
            }
        };
        Ok(HostPort { host, port })
    }
}

/// Of a text that ends in a number only an IPv4 address is taken: resolvers read `1.2` as one too, and each as
/// another.
fn host_name(text: &str) -> Option<String> {
    let labels = || text.split('.');
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = text.len() <= HOST_BYTES_MAX && labels().all(is_label);
    let last = labels().next_back().unwrap_or_default();
    let ends_in_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    let is_right = is_name && (!ends_in_number || text.parse::<Ipv4Addr>().is_ok());
    is_right.then(|| text.to_owned())
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests;
