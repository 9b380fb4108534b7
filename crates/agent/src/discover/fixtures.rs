//! Worlds for tests.

use std::collections::{BTreeMap, BTreeSet};

use change::{Lifetime, Millis, Zxid};
use serde_json::json;
use zk::Found;

use super::{Root, World};

pub(crate) fn found(bytes: &str) -> Found {
    Found {
        czxid: 1,
        mzxid: Zxid(1),
        version: 0,
        mtime: Millis(0),
        lifetime: Lifetime::Ephemeral,
        bytes: bytes.as_bytes().to_vec(),
    }
}

/// A world of paths and what they hold, and of paths that may not be read.
pub(crate) fn world(held: &[(&str, &str)], unreadable: &[&str]) -> World {
    let mut world = World::default();
    for root in Root::ALL {
        let below = |path: &str| path.strip_prefix(root.folder())?.strip_prefix('/').map(str::to_owned);
        let nodes: BTreeMap<String, Found> =
            held.iter().filter_map(|(path, bytes)| Some((below(path)?, found(bytes)))).collect();
        let unreadable: BTreeSet<String> = unreadable.iter().filter_map(|path| below(path)).collect();
        world.set(root, &nodes, &unreadable);
    }
    world
}

/// A registration at `services/<service>/<instance>`.
pub(crate) fn server(instance: &str, address: &str, port: u16) -> String {
    json!({"name": "superset", "id": instance, "address": address, "port": port, "registrationTimeUTC": 0,
        "serviceType": "DYNAMIC", "payload": {"zone": "a\"; }"}})
    .to_string()
}
