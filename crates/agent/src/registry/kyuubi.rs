//! Kyuubi: `serverUri=host:port;version=V[;key=value…];[refId=…;]sequence=0000000000`, ephemeral (persistent for a
//! service registered from outside), its data as HiveServer2's (`ZookeeperDiscoveryClient.scala`).

use super::{Said, hiveserver2};

/// Reads a znode's name. What an engine adds to it (`refId`, attributes whose values may hold anything) is not ours.
pub(super) fn parse(node: &str) -> Result<Said, String> {
    hiveserver2::server_uri(node).map(Said::Here)
}
