//! The bytes on the queue: CloudEvents attributes as the headers, a versioned JSON body.
//!
//! The serialised types are apart from the ones that the code works with and are converted by hand, so that a
//! change of either is a decision. Unknown fields of a body are ignored and added ones are optional; another major
//! version (`….v2`) is refused, never guessed at.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Cause, Change, ChangeId, Edit, Fence, Generation, Lifetime, Millis, Op, Outcome, OutcomeKey, Record,
    ResyncBegin, ResyncEnd, Term, Txn, Verdict, Waiting, ZnodePath, Zxid,
};

/// What the queue stores of one record. `Debug` shows the body's length only, since bodies may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// What the record is about.
    pub key: String,
    /// CloudEvents 1.0 attributes as a JSON object.
    pub headers: String,
    /// JSON.
    pub body: Vec<u8>,
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("key", &self.key).field("body_len", &self.body.len()).finish()
    }
}

/// Why a record of the queue cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Another major version, or nothing of ours.
    #[error("read a record of type `{0}`, which this version of setkeeper does not know; upgrade it")]
    Type(String),
    /// Not the JSON that its type promises. What serde says of it is left out: it quotes values.
    #[error("read the {part} of a record: line {line} column {column} is not what its type promises")]
    Json {
        /// `headers` or `body`.
        part: &'static str,
        /// From 1; 0 where it is not known.
        line: usize,
        /// From 1; 0 where it is not known.
        column: usize,
    },
    /// Bytes that are marked base64 and are not.
    #[error("read the bytes of `{path}`")]
    Base64 {
        /// The path that they belong to.
        path: ZnodePath,
        /// What is wrong.
        #[source]
        source: base64::DecodeError,
    },
}

#[derive(Serialize, Deserialize)]
struct Headers {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    time: String,
    datacontenttype: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

const TERM: &str = "dev.setkeeper.term.v1";
const TXN: &str = "dev.setkeeper.txn.v1";
const RESYNC_BEGIN: &str = "dev.setkeeper.resync-begin.v1";
const RESYNC_END: &str = "dev.setkeeper.resync-end.v1";
const OUTCOME: &str = "dev.setkeeper.outcome.v1";

#[derive(Serialize, Deserialize)]
struct TermV1 {
    generation: Generation,
    seen: Millis,
}

#[derive(Serialize, Deserialize)]
struct TxnV1 {
    zxid: Zxid,
    committed: Millis,
    seen: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resync: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    edit: Option<Edit>,
    changes: Vec<ChangeV1>,
}

#[derive(Serialize, Deserialize)]
struct ChangeV1 {
    path: ZnodePath,
    czxid: i64,
    #[serde(flatten)]
    op: OpV1,
    #[serde(default)]
    by_edit: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum OpV1 {
    Put {
        version: i32,
        mzxid: Zxid,
        lifetime: LifetimeV1,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
    },
    Delete,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum LifetimeV1 {
    Persistent,
    Ephemeral,
    Container,
    Ttl,
}

#[derive(Serialize, Deserialize)]
struct ResyncBeginV1 {
    id: Uuid,
    seen: Millis,
}

#[derive(Serialize, Deserialize)]
struct ResyncEndV1 {
    id: Uuid,
    seen: Millis,
    count: u64,
    #[serde(default)]
    unreadable: Vec<ZnodePath>,
}

#[derive(Serialize, Deserialize)]
struct OutcomeV1 {
    key: OutcomeKey,
    target: String,
    change: ChangeId,
    cause: Cause,
    #[serde(flatten)]
    verdict: Verdict,
    #[serde(default)]
    also: Vec<ZnodePath>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    committed: Millis,
}

/// As [`Waiting`]. An endpoint travels as a reference with a name, because a reader that does not know of endpoints
/// can read that too; it sees one to a thing of the kind `endpoint`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub(crate) enum WaitingV1 {
    Reference {
        kind: String,
        uuid: Uuid,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    Secret {
        reference: String,
    },
    DeleteGuard {
        deletes: u64,
        limit: u64,
    },
    StillUsed {
        by: Vec<String>,
    },
    Policy,
}

const ENDPOINT: &str = "endpoint";

impl From<Waiting> for WaitingV1 {
    fn from(waiting: Waiting) -> WaitingV1 {
        match waiting {
            Waiting::Reference { kind, uuid } => WaitingV1::Reference { kind, uuid, name: None },
            Waiting::Endpoint { name } => {
                WaitingV1::Reference { kind: ENDPOINT.to_owned(), uuid: Uuid::nil(), name: Some(name) }
            }
            Waiting::Secret { reference } => WaitingV1::Secret { reference },
            Waiting::DeleteGuard { deletes, limit } => WaitingV1::DeleteGuard { deletes, limit },
            Waiting::StillUsed { by } => WaitingV1::StillUsed { by },
            Waiting::Policy => WaitingV1::Policy,
        }
    }
}

impl From<WaitingV1> for Waiting {
    fn from(waiting: WaitingV1) -> Waiting {
        match waiting {
            WaitingV1::Reference { kind, name: Some(name), .. } if kind == ENDPOINT => {
                Waiting::Endpoint { name }
            }
            WaitingV1::Reference { kind, uuid, .. } => Waiting::Reference { kind, uuid },
            WaitingV1::Secret { reference } => Waiting::Secret { reference },
            WaitingV1::DeleteGuard { deletes, limit } => Waiting::DeleteGuard { deletes, limit },
            WaitingV1::StillUsed { by } => Waiting::StillUsed { by },
            WaitingV1::Policy => Waiting::Policy,
        }
    }
}

/// Writes a record of the topic `changes` for the environment `env`.
#[must_use]
pub fn encode(env: &str, fence: Fence, record: &Record) -> Encoded {
    match record {
        Record::Term(term) => {
            let body = TermV1 { generation: term.generation, seen: term.seen };
            pack(env, TERM, format!("term/{fence}"), None, term.seen, &body)
        }
        Record::Txn(txn) => encode_txn(env, fence, txn),
        Record::ResyncBegin(begin) => {
            let body = ResyncBeginV1 { id: begin.id, seen: begin.seen };
            pack(env, RESYNC_BEGIN, format!("resync/{}/begin", begin.id), None, begin.seen, &body)
        }
        Record::ResyncEnd(end) => {
            let body = ResyncEndV1 {
                id: end.id,
                seen: end.seen,
                count: end.count,
                unreadable: end.unreadable.clone(),
            };
            pack(env, RESYNC_END, format!("resync/{}/end", end.id), None, end.seen, &body)
        }
    }
}

fn encode_txn(env: &str, fence: Fence, txn: &Txn) -> Encoded {
    let subject = txn.changes.first().map(|change| change.path.as_str().to_owned());
    let id = match txn.changes.first() {
        Some(change) => change.id(fence.generation).to_string(),
        None => format!("{}:{}", fence.generation, txn.zxid),
    };
    let body = TxnV1 {
        zxid: txn.zxid,
        committed: txn.committed,
        seen: txn.seen,
        resync: txn.resync,
        edit: txn.edit.clone(),
        changes: txn.changes.iter().map(change_to_v1).collect(),
    };
    let mut encoded = pack(env, TXN, id, subject, txn.committed, &body);
    if let Some(traceparent) = txn.edit.as_ref().and_then(|edit| edit.traceparent.clone())
        && let Ok(mut headers) = serde_json::from_str::<Headers>(&encoded.headers)
    {
        headers.traceparent = Some(traceparent);
        encoded.headers = to_json(&headers);
    }
    encoded
}

fn pack(
    env: &str,
    kind: &str,
    id: String,
    subject: Option<String>,
    at: Millis,
    body: &impl Serialize,
) -> Encoded {
    let headers = Headers {
        specversion: "1.0".to_owned(),
        id: id.clone(),
        source: format!("setkeeper/{env}"),
        kind: kind.to_owned(),
        time: at.to_string(),
        datacontenttype: "application/json".to_owned(),
        subject,
        traceparent: None,
    };
    Encoded { key: id, headers: to_json(&headers), body: to_json(body).into_bytes() }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("our own types have string keys and no failing serialisers")
}

fn change_to_v1(change: &Change) -> ChangeV1 {
    let (op, by_edit) = match &change.op {
        Op::Put { version, mzxid, lifetime, by_edit, bytes } => {
            let lifetime = match lifetime {
                Lifetime::Persistent => LifetimeV1::Persistent,
                Lifetime::Ephemeral => LifetimeV1::Ephemeral,
                Lifetime::Container => LifetimeV1::Container,
                Lifetime::Ttl => LifetimeV1::Ttl,
            };
            let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
            let base64 = text.is_none().then(|| STANDARD.encode(bytes));
            (OpV1::Put { version: *version, mzxid: *mzxid, lifetime, text, base64 }, *by_edit)
        }
        Op::Delete { by_edit } => (OpV1::Delete, *by_edit),
    };
    ChangeV1 { path: change.path.clone(), czxid: change.czxid, op, by_edit }
}

fn change_from_v1(change: ChangeV1) -> Result<Change, DecodeError> {
    let op = match change.op {
        OpV1::Delete => Op::Delete { by_edit: change.by_edit },
        OpV1::Put { version, mzxid, lifetime, text, base64 } => {
            let bytes = match (text, base64) {
                (Some(text), _) => text.into_bytes(),
                (None, Some(coded)) => STANDARD
                    .decode(coded)
                    .map_err(|source| DecodeError::Base64 { path: change.path.clone(), source })?,
                (None, None) => Vec::new(),
            };
            let lifetime = match lifetime {
                LifetimeV1::Persistent => Lifetime::Persistent,
                LifetimeV1::Ephemeral => Lifetime::Ephemeral,
                LifetimeV1::Container => Lifetime::Container,
                LifetimeV1::Ttl => Lifetime::Ttl,
            };
            Op::Put { version, mzxid, lifetime, by_edit: change.by_edit, bytes }
        }
    };
    Ok(Change { path: change.path, czxid: change.czxid, op })
}

/// Reads a record of the topic `changes`.
///
/// # Errors
/// [`DecodeError`] if the type is unknown or the bytes are not what the type promises.
pub fn decode(headers: &str, body: &[u8]) -> Result<Record, DecodeError> {
    match kind(headers)?.as_str() {
        TERM => {
            let TermV1 { generation, seen } = read(body)?;
            Ok(Record::Term(Term { generation, seen }))
        }
        TXN => {
            let TxnV1 { zxid, committed, seen, resync, edit, changes } = read(body)?;
            let changes = changes.into_iter().map(change_from_v1).collect::<Result<_, _>>()?;
            Ok(Record::Txn(Txn { zxid, committed, seen, resync, edit, changes }))
        }
        RESYNC_BEGIN => {
            let ResyncBeginV1 { id, seen } = read(body)?;
            Ok(Record::ResyncBegin(ResyncBegin { id, seen }))
        }
        RESYNC_END => {
            let ResyncEndV1 { id, seen, count, unreadable } = read(body)?;
            Ok(Record::ResyncEnd(ResyncEnd { id, seen, count, unreadable }))
        }
        other => Err(DecodeError::Type(other.to_owned())),
    }
}

/// Writes a record of the topic `outcomes`.
#[must_use]
pub fn encode_outcome(env: &str, outcome: &Outcome) -> Encoded {
    let body = OutcomeV1 {
        key: outcome.key,
        target: outcome.target.clone(),
        change: outcome.change.clone(),
        cause: outcome.cause,
        verdict: outcome.verdict.clone(),
        also: outcome.also.clone(),
        before: outcome.before.clone(),
        committed: outcome.committed,
    };
    let subject = Some(outcome.change.path.as_str().to_owned());
    pack(env, OUTCOME, outcome.key.to_string(), subject, outcome.committed, &body)
}

/// Reads a record of the topic `outcomes`.
///
/// # Errors
/// [`DecodeError`] if the type is unknown or the bytes are not what the type promises.
pub fn decode_outcome(headers: &str, body: &[u8]) -> Result<Outcome, DecodeError> {
    match kind(headers)?.as_str() {
        OUTCOME => {
            let OutcomeV1 { key, target, change, cause, verdict, also, before, committed } = read(body)?;
            Ok(Outcome { key, target, change, cause, verdict, also, before, committed })
        }
        other => Err(DecodeError::Type(other.to_owned())),
    }
}

fn kind(headers: &str) -> Result<String, DecodeError> {
    let headers: Headers = serde_json::from_str(headers).map_err(|error| bad_json("headers", &error))?;
    Ok(headers.kind)
}

fn bad_json(part: &'static str, error: &serde_json::Error) -> DecodeError {
    DecodeError::Json { part, line: error.line(), column: error.column() }
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(body).map_err(|error| bad_json("body", &error))
}

#[cfg(test)]
mod tests;
