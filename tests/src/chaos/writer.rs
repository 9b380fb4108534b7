//! The writer: creates, changes, deletes, recreates and moves, all the time, whatever happens to the servers.

use std::collections::BTreeMap;
use std::time::Duration;

use change::ZnodePath;
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;
use zk::{Draft, Expect, Session, VersionedEdit, WriteOp};
use zookeeper_client::{Acls, CreateMode, Error as ZkError};

use super::evidence::{Done, Number, Write};
use super::world::Asset;

/// A write every so often.
const WRITE_EVERY: Duration = Duration::from_millis(30);

/// Writes into one environment, and keeps a journal of it.
pub(crate) struct Writer {
    session: Session,
    config: zk::Config,
    chance: StdRng,
    next: Number,
    /// Where each znode stands, as far as is known: czxid and version.
    view: BTreeMap<ZnodePath, (i64, i32)>,
    /// All that was or may have been committed.
    pub(crate) journal: Vec<Write>,
    /// Writes whose outcome stayed unknown, or that were refused.
    pub(crate) troubles: usize,
}

/// How one write ended.
enum Ended {
    Done,
    /// Refused: it was not committed.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl Writer {
    /// A writer with a session of its own.
    pub(crate) async fn new(servers: &str, seed: u64) -> Writer {
        let mut config = zk::Config::new(servers, crate::pipeline::ENV);
        config.session_timeout = Duration::from_secs(5);
        let session = Session::connect(&config).await.expect("zookeeper serves");
        let chance = StdRng::seed_from_u64(seed);
        let (view, journal) = (BTreeMap::new(), Vec::new());
        let mut writer = Writer { session, config, chance, next: 1, view, journal, troubles: 0 };
        writer.look().await;
        writer
    }

    /// Writes until asked to stop.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(WRITE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            ticks.tick().await;
            self.write_something().await;
        }
    }

    /// Puts back what others wait for, so that nothing stays pending.
    pub(crate) async fn complete(&mut self) {
        for asset in Asset::all().into_iter().filter(|asset| asset.is_needed()) {
            while self.at(asset).is_none() {
                self.put(asset, false).await;
            }
        }
    }

    async fn write_something(&mut self) {
        let world = Asset::all();
        let asset = world[self.chance.random_range(0..world.len())];
        let is_there = self.at(asset).is_some();
        match self.chance.random_range(0..100) {
            0..20 if is_there && asset.may_go() => self.delete(asset).await,
            20..40 if is_there => self.move_it(asset).await,
            40..45 if is_there => self.edit_several().await,
            // Faster than anybody reads.
            45..50 => {
                for _ in 0..5 {
                    self.put(asset, false).await;
                }
            }
            _ => {
                let other = self.chance.random_bool(0.3);
                self.put(asset, other).await;
            }
        }
    }

    /// Where the asset stands, at which of its two paths.
    fn at(&self, asset: Asset) -> Option<(ZnodePath, bool, i64, i32)> {
        [false, true].into_iter().find_map(|other| {
            let path = asset.path(other);
            let (czxid, version) = *self.view.get(&path)?;
            Some((path, other, czxid, version))
        })
    }

    fn number(&mut self) -> Number {
        self.next += 1;
        self.next
    }

    /// Changes the asset, or creates it at one of its paths.
    pub(crate) async fn put(&mut self, asset: Asset, other: bool) {
        let n = self.number();
        let bytes = asset.document(n, &mut self.chance).to_string().into_bytes();
        let client = self.session.client().clone();
        let ended = match self.at(asset) {
            Some((path, _, czxid, version)) => {
                let set = client.set_data(&format!("/{path}"), &bytes, Some(version)).await;
                if let Ok(stat) = &set {
                    self.view.insert(path, (czxid, stat.version));
                }
                ended(set.map(drop))
            }
            None => {
                let path = asset.path(other);
                let node = format!("/{path}");
                let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
                let folder = node.rsplit_once('/').expect("below the root").0;
                let made = client.mkdir(folder, &options).await;
                let created = match made {
                    Ok(()) => client.create(&node, &bytes, &options).await,
                    Err(error) => Err(error),
                };
                if let Ok((stat, _)) = &created {
                    self.view.insert(path, (stat.czxid, stat.version));
                }
                ended(created.map(drop))
            }
        };
        self.note(ended, vec![Write { n, uuid: asset.uuid(), done: Done::Put }]).await;
    }

    /// Deletes it, if it is there.
    pub(crate) async fn delete(&mut self, asset: Asset) {
        let Some((path, _, _, version)) = self.at(asset) else { return };
        let n = self.number();
        let deleted = self.session.client().delete(&format!("/{path}"), Some(version)).await;
        if deleted.is_ok() {
            self.view.remove(&path);
        }
        self.note(ended(deleted), vec![Write { n, uuid: asset.uuid(), done: Done::Deleted }]).await;
    }

    /// Moves it to its other path in one multi, with another document.
    async fn move_it(&mut self, asset: Asset) {
        let Some((from, other, czxid, version)) = self.at(asset) else { return };
        let n = self.number();
        let bytes = asset.document(n, &mut self.chance).to_string().into_bytes();
        let expect = Expect::Is { czxid, version };
        let edits = [
            VersionedEdit { path: from, op: WriteOp::Delete, expect, group: Some(0) },
            VersionedEdit {
                path: asset.path(!other),
                op: WriteOp::Put { bytes },
                expect: Expect::Absent,
                group: Some(0),
            },
        ];
        self.edit(&edits, vec![Write { n, uuid: asset.uuid(), done: Done::Moved }]).await;
    }

    /// Changes all that is there in one multi.
    async fn edit_several(&mut self) {
        let (mut edits, mut writes) = (Vec::new(), Vec::new());
        for asset in Asset::all() {
            let Some((path, _, czxid, version)) = self.at(asset) else { continue };
            let n = self.number();
            let bytes = asset.document(n, &mut self.chance).to_string().into_bytes();
            let expect = Expect::Is { czxid, version };
            edits.push(VersionedEdit { path, op: WriteOp::Put { bytes }, expect, group: Some(0) });
            writes.push(Write { n, uuid: asset.uuid(), done: Done::Put });
        }
        self.edit(&edits, writes).await;
    }

    async fn edit(&mut self, edits: &[VersionedEdit], writes: Vec<Write>) {
        let draft = Draft { author: "chaos".to_owned(), ..Draft::default() };
        let written = self.session.write(edits, &draft, |_, _| {}).await;
        let ended = match &written {
            Ok(_) => Ended::Done,
            Err(error) if !error.conflicts().is_empty() => Ended::Refused,
            Err(_) => Ended::Unknown,
        };
        if matches!(ended, Ended::Done) {
            // Versions and lives have changed.
            self.journal.extend(writes);
            self.look().await;
        } else {
            self.note(ended, writes).await;
        }
    }

    async fn note(&mut self, ended: Ended, writes: Vec<Write>) {
        match ended {
            Ended::Done => self.journal.extend(writes),
            Ended::Refused => {
                self.troubles += 1;
                self.look().await;
            }
            Ended::Unknown => {
                self.journal.extend(writes);
                self.troubles += 1;
                self.look().await;
            }
        }
    }

    /// Looks at what stands, for as long as it takes.
    async fn look(&mut self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            let _ = self.session.sync().await;
            match self.session.read_tree(&["assets"]).await {
                Ok(tree) => {
                    let nodes = tree.nodes.into_iter();
                    self.view = nodes.map(|(path, found)| (path, (found.czxid, found.version))).collect();
                    return;
                }
                Err(_) => {
                    if let Ok(session) = Session::connect(&self.config).await {
                        self.session = session;
                    }
                }
            }
        }
    }
}

fn ended(result: Result<(), ZkError>) -> Ended {
    match result {
        Ok(()) => Ended::Done,
        Err(ZkError::BadVersion | ZkError::NoNode | ZkError::NodeExists) => Ended::Refused,
        Err(_) => Ended::Unknown,
    }
}
