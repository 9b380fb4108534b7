//! One line is one record. Changes of one record are parted by ` ; `:
//!
//! ```text
//! +charts/c#3 ds=2 name=Sales     the znode assets/main/charts/c is created or set, its document has uuid 3
//! +charts/c {"bad                 it is set to these bytes
//! ~charts/c#3 …                   as +, but the znode is ephemeral
//! -charts/c                       it is deleted
//! =charts/c                       its last put is sent once more
//! approve charts/c                an approval of the delete of its last life
//! begin 1 / end 1 [charts]        a resync; at its end the subtree could not be read
//! fence 7 / after 11m             of the records that follow
//! generation 2                    a restored ensemble, whose zxids begin anew
//! /other/charts/c                 a path of another project; //settings/… any path
//! +databases/db#1 endpoint=e      it connects to the endpoint e
//! +//endpoints/e a:1,b:2          the endpoint e is there, and has chosen these
//! ```

use std::collections::BTreeMap;

use change::{
    Change, Fence, Lifetime, Millis, Op, Outcome, Record, ResyncBegin, ResyncEnd, Txn, Verdict, ZnodePath,
    Zxid,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::work::Read;

/// What the writer of the notation knows of ZooKeeper.
#[derive(Debug, Clone)]
pub(crate) struct Notation {
    generation: u64,
    zxid: i64,
    time: i64,
    fence: i64,
    offset: i64,
    resync: Option<Uuid>,
    /// Path → czxid, version, last bytes, whether it is there.
    lives: BTreeMap<ZnodePath, (i64, i32, Change, bool)>,
}

impl Default for Notation {
    fn default() -> Self {
        Self {
            generation: 1,
            zxid: 0,
            time: 1_000_000_000,
            fence: 1,
            offset: 0,
            resync: None,
            lives: BTreeMap::new(),
        }
    }
}

impl Notation {
    /// Reads a whole script.
    pub(crate) fn read(&mut self, script: &str) -> Vec<Read> {
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.filter_map(|line| self.line(line)).collect()
    }

    fn line(&mut self, line: &str) -> Option<Read> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let record = match word {
            "fence" => {
                self.fence = rest.parse().expect("a number");
                return None;
            }
            "generation" => {
                self.generation = rest.parse().expect("a number");
                self.zxid = 0;
                return None;
            }
            "after" => {
                self.time += rest.trim_end_matches('m').parse::<i64>().expect("minutes") * 60_000;
                return None;
            }
            "begin" => {
                let id = Uuid::from_u128(rest.parse().expect("a number"));
                self.resync = Some(id);
                Record::ResyncBegin(ResyncBegin { id, seen: Millis(self.time) })
            }
            "end" => {
                let mut words = rest.split(' ');
                let id = Uuid::from_u128(words.next().and_then(|id| id.parse().ok()).expect("a number"));
                self.resync = None;
                let unreadable = words.map(path).collect();
                Record::ResyncEnd(ResyncEnd { id, seen: Millis(self.time), count: 0, unreadable })
            }
            _ => self.txn(line),
        };
        self.offset += 1;
        self.time += 1;
        let fence = Fence { generation: self.generation, czxid: self.fence };
        Some(Read { offset: self.offset, fence, record })
    }

    fn txn(&mut self, line: &str) -> Record {
        self.zxid += 1;
        let changes = line.split(" ; ").map(|change| self.change(change.trim())).collect();
        let at = Millis(self.time);
        Record::Txn(Txn {
            zxid: Zxid(self.zxid),
            committed: at,
            seen: at,
            resync: self.resync,
            edit: None,
            changes,
        })
    }

    fn change(&mut self, text: &str) -> Change {
        if let Some(rest) = text.strip_prefix("approve ") {
            let approved = path(rest);
            let czxid = self.lives[&approved].0;
            let bytes = json!({"v": 1, "path": approved.as_str(), "czxid": czxid}).to_string();
            let name = format!("//control/approvals/{}", self.zxid);
            return self.put(path(&name), bytes.into_bytes(), Lifetime::Persistent);
        }
        let (sign, rest) = text.split_at(1);
        let (head, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        match sign {
            "-" => {
                let path = path(head);
                let life = self.lives.get_mut(&path).expect("a znode to delete");
                life.3 = false;
                Change { czxid: life.0, path, op: Op::Delete { by_edit: false } }
            }
            "=" => self.lives[&path(head)].2.clone(),
            "+" | "~" => {
                let lifetime = if sign == "~" { Lifetime::Ephemeral } else { Lifetime::Persistent };
                let (place, bytes) = match head.split_once('#') {
                    Some((place, uuid)) => (place, document(place, uuid, tail)),
                    None => (head, other(head, tail)),
                };
                self.put(path(place), bytes, lifetime)
            }
            _ => panic!("not in the notation: {text}"),
        }
    }

    fn put(&mut self, path: ZnodePath, bytes: Vec<u8>, lifetime: Lifetime) -> Change {
        let (czxid, version) = match self.lives.get(&path) {
            Some((czxid, version, _, true)) => (*czxid, version + 1),
            _ => (self.zxid, 0),
        };
        let op = Op::Put { version, mzxid: Zxid(self.zxid), lifetime, by_edit: false, bytes };
        let change = Change { path: path.clone(), czxid, op };
        self.lives.insert(path, (czxid, version, change.clone(), true));
        change
    }
}

pub(crate) fn path(text: &str) -> ZnodePath {
    let full = match (text.strip_prefix("//"), text.strip_prefix('/')) {
        (Some(any), _) => any.to_owned(),
        (None, Some(other)) => format!("assets/{other}"),
        (None, None) => format!("assets/main/{text}"),
    };
    full.parse().expect("a path")
}

/// The short form of a path, as the notation writes it.
pub(crate) fn short(path: &ZnodePath) -> String {
    let text = path.to_string();
    match text.strip_prefix("assets/main/") {
        Some(rest) => rest.to_owned(),
        None => text.strip_prefix("assets").map_or_else(|| format!("//{text}"), str::to_owned),
    }
}

/// The bytes of what has no uuid: of an endpoint its hosts may stand for it.
fn other(place: &str, text: &str) -> Vec<u8> {
    match place.strip_prefix("//endpoints/").filter(|_| text.contains(':') && !text.contains('{')) {
        Some(name) => {
            let chosen: Vec<&str> = text.split(',').collect();
            json!({"v": 1, "endpoint": name, "chosen": chosen}).to_string().into_bytes()
        }
        None => text.as_bytes().to_vec(),
    }
}

fn document(place: &str, uuid: &str, fields: &str) -> Vec<u8> {
    let place = place.trim_start_matches('/');
    let name = place.rsplit('/').next().expect("a name");
    let fields: BTreeMap<&str, &str> = fields
        .split(' ')
        .filter(|field| !field.is_empty())
        .filter_map(|field| field.split_once('='))
        .collect();
    let of = |text: &str| Uuid::from_u128(text.parse().expect("a number")).to_string();
    let field = |key: &str, default: &str| fields.get(key).copied().unwrap_or(default).to_owned();
    let uri = match fields.get("endpoint") {
        Some(_) => "hive://{endpoint}/data",
        None => "postgresql://user@host/data",
    };
    let mut document = match place.rsplit('/').nth(1).expect("a folder") {
        "databases" => json!({
            "database_name": field("name", name),
            "sqlalchemy_uri": field("uri", uri),
        }),
        "datasets" => json!({
            "table_name": field("name", name),
            "schema": field("schema", "public"),
            "database_uuid": of(&field("db", "1")),
            "columns": [{"column_name": "a"}],
        }),
        "charts" => json!({
            "slice_name": field("name", name),
            "viz_type": field("viz", "table"),
            "dataset_uuid": of(&field("ds", "2")),
            "params": {"metric": field("metric", "count")},
        }),
        "dashboards" => {
            let charts = field("charts", "");
            let charts = charts.split(',').filter(|chart| !chart.is_empty());
            let position: serde_json::Map<String, Value> = charts
                .map(|n| {
                    let meta = json!({"uuid": of(n), "chartId": 0});
                    (
                        format!("CHART-{n}"),
                        json!({"id": format!("CHART-{n}"), "type": "CHART", "meta": meta, "children": []}),
                    )
                })
                .collect();
            json!({
                "dashboard_title": field("name", name),
                "slug": fields.get("slug"),
                "position": position,
                "metadata": {},
            })
        }
        other => panic!("no documents in {other}"),
    };
    document["uuid"] = json!(of(uuid));
    document["version"] = json!("1.0.0");
    if let Some(secret) = fields.get("secret") {
        document["setkeeper"]["secrets"] = json!({"password": secret});
    }
    if let Some(endpoint) = fields.get("endpoint") {
        document["setkeeper"]["endpoint"] = json!(endpoint);
    }
    if let Some(extra) = fields.get("extra") {
        document[*extra] = json!(1);
    }
    document.to_string().into_bytes()
}

/// One line an outcome.
pub(crate) fn outcome(outcome: &Outcome) -> String {
    let id = &outcome.change;
    let version = id.version.map_or_else(|| "-".to_owned(), |version| version.to_string());
    let mut line = format!("{}@{}.{version} {}", short(&id.path), id.czxid, outcome.verdict.name());
    match &outcome.verdict {
        Verdict::Held { waiting } => {
            let waiting: Vec<String> = waiting.iter().map(ToString::to_string).collect();
            line += &format!(": {}", waiting.join("; "));
        }
        Verdict::Rejected { reason, place } => {
            line += &format!(": {reason}");
            if let Some(place) = place {
                line += &format!(" [{place}]");
            }
        }
        Verdict::Applied | Verdict::Unchanged | Verdict::Superseded | Verdict::Skipped | Verdict::Deleted => {
        }
    }
    if outcome.cause == change::Cause::Reconcile {
        line += " (reconciled)";
    }
    if !outcome.also.is_empty() {
        let also: Vec<String> = outcome.also.iter().map(short).collect();
        line += &format!(" also {}", also.join(" "));
    }
    line.replace("00000000-0000-0000-0000-0000000000", "#")
}
