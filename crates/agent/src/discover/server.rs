//! One registered instance, as files and lists show it: nothing in its address and names can break out of the syntax
//! of a configuration file.

use std::net::IpAddr;

use asset::HostPort;
use serde::Serialize;
use serde_json::Value;

use crate::instance::ServiceInstance;

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

/// The most that a weight may be: nginx and Envoy add them up in few bits.
pub const WEIGHT_MAX: u64 = 65_535;

impl Server {
    /// Reads a registration, Curator's `ServiceInstance`. Weight and version are those of its payload; one that
    /// serves TLS only has that port as its port.
    ///
    /// # Errors
    /// Why it is left out.
    pub(crate) fn parse(service: &str, instance: &str, bytes: &[u8]) -> Result<Server, String> {
        check_name(service)?;
        check_name(instance)?;
        let read =
            ServiceInstance::from_json(bytes).map_err(|error| match std::error::Error::source(&error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            })?;
        let address = read.address.ok_or("has no address")?;
        let port = read.port.or(read.ssl_port).ok_or("has no port")?;
        let hostport = hostport(&address, port)?;
        let payload = read.payload.unwrap_or(Value::Null);
        Ok(Server {
            service: service.to_owned(),
            instance: instance.to_owned(),
            is_ip: address.parse::<IpAddr>().is_ok(),
            address,
            port,
            hostport,
            ssl_port: read.ssl_port,
            weight: weight(&payload)?,
            version: match &payload["version"] {
                Value::String(version) => Some(version.clone()),
                Value::Number(version) => Some(version.to_string()),
                _ => None,
            },
            payload,
            registered: read.registered.0,
            enabled: read.enabled,
        })
    }
}

fn weight(payload: &Value) -> Result<u32, String> {
    match &payload["weight"] {
        Value::Null => Ok(1),
        weight => weight
            .as_u64()
            .filter(|weight| *weight <= WEIGHT_MAX)
            .and_then(|weight| u32::try_from(weight).ok())
            .ok_or_else(|| format!("its payload's weight is no whole number of 0 to {WEIGHT_MAX}")),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(of: Value) -> Result<Server, String> {
        let mut all =
            json!({"name": "s", "id": "i", "address": "10.0.0.1", "port": 80, "serviceType": "DYNAMIC"});
        for (key, value) in of.as_object().expect("an object") {
            all[key] = value.clone();
        }
        Server::parse("s", "i", all.to_string().as_bytes())
    }

    #[test]
    fn weight_and_version_are_those_of_the_payload() {
        let server = read(json!({"payload": {"weight": 3, "version": "6.1.0", "zone": "a"}})).expect("read");
        assert_eq!((server.weight, server.version.as_deref()), (3, Some("6.1.0")));
        let server = read(json!({"payload": "hi"})).expect("read");
        assert_eq!((server.weight, server.version), (1, None));
        for bad in [json!(-1), json!(1.5), json!("2"), json!(65536)] {
            assert!(read(json!({"payload": {"weight": bad}})).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_a_host_and_nothing_else() {
        let hostport = |address: &str| read(json!({"address": address})).map(|server| server.hostport);
        assert_eq!(hostport("node-1.example").as_deref(), Ok("node-1.example:80"));
        assert_eq!(hostport("fd00::1").as_deref(), Ok("[fd00::1]:80"));
        for bad in ["", "a b", "a;", "a\n", "[fd00::1]", "a/b", "a:1", "unix:/x", "${x}", "1.2.3", "a\u{e9}"]
        {
            assert!(hostport(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_that_serves_tls_only_is_reached_there() {
        let server = read(json!({"port": null, "sslPort": 8443})).expect("read");
        assert_eq!((server.port, server.ssl_port), (8443, Some(8443)));
        assert!(read(json!({"port": null})).is_err());
    }
}
