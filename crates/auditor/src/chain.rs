//! The chain of hashes. Its bytes are fixed: a change of them cannot be told from tampering, so another set of
//! fields gets another [`Table::format`] and the old one stays.
//!
//! ```text
//! hash(n) = SHA-256( text(format) ‖ hash(n-1) ‖ u64(seq) ‖ u64(number of fields) ‖ field ‖ field ‖ … )
//! hash(0) = SHA-256( text("setkeeper.audit.genesis.1") ‖ text(env) )
//! text(t) = u64(length in bytes) ‖ UTF-8
//! field   = tag ‖ u64(length in bytes) ‖ bytes          tag 0: NULL, no bytes
//!                                                       tag 1: integer, 8 bytes, two's complement
//!                                                       tag 2: text, UTF-8
//! ```
//! All numbers are big-endian. Every part has a fixed size or its length in front, so no two rows share bytes.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::row::{Field, Row};

/// The chain's last row: everything before it is proven by it. Keep a copy elsewhere, since who can rewrite the
/// whole file can rewrite the whole chain. Text form: `<seq>:<64 hex digits>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// Rows so far.
    pub seq: i64,
    /// The last row's hash.
    pub hash: [u8; 32],
}

impl Head {
    /// What stands before the first row of an environment's chain.
    pub(crate) fn genesis(env: &str) -> Head {
        let mut hash = Sha256::new();
        put_text(&mut |bytes| hash.update(bytes), "setkeeper.audit.genesis.1");
        put_text(&mut |bytes| hash.update(bytes), env);
        Head { seq: 0, hash: hash.finalize().into() }
    }

    /// The head after `row`.
    pub(crate) fn after(&self, row: &Row) -> Head {
        let mut hash = Sha256::new();
        put_row(&mut |bytes| hash.update(bytes), self, row);
        Head { seq: self.seq + 1, hash: hash.finalize().into() }
    }

    /// The hash as it stands in the database.
    pub(crate) fn hex(&self) -> String {
        hex(&self.hash)
    }
}

/// Gives the bytes that are hashed for the row after `before`, piece by piece.
fn put_row(put: &mut dyn FnMut(&[u8]), before: &Head, row: &Row) {
    put_text(put, &format!("setkeeper.audit.{}", row.table.format()));
    put(&before.hash);
    put(&(before.seq + 1).to_be_bytes());
    put(&(row.fields.len() as u64).to_be_bytes());
    for field in &row.fields {
        match field {
            Field::Null => {
                put(&[0]);
                put(&0_u64.to_be_bytes());
            }
            Field::Int(value) => {
                put(&[1]);
                put(&8_u64.to_be_bytes());
                put(&value.to_be_bytes());
            }
            Field::Text(text) => {
                put(&[2]);
                put_text(put, text);
            }
        }
    }
}

fn put_text(put: &mut dyn FnMut(&[u8]), text: &str) {
    put(&(text.len() as u64).to_be_bytes());
    put(text.as_bytes());
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads 64 hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hex())
    }
}

/// A text that is not a [`Head`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a head of the audit's chain; one looks like `<rows>:<64 hex digits>`, as `status` prints it"
)]
pub struct BadHead(String);

impl FromStr for Head {
    type Err = BadHead;

    fn from_str(text: &str) -> Result<Self, BadHead> {
        let parse = || {
            let (seq, hash) = text.split_once(':')?;
            Some(Head { seq: seq.parse().ok().filter(|seq| *seq >= 0)?, hash: unhex(hash)? })
        };
        parse().ok_or_else(|| BadHead(text.chars().take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::row::Table;

    fn row() -> Row {
        Row::new(Table::Event, vec![Field::Text("gap".to_owned()), Field::Int(-2), Field::Null])
    }

    #[test]
    fn the_bytes_of_a_row_are_these_for_ever() {
        let before = Head { seq: 6, hash: [0xab; 32] };
        let mut bytes = Vec::new();
        put_row(&mut |piece| bytes.extend_from_slice(piece), &before, &row());
        expect![[r#"
            00000000000000177365746b65657065722e61756469742e6576656e742e31abababababababababababababababababababababababababababababababab00000000000000070000000000000003020000000000000003676170010000000000000008fffffffffffffffe000000000000000000
        "#]]
        .assert_eq(&format!("{}\n", hex(&bytes)));
    }

    #[test]
    fn the_hashes_are_these_for_ever() {
        let genesis = Head::genesis("prod");
        let shown = format!("{genesis}\n{}\n", genesis.after(&row()));
        expect![[r#"
            0:ab2b90d0b699d238e1be8763b9a9dec4c2c84d249254616af5c0d615e9d458c2
            1:aa5876f5f78652ce0f40fcb9f058c78775a937678905d5ee441e5cd5803892a9
        "#]]
        .assert_eq(&shown);
    }

    #[test]
    fn a_head_survives_its_text_form() {
        let head = Head::genesis("prod").after(&row());
        assert_eq!(head.to_string().parse(), Ok(head));
        for bad in ["", "1", "1:00", "-1:ab", &head.to_string()[..20]] {
            assert!(bad.parse::<Head>().is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_cannot_run_into_one_another() {
        let text = |parts: &[&str]| {
            Row::new(Table::Event, parts.iter().map(|part| Field::Text((*part).to_owned())).collect())
        };
        let head = Head::genesis("prod");
        assert_ne!(head.after(&text(&["ab", "c"])), head.after(&text(&["a", "bc"])));
        assert_ne!(head.after(&text(&["ab"])), head.after(&text(&["ab", ""])));
    }
}
