//! Znodes whose data or, failing that, whose name is `host:port`: what people write, Hive's metastore (whose names end
//! in a sequence), Druid's announcements (whose data is something else).

use super::{Said, shortened, text};

/// Reads a znode's data and, if that is no host with its port, its name.
pub(super) fn parse(node: &str, bytes: &[u8]) -> Result<Said, String> {
    let data = std::str::from_utf8(bytes).map(str::trim).unwrap_or_default();
    let found = text(data).or_else(|_| text(node));
    let neither = |_| match data {
        "" => "it has no data, and its name is not a host with its port".to_owned(),
        data => format!("neither its data, `{}`, nor its name is a host with its port", shortened(data)),
    };
    found.map(Said::Here).map_err(neither)
}
