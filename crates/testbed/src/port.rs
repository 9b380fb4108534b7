//! Free ports.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use crate::Error;

/// Below the ports that Linux gives to outgoing connections (32768 and above, see `ip_local_port_range`). There, a
/// client that dials the port of a killed server again and again would sooner or later be given that very port as
/// its own, connect to itself, and keep the server from coming back.
const FIRST: u64 = 15_000;
const COUNT: u64 = 17_000;
const ATTEMPTS: u32 = 200;

/// A port of 127.0.0.1 that nothing listens on now. Another process can take it before the caller does: then start
/// again with another one.
pub(crate) fn free() -> Result<u16, Error> {
    let random = RandomState::new();
    for attempt in 0..ATTEMPTS {
        let mut hasher = random.build_hasher();
        hasher.write_u32(attempt);
        let port = u16::try_from(FIRST + hasher.finish() % COUNT).expect("the range ends below 65536");
        if is_free(port) {
            return Ok(port);
        }
    }
    Err(Error::NoPort(ATTEMPTS))
}

/// Whether nothing listens on a port of 127.0.0.1.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
