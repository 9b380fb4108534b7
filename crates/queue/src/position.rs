//! Where a reader stands, in a form that notices a log that is not the same any more.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::Entry;

/// SHA-256 over a record and the digest of the one before it, so that equal digests mean equal histories.
pub type Digest = [u8; 32];

/// What stands before the first record of a log.
pub(crate) const GENESIS: Digest = [0; 32];

/// Where to read next. Its text form (`Display`, `FromStr`) is `<log>:<offset>:<digest in hex>`, to be stored
/// beside what the reader made of the records before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which log: a random id made with the topic.
    pub log: Uuid,
    /// Offset of the next record.
    pub offset: i64,
    /// Digest of the record before it; zeroes before the first.
    pub before: Digest,
}

impl Position {
    /// The position before the first record ever appended to a log.
    #[must_use]
    pub fn start(log: Uuid) -> Self {
        Self { log, offset: 1, before: GENESIS }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.log, self.offset)?;
        self.before.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is not a position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a queue position; expected `<log uuid>:<offset>:<64 hex digits>`")]
pub struct BadPosition {
    text: String,
}

impl FromStr for Position {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Self, BadPosition> {
        parse(text).ok_or_else(|| BadPosition { text: text.chars().take(140).collect() })
    }
}

fn parse(text: &str) -> Option<Position> {
    let mut parts = text.split(':');
    let (log, offset, before) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || before.len() != 64 || !before.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = GENESIS;
    for (byte, pair) in digest.iter_mut().zip(before.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    let offset = offset.parse().ok().filter(|offset| *offset >= 1)?;
    Some(Position { log: Uuid::parse_str(log).ok()?, offset, before: digest })
}

/// The digest of a record, chained to the one before it. Every field is length-prefixed or of fixed size, so
/// that no two records share their bytes.
pub(crate) fn digest(log: Uuid, before: &Digest, entry: &Entry) -> Digest {
    let mut hash = Sha256::new();
    hash.update(b"setkeeper-queue-1");
    hash.update(before);
    hash.update(log.as_bytes());
    hash.update(entry.offset.to_be_bytes());
    hash.update(entry.at.to_be_bytes());
    match entry.fence {
        None => hash.update([0]),
        Some(fence) => {
            hash.update([1]);
            hash.update(fence.0.to_be_bytes());
            hash.update(fence.1.to_be_bytes());
        }
    }
    for field in [entry.key.as_bytes(), entry.headers.as_bytes(), &entry.body] {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_text_form() {
        let position = Position { log: Uuid::from_u128(7), offset: 42, before: [0xab; 32] };
        assert_eq!(position.to_string().parse(), Ok(position));
    }

    #[test]
    fn a_text_that_is_no_position_is_refused() {
        let good = Position::start(Uuid::from_u128(7)).to_string();
        for bad in [
            "",
            ":",
            "x",
            &good[1..],
            &good[..good.len() - 1],
            &good.replace(":1:", ":0:"),
            &format!("{good}:"),
        ] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
        assert!(good.replace("00", "zz").parse::<Position>().is_err());
    }
}
