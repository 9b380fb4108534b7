//! Curator's x-discovery: `ServiceInstance` as JSON, below `<base>/<service>/<id>`. Druid and Spring register so.

use serde::Deserialize;

use super::{Said, host_port, json};

#[derive(Deserialize)]
struct Service {
    address: Option<String>,
    port: Option<i64>,
    #[serde(rename = "sslPort")]
    ssl_port: Option<i64>,
    #[serde(default = "yes")]
    enabled: bool,
    payload: Option<Payload>,
}

/// Whatever a service adds of itself; only Spring's is looked into.
#[derive(Deserialize)]
#[serde(untagged)]
enum Payload {
    Spring { metadata: Metadata },
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "instance_status")]
    status: String,
}

fn yes() -> bool {
    true
}

/// Reads a znode's data. The plain port is taken where there is one, else the one for TLS; Druid writes -1 for a port
/// that it does not serve.
pub(super) fn parse(bytes: &[u8]) -> Result<Said, String> {
    let service: Service = json(bytes, "ServiceInstance")?;
    if !service.enabled {
        return Ok(Said::NotNow("it is not enabled".to_owned()));
    }
    if let Some(Payload::Spring { metadata: Metadata { status } }) = &service.payload
        && status != "UP"
    {
        return Ok(Said::NotNow(format!("its instance_status is {}", super::shortened(status))));
    }
    let is_served = |port: &i64| *port > 0;
    let port = service.port.filter(is_served).or(service.ssl_port.filter(is_served));
    match (service.address, port) {
        (Some(address), Some(port)) => host_port(&address, port).map(Said::Here),
        (None, _) => Err("it has no `address`".to_owned()),
        (_, None) => Err("it has neither `port` nor `sslPort`".to_owned()),
    }
}
