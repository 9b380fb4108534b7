//! Twitter's serverset: `member_0000000000`, ephemeral, its data JSON (Finagle, Aurora, Prometheus's `serverset_sd`).

use serde::Deserialize;

use super::{Said, host_port, json, shortened};

#[derive(Deserialize)]
struct Member {
    #[serde(rename = "serviceEndpoint")]
    service: Service,
    #[serde(default = "alive")]
    status: String,
}

#[derive(Deserialize)]
struct Service {
    host: String,
    port: i64,
}

fn alive() -> String {
    "ALIVE".to_owned()
}

/// Reads a znode's data: `serviceEndpoint`, not the additional ones. A status other than ALIVE takes no clients.
pub(super) fn parse(bytes: &[u8]) -> Result<Said, String> {
    let member: Member = json(bytes, "serverset member")?;
    if member.status != "ALIVE" {
        return Ok(Said::NotNow(format!("its status is {}", shortened(&member.status))));
    }
    host_port(&member.service.host, member.service.port).map(Said::Here)
}
