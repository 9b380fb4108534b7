//! HiveServer2: `serverUri=host:port;version=V;sequence=0000000000`, ephemeral, its data `host:port` or, with
//! `hive.server2.zookeeper.publish.configs`, `key=value;…` (Hive 4: `HiveServer2.java`, `ZooKeeperHiveHelper`).

use super::{Said, text};

/// Reads a znode's name. Its data repeats the name, or says how to log in, which a database's template says.
pub(super) fn parse(node: &str) -> Result<Said, String> {
    server_uri(node).map(Said::Here)
}

/// The value of `serverUri`; keys that are not known here mean nothing here.
pub(super) fn server_uri(node: &str) -> Result<asset::HostPort, String> {
    let mut uris =
        node.split(';').filter_map(|part| part.split_once('=')).filter(|(key, _)| *key == "serverUri");
    match (uris.next(), uris.next()) {
        (Some((_, uri)), None) => text(uri),
        (None, _) => Err("its name holds no `serverUri=host:port`".to_owned()),
        (Some(_), Some(_)) => Err("its name holds `serverUri` twice".to_owned()),
    }
}
