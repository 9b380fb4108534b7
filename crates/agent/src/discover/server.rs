//! One registered instance, as files and lists show it: nothing in its address and names can break out of the syntax
//! of a configuration file.

use std::net::IpAddr;

use asset::HostPort;
use serde::Serialize;
use serde_json::Value;

/// One registered instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Server {
    /// The service that it belongs to.
    pub service: String,
    /// Its name: 1 to 200 of `A-Z a-z 0-9 . _ : -`.
    pub instance: String,
    /// A host's name or an IP address, an IPv6 address without brackets.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// `address:port`, an IPv6 address in brackets.
    pub hostport: String,
    /// Whether the address is an IP address and no name.
    pub is_ip: bool,
    /// Its port for TLS, if it has one.
    pub ssl_port: Option<u16>,
    /// Its share of the requests.
    pub weight: u32,
    /// The version of what runs there. Free text: use `| tojson` or `| token`.
    pub version: Option<String>,
    /// Whatever its owner registered beside. Free text: use `| tojson` or `| token`.
    pub payload: Value,
    /// When it registered, in milliseconds since 1970.
    pub registered: i64,
    /// Whether it wants requests.
    #[serde(skip)]
    pub(crate) enabled: bool,
}

impl Server {
    /// Reads a registration.
    ///
    /// # Errors
    /// Why it is left out.
    pub(crate) fn parse(service: &str, instance: &str, bytes: &[u8]) -> Result<Server, String> {
        check_name(service)?;
        check_name(instance)?;
        let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("is no JSON: {error}"))?;
        let address = value["address"].as_str().ok_or("has no address")?.to_owned();
        let port = value["port"].as_u64().and_then(|port| u16::try_from(port).ok()).ok_or("has no port")?;
        let hostport = hostport(&address, port)?;
        Ok(Server {
            service: service.to_owned(),
            instance: instance.to_owned(),
            is_ip: address.parse::<IpAddr>().is_ok(),
            address,
            port,
            hostport,
            ssl_port: None,
            weight: 1,
            version: None,
            payload: value["payload"].clone(),
            registered: 0,
            enabled: true,
        })
    }
}

/// The strictest of what nginx, HAProxy and Envoy take as a name.
fn check_name(name: &str) -> Result<(), String> {
    let is_name = (1..=200).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':'));
    if is_name {
        return Ok(());
    }
    Err("its name could break out of a file's syntax; use 1 to 200 of A-Z a-z 0-9 . _ : -".to_owned())
}

fn hostport(address: &str, port: u16) -> Result<String, String> {
    let text =
        if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
    let parsed = text.parse::<HostPort>();
    parsed
        .map(|hostport| hostport.to_string())
        .map_err(|_| "its address is no host's name, no IP address, or its port is 0".to_owned())
}
